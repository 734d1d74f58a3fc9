"""What PostgreSQL's own log and pgaudit say, whichever format brought it.

No literal of a statement survives: the statement becomes its fingerprint, the parameters go, and
the server's own words lose the values that it quotes in them.
"""

from __future__ import annotations

import polars as pl

from tocsin.event.sql import fingerprint
from tocsin.intake.origin import Origin
from tocsin.intake.parsers import times
from tocsin.intake.parsers.addresses import addresses
from tocsin.intake.parsers.attributes import pack
from tocsin.intake.parsers.readers import LEVELS

__all__ = ["FOREIGN", "KEYS", "columns"]

#: Prefix of columns for keys that PostgreSQL does not have; they become attributes.
FOREIGN = "x:"

#: Keys of jsonlog that carry something; csvlog's fields are given the same names.
KEYS = (
    "timestamp user dbname pid remote_host remote_port session_id line_num ps session_start vxid "
    "txid error_severity state_code message detail hint internal_query internal_position context "
    "statement cursor_position func_name file_name file_line_num application_name "
    "leader_pid backend_type query_id"
).split()

_AUDIT = (
    r"(?s)^AUDIT: (?P<audit>SESSION|OBJECT),\d+,\d+,(?P<class>[A-Z]*),(?P<command>[^,]*),"
    r'(?P<object_kind>[^,]*),(?P<object>"(?:[^"]|"")*"|[^,]*),'
    r'(?P<sql>"(?:[^"]|"")*"|[^,"]*),(?P<parameters>"(?:[^"]|"")*"|[^,"]*)(?:,(?P<rows>\d*))?$'
)
_DURATION = (
    r"(?s)^duration: (?P<ms>[0-9.]+) ms(?:  (?P<step>statement|parse [^:]*|bind [^:]*|execute [^:]*"
    r"|fastpath [^:]*): ?(?P<timed>.*))?$"
)
_STATEMENT = r"(?s)^(?:statement|execute [^:]*): (?P<said>.*)$"
_AUTHORIZED = r"^connection authorized: "
_METHOD = r"^connection authenticated: .*method=(?P<auth_method>\S+)"
_AUTH_METHODS = {
    "password": "password",
    "md5": "password",
    "scram-sha-256": "password",
    "ldap": "password",
    "pam": "password",
    "radius": "password",
    "cert": "certificate",
    "trust": "none",
}
# Values that the server quotes: a constraint's key, a failing row, parameters, bad input.
_VALUES = (
    (r"(?s)'(?:[^']|'')*'", "?"),
    (r"(?s)=\(.*\)", "=(?)"),
    (r"(?s)contains \(.*\)", "contains (?)"),
)
_STATES = {
    "28P01": ("authn_login_fail", "bad_credentials"),
    "28000": ("authn_login_fail", "bad_credentials"),
    "42501": ("authz_fail", "forbidden"),
}
_WORDS = {
    r"^database system is ready to accept": "sys_startup",
    r"^database system is shut down|^received .* shutdown request": "sys_shutdown",
    r"was terminated by signal|^terminating connection because of crash": "sys_crash",
}
_KEPT = (
    "pid line_num ps session_start vxid txid hint func_name application_name leader_pid "
    "backend_type query_id detail context audit class command object_kind object step local_host"
).split()


def columns(frame: pl.DataFrame, origin: Origin, observed: int) -> pl.DataFrame:
    """Canonical rows of records whose text columns are called as in :data:`KEYS`."""
    frame = frame.with_columns(
        pl.lit(None, pl.String).alias(name) for name in KEYS if name not in frame.columns
    )
    frame = _when(frame, origin, observed)
    frame = _said(frame)
    frame = _judge(frame)
    return _who(frame)


