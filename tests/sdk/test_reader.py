"""One request becomes its event, and what it amounts to becomes events of its own."""

# One row of a table is one line, whatever its length.
# ruff: noqa: E501

from __future__ import annotations

import base64
import gzip
import secrets
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.sdk.requests import App, jwt, seen

from tocsin.event import Event, Kind
from tocsin.sdk.context import Context
from tocsin.sdk.harmless import mishaps
from tocsin.sdk.seen import Complaint, Failure

SOON = 1_795_003_600


def kinds(events: list[Event]) -> list[str]:
    return [str(event.kind) for event in events]


def tags(event: Event) -> set[str]:
    return set(event.tags or ())


def login(app: App, user: str, password: str, *, good: bool = False) -> list[Event]:
    """A login at an API that answers 200 to everything."""
    answer = (
        {"status": "success", "auth_token": jwt({"sub": user, "exp": SOON}), "message": "Hello"}
        if good
        else {"status": "fail", "message": "Password is not correct for the given username."}
    )
    body = {"username": user, "password": password}
    return app("POST /users/v1/login", 200, answer, body=body)


# -- the request --------------------------------------------------------------------------------


def test_a_request_says_who_what_where_and_when() -> None:
    (event,) = App()(
        "GET /v1/orders/7?page=2", 200, {"id": 7, "total": 9}, route="/v1/orders/{id}", params={"id": 7},
        headers={"referer": "https://example.org/", "traceparent": "x"},
        context=Context("req-7", "a" * 32, "b" * 16), user="ann",
    )  # fmt: skip
    assert (event.kind, event.outcome, event.outcome_source) == (Kind.REQUEST, "success", "status")
    assert (event.method, event.route, event.path, event.query) == (
        "GET",
        "/v1/orders/{id}",
        "/v1/orders/7",
        "page=2",
    )
    assert (event.status, event.bytes_out, event.duration_ns) == (200, 21, 1_000_000)
    assert (event.user, event.client_ip, event.client_port) == ("ann", "198.51.100.7", 40_000)
    assert (event.user_agent, event.authority) == ("test/1", "api.example.org")
    assert (event.request_id, event.trace_id, event.span_id) == ("req-7", "a" * 32, "b" * 16)
    assert (event.object_type, event.via, event.records_out) == ("order", "detail", 1)
    assert event.objects is not None
    assert event.objects[0].startswith("order:")
    assert event.objects[0].removeprefix("order:") != "7"


def test_secrets_leave_neither_in_the_url_nor_in_headers_nor_in_words() -> None:
    events = App()(
        "GET /reset?token=abcdef123456&a=1", 500,
        headers={"referer": "https://x/?password=hunter2", "user-agent": "x api_key=abcdef123456789",
                 "authorization": "Bearer abcdefghijklmnop", "cookie": "session=s3cr3tvalue123"},
        failure=Failure("app.Boom", "could not use password=hunter2", "app.py:3 handler"),
    )  # fmt: skip
    text = repr(events)
    for secret in ("abcdef123456", "hunter2", "abcdefghijklmnop", "s3cr3tvalue123"):
        assert secret not in text
    assert events[0].session is not None
    assert events[0].session.startswith("h:")


@pytest.mark.parametrize(
    "given", ["4111111111111111", f"ghp_{'a1B2' * 9}", jwt({"sub": "ann"}), "4111111111111111-1"]
)
def test_a_secret_as_the_id_of_a_request_becomes_an_id_of_our_own(given: str) -> None:
    app = App()
    failure = Failure("app.Boom", "", "app.py:3 handler")
    events = app("GET /a", 500, failure=failure, context=Context(given))
    events.append(
        app.reader.finish(Event(time=1, kind=Kind.LOG, message="meanwhile", request_id=given))
    )
    assert given not in repr(events)
    (ours,) = {event.request_id for event in events}
    assert ours
    assert [event.attributes for event in events] == [None, {"error_id": ours}, None]
    assert app("GET /a", context=Context("req-7"))[0].request_id == "req-7"


@pytest.mark.parametrize(
    ("host", "authority"),
    [
        ("joe:hunter2pw@api.example.org:8080", "api.example.org:8080"),
        (f"ghp_{'a1B2' * 9}", "[redacted:github-token]"),
        ("api.example.org", "api.example.org"),
    ],
)
def test_the_host_is_kept_without_credentials(host: str, authority: str) -> None:
    app = App()
    (event,) = app("GET /a", headers={"host": host})
    assert event.authority == authority
    assert app.reader.finish(Event(time=1, kind=Kind.LOG, authority=host)).authority == authority


