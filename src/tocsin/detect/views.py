"""The text behind a rule's fields: views of one frame's rows, worked out when first asked for.

Every view is a :class:`Bag`: which values occur in which rows.  Null is having no value in the
bag, so nothing downstream needs to know of it; a list column or an array in ``attributes`` puts
several values into one row.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from typing import Any, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from tocsin.detect.percent import decode
from tocsin.event import NAMES, Type

__all__ = ["Bag", "Bools", "Integers", "Ints", "Views", "inputs", "number"]

Ints: TypeAlias = npt.NDArray[np.int64]
Bools: TypeAlias = npt.NDArray[np.bool_]

#: A column is looked at value by value, not row by row, when a sample repeats itself this much.
_SAMPLE, _REPETITIVE = 256, 0.5


#: Below so many values Python is through before Polars has begun.
_PLAIN = 1_000


_NO_TEXT = pl.Series([], dtype=pl.String)
_NO_ROWS: Ints = np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class Bag:
    """Which values occur in which of *height* rows.

    Occurrence ``k`` is of value ``codes[k]`` (``k`` without codes) in row ``rows[k]`` (``k``).
    """

    height: int
    values: pl.Series  #: text, no nulls
    rows: Ints | None = None
    codes: Ints | None = None

    @cached_property
    def low(self) -> pl.Series:
        """The values as ``str.lower`` has them."""
        return lower(self.values)

    def spread(self, values: Bools) -> Bools:
        """The rows that hold one of the *values* that are true."""
        hits = values if self.codes is None else values[self.codes]
        if self.rows is None:
            return hits
        found = np.zeros(self.height, dtype=np.bool_)
        found[self.rows[hits]] = True
        return found

    def present(self) -> Bools:
        """The rows that hold any value."""
        if self.rows is None:
            return np.ones(self.height, dtype=np.bool_)
        found = np.zeros(self.height, dtype=np.bool_)
        found[self.rows] = True
        return found

    def within(self, alive: Bools) -> Bools:
        """The values that occur in a row of *alive*."""
        hits = alive if self.rows is None else alive[self.rows]
        if self.codes is None:
            return hits
        found = np.zeros(len(self.values), dtype=np.bool_)
        found[self.codes[hits]] = True
        return found

    def take(self, wanted: Ints) -> Bag:
        """The same of some rows only, which ascend and are counted anew."""
        if self.rows is None:
            codes = wanted if self.codes is None else self.codes[wanted]
            return Bag(len(wanted), self.values.gather(codes))
        if not len(self.rows):
            return Bag(len(wanted), _NO_TEXT, _NO_ROWS)
        local = np.searchsorted(wanted, self.rows)
        kept = wanted[np.minimum(local, len(wanted) - 1)] == self.rows
        codes = np.flatnonzero(kept) if self.codes is None else self.codes[kept]
        return Bag(len(wanted), self.values.gather(codes), local[kept])

    def places(self) -> tuple[Ints, Ints]:
        """Row and value index of every occurrence."""
        count = len(self.values) if self.codes is None else len(self.codes)
        rows = np.arange(count) if self.rows is None else self.rows
        return rows, np.arange(count) if self.codes is None else self.codes


@dataclass(frozen=True)
class Integers:
    """A column of integers."""

    values: Ints  #: 0 where there is none
    known: Bools


def lower(values: pl.Series) -> pl.Series:
    """*values* as Python's ``str.lower`` has them.  Unicode's edges differ between libraries."""
    if len(values) < _PLAIN:
        return pl.Series([v.lower() for v in values.to_list()], dtype=pl.String)
    wide = values.str.len_bytes() != values.str.len_chars()
    low = values.str.to_lowercase()
    at = np.flatnonzero(wide.to_numpy())
    if not len(at):
        return low
    return low.scatter(at, [v.lower() for v in values.gather(at)])


def inputs(view: str) -> tuple[str, ...]:
    """The columns that *view* is made of."""
    if view.startswith("attr"):
        return ("attributes",)
    match view.removesuffix("%"):
        case "uri":
            return "path", "query"
        case "url":
            return "scheme", "authority", "path", "query"
        case "extension":
            return ("path",)
        case column:
            return (column,)


class Views:
    """The views of one frame, or of some *rows* of it: what the whole has, the part takes."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self._frame = frame
        self._columns = frozenset(frame.columns)
        self._series: dict[str, pl.Series] = {}
        self._bags: dict[str, Bag] = {}
        self._integers: dict[str, Integers | None] = {}
        self._answers: dict[object, Bools] = {}
        self._whole: Views | None = None
        self._rows = _NO_ROWS

    def part(self, rows: Ints) -> Views:
        """The views of *rows*, which ascend."""
        views = Views(self._frame)
        views._whole, views._rows = self, rows
        return views

    @property
    def height(self) -> int:
        """How many rows there are."""
        return self._frame.height if self._whole is None else len(self._rows)

    def bag(self, view: str) -> Bag:
        """The values of *view*."""
        bag = self._bags.get(view)
        if bag is None:
            whole = None if self._whole is None else self._whole._bags.get(view)
            bag = self._make(view) if whole is None else whole.take(self._rows)
            self._bags[view] = bag
        return bag

    def integers(self, view: str) -> Integers | None:
        """The numbers behind *view*, when it is a column that holds integers."""
        if view not in self._integers:
            self._integers[view] = self._numbers(view)
        return self._integers[view]

    def present(self, view: str) -> Bools:
        """The rows in which *view* has a value."""
        integers = self.integers(view)
        return self.bag(view).present() if integers is None else integers.known

    def answer(self, question: object, work_out: Callable[[], Bools]) -> Bools:
        """What *work_out* says of each row: once, for several rules ask the same *question*."""
        found = self._answers.get(question)
        if found is None:
            whole = None if self._whole is None else self._whole._answers.get(question)
            found = work_out() if whole is None else whole[self._rows]
            found.flags.writeable = False
            self._answers[question] = found
        return found

    def _column(self, name: str) -> pl.Series:
        """Column *name* of these rows."""
        column = self._series.get(name)
        if column is None:
            if self._whole is None:
                column = self._frame.get_column(name)
            else:
                column = self._whole._column(name).gather(self._rows)
            self._series[name] = column
        return column

    def _some(self, names: Iterable[str]) -> pl.DataFrame:
        return pl.DataFrame([self._column(n) for n in names if n in self._columns])

    def _numbers(self, view: str) -> Integers | None:
        column = NAMES.get(view)
        if column is None or column.type is not Type.INT or view not in self._columns:
            return None
        series = self._column(view)
        if not series.null_count():
            return Integers(series.to_numpy(), np.ones(len(series), dtype=np.bool_))
        return Integers(series.fill_null(0).to_numpy(), series.is_not_null().to_numpy())

    def _make(self, view: str) -> Bag:
        if view.startswith("attr:"):
            return self._attribute(tuple(view[5:].split(".")))
        if view == "attr*":
            return self._attribute(None)
        if view.endswith("%"):
            return self._decoded(view[:-1])
        if view in _DERIVED:
            return self._derived(view)
        return self._plain(view)

    def _derived(self, view: str) -> Bag:
        frame = self._some(inputs(view))
        if not frame.width:
            return _nothing(self.height)
        return self._text(frame.select(_DERIVED[view](set(frame.columns))).to_series())

    def _plain(self, name: str) -> Bag:
        if name not in self._columns:
            return _nothing(self.height)
        column = self._column(name)
        match NAMES[name].type:
            case Type.TEXT:
                return self._text(column)
            case Type.INT:
                return self._text(column.cast(pl.String))
            case Type.TIME:
                return self._text(column.dt.strftime("%Y-%m-%dT%H:%M:%S%.9fZ"))
            case Type.TEXTS:
                return _exploded(column)

    def _text(self, column: pl.Series) -> Bag:
        rows = None
        if column.null_count():
            rows = np.flatnonzero(column.is_not_null().to_numpy())
            column = column.drop_nulls()
        return _coded(self.height, column, rows)

    def _decoded(self, view: str) -> Bag:
        """The rows whose decoded form differs from the one on the wire."""
        part = self._some(inputs(view))
        rows = self._escaped
        if not part.width or not len(rows):
            return _nothing(self.height)
        part = part[rows]
        part = part.with_columns(
            _decode(part.get_column(n), plus=n == "query")
            for n in ("path", "query")
            if n in part.columns
        )
        expr = _DERIVED[view](set(part.columns)) if view in _DERIVED else pl.col(view)
        made = part.select(expr).to_series()
        good = made.is_not_null().to_numpy()
        return Bag(self.height, made.drop_nulls(), rows[good])

    @cached_property
    def _escaped(self) -> Ints:
        """The rows that decoding may change."""
        marks = {"path": (37,), "query": (37, 43)}  # % and +
        found = [
            _having(self._column(name), bytes_)
            for name, bytes_ in marks.items()
            if name in self._columns
        ]
        return np.unique(np.concatenate(found)) if found else _NO_ROWS

    def _attribute(self, path: tuple[str, ...] | None) -> Bag:
        rows: list[int] = []
        values: list[str] = []
        for row, record in self._records:
            for value in _scalars(record) if path is None else _at(record, path):
                rows.append(row)
                values.append(value)
        return _coded(
            self.height, pl.Series(values, dtype=pl.String), np.array(rows, dtype=np.int64)
        )

    @cached_property
    def _records(self) -> list[tuple[int, dict[str, Any]]]:
        """Row and decoded ``attributes`` of the rows that have any."""
        if "attributes" not in self._columns:
            return []
        found: list[tuple[int, dict[str, Any]]] = []
        for row, text in enumerate(self._column("attributes")):
            record = _record(text) if text else None
            if record is not None:
                found.append((row, record))
        return found


