"""What the receiver is handed to look for attacks in: request values, without the secrets.

Lines ``name=value``.  Values that are one plain word or number show nothing and stay here; those
under a secret's name never leave.  What shows most comes first, and of a long value its ends and
what shows most in it, so that nobody pads an attack out of sight.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from operator import itemgetter
from typing import Any, NamedTuple

from tocsin.event.redact import redact
from tocsin.event.sensitive import key_class
from tocsin.sdk.reading.bodies import leaves
from tocsin.sdk.reading.words import SESSION_COOKIE
from tocsin.sdk.seen import Pairs

__all__ = ["of_body", "of_headers", "of_text"]

#: Characters of one line, in a body and among the headers, and of a body that has no fields.
LONGEST, LONGEST_HEADER, LONGEST_TEXT = 1_024, 512, 4_096
#: Header lines that are looked at, and characters of their values.
MOST_HEADERS, LONGEST_VALUE = 128, 16_384
#: Crumbs of one cookie header that are looked at.
MOST_CRUMBS = 256

#: Values that are no attack in any grammar: one word, number, date, address.
_PLAIN = re.compile(r"[\w.@:+\-]{0,64}", re.A)
_ODD = re.compile(r"""[<>{}$'"`;|\\()%\r\n]|\.\./""")
_SQL = r"[ \t)]{0,8}(?:or|and|union|like|--|#|;|\|\||=)"
_SHELL = (
    r"[ \t]{0,8}(?:cat|ls|id|whoami|wget|curl|ping|sh|bash|nc|python|perl|powershell|cmd|echo|rm)\b"
)
#: What stands in attacks and hardly ever elsewhere, in small letters.  Each begins with a letter of
#: its own, so that others are passed over at once.
_TELLING = re.compile(
    r"\$\{|\$\(|\$(?:ne|gt|lt|where|regex|in)\b|%\{|#\{|\{\{|%24%7b|%3c[a-z!/]|%2e%2e|<[a-z!/?%]"
    r"|\(\)[ \t]{0,8}\{|\.\.[/\\]|jndi:|/etc/|169\.254\.|file:/|gopher:/|php:/|__\w{3,20}__"
    rf"|'{_SQL}|\"{_SQL}|`{_SQL}|union\b|select\b|sleep\b|benchmark\b|waitfor\b|xp_cmd"
    rf"|;{_SHELL}|\|{_SHELL}|&{_SHELL}|`{_SHELL}|\n{_SHELL}",
    re.A,
)

#: Line of a probe, and how little it tells: 0 tells most.
_Line = tuple[int, str]


def of_body(asked: Any, most: int, files: Sequence[str] = ()) -> str | None:
    """The values of a request's body and the names of its *files*, up to *most* characters.

    >>> of_body({"name": "bob", "note": "1' OR 1=1", "password": "' OR 1=1"}, 2048)
    "note=1' OR 1=1"
    >>> of_body({"user": {"$ne": None}}, 2048)
    '{"$ne":null'
    """
    lines: list[_Line] = []
    known: set[str] = set()
    for path, key, value in leaves(asked):
        line = _line(path, value, known)
        if line is not None and key_class(key) is None:
            lines.append(line)
    lines += [_ranked("filename", name, LONGEST) for name in files if _ODD.search(name)]
    return _best(lines, most)


def of_text(parts: Iterable[bytes], most: int) -> str | None:
    """What a body says that is neither JSON nor a form, up to *most* characters.

    >>> of_text([b"<a><password>hunter2</password>&x;</a>"], 2048)
    'body=<a><password>[redacted:password]</password>&x;</a>'
    """
    text = b"".join(parts).decode("utf-8", "replace")
    if not _ODD.search(text):
        return None
    return _ranked("body", redact(_excerpt(text, LONGEST_TEXT, _telling(text))), most)[1]


def _line(path: str, value: Any, known: set[str]) -> _Line | None:
    """The line of a value, if it is odd, or its name is, and it is not *known* already."""
    text = value if type(value) is str else "null" if value is None else str(value)
    if "$" in path or "__" in path:  # operators and prototypes, where only data should be
        odd = next((p for p in path.split(".") if p[:1] == "$" or "__" in p), None)
        if odd is not None:
            return 0, f'{{"{odd}":{text}'[:LONGEST].replace("\n", "\x0b")
    if _PLAIN.fullmatch(path) is None:
        if _PLAIN.fullmatch(text) and not _ODD.search(path):
            return None
        rank, line = _ranked(path[:256], text, LONGEST)
        return (0 if _telling(path) else min(rank, 1)), line
    if _PLAIN.fullmatch(text) or text in known:
        return None
    known.add(text)
    return _ranked(path, text, LONGEST)


def _ranked(name: str, text: str, most: int) -> _Line:
    found = _telling(text)
    line = f"{name}={_excerpt(text, most - len(name) - 1, found)}"
    rank = 0 if found is not None else 1 if _ODD.search(text) else 2
    return rank, line.replace("\n", "\x0b")


def _telling(text: str) -> re.Match[str] | None:
    # Of ASCII only the case, so that places stay; the pattern is many times slower if it folds.
    small = text.lower() if text.isascii() else text.encode(*_LOSSLESS).lower().decode(*_LOSSLESS)
    return _TELLING.search(small)


_LOSSLESS = ("utf-8", "surrogatepass")


def _excerpt(text: str, most: int, found: re.Match[str] | None) -> str:
    """*text* up to *most* characters: what is *found* of an attack, or else its ends."""
    if len(text) <= most:
        return text
    if found is not None and found.end() > most // 2:
        return _whole(text, found.start() - most // 4, found.start())[:most]
    return f"{text[: most // 2]}\n{_whole(text, len(text) + 1 - most // 2, len(text))}"


def _whole(text: str, start: int, latest: int) -> str:
    """*text* from where something begins: what is cut in two may be half a secret."""
    if start <= 0:
        return text
    found = _BEGINS.search(text, start, latest)
    return text[found.start() if found else latest :]


_BEGINS = re.compile(r"""[\s<,;'"`&|(${]""")


def _best(lines: list[_Line], most: int) -> str | None:
    """Those of the *lines* that show most, in order, up to *most* characters."""
    lines.sort(key=itemgetter(0))
    found: list[str] = []
    left = most
    for _, line in lines:
        found.append(line[:left])
        left -= len(line) + 1
        if left <= 0:
            break
    return "\n".join(found) or None


# --- headers -------------------------------------------------------------------------------------

#: Headers that are columns, where they are looked at.
_COLUMNS = frozenset({"user-agent", "referer"})
#: Those that hold a secret: of them only what is certainly none.
_SECRET = frozenset(
    """authorization proxy-authorization x-api-key api-key apikey x-auth-token x-access-token
    x-token""".split()
)
#: Those that have a grammar with brackets, quotes and semicolons in it, or without.
_RICH = re.compile(
    r"accept(?:-.*)?|access-control-.*|sec-.*|via|content-(?:type|disposition)|cache-control|forwarded"
    r"|if-(?:none-)?match|etag|baggage|tracestate|prefer|link|keep-alive|pragma|priority|te|warning"
)
_POOR = frozenset(
    """host origin range traceparent date if-modified-since if-unmodified-since if-range connection
    upgrade expect content-length content-encoding transfer-encoding""".split()
)
#: What the values of these never hold.
_NEVER_RICH = re.compile(r"[$<{'`|\\]|%(?:24|27|28|2e|3c|5c|60|7b|7c)|\.\./", re.I)
_NEVER_POOR = re.compile(r"[$<{'`|\\;()]|%(?:24|27|28|2e|3c|5c|60|7b|7c)|\.\./", re.I)
#: A crumb may hold JSON, percent-encoded.
_NEVER_CRUMB = re.compile(r"[$<'`|\\(]|#\{|jndi:|%(?:24|27|28|2e|3c|5c|60|7c)|\.\./", re.I)
#: What no credential holds.
_NO_SECRET = re.compile(
    r"[$#]\{|%24%7b|(?:<|%3c)(?:script|img|svg|iframe|!doctype|!entity)\b|\(\)[ \t]{0,8}\{"
    r"|\.\./\.\./|\bjndi:",
    re.A | re.I,
)
_BYTES: dict[re.Pattern[str], re.Pattern[bytes]] = {
    odd: re.compile(odd.pattern.encode(), odd.flags & re.I)
    for odd in (_ODD, _NEVER_RICH, _NEVER_POOR, _NEVER_CRUMB, _NO_SECRET)
}


class _Kind(NamedTuple):
    """A header, and what is odd in it, in its lines as either world has them."""

    name: str
    odd: re.Pattern[Any] | None
    is_secret: bool = False


class _Kinds(dict[Any, _Kind]):
    """Names come again with each request, and attackers must not fill the memory."""

    def __missing__(self, name: bytes | str) -> _Kind:
        if isinstance(name, str):
            kind = _kind(name.removeprefix("HTTP_").replace("_", "-").lower())
        else:
            kind = _kind(name.decode("latin-1").lower())
            kind = kind._replace(odd=kind.odd and _BYTES[kind.odd])
        if len(self) < 4_096 and len(name) < 64:
            self[name] = kind
        return kind


def _kind(name: str) -> _Kind:
    if name in _COLUMNS or name.startswith("x-amz-"):
        return _Kind(name, None)
    if name == "cookie":
        return _Kind(name, _NEVER_CRUMB)
    if name in _SECRET or key_class(name) is not None:
        return _Kind(name, _NO_SECRET, is_secret=True)
    if name in _POOR:
        return _Kind(name, _NEVER_POOR)
    return _Kind(name, _NEVER_RICH if _RICH.fullmatch(name) else _ODD)


_KINDS = _Kinds()


def of_headers(pairs: Pairs, most: int) -> str | None:
    """The values of a request's headers that are odd for what they are, up to *most* characters.

    >>> of_headers([(b"accept", b"*/*;q=1"), (b"x-version", b"${jndi:ldap://a}")], 1024)
    'x-version=${jndi:ldap://a}'
    >>> of_headers([(b"authorization", b"Bearer 5ecr3t${jndi:ldap://a}")], 1024)
    'header=${jndi:ldap://a}'
    """
    lines: list[_Line] = []
    name: Any
    value: Any
    for name, value in pairs[:MOST_HEADERS]:
        kind = _KINDS[name]
        if kind.odd is not None and kind.odd.search(value, 0, LONGEST_VALUE):
            text = value[:LONGEST_VALUE]
            lines += _of_header(
                kind, text if type(text) is str else text.decode("utf-8", "replace")
            )
    found = _best(lines, most)
    return found and redact(found)


def _of_header(kind: _Kind, value: str) -> Iterator[_Line]:
    if kind.name == "cookie":
        for part in islice(value.split(";"), MOST_CRUMBS):
            crumb = part.partition("=")[0].strip()
            if SESSION_COOKIE.search(crumb) or key_class(crumb) is not None:
                yield from _behind_secret(part)
            elif _NEVER_CRUMB.search(part):
                yield _ranked("crumb", part.strip(), LONGEST_HEADER)
    elif kind.is_secret:
        yield from _behind_secret(value)
    else:
        yield _ranked(kind.name[:64], value, LONGEST_HEADER)


def _behind_secret(value: str) -> Iterator[_Line]:
    """Of a value that is a secret, what stands behind it and is certainly none."""
    found = _NO_SECRET.search(value)
    if found is not None:  # under a secret's name it would be taken for one
        yield _ranked("header", value[found.start() :], LONGEST_HEADER)
