"""Django: a middleware, the first of the list, over WSGI and ASGI.

It uses what Django offers middleware: the call itself, ``process_exception`` for exceptions of
views, and the signal ``got_request_exception`` for those of other middleware.  Bodies are noted
while the application reads them, in the request's own stream, so nothing is read that it would not
have read, and files go to the server as they are.
"""

from __future__ import annotations

import re
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from functools import lru_cache, partial
from importlib import import_module
from time import perf_counter_ns
from typing import Any

from tocsin.sdk.context import Context
from tocsin.sdk.harmless import harmless
from tocsin.sdk.quoted import without_values
from tocsin.sdk.refusals import complaints_in
from tocsin.sdk.seen import Failure
from tocsin.sdk.watching.asgi import AsgiExchange
from tocsin.sdk.watching.exchange import Watching
from tocsin.sdk.watching.principals import principal
from tocsin.sdk.watching.routes import from_rule
from tocsin.sdk.watching.serving import Serving, at_hand, is_inspected, note_failure
from tocsin.sdk.watching.wsgi import Noted, WsgiExchange

__all__ = ["Watch", "template", "watch_django"]

#: What Django itself makes an answer of, by class name and status.
_ANSWERED = {"Http404": 404, "PermissionDenied": 403, "BadRequest": 400, "SuspiciousOperation": 400}


class Watch:
    """The middleware.  ``TOCSIN = {...}`` in the settings holds options, if there are any.

    Besides those of ``watch`` there is ``"database"``: True has statements and their rows told of.
    """

    sync_capable = True
    async_capable = True

    def __init__(
        self, get_response: Callable[[Any], Any], watching: Watching | None = None
    ) -> None:
        """Raises SettingsError for a wrong option, when the application starts."""
        self.get_response = get_response
        self._watching = watching or _from_settings()
        asgiref = import_module("asgiref.sync")
        self._is_async: bool = asgiref.iscoroutinefunction(get_response)
        if self._is_async:
            asgiref.markcoroutinefunction(self)
        self.process_view = self._routed_async if self._is_async else self._routed
        signals = import_module("django.core.signals")
        signals.got_request_exception.connect(_uncaught, dispatch_uid="tocsin")
        signals = import_module("django.contrib.auth.signals")
        signals.user_logged_in.connect(_logged_in, dispatch_uid="tocsin")
        signals.user_login_failed.connect(_login_failed, dispatch_uid="tocsin")

    def __call__(self, request: Any) -> Any:
        if self._is_async:
            return self._answer(request)
        exchange = self._begin(request)
        try:
            response = self.get_response(request)
        except BaseException as error:
            _failed(exchange, error)
            raise
        return _end(exchange, request, response)

    async def _answer(self, request: Any) -> Any:
        exchange = self._begin(request)
        try:
            response = await self.get_response(request)
        except BaseException as error:
            _failed(exchange, error)
            raise
        return _end(exchange, request, response)

    def process_exception(self, _request: Any, error: Exception) -> None:
        """A view let *error* out."""
        names = {kind.__name__ for kind in type(error).__mro__}
        note_failure(error, handled=not names.isdisjoint(_ANSWERED))

    def _routed(self, request: Any, *_view: Any) -> None:
        """The request has its view: events that are made in there will tell the route."""
        with harmless:
            serving = at_hand()
            if serving is not None:
                _note_route(request, request.resolver_match, serving)

    async def _routed_async(self, request: Any, *_view: Any) -> None:
        self._routed(request)

    def _begin(self, request: Any) -> WsgiExchange | AsgiExchange | None:
        """None when a server's wrapper of ours records this request, or nobody can."""
        try:
            exchange = _exchange(self._watching, request)
            if exchange is not None:
                exchange.serving.facts = partial(_facts, exchange, request)
                exchange.token = exchange.serving.bind()
        except Exception as error:  # noqa: BLE001  the app must not feel it
            harmless.mishap(error)
            return None
        return exchange


def _from_settings() -> Watching:
    from tocsin.sdk.watching.watch import watching_for

    options: dict[str, Any] = dict(getattr(import_module("django.conf").settings, "TOCSIN", {}))
    if options.pop("database", False):
        from tocsin.sdk.database import django_db

        django_db.watch()
    return watching_for(options.pop("service", None), options)


def _exchange(watching: Watching, request: Any) -> WsgiExchange | AsgiExchange | None:
    environ, scope = getattr(request, "environ", None), getattr(request, "scope", None)
    exchange: WsgiExchange | AsgiExchange
    if environ is not None and "tocsin.serving" not in environ:
        exchange = WsgiExchange(watching, environ, None, None)
    elif scope is not None and "tocsin" not in scope:
        exchange = AsgiExchange(watching, scope, _nowhere, _nowhere)
    else:
        return None
    stream = getattr(request, "_stream", None)
    meta = request.META
    has_body = meta.get("CONTENT_LENGTH", "") not in ("", "0") or "HTTP_TRANSFER_ENCODING" in meta
    if stream is not None and has_body:
        exchange.unsure = not is_inspected(meta.get("CONTENT_TYPE", ""))
        request._stream = Noted(stream, exchange)
    return exchange


