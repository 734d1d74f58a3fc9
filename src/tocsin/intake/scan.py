"""Scan a column of texts with many patterns at once, and say which rows each was seen in.

One Hyperscan database looks at the joined Arrow bytes of all rows.  Rows must carry their own
sentinels (a new line before and after), so that a pattern can ask for the start or the end of a
value and never reaches into the next row unseen.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import NamedTuple, cast

import hyperscan
import numpy as np
import numpy.typing as npt
import polars as pl

__all__ = ["Hits", "Scanner", "joined"]

#: A scan that reports more often than this stops, gives up on the row it is in, and goes on after
#: it: a hostile value full of hits costs no more than a hostile value without.
MOST = 4096


class Hits(NamedTuple):
    """Parallel arrays, one entry a report; and the rows with too many to list."""

    rows: npt.NDArray[np.int64]
    places: npt.NDArray[np.int64]  #: byte of the row that the match ends on
    ids: npt.NDArray[np.int64]  #: index of the pattern
    crowded: tuple[int, ...]


def joined(texts: pl.Series) -> bytes:
    """The bytes of *texts*, one behind the other."""
    data = texts.to_arrow(compat_level=pl.CompatLevel.oldest()).buffers()[2]
    return b"" if data is None else data.to_pybytes()


class Scanner:
    """Patterns, compiled on first use and shared by all threads."""

    def __init__(
        self, patterns: Sequence[tuple[str, bool]], *, once: bool = False, most: int = MOST
    ) -> None:
        """*patterns* are ``(expression, caseless)``; the index in the sequence is the id.

        With *once* each is reported once a scan, which is right only for a scan of a single row.
        """
        self._patterns = patterns
        self._once = once
        self._most = most
        self._lock = threading.Lock()
        self._local = threading.local()
        self._database: hyperscan.Database | None = None

    def scan(self, texts: pl.Series) -> Hits:
        """All reports in *texts* (no nulls), in order."""
        arrow = texts.to_arrow(compat_level=pl.CompatLevel.oldest())
        buffers = arrow.buffers()
        offsets = np.frombuffer(buffers[1], dtype=np.int64)[arrow.offset :][: len(arrow) + 1]
        data = memoryview(buffers[2] or b"")
        ids: list[int] = []
        ends: list[npt.NDArray[np.int64]] = []
        crowded: list[int] = []
        start, last = int(offsets[0]), int(offsets[-1])
        while start < last:
            some, places, full = self._run(data[start:last])
            ends.append(np.asarray(places, dtype=np.int64) + (start - 1))
            ids += some
            if not full:
                break
            row = int(np.searchsorted(offsets, ends[-1][-1], side="right")) - 1
            crowded.append(row)
            start = int(offsets[row + 1])
        ended = np.concatenate(ends) if ends else np.empty(0, np.int64)
        rows = np.searchsorted(offsets, ended, side="right") - 1
        return Hits(rows, ended - offsets[rows], np.asarray(ids, np.int64), tuple(crowded))

    def _run(self, data: memoryview) -> tuple[list[int], list[int], bool]:
        """Ids and end offsets of the reports, and whether the scan stopped at too many."""
        ids: list[int] = []
        ends: list[int] = []
        most = self._most

        def report(ident: int, _start: int, end: int, _flags: int, _context: object) -> bool | None:
            ids.append(ident)
            ends.append(end)
            return len(ends) >= most or None

        database, scratch = self._ready()
        try:
            # The stub knows only str and bytes; any buffer is taken, and this one is not copied.
            database.scan(cast("bytes", data), report, scratch=scratch)
        except hyperscan.ScanTerminated:
            return ids, ends, True
        return ids, ends, False

    def compile(self) -> hyperscan.Database:
        """Do beforehand what the first scan would wait for; others can run meanwhile."""
        with self._lock:
            if self._database is None:
                self._database = _compile(self._patterns, once=self._once)
            return self._database

    def _ready(self) -> tuple[hyperscan.Database, hyperscan.Scratch]:
        database = self.compile()
        scratch: hyperscan.Scratch | None = getattr(self._local, "scratch", None)
        if scratch is None:
            scratch = self._local.scratch = hyperscan.Scratch(database)
        return database, scratch


def _compile(patterns: Sequence[tuple[str, bool]], *, once: bool) -> hyperscan.Database:
    flag = hyperscan.HS_FLAG_SINGLEMATCH if once else 0
    database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
    database.compile(
        expressions=[pattern.encode() for pattern, _ in patterns],
        ids=list(range(len(patterns))),
        flags=[flag | (hyperscan.HS_FLAG_CASELESS if caseless else 0) for _, caseless in patterns],
    )
    return database
