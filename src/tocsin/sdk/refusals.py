"""Which fields a validator refused, and by which rule; never the values.

The exceptions of frameworks are known by their packages and shapes, so that none is imported here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct

__all__ = ["Complaint", "complaints_in", "complaints_of"]

MOST = 64  #: complaints of one request
BEHIND = 10  #: exceptions behind the one that was raised that are asked
DEPTH = 8  #: levels of fields

_PACKAGES = frozenset(
    "pydantic pydantic_core fastapi rest_framework marshmallow jsonschema django litestar msgspec "
    "werkzeug webargs connexion".split()
)


class Complaint(Struct, frozen=True, gc=False):
    """One field that was refused, and by which rule; never its value."""

    field: str  #: dotted: ``body.items.0.price``
    rule: str  #: the framework's name of the rule: ``missing``, ``enum``, ``max_length``


def complaints_of(error: BaseException) -> list[Complaint]:
    """The fields that *error*, or what caused it, complains about; empty when it is no validator's.

    A framework often raises an answer of its own in the place of the validator's exception, which
    is then its context, even a suppressed one.
    """
    asked: set[int] = set()
    at: BaseException | None = error
    while at is not None and id(at) not in asked and len(asked) < BEHIND:
        asked.add(id(at))
        read = _READERS.get(_package(at))
        if read is not None:
            try:
                found = read(at)
            except Exception:  # noqa: BLE001  a look-alike of what the reader expects
                found = []
            if found:
                return found[:MOST]
        at = at.__cause__ or at.__context__
    return []


def complaints_in(tree: object) -> list[Complaint]:
    """Complaints that stand in an answer: fields, nested, with lists of texts that have codes."""
    return list(_leaves(tree, ()))[:MOST]


def _package(error: BaseException) -> str:
    """Whose exception it is: the nearest of its classes that belongs to a known package tells."""
    for kind in type(error).__mro__:
        package = kind.__module__.partition(".")[0]
        if package in _PACKAGES:
            return package
    return ""


def _complaint(path: Sequence[Any], rule: object) -> Complaint:
    return Complaint(".".join(str(step) for step in path)[:200], str(rule)[:64])


def _leaves(tree: Any, path: tuple[Any, ...]) -> Iterator[Complaint]:
    if len(path) > DEPTH:
        return
    if isinstance(tree, Mapping):
        for key, below in list(tree.items())[:MOST]:
            yield from _leaves(below, (*path, key))
    elif isinstance(tree, list | tuple):
        for at, item in enumerate(tree[:MOST]):
            yield from _leaves(item, (*path, at) if isinstance(item, Mapping) else path)
    elif isinstance(tree, str):
        yield _complaint(path, getattr(tree, "code", None) or _rule(tree))


#: What validators whose rules have no names begin to say, and what we call the rule.
_RULES = {
    "missing": "required",
    "field required": "required",
    "field may not be null": "null",
    "unknown": "unknown",
    "not a valid": "type",
    "invalid input type": "type",
    "expected": "type",
    "object missing required": "required",
    "object contains unknown": "unknown",
    "invalid enum": "enum",
    "must be one of": "enum",
    "must be equal": "equal",
    "must be greater": "range",
    "must be less": "range",
    "length must": "length",
    "shorter than": "length",
    "longer than": "length",
    "string does not match": "pattern",
    "invalid uuid": "type",
    "input should": "type",
}


def _rule(words: str) -> str:
    """The words may quote the value, so only what they begin with is understood."""
    low = words[:40].lower()
    return next((rule for start, rule in _RULES.items() if low.startswith(start)), "invalid")


def _pydantic(error: Any) -> list[Complaint]:
    """Pydantic 1 and 2, and FastAPI's wrapping of either."""
    errors = getattr(error, "errors", None)
    found: Any = errors() if callable(errors) else ()
    return [_complaint(item["loc"], item["type"]) for item in list(found)[:MOST]]


def _rest_framework(error: Any) -> list[Complaint]:
    """``detail`` has fields when it is a ValidationError's, else it is a sentence."""
    detail = getattr(error, "detail", None)
    return complaints_in(detail) if isinstance(detail, dict | list) else []


