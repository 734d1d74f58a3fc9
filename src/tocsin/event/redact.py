"""Take secrets out of text and of structured values, and say what stood there: ``[redacted:jwt]``.

Two ways of knowing a secret: by the *name* in front of it (``password=``, ``Authorization:``, a
JSON key at any depth) and by its *shape* (a JWT, a card number that passes Luhn, a private key).
Both look at the text as it stands and as it reads with its escapes undone (``%41``, ``\\x41``,
``\\u0041``, ``\\"``), three layers deep, and cut the original where the reading shows a secret.

Promises: never raises; time is linear in the text; what was redacted stays as it is when redacted
again; everything that is not a secret stays byte for byte.  Standard library only: the code inside
a user's app uses it too.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import islice
from types import MappingProxyType
from typing import Any, NamedTuple

from tocsin.event.sensitive import (
    DISCORD,
    IBAN_START,
    NAMING,
    NUMBERS,
    SHAPES,
    card,
    harmless,
    iban_end,
    key_class,
    looks_random,
    may_have_number,
    national_id,
)

__all__ = [
    "ESCAPE",
    "FINDERS",
    "KEY_LINE",
    "LAYERS",
    "PASSES",
    "marker",
    "redact",
    "redact_json",
    "redact_line",
    "redact_once",
    "redact_value",
    "unescape",
]

#: How many layers of escapes are undone to look beneath them.
LAYERS = 3

#: A text with more secrets than this is a trap and goes as a whole.
_MOST = 128

#: A text with more escapes than this that also holds a secret goes as a whole: finding each place
#: again beneath three layers of escapes is the costly part, and only an attacker writes such texts.
_MOST_ESCAPES = 512

#: After this many turns that still find something, the text is a trap and goes as a whole.
PASSES = 6


class _Span(NamedTuple):
    start: int
    end: int
    kind: str
    quote: bool = False  # a bare JSON value: keep the document valid


def marker(kind: str) -> str:
    """What stands where a secret of class *kind* stood."""
    return f"[redacted:{kind}]"


_MARKER = re.compile(r"\[redacted:[a-z0-9-]{1,32}\]", re.A)
_ONLY_MARKERS = re.compile(
    r"(?:(?:[\\\"'\s,\]{}]|\[(?!redacted:))*+\[redacted:[a-z0-9-]{1,32}\])++[\\\"'\s,\[\]{}]*+",
    re.A,
)


def redact(text: str) -> str:
    """*text* without its secrets.

    >>> redact("GET /login?user=bob&password=hunter2 HTTP/1.1")
    'GET /login?user=bob&password=[redacted:password] HTTP/1.1'
    >>> redact('{"card": "4111 1111 1111 1111", "order": 4711}')
    '{"card": "[redacted:card]", "order": 4711}'
    >>> redact("the token has expired")
    'the token has expired'
    """
    short = len(text) <= _SHORT
    if short and (text in _CLEAN or _OBVIOUS.fullmatch(text)):
        return text
    for turn in range(PASSES):
        clean = redact_once(text)
        if clean is text:
            if short and not turn:
                _remember(text)
            return text
        text = clean
    return marker("text")


def redact_once(text: str, finders: Collection[str] | None = None) -> str:
    """One turn of :func:`redact`, which takes them until one changes nothing; then the same object.

    With *finders*, only what these find is cut: for a caller who knows that no other finds
    anything, as from ``sensitive.HINTS``.
    """
    spans = _all_spans(text, FINDERS if finders is None else finders)
    return _cut(text, spans) if spans else text


def _remember(text: str) -> None:
    """Logs say the same again and again: a text without a secret need not be looked at twice."""
    if len(_CLEAN) >= _MOST_CLEAN:
        _CLEAN.clear()
    _CLEAN.add(text)


_SHORT = 256
_MOST_CLEAN = 8192
_CLEAN: set[str] = set()

#: A word, a number, a time, an address, and nothing else, is no secret.  (Where it stands under a
#: secret's name, the caller knows.)
_OBVIOUS = re.compile(
    r"[A-Za-z]{0,16}|-?[0-9]{1,7}(?:\.[0-9]{1,6})?|[0-9]{1,3}(?:\.[0-9]{1,3}){3}"
    r"|[12][0-9]{3}-[01][0-9]-[0-3][0-9](?:[T ][0-9]{2}:[0-9]{2}:[0-9]{2}"
    r"(?:\.[0-9]{1,9})?(?:Z|[+-][0-9]{2}:?[0-9]{2})?)?",
    re.A,
)


def redact_line(text: str) -> str:
    """As :func:`redact`, for a line of a log: one that is all base64 is a line of a printed key.

    >>> redact_line("q83vASNFZ4mrze8BI0VniavN7wEjRWeJq83vASNFZ4mrze8BI0VniavN7wEjRWeJ")
    '[redacted:key-material]'
    """
    if len(text) < 512 and _KEY_LINE.match(text) and all(p.search(text) for p in _MIXED):
        return marker("key-material")
    return redact(text)


def redact_value(value: Any) -> Any:
    """A JSON-like *value* without its secrets, at any depth; the same object when it had none."""
    try:
        return _walk(value, None)
    except RecursionError:
        return marker("too-deep")


def redact_json(text: str) -> str:
    """A JSON document without its secrets; still a JSON document.  Text that is none: as text."""
    try:
        value = json.loads(text)
        clean = _walk(value, None)
        if clean is value:
            return text
        return json.dumps(clean, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except (ValueError, RecursionError):
        return redact(text)


# --- structured values ---------------------------------------------------------------------------


def _walk(value: Any, kind: str | None) -> Any:
    """*value* cleaned; with *kind* it stands under a sensitive key, and every leaf goes."""
    if isinstance(value, str):
        return _leaf(value, kind)
    if isinstance(value, dict):
        return _walk_dict(value, kind)
    if isinstance(value, (list, tuple)):
        items = _walk_items(value, kind)
        return (
            value if all(a is b for a, b in zip(items, value, strict=True)) else type(value)(items)
        )
    if value is None or isinstance(value, bool):
        return value
    if kind is not None:
        return marker(kind)
    if isinstance(value, float) and value.is_integer() and 10**10 < abs(value) < 10**19:
        return value if (text := str(int(value))) == redact(text) else redact(text)
    if isinstance(value, int) and len(text := str(value)) >= 11:
        clean = redact(text)
        return value if clean == text else clean
    return value


def _walk_items(items: Sequence[Any], kind: str | None) -> list[Any]:
    """A list cleaned: what follows the name of a secret in it is one."""
    clean: list[Any] = []
    new: Any
    paired = bool(items) and all(_is_pair(item) for item in items)
    program = any(isinstance(item, str) and _CLIENT.search(item) for item in items)
    caller = any(isinstance(item, str) and _CALLER.search(item) for item in items)
    flat = kind is None and _is_flat_headers(items)
    before: Any = None
    for n, item in enumerate(items):
        if paired and kind is None and (pair := _name_class(item[0])) is not None:
            new = [item[0], _walk_as(item[1], pair, kind)]
            clean.append(item if new[1] is item[1] else type(item)(new))
        elif kind is None and isinstance(item, str) and (named := _option_class(before)):
            clean.append(item if _OPTION.fullmatch(item) else _leaf(item, named))
        elif flat and n % 2 and (said := _name_class(before)) is not None:
            clean.append(_walk_as(item, said, kind))
        elif caller and before in ("-u", "--user") and isinstance(item, str) and ":" in item:
            clean.append(item.partition(":")[0] + ":" + marker("password"))
        elif program and before == "-p" and isinstance(item, str):
            clean.append(marker("password"))
        elif program and isinstance(item, str) and item[:2] == "-p" and item[2:]:
            masked = _ONLY_MARKERS.fullmatch(item, 2)
            clean.append(item if masked else "-p" + marker("password"))
        else:
            clean.append(_walk(item, kind))
        before = item
    return clean


def _is_pair(item: Any) -> bool:
    return isinstance(item, (list, tuple)) and len(item) == 2 and isinstance(item[0], str)


def _option_class(item: Any) -> str | None:
    """Class of the secret that follows ``--password`` in a list of arguments."""
    if not isinstance(item, str) or _OPTION.fullmatch(item) is None:
        return None
    found = key_class(item)
    return found[0] if found is not None and not found[1] else None


def _is_flat_headers(items: Sequence[Any]) -> bool:
    """``["Host", "a", "X-Api-Key", "..."]``: names and values by turns."""
    names = items[::2]
    return (
        len(items) >= 4
        and len(items) % 2 == 0
        and all(isinstance(name, str) and _HEADER.fullmatch(name) for name in names)
        and any("-" in name for name in names)
    )


_HEADER = re.compile(r"[A-Za-z][A-Za-z0-9_\-]{0,63}", re.A)
_CALLER = re.compile(r"(?:\A|[/\\])(?:curl|wget|http|https)(?:\.exe)?\Z", re.A)
_OPTION = re.compile(r"--[A-Za-z][\w.\-]{0,127}|-[A-Za-z]", re.A)
_CLIENT = re.compile(r"(?:\A|[/\\])(?:mysql|mariadb|sshpass)[a-z_\-]{0,16}(?:\.exe)?\Z", re.A)


def _name_class(name: Any) -> tuple[str, bool] | None:
    """Class of what is called *name*, if that can be a name and not a sentence."""
    if not isinstance(name, str) or _NAME.fullmatch(name) is None:
        return None
    return key_class(name)


_NAME = re.compile(r"[A-Za-z0-9_.\- ]{1,128}", re.A)
_NAMES = frozenset("name key header field param parameter k".split())
_VALUES = frozenset("value val values content v".split())
_SPELLED = frozenset(s for v in _VALUES for s in (v, v.upper(), v.title()))


def _named_by(value: dict[Any, Any]) -> tuple[str, bool] | None:
    """Class of the value in ``{"name": "X-Token", "value": ...}``."""
    keys = {key.lower(): key for key in value if isinstance(key, str)}
    if not _VALUES.intersection(keys):
        return None
    for name in _NAMES.intersection(keys):
        found = _name_class(value[keys[name]])
        if found is not None:
            return found
    return None


def _named_apart(value: dict[Any, Any]) -> dict[str, tuple[str, bool]]:
    """Classes of values in ``{"f.name": "password", "f.value": "..."}``, by their keys."""
    found: dict[str, tuple[str, bool]] = {}
    for key in value:
        if type(key) is str and key.endswith(_DOTTED_VALUES):
            prefix = key.rpartition(".")[0]
            for name in _NAMES:
                said = _name_class(value.get(f"{prefix}.{name}"))
                if said is not None:
                    found[key] = said
    return found


_DOTTED_VALUES = tuple(f".{value}" for value in sorted(_VALUES))


def _walk_as(item: Any, found: tuple[str, bool], kind: str | None) -> Any:
    """*item* cleaned as what stands under a name of class *found*."""
    inner, picky = found
    if not picky:
        return _walk(item, inner)
    hit = isinstance(item, str) and looks_random(item, 16)
    return _leaf(item, inner) if hit else _walk(item, kind)


def _walk_dict(value: dict[Any, Any], kind: str | None) -> dict[Any, Any]:
    clean: dict[Any, Any] = {}
    changed = False
    named = _named_by(value) if kind is None and not _SPELLED.isdisjoint(value) else None
    apart = _named_apart(value) if kind is None else {}
    sudo = value.keys() >= _SUDO_KEYS
    for key, item in value.items():
        if sudo and kind is None and key == "PWD" and str(item).startswith("/"):
            clean[key] = item
            continue
        if kind is None and named is None and key not in apart and _is_obvious(key, item):
            clean[key if key not in clean else _free(clean, key)] = item
            continue
        name = _free(clean, _key(key, kind))
        if named is not None and isinstance(key, str) and key.lower() in _VALUES:
            new = _walk_as(item, named, kind)
        elif key in apart:
            new = _walk_as(item, apart[key], kind)
        else:
            new = _walk_item(key, item, kind)
        changed = changed or new is not item or (name is not key and name != key)
        clean[name] = new
    return clean if changed else value


def _is_obvious(key: Any, item: Any) -> bool:
    """Whether there is certainly no secret in this: a harmless name, and a small value under it."""
    if type(key) is not str or (key not in _PLAIN_KEYS and not _is_plain_key(key)):
        return False
    held = type(item)
    if held is str:
        return len(item) <= _SHORT and (item in _CLEAN or _OBVIOUS.fullmatch(item) is not None)
    if held is int or held is float:
        return bool(-(10**9) < item < 10**9)
    return held is bool or item is None


def _is_plain_key(key: str) -> bool:
    """Whether *key* names no secret and is none; most do and are, and then it is remembered."""
    if len(key) > 64 or key_class(key.strip("\"':= \t")) or redact(key) != key:
        return False
    if len(_PLAIN_KEYS) >= _MOST_CLEAN:
        _PLAIN_KEYS.clear()
    _PLAIN_KEYS.add(key)
    return True


_PLAIN_KEYS: set[str] = set()


def _key(key: Any, kind: str | None) -> Any:
    """A key cleaned; under a sensitive one, what is no plain word may be the secret itself."""
    if not isinstance(key, str):
        return key
    if kind is not None and not _ONLY_MARKERS.match(key) and not _WORD.fullmatch(key):
        return marker(kind)
    return redact(key)


_WORD = re.compile(r"[A-Za-z]{1,24}(?:[_.\-][A-Za-z]{1,24}){0,4}", re.A)


def _walk_item(key: Any, item: Any, kind: str | None) -> Any:
    found = key_class(key.strip("\"':= \t")) if isinstance(key, str) else None
    if found is None:
        return _walk(item, kind)
    inner, picky = found
    if picky:
        return _walk_as(item, found, kind)
    if inner in _CONTAINERS and isinstance(item, dict):
        return _walk_dict(_mask(item, inner), kind)
    if _is_count(key, item):
        return _walk(item, kind)
    return _walk(item, inner)


#: A key of these classes may hold an object that merely *describes* a session or a login.
_CONTAINERS = frozenset({"session", "authorization", "token", "card", "health"})


def _mask(item: dict[Any, Any], kind: str) -> dict[Any, Any]:
    """The object under ``session`` or ``token``, without what in it is the session or the token."""
    odd = {k for k in item if isinstance(k, str) and looks_random(k, 16)}
    if not odd and not any(
        k in _ITSELF and v not in (None, "") and not _is_marker(v) for k, v in item.items()
    ):
        return item
    clean: dict[Any, Any] = {}
    for k, v in item.items():
        clean[_free(clean, marker(kind) if k in odd else k)] = _walk(v, kind) if k in _ITSELF else v
    return clean


def _free(taken: dict[Any, Any], key: Any) -> Any:
    """*key*, or a longer one: of two secrets that stood as keys neither may push the other out."""
    while key in taken:
        key += "+"
    return key


_ITSELF = frozenset({"id", "value", "data", "key", "number", "raw"})


def _is_marker(value: Any) -> bool:
    return isinstance(value, str) and _MARKER.fullmatch(value) is not None


def _is_count(key: str, item: Any) -> bool:
    """``max_tokens: 512`` counts, ``token: 512`` does not."""
    number = isinstance(item, (int, float)) or (isinstance(item, str) and item.isdigit())
    return number and key.lower().endswith(("tokens", "secrets", "passwords", "sessions"))


def _leaf(text: str, kind: str | None) -> str:
    if kind is None or harmless(text) or _ONLY_MARKERS.fullmatch(text):
        return redact(text)
    return marker(kind)


# --- text ----------------------------------------------------------------------------------------

#: An escape of a character, in the dialects that logs use.
ESCAPE = (
    r"&(?:quot|apos|amp|lt|gt|#[0-9]{2,3}|#x[0-9A-Fa-f]{2});|"
    r"%(?:EF|ef)%(?:BC|bc)%[89ABab][0-9A-Fa-f]|%(?:EF|ef)%(?:BD|bd)%[89][0-9A-Fa-f]|"
    r"%[0-9A-Fa-f][0-9A-Fa-f]|\\(?:x[0-9A-Fa-f][0-9A-Fa-f]|u[0-9A-Fa-f]{4}|[\"'/\\bfnrt])"
)
_ESCAPE = re.compile(ESCAPE, re.A)
_PLAIN = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}


class _Chars(dict[str, str]):
    """Each escape's character, worked out when it is first seen."""

    def __missing__(self, escape: str) -> str:
        if len(escape) == 9:  # in the wide forms of ASCII
            char = bytes.fromhex(escape.replace("%", "")).decode().translate(_NARROW)
        elif escape[0] == "%":
            char = chr(int(escape[1:], 16))
        elif escape[0] == "&":
            char = _entity(escape[1:-1])
        elif len(escape) > 2:
            code = int(escape[2:], 16)
            char = "\ufffd" if 0xD800 <= code < 0xE000 else chr(code)  # half a character is none
        else:
            char = _PLAIN.get(escape[1], escape[1])
        if len(escape) < 5:  # the rare ones are not kept: there are too many
            self[escape] = char
        return char