async def _nowhere(*_: Any) -> Any:
    """Django speaks to the server itself; we only watch what it makes of it."""


def _failed(exchange: WsgiExchange | AsgiExchange | None, error: BaseException) -> None:
    """Django makes answers of exceptions; what comes here is the end of the task or the process."""
    if exchange is not None:
        exchange.failed(error)
        exchange.done()


def _facts(exchange: WsgiExchange | AsgiExchange, request: Any) -> Mapping[str, Any]:
    """What is known of the request so far; whose it is, if somebody has asked for that."""
    _note_user(request, exchange.serving)
    return exchange.facts()


def _end(exchange: WsgiExchange | AsgiExchange | None, request: Any, response: Any) -> Any:
    """The request is answered; *response* itself, its id set, its parts counted as they go."""
    try:
        serving = _serving(exchange, request)
        if serving is not None:
            with harmless:  # the rest is worth having without it
                _look(request, response, serving)
        if exchange is not None:
            _begin_answer(exchange, response)
            if _goes_later(exchange, response):
                Context.release(exchange.token)
                exchange.token = None
            else:
                exchange.done()
    except Exception as error:  # noqa: BLE001  the app must not feel it
        harmless.mishap(error)
    return response


def _serving(exchange: WsgiExchange | AsgiExchange | None, request: Any) -> Serving | None:
    if exchange is not None:
        return exchange.serving
    found = getattr(request, "environ", {}).get("tocsin.serving")
    found = found or getattr(request, "scope", {}).get("tocsin")
    return found if isinstance(found, Serving) else None


def _begin_answer(exchange: WsgiExchange | AsgiExchange, response: Any) -> None:
    watching = exchange.watching
    exchange.status = response.status_code
    if watching.returned and not response.has_header(watching.header):
        response[watching.header] = exchange.serving.request_id
    exchange.out_headers = tuple((str(name), str(value)) for name, value in response.items())
    kind = response.get("Content-Type", "")
    looked_at = "json" in kind or (
        exchange.body_in and kind.startswith(("text/html", "text/plain"))
    )
    exchange.looks_out = watching.limit > 0 and bool(looked_at)


def _goes_later(exchange: WsgiExchange | AsgiExchange, response: Any) -> bool:
    """Whether parts of the answer are still to come; the record is then handed over at its end."""
    if not response.streaming:
        if response.content:
            exchange.sent(response.content)
        exchange.ended = perf_counter_ns()
        return False
    closers = getattr(response, "_resource_closers", None)
    if closers is None:
        return False
    if getattr(response, "file_to_stream", None) is None:
        parts = _Parts(response.streaming_content, exchange)
        response.streaming_content = parts.later() if _is_async(response) else parts
        closers.append(parts.finish)
    else:  # the server sends the file by itself
        exchange.ended = perf_counter_ns()
        closers.append(exchange.done)
    return True


def _is_async(response: Any) -> bool:
    return bool(getattr(response, "is_async", False))


class _Parts:
    """A streamed answer, counted as the server takes it, with the request at hand meanwhile."""

    def __init__(self, parts: Any, exchange: WsgiExchange | AsgiExchange) -> None:
        self._parts = parts
        self._exchange = exchange
        self._begun = self._finished = False

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        self._begun = True
        token = self._exchange.serving.bind()
        try:
            part: bytes = next(self._parts)
        except StopIteration:
            self._exchange.ended = perf_counter_ns()
            raise
        except BaseException as error:
            self._exchange.failed(error)
            self.finish()
            raise
        finally:
            Context.release(token)
        self._note(part)
        return part

    async def later(self) -> AsyncIterator[bytes]:
        self._begun = True
        try:
            async for part in self._parts:
                self._note(part)
                yield part
            self._exchange.ended = perf_counter_ns()
        except BaseException as error:
            self._exchange.failed(error)
            self.finish()  # Django closes no answer that fails
            raise

    def _note(self, part: bytes) -> None:
        with harmless:
            if part:
                self._exchange.sent(part)

    def finish(self) -> None:
        """The answer is through, or its client gone."""
        if self._finished:
            return
        self._finished = True
        exchange = self._exchange
        failure = exchange.serving.failure
        if self._begun and not exchange.ended and (failure is None or failure.handled):
            exchange.gone = True
        exchange.done()


def _look(request: Any, response: Any, serving: Serving) -> None:
    inside = vars(request)
    match = inside.get("resolver_match")
    if match is None and response.status_code != 404:
        match = _turned_away(request)
    _note_route(request, match, serving)
    _note_user(request, serving)
    if getattr(response, "exception", False) is True and hasattr(response, "data"):
        _look_at_rest(response, serving)


def _note_user(request: Any, serving: Serving) -> None:
    inside = vars(request)
    user = inside.get("_cached_user") or inside.get("user")
    if serving.principal is None and user is not None:
        serving.principal = principal(user)


def _note_route(request: Any, match: Any, serving: Serving) -> None:
    serving.routed = match is not None
    if match is not None:
        serving.route = _root(request) + template(match.route or "")
        serving.params = match.kwargs


