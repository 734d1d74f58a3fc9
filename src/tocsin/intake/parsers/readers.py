"""Reading the values of one key into one column, whatever JSON type they came in.

A reader takes all values of a key and returns the column; what it could not read it returns beside
it, so that nothing is lost: the caller keeps it in ``attributes``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import polars as pl

from tocsin.event import read_kind
from tocsin.event.kinds import ARGUMENTS, VOCABULARY
from tocsin.intake.parsers import times
from tocsin.intake.parsers.addresses import addresses
from tocsin.intake.parsers.objects import Values

__all__ = ["READERS", "Column", "Context", "split_target"]

_SEVERITIES = {
    "debug": "trace debug debug1 debug2 debug3 debug4 debug5 10 20",
    "info": "info information informational notice log 30",
    "warn": "warn warning 40",
    "error": "error err severe 50",
    "critical": "critical crit fatal alert emerg emergency panic 60",
}
LEVELS = {word: level for level, words in _SEVERITIES.items() for word in words.split()}
OUTCOMES = {
    **dict.fromkeys(("success", "succeeded", "ok", "allowed", "allow", "true"), "success"),
    **dict.fromkeys(("failure", "failed", "fail", "error", "denied", "deny", "false"), "failure"),
    "unknown": "unknown",
}
_VOCABULARY = frozenset(VOCABULARY)
_SCHEMES = frozenset({"http", "https"})
#: Of a probe, at most; apps send two thousand or so.
PROBE_CHARACTERS = 16_384
_NS = {"seconds": 10**9, "ms": 10**6, "ns": 1}


class Context(msgspec.Struct, frozen=True, gc=False):
    """What a reader may need to know beside the values."""

    tz: str
    observed: int


class Column(msgspec.Struct, frozen=True):
    """Values of one column, and beside them what was not read and why, by place in the column."""

    values: pl.Series
    left: dict[int, Any] = {}
    wrong: str | None = None  #: what was expected, when a leftover is an error
    more: dict[str, pl.Series] = {}  #: further columns that the same values fill
    #: further attributes, by place
    extra: dict[int, dict[str, Any]] = {}


Reader = Callable[[Values, Context], Column]


def _series(values: Values, dtype: pl.DataType) -> pl.Series | None:
    """The values as they are, if all are of one type."""
    if isinstance(values, pl.Series):
        return values if values.dtype == dtype else None
    try:
        return pl.Series(values, dtype=dtype, strict=True)
    except (TypeError, OverflowError, pl.exceptions.PolarsError):
        return None


def _each(
    values: Values, dtype: pl.DataType, read: Callable[[Any], Any], wrong: str | None = None
) -> Column:
    """Read value by value; what *read* answers with ``None`` is left over."""
    if isinstance(values, pl.Series):
        return _by_value(values, dtype, read, wrong)
    left: dict[int, Any] = {}
    out: list[Any] = []
    for i, value in enumerate(values):
        found = None if value is None else read(value)
        if found is None and value is not None and (wrong or value not in ("", "-")):
            left[i] = value
        out.append(found)
    return Column(pl.Series(out, dtype=dtype), left, wrong)


def _by_value(
    values: pl.Series, dtype: pl.DataType, read: Callable[[Any], Any], wrong: str | None
) -> Column:
    """Read each different value once."""
    different = values.drop_nulls().unique()
    if different.is_empty():
        return Column(pl.repeat(None, len(values), dtype=dtype, eager=True))
    found = pl.Series([read(value) for value in different], dtype=dtype)
    out = values.replace_strict(different, found, default=None, return_dtype=dtype)
    missing = values.filter(out.is_null() & values.is_not_null()).unique()
    if missing.is_empty() or (not wrong and set(missing) <= {"", "-"}):
        return Column(out)
    places = (out.is_null() & values.is_not_null()).arg_true()
    left = {i: values[i] for i in places if wrong or values[i] not in ("", "-")}
    return Column(out, left, wrong)


def strict_text(values: Values, _context: Context) -> Column:
    """Text that must be text."""
    if (series := _series(values, pl.String())) is not None:
        return Column(series)
    left = {i: v for i, v in enumerate(values) if v is not None and type(v) is not str}
    return Column(_only_texts(values), left, "text")


def probe(values: Values, context: Context) -> Column:
    """Text to be searched and forgotten: what is none is forgotten at once, a long one is cut."""
    return Column(strict_text(values, context).values.str.slice(0, PROBE_CHARACTERS))


def text(values: Values, _context: Context) -> Column:
    """Text, or a number written as text; ``-`` and nothing mean that there is none."""
    if (series := _series(values, pl.String())) is None:
        return _each(values, pl.String(), _as_text)
    frame = series.alias("v").to_frame()
    return Column(frame.select(pl.when(~pl.col("v").is_in(["", "-"])).then("v"))["v"])


def _as_text(value: Any) -> str | None:
    if type(value) is str:
        return value if value not in ("", "-") else None
    if type(value) is bool:
        return "true" if value else "false"
    if type(value) is int or type(value) is float:
        return str(value)
    if type(value) is list and len(value) == 1 and type(value[0]) is str:
        return value[0]
    return None


def strict_int(values: Values, _context: Context) -> Column:
    """A whole number that must be one."""
    if (series := _integers(values)) is not None:
        return Column(series)
    return _each(
        values, pl.Int64(), lambda v: v if type(v) is int and _fits(v) else None, "a whole number"
    )


def strict_status(values: Values, context: Context) -> Column:
    """A status of HTTP, which has three digits."""
    column = strict_int(values, context)
    wild = ~column.values.is_between(0, 999)
    if not wild.any():
        return column
    at = wild.fill_null(False).arg_true().to_list()
    left = column.left | {i: values[i] for i in at}
    return Column(column.values.set(wild.fill_null(False), None), left, "a status of HTTP")


def integer(values: Values, _context: Context) -> Column:
    """A whole number, or one written as text."""
    if (series := _integers(values)) is not None:
        return Column(series)
    return _each(values, pl.Int64(), _as_int)


def _integers(values: Values) -> pl.Series | None:
    # Polars takes True for 1 without a word.
    if not isinstance(values, pl.Series) and any(type(v) is bool for v in values):
        return None
    return _series(values, pl.Int64())


def _fits(value: int) -> bool:
    return -(2**63) <= value < 2**63


def _as_int(value: Any) -> int | None:
    if type(value) is int:
        return value if _fits(value) else None
    if type(value) is float:
        return int(value) if value.is_integer() and abs(value) < 2**53 else None
    if type(value) is str and re.fullmatch(r"-?[0-9]{1,18}", value):
        return int(value)
    return None


def _duration(unit: str) -> Reader:
    scale = _NS[unit]

    def read(value: Any) -> int | None:
        if type(value) is str and re.fullmatch(r"[0-9]{1,12}(?:\.[0-9]{1,12})?", value):
            value = float(value)
        if type(value) is int or type(value) is float:
            if scale == 1 and value != int(value):
                return None  # there is no half a nanosecond: it counts something else
            found = round(value * scale)
            return found if 0 <= found < 2**63 else None
        return None

    def reader(values: Values, _context: Context) -> Column:
        series = values if isinstance(values, pl.Series) else _series(values, pl.Float64())
        if scale == 1 and series is not None and series.dtype.is_float():
            return _each(values, pl.Int64(), read)
        is_number = series is not None and series.dtype.is_numeric()
        if series is not None and is_number and series.fill_null(0).is_between(0, 10**9).all():
            return Column((series * scale).round(0).cast(pl.Int64))
        return _each(values, pl.Int64(), read)

    return reader


def time(values: Values, context: Context) -> Column:
    """An instant, as text or as a number of seconds, milli-, micro- or nanoseconds."""
    series = _series(values, pl.String())
    if series is not None:
        found = times.texts(series, context.tz, context.observed)
        if found["time"].null_count() == series.null_count() and not found["assumed"].any():
            return Column(found["time"])
        missing = (found["time"].is_null() & series.is_not_null()).arg_true()
        return Column(
            found["time"],
            {i: values[i] for i in missing if values[i] not in ("", "-")},
            "a time",
            {times.ASSUMED: found["assumed"]} if found["assumed"].any() else {},
        )
    if isinstance(values, pl.Series) and (counted := _counted(values)) is not None:
        return Column(counted)
    left: dict[int, Any] = {}
    out: list[int | None] = []
    assumed: list[bool] = []
    for i, value in enumerate(values):
        found_one: tuple[int, bool] | None = None
        if type(value) is int or type(value) is float:
            ns = times.epoch_ns(value)
            found_one = None if ns is None else (ns, False)
        elif type(value) is str:
            found_one = times.one(value, context.tz, context.observed)
        if found_one is None and value is not None:
            left[i] = value
        out.append(found_one[0] if found_one else None)
        assumed.append(bool(found_one and found_one[1]))
    more = {times.ASSUMED: pl.Series(assumed, dtype=pl.Boolean)} if any(assumed) else {}
    return Column(pl.Series(out, dtype=pl.Int64).cast(times.INSTANT), left, "a time", more)


def _counted(values: pl.Series) -> pl.Series | None:
    """Instants of numbers that all count in one unit."""
    low, high = values.min(), values.max()
    if not values.dtype.is_numeric() or not isinstance(low, int | float) or low < 0:
        return None
    for below, unit in ((1e11, 10**9), (1e14, 10**6), (1e17, 10**3), (2.0**63, 1)):
        if isinstance(high, int | float) and high < below:
            if low < below / 1000 and unit != 10**9:
                return None  # not all in one unit
            if unit == 10**9 and high * unit >= 2.0**63:
                return None
            if values.dtype == pl.Int64:
                return (values * unit).cast(times.INSTANT)
            micros = (values * (unit / 1000)).round(0).cast(pl.Int64)
            return (micros * 1000).cast(times.INSTANT)
    return None


def texts(values: Values, _context: Context) -> Column:
    """A list of texts; a single text is a list of one."""

    def read(value: Any) -> list[str] | None:
        if type(value) is str:
            return [value] if value else None
        if type(value) is list and all(type(v) is str for v in value):
            return value
        return None

    return _each(values, pl.List(pl.String()), read)


def strict_texts(values: Values, _context: Context) -> Column:
    """A list of texts that must be one."""

    def read(value: Any) -> list[str] | None:
        good = type(value) is list and all(type(v) is str for v in value)
        return value if good else None

    return _each(values, pl.List(pl.String()), read, "a list of texts")


def kind(values: Values, _context: Context) -> Column:
    """What happened, as people write it; its arguments become columns or attributes."""
    known: dict[str, tuple[str | None, dict[str, Any]]] = {}
    series = _series(values, pl.String())
    different: Iterable[Any] = values if series is None else series.unique()
    for value in different:
        if type(value) is str and value not in known:
            found, given = read_kind(value)
            name = None if found is None else str(found)
            known[value] = name, _arguments(name, given) if name and given else {}
    if series is not None and all(name == v for v, (name, _) in known.items()):
        return Column(series)
    column = _each(
        values, pl.String(), lambda v: known[v][0] if type(v) is str else None, "a kind of event"
    )
    if not any(extra for _, extra in known.values()):
        return column
    extra = {i: more for i, v in enumerate(values) if type(v) is str and (more := known[v][1])}
    return msgspec.structs.replace(column, extra=extra)


def event(values: Values, _context: Context) -> Column:
    """What happened, if a name of the Vocabulary says it; else the words of a program about it.

    ``event`` is a kind in the Vocabulary's own records and the message in structlog's.
    """
    texts = _only_texts(values)
    named: dict[str, str | None] = {
        value: value if read_kind(value)[0] in _VOCABULARY else None
        for value in texts.unique().drop_nulls()
    }
    kinds = texts.replace_strict(
        list(named), list(named.values()), default=None, return_dtype=pl.String
    )
    column = kind(kinds, _context)
    left = {i: v for i, v in enumerate(values) if v is not None and type(v) is not str}
    words = texts.zip_with(kinds.is_null(), pl.Series([None], dtype=pl.String))
    more = {"message": words} if words.is_not_null().any() else {}
    return msgspec.structs.replace(column, left=left, wrong=None, more=more)


def _arguments(name: str, given: tuple[str, ...]) -> dict[str, Any]:
    names = next((words for known, words in ARGUMENTS.items() if known == name), ())
    named: dict[str, Any] = {k: v for k, v in zip(names, given, strict=False) if v}
    if len(given) > len(names):
        named["arguments"] = list(given[len(names) :])
    return named


def _words(known: dict[str, str]) -> Reader:
    def reader(values: Values, _context: Context) -> Column:
        series = _series(values, pl.String())
        if series is not None:
            if all(v is None or known.get(v) == v for v in series.unique()):
                return Column(series)
            found = series.str.to_lowercase().replace_strict(
                list(known), list(known.values()), default=None, return_dtype=pl.String
            )
            missing = (found.is_null() & series.is_not_null()).arg_true()
            return Column(found, {i: values[i] for i in missing if values[i]})
        return _each(
            values,
            pl.String(),
            lambda v: known.get(str(v).lower()) if isinstance(v, str | int) else None,
        )

    return reader


def _address(*, strict: bool, port: bool) -> Reader:
    """An IP address, and where a client has one its port; a name is none."""
    wrong = "an IP address" if strict else None

    def reader(values: Values, _context: Context) -> Column:
        series = _series(values, pl.String())
        texts = series if series is not None else _only_texts(values)
        found = addresses(texts)
        ips, ports = found["ip"], found["port"]
        more = {"client_port": ports} if port and ports.is_not_null().any() else {}
        if series is not None and ips.null_count() == series.null_count():
            return Column(ips, more=more)
        left = {
            i: value
            for i, (value, ip) in enumerate(zip(values, ips, strict=True))
            if value is not None and ip is None and (strict or value not in ("", "-"))
        }
        return Column(ips, left, wrong, more)

    return reader


def _only_texts(values: Values) -> pl.Series:
    return pl.Series([v if type(v) is str else None for v in values], dtype=pl.String)


def version(values: Values, _context: Context) -> Column:
    """``HTTP/1.1`` as 1.1, ``HTTP/2.0`` as 2."""

    def read(value: Any) -> str | None:
        if type(value) is str and (m := re.fullmatch(r"(?:HTTP/)?(\d(?:\.\d)?)", value, re.I)):
            return m[1].removesuffix(".0") if m[1][0] in "23" else m[1]
        return None

    return _each(values, pl.String(), read)


def protocol(values: Values, context: Context) -> Column:
    """A version of HTTP; or a scheme, which is what the Vocabulary means by it."""
    column = version(values, context)
    schemes = {i: v.lower() for i, v in column.left.items() if str(v).lower() in _SCHEMES}
    if not schemes:
        return column
    told = pl.Series([schemes.get(i) for i in range(len(column.values))], dtype=pl.String)
    left = {i: v for i, v in column.left.items() if i not in schemes}
    return Column(column.values, left, more={"scheme": told})


def split_target(series: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Path and query of request targets."""
    cut = series.str.splitn("?", 2).struct.unnest()
    return cut["field_0"], cut["field_1"]


def target(values: Values, context: Context) -> Column:
    """A request target: the query goes to a column of its own."""
    column = text(values, context)
    path, query = split_target(column.values)
    return Column(path, column.left, more={"query": query} if query.is_not_null().any() else {})


READERS: dict[str, Reader] = {
    "probe": probe,
    "strict_text": strict_text,
    "strict_int": strict_int,
    "strict_status": strict_status,
    "strict_texts": strict_texts,
    "strict_time": time,
    "strict_kind": kind,
    "strict_level": _words(LEVELS),
    "strict_outcome": _words(OUTCOMES),
    "strict_address": _address(strict=True, port=True),
    "strict_peer": _address(strict=True, port=False),
    "text": text,
    "int": integer,
    "texts": texts,
    "time": time,
    "kind": kind,
    "event": event,
    "level": _words(LEVELS),
    "outcome": _words(OUTCOMES),
    "address": _address(strict=False, port=True),
    "peer": _address(strict=False, port=False),
    "version": version,
    "protocol": protocol,
    "target": target,
    "seconds": _duration("seconds"),
    "ms": _duration("ms"),
    "ns": _duration("ns"),
}
