"""What every HTTP log shares: the request line, the status and what they mean."""

from __future__ import annotations

import re
from functools import cache
from types import MappingProxyType

import polars as pl

__all__ = [
    "REASONS",
    "dashless",
    "judged",
    "outcome",
    "reason",
    "request_columns",
    "unescape",
    "unescaped",
    "version",
]

#: Class of failure that a status tells by itself.  401 tells none: a refused login and a missing
#: token look the same.
REASONS = MappingProxyType(
    {
        400: "validation",
        403: "forbidden",
        404: "not_found",
        409: "conflict",
        422: "validation",
        429: "rate_limited",
        502: "upstream",
        503: "upstream",
        504: "upstream",
    }
    | {status: "internal" for status in range(500, 600) if status not in (502, 503, 504)}
)

#: The same, to be looked up by status; it begins and ends with nothing.
_REASONS = pl.Series([REASONS.get(status) for status in range(1000)], dtype=pl.String)

_ESCAPE = re.compile(rb'\\(?:[xX]([0-9a-fA-F]{2})|(["\\]))')
_METHOD = r"^[A-Za-z][A-Za-z_-]{0,31}$"
_LOOSE = r"^([A-Za-z][A-Za-z_-]{0,31}) +(.*?)(?: +(HTTP/[0-9.]+))?$"
_TARGET = r"^(?:/|\*$|[A-Za-z][A-Za-z0-9+.-]*://|[^/\s]+:\d+$)"


def unescape(text: str) -> str:
    r"""*text* as the client sent it; control characters stay written as ``\xNN``.

    nginx and Apache write a quote as ``\x22`` or ``\"`` and bytes above 126 as ``\xNN``.

    >>> unescape(r"te\x22st\x5Cua \xd0\x9f \x0a")
    'te"st\\ua П \\x0a'
    """

    def byte(match: re.Match[bytes]) -> bytes:
        if match[2]:
            return match[2]
        value = bytes.fromhex(match[1].decode())
        # A line end inside a value is data; written out, it would begin a line (CWE-117).
        return match[0] if value < b" " or value == b"\x7f" else value

    return _ESCAPE.sub(byte, text.encode()).decode("utf-8", "backslashreplace")


def unescaped(frame: pl.DataFrame, names: tuple[str, ...]) -> pl.DataFrame:
    """*frame* with the escapes of the columns *names* read once."""
    for name in names:
        marked = frame[name].str.contains("\\", literal=True)
        if marked.any():
            plain = [unescape(value) for value in frame[name].filter(marked)]
            index = marked.fill_null(False).arg_true()
            frame = frame.with_columns(frame[name].clone().scatter(index, plain))
    return frame


def dashless(column: str) -> pl.Expr:
    """The column, null where the log says ``-`` or nothing."""
    value = pl.col(column)
    return pl.when((value != "-") & (value != "")).then(value)


def request_columns(frame: pl.DataFrame) -> pl.DataFrame:
    """Columns method, path, query and http_version from the column ``request``.

    What is no request line (bytes of TLS, ``-``, a bare word) leaves all four null.
    """
    cut = frame.with_columns(pl.col("request").str.split_exact(" ", 3).alias("_p")).with_columns(
        pl.col("_p").struct.rename_fields(["method", "target", "version", "_more"])
    )
    cut = cut.unnest("_p")
    good = (
        pl.col("version").str.starts_with("HTTP/")
        & pl.col("_more").is_null()
        & pl.col("method").str.contains(_METHOD)
        & pl.col("target").str.contains(_TARGET)
    ).fill_null(False)
    cut = cut.with_columns(_good=good)
    if not cut["_good"].all():
        cut = _loose(cut)
    return (
        cut.with_columns(pl.col("target").str.splitn("?", 2).alias("_t"))
        .with_columns(
            path=pl.col("_t").struct.field("field_0"),
            query=pl.col("_t").struct.field("field_1"),
            http_version=version("version"),
        )
        .drop("_t", "_good", "_more", "target", "version")
    )


def _loose(cut: pl.DataFrame) -> pl.DataFrame:
    """Read the request lines that are not three plain words: spaces in the target, no version."""
    parts = pl.col("request").str.extract_groups(_LOOSE)
    odd = cut.filter(~pl.col("_good")).select(
        "_row",
        parts.struct.field("1").alias("method"),
        parts.struct.field("2").alias("target"),
        parts.struct.field("3").alias("version"),
    )
    is_one = pl.col("target").str.contains(_TARGET)
    odd = odd.with_columns(
        pl.when(is_one).then(pl.col(name)).alias(name) for name in ("method", "target", "version")
    )
    return cut.update(odd, on="_row", how="left", include_nulls=True)


def version(column: str) -> pl.Expr:
    """``HTTP/1.1`` as 1.1, ``HTTP/2.0`` as 2."""
    number = pl.col(column).str.strip_prefix("HTTP/")
    return (
        pl.when(number.is_in(["1.1", "1.0"]))
        .then(number)
        .otherwise(number.str.replace(r"^([23])\.0$", "$1"))
    )


def outcome(status: pl.Expr) -> pl.Expr:
    """What the status says came of the request."""
    return (
        pl.when(status.is_between(100, 399))
        .then(pl.lit("success"))
        .when(status >= 400)
        .then(pl.lit("failure"))
    )


def reason(status: pl.Expr) -> pl.Expr:
    """Class of failure that the status tells."""
    return pl.lit(_REASONS).gather(status.clip(0, len(_REASONS) - 1))


def judged(frame: pl.DataFrame) -> pl.DataFrame:
    """*frame* with outcome and reason by status, where nothing better says."""
    wanted: list[pl.Expr] = []
    if "outcome" not in frame.columns or frame["outcome"].null_count():
        wanted += _outcomes("outcome" in frame.columns, "outcome_source" in frame.columns)
    if (frame["status"] >= 400).any():
        wanted.append(_reasons("reason" in frame.columns))
    return frame.with_columns(wanted) if wanted else frame


@cache
def _outcomes(told: bool, marked: bool) -> list[pl.Expr]:  # kept by position
    by_status = outcome(pl.col("status"))
    is_open = by_status.is_not_null()
    if told:
        is_open &= pl.col("outcome").is_null()
    mark = pl.when(is_open).then(pl.lit("status"))
    return [
        (pl.coalesce("outcome", by_status) if told else by_status).alias("outcome"),
        (pl.coalesce("outcome_source", mark) if marked else mark).alias("outcome_source"),
    ]


@cache
def _reasons(told: bool) -> pl.Expr:  # kept by position
    by_status = reason(pl.col("status"))
    return (pl.coalesce("reason", by_status) if told else by_status).alias("reason")
