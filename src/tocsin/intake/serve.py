"""Serve applications on TCP and unix sockets, with a deadline for all that a client may delay.

uvicorn has no deadline for headers, no bound on their size, answers "too many connections" only
after it has read them, takes what follows the headers of an ``Upgrade`` for another request, and
adds trailers to the headers.  The protocol class here mends these; everything else is uvicorn's.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import os
import socket
import stat
import sys
from collections.abc import Callable, Generator
from email.utils import formatdate
from pathlib import Path
from typing import Any, NoReturn, cast

import httptools
import msgspec
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from tocsin.errors import UsageError
from tocsin.intake.answers import problem
from tocsin.intake.limits import Limits

__all__ = ["Listener", "listen", "new_event_loop", "reachable", "serve"]

_SUN_PATH = 100  # bytes of a unix socket's path that every system takes
_LINGER_SECONDS = 1.0  # for a refused client to read why


class Listener(msgspec.Struct, frozen=True):
    """An application and the socket, already bound, that it is served on."""

    app: ASGIApp
    socket: socket.socket
    limits: Limits
    path: Path | None = None  #: of a unix socket; removed when the door closes

    @property
    def address(self) -> str:
        """Where clients reach it: ``HOST:PORT`` or a path."""
        if self.path is not None:
            return str(self.path)
        host, port = self.socket.getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def listen(
    app: ASGIApp, where: str | Path, *, limits: Limits | None = None, insecure: bool = False
) -> Listener:
    """Bind *where*, ``HOST:PORT`` or the path of a unix socket, for *app*.

    Port 0 takes a free one.  An address that other machines reach is refused without *insecure*,
    since keys and events would travel in the clear.  Raises UsageError.
    """
    limits = limits or Limits()
    if isinstance(where, Path):
        return Listener(app, _bind_path(where), limits, where)
    return Listener(app, _bind_port(where, insecure), limits)


def new_event_loop() -> asyncio.AbstractEventLoop:
    """The loop that the door is fast on: ``asyncio.Runner(loop_factory=new_event_loop)``."""
    if sys.platform == "win32":
        return asyncio.new_event_loop()
    import uvloop

    return uvloop.new_event_loop()


async def serve(
    *listeners: Listener, stop: asyncio.Event, ready: Callable[[], None] = lambda: None
) -> None:
    """Serve until *stop* is set, or the task is cancelled; *ready* is called once all are open.

    Then no new connection is taken, requests in work have the longest ``grace_seconds`` to end, and
    the rest is cut off.
    """
    doors = [_Door(listener) for listener in listeners]
    try:
        for door in doors:
            await door.open()
        ready()
        while not stop.is_set():
            for door in doors:
                door.state.default_headers = [(b"date", formatdate(usegmt=True).encode())]
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await stop.wait()
    finally:
        await asyncio.gather(*(door.close() for door in doors))


@contextlib.contextmanager
def reachable(path: Path) -> Generator[str]:
    """An address for the unix socket *path*, however long its path is.

    The address holds inside the block only.
    """
    if len(os.fsencode(path)) <= _SUN_PATH:
        yield str(path)
        return
    if not Path("/proc/self/fd").is_dir() or len(os.fsencode(path.name)) > _SUN_PATH // 2:
        raise UsageError(
            f"{path}: longer than the {_SUN_PATH} bytes that a socket's path may have; use a data "
            "directory with a shorter path"
        )
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


def _bind_port(where: str, insecure: bool) -> socket.socket:
    host, _, port = where.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdecimal() or int(port) > 65_535:
        raise UsageError(f'cannot listen on "{where}"; give HOST:PORT, as in 127.0.0.1:7461')
    try:
        found = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)
    except OSError as error:
        raise UsageError(f'cannot listen on "{where}": no such host') from error
    family, kind, proto, _, address = found[0]
    if not insecure and not ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback:
        raise UsageError(
            f'"{where}" can be reached from other machines, and keys would travel in the clear; '
            "listen on 127.0.0.1 behind a proxy that speaks TLS, or say --insecure"
        )
    door = socket.socket(family, kind, proto)
    try:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        door.bind(address)
    except OSError as error:
        door.close()
        raise UsageError(_cannot_bind(where, error)) from error
    return door


def _cannot_bind(where: str, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f'"{where}" is taken by another program; name another with --listen HOST:PORT'
    return f'cannot listen on "{where}": {os.strerror(error.errno or 0).lower()}'


def _bind_path(path: Path) -> socket.socket:
    if _answers(path):
        raise UsageError(f"{path}: another tocsin serves here; stop it first")
    door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        # Bound under another name and renamed, so that nobody meets it before its mode is set.
        # A crash in between leaves a dead file that no client asks for.
        with reachable(fresh) as address:
            door.bind(address)
        fresh.chmod(0o600)
        fresh.replace(path)
    except OSError as error:
        door.close()
        raise UsageError(_cannot_bind(str(path), error)) from error
    return door


def _answers(path: Path) -> bool:
    """Whether somebody serves on *path*.  A file that is no socket is never replaced."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise UsageError(f"{path}: not a socket; move it away")
    except FileNotFoundError:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe, reachable(path) as address:
        probe.settimeout(1.0)
        try:
            probe.connect(address)
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError as error:
            # Full, slow or not ours: somebody is there.
            raise UsageError(_cannot_bind(str(path), error)) from error
    return True