def _nothing(height: int) -> Bag:
    return Bag(height, _NO_TEXT, _NO_ROWS)


def _coded(height: int, values: pl.Series, rows: Ints | None) -> Bag:
    """A bag of *values*, by distinct value where they repeat themselves."""
    sample = values.head(_SAMPLE)
    if len(values) <= _SAMPLE or sample.n_unique() > _REPETITIVE * _SAMPLE:
        return Bag(height, values, rows)
    array = values.to_arrow(compat_level=pl.CompatLevel.oldest()).dictionary_encode()
    distinct = pl.from_arrow(array.dictionary)
    assert isinstance(distinct, pl.Series)
    codes = array.indices.to_numpy(zero_copy_only=True).astype(np.int64)
    return Bag(height, distinct.cast(pl.String), rows, codes)


def _exploded(column: pl.Series) -> Bag:
    lengths = column.list.len().fill_null(0).to_numpy()
    rows = np.repeat(np.arange(len(column)), lengths)
    values = column.filter(column.list.len().fill_null(0) > 0).explode()
    return _coded(len(column), values, rows)


def _having(column: pl.Series, marks: tuple[int, ...]) -> Ints:
    """The rows of *column* in which one of the bytes *marks* occurs."""
    array = column.to_arrow(compat_level=pl.CompatLevel.oldest())
    _, where, what = array.buffers()
    if what is None or not what.size:
        return _NO_ROWS
    text = np.frombuffer(what, dtype=np.uint8)
    offsets = np.frombuffer(where, dtype=np.int64)[array.offset : array.offset + len(array) + 1]
    at = np.flatnonzero(np.logical_or.reduce([text == mark for mark in marks]))
    at = at[(at >= offsets[0]) & (at < offsets[-1])]
    return np.unique(np.searchsorted(offsets, at, side="right") - 1)


