"""Reading when something happened, from the many ways in which logs write it.

The answer is nanoseconds UTC.  A written offset is honoured, and so is the name of a zone
(``Europe/Berlin``) and an abbreviation that means one offset: those of Europe, Russia, North
America, Japan, Korea, Australia, New Zealand and most of Africa.  ``CST`` and ``IST`` mean three
offsets each; ``PST`` is the American one.  What the source's own zone calls itself comes first, so
a source in Manila, Shanghai or Kolkata is read rightly once its zone is set.

A time without a zone, or with an abbreviation that may mean several, is read in the source's zone
and the row is tagged ``time_assumed``.  Of two numbers before a year the one over 12 is the day; if
neither is, nobody knows which is which and it is no time.  A bare date is its midnight.

Only 1970 to 2261 fit 64 bits of nanoseconds: a time outside (Polars would wrap it silently) counts
as unreadable, like one that is no time.

A line without a time, such as those of a stack trace, has that of the line before it in the same
chunk of its source, at the beginning of a chunk that of the first that has one, and is tagged
``time_assumed``.  Where no line has any, it is the time of receipt; so it is for an event in
tocsin's own format.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from email.utils import parsedate_to_datetime
from functools import cache, lru_cache
from types import MappingProxyType
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

import polars as pl

from tocsin.errors import SettingsError
from tocsin.intake.parsers.lines import arrow

__all__ = [
    "ABBREVIATIONS",
    "ASSUMED",
    "INSTANT",
    "clf",
    "epoch_ns",
    "one",
    "tagged",
    "texts",
    "zone",
]

#: Tag of a row whose time carried no zone, or is that of a neighbour.
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
_HOURS = {
    "WET": 0, "WEST": 1, "BST": 1, "CET": 1, "CEST": 2, "MET": 1, "MEST": 2, "EET": 2, "EEST": 3,
    "MSK": 3, "EST": -5, "EDT": -4, "CDT": -5, "MST": -7, "MDT": -6, "PST": -8, "PDT": -7,
    "AKST": -9, "AKDT": -8, "HST": -10, "HDT": -9, "NST": -3.5, "NDT": -2.5, "JST": 9, "KST": 9,
    "HKT": 8, "PKT": 5, "IDT": 3, "WIB": 7, "WITA": 8, "WIT": 9, "AWST": 8, "ACST": 9.5,
    "ACDT": 10.5, "AEST": 10, "AEDT": 11, "NZST": 12, "NZDT": 13, "WAT": 1, "CAT": 2, "SAST": 2,
    "EAT": 3,
}  # fmt: skip
_SECONDS = {"UTC": 0, "GMT": 0, "Z": 0} | {n: round(h * 3600) for n, h in _HOURS.items()}
_AMBIGUOUS = ("CST", "IST", "AST", "ADT", "SST")

#: What may stand behind a time as its zone, whether it means one offset or several.
ABBREVIATIONS = (*_SECONDS, *_AMBIGUOUS)


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


@cache
def _regions() -> frozenset[str]:
    """Names such as Europe/Berlin; to look for one that is none in the files would take long."""
    return frozenset(name for name in available_timezones() if "/" in name)


@lru_cache(maxsize=64)
def _abbreviations(tz: str) -> MappingProxyType[str, int]:
    """Seconds east of Greenwich for each abbreviation: the source's own zone's before all others.

    >>> _abbreviations("UTC").get("IST"), _abbreviations("Asia/Kolkata")["IST"]
    (None, 19800)
    """
    own: dict[str, int] = {}
    for month in (1, 7):
        moment = datetime(2026, month, 1, tzinfo=zone(tz))
        name, offset = moment.tzname(), moment.utcoffset()
        if name and name.isalpha() and offset is not None:
            own[name.upper()] = int(offset.total_seconds())
    return MappingProxyType(_SECONDS | own)


def tagged(frame: pl.DataFrame, assumed: pl.Series) -> pl.DataFrame:
    """*frame* with the tag :data:`ASSUMED` in the rows that *assumed* marks."""
    mark = pl.lit([ASSUMED])
    assumed = assumed.fill_null(False)
    if "tags" not in frame.columns:
        return frame.with_columns(tags=pl.when(assumed).then(mark))
    both = pl.concat_list(pl.col("tags").fill_null([]), mark)
    return frame.with_columns(tags=pl.when(assumed).then(both).otherwise("tags"))


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
    for further in (_zoneless, _abbreviated):
        if frame["time"].null_count() > column.null_count():
            frame = further(frame, tz)
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


def _abbreviated(frame: pl.DataFrame, tz: str) -> pl.DataFrame:
    """Fill in ``2026-11-23 05:46:16.750 CET``, which is PostgreSQL's own way."""
    known = _abbreviations(tz)
    cut = pl.col("text").str.extract_groups(
        r"^(\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?) ?([A-Z]{1,5})$"
    )
    seconds = cut.struct.field("2").replace_strict(
        list(known), list(known.values()), default=None, return_dtype=pl.Int64
    )
    fits = pl.col("text").str.slice(0, 4).is_between(pl.lit("1971"), pl.lit("2260"))
    plain = cut.struct.field("1").str.replace(",", ".", literal=True)
    read = plain.str.replace("T", " ", literal=True).str.to_datetime(
        "%Y-%m-%d %H:%M:%S%.f", time_unit="ns", time_zone="UTC", strict=False
    )
    return frame.with_columns(
        time=pl.coalesce("time", pl.when(fits).then(read - pl.duration(seconds=seconds)))
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
    """*moment* in the zone that is written, or in the source's own, which is then assumed."""
    name = (name or "").strip()
    if name[:1] in ("+", "-"):
        return moment.replace(tzinfo=_offset(name)), False
    if name.lower() in _UTC_NAMES:
        return moment.replace(tzinfo=UTC), False
    seconds = _abbreviations(tz).get(name.upper()) if name else None
    if seconds is not None:
        return moment.replace(tzinfo=timezone(timedelta(seconds=seconds))), False
    if name in _regions():
        return moment.replace(tzinfo=zone(name)), False
    return moment.replace(tzinfo=zone(tz)), True


def _iso(match: re.Match[str], tz: str, _observed: int) -> tuple[int, bool]:
    year, month, day, hour, minute, second, fraction, name, *region = match.groups()
    leap = int(second or 0) == 60
    moment = datetime(  # noqa: DTZ001 - the zone follows
        int(year), int(month), int(day), int(hour), int(minute), 59 if leap else int(second or 0)
    )
    moment, assumed = _zoned(moment, name or (region[0] if region else None), tz)
    return _ns(moment + timedelta(seconds=leap), fraction or ""), assumed


def _day(match: re.Match[str], tz: str, _observed: int) -> tuple[int, bool]:
    year, month, day = map(int, match.groups())
    return _ns(datetime(year, month, day, tzinfo=zone(tz))), True


def _slashed(match: re.Match[str], tz: str, _observed: int) -> tuple[int, bool]:
    """``07/28/2026 10:00:00``, or the other way round where only that can be meant."""
    one, two, year, clock, fraction, half, name = match.groups()
    month, day = int(one), int(two)
    if month > 12:
        month, day = day, month
    elif day <= 12 and day != month:
        raise ValueError(match.string)  # the seventh of August, or the eighth of July
    hour, minute, second = map(int, clock.split(":"))
    if half:
        if not 1 <= hour <= 12:
            raise ValueError(match.string)
        hour = hour % 12 + 12 * (half.lower() == "pm")
    moment = datetime(int(year), month, day, hour, minute, second)  # noqa: DTZ001 - the zone follows
    moment, assumed = _zoned(moment, name, tz)
    return _ns(moment, fraction or ""), assumed


def _clf(match: re.Match[str], tz: str, _observed: int) -> tuple[int, bool]:
    day, clock, fraction, name = match.groups()
    moment = datetime.strptime(f"{day} {clock}", "%d/%b/%Y %H:%M:%S")  # noqa: DTZ007 - it follows
    moment, assumed = _zoned(moment, name, tz)
    return _ns(moment, fraction or ""), assumed


_YEARLY = "%b %d %Y %H:%M:%S"


def _ctime(match: re.Match[str], tz: str, _observed: int) -> tuple[int, bool]:
    month, day, clock, fraction, name, year = match.groups()
    said = f"{month} {day} {year} {clock}"
    moment = datetime.strptime(said, _YEARLY)  # noqa: DTZ007 - it follows
    moment, assumed = _zoned(moment, name, tz)
    return _ns(moment, fraction or ""), assumed


def _bsd(match: re.Match[str], tz: str, observed: int) -> tuple[int, bool]:
    """Read a syslog time, which has no year: the latest that is not in the future (of *observed*).

    A day ahead is let pass: clocks and zones differ.
    """
    month, day, clock, fraction = match.groups()
    seen = _EPOCH + timedelta(microseconds=observed // 1000)
    for year in range(seen.year + 1, seen.year - 9, -1):
        try:
            said = f"{month} {day} {year} {clock}"
            naive = datetime.strptime(said, _YEARLY)  # noqa: DTZ007 - it has none
        except ValueError:  # 29 February of a common year
            continue
        moment = naive.replace(tzinfo=zone(tz))
        if moment - seen <= timedelta(days=1):
            return _ns(moment, fraction or ""), True
    raise ValueError(match.string)


def _mail(match: re.Match[str], tz: str, _observed: int) -> tuple[int, bool]:
    moment = parsedate_to_datetime(match.string.strip())
    if moment.tzinfo is not None:
        return _ns(moment), False
    moment, assumed = _zoned(moment, match[1] if match[1].isalpha() else None, tz)
    return _ns(moment), assumed


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
_ZONE = r"([Zz]|[+-]\d\d(?::?\d\d)?|[A-Za-z][A-Za-z/_]{1,30})"
_FORMS: tuple[tuple[re.Pattern[str], _Read], ...] = tuple(
    (re.compile(pattern, re.ASCII), read)
    for pattern, read in (
        (
            (
                r"(\d{4})[-/](\d\d)[-/](\d\d)(?:[Tt ]+|:)(\d\d):(\d\d)"
                r"(?::(\d\d)(?:[.,:](\d+))?)? ?"
                rf"{_ZONE}?(?:\[([A-Za-z][\w/+-]*)\])?"  # Java adds the region
            ),
            _iso,
        ),
        (
            r"(\d{4})(\d\d)(\d\d)[T ](\d\d):?(\d\d):?(\d\d)(?:[.,](\d+))?([Zz]|[+-]\d\d:?\d\d)?",
            _iso,
        ),
        (r"(\d{4})-(\d\d)-(\d\d)", _day),
        (
            rf"\[?(\d\d/[A-Z][a-z]{{2}}/\d{{4}})[: ]{_CLOCK}(?: ([+-]\d\d:?\d\d))?\]?",
            _clf,
        ),
        (
            rf"(\d{{1,2}})/(\d{{1,2}})/(\d{{4}}),? {_CLOCK}(?: ?([AaPp][Mm]))?(?: ?{_ZONE})?",
            _slashed,
        ),
        (
            (
                r"(?:[A-Z][a-z]{2} )?([A-Z][a-z]{2}) +(\d{1,2}) "
                rf"{_CLOCK} (?:([A-Z]{{3,5}}) )?(\d{{4}})"
            ),
            _ctime,
        ),
        (rf"([A-Z][a-z]{{2}}) +(\d{{1,2}}) {_CLOCK}", _bsd),
        (r"(?:[A-Z][a-z]{2}, )?\d{1,2} [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d (.{1,9})", _mail),
        (r"(\d{1,19})(?:\.(\d+))?", _number),
    )
)
