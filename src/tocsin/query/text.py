"""How wide text is, how moments are written, and what must not be printed as it is."""

from __future__ import annotations

import unicodedata

import polars as pl

__all__ = ["HIDDEN", "columns_wide", "instants"]

#: What moves the cursor, reverses the text or cannot be seen.
HIDDEN = r"[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]"


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


def _width(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
