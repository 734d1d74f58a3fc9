"""Decoding lines of JSON objects, thousands at a time, into columns by key.

One decoder (msgspec) reads every line on every path, so a repeated key has one meaning: **the last
one wins**.  The usual line is decoded into a struct learned from the first lines of the chunk, half
again as fast as dictionaries; a line that does not fit it is decoded again as a dictionary.

That a key stood twice the decoder does not say.  But each key and each text has its two quotes, so
there are more quotes in a line than what was decoded accounts for: one count over a thousand lines
clears them all.  Where it does not, the colons behind quotes are counted line by line, which also
clears escaped quotes and values of ``null``; and only what is still unclear is read with care.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from io import BytesIO
from itertools import islice
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from tocsin.intake.parsers.lines import Lines, mend

__all__ = ["DEPTH", "Bad", "Shapes", "Table", "Twice", "Values", "decode", "flat", "record"]

#: Levels of nesting that are read; what is deeper is kept as a log line.
DEPTH = 64

#: Lines decoded at once.  More fall out of the processor's cache: 20,000 took twice as long.
BLOCK = 1_000

#: What msgspec does not allow in a key; objects with such keys are read as dictionaries.
_ODD_KEY = re.compile(r'[\\"\x00-\x1f]')

#: Of the keys that stand in a line twice, those that are named, and how much of each.
_MOST_TOLD, _KEY_SHOWN = 8, 64

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


_Places = npt.NDArray[np.int64]

#: Values of one key: a series where all are of one type, else as they came.
Values = Sequence[Any] | pl.Series


class Table(msgspec.Struct, frozen=True):
    """Objects: ``columns[i]`` holds key ``names[i]`` of the lines ``rows``; null: there is none."""

    rows: Sequence[int]
    names: tuple[str, ...]
    columns: Sequence[Values]


class Bad(msgspec.Struct, frozen=True, gc=False):
    """A line that is no JSON object, and why."""

    row: int
    line: bytes
    why: str


class Twice(msgspec.Struct, frozen=True, gc=False):
    """A line with a key that stands in it more than once, with different values."""

    row: int
    line: bytes
    keys: tuple[str, ...]

    @property
    def why(self) -> str:
        """What to say of it."""
        some = self.keys[:_MOST_TOLD]
        return "; ".join(f"{key[:_KEY_SHOWN]}: stands twice; the last one counts" for key in some)


def decode(lines: Lines, *, nested: bool) -> Iterator[Table | Bad | Twice]:
    """Columns of *lines*, and the lines that are none; blank ones are left out.

    With *nested*, objects inside objects become dotted keys; else they stay values.
    """
    pieces: Sequence[_Piece] | None = lines.objects(BLOCK)
    if pieces is None:
        plain = lines.plain()
        first = plain[:_LEARN]
        cut = [plain[start : start + BLOCK] for start in range(0, len(plain), BLOCK)]
        pieces = [(block, len(block)) for block in cut]
    else:
        first = list(islice(BytesIO(lines.data), _LEARN))
    kind = _learn(first, nested)
    start = 0
    rows: list[int] = []
    blocks: list[list[Values]] = []
    others = Shapes()
    for piece, count in pieces:
        fits, misfits = _fit(piece, count, kind)
        if fits and kind is not None:
            columns, inside = kind.columns(fits)
            blocks.append(columns)
            del fits  # the next ones take their place in the processor's cache
            at = list(_without(start, count, misfits))
            for i, line in _unclear(piece, misfits, columns, inside):
                if keys := _repeated(line):
                    yield Twice(at[i], line, keys)
            rows += at
        for i, line in misfits.items():
            found = record(line)
            if isinstance(found, str):
                yield Bad(start + i, line, found)
                continue
            keys = _repeated(line) if _quotes(line) != _marks(found) else ()
            if nested:
                found, clashes = flattened(found)
                keys += clashes
            if keys:
                yield Twice(start + i, line, keys)
            others.add(start + i, found)
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


def _unclear(
    piece: list[bytes] | memoryview,
    misfits: Collection[int],
    columns: Sequence[Values],
    inside: Sequence[_Inside],
) -> Iterator[tuple[int, bytes]]:
    """Lines of *piece* without its *misfits* in which more seems to stand than was decoded."""
    if misfits or isinstance(piece, list):
        fits = [line for i, line in enumerate(_cut(piece)) if i not in misfits]
        piece = memoryview(b"\n".join(fits))
    octets = np.frombuffer(piece, np.uint8)
    marks = sum(map(_marks_of, columns)) + 2 * sum(_present(*held) for held in inside)
    if np.count_nonzero(octets == _QUOTE) == marks:
        return
    # From here on: keys with a value, each a quote and a colon.  What is counted too much only
    # costs a closer look; nothing may be counted too little, so a line with a space before a colon
    # gets that look in any case.
    colons, spaced = _colons(octets)
    keys = [*columns, *(values for values, _ in inside)]
    if not len(spaced) and len(colons) == sum(map(_keys_of, keys)):
        return
    ends = np.append(np.flatnonzero(octets == _LINE_END), len(octets))
    decoded = sum((_keys_by_line(values) for values in keys), np.zeros(len(ends), np.int64))
    odd = np.diff(np.searchsorted(colons, ends), prepend=0) != decoded
    odd[np.searchsorted(ends, spaced)] = True
    starts = np.concatenate([[0], ends[:-1] + 1])
    for i in np.flatnonzero(odd).tolist():
        yield i, bytes(piece[starts[i] : ends[i]])


_QUOTE, _COLON, _SPACE, _BACKSLASH, _LINE_END = b'": \\\n'
_NULL = ord("n")  # no other value begins with it


def _colons(octets: npt.NDArray[np.uint8]) -> tuple[_Places, _Places]:
    """Colons behind the quote of a key with a value, and colons behind a space, inside of lines.

    Nothing here looks past either end: an object begins with a brace and a quote, and behind its
    last colon come a value and a brace.
    """
    colons = np.flatnonzero(octets == _COLON)
    before = octets[colons - 1]
    spaced = colons[before <= _SPACE]
    spaced = spaced[(octets[spaced - 2] == _QUOTE) | (octets[spaced - 2] <= _SPACE)]
    colons = colons[before == _QUOTE]
    value = octets[colons + 1]
    behind_space = np.flatnonzero(value == _SPACE)
    value[behind_space] = octets[colons[behind_space] + 2]
    drop = value == _NULL
    ahead = octets[colons - 2]  # of the quote
    escaped = np.flatnonzero(ahead == _BACKSLASH)
    drop[escaped[octets[colons[escaped] - 3] != _BACKSLASH]] = True
    # A text may begin with a colon, as ::1 does.  Then its quote stands behind the colon of a key.
    for distance, likely in ((3, ahead == _COLON), (4, ahead == _SPACE)):
        begins = np.flatnonzero(likely)
        at = colons[begins]
        behind_key = (
            (octets[at - distance + 1] == _COLON)
            & (octets[at - distance] == _QUOTE)
            & (octets[at - distance - 1] != _BACKSLASH)
        )
        drop[begins[behind_key]] = True
    return colons[~drop], spaced


def _present(values: Sequence[Any], columns: Sequence[Values]) -> int:
    """How many of *values* are objects, given the *columns* that were made of what is in them."""
    whole = (isinstance(c, pl.Series) and not c.null_count() for c in columns)
    return len(values) if any(whole) else sum(value is not None for value in values)


def _marks_of(values: Values) -> int:
    """Quotes that a column of values and their keys take, if none is escaped."""
    if isinstance(values, pl.Series):
        there = len(values) - values.null_count()
        return there * (4 if values.dtype == pl.String() else 2)
    return sum(2 + _marks(value) for value in values if value is not None)


def _keys_of(values: Values) -> int:
    """Keys with a value that a column takes: its own, and those of the objects in it."""
    if isinstance(values, pl.Series):
        return len(values) - values.null_count()
    return sum(map(_keys, values))


def _keys_by_line(values: Values) -> _Places:
    if isinstance(values, pl.Series):
        return values.is_not_null().to_numpy().astype(np.int64)
    return np.fromiter(map(_keys, values), np.int64, len(values))


def _keys(value: Any) -> int:
    if type(value) is dict:
        return 1 + sum(inner is not None for inner in value.values())
    return int(value is not None)


def _marks(value: Any) -> int:
    """Quotes that a value takes, if none is escaped."""
    if type(value) is str:
        return 2
    if type(value) is dict:
        return 2 * len(value) + sum(map(_marks, value.values()))
    return sum(map(_marks, value)) if type(value) is list else 0


def _quotes(line: bytes) -> int:
    """Quotes in a line that are not escaped."""
    if b"\\" in line:
        line = line.replace(b"\\\\", b"").replace(b'\\"', b"")
    return line.count(b'"')


def _repeated(line: bytes) -> tuple[str, ...]:
    """Keys of an object in *line* that stand in it again with another value."""
    found: dict[str, None] = {}

    def see(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        seen: dict[str, Any] = {}
        for key, value in pairs:
            if seen.get(key, value) not in (value, None):
                found[key] = None
            seen[key] = value
        return seen

    try:
        json.loads(mend(line), object_pairs_hook=see, parse_int=str)
    except (ValueError, RecursionError):
        return ()
    return tuple(found)


def flat(nested: Mapping[str, Any]) -> dict[str, Any]:
    """*nested* with the objects inside it as dotted keys; an empty one says nothing.

    >>> flat({"http": {"request": {"method": "GET"}}, "a": [1]})
    {'http.request.method': 'GET', 'a': [1]}
    """
    return flattened(nested)[0]


def flattened(nested: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The same, and the dotted keys that are there twice: ``{"a.b": 1, "a": {"b": 2}}``."""
    if not any(type(value) is dict for value in nested.values()):
        return dict(nested), ()
    out: dict[str, Any] = {}
    twice: list[str] = []
    stack: list[Iterator[tuple[str, Any]]] = [iter(nested.items())]
    prefixes = [""]
    while stack:
        for key, value in stack[-1]:
            if type(value) is dict:
                stack.append(iter(value.items()))
                prefixes.append(f"{prefixes[-1]}{key}.")
                break
            name = prefixes[-1] + key
            if out.get(name, value) not in (value, None):
                twice.append(name)
            out[name] = value
        else:
            stack.pop()
            prefixes.pop()
    return out, tuple(twice)


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
        try:
            found = _ANY(mend(line))
        except RecursionError:
            return f"JSON: nested deeper than {DEPTH} levels"
        except (msgspec.DecodeError, UnicodeDecodeError):
            return f"JSON: {_why(first)}"
    if not isinstance(found, dict):
        return "JSON: not an object"
    return f"JSON: nested deeper than {DEPTH} levels" if _too_deep(found) else found


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

    def columns(self, records: list[Any]) -> tuple[list[Values], list[_Inside]]:
        """The values of *records*, key by key; and the objects inside of them, of each such key."""
        out: list[Values] = []
        inside: list[_Inside] = []
        _gather(records, self.fields, out, inside)
        return out, inside


# The values of a key that holds objects, and the columns made of what is in them.
_Inside = tuple[Sequence[Any], Sequence[Values]]
# A key and what it holds: a type, or the fields of an object inside.
_Field = tuple[str, "type | tuple[Any, ...]"]


def _gather(
    records: Iterable[Any],
    fields: tuple[_Field, ...],
    out: list[Values],
    inside: list[_Inside],
) -> None:
    columns = zip(*map(msgspec.structs.astuple, records), strict=True)
    for (_, holds), values in zip(fields, columns, strict=True):
        if isinstance(holds, tuple):
            blank = _struct(holds)()  # an absent object is one without values
            first = len(out)
            _gather([blank if v is None else v for v in values], holds, out, inside)
            inside.append((values, out[first:]))
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
