"""A sender with little to do: bodies encoded beforehand, some connections, one process of its own.

``python -m bench.load SPEC`` reads a JSON file and prints what happened, as JSON.
"""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

import httptools
import msgspec
import zstandard

__all__ = ["Outcome", "Spec"]


class Spec(msgspec.Struct):
    """What to send: file of bodies (msgpack list of bytes), how often, how."""

    port: int
    key: str
    bodies: str
    count: int = 1
    connections: int = 4
    zstd: bool = True
    rate: float = 0.0  #: bodies a second over all connections; 0: as fast as it goes
    parser: str = ""


class Outcome(msgspec.Struct):
    """What became of it."""

    seconds: float
    sent: int
    refused: int
    latencies: list[float]
    acknowledged_at: list[float]  #: wall clock of each answer, in the order of the bodies


class _Connection:
    """One keep-alive connection, written by hand: no client library's cost in the figures."""

    def __init__(self, port: int) -> None:
        import socket

        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def post(self, request: list[bytes]) -> int:
        for part in request:
            self._socket.sendall(part)
        done: list[int] = []
        parser = httptools.HttpResponseParser(_Answer(done))
        while not done:
            data = self._socket.recv(65_536)
            if not data:
                raise ConnectionError("the door hung up")
            parser.feed_data(data)
        return int(parser.get_status_code())


class _Answer:
    def __init__(self, done: list[int]) -> None:
        self._done = done

    def on_message_complete(self) -> None:
        self._done.append(1)


def run(spec: Spec) -> Outcome:
    """Send; each connection takes the next body that nobody has taken."""
    bodies: list[bytes] = msgspec.msgpack.decode(Path(spec.bodies).read_bytes(), type=list[bytes])
    if spec.zstd:
        pack = zstandard.ZstdCompressor(level=1)
        bodies = [pack.compress(body) for body in bodies]
    head = (
        "POST /v1/events{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n"
        "Content-Type: {media}\r\n{encoding}Content-Length: {size}\r\n\r\n"
    )
    requests = [
        [
            head.format(
                path=f"?parser={spec.parser}" if spec.parser else "",
                key=spec.key,
                media="text/plain" if spec.parser else "application/x-ndjson",
                encoding="Content-Encoding: zstd\r\n" if spec.zstd else "",
                size=len(body),
            ).encode(),
            body,
        ]
        for body in bodies
    ]
    outcome = Outcome(0, 0, 0, [0.0] * spec.count, [0.0] * spec.count)
    lock, begin = threading.Lock(), time.monotonic()
    numbers = iter(range(spec.count))

    def work() -> None:
        connection = _Connection(spec.port)
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            if spec.rate:
                time.sleep(max(0.0, begin + number / spec.rate - time.monotonic()))
            while True:
                began = time.monotonic()
                status = connection.post(requests[number % len(requests)])
                if status == 200:
                    break
                with lock:
                    outcome.refused += 1
                time.sleep(0.02)
            outcome.latencies[number] = time.monotonic() - began
            outcome.acknowledged_at[number] = time.time()

    threads = [threading.Thread(target=work) for _ in range(spec.connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    outcome.seconds = time.monotonic() - begin
    outcome.sent = spec.count
    return outcome


if __name__ == "__main__":
    given = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Spec)
    sys.stdout.write(msgspec.json.encode(run(given)).decode())
