"""Reading inside the JSON of ``attributes``: ``attributes.order.id:42``.

A JSON text is decoded at most once a batch, and only where it can hold the key at all.  A path
finds nested objects and keys that contain dots alike.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import polars as pl

__all__ = ["TEXT", "where_number", "where_text"]

TEXT = "text"

_SYNTAX = frozenset('{}[]:,"')


def where_text(path: str, test: pl.Expr, parts: tuple[str, ...] = ()) -> pl.Expr:
    """True where *test* (of the column ``TEXT``) holds for some text at *path*.

    Numbers, booleans and objects count as their JSON text, the members of a list one by one.
    *parts*: what such a text must contain, in any case; it saves decoding where it does not.
    """

    def holds(found: list[list[Any]]) -> pl.Series:
        texts = [[_text(value) for value in values] for values in found]
        distinct = pl.DataFrame({TEXT: list({t for row in texts for t in row})}, {TEXT: pl.String})
        right = set(distinct.filter(test).to_series())
        return pl.Series([not right.isdisjoint(row) for row in texts], dtype=pl.Boolean)

    whole = parts if len(parts) == 1 and re.fullmatch("-?[0-9]+", parts[0]) else ()
    telling = [*whole, *filter(_is_telling, parts)]
    return _where(path, holds, max(telling, key=len, default=None))


def where_number(path: str, test: Callable[[int | float], bool]) -> pl.Expr:
    """True where *test* holds for some JSON number at *path*."""

    def holds(found: list[list[Any]]) -> pl.Series:
        return pl.Series(
            [any(_is_number(v) and test(v) for v in values) for values in found], dtype=pl.Boolean
        )

    return _where(path, holds)


def _where(
    path: str, holds: Callable[[list[list[Any]]], pl.Series], needle: str | None = None
) -> pl.Expr:
    def decide(series: pl.Series) -> pl.Series:
        candidate = series.str.contains(path.rpartition(".")[2], literal=True)
        if needle is not None:
            # İ is the one letter whose lower-case form begins with an ASCII letter.
            candidate &= series.str.contains(f"(?i){pl.escape_regex(needle)}|İ")
        # What is spelled with escapes looks like nothing; then only decoding tells.
        candidate |= series.str.contains("\\", literal=True)
        distinct = series.filter(candidate).unique()
        found = [list(_values(text, path)) for text in distinct.to_list()]
        matching = distinct.filter(holds(found)).to_list()
        return series.is_in(matching) if matching else pl.repeat(False, len(series), eager=True)

    return pl.col("attributes").map_batches(decide, return_dtype=pl.Boolean, is_elementwise=True)


def _is_telling(part: str) -> bool:
    """JSON that holds *part* in a text shows it as it is, but for escapes.

    Not so what may be part of a number (written ``1e2``, read as ``100.0``) or of an object's
    punctuation (blanks are dropped), nor what only full Unicode folding finds.
    """
    return part.isascii() and not re.fullmatch(r"[0-9.eE+-]*", part) and not set(part) & _SYNTAX


def _values(text: str, path: str) -> Iterator[Any]:
    try:
        tree = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return  # no JSON has no value at any path: the row does not match, whatever is asked
    for value in _at(tree, path):
        if isinstance(value, list):
            yield from (v for v in value if v is not None)
        elif value is not None:
            yield value


def _at(tree: Any, path: str) -> Iterator[Any]:
    if not isinstance(tree, dict):
        return
    if path in tree:
        yield tree[path]
    for dot in (i for i, char in enumerate(path) if char == "."):
        if path[:dot] in tree:
            yield from _at(tree[path[:dot]], path[dot + 1 :])


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
