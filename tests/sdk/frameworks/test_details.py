"""What only one framework has: its users, its validators, its ways to write a path."""

from __future__ import annotations

import json
import textwrap
from typing import Any

from tests.sdk.apps import both, interpreter, run

#: Runs in the other interpreter, before the code of each test.
BEFORE = textwrap.dedent(
    """
    import asyncio, io, json, sys
    from tocsin.sdk.watching.exchange import Watching
    from tocsin.sdk.options import Options
    from tocsin.sdk.watching.watch import watch_with

    class Recorder:
        options = Options()
        def __init__(self): self.items = []
        def take(self, item): self.items.append(item)

    recorder = Recorder()
    watching = Watching(lambda: recorder)
    told = []

    def tell():
        for seen in recorder.items:
            told.append({
                "status": seen.status, "route": seen.route, "routed": seen.routed,
                "params": {k: str(v) for k, v in seen.params.items()}, "user": seen.user,
                "complaints": sorted([c.field, c.rule] for c in seen.complaints),
                "failure": seen.failure and [seen.failure.type, seen.failure.handled],
                "words": seen.failure.message if seen.failure else "",
            })
        recorder.items.clear()

    def asgi(app, path, method="GET", body=None, headers=()):
        scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1",
                 "method": method, "scheme": "http", "path": path, "query_string": b"",
                 "raw_path": path.encode(), "root_path": "", "client": ("127.0.0.1", 1),
                 "server": ("127.0.0.1", 80), "headers": [(b"host", b"shop"), *headers]}
        data = b"" if body is None else json.dumps(body).encode()
        if body is not None:
            scope["headers"] += [(b"content-type", b"application/json"),
                                 (b"content-length", str(len(data)).encode())]
        parts = [{"type": "http.request", "body": data, "more_body": False}]
        async def receive():
            if parts:
                return parts.pop()
            await asyncio.Event().wait()
        async def send(message): pass
        try:
            asyncio.run(app(scope, receive, send))
        except Exception:
            pass
        tell()

    def wsgi(app, path, method="GET", body=None, **more):
        data = b"" if body is None else json.dumps(body).encode()
        environ = {"REQUEST_METHOD": method, "SCRIPT_NAME": "", "PATH_INFO": path,
                   "QUERY_STRING": "", "SERVER_NAME": "shop", "SERVER_PORT": "80",
                   "SERVER_PROTOCOL": "HTTP/1.1", "wsgi.url_scheme": "http",
                   "wsgi.input": io.BytesIO(data), "wsgi.errors": sys.stderr,
                   "wsgi.version": (1, 0), "wsgi.multithread": False,
                   "wsgi.multiprocess": False, "wsgi.run_once": False, "HTTP_HOST": "shop"}
        if body is not None:
            environ |= {"CONTENT_TYPE": "application/json", "CONTENT_LENGTH": str(len(data))}
        answer = app(environ | more, lambda *_: None)
        list(answer)
        getattr(answer, "close", lambda: None)()
        tell()

    import atexit
    atexit.register(lambda: print(json.dumps(told)))
    """
)

DJANGO = textwrap.dedent(
    """
    import types
    import django
    from django.conf import settings
    settings.configure(
        ALLOWED_HOSTS=["*"], DATABASES={}, LOGGING_CONFIG=None, ROOT_URLCONF="urls", SECRET_KEY="x",
        INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "rest_framework"],
        REST_FRAMEWORK={"DEFAULT_AUTHENTICATION_CLASSES": [], "UNAUTHENTICATED_USER": None},
        MIDDLEWARE=[*MIDDLEWARE], SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
    )
    django.setup()
    from django.core.handlers.wsgi import WSGIHandler
    from django.http import JsonResponse
    from django.urls import include, path, re_path
    urls = types.ModuleType("urls")
    sys.modules["urls"] = urls
    def fine(request, **given): return JsonResponse({})
    """
)


def seen_in(age: str, *code: str) -> list[dict[str, Any]]:
    """What was seen of the requests that *code* makes."""
    whole = "\n".join((BEFORE, *(textwrap.dedent(part) for part in code)))
    said = run(interpreter(age), whole)
    found: list[dict[str, Any]] = json.loads(said.splitlines()[-1])
    return found


