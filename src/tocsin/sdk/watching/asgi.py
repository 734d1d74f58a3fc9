"""Watch an ASGI application: one record a request, and not a byte of the answer touched.

The only change to an answer is the request id header, when it is switched on.  Nothing is held
back: each message goes on as it comes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from time import perf_counter_ns
from typing import Any

from tocsin.sdk.context import new_request_id
from tocsin.sdk.failures import class_of
from tocsin.sdk.harmless import harmless
from tocsin.sdk.seen import Seen
from tocsin.sdk.watching.exchange import Exchange, Watching, name_of
from tocsin.sdk.watching.lifespan import live
from tocsin.sdk.watching.principals import is_lazy, principal
from tocsin.sdk.watching.serving import Serving, is_inspected, percent_encoded, plain, sane

__all__ = ["Asgi", "AsgiExchange", "AsgiWatch", "Look", "Receive", "Scope", "Send"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]

#: Finds route, parameters and user once the application is through with *scope*, whose path it may
#: have changed meanwhile; so it is told the path as it was.
Look = Callable[[Scope, Serving, str], None]

#: Where the scope says that somebody of us is at it already.  A framework's nested applications get
#: the scope, or a copy.
MARK = "tocsin"


class AsgiWatch:
    """An ASGI application whose requests are recorded."""

    def __init__(self, app: Asgi, watching: Watching, look: Look | None = None) -> None:
        self.app = app
        self.watching = watching
        self.look = look

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if MARK in scope:
            return await self._pass(scope, receive, send)
        if kind == "lifespan":
            scope[MARK] = True  # whoever of us is further in has nothing to tell
            return await live(self.app, self.watching.client, scope, receive, send)
        try:
            exchange = (AsgiExchange if kind == "http" else _Talk)(
                self.watching, scope, receive, send, self.look
            )
            serving = exchange.serving
            serving.facts = exchange.facts
            exchange.token = serving.bind()
        except Exception as error:  # noqa: BLE001  ours; the request is served all the same
            harmless.mishap(error)
            return await self.app(scope, receive, send)
        try:
            await self.app(scope, exchange.receive, exchange.send)
        except BaseException as error:
            exchange.failed(error)
            raise
        finally:
            exchange.done()

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Somebody further out records this request; tell what can only be seen from here."""
        path = scope.get("path", "")
        try:
            await self.app(scope, receive, send)
        finally:
            serving = scope.get(MARK)
            if self.look is not None and isinstance(serving, Serving) and serving.route is None:
                with harmless:
                    self.look(scope, serving, path)


class AsgiExchange(Exchange):
    """One request over ASGI."""

    __slots__ = ("_look", "_receive", "_scope", "_send", "headers", "path")

    def __init__(
        self,
        watching: Watching,
        scope: Scope,
        receive: Receive,
        send: Send,
        look: Look | None = None,
    ) -> None:
        Exchange.__init__(self, watching)  # super() would take as long as all of it
        self._scope = scope
        self._receive = receive
        self._send = send
        self._look = look
        self.path: str = scope["path"]  # as it is now: routers change it
        headers: tuple[tuple[bytes, bytes], ...] = tuple(scope["headers"])
        self.headers = headers
        if watching.wanted.isdisjoint(map(name_of, headers)):
            self.serving = Serving(new_request_id())
        else:
            self.serving = self._serving(dict(headers))
        scope[MARK] = self.serving

    def _serving(self, found: dict[bytes, bytes]) -> Serving:
        """Who the request is, as these headers of it tell."""
        watching = self.watching
        given = found.get(watching.header_bytes, b"").decode("latin-1")
        serving = Serving(given if sane(given) else new_request_id())
        if b"traceparent" in found:
            serving.goes_on(found[b"traceparent"].decode("latin-1"))
        if b"content-type" in found:
            self.unsure = not is_inspected(found[b"content-type"].decode("latin-1"))
        return serving

    async def receive(self) -> Message:
        message = await self._receive()
        try:
            if message["type"] == "http.request":
                if body := message.get("body"):
                    self.read(body)
            elif message["type"] == "http.disconnect" and not self.ended:
                self.gone = True
        except Exception as error:  # noqa: BLE001  the app must not feel it
            harmless.mishap(error)
        return message

    async def send(self, message: Message) -> None:
        try:
            kind = message["type"]
            if kind == "http.response.body":
                if body := message.get("body"):
                    if self.looks_out or self.body_out:
                        self.sent(body)
                    else:
                        self.bytes_out += len(body)
                if not message.get("more_body"):
                    self.ended = perf_counter_ns()
            elif kind == "http.response.start":
                headers = message.get("headers", ())
                if not isinstance(headers, list | tuple):  # an iterator, which can be read once
                    message = {**message, "headers": list(headers)}
                message = self._start(message)
            elif kind == "http.response.pathsend" or (
                kind == "http.response.zerocopysend" and not message.get("more_body")
            ):
                self.ended = perf_counter_ns()
        except Exception as error:  # noqa: BLE001  the app must not feel it
            harmless.mishap(error)
        try:
            await self._send(message)
        except OSError:  # how a server says that the client is gone
            self.gone = True
            raise

    def _start(self, message: Message) -> Message:
        """Note status and headers; add the request id to a copy of *message*."""
        if self.status:  # a second answer, which the server will not take
            return message
        self.status = message["status"]
        given = message.get("headers", ())
        watching = self.watching
        at, has_id = watching.lines(given)
        if at >= 0 and watching.limit:
            kind = given[at][1]
            self.looks_out = kind.find(b"json") >= 0 or (  # "in" raises and catches an error first
                len(self.body_in) > 0 and kind.startswith((b"text/html", b"text/plain"))
            )
        if watching.returned and not has_id:
            given = [*given, (watching.header_bytes, self.serving.request_id.encode())]
            message = {**message, "headers": given}
        self.out_headers = given
        return message

    def look(self) -> None:
        if self._look is not None:
            self._look(self._scope, self.serving, self.path)

    def on_the_wire(self) -> str:
        raw = self._scope.get("raw_path")
        if not raw:
            return percent_encoded(self.path.encode("utf-8", "surrogatepass"), decoded=True)
        text: str = raw.decode("latin-1")
        if text.isascii() and text.isprintable() and "?" not in text:
            return text
        return percent_encoded(raw.partition(b"?")[0])  # some servers leave the query on

    def method(self) -> str:
        return str(self._scope.get("method", "GET"))

    def peer(self) -> tuple[str, int] | None:
        client = self._scope.get("client")
        return None if client is None else (client[0], client[1] or 0)

    def seen(self) -> Seen:
        scope, serving = self._scope, self.serving
        try:
            self.look()
            if serving.params:
                serving.params = plain(serving.params)
            if serving.principal is None and ("user" in scope or "state" in scope):
                serving.principal = _principal(scope)
        except Exception as error:  # noqa: BLE001  the rest is worth having without the route
            harmless.mishap(error)
        return Seen(
            self.began,
            (self.ended or perf_counter_ns()) - self.started,
            serving,
            scope.get("method", "GET"),
            scope.get("scheme", "http"),
            self.on_the_wire(),
            self.watching.service,
            scope.get("query_string", b""),
            scope.get("http_version", ""),
            self.peer(),
            self.headers,
            self.status,
            self.out_headers,
            self.bytes_in,
            self.bytes_out,
            self.body_in,
            self.body_out,
            self.cut_in,
            self.cut_out,
            self.gone or (not self.ended and self._is_cut()),
            serving.route,
            serving.routed,
            serving.params,
            serving.failure,
            serving.complaints or (),
            serving.principal,
        )

    def _is_cut(self) -> bool:
        """An answer that was begun, neither completed nor broken by an error, lost its client."""
        failure = self.serving.failure
        return self.status > 0 and (failure is None or failure.handled)


