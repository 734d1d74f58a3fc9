"""Reading when something happened, from the many ways in which logs write it.

The answer is nanoseconds UTC.  A written offset is honoured.  A time without one is read in the
source's zone and the row is tagged ``time_assumed``.  Only 1970 to 2261 fit 64 bits of nanoseconds:
a time outside (Polars would wrap it silently) counts as unreadable, like one that is no time.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from email.utils import parsedate_to_datetime
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import polars as pl

from tocsin.errors import SettingsError
from tocsin.intake.parsers.lines import arrow

__all__ = ["ASSUMED", "INSTANT", "clf", "epoch_ns", "one", "texts", "zone"]

#: Tag of a row whose time carried no zone.
ASSUMED = "time_assumed"

INSTANT = pl.Datetime("ns", "UTC")

_FIRST, _LAST = "1970", "2261"
_LAST_NS = 2**63 - 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ALL_UTC = (
    pl.col("text").str.ends_with("Z")
    & (pl.col("text").str.len_bytes() >= len("2026-11-23T05:46:16Z"))
    & pl.col("text").str.slice(0, 4).is_between(pl.lit(_FIRST), pl.lit(_LAST))
).all()
_UTC_NAMES = frozenset({"utc", "gmt", "z", "etc/utc"})


@lru_cache(maxsize=64)
def zone(name: str) -> tzinfo:
    """The zone called *name*: an IANA name or a fixed offset.

    >>> zone("+02:00")
    datetime.timezone(datetime.timedelta(seconds=7200))
    """
    try:
        return _offset(name) if name[:1] in ("+", "-") else ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise SettingsError(
            f'time zone "{name}" is unknown; use a name such as Europe/Berlin, or +02:00'
        ) from error


@lru_cache(maxsize=1024)
def _offset(text: str) -> tzinfo:
    """The fixed zone ``+02:00``, ``+0200`` or ``+02``."""
    match = re.fullmatch(r"([+-])(\d\d):?(\d\d)?", text, re.ASCII)
    if match is None:
        raise ValueError(text)
    delta = timedelta(hours=int(match[2]), minutes=int(match[3] or 0))
    return timezone(-delta if match[1] == "-" else delta)


def clf(column: pl.Expr) -> pl.Expr:
    """Instants of ``[23/Nov/2026:05:46:16 +0000]``; null where it is none."""
    year = column.str.slice(8, 4)
    return pl.when(year.is_between(pl.lit(_FIRST), pl.lit(_LAST))).then(
        column.str.to_datetime("[%d/%b/%Y:%H:%M:%S %z]", time_unit="ns", strict=False)
    )


def texts(column: pl.Series, tz: str, observed: int) -> pl.DataFrame:
    """Columns ``time`` and ``assumed`` of *column*; time is null where the text is no time."""
    if (quick := _utc(column)) is not None:
        return pl.DataFrame([quick, pl.Series("assumed", [False]).new_from_index(0, len(column))])
    frame = column.rename("text").to_frame()
    text = pl.col("text")
    fits = text.str.slice(0, 4).is_between(pl.lit(_FIRST), pl.lit(_LAST))
    instant = text.str.to_datetime("%+", time_unit="ns", time_zone="UTC", strict=False)
    frame = frame.select("text", time=pl.when(fits).then(instant), assumed=pl.lit(False))
    if frame["time"].null_count() > column.null_count():
        frame = _zoneless(frame, tz)
    rest = frame.filter(pl.col("time").is_null() & text.is_not_null())["text"].unique()
    if rest.is_empty():
        return frame.select("time", "assumed")
    found = [one(value, tz, observed) for value in rest]
    others = pl.DataFrame(
        {
            "text": rest,
            "other": pl.Series([f[0] if f else None for f in found], dtype=pl.Int64).cast(INSTANT),
            "guess": pl.Series([bool(f and f[1]) for f in found], dtype=pl.Boolean),
        }
    )
    return frame.join(others, on="text", how="left", maintain_order="left").select(
        time=pl.coalesce("time", "other"),
        assumed=pl.col("assumed") | (pl.col("time").is_null() & pl.col("guess").fill_null(False)),
    )


def _utc(column: pl.Series) -> pl.Series | None:
    """Instants of ``2026-11-23T05:46:16.750Z``, if all are written so: Arrow reads them fastest.

    Shorter forms, which Arrow reads too, would be times without minutes.
    """
    if not column.to_frame("text").select_seq(_ALL_UTC).item():
        return None
    try:
        read = column.to_arrow().cast(arrow.timestamp("ns", "UTC"))
    except arrow.ArrowInvalid:
        return None
    return pl.Series("time", read)


def _zoneless(frame: pl.DataFrame, tz: str) -> pl.DataFrame:
    """Fill in the plain ``2026-11-23 05:46:16.750``, by far the most frequent of the others."""
    name = getattr(zone(tz), "key", None)
    if name is None:
        return frame  # a fixed offset: the long way reads it
    fits = pl.col("text").str.slice(0, 4).is_between(pl.lit(_FIRST), pl.lit("2260"))
    plain = pl.col("text").str.replace(",", ".", literal=True).str.replace("T", " ", literal=True)
    read = plain.str.to_datetime("%Y-%m-%d %H:%M:%S%.f", time_unit="ns", strict=False)
    local = read.dt.replace_time_zone(name, ambiguous="earliest", non_existent="null")
    filled = frame.with_columns(
        other=pl.when(pl.col("time").is_null() & fits).then(local.dt.convert_time_zone("UTC"))
    )
    return filled.select(
        "text",
        time=pl.coalesce("time", "other"),
        assumed=pl.col("time").is_null() & pl.col("other").is_not_null(),
    )


def epoch_ns(value: float) -> int | None:
    """Nanoseconds of a number that counts seconds, milli-, micro- or nanoseconds since 1970.

    The unit is told by the size: up to 1e11 seconds (the year 5138), 1e14 milliseconds, 1e17
    microseconds.

    >>> epoch_ns(1795412776.045), epoch_ns(1795412776045)
    (1795412776045000000, 1795412776045000000)
    """
    if not 0 <= value < 2**63:  # NaN compares false
        return None
    for below, unit in ((1e11, 10**9), (1e14, 10**6), (1e17, 10**3)):
        if value < below:
            # A float has 53 bits: microseconds are what it can carry, the rest would be noise.
            ns = value * unit if isinstance(value, int) else round(value * unit / 1000) * 1000
            return ns if ns <= _LAST_NS else None
    return int(value)


def one(text: str, tz: str, observed: int) -> tuple[int, bool] | None:
    """Nanoseconds of one written time and whether its zone was assumed; ``None`` if it is no time.

    >>> one("2026-11-23 05:46:22,750", "UTC", 0)
    (1795412782750000000, True)
    """
    text = text.strip()
    if len(text) > 64:
        return None
    for pattern, read in _FORMS:
        if match := pattern.fullmatch(text):
            try:
                return read(match, tz, observed)
            except (ValueError, OverflowError):  # a thirteenth month, a year that does not fit
                return None
    return None


def _ns(moment: datetime, fraction: str = "") -> int:
    delta = moment - _EPOCH
    ns = (delta.days * 86_400 + delta.seconds) * 10**9 + int(fraction[:9].ljust(9, "0") or 0)
    if not 0 <= ns <= _LAST_NS:
        raise OverflowError(ns)
    return ns


def _zoned(moment: datetime, name: str | None, tz: str) -> tuple[datetime, bool]:
    name = (name or "").strip()
    if not name:
        return moment.replace(tzinfo=zone(tz)), True
    if name.lower() in _UTC_NAMES:
        return moment.replace(tzinfo=UTC), False
    if name[0] in "+-":
        return moment.replace(tzinfo=_offset(name)), False
    # An abbreviation (CET, EST) names no zone for certain: the source's own is the better guess.
    return moment.replace(tzinfo=zone(tz)), True


def _iso(match: re.Match[str], tz: str, _observed: int) -> tuple[int, bool]:
    year, month, day, hour, minute, second, fraction, name = match.groups()
    leap = int(second or 0) == 60
    moment = datetime(  # noqa: DTZ001 - the zone follows
        int(year), int(month), int(day), int(hour), int(minute), 59 if leap else int(second or 0)
    )
    moment, assumed = _zoned(moment, name, tz)
    return _ns(moment + timedelta(seconds=leap), fraction or ""), assumed


def _clf(match: re.Match[str], tz: str, _observed: int) -> tuple[int, bool]:
    when, fraction, name = match.groups()
    moment, assumed = _zoned(
        datetime.strptime(when, "%d/%b/%Y:%H:%M:%S"),  # noqa: DTZ007 - the zone follows
        name,
        tz,
    )
    return _ns(moment, fraction or ""), assumed


def _ctime(match: re.Match[str], tz: str, _observed: int) -> tuple[int, bool]:
    month, day, clock, fraction, year = match.groups()
    moment = datetime.strptime(f"{month} {day} {year} {clock}", "%b %d %Y %H:%M:%S")  # noqa: DTZ007
    return _ns(moment.replace(tzinfo=zone(tz)), fraction or ""), True


def _bsd(match: re.Match[str], tz: str, observed: int) -> tuple[int, bool]:
    """Read a syslog time, which has no year: the latest that is not in the future (of *observed*).

    A day ahead is let pass: clocks and zones differ.
    """
    month, day, clock, fraction = match.groups()
    seen = _EPOCH + timedelta(microseconds=observed // 1000)
    for year in range(seen.year + 1, seen.year - 9, -1):
        try:
            naive = datetime.strptime(f"{month} {day} {year} {clock}", "%b %d %Y %H:%M:%S")  # noqa: DTZ007
        except ValueError:  # 29 February of a common year
            continue
        moment = naive.replace(tzinfo=zone(tz))
        if moment - seen <= timedelta(days=1):
            return _ns(moment, fraction or ""), True
    raise ValueError(match.string)


def _mail(match: re.Match[str], tz: str, _observed: int) -> tuple[int, bool]:
    moment = parsedate_to_datetime(match.string.strip())
    assumed = moment.tzinfo is None
    return _ns(moment.replace(tzinfo=zone(tz)) if assumed else moment), assumed


def _number(match: re.Match[str], _tz: str, _observed: int) -> tuple[int, bool]:
    whole, fraction = match.groups()
    if fraction is None or int(whole) >= 10**11:
        ns = epoch_ns(int(whole))
    else:
        ns = int(whole) * 10**9 + int(fraction[:9].ljust(9, "0"))
    if ns is None or ns > _LAST_NS:
        raise OverflowError(whole)
    return ns, False


_Read = Callable[[re.Match[str], str, int], tuple[int, bool]]
_CLOCK = r"(\d{1,2}:\d\d:\d\d)(?:[.,](\d+))?"
_FORMS: tuple[tuple[re.Pattern[str], _Read], ...] = tuple(
    (re.compile(pattern, re.ASCII), read)
    for pattern, read in (
        (
            (
                r"(\d{4})[-/](\d\d)[-/](\d\d)(?:[Tt ]+|:)(\d\d):(\d\d)"
                r"(?::(\d\d)(?:[.,:](\d+))?)? ?"
                r"([Zz]|[+-]\d\d(?::?\d\d)?|[A-Za-z][A-Za-z/_]{1,30})?"
            ),
            _iso,
        ),
        (
            r"(\d{4})(\d\d)(\d\d)[T ](\d\d):?(\d\d):?(\d\d)(?:[.,](\d+))?([Zz]|[+-]\d\d:?\d\d)?",
            _iso,
        ),
        (
            r"\[?(\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d)(?:\.(\d+))?(?: ([+-]\d{4}))?\]?",
            _clf,
        ),
        (rf"(?:[A-Z][a-z]{{2}} )?([A-Z][a-z]{{2}}) +(\d{{1,2}}) {_CLOCK} (\d{{4}})", _ctime),
        (rf"([A-Z][a-z]{{2}}) +(\d{{1,2}}) {_CLOCK}", _bsd),
        (r"(?:[A-Z][a-z]{2}, )?\d{1,2} [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d .{1,9}", _mail),
        (r"(\d{1,19})(?:\.(\d+))?", _number),
    )
)