@both
def test_fastapi_names_each_refused_field_with_pydantics_rule(age: str) -> None:
    [seen] = seen_in(
        age,
        """
        from typing import List
        from fastapi import FastAPI, Header
        from pydantic import BaseModel

        class Item(BaseModel):
            price: float

        class Order(BaseModel):
            name: str
            items: List[Item]

        app = FastAPI()

        @app.post("/orders/{id}")
        def order(id: int, order: Order, x_count: int = Header(...)): return {}

        watch_with(app, watching)
        body = {"items": [{"price": 1}, {"price": "secret"}]}
        asgi(app, "/orders/secret", "POST", body, [(b"x-count", b"secret")])
        """,
    )
    fields = dict(seen["complaints"])
    assert set(fields) == {"path.id", "header.x-count", "body.name", "body.items.1.price"}
    assert "missing" in fields["body.name"]
    assert all(fields.values())
    assert "secret" not in json.dumps([seen["complaints"], seen["words"]])
    assert seen["failure"] == ["fastapi.exceptions.RequestValidationError", True]


@both
def test_a_handler_of_ones_own_still_gets_the_exception_and_so_do_we(age: str) -> None:
    """Sync handlers go on in a thread and async ones in the loop, as without us."""
    seen = seen_in(
        age,
        """
        import threading
        from fastapi import FastAPI
        from fastapi.responses import JSONResponse
        app = FastAPI()
        where = []

        @app.exception_handler(KeyError)
        def on_key(request, error):
            where.append(threading.current_thread() is threading.main_thread())
            return JSONResponse({"error": str(error)}, status_code=409)

        @app.exception_handler(IndexError)
        async def on_index(request, error):
            where.append(threading.current_thread() is threading.main_thread())
            return JSONResponse({}, status_code=418)

        @app.exception_handler(Exception)
        async def on_any(request, error): return JSONResponse({}, status_code=500)

        @app.get("/{kind}")
        def crash(kind: str): raise {"key": KeyError, "index": IndexError, "zero": ValueError}[kind]

        handlers = dict(app.exception_handlers)
        watch_with(app, watching)
        for path in ("/key", "/index", "/zero"): asgi(app, path)
        assert where == [False, True], where
        assert app.exception_handlers == handlers
        """,
    )
    assert [(one["status"], one["failure"]) for one in seen] == [
        (409, ["KeyError", True]),
        (418, ["IndexError", True]),
        (500, ["ValueError", False]),
    ]


@both
def test_exceptions_of_a_mounted_application_are_seen(age: str) -> None:
    [seen] = seen_in(
        age,
        """
        from fastapi import FastAPI, HTTPException
        inner, app = FastAPI(), FastAPI()

        @inner.get("/{id}")
        def order(id: str): raise HTTPException(403, "no")

        app.mount("/v1/{tenant}", inner)
        watch_with(app, watching)
        asgi(app, "/v1/acme/7")
        """,
    )
    assert seen["failure"] == ["fastapi.exceptions.HTTPException", True]
    assert seen["route"] == "/v1/{tenant}/{id}"


@both
def test_starlettes_user_is_asked_for_its_name(age: str) -> None:
    seen = seen_in(
        age,
        """
        from starlette.applications import Starlette
        from starlette.authentication import AuthCredentials, AuthenticationBackend, BaseUser
        from starlette.authentication import SimpleUser
        from starlette.middleware import Middleware
        from starlette.middleware.authentication import AuthenticationMiddleware
        from starlette.responses import Response
        from starlette.routing import Route

        class Own(BaseUser):
            @property
            def is_authenticated(self): return True
            @property
            def display_name(self): return "ann"

        class Row(Own):
            def __init__(self): self._sa_instance_state = object()
            @property
            def display_name(self): raise AssertionError("it would have been loaded")

        class Backend(AuthenticationBackend):
            async def authenticate(self, conn):
                users = {"/joe": SimpleUser("joe"), "/ann": Own(), "/row": Row()}
                user = users.get(conn.scope["path"])
                return None if user is None else (AuthCredentials(["x"]), user)

        async def fine(request): return Response()
        app = Starlette(
            routes=[Route("/{name}", fine)],
            middleware=[Middleware(AuthenticationMiddleware, backend=Backend())],
        )
        watch_with(app, watching)
        for path in ("/joe", "/ann", "/row", "/nobody"): asgi(app, path)
        """,
    )
    assert [one["user"] for one in seen] == ["joe", "ann", None, None]


@both
def test_litestar_names_each_refused_field(age: str) -> None:
    [seen] = seen_in(
        age,
        """
        from litestar import Litestar, post
        from typing import Dict
        import msgspec
        globals()["Order"] = msgspec.defstruct("Order", [("name", str), ("quantity", int)])

        @post("/orders")
        async def order(data: Order, count: int) -> Dict[str, str]: return {}

        app = watch_with(Litestar([order], openapi_config=None), watching)
        asgi(app, "/orders", "POST", {"name": "x", "quantity": "secret"})
        """,
    )
    assert seen["failure"] == ["litestar.exceptions.http_exceptions.ValidationException", True]
    assert seen["complaints"]
    assert "secret" not in json.dumps([seen["complaints"], seen["words"]])


