"""key=value lines of any make (logfmt and its kin): known names become columns, others attributes.

Values may be quoted.  A repeated key means its last value, as in JSON; the others are kept under
the key with ``_`` behind it, and the row says so in ``parse_error``.  A quote that is not closed
takes the rest of the line, so that nothing in a value can pass for a field.

What stands before the first pair is read as plain text is: a time, a level, a message.
"""

from __future__ import annotations

import re
from typing import Any

import polars as pl

from tocsin.event.kinds import Kind
from tocsin.intake.columns import put
from tocsin.intake.origin import Origin
from tocsin.intake.parsers import times
from tocsin.intake.parsers.attributes import merged
from tocsin.intake.parsers.fields import rows
from tocsin.intake.parsers.lines import Lines, complain
from tocsin.intake.parsers.objects import Bad, Shapes, flat, record
from tocsin.intake.parsers.readers import Context
from tocsin.intake.parsers.text import headed, spoken

__all__ = ["PAIR", "parse"]

#: One pair, at the beginning of a line or after a space or a comma.
PAIR = re.compile(
    r'(?:^|(?<=[\s,;|]))([A-Za-z_@][\w.@/-]{0,127})=((?:"(?:[^"\\]|\\.)*"|\'[^\']*\')(?=[\s,;|)\]}]|$)|["\'].*|[^\s"\',;][^\s]*|)',
    re.S,
)
_CLOSED = re.compile(r'"(?:[^"\\]|\\.)*"|\'[^\']*\'', re.S)
_ESCAPE = re.compile(r'\\(["\\/])')


def parse(lines: Lines, origin: Origin, observed: int) -> pl.DataFrame:
    """Rows of key=value lines."""
    column = lines.column()
    if column.is_empty():
        return column.to_frame()
    texts = column.to_list()
    shapes = Shapes()
    found: list[Bad] = []
    heads: list[str | None] = []
    wrong: dict[int, str] = {}
    for row, text in enumerate(texts):
        pairs, head, errors = _object(text) if text[:1] == "{" else _pairs(text)
        if errors:
            wrong[row] = errors
        heads.append(head)
        if pairs:
            shapes.add(row, pairs)
        else:
            found.append(Bad(row, text.encode(), "no key=value pair"))
    context = Context(origin.tz, observed)
    frame = rows([*shapes.tables(), *found], "json", context)
    frame = complain(frame.with_columns(column), wrong)
    return _before(frame, pl.Series(heads, dtype=pl.String), origin, observed)


def _object(text: str) -> tuple[dict[str, Any], str | None, str]:
    """Some programs change to JSON in the middle of a file."""
    found = record(text.encode())
    return (flat(found), None, "") if isinstance(found, dict) else _pairs(text)


def _pairs(text: str) -> tuple[dict[str, Any], str | None, str]:
    """The pairs of one line, what stands before them, and what is wrong with them."""
    found: dict[str, Any] = {}
    others: dict[str, list[str]] = {}
    errors: list[str] = []
    first = -1
    for pair in PAIR.finditer(text):
        if first < 0:
            first = pair.start()
        key, value = pair[1], _value(pair[2])
        if _open(pair[2]):
            errors.append(f"{key}: the quote is not closed")
        if found.setdefault(key, value) != value:
            others.setdefault(key, []).append(found[key])
            found[key] = value
    for key, values in others.items():
        errors.append(f"{key}: given {len(values) + 1} times")
        free = key + "_"
        while free in found:
            free += "_"
        found[free] = values if len(values) > 1 else values[0]
    return found, text[:first].strip() or None if first > 0 else None, "; ".join(errors)


def _open(text: str) -> bool:
    """Whether a quote at the beginning of a value has none at its end."""
    return text[:1] in ('"', "'") and _CLOSED.fullmatch(text) is None


def _value(text: str) -> str:
    if _open(text):
        return text[1:]
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

    named = spoken(rest, Context(origin.tz, observed))
    if named is not None:
        frame = _named(frame, named)
    return frame.with_columns(
        prefer("time", head["time"]),
        prefer("severity", head["severity"]),
        prefer("message", pl.select(pl.when(rest != "").then(rest)).to_series()),
        tags=pl.when(mark).then(pl.lit([times.ASSUMED])).otherwise(tags),
    )


def _named(frame: pl.DataFrame, named: pl.DataFrame) -> pl.DataFrame:
    """*frame* with the kinds that the words before the pairs name, where the pairs name none."""
    silent = frame["kind"] == Kind.LOG
    out = [named["kind"].zip_with(silent, frame["kind"])]
    for told in named.drop("kind").get_columns():
        new = told.set(~silent, None)
        if told.name == "attributes" and told.name in frame.columns:
            new = merged(frame[told.name], new)
        elif told.name in frame.columns:
            new = frame[told.name].zip_with(frame[told.name].is_not_null(), new)
        out.append(new.alias(told.name))
    return put(frame, *out)
