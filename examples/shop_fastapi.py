"""A small shop: FastAPI, watched by tocsin."""

from __future__ import annotations

import secrets
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Header, HTTPException, UploadFile
from pydantic import BaseModel, Field

import tocsin

ACCOUNTS = {"ann": "correct horse", "joe": "battery staple", "root": "only for admins"}
ORDERS = {n: {"id": n, "owner": ("ann", "joe")[n % 2], "total": 10 * n} for n in range(1, 101)}
sessions: dict[str, str] = {}

app = FastAPI()
tocsin.watch(app, service="shop-fastapi")


class Login(BaseModel):
    username: str
    password: str


class Order(BaseModel):
    item: str = Field(max_length=40)
    count: int = Field(ge=1, le=100)
    note: str = ""


def customer(authorization: Annotated[str, Header()] = "") -> str:
    name = sessions.get(authorization.removeprefix("Bearer "))
    if name is None:
        raise HTTPException(401, "invalid token")
    tocsin.identify(name, role="admin" if name == "root" else "customer")
    return name


Customer = Annotated[str, Depends(customer)]


@app.post("/login")
def login(who: Login) -> dict[str, str]:
    if ACCOUNTS.get(who.username) != who.password:
        raise HTTPException(401, "wrong user name or password")
    token = secrets.token_urlsafe(24)
    sessions[token] = who.username
    return {"token": token}


@app.get("/orders/{id}")
def order(id: int, name: Customer) -> dict[str, Any]:
    found = ORDERS.get(id)
    if found is None:
        raise HTTPException(404, "no such order")
    if found["owner"] != name:
        tocsin.log.authz_fail(resource=f"order:{id}", reason="not the owner")
        raise HTTPException(404, "no such order")
    return found


@app.post("/orders", status_code=201)
def place(order: Order, name: Customer) -> dict[str, Any]:
    return {"id": 101, "owner": name, "item": order.item}


@app.get("/invoices/{id}")
def invoice(id: int, name: Customer) -> dict[str, Any]:
    return {**ORDERS[id], "email": "ann@shop.example"}  # whoever asks: the hole


@app.get("/search")
def search(q: str) -> dict[str, Any]:
    if "'" in q:
        raise RuntimeError(f"near {q!r}: syntax error")
    return {"found": [one for one in ORDERS.values() if q == str(one["total"])]}


@app.get("/admin/{page}")
def admin(page: str, name: Customer) -> dict[str, str]:
    if name != "root":
        raise HTTPException(403, "only for admins")
    return {"page": page}


@app.post("/files", status_code=201)
async def upload(file: UploadFile, name: Customer) -> dict[str, int]:
    return {"bytes": len(await file.read())}
