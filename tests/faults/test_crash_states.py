"""Every state that a power cut may leave of the write-ahead log: 100,000 of them, none bad.

A recorder notes each operation of the writer.  From any moment on, storage may have kept of what
was not synced: any prefix, any subset of its pages, zeros in their place, flipped bits in the last
of them; and of names that were not synced, any.  Each state is recovered, and must hold all that
was acknowledged by then.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import os
import random
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tocsin.event.batch import SCHEMA
from tocsin.vault import KeyRing, file_key, wal
from tocsin.vault.disk import DISK, Disk
from tocsin.vault.recover import lay_out
from tocsin.vault.restart import restart
from tocsin.vault.wal import encode, start_wal

LONG = os.environ.get("TOCSIN_FAULTS") == "long"
STATES = 1_000_000 if LONG else 100_000
SECONDS = 3600.0 if LONG else 45.0
#: Rows of each frame of each group of each file.
LIVES: tuple[tuple[tuple[int, ...], ...], ...] = (
    ((2, 1), (3,)),
    ((1, 1, 2),),
    ((2,), (1, 3), (4,)),
)
PAGE = 64  # small, so that a small frame has many


@dataclass
class File:
    """What storage knows of a file: what is synced, and what was written since."""

    synced: bytes = b""
    unsynced: bytes = b""
    visible: bool = False  #: whether it has its final name
    named: bool = False  #: whether that name is synced too


@dataclass
class Moment:
    """The disk between two operations, and what had been acknowledged by then."""

    files: dict[str, File]
    acknowledged: int
    after: str


@dataclass
class Recorder(Disk):
    """Does what it is told, and keeps a picture of the disk after each operation."""

    moments: list[Moment] = field(default_factory=list)
    acknowledged: int = 0
    _files: dict[str, File] = field(default_factory=dict)
    _open: dict[int, str] = field(default_factory=dict)

    def create(self, path: Path) -> int:
        fd = DISK.create(path)
        self._open[fd] = path.name.removeprefix(".").removesuffix(".tmp")
        self._files[self._open[fd]] = File()
        self.picture("create")
        return fd

    def write(self, fd: int, buffers: Sequence[bytes]) -> None:
        DISK.write(fd, buffers)
        self._files[self._open[fd]].unsynced += b"".join(buffers)
        self.picture("write")

    def datasync(self, fd: int) -> None:
        file = self._files[self._open[fd]]
        file.synced, file.unsynced = file.synced + file.unsynced, b""
        self.picture("datasync")

    def rename(self, old: Path, new: Path) -> None:
        DISK.rename(old, new)
        self._files[new.name].visible = True
        self.picture("rename")

    def sync_dir(self, path: Path) -> None:
        for file in self._files.values():
            file.named = file.visible
        self.picture("sync_dir")

    def acknowledge(self, seq: int) -> None:
        """The sender is told that all below *seq* is durable."""
        self.acknowledged = seq
        self.picture("acknowledge")

    def picture(self, after: str) -> None:
        files = {n: dataclasses.replace(f) for n, f in self._files.items()}
        self.moments.append(Moment(files, self.acknowledged, after))


def tails(unsynced: bytes, chance: random.Random) -> Iterator[bytes]:
    """What storage may have kept of bytes that were not synced.  Endless."""
    pages = [unsynced[i : i + PAGE] for i in range(0, len(unsynced), PAGE)]
    yield from (b"", unsynced)
    for size in range(1, len(unsynced)):
        yield unsynced[:size]
    while True:
        keep = chance.random()
        kept = [p if chance.random() < keep else bytes(len(p)) for p in pages]
        length = chance.choice([len(unsynced), chance.randrange(len(unsynced) + 1)])
        state = bytearray(b"".join(kept)[:length])
        if state and chance.random() < 0.5:  # the page that was being written
            place = chance.randrange(max(len(state) - PAGE, 0), len(state))
            state[place] ^= 1 << chance.randrange(8)
        yield bytes(state)


def states(
    moments: Sequence[Moment], chance: random.Random
) -> Iterator[tuple[dict[str, bytes], int]]:
    """Different states of the directory, moment by moment in turns, and what was acknowledged."""
    streams = [_states_of(moment, chance) for moment in moments]
    seen: set[tuple[int, frozenset[tuple[str, bytes]]]] = set()
    while streams:
        for stream in list(streams):
            for _ in range(50):
                content, acknowledged = next(stream)
                key = acknowledged, frozenset(content.items())
                if key not in seen:
                    seen.add(key)
                    yield content, acknowledged
                    break
            else:
                streams.remove(stream)  # it has no more to offer


def _states_of(moment: Moment, chance: random.Random) -> Iterator[tuple[dict[str, bytes], int]]:
    loose = {n: tails(f.unsynced, chance) for n, f in moment.files.items() if f.unsynced}
    while True:
        content: dict[str, bytes] = {}
        for name, file in moment.files.items():
            # A name that was not synced may be there or not.
            if file.named or (file.visible and chance.random() < 0.5):
                content[name] = file.synced + (next(loose[name]) if name in loose else b"")
        yield content, moment.acknowledged


class Reader:
    """Recovers a state, without the disk: a million of them would wear it out."""

    def __init__(self, ring: KeyRing) -> None:
        self._ring = ring

    def recover(self, content: dict[str, bytes]) -> tuple[list[int], bool]:
        """The rows found, in order, and whether anything acknowledged was called damaged."""
        paths = [Path(name) for name in sorted(content, key=lambda n: n[21:])]
        files = [wal.read_bytes(path, content[path.name], self._ring) for path in paths]
        laid = lay_out(files, 0)
        found = [
            value
            for file in laid
            for frame in file.frames
            for value in frame.frame["source_seq"].to_list()
        ]
        damaged = any(file.damaged for file in files) or any(file.holes for file in laid)
        return found, damaged


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
    monkeypatch.setattr(KeyRing, "get", functools.lru_cache(64)(KeyRing.get))


@dataclass
class Story:
    """A writer's life, recorded."""

    recorder: Recorder
    ring: KeyRing
    rows: int


