"""What the store asks of the sealer, and what it hears back.  Plain values: they cross a pipe."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

__all__ = ["Recovered", "SealJob", "Sealed"]


class SealJob(Struct, frozen=True):
    """One epoch's worth of the write-ahead log, to be sealed and then removed.

    The rows are exactly ``recover.read_range(paths, first_seq, rows, ...)``; without rows, an empty
    epoch is sealed and *paths*, which then hold nothing that counts, are removed just the same.
    """

    paths: tuple[Path, ...]
    first_seq: int
    rows: int
    wal_cut: int  #: bytes of a torn group that were cut off, for the manifest


class Sealed(Struct, frozen=True):
    """A sealed epoch.  For an empty one, ``last_seq`` is ``first_seq - 1``."""

    first_seq: int
    last_seq: int
    rows: int
    file: str | None
    checkpoint_size: int


class Recovered(Struct, frozen=True):
    """Where the log of manifests stands after an interrupted seal was rolled forward."""

    next_seq: int  #: the first seq that no manifest covers
    clean: bool  #: whether the last life ended with a ``stop``
    catalog_lost: bool = False  #: the catalog was new, though the log was not
    entered: int = 0  #: segments that the catalog did not know
    taken_back: tuple[str, ...] = ()  #: segments that had been set aside, and are whole again
    mended: tuple[str, ...] = ()  #: files of the log in which a bad byte was put right
