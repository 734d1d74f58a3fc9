"""Flask and Quart, which are made the same way.

What is hooked, on the one application that was given:

- ``wsgi_app`` or ``asgi_app``, the place that the documentation names for middleware.
- ``handle_user_exception`` and ``handle_exception``, through which every exception of a handler
  goes: the first may make an answer of it, the second gets what the first raised again.  Signals
  would tell of the latter only, and older Flask has none without blinker.
- a teardown function, since extensions keep their user in ``g``, which is gone after that.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

from tocsin.sdk.harmless import harmless
from tocsin.sdk.watching.asgi import AsgiWatch, Scope
from tocsin.sdk.watching.exchange import Watching
from tocsin.sdk.watching.principals import among, principal
from tocsin.sdk.watching.routes import from_rule
from tocsin.sdk.watching.serving import Serving, at_hand, note_failure
from tocsin.sdk.watching.wsgi import Environ, WsgiWatch

__all__ = ["look_at_environ", "note_user", "watch_flask", "watch_quart"]

_templates: dict[str, str] = {}
_MOST_TEMPLATES = 4096


def watch_flask(app: Any, watching: Watching) -> None:
    """Instrument *app*; a second time nothing happens."""
    if isinstance(app.wsgi_app, WsgiWatch):
        return
    app.wsgi_app = WsgiWatch(app.wsgi_app, watching, look_at_environ)
    app.handle_user_exception = _telling(app.handle_user_exception, handled=True)
    app.handle_exception = _telling(app.handle_exception, handled=False)
    note_user(app, "flask")


def watch_quart(app: Any, watching: Watching) -> None:
    """Instrument *app*; a second time nothing happens."""
    if isinstance(app.asgi_app, AsgiWatch):
        return
    app.asgi_app = AsgiWatch(app.asgi_app, watching, _look_at_hand)
    for name in ("handle_user_exception", "handle_exception", "handle_websocket_exception"):
        setattr(app, name, _telling_async(getattr(app, name), handled="user" in name))
    for name in ("handle_request", "handle_websocket"):
        setattr(app, name, _looking(getattr(app, name)))
    note_user(app, "quart")


def _telling(handle: Callable[[Exception], Any], *, handled: bool) -> Callable[[Exception], Any]:
    @wraps(handle)
    def telling(error: Exception) -> Any:
        note_failure(error, handled=handled)
        return handle(error)

    return telling


def _telling_async(
    handle: Callable[[Exception], Any], *, handled: bool
) -> Callable[[Exception], Any]:
    @wraps(handle)
    async def telling(error: Exception) -> Any:
        note_failure(error, handled=handled)
        return await handle(error)

    return telling


def _looking(handle: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Quart tells nobody else of the request it made of the scope."""

    @wraps(handle)
    async def looking(request: Any) -> Any:
        try:
            return await handle(request)
        finally:
            with harmless:
                serving = at_hand()
                if serving is not None:
                    _look(request, request.scope.get("root_path", ""), serving)

    return looking


def _look_at_hand(_scope: Scope, serving: Serving, _path: str) -> None:
    """For events that are made while the request is at hand in Quart as well."""
    quart = sys.modules["quart"]
    if serving.route is None and quart.has_request_context():
        _look(quart.request, quart.request.root_path, serving)


def note_user(app: Any, package: str) -> None:
    """When a request of *app* ends, note the user that an extension left in ``g``."""

    def note(_error: object = None) -> None:
        with harmless:
            serving = at_hand()
            if serving is not None and serving.principal is None:
                names = vars(sys.modules[package].g._get_current_object())
                serving.principal = principal(among(names)) if names else None

    functions = app.teardown_request_funcs.setdefault(None, [])
    if package == "quart":

        async def note_async(error: object = None) -> None:
            note(error)

        functions.append(note_async)
    else:
        functions.append(note)


def look_at_environ(environ: Environ, serving: Serving) -> None:
    """Werkzeug leaves the request in the environment, with the rule that it matched."""
    request = environ.get("werkzeug.request")
    if request is not None:
        _look(request, environ.get("SCRIPT_NAME", ""), serving)


def _look(request: Any, root: str, serving: Serving) -> None:
    rule = request.url_rule
    if rule is None:
        serving.routed = _is_allowed(request)
        return
    serving.routed = True
    serving.params = request.view_args or {}
    serving.route = root.rstrip("/") + _template(rule.rule)


def _is_allowed(request: Any) -> bool:
    """A wrong method is known for a route that is there all the same."""
    return getattr(request.routing_exception, "code", 404) == 405


def _template(rule: str) -> str:
    found = _templates.get(rule)
    if found is None:
        found = from_rule(rule)
        if len(_templates) < _MOST_TEMPLATES:
            _templates[rule] = found
    return found
