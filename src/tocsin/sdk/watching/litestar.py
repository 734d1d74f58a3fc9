"""Litestar: around its handler, and told of exceptions by its own hook.

Hooked on the application that was given: ``asgi_handler``, what the application calls for each
request, and its public lists of those who want to know of exceptions, of its start and of its end.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import Any

from tocsin.sdk.watching.asgi import AsgiWatch, Look, Scope
from tocsin.sdk.watching.exchange import Watching
from tocsin.sdk.watching.lifespan import down, up
from tocsin.sdk.watching.routes import Leaf, Table
from tocsin.sdk.watching.serving import Serving, note_failure

__all__ = ["watch_litestar"]

MOUNTED = 64  #: applications within one whose routes are known


def watch_litestar(app: Any, watching: Watching) -> None:
    """Instrument *app*; a second time nothing happens."""
    if isinstance(app.asgi_handler, AsgiWatch):
        return
    app.asgi_handler = AsgiWatch(app.asgi_handler, watching, _look_for(app))

    async def told(error: Exception, _scope: Any) -> None:
        note_failure(error, handled=_is_answered(app, error))

    app.after_exception.append(told)
    app.on_startup.append(partial(up, watching.client))
    app.on_shutdown.append(partial(down, watching.client))


def _is_answered(app: Any, error: Exception) -> bool:
    """Whether *error* is meant as an answer, or somebody has a handler for it."""
    status = getattr(error, "status_code", None)
    if isinstance(status, int) and status != 500:
        return True
    handlers = app.exception_handlers or {}
    return any(kind in handlers for kind in type(error).__mro__ if kind is not Exception)


def _look_for(app: Any) -> Look:
    table = Table(lambda: _leaves(app))
    mounted: dict[int, tuple[object, Table]] = {}

    def look(scope: Scope, serving: Serving, path: str) -> None:
        handler = scope.get("route_handler")
        serving.params = scope.get("path_params") or {}
        if handler is None:
            _not_routed(table, scope, serving, path)
            return
        serving.routed = True
        path = path.rstrip("/") or "/"
        leaf = table.find(handler, path)
        if leaf is not None:
            serving.route = leaf.template
            return
        within = scope.get("app")  # the handler is one of an application that is mounted in ours
        known = mounted.get(id(within))
        if known is None and len(mounted) < MOUNTED:
            known = mounted[id(within)] = (within, Table(lambda: _leaves(within)))
        inner = None if known is None else known[1].find(handler, scope["path"].rstrip("/") or "/")
        if inner is not None:
            filled = _fill(inner.template, serving.params)
            head = path.removesuffix(filled) if path.endswith(filled) else ""
            serving.route = head + inner.template

    return look


def _not_routed(table: Table, scope: Scope, serving: Serving, path: str) -> None:
    """No handler was found, or none for this method."""
    serving.routed = False
    failure = serving.failure
    if failure is not None and failure.type.endswith("MethodNotAllowedException"):
        leaf = table.match(scope.get("method", ""), path.rstrip("/") or "/")
        if leaf is not None:
            serving.route, serving.routed = leaf.template, True


def _leaves(app: Any) -> Iterator[Leaf]:
    for route in app.routes:
        handlers = getattr(route, "route_handlers", None) or [getattr(route, "route_handler", None)]
        whole = "".join(f"/{_expression(part)}" for part in route.path_components) or "/"
        template = route.path_format or "/"
        for handler in handlers:
            if getattr(handler, "is_mount", False):
                tail = "" if template == "/" else template
                below = "" if whole == "/" else whole
                yield Leaf(handler, f"{tail}/{{path}}", f"{below}(?:/.*)?")
            else:
                yield Leaf(handler, template, whole, getattr(handler, "http_methods", None))


def _expression(part: Any) -> str:
    if isinstance(part, str):
        return re.escape(part)
    kind = getattr(part, "type", str)
    return ".*" if getattr(kind, "__name__", "") == "Path" else "[^/]+"


def _fill(template: str, params: Any) -> str:
    try:
        return template.format(**params)
    except (KeyError, IndexError, ValueError):
        return template
