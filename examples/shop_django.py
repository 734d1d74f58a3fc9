"""A small shop: Django with its REST framework, watched by tocsin."""

from __future__ import annotations

import secrets
from typing import Any

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.urls import include, path

settings.configure(
    SECRET_KEY=secrets.token_hex(32),
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["127.0.0.1", "localhost"],
    MIDDLEWARE=["tocsin.django.Watch"],
    TOCSIN={"service": "shop-django", "database": True},
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    REST_FRAMEWORK={"UNAUTHENTICATED_USER": None},
)
django.setup()

from django.db import connection  # noqa: E402
from rest_framework import exceptions, serializers  # noqa: E402
from rest_framework.authentication import BaseAuthentication  # noqa: E402
from rest_framework.response import Response  # noqa: E402
from rest_framework.views import APIView  # noqa: E402

import tocsin  # noqa: E402  Django wants its settings first

ACCOUNTS = {"ann": "correct horse", "joe": "battery staple", "root": "only for admins"}
ORDERS = {n: {"id": n, "owner": ("ann", "joe")[n % 2], "total": 10 * n} for n in range(1, 101)}
sessions: dict[str, str] = {}


class Customer:
    """What Django calls a user."""

    is_authenticated = True

    def __init__(self, username: str) -> None:
        self.username = username


class Tokens(BaseAuthentication):
    def authenticate(self, request: Any) -> tuple[Customer, str] | None:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if not token:
            return None
        if token not in sessions:
            raise exceptions.AuthenticationFailed("invalid token")
        return Customer(sessions[token]), token

    def authenticate_header(self, request: Any) -> str:
        return "Bearer"


def customer(request: Any) -> str:
    if request.user is None:
        raise exceptions.NotAuthenticated
    return str(request.user.username)


class ShopView(APIView):
    authentication_classes = (Tokens,)


class OrderFields(serializers.Serializer):
    item = serializers.CharField(max_length=40)
    count = serializers.IntegerField(min_value=1, max_value=100)


class Login(ShopView):
    def post(self, request: Any) -> Response:
        if ACCOUNTS.get(request.data.get("username")) != request.data.get("password"):
            return Response({"detail": "wrong user name or password"}, 401)
        token = secrets.token_urlsafe(24)
        sessions[token] = request.data["username"]
        return Response({"token": token})


class Order(ShopView):
    def get(self, request: Any, number: int) -> Response:
        name = customer(request)
        if number not in ORDERS or ORDERS[number]["owner"] != name:
            tocsin.log.authz_fail(resource=f"order:{number}", reason="not the owner")
            raise exceptions.NotFound("no such order")
        return Response(ORDERS[number])


class Orders(ShopView):
    def post(self, request: Any) -> Response:
        name, fields = customer(request), OrderFields(data=request.data)
        fields.is_valid(raise_exception=True)
        return Response({"id": 101, "owner": name, "item": fields.validated_data["item"]}, 201)


class Invoice(ShopView):
    def get(self, request: Any, number: int) -> Response:
        customer(request)
        return Response({**ORDERS[number], "email": "ann@shop.example"})  # whoever asks: the hole


class Search(ShopView):
    def get(self, request: Any) -> Response:
        with connection.cursor() as cursor:  # as one must not
            cursor.execute(f"SELECT 1 WHERE '{request.query_params['q']}' = '10'")
            return Response({"found": cursor.fetchall()})


class Admin(ShopView):
    def get(self, request: Any, page: str) -> Response:
        if customer(request) != "root":
            raise exceptions.PermissionDenied("only for admins")
        return Response({"page": page})


api = [
    path("login", Login.as_view()),
    path("orders", Orders.as_view()),
    path("orders/<int:number>", Order.as_view()),
    path("invoices/<int:number>", Invoice.as_view()),
    path("search", Search.as_view()),
    path("admin/<str:page>", Admin.as_view()),
]
urlpatterns = [path("", include(api))]
app = get_wsgi_application()
