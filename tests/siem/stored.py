"""What a stopped tocsin has in its vault, decrypted."""

from __future__ import annotations

from typing import Any

from tocsin.catalog import open_catalog
from tocsin.event.batch import SCHEMA
from tocsin.vault import FileKey, KeyRing
from tocsin.vault.segments import open_shelves
from tocsin.vault.wal import read_wal, wal_files

__all__ = ["everything"]


def everything(tocsin: Any) -> str:
    """Every text that the vault holds, a line for each event."""
    ring = KeyRing(tocsin.data / "keys", FileKey(tocsin.home / ".config" / "tocsin" / "kek"))
    engine = open_catalog(tocsin.data / "catalog.db")
    frames = [s.scan().collect() for s in open_shelves(tocsin.data, ring, engine)]
    for path in wal_files(tocsin.data / "wal"):
        frames += [frame.frame for frame in read_wal(path, ring).frames]
    engine.dispose()
    return "".join(
        " ".join(str(value) for value in row if value is not None) + "\n"
        for frame in frames
        for row in frame.select(n for n in frame.columns if n in SCHEMA).iter_rows()
    )
