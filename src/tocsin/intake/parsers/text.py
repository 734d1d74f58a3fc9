"""Plain text: each line a ``log``, with the time and level that it obviously begins with.

Where a well-known program (sshd, PAM, a web server's error log, BIND) names its client in words,
the address is ``client_ip`` and the name that was tried is ``claimed_user``: see ``clients``.
"""

from __future__ import annotations

import polars as pl

from tocsin.event.kinds import VOCABULARY, read_kind
from tocsin.intake.columns import put
from tocsin.intake.origin import Origin
from tocsin.intake.parsers import times
from tocsin.intake.parsers.clients import named_clients, with_clients
from tocsin.intake.parsers.fields import rows
from tocsin.intake.parsers.lines import Lines
from tocsin.intake.parsers.objects import Table
from tocsin.intake.parsers.readers import LEVELS, Context

__all__ = ["headed", "parse", "spoken"]

_ZONE = rf"(?:{'|'.join(times.ABBREVIATIONS)}|[+-]\d\d:?\d\d)\b"
_ISO = (
    r"\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d(?::\d\d)?(?:[.,]\d+)?"
    rf"(?: ?{_ZONE})?(?:\[[A-Z][A-Za-z]+(?:/[\w/+-]+)?\])?"
)
_SLASHED = rf"\d\d?/\d\d?/\d{{4}},? \d\d?:\d\d:\d\d(?:[.,]\d+)?(?: ?[AaPp][Mm])?(?: ?{_ZONE})?"
_BSD = r"[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d(?:\.\d+)?"
_CLF = r"\d\d/[A-Z][a-z]{2}/\d{4}[: ]\d\d:\d\d:\d\d(?: [+-]\d{4})?"
_CTIME = r"[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d(?:\.\d+)?(?: [A-Z]{3,5})? \d{4}"
_HEAD = rf"(?s)^\[?(?P<when>{_ISO}|{_SLASHED}|{_CLF}|{_CTIME}|{_BSD})\]?[ :,|-]*(?P<rest>.*)$"
_WORD = "|".join(word for word in LEVELS if word.isalpha())
_LOUD = _WORD.upper()
_PART = r"[A-Za-z0-9_$-]+"
_LOGGER = rf"{_PART}(?:\.{_PART})*"
_NOTES = r"(?:\[[^\]]*\] *)*"
# A bare level; "shop.auth - WARNING - " and "WARNING:shop.auth:", as Python does; Java's way.
_BEFORE = (
    rf"[\[(]?(?i:{_WORD})[\]):, |]+|{_LOGGER} - (?:{_LOUD}) - |(?:{_LOUD}):{_LOGGER}:"
    rf"|(?:{_LOUD}) +{_PART}\.{_LOGGER} - "
)
_SPOKEN = rf"^{_NOTES}(?:{_BEFORE})?{_NOTES}([A-Za-z]+_[A-Za-z0-9_]+(?::\S*)?)(?:\s|$)"
_LEVEL = r"^[\[( ]*(?P<level>[A-Za-z]{3,9})[\]):, |]"


def headed(lines: pl.Series, tz: str, observed: int) -> pl.DataFrame:
    """Columns time, assumed, severity and rest of *lines*."""
    cut = pl.DataFrame({"raw": lines}).with_columns(
        pl.col("raw").str.extract_groups(_HEAD).alias("h")
    ).unnest("h")  # fmt: skip
    when = times.texts(cut["when"], tz, observed)
    # What looks like a time but is none stays in the message.
    told = pl.col("time").is_not_null()
    cut = cut.with_columns(when["time"], when["assumed"]).with_columns(
        rest=pl.when(told).then("rest").otherwise("raw")
    )
    word = pl.col("rest").str.extract(_LEVEL.replace("?P<level>", ""), 1).str.to_lowercase()
    level = word.replace_strict(
        list(LEVELS), list(LEVELS.values()), default=None, return_dtype=pl.String
    )
    return cut.select("time", "assumed", "rest", severity=level)


def parse(lines: Lines, origin: Origin, observed: int) -> pl.DataFrame:
    """Rows of plain text, one a line."""
    column = lines.column()
    if column.is_empty():
        return column.to_frame()
    head = headed(column, origin.tz, observed)
    frame = head.select(
        "time",
        "severity",
        column,
        kind=pl.lit("log"),
        message="rest",
        tags=pl.when("assumed").then(pl.lit([times.ASSUMED])),
    )
    named = spoken(head["rest"], Context(origin.tz, observed))
    frame = frame if named is None else put(frame, *named.get_columns())
    return with_clients(frame, named_clients(lines.data, head["rest"]))


def spoken(words: pl.Series, context: Context) -> pl.DataFrame | None:
    """Kinds and their arguments, row by row, where *words* begin with a name of the Vocabulary.

    ``WARN authn_login_fail:joebob1 ...`` says it as plainly as text can.  It has to be the first
    word, after nothing but a level, a logger before it and notes in brackets: further on stands
    what a client sent, and a search for "authn_login_fail:admin" must not become a failed login.
    """
    found = words.str.extract(_SPOKEN, 1)
    names = [word for word in found.unique().drop_nulls() if read_kind(word)[0] in VOCABULARY]
    if not names:
        return None
    found = found.set(~found.is_in(names), None)
    return rows([Table(range(len(words)), ("event",), [found])], "json", context)
