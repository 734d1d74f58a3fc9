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
from tocsin.sdk.reading.headers import Proxies, read
from tocsin.sdk.reading.tokens import Credentials, Hasher, presented
from tocsin.sdk.seen import Pairs

__all__ = ["Head", "Heads"]

#: Clients that are remembered, and characters of header lines up to which one is.
MOST = 1_024
LONGEST = 2_048


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
            if sum(map(len, head.headers.values())) <= LONGEST and len(lines) <= 64:
                if len(self._known) >= MOST:
                    self._known.clear()
                self._known[key] = head
        return head

    def _read(self, lines: Pairs, peer: str | None) -> Head:
        headers = read(lines)
        brought = presented(headers)
        client = self._proxies.client(peer, headers)
        columns = {
            "session": self._session(brought),
            "api_key": self._key(brought),
            "auth_method": brought.method,
            "client_ip": client,
            "peer_ip": peer if peer != client else None,
            "user_agent": self._said(headers.get("user-agent")),
            "authority": headers.get("host"),
            "referer": self._said(headers.get("referer")),
        }
        known = {name: value for name, value in columns.items() if value is not None}
        options = self._options
        probe = probes.of_headers(headers, options.probe_bytes // 2) if options.probe else None
        return Head(headers, brought, known, probe)

    def _said(self, text: str | None) -> str | None:
        return self._clean.text(text) if text else None

    def _session(self, brought: Credentials) -> str | None:
        if brought.method in ("session", "token") and brought.secret:
            return self._hasher.secret(brought.secret)
        return None

    def _key(self, brought: Credentials) -> str | None:
        if brought.method == "key" and brought.secret:
            return self._hasher.secret(brought.secret)
        return None
