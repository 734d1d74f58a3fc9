"""Telling IP addresses from what only looks like one.

``client_ip`` and ``peer_ip`` hold IPv4 and IPv6 addresses and nothing else: rules group by them,
and a search for a network compares them.
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address

import polars as pl

__all__ = ["HOST", "address", "addresses", "are_v4"]

_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"

# Nothing that means another address elsewhere, as ``010.0.0.1`` does.
_V4 = rf"^(?:{_OCTET}\.){{3}}{_OCTET}$"

#: What may be the name of a host: it has a letter, and is no time and no word with signs in it.
HOST = r"(?:[0-9_][0-9_.-]*)?[A-Za-z][A-Za-z0-9_.-]*"

# Without brackets and a zone the tail of an IPv6 address is no port: the six takes it.
_FORM = re.compile(
    r"(?:(?P<v4>[0-9.]+)|\[(?P<boxed>[0-9A-Fa-f:.]+)(?:%[\w.-]+)?\]"
    r"|(?P<v6>[0-9A-Fa-f:.]+)(?:%[\w.-]+)?)(?::(?P<port>\d{1,5}))?",
    re.ASCII,
)
_LONGEST = 128


def are_v4(column: pl.Series) -> bool:
    """Whether all are IPv4 addresses and nothing else."""
    return column.str.contains(_V4).all()


def addresses(column: pl.Series) -> pl.DataFrame:
    """Columns ``ip`` and ``port`` of *column*; ``ip`` is null where there is no address.

    Brackets, the zone of a link and the port are taken off, and an address has one spelling.
    """
    plain = column.str.contains(_V4).fill_null(True)
    if plain.all():
        nowhere = pl.Series("port", [None], dtype=pl.Int64).new_from_index(0, len(column))
        return pl.DataFrame([column.alias("ip"), nowhere])
    others = column.filter(~plain).unique()
    found = [address(text) or (None, None) for text in others]
    ip, port = (
        column.replace_strict(others, pl.Series(told, dtype=kind), default=None, return_dtype=kind)
        for told, kind in (
            ([ip for ip, _ in found], pl.String()),
            ([port for _, port in found], pl.Int64()),
        )
    )
    return pl.DataFrame([column.zip_with(plain, ip).alias("ip"), port.alias("port")])


@lru_cache(maxsize=4096)
def address(text: str) -> tuple[str, int | None] | None:
    """The address in *text* in its one spelling, and its port; ``None`` if there is none.

    An IPv4 address inside of an IPv6 one is told as what it is.

    >>> address("[2001:DB8:0::1]:443"), address("::ffff:192.0.2.1"), address("999.1.1.1")
    (('2001:db8::1', 443), ('192.0.2.1', None), None)
    """
    match = _FORM.fullmatch(text) if len(text) <= _LONGEST else None
    if match is None:
        return None
    port = int(match["port"]) if match["port"] else None
    if port is not None and port > 65_535:
        return None
    try:
        if match["v4"]:
            return str(IPv4Address(match["v4"])), port
        six = IPv6Address(match["boxed"] or match["v6"])
    except ValueError:
        return None
    return str(six.ipv4_mapped or six), port