def _entity(name: str) -> str:
    if name[0] != "#":
        return _ENTITIES[name]
    return chr(int(name[2:], 16) if name[1] == "x" else int(name[1:]))


_ENTITIES = {"quot": '"', "apos": "'", "amp": "&", "lt": "<", "gt": ">"}
_CHARS = _Chars()
_PARTED = re.compile(f"({ESCAPE})", re.A)


def unescape(text: str) -> str:
    """*text* with one layer of escapes undone, byte by byte (good for looking, not for keeping)."""
    # Cut and joined in C: a call of Python for each escape is what a hostile text would buy.
    parts = _PARTED.split(text)
    parts[1::2] = map(_CHARS.__getitem__, parts[1::2])
    return "".join(parts)


def _places(text: str, origin: list[int] | range) -> list[int]:
    """Where each character of ``unescape(text)`` stood in the outermost text."""
    places: list[int] = []
    at = 0
    for found in _ESCAPE.finditer(text):
        places.extend(origin[at : found.start() + 1])
        at = found.end()
    places.extend(origin[at:])
    return places


def _all_spans(text: str, finders: Collection[str]) -> list[_Span]:
    """Everything to cut from *text*, in order, without overlaps."""
    spans = _open_spans(text, text, [], finders)
    if not text.isascii() and (narrow := text.translate(_NARROW)) != text:
        spans += _open_spans(text, narrow, [], finders)  # character by character the same places
    views = [text]
    crowded = _crowded(text)
    for _ in range(LAYERS):
        if (spans and crowded) or _ESCAPE.search(views[-1]) is None:
            break
        views.append(unescape(views[-1]))
        crowded = crowded or _crowded(views[-1])
        if not crowded:
            spans += _open_spans(text, views[-1], views[:-1], finders)
        elif any(not _done(views[-1], span) for span in _spans(views[-1], finders)):
            return [_Span(0, len(text), "text")]
    return [_Span(0, len(text), "text")] if spans and crowded else _merge(spans)


