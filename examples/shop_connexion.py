"""A small shop: connexion, by its specification, watched by tocsin."""

from __future__ import annotations

import secrets
from typing import Any

import connexion
from connexion.exceptions import ProblemException

import tocsin

ACCOUNTS = {"ann": "correct horse", "joe": "battery staple", "root": "only for admins"}
ORDERS = {n: {"id": n, "owner": ("ann", "joe")[n % 2], "total": 10 * n} for n in range(1, 101)}
sessions: dict[str, str] = {}


def bearer(token: str) -> dict[str, str] | None:
    """What connexion asks of each token; what it gives is the principal."""
    name = sessions.get(token)
    return {"sub": name} if name else None


def login(body: dict[str, str]) -> Any:
    if ACCOUNTS.get(body["username"]) != body["password"]:
        return {"status": "fail", "message": "Password is not correct"}
    token = secrets.token_urlsafe(24)
    sessions[token] = body["username"]
    return {"status": "success", "token": token}


def order(number: int, user: str) -> Any:
    if number not in ORDERS or ORDERS[number]["owner"] != user:
        tocsin.log.authz_fail(user=user, resource=f"order:{number}", reason="not the owner")
        raise ProblemException(status=404, title="Not Found", detail="no such order")
    return ORDERS[number]


def place(body: dict[str, Any], user: str) -> Any:
    return {"id": 101, "owner": user, "item": body["item"]}, 201


def invoice(number: int, user: str) -> Any:
    return {**ORDERS[number], "email": "ann@shop.example"}  # whoever asks: the hole


def search(q: str) -> Any:
    if "'" in q:
        raise RuntimeError(f"near {q!r}: syntax error")
    return {"found": [one for one in ORDERS.values() if q == str(one["total"])]}


def admin(page: str, user: str) -> Any:
    if user != "root":
        raise ProblemException(status=403, title="Forbidden", detail="only for admins")
    return {"page": page}


def operation(name: str, *, secured: bool = True, **more: Any) -> dict[str, Any]:
    return {
        "operationId": f"{__name__}.{name}",
        "security": [{"bearer": []}] if secured else [],
        "responses": {"default": {"description": "what there is to say"}},
        **more,
    }


def parameter(name: str, place: str, kind: str) -> list[dict[str, Any]]:
    return [{"name": name, "in": place, "required": True, "schema": {"type": kind}}]


def body(**properties: dict[str, Any]) -> dict[str, Any]:
    schema = {"type": "object", "required": list(properties), "properties": properties}
    return {"required": True, "content": {"application/json": {"schema": schema}}}


TEXT, COUNT = {"type": "string"}, {"type": "integer", "minimum": 1, "maximum": 100}
NUMBER = parameter("number", "path", "integer")
SPECIFICATION: dict[str, Any] = {
    "openapi": "3.0.3",
    "info": {"title": "shop", "version": "1"},
    "components": {
        "securitySchemes": {
            "bearer": {
                "type": "http",
                "scheme": "bearer",
                "x-bearerInfoFunc": f"{__name__}.bearer",
            }
        }
    },
    "paths": {
        "/login": {
            "post": operation(
                "login", secured=False, requestBody=body(username=TEXT, password=TEXT)
            )
        },
        "/orders": {"post": operation("place", requestBody=body(item=TEXT, count=COUNT))},
        "/orders/{number}": {"get": operation("order", parameters=NUMBER)},
        "/invoices/{number}": {"get": operation("invoice", parameters=NUMBER)},
        "/search": {
            "get": operation("search", secured=False, parameters=parameter("q", "query", "string"))
        },
        "/admin/{page}": {
            "get": operation("admin", parameters=parameter("page", "path", "string"))
        },
    },
}

app = connexion.FlaskApp("shop")
tocsin.watch(app, service="shop-connexion")
app.add_api(SPECIFICATION)
