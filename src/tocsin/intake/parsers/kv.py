"""key=value lines of any make (logfmt and its kin): known names become columns, others attributes.

Values may be quoted.  A repeated key means its last value.  What stands before the first pair is
read as plain text is: a time, a level, a message.
"""

from __future__ import annotations

import re
from typing import Any

import polars as pl

from tocsin.intake.origin import Origin
from tocsin.intake.parsers import times
from tocsin.intake.parsers.fields import rows
from tocsin.intake.parsers.lines import column
from tocsin.intake.parsers.objects import Bad, Shapes, flat, record
from tocsin.intake.parsers.readers import Context
from tocsin.intake.parsers.text import headed

__all__ = ["PAIR", "parse"]

#: One pair, at the beginning of a line or after a space or a comma.
PAIR = re.compile(
    r'(?:^|(?<=[\s,;|]))([A-Za-z_@][\w.@/-]{0,127})=("(?:[^"\\]|\\.)*"|\'[^\']*\'|[^\s"\',;][^\s]*|)'
)
_ESCAPE = re.compile(r'\\(["\\/])')


def parse(data: bytes, origin: Origin, observed: int) -> pl.DataFrame:
    """Rows of key=value lines."""
    lines = column(data)
    if lines.is_empty():
        return lines.to_frame()
    texts = lines.to_list()
    shapes = Shapes()
    found: list[Bad] = []
    heads: list[str | None] = []
    for row, text in enumerate(texts):
        pairs, head = _object(text) if text[:1] == "{" else _pairs(text)
        heads.append(head)
        if pairs:
            shapes.add(row, pairs)
        else:
            found.append(Bad(row, text.encode(), "no key=value pair"))
    context = Context(origin.tz, observed)
    frame = rows([*shapes.tables(), *found], "json", context)
    return _before(frame.with_columns(lines), pl.Series(heads, dtype=pl.String), origin, observed)


def _object(text: str) -> tuple[dict[str, Any], str | None]:
    """Some programs change to JSON in the middle of a file."""
    found = record(text.encode())
    return (flat(found), None) if isinstance(found, dict) else _pairs(text)


def _pairs(text: str) -> tuple[dict[str, Any], str | None]:
    """The pairs of one line, and what stands before them."""
    found: dict[str, Any] = {}
    first = -1
    for pair in PAIR.finditer(text):
        if first < 0:
            first = pair.start()
        found[pair[1]] = _value(pair[2])
    return found, text[:first].strip() or None if first > 0 else None


def _value(text: str) -> str:
    if text[:1] == '"':
        return _ESCAPE.sub(r"\1", text[1:-1])
    if text[:1] == "'":
        return text[1:-1]
    return text.rstrip(",;")


def _before(frame: pl.DataFrame, heads: pl.Series, origin: Origin, observed: int) -> pl.DataFrame:
    """Read the words before the first pair, where the pairs do not say the same."""
    if heads.is_null().all():
        return frame
    # The text parser wants something after the time.
    head = headed(heads + " ", origin.tz, observed)
    have = frame.columns
    rest = head["rest"].str.strip_chars(" |:-")
    taken = frame["time"].is_null() if "time" in have else pl.repeat(True, len(heads), eager=True)
    tags = pl.col("tags") if "tags" in have else pl.lit(None, pl.List(pl.String))
    mark = taken & head["assumed"] & head["time"].is_not_null()

    def prefer(name: str, other: pl.Series) -> pl.Expr:
        return (pl.coalesce(name, other) if name in have else pl.lit(other)).alias(name)

    return frame.with_columns(
        prefer("time", head["time"]),
        prefer("host", head["host"]),
        prefer("severity", head["severity"]),
        prefer("message", pl.select(pl.when(rest != "").then(rest)).to_series()),
        tags=pl.when(mark).then(pl.lit([times.ASSUMED])).otherwise(tags),
    )
