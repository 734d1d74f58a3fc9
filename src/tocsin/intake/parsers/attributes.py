"""Writing what has no column of its own as one JSON object a row."""

from __future__ import annotations

import re
from collections.abc import Mapping

import polars as pl

__all__ = ["PLAIN_KEY", "pack"]

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
