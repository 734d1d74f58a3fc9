"""A site of Django and REST framework: includes in includes, a router, views of both kinds."""
# mypy: ignore-errors
# ruff: noqa: A002  (a parameter is called what the path calls it)
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false, reportArgumentType=false

from __future__ import annotations

import asyncio
import os
import sys
import time
import types
from collections.abc import AsyncIterator, Iterator
from typing import Any

import django
from django.conf import settings

settings.configure(
    ALLOWED_HOSTS=["*"],
    DATABASES={},
    DEBUG=False,
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "rest_framework"],
    LOGGING_CONFIG=None,
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
    REST_FRAMEWORK={"DEFAULT_AUTHENTICATION_CLASSES": [], "UNAUTHENTICATED_USER": None},
    ROOT_URLCONF="urls",
    SECRET_KEY="not one",
    USE_TZ=True,
)
django.setup()

from django.core.exceptions import PermissionDenied  # noqa: E402
from django.core.handlers.asgi import ASGIHandler  # noqa: E402
from django.core.handlers.wsgi import WSGIHandler  # noqa: E402
from django.http import (  # noqa: E402
    FileResponse,
    HttpResponse,
    HttpResponseRedirect,
    JsonResponse,
    StreamingHttpResponse,
)
from django.urls import include, path, re_path  # noqa: E402
from rest_framework import routers, serializers, viewsets  # noqa: E402
from rest_framework.decorators import api_view  # noqa: E402
from rest_framework.response import Response  # noqa: E402
from what import CHUNKS, ENDLESS, FILE, Recorder, chunk, login, same_context, watched  # noqa: E402

from tocsin.sdk import client  # noqa: E402

ASGI = "asgi" in sys.argv


class Order(serializers.Serializer):
    name = serializers.CharField()
    quantity = serializers.IntegerField()


class Orders(viewsets.ViewSet):
    def retrieve(self, request: Any, pk: Any = None) -> Any:
        return Response({"id": pk})

    def create(self, request: Any) -> Any:
        Order(data=request.data).is_valid(raise_exception=True)
        return Response({"taken": True})


def health(request: Any) -> Any:
    return JsonResponse({"ok": True})


@api_view(["POST"])
def log_in(request: Any) -> Any:
    return Response(login(request.data))


def admin(request: Any) -> Any:
    raise PermissionDenied("no")


def crash(request: Any) -> Any:
    raise ZeroDivisionError("the till is empty")


def parts(chunks: int) -> Iterator[bytes]:
    for number in range(chunks):
        yield chunk(number)


async def later_parts(chunks: int) -> AsyncIterator[bytes]:
    for number in range(chunks):
        yield chunk(number)
        await asyncio.sleep(0)


def broken() -> Iterator[bytes]:
    yield b"begun"
    raise ZeroDivisionError("too late to say so")


def late(request: Any) -> Any:
    return StreamingHttpResponse(broken())


def streamed(chunks: int) -> Any:
    made = later_parts if ASGI and django.VERSION >= (4, 2) else parts
    return StreamingHttpResponse(made(chunks), content_type="application/octet-stream")


def stream(request: Any) -> Any:
    return streamed(CHUNKS)


def endless(request: Any) -> Any:
    return streamed(ENDLESS)


def file(request: Any) -> Any:
    return FileResponse(FILE.open("rb"))


def upload(request: Any) -> Any:
    if request.FILES:
        return JsonResponse({"size": sum(one.size for one in request.FILES.values())})
    return JsonResponse({"size": len(request.body)})


def deaf(request: Any) -> Any:
    return JsonResponse({"deaf": True})


def moved(request: Any) -> Any:
    response = HttpResponseRedirect("/health")
    response.status_code = 307
    return response


def me(request: Any) -> Any:
    request.user = types.SimpleNamespace(username="joe", is_staff=True)
    return JsonResponse({"me": True})


def context(request: Any, number: str) -> Any:
    still = same_context(number)
    time.sleep(0.02)
    return JsonResponse(still())


async def async_context(request: Any, number: str) -> Any:
    still = same_context(number)
    await asyncio.sleep(0.02)
    return JsonResponse(still())


def report(request: Any, tenant: str, id: str) -> Any:
    return HttpResponse(f'{{"report": "{id}"}}', content_type="application/json")


router = routers.SimpleRouter(trailing_slash=False)
router.register("orders", Orders, basename="orders")

v1 = [
    path("login", log_in),
    path("admin", admin),
    path("crash", crash),
    path("late", late),
    path("stream", stream),
    path("endless", endless),
    path("file", file),
    path("upload", upload),
    path("deaf", deaf),
    path("moved", moved),
    path("me", me),
    path("context/<str:number>", async_context if ASGI else context),
    path("", include(router.urls)),
]
urls: Any = types.ModuleType("urls")
urls.urlpatterns = [
    path("health", health),
    path("v1/", include(v1)),
    path("t/<slug:tenant>/", include([re_path(r"^reports/(?P<id>[^/.]+)$", report)])),
]
sys.modules["urls"] = urls


def make() -> tuple[Any, Any]:
    FILE.write_bytes(b"file " * 40_000)
    handler = ASGIHandler if ASGI else WSGIHandler
    bare = handler()
    if os.environ.get("TOCSIN_TEST_LIST"):  # as the documentation says, by name
        settings.TOCSIN = {"service": "shop", "output": "off"}
        settings.MIDDLEWARE = ["tocsin.django.Watch", *settings.MIDDLEWARE]
        named = handler()  # with a client of its own, which is off
        client.use(Recorder(os.environ["TOCSIN_TEST_SEEN"]))
        return bare, named
    return bare, watched(handler())
