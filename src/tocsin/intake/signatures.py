"""Mark the rows of a frame that show signs of attack, before redaction takes their payload.

The verdict goes to ``tags`` as ``sig.<class>.<column>``; the payload goes nowhere.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from tocsin.event.batch import SCHEMA
from tocsin.event.signatures import COMMENT, DOUBLE, PLACES, SIGNATURES, views
from tocsin.intake.scan import Scanner

__all__ = ["mark"]

#: Columns with few distinct values: each is looked at once.
_REPETITIVE = frozenset({"referer", "user_agent"})

#: Kinds whose words are the source's own log line; of others ``message`` is our own summary.
_LOGS = ("log", "query")

_PATTERNS = [(s.pattern, True) for s in SIGNATURES]
_SCANNER = Scanner(_PATTERNS)

#: For single rows so full of signs that the scan of all gave up on them.
_ONE_ROW = Scanner(_PATTERNS, once=True)


def mark(frame: pl.DataFrame) -> pl.DataFrame:
    """*frame* with the verdicts of all signatures added to ``tags``."""
    found: dict[int, set[str]] = {}
    for letter, name in PLACES.items():
        if name in frame.columns and frame[name].null_count() < frame.height:
            _mark_column(frame, letter, name, found)
    return _tagged(frame, found) if found else frame


def _mark_column(frame: pl.DataFrame, letter: str, name: str, found: dict[int, set[str]]) -> None:
    column = frame[name]
    if letter in "mw":
        column = _of_logs(frame, column)
    if name in _REPETITIVE:
        distinct = column.unique().drop_nulls()
        tags = _verdicts(distinct, letter, name)
        if tags:
            bad = {distinct[row]: kinds for row, kinds in tags.items()}
            for row in column.is_in(list(bad)).fill_null(value=False).arg_true().to_list():
                found.setdefault(row, set()).update(bad[column[row]])
        return
    for row, kinds in _verdicts(column, letter, name).items():
        found.setdefault(row, set()).update(kinds)


def _of_logs(frame: pl.DataFrame, column: pl.Series) -> pl.Series:
    if "kind" not in frame.columns:
        return column
    theirs = pl.col("kind").is_in(_LOGS) | pl.col("kind").is_null()
    return frame.select(pl.when(theirs).then(pl.col(column.name)).alias(column.name)).to_series()


def _verdicts(column: pl.Series, letter: str, name: str) -> dict[int, set[str]]:
    """Tags of each row of *column* that has any."""
    tags: dict[int, set[str]] = {}
    plain = column.str.replace_all("\n", "\x0b", literal=True)
    if letter not in "mw":
        plain = _without_escapes(plain, name, tags)
    if plain.str.contains("*/", literal=True).any() or plain.str.contains("/*", literal=True).any():
        plain = plain.str.replace_all(COMMENT, " ")
    framed = pl.select(pl.concat_str(pl.lit("\n"), pl.lit(plain).fill_null(""), pl.lit("\n")))
    shown = framed.to_series()
    hits = _SCANNER.scan(shown)
    # A pattern may report many times in a row: name each (row, pattern) once.
    keys = np.unique(hits.rows * len(SIGNATURES) + hits.ids).tolist()
    for row in hits.crowded:
        alone = _ONE_ROW.scan(shown[row : row + 1])
        keys += [row * len(SIGNATURES) + ident for ident in alone.ids.tolist()]
    for key in keys:
        row, ident = divmod(key, len(SIGNATURES))
        if letter in SIGNATURES[ident].places:
            tags.setdefault(row, set()).add(f"sig.{SIGNATURES[ident].kind}.{name}")
    return tags


def _without_escapes(column: pl.Series, name: str, tags: dict[int, set[str]]) -> pl.Series:
    """*column* one layer decoded; what was encoded twice is decoded twice and tagged."""
    if name == "query":
        column = column.str.replace_all("+", " ", literal=True)
    rows = column.str.contains("%", literal=True).fill_null(value=False).arg_true().to_list()
    if not rows:
        return column
    decoded: list[str] = []
    for text in column.gather(rows).to_list():
        seen = views(text, name)
        if len(seen) > 1:
            tags.setdefault(rows[len(decoded)], set()).add(DOUBLE)
        # New lines as vertical tabs, which are white space too; between two layers a real one.
        decoded.append("\n".join(shown.replace("\n", "\x0b") for shown in seen))
    return column.scatter(rows, decoded)


def _tagged(frame: pl.DataFrame, found: dict[int, set[str]]) -> pl.DataFrame:
    found = {row: kinds for row, kinds in found.items() if kinds}
    rows = sorted(found)
    old = frame["tags"] if "tags" in frame.columns else None
    tags: list[list[str] | None] = old.to_list() if old is not None else [None] * frame.height
    for row in rows:
        tags[row] = list(dict.fromkeys([*(tags[row] or []), *sorted(found[row])]))
    return frame.with_columns(pl.Series("tags", tags, dtype=SCHEMA["tags"]))
