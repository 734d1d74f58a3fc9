"""Read log files as the doors would take them: parse, redact, normalise, chunk by chunk."""

from __future__ import annotations

import contextlib
import io
import os
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import polars as pl

from tocsin.errors import Malformed
from tocsin.event.batch import Batch
from tocsin.intake import Origin, Sniffer, read_records, sniff
from tocsin.intake.admit import admit
from tocsin.intake.parse import Placed, parse_placed
from tocsin.intake.parsers.lines import kept

__all__ = ["Chunk", "Flaws", "open_input", "read_file", "sniff_input"]

_HEAD = 64 << 10  # of an input, before its format is told


@dataclass(frozen=True, slots=True)
class Flaws:
    """Lines that were not read as they should be, and the first of them."""

    lines: int = 0
    first: int | None = None  #: its number
    why: str = ""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some events of a file, in its order."""

    batch: Batch
    lines: npt.NDArray[np.int64]  #: 1-based line of each event
    parser: str
    size: int  #: bytes, as inflated
    unread: Flaws  #: lines that no parser took: they are kept as they are
    flawed: Flaws  #: lines that were read, but for a value


def open_input(name: str) -> BinaryIO:
    """The file *name*, or standard input for ``-``."""
    raw = io.FileIO(os.dup(0) if name == "-" else name)
    return io.BufferedReader(_Patient(raw), _HEAD)


class _Patient(io.RawIOBase):
    """A file that waits until as much is there as is asked for: a pipe gives what it has."""

    def __init__(self, raw: io.FileIO) -> None:
        self._raw = raw

    def readinto(self, buffer: Any, /) -> int:
        view = memoryview(buffer).cast("B")
        done = 0
        while done < len(view) and (got := self._raw.readinto(view[done:])):
            done += got
        return done

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._raw.seekable()

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        return self._raw.seek(offset, whence)

    def tell(self) -> int:
        return self._raw.tell()

    def fileno(self) -> int:
        return self._raw.fileno()

    def close(self) -> None:
        self._raw.close()
        super().close()


def sniff_input(file: BinaryIO) -> str:
    """The format of an input that nothing was read of yet, packed or not."""
    assert isinstance(file, io.BufferedReader)
    raw = io.BytesIO(file.peek(_HEAD))
    head = b""
    with contextlib.suppress(Malformed):  # a packed file's first bytes are an archive cut short
        for part in read_records(raw, "text"):
            head += part
    return sniff(head[:_HEAD])


def read_file(
    name: str,
    *,
    parser: str | None = None,
    source: str | None = None,
    tz: str = "UTC",
    clock: Callable[[], int] = time.time_ns,
    chunk_bytes: int = 4 << 20,
) -> Iterator[Chunk]:
    """The events of a file, packed or not.  Raises Malformed where it is no log at all.

    Each chunk is read as what it looks like, if no *parser* is named: see ``Sniffer``.
    """
    origin = Origin(source=source or Path(name).name, tz=tz)
    cutter, sniffer = Sniffer(parser), Sniffer(parser)  # of what was read, and of what was cut
    with open_input(name) as file, _named(name):
        line = 1
        for data in read_records(file, cutter.parser, chunk=chunk_bytes):
            named = sniffer.parser(data)
            placed = parse_placed(data, named, origin, clock(), guessed=parser is None)
            batch = admit(placed.frame, origin)
            lines = _record_lines(data, named, placed) + line
            line += data.count(b"\n")
            unread = kept(placed.frame)
            yield Chunk(
                batch,
                lines,
                named,
                len(data),
                _flaws(batch, lines, unread),
                _flaws(batch, lines, ~unread),
            )


def _flaws(batch: Batch, lines: npt.NDArray[np.int64], which: pl.Series) -> Flaws:
    """Those of the rows *which* that have a ``parse_error``, in its redacted words."""
    errors = batch.frame.get_column("parse_error", default=None)
    if errors is None:
        return Flaws()
    rows = (errors.is_not_null() & which).arg_true()
    if not len(rows):
        return Flaws()
    return Flaws(len(rows), int(lines[rows[0]]), errors[rows[0]])


@contextlib.contextmanager
def _named(name: str) -> Generator[None]:
    """Say which file it is that cannot be read."""
    try:
        yield
    except Malformed as error:
        raise Malformed(f"{name}: {error}", line=error.line, field=error.field) from error


_SPACE = np.zeros(256, dtype=bool)
_SPACE[list(b" \t\r\n\v\f")] = True
_BOM = b"\xef\xbb\xbf"


def _record_lines(data: bytes, parser: str, placed: Placed) -> npt.NDArray[np.int64]:
    """0-based line, within *data*, at which each record begins that was *placed*."""
    if placed.places is not None:
        return _inked_lines(data, parser, placed.lines)[placed.places]
    return _inked_lines(data, parser, placed.frame.height)


def _inked_lines(data: bytes, parser: str, rows: int) -> npt.NDArray[np.int64]:
    """0-based line at which each of *rows* records begins; blank lines are none."""
    if parser != "pg_csv" and data.count(b"\n") + (not data.endswith(b"\n")) == rows:
        return np.arange(rows)
    text = np.frombuffer(data if data.endswith(b"\n") else data + b"\n", np.uint8)
    ends = np.flatnonzero(text == 10)
    if parser == "pg_csv":  # a quoted field may hold line ends: a record ends where quotes are even
        quotes = np.cumsum(text == 34)
        closed = np.flatnonzero(quotes[ends] % 2 == 0)
        starts = np.concatenate([[0], closed[:-1] + 1]) if len(closed) else closed
    else:
        starts = np.arange(len(ends))
    inked = np.concatenate([[0], np.cumsum(~_SPACE[text])])
    inked[1:] -= 3 if data.startswith(_BOM) else 0
    begins = np.concatenate([[0], ends + 1])[starts]
    stops = np.concatenate([begins[1:], [len(text)]])
    lines: npt.NDArray[np.int64] = starts[inked[stops] > inked[begins]].astype(np.int64)
    if len(lines) != rows:  # broken quotes: the parser went back to single lines, so do we
        lines = np.arange(len(ends))[: max(rows, 0)]
        lines = (
            np.pad(lines, (0, rows - len(lines)), mode="edge")
            if len(lines)
            else np.zeros(rows, np.int64)
        )
    return lines