def _marshmallow(error: Any) -> list[Complaint]:
    return complaints_in(getattr(error, "messages", None))


def _werkzeug(error: Any) -> list[Complaint]:
    """A form field or query argument taken for granted; or what webargs ties to its answer."""
    if type(error).__name__ == "BadRequestKeyError" and error.args:
        return [_complaint([error.args[0]], "required")]
    data = getattr(error, "data", None)
    return complaints_in(data.get("messages")) if isinstance(data, dict) else []


def _jsonschema(error: Any) -> list[Complaint]:
    """``required`` is about fields below the place that it names."""
    path, rule = list(error.absolute_path), error.validator
    if rule == "required" and isinstance(error.instance, dict):
        missing = [name for name in error.validator_value if name not in error.instance]
        return [_complaint([*path, name], rule) for name in missing]
    return [_complaint(path, rule)]


def _django(error: Any) -> list[Complaint]:
    """The ValidationError of forms and models; the fields of the whole have no name."""
    if type(error).__name__ != "ValidationError":
        return []
    by_field = getattr(error, "error_dict", None) or {"": error.error_list}
    return [
        _complaint([field], one.code or "invalid")
        for field, several in by_field.items()
        for one in several
    ]


_PLACE = re.compile(r" - at `\$\.?([^`]*)`$")
_MISSING = re.compile(r"Object missing required field `([^`]{1,128})`")


_LACKS = re.compile(r"Missing required (?:(\w{1,20}) )?parameter '?([^'\s]{1,128})'? for ")


def _litestar(error: Any) -> list[Complaint]:
    extra = getattr(error, "extra", None)
    found: list[Complaint] = []
    if lacks := _LACKS.match(str(getattr(error, "detail", ""))):
        found.append(_complaint([step for step in lacks.groups() if step], "required"))
    for item in extra if isinstance(extra, list) else ():
        if isinstance(item, dict) and "key" in item:
            source, words = item.get("source"), str(item.get("message", ""))
            path = [getattr(source, "value", source), item["key"]]
            if missing := _MISSING.match(words):
                path.append(missing[1])
            found.append(_complaint([step for step in path if step], _rule(words)))
    return found


def _msgspec(error: Any) -> list[Complaint]:
    """Its place stands at the end of the words: ``Expected `int`, got `str` - at `$.items[0]```."""
    if type(error).__name__ != "ValidationError":
        return []
    words = str(error)
    place = _PLACE.search(words)
    path = place[1].replace("[", ".").replace("]", "").split(".") if place else []
    if missing := _MISSING.match(words):
        path.append(missing[1])
    return [_complaint([step for step in path if step], _rule(words))]


#: What connexion's parameter validation says; the value, where it is said, is not read.
_SAYS = (
    (re.compile(r"Missing (\w{1,20}) parameter '([^'\r\n]{1,128})'"), "required"),
    (
        re.compile(r"Wrong type, expected '\w+' for (\w{1,20}) parameter '([^'\n]{1,128})'"),
        "type",
    ),
    (re.compile(r"Extra (\w{1,20}) parameter\(s\) ([\w.,-]{1,128}) not in spec"), "unknown"),
)
_FAILED = re.compile(r"^Failed validating '(\w{1,32})' in schema", re.M)


def _connexion(error: Any) -> list[Complaint]:
    detail = str(getattr(error, "detail", ""))
    for says, rule in _SAYS:
        if found := says.match(detail):
            return [_complaint(found.groups(), rule)]
    found = _FAILED.search(detail)
    return [_complaint([], found[1])] if found else []


_READERS: Mapping[str, Callable[[Any], list[Complaint]]] = {
    "pydantic": _pydantic,
    "pydantic_core": _pydantic,
    "fastapi": _pydantic,
    "rest_framework": _rest_framework,
    "marshmallow": _marshmallow,
    "webargs": _marshmallow,
    "werkzeug": _werkzeug,
    "jsonschema": _jsonschema,
    "django": _django,
    "litestar": _litestar,
    "msgspec": _msgspec,
    "connexion": _connexion,
}
