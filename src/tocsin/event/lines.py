"""A frame as JSON lines: the canonical JSON of ``codecs``, a whole column at a time."""

from __future__ import annotations

import json
from typing import Any

import polars as pl

from tocsin.event.batch import SCHEMA
from tocsin.event.codecs.json import dump
from tocsin.event.schema import NAMES, Type

__all__ = ["json_lines"]

#: What needs no escape in JSON wherever it stands; all else passes through ``dump``.
_TEXT_UNSAFE = r"[^ !#-\[\]-~]"
_JSON_UNSAFE = r"[^ -~]"


def json_lines(frame: pl.DataFrame) -> bytes:
    """Each row of *frame* as the line that the JSON codec would write, with a new line after it.

    Canonical columns in canonical order come first; others (``seq``) follow as they are.
    """
    if not frame.height:
        return b""
    names = [n for n in SCHEMA if n in frame.columns]
    names += [n for n in frame.columns if n not in SCHEMA]
    fields = [_field(frame[n]) for n in names]
    whole = pl.concat_str(fields, ignore_nulls=True).str.strip_prefix(",")
    lines = pl.select(pl.concat_str(pl.lit("{"), whole, pl.lit("}")).alias("line"))["line"]
    return ("\n".join(lines.to_list()) + "\n").encode()


def _field(column: pl.Series) -> pl.Expr:
    """``,"name":value`` for each row, null where the value is."""
    key = pl.lit(f',"{column.name}":')
    return pl.concat_str(key, _value(column), ignore_nulls=False)


def _value(column: pl.Series) -> pl.Expr:
    kind = NAMES[column.name].type if column.name in NAMES else None
    if kind is Type.TIME or isinstance(column.dtype, pl.Datetime):
        text = pl.lit(column).dt.to_string("%Y-%m-%dT%H:%M:%S%.f")
        return pl.concat_str(pl.lit('"'), text, pl.lit('Z"'))
    if column.name == "attributes":
        return pl.lit(_safe_json(column))
    if column.dtype == pl.String:
        return pl.concat_str(pl.lit('"'), pl.lit(_safe_text(column)), pl.lit('"'))
    if isinstance(column.dtype, pl.List):
        return pl.lit(_lists(column))
    return pl.lit(column.cast(pl.String))


def _safe_text(column: pl.Series) -> pl.Series:
    """Inside of the JSON strings; only what needs escapes passes through Python."""
    rows = _matching(column, _TEXT_UNSAFE)
    return column.scatter(rows, [dump(v)[1:-1] for v in column.gather(rows)]) if rows else column


def _safe_json(column: pl.Series) -> pl.Series:
    rows = _matching(column, _JSON_UNSAFE)
    if not rows:
        return column
    return column.scatter(rows, [dump(json.loads(v)) for v in column.gather(rows)])


def _lists(column: pl.Series) -> pl.Series:
    values: list[Any] = column.to_list()
    texts = [None if v is None else dump(v) for v in values]
    return pl.Series(column.name, texts, dtype=pl.String)


def _matching(column: pl.Series, pattern: str) -> list[int]:
    return column.str.contains(pattern).fill_null(value=False).arg_true().to_list()
