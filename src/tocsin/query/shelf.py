"""What the planner asks of stored events: the shelves of a vault, newest first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

import polars as pl

from tocsin.errors import Damaged
from tocsin.query.narrow import Known, narrow
from tocsin.query.nodes import LATEST, NOTHING, Instant, Node, Range, conjunction

__all__ = ["Shelf", "between", "collected", "relevant"]


class Shelf(Protocol):
    """Some consecutive entries of a vault that can be read, sealed or not.

    Of two shelves the one with the higher ``first_seq`` holds only higher seqs.
    """

    @property
    def name(self) -> str:
        """Where its entries are kept, as people find it."""
        ...

    @property
    def first_seq(self) -> int:
        """The lowest seq it may hold."""
        ...

    @property
    def rows(self) -> int:
        """How many entries it holds."""
        ...

    @property
    def time_min(self) -> int:
        """A lower bound of the event times, ns."""
        ...

    @property
    def time_max(self) -> int:
        """An upper bound of the event times, ns."""
        ...

    @property
    def columns(self) -> frozenset[str]:
        """Canonical columns that are not wholly null."""
        ...

    def scan(self) -> pl.LazyFrame:
        """The columns and ``seq``, rows ascending by seq."""
        ...

    def maybe(self, column: str, value: str) -> bool:
        """False only if *value* certainly does not occur in *column*."""
        ...


def collected(shelf: Shelf, rows: pl.LazyFrame) -> pl.DataFrame:
    """The rows of a question put to *shelf*; :class:`Damaged` when they cannot be read."""
    try:
        return rows.collect(engine="streaming")
    except (pl.exceptions.PolarsError, OSError) as error:
        last = shelf.first_seq + shelf.rows - 1
        raise Damaged(
            f"{shelf.name}: its entries {shelf.first_seq} to {last} cannot be read: "
            f"{str(error).splitlines()[0]}; tocsin verify tells what is damaged"
        ) from error


def between(node: Node, since: int | None, until: int | None) -> Node:
    """*node*, and ``since <= time < until``."""
    if since is None and until is None:
        return node
    low = None if since is None else Instant(since)
    high = None if until is None else Instant(until)
    return conjunction([Range("time", low, high, open_high=True), node])


def relevant(node: Node, shelves: Iterable[Shelf], now: int) -> Iterator[tuple[Shelf, Node]]:
    """The shelves that can hold a match, newest first, each with the question left for it."""
    end = LATEST
    for shelf in sorted(shelves, key=lambda s: s.first_seq, reverse=True):
        known = Known(
            columns=frozenset(shelf.columns),
            time=(shelf.time_min, shelf.time_max),
            seq=(shelf.first_seq, end),
            maybe=shelf.maybe,
        )
        end = shelf.first_seq - 1
        rest = narrow(node, known, now)
        if shelf.rows and rest != NOTHING:
            yield shelf, rest
