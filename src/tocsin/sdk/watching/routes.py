"""Which template a request matched, with every prefix, mount and parameter of the way to it.

What a framework leaves in the scope is not enough: the route that matched knows only its own tail,
and one router may be mounted twice.  So all ways to an endpoint are written down once, and where
there are several the path decides.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from time import monotonic
from typing import Any

__all__ = ["DEPTH", "Leaf", "Table", "from_rule", "routes_of", "starlette_leaves"]

DEPTH = 12  #: mounts in mounts, and middleware around applications
AGAIN = 1.0  #: seconds before routes are read again for an endpoint that is not among them
MOST = 512  #: ways that are tried when nothing but the path is known


class Leaf:
    """One way to an endpoint."""

    __slots__ = ("endpoint", "leads_on", "methods", "pattern", "template", "whole")

    def __init__(
        self,
        endpoint: object,
        template: str,
        whole: str,
        methods: Iterable[str] | None = None,
        *,
        leads_on: bool = False,
    ) -> None:
        self.endpoint = endpoint  #: held, so that its identity is its own
        self.template = template
        self.whole = whole  #: the template's regular expression
        self.pattern: re.Pattern[str] | None = None
        self.methods = None if methods is None else frozenset(methods)
        self.leads_on = leads_on  #: to routes of an application below, which must match as well

    def matches(self, path: str) -> bool:
        if self.pattern is None:
            self.pattern = re.compile(self.whole, re.S)
        return self.pattern.fullmatch(path) is not None


class Table:
    """All ways of one application, read when they are first needed."""

    def __init__(self, leaves: Callable[[], Iterable[Leaf]]) -> None:
        self._leaves = leaves
        self._by: Mapping[int, list[Leaf]] = {}
        self._read = -AGAIN

    def find(self, endpoint: object, path: str) -> Leaf | None:
        """The way to *endpoint* that *path* went."""
        ways = self._by.get(id(endpoint))
        if ways is None:
            ways = self._again().get(id(endpoint))
        if not ways:
            return None
        if len(ways) == 1:
            return ways[0]
        return next((way for way in ways if way.matches(path)), None)

    def match(self, method: str, path: str) -> Leaf | None:
        """The way that *path* would have gone, had nobody turned the request away before."""
        ways = [way for ways in (self._by or self._again()).values() for way in ways][:MOST]
        found = [way for way in ways if not way.leads_on and way.matches(path)]
        for way in found:
            if way.methods is None or method in way.methods:
                return way
        return found[0] if found else None

    def _again(self) -> Mapping[int, list[Leaf]]:
        """Routes may be added while the application runs; who asks for others gets no reading."""
        now = monotonic()
        if now - self._read < AGAIN:
            return self._by
        self._read = now
        by: dict[int, list[Leaf]] = {}
        for leaf in self._leaves():
            by.setdefault(id(leaf.endpoint), []).append(leaf)
        self._by = by
        return by


def routes_of(app: object) -> list[Any]:
    """The routes of a Starlette-like application, be it wrapped in middleware."""
    for _ in range(DEPTH):
        routes = getattr(app, "routes", None)
        if isinstance(routes, list):
            return routes
        app = getattr(app, "app", None)
        if app is None:
            break
    return []


def starlette_leaves(
    routes: Iterable[Any], template: str = "", whole: str = "", depth: int = DEPTH
) -> Iterator[Leaf]:
    """Leaves below *routes*, which are reached by the prefix *template*."""
    if depth == 0:
        return
    for route in routes:
        included = getattr(route, "effective_route_contexts", None)
        if included is not None:  # a router that newer FastAPI includes without copying it
            for context in included():
                one = getattr(context, "starlette_route", None) or context
                yield from _leaves_of(one, template, whole, depth)
        else:
            yield from _leaves_of(route, template, whole, depth)


def _leaves_of(route: Any, template: str, whole: str, depth: int) -> Iterator[Leaf]:
    own = getattr(route, "path_format", None)
    app = getattr(route, "app", None)
    if hasattr(route, "host_format"):  # by host: the path goes on as it is
        yield Leaf(app, template, whole, leads_on=True)
        yield from starlette_leaves(routes_of(app), template, whole, depth - 1)
    elif isinstance(own, str) and hasattr(route, "endpoint") and own:
        yield Leaf(
            route.endpoint,
            template + own,
            whole + _expression(own, route.param_convertors),
            getattr(route, "methods", None),
        )
    elif isinstance(own, str) and app is not None:
        below = routes_of(app)
        leaf = whole + _expression(own, route.param_convertors)
        yield Leaf(app, template + own, leaf, leads_on=bool(below))
        head = own.removesuffix("/{path}")
        way = whole + _expression(head, route.param_convertors)
        yield from starlette_leaves(below, template + head, way, depth - 1)


_PARAMETER = re.compile(r"\{(\w+)\}")


def _expression(own: str, convertors: Mapping[str, Any]) -> str:
    """The regular expression of a path with ``{name}`` in it."""
    parts: list[str] = []
    at = 0
    for found in _PARAMETER.finditer(own):
        parts.append(re.escape(own[at : found.start()]))
        regex = getattr(convertors.get(found[1]), "regex", "[^/]+")
        parts.append(f"(?:{regex})")
        at = found.end()
    return "".join(parts) + re.escape(own[at:])


_CONVERTED = re.compile(
    r"<(?:[^<>:()]+(?:\((?:[^()\"']|\"[^\"]*\"|'[^']*')*\))?:)?(\w+)>"  # <name>, <int(max=9):name>
)


def from_rule(rule: str) -> str:
    """Werkzeug's and Django's ``<int:id>`` as ``{id}``.

    >>> from_rule('/v1/<any("a", "b"):kind>/<int(min=1):id>/<path:rest>')
    '/v1/{kind}/{id}/{rest}'
    """
    return _CONVERTED.sub(r"{\1}", rule)
