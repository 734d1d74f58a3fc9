"""Logs in which several programs speak: each line is read as what it is.

A server's access lines and its application's words share a file; a container writes JSON and a
stack trace.  Where the format of a log was told from its lines, it is only what most of them are.
Of the others, access lines and JSON objects are read as what they are, and the rest as plain text,
so that a line means the same alone and in company.  Where a format was named, all is read as that.

Among other lines an access line is one only if the whole line is, from its first byte, which begins
the address of its client.  A log message that imitates one stays a message, since before it stands
what its program writes there; so does a line that begins with the name of a host.  csvlog, whose
records may span lines, and error logs are read in their own company only.
"""

from __future__ import annotations

import polars as pl

from tocsin.event import Kind
from tocsin.intake.columns import constant, put
from tocsin.intake.origin import Origin
from tocsin.intake.parsers import PARSERS, text
from tocsin.intake.parsers.access import picked
from tocsin.intake.parsers.envelope import together
from tocsin.intake.parsers.lines import ROW, Lines, kept, stitch
from tocsin.intake.sniff import JSON, OBJECT, dialect

__all__ = ["read"]

#: Parsers that take nearly every line as theirs, so that others' are to be taken out before.
_GREEDY = frozenset({"kv", "text"})
#: Formats whose records may span lines: what looks like another's line may be inside of one.
_SPANNING = frozenset({"pg_csv"})
_BEHIND_TIME = '] "'  # stands in every access line between its time and its request


def read(lines: Lines, parser: str, origin: Origin, observed: int) -> pl.DataFrame:
    """Rows of *lines*, most of which *parser* reads."""
    if parser in _SPANNING:
        return PARSERS[parser](lines, origin, observed)
    if parser in _GREEDY:
        if not _may_be_mixed(lines):
            return PARSERS[parser](lines, origin, observed)
        whole = pl.DataFrame({"raw": lines.column()}).with_row_index(ROW)
        found, rest = _taken_out(whole, origin, observed)
        if rest.height:
            found.append(put(PARSERS[parser](together(rest["raw"]), origin, observed), rest[ROW]))
        return stitch(found).drop(ROW)
    frame = PARSERS[parser](lines, origin, observed)
    strange = kept(frame)
    if parser in JSON:  # an object that is broken is one all the same
        strange &= ~frame["raw"].str.contains(OBJECT) if strange.any() else strange
    return _again(frame, strange, origin, observed) if strange.any() else frame


def _may_be_mixed(lines: Lines) -> bool:
    data = lines.data
    return data.startswith(b"{") or b"\n{" in data or _BEHIND_TIME.encode() in data


def _taken_out(
    lines: pl.DataFrame, origin: Origin, observed: int
) -> tuple[list[pl.DataFrame], pl.DataFrame]:
    """Rows of the access lines and the JSON objects among *lines*, and all others as they are."""
    found: list[pl.DataFrame] = []
    objects = lines["raw"].str.contains(OBJECT)
    if objects.any():
        some, lines = lines.filter(objects), lines.filter(~objects)
        told = pl.Series([dialect(line.encode()) for line in some["raw"]])
        for name in told.unique(maintain_order=True):
            mine = some.filter(told == name)
            frame = PARSERS[name](together(mine["raw"]), origin, observed)
            found.append(put(frame, mine[ROW], constant("parser", name, frame.height)))
    likely = lines["raw"].str.contains(_BEHIND_TIME, literal=True)
    if likely.any():
        served = picked(lines.filter(likely), origin, observed)
        found.append(put(served, constant("parser", "nginx", served.height)))
        lines = lines.join(served, on=ROW, how="anti", maintain_order="left")
    return found, lines


def _again(frame: pl.DataFrame, strange: pl.Series, origin: Origin, observed: int) -> pl.DataFrame:
    """*frame*, but the rows that are *strange* to its parser read as what they are."""
    frame = frame.with_row_index(ROW)
    theirs = frame.filter(strange).select(ROW, "raw", why="parse_error")
    found, rest = _taken_out(theirs.select(ROW, "raw"), origin, observed)
    if rest.height:
        words = put(text.parse(together(rest["raw"]), origin, observed), rest[ROW])
        # It may be a broken line of the others as well as words, so it goes on saying so.
        words = words.join(theirs.select(ROW, "why"), on=ROW, maintain_order="left")
        said = pl.when(pl.col("kind") == str(Kind.LOG)).then("why")
        found.append(words.with_columns(parse_error=said).drop("why"))
    return stitch([frame.filter(~strange), *found]).drop(ROW)