#: The wide forms of ASCII, with which East Asian texts write ``：`` and ``＝``.
_NARROW = {0xFF01 + n: 0x21 + n for n in range(94)} | {0x3000: 0x20}


def _crowded(text: str) -> bool:
    """Whether *text* has more escapes than are looked for one by one."""
    if text.count("%") + text.count("\\") + text.count(";") <= _MOST_ESCAPES:
        return False
    return next(islice(_ESCAPE.finditer(text), _MOST_ESCAPES, None), None) is not None


def _open_spans(text: str, view: str, beneath: list[str], finders: Collection[str]) -> list[_Span]:
    """Spans of *view* as places in *text*, less those that are redacted already."""
    spans = list(islice(_spans(view, finders), _MOST + 1))
    if len(spans) > _MOST:
        return [_Span(0, len(text), "text")]
    if spans and beneath:
        origin: list[int] | range = range(len(text) + 1)
        for lower in beneath:
            origin = _places(lower, origin)
        spans = [s._replace(start=origin[s.start], end=origin[s.end]) for s in spans]
    return [s for s in spans if not _done(text, s)]


def _done(text: str, span: _Span) -> bool:
    return span.start >= span.end or bool(_ONLY_MARKERS.fullmatch(text, span.start, span.end))


def _merge(spans: list[_Span]) -> list[_Span]:
    spans.sort(key=lambda s: (s.start, -s.end))
    merged: list[_Span] = []
    for span in spans:
        if merged and span.start < merged[-1].end:
            last = merged[-1]
            if span.end > last.end:
                merged[-1] = last._replace(end=span.end, quote=last.quote and span.quote)
        else:
            merged.append(span)
    return merged


