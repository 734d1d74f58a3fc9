"""What a condition means, exactly: two-valued, on many rows at once or on a few one by one.

* A leaf on null is false, except ``null``; ``not`` is plain negation, so ``not (ua contains x)``
  is true where there is no user agent.  ``''`` is a value.
* Text is compared as ``str.lower`` has both sides, unless the leaf is cased.  Regular expressions
  see the text as it is.
* A field with several values (views, lists) satisfies a leaf when any of them does.

Each node of a bound condition can answer in two ways that must agree: ``mask`` for columns,
``bind`` for single rows.  Which is cheaper depends on how many rows are asked for.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property, reduce
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from operator import ge, gt, le, lt
from typing import TypeAlias

import numpy as np
import polars as pl

from tocsin.detect.fields import Route, resolve
from tocsin.detect.linear import finder
from tocsin.detect.rule import And, Condition, Leaf, Not, Op, Or
from tocsin.detect.views import Bag, Bools, Integers, Views

__all__ = [
    "All",
    "Any_",
    "Both",
    "Compared",
    "Known",
    "No",
    "Node",
    "Rows",
    "bind",
    "glob_parts",
    "literal",
]

Column: TypeAlias = list[list[str]]
Holds: TypeAlias = Callable[[int], bool]

_TEXT = frozenset({Op.EQ, Op.CONTAINS, Op.STARTSWITH, Op.ENDSWITH})


@dataclass
class Rows:
    """Some rows as lists of texts, one a field: what ``bind`` works on."""

    views: Views
    _columns: dict[tuple[tuple[str, ...], bool], Column] = field(
        default_factory=dict[tuple[tuple[str, ...], bool], Column]
    )

    def column(self, names: tuple[str, ...], *, low: bool) -> Column:
        """Row by row, the texts of all views in *names*; lower-case with *low*."""
        key = (names, low)
        column = self._columns.get(key)
        if column is None:
            column = self._columns[key] = self._make(names, low=low)
        return column

    def _make(self, names: tuple[str, ...], *, low: bool) -> Column:
        column: Column = [[] for _ in range(self.views.height)]
        for name in names:
            bag = self.views.bag(name)
            if not len(bag.values):
                continue
            texts = bag.values.to_list()
            if low:
                texts = [text.lower() for text in texts]
            rows, codes = bag.places()
            for row, code in zip(rows.tolist(), codes.tolist(), strict=True):
                column[row].append(texts[code])
        return column


class Node(ABC):
    """A condition whose fields have been found."""

    cost: int  #: roughly what ``mask`` takes; cheap ones are asked first

    @abstractmethod
    def mask(self, views: Views, alive: Bools) -> Bools:
        """The rows that satisfy it.  Where *alive* is false any answer will do."""

    @abstractmethod
    def bind(self, rows: Rows) -> Holds:
        """A function that tells whether a row, by its index, satisfies it."""


@dataclass(frozen=True, eq=False)
class All(Node):
    """Every one of *kids*."""

    kids: tuple[Node, ...]

    @cached_property
    def cost(self) -> int:  # type: ignore[override]  # a property is as good to read
        return sum(kid.cost for kid in self.kids)

    @cached_property
    def _cheap_first(self) -> list[Node]:
        return sorted(self.kids, key=lambda kid: kid.cost)

    def mask(self, views: Views, alive: Bools) -> Bools:
        for kid in self._cheap_first:
            if not alive.any():
                return alive
            alive = alive & kid.mask(views, alive)
        return alive

    def bind(self, rows: Rows) -> Holds:
        kids = [kid.bind(rows) for kid in self._cheap_first]
        return lambda i: all(kid(i) for kid in kids)


@dataclass(frozen=True, eq=False)
class Any_(Node):  # noqa: N801 - the plain word is taken
    """At least one of *kids*."""

    kids: tuple[Node, ...]

    @cached_property
    def cost(self) -> int:  # type: ignore[override]  # a property is as good to read
        return sum(kid.cost for kid in self.kids)

    def mask(self, views: Views, alive: Bools) -> Bools:
        found = np.zeros(len(alive), dtype=np.bool_)
        for kid in self.kids:
            found |= kid.mask(views, alive & ~found)
        return found

    def bind(self, rows: Rows) -> Holds:
        kids = [kid.bind(rows) for kid in self.kids]
        return lambda i: any(kid(i) for kid in kids)


@dataclass(frozen=True, eq=False)
class No(Node):
    """Not *kid*."""

    kid: Node

    @cached_property
    def cost(self) -> int:  # type: ignore[override]  # a property is as good to read
        return self.kid.cost

    def mask(self, views: Views, alive: Bools) -> Bools:
        return ~(self.kid.mask(views, alive) & alive)

    def bind(self, rows: Rows) -> Holds:
        holds = self.kid.bind(rows)
        return lambda i: not holds(i)


@dataclass(frozen=True, eq=False)
class Known(Node):
    """Any of *views* has a value."""

    views: tuple[str, ...]
    cost = 1

    def mask(self, views: Views, alive: Bools) -> Bools:  # noqa: ARG002 - the interface's
        return reduce(np.logical_or, map(views.present, self.views))

    def bind(self, rows: Rows) -> Holds:
        column = rows.column(self.views, low=False)
        return lambda i: bool(column[i])


@dataclass(frozen=True, eq=False)
class Both(Node):
    """A value of *views* equals, begins with or ends with one of *others* (``flags`` ``<>``)."""

    views: tuple[str, ...]
    others: tuple[str, ...]
    flags: str
    cased: bool
    cost = 2000

    def mask(self, views: Views, alive: Bools) -> Bools:
        found = np.zeros(len(alive), dtype=np.bool_)
        rows = Rows(views)
        holds = self.bind(rows)
        for i in np.flatnonzero(alive).tolist():
            found[i] = holds(i)
        return found

    def bind(self, rows: Rows) -> Holds:
        ours = rows.column(self.views, low=not self.cased)
        theirs = rows.column(self.others, low=not self.cased)
        related = _RELATIONS[self.flags]
        return lambda i: any(related(a, b) for a in ours[i] for b in theirs[i])


_RELATIONS: dict[str, Callable[[str, str], bool]] = {
    "": lambda a, b: a == b,
    "<": lambda a, b: a.startswith(b),
    ">": lambda a, b: a.endswith(b),
    "<>": lambda a, b: b in a,
}


#: So many values Python has compared before Polars has begun.
_FEW = 300


@dataclass(frozen=True, eq=False)
class Compared(Node):
    """A value of *views* compares with one of *needles* as *op* says.

    Needles are texts for the text operators, already lower-case unless *cased*; for all others
    there is exactly one, as the leaf has it.
    """

    op: Op
    views: tuple[str, ...]
    needles: tuple[str, ...]
    cased: bool = False
    flags: str = ""

    @cached_property
    def cost(self) -> int:  # type: ignore[override]  # a property is as good to read
        each = 10 if self.op in _TEXT else 1000
        return sum(each * (20 if v.startswith("attr") else 1) for v in self.views)

    @property
    def low(self) -> bool:
        """Whether it compares lower-case text."""
        return not self.cased and (self.op in _TEXT or self.op is Op.GLOB)

    @cached_property
    def one(self) -> Callable[[str], bool]:
        """Whether one value satisfies it."""
        return _scalar(self)

    # ------------------------------------------------------------------ columns

    def mask(self, views: Views, alive: Bools) -> Bools:
        return reduce(np.logical_or, (self._of_view(views, name, alive) for name in self.views))

    def _of_view(self, views: Views, name: str, alive: Bools) -> Bools:
        integers = views.integers(name)
        if integers is not None and (self.op is Op.EQ or self.op in _ORDER):
            return views.answer((name, self._question), lambda: self._of_integers(integers))
        bag = views.bag(name)
        if not len(bag.values):
            return np.zeros(bag.height, dtype=np.bool_)
        if self.op not in _TEXT:
            return bag.spread(self._one_by_one(bag, alive))
        return views.answer((name, self._question), lambda: bag.spread(self._of_values(bag)))

    @cached_property
    def _question(self) -> tuple[object, ...]:
        """What is the same for all tests that must give the same answer."""
        return self.op, self.needles, self.cased

    def _of_integers(self, column: Integers) -> Bools:
        if self.op is Op.EQ:
            wanted = [int(n) for n in self.needles if _INTEGER.fullmatch(n) and _fits(int(n))]
            if len(wanted) > _FEW:
                return np.isin(column.values, wanted) & column.known
            hits = np.zeros(len(column.values), dtype=np.bool_)
            for number in wanted:  # isin sorts, which takes as long as thirty of these
                hits |= column.values == number
            return hits & column.known
        limit = _number(self.needles[0])
        assert limit is not None
        compared: Bools = _compare(pl.Series(column.values), self.op, limit).to_numpy()
        return compared & column.known

    def _of_values(self, bag: Bag) -> Bools:
        if len(bag.values) < _FEW:
            texts = (bag.low if self.low else bag.values).to_list()
            return np.fromiter(map(self.one, texts), dtype=np.bool_, count=len(texts))
        if self.op is Op.EQ and not any(self.needles):
            return (bag.values == "").to_numpy()
        values = bag.values if self.cased else bag.low
        first, *more = self.needles
        match self.op:
            case Op.EQ:
                hits = values.is_in(list(self.needles))
            case Op.CONTAINS if more:
                hits = values.str.contains_any(list(self.needles))
            case Op.CONTAINS:
                hits = values.str.contains(first, literal=True)
            case Op.STARTSWITH:
                hits = reduce(pl.Series.__or__, (values.str.starts_with(n) for n in self.needles))
            case _:
                hits = reduce(pl.Series.__or__, (values.str.ends_with(n) for n in self.needles))
        return hits.to_numpy()

    def _one_by_one(self, bag: Bag, alive: Bools) -> Bools:
        found = np.zeros(len(bag.values), dtype=np.bool_)
        at = np.flatnonzero(bag.within(alive))
        texts = (bag.low if self.low else bag.values).gather(at)
        one = self.one
        found[at] = np.fromiter((one(t) for t in texts), dtype=np.bool_, count=len(at))
        return found

    # ------------------------------------------------------------------ single rows

    def bind(self, rows: Rows) -> Holds:
        column = rows.column(self.views, low=self.low)
        one = self.one

        def holds(i: int) -> bool:
            return any(map(one, column[i]))

        return holds


# ---------------------------------------------------------------------- one value


def _scalar(test: Compared) -> Callable[[str], bool]:
    needles = test.needles
    first = needles[0]
    match test.op:
        case Op.EQ:
            return frozenset(needles).__contains__
        case Op.STARTSWITH:
            return lambda text: text.startswith(needles)
        case Op.ENDSWITH:
            return lambda text: text.endswith(needles)
        case Op.CONTAINS if len(needles) == 1:
            return lambda text: first in text
        case Op.CONTAINS:
            return lambda text: any(n in text for n in needles)
        case Op.GLOB:
            return finder(_glob_pattern(first), "s")
        case Op.RE:
            return finder(first, test.flags)
        case Op.CIDR:
            return _in_network(first)
        case Op.LT | Op.LTE | Op.GT | Op.GTE:
            return _ordered(test.op, first)
        case Op.TIME_PART:
            return _part(test.flags, int(first))
        case _:
            raise AssertionError(test.op)


def glob_parts(pattern: str) -> list[tuple[str, bool]]:
    """An escaped glob as its pieces, each with whether it is wild (``*`` or ``?``) or text.

    >>> glob_parts("a*b?\\\\*")
    [('a', False), ('*', True), ('b', False), ('?', True), ('*', False)]
    """
    parts: list[tuple[str, bool]] = []
    text = ""
    escaped = False
    for char in pattern:
        if escaped or char not in "\\*?":
            text += char
            escaped = False
        elif char == "\\":
            escaped = True
        else:
            parts += [(text, False), (char, True)] if text else [(char, True)]
            text = ""
    return [*parts, (text, False)] if text else parts


_WILD = {"*": ".*", "?": "."}


def _glob_pattern(pattern: str) -> str:
    body = "".join(_WILD[t] if wild else literal(t) for t, wild in glob_parts(pattern))
    return rf"\A{body}\Z"


def literal(text: str) -> str:
    """*text* for a regular expression, without the escapes that only Python knows."""
    return re.sub(r"[!-/:-@\[-`{-~]", r"\\\g<0>", text)


def _in_network(network: str) -> Callable[[str], bool]:
    wanted = ip_network(network)

    def inside(text: str) -> bool:
        address = _address(text)
        return address is not None and address in wanted

    return inside


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """*text* as an address; IPv4 inside IPv6 counts as IPv4."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,18})", re.ASCII)
_NUMBER = re.compile(r"[+-]?[0-9]{1,40}(?:\.[0-9]{1,40})?(?:[eE][+-]?[0-9]{1,3})?", re.ASCII)
_ORDER = {Op.LT: lt, Op.LTE: le, Op.GT: gt, Op.GTE: ge}