def test_a_forwarding_header_is_believed_from_a_trusted_machine_only() -> None:
    headers = {"x-forwarded-for": "6.6.6.6, 203.0.113.5"}
    (event,) = App()("GET /", headers=headers, peer="10.0.0.1")
    assert (event.client_ip, event.peer_ip) == ("10.0.0.1", None)
    (event,) = App(trusted_proxies=("10.0.0.0/8",))("GET /", headers=headers, peer="10.0.0.1")
    assert (event.client_ip, event.peer_ip) == ("203.0.113.5", "10.0.0.1")


# -- the real outcome ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "answer", "outcome", "reason", "source"),
    [
        (200, {"status": "fail", "message": "Access denied"}, "failure", "forbidden", "body"),
        (200, {"success": False, "error": "Order not found"}, "failure", "not_found", "body"),
        (200, {"ok": True}, "success", None, "body"),
        (200, {"data": {"me": None}, "errors": [{"message": "Not authorized"}]}, "failure", "forbidden", "body"),
        (200, {"jsonrpc": "2.0", "error": {"code": -32602, "message": "Invalid params"}, "id": 1}, "failure", "validation", "body"),
        (200, [{"jsonrpc": "2.0", "result": 1}, {"jsonrpc": "2.0", "error": {"message": "internal error"}}], "failure", "internal", "body"),
        (200, {"code": 403, "msg": "no permission"}, "failure", "forbidden", "body"),
        (200, {"result": "error", "description": "too many requests"}, "failure", "rate_limited", "body"),
        (200, {"status": "open", "id": 3}, "success", None, "status"),
        (200, {"status": 200, "error": None, "data": []}, "success", None, "status"),
        (200, {"errors": [], "data": {"x": 1}}, "success", None, "status"),
        (200, {"code": 0, "message": "ok"}, "success", None, "status"),
        (404, {"success": True}, "failure", "not_found", "status"),
        (403, {"type": "about:blank", "title": "Forbidden", "status": 403, "detail": "You are not the owner"}, "failure", "forbidden", "body"),
        (500, None, "failure", "internal", "status"),
        (200, {"data": {"status": "failed", "message": "user already exists"}}, "failure", "conflict", "body"),
    ],
)  # fmt: skip
def test_the_outcome_is_what_the_answer_says_whatever_the_status(
    status: int, answer: Any, outcome: str, reason: str | None, source: str
) -> None:
    event = App()("GET /v1/things", status, answer)[0]
    assert (event.outcome, event.reason, event.outcome_source) == (outcome, reason, source)
    assert ("posture.error_as_success" in tags(event)) == (outcome == "failure" and status < 400)


def test_what_an_answer_says_is_kept_as_a_template_only() -> None:
    app = App()
    first, second = (
        app("GET /", 200, {"status": "fail", "message": f"no order {n} for ann@example.org"})[0]
        for n in (17, 4711)
    )
    assert first.attributes == second.attributes
    assert "ann@example.org" not in repr(first)


def test_an_answer_that_is_cut_still_tells() -> None:
    items = [{"id": n, "name": f"item {n}", "owner": "bob"} for n in range(100)]
    event = (
        App()
        .reader.read(
            seen("GET /v1/items", user="ann", body_out=None)
            if False
            else _cut({"success": True, "items": items})
        )[0]
        .event
    )
    assert (event.outcome, event.outcome_source) == ("success", "body")
    assert event.records_out is not None
    assert 10 < event.records_out < 100
    assert "owner.other" in tags(event)


def _cut(answer: Any) -> Any:
    whole = seen("GET /v1/items", 200, answer, user="ann")
    whole.body_out = [whole.body_out[0][:1000], whole.body_out[0][1000:2000]]
    whole.cut_out = True
    return whole


# -- logins ---------------------------------------------------------------------------------------


