"""Look at a vault that nobody writes to, without becoming its writer.

Everything acknowledged is seen: the sealed segments of the catalog, and behind them whatever the
write-ahead log still holds.  Nothing on disk is changed, so several may look at once.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from tocsin.catalog import segments as catalog_segments
from tocsin.event.batch import Entries
from tocsin.vault.hot import SHELF_ROWS, HotShelf, join
from tocsin.vault.keys import KeyRing
from tocsin.vault.recover import lay_out
from tocsin.vault.segments import Shelf, open_shelves
from tocsin.vault.wal import Frame, read_all

__all__ = ["view"]


def view(directory: Path, ring: KeyRing, catalog: sa.Engine) -> list[HotShelf | Shelf]:
    """All shelves of the vault in *directory*, newest first.

    A seal that was interrupted before the catalog knew of it left its rows in the write-ahead log
    too, so the catalog says rightly from where on the log is to be read.  What is missing there is
    for the next start to write down, and for the verifier.
    """
    sealed = open_shelves(directory, ring, catalog)
    with catalog.connect() as connection:
        last = connection.scalar(sa.select(sa.func.max(catalog_segments.c.last_seq)))
    start = -1 if last is None else int(last)
    wal = directory / "wal"
    laid = lay_out(read_all(wal, ring).files if wal.is_dir() else [], start + 1)
    frames = [frame for file in laid for frame in file.frames]
    return [*reversed(_shelves(frames)), *sealed]


def _shelves(frames: list[Frame]) -> list[HotShelf]:
    """Neighbouring frames, joined up to about :data:`SHELF_ROWS` rows."""
    shelves: list[HotShelf] = []
    run: list[Frame] = []
    for frame in frames:
        apart = run and frame.first_seq != run[-1].next_seq
        if run and (apart or sum(f.rows for f in run) >= SHELF_ROWS):
            shelves.append(_shelf(run))
            run = []
        run.append(frame)
    return [*shelves, _shelf(run)] if run else shelves


def _shelf(run: list[Frame]) -> HotShelf:
    return HotShelf(Entries(run[0].first_seq, join([frame.frame for frame in run])))
