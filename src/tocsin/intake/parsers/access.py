"""Access logs of nginx and Apache: common, combined, combined with more at the end, per host.

The fast way cuts each line at its quotes and spaces and then demands that every piece is what and
where it should be; a line is never compared with its neighbours, so none can swallow another.
Lines that fail go through one exact regular expression, and what that refuses is an error-log line
or is kept as ``log``.
"""

from __future__ import annotations

import msgspec
import polars as pl

from tocsin.intake.origin import Origin
from tocsin.intake.parsers import error_log, times
from tocsin.intake.parsers.lines import column, keep, stitch
from tocsin.intake.parsers.requests import dashless, judged, request_columns, unescaped

__all__ = ["read_access"]

_IP = r"[0-9a-fA-F.:]*[.:][0-9a-fA-F.:]*(?:%\w+)?|unix:"
_QUOTED = r'"((?:[^"\\]|\\.)*)"'

#: What a syslog daemon puts in front of a line.
SYSLOG = (
    r"(?:<\d{1,3}>)?(?:1 )?"
    r"(?:[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d|\d{4}-\d\d-\d\dT[0-9:.]+(?:Z|[+-]\d\d:?\d\d)) "
    r"(?:(\S+) )?([A-Za-z][\w./-]*)(?:\[\d+\])?: "
)

_LINE = (
    rf"^(?:{SYSLOG})?(?:(\S+) ({_IP})|(\S+))(?: (\S+)(?: (.*?))?)? "
    r"(\[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\]) "
    rf"{_QUOTED} (\d{{3}}|-) (\d+|-)(?: {_QUOTED} {_QUOTED}(?: {_QUOTED})?)?( .*)?$"
)
_PIECES = (
    "loghost program vhost ip_after host ident user when request code size referer user_agent "
    "forwarded rest"
).split()

_TOKEN = r"^[0-9a-fA-F.:]+$"
_DIGITS = r"^\d+$"


def read_access(data: bytes, origin: Origin, observed: int) -> pl.DataFrame:
    """Rows of the access log *data*, one a line."""
    lines = pl.DataFrame({"raw": column(data)}).with_row_index("_row")
    if lines.is_empty():
        return lines.select("raw")
    cut = _cut(lines)
    good = cut["_good"]
    if good.all():
        parts = [_columns(cut.drop("_good"))]
    else:
        matched, strange = _match(lines.filter(~good))
        fast = cut.filter(good).drop("_good")
        both = pl.concat([fast, matched], how="diagonal_relaxed").sort("_row")
        parts = [_columns(both)] if both.height else []
        parts += _others(strange, origin, observed)
    return stitch(parts).drop("_row")


def _cut(lines: pl.DataFrame) -> pl.DataFrame:
    """Cut at quotes and spaces; ``_good`` says that each piece is exactly what it should be."""
    pieces = lines.with_columns(
        pl.col("raw")
        .str.split_exact('"', 9)
        .struct.rename_fields([f"q{i}" for i in range(10)])
        .alias("q")
    ).unnest("q")
    pieces = (
        pieces.with_columns(
            pl.col("q0")
            .str.split_exact(" ", 6)
            .struct.rename_fields(["ip", "ident", "user", "day", "offset", "end", "more"]),
        )
        .unnest("q0")
        .with_columns(
            pl.col("q2")
            .str.split_exact(" ", 4)
            .struct.rename_fields(["m0", "code", "size", "m3", "m4"])
        )
        .unnest("q2")
        .with_columns(when=pl.concat_str("day", pl.lit(" "), "offset"))
    )
    col = pl.col
    head = (
        (col("end") == "")
        & col("more").is_null()
        & col("day").str.starts_with("[")
        & col("offset").str.ends_with("]")
        & col("ip").str.contains(_TOKEN)
        & (col("ident") == "-")
        & (col("m0") == "")
        & (col("code").str.len_bytes() == 3)
        & col("code").str.contains(_DIGITS)
        & ((col("size") == "-") | col("size").str.contains(_DIGITS))
        & col("m4").is_null()
    )
    quoted = (col("m3") == "") & (col("q4") == " ")
    common = col("m3").is_null() & col("q3").is_null()
    combined = quoted & (col("q6") == "") & col("q7").is_null()
    forwarded = quoted & (col("q6") == " ") & (col("q8") == "") & col("q9").is_null()
    time = times.clf(col("when"))
    tidy = ~col("raw").str.contains('\\"', literal=True)
    return pieces.with_columns(
        time=time, _good=(head & tidy & (common | combined | forwarded)).fill_null(False)
    ).select(
        "_row", "raw", "ip", "user", "when", "code", "size",
        col("q1").alias("request"), col("q3").alias("referer"), col("q5").alias("user_agent"),
        col("q7").alias("forwarded"), "time",
        (col("_good") & col("time").is_not_null()).alias("_good"),
    )  # fmt: skip


