"""What the application hands us, as plain values: copied on the spot, bounded, never a failure.

Of an exception these are its words, without the values that they quote.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Any

from tocsin.sdk.harmless import harmless
from tocsin.sdk.quoted import words_of

__all__ = ["number", "plain", "text"]

#: Characters of one text, and of a key; what is longer is cut, and says so.
LONGEST = 16_384
LONGEST_KEY = 256

#: Items of one mapping or list, levels, and values in all.
MOST = 64
DEPTH = 6
VALUES = 512


def text(value: Any, longest: int = LONGEST) -> str:
    """*value* as text that can be encoded; what cannot even be told is named by its class.

    >>> text(42), text("x" * 30, 20), text("\\ud800")
    ('42', 'xxxxxxxxxxxxxxxxxxxx [cut: 30 characters]', '\\\\ud800')
    """
    words: str = value if type(value) is str else _told(value)
    if len(words) > longest:
        words = f"{words[:longest]} [cut: {len(words)} characters]"
    if not words.isascii():  # half a character, as broken input leaves it, has no UTF-8
        words = words.encode("utf-8", "backslashreplace").decode()
    return words


def _told(value: Any) -> str:
    try:
        if isinstance(value, str):  # of a class of its own, which may say anything
            return str.__str__(value)
        if isinstance(value, (bytes, bytearray, memoryview)):
            return bytes(value).decode("utf-8", "backslashreplace")
        if isinstance(value, BaseException):
            return words_of(value)
        return str.__str__(str(value))
    except Exception as error:  # noqa: BLE001  the application's own __str__ may fail in any way
        harmless.mishap(error)
        return f"<unprintable {type(value).__name__}>"


def number(value: Any) -> int | None:
    """*value* as a whole number of 64 bits; None when it is none."""
    if type(value) is not int:
        try:
            value = int(value)
        except Exception:  # noqa: BLE001  as above
            return None
    return value if -(1 << 63) <= value < 1 << 63 else None


def plain(value: Any) -> Any:
    """*value* as JSON knows it, a copy: later changes to it do not reach us.

    What has no counterpart there becomes text; what is too much is left out, and says so.

    >>> plain({"a": (1, 2.5, None), 3: {"x"}, "far": float("inf")})
    {'a': [1, 2.5, None], '3': ['x'], 'far': 'inf'}
    """
    return _plain(value, DEPTH, [VALUES])


def _plain(value: Any, depth: int, left: list[int]) -> Any:
    kind = type(value)
    if kind is str:
        return text(value)
    if value is None or kind is bool:
        return value
    if kind is int:
        return value if number(value) is not None else text(value)
    if kind is float:
        return value if value - value == 0 else text(value)
    try:
        if isinstance(value, Mapping):
            return _mapping(value, depth, left)
        if isinstance(value, (list, tuple, set, frozenset)):
            return _items(value, depth, left)
    except Exception as error:  # noqa: BLE001  a mapping of its own, or changed by another thread
        harmless.mishap(error)
        return f"<unreadable {kind.__name__}>"
    return text(value)


def _mapping(value: Mapping[Any, Any], depth: int, left: list[int]) -> Any:
    if not depth:
        return f"[cut: {len(value)} values]"
    pairs = list(islice(value.items(), _room(left)))
    left[0] -= len(pairs)
    copy = {text(key, LONGEST_KEY): _plain(item, depth - 1, left) for key, item in pairs}
    if len(pairs) < len(value):
        copy["[cut]"] = f"{len(value) - len(pairs)} values"
    return copy


def _items(value: Any, depth: int, left: list[int]) -> Any:
    if not depth:
        return f"[cut: {len(value)} values]"
    items = list(islice(value, _room(left)))
    left[0] -= len(items)
    copy = [_plain(item, depth - 1, left) for item in items]
    if len(items) < len(value):
        copy.append(f"[cut: {len(value) - len(items)} values]")
    return copy


def _room(left: list[int]) -> int:
    return min(MOST, max(left[0], 0))
