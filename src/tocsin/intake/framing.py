"""Bodies into lines, and the place of the first line that is wrong.

Only the frame of a JSON array is read here; each element goes on byte for byte, so that the one
decoder that stores an event is also the one that judged it.
"""

from __future__ import annotations

import re

import msgspec
import polars as pl

from tocsin.errors import Malformed, TooLarge
from tocsin.event import NAMES
from tocsin.intake.parsers.aliases import resolve

__all__ = ["first_fault", "to_lines"]

_WAY_OUT = "correct it, or send with ?on_error=keep to have such lines kept as plain log events"
_COMMAS = 10  # for each element that a limit allows; an event has some twenty
_BYTE = re.compile(r" ?\(byte (\d+)\)")
# How a parser speaks when one key is to blame: the key, and words of its own about it.
_NAMED = re.compile(r"([a-z_]+): (not [A-Za-z ]+|stands twice)")
_TWICE = re.compile(r".*?: stands twice", re.S)


def to_lines(body: bytes, *, limit: int) -> bytes:
    """The elements of a JSON array, or one JSON object, each on a line of its own.

    Raises TooLarge where there may be far more than *limit* elements: each costs memory at once.

    >>> to_lines(b'[{"a": 1, "a": 2}, {"b":\\n 3}]', limit=10)
    b'{"a": 1, "a": 2}\\n{"b":  3}'
    """
    if body.count(b",") > limit * _COMMAS:
        raise TooLarge(
            "the array may have too many elements; send it in smaller parts, or as lines"
        )
    one = body.lstrip()[:1] == b"{"
    try:
        elements = (
            [msgspec.json.decode(body, type=msgspec.Raw)]
            if one
            else msgspec.json.decode(body, type=list[msgspec.Raw])
        )
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise _no_array(body, error) from error
    lines = [bytes(element) for element in elements]
    if b"\n" in body or b"\r" in body:
        # Outside of texts these are mere space, and inside of texts JSON does not allow them.
        lines = [line.replace(b"\n", b" ").replace(b"\r", b" ") for line in lines]
    return b"\n".join(lines)


def _no_array(body: bytes, error: Exception) -> Malformed:
    why, byte = _reason(error)
    line = body.count(b"\n", 0, byte) + 1
    return Malformed(
        f"the body is not one JSON array of events: {why}; for one event a line, send it as "
        "application/x-ndjson",
        line=line,
    )


def _reason(error: Exception) -> tuple[str, int]:
    """A decoder's words, which never quote what they read, and the byte it stumbled at."""
    if isinstance(error, RecursionError):
        return "nested too deeply", 0
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8", error.start
    text = str(error).removeprefix("JSON is malformed: ")
    found = _BYTE.search(text)
    if found is None:
        return text[:1].lower() + text[1:], 0
    return f"{_BYTE.sub('', text)} at byte {found[1]}", int(found[1])


def first_fault(
    body: bytes, lines: bytes, frame: pl.DataFrame, parser: str, *, array: bool
) -> Malformed | None:
    """What to tell the sender about the first row of *frame* that has a ``parse_error``.

    *lines* are those that *frame* was read from: the first ones of *body*, or, if that is an
    *array*, of what ``to_lines`` made of it.  Of the parser's words only those are told that cannot
    quote the line.
    """
    if "parse_error" not in frame.columns:
        return None
    bad = frame["parse_error"].is_not_null().arg_true()
    if not len(bad):
        return None
    row = int(bad[0])
    numbered = [(n, line) for n, line in enumerate(lines.split(b"\n"), 1) if line.strip()]
    if len(numbered) != frame.height:  # records of several lines: the row is all that is known
        return Malformed(
            f"record {row + 1} is not in the format {parser}; {_WAY_OUT}", line=row + 1
        )
    number, line = numbered[row]
    place = f"line {number}"
    if array:
        number = _line_of_element(body, row)
        place = f"element {row + 1}, at line {number}"
    field, fault = _named(str(frame["parse_error"][row])) or (None, _fault(line, parser))
    return Malformed(f"{place}: {fault}; {_WAY_OUT}", line=number, field=field)


def _named(words: str) -> tuple[str | None, str] | None:
    """The field that is to blame, if it is one of ours, and what is wrong with it."""
    found = _NAMED.match(words)
    if found and (found[1] in NAMES or resolve(found[1], "tocsin")):
        fault = found[2].rstrip()
        return found[1], f'"{found[1]}" {fault if fault.startswith("stands") else f"is {fault}"}'
    return (None, "a key stands twice") if _TWICE.match(words) else None


def _fault(line: bytes, parser: str) -> str:
    if parser not in _JSON:
        return f"not in the format {parser}"
    try:
        value = msgspec.json.decode(line)
    except RecursionError:
        return "nested too deeply"
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        return f"not JSON, {_reason(error)[0]} of the line"
    if not isinstance(value, dict):
        return "not a JSON object"
    return f"nested too deeply, or longer than a record of the format {parser} may be"


_JSON = frozenset({"tocsin", "json", "nginx_json", "pg_json"})


def _line_of_element(body: bytes, index: int) -> int:
    """The line of *body* that element *index* begins on."""
    if body.lstrip()[:1] == b"{":
        elements = [msgspec.json.decode(body, type=msgspec.Raw)]
    else:
        elements = msgspec.json.decode(body, type=list[msgspec.Raw])
    at = 0
    for element in elements[:index]:
        at = body.index(bytes(element), at) + len(bytes(element))
    return body.count(b"\n", 0, body.index(bytes(elements[index]), at)) + 1
