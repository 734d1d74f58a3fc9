"""What validators refused: fields and rules, never values; exceptions as they are copied."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tocsin.sdk.failures import FRAMES, failure_of
from tocsin.sdk.refusals import complaints_in, complaints_of
from tocsin.sdk.watching.serving import Serving


class Item(msgspec.Struct):
    price: int


class Order(msgspec.Struct):
    name: str
    items: list[Item]


def refusal(given: object) -> BaseException:
    with pytest.raises(msgspec.ValidationError) as raised:
        msgspec.convert(given, Order)
    return raised.value


@pytest.mark.parametrize(
    ("given", "field", "rule"),
    [
        ({"name": 7, "items": []}, "name", "type"),
        ({"items": []}, "name", "required"),
        ({"name": "x", "items": [{"price": "secret"}]}, "items.0.price", "type"),
        ({"name": "x", "items": [{"price": 1}, {}]}, "items.1.price", "required"),
    ],
)
def test_msgspec_is_read_by_place_and_rule(given: object, field: str, rule: str) -> None:
    [complaint] = complaints_of(refusal(given))
    assert (complaint.field, complaint.rule) == (field, rule)


def test_a_refusal_behind_the_frameworks_own_exception_is_found() -> None:
    refused = refusal({"items": []})
    for way in ("from", "context", "suppressed"):
        with pytest.raises(KeyError) as raised:  # noqa: PT012
            try:
                raise refused
            except msgspec.ValidationError as error:
                if way == "from":
                    raise KeyError from error
                if way == "context":
                    raise KeyError  # noqa: B904
                raise KeyError from None
        assert [one.field for one in complaints_of(raised.value)] == ["name"]


def test_exceptions_that_go_in_circles_end() -> None:
    first, second = ValueError(), KeyError()
    first.__context__, second.__context__ = second, first
    assert complaints_of(first) == []
    assert failure_of(first).stack.count("caused by") == 1


def test_what_is_no_validators_has_no_complaints() -> None:
    class LooksLikeOne(Exception):
        def __init__(self) -> None:
            self.detail = self.messages = {"a": ["b"]}
            self.extra = [{"key": "a"}]

        def errors(self) -> Any:
            return [{"loc": ["a"], "type": "b"}]

    assert complaints_of(LooksLikeOne()) == []


def test_an_exception_that_fails_when_it_is_read_has_none() -> None:
    class Broken(msgspec.ValidationError):
        def __str__(self) -> str:
            raise RuntimeError

    Broken.__name__ = "ValidationError"
    assert complaints_of(Broken()) == []
    assert failure_of(Broken()).message == "<unprintable ValidationError>"


class Coded(str):
    code: str

    def __new__(cls, text: str, code: str) -> Coded:
        made = super().__new__(cls, text)
        made.code = code
        return made


def test_an_answer_is_read_by_its_codes_and_its_depth_is_bounded() -> None:
    tree: Any = {"items": [{}, {"price": [Coded("'secret' is no number", "invalid")]}]}
    assert [(one.field, one.rule) for one in complaints_in(tree)] == [("items.1.price", "invalid")]
    deep: Any = ["Missing data for required field."]
    for _ in range(100):
        deep = {"a": deep}
    assert complaints_in(deep) == []
    wide = {f"field {number}": ["Unknown field."] for number in range(1_000)}
    assert len(complaints_in(wide)) == 64


def test_a_refusals_words_are_not_kept_for_they_quote_the_value() -> None:
    serving = Serving("id")
    serving.failed(refusal({"name": "x", "items": [{"price": "secret"}]}), handled=True)
    assert serving.failure is not None
    assert serving.failure.message == ""
    assert serving.complaints


def test_what_nobody_handled_is_not_replaced_by_what_somebody_did() -> None:
    serving = Serving("id")
    serving.failed(ZeroDivisionError())
    serving.failed(KeyError(), handled=True)
    assert serving.failure is not None
    assert serving.failure.type == "ZeroDivisionError"
    serving.failed(IndexError())
    assert serving.failure.type == "IndexError"


def raised_from(depth: int) -> BaseException:
    def dig(left: int) -> None:
        if left:
            dig(left - 1)
        raise ZeroDivisionError(left)

    try:
        dig(depth)
    except ZeroDivisionError as error:
        return error
    raise AssertionError


def test_a_stack_has_the_frames_nearest_to_the_raise_without_their_values() -> None:
    failure = failure_of(raised_from(200))
    lines = failure.stack.splitlines()
    assert len(lines) == FRAMES
    assert all(line.endswith("raised_from.<locals>.dig") for line in lines)
    assert "test_refusals.py:" in lines[-1]


def test_causes_are_told_by_class_and_last_frames_but_no_words() -> None:
    try:
        try:
            raise KeyError("secret")
        except KeyError as error:
            raise ZeroDivisionError("the till") from error
    except ZeroDivisionError as error:
        failure = failure_of(error, handled=True)
    assert failure.handled
    assert failure.message == "the till"
    assert "\ncaused by KeyError\n" in failure.stack
    assert "secret" not in failure.stack


def test_one_exception_in_a_group_is_that_exception() -> None:
    group = ExceptionGroup("tasks", [ExceptionGroup("more", [KeyError("a")])])
    assert failure_of(group).type == "KeyError"
    several = failure_of(ExceptionGroup("tasks", [KeyError("a"), ValueError("b")]))
    assert several.type == "ExceptionGroup"
    assert "caused by KeyError" in several.stack
    assert "caused by ValueError" in several.stack