class _Door:
    """One listener while it is open."""

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.state = ServerState()
        #: Connections that wait for headers, the longest waiting first.
        self.idle: dict[_Protocol, None] = {}
        self._server: asyncio.Server | None = None
        self._cut_off = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The application; a request that the end of the door cut off ends without a word."""
        try:
            await self.listener.app(scope, receive, send)
        except asyncio.CancelledError:
            if not self._cut_off:
                raise

    async def open(self) -> None:
        """Begin to take connections."""
        limits = self.listener.limits
        config = Config(
            self,
            http=_Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="error",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=cast("int", limits.keep_alive_seconds),
        )
        config.load()

        def protocol() -> asyncio.Protocol:
            return _Protocol(config, self.state, {}, door=self)

        self._server = await asyncio.get_running_loop().create_server(
            protocol, sock=self.listener.socket, backlog=limits.backlog
        )

    async def close(self) -> None:
        """Take no more, let requests end, then cut off what is left."""
        if self._server is not None:
            self._server.close()
        self.listener.socket.close()
        if self.listener.path is not None:
            self.listener.path.unlink(missing_ok=True)
        for connection in list(self.state.connections):
            connection.shutdown()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.listener.limits.grace_seconds):
                # A connection goes once its answer is written out; uvicorn has no event for that.
                while self.state.tasks or self.state.connections:  # noqa: ASYNC110 - see above
                    await asyncio.sleep(0.01)
        for connection in list(self.state.connections):
            cast("_Protocol", connection).drop()
        await asyncio.sleep(0)  # the requests in work learn that nobody waits for them
        self._cut_off = True
        for task in list(self.state.tasks):
            task.cancel()
        if self.state.tasks:
            await asyncio.wait(set(self.state.tasks))


class _Protocol(HttpToolsProtocol):
    """uvicorn's protocol, with deadlines and bounds.

    A connection is *idle* from being made, or from an answer, until the headers of the next request
    are complete.  One timer runs for all of that, whatever trickles in meanwhile; what is left of a
    body that was refused is read and dropped under the same timer.
    """

    def __init__(self, *args: Any, door: _Door, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._door = door
        self._limits = door.listener.limits
        self._deadline: asyncio.TimerHandle | None = None
        self._refused = False
        self._in_head = False
        self._head_bytes = 0
        self._refusal: tuple[int, str] | None = None

    # What the transport calls.

    def connection_made(  # type: ignore[override]  # uvicorn says so too
        self, transport: asyncio.Transport
    ) -> None:
        """Take the connection, or make room for it, or say that there is none."""
        super().connection_made(transport)
        if len(self.connections) > self._limits.connections and not self._make_room():
            self._turn_away(transport)
            return
        self._wait(self._limits.header_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._no_wait()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feed the parser, unless the connection was refused."""
        if self._refused:
            return
        if self._in_head:
            self._head_bytes += len(data)
        self._unset_keepalive_if_required()
        try:
            self._feed(memoryview(data))
        except httptools.HttpParserError:
            self.send_400_response("")
        if self._in_head and self._head_bytes > self._limits.head_bytes:
            self._say_and_close(431, "the headers are too large")

    # What the parser calls.

    def on_message_begin(self) -> None:
        """A request line begins."""
        super().on_message_begin()
        self._in_head = True
        self._head_bytes = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count, and stop the parser at the bound; it then raises in :meth:`data_received`.

        A trailer is passed over (RFC 9110, 6.5.1): whose key a request shows, and how its body is
        to be read, was decided before the body.
        """
        if not self._in_head:
            return
        super().on_header(name, value)
        if len(self.headers) > self._limits.headers:
            self._refuse(431, "there are too many headers")

    def on_headers_complete(self) -> None:
        """The request is known: it is the application's deadlines that hold from here."""
        if self.parser.get_method() == b"CONNECT":
            self._refuse(400, "this is no proxy")
        self._in_head = False
        head = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if head > self._limits.head_bytes:
            self._refuse(431, "the headers are too large")
        if self.parser.should_upgrade():
            return  # it comes again, without that
        self._no_wait()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The request has ended, unless the parser stopped behind its headers for an upgrade."""
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  the name is uvicorn's
        """Answer a request that is no HTTP, or over a bound, in the form of all our answers."""
        self._say_and_close(*(self._refusal or (400, "this is not HTTP/1.1")))

    def on_response_complete(self) -> None:
        """Idle again, unless another request already waits in the pipeline."""
        super().on_response_complete()
        if not self.transport.is_closing() and self.cycle.response_complete:
            self._wait(self._limits.keep_alive_seconds + self._limits.header_seconds)

    # Ours.

    def _feed(self, data: memoryview) -> None:
        """Parse *data*, in which an ``Upgrade`` means nothing: only HTTP/1.1 is spoken here.

        The parser stops behind the headers of such a request, as if no body came.  So another one
        is given the same headers without that, and then goes on.
        """
        while True:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as stopped:
                head = self._head_without_upgrade()
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's
                self.parser.feed_data(head)
                data = data[stopped.args[0] :]
            else:
                return

    def _head_without_upgrade(self) -> bytes:
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        lines = [b"%s: %s" % header for header in self.headers if header[0] != b"upgrade"]
        return b"\r\n".join([b"%s %s HTTP/%s" % (method, self.url, version), *lines, b"", b""])

    def drop(self) -> None:
        """Cut the connection off."""
        self._no_wait()
        self.transport.abort()

    def _wait(self, seconds: float) -> None:
        self._no_wait()
        self._door.idle[self] = None
        self._deadline = self.loop.call_later(seconds, self._too_late)

    def _no_wait(self) -> None:
        self._door.idle.pop(self, None)
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_late(self) -> None:
        if self._in_head:
            self._say_and_close(408, "the headers did not arrive in time")
        else:
            self._hang_up()

    def _refuse(self, status: int, detail: str) -> NoReturn:
        self._refusal = (status, detail)
        raise ValueError(detail)

    def _hang_up(self) -> None:
        """Close once what was said is written, or without that when nobody reads it."""
        self._no_wait()
        self.transport.close()
        self._deadline = self.loop.call_later(_LINGER_SECONDS, self.transport.abort)

    def _make_room(self) -> bool:
        """Close the connection that has been idle longest; False when all are at work."""
        oldest = next(iter(self._door.idle), None)
        if oldest is None:
            return False
        self.connections.discard(oldest)
        oldest.drop()
        return True

    def _turn_away(self, transport: asyncio.Transport) -> None:
        """Every connection is at work: say so, and give the client a moment to read it."""
        self._refused = True
        if len(self.connections) > 2 * self._limits.connections:
            transport.abort()
            return
        transport.write(_raw(503, "every connection is taken; try again", b"retry-after: 1\r\n"))
        transport.write_eof()
        self._deadline = self.loop.call_later(_LINGER_SECONDS, transport.abort)

    def _say_and_close(self, status: int, detail: str) -> None:
        if not self.transport.is_closing():
            self.transport.write(_raw(status, detail))
            self._hang_up()


def _raw(status: int, detail: str, header: bytes = b"") -> bytes:
    """An answer for a client whose request never became one."""
    answer = problem(status, detail)
    lines = b"".join(name + b": " + value + b"\r\n" for name, value in answer.raw_headers)
    title = msgspec.json.decode(bytes(answer.body))["title"]
    return (
        f"HTTP/1.1 {status} {title}\r\n".encode()
        + lines
        + header
        + b"connection: close\r\n\r\n"
        + bytes(answer.body)
    )
