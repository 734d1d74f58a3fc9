"""Following log files: whole records in order, none lost and none twice, across rotation.

A file is known by device, inode and a digest of its first bytes, so an inode that the system gives
to a new file is not taken for the old one.  The place is kept in a mapping that the caller makes
durable, and moves only when a chunk is acknowledged: a crash between delivery and acknowledgement
brings the same lines again, never a hole.

Rotation by renaming: the old file is read to its end first, and for a while after that, because its
writer may still hold it open.  Truncation (``copytruncate``): the file is read from its start
again, and the copy, if it is watched too, from where the original had been read to.  What a writer
appends between copy and truncation is lost to everyone; that is the nature of copytruncate.
"""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from hashlib import blake2b
from pathlib import Path
from time import monotonic

import msgspec

from tocsin.intake.parsers.lines import LIMIT

__all__ = ["Chunk", "Gap", "Position", "Tail", "line_boundary"]

_HEAD = 256
_ANCHOR = 64
_SKIP = (".gz", ".zst", ".bz2", ".xz", ".zip")


class Position(msgspec.Struct, frozen=True, gc=False):
    """How far one file was read, and how to know it again."""

    path: str  #: where it was last seen
    offset: int = 0
    head_size: int = 0  #: bytes that ``head`` covers
    head: str = ""  #: digest of the first bytes
    anchor: str = ""  #: digest of the last bytes before ``offset``
    skipping: bool = False  #: inside a line longer than 1 MiB, of which the beginning was delivered


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