def _when(frame: pl.DataFrame, origin: Origin, observed: int) -> pl.DataFrame:
    text = frame["timestamp"]
    quick = frame.select(
        pl.when(
            pl.col("timestamp").str.slice(0, 4).is_between(pl.lit("1970"), pl.lit("2261"))
        ).then(
            pl.col("timestamp")
            .str.to_datetime("%Y-%m-%d %H:%M:%S%.f UTC", time_unit="ns", strict=False)
            .dt.replace_time_zone("UTC")
        )
    ).to_series()
    slow = quick.is_null() & text.is_not_null()
    if slow.any():
        read = times.texts(text, origin.tz, observed)
        quick = quick.zip_with(quick.is_not_null(), read["time"])
        assumed = slow & read["assumed"]
        frame = frame.with_columns(tags=pl.when(assumed).then(pl.lit([times.ASSUMED])))
    unreadable = pl.when(quick.is_null() & text.is_not_null()).then(
        pl.concat_str(pl.lit("timestamp: not a time: "), "timestamp")
    )
    return frame.with_columns(quick.alias("time"), parse_error=unreadable)


def _said(frame: pl.DataFrame) -> pl.DataFrame:
    """Take statements out of the message, and leave in it only what names no value."""
    message = pl.col("message")
    lead = frame.select(
        audit=message.str.starts_with("AUDIT: "),
        timed=message.str.starts_with("duration: "),
        stated=message.str.contains(r"^(?:statement|execute [^:]*): "),
    )
    frame = _where(frame, lead["audit"], _AUDIT, "audit class command object_kind object sql rows")
    frame = _where(frame, lead["timed"], _DURATION, "ms step timed")
    frame = _where(frame, lead["stated"], _STATEMENT, "said")
    col = pl.col
    frame = frame.with_columns(
        sql=pl.coalesce(
            pl.when(col("sql").str.starts_with('"'))
            .then(col("sql").str.slice(1).str.head(-1).str.replace_all('""', '"', literal=True))
            .otherwise("sql"),
            "timed",
            "said",
            "statement",
            "internal_query",
        ),
        object=col("object").str.strip_chars('"'),
    )
    short = (
        pl.when(col("audit").is_not_null())
        .then(pl.concat_str(
            pl.lit("AUDIT: "), "audit", pl.lit(" "), "class", pl.lit(" "), "command",
            pl.lit(" "), col("object").fill_null(""),
        ).str.strip_chars_end())
        .when(lead["audit"]).then(pl.lit("AUDIT: unreadable"))
        .when(col("ms").is_not_null())
        .then(pl.concat_str(pl.lit("duration: "), "ms", pl.lit(" ms")))
        .when(lead["stated"]).then(pl.lit("statement"))
        # Class 22 (data exception), 23 (constraint) and a syntax error quote what the client sent.
        .when(col("state_code").str.contains("^(?:2[23]|42601)"))
        .then(col("message").str.replace(r'(?s)(:| near) ".*"', '$1 "?"'))
        .otherwise("message")
    )  # fmt: skip
    strange = pl.when(lead["audit"] & col("audit").is_null()).then(
        pl.lit("AUDIT: not in pgaudit's format; its statement was left out")
    )
    return frame.with_columns(
        short.alias("message"),
        _unvalued("detail"),
        _unvalued("context"),
        _fingerprints(frame["sql"]).alias("db_statement"),
        db_rows=col("rows").cast(pl.Int64, strict=False),
        duration_ns=(col("ms").cast(pl.Float64, strict=False) * 1e6).round(0).cast(pl.Int64),
        parse_error=pl.coalesce("parse_error", strange),
    )


def _where(frame: pl.DataFrame, which: pl.Series, pattern: str, names: str) -> pl.DataFrame:
    """Extract the named groups from the messages that *which* marks; null in all others."""
    wanted = names.split()
    which = which.fill_null(False)
    if not which.any():
        return frame.with_columns(pl.lit(None, pl.String).alias(n) for n in wanted)
    groups = frame["message"].filter(which).str.extract_groups(pattern).struct.unnest()
    at = which.arg_true()
    empty = pl.Series([None], dtype=pl.String).new_from_index(0, frame.height)
    return frame.with_columns(empty.scatter(at, groups[name]).alias(name) for name in wanted)


def _unvalued(name: str) -> pl.Expr:
    column = pl.col(name)
    for pattern, mark in _VALUES:
        column = column.str.replace_all(pattern, mark)
    return column.alias(name)


