"""Error logs of nginx and Apache, whose lines often share a stream with the access log."""

from __future__ import annotations

import polars as pl

from tocsin.intake.origin import Origin
from tocsin.intake.parsers import times
from tocsin.intake.parsers.addresses import addresses
from tocsin.intake.parsers.requests import request_columns

__all__ = ["split"]

_NGINX = (
    # Over syslog nginx leaves out the time, which the header has.
    r"^(?:(?P<when>\d{4}/\d\d/\d\d \d\d:\d\d:\d\d) )?\[(?P<severity>[a-z]+)\] \d+#\d+: "
    r"(?:\*\d+ )?"
    r"(?P<message>.*?)(?:, client: (?P<client>[^,\s]+))?(?:, server: (?P<server>[^,]*))?"
    r'(?:, request: "(?P<request>.*?)")?(?:, subrequest: ".*?")?(?:, upstream: ".*?")?'
    r'(?:, host: "(?P<authority>[^"]*)")?(?:, referrer: "(?P<referer>[^"]*)")?$'
)
_APACHE = (
    r"^\[(?P<when>[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d(?:\.\d+)? \d{4})\] "
    r"\[(?:[\w-]*:)?(?P<severity>[a-z]+\d?)\] (?:\[pid [^\]]*\] )?(?:\(\d+\)[^\[]*: )?"
    r"(?:\[(?:client|remote) (?P<client>[0-9a-fA-F.:]+(?:%\w+)?(?::\d+)?)\] )?"
    r"(?P<message>(?:AH\d+: )?.*)$"
)
_NGINX_LOGIN = r'^user "(?P<name>.*?)"(?: was not found in |: password mismatch)'
_APACHE_LOGIN = (
    r"^(?:AH\d+: )?(?:user (?P<name>.*?)"
    r"(?:: authentication failure for | not found: | in realm .* not found)|"
    r"(?:Digest: )?user `(?P<digest>.*?)' in realm)"
)
_APACHE_PATH = r'(?:failure for "|not found: )(?P<path>/[^"]*?)(?:"|, referer|: Password|$)'
_LEVELS = {
    "emerg": "critical",
    "alert": "critical",
    "crit": "critical",
    "error": "error",
    "warn": "warn",
    "notice": "info",
    "info": "info",
    "debug": "debug",
}


def split(lines: pl.DataFrame, origin: Origin, observed: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows of the lines of *lines* that are error-log lines, and the lines that are not."""
    if lines.is_empty():
        return lines, lines
    nginx = _read(lines, _NGINX, origin, observed)
    rest = lines.join(nginx, on="_row", how="anti", maintain_order="left")
    apache = _read(rest, _APACHE, origin, observed)
    rest = rest.join(apache, on="_row", how="anti", maintain_order="left")
    known = [
        frame
        for frame in (
            _nginx_columns(nginx) if nginx.height else None,
            _apache_columns(apache) if apache.height else None,
        )
        if frame is not None
    ]
    if not known:
        return lines.clear(), rest
    return pl.concat(known, how="diagonal_relaxed"), rest


def _read(lines: pl.DataFrame, pattern: str, origin: Origin, observed: int) -> pl.DataFrame:
    cut = lines.with_columns(pl.col("raw").str.extract_groups(pattern).alias("p")).unnest("p")
    cut = cut.filter(pl.col("message").is_not_null())
    when = times.texts(cut["when"], origin.tz, observed)
    level = pl.col("severity").str.replace(r"\d$", "")
    cut = _client(cut)
    return cut.with_columns(
        when["time"],
        tags=pl.when(when["assumed"]).then(pl.lit([times.ASSUMED])),
        severity=level.replace_strict(_LEVELS, default="debug", return_dtype=pl.String),
        kind=pl.lit("log"),
        parse_error=pl.when(when["time"].is_null())
        .then(pl.concat_str(pl.lit("time: unreadable "), "when"))
        .otherwise("parse_error"),
    ).drop("when")


def _client(cut: pl.DataFrame) -> pl.DataFrame:
    """The client's address and port, where the line names one client and no more."""
    found = addresses(cut["client"])
    # Names and requests stand in these lines as the client sent them, with its quotes and commas.
    twice = pl.col("raw").str.count_matches(", client: ", literal=True) > 1
    return cut.with_columns(
        client_ip=pl.when(~twice).then(found["ip"]),
        client_port=pl.when(~twice).then(found["port"]),
        parse_error=pl.when(twice).then(pl.lit("client: stands twice, and one of them is forged")),
    ).drop("client")


def _login(cut: pl.DataFrame, name: pl.Expr) -> pl.DataFrame:
    """Basic authentication refused: the name is what the client said, nobody verified it."""
    failed = name.is_not_null()
    unknown = pl.col("message").str.contains("not found", literal=True)
    return cut.with_columns(
        claimed_user=name,
        kind=pl.when(failed).then(pl.lit("authn_login_fail")).otherwise("kind"),
        outcome=pl.when(failed).then(pl.lit("failure")),
        outcome_source=pl.when(failed).then(pl.lit("event")),
        auth_method=pl.when(failed).then(pl.lit("password")),
        reason=pl.when(failed).then(
            pl.when(unknown).then(pl.lit("unknown_user")).otherwise(pl.lit("bad_credentials"))
        ),
    )


def _nginx_columns(cut: pl.DataFrame) -> pl.DataFrame:
    cut = request_columns(cut).drop("request", "server")
    name = pl.col("message").str.extract_groups(_NGINX_LOGIN).struct.field("name")
    return _login(cut, name).with_columns(
        claimed_user=name,
        reason=pl.when(pl.col("message").str.contains("was not found in", literal=True))
        .then(pl.lit("unknown_user"))
        .otherwise("reason"),
    )


def _apache_columns(cut: pl.DataFrame) -> pl.DataFrame:
    groups = pl.col("message").str.extract_groups(_APACHE_LOGIN)
    name = pl.coalesce(groups.struct.field("name"), groups.struct.field("digest"))
    return _login(cut, name).with_columns(
        path=pl.when(pl.col("claimed_user").is_not_null()).then(
            pl.col("message").str.extract_groups(_APACHE_PATH).struct.field("path")
        ),
    )
