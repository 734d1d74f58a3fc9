"""Which texts are addresses inside some networks, a column at a time.

IPv4 is decided by one regular expression that only whole addresses pass, so that nothing is
converted.  What contains a colon is read by ``ipaddress``, each distinct text once.  An address
that is malformed lies in no network.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import TypeAlias

import polars as pl

__all__ = ["within"]

_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


def within(column: str, networks: Iterable[str]) -> pl.Expr:
    """True where the text of *column* is an address in one of *networks* (canonical form)."""
    nets = [ipaddress.ip_network(n) for n in networks]
    four = [n for n in nets if isinstance(n, ipaddress.IPv4Network)]
    lone = [str(n.network_address) for n in four if n.prefixlen == 32]
    wide = [_pattern(n) for n in four if n.prefixlen < 32]
    text = pl.col(column)
    tests = [
        text.str.contains(":", literal=True)
        & text.map_batches(
            lambda series: _by_value(series, nets), return_dtype=pl.Boolean, is_elementwise=True
        )
    ]
    if lone:
        tests.append(text.is_in(lone))
    if wide:
        tests.append(text.str.contains(f"^(?:{'|'.join(wide)})$"))
    return pl.any_horizontal(tests)


def _pattern(network: ipaddress.IPv4Network) -> str:
    """A regular expression of the addresses in *network*, octet by octet.

    >>> _pattern(ipaddress.IPv4Network("10.128.0.0/9")).startswith("10\\\\.(?:128|129|130|")
    True
    """
    octets: list[str] = []
    for index, first in enumerate(network.network_address.packed):
        free = min(8, max(0, 8 * (index + 1) - network.prefixlen))
        if free == 8:
            octets.append(_OCTET)
        elif free == 0:
            octets.append(str(first))
        else:
            octets.append(f"(?:{'|'.join(str(first + n) for n in range(1 << free))})")
    return r"\.".join(octets)


def _by_value(series: pl.Series, networks: list[_Network]) -> pl.Series:
    suspects = series.filter(series.str.contains(":", literal=True)).unique().to_list()
    inside = [text for text in suspects if _inside(text, networks)]
    return series.is_in(inside) if inside else pl.repeat(False, len(series), eager=True)


def _inside(text: str, networks: list[_Network]) -> bool:
    try:
        address: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.ip_address(text)
    except ValueError:
        return False  # not an address, so in no network: that is the answer, not a failure
    if isinstance(address, ipaddress.IPv6Address):
        # An interface name (fe80::1%eth0) is no part of the number.
        bare = re.sub("%.*", "", text)
        address = ipaddress.IPv6Address(bare)
        address = address.ipv4_mapped or address
    return any(address in net for net in networks)
