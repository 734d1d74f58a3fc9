"""A site of Starlette, with middleware around it of the kind that is slow and much used."""
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false, reportArgumentType=false

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import (
    FileResponse,
    JSONResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect
from what import CHUNKS, ENDLESS, FILE, chunk, login, same_context, watched


class Passing(BaseHTTPMiddleware):
    async def dispatch(self, request: Request, call_next: Any) -> Response:
        return await call_next(request)


async def health(request: Request) -> Response:
    return JSONResponse({"ok": True})


async def order(request: Request) -> Response:
    return JSONResponse({"id": request.path_params["id"]})


async def make_order(request: Request) -> Response:
    given = await request.json()
    if not isinstance(given.get("quantity"), int):
        raise HTTPException(422, "no")
    return JSONResponse({"taken": True})


async def log_in(request: Request) -> Response:
    return JSONResponse(login(await request.json()))


async def admin(request: Request) -> Response:
    raise HTTPException(403, "no")


async def crash(request: Request) -> Response:
    raise ZeroDivisionError("the till is empty")


async def parts(chunks: int) -> AsyncIterator[bytes]:
    for number in range(chunks):
        yield chunk(number)
        await asyncio.sleep(0)


async def broken() -> AsyncIterator[bytes]:
    yield b"begun"
    raise ZeroDivisionError("too late to say so")


async def late(request: Request) -> Response:
    return StreamingResponse(broken())


async def stream(request: Request) -> Response:
    return StreamingResponse(parts(CHUNKS), media_type="application/octet-stream")


async def endless(request: Request) -> Response:
    return StreamingResponse(parts(ENDLESS), media_type="application/octet-stream")


async def file(request: Request) -> Response:
    return FileResponse(FILE)


async def upload(request: Request) -> Response:
    return JSONResponse({"size": len(await request.body())})


async def deaf(request: Request) -> Response:
    return JSONResponse({"deaf": True})


async def moved(request: Request) -> Response:
    return RedirectResponse("/health")


async def me(request: Request) -> Response:
    request.state.user = "joe"
    return JSONResponse({"me": True})


async def context(request: Request) -> Response:
    still = same_context(request.path_params["number"])
    await asyncio.sleep(0.02)
    return JSONResponse(still())


async def report(request: Request) -> Response:
    return JSONResponse({"report": request.path_params["id"]})


async def talk(socket: WebSocket) -> None:
    await socket.accept()
    try:
        while True:
            await socket.send_text("heard " + await socket.receive_text())
    except WebSocketDisconnect:
        return


async def talk_on(socket: WebSocket) -> None:
    await socket.accept()
    while True:
        await socket.send_text("heard " + await socket.receive_text())


def site() -> Starlette:
    v1 = [
        Mount(
            "/orders",
            routes=[
                Route("/{id}", order),
                Route("/", make_order, methods=["POST"]),
            ],
        ),
        Route("/login", log_in, methods=["POST"]),
        Route("/admin", admin),
        Route("/crash", crash),
        Route("/late", late),
        Route("/stream", stream),
        Route("/endless", endless),
        Route("/file", file),
        Route("/upload", upload, methods=["POST"]),
        Route("/deaf", deaf, methods=["POST"]),
        Route("/moved", moved),
        Route("/me", me),
        Route("/context/{number}", context),
        WebSocketRoute("/ws", talk),
        WebSocketRoute("/ws-until-it-breaks", talk_on),
    ]
    return Starlette(
        routes=[
            Route("/health", health),
            Mount("/v1", routes=v1),
            Mount("/t/{tenant}/reports", routes=[Route("/{id}", report)]),
        ],
        middleware=[Middleware(Passing)],
    )


def make() -> tuple[Any, Any]:
    FILE.write_bytes(b"file " * 40_000)
    return site(), watched(site())
