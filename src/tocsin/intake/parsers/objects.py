"""Decoding lines of JSON objects, thousands at a time, into columns by key.

One decoder (msgspec) reads every line on every path, so a repeated key has one meaning: **the last
one wins**.  The usual line is decoded into a struct learned from the first lines of the chunk, half
again as fast as dictionaries; a line that does not fit it is decoded again as a dictionary.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from io import BytesIO
from itertools import islice
from typing import Any

import msgspec
import polars as pl

from tocsin.intake.parsers.lines import BOM, mend, objects, plain

__all__ = ["DEPTH", "SYSLOG", "Bad", "Shapes", "Table", "Values", "decode", "flat", "record"]

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

#: What msgspec does not allow in a key; objects with such keys are read as dictionaries.
_ODD_KEY = re.compile(r'[\\"\x00-\x1f]')

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
# tocsin's own attributes: one level is worth a struct, what is deeper goes the long way.
_LOOSE = dict[str, _Scalar | list[_Scalar]] | None
_DTYPES: dict[type, pl.DataType] = {
    str: pl.String(),
    int: pl.Int64(),
    float: pl.Float64(),
    bool: pl.Boolean(),
}
_ANY = msgspec.json.Decoder().decode


#: Values of one key: a series where all are of one type, else as they came.
Values = Sequence[Any] | pl.Series


class Table(msgspec.Struct, frozen=True):
    """Objects with the same keys: ``columns[i]`` holds key ``names[i]`` of the lines ``rows``."""

    rows: Sequence[int]
    names: tuple[str, ...]
    columns: Sequence[Values]


class Bad(msgspec.Struct, frozen=True, gc=False):
    """A line that is no JSON object, and why."""

    row: int
    line: bytes
    why: str


def decode(data: bytes, *, nested: bool) -> Iterator[Table | Bad]:
    """Columns of the lines of *data*, and the lines that are none; blank ones are left out.

    With *nested*, objects inside objects become dotted keys; else they stay values.
    """
    data = data.removeprefix(BOM)
    pieces: Sequence[_Piece] | None = objects(data, BLOCK)
    if pieces is None:
        lines = plain(data)
        first = lines[:_LEARN]
        cut = [lines[start : start + BLOCK] for start in range(0, len(lines), BLOCK)]
        pieces = [(block, len(block)) for block in cut]
    else:
        first = list(islice(BytesIO(data), _LEARN))
    kind = _learn(first, nested)
    start = 0
    rows: list[int] = []
    blocks: list[list[Values]] = []
    others = Shapes()
    for piece, count in pieces:
        fits, misfits = _fit(piece, count, kind)
        if fits and kind is not None:
            blocks.append(kind.columns(fits))
            del fits  # the next ones take their place in the processor's cache
            rows += _without(start, count, misfits)
        for i, line in misfits.items():
            found = record(line)
            if isinstance(found, str):
                yield Bad(start + i, line, found)
            else:
                others.add(start + i, flat(found) if nested else found)
        start += count
    if blocks and kind is not None:
        yield Table(rows, kind.names, [_joined(parts) for parts in zip(*blocks, strict=True)])
    yield from others.tables()


# Lines, or the bytes of as many lines of ``{...}``, and how many they are.
_Piece = tuple[list[bytes] | memoryview, int]


def _fit(
    piece: list[bytes] | memoryview, count: int, kind: _Learned | None
) -> tuple[list[Any], dict[int, bytes]]:
    """The lines that are of *kind*, decoded, and those that are not, by their place."""
    if kind is None:
        return [], dict(enumerate(_cut(piece)))
    decode_one = kind.decoder.decode
    try:
        if isinstance(piece, list):
            return list(map(decode_one, piece)), {}
        found = kind.decoder.decode_lines(piece)
        if len(found) == count:  # else there are several objects in one line
            return found, {}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass  # at least one line is different: look at each
    fits: list[Any] = []
    misfits: dict[int, bytes] = {}
    for i, line in enumerate(_cut(piece)):
        try:
            fits.append(decode_one(line))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            misfits[i] = line
    return fits, misfits


def _cut(piece: list[bytes] | memoryview) -> list[bytes]:
    return piece if isinstance(piece, list) else piece.tobytes().split(b"\n")


def _without(start: int, count: int, misfits: Collection[int]) -> Iterable[int]:
    if not misfits:
        return range(start, start + count)
    return (start + i for i in range(count) if i not in misfits)


def _joined(parts: Sequence[Values]) -> Values:
    series = [part for part in parts if isinstance(part, pl.Series)]
    if len(series) == len(parts):
        return pl.concat(series) if len(series) > 1 else series[0]
    return [value for part in parts for value in part]


def flat(nested: Mapping[str, Any]) -> dict[str, Any]:
    """*nested* with the objects inside it as dotted keys; an empty one says nothing.

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
            if type(value) is dict:
                stack.append(iter(value.items()))
                prefixes.append(f"{prefixes[-1]}{key}.")
                break
            out[prefixes[-1] + key] = value
        else:
            stack.pop()
            prefixes.pop()
    return out


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