def _decode(column: pl.Series, *, plus: bool) -> pl.Series:
    """Decode the values of *column* that are not null."""
    at = np.flatnonzero(column.is_not_null().to_numpy())
    if len(at) == len(column):
        return decode(column, plus=plus)
    return column.scatter(at, decode(column.gather(at), plus=plus))


# ---------------------------------------------------------------------- derived from path and query


def _uri(have: set[str]) -> pl.Expr:
    """Path and, with its question mark, query; null when there is neither."""
    if "query" not in have:
        return pl.col("path") if "path" in have else pl.lit(None, dtype=pl.String)
    query = pl.lit("?") + pl.col("query")
    if "path" not in have:
        return query.alias("uri")
    both = pl.concat_str([pl.col("path"), query], ignore_nulls=True)
    return pl.when(pl.col("path").is_null() & pl.col("query").is_null()).then(None).otherwise(both)


def _url(have: set[str]) -> pl.Expr:
    """The uri behind scheme and authority, as far as they are known."""
    if "authority" not in have:
        return _uri(have)
    front = pl.col("authority")
    if "scheme" in have:
        front = pl.concat_str([pl.col("scheme") + "://", front], ignore_nulls=True)
    whole = pl.concat_str([front, _uri(have)], ignore_nulls=True)
    return pl.when(pl.col("authority").is_null()).then(_uri(have)).otherwise(whole)


def _extension(have: set[str]) -> pl.Expr:
    """What follows the last dot of the last segment."""
    if "path" not in have:
        return pl.lit(None, dtype=pl.String)
    return pl.col("path").str.extract(r"\.([^./]*)$")


_DERIVED = {"uri": _uri, "url": _url, "extension": _extension}


# ---------------------------------------------------------------------- attributes


def _record(text: str) -> dict[str, Any] | None:
    """*text* as an object; what is none has no keys.

    A number beyond all ranges must not hide its neighbours, so the tolerant reader comes second.
    """
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return None
    return value if isinstance(value, dict) else None


def _at(record: object, path: tuple[str, ...]) -> Iterator[str]:
    """The texts at *path* below *record*, through lists and through keys with dots in them."""
    left: list[tuple[object, tuple[str, ...]]] = [(record, path)]
    while left:
        value, rest = left.pop()
        if isinstance(value, list):
            left.extend((item, rest) for item in reversed(value))
        elif not rest:
            if isinstance(value, dict):
                yield _compact(value)
            elif value is not None:
                yield _text(value)
        elif isinstance(value, dict):
            for cut in range(1, len(rest) + 1):
                key = ".".join(rest[:cut])
                if key in value:
                    left.append((value[key], rest[cut:]))


def _scalars(record: object) -> Iterator[str]:
    """Every text, number and boolean below *record*."""
    left: list[object] = [record]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            left.extend(reversed(value.values()))
        elif isinstance(value, list):
            left.extend(reversed(value))
        elif value is not None:
            yield _text(value)


def _compact(record: dict[str, Any]) -> str:
    try:
        return msgspec.json.encode(record).decode()
    except UnicodeEncodeError:
        return json.dumps(record, separators=(",", ":"))


def _text(value: object) -> str:
    if isinstance(value, str):  # half a surrogate pair, which JSON can escape, is no text
        return value if value.isascii() else value.encode(errors="replace").decode()
    if isinstance(value, bool):
        return "true" if value else "false"
    assert isinstance(value, int | float)
    return number(value)


def number(value: float) -> str:
    """*value* as rules and columns write it: ``404`` for ``404.0`` too."""
    if not isfinite(value):
        return repr(value)
    return str(int(value)) if value == int(value) else repr(value)
