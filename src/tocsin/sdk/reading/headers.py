"""Header lines of either world, ASGI's or WSGI's, as one dictionary of lower-case names."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any

from tocsin.errors import SettingsError
from tocsin.sdk.seen import Pairs

__all__ = ["Proxies", "cookies", "read", "said"]

#: More lines than this, and longer values, are an attack on whoever reads them: of what comes
#: behind the last of them only what matters is read.
MOST = 128
LONGEST = 8192

#: Headers of which no line is lost because of others before it.
_MATTERS = frozenset(
    (
        "authorization proxy-authorization cookie x-forwarded-for forwarded content-type "
        "content-encoding user-agent host referer x-api-key api-key apikey x-auth-token "
        "x-access-token x-token x-request-id set-cookie location"
    ).split()
)
#: Read from its end, where the nearest machine has written.
_FORWARDED = "x-forwarded-for"

#: Headers that nobody here reads.
_UNREAD = frozenset(
    (
        "accept accept-charset accept-encoding accept-language accept-ranges age allow "
        "cache-control connection content-language content-length content-location date dnt etag "
        "expect expires if-match if-modified-since if-none-match if-range if-unmodified-since "
        "keep-alive last-modified origin pragma priority range server te trailer transfer-encoding "
        "upgrade upgrade-insecure-requests vary via traceparent tracestate baggage"
    ).split()
)


class _Names(dict[Any, str]):
    """Names as lines have them, and as they are meant; empty for those that nobody reads.

    Names come again with each request, and attackers must not fill the memory.
    """

    def __init__(self, wanted: frozenset[str] | None = None) -> None:
        """With *wanted*, nobody reads others."""
        super().__init__()
        self._wanted = wanted

    def __missing__(self, name: bytes | str) -> str:
        if isinstance(name, str):
            key = name.removeprefix("HTTP_").replace("_", "-").lower()
        else:
            key = name.decode("latin-1").lower()
        if self._wanted is not None:
            key = key if key in self._wanted else ""
        elif key in _UNREAD or key.startswith(("sec-", "access-control-")):
            key = ""
        if len(self) < 4_096 and len(name) < 64:
            self[name] = key
        return key


_NAMES = _Names()
_OF_ANSWERS = _Names(frozenset({"content-type", "content-encoding", "location", "set-cookie"}))


def said(pairs: Pairs) -> dict[str, str]:
    """As :func:`read`, of an answer, of whose lines few matter.

    >>> said([(b"server", b"a"), (b"x-request-id", b"7"), (b"content-type", b"text/plain")])
    {'content-type': 'text/plain'}
    """
    return read(pairs, _OF_ANSWERS)


def read(pairs: Pairs, names: Mapping[Any, str] = _NAMES) -> dict[str, str]:
    """Names and values of those that are read here.

    A name that stands twice has its values joined, as HTTP allows.

    >>> read([(b"host", b"a"), (b"x-a", b"1"), (b"x-a", b"2"), (b"accept", b"*/*")])
    {'host': 'a', 'x-a': '1, 2'}
    >>> read([("HTTP_USER_AGENT", "curl"), ("CONTENT_TYPE", "text/plain")])
    {'user-agent': 'curl', 'content-type': 'text/plain'}
    """
    found: dict[str, str] = {}
    for name, value in _bounded(pairs) if len(pairs) > MOST else pairs:
        key = names[name]
        if not key:
            continue
        if isinstance(value, str):
            text = value if value.isascii() else _utf8(value)
        else:
            text = value.decode("utf-8", "backslashreplace")
        if key in found:
            before = found[key]
            if len(before) >= LONGEST and key != _FORWARDED:
                continue
            text = f"{before}{'; ' if key == 'cookie' else ', '}{text}"
        if len(text) > LONGEST:
            text = _end(text) if key == _FORWARDED else text[:LONGEST]
        found[key] = text
    return found


def _bounded(pairs: Pairs) -> list[tuple[Any, Any]]:
    """The first lines, and of the others those that matter."""
    return [*pairs[:MOST], *(pair for pair in pairs[MOST:] if _NAMES[pair[0]] in _MATTERS)]


def _end(hops: str) -> str:
    """The end of a list that is too long, without the half of a hop that it would begin with."""
    return hops[-LONGEST:].partition(",")[2]


def _utf8(text: str) -> str:
    """WSGI hands bytes over as Latin-1."""
    try:
        return text.encode("latin-1").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # a server that decoded it already
        return text


def cookies(header: str) -> dict[str, str]:
    """The cookies of a request; of those with one name the first, as browsers send the closest.

    >>> cookies('a=1; session="x=y"; a=2')
    {'a': '1', 'session': 'x=y'}
    """
    found: dict[str, str] = {}
    for part in header.split(";"):
        name, equals, value = part.strip().partition("=")
        if equals:
            found.setdefault(name, value.strip('"'))
    return found


class Proxies:
    """Which machines may say on whose behalf they call."""

    def __init__(self, networks: tuple[str, ...]) -> None:
        """Raises SettingsError for what is no address or network."""
        self._networks: list[IPv4Network | IPv6Network] = []
        for text in networks:
            try:
                self._networks.append(ip_network(text, strict=False))
            except ValueError as error:
                raise SettingsError(
                    f"trusted_proxies: {error}; write an address or a network as 10.0.0.0/8"
                ) from error

    def client(self, peer: str | None, headers: dict[str, str]) -> str | None:
        """The client, as far as trusted machines tell: the last one that none of them vouches for.

        Only ``X-Forwarded-For`` is read, from its end, and only while what wrote it is trusted.

        >>> Proxies(("10.0.0.0/8",)).client("10.0.0.1", {"x-forwarded-for": "6.6.6.6, 1.2.3.4"})
        '1.2.3.4'
        """
        if peer is None or not self._networks or not self._trusts(peer):
            return peer
        client = peer
        for hop in reversed(headers.get("x-forwarded-for", "").split(",")):
            address = _bare(hop.strip())
            if address is None:
                break
            client = address
            if not self._trusts(address):
                break
        return client

    def _trusts(self, text: str) -> bool:
        try:
            address = ip_address(text)
        except ValueError:  # a Unix socket: whoever set it up chose the peer
            return not text
        mapped = getattr(address, "ipv4_mapped", None)
        return any((mapped or address) in network for network in self._networks)


def _bare(hop: str) -> str | None:
    """An address without port and brackets; None when it is none."""
    if hop.startswith("["):
        hop = hop[1:].partition("]")[0]
    elif hop.count(":") == 1:
        hop = hop.partition(":")[0]
    try:
        return str(ip_address(hop))
    except ValueError:
        return None