@both
def test_flask_login_and_a_crash_that_a_handler_answers(age: str) -> None:
    seen = seen_in(
        age,
        """
        from flask import Flask, g
        app = Flask("shop")

        class User:
            def __init__(self): self.id, self.is_admin = "7", True

        @app.get("/me")
        def me():
            g._login_user = User()
            return {}

        @app.get("/crash")
        def crash(): raise ZeroDivisionError("the till is empty")

        @app.errorhandler(500)
        def on_500(error):
            assert isinstance(error.original_exception, ZeroDivisionError)
            return {"sorry": True}, 500

        watch_with(app, watching)
        wsgi(app, "/me"); wsgi(app, "/crash")
        """,
    )
    assert seen[0]["user"] == ["7", "staff", None]
    assert seen[1]["failure"] == ["ZeroDivisionError", False]


@both
def test_flask_below_a_prefix_and_converters_of_every_kind(age: str) -> None:
    seen = seen_in(
        age,
        """
        from flask import Flask
        from werkzeug.middleware.dispatcher import DispatcherMiddleware
        from werkzeug.middleware.proxy_fix import ProxyFix
        app = Flask("shop")
        app.get("/<int(min=1):id>/<any(a, b):kind>/<path:rest>")(lambda **_: {})
        below = DispatcherMiddleware(Flask("root"), {"/shop": app})
        wsgi(watch_with(ProxyFix(below), watching), "/shop/7/a/x/y")
        app.wsgi_app = ProxyFix(app.wsgi_app)
        watch_with(app, watching)
        wsgi(app, "/7/b/x", SCRIPT_NAME="/root")
        wsgi(app, "/7/b/x", "POST")
        """,
    )
    assert seen[0]["route"] == "/shop/{id}/{kind}/{rest}"
    assert seen[0]["params"] == {"id": "7", "kind": "a", "rest": "x/y"}
    assert seen[1]["route"] == "/root/{id}/{kind}/{rest}"
    assert (seen[2]["status"], seen[2]["routed"]) == (405, True)


@both
def test_marshmallow_in_a_handler_of_flask(age: str) -> None:
    [seen] = seen_in(
        age,
        """
        from flask import Flask, request
        from marshmallow import Schema, fields, validate, ValidationError

        class Line(Schema):
            price = fields.Float(required=True)

        class Order(Schema):
            name = fields.Str(required=True, validate=validate.Length(max=3))
            lines = fields.List(fields.Nested(Line))

        app = Flask("shop")
        app.register_error_handler(ValidationError, lambda error: (error.messages, 422))

        @app.post("/orders")
        def order(): return Order().load(request.get_json())

        watch_with(app, watching)
        body = {"name": "secret", "lines": [{"price": 1}, {}], "more": "secret"}
        wsgi(app, "/orders", "POST", body)
        """,
    )
    assert seen["complaints"] == [
        ["lines.1.price", "required"],
        ["more", "unknown"],
        ["name", "length"],
    ]
    assert "secret" not in json.dumps([seen["complaints"], seen["words"]])


@both
def test_django_paths_of_every_kind(age: str) -> None:
    seen = seen_in(
        age,
        "MIDDLEWARE = []",
        DJANGO,
        r"""
        from django.views.generic import View
        from rest_framework import routers, viewsets
        from rest_framework.response import Response

        class Orders(viewsets.ViewSet):
            def retrieve(self, request, pk=None, format=None): return Response({})

        class Bills(View):
            def get(self, request, *given, **named): return JsonResponse({})

        router = routers.DefaultRouter()
        router.register("orders", Orders, basename="orders")
        v1 = [
            path("", include(router.urls)),
            re_path(r"^bills/(?P<year>[0-9]{4})/(?:page-(?P<page>\d+)/)?$", Bills.as_view()),
            re_path(r"^old/(\d+)/$", Bills.as_view()),
        ]
        urls.urlpatterns = [path("<slug:tenant>/v1/", include(v1))]
        app = watch_with(WSGIHandler(), watching)
        for given in ("orders/7/", "orders/7.json", "bills/2026/", "old/7/", "nothing/"):
            wsgi(app, "/acme/v1/" + given)
        wsgi(app, "/acme/v1/orders/7/", SCRIPT_NAME="/shop")
        """,
    )
    assert [one["route"] for one in seen] == [
        "/{tenant}/v1/orders/{pk}/",
        "/{tenant}/v1/orders/{pk}.{format}/" if age == "old" else seen[1]["route"],
        "/{tenant}/v1/bills/{year}/",
        "/{tenant}/v1/old/{0}/",
        None,
        "/shop/{tenant}/v1/orders/{pk}/",
    ]
    assert "orders/{pk}.{format}" in seen[1]["route"]
    assert seen[0]["params"] == {"tenant": "acme", "pk": "7"}
    assert seen[4]["routed"] is False


