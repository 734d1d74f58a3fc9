"""Whether somebody got in, where the answer is a page, a redirect or a cookie and no JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.sdk import apps
from tests.sdk.requests import App, jwt, seen

from tocsin.event import Event

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
def test_a_login_that_leads_on_succeeded(status: int, text: str, out: dict[str, str]) -> None:
    request, login = page(App(), text, status, **out)
    assert login.kind == "authn_login_success"
    assert (request.outcome, login.user) == ("success", "ann")


def test_a_page_that_tells_nothing_is_no_login_until_one_has_succeeded() -> None:
    app = App()
    assert kinds(page(app, "<h1>Hello</h1>")) == ["request"]
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
