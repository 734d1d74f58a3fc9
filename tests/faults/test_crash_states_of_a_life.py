"""Every state that a power cut may leave of a whole vault: taken, sealed, promised, joined.

A life is lived on storage that forgets (see ``storage``); each state that it may leave is written
out, opened, and must hold all that was acknowledged by then, take what the senders repeat, and
verify.  The catalog is SQLite's own affair, and derived: in a state it is as it was at that moment,
or gone.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest
from tests.faults.aftermath import Told, check_after, understand
from tests.faults.life import live
from tests.faults.storage import Moment, State, Storage, states

from tocsin.catalog import open_catalog
from tocsin.vault import file_key
from tocsin.vault.disk import DISK

LONG = os.environ.get("TOCSIN_FAULTS") == "long"
STATES = 20_000 if LONG else 60


@dataclass(frozen=True)
class Beside:
    """What goes with a moment."""

    told: Told
    catalog: bytes


class Witness:
    """Knows at any moment what the life has told, and what its catalog holds."""

    def __init__(self, catalog: Path) -> None:
        self.lines: list[str] = []
        self._catalog = catalog
        self._last = Beside(Told({}, ()), b"")

    def tell(self, line: str) -> None:
        """Hear what the life tells."""
        self.lines.append(line)

    def __call__(self) -> Beside:
        now = Beside(understand(self.lines), image(self._catalog))
        if now != self._last:
            self._last = now
        return self._last


def image(catalog: Path) -> bytes:
    """What a database holds, as a file of one piece."""
    connection = sqlite3.connect(catalog)
    try:
        return connection.serialize()
    finally:
        connection.close()


class Place:
    """Where states are written out, and looked at."""

    def __init__(self, root: Path, kek: Path, empty: Path) -> None:
        self.root = root
        self.kek = kek
        self.empty = empty
        self.count = 0

    def put(self, state: State, catalog: bytes | None) -> Path:
        """A data directory in this state; an empty catalog stands for none, which a start makes."""
        self.count += 1
        data = self.root / f"state{self.count}"
        data.mkdir(mode=0o700)
        for path, content in sorted(state.items()):
            if content is None:
                (data / path).mkdir(mode=0o700)
            else:
                fd = DISK.create(data / path)
                os.write(fd, content)
                os.close(fd)
        place = data / "catalog.db"
        place.touch(mode=0o600)
        place.write_bytes(self.empty.read_bytes() if catalog is None else catalog)
        return data


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """A place in memory, if there is one: states are many, and written out only to be read."""
    memory = Path("/dev/shm")
    place = Path(tempfile.mkdtemp(dir=memory if os.access(memory, os.W_OK) else tmp_path))
    yield place
    shutil.rmtree(place)


class Grudging(Storage):
    """Refuses to sync some groups of the write-ahead log; it may have kept them all the same."""

    def __init__(self, root: Path, beside: Callable[[], object]) -> None:
        super().__init__(root, beside)
        self._chance = random.Random(11)
        self._logs: set[int] = set()

    def create(self, path: Path) -> int:
        fd = super().create(path)
        (self._logs.add if path.parent.name == "wal" else self._logs.discard)(fd)
        return fd

    def datasync(self, fd: int) -> None:
        if fd in self._logs and self._chance.random() < 0.5:
            raise OSError(errno.EIO, "no")
        super().datasync(fd)


def record(root: Path, kind: type[Storage]) -> tuple[list[Moment], Place]:
    """A life on storage that forgets."""
    kek = file_key(root / "kek", create=True).path
    data, empty = root / "data", root / "empty.db"
    data.mkdir(mode=0o700)
    open_catalog(empty).dispose()
    shutil.copy(empty, data / "catalog.db")
    witness = Witness(data / "catalog.db")
    storage = kind(data, witness)
    live(data, kek, tell=witness.tell, disk=storage)
    assert witness.lines[-1] == "end", witness.lines
    assert "joined 4" in witness.lines
    return storage.moments, Place(root, kek, empty)


@dataclass
class Tried:
    """States that were looked at."""

    states: int = 0
    told: int = 0  #: in which somebody had been told that rows are durable
    bad: list[str] = field(default_factory=list[str])  #: what was bad about some of them


def try_states(root: Path, wanted: int, kind: type[Storage] = Storage) -> Tried:
    """Try *wanted* states: so many, and not for so long, however busy the machine is."""
    moments, place = record(root, kind)
    chance = random.Random(5)
    chance.shuffle(moments)  # a few hundred states are spread over all of them
    tried = Tried()
    for state, moment in states(moments, root / "data", chance):
        beside = cast("Beside", moment.beside)
        catalog = beside.catalog if chance.random() < 0.7 else None
        data = place.put(state, catalog)
        try:
            check_after(place.kek, data, beside.told)
        except Exception as error:
            tried.bad.append(f"{data.name} after {moment.after}: {type(error).__name__}: {error}")
        shutil.rmtree(data)
        tried.states += 1
        tried.told += bool(beside.told.acknowledged)
        if tried.states >= wanted:
            break
    return tried


@pytest.mark.timeout(7200)
def test_no_state_that_a_power_cut_can_leave_of_a_sealed_vault_is_bad(root: Path) -> None:
    tried = try_states(root, STATES)
    assert not tried.bad, f"{len(tried.bad)} of {tried.states}; the first: {tried.bad[:3]}"
    assert tried.states == STATES
    assert tried.told > STATES / 4, "a state in which nothing was promised proves little"


@pytest.mark.timeout(7200)
def test_no_state_of_a_vault_whose_disk_refused_now_and_then_is_bad(root: Path) -> None:
    tried = try_states(root, STATES // 2, Grudging)
    assert not tried.bad, f"{len(tried.bad)} of {tried.states}; the first: {tried.bad[:3]}"
    assert tried.states == STATES // 2
    assert tried.told > STATES / 8, "a state in which nothing was promised proves little"


@pytest.mark.parametrize("name", ["datasync", "sync_dir"])
def test_a_sync_that_is_left_out_shows(
    root: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(Storage, name, lambda *_: None)
    tried = try_states(root, 30)
    assert len(tried.bad) > tried.states / 5
