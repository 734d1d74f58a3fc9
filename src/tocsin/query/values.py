"""The words after the colon: numbers, sizes, durations, moments, addresses.

Each reader takes the text as typed and says in its error what it would have understood.
"""

from __future__ import annotations

import ipaddress
import math
import re
from datetime import UTC, datetime, timedelta
from fractions import Fraction

from tocsin.errors import QueryError
from tocsin.query.fields import Form
from tocsin.query.nodes import DAY, EARLIEST, LATEST, MINUTE, SECOND, Instant

__all__ = [
    "moment",
    "read_duration",
    "read_instant",
    "read_network",
    "read_number",
    "read_plain_number",
]

_TIMES = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": SECOND,
    "m": MINUTE,
    "h": 60 * MINUTE,
    "d": DAY,
    "w": 7 * DAY,
}
_SIZES = {
    "b": 1,
    **{f"{p}b": 1000**i for i, p in enumerate("kmgt", 1)},
    **{f"{p}ib": 1024**i for i, p in enumerate("kmgt", 1)},
}

_QUANTITY = r"[0-9]{1,30}(?:\.[0-9]{1,30})?"
_SIZE = re.compile(rf"({_QUANTITY})((?:[kmgt]i?)?b)", re.IGNORECASE)
_PIECE = re.compile(rf"({_QUANTITY})(ns|us|µs|μs|ms|s|m|h|d|w)")
_DURATION = re.compile(rf"(?:{_PIECE.pattern})+")
_NOW = re.compile(r"now(?:([+-])(.+))?", re.IGNORECASE)
_DATE = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[Tt ](\d\d:\d\d)(?:(:\d\d)(?:[.,](\d{1,9}))?)?\s?(Z|z|[+-]\d\d:?\d\d)?)?",
    re.ASCII,
)
#: Lengths of time as people write them elsewhere.
_WORDY = re.compile(
    r"(\d+)\s*(seconds?|secs?|minutes?|mins?|hours?|hrs?|days?|weeks?)(?:\s+ago)?",
    re.ASCII | re.IGNORECASE,
)
_UNIT_OF = {"mi": "m", "se": "s", "ho": "h", "hr": "h", "da": "d", "we": "w"}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def read_number(text: str, form: Form, field: str, *, column: int, bare_ns: bool = True) -> int:
    """A whole number, with the units that *form* knows."""
    if form is Form.DURATION and (ns := read_duration(text)) is not None:
        return _fits(ns, text, column)
    if form is Form.SIZE and (size := _SIZE.fullmatch(text)):
        return _fits(int(Fraction(size[1]) * _SIZES[size[2].lower()]), text, column)
    if not re.fullmatch(r"[+-]?[0-9]+", text):
        raise QueryError(f'{field} is a {_wanted(form)}; "{text}" is not one', column=column)
    value = _fits(int(text), text, column)
    if form is Form.DURATION and value and not bare_ns:
        raise QueryError(
            f'"{text}" needs a unit: {text}ms, {text}s, {text}m ...'
            " (or use duration_ns, which is in nanoseconds)",
            column=column,
        )
    return value


def read_plain_number(text: str, field: str, *, column: int) -> int | float:
    """A number of an attribute: whole or not."""
    if re.fullmatch(r"[+-]?[0-9]+", text):
        return _fits(int(text), text, column)
    if re.fullmatch(r"[+-]?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?", text):
        value = float(text)
        if math.isfinite(value):
            return value
    raise QueryError(f'{field} can only be compared with a number, not "{text}"', column=column)


def read_duration(text: str) -> int | None:
    """Nanoseconds of ``15m``, ``1.5s`` or ``1h30m``; ``None`` if it is no duration."""
    if not _DURATION.fullmatch(text):
        return None
    return int(sum(Fraction(number) * _TIMES[unit] for number, unit in _PIECE.findall(text)))


