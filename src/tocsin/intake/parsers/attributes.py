"""Writing what has no column of its own as one JSON object a row."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec
import polars as pl

__all__ = ["PLAIN_KEY", "merged", "pack", "packed"]

#: A key that needs no escape in JSON.
PLAIN_KEY = re.compile(r"[A-Za-z0-9_.@/-]+")


def pack(columns: Mapping[str, pl.Series]) -> pl.Series:
    """The rows of *columns* as JSON objects without nulls; null where nothing is left.

    Keys have to match :data:`PLAIN_KEY`.

    >>> pack({"a": pl.Series([1, None]), "b": pl.Series(["x", None])}).to_list()
    ['{"a":1,"b":"x"}', None]
    """
    some = {key: values for key, values in columns.items() if values.is_not_null().any()}
    if not some:
        height = max((len(values) for values in columns.values()), default=0)
        return pl.repeat(None, height, dtype=pl.String(), eager=True)
    frame = pl.DataFrame([values.alias(key) for key, values in some.items()])
    text = frame.select(pl.struct(pl.all()).struct.json_encode()).to_series()
    holey = [key for key, values in some.items() if values.has_nulls()]
    if not holey:
        return text
    # A quote inside of a value is escaped, so this can only be a key that has no value.
    keys = "|".join(re.escape(key) for key in holey)
    text = text.str.replace_all(f'"(?:{keys})":null,?', "").str.replace(",}$", "}")
    return text.replace("{}", None)


def packed(columns: Mapping[str, Sequence[Any] | pl.Series], height: int) -> pl.Series:
    """The same of whatever keys and values, *height* rows of them.

    >>> packed({"a b": [1, None], "c": [[2], None]}, 2).to_list()
    ['{"a b":1,"c":[2]}', None]
    """
    series = {key: values for key, values in columns.items() if isinstance(values, pl.Series)}
    if len(series) == len(columns) and all(map(PLAIN_KEY.fullmatch, columns)):
        return pack(series) if series else pl.repeat(None, height, dtype=pl.String(), eager=True)
    out: list[str | None] = []
    for values in zip(*columns.values(), strict=True):
        kept = {k: v for k, v in zip(columns, values, strict=True) if v is not None}
        out.append(msgspec.json.encode(kept).decode() if kept else None)
    return pl.Series(out, dtype=pl.String)


def merged(own: pl.Series, more: pl.Series, *, keys: Collection[str] | None = None) -> pl.Series:
    """The objects in *own* with what those in *more* say under other names.

    Give the *keys* of *more* if they are known: then only rows that use one are looked into.

    >>> merged(pl.Series(['{"a":1}', None]), pl.Series(['{"a":2,"b":3}', '{"b":4}'])).to_list()
    ['{"a":1,"b":3}', '{"b":4}']
    """
    both = own.is_not_null() & more.is_not_null()
    out = own.zip_with(own.is_not_null(), more)
    if not both.any():
        return out
    clash = both
    if keys is not None:
        clash = both & own.str.contains_any([f'"{key}":' for key in keys])
        joined = own.str.strip_suffix("}") + "," + more.str.strip_prefix("{")
        out = joined.zip_with(both & ~clash, out)
    rows = clash.arg_true()
    decode = msgspec.json.decode
    texts = [
        msgspec.json.encode({**decode(more[row]), **decode(own[row])}).decode() for row in rows
    ]
    return out.scatter(rows, texts) if texts else out
