"""Read log files as the doors would take them: parse, redact, normalise, chunk by chunk."""

from __future__ import annotations

import contextlib
import io
import os
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from tocsin.errors import Malformed
from tocsin.event.batch import Batch
from tocsin.intake import Origin, parse, read_records, sniff
from tocsin.intake.admit import admit

__all__ = ["Chunk", "open_input", "read_file", "sniff_input"]

_HEAD = 64 << 10
_BUFFER = 256 << 10


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some events of a file, in its order."""

    batch: Batch
    lines: npt.NDArray[np.int64]  #: 1-based line of each event
    parser: str
    size: int  #: bytes, as inflated
    parse_errors: int
    trouble: str | None  #: where the first line is that was not understood, and why


def open_input(name: str) -> BinaryIO:
    """The file *name*, or standard input for ``-``."""
    if name == "-":
        return os.fdopen(os.dup(0), "rb", buffering=_BUFFER)
    return Path(name).open("rb", buffering=_BUFFER)


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
    """The events of a file, packed or not.  Raises Malformed where it is no log at all."""
    origin = Origin(source=source or Path(name).name, tz=tz)
    with open_input(name) as file, _named(name):
        line = 1
        parser = parser or sniff_input(file)
        for data in read_records(file, parser, chunk=chunk_bytes):
            frame = parse(data, parser, origin, clock())
            batch = admit(frame, origin)
            lines = _record_lines(data, parser, frame.height) + line
            line += data.count(b"\n")
            bad, trouble = _troubles(name, batch, lines)
            yield Chunk(batch, lines, parser, len(data), bad, trouble)


def _troubles(name: str, batch: Batch, lines: npt.NDArray[np.int64]) -> tuple[int, str | None]:
    """How many lines were not understood, and which is the first."""
    errors = batch.frame.get_column("parse_error", default=None)
    rows = [] if errors is None else errors.is_not_null().arg_true()
    if errors is None or not len(rows):
        return 0, None
    return len(rows), f"{name}:{lines[rows[0]]}: {errors[rows[0]]}"


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


def _record_lines(data: bytes, parser: str, rows: int) -> npt.NDArray[np.int64]:
    """0-based line, within *data*, at which each of its *rows* records begins."""
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
