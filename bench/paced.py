"""A client that asks at a steady pace, whatever the answers do, and says how long each took.

``python -m bench.paced`` reads lines of ``PORT PATH RATE SECONDS`` and answers each with a JSON
list of seconds.  A request that could not be sent in time because others were waited for counts
from when it was due: who is slow does not get fewer questions.  ``RATE`` 0 asks as fast as it is
answered.
"""

from __future__ import annotations

import asyncio
import json
import sys
from time import perf_counter

__all__ = ["main"]

_CONNECTIONS = 8
_HEAD = (
    "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/json\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n"
    "Authorization: Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI3In0.c2lnbmF0dXJl\r\n"
    "Cookie: session=8f3a; theme=dark\r\n\r\n"
)


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str) -> None:
    writer.write(_HEAD.format(path=path).encode())
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise ConnectionError(head.decode(errors="replace").partition("\r\n")[0])
    length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
    await reader.readexactly(int(length))


async def _one(number: int, port: int, path: str, rate: float, seconds: float) -> list[float]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    took: list[float] = []
    step = _CONNECTIONS / rate if rate else 0.0
    first = perf_counter() + number * step / _CONNECTIONS
    end = first + seconds
    start = first
    try:
        while start < end:
            await _ask(reader, writer, path.replace("#", str(len(took))))
            took.append(perf_counter() - start)
            due = first + len(took) * step if rate else 0.0
            if (ahead := due - perf_counter()) > 0:
                await asyncio.sleep(ahead)
                due = 0.0  # in time: what the timer overslept is no one's latency
            start = due or perf_counter()
    finally:
        writer.close()
    return took


async def paced(port: int, path: str, rate: float, seconds: float) -> list[float]:
    """How long each answer took, in seconds."""
    each = [_one(n, port, path, rate, seconds) for n in range(_CONNECTIONS)]
    return [took for some in await asyncio.gather(*each) for took in some]


def main() -> None:
    """Ask as told by stdin."""
    for line in sys.stdin:
        port, path, rate, seconds = line.split()
        took = asyncio.run(paced(int(port), path, float(rate), float(seconds)))
        print(json.dumps(took), flush=True)


if __name__ == "__main__":
    main()
