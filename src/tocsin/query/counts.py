"""How many, when, and of which: counts, histograms and most frequent values.

They read only the columns that decide; a shelf that lies wholly inside one bucket, with nothing
left to decide, is not read at all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

import polars as pl

from tocsin.errors import UsageError
from tocsin.event import Type
from tocsin.event.batch import DTYPES
from tocsin.query.compile import mask
from tocsin.query.fields import SEQ, Form, find_field, form_of
from tocsin.query.narrow import time_hull
from tocsin.query.nodes import DAY, EARLIEST, EVERYTHING, LATEST, MINUTE, SECOND, Node
from tocsin.query.reader import parse
from tocsin.query.shelf import Shelf, between, collected, relevant

__all__ = ["MAX_BUCKETS", "count", "histogram", "top"]

_DECADES: list[int] = [n * 10**power for power in range(6) for n in (1, 2, 5)]
_WIDTHS: list[int] = [
    *(n * 1000**power for power in range(3) for n in (1, 2, 5, 10, 20, 50, 100, 200, 500)),
    *(n * SECOND for n in (1, 2, 5, 10, 15, 30)),
    *(n * MINUTE for n in (1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720)),
    *(n * DAY for n in _DECADES),
]

MAX_BUCKETS = 10_000

_LISTS = frozenset({Form.TEXTS, Form.IDS})
_VALUE, _COUNT, _BUCKET = "value", "count", "bucket"


def count(
    text: str,
    shelves: Iterable[Shelf],
    *,
    now: int,
    since: int | None = None,
    until: int | None = None,
) -> int:
    """How many entries match *text* with ``since <= time < until``."""
    node = between(parse(text), since, until)
    total = 0
    for shelf, rest in relevant(node, shelves, now):
        total += shelf.rows if rest == EVERYTHING else _matching(shelf, rest, now)
    return total


def top(
    field: str,
    text: str,
    shelves: Iterable[Shelf],
    *,
    now: int,
    n: int = 10,
    since: int | None = None,
    until: int | None = None,
) -> pl.DataFrame:
    """The *n* most frequent values of *field* among what matches: ``value`` (text), ``count``.

    Exact.  The members of a list count one by one; entries without a value do not count.
    """
    name = _groupable(field, lists=True)
    node = between(parse(text), since, until)
    best = _most(_totals(name, node, shelves, now), n)
    return pl.DataFrame(best, schema={_VALUE: pl.String, _COUNT: pl.Int64}, orient="row")


def histogram(
    text: str,
    shelves: Iterable[Shelf],
    *,
    now: int,
    since: int | None = None,
    until: int | None = None,
    buckets: int = 60,
    width: int | None = None,
    by: str | None = None,
    n: int = 5,
) -> pl.DataFrame:
    """Counts over event time: ``start`` and ``count``, one row a bucket, empty ones too.

    The range is *since* to *until*, else what the search itself says about ``time``, else all that
    is there.  Buckets are as long as people count (1, 2, 5, 10, 15, 30 s ...), begin at multiples
    of that, and are at most *buckets*; or each is *width* ns long.  With *by* there is a row for
    each bucket and each of the *n* most frequent values (``value``), and one for all the rest,
    where ``value`` is null.
    """
    if not 1 <= buckets <= MAX_BUCKETS:
        raise UsageError(f"buckets {buckets}: from 1 to {MAX_BUCKETS} can be drawn")
    name = None if by is None else _groupable(by, lists=False)
    every = list(shelves)
    node = between(parse(text), since, until)
    start, end = _range(node, every, now)
    node = between(node, start, end)
    width = _width(start, end, buckets) if width is None else _checked(width, start, end)
    start = max(EARLIEST, start - start % width)
    named = [] if name is None else _named(name, node, every, now, n)
    totals: Counter[tuple[int, str | None]] = Counter()
    for shelf, rest in relevant(node, every, now):
        totals.update(_over_time(shelf, rest, now, (start, width), name, named))
    values = [None] if name is None else [*named, None]
    frame = pl.DataFrame(
        [
            (start + i * width, value, totals[i, value])
            for i in range(-(-(end - start) // width))
            for value in values
        ],
        schema={"start": pl.Int64, _VALUE: pl.String, _COUNT: pl.Int64},
        orient="row",
    ).with_columns(pl.col("start").cast(DTYPES[Type.TIME]))
    return frame.drop(_VALUE) if name is None else frame


def _range(node: Node, shelves: list[Shelf], now: int) -> tuple[int, int]:
    """First nanosecond of the axis, and the first one after it."""
    low, high = time_hull(node, now)
    start = low if low > EARLIEST else min((s.time_min for s in shelves), default=now)
    last = high if high < LATEST else max((s.time_max for s in shelves), default=now)
    end = max(start, last) + 1
    if end - start > LATEST:
        raise UsageError("the histogram would span more than 292 years; narrow its time range")
    return start, end


def _width(start: int, end: int, buckets: int) -> int:
    """The shortest round length of which *buckets* suffice.

    >>> _width(0, 15 * MINUTE, 60) // SECOND, _width(0, 7 * DAY, 100) // MINUTE
    (15, 120)
    """
    return next(w for w in _WIDTHS if -(-end // w) - start // w <= buckets)


def _checked(width: int, start: int, end: int) -> int:
    if width < 1:
        raise UsageError(f"buckets of {width} ns: a length of time is longer than nothing")
    if -(-end // width) - start // width > MAX_BUCKETS:
        raise UsageError(
            f"more than {MAX_BUCKETS} buckets; make them longer, or the time range shorter"
        )
    return width


def _named(name: str, node: Node, shelves: list[Shelf], now: int, n: int) -> list[str]:
    return [value for value, _ in _most(_totals(name, node, shelves, now), n)]


def _totals(name: str, node: Node, shelves: Iterable[Shelf], now: int) -> Counter[str]:
    totals: Counter[str] = Counter()
    for shelf, rest in relevant(node, shelves, now):
        if name in shelf.columns:
            totals.update(dict(_values(shelf, rest, name, now)))
    return totals


def _most(totals: Counter[str], n: int) -> list[tuple[str, int]]:
    # Ties go by value: the same question always has the same answer.
    return sorted(totals.items(), key=lambda item: (-item[1], item[0]))[:n]


def _over_time(
    shelf: Shelf,
    rest: Node,
    now: int,
    axis: tuple[int, int],
    name: str | None,
    named: list[str],
) -> dict[tuple[int, str | None], int]:
    """Counts of *shelf* by bucket and value; ``None`` is any other value, or none."""
    start, width = axis
    first, last = ((t - start) // width for t in (shelf.time_min, shelf.time_max))
    present = name is not None and name in shelf.columns
    if rest == EVERYTHING and first == last and not present:
        return {(first, None): shelf.rows}
    bucket = ((pl.col("time").dt.epoch("ns") - start) // width).alias(_BUCKET)
    value = _text(name) if present and name else pl.lit(None, dtype=pl.String)
    rows = (
        _kept(shelf, rest, now)
        .select(bucket, value.alias(_VALUE))
        .with_columns(pl.when(pl.col(_VALUE).is_in(named)).then(pl.col(_VALUE)))
        .group_by(_BUCKET, _VALUE)
        .len()
    )
    return {(b, v): c for b, v, c in collected(shelf, rows).iter_rows()}


def _values(shelf: Shelf, rest: Node, name: str, now: int) -> Iterator[tuple[str, int]]:
    texts = _kept(shelf, rest, now).select(_text(name).alias(_VALUE)).drop_nulls()
    yield from collected(shelf, texts.group_by(_VALUE).len()).iter_rows()


def _matching(shelf: Shelf, rest: Node, now: int) -> int:
    found: int = collected(shelf, _kept(shelf, rest, now).select(pl.len())).item()
    return found


def _kept(shelf: Shelf, rest: Node, now: int) -> pl.LazyFrame:
    rows = shelf.scan()
    return rows if rest == EVERYTHING else rows.filter(mask(rest, frozenset(shelf.columns), now))


def _text(name: str) -> pl.Expr:
    column = pl.col(name)
    return column.explode() if form_of(name) in _LISTS else column.cast(pl.String)


def _groupable(field: str, *, lists: bool) -> str:
    name = find_field(field, column=1)
    form = form_of(name)
    if name == SEQ or form in (Form.TIME, Form.ATTRIBUTE) or (form in _LISTS and not lists):
        raise UsageError(f"{field}: a {form} cannot be grouped by here; text and numbers can")
    return name
