"""One event out of what the application says and what is known of the request at hand."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any, Literal, Protocol, TypedDict

from tocsin.event.kinds import LEVELS, Kind, Level
from tocsin.event.model import Event
from tocsin.sdk.context import Context, current
from tocsin.sdk.failures import failure_of
from tocsin.sdk.harmless import harmless
from tocsin.sdk.plain import MOST, number, plain, text
from tocsin.sdk.seen import Seen

__all__ = [
    "COLUMNS",
    "Outcome",
    "Said",
    "SaidByClient",
    "Severity",
    "Taker",
    "known",
    "say",
    "tell",
    "the_taker",
]

Outcome = Literal["success", "failure", "unknown"]
Severity = Level | Literal["debug", "info", "warn", "error", "critical"]


class Said(TypedDict, total=False):
    """What can be said of any event beside the arguments of its own."""

    outcome: Outcome  #: what came of it, where the kind does not tell
    severity: Severity  #: where it is not the kind's own
    message: str
    error: BaseException  #: that it came of: class, words and frames are kept, values are not

    claimed_user: str  #: whom the client claims to be, not verified
    role: str  #: of the user
    tenant: str  #: the customer it belongs to
    session: str  #: leaves as a keyed hash
    api_key: str  #: leaves as a keyed hash
    auth_method: str  #: password, token, key, certificate, session, none
    client_ip: str
    client_port: int

    method: str
    route: str  #: template: ``/orders/{id}``
    path: str
    status: int
    records_out: int  #: how many records went out

    object_type: str  #: ``order``
    objects: Iterable[str]  #: ids of the objects touched; leave as keyed hashes
    fields_in: Iterable[str]  #: names of the fields that came in

    trace_id: str  #: these three for work outside a request
    span_id: str
    request_id: str


class SaidByClient(Said, total=False):
    """What can also be said of an event that has no such argument of its own."""

    user_agent: str
    referer: str


class Taker(Protocol):
    """Whom events are given to: the client, or a test's own."""

    def take(self, item: Seen | Event, /) -> None: ...


# --- columns -------------------------------------------------------------------------------------


def _texts(value: Any) -> tuple[str, ...]:
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        return (text(value),)
    return tuple(text(item) for item in islice(value, MOST))


def _outcome(value: Any) -> str | None:
    word = text(value).lower()
    return word if word in {"success", "failure", "unknown"} else None


_LEVEL_WORDS: dict[str, str] = {
    "warning": "warn",
    "fatal": "critical",
    **{level: str(level) for level in Level},
}


def _severity(value: Any) -> str | None:
    return _LEVEL_WORDS.get(text(value).lower())


#: Reads what was said of a column; None: not readable, and kept as an attribute.
Read = Callable[[Any], Any]

_WORDED = """reason message tenant user claimed_user role session api_key auth_method client_ip
    user_agent method scheme authority route path referer content_type object_type
    trace_id span_id request_id error_type error_message error_stack""".split()
_COUNTED = "client_port status bytes_in bytes_out records_out".split()

#: The columns of which something may be said.
COLUMNS: dict[str, Read] = {
    **dict.fromkeys(_WORDED, text),
    **dict.fromkeys(_COUNTED, number),
    "objects": _texts,
    "fields_in": _texts,
    "outcome": _outcome,
    "severity": _severity,
}


def _resource(value: Any) -> dict[str, Any]:
    """The columns of a resource, ``type:id``: the id is among ``objects``, which leave hashed.

    A word alone is a type, what begins with a slash a path, and anything else an id.

    >>> _resource("order:42"), _resource("invoices")
    ({'object_type': 'order', 'objects': ('42',)}, {'object_type': 'invoices'})
    >>> _resource("/admin/users"), _resource("4711")
    ({'path': '/admin/users'}, {'objects': ('4711',)})
    """
    words = text(value)
    if words.startswith("/"):
        return {"path": words}
    found = _TYPED.fullmatch(words)
    if found is None:
        return {"objects": (words,)} if words else {}
    kind, identity = found.groups()
    return {"object_type": kind, "objects": (identity,)} if identity else {"object_type": kind}


_TYPED = re.compile(
    r"([A-Za-z][A-Za-z_.\-]{0,63}|[A-Za-z][\w.\-]{0,63}(?=:))(?::(.*))?", re.A | re.S
)


def _error(error: BaseException) -> dict[str, Any]:
    failure = failure_of(error)
    return {
        "error_type": failure.type,
        "error_message": failure.message,
        "error_stack": failure.stack or None,
    }


