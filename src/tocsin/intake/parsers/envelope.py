"""Envelopes: what a container runtime, a journal or a syslog daemon puts around a line.

- Kubernetes (CRI): ``2026-11-23T05:46:16.1Z stdout F LINE``
- Docker's json-file: ``{"log":"LINE\\n","stream":"stdout","time":"..."}``
- the journal's JSON: ``{"MESSAGE":"LINE","_HOSTNAME":"...","__REALTIME_TIMESTAMP":"..."}``
- Docker Compose: ``web-1  | LINE``
- syslog: ``<134>Nov 23 05:46:16 web-1 nginx[42]: LINE``, the same without ``<134>`` or with a time
  of RFC 3339, and ``<134>1 2026-11-23T05:46:16Z web-1 nginx 42 - - LINE`` (RFC 5424)

An envelope is taken off before a parser sees the line, and what it says stands where the line
itself does not say better: its time, its host and its severity only if the line has none; program,
process, stream and whatever else it has as attributes, under names that the line does not use.
``raw`` keeps a header that stands before the line; of JSON it keeps the line inside, since all else
is in columns.

Each line is looked at by itself, so it means the same alone and in company.  Only the parts of a
line that the runtime had cut (CRI's ``P``, Docker's ``log`` without a line end) are joined within a
chunk.  A line end inside of a message is written as ``\\n``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from tocsin.intake.columns import put
from tocsin.intake.parsers import times
from tocsin.intake.parsers.attributes import merged, packed
from tocsin.intake.parsers.lines import Lines, pure
from tocsin.intake.parsers.objects import Table, Twice, Values, decode
from tocsin.intake.parsers.readers import LEVELS

__all__ = ["Envelope", "opened", "together"]

_DEEPEST = 2  # envelopes around each other: a syslog header in what a container writes

_ISO = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d)"
_BSD = r"[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d(?:\.\d+)?"
_HOST = r"[A-Za-z0-9_][A-Za-z0-9_.:-]*"
_TAG = r"(?P<program>[A-Za-z_(][\w.()/@-]*)(?:\[(?P<pid>\d+)\])?:(?: |$)"
_INNER = r"(?P<inner>.*)$"

_RFC5424 = (
    rf"(?s)^<(?P<pri>\d{{1,3}})>1 (?P<when>-|{_ISO}) (?P<host>\S+) (?P<program>\S+) (?P<pid>\S+) "
    r'(?P<message_id>\S+) (?P<structured_data>-|(?:\[(?:[^"\]]|"(?:[^"\\]|\\.)*")*\])+)'
    rf"(?: \x{{FEFF}}?|$){_INNER}"
)
_RFC3164 = (
    rf"(?s)^<(?P<pri>\d{{1,3}})>(?:(?P<when>{_ISO}|{_BSD}) (?:(?P<host>{_HOST}) )?)?{_TAG}{_INNER}"
)
_PRIORITY = rf"(?s)^<(?P<pri>\d{{1,3}})>(?:(?P<when>{_ISO}|{_BSD}) )?{_INNER}"
# In a file the priority is left out: then it takes a program to tell a header from the time of a
# line, and after a time of RFC 3339, with which so many lines begin, it takes a host as well.
_FILE = rf"(?s)^(?P<when>{_BSD}) (?:(?P<host>{_HOST}) )?{_TAG}{_INNER}"
_FILE_3339 = rf"(?s)^(?P<when>{_ISO}) (?P<host>{_HOST}) {_TAG}{_INNER}"

_SERVICE = rf"(?s)^(?P<program>[A-Za-z][\w.-]*[-_]\d+) +\| {_INNER}"

_HIGHEST_PRI = 191
_LAST_MICROS = 2**63 // 1000 - 1
_LEVEL_OF_PRI = ("critical", "critical", "critical", "error", "warn", "info", "info", "debug")
_STREAMS = ("stdout", "stderr")
_DOCKER = frozenset({"log", "stream"})
_JOURNAL = frozenset({"_HOSTNAME", "__REALTIME_TIMESTAMP", "SYSLOG_IDENTIFIER", "_TRANSPORT"})
_ATTRIBUTES = ("program", "pid", "stream", "message_id", "structured_data")
_SCHEMA = {
    "_row": pl.UInt32(),
    "sealed": pl.Boolean(),
    "inner": pl.String(),
    "head": pl.String(),  # what stands before the inner line, if the envelope is that
    "when": pl.String(),
    "time": times.INSTANT,
    "host": pl.String(),
    "severity": pl.String(),
    **dict.fromkeys(_ATTRIBUTES, pl.String()),
    "more": pl.String(),  # further attributes, as JSON
    "partial": pl.Boolean(),  # the runtime cut it; it goes on in the next of its stream
}


class Envelope(msgspec.Struct, frozen=True):
    """The lines of a chunk without what stood around them.

    A line that stood in none is there as it was.
    """

    inner: pl.Series  #: text, one a row, none of them blank
    sealed: pl.Series  #: whether it stood in an envelope
    about: pl.DataFrame  #: what the envelopes say, row by row; null where they say nothing
    places: npt.NDArray[np.int64]  #: the line of the chunk that each begins at
    count: int  #: lines of the chunk; neither counts blank ones
    keys: (
        tuple[str, ...] | None
    )  #: the attributes that envelopes say, if no other can be among them

    def around(self, frame: pl.DataFrame, rows: npt.NDArray[np.int64]) -> pl.DataFrame:
        """*frame*, read from the inner lines *rows*, with what their envelopes say besides."""
        about = self.about if len(rows) == len(self.inner) else self.about[rows]
        columns = set(frame.columns)
        if "time" in columns:
            assumed = about["assumed"] & frame["time"].is_null()
        else:
            assumed = about["assumed"]
        for name in ("time", "host", "severity"):
            told = about[name]
            if name in columns:
                told = frame[name].zip_with(frame[name].is_not_null(), told)
            frame = put(frame, told.alias(name))
        if assumed.any():
            frame = times.tagged(frame, assumed)
        more = about["attributes"]
        if more.null_count() < len(more):
            if "attributes" in columns:
                more = merged(frame["attributes"], more, keys=self.keys)
            frame = put(frame, more.alias("attributes"))
        if "raw" in columns:
            frame = put(frame, (about["head"].fill_null("") + frame["raw"]).alias("raw"))
        return frame


def opened(lines: Lines, tz: str, observed: int) -> Iterator[Envelope]:
    """The envelopes around *lines*, the outermost first; none, for most logs."""
    for _ in range(_DEEPEST):
        seal = _open(lines, tz, observed)
        if seal is None:
            return
        yield seal
        lines = together(seal.inner)


def together(texts: pl.Series) -> Lines:
    """*texts* as a parser takes them."""
    return Lines((texts.str.join("\n").item() or "").encode())


def _open(lines: Lines, tz: str, observed: int) -> Envelope | None:
    suspects = _suspects(lines)
    if not suspects:
        return None
    rest = lines.column().to_frame("raw").with_row_index("_row")
    count = rest.height
    found: list[pl.DataFrame] = []
    for suspect, opener in _OPENERS:
        if suspect in suspects:
            some = opener(rest)
            if some.height:
                found.append(some.with_columns(sealed=pl.lit(True)))
                rest = rest.join(some, on="_row", how="anti", maintain_order="left")
    if not found:
        return None
    bare = rest.select("_row", inner="raw", sealed=pl.lit(False))
    parts = [pl.DataFrame(schema=_SCHEMA), *found, bare]
    whole = _joined(pl.concat(parts, how="diagonal").sort("_row"))
    return _envelope(whole, tz, observed, count)


def _suspects(lines: Lines) -> set[str]:
    """Which kinds of envelopes the first bytes of the lines could begin."""
    data, starts = lines.data, lines.starts
    octets = np.frombuffer(data, np.uint8)
    found: set[str] = set()
    if not len(data):
        return found

    def at(place: int) -> npt.NDArray[np.uint8]:
        return octets[np.minimum(starts + place, len(octets) - 1)]

    first = at(0)
    capital = (first >= ord("A")) & (first <= ord("Z"))
    if (first == ord("<")).any() or (capital & (at(9) == ord(":")) & (at(12) == ord(":"))).any():
        found.add("syslog")
    if ((at(4) == ord("-")) & (at(10) == ord("T"))).any():
        found |= {"cri", "syslog"}
    if ((first | 0x20 >= ord("a")) & (first | 0x20 <= ord("z"))).any() and b" | " in data:
        found.add("compose")
    # Docker begins with "log", the journal with a field in capitals, Fluent Bit with a date.
    likely = (first == ord("{")) & np.isin(at(2), _FIRST_OF_KEY)
    if likely.any() and (b'"stream"' in data or b'"MESSAGE"' in data):
        found.add("json")
    return found


_FIRST_OF_KEY = np.frombuffer(b"lsd_ABCDEFGHIJKLMNOPQRSTUVWXYZ", np.uint8)


def _cri(lines: pl.DataFrame) -> pl.DataFrame:
    cut = lines.with_columns(
        pl.col("raw")
        .str.splitn(" ", 4)
        .struct.rename_fields(["when", "stream", "flag", "inner"])
        .alias("p")
    ).unnest("p")
    good = (
        pl.col("stream").is_in(_STREAMS)
        & pl.col("flag").str.contains("^[PF](?::|$)")
        & pl.col("when").str.contains(f"^{_ISO}$")
    )
    return cut.filter(good).select(
        "_row",
        "when",
        "stream",
        pl.col("inner").fill_null(""),
        head=pl.concat_str("when", "stream", "flag", pl.lit(""), separator=" "),
        partial=pl.col("flag").str.starts_with("P"),
    )


def _compose(lines: pl.DataFrame) -> pl.DataFrame:
    cut = lines.with_columns(pl.col("raw").str.extract_groups(_SERVICE).alias("p")).unnest("p")
    head = pl.col("raw").str.strip_suffix(pl.col("inner"))
    return cut.filter(pl.col("inner").is_not_null()).select("_row", "program", "inner", head=head)


def _syslog(lines: pl.DataFrame) -> pl.DataFrame:
    found: list[pl.DataFrame] = []
    for pattern in (_RFC5424, _RFC3164, _PRIORITY, _FILE, _FILE_3339):
        some = _headed(lines, pattern)
        found.append(some)
        lines = lines.join(some, on="_row", how="anti", maintain_order="left")
    return pl.concat(found, how="diagonal")


def _headed(lines: pl.DataFrame, pattern: str) -> pl.DataFrame:
    """The lines with a header of one form."""
    cut = lines.with_columns(pl.col("raw").str.extract_groups(pattern).alias("p")).unnest("p")
    cut = cut.filter(pl.col("inner").is_not_null())
    have = cut.columns
    if "pri" in have:
        cut = cut.with_columns(pl.col("pri").cast(pl.Int64)).filter(pl.col("pri") <= _HIGHEST_PRI)
    # "ERROR: it broke" has no program of that name.
    for name in ("host", "program"):
        if name in have:
            is_level = pl.col(name).str.to_lowercase().is_in(list(LEVELS))
            cut = cut.filter(~is_level.fill_null(False))
    said = [name for name in ("when", "host", *_ATTRIBUTES) if name in have]
    return cut.select(
        "_row",
        *(pl.when(pl.col(name) != "-").then(pl.col(name)).alias(name) for name in said),
        *([_severity("pri")] if "pri" in have else []),
        # Python's SysLogHandler ends a message with a null byte.
        inner=pl.col("inner").str.strip_suffix("\0").str.replace(r"^@cee: ?\{", "{"),
        head=pl.col("raw").str.strip_suffix(pl.col("inner")),
    )


def _severity(name: str) -> pl.Expr:
    level = (pl.col(name) % 8).replace_strict(
        list(range(8)), list(_LEVEL_OF_PRI), default=None, return_dtype=pl.String
    )
    return level.alias("severity")


def _json(lines: pl.DataFrame) -> pl.DataFrame:
    some = lines.filter(pl.col("raw").str.starts_with("{"))
    found = [pl.DataFrame(schema=_SCHEMA)]
    twice: list[int] = []  # what a key stands in twice is for its parser to tell
    for item in decode(together(some["raw"]), nested=False):
        if isinstance(item, Table):
            rows = some["_row"].gather(list(item.rows))
            found.append(_inside(dict(zip(item.names, item.columns, strict=True)), rows))
        elif isinstance(item, Twice):
            twice.append(some["_row"][item.row])
    return pl.concat(found, how="diagonal").filter(~pl.col("_row").is_in(twice))


def _inside(fields: dict[str, Values], rows: pl.Series) -> pl.DataFrame:
    """What stands in objects with such fields, where they are envelopes.

    Objects of several kinds may come in one table, which then has the fields of all.
    """
    found = [pl.DataFrame(schema=_SCHEMA)]
    for reader in (_docker, _journal):
        rest = dict(fields)
        frame = reader(rest)
        if frame is not None:
            more = packed(rest, len(rows)).alias("more")
            frame = frame.with_columns(rows.alias("_row"), more)
            found.append(frame.filter(pl.col("inner").is_not_null()))
    whole = pl.concat(found, how="diagonal").unique("_row", keep="first", maintain_order=True)
    return whole.with_columns(pl.col("inner").str.replace_all("\n", r"\n", literal=True))


def _docker(fields: dict[str, Values]) -> pl.DataFrame | None:
    """Docker's, and what Fluent Bit makes of it; *fields* keeps what this does not read."""
    if not fields.keys() >= _DOCKER:
        return None
    frame = pl.DataFrame(
        [_texts(fields.pop("log")).alias("inner"), _texts(fields.pop("stream")).alias("stream")]
    )
    frame = frame.with_columns(_texts(fields.pop("time", [None] * frame.height)).alias("when"))
    ends = pl.col("inner").str.ends_with("\n")
    return frame.select(
        "stream",
        "when",
        # Where no line has its end, somebody took them off, and nothing is known to be cut.
        partial=~ends & ends.any(),
        inner=pl.when(pl.col("stream").is_in(_STREAMS)).then(
            pl.col("inner").str.strip_suffix("\n").str.strip_suffix("\r")
        ),
    )


