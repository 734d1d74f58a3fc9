"""What people and programs see of the rows: JSON lines, a table, CSV, or cells between tabs.

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

Form = Literal["json", "table", "csv", "tsv"]
FORMS: tuple[Form, ...] = ("json", "table", "csv", "tsv")

#: What a table shows unless other columns are asked for.
TABLE_COLUMNS = ("time", "kind", "user", "client_ip", "method", "path", "status", "message")

#: What a narrow table leaves out of them, the first one first.
_DROPPED = ("method", "user", "path", "client_ip", "status")

_GAP = "  "
_LEAST = 4  #: no column of a table is narrower
_READABLE = 10  #: what a column keeps before others are left out
_ADDRESS = 15  #: and one of addresses
_WHOLE = frozenset({"time", "observed", "seq"})  #: never cut
_MOST = 48  #: nor wider, the last one apart
_TEXTUAL = (pl.String, pl.List(pl.String))
_FORMULA = "^[-=+@＝＋－＠]"  #: what a spreadsheet may take for the beginning of a formula


def render(
    frames: Iterable[pl.DataFrame],
    form: str,
    *,
    columns: Sequence[str] | None = None,
    width: int = 160,
    drop: Sequence[str] = (),
    arriving: bool = False,
) -> Iterator[str]:
    """Text of *frames*, in pieces of whole lines.

    ``json``: one event a line, absent fields left out.  ``csv``: a header and RFC 4180 lines, all
    columns unless *columns* are given.  ``table``: *width* characters wide, the first frame decides
    how wide each column is.  When they have too little room, some are left out: of those that were
    asked for only what *drop* names, first what is empty unless rows are *arriving*.  ``tsv``: a
    header and whole cells with tabs between them, the columns of a table.
    """
    names = None if columns is None else chosen_columns(columns)
    match form:
        case "json":
            return _json(frames, names)
        case "csv":
            return _csv(frames, names or [SEQ, *SCHEMA])
        case "table":
            given = names or list(TABLE_COLUMNS)
            return _table(frames, given, width, drop if names else _DROPPED, arriving)
        case "tsv":
            return _tsv(frames, names or list(TABLE_COLUMNS))
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


def _tsv(frames: Iterable[pl.DataFrame], names: list[str]) -> Iterator[str]:
    yield "\t".join(names) + "\n"
    for frame in frames:
        yield "".join("\t".join(row) + "\n" for row in _rows(frame, names))


def _rows(frame: pl.DataFrame, names: list[str]) -> list[list[str]]:
    return [
        ["" if v is None else visible(v) for v in row] for row in _texts(frame, names).iter_rows()
    ]


def _table(
    frames: Iterable[pl.DataFrame],
    names: list[str],
    width: int,
    drop: Sequence[str],
    arriving: bool,
) -> Iterator[str]:
    widths: list[int] = []
    shown = names
    for frame in frames:
        if not widths:
            rows = _rows(frame, names)
            empty = {n for i, n in enumerate(names) if not any(row[i] for row in rows)}
            spare = [] if arriving else [n for n in drop if n in empty]
            shown, widths = _fitting(names, rows, width, drop, spare)
            yield _line(shown, widths)
        yield "".join(_line(row, widths) for row in _rows(frame, shown))


def _fitting(
    names: list[str], rows: list[list[str]], width: int, drop: Sequence[str], spare: Sequence[str]
) -> tuple[list[str], list[int]]:
    """The columns that a table has room for, and how wide each is.

    Those of *spare* make room for whole values, those of *drop* for readable ones.
    """
    widest = {
        name: max(columns_wide(name), *(columns_wide(row[i]) for row in rows), _LEAST)
        for i, name in enumerate(names)
    }
    least = {
        n: w if n in _WHOLE else min(w, _ADDRESS if n.endswith("_ip") else _READABLE)
        for n, w in widest.items()
    }
    most = {n: min(w, _MOST) for n, w in widest.items()}
    shown = list(names)
    for needs, columns in ((most, spare), (least, drop)):
        for name in columns:
            if sum(needs[n] for n in shown) + len(_GAP) * (len(shown) - 1) <= width:
                break
            shown = [n for n in shown if n != name]
    return shown, _widths(shown, widest, least, width)


def _widths(
    names: list[str], widest: dict[str, int], least: dict[str, int], width: int
) -> list[int]:
    """As wide as the content, within limits; the last column takes what is left."""
    *fixed, last = (min(widest[n], _MOST) for n in names)
    room = width - len(_GAP) * len(fixed) - min(last, _READABLE)
    # Take from the widest until all fit, each keeping what makes it recognisable; if need be, less.
    for kept in (least, {n: widest[n] if n in _WHOLE else _LEAST for n in names}):
        cut = [at for at, name in enumerate(names[:-1]) if fixed[at] > kept[name]]
        while cut and sum(fixed) > room:
            at = max(cut, key=lambda n: fixed[n])
            fixed[at] -= 1
            if fixed[at] <= kept[names[at]]:
                cut.remove(at)
    left = width - sum(fixed) - len(_GAP) * len(fixed)
    return [*fixed, max(_LEAST, min(left, max(last, widest[names[-1]])))]


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
