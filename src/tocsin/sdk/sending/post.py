"""One receiver, and how to speak to it: POST, keep-alive, no redirects, TLS with its checks."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import re
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from tocsin.errors import SettingsError
from tocsin.sdk.options import Options
from tocsin.sdk.sending.ship import Answer

__all__ = ["Post", "Target", "target"]

#: Seconds that a receiver may tell us to stay away, at most.
LONGEST_WAIT = 300.0

_ANSWER_BYTES = 64 << 10
_KEY = re.compile(r"[\x21-\x7e]{1,1000}")


class Target(Struct, frozen=True):
    """Where to, taken apart."""

    tls: bool
    host: str
    port: int
    path: str

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"


def target(url: str, key: str | None, *, insecure: bool) -> Target:
    """The receiver at *url*; SettingsError, without the URL's own secrets, when there is none."""
    try:
        parts = urlsplit(url.strip())
        host, port = parts.hostname, parts.port
    except ValueError:
        raise SettingsError(
            "TOCSIN_URL is no address; give one such as https://host:7461"
        ) from None
    if parts.scheme not in ("http", "https") or not host or parts.username is not None:
        raise SettingsError("TOCSIN_URL is no address; give one such as https://host:7461")
    if not host.isascii() or not parts.path.isascii() or not parts.path.isprintable():
        raise SettingsError("TOCSIN_URL has letters that no address has; write it in ASCII")
    if key is None or not key.strip():
        raise SettingsError(
            "TOCSIN_URL is set and TOCSIN_KEY is not; make a key with tocsin token create "
            "--source NAME"
        )
    if not _KEY.fullmatch(key.strip()):
        raise SettingsError("TOCSIN_KEY is no key; make one with tocsin token create --source NAME")
    tls = parts.scheme == "https"
    if not tls and not insecure and not _is_loopback(host):
        raise SettingsError(
            f"TOCSIN_URL: http://{host} would carry the key in the clear; use https, or set "
            "TOCSIN_INSECURE=yes"
        )
    path = parts.path.rstrip("/").removesuffix("/v1/events").replace(" ", "%20") + "/v1/events"
    return Target(tls, host, port or (443 if tls else 80), path)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class _Body(Struct):
    """The parts of an answer's body that are used here."""

    accepted: int | None = None
    line: int | None = None
    detail: str = ""


class Post:
    """Calls to one receiver, one after the other, over one connection."""

    def __init__(
        self, target: Target, options: Options, *, now: Callable[[], float] = time.time
    ) -> None:
        self._target, self._options, self._now = target, options, now
        self._connection: HTTPConnection | None = None
        self._tls: ssl.SSLContext | None = None
        self._headers = {
            "authorization": f"Bearer {(options.key or '').strip()}",
            "content-type": "application/x-ndjson",
            "content-encoding": "gzip",
            "user-agent": "tocsin-sdk",
            "tocsin-parser": "tocsin",
            # A line that is not quite what it should be is kept, with a note of what is wrong.
            "tocsin-on-error": "keep",
        }

    def __call__(self, batch_id: str, body: bytes) -> Answer:
        """Send *body*, packed already.  OSError or HTTPException: nobody knows what came of it."""
        headers = {**self._headers, "tocsin-batch-id": batch_id}
        if self._connection is not None:
            # One that was kept may have been closed from the other side while it idled.
            with contextlib.suppress(ConnectionError, HTTPException):
                return self._ask(headers, body)
        return self._ask(headers, body)

    def hang_up(self) -> None:
        """End a call that goes on in another thread: it fails there.  For one that never ends."""
        connection = self._connection
        if connection is not None and connection.sock is not None:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection; the next call opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.close()

    def abandon(self) -> None:
        """In a forked child: close our copy of the socket, say nothing on it."""
        connection, self._connection = self._connection, None
        if connection is not None and connection.sock is not None:
            _ABANDONED.append(connection)
            with contextlib.suppress(OSError):
                os.close(connection.sock.detach())

    def _ask(self, headers: Mapping[str, str], body: bytes) -> Answer:
        clean = False
        try:
            if self._connection is None:
                self._connection = self._connected()
            connection = self._connection
            connection.request("POST", self._target.path, body=body, headers=headers)
            with connection.getresponse() as response:
                content = response.read(_ANSWER_BYTES)
                clean = not response.will_close and not response.read(1)
            return _answer(response, content, self._now())
        except ssl.SSLError:
            self._tls = None  # the files may have been renewed
            raise
        finally:
            if not clean:
                self.close()

    def _connected(self) -> HTTPConnection:
        to, timeout = self._target, self._options.timeout
        if not to.tls:
            return HTTPConnection(to.host, to.port, timeout=timeout)
        return HTTPSConnection(to.host, to.port, timeout=timeout, context=self._context())

    def _context(self) -> ssl.SSLContext:
        if self._tls is not None:
            return self._tls
        options = self._options
        context = ssl.create_default_context(cafile=options.ca)
        if options.certificate is not None:
            # A password that is asked for on the terminal would wait there for ever.
            context.load_cert_chain(options.certificate, options.certificate_key, lambda: "")
        self._tls = context
        return context


#: Connections of a forked child's parent.  Kept, because their buffers may be locked by a thread
#: that does not exist here, and who clears them away would wait for it.
_ABANDONED: list[HTTPConnection] = []


def _answer(response: HTTPResponse, content: bytes, now: float) -> Answer:
    try:
        body = msgspec.json.decode(content, type=_Body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        body = _Body()
    return Answer(
        status=response.status,
        retry_after=_seconds(response.getheader("retry-after", ""), now),
        taken=200 <= response.status < 300 and body.accepted is not None,
        line=body.line,
        detail=body.detail or response.reason,
    )


def _seconds(text: str, now: float) -> float:
    """What ``Retry-After`` asks for: a number of seconds, or a date.

    >>> _seconds("7", 0.0), _seconds("Thu, 01 Jan 1970 00:01:00 GMT", 0.0), _seconds("soon", 0.0)
    (7.0, 60.0, 0.0)
    """
    text = text.strip()
    if text.isascii() and text.isdecimal():
        return min(float(text[:9]), LONGEST_WAIT)
    try:
        seconds = parsedate_to_datetime(text).timestamp() - now
    except (ValueError, TypeError, OverflowError, IndexError):
        return 0.0
    return min(max(seconds, 0.0), LONGEST_WAIT)
