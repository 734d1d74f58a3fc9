"""Connexion: 2 is a Flask application, 3 a stack of ASGI layers of its own.

What is hooked in 3, on the one application that was given:

- ``_build_middleware_stack``, so that all of the stack is within ours; there is no public way to be
  outside the layer that makes a 500 of what nobody handled.
- the handlers of its layer for exceptions, once it is built: they alone see what they answer.
- ``add_middleware`` puts a layer of ours behind the routing, the public way to learn of it: what
  routing found out is told to layers below only, in a copy of the scope.
"""

from __future__ import annotations

import re
from typing import Any

from tocsin.sdk.harmless import harmless
from tocsin.sdk.watching.asgi import Asgi, AsgiWatch, Receive, Scope, Send
from tocsin.sdk.watching.exchange import Watching
from tocsin.sdk.watching.flask import note_user, watch_flask
from tocsin.sdk.watching.serving import at_hand
from tocsin.sdk.watching.starlette import noting

__all__ = ["watch_connexion"]


def watch_connexion(app: Any, watching: Watching) -> None:
    """Instrument *app*; a second time nothing happens."""
    layers = getattr(app, "middleware", app)
    if not hasattr(layers, "_build_middleware_stack"):
        watch_flask(app.app, watching)  # connexion 2
        return
    if isinstance(layers._build_middleware_stack, _Build) or isinstance(layers.app, AsgiWatch):
        return
    if layers.middleware_stack is not None:  # it has served already
        layers.app = AsgiWatch(layers.app, watching)
        return
    layers._build_middleware_stack = _Build(layers, watching)
    flask = getattr(app, "app", None)
    if hasattr(flask, "teardown_request_funcs"):
        note_user(flask, "flask")


class _Build:
    """``_build_middleware_stack`` of one application."""

    def __init__(self, layers: Any, watching: Watching) -> None:
        self._layers = layers
        self._build = layers._build_middleware_stack
        self._watching = watching

    def __call__(self) -> tuple[Any, Any]:
        with harmless:
            self._listen()
        outermost, stack = self._build()
        with harmless:
            for layer in stack:
                _note_handled(layer)
        return AsgiWatch(outermost, self._watching), stack

    def _listen(self) -> None:
        """Put a layer behind the routing."""
        layers = self._layers
        named = {getattr(kind, "__name__", ""): at for at, kind in enumerate(layers.middlewares)}
        specs = [(api.specification, api.base_path) for api in layers.apis]
        at = named["RoutingMiddleware"] + 1
        layers.middlewares = [*layers.middlewares]
        layers.middlewares.insert(at, lambda app: _Routed(app, specs))


def _note_handled(layer: Any) -> None:
    """Have the handlers of exceptions tell us; the one for all of them is no handling."""
    for handlers in (
        getattr(layer, "_exception_handlers", None),
        getattr(layer, "_status_handlers", None),
    ):
        if isinstance(handlers, dict):
            for key, handler in list(handlers.items()):
                handlers[key] = noting(handler, handled=key not in (Exception, 500))


class _Routed:
    """A layer below the routing, which notes what it found."""

    def __init__(self, app: Asgi, specs: list[tuple[Any, str | None]]) -> None:
        self._app = app
        self._specs = specs
        self._ways: _Ways | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with harmless:
            self._note(scope)
        await self._app(scope, receive, send)

    def _note(self, scope: Scope) -> None:
        serving = at_hand()
        routing = scope.get("extensions", {}).get("connexion_routing")
        if serving is None or routing is None:
            return
        serving.routed = routing.get("operation_id") is not None
        if serving.routed:
            serving.params = scope.get("path_params") or {}
            serving.route = self._find(routing.get("api_base_path") or "", scope["path"])

    def _find(self, base: str, path: str) -> str | None:
        """The path of the specification, of which connexion keeps the operation only."""
        if self._ways is None:
            self._ways = _ways(self._specs)
        at = path.find(base) + len(base)  # behind what a server's root may add
        for pattern, template in self._ways.get(base, ()):
            if pattern.fullmatch(path, at):
                return path[:at] + template
        return None


_Ways = dict[str, list[tuple[re.Pattern[str], str]]]


def _ways(specs: list[tuple[Any, str | None]]) -> _Ways:
    """The paths of each base path: those with fewer parameters first, as routing prefers them."""
    ways: _Ways = {}
    for specification, base_path in specs:
        base = (base_path if base_path is not None else specification.base_path).rstrip("/")
        for template in sorted(specification["paths"], key=lambda path: path.count("{")):
            ways.setdefault(base, []).append((_compiled(template, "[^/]+"), template))
    for base, known in ways.items():  # a parameter may be a path itself, which comes last
        ways[base] = known + [(_compiled(template, ".+"), template) for _, template in known]
    return ways


def _compiled(template: str, parameter: str) -> re.Pattern[str]:
    literal = re.split(r"\{[^}]+\}", template)
    return re.compile(parameter.join(re.escape(part) for part in literal), re.S)
