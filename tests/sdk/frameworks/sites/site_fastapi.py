"""A site of FastAPI: routers in routers, and an application mounted below a parameter."""
# mypy: ignore-errors
# ruff: noqa: A002  (a parameter is called what the path calls it)
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false, reportArgumentType=false

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Body, FastAPI, HTTPException, Request, WebSocket
from fastapi.responses import FileResponse, RedirectResponse, StreamingResponse
from pydantic import BaseModel
from starlette.websockets import WebSocketDisconnect
from what import CHUNKS, ENDLESS, FILE, chunk, login, same_context, watched


class Order(BaseModel):
    name: str
    quantity: int


async def parts(chunks: int) -> AsyncIterator[bytes]:
    for number in range(chunks):
        yield chunk(number)
        await asyncio.sleep(0)


async def broken() -> AsyncIterator[bytes]:
    yield b"begun"
    raise ZeroDivisionError("too late to say so")


def site() -> FastAPI:
    app = FastAPI()
    v1 = APIRouter()
    orders = APIRouter()

    @app.get("/health")
    @app.head("/health")
    async def health() -> dict[str, bool]:
        return {"ok": True}

    @orders.get("/{id}")
    async def order(id: str) -> dict[str, str]:
        return {"id": id}

    @orders.post("")
    def make_order(order: Order) -> dict[str, bool]:
        return {"taken": True}

    @v1.post("/login")
    async def log_in(given: dict[str, Any] = Body(...)) -> dict[str, Any]:  # noqa: B008
        return login(given)

    @v1.get("/admin")
    async def admin() -> None:
        raise HTTPException(403, "no")

    @v1.get("/crash")
    async def crash() -> None:
        raise ZeroDivisionError("the till is empty")

    @v1.get("/late")
    async def late() -> StreamingResponse:
        return StreamingResponse(broken())

    @v1.get("/stream")
    async def stream() -> StreamingResponse:
        return StreamingResponse(parts(CHUNKS), media_type="application/octet-stream")

    @v1.get("/endless")
    async def endless() -> StreamingResponse:
        return StreamingResponse(parts(ENDLESS), media_type="application/octet-stream")

    @v1.get("/file")
    async def file() -> FileResponse:
        return FileResponse(FILE)

    @v1.post("/upload")
    async def upload(request: Request) -> dict[str, int]:
        return {"size": len(await request.body())}

    @v1.post("/deaf")
    async def deaf() -> dict[str, bool]:
        return {"deaf": True}

    @v1.get("/moved")
    async def moved() -> RedirectResponse:
        return RedirectResponse("/health")

    @v1.get("/me")
    async def me(request: Request) -> dict[str, bool]:
        request.state.user = {"username": "joe", "role": "clerk"}
        return {"me": True}

    @v1.get("/context/{number}")
    async def context(number: str) -> dict[str, Any]:
        still = same_context(number)
        await asyncio.sleep(0.02)
        return still()

    @v1.websocket("/ws")
    async def talk(socket: WebSocket) -> None:
        await socket.accept()
        try:
            while True:
                await socket.send_text("heard " + await socket.receive_text())
        except WebSocketDisconnect:
            return

    @v1.websocket("/ws-until-it-breaks")
    async def talk_on(socket: WebSocket) -> None:
        await socket.accept()
        while True:  # as in FastAPI's own manual: the client's farewell is raised
            await socket.send_text("heard " + await socket.receive_text())

    reports = FastAPI()

    @reports.get("/{id}")
    async def report(id: str) -> dict[str, str]:
        return {"report": id}

    v1.include_router(orders, prefix="/orders")
    app.include_router(v1, prefix="/v1")
    app.include_router(v1, prefix="/v2")
    app.mount("/t/{tenant}/reports", reports)
    return app


def make() -> tuple[Any, Any]:
    FILE.write_bytes(b"file " * 40_000)
    return site(), watched(site())
