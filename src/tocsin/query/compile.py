"""From meaning to columns: one Polars expression that is true for the rows that match.

Each leaf is true or false, never null.  Values from the search are literals of an expression; no
text is ever pasted into a program.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from typing import Any, assert_never

import polars as pl

from tocsin.event import Type
from tocsin.event.batch import DTYPES
from tocsin.query import addresses, attributes
from tocsin.query.fields import TEXTS, Form, attribute_path, column_of, form_of
from tocsin.query.nodes import (
    And,
    Everything,
    Exists,
    Instant,
    Match,
    Node,
    Not,
    Nothing,
    Or,
    Range,
    Regex,
    Within,
)

__all__ = ["id_spellings", "is_caseless", "mask", "needs"]

_TIME = DTYPES[Type.TIME]


def mask(node: Node, columns: frozenset[str], now: int) -> pl.Expr:
    """True for the rows that match *node*.

    Every field of *node* has its column among *columns* (what ``narrow`` returns is so).
    """
    match node:
        case Everything():
            return pl.lit(value=True)
        case Nothing():
            return pl.lit(value=False)
        case And(parts):
            return pl.all_horizontal([mask(p, columns, now) for p in parts])
        case Or(parts):
            return pl.any_horizontal(list(_alternatives(parts, columns, now)))
        case Not(part):
            return ~mask(part, columns, now)
        case Exists() | Match() | Regex() | Within() | Range():
            return _leaf(node, columns, now).fill_null(value=False)
        case _:
            assert_never(node)


def needs(node: Node, columns: frozenset[str]) -> frozenset[str]:
    """The columns that deciding *node* reads."""
    match node:
        case Everything() | Nothing():
            return frozenset()
        case And(parts) | Or(parts):
            return frozenset().union(*(needs(p, columns) for p in parts))
        case Not(part):
            return needs(part, columns)
        case Match(None, _):
            return columns.intersection(TEXTS)
        case Exists(field) | Match(field, _) | Regex(field, _) | Within(field, _) | Range(field):
            assert field is not None
            return frozenset({column_of(field)})
        case _:
            assert_never(node)


def id_spellings(text: str) -> tuple[str, ...]:
    """The forms of an id that count as equal to *text*."""
    return tuple(dict.fromkeys((text, text.lower(), text.upper())))


def is_caseless(text: str) -> bool:
    """No other text is equal to *text* without regard to case."""
    return text.lower() == text == text.upper()


def _leaf(
    node: Exists | Match | Regex | Within | Range, columns: frozenset[str], now: int
) -> pl.Expr:
    match node:
        case Match(None, parts):
            return _anywhere(parts, columns)
        case Match(field, parts):
            assert field is not None
            form = form_of(field)
            return _text_leaf(field, lambda text: _like(text, parts, form), parts)
        case Regex(field, pattern):
            return _text_leaf(field, lambda text: text.str.contains(pattern))
        case Within(field, network):
            return addresses.within(field, [network])
        case Exists(field):
            return _exists(field)
        case Range(field):
            return _ranged(node, field, now)
        case _:
            assert_never(node)


def _alternatives(parts: Iterable[Node], columns: frozenset[str], now: int) -> Iterable[pl.Expr]:
    """Conditions joined by OR; addresses and texts to be equal to are decided a list at a time."""
    networks: dict[str, list[str]] = {}
    words: dict[str, list[str]] = {}
    for part in parts:
        match part:
            case Within(field, network):
                networks.setdefault(field, []).append(network)
            case Match(str() as field, (word,)) if form_of(field) in (Form.TEXT, Form.KIND):
                words.setdefault(field, []).append(word)
            case _:
                yield mask(part, columns, now)
    for field, wanted in networks.items():
        yield addresses.within(field, wanted).fill_null(value=False)
    for field, wanted in words.items():
        yield _lower(pl.col(field)).is_in(_lowered(wanted)).fill_null(value=False)


def _text_leaf(
    field: str, test: Callable[[pl.Expr], pl.Expr], parts: tuple[str, ...] = ()
) -> pl.Expr:
    form = form_of(field)
    if form is Form.ATTRIBUTE:
        return attributes.where_text(attribute_path(field), test(pl.col(attributes.TEXT)), parts)
    if form in (Form.TEXTS, Form.IDS):
        return pl.col(field).list.eval(test(pl.element())).list.any()
    if form in (Form.NUMBER, Form.SIZE, Form.DURATION):
        return test(pl.col(field).cast(pl.String))
    return test(pl.col(field))


def _exists(field: str) -> pl.Expr:
    form = form_of(field)
    if form is Form.ATTRIBUTE:
        return attributes.where_text(attribute_path(field), pl.col(attributes.TEXT).is_not_null())
    column = pl.col(field)
    return column.list.len() > 0 if form in (Form.TEXTS, Form.IDS) else column.is_not_null()


def _ranged(node: Range, field: str, now: int) -> pl.Expr:
    form = form_of(field)
    if form is Form.ATTRIBUTE:
        return attributes.where_number(attribute_path(field), _number_test(node))
    low, high = node.first(now), node.last(now)
    if form is Form.TIME:
        return pl.col(field).is_between(_instant(low), _instant(high))
    return pl.col(field) == low if low == high else pl.col(field).is_between(low, high)


def _instant(ns: int) -> pl.Expr:
    return pl.lit(ns, dtype=pl.Int64).cast(_TIME)


def _number_test(node: Range) -> Callable[[Any], bool]:
    after = operator.gt if node.open_low else operator.ge
    before = operator.lt if node.open_high else operator.le
    low, high = node.low, node.high
    assert not isinstance(low, Instant)
    assert not isinstance(high, Instant)
    return lambda v: (low is None or after(v, low)) and (high is None or before(v, high))


def _anywhere(parts: tuple[str, ...], columns: frozenset[str]) -> pl.Expr:
    texts = [c for c in TEXTS if c in columns]
    inner = [p for p in parts if p]

    def holds(text: pl.Expr) -> pl.Expr:
        return _like(text, ("", *inner, ""), Form.TEXT)

    return pl.any_horizontal([_text_leaf(c, holds).fill_null(value=False) for c in texts])


def _like(text: pl.Expr, parts: tuple[str, ...], form: Form) -> pl.Expr:
    """*text* is *parts* with anything between them."""
    if len(parts) == 1 and form in (Form.ID, Form.IDS):
        return text.is_in(id_spellings(parts[0]))
    if not all(map(is_caseless, parts)):
        text, parts = _lower(text), tuple(_lowered(parts))
    match parts:
        case (whole,):
            return text == whole
        case (head, ""):
            return text.str.starts_with(head)
        case ("", tail):
            return text.str.ends_with(tail)
        case ("", inner, ""):
            return text.str.contains(inner, literal=True)
        case _:
            return text.str.contains(f"(?s)^{'.*'.join(map(pl.escape_regex, parts))}$")


def _lower(text: pl.Expr) -> pl.Expr:
    return text.str.to_lowercase()


def _lowered(texts: Iterable[str]) -> list[str]:
    # By Polars, so that both sides follow the same version of Unicode.
    return pl.Series(list(texts), dtype=pl.String).str.to_lowercase().to_list()