def _journal(fields: dict[str, Values]) -> pl.DataFrame | None:
    """The journal's, as ``journalctl -o json`` prints it; *fields* keeps what is not read here."""
    if "MESSAGE" not in fields:
        return None
    marks = [_texts(values).is_not_null() for key, values in fields.items() if key in _JOURNAL]
    message = [_utf8(value) for value in fields.pop("MESSAGE")]

    def taken(name: str, *names: str) -> pl.Series:
        key = next((n for n in names if n in fields), None)
        return _texts([None] * len(message) if key is None else fields.pop(key)).alias(name)

    frame = pl.DataFrame(
        [
            _texts(message).alias("inner"),
            taken("host", "_HOSTNAME"),
            taken("program", "SYSLOG_IDENTIFIER", "_COMM"),
            taken("pid", "_PID", "SYSLOG_PID"),
            taken("pri", "PRIORITY").cast(pl.Int64, strict=False),
            taken("time", "__REALTIME_TIMESTAMP").cast(pl.Int64, strict=False),
        ]
    )
    micros = pl.col("time")
    in_range = micros.is_between(0, _LAST_MICROS)
    return frame.select(
        pl.when(pl.any_horizontal(pl.lit(False), *marks)).then("inner"),
        "host",
        "program",
        "pid",
        _severity("pri"),
        time=pl.when(in_range).then(micros * 1000).cast(times.INSTANT),
    )


