"""XML 1.0: one ``<event>`` element a line, one child a field, one ``<item>`` for each of a list.

XML cannot carry control characters or lone surrogates at all, so text is escaped as in
``escape.py`` first; ``attributes`` is its JSON.
"""

from __future__ import annotations

import json
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import escape as escape_markup

from tocsin.errors import Malformed
from tocsin.event.codecs.fields import ATTRIBUTES, build, fields
from tocsin.event.codecs.json import dump
from tocsin.event.escape import escape, unescape
from tocsin.event.model import Event
from tocsin.event.schema import NAMES, Type

__all__ = ["decode", "encode"]


def encode(event: Event) -> str:
    """*event* as one XML element on one line."""
    parts = (f"<{name}>{_write(name, kind, v)}</{name}>" for name, kind, v in fields(event))
    return f"<event>{''.join(parts)}</event>"


def decode(text: str) -> Event:
    """The event that *text* is."""
    # Our text never holds these; a declaration is where an attack on an XML reader begins.
    if "<!" in text or "<?" in text:
        raise Malformed("not an event: declarations and instructions are not read")
    try:
        root = ElementTree.fromstring(text)  # noqa: S314  # no declaration can be in it
    except (ElementTree.ParseError, ValueError) as error:
        raise Malformed(f"not XML: {error}") from error
    if root.tag != "event" or root.attrib:
        raise Malformed("not an <event> element")
    values: dict[str, Any] = {}
    for child in root:
        if child.tag in values:
            raise Malformed(f"{child.tag}: stands twice", field=child.tag)
        values[child.tag] = _read(child)
    return build(values)


def _write(name: str, kind: Type, value: Any) -> str:
    if kind is Type.TEXTS:
        return "".join(f"<item>{escape_markup(escape(item))}</item>" for item in value)
    if name == ATTRIBUTES:
        return escape_markup(dump(value))
    return escape_markup(escape(str(value)))


def _read(child: ElementTree.Element) -> Any:
    name, text = child.tag, child.text or ""
    kind = NAMES[name].type if name in NAMES else Type.TEXT
    try:
        if kind is Type.TEXTS:
            return [unescape(item.text or "") for item in child]
        if name == ATTRIBUTES:
            return json.loads(text)
        return int(text) if kind is Type.INT else unescape(text)
    except RecursionError:
        raise Malformed(f"{name}: nested too deeply", field=name) from None
    except ValueError as error:
        raise Malformed(f"{name}: {error}", field=name) from error