def _columns(said: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """*said* as columns, and as attributes what no column is for."""
    columns: dict[str, Any] = {}
    rest: dict[str, Any] = {}
    resource: Any = None
    for name, value in said.items():
        if value is None:
            continue
        try:
            if name == "resource":
                resource = value
            elif name == "error" and isinstance(value, BaseException):
                columns |= _error(value)
            elif (read := COLUMNS.get(name)) is None:
                rest[text(name)] = plain(value)
            elif (column := read(value)) is not None:
                columns[name] = column
            else:
                rest[name] = plain(value)
        except Exception as error:  # noqa: BLE001  one bad value must not cost us the others
            harmless.mishap(error)
    if resource is not None:
        columns = _resource(resource) | columns
        if "objects" in columns and "objects" in said:
            columns["objects"] = (*_resource(resource).get("objects", ()), *columns["objects"])
    return columns, rest


# --- the request at hand -------------------------------------------------------------------------

_ABOUT_USER = ("role", "auth_method")
_OF_REQUEST = ("user", "role", "tenant", "session", "auth_method")


def known(at_hand: Context, said: Mapping[str, Any], *, facts: bool = True) -> dict[str, Any]:
    """What is *said*, and what is known of the request otherwise, as columns.

    Without *facts* these are only its ids and whom it is from.
    """
    columns: dict[str, Any] = {"request_id": at_hand.request_id}
    if facts and at_hand.facts is not None:
        with harmless:
            found = at_hand.facts()
            columns.update((n, v) for n, v in found.items() if n in COLUMNS and v is not None)
    columns["trace_id"], columns["span_id"] = at_hand.trace_id, at_hand.span_id
    for name in _OF_REQUEST:
        value = getattr(at_hand, name)
        if value is not None:
            columns[name] = text(value)
    if "user" in said and said["user"] != columns.get("user", said["user"]):
        for name in _ABOUT_USER:  # of another than the request's user these say nothing
            columns.pop(name, None)
    columns.update(said)
    return columns


# --- saying it -----------------------------------------------------------------------------------

_DONE = "created revoked renewed changed updated archived deleted complete stored".split()


def _evident(kind: Kind) -> str | None:
    """The outcome that the name of *kind* tells."""
    words = kind.split("_")
    if "fail" in words:
        return "failure"
    if words[-1].startswith("success") or words[-1] in _DONE:
        return "success"
    return "success" if kind is Kind.AUTHN_PASSWORD_CHANGE else None


_EVIDENT = {kind: _evident(kind) for kind in Kind}

#: Outcome by the result of a check, as ``upload_validation`` has it.
_RESULTS = {
    **dict.fromkeys("failed fail failure infected rejected invalid false".split(), "failure"),
    **dict.fromkeys("passed pass success ok clean accepted valid true".split(), "success"),
    "incomplete": "unknown",
}


def event_of(
    kind: Kind, said: Mapping[str, Any], attributes: Any = None, *, time_ns: int | None = None
) -> Event:
    """The event of *kind* that *said* makes; ids of objects and sessions in it are still raw.

    The SDK's thread makes keyed hashes of ``objects``, ``session`` and ``api_key`` before anything
    leaves the process.
    """
    columns, rest = _columns(said)
    if attributes is not None:
        more = plain(attributes)
        rest = {**more, **rest} if isinstance(more, dict) else {**rest, "attributes": more}
    if "outcome" not in columns:
        result = rest.get("result") if kind is Kind.UPLOAD_VALIDATION else None
        outcome = _EVIDENT[kind] if result is None else _RESULTS.get(str(result).lower())
        if outcome is not None:
            columns["outcome"] = outcome
    if "severity" not in columns:
        failed = kind is Kind.UPLOAD_VALIDATION and columns.get("outcome") == "failure"
        columns["severity"] = str(Level.CRITICAL if failed else LEVELS[kind])
    at_hand = current()
    if at_hand is not None:
        columns = known(at_hand, columns)
        if kind is not Kind.LOG:
            at_hand.said = {*(at_hand.said or ()), kind}
    return Event(
        time=time.time_ns() if time_ns is None else time_ns,
        kind=kind,
        layer="app",
        outcome_source="event" if "outcome" in columns else None,
        attributes=rest or None,
        **columns,
    )


def say(client: Taker | None, kind: Kind, said: Mapping[str, Any], attributes: Any = None) -> None:
    """Make an event and give it to *client* (None: the one client).  Never raises."""
    with harmless:
        tell(client, event_of(kind, said, attributes))


def tell(client: Taker | None, event: Event) -> None:
    """Give *event* to *client*, or to the one client of this process."""
    the_taker(client).take(event)


def the_taker(client: Taker | None) -> Taker:
    """*client*, or the one client of this process."""
    if client is not None:
        return client
    from tocsin.sdk.client import at_once  # late: it needs much that a program may never need

    return at_once()
