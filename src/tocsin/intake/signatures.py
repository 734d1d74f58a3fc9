"""Mark the rows of a frame that show signs of attack, before redaction takes their payload.

The verdict goes to ``tags`` as ``sig.<class>.<column>``; the payload goes nowhere.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

import numpy as np
import polars as pl

from tocsin.event.batch import SCHEMA
from tocsin.event.signatures import COMMENT, DOUBLE, PLACES, PROBES, SIGNATURES, label, views
from tocsin.intake.columns import put
from tocsin.intake.scan import Scanner, joined

__all__ = ["SCANNERS", "mark"]

#: Columns with few distinct values: each is looked at once.
_REPETITIVE = frozenset({"referer", "user_agent"})

#: Kinds whose words are the source's own log line; of others ``message`` is our own summary.
_LOGS = ("log", "query")

_PATTERNS = [(s.pattern, True) for s in SIGNATURES]
_SCANNER = Scanner(_PATTERNS)
SCANNERS = (_SCANNER,)

#: For single rows so full of signs that the scan of all gave up on them.
_ONE_ROW = Scanner(_PATTERNS, once=True)


class _Place(NamedTuple):
    """A column to look at: each different value of it, or each row."""

    letter: str
    name: str
    texts: pl.Series
    distinct: bool


def mark(frame: pl.DataFrame) -> pl.DataFrame:
    """*frame* with the verdicts of all signatures added to ``tags``."""
    places = list(_places(frame))
    if not places:
        return frame
    found: dict[int, set[str]] = {}
    for place, tags in zip(places, _verdicts(places), strict=True):
        if place.distinct and tags:
            bad = {place.texts[row]: kinds for row, kinds in tags.items()}
            column = frame[place.name]
            for row in column.is_in(list(bad)).fill_null(value=False).arg_true().to_list():
                found.setdefault(row, set()).update(bad[column[row]])
        else:
            for row, kinds in tags.items():
                found.setdefault(row, set()).update(kinds)
    return _tagged(frame, found) if found else frame


def _places(frame: pl.DataFrame) -> Iterator[_Place]:
    """The columns that have something to look at, in the order of ``PLACES``."""
    words = {name for letter, name in PLACES.items() if letter in _WORDS and name in frame.columns}
    if words and "kind" in frame.columns:
        logs = frame.select(_THEIRS.then(pl.col(n)).alias(n) for n in words)
    else:
        logs = frame
    for letter, name in PLACES.items():
        if name not in frame.columns:
            continue
        column = (logs if name in words else frame)[name]
        if column.null_count() == len(column):
            continue
        if name in _REPETITIVE:
            yield _Place(letter, name, column.unique().drop_nulls(), distinct=True)
        else:
            yield _Place(letter, name, column, distinct=False)


def _verdicts(places: Sequence[_Place]) -> list[dict[int, set[str]]]:
    """Of each place: tags of each row that has any.  One scan looks at all of them."""
    starts = list(accumulate((len(place.texts) for place in places), initial=0))
    verdicts: list[dict[int, set[str]]] = [{} for _ in places]

    def tag(row: int, ident: int | None) -> None:
        at = bisect_right(starts, row) - 1
        place, tags = places[at], verdicts[at]
        if ident is None:
            tags.setdefault(row - starts[at], set()).add(DOUBLE)
        elif place.letter in SIGNATURES[ident].places:
            kind = SIGNATURES[ident].kind
            tags.setdefault(row - starts[at], set()).add(f"sig.{kind}.{label(place.name)}")

    shown = _shown(places, starts, tag)
    hits = _SCANNER.scan(shown)
    # A pattern may report many times in a row: name each (row, pattern) once.
    for key in np.unique(hits.rows * len(SIGNATURES) + hits.ids).tolist():
        tag(*divmod(key, len(SIGNATURES)))
    for row in hits.crowded:
        for ident in _ONE_ROW.scan(shown[row : row + 1]).ids.tolist():
            tag(row, ident)
    return verdicts


def _shown(
    places: Sequence[_Place], starts: Sequence[int], tag: Callable[[int, int | None], None]
) -> pl.Series:
    """All texts as the patterns look at them, each between line ends.

    Of the request's columns one layer of escapes is undone; what was encoded twice is decoded
    twice and tagged.
    """
    plain = pl.concat([place.texts for place in places])
    # What is nowhere in the bytes need not be looked for in each text: ten times as slow.
    data = joined(plain)
    if b"+" in data or b"\n" in data:
        plain = pl.concat([_on_one_line(place) for place in places])
    rows = plain.str.contains("%", literal=True).arg_true() if b"%" in data else _NONE
    escaped: list[int] = []
    decoded: list[str] = []
    for row, text in zip(rows.to_list(), plain.gather(rows).to_list(), strict=True):
        place = places[bisect_right(starts, row) - 1]
        if place.letter in _WORDS:
            break  # these are the last
        values = text.split("\n")  # several only in a probe
        layers = [layer for value in values for layer in views(value, place.name)]
        if len(layers) > len(values):
            tag(row, None)
        escaped.append(row)
        # New lines as vertical tabs, which are white space too; between two layers a real one.
        decoded.append("\n".join(layer.replace("\n", "\x0b") for layer in layers))
    if escaped:
        plain = plain.clone().scatter(escaped, decoded)  # a copy: scattering changes a series
    if b"*/" in data or b"/*" in data or any("*/" in text or "/*" in text for text in decoded):
        plain = plain.str.replace_all(COMMENT, " ")
    return plain.alias("plain").to_frame().select(_FRAMED).to_series()


def _on_one_line(place: _Place) -> pl.Series:
    """The texts of a place, each one line; a probe's lines are values of their own and stay."""
    texts = place.texts
    if place.name == "query":
        texts = texts.str.replace_all("+", " ", literal=True)
    return texts if place.name in PROBES else texts.str.replace_all("\n", "\x0b", literal=True)


#: Columns of words, which are looked at as they are.
_WORDS = "mw"
_THEIRS = pl.when(pl.col("kind").is_in(_LOGS) | pl.col("kind").is_null())
_NONE = pl.Series(dtype=pl.UInt32)
_EDGE = pl.lit("")
_FRAMED = pl.concat_str([_EDGE, pl.col("plain"), _EDGE], separator="\n", ignore_nulls=True)


def _tagged(frame: pl.DataFrame, found: dict[int, set[str]]) -> pl.DataFrame:
    found = {row: kinds for row, kinds in found.items() if kinds}
    rows = sorted(found)
    old = frame["tags"] if "tags" in frame.columns else None
    tags: list[list[str] | None] = old.to_list() if old is not None else [None] * frame.height
    for row in rows:
        tags[row] = list(dict.fromkeys([*(tags[row] or []), *sorted(found[row])]))
    return put(frame, pl.Series("tags", tags, dtype=SCHEMA["tags"]))
