"""JSON: one object a line, nulls left out, keys in the order of the schema."""

from __future__ import annotations

import json
import re
from typing import Any

from tocsin.errors import Malformed, UsageError
from tocsin.event.codecs.fields import build, fields
from tocsin.event.escape import UNSAFE
from tocsin.event.model import Event

__all__ = ["decode", "dump", "encode"]

_UNSAFE = re.compile(f"[{UNSAFE}]")


def encode(event: Event) -> str:
    """*event* as one line of JSON."""
    return dump({name: value for name, _, value in fields(event)})


def decode(text: str) -> Event:
    """The event that *text* is."""
    try:
        value = json.loads(text, object_pairs_hook=_no_repeats)
    except RecursionError:
        raise Malformed("nested too deeply") from None
    except ValueError as error:
        raise Malformed(f"not JSON: {error}") from error
    if not isinstance(value, dict):
        raise Malformed("not a JSON object")
    return build(value)


def dump(value: Any) -> str:
    """*value* as JSON on one line, without any unsafe character in it."""
    try:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"attributes: only JSON values can be written: {error}") from error
    return _UNSAFE.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    units = found[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse an object that names a key twice: readers would disagree on what it says."""
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("a key stands twice in one object")
    return value