def _cut(text: str, spans: list[_Span]) -> str:
    out: list[str] = []
    at = 0
    for start, end, kind, quote in spans:
        start, end = _whole_markers(text, start, end, at)
        out.append(text[at:start])
        out.append(f'"{marker(kind)}"' if quote else marker(kind))
        at = max(at, end)
    out.append(text[at:])
    return "".join(out)


def _whole_markers(text: str, start: int, end: int, floor: int) -> tuple[int, int]:
    """Widen a cut that would leave half a marker standing."""
    for found in _MARKER.finditer(text, max(floor, start - 48), min(len(text), end + 48)):
        if found.start() < start < found.end():
            start = found.start()
        if found.start() < end < found.end():
            end = found.end()
    return max(start, floor), end


def _spans(text: str, finders: Collection[str]) -> Iterator[_Span]:
    for name, find in _FINDERS.items():
        if name in finders:
            yield from find(text)


# --- by name -------------------------------------------------------------------------------------

_PAIR = re.compile(
    r"(?<![A-Za-z0-9_.\-\x80-\U0010ffff])"
    r"([A-Za-z0-9_.\-\x80-\U0010ffff]++)((?:[\\\"'\]]|\[\d{0,6}\])*+)([ \t+\x00]*+)(=>|->|:=|==?|:)"
    r"(?![:=])",
    re.A,
)
_BEFORE = re.compile(r"(?:[A-Za-z0-9]++ ){1,2}$", re.A)
_FLAG = re.compile(r"(?<![\w\-])--([A-Za-z][\w.\-]*+)[ \t]++(?![\-|&;])(\S++)", re.A)
_SPACE = re.compile(r"[ \t]*+", re.A)


def _named(text: str) -> Iterator[_Span]:
    if not _any(text, ("=", ":", "--", "->")):
        return
    at = dull = 0  # up to *dull* stands a value that was looked at and does not look random
    while (found := _PAIR.search(text, at)) is not None:
        at = found.end()
        hit = _class_of(text, found)
        if hit is None or (hit[1] and at < dull):
            continue
        kind, picky = hit
        span = _value(text, found, kind)
        if span is None:
            continue
        if picky and not (
            looks_random(text[span.start : span.end], 16) or _is_granted(text, found, span)
        ):
            dull = span.end
            continue
        yield span
        at = max(at, span.end)
    if "--" in text:
        yield from _flags(text)


