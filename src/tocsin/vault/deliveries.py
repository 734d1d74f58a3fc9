"""Which batches were taken: a sender that repeats one gets the first answer, not a second copy.

Remembered are, for each source, the batches of the last 24 hours and at most the last 100,000.
A repeat that comes later than that is a new delivery.  Names and contents of batches are kept as
keyed hashes: a name may be a secret, and who knows most of a line could try out the rest.
"""

from __future__ import annotations

import hmac
from collections import OrderedDict
from typing import NamedTuple

import sqlalchemy as sa

from tocsin.catalog import deliveries as table
from tocsin.errors import KeyMissing
from tocsin.vault.keys import KeyRing

__all__ = ["KEPT_A_SOURCE", "KEPT_NS", "Deliveries", "Marks", "Taken", "agree", "load", "prune"]

KEPT_NS = 24 * 3600 * 10**9
KEPT_A_SOURCE = 100_000


class Taken(NamedTuple):
    """What became of a batch."""

    first_seq: int
    rows: int
    at: int  #: wall clock, ns
    content: str | None = None  #: the mark of the body it came in, if that is known


class Marks:
    """Keyed hashes of names and contents, under a key of the vault's own."""

    def __init__(self, ring: KeyRing) -> None:
        try:
            self._key = ring.get("deliveries")
        except KeyMissing:
            self._key = ring.create("deliveries")

    def name(self, batch_id: str) -> str:
        """The mark of a batch's name."""
        return self._mark(b"name\n", batch_id.encode("utf-8", "surrogatepass"))

    def content(self, digest: bytes) -> str:
        """The mark of a body with this digest."""
        return self._mark(b"content\n", digest)

    def _mark(self, kind: bytes, data: bytes) -> str:
        return hmac.digest(self._key, b"tocsin batch " + kind + data, "sha256")[:16].hex()


def agree(one: str | None, other: str | None) -> bool:
    """Whether two marks of contents are of the same, as far as anybody can know."""
    return one is None or other is None or one == other


class Deliveries:
    """The memory of batches.  Not thread-safe: the vault's lock is."""

    def __init__(self, kept: int = KEPT_A_SOURCE, kept_ns: int = KEPT_NS) -> None:
        self._sources: dict[str, OrderedDict[str, Taken]] = {}
        self._kept = kept
        self._kept_ns = kept_ns

    def get(self, source: str, batch_id: str) -> Taken | None:
        """What became of this batch, if it was taken before."""
        batches = self._sources.get(source)
        return batches.get(batch_id) if batches else None

    def add(self, source: str, batch_id: str, taken: Taken) -> None:
        """Remember a batch, and forget those that are too old or too many."""
        batches = self._sources.setdefault(source, OrderedDict())
        batches.setdefault(batch_id, taken)
        while len(batches) > self._kept:
            batches.popitem(last=False)
        while batches and next(iter(batches.values())).at < taken.at - self._kept_ns:
            batches.popitem(last=False)

    def __len__(self) -> int:
        return sum(map(len, self._sources.values()))


def load(catalog: sa.Engine, now: int) -> Deliveries:
    """The batches that are sealed and not yet forgotten."""
    known = Deliveries()
    wanted = sa.select(table).where(table.c.at >= now - KEPT_NS).order_by(table.c.at)
    with catalog.connect() as connection:
        for row in connection.execute(wanted):
            taken = Taken(row.first_seq, row.rows, row.at, row.content)
            known.add(row.source, row.batch_id, taken)
    return known


def prune(catalog: sa.Engine, now: int) -> int:
    """Forget sealed batches that are too old; how many."""
    with catalog.begin() as connection:
        return connection.execute(sa.delete(table).where(table.c.at < now - KEPT_NS)).rowcount
