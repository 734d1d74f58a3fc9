"""Whether somebody got in, where the answer is a page, a redirect or a cookie and no JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.sdk import apps
from tests.sdk.requests import App, jwt, seen

from tocsin.event import Event
from tocsin.sdk.context import Context

FORM = "username=ann&password=guess"
PAGE = {"content-type": "text/html; charset=utf-8"}
COOKIE = {"set-cookie": "session=9f8a7b6c5d4e; HttpOnly"}
THE_FORM = '<h1>Log in</h1><form><input name=username><input class="x" type="password"></form>'
MISMATCH = "<html><p class=flash>Invalid username or password</p></html>"


def kinds(events: list[Event]) -> list[str]:
    return [str(event.kind) for event in events]


def page(
    app: App, text: str, status: int = 200, line: str = "POST /login", **out: str
) -> list[Event]:
    """A login by form that is answered with a page."""
    headers = {**PAGE, **{name.replace("_", "-"): value for name, value in out.items()}}
    request = seen(line, status, None, form=FORM, out=headers)
    request.body_out = [text.encode()] if text else []
    return app.take(request)


@pytest.mark.parametrize(
    ("status", "text", "out"),
    [
        (200, THE_FORM, {}),
        (200, THE_FORM, COOKIE),  # a cookie for the message to the user, not for the user
        (200, MISMATCH, {}),
        (200, "Incorrect password.", {}),
        (302, "", {"location": "/login"}),
        (302, "", {"location": "https://shop.example.org/login/?next=/"}),
        (302, "", {"location": "/?error=bad_credentials"}),
        (303, "", {"location": "/auth/sign-in", **COOKIE}),
        (401, "", {}),
    ],
)
def test_a_login_that_leads_back_to_the_login_failed(
    status: int, text: str, out: dict[str, str]
) -> None:
    request, login = page(App(), text, status, **out)
    assert login.kind == "authn_login_fail"
    assert (request.outcome, login.outcome) == ("failure", "failure")
    assert login.reason == "bad_credentials"
    assert (login.claimed_user, login.user) == ("ann", None)
    assert (login.attributes or {})["new_secret"] is True


@pytest.mark.parametrize(
    ("status", "text", "out"),
    [
        (302, "", {"location": "/", **COOKIE}),
        (303, "", {"location": "/account"}),
        (302, "", {"location": "/login/verify-otp"}),
        (200, "<h1>Welcome back</h1>", COOKIE),
    ],
)
def test_a_login_that_leads_elsewhere_than_a_refused_one_succeeded(
    status: int, text: str, out: dict[str, str]
) -> None:
    app = App()
    page(app, THE_FORM)
    request, login = page(app, text, status, **out)
    assert login.kind == "authn_login_success"
    assert (request.outcome, login.user) == ("success", "ann")


def test_a_page_that_tells_nothing_is_no_login_until_one_has_succeeded() -> None:
    app = App()
    assert kinds(page(app, "<h1>Hello</h1>")) == ["request"]
    assert kinds(page(app, THE_FORM)) == ["request", "authn_login_fail"]
    assert "authn_login_success" in kinds(page(app, "", 302, location="/", **COOKIE))
    assert kinds(page(app, "<h1>Hello</h1>")) == ["request", "authn_login_fail"]


def test_an_answer_unlike_those_with_a_token_is_a_failure() -> None:
    app = App()

    def login(answer: dict[str, Any]) -> list[str]:
        return kinds(app("POST /v1/enter", 200, answer, body={"user": "ann", "password": "guess"}))

    assert "authn_login_success" in login({"token": "0123456789abcdef", "user": "ann"})
    assert login({"hinweis": "Kennwort stimmt nicht"})[1:] == ["authn_login_fail"]
    assert login({"message": "Incorrect username or password"})[1:] == ["authn_login_fail"]


@pytest.mark.parametrize(
    "answer",
    [
        {"authenticated": False},
        {"success": "false"},
        {"success": 0},
        {"errorCode": "INVALID_LOGIN"},
        {"token": None, "user": None},
        {"status": "unauthenticated"},
        {"status": 0, "error": ""},
        {"code": 1, "msg": "password error"},
    ],
)
def test_who_was_given_nothing_did_not_get_in(answer: dict[str, Any]) -> None:
    body = {"username": "ann", "password": "guess"}
    request, login = App()("POST /v1/login", 200, answer, body=body)
    assert login.kind == "authn_login_fail"
    assert (request.user, login.user, login.claimed_user) == (None, None, "ann")


@pytest.mark.parametrize("answer", [{"otp_required": True}, {"success": True, "mfa": "totp"}])
def test_half_a_login_is_none(answer: dict[str, Any]) -> None:
    body = {"username": "ann", "password": "battery staple"}
    (request,) = App()("POST /v1/login", 200, answer, body=body)
    assert request.user is None


def test_a_token_that_the_client_sent_itself_was_given_to_nobody() -> None:
    app = App()
    body = {"name": "admin", "password": "x", "token": "attackerchosen1"}
    app("POST /echo", 200, body, body=body)
    (event,) = app("GET /me", 200, headers={"authorization": "Bearer attackerchosen1"})
    assert (event.user, event.kind) == (None, "request")


#: How one and the same application may answer whatever the secret was.
ALIKE: list[tuple[int, str, dict[str, str]]] = [
    (302, "", {"location": "/", **COOKIE}),
    (302, "", {"location": "/"}),
    (200, "<p>Falsches Kennwort</p>", COOKIE),
]


@pytest.mark.parametrize(("status", "text", "out"), ALIKE)
def test_a_redirect_or_a_cookie_alone_is_no_login(
    status: int, text: str, out: dict[str, str]
) -> None:
    app = App()
    (request,) = page(app, text, status, **out)
    assert (request.user, request.claimed_user) == (None, "ann")
    assert (request.outcome, request.outcome_source) == ("unknown", "login_profile")
    (event,) = app("GET /me", headers={"cookie": "session=9f8a7b6c5d4e"})
    assert event.user is None, "nobody's session"


@pytest.mark.parametrize(("status", "text", "out"), ALIKE)
def test_several_secrets_for_one_account_that_are_answered_alike_were_all_wrong(
    status: int, text: str, out: dict[str, str]
) -> None:
    app = App()

    def tried(secret: str, name: str = "ann") -> list[str]:
        form = f"username={name}&password={secret}"
        request = seen("POST /login", status, form=form, out={**PAGE, **out})
        request.body_out = [text.encode()]
        return kinds(app.take(request))[1:]

    found = [tried(secret) for secret in ("a", "a", "b", "c", "d")]
    assert found == [[], [], [], ["authn_login_fail"], ["authn_login_fail"]]
    assert tried("battery staple", "bob") == []


def test_an_answer_that_looks_as_if_refused_is_no_login_whoever_it_names() -> None:
    app = App()

    def entered(name: str, **out: str) -> list[str]:
        form = f"username={name}&password=guess"
        request = seen("POST /login", 200, form=form, out={**PAGE, **out})
        request.body_out = [f"<p>Incorrect password, dear {name} (3)</p>".encode()]
        return kinds(app.take(request))[1:]

    assert entered("ann") == ["authn_login_fail"]
    assert entered("bob", **COOKIE) == ["authn_login_fail"]


def test_a_client_cannot_make_a_refusal_look_otherwise() -> None:
    app = App()
    page(app, "<p>Incorrect password</p>")
    request = seen("POST /login", form="username=ann&password=x&note=something", out=PAGE | COOKIE)
    request.body_out = [b"<p>Kennwort falsch</p> something"]
    (event,) = app.take(request)
    assert (event.user, event.outcome) == (None, "unknown")


@pytest.mark.parametrize("line", ["POST /login", "POST /login?next=/auth/login"])
def test_a_client_cannot_teach_what_a_refusal_looks_like(line: str) -> None:
    app = App()
    form = "username=joe&password=right" + ("" if "?" in line else "&next=/auth/login")
    out = {"location": "/auth/login", **COOKIE}
    app.take(seen(line, 302, form=form, out=out))
    (event,) = page(app, "", 302, location="/", **COOKIE)
    assert (event.user, event.outcome) == (None, "unknown")


def answered(app: App, body: Any, answer: Any, **more: Any) -> Event:
    """The event of a login at an API."""
    return app("POST /login", 200, answer, body=body, **more)[-1]


TWO_NAMES = {"email": "joe@example.org", "password": "right", "username": "ann@example.org"}
TWINS = {"email": "joe@example.org", "password": "right", "E-Mail": "ann@example.org"}


@pytest.mark.parametrize("body", [TWO_NAMES, TWINS])
@pytest.mark.parametrize(
    "answer",
    [
        {"token": jwt({"sub": "joe@example.org"})},
        {"token": "opaque-0123456789", "user": {"id": 7, "email": "Joe@example.org"}},
        {"token": "opaque-0123456789", "email": "joe@example.org", "name": "ann@example.org"},
    ],
)
def test_of_several_names_the_answer_tells_who_logged_in(body: Any, answer: Any) -> None:
    app = App()
    assert answered(app, body, answer).user == "joe@example.org"
    token = {"authorization": f"Bearer {answer['token']}"}
    assert app("GET /me", headers=token)[0].user == "joe@example.org"


@pytest.mark.parametrize("body", [TWO_NAMES, TWINS])
def test_of_several_names_none_is_believed_by_the_requests_own_word(body: Any) -> None:
    app = App()
    login = answered(app, body, {"token": "opaque-0123456789"})
    assert (login.kind, login.user) == ("authn_login_success", None)
    assert login.claimed_user in body.values()
    (event,) = app("GET /me", headers={"authorization": "Bearer opaque-0123456789"})
    assert event.user is None


def test_a_token_for_somebody_else_is_not_the_one_who_is_named() -> None:
    app = App()
    token = jwt({"sub": "17"})
    login = answered(app, {"username": "ann", "password": "right"}, {"token": token})
    assert (login.user, login.claimed_user) == ("17", "ann")
    (event,) = app("GET /me", headers={"authorization": f"Bearer {token}"})
    assert event.user == "17"


def test_one_name_in_two_ways_is_one_name() -> None:
    body = {"email": "Ann@Example.org", "username": " ann@example.org", "password": "right"}
    assert answered(App(), body, {"token": "opaque-0123456789"}).user == "ann@example.org"


@pytest.mark.parametrize(
    ("line", "body", "header"),
    [
        ("POST /login", {"username": "ann", "user": {"email": "joe", "password": "right"}}, ""),
        ("POST /login", {"email": "ann", "password": "x", "in": {"user": "joe", "pin": 1}}, ""),
        ("POST /login?username=joe&password=right", {"username": "ann", "password": "x"}, ""),
        ("POST /login", {"username": "ann", "password": "x"}, "Basic am9lOnJpZ2h0"),
    ],
)
def test_names_at_several_places_of_a_request_are_several(
    line: str, body: Any, header: str
) -> None:
    headers = {"authorization": header} if header else {}
    login = App()(line, 200, {"token": "opaque-0123456789"}, body=body, headers=headers)[-1]
    assert (login.kind, login.user) == ("authn_login_success", None)
    answer = {"token": jwt({"sub": "joe"})}
    assert App()(line, 200, answer, body=body, headers=headers)[-1].user == "joe"


def test_who_is_logged_in_already_is_led_on_whatever_it_says() -> None:
    app = App()
    page(app, THE_FORM)
    page(app, "", 302, location="/", **COOKIE)
    session = {"cookie": "session=9f8a7b6c5d4e"}

    def again(form: str, **out: str) -> Event:
        request = seen("POST /login", 302, form=form, headers=session, out={"location": "/", **out})
        return app.take(request)[0]

    assert again("username=bob&password=x").user == "ann"
    assert again("username=bob&password=x").outcome == "unknown"
    renewed = {"set-cookie": "session=000011112222"}
    assert again("username=bob&password=x", **renewed).outcome == "unknown"
    assert again("username=ann&password=guess", **renewed).outcome == "success"
    session["cookie"] = "session=of-before-a-restart"
    event = again("username=bob&password=x")
    assert (event.outcome, event.user) == ("unknown", None)


def test_whom_the_framework_names_after_a_login_is_who_logged_in() -> None:
    app = App()
    form, out = "email=ann@example.org&password=x", {"location": "/home", **COOKIE}
    page(app, THE_FORM)
    visitor = {"cookie": "session=of-a-visitor"}
    request = seen("POST /login", 302, form=form, out=out, headers=visitor, user="ann")
    login = app.take(request)[-1]
    assert (login.kind, login.user, login.claimed_user) == (
        "authn_login_success",
        "ann",
        "ann@example.org",
    )


def test_a_grant_by_password_is_the_users_and_not_the_applications() -> None:
    app = App()
    form = "grant_type=password&username=ann&password=x&client_id=web&client_secret=s"
    answer = {"access_token": "opaque-0123456789"}
    assert app("POST /oauth/token", 200, answer, form=form)[-1].user == "ann"


WIFI = {"name": "ann", "password": "x"}
KEY = {"id": 5, "key": "0123456789abcdef"}


@pytest.mark.parametrize("how", ["issued", "told", "key", "odd"])
def test_who_is_known_is_nobody_else_by_what_resembles_a_login(how: str) -> None:
    app = App()
    more: dict[str, Any] = {}
    if how == "issued":
        answered(app, {"username": "joe", "password": "right"}, {"token": "opaque-0123456789"})
        more = {"headers": {"authorization": "Bearer opaque-0123456789"}}
    elif how == "told":
        more = {"user": "joe", "headers": {"cookie": "session=of-joe-0123456789"}}
    else:
        name = "x-api-key" if how == "key" else "x-shop-key"
        more = {"headers": {name: "0123456789abcdef0123"}}
    (event,) = app("POST /wifi", 200, KEY, body=WIFI, **more)
    assert event.user == ("joe" if how in ("issued", "told") else None)
    assert app("GET /me", headers={"x-api-key": KEY["key"]})[0].user is None


def test_who_is_known_may_log_in_as_another_where_one_does() -> None:
    app = App()
    answered(app, {"username": "joe", "password": "right"}, {"token": "opaque-0123456789"})
    headers = {"authorization": "Bearer opaque-0123456789"}
    body, answer = {"username": "ann", "password": "right"}, {"token": "opaque-9876543210"}
    login = answered(app, body, answer, headers=headers)
    assert (login.kind, login.user) == ("authn_login_success", "ann")


REFUSED = {"status": "fail", "message": "Password is not correct"}


@pytest.mark.parametrize(
    "more",
    [
        {"Password": "const"},
        {"pin": "0000"},
        {"otp": "const"},
        {"pwd": ["a", "b"]},
    ],
)
def test_a_secret_that_stays_the_same_does_not_hide_one_that_is_new(more: dict[str, Any]) -> None:
    app = App()
    for guess in ("1", "2"):
        mine = {"username": "ann", "password": guess}
        for body in ({**mine, **more}, {**more, **mine, "password": guess * 2}):
            assert answered(app, body, REFUSED).attributes == {"new_secret": True}
            assert answered(app, body, REFUSED).attributes == {"new_secret": False}


def test_a_password_that_stays_the_same_does_not_hide_a_pin_that_is_guessed() -> None:
    app = App()
    for pin in (1, 2, 3):
        body = {"username": "ann", "password": "const", "pin": pin, "otp": "const"}
        assert answered(app, body, REFUSED).attributes == {"new_secret": True}


def test_a_number_is_a_secret_as_well() -> None:
    app = App()
    told = [answered(app, {"user": "ann", "pin": pin}, REFUSED) for pin in (1234, 1234, 1235)]
    assert [event.claimed_user for event in told] == ["ann"] * 3
    assert [(e.attributes or {})["new_secret"] for e in told] == [True, False, True]


@pytest.mark.parametrize(
    "form",
    [
        "username=a&username=ann&password=guess",
        "username=ann&password=x&password=guess",
        "username=&username=ann&password=x&password=",
    ],
)
def test_a_field_that_repeats_hides_no_login(form: str) -> None:
    app = App()
    told = [app("POST /login", 200, REFUSED, form=form)[-1] for _ in range(2)]
    assert [event.claimed_user for event in told] == ["ann"] * 2
    assert [(e.attributes or {})["new_secret"] for e in told] == [True, False]


def test_a_further_name_does_not_hide_the_account_that_is_guessed_at() -> None:
    app = App()
    bodies = [{"username": f"z{n}", "email": "ann@x.org", "password": n} for n in range(4)]
    claimed = [answered(app, body, REFUSED).claimed_user for body in bodies]
    assert claimed[1:] == ["ann@x.org"] * 3, "which is refused again and again"
    many = {"username": [f"y{n}" for n in range(99)], "email": "ann@x.org", "password": "guess"}
    assert answered(app, many, REFUSED).claimed_user == "ann@x.org"
    answered(app, {"email": "joe@x.org", "password": "right"}, {"token": "opaque-0123456789"})
    body = {"username": "y", "email": "bob@x.org", "password": "guess"}
    assert answered(app, body, REFUSED).claimed_user == "bob@x.org", "as who got in is called"


def test_an_account_is_the_same_in_any_case() -> None:
    app = App()
    for name in ("ann@example.org", "Ann@Example.ORG ", "ANN@example.org"):
        body = {"email": name, "password": "guess"}
        assert answered(app, body, REFUSED).claimed_user == "ann@example.org"
    context = Context("r")
    context.login = False, "Ann@Example.org"
    assert answered(app, None, REFUSED, context=context).claimed_user == "ann@example.org"


def test_a_login_that_is_too_long_to_be_read_is_one_when_it_is_refused() -> None:
    app = App()
    request = seen("POST /login", 401, {"error": "Incorrect password"})
    request.body_in, request.cut_in, request.bytes_in = [b'{"pad": "aaaa'], True, 70_000
    login = app.take(request)[-1]
    assert (login.kind, login.claimed_user, login.user) == ("authn_login_fail", None, None)
    request.path = request.route = "/notes"
    assert kinds(app.take(request)) == ["request", "authz_fail"]


def test_a_login_by_the_query_is_one() -> None:
    app = App()
    line = "POST /login?username=ann&password=guess"
    assert kinds(app(line, 200, REFUSED)) == ["request", "authn_login_fail"]
    login = app(line, 200, {"token": "opaque-0123456789"})[-1]
    assert (login.kind, login.user) == ("authn_login_success", "ann")
    assert kinds(app("GET /auth/callback?code=0123456789&state=x")) == ["request"]


def test_what_one_may_bring_beside_it_hides_no_login() -> None:
    app = App()
    for text in ("Basic zz", "Basic eDp5", "x"):
        body = {"username": "ann", "password": text}
        headers = {"authorization": text}
        login = app("POST /login", 401, REFUSED, body=body, headers=headers)[-1]
        assert (login.kind, login.claimed_user) == ("authn_login_fail", "ann")
        context = Context("r")
        context.login = False, "ann"
        login = app("POST /enter", 200, None, headers=headers, context=context)[-1]
        assert (login.kind, login.claimed_user) == ("authn_login_fail", "ann")


def test_more_than_a_login_needs_does_not_hide_one_that_is_known() -> None:
    app = App()
    answer = {"token": "opaque-0123456789"}
    app("POST /enter", 200, answer, body={"username": "ann", "password": "right"})
    body = {"username": "ann", "email": "x", "password": "guess", "password2": "guess"}
    assert kinds(app("POST /enter", 200, REFUSED, body=body))[1:] == ["authn_login_fail"]


@apps.both
def test_django_says_itself_who_got_in(age: str, tmp_path: Path) -> None:
    (tmp_path / "settings.py").write_text(
        """
