"""What the vault's tests share: keys, batches, and a sealer in memory that checks its orders."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import polars as pl
import pytest

from tocsin.errors import StorageFailed
from tocsin.event.batch import SCHEMA, Batch
from tocsin.vault.deliveries import Deliveries, Taken
from tocsin.vault.disk import DISK, Disk
from tocsin.vault.jobs import Recovered, Sealed, SealJob
from tocsin.vault.keys import FileKey, KeyRing, file_key
from tocsin.vault.recover import read_range
from tocsin.vault.store import Receipt, Shelf, Vault
from tocsin.vault.wal import remove

SECOND = 10**9
START = 1_700_000_000 * SECOND


def make_frame(rows: int, first: int = 0, **more: Any) -> pl.DataFrame:
    """*rows* requests; ``source_seq`` counts from *first*, so that each can be told apart."""
    columns: dict[str, Any] = {
        "time": [START + (first + i) * SECOND for i in range(rows)],
        "observed": [START + (first + i) * SECOND + 1 for i in range(rows)],
        "kind": ["request"] * rows,
        "user": [f"user{i % 3}" for i in range(rows)],
        "status": [200] * rows,
        "source_seq": [first + i for i in range(rows)],
        "tags": [["a", "b"]] * rows,
    } | {name: [value] * rows for name, value in more.items()}
    schema = {n: SCHEMA[n] for n in SCHEMA if n in columns}
    plain = {n: pl.Int64() if n in ("time", "observed") else d for n, d in schema.items()}
    frame = pl.DataFrame({n: columns[n] for n in schema}, schema=plain)
    return frame.with_columns(pl.col("time", "observed").cast(SCHEMA["time"]))


@dataclass
class MemoryShelf:
    """A sealed run of rows."""

    first_seq: int
    frame: pl.DataFrame
    broken: Exception | None = None
    name = "memory"

    @property
    def rows(self) -> int:
        return self.frame.height

    @property
    def time_min(self) -> int:
        return int(self.frame["time"].dt.epoch("ns").min())  # type: ignore[arg-type]  # never empty

    @property
    def time_max(self) -> int:
        return int(self.frame["time"].dt.epoch("ns").max())  # type: ignore[arg-type]  # never empty

    @property
    def columns(self) -> frozenset[str]:
        return frozenset(self.frame.columns)

    def scan(self) -> pl.LazyFrame:
        if self.broken is not None:
            raise self.broken
        seqs = pl.int_range(self.first_seq, self.first_seq + self.rows, dtype=pl.Int64, eager=True)
        return self.frame.lazy().with_columns(seqs.alias("seq"))

    def maybe(self, column: str, value: str) -> bool:
        return True


@dataclass
class MemorySealer:
    """Seals into memory, as the real one seals onto the disk; it outlives the vault's lives.

    Its invariants: epochs follow one another without gap or overlap, and hold what they claim.
    """

    directory: Path
    ring: KeyRing
    shelves: list[MemoryShelf] = field(default_factory=list)
    jobs: list[SealJob] = field(default_factory=list)
    batches: dict[tuple[str, str], Taken] = field(default_factory=dict)
    next_seq: int = 0
    fail: list[Exception] = field(default_factory=list)  #: raised before anything is done
    fail_after: list[Exception] = field(default_factory=list)  #: raised when it is durable
    leave_files: bool = False  #: as a crash before the last step does
    boots: list[str] = field(default_factory=list)
    first_epoch_key: bytes | None = None
    restarts: int = 0
    recoveries: int = 0

    def recover(self) -> Recovered:
        self.recoveries += 1
        return Recovered(self.next_seq, clean=True)

    def start(self, boot: str) -> None:
        self.boots.append(boot)

    def stop(self) -> None:
        self.boots.append("stop")

    def abandon(self) -> None:
        pass

    def close(self) -> None:
        pass

    def compact(self) -> int:
        if self.fail:
            raise self.fail.pop(0)
        return 7

    def seal(self, job: SealJob) -> Sealed:
        if self.fail:
            raise self.fail.pop(0)
        assert job.first_seq == self.next_seq, "epochs follow one another"
        quarantine = self.directory / "quarantine"
        frames = read_range(job.paths, job.first_seq, job.rows, self.ring, quarantine)
        assert sum(frame.rows for frame in frames) == job.rows
        if frames:
            whole = pl.concat([f.frame for f in frames], how="diagonal")
            self.shelves.append(MemoryShelf(job.first_seq, whole))
        for frame in frames:
            if frame.batch_id is not None:
                taken = Taken(frame.first_seq, frame.rows, frame.at, frame.content)
                self.batches[frame.source, frame.batch_id] = taken
        self.jobs.append(job)
        self.next_seq += job.rows
        if not self.leave_files:
            remove(job.paths, self.ring)
        if self.fail_after:
            raise self.fail_after.pop(0)
        return Sealed(job.first_seq, self.next_seq - 1, job.rows, None, len(self.jobs))

    def within(self) -> Sequence[Shelf]:
        return list(reversed(self.shelves))

    def set_aside(self, shelf: Shelf, error: Exception) -> str | None:
        assert isinstance(shelf, MemoryShelf)
        self.shelves.remove(shelf)
        return f"shelf {shelf.first_seq}"

    def load(self) -> Deliveries:
        known = Deliveries()
        for (source, batch_id), taken in sorted(self.batches.items(), key=lambda b: b[1].at):
            known.add(source, batch_id, taken)
        return known


class Frames(Protocol):
    """Makes a canonical frame."""

    def __call__(self, rows: int, first: int = 0, **more: Any) -> pl.DataFrame: ...


class FailingDisk(Disk):
    """Refuses calls by rule; *kept* says whether it does what it refuses all the same."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []
        self.rule: Callable[[str, int], OSError | None] = lambda _kind, _n: None
        self.kept = False

    def _ask(self, kind: str, do: Callable[[], Any]) -> Any:
        self.calls.append(kind)
        error = self.rule(kind, self.calls.count(kind))
        if error is None:
            return do()
        if self.kept:
            do()
        raise error

    def create(self, path: Path) -> int:
        made: int = self._ask("create", lambda: DISK.create(path))
        return made

    def write(self, fd: int, buffers: Sequence[bytes]) -> None:
        self._ask("write", lambda: DISK.write(fd, buffers))

    def datasync(self, fd: int) -> None:
        self._ask("datasync", lambda: DISK.datasync(fd))

    def rename(self, old: Path, new: Path) -> None:
        self._ask("rename", lambda: DISK.rename(old, new))

    def sync_dir(self, path: Path) -> None:
        self._ask("sync_dir", lambda: DISK.sync_dir(path))


