"""Whole columns put into small frames without a query.

Polars plans, optimises and collects every ``with_columns``: thirty microseconds, whatever the
frame.  Where the columns exist already, that is most of the cost of a batch of a thousand rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import polars as pl

from tocsin.event.batch import SCHEMA

__all__ = ["canonical", "constant", "put"]

_ALWAYS = frozenset({"time", "observed", "kind"})


def put(frame: pl.DataFrame, *columns: pl.Series) -> pl.DataFrame:
    """*frame* with *columns* in place of those of the same names, or after all others.

    >>> put(pl.DataFrame({"a": [1], "b": [2]}), pl.Series("a", [3]), pl.Series("c", [4])).row(0)
    (3, 2, 4)
    """
    out = frame.clone()  # shares its columns
    for column in columns:
        if column.name in out.columns:
            out.replace_column(out.get_column_index(column.name), column)
        else:
            out.insert_column(out.width, column)
    return out


def constant(name: str, value: str, height: int) -> pl.Series:
    """A column that says *value* in every row."""
    return pl.Series(name, [value], dtype=pl.String).new_from_index(0, height)


def canonical(columns: Iterable[pl.Series], *, also: Sequence[str] = ()) -> pl.DataFrame:
    """Canonical order, canonical types, and no column without a value; then those in *also*."""
    found = {column.name: column for column in columns}
    kept = [
        found[name].cast(dtype) if found[name].dtype != dtype else found[name]
        for name, dtype in SCHEMA.items()
        if name in found and (name in _ALWAYS or found[name].null_count() < len(found[name]))
    ]
    kept += [found[name] for name in also if name in found]
    return pl.DataFrame(kept)