def test_a_failed_login_behind_a_200_is_one_and_names_the_account_as_claimed() -> None:
    request, event = login(App(), "ann", "wrong")
    assert (request.kind, request.outcome) == (Kind.REQUEST, "failure")
    assert (event.kind, event.reason, event.outcome) == (
        Kind.AUTHN_LOGIN_FAIL,
        "bad_credentials",
        "failure",
    )
    assert (event.user, event.claimed_user) == (None, "ann")
    assert event.attributes == {"new_secret": True}
    assert "wrong" not in repr((request, event))


def test_a_login_that_gives_a_token_names_its_user_and_how_often_it_failed_before() -> None:
    app = App()
    login(app, "ann", "wrong1")
    login(app, "ann", "wrong2")
    request, event = login(app, "ann", "right", good=True)
    assert kinds([request, event]) == ["request", "authn_login_success"]
    assert (request.user, event.user, event.attributes) == ("ann", "ann", {"retries": 2})


def test_a_secret_that_was_just_tried_is_no_new_guess() -> None:
    app = App()
    tried = ["old", "old", "new", "old", "other"]
    told = [login(app, "ann", secret)[1].attributes for secret in tried]
    assert [a and a["new_secret"] for a in told] == [True, False, True, False, True]
    assert login(app, "bob", "old")[1].attributes == {"new_secret": True}, "of another account"


@pytest.mark.parametrize(
    ("line", "body", "status", "answer", "kind"),
    [
        ("POST /api/enter", {"mail": "a@b.org", "pwd": "x"}, 401, None, "authn_login_fail"),
        ("POST /api/enter", {"mail": "a@b.org", "pwd": "x"}, 200, {"error": "unknown account"}, "authn_login_fail"),
        ("POST /rest/session", {"user": {"email": "a@b.org", "password": "x"}}, 422, None, "authn_login_fail"),
        ("POST /x", {"login": "ann", "password": "x"}, 200, {"data": {"accessToken": "abcdefghijkl"}}, "authn_login_success"),
        ("POST /oauth/token", {"client_id": "c", "client_secret": "s", "grant_type": "client_credentials"}, 200, {"access_token": "abcdefghijkl"}, "authn_login_success"),
        ("POST /auth/verify-otp", {"phone": "+491", "otp": 123456}, 200, {"success": False, "message": "wrong code"}, "authn_login_fail"),
    ],
)  # fmt: skip
def test_logins_are_known_by_what_goes_in_and_comes_out(
    line: str, body: Any, status: int, answer: Any, kind: str
) -> None:
    assert kinds(App()(line, status, answer, body=body))[1:] == [kind]


@pytest.mark.parametrize(
    ("line", "body", "status", "answer"),
    [
        ("POST /users/v1/register", {"username": "a", "password": "b", "email": "c"}, 200, {"status": "success"}),
        ("POST /members", {"name": "a", "password": "b", "password_confirm": "b"}, 201, {"id": 1}),
        ("PUT /users/v1/ann/password", {"password": "b"}, 204, None),
        ("POST /account/password-reset", {"email": "a", "code": "123", "new_password": "x"}, 400, None),
        ("POST /v1/orders", {"name": "a", "pin": None}, 400, None),
        ("GET /login", None, 200, None),
    ],
)  # fmt: skip
def test_what_only_resembles_a_login_is_none(
    line: str, body: Any, status: int, answer: Any
) -> None:
    found = kinds(App()(line, status, answer, body=body))
    assert not [kind for kind in found if kind.startswith("authn_login")]


def test_a_login_that_sets_a_session_cookie_is_learned_whatever_it_is_called() -> None:
    app = App()
    right, wrong = ({"user": "ann", "password": word} for word in ("right", "wrong"))
    out = {"set-cookie": "sessionid=0123456789abcdef; HttpOnly; Path=/"}
    answer = {"errors": {"__all__": ["Please try again"]}}
    assert app("POST /enter", 302, out=out, body=right)[0].outcome == "unknown", "as yet"
    assert kinds(app("POST /enter", 200, answer, body=wrong))[1:] == ["authn_login_fail"]
    assert kinds(app("POST /enter", 302, out=out, body=right))[1:] == ["authn_login_success"]


def test_basic_authentication_is_a_login_once_and_each_time_it_fails() -> None:
    def headers(text: str) -> dict[str, str]:
        import base64

        return {"authorization": "Basic " + base64.b64encode(text.encode()).decode()}

    app = App()
    assert kinds(app("GET /a", 401, headers=headers("ann:no")))[1:] == ["authn_login_fail"]
    assert kinds(app("GET /a", 200, headers=headers("ann:yes")))[1:] == ["authn_login_success"]
    assert kinds(app("GET /a", 200, headers=headers("ann:yes")))[1:] == []
    assert "yes" not in repr(app("GET /a", 200, headers=headers("ann:yes")))


