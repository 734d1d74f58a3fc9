"""Redaction at the pace of requests: most texts are plain at a glance, or were seen before.

What :func:`tocsin.event.redact.redact` decides is the truth; here is only told, cheaply and
surely, where it would change nothing.  A test holds each short cut to that.

One thing is known here and not there, since only here a text is known to be a path: what follows
``/reset/`` and its like lets somebody into an account.
"""

from __future__ import annotations

import re

from tocsin.event.redact import marker, redact
from tocsin.event.sensitive import key_class

__all__ = ["Cleaner", "is_plain_id"]

#: Texts that are remembered with what they are without their secrets.
MOST = 2_048
#: Longer ones are not: they are few, and would fill the memory.
LONGEST = 512
#: Of a longer path or query, and user agent, the beginning and the end are kept, half of it each.
LONGEST_URL = 8_192
LONGEST_AGENT = 2_048

#: A segment of a path that is a word, and no secret's name, holds no secret; nor a short number.
_PLAIN_SEGMENT = re.compile(r"[a-z]{1,12}(?:[-_][a-z]{1,12})?|v[0-9]{1,2}", re.A)
_WORDY = re.compile(
    "pass|pwd|secret|token|key|auth|session|code|sig|pin|otp|card|iban|ssn|cred"
    "|reset|verif|confirm|invit|magic|activat",
    re.I,
)
#: A segment of a path behind which a code or a token may stand, and what looks like one.
_OPENS = r"/[\w.\-]{0,32}(?:reset|verif|confirm|invit|magic|activat)[\w.\-]{0,32}"
_OPENING = re.compile(_OPENS, re.A | re.I)
_OPENED = re.compile(rf"({_OPENS}/)((?:[\w\-]{{1,40}}/)?)([\w.~=%\-]{{4,}}+)", re.A | re.I)
_GIVEN = re.compile(r"(?<![^?&])(code|otp|c|t|k|pin)=([^&#]*+)", re.I)
#: Where an identity provider sends somebody back to, and what it sends along.
_CALLBACK = re.compile(r"/[\w.\-]{0,32}(?:callback|oauth|oidc|sso)", re.A | re.I)
_GRANT = re.compile(r"(?<![^?&])(code|state)=([^&#]*+)", re.I)
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32}", re.A | re.I)
_PLAIN_VALUE = re.compile(r"[a-z]{1,10}|[0-9]{1,6}|", re.A)
_NAMING = frozenset("name key header field param parameter value val values content".split())


class Cleaner:
    """Texts without their secrets.  For one thread."""

    def __init__(self) -> None:
        self._seen: dict[str, str] = {}
        self._paths: dict[str, str] = {}
        self._names: dict[str, bool] = {}
        self._words = {""}  # segments of paths that hold no secret

    def text(self, text: str) -> str:
        """Any text without its secrets."""
        if len(text) > LONGEST:
            return redact(text)
        found = self._seen.get(text)
        if found is None:
            if len(self._seen) >= MOST:
                self._seen.clear()
            found = self._seen[text] = redact(text)
        return found

    def path(self, path: str) -> str:
        """A path without its secrets."""
        path = _shortened(path, "/", LONGEST_URL)
        words = self._words
        for segment in path.split("/"):
            if segment not in words and not (
                segment.isascii() and segment.isdecimal() and len(segment) <= 6
            ):
                if not _PLAIN_SEGMENT.fullmatch(segment) or _WORDY.search(segment):
                    return self.url(path)
                if len(words) < MOST:
                    words.add(segment)
        return path

    def url(self, url: str) -> str:
        """A path, or an address, without its secrets and what opens somebody's account."""
        if len(url) > LONGEST:
            url = _shortened(url, "&" if "?" in url else "/", LONGEST_URL)
            return redact(_closed(url))
        found = self._paths.get(url)
        if found is None:
            if len(self._paths) >= MOST:
                self._paths.clear()
            found = self._paths[url] = redact(_closed(url))
        return found

    def host(self, host: str) -> str:
        """Which host a client asked for, without the credentials that it wrote before it."""
        return self.text(host.rpartition("@")[2][:LONGEST])

    def agent(self, agent: str) -> str:
        """How a client calls itself, without secrets."""
        return self.text(_shortened(agent, " ", LONGEST_AGENT))

    def query(self, query: str, path: str = "") -> str:
        """The query string behind *path* without its secrets."""
        if not query:
            return query
        if len(query) <= 256:
            for part in query.split("&"):
                name, _, value = part.partition("=")
                if not (self._is_plain(name) and _PLAIN_VALUE.fullmatch(value)):
                    break
            else:
                return query
        query = _shortened(query, "&", LONGEST_URL)
        return self.text(_without_grants(query, path[:LONGEST_URL]))

    def _is_plain(self, name: str) -> bool:
        """Whether a value under this name is nobody's secret."""
        known = self._names.get(name)
        if known is None:
            known = (
                name.isascii()
                and name.replace("_", "").isalpha()
                and len(name) <= 24
                and name.lower() not in _NAMING
                and key_class(name) is None
                and not _WORDY.search(name)
            )
            if len(self._names) < MOST:
                self._names[name] = known
        return known


