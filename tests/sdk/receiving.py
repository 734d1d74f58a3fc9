"""A receiver on loopback that does what a test tells it, and watches what must never happen."""

from __future__ import annotations

import contextlib
import gzip
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec
from msgspec import Struct

from tocsin.event import Event, Kind
from tocsin.sdk.client import Client
from tocsin.sdk.context import Context
from tocsin.sdk.noted import Noted
from tocsin.sdk.seen import Seen
from tocsin.sdk.sending.ship import Patience

KEY = "tocsin_test_key"

#: As little of it as a test has.
IMPATIENT = Patience(first=0.01, longest=0.05, wrong_key=0.05, settle=30.0, hurried=0.01, look=0.05)

#: What the fixture ``client`` is.
MakeClient = Callable[..., Client]


def until(holds: Callable[[], Any], seconds: float = 20.0) -> Any:
    """Wait until something is true, and return it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := holds():
            return found
        time.sleep(0.005)
    raise AssertionError(f"not within {seconds} s")


class Request(Struct):
    """One POST, as it came."""

    batch_id: str
    headers: dict[str, str]
    lines: list[bytes]
    packed: int  #: bytes of the body as sent

    @property
    def events(self) -> list[dict[str, Any]]:
        return [msgspec.json.decode(line) for line in self.lines]


class Reaction(Struct):
    """What a receiver does with a request, when it does not simply take it."""

    status: int = 200
    headers: dict[str, str] = {}
    body: dict[str, Any] | bytes | None = None
    store: bool = False  #: make it durable
    drop: bool = False  #: close the connection instead of answering
    wait: float = 0.0  #: seconds before the answer


LOST = Reaction(drop=True)
LOST_ANSWER = Reaction(drop=True, store=True)


class Receiver:
    """Takes batches once each, however often they come.

    A batch id that comes with other events than before is a fault of the sender: the test fails at
    ``close``.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[Request] = []
        self.batches: dict[str, list[dict[str, Any]]] = {}
        self.moods: deque[Reaction | None] = deque()  #: for the next requests; None: as usual
        self.mood: Callable[[Request], Reaction | None] = lambda _request: None
        self.faults: list[str] = []
        self.port = 0
        self._tls = tls
        self._lock = threading.Lock()
        self._server: ThreadingHTTPServer | None = None
        self._open: set[socket.socket] = set()

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://localhost:{self.port}"

    @property
    def stored(self) -> list[dict[str, Any]]:
        """Every event that is durable here, batch by batch."""
        with self._lock:
            return [event for events in self.batches.values() for event in events]

    def tagged(self, tag: str) -> list[dict[str, Any]]:
        return [event for event in self.stored if tag in event.get("tags", ())]

    def start(self) -> Receiver:
        """Listen, on the same port as before if there was one."""
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1
            disable_nagle_algorithm = True

            def setup(self) -> None:
                super().setup()
                receiver._open.add(self.connection)

            def do_POST(self) -> None:
                length = int(self.headers["content-length"])
                data = self.rfile.read(length)
                if len(data) == length:  # else the connection was cut, and nothing is looked at
                    receiver._serve(self, data)

            def finish(self) -> None:
                receiver._open.discard(self.connection)
                with contextlib.suppress(OSError):
                    super().finish()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Quiet."""

        class Server(ThreadingHTTPServer):
            request_queue_size = 64

            def handle_error(self, request: Any, client_address: Any) -> None:
                """Connections end in all sorts of ways here."""

        self._server = Server(("127.0.0.1", self.port), Handler)
        if self._tls is not None:
            listening = self._server.socket
            self._server.socket = self._tls.wrap_socket(
                listening, server_side=True, do_handshake_on_connect=False
            )
        self.port = self._server.server_port
        loop = self._server.serve_forever
        self._thread = threading.Thread(target=loop, args=(0.01,), daemon=True)
        self._thread.start()
        return self

    def kill(self) -> None:
        """Stop at once: what is open breaks."""
        if self._server is None:
            return
        server, self._server = self._server, None
        server.shutdown()
        server.server_close()
        self._thread.join()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.kill()
        assert self.faults == []

    def _serve(self, handler: BaseHTTPRequestHandler, data: bytes) -> None:
        headers = {name.lower(): value for name, value in handler.headers.items()}
        lines = gzip.decompress(data).split(b"\n")
        request = Request(headers["tocsin-batch-id"], headers, [x for x in lines if x], len(data))
        with self._lock:
            self.requests.append(request)
            mood = self.moods.popleft() if self.moods else None
        reaction = mood or self.mood(request)
        answer = None
        if reaction is None or reaction.store:
            answer = self._store(request)
        reaction = reaction or Reaction()
        time.sleep(reaction.wait)
        if reaction.drop:
            handler.close_connection = True
            with contextlib.suppress(OSError):
                handler.connection.shutdown(socket.SHUT_RDWR)
            return
        body = reaction.body if reaction.body is not None else answer or {}
        content = body if isinstance(body, bytes) else msgspec.json.encode(body)
        with contextlib.suppress(OSError):
            handler.send_response(reaction.status)
            for name, value in reaction.headers.items():
                handler.send_header(name, value)
            handler.send_header("content-length", str(len(content)))
            handler.end_headers()
            handler.wfile.write(content)

    def _store(self, request: Request) -> dict[str, Any]:
        events = request.events
        seen = [{k: v for k, v in event.items() if k != "probe_body"} for event in events]
        with self._lock:
            before = self.batches.setdefault(request.batch_id, events)
            if [{k: v for k, v in event.items() if k != "probe_body"} for event in before] != seen:
                self.faults.append(f"batch {request.batch_id} came with other events than before")
        repeated = before is not events
        return {"accepted": len(events), "first_seq": 0, "repeated": repeated, "parse_errors": 0}


def problem(status: int, detail: str, **members: Any) -> Reaction:
    """A refusal in the form of the real receiver."""
    headers = {"content-type": "application/problem+json"}
    if "retry_after" in members:
        headers["retry-after"] = str(members.pop("retry_after"))
    body = {"type": "about:blank", "title": "No", "status": status, "detail": detail, **members}
    return Reaction(status, headers, body)


class Plain:
    """A reader that adds nothing: the path of a request, and its query as the probe."""

    def read(self, seen: Seen) -> list[Event | Noted]:
        event = Event(
            time=seen.began, kind=Kind.REQUEST, method=seen.method, path=seen.path, message="e"
        )
        return [Noted(event, {"probe_body": seen.query.decode()} if seen.query else None)]

    def finish(self, event: Event) -> Event:
        return event


def event(number: int = 0, **more: Any) -> Event:
    """An event of the application's."""
    usual: dict[str, Any] = {"time": time.time_ns(), "message": f"e{number}"}
    return Event(**usual | more)


def seen(**more: Any) -> Seen:
    """A request as an adapter hands it over."""
    usual: dict[str, Any] = {
        "began": time.time_ns(),
        "duration_ns": 1_000_000,
        "context": Context("r-1"),
        "method": "GET",
        "scheme": "http",
        "path": "/orders/1",
    }
    return Seen(**usual | more)


def numbers(events: list[dict[str, Any]]) -> list[int]:
    """The numbers of what ``event`` made, in the order in which they are there."""
    return [int(e["message"][1:]) for e in events if str(e.get("message", ""))[1:].isdecimal()]