#: What in a query says of the value under a name that it opens something: the two halves of
#: OAuth's answer, and what a shared access signature allows.
_BESIDE = {
    "code": re.compile(r"(?:\A|[?&])state=", re.A | re.I),
    "state": re.compile(r"(?:\A|[?&])code=", re.A | re.I),
    "sig": re.compile(r"(?:\A|[?&])s[epv]=", re.A | re.I),
}
_WORD_OR_NUMBER = re.compile(r"[0-9]++|[A-Za-z]?[a-z_\-]{0,15}|[A-Z_\-]{0,16}", re.A)


def _is_granted(text: str, found: re.Match[str], span: _Span) -> bool:
    """Whether the value of the query's pair *found* is one to open something with."""
    name = found[1].lower()
    if name not in _BESIDE or span.end - span.start < 8:
        return False
    if text[found.start() - 1 : found.start()] not in ("", "?", "&"):
        return False
    return (
        _WORD_OR_NUMBER.fullmatch(text, span.start, span.end) is None
        and _BESIDE[name].search(text) is not None
    )


def _class_of(text: str, found: re.Match[str]) -> tuple[str, bool] | None:
    hit = key_class(found[1])
    at = found.start()
    if (hit is None or hit[1]) and at and text[at - 1] == " ":
        before = _BEFORE.search(text, max(0, found.start() - 24), found.start())
        if before is not None:
            return key_class(before[0] + found[1]) or hit
    return hit


def _flags(text: str) -> Iterator[_Span]:
    for found in _FLAG.finditer(text):
        hit = key_class(found[1])
        if hit is not None and not hit[1] and not harmless(found[2]):
            yield _Span(*found.span(2), hit[0])


_ELEMENT = re.compile(
    r"<([A-Za-z_][\w.:\-]{0,127})(?:[\s][^<>]{0,1024})?(?<!/)>(?:<!\[CDATA\[)?([^<]*+)", re.A
)


def _elements(text: str) -> Iterator[_Span]:
    """``<password>...</password>``, whatever is in it."""
    if "<" not in text:
        return
    at = 0
    while (found := _ELEMENT.search(text, at)) is not None:
        at = found.end()
        hit = key_class(found[1].rpartition(":")[2])
        if hit is None:
            continue
        kind, picky = hit
        start, end = found.span(2)
        if not found[2].strip() and kind not in _CONTAINERS:
            close = text.find(f"</{found[1]}", end, end + 4096)
            end = max(end, close)
        end = start + len(text[start:end].removesuffix("]]>").rstrip())
        start = end - len(text[start:end].lstrip())
        value = text[start:end]
        if not value or harmless(value) or (picky and not looks_random(value, 16)):
            continue
        yield _Span(start, end, kind)
        at = max(at, end)


_WRITTEN_OUT = re.compile(
    rf"(?<![A-Za-z0-9]){NAMING}[\\\"']*+[ \t\r\n]*+[:=][ \t\r\n]*+[\\\"']++"
    r"([A-Za-z0-9_.\- ]{1,128}+)[\\\"']++[ \t\r\n,;]*+[\\\"']*+"
    r"(?:value|val|values|content)[\\\"']*+[ \t\r\n]*+([:=])[ \t\r\n]*+(?=[\\\"'])",
    re.A | re.I,
)


def _written_out(text: str) -> Iterator[_Span]:
    """``"name": "X-Token", "value": "..."`` and ``key="password" value="..."``."""
    small = text.lower()
    if not _any(text, ("=", ":")) or ("val" not in small and "content" not in small):
        return
    for found in _WRITTEN_OUT.finditer(text):
        yield from _quoted_secret(text, found.end(), key_class(found[1]))


_ARGUMENT = re.compile(
    r"(?<![\w\-])--([A-Za-z][\w.\-]{0,127}+)[\\\"']++[ \t\r\n]*+,[ \t\r\n]*+(?=[\\\"'])", re.A
)


def _arguments(text: str) -> Iterator[_Span]:
    """``"--password", "..."``."""
    if "--" not in text or "," not in text:
        return
    for found in _ARGUMENT.finditer(text):
        hit = key_class(found[1])
        if hit is not None and not hit[1]:
            yield from _quoted_secret(text, found.end(), hit)


_PART = re.compile(
    r"form-data;[^\r\n]{0,200}?name=\\*+\"([^\"\r\n\\]{1,128})\\*+\"[^\r\n]{0,200}+(?:\r?\n[^\r\n]{1,200}+){0,4}"
    r"\r?\n\r?\n([^\r\n]*+)",
    re.A | re.I,
)


def _form_parts(text: str) -> Iterator[_Span]:
    """The fields of a multipart body."""
    if "form-data" not in text:
        return
    for found in _PART.finditer(text):
        hit = key_class(found[1])
        if (
            hit is not None
            and not harmless(found[2])
            and (not hit[1] or looks_random(found[2], 16))
        ):
            yield _Span(*found.span(2), hit[0])


def _quoted_secret(text: str, at: int, hit: tuple[str, bool] | None) -> Iterator[_Span]:
    inside = _quoted(text, at) if hit is not None else None
    if hit is None or inside is None:
        return
    value = text[inside[0] : inside[1]]
    if (
        not harmless(value)
        and not _OPTION.fullmatch(value)
        and (not hit[1] or looks_random(value, 16))
    ):
        yield _Span(*inside, hit[0])


#: A command that takes a password in a flag, that flag, or the end of a command.
_TOKENS = re.compile(
    r"(?<![A-Za-z0-9_.])(?P<client>mysql|mariadb|sshpass|redis-cli)"
    r"|(?<=[\s\"',])-(?P<flag>[pa])(?P<gap>[ \t]*+[\"']?)"
    r"(?P<value>[^\s\"',;|&\\\-][^\s\"',;|&\\]*+)"
    r"|(?P<end>[\n;|&])",
    re.A,
)


_CLIENTS = ("mysql", "mariadb", "sshpass", "redis-cli")