def _utf8(value: Any) -> Any:
    """The journal writes a message that is not UTF-8 as a list of its bytes."""
    if isinstance(value, list) and all(type(v) is int and 0 <= v < 256 for v in value):
        return pure(bytes(value)).decode()
    return value


def _texts(values: Values) -> pl.Series:
    if isinstance(values, pl.Series):
        return values.cast(pl.String)
    texts = [str(v) if isinstance(v, str | int | float) else None for v in values]
    return pl.Series(texts, dtype=pl.String)


def _joined(whole: pl.DataFrame) -> pl.DataFrame:
    """The parts of each line as one: those of a stream up to the next that is no part."""
    if not whole["partial"].any():
        return whole
    ends = ~pl.col("partial").fill_null(False)
    line = ends.shift(1, fill_value=False).cum_sum().over("stream")
    rest = [pl.col(name).first() for name in _SCHEMA if name not in ("inner", "stream")]
    return (
        whole.group_by("stream", line.alias("line"), maintain_order=True)
        .agg(pl.col("inner").str.join(""), *rest)
        .sort("_row")
    )


def _envelope(whole: pl.DataFrame, tz: str, observed: int, count: int) -> Envelope:
    whole = whole.filter(pl.col("inner").str.strip_chars().str.len_bytes() > 0)
    when = times.texts(whole["when"], tz, observed)
    fields = packed({name: whole[name] for name in _ATTRIBUTES}, whole.height)
    about = whole.select(
        "head",
        "host",
        "severity",
        time=pl.coalesce("time", when["time"]),
        assumed=when["assumed"] & pl.col("time").is_null(),
        attributes=merged(whole["more"], fields),
    )
    keys = _ATTRIBUTES if whole["more"].is_null().all() else None
    places = whole["_row"].to_numpy().astype(np.int64)
    return Envelope(whole["inner"], whole["sealed"], about, places, count, keys)


_OPENERS = (("cri", _cri), ("compose", _compose), ("syslog", _syslog), ("json", _json))
