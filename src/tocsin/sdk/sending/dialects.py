"""An event in the words of others: ECS, OCSF, Datadog and Splunk, by the names of the schema table.

What a dialect has no word for is kept beneath ``tocsin`` (in OCSF beneath ``unmapped``).  A name
with dots is a path in ECS and OCSF and stays one name in the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tocsin.event.model import Event
from tocsin.event.schema import COLUMNS
from tocsin.event.times import rfc3339

__all__ = ["DIALECTS", "datadog", "ecs", "ocsf", "splunk"]

_MS = 1_000_000  #: nanoseconds
_OWN = "tocsin"

#: OCSF's caption and number of our severities and outcomes.
_SEVERITY = {
    "debug": ("Informational", 1),
    "info": ("Informational", 1),
    "warn": ("Medium", 3),
    "error": ("High", 4),
    "critical": ("Critical", 5),
}
_STATUS = {"success": ("Success", 1), "failure": ("Failure", 2)}
_METHODS: tuple[str, ...] = tuple(
    "CONNECT DELETE GET HEAD OPTIONS POST PUT TRACE".split()
)  # from 1
_OTHER = 99


def ecs(event: Event) -> dict[str, Any]:
    """Elastic Common Schema: nested; ``labels`` holds plain values only, under names without dots.

    >>> ecs(Event(time=0, method="GET", attributes={"a.b": 1}))["labels"]
    {'a_b': 1}
    """
    out: dict[str, Any] = {"@timestamp": _rfc3339(event.time), "ecs": {"version": "8.11.0"}}
    for name, path in _ECS:
        value = getattr(event, name)
        if value is None:
            continue
        if name == "attributes":
            plain, rest = _labels(value)
            if plain:
                _put(out, path, plain)
            if rest:
                _put(out, (_OWN, "attributes"), rest)
        elif name == "observed":
            _put(out, path, _rfc3339(value))
        else:
            _put(out, path, [value] if name == "role" else value)
    return out


def ocsf(event: Event) -> dict[str, Any]:
    """OCSF: nested, times in milliseconds.  A request is HTTP Activity, all else a base event."""
    out: dict[str, Any] = {"time": _ms(event.time)}
    own: dict[str, Any] = {}
    for name, path in _OCSF:
        value = getattr(event, name)
        if value is None:
            continue
        if path is None:
            own[name] = value
        elif name in ("observed", "duration_ns"):
            _put(out, path, _ms(value))
        elif name != "attributes":
            _put(out, path, value)
    out |= _class(event)
    out["severity"], out["severity_id"] = _SEVERITY.get(str(event.severity), ("Unknown", 0))
    out["status"], out["status_id"] = _STATUS.get(str(event.outcome), ("Unknown", 0))
    _put(out, ("metadata", "version"), "1.3.0")
    _put(out, ("metadata", "product", "vendor_name"), _OWN)
    if event.boot is not None and event.source_seq is not None:
        _put(out, ("metadata", "uid"), f"{event.boot}-{event.source_seq}")
    if event.object_type is not None or event.objects:
        kind = {} if event.object_type is None else {"type": event.object_type}
        out["resources"] = [{**kind, "uid": uid} for uid in event.objects or ()] or [kind]
    unmapped = _renamed(event.attributes or {}) | ({_OWN: own} if own else {})
    if unmapped:
        out["unmapped"] = unmapped
    return out


def datadog(event: Event) -> dict[str, Any]:
    """Datadog's standard attributes: flat names with dots, tags as one text."""
    out = _flat(event, _DATADOG)
    out["date"] = _rfc3339(event.time)
    if event.tags:
        out["ddtags"] = ",".join(tag.replace(",", "_") for tag in event.tags)
    return out


def splunk(event: Event) -> dict[str, Any]:
    """Splunk's Common Information Model: flat, seconds since 1970, durations in milliseconds.

    ``_time`` is text here, with nanoseconds that no float would hold.
    """
    out = _flat(event, _SPLUNK)
    seconds, rest = divmod(event.time, 1000 * _MS)
    out["_time"] = f"{seconds}.{rest:09d}"
    if event.duration_ns is not None:
        out["response_time"] = event.duration_ns / _MS
    return out


DIALECTS: Mapping[str, Callable[[Event], dict[str, Any]]] = {
    "ecs": ecs,
    "ocsf": ocsf,
    "datadog": datadog,
    "splunk": splunk,
}


def _flat(event: Event, names: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    values = ((theirs, getattr(event, ours)) for ours, theirs in names)
    return {theirs: value for theirs, value in values if value is not None}


def _put(out: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for name in path[:-1]:
        out = out.setdefault(name, {})
    out[path[-1]] = value


def _class(event: Event) -> dict[str, Any]:
    """The numbers by which OCSF tells its classes apart."""
    request = event.method is not None
    known = request and event.method in _METHODS
    activity = _METHODS.index(str(event.method)) + 1 if known else _OTHER
    kind = 4002 if request else 0
    return {
        "class_uid": kind,
        "category_uid": kind // 1000,
        "activity_id": activity,
        "activity_name": str(event.method if request else event.kind),
        "type_uid": kind * 100 + activity,
    }


def _labels(attributes: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    plain: dict[str, Any] = {}
    rest: dict[str, Any] = {}
    for key, value in attributes.items():
        label = str(key).replace(".", "_")
        if isinstance(value, str | int | float) and label not in plain:
            plain[label] = value
        else:
            rest[key] = value
    return plain, rest


def _renamed(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """*attributes* without the name under which we speak ourselves."""
    return {f"_{key}" if str(key).strip("_") == _OWN else key: v for key, v in attributes.items()}


def _rfc3339(ns: int) -> str:
    try:
        return rfc3339(ns)
    except (OverflowError, ValueError):
        return str(ns)


def _ms(ns: int) -> int:
    return ns // _MS


def _own(name: str) -> str:
    return f"{_OWN}.{name}"


def _paths(pairs: list[tuple[str, str]]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    return tuple((name, tuple(theirs.split("."))) for name, theirs in pairs)


_REST = [column for column in COLUMNS if column.name != "time"]
_ECS = _paths([(column.name, column.ecs or _own(column.name)) for column in _REST])
_DATADOG = tuple((column.name, column.datadog or _own(column.name)) for column in _REST)
_SPLUNK = tuple((column.name, column.cim or _own(column.name)) for column in _REST)

#: Columns whose OCSF name holds something else there (an enumeration, an id of one event), or that
#: are written in a form of their own.
_APART = frozenset({"severity", "outcome", "db_rows", "boot", "object_type", "objects"})
_WRITTEN = frozenset({"severity", "outcome", "object_type", "objects"})
_OCSF = tuple(
    (
        column.name,
        None if column.ocsf is None or column.name in _APART else tuple(column.ocsf.split(".")),
    )
    for column in _REST
    if column.name not in _WRITTEN
)