def write_story(root: Path, *, too_early: bool) -> Story:
    """Three files, groups of several frames, a restart between the second and the third.

    With *too_early*, batches are acknowledged before the sync.
    """
    shutil.rmtree(root, ignore_errors=True)
    (root / "data" / "wal").mkdir(parents=True)
    recorder = Recorder()
    ring = KeyRing(root / "data" / "keys", file_key(root / "kek", create=True))
    seq = 0
    for life, groups in enumerate(LIVES):
        if life == 2:  # a restart, which writes the last group once more
            begun = restart(root / "data", ring, 0, epoch_rows=100, disk=recorder, now=0)
            assert begun.file is not None
            file = begun.file
        else:
            file = start_wal(root / "data" / "wal", ring, seq, disk=recorder)
        for sizes in groups:
            starts = list(itertools.accumulate(sizes, initial=seq))
            payloads = [
                encode(frame(n, first), source="s", batch_id=None, at=0)
                for n, first in zip(sizes, starts, strict=False)
            ]
            seq = starts[-1]
            if too_early:
                _acknowledge_at_the_write(recorder, seq)
            file.append(payloads)
            recorder.acknowledge(seq)
        file.close()
    return Story(recorder, ring, seq)


def _acknowledge_at_the_write(recorder: Recorder, seq: int) -> None:
    real = Recorder.write

    def write(fd: int, buffers: Sequence[bytes]) -> None:
        real(recorder, fd, buffers)
        recorder.acknowledge(seq)

    recorder.write = write  # type: ignore[method-assign]  # the bug that must be seen


def count_bad(story: Story, wanted: int, seconds: float) -> tuple[int, int]:
    """States tried, and how many of them were bad."""
    reader = Reader(story.ring)
    until, tried, bad = time.monotonic() + seconds, 0, 0
    for content, acknowledged in states(story.recorder.moments, random.Random(3)):
        found, damaged = reader.recover(content)
        whole = found == list(range(len(found)))
        bad += damaged or not whole or len(found) < acknowledged
        tried += 1
        if tried >= wanted or (tried % 256 == 0 and time.monotonic() > until):
            break
    return tried, bad


def test_no_state_that_a_power_cut_can_leave_is_bad(tmp_path: Path, record_property: Any) -> None:
    story = write_story(tmp_path, too_early=False)
    kinds = {moment.after for moment in story.recorder.moments}
    assert kinds == {"create", "write", "datasync", "rename", "sync_dir", "acknowledge"}
    tried, bad = count_bad(story, STATES, SECONDS)
    record_property("states", tried)
    assert bad == 0
    assert tried == STATES, f"only {tried} states in {SECONDS:g} s"


def test_the_recorder_sees_an_acknowledgement_before_the_sync(tmp_path: Path) -> None:
    tried, bad = count_bad(write_story(tmp_path, too_early=True), 3000, 30)
    assert bad > tried / 20


@pytest.mark.parametrize("name", ["datasync", "sync_dir"])
def test_the_recorder_sees_a_sync_that_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    skipped: Callable[..., None] = lambda *_: None  # noqa: E731  a stand-in
    monkeypatch.setattr(Recorder, name, skipped)
    tried, bad = count_bad(write_story(tmp_path, too_early=False), 3000, 30)
    assert bad > tried / 20


def test_no_pair_of_key_and_nonce_comes_twice(tmp_path: Path) -> None:
    story = write_story(tmp_path, too_early=False)
    files = story.recorder.moments[-1].files
    pairs = [
        (name, frame.number)
        for name, file in files.items()
        for frame in wal.read_bytes(Path(name), file.synced, story.ring).frames
    ]
    assert len(pairs) == len(set(pairs)) == 13
    keys = {story.ring.get(wal.key_name(Path(name))) for name in files}
    assert len(keys) == len(files)