class _Talk(AsgiExchange):
    """A websocket, from handshake to farewell; ``status`` is what the handshake was answered."""

    __slots__ = ("_late",)

    _late: BaseException | None

    async def receive(self) -> Message:
        message = await self._receive()
        try:
            if message["type"] == "websocket.receive":
                self.bytes_in += len(message.get("bytes") or message.get("text") or "")
            elif message["type"] == "websocket.disconnect":
                self.ended = perf_counter_ns()
        except Exception as error:  # noqa: BLE001  the app must not feel it
            harmless.mishap(error)
        return message

    async def send(self, message: Message) -> None:
        over = bool(self.ended)
        try:
            kind = message["type"]
            if kind == "websocket.send":
                self.bytes_out += len(message.get("bytes") or message.get("text") or "")
            elif kind == "websocket.accept":
                self._answered(101, message)
            elif kind == "websocket.close":
                self.status = self.status or 403
                self.ended = self.ended or perf_counter_ns()
            elif kind == "websocket.http.response.start":
                self._answered(message["status"], message)
            elif kind == "websocket.http.response.body" and not message.get("more_body"):
                self.ended = perf_counter_ns()
        except Exception as error:  # noqa: BLE001  the app must not feel it
            harmless.mishap(error)
        try:
            await self._send(message)
        except Exception as error:
            self._late = error if over else None
            raise

    def failed(self, error: BaseException) -> None:
        """A framework may answer a farewell with one of its own, which servers do not take."""
        noted = self.serving.failure
        if getattr(self, "_late", None) is not error:
            super().failed(error)
        elif noted is not None and noted.type == class_of(error):  # by a hook
            self.serving.failure = None

    def _answered(self, status: int, message: Message) -> None:
        self.status = status
        headers = message.get("headers", ())
        if isinstance(headers, list | tuple):  # an iterator is the server's to read
            self.out_headers = headers

    def _is_cut(self) -> bool:
        return False  # a websocket ends by one side going away


def _principal(scope: Scope) -> Any:
    """What authentication left: Starlette's and Litestar's user, or ``request.state.user``.

    One of Starlette's is asked for its name when that does not lie open.  A row of a database is
    not asked: that could load it.
    """
    user = scope.get("user")
    if user is None and type(state := scope.get("state")) is dict:
        user = state.get("user")
    if user is None:
        return None
    found = principal(user)
    if found is not None or is_lazy(user):
        return found
    try:
        inside = object.__getattribute__(user, "__dict__")
        if "_sa_instance_state" in inside or "_state" in inside:
            return None
        if getattr(user, "is_authenticated", False) is not True:
            return None
        return principal(getattr(user, "display_name", None)) or principal(
            getattr(user, "identity", None)
        )
    except Exception:  # noqa: BLE001  properties are the application's code
        return None
