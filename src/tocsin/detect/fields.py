"""What a rule's words mean on our columns: log sources to rows, field names to views.

A *view* is one way to read a field of a row: a column as it is, its percent-decoded form, a key
inside ``attributes``.  A field may have several, and a leaf holds when **any** of them satisfies
it; so a rule written for the wire and one written for the decoded text both match, and plain
negation of such a leaf means that neither does.

==================  ==========================================================================
view                text
==================  ==========================================================================
a column's name     the column; integers as digits, lists element by element
``uri``             path, and ``?query`` when there is one
``url``             ``scheme://authority`` in front of ``uri``, as far as they are known
``extension``       what follows the last dot of the path's last segment
``name%``           the percent-decoded form, where it differs (``+`` is a space in a query)
``attr:a.b``        the values at that dotted path of ``attributes``, through lists, keys with
                    dots in them included; objects as compact JSON
``attr*``           every text, number and boolean in ``attributes``
==================  ==========================================================================
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import Final

from msgspec import Struct

from tocsin.detect.rule import Leaf, LogSource, Op
from tocsin.event import COLUMNS, NAMES, Kind, Type

__all__ = ["KEYWORD_VIEWS", "Route", "resolve", "route"]


class Route(Struct, frozen=True, gc=False):
    """Which rows a log source means.  Rules of the same route are scanned together.

    A row belongs when its kind or its layer is listed (or nothing is), and, if ``product`` is
    set, when its source, service or parser is named after it, or its attributes bear a mark of it.
    """

    kinds: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    products: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()  #: text that only this product's attributes contain
    web: bool = False  #: field names are those of Sigma's web server and proxy taxonomy


_REQUEST: Final = Route(kinds=("request",), web=True)
_APP: Final = Route(kinds=("log",), layers=("app",))
_DATABASE: Final = Route(kinds=("query",), layers=("database",))


def _kinds(*starts: str) -> tuple[str, ...]:
    return tuple(str(k) for k in Kind if str(k).startswith(starts))


#: Sigma's categories that we receive, and our own: ``any``, groups of kinds, and each kind.
_CATEGORIES = MappingProxyType[str, Route](
    {str(kind): Route(kinds=(str(kind),)) for kind in Kind}
    | {
        "any": Route(),
        "webserver": _REQUEST,
        "proxy": _REQUEST,
        "request": _REQUEST,
        "waf": _REQUEST,
        "database": _DATABASE,
        "application": _APP,
        "authentication": Route(kinds=_kinds("authn_")),
        "authorization": Route(kinds=_kinds("authz_", "privilege_")),
        "session": Route(kinds=_kinds("session_")),
        "input": Route(kinds=_kinds("input_", "upload_", "sequence_")),
        "malicious": Route(kinds=_kinds("malicious_", "mcp_")),
        "sensitive": Route(kinds=_kinds("sensitive_")),
        "system": Route(kinds=_kinds("sys_")),
        "user": Route(kinds=_kinds("user_")),
    }
)

#: Products that are a way to write an application: its own log, whatever the source is called.
_STACKS = frozenset(
    "django flask fastapi python ruby ruby_on_rails rails spring velocity jvm java nodejs node "
    "php laravel dotnet aspnet golang go rust".split()
)

#: Keys that only this product's records contain: so that a file of them is known unnamed.
_MARKS = MappingProxyType[str, tuple[str, ...]](
    {
        "aws": ('"eventSource"',),
        "bitbucket": ('"auditType"',),
        "cisco": ('"txid"', '"access_device"'),
        "github": ('"_document_id"', '"actor_location"'),
        "kubernetes": ('"objectRef"', "audit.k8s.io"),
        "okta": ('"debugContext"', '"legacyEventType"'),
        "onelogin": ('"event_type_id"',),
        "opencanary": ('"logtype"',),
        "rpc_firewall": ('"InterfaceUuid"',),
    }
)

#: Web servers whose own log (not that of requests) is meant, whatever the source is called.
_SERVICES = frozenset({"apache", "nginx", "haproxy", "traefik", "caddy", "envoy", "iis"})


def route(source: LogSource) -> Route | None:
    """The rows that *source* means, or ``None`` when we never receive such."""
    if source.category and source.category != "application":
        return _CATEGORIES.get(source.category)
    if source.product == "sql":
        return Route(kinds=("log", "query"), layers=("app", "database"))
    if source.product in _STACKS or (source.category and not source.product):
        return _APP
    name = source.product or source.service
    if name is None:
        return None
    if name in _SERVICES:
        return Route(kinds=("log",))
    names = [n for n in (source.product, source.service) if n and n not in _VAGUE]
    return Route(products=tuple(dict.fromkeys(names)), marks=_MARKS.get(name, ()))


#: Services that name no product.
_VAGUE = frozenset({"audit", "security", "system", "application", "auth", "syslog"})

_URI = ("uri", "uri%")
_ANY_URI = ("uri", "uri%", "url", "url%")

#: Sigma's web server and proxy names, lower-case.  The empty tuple: known, but we never hold it.
_WEB = MappingProxyType[str, tuple[str, ...]](
    {
        "c-ip": ("client_ip",),
        "src_ip": ("client_ip",),
        "c-uri": _ANY_URI,
        "cs-uri": _ANY_URI,
        "c-url": _ANY_URI,
        "cs-url": _ANY_URI,
        "c-uri-stem": ("path", "path%"),
        "cs-uri-stem": ("path", "path%"),
        # Authors write whole request targets into the query's field, so both are read.
        "c-uri-query": ("query", "query%", *_URI),
        "cs-uri-query": ("query", "query%", *_URI),
        "c-uri-extension": ("extension", "extension%"),
        "cs-uri-extension": ("extension", "extension%"),
        "c-useragent": ("user_agent",),
        "cs-useragent": ("user_agent",),
        "cs-user-agent": ("user_agent",),
        "cs(user-agent)": ("user_agent",),
        "useragent": ("user_agent",),
        "cs-host": ("authority",),
        "cs(host)": ("authority",),
        "r-dns": ("authority",),
        "cs-method": ("method",),
        "cs-referer": ("referer",),
        "cs-referrer": ("referer",),
        "cs(referer)": ("referer",),
        "cs-username": ("user",),
        "cs-version": ("http_version",),
        "cs-bytes": ("bytes_in",),
        "sc-bytes": ("bytes_out",),
        "sc-status": ("status",),
        "rs-content-type": ("content_type",),
        "sc-content-type": ("content_type",),
        "s-computername": ("host",),
        "s-dns": ("host",),
        "c-port": ("client_port",),
        "date": ("time",),
        "timestamp": ("time",),
    }
)

#: Names of Sigma's web taxonomy look like this.  One that is not in the table is in no event.
_W3C = re.compile(r"(?:c|s|cs|sc|sr|rs|r|x)(?:-[a-z-]+|\([a-z-]+\))", re.IGNORECASE)

#: Vendors' names of what intake may already have lifted into a column.
_LIFTED = MappingProxyType[str, str](
    {
        "userAgent": "user_agent",
        "sourceIPAddress": "client_ip",
        "client.ipAddress": "client_ip",
        "client.userAgent.rawUserAgent": "user_agent",
        "requestURI": "path",
    }
    | {
        name: column.name
        for column in COLUMNS
        for name in (column.ecs, column.otel)
        if name and "." in name and column.type is not Type.TIME
    }
)

#: What a keyword is looked for in.  Columns of ids, hashes and our own words are not among them.
KEYWORD_VIEWS: Final = (
    "url",
    "url%",
    "method",
    "user_agent",
    "referer",
    "user",
    "claimed_user",
    "message",
    "error_type",
    "error_message",
    "error_stack",
    "db_name",
    "db_user",
    "db_statement",
    "attr*",
    "raw",
)

#: Columns whose text is as on the wire.
_DECODED = MappingProxyType({"path": ("path", "path%"), "query": ("query", "query%")})


def resolve(leaf: Leaf, to: Route) -> tuple[str, ...]:
    """The views that *leaf* is about in rows of *to*.  None at all: its field is in no event."""
    if leaf.field is None:
        return KEYWORD_VIEWS
    return _narrow(_views(leaf.field, to), leaf)


def _views(field: str, to: Route) -> tuple[str, ...]:
    if field in NAMES:
        own = _DECODED.get(field, (field,))
        vendor = bool(to.products) or to.layers == _APP.layers
        return (*own, f"attr:{field}") if vendor else own
    if to.web:
        known = _WEB.get(field.lower())
        if known is not None:
            return known
        if _W3C.fullmatch(field):
            return ()
    if field in ("uri", "url", "extension"):
        return field, f"{field}%", f"attr:{field}"
    lifted = _LIFTED.get(field)
    if lifted is not None:
        return (*_DECODED.get(lifted, (lifted,)), f"attr:{field}")
    return (f"attr:{field}",)


#: Leaves for which a percent-decoded value would be no value.
_NUMERIC = frozenset({Op.CIDR, Op.LT, Op.LTE, Op.GT, Op.GTE, Op.TIME_PART})


def _narrow(views: tuple[str, ...], leaf: Leaf) -> tuple[str, ...]:
    plain = tuple(v for v in views if not v.endswith("%"))
    if leaf.op in (Op.NULL, Op.PRESENT):
        # A request without a query has a target all the same.
        return plain[:1] if plain[0] == "query" else plain
    if leaf.op in _NUMERIC:
        return plain
    if leaf.op in (Op.CONTAINS, Op.ENDSWITH):
        # What is in the shorter of two views is in the longer one too.
        return tuple(v for v in views if not _within(v, views))
    return views


def _within(view: str, views: tuple[str, ...]) -> bool:
    """Whether all text of *view* also ends another of *views*."""
    mark = "%" if view.endswith("%") else ""
    match view.removesuffix("%"):
        case "query":
            return f"uri{mark}" in views
        case "uri":
            return f"url{mark}" in views
        case _:
            return False