def _number(text: str) -> int | float | None:
    """*text* as a number, if that is all it is."""
    if not _NUMBER.fullmatch(text):
        return None
    return int(text) if text.lstrip("+-").isdigit() else float(text)


def _ordered(op: Op, bound: str) -> Callable[[str], bool]:
    limit = _number(bound)
    if limit is None:
        return lambda _: False
    relation = _ORDER[op]

    def holds(text: str) -> bool:
        value = _number(text)
        return value is not None and bool(relation(value, limit))

    return holds


def _fits(number: int) -> bool:
    return -(2**63) <= number < 2**63


def _compare(column: pl.Series, op: Op, limit: float) -> pl.Series:
    """*column* against *limit*; a bound beyond 64 bits is above or below all of them."""
    if isinstance(limit, int) and not _fits(limit):
        inside = (limit > 0) == (op in (Op.LT, Op.LTE))
        return pl.repeat(inside, len(column), dtype=pl.Boolean, eager=True)
    return pl.DataFrame({"v": column}).select(_ORDER[op](pl.col("v"), limit)).to_series()


def _part(name: str, wanted: int) -> Callable[[str], bool]:
    def holds(text: str) -> bool:
        try:
            when = datetime.fromisoformat(text[:19] + "+00:00")
        except ValueError:
            return False
        return (when.isocalendar().week if name == "week" else getattr(when, name)) == wanted

    return holds


