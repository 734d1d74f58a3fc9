"""The words before the colon: every column, a few short names, and what may be asked of each."""

from __future__ import annotations

from difflib import get_close_matches
from enum import StrEnum
from types import MappingProxyType

from tocsin.errors import QueryError
from tocsin.event import COLUMNS, Type

__all__ = [
    "ALIASES",
    "ATTRIBUTE",
    "FORMS",
    "SEQ",
    "TEXTS",
    "Form",
    "attribute_path",
    "column_of",
    "find_field",
    "form_of",
]

SEQ = "seq"  #: the vault's number of an entry; a field, though no column of the schema
ATTRIBUTE = "attributes."  #: what a field inside ``attributes`` begins with


class Form(StrEnum):
    """What kind of question a field takes."""

    TEXT = "text"  #: compared without regard to case
    ID = "id"  #: compared as typed, all lower-case or all upper-case
    KIND = "kind"  #: one name of a closed vocabulary
    ADDRESS = "address"  #: IPv4 or IPv6, networks too
    TEXTS = "texts"  #: a list; one of them suffices
    IDS = "ids"  #: a list of ids
    ATTRIBUTE = "attribute"  #: whatever the JSON holds at that place
    NUMBER = "number"  #: whole number
    SIZE = "size"  #: whole number, takes kB, MiB ...
    DURATION = "duration"  #: nanoseconds, takes ms, s, m ...
    TIME = "time"  #: a moment


_SPECIAL = {
    "kind": Form.KIND,
    "duration_ns": Form.DURATION,
    "bytes_in": Form.SIZE,
    "bytes_out": Form.SIZE,
    "client_ip": Form.ADDRESS,
    "peer_ip": Form.ADDRESS,
    "objects": Form.IDS,
    **dict.fromkeys(("session", "api_key", "trace_id", "span_id", "request_id", "boot"), Form.ID),
}
_USUAL = {
    Type.TEXT: Form.TEXT,
    Type.INT: Form.NUMBER,
    Type.TIME: Form.TIME,
    Type.TEXTS: Form.TEXTS,
}

#: Form of each field that has a column, and of ``seq``.
FORMS = MappingProxyType(
    {SEQ: Form.NUMBER, **{c.name: _SPECIAL.get(c.name, _USUAL[c.type]) for c in COLUMNS}}
)

#: Names that are quicker to type.
ALIASES = MappingProxyType(
    {
        "ip": "client_ip",
        "ua": "user_agent",
        "duration": "duration_ns",
        "trace": "trace_id",
        "tag": "tags",
    }
)

#: Columns that free text looks into: everything that is text or a list of texts.
TEXTS: tuple[str, ...] = tuple(c.name for c in COLUMNS if c.type in (Type.TEXT, Type.TEXTS))


def find_field(word: str, *, column: int, whole: str | None = None) -> str:
    """Canonical name of the field that people call *word*, in any case.

    *whole* is the term it stands in, for the way out that the error offers.
    """
    head, dot, path = word.partition(".")
    if dot and path and head.lower() in ("attr", "attributes"):
        return ATTRIBUTE + path
    name = ALIASES.get(word.lower(), word.lower())
    if name in FORMS:
        return name
    near = get_close_matches(word.lower(), [*FORMS, *ALIASES], n=3, cutoff=0.55)
    hint = f"did you mean {_either(near)}?" if near else "no field has a name like it;"
    joint = " or " if near else " "
    quote = "" if whole is None else f'{joint}to search for the text itself, quote it: "{whole}"'
    raise QueryError(f'unknown field "{word}"; {hint}{quote}', column=column)


def form_of(field: str) -> Form:
    """What may be asked of *field*, a canonical name."""
    return Form.ATTRIBUTE if field.startswith(ATTRIBUTE) else FORMS[field]


def column_of(field: str) -> str:
    """The column that holds *field*."""
    return "attributes" if field.startswith(ATTRIBUTE) else field


def attribute_path(field: str) -> str:
    """Where in the JSON *field* lies: ``order.id`` of ``attributes.order.id``."""
    return field.removeprefix(ATTRIBUTE)


def _either(names: list[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} or {last}" if most else last
