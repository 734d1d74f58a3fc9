"""Regular expressions in time linear in the text, whatever rule or text an attacker brings.

RE2 runs a pattern; where it refuses one (a repetition above 1,000, say), Hyperscan does, whose
automata are linear as well.  What both refuse, that is lookaround, backreferences and possessive
quantifiers, is refused as a rule.  So the dialect is RE2's, with three habits of Python's and of
Sigma's kept: ``$`` also matches before a final newline, ``\\Z`` is the very end, and ``\\u00e4``
is a character.  ``\\w``, ``\\d``, ``\\s`` and ``\\b`` know ASCII only.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import hyperscan

__all__ = ["Refused", "compiled", "finder"]

_re2: Any
try:
    import re2  # type: ignore[import-untyped]  # it has no stubs

    _re2 = re2
except ImportError:  # it comes with pySigma where there is a wheel of it; Hyperscan does without
    _re2 = None

_LIMIT = 20_000  #: characters of a pattern


class Refused(ValueError):
    """The pattern cannot be run in linear time."""


@lru_cache(maxsize=4096)
def finder(pattern: str, flags: str = "") -> Callable[[str], bool]:
    """A function that tells whether *pattern* is found anywhere in a text.

    *flags* is any of ``i m s``.

    >>> finder("jndi:(ldap|rmi)", "i")("${JNDI:LDAP://x}")
    True
    """
    if len(pattern) > _LIMIT:
        raise Refused(f"is longer than {_LIMIT:,} characters")
    plain = _translate(pattern, multiline="m" in flags or bool(_INLINE_M.search(pattern)))
    return _by_re2(plain, flags) or _by_hyperscan(plain, flags)


def compiled(pattern: str) -> Any:
    """RE2's object for *pattern*, ``None`` when it refuses it; unlike the binding, in silence."""
    if _re2 is None:
        return None
    options = _re2.Options()
    options.log_errors = False
    options.never_capture = True
    try:
        return _re2.compile(pattern, options)
    except _re2.error:
        return None


def _by_re2(pattern: str, flags: str) -> Callable[[str], bool] | None:
    found = compiled(f"(?{flags}){pattern}" if flags else pattern)
    if found is None:
        return None
    search = found.search
    return lambda text: search(text) is not None


def _by_hyperscan(pattern: str, flags: str) -> Callable[[str], bool]:
    mode = hyperscan.HS_FLAG_UTF8 | hyperscan.HS_FLAG_ALLOWEMPTY
    mode |= hyperscan.HS_FLAG_CASELESS if "i" in flags else 0
    mode |= hyperscan.HS_FLAG_MULTILINE if "m" in flags else 0
    mode |= hyperscan.HS_FLAG_DOTALL if "s" in flags else 0
    database = hyperscan.Database()
    try:
        database.compile(expressions=[pattern.encode()], ids=[0], flags=[mode])
    except hyperscan.error as error:
        why = str(error).rstrip(".").lower()
        raise Refused(f"can be run by no linear engine ({why})") from error

    def search(text: str) -> bool:
        hits: list[int] = []

        def stop(*match: Any) -> bool:
            hits.append(match[2])
            return True

        try:
            database.scan(text.encode(), match_event_handler=stop)
        except hyperscan.ScanTerminated:
            return True
        return bool(hits)

    return search


_INLINE_M = re.compile(r"\(\?[a-zA-Z]*m")
_TOKEN = re.compile(
    r"\\u(?P<four>[0-9a-fA-F]{4})"
    r"|\\U(?P<eight>[0-9a-fA-F]{8})"
    r"|(?P<end>\\Z)"
    r"|\\."
    r"|(?P<open>\[\^?\]?)"
    r"|(?P<close>\])"
    r"|(?P<dollar>\$)",
    re.DOTALL,
)


def _translate(pattern: str, *, multiline: bool) -> str:
    """*pattern* with Python's ways of saying things in RE2's words."""
    inside = False

    def replace(token: re.Match[str]) -> str:
        nonlocal inside
        text = token[0]
        match token.lastgroup:
            case "four" | "eight":
                return f"\\x{{{token[token.lastgroup]}}}"
            case "end":
                return text if inside else r"\z"
            case "open":
                if inside:  # a bracket within a class is itself; one that closes may follow it
                    inside = not text.endswith("]")
                    return "\\" + text
                inside = True
            case "close":
                inside = False
            case "dollar" if not (inside or multiline):
                return r"(?:\n?\z)"
            case _:
                pass
        return text

    return _TOKEN.sub(replace, pattern)