# -- who it is ------------------------------------------------------------------------------------


def test_names_that_never_got_in_push_out_none_that_did() -> None:
    def ask(name: str, status: int) -> list[Event]:
        pair = base64.b64encode(f"{name}:secret-{name}".encode()).decode()
        return app("GET /private", status, headers={"authorization": f"Basic {pair}"})

    app = App()
    ask("nobody", 401)
    assert kinds(ask("ann", 200)) == ["request", "authn_login_success"]
    for n in range(1_500):
        ask(f"made-up-{n}", 401)
    assert kinds(ask("ann", 200)) == ["request"]


def test_a_token_is_a_claim_until_the_application_is_seen_to_believe_it() -> None:
    app = App()
    forged = {"authorization": "Bearer " + jwt({"sub": "victim", "exp": SOON})}
    event = app("GET /open", 200, headers=forged)[0]
    assert (event.user, event.claimed_user) == (None, "victim"), "an open door believes nobody"
    event = app("GET /mine", 401, {"message": "Invalid token"}, headers=forged)[0]
    assert (event.user, event.claimed_user, event.reason) == (None, "victim", "bad_token")
    event = app("GET /mine", 200, headers=forged)[0]
    assert (event.user, event.claimed_user) == ("victim", None), (
        "it refuses some, and took this one"
    )
    app("GET /mine", 200)
    event = app("GET /mine", 200, headers=forged)[0]
    assert (event.user, event.claimed_user) == (None, "victim"), "it lets in anybody after all"


def test_a_token_that_the_application_gave_out_is_its_accounts_wherever_it_comes() -> None:
    app = App()
    answer = {"token": "opaque-0123456789", "user": {"id": 42, "email": "ann@example.org"}}
    app("POST /login", 200, answer, body={"email": "ann@example.org", "password": "x"})
    headers = {"authorization": "Bearer opaque-0123456789"}
    event = app("GET /v1/users/42", route="/v1/users/{id}", params={"id": 42}, headers=headers)[0]
    assert event.user == "ann@example.org"
    assert tags(event) == {"subject.self"}
    event = app("GET /v1/users/43", route="/v1/users/{id}", params={"id": 43}, headers=headers)[0]
    assert tags(event) == {"subject.other"}


def test_what_the_application_says_goes_before_everything() -> None:
    context = Context("r")
    context.user, context.role, context.tenant = "ann", "admin", "acme"
    headers = {"authorization": "Bearer " + jwt({"sub": "bob"})}
    event = App()("GET /", headers=headers, context=context, user="carl")[0]
    assert (event.user, event.role, event.tenant, event.claimed_user) == (
        "ann",
        "admin",
        "acme",
        "bob",
    )


@pytest.mark.parametrize(
    ("token", "flaws"),
    [
        (jwt({"sub": "a", "exp": SOON}), set()),
        (jwt({"sub": "a", "exp": SOON}, alg="none"), {"jwt.alg_none"}),
        (jwt({"sub": "a"}, alg="None").rpartition(".")[0] + ".", {"jwt.alg_none", "jwt.no_signature", "jwt.no_exp"}),
        (jwt({"sub": "a", "exp": 1}), {"jwt.expired"}),
        (jwt({"sub": "a", "exp": SOON}, jku="https://evil/"), {"jwt.key_inside"}),
        (jwt({"sub": "a", "exp": SOON}, kid="../../dev/null"), {"jwt.kid_odd"}),
        (jwt({"sub": "a", "exp": SOON}, alg="HS9"), {"jwt.alg_odd"}),
    ],
)  # fmt: skip
def test_the_flaws_of_a_token_are_told(token: str, flaws: set[str]) -> None:
    assert tags(App()("GET /", headers={"authorization": f"Bearer {token}"})[0]) == flaws


