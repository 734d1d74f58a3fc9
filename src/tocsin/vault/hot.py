"""The hot tail: what is durable but not sealed yet, kept in memory for searches and followers."""

from __future__ import annotations

import bisect
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

import polars as pl

from tocsin.event.batch import SCHEMA, Entries, empty

__all__ = ["SHELF_ROWS", "HotShelf", "HotTail", "cut", "join"]

#: Small neighbours are joined up to about this many rows.
SHELF_ROWS = 65_536


def join(frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Frames under one another, with every column that any of them has, in canonical order."""
    if not frames:
        return empty()
    if len(frames) == 1:
        return frames[0]
    if any(frame.columns != frames[0].columns for frame in frames):
        joined = pl.concat(frames, how="diagonal")
        return joined.select(name for name in SCHEMA if name in joined.columns)
    return pl.concat(frames)


@dataclass(slots=True)
class HotShelf:
    """Some neighbouring entries of the hot tail, at least one row, as a search reads them."""

    entries: Entries
    time_min: int = field(init=False)  #: earliest event time, ns
    time_max: int = field(init=False)  #: latest event time, ns
    columns: frozenset[str] = field(init=False)  #: those that are not null throughout

    def __post_init__(self) -> None:
        times = self.entries.frame["time"].to_physical()
        self.time_min, self.time_max = cast("int", times.min()), cast("int", times.max())
        frame = self.entries.frame
        self.columns = frozenset(c.name for c in frame if c.null_count() < len(c))

    @property
    def name(self) -> str:
        """They are in memory as well, and read from there."""
        return "the write-ahead log"

    @property
    def first_seq(self) -> int:
        """The seq of the first row."""
        return self.entries.first_seq

    @property
    def rows(self) -> int:
        """How many rows."""
        return len(self.entries)

    def scan(self) -> pl.LazyFrame:
        """The rows, ascending by ``seq``."""
        seqs = pl.int_range(self.first_seq, self.entries.next_seq, dtype=pl.Int64, eager=True)
        return self.entries.frame.lazy().with_columns(seqs.alias("seq"))

    def maybe(self, column: str, value: str) -> bool:  # noqa: ARG002  one face for all shelves
        """False only if *value* is certainly absent.  Memory is quick to read: no index."""
        return column in self.columns or column not in SCHEMA


class HotTail:
    """Entries from one seq up to the last durable one.  Not thread-safe: the vault's lock is."""

    def __init__(self, next_seq: int) -> None:
        self._entries: deque[Entries] = deque()
        self._sizes: deque[int] = deque()
        self.next_seq = next_seq
        self.bytes = 0

    @property
    def first_seq(self) -> int:
        """The seq from which on this tail has everything."""
        return self._entries[0].first_seq if self._entries else self.next_seq

    @property
    def rows(self) -> int:
        """How many rows."""
        return self.next_seq - self.first_seq

    def append(self, entries: Entries) -> None:
        """Add what became durable just now."""
        assert entries.first_seq == self.next_seq
        size = int(entries.frame.estimated_size())
        self._entries.append(entries)
        self._sizes.append(size)
        self.bytes += size
        self.next_seq = entries.next_seq

    def drop_below(self, seq: int) -> None:
        """Forget what is sealed now."""
        while self._entries and self._entries[0].next_seq <= seq:
            self._entries.popleft()
            self.bytes -= self._sizes.popleft()

    def snapshot(self) -> list[Entries]:
        """All entries, as they are now."""
        return list(self._entries)

    def since(self, seq: int, limit: int) -> list[Entries]:
        """The entries that hold the first *limit* rows at or after *seq*."""
        entries = self.snapshot()
        first = max(bisect.bisect_right(entries, seq, key=lambda e: e.first_seq) - 1, 0)
        found: list[Entries] = []
        for part in entries[first:]:
            if part.first_seq >= seq + limit:
                break
            found.append(part)
        return found

    def replace(self, parts: Sequence[Entries], whole: Entries) -> None:
        """Put *whole* where the neighbours *parts* were, if they are all still here."""
        have = {id(e): i for i, e in enumerate(self._entries)}
        at = have.get(id(parts[0]))
        if at is None or id(parts[-1]) not in have:
            return
        entries, sizes = list(self._entries), list(self._sizes)
        end = at + len(parts)
        size = int(whole.frame.estimated_size())
        self.bytes += size - sum(sizes[at:end])
        self._entries = deque([*entries[:at], whole, *entries[end:]])
        self._sizes = deque([*sizes[:at], size, *sizes[end:]])


def cut(parts: Sequence[Entries], start: int, limit: int) -> Entries:
    """At most *limit* rows from seq *start* on, out of neighbouring *parts*."""
    if not parts:
        return Entries(start, empty())
    start = max(start, parts[0].first_seq)
    frame = join([part.frame for part in parts])
    return Entries(start, frame.slice(start - parts[0].first_seq, limit))
