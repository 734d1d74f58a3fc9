"""A site of bare ASGI, without any framework."""
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false, reportArgumentType=false

from __future__ import annotations

import asyncio
import json
from typing import Any

from what import CHUNKS, ENDLESS, FILE, chunk, login, same_context, watched


async def body_of(receive: Any) -> bytes:
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise OSError("the client is gone")
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    if scope["type"] == "websocket":
        await talk(receive, send)
        return

    async def answer(value: Any, status: int = 200, headers: Any = ()) -> None:
        data = b"" if scope["method"] == "HEAD" else json.dumps(value).encode()
        length = str(len(json.dumps(value))).encode()
        given = [(b"content-type", b"application/json"), (b"content-length", length), *headers]
        await send({"type": "http.response.start", "status": status, "headers": given})
        await send({"type": "http.response.body", "body": data})

    async def stream(chunks: int) -> None:
        kind = [(b"content-type", b"application/octet-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": kind})
        for number in range(chunks):
            await send({"type": "http.response.body", "body": chunk(number), "more_body": True})
            await asyncio.sleep(0)
        await send({"type": "http.response.body"})

    method, path = scope["method"], scope["path"]
    if path == "/health":
        await answer({"ok": True})
    elif path.startswith("/v1/orders/"):
        await answer({"id": path.removeprefix("/v1/orders/")})
    elif path == "/v1/orders" and method == "POST":
        given = json.loads(await body_of(receive))
        fine = isinstance(given.get("quantity"), int)
        await answer({"taken": fine}, 200 if fine else 422)
    elif path == "/v1/login":
        await answer(login(json.loads(await body_of(receive))))
    elif path == "/v1/admin":
        await answer({"detail": "no"}, 403)
    elif path == "/v1/crash":
        raise ZeroDivisionError("the till is empty")
    elif path == "/v1/late":
        kind = [(b"content-type", b"text/plain"), (b"content-length", b"100")]
        await send({"type": "http.response.start", "status": 200, "headers": kind})
        await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        raise ZeroDivisionError("too late to say so")
    elif path == "/v1/stream":
        await stream(CHUNKS)
    elif path == "/v1/endless":
        await stream(ENDLESS)
    elif path == "/v1/file":
        await stream(0)
    elif path == "/v1/upload":
        await answer({"size": len(await body_of(receive))})
    elif path == "/v1/deaf":
        await answer({"deaf": True})
    elif path == "/v1/moved":
        await answer({}, 307, [(b"location", b"/health")])
    elif path == "/v1/me":
        scope["user"] = "joe"
        await answer({"me": True})
    elif path.startswith("/t/"):
        await answer({"report": path.rpartition("/")[2]})
    elif path.startswith("/v1/context/"):
        still = same_context(path.rpartition("/")[2])
        await asyncio.sleep(0.02)
        await answer(still())
    else:
        await answer({"detail": "nothing here"}, 404)


async def talk(receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": "heard " + message["text"]})


def make() -> tuple[Any, Any]:
    FILE.write_bytes(b"")
    return app, watched(app)
