"""A site of Flask: blueprints in blueprints, and another application below a prefix."""
# mypy: ignore-errors
# ruff: noqa: A002  (a parameter is called what the path calls it)
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false, reportArgumentType=false

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from typing import Any

if os.environ.get("TOCSIN_TEST_NO_BLINKER"):
    sys.modules["blinker"] = None

from flask import Blueprint, Flask, abort, g, redirect, request, send_file
from marshmallow import Schema, ValidationError, fields
from what import CHUNKS, ENDLESS, FILE, chunk, login, same_context, watched


def parts(chunks: int) -> Iterator[bytes]:
    for number in range(chunks):
        yield chunk(number)


def broken() -> Iterator[bytes]:
    yield b"begun"
    raise ZeroDivisionError("too late to say so")


def site() -> Flask:
    app = Flask("shop")
    v1 = Blueprint("v1", "shop", url_prefix="/v1")
    orders = Blueprint("orders", "shop", url_prefix="/orders")
    reports = Blueprint("reports", "shop", url_prefix="/t/<tenant>/reports")

    @app.get("/health")
    def health() -> Any:
        return {"ok": True}

    @orders.get("/<string:id>")
    def order(id: str) -> Any:
        return {"id": id}

    @orders.post("/")
    def make_order() -> Any:
        schema = Schema.from_dict({"name": fields.Str(), "quantity": fields.Int(required=True)})
        schema().load(request.get_json())
        return {"taken": True}

    @v1.post("/login")
    def log_in() -> Any:
        return login(request.get_json())

    @v1.get("/admin")
    def admin() -> Any:
        abort(403)

    @v1.get("/crash")
    def crash() -> Any:
        raise ZeroDivisionError("the till is empty")

    @v1.get("/late")
    def late() -> Any:
        return broken()

    @v1.get("/stream")
    def stream() -> Any:
        return parts(CHUNKS), 200, {"content-type": "application/octet-stream"}

    @v1.get("/endless")
    def endless() -> Any:
        return parts(ENDLESS), 200, {"content-type": "application/octet-stream"}

    @v1.get("/file")
    def file() -> Any:
        return send_file(FILE)

    @v1.post("/upload")
    def upload() -> Any:
        if request.files:
            return {"size": sum(len(one.read()) for one in request.files.values())}
        return {"size": len(request.get_data())}

    @v1.post("/deaf")
    def deaf() -> Any:
        return {"deaf": True}

    @v1.get("/moved")
    def moved() -> Any:
        return redirect("/health", 307)

    @v1.get("/me")
    def me() -> Any:
        g.flask_httpauth_user = "joe"
        return {"me": True}

    @v1.get("/context/<number>")
    def context(number: str) -> Any:
        still = same_context(number)
        time.sleep(0.02)
        return still()

    @reports.get("/<id>")
    def report(tenant: str, id: str) -> Any:
        return {"report": id}

    app.register_error_handler(ValidationError, lambda error: ({"refused": True}, 422))
    v1.register_blueprint(orders)
    app.register_blueprint(v1)
    app.register_blueprint(reports)
    return app


def make() -> tuple[Any, Any]:
    FILE.write_bytes(b"file " * 40_000)
    return site(), watched(site())