def read_instant(text: str, *, column: int | None = None) -> Instant:
    """``2026-11-01``, ``2026-11-01T10:15:00.5+01:00`` (UTC if no zone is given), ``now-15m``."""
    if found := _NOW.fullmatch(text):
        ns = read_duration(found[2]) if found[2] else 0
        if ns is not None:
            return Instant(_fits(-ns if found[1] == "-" else ns, text, column), relative=True)
    elif found := _DATE.fullmatch(text):
        try:
            return _absolute(*found.groups())
        except (ValueError, OverflowError):
            pass  # the shape of a date, but no such day or hour: said below
    raise QueryError(
        f'"{text}" is not a time between 1678 and 2261; write now-15m, 2026-11-01 or'
        " 2026-11-01T10:15:00Z",
        column=column,
    )


def moment(text: str, now: int, *, end: bool = False) -> int:
    """The nanosecond that *text* means, for ``--since`` and, with *end*, for ``--until``.

    A bare duration counts back from *now*; *end* gives the first nanosecond after a whole day.

    >>> moment("15m", now=10**18) == moment("now-15m", now=10**18) == 10**18 - 900 * 10**9
    True
    >>> moment("2026-11-02", 0) == moment("2026-11-01", 0, end=True)
    True
    """
    text = text.strip()
    ago = read_duration(text)
    if ago is None and (wordy := _WORDY.fullmatch(text)):
        right = f"{wordy[1]}{_UNIT_OF[wordy[2][:2].lower()]}"
        raise QueryError(f'"{text}" is not a time; did you mean {right}?')
    instant = read_instant(text) if ago is None else Instant(_fits(-ago, text, None), relative=True)
    if end and not instant.relative:
        return min(LATEST, instant.last(now) + 1)
    return instant.first(now)


def read_network(text: str, field: str, *, column: int) -> str | None:
    """``10.0.0.0/8`` or ``::1`` in its one canonical form; ``None`` if it is no address at all.

    Host bits are dropped, and what is IPv4 inside IPv6 is IPv4.
    """
    try:
        net = ipaddress.ip_network(text, strict=False)
    except ValueError:
        if "/" not in text and not re.fullmatch(r"[0-9.]+|[0-9a-fA-F]*:[0-9a-fA-F:.]*", text):
            return None
        raise QueryError(
            f'{field}: "{text}" is not an address or network; write 10.1.2.3, 10.0.0.0/8,'
            " 2001:db8::/32 or a wildcard such as 10.0.*",
            column=column,
        ) from None
    if isinstance(net, ipaddress.IPv6Network):
        mapped = net.network_address.ipv4_mapped
        if mapped is not None and net.prefixlen >= 96:
            net = ipaddress.ip_network((mapped, net.prefixlen - 96))
    alone = net.prefixlen == net.max_prefixlen
    return str(net.network_address) if alone else str(net)


def _absolute(day: str, clock: str | None, second: str, fraction: str, zone: str) -> Instant:
    iso = f"{day}T{clock or '00:00'}{second or ':00'}{zone or 'Z'}".upper()
    whole = (datetime.fromisoformat(iso) - _EPOCH) // timedelta(seconds=1)
    ns = whole * SECOND + int((fraction or "0").ljust(9, "0"))
    if fraction:
        span = 10 ** (9 - len(fraction))
    else:
        span = SECOND if second else MINUTE if clock else DAY
    if not EARLIEST <= ns <= LATEST - span:
        raise OverflowError
    return Instant(ns, span)


def _fits(value: int, text: str, column: int | None) -> int:
    if not EARLIEST < value < LATEST:
        raise QueryError(f'"{_short(text)}" is too large: numbers have 64 bits', column=column)
    return value


def _short(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:40]}..."


def _wanted(form: Form) -> str:
    return {
        Form.DURATION: "duration, such as 500ms",
        Form.SIZE: "size in bytes, such as 1500 or 10MB",
    }.get(form, "whole number")
