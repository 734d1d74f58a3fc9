"""A small shop: Litestar, watched by tocsin."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Annotated, Any

from litestar import Litestar, Request, Router, get, post
from litestar.exceptions import HTTPException
from msgspec import Meta

import tocsin

ACCOUNTS = {"ann": "correct horse", "joe": "battery staple", "root": "only for admins"}
ORDERS = {n: {"id": n, "owner": ("ann", "joe")[n % 2], "total": 10 * n} for n in range(1, 101)}
sessions: dict[str, str] = {}


@dataclass
class Login:
    username: str
    password: str


@dataclass
class Order:
    item: str
    count: Annotated[int, Meta(ge=1, le=100)]
    note: str = ""


def customer(request: Request[Any, Any, Any]) -> str:
    name = sessions.get(request.headers.get("authorization", "").removeprefix("Bearer "))
    if name is None:
        raise HTTPException("invalid token", status_code=401)
    tocsin.identify(name, role="admin" if name == "root" else "customer")
    return name


@post("/login", status_code=200)
async def login(data: Login) -> dict[str, str]:
    if ACCOUNTS.get(data.username) != data.password:
        raise HTTPException("wrong user name or password", status_code=401)
    token = secrets.token_urlsafe(24)
    sessions[token] = data.username
    return {"token": token}


@get("/{number:int}")
async def order(number: int, request: Request[Any, Any, Any]) -> dict[str, Any]:
    name = customer(request)
    if number not in ORDERS or ORDERS[number]["owner"] != name:
        tocsin.log.authz_fail(resource=f"order:{number}", reason="not the owner")
        raise HTTPException("no such order", status_code=404)
    return ORDERS[number]


@post("/")
async def place(data: Order, request: Request[Any, Any, Any]) -> dict[str, Any]:
    return {"id": 101, "owner": customer(request), "item": data.item}


@get("/invoices/{number:int}")
async def invoice(number: int, request: Request[Any, Any, Any]) -> dict[str, Any]:
    customer(request)
    return {**ORDERS[number], "email": "ann@shop.example"}  # whoever asks: the hole


@get("/search")
async def search(q: str) -> dict[str, Any]:
    if "'" in q:
        raise RuntimeError(f"near {q!r}: syntax error")
    return {"found": [one for one in ORDERS.values() if q == str(one["total"])]}


@get("/admin/{page:str}")
async def admin(page: str, request: Request[Any, Any, Any]) -> dict[str, str]:
    if customer(request) != "root":
        raise HTTPException("only for admins", status_code=403)
    return {"page": page}


orders = Router("/orders", route_handlers=[order, place])
app = Litestar([login, orders, invoice, search, admin])
tocsin.watch(app, service="shop-litestar")
