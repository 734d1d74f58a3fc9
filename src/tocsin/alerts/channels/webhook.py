"""Incidents as signed HTTP posts, to a receiver that can check who sent them and when.

The address that was checked is the address that is spoken to: the name is resolved once, each
answer must be a public address (unless private ones are allowed), and the connection goes to the
first of them that can be reached.
Redirects are not followed, since the next address was not checked.
"""

from __future__ import annotations

import hmac
import ipaddress
import socket
import time
from collections.abc import Callable, Sequence
from hashlib import sha256

import httpx2
import msgspec

from tocsin.errors import DeliveryError, SettingsError
from tocsin.event import Incident, shown

__all__ = ["Webhook", "sign", "verify_signature"]

#: Receivers should refuse signatures older than this, seconds.
TOLERANCE_SECONDS = 300


def sign(secret: str, at: int, body: bytes) -> str:
    """Value of the ``Tocsin-Signature`` header: HMAC-SHA256 over ``<unix seconds>.<body>``."""
    mac = hmac.new(secret.encode(), f"{at}.".encode() + body, sha256).hexdigest()
    return f"t={at},v1={mac}"


def verify_signature(
    secret: str, header: str, body: bytes, *, now: int, tolerance: int = TOLERANCE_SECONDS
) -> bool:
    """What a receiver does: right key, unchanged body, and not a replay of an old post."""
    at = header.partition(",")[0].removeprefix("t=")
    if not at.isascii() or not at.isdigit() or abs(now - int(at)) > tolerance:
        return False
    return hmac.compare_digest(sign(secret, int(at), body), header)


class Webhook:
    """A channel that posts the incident's JSON.

    Raises SettingsError at construction when the URL cannot be posted to, DeliveryError on each
    failure afterwards.
    """

    def __init__(
        self,
        url: str,
        secret: str,
        *,
        name: str = "webhook",
        allow_private: bool = False,
        timeout: float = 10.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.name = name
        self._url = _checked(name, url, secret, allow_private)
        self._secret = secret
        self._allow_private = allow_private
        self._clock = clock
        self._timeout = timeout

    def send(self, change: str, incident: Incident, *, delivery: str) -> None:
        """Post it; anything but a 2xx answer is a failure."""
        body = msgspec.json.encode({"change": change, "incident": shown(incident)})
        host = self._url.host
        headers = {
            "Host": self._url.netloc.decode(),
            "Content-Type": "application/json",
            "User-Agent": "tocsin",
            "Tocsin-Delivery": delivery,
            "Tocsin-Signature": sign(self._secret, int(self._clock()), body),
        }
        try:
            answer = self._post(self._resolve(host), body, headers)
        except httpx2.HTTPError as error:
            raise DeliveryError(f"{self.name}: {host}: {error or type(error).__name__}") from error
        if not answer.is_success:
            what = "a redirect, which is not followed" if answer.is_redirect else "a refusal"
            raise DeliveryError(f"{self.name}: {host} answered {answer.status_code}, {what}")

    def _post(
        self, addresses: Sequence[str], body: bytes, headers: dict[str, str]
    ) -> httpx2.Response:
        """Post to the first address that can be reached, and to no other."""
        # They share the time: a name with many addresses takes no longer than one with one.
        timeout = httpx2.Timeout(self._timeout, connect=self._timeout / len(addresses))
        with httpx2.Client(timeout=timeout, follow_redirects=False, trust_env=False) as client:
            for left, address in enumerate(addresses, 1 - len(addresses)):
                try:
                    # The address in the URL, the name in Host and in TLS: what was checked is
                    # what is used.
                    return client.post(
                        self._url.copy_with(host=address),
                        content=body,
                        headers=headers,
                        extensions={"sni_hostname": self._url.host},
                    )
                except (httpx2.ConnectError, httpx2.ConnectTimeout):
                    if not left:
                        raise
        raise AssertionError("a name that resolves has an address")

    def _resolve(self, host: str) -> list[str]:
        """The addresses of *host*, each of them checked."""
        port = self._url.port or (443 if self._url.scheme == "https" else 80)
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise DeliveryError(f"{self.name}: {host}: cannot be resolved: {error}") from error
        addresses = list(dict.fromkeys(str(info[4][0]) for info in found))
        if not self._allow_private:
            # All of them: a name with one public and one private answer is an attack.
            for address in addresses:
                if not _is_public(address):
                    raise DeliveryError(
                        f"{self.name}: {host} resolves to {address}, which is not a public "
                        "address; set allow_private = true if that is meant"
                    )
        return addresses


def _checked(name: str, url: str, secret: str, allow_private: bool) -> httpx2.URL:
    try:
        parsed = httpx2.URL(url)
    except httpx2.InvalidURL as error:
        raise SettingsError(f"{name}: not a URL: {error}") from error
    if not parsed.host or parsed.userinfo:
        raise SettingsError(f"{name}: give a URL with a host and without credentials")
    if parsed.scheme != "https" and not (parsed.scheme == "http" and allow_private):
        raise SettingsError(
            f"{name}: only https is posted to; plain http needs allow_private = true"
        )
    if not secret:
        raise SettingsError(
            f"{name}: give a secret; unsigned posts cannot be told from forged ones"
        )
    return parsed


def _is_public(address: str) -> bool:
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        ip = ip.ipv4_mapped or ip.sixtofour or ip
    return ip.is_global and not ip.is_multicast
