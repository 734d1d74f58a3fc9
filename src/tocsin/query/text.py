"""One event as one line of JSON, and text that is safe to print."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator
from typing import Any

import msgspec
import polars as pl

__all__ = ["HIDDEN", "columns_wide", "instants", "json_objects"]

#: What moves the cursor, reverses the text or cannot be seen; for Polars, and by category.
HIDDEN = r"[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]"
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def json_objects(frame: pl.DataFrame) -> Iterator[str]:
    """Each row as a JSON object in the frame's order, nulls left out, times in RFC 3339."""
    names = frame.columns
    plain = frame.with_columns(
        instants(name) for name, dtype in frame.schema.items() if isinstance(dtype, pl.Datetime)
    )
    for row in plain.iter_rows():
        line = msgspec.json.encode(
            {n: _json_value(n, v) for n, v in zip(names, row, strict=True) if v is not None}
        ).decode()
        # JSON allows most of what is hidden as it is; a terminal would obey it.
        yield line if line.isprintable() else "".join(map(_shown, line))


def instants(name: str) -> pl.Expr:
    """The moments of a column as RFC 3339 UTC, with as many digits as they need."""
    seconds = pl.col(name).dt.strftime("%Y-%m-%dT%H:%M:%S")
    nanos = pl.col(name).dt.nanosecond().cast(pl.String).str.zfill(9).str.strip_chars_end("0")
    point = pl.when(nanos == "").then(pl.lit("")).otherwise(pl.lit("."))
    return pl.concat_str(seconds, point, nanos, pl.lit("Z")).alias(name)


def columns_wide(text: str) -> int:
    """How many columns *text* takes on a terminal.

    >>> columns_wide("日本"), columns_wide("é"), columns_wide("e\\u0301")
    (4, 1, 1)
    """
    if text.isascii():
        return len(text)
    return sum(_width(char) for char in text)


def _shown(char: str) -> str:
    return json.dumps(char)[1:-1] if unicodedata.category(char) in _HIDDEN else char


def _json_value(name: str, value: Any) -> Any:
    if name == "attributes":
        try:
            return msgspec.Raw(msgspec.json.format(value.encode(), indent=-1))
        except msgspec.DecodeError:
            return value  # never JSON in a vault of ours; if it is damaged, it is shown as text
    return value


def _width(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