class House:
    """One data directory, and the lives of the vault in it."""

    def __init__(self, root: Path) -> None:
        self.data = root / "data"
        self.data.mkdir(mode=0o700)
        self.key: FileKey = file_key(root / "kek", create=True)
        self.disk = FailingDisk()
        self.ring = KeyRing(self.data / "keys", self.key, disk=self.disk)
        self.sealer = MemorySealer(self.data, KeyRing(self.data / "keys", self.key))
        self.vaults: list[Vault] = []

    def open(self, *, sealing: bool = True, **more: Any) -> Vault:
        """Begin a life; without *sealing* the files of the log stay for the test to look at."""
        if not sealing:
            self.sealer.fail = [StorageFailed("not now")] * 1000
        settings: dict[str, Any] = {"epoch_seconds": 3600.0, "disk": self.disk} | more
        sealer = self.sealer
        vault = Vault(self.data, self.ring, sealer, sealer, sealer.load, **settings)
        self.vaults.append(vault)
        return vault

    def crash(self, vault: Vault) -> None:
        """End *vault* without a word, as kill -9 does: what it wrote stays, nothing is sealed."""
        self.sealer.fail = [StorageFailed("killed")] * 1000
        vault.close()
        self.sealer.fail = []
        self.sealer.boots = [b for b in self.sealer.boots if b != "stop"]

    def logs(self) -> list[Path]:
        return sorted((self.data / "wal").glob("*.wal"))

    def put(self, vault: Vault, rows: int, first: int = 0, name: str | None = None) -> Receipt:
        batch = Batch(make_frame(rows, first))
        return vault.append(batch, source="shop", batch_id=name).result(10)


def everything(vault: Vault) -> list[int]:
    """The ``source_seq`` of every row, in the order of the log."""
    found: list[int] = []
    seq = 0
    while seq < vault.next_seq:
        entries = vault.read(seq, 7)
        assert entries.first_seq >= seq
        found += entries.frame["source_seq"].to_list()
        seq = entries.next_seq
    return found


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """A data directory with keys and a sealer in memory."""
    made = House(tmp_path)
    yield made
    for vault in made.vaults:
        vault.close()


@pytest.fixture
def frames() -> Frames:
    """Makes canonical frames."""
    return make_frame


@pytest.fixture
def rows_of() -> Callable[[Vault], list[int]]:
    """Reads a vault from end to end."""
    return everything


@pytest.fixture
def failed() -> Callable[[Future[Any]], BaseException | None]:
    """The error of a future, once it has one."""
    return lambda future: future.exception(10)
