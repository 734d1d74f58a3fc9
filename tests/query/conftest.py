"""Shelves in memory that tell the exact truth about themselves, and count how they are read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import polars as pl
import pytest

from tocsin.event import Event
from tocsin.event.batch import from_events


@dataclass
class MemoryShelf:
    """A shelf whose bounds and filters are as tight as they may be: pruning too much shows."""

    first_seq: int
    frame: pl.DataFrame
    scans: int = 0
    asked: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    name = "memory"

    @property
    def rows(self) -> int:
        return self.frame.height

    @property
    def time_min(self) -> int:
        return min(self._times())

    @property
    def time_max(self) -> int:
        return max(self._times())

    @property
    def columns(self) -> frozenset[str]:
        return frozenset(self.frame.columns)

    def scan(self) -> pl.LazyFrame:
        self.scans += 1
        seqs = pl.int_range(self.first_seq, self.first_seq + self.rows, dtype=pl.Int64)
        return self.frame.lazy().select(seqs.alias("seq"), pl.all())

    def maybe(self, column: str, value: str) -> bool:
        assert column in self.frame.columns, "a filter is only asked for what is there"
        self.asked.append((column, value))
        values = self.frame[column]
        return value in (values.explode() if isinstance(values.dtype, pl.List) else values)

    def _times(self) -> list[int]:
        return self.frame["time"].dt.epoch("ns").to_list()


@pytest.fixture(scope="session")
def shelve() -> Callable[..., list[MemoryShelf]]:
    """Lay events on shelves, cut at the given places; the first event gets seq *start*."""

    def lay(events: Sequence[Event], cuts: Iterable[int] = (), start: int = 0) -> list[MemoryShelf]:
        edges = [0, *sorted(set(cuts)), len(events)]
        pairs = [(a, b) for a, b in pairwise(edges) if a < b]
        return [MemoryShelf(start + a, from_events(events[a:b])) for a, b in pairs]

    return lay
