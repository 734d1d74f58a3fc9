"""A site of Litestar: routers in routers, and an application mounted."""
# mypy: ignore-errors
# ruff: noqa: A002  (a parameter is called what the path calls it)
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false, reportArgumentType=false

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from litestar import (
    Litestar,
    Request,
    Router,
    WebSocket,
    asgi,
    get,
    head,
    post,
    websocket,
)
from litestar.exceptions import PermissionDeniedException, WebSocketDisconnect
from litestar.response import File, Redirect, Stream
from what import CHUNKS, ENDLESS, FILE, chunk, login, same_context, watched


class Order(msgspec.Struct):
    name: str
    quantity: int


async def parts(chunks: int) -> AsyncIterator[bytes]:
    for number in range(chunks):
        yield chunk(number)
        await asyncio.sleep(0)


async def broken() -> AsyncIterator[bytes]:
    yield b"begun"
    raise ZeroDivisionError("too late to say so")


@get("/health")
async def health() -> dict[str, bool]:
    return {"ok": True}


@head("/health")
async def head_health() -> None:
    return None


@get("/{id:str}")
async def order(id: str) -> dict[str, str]:
    return {"id": id}


@post("/", status_code=200)
async def make_order(data: Order) -> dict[str, bool]:
    return {"taken": True}


@post("/login", status_code=200)
async def log_in(data: dict[str, Any]) -> dict[str, Any]:
    return login(data)


@get("/admin")
async def admin() -> None:
    raise PermissionDeniedException("no")


@get("/crash")
async def crash() -> None:
    raise ZeroDivisionError("the till is empty")


@get("/late")
async def late() -> Stream:
    return Stream(broken())


@get("/stream")
async def stream() -> Stream:
    return Stream(parts(CHUNKS), media_type="application/octet-stream")


@get("/endless")
async def endless() -> Stream:
    return Stream(parts(ENDLESS), media_type="application/octet-stream")


@get("/file")
async def file() -> File:
    return File(path=FILE)


@post("/upload", status_code=200)
async def upload(request: Request) -> dict[str, int]:
    return {"size": len(await request.body())}


@post("/deaf", status_code=200)
async def deaf() -> dict[str, bool]:
    return {"deaf": True}


@get("/moved", status_code=307)
async def moved() -> Redirect:
    return Redirect("/health", status_code=307)


@get("/me")
async def me(request: Request) -> dict[str, bool]:
    request.scope["user"] = {"username": "joe"}
    return {"me": True}


@get("/context/{number:str}")
async def context(number: str) -> dict[str, Any]:
    still = same_context(number)
    await asyncio.sleep(0.02)
    return still()


@websocket("/ws")
async def talk(socket: WebSocket) -> None:
    await socket.accept()
    try:
        while True:
            await socket.send_text("heard " + await socket.receive_text())
    except WebSocketDisconnect:
        return


@websocket("/ws-until-it-breaks")
async def talk_on(socket: WebSocket) -> None:
    await socket.accept()
    while True:
        await socket.send_text("heard " + await socket.receive_text())


def site() -> Litestar:
    @get("/{id:str}")
    async def report(id: str) -> dict[str, str]:
        return {"report": id}

    reports = Litestar([report], openapi_config=None)

    @asgi("/t/reports", is_mount=True)
    async def mounted(scope: Any, receive: Any, send: Any) -> None:
        await reports(scope, receive, send)

    orders = Router("/orders", route_handlers=[order, make_order])
    shop = [log_in, admin, crash, late, stream, endless, file, upload, deaf, moved, me, context]
    v1 = Router("/v1", route_handlers=[orders, *shop, talk, talk_on])
    return Litestar([health, head_health, v1, mounted], openapi_config=None)


def make() -> tuple[Any, Any]:
    FILE.write_bytes(b"file " * 40_000)
    return site(), watched(site())
