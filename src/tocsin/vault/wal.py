"""The write-ahead log: where a batch becomes durable, one authenticated frame each.

A file is ``wal/<first seq, 20 digits>-<file id, 32 hex digits>.wal`` and holds frames, nothing
else.  The file id is an ordinal (8 bytes, big-endian: later files have higher ones) and 8 random
bytes.

**What belongs to the log its keys say, never a name.**  ``wal.<file id>`` in the key ring was made
for this file alone.  Its secret is the key (32 bytes), the file's first seq and the seq up to which
its rows are known to be durable (8 bytes each).  The order of writes: the key, with 0 for the last;
the first group of frames, under a temporary name; the file's name; the key again, with the seq
after that group; only then is the group acknowledged.  So a file without a key was never ours; one
that lacks its first group, or is gone while its key promises rows, has lost acknowledged rows; and
a key that promises nothing may be without a file.

Layout of a frame, integers little-endian; the whole header is associated data of the body::

    offset  size  content
    0       4     "TWF1": magic and format version
    4       16    file id
    20      4     length of the body
    24      8     frame number, from 1; also the nonce, as 12 bytes little-endian
    32      8     synced_to: the last frame known durable when this one was written, 0 for none
    40      8     seq of the first row
    48      4     rows
    52      16    tag of the frame before, zero for the first
    68      4     CRC-32 of the 68 bytes before
    72      ...   AES-256-GCM of the payload, with its 16-byte tag

The payload is a 4-byte length, that many bytes of JSON (``source``, ``batch_id``, ``at``,
``content``: who sent it, under which name, when it was taken, and a keyed hash of the body it came
in), and an Arrow IPC stream with LZ4 buffers.  Columns that are null in every row are left out.

**A file is never appended to after a restart or a failed sync.**  A torn frame written again under
its number would use a nonce twice.  The next file takes over instead, from its first seq on: a
frame of an earlier file at or beyond that was never acknowledged, and does not count.
"""

from __future__ import annotations

import io
import re
import secrets
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import msgspec
import polars as pl
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tocsin.errors import Damaged, KeyMissing, TooLarge
from tocsin.vault.disk import DISK, Disk, read_file
from tocsin.vault.keys import KeyRing

__all__ = [
    "FRAME_MAX",
    "Frame",
    "Payload",
    "Wal",
    "WalContents",
    "WalFile",
    "claimed",
    "encode",
    "key_name",
    "read_all",
    "read_bytes",
    "read_wal",
    "remove",
    "start_wal",
    "wal_files",
]

MAGIC = b"TWF1"
HEADER = struct.Struct("<4s16sIQQQI16s")
CRC = struct.Struct("<I")
HEAD_SIZE = HEADER.size + CRC.size
TAG_SIZE = 16
NO_TAG = bytes(TAG_SIZE)
FILE_NAME = re.compile(r"([0-9]{20})-([0-9a-f]{32})\.wal")
NO_KEY = "it has no key: this vault never wrote it, or somebody took the key away"
KEY_NAME = re.compile(r"wal\.([0-9a-f]{32})")
SECRET = struct.Struct("<32sQQ")  # key, first seq, seq up to which rows are known to be durable

#: A frame's body is not longer; a header that claims more is not believed.
FRAME_MAX = 128 * 1024 * 1024


class About(msgspec.Struct, frozen=True, gc=False):
    """What is kept of a delivery beside its rows."""

    source: str
    batch_id: str | None
    at: int  #: wall clock, ns, when it was taken
    content: str | None = None  #: keyed hash of the body it came in


class Payload(NamedTuple):
    """A batch, encoded, still without its place in the log."""

    rows: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Frame:
    """One delivery as it stands in the log."""

    number: int
    first_seq: int
    frame: pl.DataFrame
    source: str
    batch_id: str | None
    at: int
    content: str | None = None

    @property
    def rows(self) -> int:
        """How many rows it holds."""
        return self.frame.height

    @property
    def next_seq(self) -> int:
        """The seq of whatever comes after."""
        return self.first_seq + self.frame.height


@dataclass(frozen=True, slots=True)
class WalContents:
    """What a file says, after everything that cannot be believed is taken out."""

    path: Path
    frames: tuple[Frame, ...]  #: authenticated, ascending; with holes only when damaged
    synced: int  #: frames up to this number are known to have been durable
    known_end: int  #: rows below this seq are known to have been durable
    torn_bytes: int  #: a tail that was never acknowledged, cut off
    damaged: str | None  #: why acknowledged rows of this file cannot be read, if so
    first_seq: int | None = None  #: by its key; None when that is lost
    promised: int = 0  #: by its key, rows below this seq are durable; 0 for none

    @property
    def takes_over_from(self) -> int | None:
        """The seq from which on files before it do not count; None if it never held a group."""
        return self.first_seq if self.promised or (self.frames and not self.damaged) else None


