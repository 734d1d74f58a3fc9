"""Rows that match, newest first, shelf by shelf, so that the first come before the last are read.

Order is by seq, the vault's order of arrival; event times may cross.  In each shelf the question is
first decided on the columns that it needs; the others are read only around the rows that matched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import polars as pl

from tocsin.errors import UsageError
from tocsin.event.batch import SCHEMA, Entries
from tocsin.query.compile import mask
from tocsin.query.fields import SEQ, column_of, find_field
from tocsin.query.narrow import Known, narrow
from tocsin.query.nodes import EVERYTHING, Node
from tocsin.query.reader import parse
from tocsin.query.shelf import Shelf, between, collected, relevant

__all__ = ["Predicate", "chosen_columns", "predicate", "search"]

CHUNK = 65_536  #: rows of a frame at most: what is held in memory with all columns

Predicate = Callable[[Entries], pl.DataFrame]


def search(
    text: str,
    shelves: Iterable[Shelf],
    *,
    now: int,
    since: int | None = None,
    until: int | None = None,
    limit: int = 100,
    columns: Sequence[str] | None = None,
) -> Iterator[pl.DataFrame]:
    """The newest *limit* entries (0: all) that match *text*, in frames, newest first.

    Each frame has ``seq`` and the canonical columns that its shelf holds, or exactly *columns*.
    Times are ns; ``since <= time < until``.  A wrong *text* raises at once, not at the first frame.
    """
    if limit < 0:
        raise UsageError(f"limit {limit}: it is a number of entries, or 0 for all")
    node = between(parse(text), since, until)
    names = None if columns is None else chosen_columns(columns)
    return _found(node, shelves, now, limit, names)


def predicate(text: str, *, now: int) -> Predicate:
    """A function that keeps the matching rows of entries, with their ``seq``, in their order.

    *now* is what ``now-15m`` counts from, once and for all.
    """
    node = parse(text)

    def matching(entries: Entries) -> pl.DataFrame:
        frame = entries.frame
        columns = frozenset(frame.columns)
        last = entries.next_seq - 1
        rest = narrow(node, Known(columns=columns, seq=(entries.first_seq, last)), now)
        seqs = pl.int_range(entries.first_seq, entries.next_seq, dtype=pl.Int64).alias(SEQ)
        return frame.lazy().select(seqs, pl.all()).filter(mask(rest, columns, now)).collect()

    return matching


def chosen_columns(names: Iterable[str]) -> list[str]:
    """Canonical names of the columns that people ask for, aliases resolved, each once."""
    found = dict.fromkeys(column_of(find_field(name, column=1)) for name in names)
    return list(found)


def _found(
    node: Node, shelves: Iterable[Shelf], now: int, limit: int, names: list[str] | None
) -> Iterator[pl.DataFrame]:
    left = limit
    for shelf, rest in relevant(node, shelves, now):
        seqs = _hits(shelf, rest, now)
        if limit:
            seqs = seqs.tail(left)
            left -= len(seqs)
        for end in range(len(seqs), 0, -CHUNK):
            yield _rows(shelf, seqs[max(0, end - CHUNK) : end], names)
        if limit and not left:
            return


def _hits(shelf: Shelf, rest: Node, now: int) -> pl.Series:
    """Seqs of the rows that match, ascending."""
    rows = shelf.scan()
    if rest != EVERYTHING:
        rows = rows.filter(mask(rest, frozenset(shelf.columns), now))
    return collected(shelf, rows.select(SEQ)).to_series()


def _rows(shelf: Shelf, seqs: pl.Series, names: list[str] | None) -> pl.DataFrame:
    """The rows *seqs*, descending.  The bounds come first: with them most is not even decoded."""
    low, high = seqs[0], seqs[-1]
    near = pl.col(SEQ).is_between(low, high)
    if high - low + 1 != len(seqs):
        near &= pl.col(SEQ).is_in(seqs.implode())
    have = shelf.columns
    wanted = (n for n in (SCHEMA if names is None else names) if n != SEQ)
    if names is None:
        picked = [pl.col(SEQ), *(pl.col(n) for n in wanted if n in have)]
    else:
        picked = [pl.col(SEQ), *(_column(n, have) for n in wanted)]
    return collected(shelf, shelf.scan().filter(near).select(picked)).sort(SEQ, descending=True)


def _column(name: str, have: frozenset[str]) -> pl.Expr:
    return pl.col(name) if name in have else pl.lit(None, dtype=SCHEMA[name]).alias(name)
