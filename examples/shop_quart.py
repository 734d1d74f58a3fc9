"""A small shop: Quart, watched by tocsin."""

from __future__ import annotations

import secrets
from typing import Any

from quart import Quart, abort, request

import tocsin

ACCOUNTS = {"ann": "correct horse", "joe": "battery staple", "root": "only for admins"}
ORDERS = {n: {"id": n, "owner": ("ann", "joe")[n % 2], "total": 10 * n} for n in range(1, 101)}
sessions: dict[str, str] = {}

app = Quart("shop")
tocsin.watch(app, service="shop-quart")


def customer() -> str:
    name = sessions.get(request.headers.get("Authorization", "").removeprefix("Bearer "))
    if name is None:
        abort(401)
    tocsin.identify(name, role="admin" if name == "root" else "customer")
    return name


@app.post("/login")
async def login() -> Any:
    who = await request.get_json()
    if ACCOUNTS.get(who.get("username")) != who.get("password"):
        return {"error": "wrong user name or password"}, 401
    token = secrets.token_urlsafe(24)
    sessions[token] = who["username"]
    return {"token": token}


@app.get("/orders/<int:number>")
async def order(number: int) -> Any:
    name = customer()
    if number not in ORDERS or ORDERS[number]["owner"] != name:
        tocsin.log.authz_fail(resource=f"order:{number}", reason="not the owner")
        abort(404)
    return ORDERS[number]


@app.post("/orders")
async def place() -> Any:
    name, wanted = customer(), await request.get_json()
    if not isinstance(wanted.get("count"), int) or not 1 <= wanted["count"] <= 100:
        return {"errors": {"count": ["must be between 1 and 100"]}}, 400
    return {"id": 101, "owner": name, "item": wanted.get("item")}, 201


@app.get("/invoices/<int:number>")
async def invoice(number: int) -> Any:
    customer()
    return {**ORDERS[number], "email": "ann@shop.example"}  # whoever asks: the hole


@app.get("/search")
async def search() -> Any:
    q = request.args["q"]
    if "'" in q:
        raise RuntimeError(f"near {q!r}: syntax error")
    return {"found": [one for one in ORDERS.values() if q == str(one["total"])]}


@app.get("/admin/<page>")
async def admin(page: str) -> Any:
    if customer() != "root":
        abort(403)
    return {"page": page}
