"""``tocsin.testing``: users assert in their own tests that a route logs its denial."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

import tocsin
import tocsin.testing
from tocsin.errors import SettingsError, UsageError
from tocsin.sdk.client import reset, the_client


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("TOCSIN_OUTPUT", "off")
    reset()
    yield
    reset()


async def order(request: Request) -> Response:
    tocsin.identify("joe", role="customer")
    if request.path_params["id"] != "7":
        tocsin.log.authz_fail(resource=f"order:{request.path_params['id']}", reason="not the owner")
        return JSONResponse({"detail": "no"}, 404)
    return JSONResponse({"id": 7})


@pytest.fixture
def app() -> TestClient:
    site = Starlette(routes=[Route("/orders/{id}", order)])
    return TestClient(tocsin.watch(site, service="orders"))


def test_what_an_application_says_and_what_is_seen_of_it_are_captured(app: TestClient) -> None:
    with tocsin.testing.capture() as captured:
        app.get("/orders/42?note=%3Cscript%3E")
    denial = captured.one("authz_fail", user="joe", reason="not the owner")
    request = captured.one("request", status=404)
    assert denial.request_id == request.request_id
    assert (request.service, request.route, request.user) == ("orders", "/orders/{id}", "joe")
    assert [event.kind.value for event in captured.events] == ["authz_fail", "request"]


def test_request_values_that_would_have_been_searched_are_captured(app: TestClient) -> None:
    with tocsin.testing.capture() as captured:
        app.get("/orders/7", headers={"x-note": "1' OR 1=1"})
    assert captured.probes == [{"probe_header": "x-note=1' OR 1=1"}]


def test_a_route_that_logs_no_denial_fails_the_test_with_what_was_recorded(
    app: TestClient,
) -> None:
    with tocsin.testing.capture() as captured:
        app.get("/orders/7")
    with pytest.raises(AssertionError) as raised:
        captured.one("authz_fail", user="joe")
    words = str(raised.value)
    assert "0 events, not one, of authz_fail user='joe'" in words
    assert (
        "request user='joe' method='GET' route='/orders/{id}' path='/orders/7' status=200" in words
    )


def test_a_second_event_is_too_many() -> None:
    with tocsin.testing.capture() as captured:
        tocsin.log.authz_fail(user="joe")
        tocsin.log.authz_fail(user="joe")
    assert len(captured.of("authz_fail")) == 2
    with pytest.raises(AssertionError, match="2 events, not one, of authz_fail"):
        captured.one(tocsin.Kind.AUTHZ_FAIL)


def test_a_wrong_name_is_a_mistake_and_no_absence() -> None:
    with tocsin.testing.capture() as captured:
        pass
    with pytest.raises(UsageError, match="no kind of event 'authz_failed'"):
        captured.of("authz_failed")
    with pytest.raises(UsageError, match="no column 'usr'"):
        captured.of("authz_fail", usr="joe")


def test_options_are_those_of_the_application_or_others(app: TestClient) -> None:
    with tocsin.testing.capture(personal={"user": "drop"}) as captured:
        app.get("/orders/7")
    assert captured.one("request").user is None
    assert captured.one("request").service == "orders"
    with (
        pytest.raises(SettingsError, match="no option 'persnal'"),
        tocsin.testing.capture(persnal={}),
    ):
        pass


def test_threads_of_the_application_are_captured() -> None:
    def speak() -> None:
        for _ in range(50):
            tocsin.log.sys_monitor_disabled(user="root")

    with tocsin.testing.capture() as captured:
        threads = [threading.Thread(target=speak) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(captured.of("sys_monitor_disabled")) == 200


def test_afterwards_all_is_as_it_was() -> None:
    before = the_client()
    threads = threading.active_count()
    with tocsin.testing.capture() as outer:
        with tocsin.testing.capture() as inner:
            tocsin.log.sys_restart()
        tocsin.log.sys_crash()
    assert the_client() is before
    assert threading.active_count() == threads
    assert [event.kind.value for event in inner.events] == ["sys_restart"]
    assert [event.kind.value for event in outer.events] == ["sys_crash"]


def test_the_public_names_are_there_and_no_others() -> None:
    for name in tocsin.__all__:
        assert getattr(tocsin, name) is not None
        assert name in dir(tocsin)
    with pytest.raises(AttributeError, match="no attribute 'wacth'"):
        _ = tocsin.wacth