# ---------------------------------------------------------------------- binding a condition


def bind(condition: Condition, to: Route) -> tuple[Node | None, tuple[str, ...]]:
    """*condition* on the rows of *to*, and the fields that it names but no event has.

    What depends on such a field is unknown, and a rule must not fire on what is unknown: neither
    a leaf nor the negation of one counts as true.  ``None`` when nothing is left that could be.
    """
    blind: dict[str, None] = {}
    node = _bind(condition, to, blind, wanted=True)
    return (node if isinstance(node, Node) else None), tuple(blind)


def _bind(condition: Condition, to: Route, blind: dict[str, None], *, wanted: bool) -> Node | None:
    """*condition*, or its negation when not *wanted*, pushed down to the leaves.

    ``None``: it cannot be known to hold.
    """
    match condition:
        case Leaf():
            return _leaf(condition, to, blind, wanted=wanted)
        case Not(kid=kid):
            return _bind(kid, to, blind, wanted=not wanted)
        case And(kids=kids) | Or(kids=kids):
            bound = [_bind(kid, to, blind, wanted=wanted) for kid in kids]
            if isinstance(condition, And) is wanted:
                return None if None in bound else _all([n for n in bound if n is not None])
            known = [n for n in bound if n is not None]
            return _any(known) if known else None


