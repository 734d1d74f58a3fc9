"""What is left of a question once it is known which shelf it is put to.

Most shelves answer without being read: their time lies outside, a column is absent, a filter says
that a value cannot be there.  What cannot be decided so remains, and only that is computed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import assert_never

from tocsin.query.compile import id_spellings, is_caseless
from tocsin.query.fields import SEQ, TEXTS, Form, column_of, form_of
from tocsin.query.nodes import (
    EARLIEST,
    EVERYTHING,
    LATEST,
    NOTHING,
    And,
    Everything,
    Exists,
    Match,
    Node,
    Not,
    Nothing,
    Or,
    Range,
    Regex,
    Within,
    conjunction,
    disjunction,
    negation,
)

__all__ = ["Known", "narrow", "time_hull"]


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of some rows without reading them.  Bounds are inclusive."""

    columns: frozenset[str]
    time: tuple[int, int] = (EARLIEST, LATEST)
    seq: tuple[int, int] = (EARLIEST, LATEST)
    maybe: Callable[[str, str], bool] | None = None


def narrow(node: Node, known: Known, now: int) -> Node:
    """*node* as it stands for rows of which *known* is true: often everything, or nothing."""
    match node:
        case Everything() | Nothing():
            return node
        case And(parts):
            return conjunction(narrow(p, known, now) for p in parts)
        case Or(parts):
            return disjunction(narrow(p, known, now) for p in parts)
        case Not(part):
            return negation(narrow(part, known, now))
        case Match(None, _):
            return node if known.columns.intersection(TEXTS) else NOTHING
        case Exists(field) | Match(field, _) | Regex(field, _) | Within(field, _) | Range(field):
            assert field is not None
            if field != SEQ and column_of(field) not in known.columns:
                return NOTHING
            return _leaf(node, known, now)
        case _:
            assert_never(node)


def time_hull(node: Node, now: int) -> tuple[int, int]:
    """The narrowest first and last nanosecond between which everything that matches must lie."""
    match node:
        case And(parts):
            hulls = [time_hull(p, now) for p in parts]
            return max(h[0] for h in hulls), min(h[1] for h in hulls)
        case Or(parts):
            hulls = [time_hull(p, now) for p in parts]
            return min(h[0] for h in hulls), max(h[1] for h in hulls)
        case Range("time"):
            return node.first(now), node.last(now)
        case _:
            return EARLIEST, LATEST


def _leaf(node: Exists | Match | Regex | Within | Range, known: Known, now: int) -> Node:
    match node:
        case Exists("time" | "observed" | "kind" | "seq"):
            return EVERYTHING
        case Range("time"):
            return _bounded(node, known.time, now)
        case Range("seq"):
            return _bounded(node, known.seq, now)
        case Match(str() as field, (word,)):
            wanted = _exact(field, word)
            return node if wanted is None or _possible(field, wanted, known) else NOTHING
        case _:
            # Not ``Within``: one address has many spellings, and a filter knows only one of them.
            return node


def _bounded(node: Range, have: tuple[int, int], now: int) -> Node:
    low, high = node.first(now), node.last(now)
    if low > high or have[1] < low or high < have[0]:
        return NOTHING
    return EVERYTHING if low <= have[0] and have[1] <= high else node


def _possible(field: str, wanted: tuple[str, ...], known: Known) -> bool:
    return known.maybe is None or any(known.maybe(field, word) for word in wanted)


def _exact(field: str, word: str) -> tuple[str, ...] | None:
    """All texts that equal *word* in *field*, or ``None`` if they cannot be listed."""
    form = form_of(field)
    if form in (Form.ID, Form.IDS):
        return id_spellings(word)
    if form is Form.KIND:
        return (word,)
    if form in (Form.TEXT, Form.TEXTS, Form.ADDRESS) and is_caseless(word):
        return (word,)
    return None
