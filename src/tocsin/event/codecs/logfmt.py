"""key=value: pairs with a space between them, in the order of the schema.

A value that is not plain stands in double quotes, escaped as in ``escape.py`` with ``\\"`` for a
quote.  A list and ``attributes`` are written as JSON, then quoted.
"""

from __future__ import annotations

import json
import re
from typing import Any

from tocsin.errors import Malformed
from tocsin.event.codecs.fields import ATTRIBUTES, build, fields
from tocsin.event.codecs.json import dump
from tocsin.event.escape import escape, unescape
from tocsin.event.model import Event
from tocsin.event.schema import NAMES, Type

__all__ = ["decode", "encode"]

_PLAIN = re.compile(r"[A-Za-z0-9_.:/@+%,;~*()\[\]{}|!?&#$^-]+", re.A)
_PAIR = re.compile(r'([a-z_]+)=(?:"((?:[^"\\]|\\.)*+)"|([^\s"=]+))(?: |\Z)', re.A)


def encode(event: Event) -> str:
    """*event* as one line of key=value."""
    return " ".join(f"{name}={_write(name, kind, value)}" for name, kind, value in fields(event))


def decode(text: str) -> Event:
    """The event that *text* is."""
    values: dict[str, Any] = {}
    at = 0
    while at < len(text):
        found = _PAIR.match(text, at)
        if found is None or (found.end() == len(text) and text.endswith(" ")):
            raise Malformed(f"not key=value at character {at + 1}")
        name = found[1]
        if name in values:
            raise Malformed(f"{name}: stands twice", field=name)
        plain = found[2] is None
        values[name] = _read(name, found[3] if plain else _unquote(found[2]))
        at = found.end()
    return build(values)


def _write(name: str, kind: Type, value: Any) -> str:
    if kind is Type.TEXTS or name == ATTRIBUTES:
        value = dump(value)
    text = str(value)
    return text if _PLAIN.fullmatch(text) else '"' + escape(text).replace('"', '\\"') + '"'


def _read(name: str, text: str) -> Any:
    kind = NAMES[name].type if name in NAMES else Type.TEXT
    try:
        if kind is Type.TEXTS or name == ATTRIBUTES:
            return json.loads(text)
        return int(text) if kind is Type.INT else text
    except RecursionError:
        raise Malformed(f"{name}: nested too deeply", field=name) from None
    except ValueError as error:
        raise Malformed(f"{name}: {error}", field=name) from error


_QUOTE = re.compile(r'\\(?:(")|(.))', re.S)


def _unquote(text: str) -> str:
    return unescape(_QUOTE.sub(lambda m: '"' if m[1] else m[0], text))