def line_boundary(data: bytes) -> int:
    """How many bytes of *data* are whole lines."""
    return data.rfind(b"\n") + 1


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
        boundary: Callable[[bytes], int] = line_boundary,
        chunk: int = 1 << 20,
        linger: float = 10.0,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """*linger*: seconds for which a file that was renamed or removed is read on."""
        self._patterns = [str(path) for path in paths]
        self._positions = positions
        self._boundary = boundary
        self._chunk = max(chunk, LIMIT + 2)
        self._linger = linger
        self._clock = clock
        self._open: dict[str, _Followed] = {}
        self._gaps: list[Gap] = []
        self._orphans: list[Position] = []
        self._looked = False

    def poll(self) -> list[Chunk]:
        """What was written since; at most one chunk a file."""
        self._find()
        chunks: list[Chunk] = []
        held: set[str] = set()  # names whose old file is not finished: the new one waits
        for key, file in sorted(self._open.items(), key=lambda item: not item[1].gone):
            if not file.gone and file.path in held:
                continue
            data = file.read(self._chunk, self._boundary, final=self._is_over(file))
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
            self._positions[chunk.key] = msgspec.msgpack.encode(place)
        self._forget()

    def gaps(self) -> list[Gap]:
        """What may have been missed since the last call."""
        found, self._gaps = self._gaps, []
        return found

    def close(self) -> None:
        """Let go of the files.  Chunks not acknowledged come again with the next ``Tail``."""
        for file in self._open.values():
            file.close()
        self._open.clear()

    def _find(self) -> None:
        """Notice new, renamed, truncated and vanished files."""
        seen: dict[str, str] = {}
        for path in self._matches():
            if (key := _identity(path)) is not None:
                seen.setdefault(key, path)
        for key, file in self._open.items():
            if key in seen:
                file.path, file.gone = seen[key], False
                if file.rewritten():
                    self._orphan(file.place)
                    file.restart()
            else:
                file.gone = True
        for key, path in seen.items():
            if key not in self._open and (new := self._take(key, path)) is not None:
                self._open[key] = new
        if not self._looked:
            self._looked = True
            self._find_renamed()

    def _matches(self) -> Iterator[str]:
        for pattern in self._patterns:
            found = _glob(pattern) if glob.has_magic(pattern) else [pattern]
            yield from (path for path in found if not path.endswith(_SKIP))

    def _take(self, key: str, path: str) -> _Followed | None:
        """Begin with a file: where it was left, or from its start."""
        descriptor = _open(path)
        if descriptor is None:
            return None
        if _key(os.fstat(descriptor)) != key:  # renamed between the two looks: next time
            os.close(descriptor)
            return None
        file = _Followed(path, descriptor, Position(path))
        saved = self._positions.get(key)
        if saved is not None:
            place = msgspec.msgpack.decode(saved, type=Position)
            if file.is_at(place):
                file.resume(msgspec.structs.replace(place, path=path))
                return file
            # The same inode, other content: the old file is gone, and its name may be too.
            self._orphan(place)
        for orphan in self._orphans:
            is_copy = path != orphan.path and path.startswith(orphan.path)
            if is_copy and orphan.offset and file.is_at(orphan):
                file.resume(msgspec.structs.replace(orphan, path=path))
                self._orphans.remove(orphan)
                break
        # Just before a crash: the file was never seen.  Just after: it is found again by its inode,
        # even if it is renamed before anything of it was acknowledged.
        self._positions[key] = msgspec.msgpack.encode(file.place)
        return file

    def _orphan(self, place: Position) -> None:
        """Remember what was read of content that is gone; a copy of it may turn up."""
        self._orphans = [*self._orphans[-15:], place]

    def _find_renamed(self) -> None:
        """After a start: files that were renamed while nobody looked, and those that are gone."""
        for key in [key for key in self._positions if key not in self._open]:
            place = msgspec.msgpack.decode(self._positions[key], type=Position)
            if not self._is_mine(place.path):
                continue
            for sibling in _glob(glob.escape(place.path) + "*"):
                if sibling.endswith(_SKIP) or _identity(sibling) != key:
                    continue
                file = self._take(key, sibling)
                if file is not None:
                    file.name, file.gone = place.path, True
                    self._open[key] = file
                break
            else:
                what = f"gone, after byte {place.offset:,}; lines written there may be missing"
                self._gaps.append(Gap(place.path, what))
                # Just before: it is reported again.  Just after: nothing is left to say.
                del self._positions[key]

    def _is_mine(self, path: str) -> bool:
        return any(
            path == pattern or (glob.has_magic(pattern) and Path(path).match(pattern))
            for pattern in self._patterns
        )

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

    def __init__(self, path: str, descriptor: int, place: Position) -> None:
        self.path = self.name = path
        self.place = place  #: delivered up to here
        self.waiting: list[tuple[Position, bool]] = []  # delivered, and whether acknowledged
        self.gone = False  #: has no watched name any more
        self.finished = False
        self.quiet_since: float | None = None
        self._descriptor = descriptor

    def close(self) -> None:
        os.close(self._descriptor)

    def resume(self, place: Position) -> None:
        self.place = place

    def restart(self) -> None:
        """Read from the start again.  Chunks under way belong to the old content."""
        self.place = Position(self.path)
        self.waiting.clear()
        self.quiet_since = None

    def is_at(self, place: Position) -> bool:
        """The file still holds what *place* says was read of it."""
        return (
            self._size() >= place.offset
            and _digest(self._pread(place.head_size, 0)) == place.head
            and self._anchor(place.offset) == place.anchor
        ) or place.offset == place.head_size == 0

    def rewritten(self) -> bool:
        """Truncated, or truncated and already written past the old place."""
        return self.place.offset > 0 and not self.is_at(self.place)

    def read(self, chunk: int, boundary: Callable[[bytes], int], *, final: bool) -> bytes:
        """The next whole records; when *final*, also a last line without an end."""
        data = self._pread(chunk, self.place.offset)
        if not data:
            return b""
        used, out, skipping = _cut(data, boundary, skipping=self.place.skipping, final=final)
        if used:
            self._advance(used, skipping)
        return out or (self.read(chunk, boundary, final=final) if used else b"")

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
            self.path, offset, len(head), _digest(head), self._anchor(offset), skipping
        )

    def _anchor(self, offset: int) -> str:
        size = min(_ANCHOR, offset)
        return _digest(self._pread(size, offset - size))

    def _size(self) -> int:
        return os.fstat(self._descriptor).st_size

    def _pread(self, size: int, offset: int) -> bytes:
        return os.pread(self._descriptor, size, offset)


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


def _digest(data: bytes) -> str:
    return blake2b(data, digest_size=16).hexdigest()


def _glob(pattern: str) -> list[str]:
    return sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 - patterns may be absolute


def _key(found: os.stat_result) -> str:
    return f"{found.st_dev}:{found.st_ino}"


def _identity(path: str) -> str | None:
    """Device and inode of a regular file."""
    try:
        found = os.stat(path)  # noqa: PTH116 - a name, thousands of times
    except OSError:  # not there yet, or not for us: next time
        return None
    return _key(found) if stat.S_ISREG(found.st_mode) else None


def _open(path: str) -> int | None:
    try:
        # Non-blocking: a pipe put in the file's place must not stop us.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:  # as above
        return None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        return None
    return descriptor
