"""The write-ahead log: where a batch becomes durable, one authenticated frame each.

A file is ``wal/<first seq, 20 digits>-<file id, 32 hex digits>.wal`` and holds frames, nothing
else.  The file id is an ordinal (8 bytes, big-endian: later files have higher ones) and 8 random
bytes; the key, made for this file alone, is ``wal.<file id>`` in the key ring.

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

The payload is a 4-byte length, that many bytes of JSON (``source``, ``batch_id``, ``at``: who sent
it, under which name, and when it was taken), and an Arrow IPC stream with LZ4 buffers.  Columns
that are null in every row are left out.

**A file is never appended to after a restart or a failed sync.**  A torn frame written again under
its number would use a nonce twice.  The next file takes over instead, and its name says where: a
frame at or beyond the next file's first seq was never acknowledged, and does not count.
"""

from __future__ import annotations

import contextlib
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

from tocsin.errors import Damaged, KeyMissing, StorageFailed, TooLarge
from tocsin.vault.disk import DISK, Disk
from tocsin.vault.keys import KeyRing

__all__ = [
    "FRAME_MAX",
    "Frame",
    "Payload",
    "WalContents",
    "WalFile",
    "encode",
    "key_name",
    "read_bytes",
    "read_wal",
    "start_wal",
    "wal_files",
]

MAGIC = b"TWF1"
HEADER = struct.Struct("<4s16sIQQQI16s")
CRC = struct.Struct("<I")
HEAD_SIZE = HEADER.size + CRC.size
TAG_SIZE = 16
NO_TAG = bytes(TAG_SIZE)
FILE_NAME = re.compile(r"(\d{20})-([0-9a-f]{32})\.wal")

#: A frame's body is not longer; a header that claims more is not believed.
FRAME_MAX = 128 * 1024 * 1024


class About(msgspec.Struct, frozen=True, gc=False):
    """What is kept of a delivery beside its rows."""

    source: str
    batch_id: str | None
    at: int  #: wall clock, ns, when it was taken


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


def key_name(path: Path) -> str:
    """The name in the key ring of a file's key."""
    return f"wal.{_file_id(path).hex()}"


def first_seq_of(path: Path) -> int:
    """The seq that a file starts with, out of its name."""
    return int(path.name[:20])


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
    frame: pl.DataFrame, *, source: str, batch_id: str | None, at: int, limit: int = FRAME_MAX
) -> Payload:
    """The bytes of a delivery.  Costly, and needs no lock: callers do it in their own thread.

    LZ4 and not Zstandard: the file lives for seconds, and it takes half the time.
    """
    about = msgspec.json.encode(About(source, batch_id, at))
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
    return Frame(head.number, head.first_seq, frame, about.source, about.batch_id, about.at)


@dataclass(slots=True)
class WalFile:
    """A file being written, by one thread.  After an ``OSError`` it must be closed and left."""

    path: Path
    fd: int
    cipher: AESGCM
    disk: Disk
    number: int = 0  #: of the last frame written
    synced: int = 0  #: of the last frame known durable
    rows: int = 0  #: durable ones
    size: int = 0  #: bytes, durable ones
    next_seq: int = 0
    last_tag: bytes = field(default=NO_TAG)

    def append(self, payloads: Sequence[Payload]) -> int:
        """Write a group of frames with one call and sync it with one; the seq of its first row.

        A crash before the sync leaves a torn group, of which nobody was told; after it, frames
        that are durable though nobody was told: they are replayed, and the repeat is recognised.
        """
        first, seq = self.next_seq, self.next_seq
        buffers: list[bytes] = []
        for payload in payloads:
            buffers += self._frame(payload, seq)
            seq += payload.rows
        self.disk.write(self.fd, buffers)
        self.disk.datasync(self.fd)
        self.synced = self.number
        self.rows += seq - first
        self.size += sum(map(len, buffers))
        self.next_seq = seq
        return first

    def close(self) -> None:
        """No more frames."""
        self.disk.close(self.fd)

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
    directory: Path,
    ring: KeyRing,
    first_seq: int,
    frames: Iterable[Payload] = (),
    *,
    disk: Disk = DISK,
) -> WalFile:
    """Open a new file with a new key, holding *frames* from the start; durable when it returns.

    It appears under its name whole or not at all, since its name alone takes over from the file
    before (see above).
    """
    files = wal_files(directory)
    ordinal = 1 + (int.from_bytes(_file_id(files[-1])[:8], "big") if files else 0)
    file_id = ordinal.to_bytes(8, "big") + secrets.token_bytes(8)
    path = directory / f"{first_seq:020d}-{file_id.hex()}.wal"
    # A crash after this leaves a key without a file, which the next start drops.
    secret = ring.create(key_name(path))
    temporary, renamed = directory / f".{path.name}.tmp", False
    try:
        fd = disk.create(temporary)
        file = WalFile(path, fd, AESGCM(secret), disk, next_seq=first_seq)
        try:
            payloads = list(frames)
            if payloads:
                file.append(payloads)
            # A crash up to here leaves a temporary file, which the next start sweeps away; the
            # frames that it repeats are still in the file before.
            disk.rename(temporary, path)
            renamed = True
            disk.sync_dir(directory)
        except OSError:
            disk.close(fd)
            raise
    except OSError:
        if not renamed:
            with contextlib.suppress(OSError, StorageFailed):  # the first error is the one to tell
                disk.unlink(temporary)
                ring.drop(key_name(path))
        raise
    return file


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


def read_wal(path: Path, ring: KeyRing) -> WalContents:
    """What a file says.  A tail that was never acknowledged is *torn*; other losses are *damage*.

    Storage may keep the pages of one unsynced group in any order, so a bad frame before a good one
    is what a crash leaves inside the last group, and lost evidence before it.  ``synced_to`` of
    the frames that follow tells which.  Damage to the very last group looks like a torn one, as
    long as no later file exists: that is a limit of the unsealed window.

    Raises KeyWrong when the key ring cannot open anything: that is not damage.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        return WalContents(path, (), 0, 0, 0, f"cannot be read: {error.strerror}")
    return read_bytes(path, data, ring)


def read_bytes(path: Path, data: bytes, ring: KeyRing) -> WalContents:
    """The same, of a file that holds *data*; only the name of *path* is looked at."""
    file_id = _file_id(path)
    if not data:
        return WalContents(path, (), 0, 0, 0, None)
    try:
        cipher = AESGCM(ring.get(key_name(path)))
    except (KeyMissing, Damaged) as error:
        return WalContents(path, (), 0, 0, 0, f"its key is lost: {error}")
    heads = list(_heads(data, file_id))
    synced = max((head.synced_to for head in heads), default=0)
    good = _authentic(data, heads, cipher)
    kept: list[Frame] = []
    end, problem = 0, ""
    for number in range(1, max(good, default=0) + 1):
        if number in good:
            head, frame = good[number]
            if head.start != end:
                problem = problem or f"bytes {end} to {head.start} belong to no frame"
            kept.append(frame)
            end = head.end
        elif number > synced:
            break
        else:
            problem = problem or f"frame {number}, at byte {end}, does not authenticate"
    if synced > max(good, default=0):
        problem = problem or f"frame {synced} is missing, though a later one knew it"
    torn = 0 if max(good, default=0) < synced else len(data) - end
    known = _known_end(heads, synced)
    return WalContents(path, tuple(kept), synced, known, torn, problem or None)


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


def _nonce(number: int) -> bytes:
    return number.to_bytes(12, "little")