@pytest.mark.parametrize(
    ("alg", "told"),
    [("HS256", "HS256"), ("RSA-OAEP-256", "RSA-OAEP-256"), ("4111111111111111", "other"),
     ("my password", "other"), ("x" * 17, "other"), ("AKIAIOSFODNN7EXAMPLE", "other"), ("ES256K", "ES256K")],
)  # fmt: skip
def test_the_algorithm_of_a_token_is_told_if_it_can_be_one(alg: str, told: str) -> None:
    token = jwt({"sub": "ann"}, alg=alg)
    (event,) = App()("GET /me", headers={"authorization": f"Bearer {token}"})
    assert event.attributes is not None
    assert event.attributes["jwt_alg"] == told


def test_whose_an_object_is_is_told_without_naming_anybody() -> None:
    app = App()
    mine, other, public = (
        app("GET /books/v1/x", 200, answer, route="/books/v1/{book}", params={"book": "x"}, user="name1")[0]
        for answer in (
            {"book_title": "x", "secret": "s", "owner": "name1"},
            {"book_title": "x", "secret": "s", "owner": "name2"},
            {"book_title": "x", "owner_id": 17},
        )
    )  # fmt: skip
    assert tags(mine) == {"owner.self"}
    assert tags(other) == {"owner.other"}
    assert tags(public) == set(), "a number cannot be compared with a name"
    assert "name2" not in repr(other)


# -- denials, validation, errors, limits, uploads ----------------------------------------------


@pytest.mark.parametrize(
    "failure",
    [
        None,
        Failure("werkzeug.exceptions.MethodNotAllowed", "405 Method Not Allowed", "", handled=True),
        Failure("rest_framework.exceptions.MethodNotAllowed", "", "", handled=True),
        Failure("starlette.exceptions.HTTPException", "405: Method Not Allowed", "", handled=True),
    ],
)
def test_a_method_that_there_is_not_was_not_found_and_denied_to_nobody(
    failure: Failure | None,
) -> None:
    answer = {"detail": 'Method "DELETE" not allowed.'}
    (event,) = App()("DELETE /orders", 405, answer, failure=failure)
    assert (event.kind, event.outcome, event.reason) == (Kind.REQUEST, "failure", "not_found")
    assert App()("GET /a", 403, {"detail": "You are not allowed."})[0].reason == "forbidden"


def test_each_401_and_403_is_an_event_of_its_own() -> None:
    app = App()
    assert kinds(app("GET /a", 403))[1:] == ["authz_fail"]
    denied = app("GET /a", 401)[1]
    assert (denied.kind, denied.reason) == (Kind.AUTHZ_FAIL, "no_credentials")
    denied = app("GET /a", 200, {"status": "fail", "message": "You are not allowed to see this"})[1]
    assert (denied.kind, denied.reason) == (Kind.AUTHZ_FAIL, "forbidden")


def test_a_failed_validation_names_fields_and_rules_and_no_value() -> None:
    complaints = [Complaint("body.price", "greater_than"), Complaint("body.kind", "missing")]
    event = App()(
        "POST /v1/orders", 422, {"detail": []}, body={"price": -17}, complaints=complaints
    )[1]
    assert event.kind == Kind.INPUT_VALIDATION_FAIL
    assert event.attributes == {
        "fields": ["body.price", "body.kind"],
        "rules": ["greater_than", "missing"],
    }
    assert "-17" not in repr(event)
    event = App()("POST /", 422, complaints=[Complaint("body.kind", "enum")])[1]
    assert event.kind == Kind.INPUT_VALIDATION_DISCRETE_FAIL
    assert kinds(App()("POST /", 400))[1:] == ["input_validation_fail"]


def test_an_unhandled_exception_is_told_with_its_stack_and_the_clients_error_id() -> None:
    failure = Failure("app.errors.Boom", "no row for id 17", "app/orders.py:31 read")
    event = App()("GET /", 500, failure=failure, context=Context("req-9"))[1]
    assert (event.kind, event.severity, event.error_type) == (Kind.LOG, "error", "app.errors.Boom")
    assert (event.error_message, event.error_stack) == ("no row for id 17", "app/orders.py:31 read")
    assert event.attributes == {"error_id": "req-9"}


