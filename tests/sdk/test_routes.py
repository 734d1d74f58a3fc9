"""Templates: from Werkzeug's and Django's notations, and by the ways through a Starlette."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.routing import Host, Mount, Route, Router
from starlette.types import ASGIApp, Receive, Send
from tests.sdk.recording import Recorder, asgi

from tocsin.sdk.seen import Seen
from tocsin.sdk.watching import routes
from tocsin.sdk.watching.asgi import Scope
from tocsin.sdk.watching.django import template
from tocsin.sdk.watching.routes import Leaf, Table, from_rule
from tocsin.sdk.watching.watch import watch_with


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("/", "/"),
        ("/v1/orders/<id>", "/v1/orders/{id}"),
        ("/v1/orders/<int:id>", "/v1/orders/{id}"),
        ("/v1/<int(fixed_digits=4):year>-<int:month>", "/v1/{year}-{month}"),
        ("/<any('a>b', \"c:d\"):kind>/<path:rest>", "/{kind}/{rest}"),
        ("/<regex('[a-z]{3}'):code>/x", "/{code}/x"),
        ("/a<b", "/a<b"),
    ],
)
def test_a_werkzeug_rule_is_read(rule: str, expected: str) -> None:
    assert from_rule(rule) == expected


@pytest.mark.parametrize(
    ("route", "expected"),
    [
        ("", ""),
        ("v1/orders/<int:pk>/", "v1/orders/{pk}/"),
        ("v1/<slug:a>/<b>", "v1/{a}/{b}"),
        ("^orders/$", "orders/"),
        (r"^orders/(?P<pk>[0-9]+)/$", "orders/{pk}/"),
        (r"v1/^orders/(?P<pk>[^/.]+)/$", "v1/orders/{pk}/"),
        (r"^orders/(?P<pk>[^/.]+)\.(?P<format>[a-z0-9]+)/?$", "orders/{pk}.{format}/"),
        (r"^orders/(\d+)/(\d+)/$", "orders/{0}/{1}/"),
        (r"^a/(?P<x>(?:b|c(?:d))+)/e\-f$", "a/{x}/e-f"),
        (r"^a/(?P<x>[)(\]]+)/(?P<y>\))$", "a/{x}/{y}"),
        (r"^a(?:/b)?/c\Z", "a/c"),
        (r"^a/(?:b)/c(?=d)$", "a/b/c"),
        (r"^(?P<unclosed", ""),
    ],
)
def test_a_django_route_is_read(route: str, expected: str) -> None:
    assert template(route) == expected


async def fine(request: Any) -> Response:
    return Response()


async def other(request: Any) -> Response:
    return Response()


def seen_by(app: Any, path: str, **changes: Any) -> Seen:
    recorder = Recorder()
    watched = watch_with(app, recorder.watching())
    asgi(watched, path=path, raw_path=path.encode(), **changes)
    return recorder.seen


def test_one_endpoint_at_several_paths_has_several_templates() -> None:
    def app() -> Starlette:
        shared = Router([Route("/{id:int}", fine), Route("/{rest:path}", other)])
        return Starlette(
            routes=[
                Route("/a/{id}", fine),
                Route("/b/{name}/c", fine),
                Mount("/m/{tenant}", app=shared),
                Mount("/n", app=shared),
            ]
        )

    for path, expected in {
        "/a/7": "/a/{id}",
        "/b/x/c": "/b/{name}/c",
        "/m/acme/7": "/m/{tenant}/{id}",
        "/n/7": "/n/{id}",
        "/n/x/y": "/n/{rest}",
    }.items():
        assert seen_by(app(), path).route == expected


def test_the_root_that_a_server_adds_is_part_of_the_template() -> None:
    app = Starlette(routes=[Mount("/v1", routes=[Route("/orders/{id}", fine)])])
    seen = seen_by(app, "/shop/v1/orders/7", root_path="/shop")
    assert seen.route == "/shop/v1/orders/{id}"
    app = Starlette(routes=[Route("/shopping/{id}", fine)])
    assert seen_by(app, "/shopping/7", root_path="/shop").route == "/shopping/{id}"


def test_a_host_adds_nothing_to_the_path() -> None:
    app = Starlette(routes=[Host("{tenant}.example.org", app=Router([Route("/{id}", fine)]))])
    seen = seen_by(app, "/7", headers=[(b"host", b"acme.example.org")])
    assert seen.route == "/{id}"
    assert seen.params == {"tenant": "acme", "id": "7"}


def test_a_request_that_middleware_turned_away_still_has_its_route() -> None:
    class Doorman:
        def __init__(self, app: ASGIApp) -> None:
            self.app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            await Response(status_code=401)(scope, receive, send)

    app = Starlette(routes=[Mount("/v1", routes=[Route("/orders/{id}", fine, methods=["PUT"])])])
    app.add_middleware(Doorman)
    seen = seen_by(app, "/v1/orders/7")
    assert (seen.status, seen.route, seen.routed) == (401, "/v1/orders/{id}", True)
    assert seen_by(app_of(Doorman), "/nowhere").routed is None


def app_of(middleware: Any) -> Starlette:
    app = Starlette(routes=[Route("/orders/{id}", fine)])
    app.add_middleware(middleware)
    return app


def test_an_application_within_middleware_is_found() -> None:
    app = CORSMiddleware(Starlette(routes=[Route("/v1/orders/{id}", fine)]))
    assert seen_by(app, "/v1/orders/7").route == "/v1/orders/{id}"


def test_what_a_mounted_application_does_not_know_is_not_routed() -> None:
    app = Starlette(routes=[Mount("/v1", app=Starlette(routes=[Route("/orders", fine)]))])
    seen = seen_by(app, "/v1/nothing")
    assert (seen.status, seen.route, seen.routed) == (404, None, False)


def test_a_mounted_callable_is_one_route() -> None:
    async def files(scope: Scope, receive: Receive, send: Send) -> None:
        await Response()(scope, receive, send)

    app = Starlette(routes=[Mount("/static", app=files)])
    assert seen_by(app, "/static/a/b.css").route == "/static/{path}"


def test_a_wrong_method_is_routed() -> None:
    app = Starlette(routes=[Route("/orders/{id}", fine, methods=["POST"])])
    seen = seen_by(app, "/orders/7")
    assert (seen.status, seen.route, seen.routed) == (405, "/orders/{id}", True)


def test_a_route_that_is_added_later_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "AGAIN", -1.0)
    app = Starlette(routes=[Route("/orders/{id}", fine)])
    assert seen_by(app, "/orders/7").route == "/orders/{id}"
    app.router.routes.append(Route("/bills/{id}", other))
    recorder = Recorder()
    asgi(watch_with(CORSMiddleware(app), recorder.watching()), path="/bills/7")
    assert recorder.seen.route == "/bills/{id}"


def test_endpoints_that_are_not_there_are_not_looked_up_again_and_again() -> None:
    readings = 0

    def leaves() -> Any:
        nonlocal readings
        readings += 1
        return [Leaf(fine, "/a", "/a")]

    table = Table(leaves)
    for _ in range(100):
        assert table.find(other, "/b") is None
    assert readings == 1
