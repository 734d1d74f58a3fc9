"""Who is believed to be behind a request, and what others bring to be taken for somebody."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from tests.sdk.requests import App, jwt

from tocsin.event import Event
from tocsin.sdk.reading.people import SHUT_AFTER


def kinds(events: list[Event]) -> list[str]:
    return [str(event.kind) for event in events]


def basic(text: str, junk: str = "") -> dict[str, str]:
    return {"authorization": f"Basic {junk}{base64.b64encode(text.encode()).decode()}"}


def bearer(claims: dict[str, Any]) -> dict[str, str]:
    return {"authorization": f"Bearer {jwt(claims)}"}


KEY = "0123456789abcdefABCD"
SHOP_KEY = {"x-shop-key": KEY}
#: What may have opened a door in place of what names somebody.
OTHERS = [
    SHOP_KEY,
    {"x-api-key": KEY},
    {"cookie": f"session={KEY}"},
    {"cookie": f"shopper={KEY}"},
    {f"x-{n}": "a" for n in range(200)} | SHOP_KEY,
]
#: What browsers and proxies send as well.
ORDINARY = {
    "accept": "application/json, text/plain, */*",
    "accept-language": "de-DE,de;q=0.9",
    "origin": "https://shop.example.org",
    "sec-fetch-site": "same-origin",
    "x-forwarded-for": "203.0.113.7, 198.51.100.7",
    "x-requested-with": "XMLHttpRequest",
    "x-csrf-token": "1f3e5d7c9b",
    "x-request-id": "7f1d9a0c-0000",
    "cookie": "_ga=GA1.2.1234567890; csrftoken=0123456789abcdef; theme=dark-and-blue",
}


def guarded() -> App:
    """An application that was seen to refuse who brings nothing."""
    app = App()
    assert kinds(app("GET /orders", 401)) == ["request", "authz_fail"]
    return app


def test_a_name_that_nobody_asked_for_is_no_login() -> None:
    app = App()
    basic = {"authorization": "Basic YWRtaW46eA=="}
    (event,) = app("GET /health", 200, {"ok": True}, headers=basic)
    assert (event.user, event.claimed_user) == (None, "admin")
    assert kinds(app("GET /inside", 401)) == ["request", "authz_fail"]
    inside = app("GET /inside", 200, headers=basic)
    assert [(e.kind, e.user) for e in inside] == [
        ("request", "admin"),
        ("authn_login_success", "admin"),
    ]


def test_words_of_the_client_are_no_refusal() -> None:
    app = App()
    answer = {"detail": "Product invalid token not found"}
    (missing,) = app("GET /product/invalid%20token", 404, answer, route="/product/{name}")
    assert missing.reason == "not_found"
    forged = {"authorization": f"Bearer {jwt({'sub': 'admin', 'role': 'admin'})}"}
    (event,) = app("GET /product/real", 200, {}, route="/product/{name}", headers=forged)
    assert (event.user, event.role, event.claimed_user) == (None, None, "admin")


def test_made_up_paths_teach_nothing() -> None:
    app = App()
    token = {"authorization": f"Bearer {jwt({'sub': 'ann'})}"}
    app("GET /orders", 401)
    for n in range(2_000):
        app(f"GET /made-up/{n}", 401, routed=False)
    assert app("GET /orders", 200, headers=token)[0].user == "ann"


@pytest.mark.parametrize("named", [bearer({"sub": "ann"}), basic("ann:x")])
@pytest.mark.parametrize("other", OTHERS)
def test_a_name_is_a_claim_if_something_else_may_have_opened_the_door(
    named: dict[str, str], other: dict[str, str]
) -> None:
    (event,) = guarded()("GET /orders", headers={**other, **named})
    assert (event.user, event.claimed_user) == (None, "ann")


@pytest.mark.parametrize("named", [bearer({"sub": "ann"}), basic("ann:x")])
def test_a_name_is_a_claim_if_the_query_or_the_body_may_have_opened_the_door(
    named: dict[str, str],
) -> None:
    (event,) = guarded()(f"GET /orders?api_key={KEY}", headers=named, route="/orders")
    assert (event.user, event.claimed_user) == (None, "ann")
    (event,) = guarded()("GET /orders?user=joe&password=right", headers=named, route="/orders")
    assert (event.user, event.claimed_user) == (None, "ann")
    app = guarded()
    app("POST /orders", 401)
    (event,) = app("POST /orders", headers=named, body={"apiKey": KEY})
    assert (event.user, event.claimed_user) == (None, "ann")


@pytest.mark.parametrize("named", [bearer({"sub": "ann"}), basic("ann:x")])
def test_what_browsers_send_as_well_opens_no_door(named: dict[str, str]) -> None:
    assert guarded()("GET /orders", headers={**ORDINARY, **named})[0].user == "ann"


def test_a_login_by_the_body_is_nobodys_whom_a_header_names() -> None:
    app = App()
    refused = {"status": "fail", "message": "Password is not correct"}
    app("POST /login", 401, refused, body={"username": "joe", "password": "x"})
    body = {"username": "joe", "password": "right"}
    for token, user, claimed in (
        ("opaque-0123456789", None, "joe"),
        (jwt({"sub": "joe"}), "joe", "root"),
    ):
        found = app("POST /login", 200, {"token": token}, body=body, headers=basic("root:x"))
        assert [(e.kind, e.user, e.claimed_user) for e in found] == [
            ("request", user, claimed),
            ("authn_login_success", user, claimed),
        ]


def test_a_door_that_a_key_opens_is_still_one() -> None:
    app, token = guarded(), bearer({"sub": "ann"})
    app("GET /orders", headers=SHOP_KEY)
    app("GET /orders", headers={"cookie": f"shopper={KEY}"})
    assert app("GET /orders", headers=token)[0].user == "ann"


def test_a_door_that_stood_open_once_is_shut_when_it_refuses_long_enough() -> None:
    app, token = guarded(), bearer({"sub": "ann"})
    app("GET /orders")
    assert app("GET /orders", headers=token)[0].user is None
    app("GET /orders", 401)
    assert app("GET /orders", headers=token)[0].user is None, "some of what is behind it is public"
    for _ in range(SHUT_AFTER):
        app("GET /orders", 401)
    assert app("GET /orders", headers=token)[0].user == "ann"


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "x"},
        {"authorization": "Basic zz"},
        {"authorization": f"Bearer {jwt({'sub': 'ann', 'role': 'admin'})}"},
        {"x-token": "zz"},
        {"cookie": "xsession=aaaaaaaa1; csrf_token=bbbbbbbb"},
        {"cookie": "session=aaaaaaaa1"},
    ],
)
def test_what_else_is_brought_hides_nobody(headers: dict[str, str]) -> None:
    app = App()
    body, out = {"username": "joe", "password": "right"}, {"set-cookie": f"session={KEY}"}
    app("POST /login", 200, {"ok": True}, body=body, out=out)
    cookie = "; ".join(filter(None, (headers.get("cookie"), f"session={KEY}")))
    (event,) = app("GET /orders", headers={**headers, "cookie": cookie}, user=None)
    assert (event.user, event.role) == ("joe", None)


def test_a_second_token_in_the_header_hides_nobody() -> None:
    app = App()
    app("POST /login", 200, {"token": KEY}, body={"username": "joe", "password": "right"})
    for text in (f"Bearer x, Bearer {KEY}", f"Bearer {KEY},Bearer x"):
        assert app("GET /orders", headers={"authorization": text})[0].user == "joe"


def test_a_token_does_not_lend_its_names_to_somebody_else() -> None:
    answer = {"id": 5, "owner": "ann"}
    (event,) = App()("GET /orders/5", 200, answer, user="joe", headers=bearer({"sub": "ann"}))
    assert (event.user, event.claimed_user, event.tags) == (
        "joe",
        "ann",
        ("jwt.no_exp", "owner.other"),
    )


def test_basic_credentials_are_read_as_leniently_as_frameworks_read_them() -> None:
    app = App()
    for junk in ("", "!", " *"):
        login = app("GET /inside", 401, headers=basic("ann:x", junk))[-1]
        assert (login.kind, login.claimed_user) == ("authn_login_fail", "ann")


@pytest.mark.parametrize("head", ['\n{"alg":"none"}', ' {"alg":"none"}', '{"x":NaN,"alg":"none"}'])
def test_a_token_is_read_as_leniently_as_libraries_read_it(head: str) -> None:
    parts = [
        base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()
        for text in (head, json.dumps({"sub": "root"}))
    ]
    headers = {"authorization": f"Bearer {'.'.join(parts)}."}
    (event,) = App()("GET /orders", headers=headers)
    assert event.claimed_user == "root"
    assert "jwt.alg_none" in (event.tags or ())


@pytest.mark.parametrize(
    "line", ["GET /orders/5", "GET /orders/5?x=forbidden", "GET /orders/5?x=not+allowed"]
)
def test_words_of_a_refusal_mean_it_whatever_else_the_client_says(line: str) -> None:
    answer = {"status": "fail", "message": "forbidden"}
    found = App()(line, 200, answer, body={"y": "Forbidden", "forbidden": 1})
    assert [(e.kind, e.reason) for e in found] == [
        ("request", "forbidden"),
        ("authz_fail", "forbidden"),
    ]


def test_words_that_the_client_sent_teach_nothing() -> None:
    app = App()
    for name in ("forbidden", "invalid%20token"):
        answer = {"detail": f"There is no product called {name.replace('%20', ' ')}"}
        app(f"GET /product/{name}", 200, {"status": "fail", **answer}, route="/product/{name}")
    (event,) = app(
        "GET /product/real", 200, {}, route="/product/{name}", headers=bearer({"sub": "ann"})
    )
    assert (event.user, event.claimed_user) == (None, "ann")
