"""From the text of a search to what it means: ``parse("user:bob -status:2*")``."""

from __future__ import annotations

import re
from collections.abc import Callable
from difflib import get_close_matches
from functools import lru_cache
from typing import Any, NamedTuple

import polars as pl
from lark import Token, Transformer, UnexpectedInput

from tocsin.errors import QueryError
from tocsin.event import Kind, read_kind
from tocsin.query.fields import Form, find_field, form_of
from tocsin.query.grammar import explain, parser
from tocsin.query.nodes import (
    EVERYTHING,
    Exists,
    Instant,
    Match,
    Node,
    Number,
    Range,
    Regex,
    Within,
    conjunction,
    disjunction,
    negation,
)
from tocsin.query.values import read_instant, read_network, read_number, read_plain_number

__all__ = ["MAX_BYTES", "MAX_DEPTH", "MAX_TERMS", "MAX_WORDS", "parse"]

MAX_BYTES = 4096  #: of UTF-8
MAX_DEPTH = 50  #: of parentheses and negations within each other
MAX_TERMS = 512  #: conditions in one search
MAX_WORDS = 64  #: of them free text, each of which looks into every text column

_ORDERED = frozenset({Form.NUMBER, Form.SIZE, Form.DURATION, Form.TIME})
_WHOLE = frozenset({Form.NUMBER, Form.SIZE, Form.DURATION})
_COMPARABLE = _ORDERED | {Form.ATTRIBUTE}


def parse(text: str) -> Node:
    """What *text* asks for.  Raises :class:`QueryError` with the column it stumbled at.

    >>> str(parse("user:alice AND NOT (status:>=500 or ip:10.0.0.0/8)"))
    'user:alice -(status:>=500 OR client_ip:10.0.0.0/8)'
    """
    return _parse(text)


@lru_cache(maxsize=256)
def _parse(text: str) -> Node:
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise QueryError("the search is not valid text", column=error.start + 1) from None
    if size > MAX_BYTES:
        raise QueryError(f"the search is {size} bytes long; the limit is {MAX_BYTES}", column=1)
    try:
        part: _Part = parser(_BUILD).parse(text)  # type: ignore[assignment]  # lark knows only trees
    except UnexpectedInput as error:
        raise explain(text, error) from None
    return part.node


class _Part(NamedTuple):
    node: Node
    depth: int = 1
    terms: int = 1
    words: int = 0


class _Value(NamedTuple):
    """One value as typed: a word, a quoted text, a range or a regular expression."""

    token: Token
    compare: str = ""

    @property
    def column(self) -> int:
        return (self.token.start_pos or 0) + 1

    @property
    def quoted(self) -> bool:
        return self.token.type == "STRING"

    @property
    def text(self) -> str:
        return _unquote(self.token) if self.quoted else str(self.token)


class _Build(Transformer[Token, Any]):
    """Called by the parser at each completed rule, inside out."""

    def start(self, parts: list[_Part]) -> _Part:
        return parts[0] if parts else _Part(EVERYTHING)

    def either(self, parts: list[_Part | Token]) -> _Part:
        return self._joined(disjunction, parts)

    def both(self, parts: list[_Part | Token]) -> _Part:
        return self._joined(conjunction, parts)

    def negated(self, parts: list[Any]) -> _Part:
        token, part = parts
        return _deeper(part._replace(node=negation(part.node)), token)

    def group(self, parts: list[Any]) -> _Part:
        return _deeper(parts[1], parts[0])

    def term(self, parts: list[Any]) -> _Part:
        field, value = parts
        return _Part(_condition(field, value))

    def any_of(self, parts: list[Any]) -> _Part:
        field, *rest = parts
        values = [v for v in rest if isinstance(v, _Value)]
        return _Part(disjunction(_condition(field, v) for v in values), terms=len(values))

    def free(self, parts: list[Token]) -> _Part:
        return _Part(_free(_Value(parts[0])), words=1)

    def value(self, parts: list[Token]) -> _Value:
        return _Value(parts[-1], str(parts[0]) if len(parts) > 1 else "")

    def _joined(self, join: Callable[[list[Node]], Node], parts: list[_Part | Token]) -> _Part:
        inner = [p for p in parts if isinstance(p, _Part)]
        terms, words = sum(p.terms for p in inner), sum(p.words for p in inner)
        if terms > MAX_TERMS:
            raise QueryError(f"the search has more than {MAX_TERMS} conditions", column=1)
        if words > MAX_WORDS:
            raise QueryError(
                f"the search has more than {MAX_WORDS} words without a field; say which field",
                column=1,
            )
        return _Part(join([p.node for p in inner]), max(p.depth for p in inner), terms, words)


_BUILD = _Build()


def _deeper(part: _Part, token: Token) -> _Part:
    if part.depth >= MAX_DEPTH:
        raise QueryError(
            f"the search is nested more than {MAX_DEPTH} deep", column=(token.start_pos or 0) + 1
        )
    return part._replace(depth=part.depth + 1)


def _free(value: _Value) -> Node:
    text = value.text
    if not value.quoted:
        if re.fullmatch(r"[A-Za-z_][\w.@-]*:", text):
            raise QueryError(
                f'a value must follow "{text}" without a blank; any value is {text}*,'
                f' an empty one {text}""',
                column=value.column + len(text),
            )
        if ":" in text:
            raise QueryError(
                f'"{text}" is neither field:value nor a plain word; to search for it, quote it:'
                f' "{text}"',
                column=value.column,
            )
        if "*" in text:
            parts = _wildcards(text)
            return EVERYTHING if not any(parts) else Match(None, parts)
    return Match(None, (text,)) if text else EVERYTHING


