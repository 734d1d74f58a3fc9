"""Who a user object says it is, without waking it up."""

from __future__ import annotations

from typing import Any, NamedTuple
from uuid import UUID

import msgspec
import pytest

from tocsin.sdk.watching.principals import LONGEST, among, principal


class User:
    """A user as applications have them: what is given lies in it."""

    def __init__(self, **inside: Any) -> None:
        self.__dict__.update(inside)


class Struct(msgspec.Struct):
    username: str
    role: str = "clerk"


class Named(NamedTuple):
    id: int
    email: str


class Slots:
    __slots__ = ("never_set", "username")

    def __init__(self) -> None:
        self.username = "joe"


@pytest.mark.parametrize(
    ("user", "name"),
    [
        ("joe", "joe"),
        ("", None),
        (None, None),
        (7, None),
        (object(), None),
        ({"sub": "joe", "exp": 1}, "joe"),
        ({"id": 7}, "7"),
        ({"id": True}, None),
        (User(id=UUID(int=7)), str(UUID(int=7))),
        (User(username="joe", id=7), "joe"),
        (User(_auth_id="7"), "7"),
        (User(username="joe", is_authenticated=False), None),
        (User(username=None, email="joe@example.org"), "joe@example.org"),
        (User(), None),
        (Slots(), "joe"),
        (Named(7, "joe@example.org"), "joe@example.org"),
        (Struct("joe"), ("joe", "clerk", None)),
        (User(username="joe", role="admin", tenant="acme"), ("joe", "admin", "acme")),
        (User(username="joe", roles=["b", "a"]), ("joe", "a,b", None)),
        (User(username="joe", is_superuser=True, is_staff=True), ("joe", "superuser", None)),
        (User(username="joe", is_staff=True), ("joe", "staff", None)),
        ("x" * 20_000, "x" * LONGEST),
        (User(username="x" * 20_000), "x" * LONGEST),
    ],
)
def test_a_user_is_who_lies_in_it(user: object, name: object) -> None:
    assert principal(user) == name


def test_no_property_of_a_user_is_touched() -> None:
    class Row:
        def __init__(self) -> None:
            self.id = 7

        def __getattr__(self, name: str) -> Any:
            raise AssertionError(f"{name} would have been loaded")

        @property
        def username(self) -> str:
            raise AssertionError("username would have been loaded")

    assert principal(Row()) == "7"


def test_a_lazy_user_stays_asleep() -> None:
    class LazyObject:  # as Django's is made
        def __init__(self, wrapped: object) -> None:
            self.__dict__["_wrapped"] = wrapped

        def __getattr__(self, name: str) -> Any:
            raise AssertionError("it woke up")

        @property  # type: ignore[misc]
        def __class__(self) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
            raise AssertionError("it woke up")

    class SimpleLazyObject(LazyObject): ...

    assert principal(SimpleLazyObject(object())) is None
    assert principal(SimpleLazyObject(User(username="joe"))) == "joe"


def test_a_name_of_a_class_of_its_own_is_read_as_text() -> None:
    class Text(str):
        __slots__ = ()

        def __str__(self) -> str:
            raise AssertionError("code of the application ran")

        def __getitem__(self, key: Any) -> Any:
            raise AssertionError("code of the application ran")

    assert principal(Text("joe")) == principal({"username": Text("joe")}) == "joe"


def test_groups_are_told_when_they_are_loaded() -> None:
    class Rows:
        def __init__(self, *names: str) -> None:
            self._result_cache = [User(name=name) for name in names]

    cache = {"groups": Rows("b", "a")}
    assert principal(User(username="joe", _prefetched_objects_cache=cache)) == ("joe", "a,b", None)
    assert principal(User(username="joe", _prefetched_objects_cache={})) == "joe"


@pytest.mark.parametrize(
    ("names", "name"),
    [
        ({"_login_user": User(id="7")}, "7"),
        ({"flask_httpauth_user": "joe"}, "joe"),
        ({"_jwt_extended_jwt_user": {"loaded_user": "joe"}}, "joe"),
        ({"_jwt_extended_jwt_user": {"loaded_user": None}, "_jwt_extended_jwt": {"sub": "7"}}, "7"),
        ({"user": {"username": "joe"}}, "joe"),
        ({"something": "else"}, None),
    ],
)
def test_the_user_is_found_where_extensions_leave_it(names: dict[str, Any], name: object) -> None:
    assert principal(among(names)) == name
