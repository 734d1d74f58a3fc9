"""Files, opened with suspicion: only regular ones are read, and never more than one could hold.

Who can write into the data directory can put a pipe, a device or a link where a file should be;
to open the first waits forever, to read the second never ends, and the third leads elsewhere.
"""

from __future__ import annotations

import hmac
import json
import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

__all__ = [
    "FOLDER",
    "LINK",
    "MOST",
    "UNFINISHED",
    "WAL_NAME",
    "Gap",
    "Unfit",
    "beside",
    "is_regular",
    "is_temporary",
    "open_regular",
    "read_gap",
    "read_regular",
    "set_aside",
    "shown",
    "tells_of",
    "walk",
]

#: Bytes of the largest file of log, keys and notes: a bundle of 256 entries of 65,535 bytes.
MOST = 256 * 65_537

FOLDER = "a folder, not a regular file"
LINK = "is a link to another place"
UNFINISHED = "left by an unfinished write"
SOCKET = "tocsin.sock"  #: by which a running tocsin is asked
WAL_NAME = re.compile(r"([0-9]{20})-([0-9a-f]{32})\.wal")

_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC
_GAP = re.compile(r"([0-9]{20})-([0-9]{1,18})\.gap")


class Unfit(Exception):
    """It is there, and is no file that could be evidence."""


def open_regular(path: Path) -> BufferedReader:
    """The file, open for reading.  Raises Unfit when it is another thing, OSError as ever."""
    if not is_regular(path):
        raise Unfit("not a regular file")
    # It may have been exchanged since: a link is refused here, and a pipe does not block.
    opened = os.fdopen(os.open(path, _FLAGS), "rb")
    if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
        opened.close()
        raise Unfit("not a regular file")
    return opened


def read_regular(path: Path, most: int | None = MOST) -> bytes:
    """All of the file, if that is not more than *most* bytes; errors as of ``open_regular``."""
    with open_regular(path) as opened:
        data = opened.read(-1 if most is None else most + 1)
    if most is not None and len(data) > most:
        raise Unfit(f"larger than the {most:,} bytes that such a file can have")
    return data


def is_regular(path: Path) -> bool:
    """Whether a file lies at *path* itself; FileNotFoundError when nothing does."""
    return stat.S_ISREG(path.lstat().st_mode)


def is_temporary(path: Path) -> bool:
    """Whether its name is that of a write that was never finished."""
    return path.name.startswith(".") and path.name.endswith(".tmp")


def shown(name: str) -> str:
    r"""A file's name as text, also one that is no UTF-8.

    >>> shown("a\udcff")
    'a\\xff'
    """
    return os.fsencode(name).decode(errors="backslashreplace")


def walk(directory: Path) -> Iterator[tuple[Path, str | OSError | None]]:
    """All that lies below, with what it is other than a file; None when it is one.

    No link is followed; one to a folder directly below, as of a second disk, is told as LINK.
    """
    waiting = [directory]
    while waiting:
        folder = waiting.pop()
        try:
            paths = sorted(folder.iterdir())
        except FileNotFoundError:
            continue  # gone since it was listed
        except OSError as error:
            yield folder, error
            continue
        for path in paths:
            try:
                mode = path.lstat().st_mode
            except OSError:
                continue  # gone since it was listed
            linked = stat.S_ISLNK(mode) and folder == directory and path.is_dir()
            if stat.S_ISDIR(mode):
                waiting.append(path)
            yield path, LINK if linked else _kind(mode)


def _kind(mode: int) -> str | None:
    if stat.S_ISREG(mode):
        return None
    if stat.S_ISDIR(mode):
        return FOLDER
    return "a socket, not a regular file" if stat.S_ISSOCK(mode) else "not a regular file"


def beside(directory: Path) -> Iterator[tuple[Path, str | OSError]]:
    """What in a vault is no file, and what nobody makes among keys and write-ahead log.

    The other folders' contents are for those to judge who know what the log says.
    """
    for path, said in walk(directory):
        folder = path.parent.name if path.parent.parent == directory else ""
        if said == FOLDER:
            # Only the log has folders within its own.
            if path.name.startswith("catalog.db") or folder not in ("", "log"):
                yield path, FOLDER
        elif said is not None:
            if path != directory / SOCKET or not path.is_socket():
                yield path, said
        elif folder in ("keys", "wal") and is_temporary(path):
            yield path, UNFINISHED
        elif folder == "wal" and not WAL_NAME.fullmatch(path.name):
            yield path, "no file of the write-ahead log"
        elif folder == "keys" and path.suffix != ".key":
            yield path, "no key file"


@dataclass(frozen=True, slots=True)
class Gap:
    """Rows that somebody says are lost."""

    first_seq: int
    rows: int
    reason: str
    proved: bool  #: the note authenticates

    def __str__(self) -> str:
        return (
            f"{self.rows} rows from seq {self.first_seq} on were acknowledged and then lost: "
            f"{self.reason}"
        )


def set_aside(folder: Path) -> Iterator[tuple[Path, re.Match[str] | None]]:
    """The files in *folder*, with what their name says if it is that of a note about lost rows."""
    for path, wrong in walk(folder):
        if wrong is None:
            yield path, _GAP.fullmatch(path.name)


def read_gap(path: Path, said: re.Match[str] | None, key: bytes | None) -> Gap | str | None:
    """The note at *path*, whose name is *said*; why it is none; None when nobody says it is one.

    *key* is empty when the vault has none for notes, since it never wrote one; None when no key was
    given.
    """
    if said is None:
        return None
    first, rows = int(said[1]), int(said[2])
    try:
        line, _, mac = read_regular(path).partition(b"\n")
        note = json.loads(line)
        reason = str(note["reason"])
        same = (note["first_seq"], note["rows"]) == (first, rows) and rows > 0
    except (OSError, Unfit, ValueError, KeyError, TypeError, RecursionError) as error:
        return f"is no note about lost rows that can be read ({type(error).__name__})"
    made = hmac.digest(key, b"tocsin gap\n" + line, "sha256").hex().encode() + b"\n" if key else b""
    if not same or (key is not None and (not made or mac != made)):
        return "says that rows are lost, and was not written by who had this vault's key"
    return Gap(first, rows, reason, key is not None)


def tells_of(gaps: Iterable[Gap], seq: int, rows: int) -> bool:
    """Whether *gaps* together tell of exactly these rows."""
    ends = {seq}
    for gap in sorted(gaps, key=lambda gap: gap.first_seq):
        if gap.first_seq in ends and gap.first_seq + gap.rows <= seq + rows:
            ends.add(gap.first_seq + gap.rows)
    return seq + rows in ends
