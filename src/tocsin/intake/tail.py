"""Following log files: whole records in order, none lost and none twice, across rotation.

A file is known by device, inode and a digest of its first bytes, so an inode that the system gives
to a new file is not taken for the old one.  The place is kept in a mapping that the caller makes
durable, and moves only when a chunk is acknowledged: a crash between delivery and acknowledgement
brings the same lines again, never a hole.

Rotation by renaming: the old file is read to its end first, and for a while after that, because its
writer may still hold it open.  Files that came and went while nobody looked stand beside it under
names like ``access.log.2``: they are read too, in the order in which they were written, and those
that were packed since are handed to the caller as an :class:`Archive`.  Truncation
(``copytruncate``): the file is read from its start again, and a copy beside it from where the
original had been read to.  What a writer appends between copy and truncation is lost to everyone;
that is the nature of copytruncate.  What cannot be found any more is reported as a :class:`Gap`.
"""

from __future__ import annotations

import glob
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from hashlib import blake2b
from pathlib import Path
from time import monotonic
from typing import NamedTuple

import msgspec

from tocsin.intake.parsers.lines import LIMIT

__all__ = ["Archive", "Chunk", "Gap", "Position", "Tail", "head_digest", "line_boundary"]

_HEAD = 256
_ANCHOR = 64
_PACKED = (".gz", ".zst", ".bz2", ".xz", ".zip")
#: What rotation puts behind a name, or before its ending: ``.1``, ``-20261128``, ``.old``.
_ROTATED = r"[.\-_](?:\d[\d.\-_T:]*|old|prev)"


class Position(msgspec.Struct, frozen=True, gc=False):
    """How far one file was read, and how to know it again."""

    path: str  #: the watched name that it has, or had
    offset: int = 0
    head_size: int = 0  #: bytes that ``head`` covers
    head: str = ""  #: digest of the first bytes
    anchor: str = ""  #: digest of the last bytes before ``offset``
    skipping: bool = False  #: inside a line longer than 1 MiB, of which the beginning was delivered
    id: str = ""  #: of this content: a file that begins anew, or takes another's inode, has another
    written: int = 0  #: when it was last written to, as far as was known; ns


class Chunk(msgspec.Struct, frozen=True, gc=False):
    """Whole records of one file; acknowledge it once they are durable."""

    path: str
    data: bytes
    key: str
    position: Position


class Gap(msgspec.Struct, frozen=True, gc=False):
    """Something that may have been missed; it deserves an entry of its own."""

    path: str
    what: str


class Archive(msgspec.Struct, frozen=True, gc=False):
    """What was packed before it was read.  One of *paths* holds what was being read, or none."""

    paths: tuple[str, ...]  #: in the order in which they were last written to
    place: Position  #: how far the content had been read, and under which name
    key: str


def line_boundary(data: bytes, _key: str) -> int:
    """How many bytes of *data* are whole lines."""
    return data.rfind(b"\n") + 1


def head_digest(data: bytes) -> str:
    """Digest of first bytes, as in :attr:`Position.head`."""
    return blake2b(data, digest_size=16).hexdigest()


