"""PostgreSQL's csvlog: records whose fields may hold line ends.

A record ends at a line end outside quotes.  Should a record turn out broken (a quote that was never
closed, lines lost), its first line alone is kept as ``log`` and reading goes on with the next line,
so a broken record harms no neighbour.
"""

from __future__ import annotations

import csv
import io
import re

import numpy as np
import polars as pl

from tocsin.intake.origin import Origin
from tocsin.intake.parsers.lines import LIMIT, Lines, keep, pure, stitch
from tocsin.intake.parsers.postgres import columns

__all__ = ["NAMES", "ends", "parse"]

#: Fields of one record: 23 before PostgreSQL 13, 24 in 13, 26 since 14.
NAMES = (
    "timestamp user dbname pid remote session_id line_num ps session_start vxid txid "
    "error_severity state_code message detail hint internal_query internal_position context "
    "statement cursor_position location application_name backend_type leader_pid query_id"
).split()
WIDTHS = (23, 24, 26)

# The process-wide limit of 128 KiB a field is less than a record may have here; it is only raised.
csv.field_size_limit(max(csv.field_size_limit(), LIMIT))

#: Bytes in which a record has shown that it is one.
_HEAD = 80

_START = re.compile(rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[^,\n]{0,40},")


def ends(data: bytes, *, final: bool = False) -> list[int]:
    """Where each record of *data* ends (one past its line end), quotes respected.

    A record whose quotes are open at the end may go on in data to come; if this is *final*, it may
    not: it is broken where another record seems to begin.
    """
    array = np.frombuffer(data, np.uint8)
    breaks = np.flatnonzero(array == 10)
    quotes = np.flatnonzero(array == 34)
    odd = np.searchsorted(quotes, breaks) & 1
    if not odd.any():
        return [int(b) + 1 for b in breaks]
    return _joined(data, breaks, quotes, final)


def _joined(data: bytes, breaks: np.ndarray, quotes: np.ndarray, final: bool) -> list[int]:
    """Join the lines whose quotes are open with what closes them."""
    counts = np.diff(np.concatenate([[0], np.searchsorted(quotes, breaks)])) & 1
    odd = np.flatnonzero(counts)  # lines at which the state of the quotes changes
    out: list[int] = []
    line, at = 0, 0
    total = len(breaks)
    while line < total:
        while at < len(odd) and odd[at] < line:
            at += 1
        first = int(odd[at]) if at < len(odd) else total
        out.extend(int(b) + 1 for b in breaks[line:first])
        if first == total:
            break
        last = int(odd[at + 1]) if at + 1 < len(odd) else None
        start = int(breaks[first - 1]) + 1 if first else 0
        if last is None:
            # Open to the end of the data: the rest is one record that has not ended yet, unless it
            # is too long to be one or others begin in it.  Then the line stands alone.
            others = final and any(_START.match(data, int(b) + 1) for b in breaks[first:])
            if len(data) - start <= LIMIT and not others:
                break
            last = first
        elif breaks[last] - start > LIMIT or not _sound(data, start, breaks, last):
            last = first
        out.append(int(breaks[last]) + 1)
        line = last + 1
        at = at + 2 if last != first else at + 1
    return out


def _sound(data: bytes, start: int, breaks: np.ndarray, last: int) -> bool:
    """A joined record begins like one, and what follows it does too."""
    if not _START.match(data, start):
        return False
    after = int(breaks[last]) + 1
    if len(data) - after < _HEAD and b"\n" not in data[after:]:
        return True  # too little of the next one is here to judge by
    return data[after : after + 1] in (b"\r", b"\n") or bool(_START.match(data, after))


def parse(lines: Lines, origin: Origin, observed: int) -> pl.DataFrame:
    """Rows of csvlog, one a record."""
    data = pure(lines.data)
    if data and not data.endswith(b"\n"):
        data += b"\n"
    marks = ends(data, final=True)
    if not marks or marks[-1] < len(data):
        marks.append(len(data))  # the input ends inside a record: take what there is
    starts = [0, *marks[:-1]]
    records = [r for a, b in zip(starts, marks, strict=True) if (r := data[a:b].strip(b"\r\n"))]
    records = [r for r in records if not r.isspace()]
    if not records:
        return pl.DataFrame({"raw": pl.Series([], dtype=pl.String)})
    fast = _fast(records)
    if fast is not None:
        return columns(fast, origin, observed).drop("_row")
    return _slow(records, origin, observed)


def _fast(records: list[bytes]) -> pl.DataFrame | None:
    """All records at once, or ``None`` if any of them is not exactly as it should be."""
    first, why = _record(records[0].decode())
    if why:
        return None
    names = NAMES[: len(first)]
    try:
        frame = pl.read_csv(
            b"\n".join(records) + b"\n",
            has_header=False,
            schema=dict.fromkeys(names, pl.String()),
            infer_schema=False,
        )
    except pl.exceptions.PolarsError:
        return None
    # The reader trusts quotes and fills short records with nulls: believe it only if it found as
    # many records as we cut, and each has what every record of this server has.
    last = frame[names[-1]].is_not_null().all() if len(first) != 24 else True
    if frame.height != len(records) or not last or not _good(frame):
        return None
    return _named(frame)


def _good(frame: pl.DataFrame) -> bool:
    return bool(
        frame.select(
            (
                pl.col("timestamp").str.contains(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")
                & pl.col("line_num").str.contains(r"^\d+$")
                & pl.col("pid").str.contains(r"^\d+$")
                & pl.col("error_severity").str.contains(r"^[A-Z]+\d?$")
                & pl.col("state_code").str.contains(r"^[0-9A-Z]{5}$")
            )
            .fill_null(False)
            .all()
        ).item()
    )


def _slow(records: list[bytes], origin: Origin, observed: int) -> pl.DataFrame:
    good: list[tuple[int, list[str]]] = []
    bad: list[tuple[int, str, str]] = []
    for row, record in enumerate(records):
        text = record.decode()
        fields, why = _record(text)
        if why:
            bad.append((row, text, why))
        else:
            good.append((row, fields))
    parts: list[pl.DataFrame] = []
    if good:
        padded = [[f or None for f in fields] + [None] * (26 - len(fields)) for _, fields in good]
        frame = pl.DataFrame(padded, schema=dict.fromkeys(NAMES, pl.String()), orient="row")
        named = _named(frame).with_columns(_row=pl.Series([r for r, _ in good], dtype=pl.Int64))
        parts.append(columns(named, origin, observed))
    if bad:
        kept = keep([t for _, t, _ in bad], [w for _, _, w in bad])
        parts.append(kept.with_columns(_row=pl.Series([r for r, _, _ in bad], dtype=pl.Int64)))
    return stitch(parts).drop("_row")


def _record(text: str) -> tuple[list[str], str]:
    """Fields of one record, or why it is none."""
    if len(text) > LIMIT:
        return [], f"record longer than {LIMIT} bytes"
    try:
        found = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        return [], f"csvlog: {error}"
    if len(found) != 1:
        return [], f"csvlog: {len(found)} records where there should be one"
    fields = found[0]
    if len(fields) not in WIDTHS:
        return [], f"csvlog: {len(fields)} fields, not 23, 24 or 26"
    if not re.match(r"\d{4}-\d\d-\d\d ", fields[0]) or not fields[3].isdigit():
        return [], "csvlog: no time and process id where they should be"
    return fields, ""


def _named(frame: pl.DataFrame) -> pl.DataFrame:
    """The fields under jsonlog's names; ``host:port`` in two."""
    remote = pl.col("remote").str.extract_groups(r"^(.*?)(?::(\d+))?$")
    some = [name for name in frame.columns if frame[name].null_count() < frame.height]
    return frame.with_columns(
        *(pl.when(pl.col(n) != "").then(pl.col(n)).alias(n) for n in some),
        remote_host=remote.struct.field("1"),
        remote_port=remote.struct.field("2"),
    ).with_row_index("_row")