@both
def test_rest_framework_tells_fields_rules_and_classes(age: str) -> None:
    seen = seen_in(
        age,
        "MIDDLEWARE = []",
        DJANGO,
        """
        from rest_framework import exceptions, serializers
        from rest_framework.decorators import api_view

        class Line(serializers.Serializer):
            price = serializers.FloatField()

        class Order(serializers.Serializer):
            name = serializers.CharField(max_length=3)
            kind = serializers.ChoiceField(["a"])
            lines = Line(many=True)

        class Closed(exceptions.APIException):
            status_code, default_code = 423, "closed"

        @api_view(["POST"])
        def order(request): Order(data=request.data).is_valid(raise_exception=True)

        @api_view(["GET"])
        def closed(request): raise Closed()

        @api_view(["GET"])
        def slow(request): raise exceptions.Throttled()

        @api_view(["GET"])
        def crash(request): raise ZeroDivisionError

        views = {"order": order, "closed": closed, "slow": slow, "crash": crash}
        urls.urlpatterns = [path(name, view) for name, view in views.items()]
        app = watch_with(WSGIHandler(), watching)
        body = {"name": "secret", "kind": "secret", "lines": [{"price": 1}, {"price": "secret"}]}
        wsgi(app, "/order", "POST", body)
        for name in ("/closed", "/slow", "/crash"): wsgi(app, name)
        """,
    )
    assert seen[0]["complaints"] == [
        ["kind", "invalid_choice"],
        ["lines.1.price", "invalid"],
        ["name", "max_length"],
    ]
    assert "secret" not in json.dumps([seen[0]["complaints"], seen[0]["words"]])
    assert [one["failure"] for one in seen] == [
        ["rest_framework.exceptions.ValidationError", True],
        ["__main__.Closed", True],
        ["rest_framework.exceptions.Throttled", True],
        ["ZeroDivisionError", False],
    ]


@both
def test_django_exceptions_of_views_and_of_middleware(age: str) -> None:
    seen = seen_in(
        age,
        """
        def breaks(get_response):
            def middleware(request):
                if request.path == "/middleware":
                    raise ZeroDivisionError("in middleware")
                return get_response(request)
            return middleware
        MIDDLEWARE = ["__main__.breaks"]
        """,
        DJANGO,
        """
        from django.core.exceptions import PermissionDenied, SuspiciousOperation, ValidationError
        from django.http import Http404
        def raises(error):
            def view(request): raise error
            return view
        errors = {
            "denied": PermissionDenied("no"), "none": Http404("none"),
            "odd": SuspiciousOperation("odd"), "crash": KeyError("crash"),
            "refused": ValidationError({"name": [ValidationError("secret", code="max_length")]}),
        }
        urls.urlpatterns = [path(name, raises(error)) for name, error in errors.items()]
        app = watch_with(WSGIHandler(), watching)
        for name in (*errors, "middleware"): wsgi(app, "/" + name)
        """,
    )
    assert [(one["status"], one["failure"]) for one in seen] == [
        (403, ["django.core.exceptions.PermissionDenied", True]),
        (404, ["django.http.response.Http404", True]),
        (400, ["django.core.exceptions.SuspiciousOperation", True]),
        (500, ["KeyError", False]),
        (500, ["django.core.exceptions.ValidationError", False]),
        (500, ["ZeroDivisionError", False]),
    ]
    assert seen[4]["complaints"] == [["name", "max_length"]]
    assert "secret" not in seen[4]["words"]


@both
def test_a_lazy_django_user_is_told_only_if_the_view_has_asked_for_it(age: str) -> None:
    seen = seen_in(
        age,
        """
        loaded = []
        def signs_in(get_response):
            from django.contrib.auth.models import User
            from django.utils.functional import SimpleLazyObject
            def load():
                loaded.append(1)
                return User(id=7, username="joe", is_superuser=True)
            def middleware(request):
                request.user = SimpleLazyObject(load)
                return get_response(request)
            return middleware
        MIDDLEWARE = ["__main__.signs_in"]
        """,
        DJANGO,
        """
        def asks(request): return JsonResponse({"name": request.user.username})
        urls.urlpatterns = [path("fine", fine), path("asks", asks)]
        app = watch_with(WSGIHandler(), watching)
        wsgi(app, "/fine")
        assert not loaded
        wsgi(app, "/asks")
        assert loaded == [1]
        """,
    )
    assert [one["user"] for one in seen] == [None, ["joe", "superuser", None]]