class Tail:
    """Follows the files that *paths* (names or globs) match; compressed files are left alone.

    Call :meth:`poll` from time to time, make each chunk durable and then call :meth:`ack`.
    *positions* gets an entry when a file is first seen, and a new one with each :meth:`ack`.
    """

    def __init__(
        self,
        paths: Iterable[str | Path],
        positions: MutableMapping[str, bytes],
        *,
        boundary: Callable[[bytes, str], int] = line_boundary,
        chunk: int = 1 << 20,
        linger: float = 10.0,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """*boundary*: of data and the file's key, how many bytes are whole records.

        *linger*: seconds for which a file that was renamed or removed is read on.
        """
        self._patterns = [str(path) for path in paths]
        self._positions = positions
        self._boundary = boundary
        self._chunk = max(chunk, LIMIT + 2)
        self._linger = linger
        self._clock = clock
        self._open: dict[str, _Followed] = {}
        self._gaps: list[Gap] = []
        self._archives: list[Archive] = []
        self._orphans: list[Position] = []
        self._latest: dict[str, Position] = {}  # of each watched name, what was written last
        self._looked = False

    def poll(self) -> list[Chunk]:
        """What was written since; at most one chunk a file."""
        self._find()
        chunks: list[Chunk] = []
        held: set[str] = set()  # names whose old file is not finished: the newer ones wait
        for key, file in sorted(self._open.items(), key=lambda item: not item[1].gone):
            if file.name in held:
                continue
            data = file.read(self._chunk, self._boundary, key, final=self._is_over(file))
            if data:
                file.quiet_since = None
                chunks.append(file.deliver(key, data))
            if file.gone and not self._settle(file, anything=bool(data)):
                held.add(file.name)
        self._forget()
        return chunks

    def ack(self, chunk: Chunk) -> None:
        """*chunk* is durable: move the place in its file past it.

        A crash just before leaves the old place, so the lines come again; just after, the new one.
        Chunks of a file may be acknowledged in any order, the place moves over those without holes.
        """
        file = self._open.get(chunk.key)
        if file is None:
            raise ValueError(f"{chunk.path}: not a chunk of a file that is followed")
        place = file.acknowledge(chunk)
        if place is not None:
            self._keep(chunk.key, place)
        self._forget()

    def gaps(self) -> list[Gap]:
        """What may have been missed since the last call."""
        found, self._gaps = self._gaps, []
        return found

    def archives(self) -> list[Archive]:
        """What was packed before it was read, since the last call, in the order of writing."""
        found, self._archives = self._archives, []
        return found

    def done(self, archive: Archive) -> None:
        """All of *archive* is durable.  Before this, it is handed out again at each start."""
        self._positions.pop(archive.key, None)

    def close(self) -> None:
        """Let go of the files.  Chunks not acknowledged come again with the next ``Tail``."""
        for file in self._open.values():
            file.close()
        self._open.clear()

    # -- finding ----------------------------------------------------------------------------------

    def _find(self) -> None:
        """Notice new, renamed, truncated and vanished files."""
        seen: dict[str, str] = {}
        for path in self._matches():
            if (key := _identity(path)) is not None:
                seen.setdefault(key, path)
        changed = {path for key, path in seen.items() if key not in self._open}
        changed.update(name for name in self._patterns if name not in seen.values())
        for key, file in list(self._open.items()):
            if key in seen:
                file.path = file.name = seen[key]
            elif not file.gone:
                changed.add(file.name)
            file.gone = key not in seen
            if file.rewritten():
                self._replaced(key, file)
        if not self._looked:
            self._looked = True
            self._find_rotated(seen)
        for name in changed:
            self._find_missed(name, seen)
        for key, path in seen.items():
            if key not in self._open and (new := self._take(key, path)) is not None:
                self._open[key] = new

    def _matches(self) -> Iterator[str]:
        for pattern in self._patterns:
            found = _glob(pattern) if glob.has_magic(pattern) else [pattern]
            yield from (path for path in found if not path.endswith(_PACKED))

    def _take(self, key: str, path: str) -> _Followed | None:
        """Begin with a watched file: where it was left, or from its start."""
        file = _Followed.open(path, key)
        if file is None:
            return None
        place = self._saved(key)
        if place is not None:
            if file.is_at(place):
                file.resume(msgspec.structs.replace(place, path=path))
                return file
            # The same inode, other content: truncated while nobody looked, or another file's inode.
            self._lost(place)
        for orphan in self._orphans:
            if path != orphan.path and path.startswith(orphan.path) and file.is_at(orphan):
                file.resume(msgspec.structs.replace(orphan, path=path))
                self._orphans.remove(orphan)
                break
        # Just before a crash: the file was never seen.  Just after: it is found again by its inode,
        # even if it is renamed before anything of it was acknowledged.
        self._keep(key, file.place)
        return file

    def _replaced(self, key: str, file: _Followed) -> None:
        """The file was truncated, and is read from its start again."""
        place = file.place
        file.restart()
        # Just before a crash: the old place does not fit, and the same is found.  Just after: new.
        self._keep(key, file.place)
        self._lost(place)

    def _lost(self, place: Position) -> None:
        """Content that was being read has left its file: it goes on in a copy, or cannot be found.

        A copy with a watched name of its own is met when that is taken; so it is remembered.
        """
        if not place.offset:
            return
        for sibling in _siblings(place.path):
            if sibling.key in self._open or sibling.packed:
                continue
            if self._is_mine(sibling.path):
                self._orphans = [*self._orphans[-15:], place]
                return
            if self._follow(sibling, place.path, place):
                return
        key = f"lost:{place.id}"
        if not self._is_packed(key, place, _siblings(place.path)):
            what = f"truncated or replaced after byte {place.offset:,} was read"
            self._gaps.append(Gap(place.path, f"{what}; lines written behind it may be missing"))

    def _find_rotated(self, seen: dict[str, str]) -> None:
        """After a start: files that were renamed while nobody looked, and those that are gone."""
        for key in list(self._positions):
            place = self._saved(key)
            if place is None or not self._is_mine(place.path):
                continue
            self._note(place)
            if key in seen:  # it is there, and will be taken
                continue
            siblings = _siblings(place.path)
            if not any(s.key == key and self._follow(s, place.path, place) for s in siblings):
                self._gone(key, place, siblings)

    def _gone(self, key: str, place: Position, siblings: list[_Sibling]) -> None:
        """A file that was being read is not there any more."""
        copy = (s for s in siblings if place.offset and self._follow(s, place.path, place))
        if next(copy, None) is not None:
            self._positions.pop(key, None)
            return
        if self._is_packed(key, place, siblings):
            return
        what = f"gone, after byte {place.offset:,}; lines written there may be missing"
        self._gaps.append(Gap(place.path, what))
        # Just before: it is reported again.  Just after: nothing is left to say.
        del self._positions[key]

    def _is_packed(self, key: str, place: Position, siblings: list[_Sibling]) -> bool:
        """Whether the content may be among packed files; then they are handed over, under *key*."""
        packed = [s.path for s in siblings if s.packed and s.written >= place.written]
        if packed:
            # A crash after this hands them over again; before, the old place does.
            self._keep(key, place)
            self._archives.append(Archive(tuple(packed), place, key))
        return bool(packed)

    def _find_missed(self, name: str, seen: dict[str, str]) -> None:
        """Files that came and went under *name* while nobody looked: not older than the latest."""
        place = self._latest.get(name)
        if place is None:  # it was never looked at
            return
        for sibling in _siblings(name):
            known = (self._open, seen, self._positions)
            if sibling.packed or any(sibling.key in keys for keys in known):
                continue
            if sibling.written < place.written or self._is_mine(sibling.path):
                continue
            if not _is_copy(sibling.path, place):
                self._follow(sibling, name, None)

    def _follow(self, sibling: _Sibling, name: str, place: Position | None) -> bool:
        """Follow a file that has no watched name any more, from *place* on or from its start."""
        if sibling.packed or sibling.key in self._open:
            return False
        file = _Followed.open(sibling.path, sibling.key)
        if file is None:
            return False
        if place is not None:
            if not file.is_at(place):
                file.close()
                return False
            file.resume(place)
        file.name, file.gone = name, True
        file.place = msgspec.structs.replace(file.place, path=name)
        self._open[sibling.key] = file
        self._keep(sibling.key, file.place)
        return True

    def _saved(self, key: str) -> Position | None:
        saved = self._positions.get(key)
        return None if saved is None else msgspec.msgpack.decode(saved, type=Position)

    def _keep(self, key: str, place: Position) -> None:
        self._positions[key] = msgspec.msgpack.encode(place)
        self._note(place)

    def _note(self, place: Position) -> None:
        latest = self._latest.get(place.path)
        if latest is None or place.written >= latest.written:
            self._latest[place.path] = place

    def _is_mine(self, path: str) -> bool:
        return any(
            path == pattern or (glob.has_magic(pattern) and Path(path).match(pattern))
            for pattern in self._patterns
        )

    # -- ending -----------------------------------------------------------------------------------

    def _is_over(self, file: _Followed) -> bool:
        """A file without a name has been quiet for long enough."""
        quiet = file.quiet_since
        return file.gone and quiet is not None and self._clock() - quiet >= self._linger

    def _settle(self, file: _Followed, *, anything: bool) -> bool:
        """Whether a nameless file has been read to its present end, so that its heir may begin."""
        if anything:
            return False
        if file.quiet_since is None:
            file.quiet_since = self._clock()
        elif self._is_over(file):
            file.finished = True
        return True

    def _forget(self) -> None:
        """Let go of files that are finished and acknowledged."""
        for key, file in list(self._open.items()):
            if file.finished and not file.waiting:
                file.close()
                del self._open[key]
                # Just before: it is found finished again.  Just after: the inode is anyone's.
                self._positions.pop(key, None)


class _Followed:
    """One open file, and how far it was delivered and acknowledged."""

    def __init__(self, path: str, descriptor: int) -> None:
        self.path = self.name = path
        self._descriptor = descriptor
        self.place = self._start()  #: delivered up to here
        self.waiting: list[tuple[Position, bool]] = []  # delivered, and whether acknowledged
        self.gone = False  #: has no watched name any more
        self.finished = False
        self.quiet_since: float | None = None

    @classmethod
    def open(cls, path: str, key: str) -> _Followed | None:
        """The file *path*, if it is there, is a file, and is still the one called *key*."""
        try:
            # Non-blocking: a pipe put in the file's place must not stop us.
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:  # not there yet, or not for us: next time
            return None
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or _key(found) != key:  # renamed between two looks
            os.close(descriptor)
            return None
        return cls(path, descriptor)

    def close(self) -> None:
        os.close(self._descriptor)

    def resume(self, place: Position) -> None:
        self.place = place if place.id else msgspec.structs.replace(place, id=self.place.id)

    def restart(self) -> None:
        """Read from the start again.  Chunks under way belong to the old content."""
        self.place = self._start()
        self.waiting.clear()
        self.quiet_since = None

    def _start(self) -> Position:
        written = os.fstat(self._descriptor).st_mtime_ns
        return Position(self.name, id=secrets.token_hex(8), written=written)

    def is_at(self, place: Position) -> bool:
        """The file still holds what *place* says was read of it."""
        return (
            self._size() >= place.offset
            and head_digest(self._pread(place.head_size, 0)) == place.head
            and self._anchor(place.offset) == place.anchor
        ) or place.offset == place.head_size == 0

    def rewritten(self) -> bool:
        """Truncated, or truncated and already written past the old place."""
        return self.place.offset > 0 and not self.is_at(self.place)

    def read(
        self, chunk: int, boundary: Callable[[bytes, str], int], key: str, *, final: bool
    ) -> bytes:
        """The next whole records; when *final*, also a last line without an end."""
        data = self._pread(chunk, self.place.offset)
        if not data:
            return b""
        used, out, skipping = _cut(
            data, lambda some: boundary(some, key), skipping=self.place.skipping, final=final
        )
        if used:
            self._advance(used, skipping)
        return out or (self.read(chunk, boundary, key, final=final) if used else b"")

    def deliver(self, key: str, data: bytes) -> Chunk:
        self.waiting.append((self.place, False))
        return Chunk(self.path, data, key, self.place)

    def acknowledge(self, chunk: Chunk) -> Position | None:
        """The new place, if there is no hole before it."""
        for i, (place, _) in enumerate(self.waiting):
            if place is chunk.position or place == chunk.position:
                self.waiting[i] = (place, True)
                break
        reached: Position | None = None
        while self.waiting and self.waiting[0][1]:
            reached = self.waiting.pop(0)[0]
        return reached

    def _advance(self, used: int, skipping: bool) -> None:
        offset = self.place.offset + used
        head = self._pread(min(_HEAD, offset), 0)
        self.place = Position(
            self.name,
            offset,
            len(head),
            head_digest(head),
            self._anchor(offset),
            skipping,
            self.place.id,
            os.fstat(self._descriptor).st_mtime_ns,
        )

    def _anchor(self, offset: int) -> str:
        size = min(_ANCHOR, offset)
        return head_digest(self._pread(size, offset - size))

    def _size(self) -> int:
        return os.fstat(self._descriptor).st_size

    def _pread(self, size: int, offset: int) -> bytes:
        return os.pread(self._descriptor, size, offset)


class _Sibling(NamedTuple):
    """A file whose name is a watched one's, rotated."""

    written: int  #: ns
    path: str
    key: str
    packed: bool


def _siblings(name: str) -> list[_Sibling]:
    """The rotated files beside *name*, in the order in which they were last written to."""
    folder, base = os.path.split(name)
    stem, dot, ending = base.rpartition(".")
    shapes = [re.escape(base) + _ROTATED]
    if dot and stem:
        shapes.append(re.escape(stem) + _ROTATED + re.escape(dot + ending))
    packer = "|".join(map(re.escape, _PACKED))
    pattern = re.compile(rf"(?:{'|'.join(shapes)})(?:{packer})?", re.A)
    found: list[_Sibling] = []
    try:
        names = [entry.name for entry in Path(folder or ".").iterdir()]
    except OSError:
        return []
    for other in names:
        if pattern.fullmatch(other):
            path = os.path.join(folder, other)  # noqa: PTH118 - as the watched names are written
            about = _stat(path)
            if about is not None:
                packed = other.endswith(_PACKED)
                found.append(_Sibling(about.st_mtime_ns, path, _key(about), packed))
    return sorted(found)


def _is_copy(path: str, place: Position) -> bool:
    """Whether *path* begins as the content of *place* does: a copy of it, not another file."""
    if not place.head_size:
        return False
    try:
        with Path(path).open("rb") as file:
            return head_digest(file.read(place.head_size)) == place.head
    except OSError:
        return False


def _cut(
    data: bytes, boundary: Callable[[bytes], int], *, skipping: bool, final: bool
) -> tuple[int, bytes, bool]:
    """Bytes used up, records to deliver, and whether the rest of a line is to be skipped."""
    if skipping:
        end = data.find(b"\n")
        if end < 0:
            return len(data), b"", True
        return end + 1, b"", False
    whole = boundary(data)
    if whole:
        return whole, data[:whole], False
    if len(data) > LIMIT + 1 and b"\n" not in data:
        # parse() sees one byte more than it takes, cuts the line and says so.
        return len(data), data[: LIMIT + 1] + b"\n", True
    return (len(data), data, False) if final else (0, b"", False)


def _glob(pattern: str) -> list[str]:
    return sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 - patterns may be absolute


def _key(found: os.stat_result) -> str:
    return f"{found.st_dev}:{found.st_ino}"


def _identity(path: str) -> str | None:
    """Device and inode of a regular file."""
    found = _stat(path)
    return None if found is None else _key(found)


def _stat(path: str) -> os.stat_result | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - a name, thousands of times
    except OSError:  # not there yet, or not for us: next time
        return None
    return found if stat.S_ISREG(found.st_mode) else None
