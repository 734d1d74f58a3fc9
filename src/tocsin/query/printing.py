"""What people and programs see of the rows: JSON lines, a table, or CSV.

Log data is hostile: nothing here lets a value move the cursor, begin a line of its own or become a
formula in a spreadsheet.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import msgspec
import polars as pl

from tocsin.errors import UsageError
from tocsin.event.batch import SCHEMA
from tocsin.event.escape import visible
from tocsin.event.lines import json_lines
from tocsin.query.fields import SEQ
from tocsin.query.rows import chosen_columns
from tocsin.query.text import HIDDEN, columns_wide, instants

__all__ = ["FORMS", "TABLE_COLUMNS", "Form", "render"]

Form = Literal["json", "table", "csv"]
FORMS: tuple[Form, ...] = ("json", "table", "csv")

#: What a table shows unless other columns are asked for.
TABLE_COLUMNS = ("time", "kind", "user", "client_ip", "method", "path", "status", "message")

_GAP = "  "
_LEAST = 4  #: no column of a table is narrower
_MOST = 48  #: nor wider, the last one apart
_TEXTUAL = (pl.String, pl.List(pl.String))
_FORMULA = "^[-=+@＝＋－＠]"  #: what a spreadsheet may take for the beginning of a formula


def render(
    frames: Iterable[pl.DataFrame],
    form: str,
    *,
    columns: Sequence[str] | None = None,
    width: int = 160,
) -> Iterator[str]:
    """Text of *frames*, in pieces of whole lines.

    ``json``: one event a line, absent fields left out.  ``csv``: a header and RFC 4180 lines, all
    columns unless *columns* are given.  ``table``: *width* characters wide, the first frame decides
    how wide each column is.
    """
    names = None if columns is None else chosen_columns(columns)
    match form:
        case "json":
            return _json(frames, names)
        case "csv":
            return _csv(frames, names or [SEQ, *SCHEMA])
        case "table":
            return _table(frames, names or list(TABLE_COLUMNS), width)
        case _:
            raise UsageError(f'unknown form "{form}"; there are {", ".join(FORMS)}')


def _json(frames: Iterable[pl.DataFrame], names: list[str] | None) -> Iterator[str]:
    for frame in frames:
        picked = frame if names is None else frame.select(n for n in names if n in frame.columns)
        yield json_lines(picked).decode()


def _csv(frames: Iterable[pl.DataFrame], names: list[str]) -> Iterator[str]:
    yield ",".join(names) + "\r\n"
    for frame in frames:
        texts = _texts(frame, names).with_columns(_shown(n) for n in names)
        if texts.height:
            lines = (
                texts.select(_csv_field(n) for n in names)
                .select(pl.concat_str(pl.all(), separator=","))
                .to_series()
            )
            yield "\r\n".join(lines) + "\r\n"


def _csv_field(name: str) -> pl.Expr:
    """Quoted by RFC 4180, and what could begin a formula begins with an apostrophe instead.

    Null is an empty field, empty text a quoted one.
    """
    text = pl.col(name)
    safe = (
        pl.when(text.str.contains(_FORMULA)).then(pl.concat_str(pl.lit("'"), text)).otherwise(text)
        if SCHEMA.get(name) in _TEXTUAL
        else text
    )
    quoted = pl.concat_str(pl.lit('"'), safe.str.replace_all('"', '""', literal=True), pl.lit('"'))
    special = safe.str.contains('[",]') | (safe == "")
    return pl.when(special).then(quoted).otherwise(safe).fill_null("").alias(name)


def _shown(name: str) -> pl.Expr:
    """The column with control characters escaped; line breaks too, so that a row is a line."""
    return pl.col(name).map_batches(_escaped, return_dtype=pl.String)


def _escaped(series: pl.Series) -> pl.Series:
    unsafe = series.filter(series.str.contains(HIDDEN)).unique().to_list()
    return series.replace(unsafe, [visible(text) for text in unsafe]) if unsafe else series


def _table(frames: Iterable[pl.DataFrame], names: list[str], width: int) -> Iterator[str]:
    widths: list[int] = []
    for frame in frames:
        rows = [
            ["" if v is None else visible(v) for v in row]
            for row in _texts(frame, names).iter_rows()
        ]
        if not widths:
            widths = _widths(names, rows, width)
            yield _line(names, widths)
        yield "".join(_line(row, widths) for row in rows)


def _widths(names: list[str], rows: list[list[str]], width: int) -> list[int]:
    """As wide as the content, within limits; the last column takes what is left."""
    widest = [
        max(columns_wide(name), *(columns_wide(row[i]) for row in rows), _LEAST)
        for i, name in enumerate(names)
    ]
    *fixed, last = (min(w, _MOST) for w in widest)
    # Take from the widest until all fit, each keeping what makes it recognisable.
    while fixed and sum(fixed) + len(_GAP) * len(fixed) + _LEAST > width and max(fixed) > _LEAST:
        fixed[fixed.index(max(fixed))] -= 1
    left = width - sum(fixed) - len(_GAP) * len(fixed)
    return [*fixed, max(_LEAST, min(left, max(last, widest[-1])))]


def _line(cells: Sequence[str], widths: list[int]) -> str:
    padded = (_fit(cell, width) for cell, width in zip(cells, widths, strict=True))
    return _GAP.join(padded).rstrip() + "\n"


def _fit(text: str, width: int) -> str:
    wide = columns_wide(text)
    if wide <= width:
        return text + " " * (width - wide)
    kept = ""
    for char in text:
        if columns_wide(kept + char) >= width:
            break
        kept += char
    return kept + "…" + " " * (width - 1 - columns_wide(kept))


def _texts(frame: pl.DataFrame, names: list[str]) -> pl.DataFrame:
    """The columns *names* as text, absent ones as null."""
    return frame.select(_text(n, frame.schema.get(n)) for n in names)


def _text(name: str, dtype: pl.DataType | None) -> pl.Expr:
    if dtype is None:
        return pl.lit(None, dtype=pl.String).alias(name)
    if isinstance(dtype, pl.Datetime):
        return instants(name)
    if isinstance(dtype, pl.List):
        return pl.col(name).map_batches(_lists, return_dtype=pl.String)
    return pl.col(name).cast(pl.String)


def _lists(series: pl.Series) -> pl.Series:
    texts: list[list[str] | None] = series.to_list()
    return pl.Series(
        series.name,
        [None if v is None else msgspec.json.encode(v).decode() for v in texts],
        dtype=pl.String,
    )
