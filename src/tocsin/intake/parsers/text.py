"""Plain text: each line a ``log``, with the time, host and level that it obviously begins with."""

from __future__ import annotations

import polars as pl

from tocsin.intake.origin import Origin
from tocsin.intake.parsers import times
from tocsin.intake.parsers.lines import column
from tocsin.intake.parsers.readers import LEVELS

__all__ = ["headed", "parse"]

_ISO = (
    r"\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d(?::\d\d)?(?:[.,]\d+)?(?: ?(?:Z|UTC|GMT|[+-]\d\d:?\d\d)\b)?"
)
_BSD = r"[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d(?:\.\d+)?"
_CLF = r"\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d(?: [+-]\d{4})?"
_CTIME = r"[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d(?:\.\d+)? \d{4}"
_HEAD = (
    r"(?s)^(?:<(?P<pri>\d{1,3})>(?:1 )?)?"
    rf"\[?(?:(?P<when>{_ISO}|{_CLF}|{_CTIME})|(?P<bsd>{_BSD}))\]?[ :,|-]*(?P<rest>.*)$"
)
_SYSLOG = (
    r"(?s)^(?P<host>[A-Za-z0-9_.:-]+) (?P<program>[A-Za-z_][\w./-]*)(?:\[(?P<pid>\d+)\])?: "
    r"(?P<rest>.*)$"
)
_LEVEL = r"^[\[( ]*(?P<level>[A-Za-z]{3,9})[\]):, |]"
_PRI = ("critical", "critical", "critical", "error", "warn", "info", "info", "debug")


def headed(lines: pl.Series, tz: str, observed: int) -> pl.DataFrame:
    """Columns time, assumed, host, program, severity and rest of *lines*."""
    cut = pl.DataFrame({"raw": lines}).with_columns(
        pl.col("raw").str.extract_groups(_HEAD).alias("h")
    ).unnest("h")  # fmt: skip
    when = times.texts(cut.select(pl.coalesce("when", "bsd")).to_series(), tz, observed)
    cut = cut.with_columns(when["time"], when["assumed"])
    # What looks like a time but is none stays in the message.
    told = pl.col("time").is_not_null()
    cut = cut.with_columns(
        rest=pl.when(told).then("rest").otherwise("raw"),
        pri=pl.when(told).then(pl.col("pri").cast(pl.Int64, strict=False)),
    )
    is_syslog = pl.col("bsd").is_not_null() | pl.col("pri").is_not_null()
    groups = pl.col("rest").str.extract_groups(_SYSLOG)
    cut = cut.with_columns(
        pl.when(is_syslog & groups.struct.field("program").is_not_null())
        .then(groups.struct.field(name))
        .alias(f"s_{name}")
        for name in ("host", "program", "pid", "rest")
    )
    word = pl.col("rest").str.extract(_LEVEL.replace("?P<level>", ""), 1).str.to_lowercase()
    level = word.replace_strict(
        list(LEVELS), list(LEVELS.values()), default=None, return_dtype=pl.String
    )
    of_pri = (pl.col("pri") % 8).replace_strict(
        list(range(8)), list(_PRI), default=None, return_dtype=pl.String
    )
    return cut.select(
        "time",
        "assumed",
        host="s_host",
        program="s_program",
        pid="s_pid",
        severity=pl.coalesce(of_pri, pl.when(told).then(level)),
        rest=pl.coalesce("s_rest", "rest"),
    )


def parse(data: bytes, origin: Origin, observed: int) -> pl.DataFrame:
    """Rows of plain text, one a line."""
    lines = column(data)
    if lines.is_empty():
        return lines.to_frame()
    head = headed(lines, origin.tz, observed)
    program = pl.struct("program", "pid").struct.json_encode()
    return head.select(
        "time",
        "host",
        "severity",
        lines,
        kind=pl.lit("log"),
        message="rest",
        attributes=pl.when(pl.col("program").is_not_null()).then(program),
        tags=pl.when("assumed").then(pl.lit([times.ASSUMED])),
    )