class Wal(NamedTuple):
    """All that a write-ahead log's folder and keys say."""

    files: list[WalContents]  #: those with a key, in the order in which they were opened
    strange: list[tuple[Path, str]]  #: files and keys that are no part of it, and why
    ordinal: int  #: of the next file


def key_name(path: Path) -> str:
    """The name in the key ring of a file's key."""
    return f"wal.{_file_id(path).hex()}"


def _file_id(path: Path) -> bytes:
    match = FILE_NAME.fullmatch(path.name)
    if match is None:
        raise Damaged(f"{path}: not the name of a write-ahead log; move the file elsewhere")
    return bytes.fromhex(match[2])


def wal_files(directory: Path) -> list[Path]:
    """The files of a write-ahead log, in the order in which they were opened."""
    return sorted(
        (path for path in directory.iterdir() if FILE_NAME.fullmatch(path.name)), key=_file_id
    )


def encode(
    frame: pl.DataFrame,
    *,
    source: str,
    batch_id: str | None,
    at: int,
    content: str | None = None,
    limit: int = FRAME_MAX,
) -> Payload:
    """The bytes of a delivery.  Costly, and needs no lock: callers do it in their own thread.

    LZ4 and not Zstandard: the file lives for seconds, and it takes half the time.
    """
    about = msgspec.json.encode(About(source, batch_id, at, content))
    buffer = io.BytesIO()
    buffer.write(len(about).to_bytes(4, "little") + about)
    # A frame of our own, at no cost: while one thread writes a frame, Polars holds it locked, and
    # another that merely asks its height waits with the interpreter's lock in hand, for ever.
    # The oldest level: the layout that every Arrow reader of the last years understands.
    frame.clone().write_ipc_stream(buffer, compression="lz4", compat_level=pl.CompatLevel.oldest())
    if buffer.tell() + TAG_SIZE > limit:
        raise TooLarge(
            f"a batch of {frame.height} rows takes {buffer.tell()} bytes, the limit is {limit}; "
            "send it in smaller parts"
        )
    return Payload(frame.height, buffer.getvalue())


def _decode(head: _Head, data: bytes) -> Frame:
    size = int.from_bytes(data[:4], "little")
    about = msgspec.json.decode(data[4 : 4 + size], type=About)
    frame = pl.read_ipc_stream(io.BytesIO(memoryview(data)[4 + size :]))
    if frame.height != head.rows:
        raise ValueError(f"{frame.height} rows instead of {head.rows}")
    return Frame(head.number, head.first_seq, frame, *msgspec.structs.astuple(about))


@dataclass(slots=True)
class WalFile:
    """A file being written, by one thread.  After an error it must be closed and left."""

    path: Path  #: from the first group on; before that only `temporary` is there
    temporary: Path
    fd: int
    secret: bytes = field(repr=False)
    ring: KeyRing
    disk: Disk
    next_seq: int
    cipher: AESGCM = field(init=False)
    number: int = 0  #: of the last frame written
    synced: int = 0  #: of the last frame known durable
    rows: int = 0  #: durable ones
    size: int = 0  #: bytes, durable ones
    named: bool = False  #: it has its name, or may have it
    last_tag: bytes = field(default=NO_TAG)

    def __post_init__(self) -> None:
        self.cipher = AESGCM(self.secret)

    def append(self, payloads: Sequence[Payload]) -> int:
        """Write a group of frames with one call and sync it with one; the seq of its first row.

        A crash before the sync leaves a torn group, of which nobody was told; after it, frames
        that are durable though nobody was told: they are replayed, and the repeat is recognised.
        Raises OSError or StorageFailed.
        """
        first, seq = self.next_seq, self.next_seq
        buffers: list[bytes] = []
        for payload in payloads:
            buffers += self._frame(payload, seq)
            seq += payload.rows
        self.disk.write(self.fd, buffers)
        self.disk.datasync(self.fd)
        if not self.named:
            self._appear(first, seq)
        self.synced = self.number
        self.rows += seq - first
        self.size += sum(map(len, buffers))
        self.next_seq = seq
        return first

    def _appear(self, first: int, end: int) -> None:
        """Take the file's name, now that its first group is in it, and promise that group."""
        # A crash before this leaves a temporary file and a key that promises nothing: the next
        # start removes both.
        self.named = True
        self.disk.rename(self.temporary, self.path)
        self.disk.sync_dir(self.path.parent)
        # A crash here leaves the whole group, as after any sync.
        self.ring.put(key_name(self.path), SECRET.pack(self.secret, first, end))
        # From here on a file that is gone is missed.

    def close(self) -> None:
        """No more frames."""
        self.disk.close(self.fd)

    def discard(self) -> None:
        """Remove what did not get its name, and its key with it.  Raises OSError."""
        self.disk.unlink(self.temporary)
        if not self.named:
            self.ring.drop(key_name(self.path))

    def _frame(self, payload: Payload, seq: int) -> tuple[bytes, bytes]:
        # The number is taken even if the write fails, so that no nonce is ever used twice.
        self.number += 1
        head = HEADER.pack(
            MAGIC,
            _file_id(self.path),
            len(payload.data) + TAG_SIZE,
            self.number,
            self.synced,
            seq,
            payload.rows,
            self.last_tag,
        )
        head += CRC.pack(zlib.crc32(head))
        body = self.cipher.encrypt(_nonce(self.number), payload.data, head)
        self.last_tag = body[-TAG_SIZE:]
        return head, body


