"""A site of Quart: blueprints in blueprints."""
# mypy: ignore-errors
# ruff: noqa: A002  (a parameter is called what the path calls it)
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false, reportArgumentType=false

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from quart import Blueprint, Quart, abort, g, redirect, request, send_file, websocket
from what import CHUNKS, ENDLESS, FILE, chunk, login, same_context, watched


async def parts(chunks: int) -> AsyncIterator[bytes]:
    for number in range(chunks):
        yield chunk(number)
        await asyncio.sleep(0)


async def broken() -> AsyncIterator[bytes]:
    yield b"begun"
    raise ZeroDivisionError("too late to say so")


def site() -> Quart:
    app = Quart("shop")
    v1 = Blueprint("v1", "shop", url_prefix="/v1")
    orders = Blueprint("orders", "shop", url_prefix="/orders")
    reports = Blueprint("reports", "shop", url_prefix="/t/<tenant>/reports")

    @app.get("/health")
    async def health() -> Any:
        return {"ok": True}

    @orders.get("/<string:id>")
    async def order(id: str) -> Any:
        return {"id": id}

    @orders.post("/")
    async def make_order() -> Any:
        from marshmallow import Schema, fields

        schema = Schema.from_dict({"name": fields.Str(), "quantity": fields.Int(required=True)})
        schema().load(await request.get_json())
        return {"taken": True}

    @v1.post("/login")
    async def log_in() -> Any:
        return login(await request.get_json())

    @v1.get("/admin")
    async def admin() -> Any:
        abort(403)

    @v1.get("/crash")
    async def crash() -> Any:
        raise ZeroDivisionError("the till is empty")

    @v1.get("/late")
    async def late() -> Any:
        return broken()

    @v1.get("/stream")
    async def stream() -> Any:
        return parts(CHUNKS), 200, {"content-type": "application/octet-stream"}

    @v1.get("/endless")
    async def endless() -> Any:
        return parts(ENDLESS), 200, {"content-type": "application/octet-stream"}

    @v1.get("/file")
    async def file() -> Any:
        return await send_file(FILE)

    @v1.post("/upload")
    async def upload() -> Any:
        return {"size": len(await request.get_data())}

    @v1.post("/deaf")
    async def deaf() -> Any:
        return {"deaf": True}

    @v1.get("/moved")
    async def moved() -> Any:
        return redirect("/health", 307)

    @v1.get("/me")
    async def me() -> Any:
        g.user = {"username": "joe"}
        return {"me": True}

    @v1.get("/context/<number>")
    async def context(number: str) -> Any:
        still = same_context(number)
        await asyncio.sleep(0.02)
        return still()

    @v1.websocket("/ws")
    async def talk() -> None:
        while True:
            await websocket.send("heard " + await websocket.receive())

    @v1.websocket("/ws-until-it-breaks")
    async def talk_on() -> None:
        while True:
            await websocket.send("heard " + await websocket.receive())

    @reports.get("/<id>")
    async def report(tenant: str, id: str) -> Any:
        return {"report": id}

    async def refused(error: Exception) -> Any:
        return {"refused": True}, 422

    from marshmallow import ValidationError

    app.register_error_handler(ValidationError, refused)
    v1.register_blueprint(orders)
    app.register_blueprint(v1)
    app.register_blueprint(reports)
    return app


def make() -> tuple[Any, Any]:
    FILE.write_bytes(b"file " * 40_000)
    return site(), watched(site())
