"""Redaction at the pace of requests: most texts are plain at a glance, or were seen before.

What :func:`tocsin.event.redact.redact` decides is the truth; here is only told, cheaply and
surely, where it would change nothing.  A test holds each short cut to that.
"""

from __future__ import annotations

import re

from tocsin.event.redact import redact
from tocsin.event.sensitive import key_class

__all__ = ["Cleaner"]

#: Texts that are remembered with what they are without their secrets.
MOST = 4_096
#: Longer ones are not: they are few, and would fill the memory.
LONGEST = 512

#: A segment of a path that is a word, and no secret's name, holds no secret; nor a short number.
_PLAIN_SEGMENT = re.compile(r"[a-z]{1,12}(?:[-_][a-z]{1,12})?|v[0-9]{1,2}", re.A)
_WORDY = re.compile(
    "pass|pwd|secret|token|key|auth|session|code|sig|pin|otp|card|iban|ssn|cred", re.I
)
_PLAIN_VALUE = re.compile(r"[a-z]{1,10}|[0-9]{1,6}|", re.A)
_NAMING = frozenset("name key header field param parameter value val values content".split())


class Cleaner:
    """Texts without their secrets.  For one thread."""

    def __init__(self) -> None:
        self._seen: dict[str, str] = {}
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
        words = self._words
        for segment in path.split("/"):
            if segment not in words and not (
                segment.isascii() and segment.isdecimal() and len(segment) <= 6
            ):
                if not _PLAIN_SEGMENT.fullmatch(segment) or _WORDY.search(segment):
                    return self.text(path)
                if len(words) < MOST:
                    words.add(segment)
        return path

    def query(self, query: str) -> str:
        """A query string without its secrets."""
        if not query:
            return query
        if len(query) <= 256:
            for part in query.split("&"):
                name, _, value = part.partition("=")
                if not (self._is_plain(name) and _PLAIN_VALUE.fullmatch(value)):
                    break
            else:
                return query
        return self.text(query)

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