@both
def test_a_request_that_django_middleware_turned_away_has_its_route(age: str) -> None:
    [seen] = seen_in(
        age,
        """
        def doorman(get_response):
            from django.http import HttpResponse
            return lambda request: HttpResponse(status=401)
        MIDDLEWARE = ["__main__.doorman"]
        """,
        DJANGO,
        """
        urls.urlpatterns = [path("orders/<int:pk>", fine)]
        wsgi(watch_with(WSGIHandler(), watching), "/orders/7")
        """,
    )
    assert (seen["status"], seen["route"], seen["routed"]) == (401, "/orders/{pk}", True)


@both
def test_django_within_something_else_that_is_watched_is_seen_once(age: str) -> None:
    seen = seen_in(
        age,
        'MIDDLEWARE = ["tocsin.django.Watch"]',
        DJANGO,
        """
        from django.core.handlers.asgi import ASGIHandler
        from tocsin.sdk import client
        settings.TOCSIN = {"output": "off"}
        urls.urlpatterns = [path("orders/<int:pk>", fine)]
        inner = WSGIHandler()
        outer = lambda environ, start_response: inner(environ, start_response)
        client.use(recorder)
        wsgi(watch_with(outer, watching), "/orders/7")
        wsgi(watch_with(inner, watching), "/orders/8")
        client.use(None)
        inner_asgi = ASGIHandler()
        client.use(recorder)
        async def outer_asgi(scope, receive, send):
            await inner_asgi(dict(scope), receive, send)
        asgi(watch_with(outer_asgi, watching), "/orders/9")
        """,
    )
    assert [(one["route"], one["params"]) for one in seen] == [
        ("/orders/{pk}", {"pk": "7"}),
        ("/orders/{pk}", {"pk": "8"}),
        ("/orders/{pk}", {"pk": "9"}),
    ]


@both
def test_a_wrong_option_in_djangos_settings_shows_when_it_starts(age: str) -> None:
    seen = seen_in(
        age,
        'MIDDLEWARE = ["tocsin.django.Watch"]',
        DJANGO,
        """
        from tocsin.errors import SettingsError
        settings.TOCSIN = {"servcie": "orders", "output": "off"}
        try:
            WSGIHandler()
        except SettingsError as error:
            assert "servcie" in str(error)
        else:
            raise AssertionError("nothing was said")
        settings.TOCSIN = {"service": "orders", "output": "off"}
        WSGIHandler()
        from tocsin.sdk.client import the_client
        assert the_client().options.service == "orders"
        """,
    )
    assert seen == []


@both
def test_connexion_tells_parameters_that_were_refused(age: str) -> None:
    seen = seen_in(
        age,
        """
        import connexion, types
        handlers = types.ModuleType("handlers")
        handlers.find = lambda **_: {}
        sys.modules["handlers"] = handlers

        def parameter(name, kind, required=False):
            return {"name": name, "in": "query", "required": required, "schema": {"type": kind}}

        get = {"operationId": "handlers.find", "responses": {"200": {"description": ""}},
               "parameters": [parameter("count", "integer"), parameter("name", "string", True)]}
        specification = {"openapi": "3.0.0", "info": {"title": "", "version": ""},
                         "paths": {"/orders": {"get": get}}}
        app = connexion.FlaskApp("shop")
        app.add_api(specification, base_path="/v1")
        watch_with(app, watching)

        def get_orders(query):
            if hasattr(connexion, "AsyncApp"):
                def with_query(scope, receive, send):
                    return app({**scope, "query_string": query.encode()}, receive, send)
                asgi(with_query, "/v1/orders")
            else:
                wsgi(app.app, "/v1/orders", QUERY_STRING=query)

        get_orders("count=secret&name=x")
        get_orders("count=1")
        """,
    )
    assert [one["status"] for one in seen] == [400, 400]
    assert seen[0]["complaints"][0][1] == "type"
    assert seen[1]["complaints"] == [["query.name", "required"]]
    assert all(one["failure"][1] for one in seen)
    assert "secret" not in json.dumps([seen[0]["complaints"], seen[0]["words"]])