class _Learned(msgspec.Struct, frozen=True):
    """A struct type for the objects of one chunk."""

    names: tuple[str, ...]  #: dotted, where objects are inside
    fields: tuple[_Field, ...]
    decoder: msgspec.json.Decoder[Any]

    def columns(self, records: list[Any]) -> list[Values]:
        """The values of *records*, key by key."""
        out: list[Values] = []
        _gather(records, self.fields, out)
        return out


# A key and what it holds: a type, or the fields of an object inside.
_Field = tuple[str, "type | tuple[Any, ...]"]


def _gather(records: Iterable[Any], fields: tuple[_Field, ...], out: list[Values]) -> None:
    columns = zip(*map(msgspec.structs.astuple, records), strict=True)
    for (_, holds), values in zip(fields, columns, strict=True):
        if isinstance(holds, tuple):
            blank = _struct(holds)()  # an absent object is one without values
            _gather([blank if v is None else v for v in values], holds, out)
        else:
            out.append(_typed(values, holds))


def _typed(values: Sequence[Any], kind: type) -> Values:
    """A series, where the values are what they were in the first lines."""
    dtype = _DTYPES.get(kind)
    if dtype is None or (kind is float and int in set(map(type, values))):
        return values
    try:
        return pl.Series(values, dtype=dtype, strict=True)
    except (TypeError, OverflowError, pl.exceptions.PolarsError):  # more than 63 bits
        return values


def _learn(lines: Sequence[bytes], nested: bool) -> _Learned | None:
    """What the first lines look like, if a struct can say it."""
    seen: dict[str, Any] = {}
    for line in lines:
        found = record(line)
        if isinstance(found, dict) and not _note(seen, found, nested):
            return None
    fields = _fields(seen)
    names = tuple(_names(fields, ""))
    if not names or len(names) > _MOST_KEYS or len(set(names)) < len(names):
        return None
    return _Learned(names, fields, _decoder(fields))


def _note(seen: dict[str, Any], found: dict[str, Any], nested: bool) -> bool:
    """Add the types in *found* to *seen*; false where one key has values of different types."""
    for key, value in found.items():
        kind = type(value)
        if kind is dict and nested:
            inner = seen.setdefault(key, {})
            if inner is type(None):
                inner = seen[key] = {}
            if type(inner) is not dict or not _note(inner, value, nested):
                return False
            continue
        if kind is dict and key != "attributes":
            return False
        before = seen.get(key, kind)
        if type(before) is dict:
            if value is not None:
                return False
            continue
        if before is type(None):
            before = kind
        if kind is not before and kind is not type(None):
            if {kind, before} != {int, float}:
                return False
            before = float
        seen[key] = before
    return True


def _fields(seen: dict[str, Any]) -> tuple[_Field, ...]:
    return tuple(
        (key, _fields(holds) if type(holds) is dict else holds)
        for key, holds in seen.items()
        if holds != {} and not _ODD_KEY.search(key)
    )


def _names(fields: tuple[_Field, ...], prefix: str) -> Iterator[str]:
    for key, holds in fields:
        if isinstance(holds, tuple):
            yield from _names(holds, f"{prefix}{key}.")
        else:
            yield prefix + key


@lru_cache(maxsize=256)
def _decoder(fields: tuple[_Field, ...]) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(_struct(fields))


@lru_cache(maxsize=256)
def _struct(fields: tuple[_Field, ...]) -> type[msgspec.Struct]:
    def kind(holds: type | tuple[Any, ...]) -> Any:
        if isinstance(holds, tuple):
            return _struct(holds) | None
        return _LOOSE if holds is dict else _TYPES[holds]

    return msgspec.defstruct(
        "Learned",
        [(f"f{i}", kind(holds), None) for i, (_, holds) in enumerate(fields)],
        rename={f"f{i}": key for i, (key, _) in enumerate(fields)},
        forbid_unknown_fields=True,
        gc=False,
    )
