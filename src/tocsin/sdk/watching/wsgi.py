"""Watch a WSGI application: one record a request, and not a byte of the answer touched.

An answer that is a list goes to the server as it is, and so does one that the server sends by
itself (``wsgi.file_wrapper``); every other is counted as the server takes it, part by part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from operator import itemgetter
from time import perf_counter_ns
from typing import Any

from tocsin.sdk.context import new_request_id
from tocsin.sdk.harmless import harmless
from tocsin.sdk.seen import Seen
from tocsin.sdk.watching.exchange import Exchange, Watching
from tocsin.sdk.watching.serving import Serving, is_inspected, percent_encoded, plain, sane

__all__ = ["Environ", "Look", "Noted", "Wsgi", "WsgiExchange", "WsgiWatch"]

Environ = dict[str, Any]
Wsgi = Callable[[Environ, Any], Iterable[bytes]]

#: Finds route and parameters, when the answer begins: later the framework has forgotten them.
Look = Callable[[Environ, Serving], None]

#: Where the environment says that somebody of us is at it already.
MARK = "tocsin.serving"

#: Shapes of requests: which keys are there, which of them are headers, and how to pick these.
_Picks = tuple[tuple[str, ...], Callable[[Environ], Any]]
_shapes: dict[tuple[str, ...], _Picks] = {}
_MOST_SHAPES = 256
_LONGEST_SHAPE = 4_096  #: characters of the names in one


class WsgiWatch:
    """A WSGI application whose requests are recorded."""

    def __init__(self, app: Wsgi, watching: Watching, look: Look | None = None) -> None:
        self.app = app
        self.watching = watching
        self.look = look

    def __call__(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        if MARK in environ:
            return self.app(environ, start_response)
        try:
            exchange = WsgiExchange(self.watching, environ, start_response, self.look)
            exchange.notes_body()
            serving = exchange.serving
            serving.facts = exchange.facts
            exchange.token = serving.bind()
        except Exception as error:  # noqa: BLE001  ours; the request is served all the same
            harmless.mishap(error)
            return self.app(environ, start_response)
        try:
            answer = self.app(environ, exchange.start)
        except BaseException as error:
            exchange.failed(error)
            exchange.done()
            raise
        return exchange.answered(answer)


class WsgiExchange(Exchange):
    """One request over WSGI."""

    __slots__ = ("_look", "_start_response", "environ", "headers", "path")

    def __init__(
        self, watching: Watching, environ: Environ, start_response: Any, look: Look | None
    ) -> None:
        Exchange.__init__(self, watching)  # super() would take as long as all of it
        self.environ = environ
        self.headers = _headers(environ)
        self.path = _path(environ)  # as it is now: dispatchers change it
        given = environ.get(watching.key)
        self.serving = Serving(given if given is not None and sane(given) else new_request_id())
        if "HTTP_TRACEPARENT" in environ:
            self.serving.goes_on(environ["HTTP_TRACEPARENT"])
        self._start_response = start_response
        self._look = look
        environ[MARK] = self.serving

    def notes_body(self) -> None:
        """Have the body noted as the application reads it, if there is one."""
        environ = self.environ
        if environ.get("CONTENT_LENGTH", "") not in ("", "0") or (
            "HTTP_TRANSFER_ENCODING" in environ
        ):
            environ["wsgi.input"] = self.noted(environ["wsgi.input"])

    def noted(self, body: Any) -> Noted:
        """*body*, noted as it is read."""
        self.unsure = not is_inspected(self.environ.get("CONTENT_TYPE") or "")
        return Noted(body, self)

    def start(self, status: str, headers: Any, exc_info: Any = None) -> Any:
        """What the application calls as ``start_response``."""
        try:
            if isinstance(headers, list | tuple):  # else the server will complain
                headers = self._started(status, headers)
            self.look()
        except Exception as error:  # noqa: BLE001  the app must not feel it
            harmless.mishap(error)
        if exc_info is None:
            write = self._start_response(status, headers)
        else:
            write = self._start_response(status, headers, exc_info)
        return _Write(write, self) if write is not None else write

    def _started(self, status: str, headers: Any) -> Any:
        """Note status and headers; add the request id to a copy of *headers*."""
        self.status = int(status[:3])  # of several calls the last one counts
        watching = self.watching
        at, has_id = watching.lines(headers)
        if at >= 0 and watching.limit:
            kind = headers[at][1]
            self.looks_out = "json" in kind or (
                len(self.body_in) > 0 and kind.startswith(("text/html", "text/plain"))
            )
        if watching.returned and not has_id:
            headers = [*headers, (watching.header, self.serving.request_id)]
        self.out_headers = headers
        return headers

    def answered(self, answer: Iterable[bytes]) -> Iterable[bytes]:
        """What the server gets in the place of *answer*: the same, or the same part by part."""
        try:
            kind = type(answer)
            if kind is list or kind is tuple:
                for part in filter(None, answer):
                    self.sent(part)
                self.ended = perf_counter_ns()
            elif not _is_file(answer, self.environ.get("wsgi.file_wrapper")):
                return _Sized(answer, self) if hasattr(kind, "__len__") else _Answer(answer, self)
        except Exception as error:  # noqa: BLE001  the app must not feel it
            harmless.mishap(error)
        self.done()
        return answer

    def look(self) -> None:
        if self._look is not None:
            self._look(self.environ, self.serving)

    def method(self) -> str:
        return str(self.environ.get("REQUEST_METHOD", "GET"))

    def peer(self) -> tuple[str, int] | None:
        address = self.environ.get("REMOTE_ADDR")
        return (address, _port(self.environ)) if address else None

    def seen(self) -> Seen:
        environ, serving = self.environ, self.serving
        if serving.params:
            serving.params = plain(serving.params)
        return Seen(
            self.began,
            (self.ended or perf_counter_ns()) - self.started,
            serving,
            environ.get("REQUEST_METHOD", "GET"),
            environ.get("wsgi.url_scheme", "http"),
            self.path,
            self.watching.service,
            environ.get("QUERY_STRING", "").encode("latin-1", "replace"),
            environ.get("SERVER_PROTOCOL", "").removeprefix("HTTP/"),
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
            self.gone,
            serving.route,
            serving.routed,
            serving.params,
            serving.failure,
            serving.complaints or (),
            serving.principal,
        )


class _Answer:
    """The parts of an answer, counted while the server takes them."""

    def __init__(self, answer: Iterable[bytes], exchange: WsgiExchange) -> None:
        self._answer = answer
        self._exchange = exchange
        self._parts: Iterator[bytes] | None = None
        self._closed = False

    def __iter__(self) -> _Answer:
        return self

    def __next__(self) -> bytes:
        exchange = self._exchange
        try:
            if self._parts is None:
                self._parts = iter(self._answer)
            part = next(self._parts)
        except StopIteration:
            exchange.ended = exchange.ended or perf_counter_ns()
            raise
        except BaseException as error:
            exchange.failed(error)
            raise
        try:
            if part:
                exchange.sent(part)
        except Exception as error:  # noqa: BLE001  a part that is no bytes is the server's business
            harmless.mishap(error)
        return part

    def close(self) -> None:
        """The server is through: with everything, or because the client is gone."""
        exchange = self._exchange
        try:
            close = getattr(self._answer, "close", None)
            if close is not None:
                close()
        except BaseException as error:
            exchange.failed(error)
            raise
        finally:
            if not self._closed:
                self._closed = True
                exchange.gone = exchange.gone or self._is_cut()
                exchange.done()

    def _is_cut(self) -> bool:
        """The server stopped before the end of an answer that nothing was wrong with."""
        exchange = self._exchange
        failure = exchange.serving.failure
        return (
            not exchange.ended
            and self._parts is not None
            and (failure is None or failure.handled)
            and exchange.environ.get("REQUEST_METHOD") != "HEAD"
        )

    def __del__(self) -> None:
        if not self._closed:  # a server that closes nothing; the record is not lost all the same
            self._closed = True
            self._exchange.done()


class _Sized(_Answer):
    """An answer of known length: from one of length 1 servers tell how long the body is."""

    def __len__(self) -> int:
        return len(self._answer)  # type: ignore[arg-type]


class _Write:
    """``write`` of old applications."""

    def __init__(self, write: Callable[[bytes], object], exchange: WsgiExchange) -> None:
        self._write = write
        self._exchange = exchange

    def __call__(self, part: bytes) -> object:
        try:
            if part:
                self._exchange.sent(part)
        except Exception as error:  # noqa: BLE001  the app must not feel it
            harmless.mishap(error)
        return self._write(part)


class Noted:
    """The request's body, noted as the application reads it; everything else is the server's."""

    def __init__(self, body: Any, exchange: Exchange) -> None:
        self._body = body
        self._exchange = exchange

    def _noted(self, part: Any) -> Any:
        try:
            if part:
                self._exchange.read(part)
        except Exception as error:  # noqa: BLE001  the app must not feel it
            harmless.mishap(error)
        return part

    def read(self, *size: Any) -> Any:
        return self._noted(self._body.read(*size))

    def readline(self, *size: Any) -> Any:
        return self._noted(self._body.readline(*size))

    def readlines(self, *hint: Any) -> Any:
        lines = self._body.readlines(*hint)
        for line in lines:
            self._noted(line)
        return lines

    def __iter__(self) -> Iterator[bytes]:
        return map(self._noted, iter(self._body))

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._body, name)
        if name == "readinto":
            return self._counted(found)
        return found

    def _counted(self, readinto: Any) -> Any:
        def read_into(buffer: Any) -> Any:
            size = readinto(buffer)
            if size:
                self._noted(bytes(memoryview(buffer)[:size]))
            return size

        return read_into


def _is_file(answer: object, wrapper: Any) -> bool:
    return isinstance(wrapper, type) and isinstance(answer, wrapper)


def _headers(environ: Environ) -> tuple[tuple[str, str], ...]:
    """The header lines of *environ*, where a server's objects and a machine's secrets are as well.

    Requests of one client have the same keys, so what is a header is found out once for each shape.
    """
    shape = tuple(environ)
    picks = _shapes.get(shape)
    if picks is None:
        names = tuple(name for name in shape if name.startswith("HTTP_") or name in _CONTENT)
        picks = (names, itemgetter(*names) if len(names) > 1 else _one(names))
        if len(_shapes) >= _MOST_SHAPES:  # somebody makes names up
            _shapes.clear()
        if sum(map(len, shape)) <= _LONGEST_SHAPE:
            _shapes[shape] = picks
    return tuple(zip(picks[0], picks[1](environ), strict=False))


_CONTENT = frozenset({"CONTENT_TYPE", "CONTENT_LENGTH"})


def _one(names: tuple[str, ...]) -> Callable[[Environ], tuple[str, ...]]:
    return lambda environ: tuple(environ[name] for name in names)


def _path(environ: Environ) -> str:
    """The path as the client sent it, if the server tells; else put together again."""
    raw = environ.get("RAW_URI") or environ.get("REQUEST_URI")
    if raw:
        path = raw.partition("?")[0]
        if not path.startswith("/") and "://" in path:  # what a proxy's client sends
            path = "/" + path.partition("://")[2].partition("/")[2]
        if path.isascii() and path.isprintable():
            return str(path)
        return percent_encoded(path.encode("latin-1", "replace"))
    decoded = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    return percent_encoded(decoded.encode("latin-1", "replace"), decoded=True) or "/"


def _port(environ: Environ) -> int:
    port = environ.get("REMOTE_PORT", "")
    return int(port) if str(port).isdecimal() else 0
