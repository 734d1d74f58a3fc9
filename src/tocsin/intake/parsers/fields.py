"""From foreign keys to canonical columns: what has a column goes there, the rest is kept."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import polars as pl

from tocsin.event import NAMES, Kind
from tocsin.event.batch import SCHEMA
from tocsin.event.redact import marker
from tocsin.event.signatures import PROBES
from tocsin.intake.parsers import times
from tocsin.intake.parsers.aliases import resolve
from tocsin.intake.parsers.attributes import PLAIN_KEY, pack
from tocsin.intake.parsers.lines import complain, keep, stitch
from tocsin.intake.parsers.objects import Bad, Table, Twice, Values
from tocsin.intake.parsers.readers import READERS, Column, Context
from tocsin.intake.parsers.requests import judged, request_columns

__all__ = ["rows"]

_encode = msgspec.json.encode
_decode = msgspec.json.decode


def rows(
    found: Iterable[Table | Bad | Twice],
    dialect: str,
    context: Context,
    *,
    kind: Kind | None = None,
) -> pl.DataFrame:
    """Canonical rows of decoded lines, in their order; the unreadable ones kept as ``log``.

    All that can be read are of *kind*, if that is given.
    """
    parts: list[pl.DataFrame] = []
    bad: list[Bad] = []
    twice: list[Twice] = []
    for item in found:
        if isinstance(item, Bad):
            bad.append(item)
        elif isinstance(item, Twice):
            twice.append(item)
        else:
            table = _table(item, dialect, context)
            parts.append(table if kind is None else table.with_columns(kind=pl.lit(str(kind))))
    if bad:
        text = [_shown(b.line, dialect) for b in bad]
        kept = keep(text, [b.why for b in bad])
        parts.append(kept.with_columns(_row=pl.Series([b.row for b in bad], dtype=pl.Int64)))
    frame = stitch(parts)
    frame.drop_in_place("_row")
    if twice:
        at = [t.row for t in twice]
        frame = complain(frame, dict(zip(at, (t.why for t in twice), strict=True)))
        raw = frame["raw"] if "raw" in frame.columns else pl.Series([None], dtype=pl.String)
        if len(raw) < frame.height:
            raw = raw.new_from_index(0, frame.height)
        lines = [_shown(t.line, dialect) for t in twice]
        frame = frame.with_columns(raw.scatter(at, lines).alias("raw"))
    return frame


_PROBE = re.compile(rf'"({"|".join(PROBES)})"\s*:\s*"(?:[^"\\]|\\.)*+"?')


def _shown(line: bytes, dialect: str) -> str:
    """A line as it is kept: whole, but that what was sent to be forgotten is."""
    text = line.decode(errors="backslashreplace").rstrip("\r")
    if dialect != "tocsin" or "probe_" not in text:
        return text
    return _PROBE.sub(rf'"\1":"{marker("probe")}"', text)


class _Draft:
    """The columns of one table while they are put together."""

    def __init__(self, height: int) -> None:
        self.height = height
        self.columns: dict[str, pl.Series] = {}
        self.whole: dict[str, Values] = {}  # attributes that every row may have
        self.single: dict[int, dict[str, Any]] = {}  # attributes of single rows
        self.errors: dict[int, list[str]] = {}

    def put(self, name: str, values: pl.Series, key: str) -> None:
        """Fill column *name*; where it is filled already, keep the value as attribute *key*."""
        if name not in self.columns:
            self.columns[name] = values
            return
        before = self.columns[name]
        twice = before.is_not_null() & values.is_not_null()
        if name == "time":
            # Servers write one instant in several forms; only a different one is worth keeping.
            twice &= ((before - values).dt.total_milliseconds().abs() >= 1000).fill_null(False)
            values = values.dt.to_string("iso:strict") if twice.any() else values
        else:
            twice &= before.ne_missing(values)
        if twice.any():
            frame = pl.DataFrame([values.alias("v"), twice.alias("twice")])
            self.whole[key] = frame.select(pl.when("twice").then("v")).to_series()
        if name != "time" or not twice.any():
            self.columns[name] = before.zip_with(before.is_not_null(), values)

    def attribute(self, row: int, key: str, value: Any) -> None:
        self.single.setdefault(row, {})[key] = value

    def error(self, row: int, what: str) -> None:
        self.errors.setdefault(row, []).append(what)


def _table(table: Table, dialect: str, context: Context) -> pl.DataFrame:
    draft = _Draft(len(table.rows))
    wanted: list[tuple[int, int, str, str]] = []
    for i, key in enumerate(table.names):
        alias = resolve(key, dialect)
        if alias is None:
            draft.whole[key] = table.columns[i]
        else:
            column, reader, rank = alias
            wanted.append((rank, i, column, reader))
    for _, i, column, reader in sorted(wanted):
        _read(draft, table.names[i], table.columns[i], column, reader, context)
    if dialect == "nginx_json":
        draft.whole = {k: _nonempty(values) for k, values in draft.whole.items()}
    return _finish(draft, table.rows, native=dialect == "tocsin")


def _read(
    draft: _Draft, key: str, values: Values, column: str, reader: str, context: Context
) -> None:
    if reader == "request":
        _request_line(draft, key, values, context)
        return
    read = READERS[reader](values, context)
    draft.put(column, read.values, key)
    for name, series in read.more.items():
        draft.put(name, series, key if name == "message" else name)
    _keep_rest(draft, key, read)


def _keep_rest(draft: _Draft, key: str, read: Column) -> None:
    for row, value in read.left.items():
        draft.attribute(row, key, value)
        if read.wrong:
            draft.error(row, f"{key}: not {read.wrong}")
    if not read.extra:
        return
    named: dict[str, dict[int, Any]] = {}
    for row, values in read.extra.items():
        for name, value in values.items():
            if name in NAMES and SCHEMA[name] == pl.String():
                named.setdefault(name, {})[row] = value
            else:
                draft.attribute(row, name, value)
    for name, by_row in named.items():
        series = pl.Series([by_row.get(i) for i in range(draft.height)], dtype=pl.String)
        draft.put(name, series, name)


def _request_line(draft: _Draft, key: str, values: Values, context: Context) -> None:
    read = READERS["text"](values, context)
    cut = request_columns(pl.DataFrame({"request": read.values}).with_row_index("_row"))
    for name in ("method", "path", "query", "http_version"):
        if cut[name].is_not_null().any():
            draft.put(name, cut[name], name)
    garbage = cut.filter(pl.col("method").is_null() & pl.col("request").is_not_null())
    for row, value in garbage.select("_row", "request").iter_rows():
        draft.attribute(row, key, value)
    _keep_rest(draft, key, read)


def _finish(draft: _Draft, at: Sequence[int], *, native: bool) -> pl.DataFrame:
    assumed = draft.columns.pop(times.ASSUMED, None)
    claimed = draft.whole.pop("attributes", None) if native else None
    attributes = _attributes(draft, claimed)
    columns = [series.alias(name) for name, series in draft.columns.items()]
    frame = pl.DataFrame([pl.Series("_row", at, dtype=pl.Int64), *columns])
    if attributes is not None:
        frame = frame.with_columns(attributes.alias("attributes"))
    if draft.errors:
        errors = ["; ".join(draft.errors[i]) if i in draft.errors else None for i in range(len(at))]
        frame = frame.with_columns(pl.Series("parse_error", errors, dtype=pl.String))
    if assumed is not None:
        frame = times.tagged(frame, assumed)
    frame = _kind(frame)
    return judged(frame) if "status" in frame.columns else frame


def _kind(frame: pl.DataFrame) -> pl.DataFrame:
    """Where nobody says what happened, the columns do."""
    have = frame.columns
    if "kind" in have and not frame["kind"].null_count():
        return frame
    told = [pl.col("kind")] if "kind" in have else []
    guess = pl.lit("log")
    if "db_statement" in have:
        guess = pl.when(pl.col("db_statement").is_not_null()).then(pl.lit("query")).otherwise(guess)
    if "method" in have and ("path" in have or "status" in have):
        # An application's message about a request is no request log line: that has a status.
        served = [pl.col("status").is_not_null()] if "status" in have else []
        if "path" in have and "message" not in have:
            served.append(pl.col("path").is_not_null())
        is_request = pl.col("method").is_not_null() & pl.any_horizontal(*served, pl.lit(False))
        guess = pl.when(is_request).then(pl.lit("request")).otherwise(guess)
    return frame.with_columns(kind=pl.coalesce(*told, guess))


def _nonempty(values: Values) -> Values:
    """nginx writes what is absent as an empty text."""
    if not isinstance(values, pl.Series):
        return [None if v == "" else v for v in values]
    return values.replace("", None) if values.dtype == pl.String() else values


def _attributes(draft: _Draft, claimed: Values | None) -> pl.Series | None:
    """One JSON object a row, of all that has no column."""
    if not draft.whole and not draft.single and claimed is None:
        return None
    fast = _packed(draft) if claimed is None else None
    if fast is None:
        return _packed_slowly(draft, claimed)
    if draft.single:
        rows = sorted(draft.single)
        patched = [
            _encode({**(_decode(fast[i]) if fast[i] else {}), **draft.single[i]}).decode()
            for i in rows
        ]
        fast = fast.scatter(rows, patched)
    return fast


def _packed(draft: _Draft) -> pl.Series | None:
    """The objects written by Polars, where every key has values of one type."""
    whole = {k: v for k, v in draft.whole.items() if isinstance(v, pl.Series)}
    if len(whole) < len(draft.whole) or not all(map(PLAIN_KEY.fullmatch, whole)):
        return None
    return pack(whole) if whole else pl.repeat(None, draft.height, dtype=pl.String(), eager=True)


def _packed_slowly(draft: _Draft, claimed: Values | None) -> pl.Series:
    names = tuple(draft.whole)
    by_row: Iterable[tuple[Any, ...]] = (
        zip(*draft.whole.values(), strict=True) if names else [()] * draft.height
    )
    out: list[str | None] = []
    for i, values in enumerate(by_row):
        rest = {k: v for k, v in zip(names, values, strict=True) if v is not None}
        if i in draft.single:
            rest.update(draft.single[i])
        if claimed is not None and claimed[i] is not None:
            rest = _merge(draft, i, rest, claimed[i])
        out.append(_encode(rest).decode() if rest else None)
    return pl.Series(out, dtype=pl.String)


def _merge(draft: _Draft, row: int, rest: dict[str, Any], claimed: Any) -> dict[str, Any]:
    """The sender's own attributes, and what we add under names that are free."""
    if not isinstance(claimed, dict):
        draft.error(row, "attributes: not an object")
        return {**rest, "attributes": claimed}
    merged = dict(claimed)
    for key, value in rest.items():
        free = key
        while free in merged:
            free = "_" + free
        merged[free] = value
    return merged