def is_plain_id(text: str) -> bool:
    """Whether the id of a request is no secret: clients may send anything as theirs.

    >>> is_plain_id("c0ffee0123456789-1f"), is_plain_id("4111111111111111")
    (True, False)
    """
    return _PLAIN_ID.fullmatch(text) is not None or redact(text) == text


#: Ids as we make them, and those of gateways.
_PLAIN_ID = re.compile(
    r"(?=[0-9]{0,9}[a-f])(?:[0-9a-f]{16}-[0-9a-f]{1,8}|[0-9a-f]{32})"
    r"|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    re.A,
)


def _shortened(text: str, between: str, most: int) -> str:
    """*text* up to *most* characters: its first and its last parts, none of them half a secret.

    Of a part that is too long itself both ends stay, with its name: it may be a secret's.
    """
    if len(text) <= most:
        return text
    side = most // 2 - 32
    begin = text[:side]
    whole, _, half = begin.rpartition(between)
    if whole and len(half) <= LONGEST:
        begin = whole
    end = text[-side:]
    if between in end:
        end = end.partition(between)[2]
    elif between == "&":
        name, equals, _ = text[text.rfind(between) + 1 :][:LONGEST].partition("=")
        end = f"{name}={end}" if equals else end
    return between.join((begin, f"[cut: {len(text)} characters]", end))


def _closed(url: str) -> str:
    """*url* without what opens an account: in its path, and in the query behind such a path.

    >>> _closed("/reset/5f3a9c"), _closed("/verify/42/493027?next=/a"), _closed("/invite/new")
    ('/reset/[redacted:token]', '/verify/42/[redacted:token]?next=/a', '/invite/new')
    """
    path, mark, query = url.partition("?")
    if _OPENING.search(path) is not None:
        path = _OPENED.sub(_without_token, path)
    return f"{path}?{_without_grants(query, path)}" if mark else path


def _without_grants(query: str, path: str) -> str:
    """The *query* without what it brings to such a *path* as opens something."""
    if _OPENING.search(path):
        query = _GIVEN.sub(_starred, query)
    return _GRANT.sub(_starred, query) if _CALLBACK.search(path) else query


def _without_token(found: re.Match[str]) -> str:
    before, last = found[2], found[3]
    if before and _is_token(before[:-1]):
        before = f"{_MARKER}/"
    return f"{found[1]}{before}{_MARKER if _is_token(last) else last}"


def _starred(found: re.Match[str]) -> str:
    return f"{found[1]}={_MARKER}" if found[2] else found[0]


def _is_token(segment: str) -> bool:
    """A code of some digits, a UUID, or letters and digits mixed as no word has them."""
    if segment.isdecimal():
        return len(segment) >= 4
    digits = sum(map(str.isdigit, segment[:64]))
    return (
        _UUID.fullmatch(segment) is not None
        or (
            len(segment) >= 6
            and digits >= 1
            and len(segment) - digits >= 1
            and not _VERSION.fullmatch(segment)
        )
        or (len(segment) >= 16 and not segment.islower() and not segment.isupper())
    )


_VERSION = re.compile(r"[a-z]{1,16}[-_]?v?[0-9]{1,2}", re.A | re.I)
_MARKER = marker("token")