def _turned_away(request: Any) -> Any:
    """What a request was for that middleware answered before it was routed; None: nothing here."""
    urls = import_module("django.urls")
    try:
        return urls.resolve(request.path_info, getattr(request, "urlconf", None))
    except urls.Resolver404:
        return None


def _root(request: Any) -> str:
    """The script name, with the slash that routes leave out."""
    root: str = request.path.removesuffix(request.path_info)
    return root.rstrip("/") + "/"


def _look_at_rest(response: Any, serving: Serving) -> None:
    """REST framework answers exceptions inside the view; what it answered with has their codes."""
    data = response.data
    if not isinstance(data, dict | list):
        return
    detail = data.get("detail") if isinstance(data, dict) else None
    code = getattr(detail, "code", None)
    if code is None:
        serving.complaints = serving.complaints or complaints_in(data)
        code = "invalid"
    kind = _rest_exception(response.status_code, code)
    if serving.failure is None:
        words = without_values(str(detail or "")[:2000], kind)
        serving.failure = Failure(kind, words, "", handled=True)


def _rest_exception(status: int, code: str) -> str:
    """The class whose status and code these are, the application's own included."""
    exceptions = sys.modules.get("rest_framework.exceptions")
    waiting: list[Any] = [exceptions.APIException] if exceptions is not None else []
    while waiting:
        kind = waiting.pop(0)
        if kind.status_code == status and kind.default_code == code:
            return f"{kind.__module__}.{kind.__qualname__}"
        waiting += kind.__subclasses__()
    return "rest_framework.exceptions.APIException"


def _logged_in(user: Any = None, **_signal: Any) -> None:
    with harmless:
        if (serving := at_hand()) is not None:
            serving.login = True, str(user.get_username()) if user is not None else None


def _login_failed(credentials: Any = None, **_signal: Any) -> None:
    """No backend knew the credentials; Django has starred out the secret among them."""
    with harmless:
        if (serving := at_hand()) is not None and (serving.login is None or not serving.login[0]):
            names = [v for k, v in dict(credentials or {}).items() if k in _NAMES and v]
            serving.login = False, str(names[0])[:256] if names else None


#: Under which *credentials* have the name of an account.
_NAMES = ("username", "email", "login", "user", "phone")


def _uncaught(**_signal: Any) -> None:
    """Something other than a view let an exception out; it is still being handled."""
    error = sys.exc_info()[1]
    if error is not None:
        note_failure(error, handled=False)


@lru_cache(4096)
def template(route: str) -> str:
    """A route as Django joins it, of ``path()`` and ``re_path()``, without its leading slash.

    >>> template("v1/orders/<int:pk>/"), template(r"v1/^items/(?P<pk>[^/]+)\\.(?P<kind>\\w+)/?$")
    ('v1/orders/{pk}/', 'v1/items/{pk}.{kind}/')
    """
    if not re.search(r"[\\^$()?+*\[\]|]", from_rule(route)):
        return from_rule(route)
    return from_rule(_without_groups(route))


def _without_groups(pattern: str) -> str:
    """A regular expression as a path: groups by name, and nothing of what has no width."""
    out: list[str] = []
    at = unnamed = 0
    while at < len(pattern):
        char = pattern[at]
        if char == "(":
            end = _closing(pattern, at)
            named = re.match(r"\(\?P<(\w+)>", pattern[at:])
            if named:
                out.append(f"{{{named[1]}}}")
            elif pattern.startswith("(?:", at):
                optional = pattern[end : end + 1] in ("?", "*")
                out.append("" if optional else _without_groups(pattern[at + 3 : end - 1]))
            elif not pattern.startswith("(?", at):
                out.append(f"{{{unnamed}}}")
                unnamed += 1
            at = end
        elif char == "\\":
            after = pattern[at + 1 : at + 2]
            out.append("" if after in "AZbB" else after)
            at += 2
        else:
            out.append("" if char in "^$?*+" else char)
            at += 1
    return "".join(out)


def _closing(pattern: str, at: int) -> int:
    """Behind the parenthesis that closes the one at *at*."""
    depth, in_class = 0, False
    while at < len(pattern):
        char = pattern[at]
        if char == "\\":
            at += 1
        elif in_class:
            in_class = char != "]"
        elif char == "[":
            in_class = True
            at += pattern[at + 1 : at + 2] in ("]", "^") and pattern[at + 1 : at + 3] in ("]", "^]")
        elif char == "(":
            depth += 1
        elif char == ")":
            depth -= 1
            if depth == 0:
                return at + 1
        at += 1
    return at


def watch_django(handler: Any, watching: Watching) -> None:
    """Put :class:`Watch` around the middleware of one WSGI or ASGI handler, unless it is there."""
    names: list[str] = import_module("django.conf").settings.MIDDLEWARE
    if "tocsin.django.Watch" in names or isinstance(handler._middleware_chain, Watch):
        return
    watch = Watch(handler._middleware_chain, watching)
    handler._middleware_chain = watch
    handler._exception_middleware.append(watch.process_exception)
    handler._view_middleware.insert(0, watch.process_view)