def test_limits_and_uploads_are_events() -> None:
    assert "excess_rate_limit_exceeded" in kinds(App()("GET /", 429))
    request = seen("POST /files", 201)
    request.headers = [(b"content-type", b"multipart/form-data; boundary=x")]
    part = b'--x\r\nContent-Disposition: form-data; name="doc"; filename="cv.pdf"\r\n'
    request.body_in = [part, b"Content-Type: application/pdf\r\n\r\n%PDF-1.4 secret content"]
    events = [noted.event for noted in App().reader.read(request)]
    assert kinds(events)[1:] == ["upload_complete"]
    assert events[1].attributes == {"files": ["cv.pdf"], "count": 1}
    assert events[0].fields_in == ("doc",)
    assert "secret content" not in repr(events)


# -- bodies ---------------------------------------------------------------------------------------


def test_names_of_keys_are_told_and_never_their_values() -> None:
    event = App()(
        "POST /users", 201, {"id": 5, "profile": {"isAdmin": True, "color": "red"}, "password_hash": "xyz"},
        body={"name": "ann", "address": {"street": "x"}, "is_admin": True},
    )[0]  # fmt: skip
    assert event.fields_in == ("name", "address", "is_admin", "address.street")
    assert event.fields_out == ("password_hash", "profile.isAdmin")
    assert "red" not in repr(event)


def test_classes_of_data_in_an_answer_are_counted() -> None:
    people = [{"id": n, "email": f"p{n}@example.org", "card": "4111111111111111"} for n in range(3)]
    event = App()("GET /people", 200, people)[0]
    assert event.sensitive == ("email:3", "card:3")
    assert "example.org" not in repr(event).replace("api.example.org", "")
    assert (event.via, event.records_out, event.object_type) == (
        "list",
        3,
        "person",
    ) or event.via == "list"


def test_of_a_busy_route_some_answers_are_searched_and_the_first_always() -> None:
    app = App()
    told = [app("GET /me", 200, {"mail": "a@example.org"})[0].sensitive for _ in range(200)]
    assert all(told[:32])
    assert 5 < sum(1 for one in told[32:] if one) < 20


def test_the_same_object_has_the_same_hash_in_every_process_that_shares_the_key() -> None:
    def hashed(app: App) -> Any:
        return app("GET /orders/7", route="/orders/{id}", params={"id": 7})[0].objects

    assert hashed(App()) == hashed(App())
    assert hashed(App()) != hashed(App(hash_key="another"))
    assert hashed(App(hash_key=None, key="source-key")) == hashed(
        App(hash_key=None, key="source-key")
    )


def test_a_graphql_question_is_measured() -> None:
    query = (
        "query { a: user(id: 1) { orders { lines { product { name } } } } b: user(id: 2) { name } }"
    )
    event = App()("POST /graphql", 200, {"data": {}}, body={"query": query})[0]
    assert event.attributes == {
        "graphql_operation": "query",
        "graphql_depth": 5,
        "graphql_aliases": 2,
        "graphql_batch": 1,
    }


# -- probes, sampling, policy -----------------------------------------------------------------------


def probe(app: App, *arguments: Any, **more: Any) -> Any:
    return app.reader.read(seen(*arguments, **more))[0].probe


def test_a_probe_holds_odd_values_without_the_secrets_and_is_bounded() -> None:
    body = {
        "name": "bob",
        "note": "1' OR '1'='1",
        "password": "' OR 1=1",
        "nested": [{"token": "x'y"}],
    }
    assert probe(App(), "POST /", body=body) == {"probe_body": "note=1' OR '1'='1"}
    headers = {"x-api-version": "${jndi:ldap://x/a}", "cookie": "session=a'b", "accept": "*/*;q=1"}
    assert probe(App(), "GET /", headers=headers) == {
        "probe_header": "x-api-version=${jndi:ldap://x/a}"
    }
    long = probe(App(), "POST /", body={f"k{n}": "' x" * 50 for n in range(100)})["probe_body"]
    assert len(long) <= 2048
    assert probe(App(probe=False), "POST /", body=body) is None
    assert probe(App(), "POST /", form="q=%3Cscript%3E&password=%27x")["probe_body"] == "q=<script>"


def test_sampling_leaves_out_uneventful_requests_only() -> None:
    app = App(sample=0.0)
    assert app("GET /", 200) == []
    assert kinds(app("GET /", 403)) == ["request", "authz_fail"]
    assert kinds(login(app, "ann", "x", good=True)) == ["request", "authn_login_success"]
    assert app("GET /?token=abcdefgh12", 200), "a tag makes it eventful"


