"""A client that keeps what it is given, and servers of a few lines to give it something."""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import Callable, Iterable
from typing import Any

from tocsin.sdk.options import Options
from tocsin.sdk.seen import Seen
from tocsin.sdk.watching.exchange import Watching

__all__ = ["Answer", "Recorder", "asgi", "environ", "scope", "wsgi"]


class Recorder:
    """A client that keeps what it takes, or fails if it is broken."""

    def __init__(self, *, broken: bool = False, **options: Any) -> None:
        self.options = Options(**options)
        self.items: list[Seen] = []
        self.broken = broken

    def take(self, item: Any) -> None:
        if self.broken:
            raise RuntimeError("the client is broken")
        self.items.append(item)

    def flush(self, timeout: float = 5.0) -> bool:
        return True

    def itself(self) -> Recorder:
        return self

    def watching(self, service: str | None = None) -> Watching:
        return Watching(self.itself, service)

    @property
    def seen(self) -> Seen:
        """The one request that was seen."""
        assert len(self.items) == 1
        return self.items[0]


def scope(**changes: Any) -> dict[str, Any]:
    """What an ASGI server says of a request."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "https",
        "path": "/v1/orders/7",
        "raw_path": b"/v1/orders/7",
        "query_string": b"a=1",
        "root_path": "",
        "headers": [(b"host", b"shop.example.org")],
        "client": ("203.0.113.9", 51234),
        "server": ("127.0.0.1", 8000),
        **changes,
    }


def asgi(app: Any, incoming: Iterable[Any] = (), /, **changes: Any) -> list[Any]:
    """The messages that *app* sends; what it receives are *incoming*, then nothing for ever."""

    async def serve() -> list[Any]:
        sent: list[Any] = []
        coming = iter(incoming)

        async def receive() -> Any:
            message = next(coming, None)
            if message is None:
                await asyncio.Event().wait()
            return message

        async def send(message: Any) -> None:
            sent.append(message)

        await app(scope(**changes), receive, send)
        return sent

    return asyncio.run(serve())


def environ(body: bytes = b"", /, **changes: Any) -> dict[str, Any]:
    """What a WSGI server says of a request."""
    found: dict[str, Any] = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/v1/orders/7",
        "QUERY_STRING": "a=1",
        "SERVER_NAME": "shop.example.org",
        "SERVER_PORT": "443",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "203.0.113.9",
        "REMOTE_PORT": "51234",
        "HTTP_HOST": "shop.example.org",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "https",
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    if body:
        found |= {"REQUEST_METHOD": "POST", "CONTENT_LENGTH": str(len(body))}
    return found | changes


class Answer:
    """What a WSGI server got, and from what."""

    def __init__(self) -> None:
        self.started: list[tuple[str, Any, Any]] = []
        self.parts: Any = None
        self.body = b""

    def start(self, status: str, headers: Any, exc_info: Any = None) -> Callable[[bytes], None]:
        self.started.append((status, headers, exc_info))
        return self.write

    def write(self, part: bytes) -> None:
        self.body += part


def wsgi(app: Any, given: dict[str, Any] | None = None, most: int = 1_000_000) -> Answer:
    """What *app* answers, of which at most so many parts are taken."""
    answer = Answer()
    answer.parts = app(environ() if given is None else given, answer.start)
    try:
        for count, part in enumerate(answer.parts, 1):
            answer.body += part
            if count >= most:
                break
    finally:
        if hasattr(answer.parts, "close"):
            answer.parts.close()
    return answer
