"""What the header lines of a request tell of its client, remembered, since clients come again.

A client that sends the same lines from the same address is the same client: who it is, by what it
shows that, and what of it is worth a search need not be found out again.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from tocsin.sdk.options import Options
from tocsin.sdk.reading import probes
from tocsin.sdk.reading.clean import Cleaner
from tocsin.sdk.reading.headers import MOST as MOST_LINES
from tocsin.sdk.reading.headers import Proxies, read
from tocsin.sdk.reading.tokens import Credentials, Hasher, presented
from tocsin.sdk.seen import Pairs

__all__ = ["Head", "Heads"]

#: Clients that are remembered, bytes that all of them take, and bytes up to which one is.
MOST = 1_024
BYTES = 6 << 20
LONGEST = 16_384

#: What a header line takes beside its bytes, and a client beside its lines, about.
_LINE, _CLIENT = 160, 1_024


class Head(Struct, frozen=True):
    """One client, as its header lines tell."""

    headers: dict[str, str]
    brought: Credentials
    columns: dict[str, Any]  #: of each event of its; only what is known
    probe: str | None  #: values that the receiver searches


class Heads:
    """Reads and remembers them.  For one thread."""

    def __init__(self, options: Options, hasher: Hasher, clean: Cleaner) -> None:
        """Raises SettingsError for trusted proxies that are no networks."""
        self._options, self._hasher, self._clean = options, hasher, clean
        self._proxies = Proxies(options.trusted_proxies)
        self._known: dict[Any, Head] = {}
        self._held = 0  # bytes of them

    def of(self, lines: Pairs, peer: tuple[str, int] | None) -> Head:
        """The client that sent these *lines* from *peer*."""
        address = peer[0] if peer else None
        key = (lines, address)
        try:
            head = self._known.get(key)
        except TypeError:  # a server that gives lists
            return self._read(lines, address)
        if head is None:
            head = self._read(lines, address)
            self._remember(key, head)
        return head

    def _remember(self, key: Any, head: Head) -> None:
        """With each line what is read of it is held as well."""
        weight = _CLIENT + sum(_LINE + len(name) + 2 * len(text) for name, text in key[0])
        if weight > LONGEST:
            return
        self._held += weight
        if len(self._known) >= MOST or self._held > BYTES:
            self._known.clear()
            self._held = weight
        self._known[key] = head

    def _read(self, lines: Pairs, peer: str | None) -> Head:
        headers = read(lines)
        brought = presented(headers, crowded=len(lines) > MOST_LINES)
        client = self._proxies.client(peer, headers)
        agent, host, referer = map(headers.get, ("user-agent", "host", "referer"))
        columns = {
            "session": self._session(brought),
            "api_key": self._key(brought),
            "auth_method": brought.method,
            "client_ip": client,
            "peer_ip": peer if peer != client else None,
            "user_agent": self._clean.agent(agent) if agent else None,
            "authority": self._clean.host(host) if host else None,
            "referer": self._clean.url(referer) if referer else None,
        }
        known = {name: value for name, value in columns.items() if value is not None}
        options = self._options
        probe = probes.of_headers(lines, options.probe_bytes // 2) if options.probe else None
        return Head(headers, brought, known, probe)

    def _session(self, brought: Credentials) -> str | None:
        if brought.method in ("session", "token") and brought.secret:
            return self._hasher.secret(brought.secret)
        return None

    def _key(self, brought: Credentials) -> str | None:
        if brought.method == "key" and brought.secret:
            return self._hasher.secret(brought.secret)
        return None
