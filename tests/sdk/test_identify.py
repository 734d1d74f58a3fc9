"""Whatever an application says of who it is from is copied as text, and costs no request."""

# One row of a table is one line, whatever its length.
# ruff: noqa: E501

from __future__ import annotations

from enum import Enum
from typing import Any
from uuid import UUID

import pytest
from tests.sdk.requests import App, seen

from tocsin.event import Event
from tocsin.sdk import context
from tocsin.sdk.context import Context, identify


class Role(Enum):
    CLERK = "clerk"


class Name(str):
    __slots__ = ()


class Awkward:
    def __str__(self) -> str:
        raise RuntimeError("no")


NUMBER = UUID("0190a5b2-7e1c-7000-8000-0123456789ab")


def told(*arguments: Any, **more: Any) -> Event:
    """The event of a request that says so of itself."""
    context = Context("r")
    token = context.bind()
    try:
        identify(*arguments, **more)
    finally:
        Context.release(token)
    return App().take(seen("GET /v1/orders", 200, context=context))[0]


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("ann", "ann"), (42, "42"), (0, "0"), (NUMBER, str(NUMBER)), (b"ann", "ann"), (Role.CLERK, "clerk"), (Name("ann"), "ann"),
        (1.5, "1.5"), (Awkward(), "<unprintable Awkward>"), ("x" * 300, "x" * 256), ("a\ud800", "a\\ud800"),
    ],
)  # fmt: skip
def test_anything_becomes_text(given: Any, text: str) -> None:
    event = told(given, role=given, tenant=given)
    assert (event.user, event.role, event.tenant) == (text, text, text)
    assert "unreadable" not in (event.tags or ())
    assert told(auth_method=given).auth_method == text


@pytest.mark.parametrize("given", [5, NUMBER, b"abcdef", "s3cr3t", Awkward()])
def test_a_session_of_any_kind_leaves_as_a_hash(given: Any) -> None:
    event = told("ann", session=given)
    assert event.session is not None
    assert event.session.startswith("h:")
    assert event.session == told("joe", session=given).session


def test_secrets_in_what_is_said_do_not_leave() -> None:
    secret = "password=hunter2Secret"
    event = told(
        secret,
        role=secret,
        tenant=secret,
        auth_method=secret,
        note=secret,
        password="hunter2Secret",
    )
    assert "hunter2Secret" not in repr(event)


def test_attributes_are_copied_on_the_spot() -> None:
    context = Context("r")
    token = context.bind()
    cart: dict[str, Any] = {"items": [1, 2], "who": Role.CLERK, "id": NUMBER}
    identify("ann", cart=cart, thing=Awkward())
    identify(more=1)
    cart["items"] = "changed"
    Context.release(token)
    event = App().take(seen("GET /v1/orders", 200, context=context))[0]
    assert event.attributes == {
        "cart": {"items": [1, 2], "who": "Role.CLERK", "id": str(NUMBER)},
        "thing": "<unprintable Awkward>",
        "more": 1,
    }


def test_who_needs_the_trace_meanwhile_gets_the_same_one(monkeypatch: pytest.MonkeyPatch) -> None:
    request = Context("r")

    def made_while_another_thread_goes_on() -> str:
        request.trace = "a" * 32
        return "b" * 32

    monkeypatch.setattr(context, "_new_trace_id", made_while_another_thread_goes_on)
    assert request.trace_id == request.trace_id == "a" * 32
