"""A site of connexion, by specification; 2 over WSGI, 3 over ASGI."""
# mypy: ignore-errors
# ruff: noqa: A002  (a parameter is called what the path calls it)
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false, reportArgumentType=false

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import connexion
from flask import Response, abort, g, redirect, request, send_file
from what import CHUNKS, ENDLESS, FILE, chunk, login, same_context, watched


def health() -> Any:
    return {"ok": True}


def order(id: str) -> Any:
    return {"id": id}


def make_order(body: Any) -> Any:
    return {"taken": True}


def log_in(body: Any) -> Any:
    return login(body)


def admin() -> Any:
    abort(403)


def crash() -> Any:
    raise ZeroDivisionError("the till is empty")


def parts(chunks: int) -> Iterator[bytes]:
    for number in range(chunks):
        yield chunk(number)


def stream() -> Any:
    return Response(parts(CHUNKS), mimetype="application/octet-stream")


def endless() -> Any:
    return Response(parts(ENDLESS), mimetype="application/octet-stream")


def file() -> Any:
    return send_file(FILE)


def upload() -> Any:
    return {"size": len(request.get_data())}


def deaf() -> Any:
    return {"deaf": True}


def moved() -> Any:
    return redirect("/health", 307)


def me() -> Any:
    g.flask_httpauth_user = "joe"
    return {"me": True}


def context(number: str) -> Any:
    still = same_context(number)
    time.sleep(0.02)
    return still()


def report(tenant: str, id: str) -> Any:
    return {"report": id}


def operation(function: Any, *names: str, body: Any = None) -> dict[str, Any]:
    found: dict[str, Any] = {
        "operationId": f"{__name__}.{function.__name__}",
        "responses": {"200": {"description": "fine"}},
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in names
        ],
    }
    if body is not None:
        found["requestBody"] = {"content": {"application/json": {"schema": body}}}
    return found


ORDER = {
    "type": "object",
    "required": ["name", "quantity"],
    "properties": {"name": {"type": "string"}, "quantity": {"type": "integer"}},
}


def specification(base: str, paths: dict[str, Any]) -> dict[str, Any]:
    return {
        "openapi": "3.0.0",
        "info": {"title": "shop", "version": "1"},
        "servers": [{"url": base}],
        "paths": paths,
    }


def site() -> Any:
    app = connexion.FlaskApp("shop")
    v1 = {
        "/orders/{id}": {"get": operation(order, "id")},
        "/orders": {"post": operation(make_order, body=ORDER)},
        "/login": {"post": operation(log_in, body={"type": "object"})},
        "/admin": {"get": operation(admin)},
        "/crash": {"get": operation(crash)},
        "/stream": {"get": operation(stream)},
        "/endless": {"get": operation(endless)},
        "/file": {"get": operation(file)},
        "/upload": {"post": operation(upload)},
        "/deaf": {"post": operation(deaf)},
        "/moved": {"get": operation(moved)},
        "/me": {"get": operation(me)},
        "/context/{number}": {"get": operation(context, "number")},
    }
    reports = {"/{tenant}/reports/{id}": {"get": operation(report, "tenant", "id")}}
    for base, paths in (("/v1", v1), ("/t", reports)):
        named = {"name": base.strip("/")} if THREE else {}
        app.add_api(specification(base, paths), **named)
    app.add_url_rule("/health", "health", health)
    return app


THREE = hasattr(connexion, "AsyncApp")


def make() -> tuple[Any, Any]:
    FILE.write_bytes(b"file " * 40_000)
    return site(), watched(site())
