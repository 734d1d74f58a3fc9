"""Followers: everyone downstream reads the log in order, at their own pace, and never misses a row.

The same small function serves a restart, a back-test, a new index and a receiver that was down.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Protocol

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from tocsin.catalog import cursors as table
from tocsin.errors import Damaged
from tocsin.event.batch import Entries

__all__ = ["BATCH", "CatalogCursors", "Follower", "Log", "catch_up"]

#: Rows that a follower is given at once, at most.
BATCH = 65_536


class Follower(Protocol):
    """Takes entries, in order.  Raise, and they come again; a repeat must do no harm."""

    @property
    def name(self) -> str:
        """Under which its place in the log is kept."""
        ...

    def follow(self, entries: Entries) -> None:
        """Take *entries*; when this returns, they are taken for good."""
        ...


class Log(Protocol):
    """What can be followed."""

    @property
    def next_seq(self) -> int:
        """The seq after the last durable row."""
        ...

    def read(self, start: int, limit: int) -> Entries:
        """The first rows at or after *start*, at most *limit*; none only at the end."""
        ...


def catch_up(
    follower: Follower, log: Log, cursors: MutableMapping[str, int], batch: int = BATCH
) -> int:
    """Give *follower* all that the log holds now and it has not taken; how many rows that was.

    The cursor moves only after ``follow`` returns: a crash in between gives the same rows again.
    A cursor beyond the log's end is never "nothing to do": the storage forgot rows that it had
    called durable, and that is said.
    """
    at, end, taken = cursors.get(follower.name, 0), log.next_seq, 0
    if at > end:
        raise Damaged(
            f"follower {follower.name!r} has taken rows up to seq {at - 1}, but the log ends at "
            f"{end - 1}: the storage lost {at - end} rows it had called durable; restore the "
            "vault from a backup, or reset the follower"
        )
    while at < end:
        entries = log.read(at, min(batch, end - at))
        if len(entries):
            follower.follow(entries)
        at = entries.next_seq if len(entries) else end
        cursors[follower.name] = at
        taken += len(entries)
    return taken


class CatalogCursors(MutableMapping[str, int]):
    """Each follower's place, kept in the catalog.  An assignment is durable when it returns."""

    def __init__(self, catalog: sa.Engine) -> None:
        self._catalog = catalog

    def __getitem__(self, name: str) -> int:
        with self._catalog.connect() as connection:
            seq: int | None = connection.scalar(sa.select(table.c.seq).where(table.c.name == name))
        if seq is None:
            raise KeyError(name)
        return seq

    def __setitem__(self, name: str, seq: int) -> None:
        row = insert(table).values(name=name, seq=seq)
        with self._catalog.begin() as connection:
            connection.execute(row.on_conflict_do_update(["name"], set_={"seq": seq}))

    def __delitem__(self, name: str) -> None:
        with self._catalog.begin() as connection:
            if not connection.execute(sa.delete(table).where(table.c.name == name)).rowcount:
                raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        with self._catalog.connect() as connection:
            names = connection.scalars(sa.select(table.c.name).order_by(table.c.name)).all()
        return iter(names)

    def __len__(self) -> int:
        return len(list(iter(self)))
