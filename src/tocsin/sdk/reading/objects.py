"""Which objects a request touched, and whose they are: ids from the path and from the answer.

An id leaves only as a keyed hash with its type in front: ``order:6f1d0c22a8b37e45``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from msgspec import Struct

from tocsin.sdk.reading.shapes import Shape, Shapes

__all__ = ["FLAT", "NOTHING", "Touched", "singular", "touched"]

#: Objects of one request that are noted.
MOST = 100

#: Types of values that hold no others.
FLAT = frozenset({str, int, float, bool, type(None)})

_PARAMETER = re.compile(r"\{[^{}/]*\}")
_VERSION = re.compile(r"v[0-9]{1,3}(?:\.[0-9]+)?|api|rest|graphql|_", re.I)
_OWN_ID = frozenset({"id", "uuid", "pk", "Id", "ID", "_id"})


class Touched(Struct, frozen=True, gc=False):
    """The objects of one request."""

    type: str | None = None  #: ``order``; of the innermost, where they differ
    ids: tuple[tuple[str, str], ...] = ()  #: (type, id), not hashed yet
    via: str | None = None  #: list, detail, create, update or delete
    records: int | None = None  #: how many the answer holds
    owners: tuple[str, ...] = ()  #: whose they are, as the answer says; in memory only


NOTHING = Touched()


def touched(
    shapes: Shapes,
    method: str,
    route: str | None,
    params: Mapping[str, Any],
    answer: Any,
    *,
    success: bool,
) -> Touched:
    """What a request touched.  Of a failure only what it asked for is known.

    >>> found = touched(Shapes(), "GET", "/v1/orders/{id}", {"id": 7}, {"id": 7, "owner": "ann"},
    ...                 success=True)
    >>> found.type, found.ids, found.via, found.owners
    ('order', (('order', '7'),), 'detail', ('ann',))
    """
    nouns = _nouns(route)
    asked_for = _from_path(nouns, params) if params else ()
    kind = asked_for[-1][0] if asked_for else nouns.last
    if not success or answer is None:
        return Touched(kind, asked_for, _via(method, asked_for, listed=False))
    is_flat = type(answer) is dict and FLAT.issuperset(map(type, answer.values()))
    elements = None if is_flat else _elements(answer)
    if elements is not None:
        listed = nouns.at_end or kind
        served, owners = _records(shapes, elements, listed)
        ids = tuple(dict.fromkeys((*asked_for, *served)))[:MOST]
        return Touched(listed, ids, _via(method, asked_for, listed=True), len(elements), owners)
    body = answer if is_flat else _inner(answer)
    if body is None:
        return Touched(kind, asked_for, _via(method, asked_for, listed=False))
    found, owners = _record(shapes.of(body), body, kind)
    if found is not None and found[1] not in [one for _, one in asked_for]:
        asked_for = (*asked_for, found)
    records = 1 if asked_for else None
    return Touched(kind, asked_for, _via(method, asked_for, listed=False), records, owners)


class _Nouns(NamedTuple):
    """What the segments of a route are about."""

    types: dict[str, str | None]  #: what each parameter is the id of, in the order of the path
    last: str | None  #: what the whole is about
    at_end: str | None  #: the same, when no parameter follows


def _from_path(nouns: _Nouns, params: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """(type, id) of each path parameter, in the order of the path."""
    found: list[tuple[str, str]] = []
    for name, kind in nouns.types.items():
        if value := _plain(params.get(name)):
            found.append((kind or _type_by_name(name), value))
    if len(found) < len(params):
        for name, given in params.items():
            if name not in nouns.types and (value := _plain(given)):
                found.append((_type_by_name(name), value))
    return tuple(found)


@lru_cache(1024)
def _nouns(route: str | None) -> _Nouns:
    types: dict[str, str | None] = {}
    noun: str | None = None
    at_end: str | None = None
    for segment in (route or "").split("/"):
        if _PARAMETER.fullmatch(segment):
            types[segment[1:-1].partition(":")[0]] = noun
            at_end = None
        elif segment and "{" not in segment and "<" not in segment:
            is_noun = not _VERSION.fullmatch(segment)
            noun = singular(segment) if is_noun else noun
            at_end = noun if is_noun else None
        elif segment:
            at_end = None
    return _Nouns(types, noun, at_end)


def _plain(value: Any) -> str:
    if type(value) is str:
        return value[:256]
    return "" if value is None or isinstance(value, bool) else str(value)[:256]


@lru_cache(1024)
def _type_by_name(name: str) -> str:
    """``order_id`` is an order's."""
    word = re.sub(r"(?:_?(?:id|uuid|pk|key|slug|name)|Id)$", "", name)
    return singular(word) if word else "object"


