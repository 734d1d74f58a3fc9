"""Storage that forgets: what a power cut may leave of what was written and not synced.

A :class:`Storage` does what a vault asks and keeps a picture of the disk after each operation.
From any picture on, a disk may have kept

* of bytes that were not synced: any prefix, any subset of their pages, zeros in the place of the
  others, flipped bits in the last of them;
* of names that were made, changed or removed since their directory was synced: any of these
  changes, each for itself, in their order.
"""

from __future__ import annotations

import functools
import itertools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tocsin.vault.disk import Disk

__all__ = ["PAGE", "Moment", "State", "Storage", "states"]

PAGE = 64  #: bytes; small, so that a small file has many

#: A change of names in one directory: name to file, or to None when the name is gone.
Change = Mapping[str, int | None]

#: What a disk holds: path below the root to content, None for a directory.
State = Mapping[Path, bytes | None]

FOLDER = -1  # stands for a directory where a file's number would


@dataclass(frozen=True)
class Bytes:
    """A file's content."""

    synced: bytes = b""
    unsynced: bytes = b""


@dataclass(frozen=True)
class Names:
    """What a directory holds, and the changes since it was synced."""

    synced: Mapping[str, int] = field(default_factory=dict)
    changes: tuple[Change, ...] = ()

    def with_changes(self, changes: Sequence[Change]) -> dict[str, int]:
        """The names when *changes* were kept."""
        merged = dict(itertools.chain(self.synced.items(), *(c.items() for c in changes)))
        return {name: number for name, number in merged.items() if number is not None}


@dataclass(frozen=True)
class Moment:
    """The disk between two operations."""

    after: str  #: the operation
    files: Mapping[int, Bytes]
    folders: Mapping[Path, Names]
    beside: object  #: whatever else was to be remembered of this moment


class Storage(Disk):
    """The operating system's disk below *root*, with a memory of what is synced.

    *beside* is asked at each moment for what belongs to it: the same object while nothing changes.
    """

    def __init__(self, root: Path, beside: Callable[[], object]) -> None:
        super().__init__()
        self.moments: list[Moment] = []
        self._beside = beside
        self._files: dict[int, Bytes] = {}
        self._folders: dict[Path, Names] = {root: Names()}
        self._open: dict[int, int] = {}

    def mkdir(self, path: Path) -> None:
        if not path.is_dir():
            self._change(path.parent, {path.name: FOLDER})
            self._folders[path] = Names()
        super().mkdir(path)
        self.picture("mkdir")

    def create(self, path: Path) -> int:
        fd = super().create(path)
        number = self._open[fd] = len(self._files)
        self._files[number] = Bytes()
        self._change(path.parent, {path.name: number})
        self.picture("create")
        return fd

    def write(self, fd: int, buffers: Sequence[bytes]) -> None:
        super().write(fd, buffers)
        old = self._files[self._open[fd]]
        self._files[self._open[fd]] = Bytes(old.synced, old.unsynced + b"".join(buffers))
        self.picture("write")

    def datasync(self, fd: int) -> None:
        old = self._files[self._open[fd]]
        self._files[self._open[fd]] = Bytes(old.synced + old.unsynced)
        self.picture("datasync")

    def rename(self, old: Path, new: Path) -> None:
        super().rename(old, new)
        assert old.parent == new.parent, "across directories a rename is two changes"
        number = self._now(old.parent)[old.name]
        self._change(old.parent, {old.name: None, new.name: number})
        self.picture("rename")

    def unlink(self, path: Path) -> None:
        super().unlink(path)
        if path.name in self._now(path.parent):
            self._change(path.parent, {path.name: None})
            self.picture("unlink")

    def sync_dir(self, path: Path) -> None:
        if path in self._folders:  # not what lies above the root
            self._folders[path] = Names(self._now(path))
            self.picture("sync_dir")

    def picture(self, after: str) -> None:
        """Keep the present moment."""
        self.moments.append(Moment(after, dict(self._files), dict(self._folders), self._beside()))

    def _now(self, folder: Path) -> dict[str, int]:
        names = self._folders[folder]
        return names.with_changes(names.changes)

    def _change(self, folder: Path, change: Change) -> None:
        names = self._folders[folder]
        self._folders[folder] = Names(names.synced, (*names.changes, change))


def states(
    moments: Sequence[Moment], root: Path, chance: random.Random
) -> Iterator[tuple[State, Moment]]:
    """Different states of what is below *root*, moment by moment in turns.  Ends when all are seen.

    A moment is given up when it has offered nothing new fifty times in a row.
    """
    streams = [(_states_of(moment, root, chance), moment) for moment in moments]
    seen: set[int] = set()
    while streams:
        for stream, moment in list(streams):
            for state in itertools.islice(stream, 50):
                key = hash((id(moment.beside), frozenset(state.items())))
                if key not in seen:
                    seen.add(key)
                    yield state, moment
                    break
            else:
                streams.remove((stream, moment))


def _states_of(moment: Moment, root: Path, chance: random.Random) -> Iterator[State]:
    loose = {n: _tails(f.unsynced, chance) for n, f in moment.files.items() if f.unsynced}
    while True:
        kept: dict[int, bytes] = {}  # two names of one file show the same bytes
        state: dict[Path, bytes | None] = {}
        for path, number in _walk(moment, root, Path(), chance):
            if number == FOLDER:
                state[path] = None
                continue
            if number not in kept:
                tail = next(loose[number]) if number in loose else b""
                kept[number] = moment.files[number].synced + tail
            state[path] = kept[number]
        yield state


def _walk(
    moment: Moment, root: Path, folder: Path, chance: random.Random
) -> Iterator[tuple[Path, int]]:
    names = moment.folders[_join(root, str(folder))]
    for name, number in names.with_changes(_kept(names.changes, chance)).items():
        path = _join(folder, name)
        yield path, number
        if number == FOLDER:
            yield from _walk(moment, root, path, chance)


@functools.cache
def _join(folder: Path, name: str) -> Path:
    """The same paths come again for each of very many states."""
    return folder / name


def _kept(changes: Sequence[Change], chance: random.Random) -> Sequence[Change]:
    """A prefix of *changes*, as a journal keeps them; or any of them, as no one promised not to."""
    if chance.random() < 0.5:
        return changes[: chance.randrange(len(changes) + 1)]
    keep = chance.random()
    return [change for change in changes if chance.random() < keep]


def _tails(unsynced: bytes, chance: random.Random) -> Iterator[bytes]:
    """What storage may have kept of bytes that were not synced.  Endless."""
    pages = [unsynced[i : i + PAGE] for i in range(0, len(unsynced), PAGE)]
    yield from (b"", unsynced)
    for size in range(1, min(len(unsynced), 4096)):
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
