"""What an option may be, beyond its type: said when it is set, not when it is first needed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from ipaddress import ip_network
from typing import Any, get_type_hints

import msgspec
from msgspec.structs import replace

from tocsin.errors import SettingsError
from tocsin.event.schema import NAMES
from tocsin.sdk.options import Options

__all__ = ["checked"]

FORMATS = frozenset("json ecs ocsf datadog splunk xml kv".split())


def checked(options: Options, names: Iterable[str]) -> Options:
    """*options*, of which those *names* are looked at; SettingsError for the first that is wrong.

    >>> checked(Options(batch_events=0), ["batch_events"])
    Traceback (most recent call last):
        ...
    tocsin.errors.SettingsError: option batch_events: 0 is not from 1 to 100000
    """
    kinds = get_type_hints(Options)
    changes: dict[str, Any] = {}
    for name in names:
        value = getattr(options, name)
        if name == "before_send":
            if value is not None and not callable(value):
                raise SettingsError("option before_send: not a function")
            continue
        try:
            changes[name] = value = msgspec.convert(value, kinds[name])
        except msgspec.ValidationError as error:
            raise SettingsError(f"option {name}: {error}") from error
        if name in _RULES and (wrong := _RULES[name](value)):
            raise SettingsError(f"option {name}: {wrong}")
    return replace(options, **changes)


def _within(low: float, high: float) -> Callable[[float], str | None]:
    def wrong(value: float) -> str | None:
        inside = math.isfinite(value) and low <= value <= high
        return None if inside else f"{value} is not from {low} to {high}"

    return wrong


def _format(value: str) -> str | None:
    return (
        None if value in FORMATS else f"no format {value!r}; there are {', '.join(sorted(FORMATS))}"
    )


def _output(value: str) -> str | None:
    return None if value.strip() else 'empty; say "off", "stderr" or a file'


def _networks(value: tuple[str, ...]) -> str | None:
    for text in value:
        try:
            ip_network(text, strict=False)
        except ValueError:
            return f"{text!r} is no network; write 10.0.0.0/8"
    return None


def _personal(value: dict[str, str]) -> str | None:
    for column, how in value.items():
        if column not in NAMES:
            return f"no column {column!r}"
        if how not in ("hash", "drop"):
            return f"{column} can be hash or drop, not {how!r}"
    return None


_DAY = 86_400
_RULES: dict[str, Callable[[Any], str | None]] = {
    "format": _format,
    "output": _output,
    "memory_bytes": _within(65_536, 1 << 32),
    "spool_bytes": _within(0, 1 << 40),
    "batch_events": _within(1, 100_000),
    "batch_seconds": _within(0, _DAY),
    "timeout": _within(0.01, _DAY),
    "farewell": _within(0, _DAY),
    "heartbeat_seconds": _within(0, 30 * _DAY),
    "trusted_proxies": _networks,
    "sample": _within(0, 1),
    "inspect_bytes": _within(0, 1 << 24),
    "probe_bytes": _within(0, 1 << 24),
    "personal": _personal,
}
