"""``watch(app)``: tell what kind of application it is, and have each of its requests recorded."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from typing import Any, TypeVar, cast

from tocsin.errors import UsageError
from tocsin.sdk.watching.exchange import Watching

__all__ = ["watch", "watch_with", "watching_for"]

App = TypeVar("App")

#: Which module of ours knows a framework's class, and its function for it.
_FRAMEWORKS = {
    "starlette.applications.Starlette": "starlette.watch_starlette",
    "litestar.app.Litestar": "litestar.watch_litestar",
    "flask.app.Flask": "flask.watch_flask",
    "quart.app.Quart": "flask.watch_quart",
    "connexion.apps.abstract.AbstractApp": "connexion.watch_connexion",
    "connexion.middleware.main.ConnexionMiddleware": "connexion.watch_connexion",
    "django.core.handlers.wsgi.WSGIHandler": "django.watch_django",
    "django.core.handlers.asgi.ASGIHandler": "django.watch_django",
}

_WAY_OUT = (
    "pass a FastAPI, Starlette, Litestar, Quart, Flask, connexion or Django application, "
    "or a callable app(scope, receive, send) (ASGI) or app(environ, start_response) (WSGI)"
)


def watch(app: App, *, service: str | None = None, **options: Any) -> App:
    """Record every request that *app* serves, and return what to serve in its place.

    An application of a framework is instrumented and returned itself; any other ASGI or WSGI
    callable is returned wrapped.  Once more on the same application changes nothing.

    Raises SettingsError for a wrong option, and UsageError when it cannot be told what *app* is.
    A wrong environment is only warned of: it must not keep an application from starting.
    """
    if _framework(app) is None:
        _interface(app)  # complain before anything is set up
    return watch_with(app, watching_for(service, options))


def watching_for(service: str | None, options: Mapping[str, Any]) -> Watching:
    """Have the one client go by *options*.  The first service that is named is its own as well.

    Raises SettingsError for a wrong option.
    """
    from tocsin.sdk import client

    given = dict(options)
    if service is not None and "service" not in client._the.given:
        given["service"] = service
    client.configure(**given)
    return Watching(client.the_client, service)


def watch_with(app: App, watching: Watching) -> App:
    """As :func:`watch`, when it is settled what to watch with."""
    known = _framework(app)
    if known is not None:
        module, _, function = known.partition(".")
        getattr(import_module(f"tocsin.sdk.watching.{module}"), function)(app, watching)
        return app
    return cast("App", _wrap(app, watching))


def _framework(app: object) -> str | None:
    for kind in type(app).__mro__:
        known = _FRAMEWORKS.get(f"{kind.__module__}.{kind.__qualname__}")
        if known is not None:
            return known
    return None


def _wrap(app: Any, watching: Watching) -> Any:
    from tocsin.sdk.watching.asgi import AsgiWatch
    from tocsin.sdk.watching.wsgi import WsgiWatch

    if isinstance(app, AsgiWatch | WsgiWatch):
        return app
    if _interface(app) == "asgi":
        from tocsin.sdk.watching.starlette import look_for

        return AsgiWatch(app, watching, look_for(app))
    from tocsin.sdk.watching.flask import look_at_environ

    return WsgiWatch(app, watching, look_at_environ)


def _interface(app: Any) -> str:
    """``asgi`` or ``wsgi``, by what a server would call *app* with."""
    if inspect.isclass(app):
        raise UsageError(f"watch(): {app.__qualname__} is a class; pass an object of it")
    if not callable(app):
        raise UsageError(f"watch(): {type(app).__qualname__} is no application; {_WAY_OUT}")
    bare: Any = app
    while isinstance(bare, partial):
        bare = bare.func
    called: Callable[..., Any] = bare if inspect.isroutine(bare) else bare.__call__
    wanted = _wanted(app)
    if inspect.iscoroutinefunction(called) and wanted in (3, None):
        return "asgi"
    if wanted == 3:
        return "asgi"
    if wanted == 2 and not inspect.iscoroutinefunction(called):
        return "wsgi"
    raise UsageError(f"watch(): it is not clear how a server calls {app!r}; {_WAY_OUT}")


def _wanted(app: Any) -> int | None:
    """How many arguments *app* must be called with; None when it takes any number."""
    try:
        parameters = inspect.signature(app).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(one.kind is one.VAR_POSITIONAL for one in parameters):
        return None
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(one.kind in positional and one.default is one.empty for one in parameters)