def _commands(text: str) -> Iterator[_Span]:
    """``mysql -pSECRET``, ``sshpass -p SECRET``, ``redis-cli -a SECRET``."""
    if not _any(text, ("-p", "-a")) or not _any(text, _CLIENTS):
        return
    client: str | None = None
    for found in _TOKENS.finditer(text):
        if found["client"]:
            client = found["client"]
        elif found["end"]:
            client = None
        elif (
            client is not None
            and (found["flag"] == "a") == (client == "redis-cli")
            # mysql asks for a password after a lone -p; what follows then is the database.
            and (client in ("sshpass", "redis-cli") or not found["gap"])
            and not _MARKER.match(found["value"])
        ):
            yield _Span(*found.span("value"), "password")


#: sudo tells where a command was run: ``TTY=pts/0 ; PWD=/home/bob ; USER=root ; COMMAND=/bin/ls``.
_SUDO = re.compile(r"TTY=[^;=]{1,64} ; PWD=/$")
_SUDO_KEYS = frozenset({"TTY", "PWD", "USER", "COMMAND"})


def _value(text: str, found: re.Match[str], kind: str) -> _Span | None:
    """Where the value after the key *found* begins and ends; ``None`` if it is no secret."""
    if found[1] == "PWD" and _SUDO.search(text, 0, found.end() + 1):
        return None
    at = _SPACE.match(text, found.end()).end()  # type: ignore[union-attr]  # matches empty
    spaced = at > found.end() or bool(found[3])
    json_like = found[2].endswith(('"', "'"))
    if at >= len(text) or text[at] in "\r\n&" or (text.startswith("//", at) and found[4] == ":"):
        return None
    inside = _quoted(text, at)
    if inside is not None:
        start, end = inside
        return None if harmless(text[start:end]) else _Span(start, end, kind)
    if text[at] in "[{" and not _MARKER.match(text, at):
        if kind in _CONTAINERS and kind != "session" and text[at] == "{":
            return None
        end = _bare_end(text, _closing(text, at))
        return _Span(at, end, kind, json_like)
    if kind in {"authorization", "cookie"} and not json_like:
        end = _header_end(text, at, kind)
    else:
        end = _bare_end(text, at)
    value = text[at:end]
    prose = (spaced and found[4] in (":", "->")) or kind in {"authorization", "session"}
    if found[4] == "->" and value.isalpha():
        return None
    if harmless(value.rstrip(".,;:!)]}"), prose=prose) or _is_count(found[1], value):
        return None
    return _Span(at, end, kind, json_like and not _MARKER.match(text, at))


_AFTER_EMPTY = " \t\r\n,;}])&\\\"'"
_OPEN = re.compile(r"(\\*+)(\"++|'++)", re.A)


def _quoted(text: str, at: int) -> tuple[int, int] | None:
    """Inside of the quoted value at *at*; to the end of the text when the quote is left open."""
    found = _OPEN.match(text, at)
    if found is None:
        return None
    slashes, quotes = found[1], found[2]
    # "" is empty, unless a doubled quote opens a CSV field's value
    after = text[found.end() : found.end() + 1]
    if len(quotes) % 2 == 0 and after in _AFTER_EMPTY:
        return found.end(), found.end()
    closing = slashes + quotes
    start = at = found.end()
    while (at := text.find(closing, at)) >= 0:
        before = at
        while before > start and text[before - 1] == "\\":
            before -= 1
        if (at - before) % 2 == 0 or (slashes and at - before == 0):
            return start, at
        at += len(closing)
    return start, len(text)


def _closing(text: str, at: int) -> int:
    """Index after the bracket that closes the one at *at*, or the end of the text."""
    depth = 0
    for found in _BRACKET.finditer(text, at):
        depth += 1 if found[0] in "[{" else -1
        if depth <= 0:
            return found.end()
    return len(text)


_BRACKET = re.compile(r"[\[\]{}]", re.A)

#: A bare value runs to white space or ``&``; quotes, commas and semicolons belong to it unless what
#: follows them shows that the value was over.
_BARE = re.compile(
    r"(?:\[redacted:[a-z0-9-]{1,32}\]|[^\s&<>\"',;|]|[\"'](?![\s,:;}\])\"']|\Z)|[,;|](?![\s\"']|\Z|[\w.\-]{1,64}+[\"']?[=:]))*+",
    re.A,
)


def _bare_end(text: str, at: int) -> int:
    end = _BARE.match(text, at).end()  # type: ignore[union-attr]  # matches empty
    floor = max(at + 1, *(m.end() for m in _MARKER.finditer(text, at, end)), 0)
    while end > floor and text[end - 1] in ")]},;.":
        end -= 1
    return max(end, at)


_SCHEMES = "bearer|basic|digest|negotiate|ntlm|splunk|ssws|apikey|token|hawk|aws4-hmac-sha256"
_SCHEME = re.compile(rf"(?:{_SCHEMES})(?:[ \t+]++|\Z)", re.A | re.I)
_LONG_SCHEME = re.compile(r"(?:digest|hawk|aws4-hmac-sha256)\b", re.A | re.I)
_LINE = re.compile(r"[^\r\n]*+", re.A)
_CRUMBS = re.compile(r"(?:;[ \t]++(?=[^\s=;]{1,128}=)|[^\s\"';]|;(?![ \t]))++", re.A)


def _header_end(text: str, at: int, kind: str) -> int:
    """End of an unquoted header value: credentials and cookies have spaces in them."""
    if kind == "cookie":
        found = _CRUMBS.match(text, at)
        return found.end() if found else at
    if _LONG_SCHEME.match(text, at):
        return _LINE.match(text, at).end()  # type: ignore[union-attr]  # matches empty
    scheme = _SCHEME.match(text, at)
    return _bare_end(text, scheme.end() if scheme else at)


# --- by shape ------------------------------------------------------------------------------------

