"""A small vault made by the sealer alone, without the store: every step by hand, no threads."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import sqlalchemy as sa
from sqlalchemy import event

from tocsin.catalog import open_catalog
from tocsin.event.batch import SCHEMA
from tocsin.vault import segments, wal
from tocsin.vault.disk import DISK, Disk
from tocsin.vault.jobs import Sealed, SealJob
from tocsin.vault.keys import FileKey, KeyRing, file_key
from tocsin.vault.sealer import Sealer
from tocsin.vault.verify import Report, verify

SECOND = 10**9
START = 1_700_000_000 * SECOND


class Idle(Disk):
    """Does not wait for the disk: these tests never cut the power."""

    def datasync(self, fd: int) -> None:
        pass

    def sync_dir(self, path: Path) -> None:
        pass


def rows(count: int, first: int = 0, **more: Any) -> pl.DataFrame:
    """*count* requests, each different; a column given as None is left out."""
    columns: dict[str, Any] = {
        "time": [START + (first + i) * SECOND for i in range(count)],
        "observed": [START + (first + i) * SECOND + 7 for i in range(count)],
        "kind": ["request"] * count,
        "user": [None if (first + i) % 5 == 4 else f"user{(first + i) % 7}" for i in range(count)],
        "path": [f"/orders/{first + i}" for i in range(count)],
        "status": [200 + (first + i) % 3 for i in range(count)],
        "trace_id": [f"{first + i:032x}" for i in range(count)],
        "tags": [[], ["a"], ["a", ""], None] * (count // 4 + 1),
    }
    columns = {k: v[:count] for k, v in columns.items()}
    columns |= {name: [value] * count for name, value in more.items()}
    columns = {k: v for k, v in columns.items() if k not in more or more[k] is not None}
    schema = {n: SCHEMA[n] for n in SCHEMA if n in columns}
    plain = {n: pl.Int64() if n in ("time", "observed") else d for n, d in schema.items()}
    frame = pl.DataFrame({n: columns[n] for n in schema}, schema=plain)
    return frame.with_columns(pl.col("time", "observed").cast(SCHEMA["time"]))


def _hurry(connection: Any, _record: object) -> None:
    connection.execute("PRAGMA synchronous=OFF")


@dataclass
class House:
    """One vault and the clock it lives by."""

    directory: Path
    source: FileKey
    disk: Disk
    now: int = START
    first_epoch_key: bytes | None = None
    next_seq: int = 0
    template: Path | None = None  #: an empty catalog, to be spared its migrations

    def __post_init__(self) -> None:
        (self.directory / "wal").mkdir(parents=True, exist_ok=True)
        self.ring = KeyRing(self.directory / "keys", self.source, disk=self.disk)
        if self.template is not None:
            shutil.copy(self.template, self.directory / "catalog.db")
        self.catalog: sa.Engine = open_catalog(self.directory / "catalog.db")
        event.listen(self.catalog, "connect", _hurry)
        self.sealer = self.another()

    def another(self) -> Sealer:
        """A sealer of another life."""

        def clock() -> int:
            self.now += SECOND
            return self.now

        return Sealer(self.directory, self.ring, catalog=self.catalog, clock=clock, disk=self.disk)

    def begin(self, boot: str = "life") -> None:
        self.sealer.recover()
        self.first_epoch_key = self.sealer.first_epoch_key or self.first_epoch_key
        self.sealer.start(boot)

    def write(
        self,
        frame: pl.DataFrame,
        batch_id: str | None = None,
        *,
        more: pl.DataFrame | None = None,
        content: str | None = None,
    ) -> SealJob:
        """A closed file of the write-ahead log, with a second group of *more*."""
        file = wal.start_wal(self.directory / "wal", self.ring, self.next_seq, disk=self.disk)
        for each in (frame, more):
            if each is not None:
                payload = wal.encode(
                    each, source="shop", batch_id=batch_id, at=self.now, content=content
                )
                file.append([payload])
        file.close()
        job = SealJob((file.path,), self.next_seq, file.next_seq - self.next_seq, 0)
        self.next_seq = file.next_seq
        return job

    def seal(self, count: int, **more: Any) -> Sealed:
        return self.sealer.seal(self.write(rows(count, self.next_seq, **more)))

    def empty(self) -> Sealed:
        return self.sealer.seal(SealJob((), self.next_seq, 0, 0))

    def verify(self, *, keyed: bool = True, mac: bool = True, **more: Any) -> Report:
        kek = self.source.fetch(self.directory) if keyed else None
        epoch_key = self.first_epoch_key if mac else None
        return verify(
            self.directory, kek, epoch_key=epoch_key, now=more.pop("now", self.now), **more
        )

    def shelves(self) -> list[segments.Shelf]:
        return segments.open_shelves(self.directory, self.ring, self.catalog)

    def frame(self) -> pl.DataFrame:
        """All sealed rows."""
        scans = [shelf.scan().collect() for shelf in reversed(self.shelves())]
        return pl.concat(scans, how="diagonal")

    def close(self) -> None:
        self.catalog.dispose()


Build = Callable[..., House]


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty catalog."""
    path = tmp_path_factory.mktemp("template") / "catalog.db"
    open_catalog(path).dispose()
    return path


@pytest.fixture
def build(tmp_path: Path, template: Path) -> Any:
    """Make houses; their catalogs are closed afterwards."""
    made: list[House] = []

    def make(name: str = "data", disk: Disk | None = None) -> House:
        source = file_key(tmp_path / "kek", create=True)
        house = House(
            tmp_path / name, source, disk or Idle(), now=time.time_ns(), template=template
        )
        made.append(house)
        return house

    yield make
    for house in made:
        house.close()


@pytest.fixture
def house(build: Build) -> House:
    """A vault with some of everything: three ranges, an empty epoch, a stop."""
    made = build()
    made.begin()
    made.seal(12)
    made.seal(9, message="gone")
    made.empty()
    made.seal(5)
    made.sealer.stop()
    return made


__all__ = ["DISK", "Build", "House", "Idle", "rows"]
