"""The unsealed tail: the write-ahead log, read a second time, for the verifier alone.

A file belongs to the log by its key, whose secret says with which seq it begins and up to which
its rows were promised when it got its name.  A name alone says nothing: anybody may give one.
"""

from __future__ import annotations

import contextlib
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tocsin.vault.verify_files import WAL_NAME

__all__ = ["Key", "Wal", "by_key", "claimed", "key_of", "lay_out", "read_wal", "wal_names"]

_SECRET = struct.Struct("<32sQQ")


@dataclass(frozen=True, slots=True)
class Key:
    """What the key of a file says of it."""

    path: Path  #: of the file, there or not
    secret: bytes
    first_seq: int
    promised: int  #: rows below this seq are in it; 0 when it never got its name


@dataclass(frozen=True, slots=True)
class Wal:
    """What a file says."""

    path: Path
    first_seq: int
    promised: int
    frames: list[tuple[int, int]]  #: first seq and rows
    torn: int
    damaged: str | None

    @property
    def takes_over_from(self) -> int | None:
        """The seq from which on earlier files do not count; None if it never held a group."""
        return self.first_seq if self.promised or (self.frames and not self.damaged) else None


def wal_names(folder: Path) -> list[str]:
    """The names in *folder* that a file of the write-ahead log could have."""
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return sorted(name for name in names if WAL_NAME.fullmatch(name))


def key_of(folder: Path, file_id: str, secret: bytes) -> Key | None:
    """The key with this secret; None when it is that of no file."""
    if len(secret) != _SECRET.size:
        return None
    key, first, promised = _SECRET.unpack(secret)
    return Key(folder / f"{first:020d}-{file_id}.wal", key, first, promised)


def by_key(folder: Path, secrets: Mapping[str, bytes]) -> tuple[dict[str, Key], list[str]]:
    """The keys among *secrets* by file id, in the order of the files; names of those that are none.

    The id is the name of the key after ``wal.``.
    """
    ids = sorted(name.removeprefix("wal.") for name in secrets if name.startswith("wal."))
    found = {each: key_of(folder, each, secrets[f"wal.{each}"]) for each in ids}
    keys = {each: key for each, key in found.items() if key is not None}
    return keys, [f"wal.{each}" for each, key in found.items() if key is None]


def read_wal(key: Key, data: bytes | None) -> Wal:
    """What the file of *key* says, which holds *data*; None when it is gone."""
    if data is None:
        return Wal(key.path, key.first_seq, key.promised, [], 0, None)
    name = bytes.fromhex(key.path.name[21:53])
    good, synced = _frames(data, name, key.secret)
    last = max(good, default=0)
    end, whole, seq, damaged = 0, 0, key.first_seq, None
    for number in range(1, last + 1):
        if number not in good and number > synced and seq >= key.promised:
            break
        if number not in good:
            damaged = damaged or f"frame {number}, at byte {end}, does not authenticate"
            continue
        if good[number][0] != end:
            damaged = damaged or f"bytes {end} to {good[number][0]} belong to no frame"
        _, end, first, rows = good[number]
        whole, seq = number, first + rows
    if synced > last:
        damaged = damaged or f"frame {synced} is missing, though a later one knew it"
    cut = seq < key.promised or not (key.promised or (whole and end == len(data)))
    if cut:
        damaged = damaged or "its first group, without which it would have no name, is not whole"
    frames = [good[n][2:] for n in sorted(good) if n <= whole]
    torn = 0 if cut else len(data) - end
    return Wal(key.path, key.first_seq, key.promised, frames, torn, damaged)


def _frames(
    data: bytes, name: bytes, key: bytes
) -> tuple[dict[int, tuple[int, int, int, int]], int]:
    """Frames that authenticate and continue one another: by number, first and last byte, first seq
    and rows.  And the last number that any header calls durable.
    """
    cipher, mark = AESGCM(key), b"TWF1" + name
    good: dict[int, tuple[int, int, int, int]] = {}
    synced = last = 0
    tag, start = bytes(16), data.find(mark)
    while start >= 0:
        head, after = data[start : start + 72], start + 1
        if len(head) == 72 and zlib.crc32(head[:68]).to_bytes(4, "little") == head[68:]:
            _, _, size, number, known, first, rows, before = struct.unpack(
                "<4s16sIQQQI16s", head[:68]
            )
            body = data[start + 72 : start + 72 + size]
            synced = max(synced, known)
            with contextlib.suppress(InvalidTag, ValueError):
                if number > last and (number > last + 1 or before == tag):
                    cipher.decrypt(number.to_bytes(12, "little"), body, head)
                    after = start + 72 + size
                    good[number], last, tag = (start, after, first, rows), number, body[-16:]
        start = data.find(mark, after)
    return good, synced


def claimed(data: bytes, name: str) -> int:
    """How many rows the headers in a file of this name speak of; nobody can check them."""
    mark, found = b"TWF1" + bytes.fromhex(name[21:53]), dict[int, int]()
    start = data.find(mark)
    while start >= 0:
        head, after = data[start : start + 72], start + 1
        if len(head) == 72 and zlib.crc32(head[:68]).to_bytes(4, "little") == head[68:]:
            number, rows = struct.unpack("<QQQI", head[24:52])[::3]
            found[number] = rows
            after = start + 72 + int.from_bytes(head[20:24], "little")
        start = data.find(mark, after)
    return sum(found.values())


def lay_out(files: Sequence[Wal], start: int) -> Iterator[tuple[Wal, int, list[tuple[int, int]]]]:
    """Each file with the seq that its rows come to, from *start* on, and the holes before that.

    A file counts up to where a later one takes over, and was complete up to there.
    """
    seq = start
    for i, file in enumerate(files):
        later = [first for each in files[i + 1 :] if (first := each.takes_over_from) is not None]
        limit = min(later, default=None)
        holes: list[tuple[int, int]] = []
        counting = [f for f in file.frames if limit is None or sum(f) <= limit]
        for first, rows in [*counting, (file.promised if limit is None else limit, 0)]:
            if first > seq:
                holes.append((seq, first - seq))
            seq = max(seq, first + rows)
        yield file, seq, holes