def _match(lines: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Match line by line: those that are access lines in pieces, and those that are not."""
    cut = lines.with_columns(
        pl.col("raw").str.extract_groups(_LINE).struct.rename_fields(list(_PIECES)).alias("p")
    ).unnest("p")
    cut = cut.with_columns(time=times.clf(pl.col("when")))
    is_one = pl.col("request").is_not_null()
    matched = cut.filter(is_one).with_columns(ip=pl.coalesce("ip_after", "host"))
    return matched.drop("ip_after", "host"), lines.filter(cut["request"].is_null())


def _columns(cut: pl.DataFrame) -> pl.DataFrame:
    """Canonical columns of lines in pieces."""
    optional = [n for n in ("loghost", "program", "vhost", "ident", "rest") if n in cut.columns]
    names = ("user", "request", "referer", "user_agent", "forwarded")
    cut = request_columns(unescaped(cut, names))
    cut = cut.with_columns(
        pl.col("code").cast(pl.Int64, strict=False).alias("status"),
        pl.col("size").cast(pl.Int64, strict=False).alias("bytes_out"),
        pl.lit("request").alias("kind"),
        *(dashless(name).alias(name) for name in ("user", "referer", "user_agent", "forwarded")),
    )
    cut = judged(cut)
    cut = _client(cut)
    rest = {"ident": "ident", "program": "program", "rest": "rest", "forwarded": "x_forwarded_for"}
    cut = _attributes(cut, {k: v for k, v in rest.items() if k in cut.columns})
    if "loghost" in optional:
        cut = cut.rename({"loghost": "host", "vhost": "authority"})
    return cut.with_columns(
        parse_error=pl.when(pl.col("time").is_null()).then(
            pl.concat_str(pl.lit("time: unreadable "), "when")
        )
    )


def _client(cut: pl.DataFrame) -> pl.DataFrame:
    """The client's address; a name (Apache with HostnameLookups) is no address."""
    is_ip = pl.col("ip").str.contains(rf"^(?:{_IP})$")
    return cut.with_columns(
        client_ip=pl.when(is_ip & (pl.col("ip") != "unix:")).then("ip"),
        client_host=pl.when(~is_ip & (pl.col("ip") != "-")).then("ip"),
    )


def _attributes(cut: pl.DataFrame, names: dict[str, str]) -> pl.DataFrame:
    """Keep what has no column of its own as one JSON object."""
    names = {**names, "client_host": "client_host"}
    garbage = pl.col("method").is_null() & (pl.col("request") != "-") & (pl.col("request") != "")
    cut = cut.with_columns(garbage=pl.when(garbage).then("request"))
    names["garbage"] = "request"
    has = pl.any_horizontal(
        (pl.col(n).is_not_null() & (pl.col(n) != "-")).fill_null(False) for n in names
    )
    some = cut.select("_row", *names).filter(has)
    if some.is_empty():
        return cut
    encode = msgspec.json.encode
    texts = [
        encode(
            {names[k]: v.strip() for k, v in row.items() if k != "_row" and v not in (None, "-")}
        ).decode()
        for row in some.iter_rows(named=True)
    ]
    attributes = some.select("_row", pl.Series("attributes", texts, dtype=pl.String))
    return cut.join(attributes, on="_row", how="left", maintain_order="left")


def _others(strange: pl.DataFrame, origin: Origin, observed: int) -> list[pl.DataFrame]:
    """Lines of the error log, which share a file or a stream, and lines that are nothing known."""
    known, unknown = error_log.split(strange, origin, observed)
    why = "not an access log line in common or combined format"
    kept = keep(unknown["raw"], why).with_columns(unknown["_row"])
    return [known, kept]