def _leaf(leaf: Leaf, to: Route, blind: dict[str, None], *, wanted: bool) -> Node | None:
    views = resolve(leaf, to)
    if not views:
        blind[str(leaf.field)] = None
        return None
    node: Node
    match leaf.op:
        case Op.PRESENT:
            node = Known(views)
        case Op.NULL:
            node, wanted = Known(views), not wanted
        case Op.FIELDREF:
            others = resolve(Leaf(str(leaf.value), Op.FIELDREF), to)
            if not others:
                blind[str(leaf.value)] = None
                return None
            node = Both(views, others, leaf.flags, leaf.cased)
        case _:
            needle = str(leaf.value)
            fold = not leaf.cased and (leaf.op in _TEXT or leaf.op is Op.GLOB)
            needles = (needle.lower() if fold else needle,)
            node = Compared(leaf.op, views, needles, cased=leaf.cased, flags=leaf.flags)
    return node if wanted else No(node)


def _all(kids: list[Node]) -> Node:
    return kids[0] if len(kids) == 1 else All(tuple(kids))


def _any(kids: list[Node]) -> Node:
    """Any of *kids*, those that differ in nothing but the needle as one."""
    alike: dict[object, list[Node]] = {}
    for index, kid in enumerate(kids):
        joins = isinstance(kid, Compared) and kid.op in _TEXT
        key = (kid.op, kid.views, kid.cased) if joins and isinstance(kid, Compared) else index
        alike.setdefault(key, []).append(kid)
    joined = [_join(group) for group in alike.values()]
    return joined[0] if len(joined) == 1 else Any_(tuple(joined))


def _join(group: Sequence[Node]) -> Node:
    first = group[0]
    if len(group) == 1 or not isinstance(first, Compared):
        return first
    needles = _unique(n for kid in group if isinstance(kid, Compared) for n in kid.needles)
    return Compared(first.op, first.views, needles, cased=first.cased)


def _unique(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(texts))
