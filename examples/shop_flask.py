"""A small shop: Flask, watched by tocsin."""

from __future__ import annotations

import secrets
from typing import Any

from flask import Blueprint, Flask, abort, request

import tocsin

ACCOUNTS = {"ann": "correct horse", "joe": "battery staple", "root": "only for admins"}
ORDERS = {n: {"id": n, "owner": ("ann", "joe")[n % 2], "total": 10 * n} for n in range(1, 101)}
sessions: dict[str, str] = {}

app = Flask("shop")
tocsin.watch(app, service="shop-flask")
orders = Blueprint("orders", __name__, url_prefix="/orders")


def customer() -> str:
    name = sessions.get(request.headers.get("Authorization", "").removeprefix("Bearer "))
    if name is None:
        abort(401)
    tocsin.identify(name, role="admin" if name == "root" else "customer")
    return name


@app.post("/login")
def login() -> Any:
    who = request.get_json()
    if ACCOUNTS.get(who.get("username")) != who.get("password"):
        # Many APIs answer 200 to a failure; what counts is what it says.
        return {"status": "fail", "message": "Password is not correct"}
    token = secrets.token_urlsafe(24)
    sessions[token] = who["username"]
    return {"status": "success", "token": token}


@orders.get("/<int:number>")
def order(number: int) -> Any:
    name = customer()
    if number not in ORDERS or ORDERS[number]["owner"] != name:
        tocsin.log.authz_fail(resource=f"order:{number}", reason="not the owner")
        abort(404)
    return ORDERS[number]


@orders.post("")
def place() -> Any:
    name, wanted = customer(), request.get_json()
    if not isinstance(wanted.get("count"), int) or not 1 <= wanted["count"] <= 100:
        return {"errors": {"count": ["must be between 1 and 100"]}}, 400
    return {"id": 101, "owner": name, "item": wanted.get("item")}, 201


@app.get("/invoices/<int:number>")
def invoice(number: int) -> Any:
    customer()
    return {**ORDERS[number], "email": "ann@shop.example"}  # whoever asks: the hole


@app.get("/search")
def search() -> Any:
    q = request.args["q"]
    if "'" in q:
        raise RuntimeError(f"near {q!r}: syntax error")
    return {"found": [one for one in ORDERS.values() if q == str(one["total"])]}


@app.get("/admin/<page>")
def admin(page: str) -> Any:
    if customer() != "root":
        abort(403)
    return {"page": page}


@app.post("/files")
def upload() -> Any:
    customer()
    return {"bytes": len(request.files["file"].read())}, 201


app.register_blueprint(orders)
