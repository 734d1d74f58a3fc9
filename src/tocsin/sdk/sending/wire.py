"""An event as the receiver reads it fastest: one line of JSON, nulls left out, ``time`` in ns.

The receiver reads whole numbers of nanoseconds a quarter faster than texts, and exactly.  It tells
the unit of a number by its size, so a time before 1973, which only a clock that was never set
gives, is written out as text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from tocsin.event.kinds import Kind
from tocsin.event.model import Event
from tocsin.event.times import MAX_NS, rfc3339
from tocsin.sdk.noted import Probe
from tocsin.sdk.plain import plain, text

__all__ = ["LINE_BYTES", "encode", "mended", "probe_json", "to_json"]

#: The longest line that leaves; an event that would be longer is cut.
LINE_BYTES = 256 << 10

_CUT = 4 << 10  # characters of each text that a cut event keeps
_PLAIN_NS = 10**17  # from here on a number can only be nanoseconds
_LOG = Kind.LOG
_LISTS = ("objects", "fields_in", "sensitive", "tags")


def encode(event: Event, *, words: bool = False) -> bytes:
    """*event* as one line, without a new line; with *words*, its time is written as RFC 3339.

    A line comes out whatever stands in it: what JSON cannot say is written in words, what is too
    long is cut and says so.
    """
    try:
        line = _line(event, words)
        if len(line) <= LINE_BYTES:
            return line
    except (UnicodeError, RecursionError, ValueError, TypeError):
        pass
    event = mended(event)
    line = _line(event, words)
    return line if len(line) <= LINE_BYTES else _line(_shrunk(event), words)


def probe_json(probe: Probe) -> bytes:
    """*probe* as members of a JSON object, without its brackets."""
    try:
        return to_json(probe)[1:-1]
    except UnicodeError:
        return to_json({name: text(value) for name, value in probe.items()})[1:-1]


def _line(event: Event, words: bool) -> bytes:
    line = to_json(event)
    if event.kind is _LOG:
        line = b'{"kind":"log",' + line[1:]  # a default is left out; said, nobody has to guess
    time = event.time
    if words or not _PLAIN_NS <= time <= MAX_NS:
        said = b'"time":%s' % to_json(_written(time))
        line = line.replace(b'"time":%s' % to_json(time), said, 1)
    return line


def _written(time: int) -> str:
    try:
        return rfc3339(time)
    except (OverflowError, ValueError):  # centuries away: let them see it
        return str(time)


def _foreign(value: object) -> object:
    """What msgspec has no JSON for: subclasses of text and mappings as such, others by name."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, Mapping):
        return dict(value)
    return f"<{type(value).__qualname__}>"


#: Any value as JSON, where JSON has it.
to_json = msgspec.json.Encoder(enc_hook=_foreign).encode


def mended(event: Event) -> Event:
    """*event* with nothing in it that JSON cannot say, and no text without end."""
    values = {name: getattr(event, name) for name in Event.__struct_fields__}
    return Event(**{name: _said(value) for name, value in values.items()})


def _said(value: Any) -> Any:
    if isinstance(value, str):
        return text(value)
    return tuple(plain(value)) if isinstance(value, tuple) else plain(value)


def _shrunk(event: Event) -> Event:
    """*event* with its texts and lists cut, without attributes where these are the bulk of it."""
    cuts: dict[str, Any] = {
        name: text(value, _CUT)
        for name in Event.__struct_fields__
        if isinstance(value := getattr(event, name), str)
    }
    for name in _LISTS:
        if isinstance(value := getattr(event, name), tuple):
            cuts[name] = tuple(text(item, _CUT // 16) for item in value)
    size = len(to_json(event.attributes))
    if size > LINE_BYTES // 4:
        cuts["attributes"] = {"cut": f"attributes of {size} bytes were left out"}
    return replace(event, **cuts)
