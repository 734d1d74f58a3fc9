"""What a body says, from its first bytes: JSON even when it is cut, and forms.

Nothing here raises for foreign bytes, and nothing takes longer than the bytes are long.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import parse_qsl

import msgspec

__all__ = ["form", "json", "keys", "leaves", "multipart", "unpacked"]

_decode = msgspec.json.Decoder().decode
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.S)
_NOT_BRACKETS = bytes(sorted(set(range(256)) - set(b"[]{}")))
_CLOSING = {ord("["): b"]", ord("{"): b"}"}

#: Levels that are walked, and values: what is deeper or later is not looked at.
DEPTH = 6
MOST = 512


def json(parts: Sequence[bytes], *, cut: bool = False) -> Any:
    """The value that the body holds, or None; of a cut body, as much as can be read.

    >>> json([b'{"a": 1, "b"', b': [{"c": 2}, {"c'], cut=True)
    {'a': 1, 'b': [{'c': 2}]}
    """
    data = parts[0] if len(parts) == 1 else b"".join(parts)
    if not cut:
        return _read(data)
    # Behind which bytes a cut body may end: a closed value, or a comma before another key.
    ends = {data.rfind(b"}") + 1, data.rfind(b"]") + 1, data.rfind(b',"'), data.rfind(b", ")}
    for end in sorted(ends, reverse=True):
        if end > 0 and (found := _read(_closed(data[:end]))) is not None:
            return found
    return None


def _read(data: bytes) -> Any:
    try:
        return _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
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

    >>> form([b"user=bob&tag=a&tag=b"])
    {'user': 'bob', 'tag': ['a', 'b']}
    """
    text = b"".join(parts).decode("utf-8", "replace")
    if cut:
        text = text[: max(text.rfind("&"), 0)]
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=MOST)
    except ValueError:
        return None
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name not in found:
            found[name] = value
        elif isinstance(found[name], list):
            found[name].append(value)
        else:
            found[name] = [found[name], value]
    return found or None


_PART = re.compile(
    rb'content-disposition:[ \t]*form-data;[^\r\n]*?\bname="([^"\r\n]{0,256})"'
    rb'(?:[^\r\n]*?\bfilename\*?="?([^"\r\n;]{0,512}))?',
    re.I,
)


def multipart(parts: Sequence[bytes]) -> tuple[list[str], list[str]]:
    """Names of the fields, and of the files, that the first bytes of a multipart body announce."""
    fields: list[str] = []
    files: list[str] = []
    for name, file in _PART.findall(b"".join(parts))[:MOST]:
        fields.append(name.decode("utf-8", "replace"))
        if file:
            files.append(file.decode("utf-8", "replace"))
    return fields, files


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


def keys(value: Any) -> list[str]:
    """Dotted paths of all keys, outer ones first; of a list, those of its first two elements.

    >>> keys({"a": {"b": 1}, "c": [{"d": 2}, {"e": 3}, {"f": 4}]})
    ['a', 'c', 'a.b', 'c.d', 'c.e']
    """
    found: dict[str, None] = {}
    level: list[tuple[str, Any]] = [("", value)]
    for _ in range(DEPTH):
        deeper: list[tuple[str, Any]] = []
        for prefix, item in level:
            for element in item[:2] if type(item) is list else (item,):
                if type(element) is dict:
                    for key, inner in element.items():
                        path = prefix + key
                        found[path] = None
                        if type(inner) is dict or type(inner) is list:
                            deeper.append((path + ".", inner))
        if not deeper or len(found) > MOST:
            break
        level = deeper
    return list(found)[:MOST]
