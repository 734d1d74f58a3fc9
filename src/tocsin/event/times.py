"""Instants as text and numbers: read what sources write, write one form."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import NamedTuple

__all__ = ["MAX_NS", "MIN_NS", "Instant", "read_time", "rfc3339"]

#: What 64 bits of nanoseconds hold: 1677-09-21 to 2262-04-11.
MIN_NS, MAX_NS = -(2**63), 2**63 - 1

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = 1_000_000_000
_TEXT = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)(?:[Tt ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d+))?)?"
    r"\s?([Zz]|UTC|GMT|[+-]\d\d(?::?\d\d)?)?)?",
    re.A,
)
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d{1,3})?", re.A)


class Instant(NamedTuple):
    """An instant as read."""

    ns: int  #: nanoseconds since 1970 UTC
    assumed: bool  #: the source named no offset, and UTC was assumed (LV-3)


def read_time(value: object) -> Instant | None:
    """Read RFC 3339 (offset optional, space for ``T`` too) or a number of seconds, ms, us or ns.

    ``None`` if it is no time, or outside of what 64 bits of nanoseconds hold.

    >>> read_time("2026-11-23T10:00:00+01:00"), read_time("2026-11-23 09:00:00")
    (Instant(ns=1795424400000000000, assumed=False), Instant(ns=1795424400000000000, assumed=True))
    >>> read_time(1795424400), read_time("1795424400000") == read_time(1795424400)
    (Instant(ns=1795424400000000000, assumed=False), True)
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, float)):
        return _number(repr(value))
    if not isinstance(value, str) or len(value) > 64:
        return None
    text = value.strip()
    found = _TEXT.fullmatch(text)
    return _calendar(found) if found else _number(text)


def rfc3339(ns: int) -> str:
    """*ns* as RFC 3339 in UTC, with as many groups of three decimals as it needs.

    >>> rfc3339(1795424400_000_000_000), rfc3339(1795424400_120_000_000), rfc3339(1)
    ('2026-11-23T09:00:00Z', '2026-11-23T09:00:00.120Z', '1970-01-01T00:00:00.000000001Z')
    """
    seconds, rest = divmod(ns, _SECOND)
    text = (_EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S")
    if rest:
        digits = f"{rest:09d}"
        while digits.endswith("000"):
            digits = digits[:-3]
        text += "." + digits
    return text + "Z"


def _calendar(found: re.Match[str]) -> Instant | None:
    year, month, day, hour, minute, second = (int(g or 0) for g in found.groups()[:6])
    leap = second == 60  # the last second of such a minute is the first of the next
    try:
        at = datetime(year, month, day, hour, minute, 59 if leap else second, tzinfo=UTC)
    except ValueError:
        return None
    offset = _offset(found[8])
    if offset is None:
        return None
    whole = (at - _EPOCH) // timedelta(seconds=1) + leap - offset
    return _checked(whole * _SECOND + int((found[7] or "").ljust(9, "0")[:9]), not found[8])


def _offset(text: str | None) -> int | None:
    """Seconds east of UTC."""
    if text is None or text in "ZzUTCGMT":
        return 0
    hours, minutes = int(text[1:3]), int(text[3:].lstrip(":") or 0)
    if hours > 23 or minutes > 59:
        return None
    seconds = hours * 3600 + minutes * 60
    return -seconds if text[0] == "-" else seconds


def _number(text: str) -> Instant | None:
    """Seconds, ms, us or ns, told apart by size: each unit reaches to the year 5138."""
    if not _NUMBER.fullmatch(text):
        return None
    try:
        value = Decimal(text)
    except InvalidOperation:
        return None
    size = abs(value)
    if size >= 10**20:
        return None
    unit = _SECOND
    for bound in (10**11, 10**14, 10**17):
        if size >= bound:
            unit //= 1000
    return _checked(int(value * unit), assumed=False)


def _checked(ns: int, assumed: bool) -> Instant | None:
    return Instant(ns, assumed) if MIN_NS <= ns <= MAX_NS else None
