"""PostgreSQL's jsonlog (15 and later), the format to recommend: one record a line, no ambiguity."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import polars as pl

from tocsin.intake.origin import Origin
from tocsin.intake.parsers.attributes import PLAIN_KEY
from tocsin.intake.parsers.lines import Lines, complain, keep, stitch
from tocsin.intake.parsers.objects import Bad, Table, Twice, Values, decode
from tocsin.intake.parsers.postgres import FOREIGN, KEYS, columns
from tocsin.intake.parsers.readers import READERS, Context

__all__ = ["parse"]


def parse(lines: Lines, origin: Origin, observed: int) -> pl.DataFrame:
    """Rows of jsonlog."""
    parts: list[pl.DataFrame] = []
    bad: list[Bad] = []
    twice: dict[int, str] = {}

    def no_record(rows: Sequence[int]) -> None:
        plain = lines.plain()
        bad.extend(Bad(row, plain[row], "jsonlog: no timestamp and error_severity") for row in rows)

    for item in decode(lines, nested=False):
        if isinstance(item, Bad):
            bad.append(item)
        elif isinstance(item, Twice):
            twice[item.row] = item.why  # without the line: statements with their values are in it
        elif {"timestamp", "error_severity"} <= set(item.names):
            texts = _texts(item)  # a table has the keys of all its rows
            whole = texts["timestamp"].is_not_null() & texts["error_severity"].is_not_null()
            parts.append(texts.filter(whole))
            no_record(texts["_row"].filter(~whole).to_list())
        else:
            no_record(item.rows)
    frames = [columns(stitch(parts), origin, observed)] if parts else []
    if bad:
        text = [b.line.decode(errors="backslashreplace").rstrip("\r") for b in bad]
        kept = keep(text, [b.why for b in bad])
        frames.append(kept.with_columns(_row=pl.Series([b.row for b in bad], dtype=pl.Int64)))
    return complain(stitch(frames).drop("_row"), twice)


def _texts(table: Table) -> pl.DataFrame:
    """The keys as text; keys that PostgreSQL does not have are marked as foreign."""
    context = Context("UTC", 0)
    known = [
        _text(values, context).alias(name if name in KEYS else FOREIGN + _plain(name))
        for name, values in zip(table.names, table.columns, strict=True)
    ]
    return pl.DataFrame([pl.Series("_row", table.rows, dtype=pl.Int64), *known])


def _plain(name: str) -> str:
    """*name* without what would have to be escaped in JSON."""
    return "".join(c if PLAIN_KEY.fullmatch(c) else "_" for c in name)


def _text(values: Values, context: Context) -> pl.Series:
    if isinstance(values, pl.Series) and values.dtype != pl.String():
        return values.cast(pl.String)
    read = READERS["text"](values, context)
    if not read.left:
        return read.values
    # A list or an object where PostgreSQL writes text: kept as JSON.
    left = {row: msgspec.json.encode(value).decode() for row, value in read.left.items()}
    return read.values.scatter(list(left), list(left.values()))
