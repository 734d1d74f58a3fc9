"""``watch``: what it takes, what it makes of it, and which mistakes show at once."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from tests.sdk.recording import Recorder, asgi, wsgi

from tocsin.errors import SettingsError, UsageError
from tocsin.sdk import client
from tocsin.sdk.watching.asgi import AsgiWatch
from tocsin.sdk.watching.watch import watch
from tocsin.sdk.watching.wsgi import WsgiWatch


@pytest.fixture(autouse=True)
def _no_client_is_left() -> Iterator[None]:
    client.reset()
    yield
    client.use(None)  # it may be a recorder
    client.reset()


async def asgi_app(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})


def wsgi_app(environ: Any, start_response: Any) -> list[bytes]:
    start_response("204 No Content", [])
    return []


class AsgiObject:
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await asgi_app(scope, receive, send)


class WsgiObject:
    def __call__(self, environ: Any, start_response: Any) -> list[bytes]:
        return wsgi_app(environ, start_response)

    def method(self, environ: Any, start_response: Any) -> list[bytes]:
        return wsgi_app(environ, start_response)


async def with_more(more: str, scope: Any, receive: Any, send: Any) -> None:
    await asgi_app(scope, receive, send)


def with_default(environ: Any, start_response: Any, debug: bool = False) -> list[bytes]:
    return wsgi_app(environ, start_response)


def returns_coroutine(scope: Any, receive: Any, send: Any) -> Any:
    return asgi_app(scope, receive, send)


@pytest.mark.parametrize(
    "app",
    [asgi_app, AsgiObject(), AsgiObject().__call__, partial(with_more, "x"), returns_coroutine],
)
def test_an_asgi_callable_is_wrapped_as_one(app: Any) -> None:
    watched: Any = watch(app, output="off")
    assert isinstance(watched, AsgiWatch)
    assert asgi(watched)[0]["status"] == 204


@pytest.mark.parametrize(
    "app", [wsgi_app, WsgiObject(), WsgiObject().method, partial(wsgi_app), with_default]
)
def test_a_wsgi_callable_is_wrapped_as_one(app: Any) -> None:
    watched: Any = watch(app, output="off")
    assert isinstance(watched, WsgiWatch)
    assert wsgi(watched).started[0][0] == "204 No Content"


@pytest.mark.parametrize("app", [asgi_app, wsgi_app])
def test_watching_twice_is_watching_once(app: Any) -> None:
    once = watch(app, output="off")
    assert watch(once, output="off") is once


def anything(*_: Any) -> None: ...


def old_asgi(_scope: Any) -> Any: ...


async def coroutine_of_two(_a: Any, _b: Any) -> None: ...


@pytest.mark.parametrize("app", [anything, old_asgi, coroutine_of_two, len, lambda: None])
def test_what_could_be_either_is_asked_about(app: Any) -> None:
    with pytest.raises(UsageError, match=r"watch\(\): .*app\(scope, receive, send\) \(ASGI\)"):
        watch(app)


@pytest.mark.parametrize("app", [None, "main:app", 7, [asgi_app]])
def test_what_is_no_application_is_refused(app: Any) -> None:
    with pytest.raises(UsageError, match="is no application; pass a FastAPI, Starlette"):
        watch(app)


def test_a_class_is_told_to_be_made_an_object() -> None:
    with pytest.raises(UsageError, match=r"AsgiObject is a class; pass an object of it"):
        watch(AsgiObject)


def test_a_wrong_option_shows_at_once() -> None:
    with pytest.raises(SettingsError, match="no option 'servcie'"):
        watch(asgi_app, servcie="orders")


def test_a_wrong_environment_does_not_keep_an_application_from_starting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TOCSIN_INSPECT_BYTES", "many")
    monkeypatch.setenv("TOCSIN_OUTPUT", "off")
    assert asgi(watch(asgi_app))[0]["status"] == 204


def test_each_application_has_its_service_and_the_first_names_the_client() -> None:
    orders = watch(asgi_app, service="orders", output="off")
    bills = watch(wsgi_app, service="bills")
    assert client.the_client().options.service == "orders"
    recorder = Recorder()
    client.use(recorder)  # type: ignore[arg-type]
    asgi(orders)
    wsgi(bills)
    assert [seen.service for seen in recorder.items] == ["orders", "bills"]


def test_another_client_gets_what_is_seen_from_then_on() -> None:
    """A second ``watch`` with other options, or a test that captures, puts one in its place."""
    watched = watch(asgi_app, output="off")
    first, second = Recorder(), Recorder()
    for recorder in (first, second):
        client.use(recorder)  # type: ignore[arg-type]
        asgi(watched)
    assert len(first.items) == len(second.items) == 1


def test_a_starlette_application_is_instrumented_in_place() -> None:
    from starlette.applications import Starlette
    from starlette.routing import Route

    async def crash(request: Any) -> Any:
        raise ZeroDivisionError

    app = Starlette(routes=[Route("/v1/orders/{id}", crash)])
    assert watch(watch(app, output="off")) is app
    recorder = Recorder()
    client.use(recorder)  # type: ignore[arg-type]
    with pytest.raises(ZeroDivisionError):
        asgi(app)
    seen = recorder.seen
    assert (seen.status, seen.route) == (500, "/v1/orders/{id}")
    assert seen.failure is not None
    assert not seen.failure.handled


def test_an_application_that_serves_already_is_watched_from_then_on() -> None:
    from starlette.applications import Starlette
    from starlette.responses import Response
    from starlette.routing import Route

    async def fine(request: Any) -> Any:
        return Response()

    app = Starlette(routes=[Route("/v1/orders/{id}", fine)])
    asgi(app)
    watch(watch(app, output="off"))
    recorder = Recorder()
    client.use(recorder)  # type: ignore[arg-type]
    asgi(app)
    assert recorder.seen.route == "/v1/orders/{id}"


def test_watching_imports_no_framework_and_nothing_heavy_before_it_is_asked_to() -> None:
    code = """
        import sys
        from tocsin.sdk.watching.watch import watch
        from tocsin.sdk.watching import asgi, django, flask, litestar, starlette, wsgi
        print(sorted({"ssl", "email", "http", "asyncio"} & set(sys.modules)))
        watch(lambda environ, start_response: [], output="off")
        print(sorted({"starlette", "flask", "django", "sqlalchemy"} & set(sys.modules)))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["[]", "[]"]


def test_the_loop_of_the_application_is_left_alone() -> None:
    """A watched application may be served by several loops, one after the other."""
    watched: Any = watch(asgi_app, output="off")
    for _ in range(2):
        loop = asyncio.new_event_loop()

        async def nothing(*_: Any) -> Any: ...

        loop.run_until_complete(
            watched({"type": "http", "path": "/", "headers": []}, nothing, nothing)
        )
        loop.close()