def start_wal(
    directory: Path, ring: KeyRing, first_seq: int, *, ordinal: int | None = None, disk: Disk = DISK
) -> WalFile:
    """A new file with a new key, which is durable when this returns.

    It appears under its name with its first group in it, or not at all.  *ordinal* is that of
    :class:`Wal`, and one more for each file since; without it the keys are asked.
    """
    if ordinal is None:
        ordinal = _ordinal(_keyed(directory, ring)[0])
    file_id = ordinal.to_bytes(8, "big") + secrets.token_bytes(8)
    path = directory / f"{first_seq:020d}-{file_id.hex()}.wal"
    secret = secrets.token_bytes(32)
    ring.put(key_name(path), SECRET.pack(secret, first_seq, 0))
    # A crash here leaves a key that promises nothing, which the next start drops.
    temporary = directory / f".{path.name}.tmp"
    return WalFile(path, temporary, disk.create(temporary), secret, ring, disk, first_seq)


def remove(paths: Sequence[Path], ring: KeyRing, *, disk: Disk = DISK) -> None:
    """Remove files, given in the order of their opening, and then their keys.

    The newest goes when the others are gone for good: while it is there, what was left in them of
    failed writes does not count.  A crash leaves some files, or keys whose rows are all sealed.
    """
    for part in (paths[:-1], paths[-1:]):
        for path in part:
            disk.unlink(path)
        for folder in dict.fromkeys(path.parent for path in part):
            disk.sync_dir(folder)
    for path in paths:
        ring.drop(key_name(path))


class _Head(NamedTuple):
    number: int
    synced_to: int
    first_seq: int
    rows: int
    previous: bytes
    start: int
    end: int


def _head(data: bytes, start: int, file_id: bytes) -> _Head | None:
    """The header at *start*, if there is one that may be believed."""
    raw = data[start : start + HEAD_SIZE]
    if (
        len(raw) < HEAD_SIZE
        or zlib.crc32(raw[: HEADER.size]) != CRC.unpack_from(raw, HEADER.size)[0]
    ):
        return None
    magic, its_id, length, number, synced_to, first_seq, rows, previous = HEADER.unpack_from(raw)
    if magic != MAGIC or its_id != file_id or not TAG_SIZE <= length <= FRAME_MAX or not number:
        return None
    end = start + HEAD_SIZE + length
    return _Head(number, synced_to, first_seq, rows, previous, start, end)


def _heads(data: bytes, file_id: bytes) -> Iterator[_Head]:
    """Every header that may be believed, also behind places that may not."""
    mark, start = MAGIC + file_id, 0
    while 0 <= start < len(data):
        head = _head(data, start, file_id)
        if head is not None:
            yield head
        if head is not None and data.startswith(mark, head.end):
            start = head.end
        else:  # the end, or damage: look for the next place that looks like a frame
            start = data.find(mark, start + 1)


def read_all(directory: Path, ring: KeyRing) -> Wal:
    """What the log in *directory* says, in which nobody writes.  Raises KeyWrong."""
    keyed, lost = _keyed(directory, ring)
    found = sorted(path for path in directory.iterdir() if FILE_NAME.fullmatch(path.name))
    strange = [(path, NO_KEY) for path in found if path not in keyed]
    return Wal([read_wal(path, ring) for path in keyed], [*lost, *strange], _ordinal(keyed))


def _keyed(directory: Path, ring: KeyRing) -> tuple[list[Path], list[tuple[Path, str]]]:
    """The files that there are keys for, in the order of their opening; and keys that are damaged.

    A key knows its file's first seq, so only one name goes with it.
    """
    keyed: list[Path] = []
    lost: list[tuple[Path, str]] = []
    for name in ring.names():
        match = KEY_NAME.fullmatch(name)
        if match is not None:
            try:
                key = _key(ring, name)
            except Damaged as error:
                lost.append((ring.path(name), str(error)))
            else:
                keyed.append(directory / f"{key.first_seq:020d}-{match[1]}.wal")
    return sorted(keyed, key=_file_id), lost


def _ordinal(keyed: Sequence[Path]) -> int:
    """Of the next file.  Names do not count: anybody may give one."""
    return 1 + max((int.from_bytes(_file_id(path)[:8], "big") for path in keyed), default=0)


