"""A receiver that takes everything and keeps nothing: tocsin's, OpenTelemetry's, Sentry's.

``python -m bench.sink`` prints its address and runs until it is ended.
"""

from __future__ import annotations

import asyncio
import contextlib

__all__ = ["main"]

_OURS = b'{"accepted":1,"flawed":0}'
_THEIRS = b"{}"


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            if b"transfer-encoding: chunked" in head:
                while size := int(await reader.readline(), 16):
                    await reader.readexactly(size + 2)
                await reader.readline()
            elif b"content-length:" in head:
                length = head.partition(b"content-length:")[2].partition(b"\r\n")[0]
                await reader.readexactly(int(length))
            body = _OURS if b"/v1/events" in head else _THEIRS
            kind = b"application/json" if body is _OURS else b"application/x-protobuf"
            body = body if body is _OURS or b"envelope" in head else b""
            writer.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: %s\r\ncontent-length: %d\r\n\r\n%s"
                % (kind, len(body), body)
            )
    writer.close()


async def main() -> None:
    """Serve on loopback."""
    server = await asyncio.start_server(_serve, "127.0.0.1", 0, limit=1 << 20)
    port = server.sockets[0].getsockname()[1]
    print(f"http://127.0.0.1:{port}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
