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
from tocsin.intake.parsers.addresses import HOST, addresses
from tocsin.intake.parsers.lines import Lines, keep, stitch
from tocsin.intake.parsers.readers import LEVELS
from tocsin.intake.parsers.requests import dashless, judged, request_columns, unescaped

__all__ = ["picked", "read_access"]

_QUOTED = r'"((?:[^"\\]|\\.)*)"'
_TIME = (
    r"\[(?:\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d(?:[.,]\d+)?(?: [+-]\d{4})?"
    r"|\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z| ?[+-]\d\d:?\d\d)?)\]"
)
# What may be an address; whether it is one is looked at afterwards.
_ADDRESS = r"[0-9a-fA-F.:]*[.:][0-9a-fA-F.:]*(?:%\w+)?|\[[0-9a-fA-F.:]+(?:%\w+)?\](?::\d+)?|unix:"
_VHOST = rf"_|{HOST}(?::\d+)?|{_ADDRESS}"
_USER = r"[^\"\[\]]*?"  # may have spaces in it

# A name in the place of the client's address is believed only before the usual "-": else any word
# at the beginning of any line would be a client.
_LINE = (
    rf"^(?:(?:({_VHOST}) )?({_ADDRESS})(?: (\S+)(?: ({_USER}))?)?|({HOST}|-) - ({_USER})) "
    rf"({_TIME}) {_QUOTED} (\d{{3}}|-) (\d+|-)(?: {_QUOTED} {_QUOTED}(?: {_QUOTED})?)?( .*)?$"
)
_PIECES = (
    "vhost ip ident user client_host user_of_host when request code size referer user_agent "
    "forwarded rest"
).split()
#: Where a user's name should be: pieces of another line before this one.
_NOT_A_USER = r"(?:^| )-(?: |$)"

_DIGITS = r"^\d+$"


def read_access(lines: Lines, origin: Origin, observed: int) -> pl.DataFrame:
    """Rows of the access log *lines*."""
    frame = pl.DataFrame({"raw": lines.column()}).with_row_index("_row")
    if frame.is_empty():
        return frame.select("raw")
    cut = _cut(frame)
    good = cut["_good"]
    if good.all():
        parts = [_columns(cut.drop("_good"))]
    else:
        matched, strange = _match(frame.filter(~good), origin, observed)
        fast = cut.filter(good).drop("_good")
        both = pl.concat([fast, matched], how="diagonal_relaxed").sort("_row")
        parts = [_columns(both)] if both.height else []
        parts += _others(strange, origin, observed)
    return stitch(parts).drop("_row")


def picked(lines: pl.DataFrame, origin: Origin, observed: int) -> pl.DataFrame:
    """Rows of those of *lines* (``_row`` and ``raw``) that are access lines in any company.

    Among lines of other programs one has to begin with its client's address: a word before it may
    be a level or the name of a logger, and all behind that is what somebody sent.
    """
    cut = _cut(lines)
    good = cut["_good"]
    matched, _ = _match(lines.filter(~good), origin, observed)
    matched = matched.filter(pl.col("vhost").is_null() & pl.col("client_ip").is_not_null())
    both = pl.concat([cut.filter(good).drop("_good"), matched], how="diagonal_relaxed")
    return _columns(both.sort("_row")) if both.height else lines.clear()


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
    found = addresses(pieces["ip"])
    pieces = pieces.with_columns(client_ip=found["ip"], client_port=found["port"])
    col = pl.col
    head = (
        (col("end") == "")
        & col("more").is_null()
        & col("day").str.starts_with("[")
        & col("offset").str.ends_with("]")
        & col("client_ip").is_not_null()
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
        "_row", "raw", "client_ip", "client_port", "user", "when", "code", "size",
        col("q1").alias("request"), col("q3").alias("referer"), col("q5").alias("user_agent"),
        col("q7").alias("forwarded"), "time",
        (col("_good") & col("time").is_not_null()).alias("_good"),
    )  # fmt: skip


def _match(lines: pl.DataFrame, origin: Origin, observed: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Match line by line: those that are access lines in pieces, and those that are not."""
    cut = lines.with_columns(
        pl.col("raw").str.extract_groups(_LINE).struct.rename_fields(list(_PIECES)).alias("p")
    ).unnest("p")
    found = addresses(cut["ip"])
    cut = cut.with_columns(client_ip=found["ip"], client_port=found["port"])
    nameless = (pl.col("ip") == "unix:") | pl.col("client_host").is_not_null()
    # "INFO 192.0.2.1 - - [...": a message that imitates an access line, behind its level.
    host = pl.coalesce("vhost", "client_host").str.to_lowercase()
    user = pl.coalesce("user", "user_of_host")
    is_one = (
        pl.col("request").is_not_null()
        & (pl.col("client_ip").is_not_null() | nameless)
        & ((user == "-") | ~user.str.contains(_NOT_A_USER)).fill_null(True)
        & ~host.is_in(list(LEVELS)).fill_null(False)
    ).fill_null(False)
    which = cut.select(is_one).to_series()
    matched = cut.filter(which).with_columns(user=user)
    when = times.texts(matched["when"].str.strip_chars("[]"), origin.tz, observed)
    matched = matched.with_columns(
        time=pl.coalesce(times.clf(pl.col("when")), when["time"]),
        tags=pl.when(when["assumed"]).then(pl.lit([times.ASSUMED])),
    )
    return matched.drop("ip", "user_of_host"), lines.filter(~which)


def _columns(cut: pl.DataFrame) -> pl.DataFrame:
    """Canonical columns of lines in pieces."""
    names = ("user", "request", "referer", "user_agent", "forwarded")
    cut = request_columns(unescaped(cut, names))
    cut = cut.with_columns(
        pl.col("code").cast(pl.Int64, strict=False).alias("status"),
        pl.col("size").cast(pl.Int64, strict=False).alias("bytes_out"),
        pl.lit("request").alias("kind"),
        *(dashless(name).alias(name) for name in ("user", "referer", "user_agent", "forwarded")),
    )
    cut = judged(cut)
    rest = {"ident": "ident", "client_host": "client_host", "rest": "rest"}
    rest["forwarded"] = "x_forwarded_for"
    cut = _attributes(cut, {k: v for k, v in rest.items() if k in cut.columns})
    if "vhost" in cut.columns:
        cut = cut.rename({"vhost": "authority"})
    return cut.with_columns(
        parse_error=pl.when(pl.col("time").is_null()).then(
            pl.concat_str(pl.lit("time: unreadable "), "when")
        )
    )


def _attributes(cut: pl.DataFrame, names: dict[str, str]) -> pl.DataFrame:
    """Keep what has no column of its own as one JSON object."""
    garbage = pl.col("method").is_null() & (pl.col("request") != "-") & (pl.col("request") != "")
    cut = cut.with_columns(garbage=pl.when(garbage).then("request"))
    names = {**names, "garbage": "request"}
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