class _Key(NamedTuple):
    secret: bytes
    first_seq: int
    promised: int  # rows below this seq are durable; 0 as long as the file has no name


def _key(ring: KeyRing, name: str) -> _Key:
    secret = ring.get(name)
    if len(secret) != SECRET.size:
        raise Damaged(f"{ring.path(name)}: not the key of a write-ahead log")
    return _Key(*SECRET.unpack(secret))


def read_wal(path: Path, ring: KeyRing) -> WalContents:
    """What a file says.  A tail that was never acknowledged is *torn*; other losses are *damage*.

    Storage may keep the pages of one unsynced group in any order, so a bad frame before a good one
    is what a crash leaves inside the last group, and lost evidence before it.  ``synced_to`` of
    the frames that follow tells which, and the key for the first group.  Damage to the very last
    group looks like a torn one, as long as no later file exists: that is a limit of the unsealed
    window.

    Raises KeyWrong when the key ring cannot open anything: that is not damage.
    """
    try:
        return read_bytes(path, read_file(path), ring)
    except FileNotFoundError:
        return read_bytes(path, None, ring)
    except OSError as error:
        return read_bytes(path, None, ring, f"cannot be read: {error.strerror}")
    except Damaged:
        return read_bytes(path, None, ring, "not a regular file")


def read_bytes(
    path: Path, data: bytes | None, ring: KeyRing, problem: str | None = None
) -> WalContents:
    """The same, of a file that holds *data*; only the name of *path* is looked at.

    Without *data* it is gone, or cannot be read because of *problem*.
    """
    try:
        key = _key(ring, key_name(path))
    except (KeyMissing, Damaged) as error:
        return WalContents(path, (), 0, 0, 0, f"its key is lost: {error}")
    if data is None:
        lost = problem or ("it is gone" if key.promised else None)
        return WalContents(path, (), 0, key.promised, 0, lost, key.first_seq, key.promised)
    heads = list(_heads(data, _file_id(path)))
    synced = max((head.synced_to for head in heads), default=0)
    good = _authentic(data, heads, AESGCM(key.secret))
    last = max(good, default=0)
    kept: list[Frame] = []
    end, seq = 0, key.first_seq
    for number in range(1, last + 1):
        if number in good:
            head, frame = good[number]
            if head.start != end:
                problem = problem or f"bytes {end} to {head.start} belong to no frame"
            kept.append(frame)
            end, seq = head.end, frame.next_seq
        elif number > synced and seq >= key.promised:
            break
        else:
            problem = problem or f"frame {number}, at byte {end}, does not authenticate"
    if synced > last:
        problem = problem or f"frame {synced} is missing, though a later one knew it"
    # Whole groups that are lost at its end: the first, without which it would not have its name.
    cut = seq < key.promised or not (key.promised or (kept and end == len(data)))
    if cut:
        problem = problem or f"its first group is not whole: byte {end} belongs to no good frame"
    torn = 0 if cut or last < synced else len(data) - end
    known = max(_known_end(heads, synced), key.promised)
    return WalContents(path, tuple(kept), synced, known, torn, problem, key.first_seq, key.promised)


def _known_end(heads: Iterable[_Head], synced: int) -> int:
    """The seq up to which rows were durable, as far as the headers tell."""
    ends = [head.first_seq + head.rows for head in heads if head.number <= synced]
    starts = [head.first_seq for head in heads if head.number == head.synced_to + 1]
    return max([*ends, *starts], default=0)


def _authentic(
    data: bytes, heads: Iterable[_Head], cipher: AESGCM
) -> dict[int, tuple[_Head, Frame]]:
    """The frames that authenticate and continue one another, by number."""
    good: dict[int, tuple[_Head, Frame]] = {}
    last, tag = 0, NO_TAG
    for head in heads:
        if head.number <= last or head.end > len(data):
            continue
        if head.number == last + 1 and head.previous != tag:
            continue
        sealed = data[head.start + HEAD_SIZE : head.end]
        about = data[head.start : head.start + HEAD_SIZE]
        try:
            frame = _decode(head, cipher.decrypt(_nonce(head.number), sealed, about))
        except (InvalidTag, ValueError, pl.exceptions.PolarsError, msgspec.MsgspecError):
            continue
        good[head.number] = head, frame
        last, tag = head.number, sealed[-TAG_SIZE:]
    return good


def claimed(path: Path) -> int:
    """How many rows the headers of a file without a key speak of; nobody can check them."""
    try:
        data = read_file(path)
        heads = {head.number: head.rows for head in _heads(data, _file_id(path))}
    except (OSError, Damaged):
        return 0
    return sum(heads.values())


def _nonce(number: int) -> bytes:
    return number.to_bytes(12, "little")
