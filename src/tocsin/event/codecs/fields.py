"""Between an event and the plain values that every codec writes and reads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from tocsin.errors import Malformed
from tocsin.event.model import Event
from tocsin.event.schema import COLUMNS, NAMES, Type
from tocsin.event.times import read_time, rfc3339

__all__ = ["ATTRIBUTES", "build", "fields"]

#: The one text column that is an object in an event.
ATTRIBUTES = "attributes"


def fields(event: Event) -> Iterator[tuple[str, Type, Any]]:
    """The fields that are not null, in the order of the schema; times as RFC 3339."""
    for column in COLUMNS:
        value = getattr(event, column.name)
        if value is not None:
            is_time = column.type is Type.TIME
            yield column.name, column.type, rfc3339(value) if is_time else value


def build(values: dict[str, Any]) -> Event:
    """The event of *values*, checked field by field."""
    for name, value in values.items():
        if name not in NAMES:
            raise Malformed(f'unknown field "{_short(name)}"', field=_short(name))
        if NAMES[name].type is Type.TIME:
            instant = read_time(value)
            if instant is None:
                raise Malformed(f"{name}: not a time: {_short(value)}", field=name)
            values[name] = instant.ns
    try:
        return msgspec.convert(values, Event)
    except msgspec.ValidationError as error:
        raise Malformed(f"not an event: {error}") from error


def _short(value: object) -> str:
    return ascii(value)[:64].strip("'\"")
