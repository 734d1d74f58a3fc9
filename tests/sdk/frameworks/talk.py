"""Talk to a site as the worst of clients may: with bytes."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from msgspec import Struct

__all__ = ["Site", "hang_up", "only", "request", "send"]

#: What may differ between two answers to the same request.
_MAY_DIFFER = re.compile(rb"^(?:date|x-request-id):[^\r\n]*\r\n", re.I | re.M)

DEADLINE = 30.0

Test = TypeVar("Test", bound=Callable[..., None])


def request(
    line: str | bytes,
    *headers: str | bytes,
    body: bytes | None = None,
    kind: str = "application/json",
    close: bool = True,
) -> bytes:
    """A request, to the byte."""
    lines = [line, "Host: shop.example.org", *headers]
    if body is not None:
        lines += [f"Content-Type: {kind}", f"Content-Length: {len(body)}"]
    if close:
        lines.append("Connection: close")
    raw = [one if isinstance(one, bytes) else one.encode() for one in lines]
    raw[0] += b" HTTP/1.1"
    return b"\r\n".join(raw) + b"\r\n\r\n" + (body or b"")


def only(suits: Callable[[str, str], bool]) -> Callable[[Test], Test]:
    """The test is about those sites whose framework and server *suits* says yes to."""

    def marked(test: Test) -> Test:
        test.suits = suits  # type: ignore[attr-defined]
        return test

    return marked


class Site(Struct, frozen=True):
    """One site that is served twice: bare at one port, watched at the other."""

    framework: str
    age: str
    server: str
    bare: int
    watched: int
    seen: Path

    @property
    def is_asgi(self) -> bool:
        return self.server in ("uvicorn", "hypercorn")

    def both(self, data: bytes) -> tuple[bytes, dict[str, Any]]:
        """The watched site's answer, which must be the bare one's, and what was seen of it.

        *data* must not have a request id of its own.
        """
        name = f"case-{uuid4().hex}"
        marked = data.replace(b"\r\n", b"\r\nX-Request-ID: " + name.encode() + b"\r\n", 1)
        return self.same(marked), self.record(name)

    def same(self, data: bytes) -> bytes:
        """The answer to *data* of the watched site, which must be the bare one's byte for byte."""
        expected, answer = send(self.bare, data), send(self.watched, data)
        assert _MAY_DIFFER.sub(b"", answer) == _MAY_DIFFER.sub(b"", expected)
        return answer

    def records(self) -> list[dict[str, Any]]:
        lines = self.seen.read_bytes().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith(b"\n")]

    def record(self, name: str) -> dict[str, Any]:
        """What was seen of the request that is called *name*; there must be one, and one only."""
        found: list[dict[str, Any]] = until(
            lambda: [one for one in self.records() if one["id"] == name]
        )
        assert len(found) == 1
        return found[0]


def until(holds: Any) -> Any:
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        if found := holds():
            return found
        time.sleep(0.01)
    raise AssertionError(f"not within {DEADLINE} s")


def send(port: int, data: bytes) -> bytes:
    """Everything the server says to *data* until it hangs up."""
    with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE) as peer:
        peer.sendall(data)
        answer = b""
        with contextlib.suppress(ConnectionResetError):  # a server that does not read a body
            while part := peer.recv(1 << 16):
                answer += part
        return answer


def hang_up(port: int, data: bytes, after: int) -> None:
    """Send *data*, read *after* bytes of the answer if any, and be gone."""
    with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE) as peer:
        peer.sendall(data)
        got = 0
        while got < after and (part := peer.recv(min(4096, after - got))):
            got += len(part)
        if after:  # without a farewell; before it that would take back what was sent
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
