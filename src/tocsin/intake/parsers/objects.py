"""Decoding lines of JSON objects, thousands at a time, into columns by key.

One decoder (msgspec) reads every line on every path, so a repeated key has one meaning: **the last
one wins**.  The usual line is decoded into a struct learned from the first lines of the chunk, half
again as fast as dictionaries; a line that does not fit it is decoded again as a dictionary.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any

import msgspec

from tocsin.intake.parsers.lines import mend

__all__ = ["DEPTH", "SYSLOG", "Bad", "Shapes", "Table", "decode", "flat", "record"]

#: Levels of nesting that are read; what is deeper is kept as a log line.
DEPTH = 64

#: Lines decoded at once.  More fall out of the processor's cache: 20,000 took twice as long.
BLOCK = 1_000

#: What a syslog daemon puts in front of a line of JSON.
SYSLOG = re.compile(
    rb"(?:<\d{1,3}>)?(?:1 )?"
    rb"(?P<time>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d|\d{4}-\d\d-\d\dT[0-9:.]+(?:Z|[+-]\d\d:?\d\d)) "
    rb"(?:(?P<host>\S+) )?(?P<program>[A-Za-z][\w./-]*)(?:\[\d+\])?: (?:@cee: ?)?(?=\{)"
)

_LEARN = 32
_MOST_KEYS = 256
_Scalar = str | int | float | bool | None
_TYPES: dict[type, Any] = {
    str: str | None,
    int: int | None,
    float: int | float | None,  # a whole number stays one: a float would round a long id
    bool: bool | None,
    type(None): _Scalar,
    list: list[_Scalar] | None,
}
_Loose = dict[str, _Scalar | list[_Scalar]] | None
_ANY = msgspec.json.Decoder().decode


class Table(msgspec.Struct, frozen=True, gc=False):
    """Objects with the same keys: ``columns[i]`` holds key ``names[i]`` of the lines ``rows``."""

    rows: Sequence[int]
    names: tuple[str, ...]
    columns: list[Sequence[Any]]


class Bad(msgspec.Struct, frozen=True, gc=False):
    """A line that is no JSON object, and why."""

    row: int
    why: str


def decode(lines: Sequence[bytes], *, nested: bool) -> Iterator[Table | Bad]:
    """Columns of *lines*, and the lines that are none.

    With *nested*, objects inside objects become dotted keys; else they stay values.
    """
    kind = _learn(lines, nested)
    for start in range(0, len(lines), BLOCK):
        yield from _block(lines[start : start + BLOCK], start, kind, nested)


def flat(nested: Mapping[str, Any]) -> dict[str, Any]:
    """*nested* with the objects inside it as dotted keys.

    >>> flat({"http": {"request": {"method": "GET"}}, "a": [1]})
    {'http.request.method': 'GET', 'a': [1]}
    """
    if not any(type(value) is dict for value in nested.values()):
        return dict(nested)
    out: dict[str, Any] = {}
    stack: list[Iterator[tuple[str, Any]]] = [iter(nested.items())]
    prefixes = [""]
    while stack:
        for key, value in stack[-1]:
            name = prefixes[-1] + key
            if type(value) is dict and value and len(name) < 512:
                stack.append(iter(value.items()))
                prefixes.append(name + ".")
                break
            out[name] = value
        else:
            stack.pop()
            prefixes.pop()
    return out


def _block(
    lines: Sequence[bytes], start: int, kind: _Learned | None, nested: bool
) -> Iterator[Table | Bad]:
    rows = range(start, start + len(lines))
    if kind is not None:
        try:
            yield kind.table(rows, map(kind.decode, lines))
            return
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass  # at least one line is different: look at each
    yield from _each(lines, rows, kind, nested)


def _each(
    lines: Sequence[bytes], rows: Sequence[int], kind: _Learned | None, nested: bool
) -> Iterator[Table | Bad]:
    fits: list[Any] = []
    fitting: list[int] = []
    shapes = Shapes()
    for row, line in zip(rows, lines, strict=True):
        if kind is not None:
            try:
                fits.append(kind.decode(line))
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                pass
            else:
                fitting.append(row)
                continue
        found = record(line)
        if isinstance(found, str):
            yield Bad(row, found)
        else:
            shapes.add(row, flat(found) if nested else found)
    if kind is not None and fits:
        yield kind.table(fitting, fits)
    yield from shapes.tables()


class Shapes:
    """Dictionaries, sorted by which keys they have."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, ...], tuple[list[int], list[dict[str, Any]]]] = {}

    def add(self, row: int, found: dict[str, Any]) -> None:
        """Take one more."""
        at, records = self._found.setdefault(tuple(found), ([], []))
        at.append(row)
        records.append(found)

    def tables(self) -> Iterator[Table]:
        """All that were added, in columns."""
        for names, (at, records) in self._found.items():
            yield Table(at, names, list(zip(*(r.values() for r in records), strict=True)))


