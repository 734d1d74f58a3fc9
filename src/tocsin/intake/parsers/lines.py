"""Cutting bytes into lines and keeping each of them, readable or not."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow

__all__ = [
    "BOM",
    "LIMIT",
    "ROW",
    "Lines",
    "arrow",
    "complain",
    "keep",
    "kept",
    "mend",
    "pure",
    "squeezed",
    "stitch",
]

#: Bytes of one record.  What is longer is cut here, kept as a log line and says so.
LIMIT = 1 << 20

BOM = b"\xef\xbb\xbf"

arrow: Any = pyarrow  # it has no stubs, and exports its names without saying so

#: The column that carries a row's place in the input while a parser sorts rows by how it read them.
ROW = "_row"


class Lines:
    """A chunk of whole lines.  Where each of them ends is looked for once, whoever asks."""

    def __init__(self, data: bytes) -> None:
        self.data = data.removeprefix(BOM)

    @cached_property
    def ends(self) -> npt.NDArray[np.int64]:
        """Where each line ends, its line end not counted."""
        ends = np.flatnonzero(np.frombuffer(self.data, np.uint8) == 10)
        return ends if self.data.endswith(b"\n") else np.append(ends, len(self.data))

    @property
    def starts(self) -> npt.NDArray[np.int64]:
        """Where each line begins."""
        return np.concatenate([[0], self.ends[:-1] + 1]) if len(self.ends) else self.ends

    def plain(self) -> list[bytes]:
        """The lines without their ends; blank ones are left out."""
        return [line for line in self.data.split(b"\n") if line and not line.isspace()]

    def column(self) -> pl.Series:
        """The lines as text, without their ends; blank ones are left out."""
        return self._column

    @cached_property
    def _column(self) -> pl.Series:
        data = pure(self.data)
        ends = (self if data is self.data else Lines(data)).ends
        if not data.endswith(b"\n"):
            data += b"\n"
        offsets = np.concatenate([np.zeros(1, np.int64), ends + 1])
        # No copy and no Python string: Arrow gets the bytes as they are and where each line ends.
        lines = arrow.Array.from_buffers(
            arrow.large_string(), len(ends), [None, arrow.py_buffer(offsets), arrow.py_buffer(data)]
        )
        text = pl.Series("raw", lines).str.strip_suffix("\n").str.strip_chars_end("\r")
        return text.filter(text.str.strip_chars().str.len_bytes() > 0)

    def objects(self, size: int) -> list[tuple[memoryview, int]] | None:
        """The data in pieces of *size* lines and how many each has, if every line is ``{...}``.

        Then each line end stands between two values, for inside of an object no ``{`` follows a
        ``}``: a decoder that takes values as they come, whatever the lines, reads one from each.
        """
        if not self.data.startswith(b"{"):
            return None
        octets = np.frombuffer(self.data, np.uint8)
        ends = self.ends
        if not ((octets[ends - 1] == 125).all() and (octets[ends[:-1] + 1] == 123).all()):
            return None
        edges = [-1, *ends[size - 1 : -1 : size].tolist(), int(ends[-1])]
        whole = memoryview(self.data)  # a slice of bytes would be a copy
        return [
            (whole[start + 1 : end], min(size, len(ends) - i * size))
            for i, (start, end) in enumerate(pairwise(edges))
        ]

    def overlong(self) -> list[tuple[int, int]]:
        """Where lines longer than :data:`LIMIT` begin and end."""
        if len(self.data) <= LIMIT:
            return []
        starts = self.starts
        long = np.flatnonzero(self.ends - starts > LIMIT)
        return [(int(starts[i]), int(self.ends[i])) for i in long]


#: Fewer may be a value's; a hole in a file, left by a crash or a truncation, has more.
_HOLE = re.compile(rb"\0{8,}")


def squeezed(data: bytes) -> tuple[bytes, dict[int, str]]:
    r"""*data* without its runs of null bytes, and of each line that had some, what to say of it.

    Lines are numbered from 0, blank ones not counted.  A line of nothing else says how many it had.

    >>> squeezed(b"a\n" + bytes(9) + b"b\n" + bytes(10))
    (b'a\nb\n[10 null bytes]', {1: '9 null bytes were left out', 2: '10 null bytes were left out'})
    """
    if b"\0" not in data or bytes(8) not in data:  # to look for one byte takes no time
        return data, {}
    out: list[bytes] = []
    said: dict[int, str] = {}
    row = 0
    for line in data.split(b"\n"):
        text = _HOLE.sub(b"", line)
        if (lost := len(line) - len(text)) > 0:
            said[row] = f"{lost:,} null bytes were left out"
            if not text or text.isspace():
                text = b"[%s null bytes]" % f"{lost:,}".encode() + text
        out.append(text)
        row += bool(text) and not text.isspace()
    return b"\n".join(out), said


def pure(data: bytes) -> bytes:
    r"""*data* as valid UTF-8: a byte that is not becomes ``\xNN`` for all to see.

    >>> pure(b"caf\xe9 caf\xc3\xa9").decode()
    'caf\\xe9 café'
    """
    if data.isascii():
        return data
    try:
        data.decode()
    except UnicodeDecodeError:
        return data.decode(errors="backslashreplace").encode()
    return data


def keep(lines: Sequence[str] | pl.Series, why: str | Sequence[str]) -> pl.DataFrame:
    """Rows for lines that could not be read as what they claimed to be."""
    text = pl.Series("raw", lines, dtype=pl.String)
    reasons = [why] * len(text) if isinstance(why, str) else list(why)
    return pl.DataFrame(
        {
            "kind": pl.repeat("log", len(text), dtype=pl.String, eager=True),
            "message": text,
            "raw": text,
            "parse_error": pl.Series(reasons, dtype=pl.String),
        }
    )


def kept(frame: pl.DataFrame) -> pl.Series:
    """Whether a row is a line that no parser took, kept as it is; of a frame as ``parse`` gives it.

    Other rows with a ``parse_error`` were read, but for a value.
    """
    if not {"parse_error", "raw", "message"} <= set(frame.columns):
        return pl.repeat(False, frame.height, dtype=pl.Boolean, eager=True)
    # Before the line may stand the header of what it came in.
    whole = pl.col("raw").str.ends_with(pl.col("message")) & (pl.col("kind") == "log")
    which = whole & pl.col("parse_error").is_not_null()
    return frame.select(which.fill_null(False)).to_series()


def complain(frame: pl.DataFrame, why: Mapping[int, str]) -> pl.DataFrame:
    """*frame* with a ``parse_error`` in the rows *why*, after what it says already."""
    if not why:
        return frame
    said = pl.Series("said", [why.get(row) for row in range(frame.height)], dtype=pl.String)
    told = [pl.col("parse_error")] if "parse_error" in frame.columns else []
    both = pl.concat_str([*told, pl.lit(said)], separator="; ", ignore_nulls=True)
    some = pl.any_horizontal(*(part.is_not_null() for part in (*told, pl.lit(said))))
    return frame.with_columns(pl.when(some).then(both).alias("parse_error"))


def stitch(parts: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """*parts* as one frame in the order of the input, by their column ``_row``."""
    frames = [part for part in parts if part.height]
    if not frames:
        return pl.DataFrame(schema={ROW: pl.Int64})
    if len(frames) == 1:
        only = frames[0]
        return only if only[ROW].is_sorted() else only.sort(ROW)
    return pl.concat(frames, how="diagonal_relaxed").sort(ROW)


_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|.)", re.DOTALL)
_STRAY = re.compile("[\udc80-\udcff]+")


def mend(line: bytes) -> bytes:
    r"""A JSON line without what UTF-8 cannot hold: stray bytes and lone surrogates, made visible.

    A client chooses such bytes (a user agent of ``\xff``), so they must not cost the whole line.

    >>> mend(b'{"ua":"\xff \\ud800"}')
    b'{"ua":"\\\\xff \\\\ud800"}'
    """
    text = line.decode("utf-8", "surrogateescape")
    text = _STRAY.sub(lambda m: "".join(f"\\\\x{ord(c) & 0xFF:02x}" for c in m[0]), text)
    out: list[str] = []
    last = 0
    high: re.Match[str] | None = None  # a high surrogate that waits for its low half

    def visible(match: re.Match[str]) -> None:
        nonlocal last
        out.append(text[last : match.start()] + "\\" + match[0])
        last = match.end()

    for match in _ESCAPE.finditer(text):
        code = int(match[1], 16) if match[1] else 0
        if high is not None:
            if 0xDC00 <= code < 0xE000 and match.start() == high.end():
                high = None
                continue
            visible(high)
            high = None
        if 0xD800 <= code < 0xDC00:
            high = match
        elif 0xDC00 <= code < 0xE000:
            visible(match)
    if high is not None:
        visible(high)
    out.append(text[last:])
    return "".join(out).encode("utf-8", "backslashreplace")