def test_personal_columns_are_hashed_or_left_out_as_told() -> None:
    app = App(personal={"user": "hash", "client_ip": "drop"})
    (event,) = app("GET /", user="ann")
    assert event.user is not None
    assert event.user.startswith("h:")
    assert event.client_ip is None


# -- hostile input ----------------------------------------------------------------------------------


HOSTILE = [
    b"", b"{", b'{"a":', b"\xff\xfe\x00", b"[" * 100_000, b'{"a":' * 50_000, b'"\\ud800"', b"nul", b"1e999999",
    b'{"errors":[' + b"{}," * 2000 + b"{}]}", b'{"username":{"$ne":null},"password":{"$gt":""}}',
    b'[[[[[[[[[[{"id":1}]]]]]]]]]]', b'{"' + b"k" * 60_000 + b'":1}',
]  # fmt: skip


@pytest.mark.parametrize("data", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("cut", [False, True])
def test_no_body_whatsoever_is_too_much(data: bytes, cut: bool) -> None:
    for kind in (
        "application/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "text/html",
    ):
        request = seen("POST /login", 200)
        request.headers = [(b"content-type", kind.encode()), (b"x", b"\xff\n\x00")]
        request.body_in = request.body_out = [data]
        request.cut_in = request.cut_out = cut
        assert App().reader.read(request)


@pytest.mark.parametrize(
    "token",
    ["", ".", "..", "a.b.c", "ey.ey.ey", "ey" + "A" * 10_000 + ".b.c", jwt({"sub": {"a": 1}}), jwt({"sub": "x" * 9999}),
     jwt({"sub": True, "exp": "never", "role": [1, {}]}), "eyJhbGciOiJub25lIn0.bm90IGpzb24.", "\x00\xff"],
)  # fmt: skip
def test_no_token_whatsoever_is_too_much(token: str) -> None:
    for scheme in ("Bearer ", "Basic ", "", "ApiKey "):
        assert App()("GET /", headers={"authorization": scheme + token})


def test_names_of_twenty_thousand_characters_are_bounded() -> None:
    long = "x" * 20_000
    for event in App()(
        "POST /login", 200, {"error": "bad"}, body={"username": long, "password": long}
    ):
        assert len(event.claimed_user or "") <= 256
    event = App()("GET /", headers={"user-agent": long, "x": long}, route="/" + long)[0]
    assert len(event.user_agent or "") <= 8192


@pytest.mark.parametrize("cut", [False, True])
def test_an_answer_that_the_application_packed_is_looked_into(cut: bool) -> None:
    answer = {
        "status": "fail",
        "message": "Access denied",
        "details": [secrets.token_hex(20)] * cut * 900,
    }
    request = seen("GET /", 200, answer)
    packed = gzip.compress(request.body_out[0])
    request.body_out = [packed[:300] if cut else packed]
    request.cut_out = cut
    request.out_headers = [(b"Content-Type", b"application/json"), (b"Content-Encoding", b"gzip")]
    event = App().reader.read(request)[0].event
    assert (event.outcome, event.reason) == ("failure", "forbidden")
    request.out_headers = [(b"content-type", b"application/json"), (b"content-encoding", b"br")]
    assert App().reader.read(request)[0].event.outcome == "success"


@pytest.mark.parametrize(
    "answer",
    [
        {"id": 7, "owner": "admin", "status": "failed"},
        [{"id": 1, "error": None}, {"id": 2, "error": "disk full"}],
        {"status": "failed", "items": [{"id": 1}]},
        {"data": {"id": 7, "status": "failed"}},
        {"id": 1, "state": "failed"},
        {"id": 1, "code": "X", "valid": False},
        {"id": 3, "code": 420, "name": "zip"},
        {"id": 3, "type": "error"},
        {"errors": 2, "warnings": 3},
        {"id": 1, "ok": False},
        {"data": {"me": {"id": 1}, "hidden": None}, "errors": [{"message": "not authorized"}]},
    ],
)
def test_the_state_of_a_thing_is_not_the_outcome_of_the_request(answer: Any) -> None:
    (event,) = App()("GET /things/7", 200, answer)
    assert event.outcome == "success"
    assert "posture.error_as_success" not in tags(event)


@pytest.mark.parametrize(
    "answer",
    [
        {"status": "fail", "message": "no"},
        {"status": "error", "message": "no", "items": [], "data": None},
        {"success": False},
        {"success": "false", "msg": "no"},
        {"ok": 0, "error_code": 400, "description": "no"},
        {"jsonrpc": "2.0", "id": 7, "error": {"code": -32000, "message": "no"}},
        {"data": {"order": None}, "errors": [{"message": "no"}]},
        {"response": {"status": "error", "message": "no"}},
        {"timestamp": "now", "status": 404, "error": "Not Found", "path": "/x"},
    ],
)
def test_an_answer_about_the_request_tells_its_outcome(answer: Any) -> None:
    event = App()("GET /things/7", 200, answer)[0]
    assert (event.outcome, event.outcome_source) == ("failure", "body")


def test_a_method_that_there_is_none_of_is_not_denied() -> None:
    (event,) = App()("HEAD /orders", 405)
    assert (event.outcome, event.reason) == ("failure", "not_found")


def test_what_the_application_says_itself_is_not_said_twice() -> None:
    context = Context("r")
    context.said = {Kind.AUTHZ_FAIL}
    assert kinds(App()("GET /", 403, context=context)) == ["request"]


# -- whoever wants not to be seen -----------------------------------------------------------------


def test_a_query_of_more_fields_than_anybody_needs_is_read_all_the_same() -> None:
    (event,) = App()("GET /search?" + "&".join(f"a{n}=1" for n in range(400)))
    assert event.path == "/search"
    assert "unreadable" not in tags(event)
    many = "&".join(["a=1"] * 100)
    (event,) = App()(f"GET /search?{many}&access_token=abcdef123456789")
    assert "posture.credential_in_url" in tags(event)


def test_what_cannot_be_read_is_told_of_with_the_least_that_is_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = App()

    def broken(*_: object) -> None:
        raise RecursionError("deep")

    monkeypatch.setattr(app.reader, "_verdict", broken)
    before = mishaps()
    (event,) = app("GET /orders/7", 403, route="/orders/{id}")
    assert mishaps() == before + 1
    assert (event.kind, event.status, event.outcome) == (Kind.REQUEST, 403, "failure")
    assert (event.route, event.path, event.client_ip) == (
        "/orders/{id}",
        "/orders/7",
        "198.51.100.7",
    )
    assert tags(event) == {"unreadable"}


def test_what_cannot_be_read_still_says_who_it_is_from_as_far_as_it_may(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options: dict[str, Any] = {
        "trusted_proxies": ("10.0.0.0/8",),
        "personal": {"client_ip": "hash", "path": "drop"},
    }
    app = App(**options)
    headers = {"x-forwarded-for": "203.0.113.5"}
    whole = app("GET /orders/7", 403, headers=headers, peer="10.0.0.1")[0]

    def broken(*_: object) -> None:
        raise RecursionError("deep")

    monkeypatch.setattr(app.reader, "_verdict", broken)
    (event,) = app("GET /orders/7", 403, headers=headers, peer="10.0.0.1")
    assert tags(event) == {"unreadable"}
    assert (event.client_ip, event.path) == (whole.client_ip, None)
    assert (event.client_ip or "").startswith("h:")
    assert event.peer_ip == "10.0.0.1"
    monkeypatch.setattr(app.reader._heads, "of", broken)
    (event,) = app("GET /orders/7", 403, headers=headers, peer="10.0.0.1")
    assert (event.client_ip, event.peer_ip) == (None, "10.0.0.1")  # the proxy is not the client


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(
    st.dictionaries(st.sampled_from("authorization cookie x-api-key referer x-forwarded-for x-a".split()), st.text(max_size=60), max_size=4),
    st.text(max_size=60),
    st.integers(0, 999),
    ANYTHING,
    ANYTHING,
    st.sampled_from(["/orders/{id}", "/login", "/", None, "{", "/a/{b}/{b}/{c:path}"]),
)  # fmt: skip
@settings(max_examples=300, deadline=None)
def test_no_request_whatsoever_is_unreadable(
    headers: dict[str, str], query: str, status: int, answer: Any, body: Any, route: str | None
) -> None:
    sound = {name: value.replace("\n", "").replace("\r", "") for name, value in headers.items()}
    events = App(trusted_proxies=("198.51.100.7",))(
        f"POST /x?{query}", status, answer, body=body, headers=sound, route=route, params={"id": "7", "b": None}
    )  # fmt: skip
    assert "unreadable" not in tags(events[0])