def record(line: bytes) -> dict[str, Any] | str:
    """The object that *line* holds, or why it holds none."""
    try:
        found = _ANY(line)
    except RecursionError:
        return f"JSON: nested deeper than {DEPTH} levels"
    except (msgspec.DecodeError, UnicodeDecodeError) as first:
        if wrapped := SYSLOG.match(line):
            return _unwrapped(line, wrapped)
        try:
            found = _ANY(mend(line))
        except RecursionError:
            return f"JSON: nested deeper than {DEPTH} levels"
        except (msgspec.DecodeError, UnicodeDecodeError):
            return f"JSON: {_why(first)}"
    if not isinstance(found, dict):
        return "JSON: not an object"
    return f"JSON: nested deeper than {DEPTH} levels" if _too_deep(found) else found


def _unwrapped(line: bytes, wrapped: re.Match[bytes]) -> dict[str, Any] | str:
    """The object behind a syslog header, which is kept too."""
    found = record(line[wrapped.end() :])
    if isinstance(found, dict):
        for name, value in wrapped.groupdict().items():
            if value:
                found[f"syslog.{name}"] = value.decode(errors="backslashreplace")
    return found


def _why(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"invalid UTF-8 (byte {error.start})"
    return str(error).removeprefix("JSON is malformed: ").removesuffix(" - at `$[...]`")


def _too_deep(found: dict[str, Any]) -> bool:
    level: list[Any] = [found]
    for _ in range(DEPTH):
        level = [
            inner
            for value in level
            for inner in (value.values() if type(value) is dict else value)
            if type(inner) is dict or type(inner) is list
        ]
        if not level:
            return False
    return True


class _Learned(msgspec.Struct, frozen=True, gc=False):
    """A struct type for the objects of one chunk."""

    names: tuple[str, ...]
    decode: Any

    def table(self, rows: Sequence[int], records: Iterable[Any]) -> Table:
        tuples = map(msgspec.structs.astuple, records)
        return Table(rows, self.names, list(zip(*tuples, strict=True)))


def _learn(lines: Sequence[bytes], nested: bool) -> _Learned | None:
    """What the first lines look like, if a struct can say it: flat, with few keys."""
    seen: dict[str, type] = {}
    for line in islice(lines, _LEARN):
        found = record(line)
        if isinstance(found, str):
            continue
        for key, value in found.items():
            kind = type(value)
            before = seen.get(key, kind)
            if before is type(None):
                before = kind
            if kind is not before and kind is not type(None):
                if {kind, before} != {int, float}:
                    return None
                before = float
            seen[key] = before
    if not seen or len(seen) > _MOST_KEYS or any("\0" in key for key in seen):
        return None
    # Objects inside: only the one that tocsin's own events have is worth a struct of its own.
    if any(kind is dict and (nested or key != "attributes") for key, kind in seen.items()):
        return None
    return _struct(tuple(seen.items()))


@lru_cache(maxsize=64)
def _struct(fields: tuple[tuple[str, type], ...]) -> _Learned:
    names = tuple(key for key, _ in fields)
    kind = msgspec.defstruct(
        "Learned",
        [(f"f{i}", _Loose if t is dict else _TYPES[t], None) for i, (_, t) in enumerate(fields)],
        rename={f"f{i}": name for i, name in enumerate(names)},
        forbid_unknown_fields=True,
        gc=False,
    )
    return _Learned(names, msgspec.json.Decoder(kind).decode)