@lru_cache(1024)
def singular(word: str) -> str:
    """A path segment as the name of a type; English, and good enough to be the same each time.

    >>> singular("orders"), singular("Categories"), singular("addresses"), singular("status")
    ('order', 'category', 'address', 'status')
    """
    word = re.sub(r"[^a-z0-9]+", "_", word.lower())[:40].strip("_")
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("sses", "xes", "ches", "shes")):
        return word[:-2]
    if word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word or "object"


def _via(method: str, asked_for: Sequence[Any], *, listed: bool) -> str:
    if method == "DELETE":
        return "delete"
    if method in ("PUT", "PATCH"):
        return "update"
    if listed:
        return "list"
    if asked_for:
        return "detail"
    return "list" if method == "GET" else "create"


def _inner(answer: Any) -> dict[str, Any] | None:
    """The object that an answer is about, beneath what APIs wrap it in."""
    if type(answer) is not dict:
        return None
    if len(answer) <= 6:
        for name in ("data", "result", "item", "response"):
            inner = answer.get(name)
            if type(inner) is dict:
                return inner
    return answer


def _elements(answer: Any) -> list[dict[str, Any]] | None:
    """The records of an answer that is a list of them, or holds one; None when it is not."""
    if type(answer) is list:
        return answer if answer and type(answer[0]) is dict else None
    if type(answer) is not dict:
        return None
    best: list[dict[str, Any]] | None = None
    most = 0
    for value in answer.values():
        if type(value) is dict:
            value = next((v for v in value.values() if type(v) is list and v), None)
        if type(value) is list and value and type(value[0]) is dict and len(value) > most:
            best, most = value, len(value)
    # An object with some children is not a list; a list has little else beside it, and no id.
    if best is None or not _OWN_ID.isdisjoint(answer):
        return None
    return best


def _records(
    shapes: Shapes, elements: Sequence[Any], kind: str | None
) -> tuple[list[tuple[str, str]], tuple[str, ...]]:
    """(type, id) of each record, and whose they are.  All are read as the first one is."""
    first = elements[0]
    shape = shapes.of(first)
    name = _id_key(first, shape, kind)
    some = [e for e in elements[:MOST] if type(e) is dict]
    served: list[tuple[str, str]] = []
    if name is not None:
        label = kind or "object"
        served = [(label, str(v)) for e in some if _is_id(v := e.get(name))]
    if not shape.owners:
        return served, ()
    owners = [_owner(e.get(key)) for key in shape.owners for e in some]
    return served, tuple(dict.fromkeys(owner for owner in owners if owner))


def _record(
    shape: Shape, body: dict[str, Any], kind: str | None
) -> tuple[tuple[str, str] | None, tuple[str, ...]]:
    """(type, id) of the one record, and whose it is."""
    name = _id_key(body, shape, kind)
    served = (kind or "object", str(body[name])) if name is not None else None
    if not shape.owners:
        return served, ()
    owners = [_owner(body[key]) for key in shape.owners]
    return served, tuple(dict.fromkeys(owner for owner in owners if owner))


def _id_key(element: dict[str, Any], shape: Shape, kind: str | None) -> str | None:
    """The key that holds the id of a record."""
    for name in shape.ids:
        if _is_id(element[name]):
            return name
    if kind and shape.named:
        start = kind.replace("_", "")
        for plain, name in shape.named:
            if plain.startswith(start) and _is_id(element[name]):
                return name
    return None


def _is_id(value: Any) -> bool:
    return type(value) is int or (type(value) is str and 0 < len(value) <= 128)


def _owner(value: Any) -> str | None:
    """The owner that a record names, by a word or as an object."""
    if type(value) is dict:
        value = next((value[k] for k in ("id", "username", "name", "email") if k in value), None)
    if type(value) is int or (type(value) is str and 0 < len(value) <= 256):
        return str(value)
    return None
