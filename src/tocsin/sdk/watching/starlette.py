"""Starlette and FastAPI: outermost, outside the layer that makes a 500 of what nobody handled.

What is hooked, on the one application that was given to :func:`watch` and nowhere else:

- ``build_middleware_stack``, so that the stack, once built, is within ours.  Middleware that is
  added the usual way would lie inside ``ServerErrorMiddleware``: it would see no 500, and the
  client would get none with an id.
- the handlers in ``exception_handlers``, while the stack is being built: each tells us what it is
  called with before it does what it always did.  An exception that was made an answer shows nowhere
  else.  Applications that are mounted in the one have stacks and handlers of their own.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial, wraps
from typing import Any

from tocsin.sdk.harmless import harmless
from tocsin.sdk.watching.asgi import AsgiWatch, Look, Scope
from tocsin.sdk.watching.exchange import Watching
from tocsin.sdk.watching.routes import DEPTH, Leaf, Table, routes_of, starlette_leaves
from tocsin.sdk.watching.serving import Serving, note_failure

__all__ = ["look_for", "noting", "watch_starlette"]


def watch_starlette(app: Any, watching: Watching) -> None:
    """Instrument *app*; a second time nothing happens."""
    if isinstance(app.middleware_stack, AsgiWatch):
        return
    if isinstance(app.build_middleware_stack, _Build):
        return
    look = look_for(app)
    if app.middleware_stack is not None:  # it has served already
        app.middleware_stack = AsgiWatch(app.middleware_stack, watching, look)
    else:
        app.build_middleware_stack = _Build(app, watching, look)


class _Build:
    """``build_middleware_stack`` of one application."""

    def __init__(self, app: Any, watching: Watching | None, look: Look | None) -> None:
        """Without *watching* only exceptions are noted: the application is mounted in another."""
        self._app = app
        self._build = app.build_middleware_stack
        self._watching = watching
        self._look = look

    def __call__(self) -> Any:
        app = self._app
        handlers = app.exception_handlers
        app.exception_handlers = _all_noting(handlers)
        try:
            stack = self._build()
        finally:
            app.exception_handlers = handlers
        if self._watching is None:
            return stack
        with harmless:
            for mounted in _mounted(app):
                mounted.build_middleware_stack = _Build(mounted, None, None)
        return AsgiWatch(stack, self._watching, self._look)


def _mounted(app: object, depth: int = DEPTH) -> Iterator[Any]:
    """Applications within *app* that have not served yet and that nobody watches."""
    for route in routes_of(app) if depth else ():
        below: Any = getattr(route, "app", None)
        if below is None:
            continue
        yield from _mounted(below, depth - 1)
        while below is not None and not hasattr(below, "build_middleware_stack"):
            below = getattr(below, "app", None)  # within middleware of the mount
        if below is None or below.middleware_stack is not None:
            continue
        if not isinstance(below.build_middleware_stack, _Build):
            yield below


def _all_noting(handlers: Mapping[Any, Any]) -> dict[Any, Any]:
    """*handlers* that tell us first; after the one for everything it is raised all the same."""
    noted = {
        key: handler if key in (500, Exception) else noting(handler)
        for key, handler in handlers.items()
    }
    middleware = getattr(
        sys.modules.get("starlette.middleware.exceptions"), "ExceptionMiddleware", None
    )
    raised = getattr(sys.modules.get("starlette.exceptions"), "HTTPException", None)
    if middleware is not None and raised is not None and raised not in noted:
        noted[raised] = noting(middleware(None).http_exception)  # what would be its handler anyway
    return noted


def noting(handler: Callable[..., Any], *, handled: bool = True) -> Callable[..., Any]:
    """*handler* that first notes the exception it is called with; a coroutine stays one."""
    if _is_async(handler):

        @wraps(handler)
        async def noting_async(request: Any, error: Exception) -> Any:
            note_failure(error, handled=handled)
            return await handler(request, error)

        return noting_async

    @wraps(handler)
    def noting_sync(request: Any, error: Exception) -> Any:
        note_failure(error, handled=handled)
        return handler(request, error)

    return noting_sync


def _is_async(handler: Any) -> bool:
    while isinstance(handler, partial):
        handler = handler.func
    call = getattr(handler, "__call__", None)  # noqa: B004  of an object, its method
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(call)


def look_for(app: object) -> Look:
    """Finds the route in a scope that *app* has served."""
    table = Table(lambda: starlette_leaves(routes_of(app)))
    own_root = getattr(app, "root_path", "")  # of FastAPI

    def look(scope: Scope, serving: Serving, path: str) -> None:
        endpoint = scope.get("endpoint")
        root: str = scope.get("app_root_path", scope.get("root_path", own_root))  # before mounts
        head, rest = _split(path, root) if root else ("", path)
        if endpoint is not None:
            leaf = table.find(endpoint, rest)
            if leaf is None and head:  # an older Starlette, which takes the path as it is
                head, leaf = "", table.find(endpoint, path)
            _tell(serving, scope, leaf, head, path)
        elif "router" in scope:
            serving.routed = False
        elif (leaf := table.match(scope.get("method", ""), rest)) is not None:
            # Middleware answered in the place of the route that the request was for.
            serving.route, serving.routed = head + leaf.template, True

    return look


def _split(path: str, root: str) -> tuple[str, str]:
    """*path* below the application's root, and that root if it is part of the path."""
    root = root.rstrip("/")
    if root and path.startswith(root) and path[len(root) : len(root) + 1] in ("", "/"):
        return root, path[len(root) :]
    return "", path


def _tell(serving: Serving, scope: Scope, leaf: Leaf | None, head: str, path: str) -> None:
    serving.params = scope.get("path_params") or {}
    if leaf is None:
        serving.routed = True
        serving.route = _by_tail(scope, path)
    elif leaf.leads_on:  # into a mounted application, and no further
        serving.routed = False
    else:
        serving.routed = True
        serving.route = head + leaf.template if head else leaf.template


def _by_tail(scope: Scope, path: str) -> str | None:
    """The head of the path as it is, and the tail from the route: for routes made on the fly."""
    tail = getattr(scope.get("route"), "path_format", None)
    if not isinstance(tail, str):
        return None
    try:
        filled = tail.format(**scope.get("path_params", {}))
    except (KeyError, IndexError, ValueError):
        return tail
    return path.removesuffix(filled) + tail if path.endswith(filled) else tail
