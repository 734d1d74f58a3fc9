"""Percent-decoding of whole columns, once and never twice.

Values are decoded as bytes and read as UTF-8; bytes that are not become U+FFFD, as a browser and
Python's ``urllib.parse.unquote`` have it.  A stray ``%`` stays.  Double encoding is not undone:
an application decodes once, and so do we.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

__all__ = ["decode"]

Text: TypeAlias = npt.NDArray[np.uint8]
Ints: TypeAlias = npt.NDArray[np.int64]

_arrow: Any = pa  # it has neither stubs nor declared exports

_PERCENT, _PLUS, _SPACE = b"%+ "
_BAD = 255

#: Value of each byte as a hex digit, 255 for the others.
_HEX = np.full(256, _BAD, dtype=np.uint8)
for _digits in (b"0123456789abcdef", b"0123456789ABCDEF"):
    _HEX[np.frombuffer(_digits, dtype=np.uint8)] = np.arange(16, dtype=np.uint8)


def decode(values: pl.Series, *, plus: bool) -> pl.Series:
    """*values* (text, no nulls) percent-decoded; with *plus*, ``+`` is a space first.

    >>> decode(pl.Series(["/a%20b+c", "100%"]), plus=True).to_list()
    ['/a b c', '100%']
    """
    if not len(values):
        return values
    array = values.to_arrow(compat_level=pl.CompatLevel.oldest())
    _, where, what = array.buffers()
    if what is None or not what.size:
        return values
    offsets = np.frombuffer(where, dtype=np.int64)[array.offset : array.offset + len(array) + 1]
    base = int(offsets[0])
    text = np.frombuffer(what, dtype=np.uint8)[base : int(offsets[-1])].copy()
    offsets = offsets - base
    if plus:
        text[text == _PLUS] = _SPACE
    text, offsets = _unescape(text, offsets)
    return _read(text, offsets).rename(values.name)


def _unescape(
    text: Text,
    offsets: Ints,
) -> tuple[Text, Ints]:
    """Replace each ``%XX`` that lies within one value by its byte."""
    at = np.flatnonzero(text == _PERCENT)
    cut = np.zeros(len(text), dtype=np.bool_)  # too near its value's end for two digits
    for behind in (1, 2):
        near = offsets[1:] - behind
        cut[near[near >= 0]] = True
    at = at[~cut[at]]
    high, low = _HEX[text[at + 1]], _HEX[text[at + 2]]
    good = (high != _BAD) & (low != _BAD)
    at = at[good]
    text[at] = (high[good] << 4) | low[good]
    keep = np.ones(len(text), dtype=np.bool_)
    keep[at + 1] = keep[at + 2] = False
    return text[keep], offsets - 2 * np.searchsorted(at, offsets)


def _read(
    text: Text,
    offsets: Ints,
) -> pl.Series:
    """The values between *offsets* as text."""
    data = text.tobytes()
    try:
        data.decode()
    except UnicodeDecodeError:
        return _read_each(data, offsets)
    # Cut at its ends the whole may be UTF-8 while a value is half a character.
    starts = offsets[:-1][offsets[:-1] < offsets[1:]]
    if np.any((text[starts] & 0xC0) == 0x80):
        return _read_each(data, offsets)
    parts = [None, _arrow.py_buffer(offsets.astype(np.int64)), _arrow.py_buffer(data)]
    array = _arrow.Array.from_buffers(_arrow.large_string(), len(offsets) - 1, parts)
    series = pl.from_arrow(array)
    assert isinstance(series, pl.Series)
    return series


def _read_each(data: bytes, offsets: Ints) -> pl.Series:
    cuts = offsets.tolist()
    return pl.Series(
        [data[a:b].decode(errors="replace") for a, b in pairwise(cuts)],
        dtype=pl.String,
    )