def _condition(token: Token, value: _Value) -> Node:
    word = token[:-1]
    at = (token.start_pos or 0) + 1
    field = find_field(
        word, column=at, whole=f"{token}{value.compare}{value.token}".replace('"', "")
    )
    form = form_of(field)
    if value.token.type == "REGEX":
        return _regex(field, form, value)
    if value.token.type == "RANGE":
        return _between(field, form, value)
    if value.compare:
        return _compared(field, form, value, bare_ns=word.lower() != "duration")
    if not value.quoted and set(value.text) == {"*"}:
        return Exists(field)
    if not value.quoted and "*" in value.text:
        return _pattern(field, form, value)
    return _equal(field, form, value, bare_ns=word.lower() != "duration")


def _equal(field: str, form: Form, value: _Value, *, bare_ns: bool) -> Node:
    text = value.text
    if form in _WHOLE and not value.quoted and re.fullmatch("[1-5]xx", text, re.IGNORECASE):
        raise QueryError(
            f'"{text}" is not a whole number; write {field}:{text[0]}* or'
            f" {field}:[{text[0]}00 TO {text[0]}99]",
            column=value.column,
        )
    if form in _ORDERED:
        number = _read(field, form, text, value.column, bare_ns=bare_ns)
        return Range(field, number, number)
    if form is Form.ADDRESS and (network := read_network(text, field, column=value.column)):
        return Within(field, network)
    if form is Form.KIND:
        return Match(field, (_kind(text, value.column),))
    return Match(field, (text,))


def _pattern(field: str, form: Form, value: _Value) -> Node:
    if form is Form.TIME:
        raise QueryError(
            f"{field} is a time and takes no wildcard; write {field}:2026-11-01 for a whole day",
            column=value.column,
        )
    if form is Form.ADDRESS and "/" in value.text:
        raise QueryError(
            f"{field}: a network takes no wildcard; write 10.0.0.0/8 or 10.*", column=value.column
        )
    return Match(field, _wildcards(value.text))


def _compared(field: str, form: Form, value: _Value, *, bare_ns: bool) -> Node:
    if form not in _COMPARABLE:
        raise QueryError(
            f"{field} is text; {value.compare} compares numbers and times only",
            column=value.column - len(value.compare),
        )
    number = _read(field, form, value.text, value.column, bare_ns=bare_ns)
    strict = len(value.compare) == 1
    if value.compare[0] == ">":
        return Range(field, low=number, open_low=strict)
    return Range(field, high=number, open_high=strict)


def _between(field: str, form: Form, value: _Value) -> Node:
    if form not in _COMPARABLE:
        raise QueryError(f"{field} is text; a range needs numbers or times", column=value.column)
    inner = str(value.token)[1:-1]
    found = re.fullmatch(
        r'\s*("(?:\\.|[^"\\])*"|\S+)\s+to\s+("(?:\\.|[^"\\])*"|\S+)\s*',
        inner,
        re.IGNORECASE | re.DOTALL,
    )
    assert found is not None, "the grammar's RANGE has the same shape"
    ends = [_unquote(end) if end.startswith('"') else end for end in found.groups()]
    low, high = (None if end == "*" else _read(field, form, end, value.column) for end in ends)
    if low is None and high is None:
        return Exists(field)
    return Range(field, low, high)


def _read(field: str, form: Form, text: str, column: int, *, bare_ns: bool = True) -> Number:
    number: int | float | Instant
    if form is Form.TIME:
        number = read_instant(text, column=column)
    elif form is Form.ATTRIBUTE:
        number = read_plain_number(text, field, column=column)
    else:
        number = read_number(text, form, field, column=column, bare_ns=bare_ns)
    return number


def _regex(field: str, form: Form, value: _Value) -> Node:
    if form in _ORDERED:
        raise QueryError(
            f"{field} is a {form}; a regular expression needs text", column=value.column
        )
    # Only the quote is unescaped: every other backslash belongs to the expression.
    pattern = re.sub(
        r"\\(.)", lambda m: '"' if m[1] == '"' else m[0], str(value.token)[2:-1], flags=re.DOTALL
    )
    try:
        pl.Series([""]).str.contains(pattern)
    except pl.exceptions.ComputeError as error:
        raise QueryError(
            f"the regular expression is not valid: {_regex_problem(str(error))}",
            column=value.column,
        ) from None
    return Regex(field, pattern)


def _regex_problem(message: str) -> str:
    said = [line for line in message.splitlines() if line.startswith("error:")]
    # The engine names each fault but one: a pattern that would grow past its size limit.
    return said[-1].removeprefix("error:").strip() if said else "it is too large when expanded"


def _kind(text: str, column: int) -> str:
    kind, arguments = read_kind(text)
    if kind is None or arguments:
        near = get_close_matches(text.lower(), list(Kind), n=3, cutoff=0.5)
        hint = f"did you mean {', '.join(near)}?" if near else "wildcards work: kind:authn_*"
        raise QueryError(f'unknown kind "{text}"; {hint}', column=column)
    return str(kind)


def _wildcards(text: str) -> tuple[str, ...]:
    return tuple(re.sub(r"\*+", "*", text).split("*"))


def _unquote(text: str) -> str:
    return re.sub(r'\\(["\\])', r"\1", text[1:-1])