_SHAPES = tuple(
    (word, kind, re.compile(f"(?<![A-Za-z0-9])(?:{pattern})", re.A))
    for kind, words, pattern, _ in SHAPES
    for word in words.split()
)
_DISCORD = re.compile(f"(?<![A-Za-z0-9]){DISCORD[0]}", re.A)
_DOTTED = re.compile(DISCORD[1], re.A)
_JWT = re.compile(
    r"(?<![A-Za-z0-9_\-])(?>[A-Za-z0-9_\-]*?(?=eyJ))(eyJ[A-Za-z0-9_\-]{8,}+\.[A-Za-z0-9_\-]++(?:\.[A-Za-z0-9_\-]*+){0,3})",
    re.A,
)
_CREDENTIALS = re.compile(
    rf"(?<![A-Za-z0-9])({_SCHEMES})[ \t+]++([A-Za-z0-9._~+/\-]{{8,}}+=*+)(?![A-Za-z0-9])",
    re.A | re.I,
)
_CURL = re.compile(r"(?<![\w\-])(?:-u|--user)[ \t=]++[\"']?[^\s:\"']++:([^\s\"']++)", re.A)
_BODY = re.compile(
    r"(?<![A-Za-z0-9+/])(?:MII[A-Za-z0-9+/]{37,}+=*+|b3BlbnNzaC1rZXktdjE[A-Za-z0-9+/]*+=*+)", re.A
)
KEY_LINE = r"^[ \t]*[A-Za-z0-9+/]{60,76}={0,2}[ \t\r]*$"
_KEY_LINE = re.compile(KEY_LINE, re.A)
_MIXED = (re.compile("[0-9]"), re.compile("[a-z]"), re.compile("[A-Z]"))
_LINK = re.compile(
    r"/[A-Za-z0-9_\-]*?(?:token|reset|magic|invite|activat|verif|confirm|unsubscrib|share|download|password)[A-Za-z0-9_\-]*+/([A-Za-z0-9_\-]{20,}+)",
    re.A | re.I,
)
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.A | re.I)


def _shapes(text: str) -> Iterator[_Span]:
    if len(text) >= 16:
        for word, kind, pattern in _SHAPES:
            if word in text:
                for found in pattern.finditer(text):
                    yield _Span(*found.span(), kind)
    if "eyJ" in text:
        for found in _JWT.finditer(text):
            yield _Span(*found.span(1), "jwt")
    # Each of these would read the whole text letter by letter; to see that no word of theirs is in
    # it is far cheaper.
    for found in _DISCORD.finditer(text) if _DOTTED.search(text) else ():
        yield _Span(*found.span(), "discord-token")
    small = text.lower()
    for found in _CREDENTIALS.finditer(text) if _any(small, _SCHEME_WORDS) else ():
        if _credential(found[1].lower(), found[2]):
            yield _Span(*found.span(2), found[1].lower())
    for found in _CURL.finditer(text) if "-u" in text else ():
        yield _Span(*found.span(1), "password")
    for found in _BODY.finditer(text) if "MII" in text or "b3BlbnNz" in text else ():
        yield _Span(*found.span(), "key-material")
    for found in _LINK.finditer(text) if "/" in text and _any(small, _LINK_WORDS) else ():
        if looks_random(found[1], 20) and not _UUID.fullmatch(found[1]):
            yield _Span(*found.span(1), "token")


_SCHEME_WORDS = tuple(_SCHEMES.split("|"))
_LINK_WORDS = tuple(
    "token reset magic invite activat verif confirm unsubscrib share download password".split()
)


def _any(text: str, words: tuple[str, ...]) -> bool:
    for word in words:  # noqa: SIM110  a generator takes three times as long
        if word in text:
            return True
    return False


def _credential(scheme: str, value: str) -> bool:
    if scheme == "basic":
        try:
            return b":" in base64.b64decode(value.rstrip("=") + "=" * (-len(value.rstrip("=")) % 4))
        except (binascii.Error, ValueError):
            return False
    if scheme in {"token", "digest", "hawk", "aws4-hmac-sha256"}:
        return looks_random(value, 16) or scheme == "aws4-hmac-sha256"
    return looks_random(value, 8) or len(value) >= 24


_CONNECTION = re.compile(
    r"://(?:[^\s/@:\"'<>]{0,256}+:([^\s/\"'<>]{1,256})@"
    r"|[^\s/@:\"'<>]{0,256}+:(?!\d{1,5}/)([^\s\"'<>]{1,256}?)@(?=[\w.\-\[]))",
    re.A,
)


#: Oracle's short form: ``jdbc:oracle:thin:user/password@//host/service``.
_THIN = re.compile(r":thin:[^\s/@:]{1,128}/([^\s@]{1,256}?)@", re.A)


#: A token in the place of the user: ``https://TOKEN@host/``.
_USERINFO = re.compile(r"://([A-Za-z0-9_.\-]{16,256})@", re.A)


def _connections(text: str) -> Iterator[_Span]:
    if "@" not in text or not _any(text, ("://", ":thin:")):
        return
    for found in _CONNECTION.finditer(text):
        if "[redacted:" in found[0]:
            continue
        group = found.lastindex or 1
        yield _Span(*found.span(group), "password")
    for found in _THIN.finditer(text):
        yield _Span(*found.span(1), "password")
    for found in _USERINFO.finditer(text):
        if looks_random(found[1], 16):
            yield _Span(*found.span(1), "token")


_BEGIN = re.compile(
    r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----|PuTTY-User-Key-File-\d", re.A
)


def _keys(text: str) -> Iterator[_Span]:
    if not _any(text, ("-----BEGIN", "PuTTY-User-Key-File")):
        return
    at = 0
    while (found := _BEGIN.search(text, at)) is not None:
        end = text.find("-----END", found.end())
        if end >= 0 and (tail := text.find("-----", end + 8)) >= 0:
            end = tail + 5
        else:
            end = len(text)
        yield _Span(found.start(), end, "private-key")
        at = end


