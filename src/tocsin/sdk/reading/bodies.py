"""What a body says, from its first bytes: JSON even when it is cut, and forms.

JSON is whatever Python's own reader takes for it, since an application may read with that: NaN and
numbers without end, half characters, UTF-16.  Nothing here raises for foreign bytes, and nothing
takes longer than the bytes are long.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Container, Iterable, Iterator, Sequence
from json import JSONDecoder, detect_encoding
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from tocsin.sdk.reading.names import NAMES
from tocsin.sdk.reading.words import folded

__all__ = ["begins_as_json", "form", "json", "keys", "leaves", "multipart", "unpacked"]

_decode = msgspec.json.Decoder().decode
_decode_as_python = JSONDecoder().decode
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"?', re.S)
#: What JSON that matters begins with, also in UTF-16 and UTF-32, behind white space and marks.
_BEGINNING = re.compile(rb"[\0\xef\xbb\xbf\xfe\xff \t\r\n]*+[{\[]")
_NOT_BRACKETS = bytes(sorted(set(range(256)) - set(b"[]{}")))
_CLOSING = {ord("["): b"]", ord("{"): b"}"}

#: Levels that are walked, and values: what is deeper or later is not looked at.
DEPTH = 6
MOST = 512
#: Keys after which no further object is looked at.
MOST_SEEN = 2_048
#: Characters of the names of keys, and of a multipart field's value.
LONGEST_NAMES = 4_096
LONGEST_VALUE = 4_096
#: Bytes that Python's own reader is given: it is many times slower.
LONGEST_ODD = 65_536


def json(parts: Sequence[bytes], *, cut: bool = False) -> Any:
    """The value that the body holds, or None; of a cut body, as much as can be read.

    >>> json([b'{"a": 1, "b"', b': [{"c": 2}, {"c'], cut=True)
    {'a': 1, 'b': [{'c': 2}]}
    """
    data = parts[0] if len(parts) == 1 else b"".join(parts)
    if not cut and (found := _read(data)) is not None:
        return found
    if data[:1] not in (b"{", b"[") or data[1:2] == b"\0":
        data = _in_utf8(data)
    for end in _ends(data) if cut else ():
        if (found := _read(_closed(data[:end]))) is not None:
            return found
    if len(data) > LONGEST_ODD or not _BEGINNING.match(data):
        return None
    for whole in (_closed(data[:end]) for end in _ends(data)) if cut else (data,):
        if (found := _read_as_python(whole)) is not None:
            return found
    return None


def begins_as_json(parts: Sequence[bytes]) -> bool:
    """Whether an object or a list may begin here."""
    return bool(parts) and _BEGINNING.match(parts[0]) is not None


def _ends(data: bytes) -> list[int]:
    """Behind which bytes a cut body may end: a closed value, or a comma before another key."""
    ends = {data.rfind(b"}") + 1, data.rfind(b"]") + 1, data.rfind(b',"'), data.rfind(b", ")}
    return sorted((end for end in ends if end > 0), reverse=True)


def _in_utf8(data: bytes) -> bytes:
    """*data*, in whichever encoding of RFC 4627 it is."""
    encoding = detect_encoding(data[:4] if len(data) > 3 else data)
    if encoding == "utf-8":
        return data
    return data.decode(encoding, "ignore").encode("utf-8", "surrogatepass")


def _read(data: bytes) -> Any:
    try:
        return _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _read_as_python(data: bytes) -> Any:
    """As ``json.loads`` reads it; what it makes of half characters is none in UTF-8."""
    try:
        return _decode_as_python(data.decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError):
        return None


def _closed(data: bytes) -> bytes:
    """*data* with everything closed that it leaves open."""
    brackets = _STRING.sub(b"", data).translate(None, _NOT_BRACKETS)
    for _ in range(64):  # each pass closes the innermost pairs
        fewer = brackets.replace(b"{}", b"").replace(b"[]", b"")
        if len(fewer) == len(brackets):
            break
        brackets = fewer
    return data + b"".join(_CLOSING.get(bracket, b"") for bracket in reversed(brackets))


def unpacked(
    parts: Sequence[bytes], encoding: str | None, *, most: int = 65_536
) -> tuple[Sequence[bytes], bool]:
    """The bytes of a body that its application may have packed, and whether they were cut.

    What is packed otherwise than with gzip or deflate is not looked at: no parts.
    """
    if not parts or encoding is None or encoding in ("", "identity"):
        return parts, False
    if encoding not in ("gzip", "x-gzip", "deflate"):
        return (), False
    inflate = zlib.decompressobj(wbits=47 if "gzip" in encoding else 15)
    try:
        data = inflate.decompress(b"".join(parts), most)
    except zlib.error:
        return (), False
    return ([data] if data else []), not inflate.eof


def form(parts: Sequence[bytes], *, cut: bool = False) -> dict[str, Any] | None:
    """The fields of an ``application/x-www-form-urlencoded`` body, a list where one repeats.

    What stands there alone is no name but a value without one.

    >>> form([b"user=bob&tag=a&tag=b"]), form([b"hunter2"])
    ({'user': 'bob', 'tag': ['a', 'b']}, {'': 'hunter2'})
    """
    text = b"".join(parts).decode("utf-8", "replace")
    if cut:
        text = text[: max(text.rfind("&"), 0)]
    text = "&".join([one if "=" in one else f"={one}" for one in text.split("&") if one])
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=MOST)
    except ValueError:
        return None
    return _gathered(pairs) or None


def _gathered(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Fields by name; the values of one that repeats, as a list."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name not in found:
            found[name] = value
        elif isinstance(found[name], list):
            found[name].append(value)
        else:
            found[name] = [found[name], value]
    return found


#: A parameter of a header; quoted ones are passed over whole.
_PARAMETERS = re.compile(r';\s*+([^=;\s"]++)\s*+=\s*+(?:"((?:[^"\\]|\\.)*+)"|([^;,\s]*+))', re.S)
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_DISPOSITION = re.compile(rb"^content-disposition[ \t]*+:[ \t]*+form-data([^\r\n]*+)", re.I | re.M)
_PARAMETER = re.compile(
    rb';[ \t]*+(name|filename\*?)[ \t]*+=[ \t]*+(?:"([^"]*+)"?|([^;\s]*+))', re.I
)
#: Characters of a boundary.
LONGEST_BOUNDARY = 200


def multipart(
    parts: Sequence[bytes], content_type: str, *, cut: bool = False
) -> tuple[dict[str, Any], list[str]]:
    """The fields of a multipart body, with the values of small ones, and the names of its files.

    >>> multipart([b'--b\\r\\nContent-Disposition: form-data; name="a"\\r\\n\\r\\n1\\r\\n--b--'],
    ...           "multipart/form-data; boundary=b")
    ({'a': '1'}, [])
    """
    boundary = _boundary(content_type)
    if not boundary:
        return {}, []
    mark = b"--" + boundary.encode("utf-8", "surrogateescape")
    fields: list[tuple[str, str | None]] = []
    files: list[str] = []
    sections = b"".join(parts).split(mark, MOST)[1:]
    for n, section in enumerate(sections, 1):
        end = _HEAD_END.search(section)
        found = _DISPOSITION.search(section, 0, end.start() if end else len(section))
        if found is None:
            continue
        said = {name.lower(): one or other for name, one, other in _PARAMETER.findall(found[1])}
        file = said.get(b"filename") or said.get(b"filename*")
        if file:
            files.append(file[:512].decode("utf-8", "replace"))
        is_whole = end is not None and not file and not (cut and n == len(sections))
        value = (
            section[end.end() :].removesuffix(b"\n").removesuffix(b"\r")
            if is_whole and end
            else b""
        )
        small = is_whole and len(value) <= LONGEST_VALUE
        name = said.get(b"name", b"").decode("utf-8", "replace")
        fields.append((name, value.decode("utf-8", "replace") if small else None))
    return _gathered(fields), files


def _boundary(content_type: str) -> str:
    """What stands between the parts.

    >>> _boundary('multipart/form-data; xboundary=zz; a="; boundary=y"; Boundary="b"')
    'b'
    """
    for name, quoted, bare in _PARAMETERS.findall(content_type):
        if name.lower() == "boundary":
            return re.sub(r"\\(.)", r"\1", quoted or bare)[:LONGEST_BOUNDARY]
    return ""


def leaves(value: Any) -> Iterator[tuple[str, str, Any]]:
    """Dotted path, key and value of each leaf, outer ones first; list elements share their path.

    >>> list(leaves({"a": {"b": 1}, "c": [2, {"d": 3}]}))
    [('a.b', 'b', 1), ('c', 'c', 2), ('c.d', 'd', 3)]
    """
    level: list[tuple[str, str, Any]] = [("", "", value)]
    left = MOST
    for _ in range(DEPTH + 1):
        deeper: list[tuple[str, str, Any]] = []
        for path, key, item in level:
            if type(item) is dict:
                deeper += [(f"{path}.{k}" if path else k, k, v) for k, v in item.items()]
            elif type(item) is list:
                deeper += [(path, key, v) for v in item]
            else:
                yield path, key, item
            left -= 1
            if not left:
                return
        if not deeper:
            return
        level = deeper


def keys(value: Any, most: int = MOST, among: Container[str] | None = None) -> list[str]:
    """Dotted paths of the first *most* keys, outer ones first; of a list, those of its first two.

    Of those *among* some only, if so; these are folded.  What is called a key and is more likely a
    value stands there as ``*``.

    >>> keys({"a": {"b": 1}, "c": [{"d": 2}, {"e": 3}, {"f": 4}], "ann@example.org": {"d": 5}})
    ['a', 'c', '*', 'a.b', 'c.d', 'c.e', '*.d']
    """
    found: dict[str, None] = {}
    level: list[tuple[tuple[str, ...], Any]] = [((), value)]
    left, seen = LONGEST_NAMES, 0
    for _ in range(DEPTH):
        deeper: list[tuple[tuple[str, ...], Any]] = []
        for above, item in level:
            for element in item[:2] if type(item) is list else (item,):
                if type(element) is not dict:
                    continue
                for key, inner in element.items():
                    seen += 1
                    if type(inner) is dict or type(inner) is list:
                        deeper.append(((*above, key), inner))
                    if among is not None and folded(key) not in among:
                        continue
                    path = ".".join([NAMES[name] for name in (*above, key)])
                    if path not in found:
                        left -= len(path)
                        if left < 0:
                            return list(found)
                        found[path] = None
                        if len(found) >= most:
                            return list(found)
                if seen > MOST_SEEN:
                    return list(found)
        if not deeper:
            break
        level = deeper
    return list(found)
