"""A small shop: Starlette, watched by tocsin."""

from __future__ import annotations

import secrets

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

import tocsin

ACCOUNTS = {"ann": "correct horse", "joe": "battery staple", "root": "only for admins"}
ORDERS = {n: {"id": n, "owner": ("ann", "joe")[n % 2], "total": 10 * n} for n in range(1, 101)}
sessions: dict[str, str] = {}


def customer(request: Request) -> str:
    name = sessions.get(request.headers.get("authorization", "").removeprefix("Bearer "))
    if name is None:
        raise HTTPException(401, "invalid token")
    tocsin.identify(name, role="admin" if name == "root" else "customer")
    return name


async def login(request: Request) -> JSONResponse:
    who = await request.json()
    if ACCOUNTS.get(who.get("username")) != who.get("password"):
        # Many APIs answer 200 to a failure; what counts is what it says.
        return JSONResponse({"status": "fail", "message": "Password is not correct"})
    token = secrets.token_urlsafe(24)
    sessions[token] = who["username"]
    return JSONResponse({"status": "success", "token": token})


async def order(request: Request) -> JSONResponse:
    name, number = customer(request), request.path_params["id"]
    if number not in ORDERS or ORDERS[number]["owner"] != name:
        tocsin.log.authz_fail(resource=f"order:{number}", reason="not the owner")
        raise HTTPException(404, "no such order")
    return JSONResponse(ORDERS[number])


async def place(request: Request) -> JSONResponse:
    name, wanted = customer(request), await request.json()
    if not isinstance(wanted.get("count"), int) or not 1 <= wanted["count"] <= 100:
        raise HTTPException(400, "count must be between 1 and 100")
    return JSONResponse({"id": 101, "owner": name, "item": wanted.get("item")}, 201)


async def invoice(request: Request) -> JSONResponse:
    customer(request)
    found = ORDERS[request.path_params["id"]]  # whoever asks: the hole
    return JSONResponse({**found, "email": "ann@shop.example"})


async def search(request: Request) -> JSONResponse:
    q = request.query_params["q"]
    if "'" in q:
        raise RuntimeError(f"near {q!r}: syntax error")
    return JSONResponse({"found": [one for one in ORDERS.values() if q == str(one["total"])]})


async def admin(request: Request) -> JSONResponse:
    if customer(request) != "root":
        raise HTTPException(403, "only for admins")
    return JSONResponse({"page": request.path_params["page"]})


app = Starlette(
    routes=[
        Route("/login", login, methods=["POST"]),
        Route("/orders/{id:int}", order),
        Route("/orders", place, methods=["POST"]),
        Route("/invoices/{id:int}", invoice),
        Route("/search", search),
        Mount("/admin", routes=[Route("/{page}", admin)]),
    ]
)
tocsin.watch(app, service="shop-starlette")