def _fingerprints(statements: pl.Series) -> pl.Series:
    # Numbers that stand alone are literals: made alike, they leave fewer statements to read.
    statements = statements.str.replace_all(r"\b[0-9]+\b", "0")
    some = statements.drop_nulls().unique()
    if some.is_empty():
        return statements
    prints = pl.Series([fingerprint(text) for text in some], dtype=pl.String)
    return statements.replace_strict(some, prints, default=None, return_dtype=pl.String)


def _judge(frame: pl.DataFrame) -> pl.DataFrame:
    """Say what kind of event each record is, and what came of it."""
    col = pl.col
    state = col("state_code")
    kinds = {code: kind for code, (kind, _) in _STATES.items()}
    reasons = {code: reason for code, (_, reason) in _STATES.items()}
    wrong = col("error_severity").is_in(["ERROR", "FATAL", "PANIC"])
    authorized = col("message").str.contains(_AUTHORIZED)
    missing_role = pl.any_horizontal(
        col(n).str.contains(r'[Rr]ole "[^"]*" does not exist').fill_null(False)
        for n in ("message", "detail")
    )
    by_state = state.replace_strict(
        list(kinds), list(kinds.values()), default=None, return_dtype=pl.String
    )
    asked = col("db_statement").is_not_null() | col("audit").is_not_null()
    kind = pl.coalesce(
        pl.when(wrong).then(by_state),
        pl.when(authorized).then(pl.lit("authn_login_success")),
        *(
            pl.when(col("message").str.contains(pattern)).then(pl.lit(name))
            for pattern, name in _WORDS.items()
        ),
        pl.when(asked).then(pl.lit("query")),
        pl.lit("log"),
    )
    frame = frame.with_columns(kind=kind)
    done = authorized | (col("kind") == "query")
    return frame.with_columns(
        outcome=pl.when(wrong).then(pl.lit("failure")).when(done).then(pl.lit("success")),
        outcome_source=pl.when(wrong | done).then(pl.lit("event")),
        reason=pl.when(wrong)
        .then(
            pl.when((col("kind") == "authn_login_fail") & missing_role)
            .then(pl.lit("unknown_user"))
            .otherwise(
                state.replace_strict(
                    list(reasons), list(reasons.values()), default=None, return_dtype=pl.String
                )
            )
        ),
        error_type=pl.when(state != "00000").then(state),
        error_message=pl.when(wrong).then("message"),
        severity=col("error_severity")
        .str.to_lowercase()
        .replace_strict(list(LEVELS), list(LEVELS.values()), default=None, return_dtype=pl.String),
    )  # fmt: skip


def _who(frame: pl.DataFrame) -> pl.DataFrame:
    col = pl.col
    claimed = col("kind") == "authn_login_fail"
    ip = addresses(frame["remote_host"])["ip"]
    known = list(_AUTH_METHODS)
    method = col("message").str.extract(_METHOD.replace("?P<auth_method>", ""), 1)
    frame = frame.with_columns(
        db_user=col("user"),
        claimed_user=pl.when(claimed).then("user"),
        user=pl.when(~claimed).then("user"),
        auth_method=method.replace_strict(
            known, list(_AUTH_METHODS.values()), default=None, return_dtype=pl.String
        ),
        db_name=col("dbname"),
        db_system=pl.lit("postgresql"),
        client_ip=ip,
        local_host=pl.when(ip.is_null()).then("remote_host"),
        client_port=col("remote_port").cast(pl.Int64, strict=False),
    )
    zero = (
        pl.when(col("txid") != "0").then("txid"),
        pl.when(col("query_id") != "0").then("query_id"),
    )
    frame = frame.with_columns(*zero)
    # When the process began, and its number: no secret, as a key named after a session would be.
    kept = {"backend_id": frame["session_id"]} | {name: frame[name] for name in _KEPT}
    kept |= {n.removeprefix(FOREIGN): frame[n] for n in frame.columns if n.startswith(FOREIGN)}
    return frame.with_columns(pack(kept).alias("attributes")).drop("object")