SECRET_KEY = "only for a test"
ROOT_URLCONF = "urls"
ALLOWED_HOSTS = ["testserver"]
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "base.sqlite3"}}
INSTALLED_APPS = ["django.contrib.admin", "django.contrib.auth", "django.contrib.contenttypes",
                  "django.contrib.sessions", "django.contrib.messages"]
MIDDLEWARE = ["tocsin.django.Watch",
              "django.contrib.sessions.middleware.SessionMiddleware",
              "django.contrib.auth.middleware.AuthenticationMiddleware",
              "django.contrib.messages.middleware.MessageMiddleware"]
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True,
              "OPTIONS": {"context_processors": [
                  "django.template.context_processors.request",
                  "django.contrib.auth.context_processors.auth",
                  "django.contrib.messages.context_processors.messages"]}}]
"""
    )
    (tmp_path / "urls.py").write_text(
        """
from django.contrib import admin
from django.urls import path
urlpatterns = [path("admin/", admin.site.urls)]
"""
    )
    code = """
        from urllib.parse import urlencode
        import django
        django.setup()
        from django.core.management import call_command
        call_command("migrate", verbosity=0)
        from django.contrib.auth.models import User
        from django.test import Client
        import tocsin.testing

        User.objects.create_superuser("ann", "ann@example.org", "battery staple")
        browser = Client()

        def log_in(name, password):
            given = urlencode({"username": name, "password": password, "next": "/admin/"})
            kind = "application/x-www-form-urlencoded"
            return browser.post("/admin/login/", given, content_type=kind).status_code

        with tocsin.testing.capture() as captured:
            for guess in "a", "b", "b":
                assert log_in("ann", guess) == 200
            assert log_in("ann", "battery staple") == 302
        failed = captured.of("authn_login_fail")
        told = [(e.claimed_user, e.user, e.outcome_source, e.reason) for e in failed]
        assert told == [("ann", None, "framework", "bad_credentials")] * 3, told
        requests = captured.of("request")
        assert [e.outcome for e in requests] == ["failure"] * 3 + ["success"], requests
        success = captured.one("authn_login_success")
        assert success.user == "ann"
        assert success.attributes["retries"] == 3
        assert [e.attributes["new_secret"] for e in failed] == [True, True, False]
    """
    env = {"TOCSIN_OUTPUT": "off", "DJANGO_SETTINGS_MODULE": "settings"}
    apps.run(apps.interpreter(age), code, cwd=tmp_path, env=env)
