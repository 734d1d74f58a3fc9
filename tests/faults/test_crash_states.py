"""States that a power cut may leave of the write-ahead log: a million at length, none bad.

Storage that forgets (see ``storage``) notes each operation of the writer.  Each state that it may
leave is recovered, and must hold all that was acknowledged by then.
"""

from __future__ import annotations

import functools
import itertools
import os
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import polars as pl
import pytest
from tests.faults.storage import State, Storage, states

from tocsin.errors import KeyMissing
from tocsin.event.batch import SCHEMA
from tocsin.vault import KeyRing, file_key, wal
from tocsin.vault.disk import make_directory
from tocsin.vault.recover import lay_out
from tocsin.vault.restart import restart
from tocsin.vault.wal import encode, start_wal

LONG = os.environ.get("TOCSIN_FAULTS") == "long"
STATES = 1_000_000 if LONG else 20_000
#: Rows of each frame of each group of each file.
LIVES: tuple[tuple[tuple[int, ...], ...], ...] = (
    ((2, 1), (3,)),
    ((1, 1, 2),),
    ((2,), (1, 3), (4,)),
)


@functools.cache
def key_path(name: str) -> Path:
    """Where a state has a key; asked very often."""
    return Path("keys", f"{name}.key")


class StateRing(KeyRing):
    """The keys that a state holds."""

    def __init__(self, ring: KeyRing) -> None:
        self._keks = ring._keks
        self.state: State = {}
        self._opened: dict[tuple[str, bytes], bytes] = {}

    def names(self) -> list[str]:
        return [path.stem for path in self.state if path.suffix == ".key"]

    def path(self, name: str) -> Path:
        return key_path(name)

    def get(self, name: str) -> bytes:
        data = self.state.get(self.path(name))
        if data is None:
            raise KeyMissing(name)
        if (name, data) not in self._opened:
            self._opened[name, data] = self._open(self.path(name), name, data)
        return self._opened[name, data]


class Reader:
    """Recovers a state, without the disk: a million of them would wear it out."""

    def __init__(self, ring: KeyRing) -> None:
        self._ring = StateRing(ring)

    def recover(self, state: State) -> tuple[list[int], bool]:
        """The rows found, in order, and whether anything acknowledged was called damaged."""
        self._ring.state = state
        keyed, lost = wal._keyed(Path("wal"), self._ring)
        strange = [path for path in state if path.suffix == ".wal" and path not in keyed]
        files = [wal.read_bytes(path, state.get(path), self._ring) for path in keyed]
        laid = lay_out(files, 0)
        found = [
            value
            for file in laid
            for frame in file.frames
            for value in frame.frame["source_seq"].to_list()
        ]
        damaged = any(file.damaged for file in files) or any(file.holes for file in laid)
        return found, damaged or bool(strange) or bool(lost)


def frame(rows: int, first: int) -> pl.DataFrame:
    """*rows* rows that count from *first*."""
    times = pl.Series(range(first, first + rows), dtype=pl.Int64).cast(SCHEMA["time"])
    return pl.DataFrame(
        {"time": times, "observed": times, "kind": ["log"] * rows}
        | {"source_seq": pl.Series(range(first, first + rows), dtype=pl.Int64)}
    )


@pytest.fixture(autouse=True)
def _decode_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same bytes make the same frame: a hundred thousand times would only be slow."""
    monkeypatch.setattr(wal, "_decode", functools.lru_cache(1024)(wal._decode))


@dataclass
class Story:
    """A writer's life, recorded."""

    storage: Storage
    root: Path
    ring: KeyRing


class Acknowledged:
    """What the senders have been told: that all below a seq is durable."""

    def __init__(self, *, too_early: bool) -> None:
        self.seq = 0
        self.promised = 0
        self.too_early = too_early

    def __call__(self) -> int:
        return self.promised if self.too_early else self.seq


def write_story(root: Path, *, too_early: bool = False) -> Story:
    """Three files, groups of several frames, a restart between the second and the third.

    With *too_early*, batches are acknowledged before the sync.
    """
    shutil.rmtree(root, ignore_errors=True)
    data = root / "data"
    data.mkdir(parents=True)
    told = Acknowledged(too_early=too_early)
    storage = Storage(data, told)
    ring = KeyRing(data / "keys", file_key(root / "kek", create=True), disk=storage)
    make_directory(data / "wal", disk=storage)
    for life, groups in enumerate(LIVES):
        if life == 2:  # a restart, which writes the last group once more
            begun = restart(data, ring, 0, epoch_rows=100, disk=storage, now=0)
            assert begun.file is not None
            file = begun.file
        else:
            file = start_wal(data / "wal", ring, told.seq, disk=storage)
        for sizes in groups:
            starts = list(itertools.accumulate(sizes, initial=told.seq))
            payloads = [
                encode(frame(n, first), source="s", batch_id=None, at=0)
                for n, first in zip(sizes, starts, strict=False)
            ]
            told.promised = starts[-1]
            file.append(payloads)
            told.seq = starts[-1]
            storage.picture("acknowledge")
        file.close()
    return Story(storage, data, ring)


@dataclass
class Count:
    """States."""

    tried: int = 0
    bad: int = 0
    told: int = 0  #: in which somebody had been told that rows are durable


def count(story: Story, wanted: int) -> Count:
    """Try *wanted* states: so many, and not for so long, however busy the machine is."""
    reader = Reader(story.ring)
    done = Count()
    for state, moment in states(story.storage.moments, story.root, random.Random(3)):
        found, damaged = reader.recover(state)
        acknowledged = cast("int", moment.beside)
        whole = found == list(range(len(found)))
        done.bad += damaged or not whole or len(found) < acknowledged
        done.told += acknowledged > 0
        done.tried += 1
        if done.tried >= wanted:
            break
    return done


@pytest.mark.timeout(7200)
def test_no_state_that_a_power_cut_can_leave_is_bad(tmp_path: Path, record_property: Any) -> None:
    story = write_story(tmp_path)
    kinds = {moment.after for moment in story.storage.moments}
    assert kinds == {"mkdir", "create", "write", "datasync", "rename", "sync_dir", "acknowledge"}
    done = count(story, STATES)
    record_property("states", done.tried)
    assert done.bad == 0
    assert done.tried == STATES
    assert done.told > done.tried / 4, "a state in which nothing was promised proves little"


def test_the_storage_sees_an_acknowledgement_before_the_sync(tmp_path: Path) -> None:
    done = count(write_story(tmp_path, too_early=True), 3000)
    assert done.bad > done.tried / 20


@pytest.mark.parametrize("name", ["datasync", "sync_dir"])
def test_the_storage_sees_a_sync_that_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    skipped: Callable[..., None] = lambda *_: None  # noqa: E731  a stand-in
    monkeypatch.setattr(Storage, name, skipped)
    done = count(write_story(tmp_path), 3000)
    assert done.bad > done.tried / 20


def test_no_pair_of_key_and_nonce_comes_twice(tmp_path: Path) -> None:
    story = write_story(tmp_path)
    paths = wal.wal_files(tmp_path / "data" / "wal")
    pairs = [
        (path.name, frame.number)
        for path in paths
        for frame in wal.read_wal(path, story.ring).frames
    ]
    assert len(pairs) == len(set(pairs)) == 13
    keys = {story.ring.get(wal.key_name(path)) for path in paths}
    assert len(keys) == len(paths)