def _numbers(text: str) -> Iterator[_Span]:
    if not may_have_number(text):
        return
    for found in NUMBERS.finditer(text):
        kind = found.lastgroup
        if kind in {None, "s", "t", "u"}:
            kind = next((g for g in ("card", "aadhaar") if found[g]), None)
        if kind is None:
            continue
        if kind == "card":
            phone = len(found[0]) == 13 and text[found.start() - 1 : found.start()] == "+"
            if not phone and card(found[0]):
                yield _Span(*found.span(), "card")
            elif _eu_number(found[0]):
                yield _Span(*found.span(), "national-id")
        elif national_id(kind, found[0]):
            yield _Span(*found.span(), "national-id")
    for found in IBAN_START.finditer(text):
        end = iban_end(text, found.start())
        if end is not None:
            yield _Span(found.start(), end, "iban")


def _eu_number(text: str) -> bool:
    """A French social security number of a woman begins like a card of 15 digits."""
    return len(text) == 15 and text[0] == "2" and text.isdigit() and national_id("nir", text)


_SQL = re.compile(
    r"(?<![A-Za-z0-9_])(?:password(?:[ \t\r\n]*+[=(][ \t\r\n]*+|[ \t\r\n]++)"
    r"(?:(?:[EeNn]|[Uu]&)(?='))?+(?=['\"$])"
    r"|password[ \t]++for[ \t]++[^\s=:]{1,64}+[ \t]*+[=:][ \t]*+"
    r"|identified[ \t\r\n]++(?:with[ \t\r\n]++\S{1,64}+[ \t\r\n]++(?:by|as)|by|via|with)[ \t\r\n]++"
    r"(?:password[ \t\r\n]++)?+)",
    re.A | re.I,
)
_SAID = re.compile(
    r"(?<![A-Za-z0-9])(password|passwd|passphrase|secret|token|pin|otp)"
    r"[ \t]++(?:is|was)[ \t]++[\"']?([^\s\"']{4,}+)",
    re.A | re.I,
)
_SAID_WORDS = ("password", "passwd", "passphrase", "secret", "token", "pin", "otp")
#: A name and, after nothing but space, what can only be its value.
_TOLD = re.compile(
    r"(?<![A-Za-z0-9])(?:(?P<code>(?:otp|verification|one[ -]time|sms|security|login)[ _-]code"
    r"|otp|passcode)|(?P<key>(?:api|access|secret|auth|app)[ _-]?key|client[ _-]secret"
    r"|access[ _-]token|pass(?:word|wd|phrase)))[ \t]++[\"']?([^\s\"']{4,256}+)",
    re.A | re.I,
)
_TOLD_WORDS = ("code", "key", "secret", "token", "pass", "otp")
_SET = re.compile(
    r"(?<![A-Za-z0-9_])set[ \t]++(?:local[ \t]++|session[ \t]++)?+[\w.]*?"
    r"(?:password|passwd|secret|token|api_?key)[\w.]*+[ \t]++to[ \t]++",
    re.A | re.I,
)
_DOLLAR = re.compile(r"\$[A-Za-z0-9_]*+\$", re.A)


def _phrases(text: str) -> Iterator[_Span]:
    small = text.lower()
    at = 0
    while "password" in small or "identified" in small:
        found = _SQL.search(text, at)
        if found is None:
            break
        at = found.end()
        span = _sql_literal(text, at)
        if span is not None:
            yield span
            at = max(at, span.end)
    for said in _SAID.finditer(text) if _any(small, _SAID_WORDS) else ():
        value = said[2].rstrip(".,;:!)")
        if not value.isalpha() and not harmless(value, prose=True) and not _MARKER.match(value):
            kind = (key_class(said[1]) or ("secret", False))[0]
            yield _Span(said.start(2), said.start(2) + len(value), kind)
    yield from _told(text, small)


def _told(text: str, small: str) -> Iterator[_Span]:
    """``api key 3f9a...``, ``OTP code 123456``, ``SET app.secret TO ...``."""
    for found in _TOLD.finditer(text) if _any(small, _TOLD_WORDS) else ():
        value = found[3].rstrip(".,;:!)")
        end = found.start(3) + len(value)
        if found["code"] and value.isdigit() and 4 <= len(value) <= 10:
            yield _Span(found.start(3), end, "otp")
        elif found["key"] and looks_random(value, 12) and not _MARKER.match(value):
            kind = (key_class(found["key"].replace(" ", "_")) or ("secret", False))[0]
            yield _Span(found.start(3), end, kind)
    for found in _SET.finditer(text) if " to " in small and "set " in small else ():
        span = _sql_literal(text, found.end())
        if span is not None and text[span.start : span.end].lower() != "default":
            yield span._replace(kind="secret")


def _sql_literal(text: str, at: int) -> _Span | None:
    tag = _DOLLAR.match(text, at)
    if tag is not None:
        end = text.find(tag[0], tag.end())
        return _Span(tag.end(), end if end >= 0 else len(text), "password")
    inside = _quoted(text, at)
    if inside is not None:
        start, end = inside
        while text[end + 1 : end + 2] == text[end : end + 1] == "'":  # '' inside a literal
            end = text.find("'", end + 2)
            if end < 0:
                end = len(text)
        return None if harmless(text[start:end]) else _Span(start, end, "password")
    end = _bare_end(text, at)
    return None if end <= at or harmless(text[at:end], prose=True) else _Span(at, end, "password")


#: What looks for secrets in a text, each for its own kinds; named as in ``sensitive.HINTS``.
_FINDERS: Mapping[str, Callable[[str], Iterator[_Span]]] = MappingProxyType(
    {
        "named": _named,
        "written-out": _written_out,
        "elements": _elements,
        "arguments": _arguments,
        "commands": _commands,
        "connections": _connections,
        "form": _form_parts,
        "keys": _keys,
        "shapes": _shapes,
        "numbers": _numbers,
        "phrases": _phrases,
    }
)
FINDERS = frozenset(_FINDERS)
