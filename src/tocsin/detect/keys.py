"""Whom an event counts for: the key of each event, made of what a rule groups by.

Comparison is of exact text.  An event without one of the fields has no key: it counts for nobody,
and that it did not is counted.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import polars as pl

from tocsin.detect.correlate import Ints
from tocsin.detect.fields import Route, resolve
from tocsin.detect.findings import SEPARATOR, entity_type
from tocsin.detect.rule import Leaf, Op
from tocsin.detect.slots import short_key
from tocsin.detect.views import Views, inputs
from tocsin.event import NAMES, Type

__all__ = ["Sight", "by_entity", "code", "column_of", "gather", "keyed", "worded"]


@dataclass(frozen=True, slots=True)
class Sight:
    """What one of a correlation's rules sees: its rows, and what it calls the fields."""

    rows: Ints  #: of the frame, ascending
    route: Route
    fields: tuple[str, ...]


def code(texts: pl.Series) -> tuple[Ints, list[str]]:
    """*texts*, without nulls, as codes of the distinct ones in order of appearance."""
    array = texts.to_arrow(compat_level=pl.CompatLevel.oldest()).dictionary_encode()
    return array.indices.to_numpy(zero_copy_only=False).astype(
        np.int64
    ), array.dictionary.to_pylist()


def column_of(field: str, route: Route) -> str:
    """The column that *field* means, else its own name."""
    if field in NAMES:
        return field
    views = _views(field, route)
    return views[0] if views and views[0] in NAMES else field


@lru_cache(4096)
def _views(field: str, route: Route) -> tuple[str, ...]:
    return resolve(Leaf(field=field, op=Op.PRESENT), route)


@lru_cache(4096)
def _inputs(fields: tuple[str, ...], route: Route) -> frozenset[str]:
    """The columns that *fields* are made of."""
    views = [view for field in fields for view in (column_of(field, route), *_views(field, route))]
    return frozenset(column for view in views for column in inputs(view))


def gather(frame: pl.DataFrame, sights: Sequence[Sight]) -> tuple[Ints, list[pl.Series], int]:
    """The rows of *sights* that have all fields, ascending, their texts, and how many have not.

    A row that several of the rules match counts once, as seen by the first of them.
    """
    taken: list[Ints] = []
    columns: list[list[pl.Series]] = []
    for sight in sights:
        rows, needed = sight.rows, _inputs(sight.fields, sight.route)
        if taken:
            rows = rows[~np.isin(rows, np.concatenate(taken))]
        if len(rows):
            part = _some(frame, needed, rows)
            taken.append(rows)
            columns.append([_texts(part, field, sight.route) for field in sight.fields])
    if not taken:
        return np.empty(0, np.int64), [], 0
    rows = np.concatenate(taken)
    parts = [pl.concat(same) for same in zip(*columns, strict=True)]
    good = np.ones(len(rows), np.bool_)
    for part in parts:
        if part.null_count():
            good &= part.is_not_null().to_numpy()
    lost = len(rows) - int(np.count_nonzero(good))
    if lost:
        rows, parts = rows[good], [part.filter(pl.Series(good)) for part in parts]
    if len(taken) > 1:
        order = np.argsort(rows, kind="stable")
        rows, parts = rows[order], [part.gather(order) for part in parts]
    return rows, parts, lost


def _some(frame: pl.DataFrame, names: Collection[str], rows: Ints) -> pl.DataFrame:
    """*rows* of the columns *names*; where there is none of them, of another: rows are counted."""
    return frame.select([n for n in frame.columns if n in names] or frame.columns[:1])[rows]


def _texts(frame: pl.DataFrame, field: str, route: Route) -> pl.Series:
    """What each row of *frame* has for *field*: its first value as text, or null."""
    name = column_of(field, route)
    if name in frame.columns and NAMES[name].type in (Type.TEXT, Type.INT):
        column = frame.get_column(name)
        if name == field or not column.null_count():
            return column.cast(pl.String)
    views = Views(frame)
    found: list[str | None] = [None] * frame.height
    for view in reversed(_views(field, route)):
        bag = views.bag(view)
        rows, codes = bag.places()
        values = bag.values.to_list()
        # Backwards, so that the first of several values stays.
        for row, at in zip(rows[::-1].tolist(), codes[::-1].tolist(), strict=True):
            found[row] = values[at]
    return pl.Series(found, dtype=pl.String)


def keyed(parts: Sequence[pl.Series], height: int, secret: bytes) -> tuple[Ints, list[str]]:
    """Codes and distinct keys of rows whose fields are *parts*."""
    if not parts:  # nothing to group by: all events count together
        return np.zeros(height, np.int64), [""] if height else []
    codes, found = code(parts[0])
    keys = [_part(k, secret) for k in found]
    for part in parts[1:]:
        more, found = code(part)
        texts = [_part(t, secret) for t in found]
        pairs, first, back = np.unique(
            codes * max(1, len(texts)) + more, return_index=True, return_inverse=True
        )
        order = np.argsort(first, kind="stable")
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        keys = [
            keys[pair // len(texts)] + SEPARATOR + texts[pair % len(texts)]
            for pair in pairs[order].tolist()
        ]
        codes = place[back]
    return codes, keys


def worded(parts: Sequence[pl.Series], height: int, secret: bytes) -> list[str]:
    """Each row's value: the texts of *parts*, long ones shortened so that they still differ."""
    if len(parts) == 1:
        codes, found = code(parts[0])
        keys = [short_key(text, secret) for text in found]
    else:
        codes, keys = keyed(parts, height, secret)
    return [keys[c] for c in codes.tolist()]


def by_entity(
    frame: pl.DataFrame, rows: Ints, columns: Sequence[str], secret: bytes
) -> tuple[Ints, list[str]]:
    """Codes and keys of *rows*; a key tells its type: the first of *columns* that an event has."""
    part = _some(frame, columns, rows)
    named = [
        pl.lit(entity_type(c) + SEPARATOR)
        + (pl.col(c).list.first() if NAMES[c].type is Type.TEXTS else pl.col(c).cast(pl.String))
        for c in columns
        if c in part.columns
    ]
    unknown = pl.lit(f"source{SEPARATOR}unknown")
    # with_columns, not select: a lone literal would be one row however many there are.
    codes, found = code(part.with_columns(pl.coalesce([*named, unknown]).alias("")).get_column(""))
    keys: list[str] = []
    for key in found:
        kind, _, value = key.partition(SEPARATOR)
        keys.append(kind + SEPARATOR + _part(value, secret))
    return codes, keys


def _part(text: str, secret: bytes) -> str:
    if "\0" in text or "\\" in text:
        text = text.replace("\\", "\\\\").replace("\0", "\\0")
    return short_key(text, secret)
