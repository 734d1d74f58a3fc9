"""A question as data: what a search means once it is understood, and how it is written again.

Every node is frozen, JSON-encodable (a saved search is its text, but a node may travel) and prints
as a search that reads back as the same node.  Logic has two values: a condition on something that
is null or absent is false, so ``-user:bob`` keeps the rows that have no user.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TypeAlias

from msgspec import Struct

__all__ = [
    "EVERYTHING",
    "NOTHING",
    "And",
    "Everything",
    "Exists",
    "Instant",
    "Match",
    "Node",
    "Not",
    "Nothing",
    "Number",
    "Or",
    "Range",
    "Regex",
    "Within",
    "conjunction",
    "disjunction",
    "negation",
]

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
DAY = 24 * 60 * MINUTE
EARLIEST, LATEST = -(2**63), 2**63 - 1

_UNITS = (("d", DAY), ("h", 60 * MINUTE), ("m", MINUTE), ("s", SECOND), ("ms", 10**6), ("us", 1000))

#: What may stand unquoted: the word rule of the grammar, without ``*`` (which would be a wildcard).
_PLAIN = re.compile(r'(?!(?:and|or|not)$)[^\s()"|<>~\[*-][^\s()"|*]*', re.IGNORECASE)


class Instant(Struct, frozen=True, gc=False):
    """A moment, as precisely as it was written: ``2026-11-01`` is a whole day.

    ``ns`` counts from 1970, or from *now* if ``relative``; ``span`` is the length in nanoseconds.
    """

    ns: int
    span: int = 1
    relative: bool = False

    def first(self, now: int) -> int:
        """The first nanosecond of it."""
        return _clamp(self.ns + now if self.relative else self.ns)

    def last(self, now: int) -> int:
        """The last nanosecond of it."""
        return _clamp((self.ns + now if self.relative else self.ns) + self.span - 1)

    def __str__(self) -> str:
        return self._relative() if self.relative else self._absolute()

    def _relative(self) -> str:
        if not self.ns:
            return "now"
        size = abs(self.ns)
        unit, length = next(((u, n) for u, n in _UNITS if size % n == 0), ("ns", 1))
        return f"now{'-' if self.ns < 0 else '+'}{size // length}{unit}"

    def _absolute(self) -> str:
        seconds, rest = divmod(self.ns, SECOND)
        when = datetime.fromtimestamp(seconds, UTC)
        if self.span == DAY:
            return f"{when:%Y-%m-%d}"
        if self.span == MINUTE:
            return f"{when:%Y-%m-%dT%H:%MZ}"
        digits = 9 - (len(str(self.span)) - 1)
        fraction = f".{rest:09d}"[: digits + 1] if digits else ""
        return f"{when:%Y-%m-%dT%H:%M:%S}{fraction}Z"


Number: TypeAlias = int | float | Instant


class Everything(Struct, frozen=True, tag=True):
    """Every event."""

    def __str__(self) -> str:
        return "*"


class Nothing(Struct, frozen=True, tag=True):
    """No event.  Never written by people: it is what is left when a shelf cannot match."""

    def __str__(self) -> str:
        return "-*"


class And(Struct, frozen=True, tag=True):
    """All of them."""

    parts: tuple[Node, ...]

    def __str__(self) -> str:
        return " ".join(f"({p})" if isinstance(p, Or) else str(p) for p in self.parts)


class Or(Struct, frozen=True, tag=True):
    """At least one of them."""

    parts: tuple[Node, ...]

    def __str__(self) -> str:
        return " OR ".join(map(str, self.parts))


class Not(Struct, frozen=True, tag=True):
    """The opposite."""

    part: Node

    def __str__(self) -> str:
        return f"-({self.part})" if isinstance(self.part, And | Or) else f"-{self.part}"


class Exists(Struct, frozen=True, tag=True):
    """The field has a value; a list has at least one."""

    field: str

    def __str__(self) -> str:
        return f"{self.field}:*"


class Match(Struct, frozen=True, tag=True):
    """The text is *parts* with anything between them; one part is plain equality.

    Without a field: some text of the event contains it.
    """

    field: str | None
    parts: tuple[str, ...]

    def __str__(self) -> str:
        text = "*".join(self.parts)
        plain = _PLAIN.fullmatch(text) and not (self.field is None and ":" in text)
        if len(self.parts) == 1 and not plain:
            text = _quoted(text)
        return text if self.field is None else f"{self.field}:{text}"


class Regex(Struct, frozen=True, tag=True):
    """Somewhere in the text the regular expression (Rust's dialect, linear time) matches."""

    field: str
    pattern: str

    def __str__(self) -> str:
        pairs = re.findall(r"\\.|.", self.pattern, re.DOTALL)
        return f'{self.field}:~"{"".join(BACKSLASHED if p == QUOTE else p for p in pairs)}"'


class Within(Struct, frozen=True, tag=True):
    """The address lies in the network, ``network/bits``; a single address is a network of one."""

    field: str
    network: str

    def __str__(self) -> str:
        return f"{self.field}:{self.network}"


class Range(Struct, frozen=True, tag=True):
    """The number or moment lies between the bounds; an open bound is itself outside."""

    field: str
    low: Number | None = None
    high: Number | None = None
    open_low: bool = False
    open_high: bool = False

    def __str__(self) -> str:
        if self.high is None:
            return f"{self.field}:{'>' if self.open_low else '>='}{_number(self.low)}"
        if self.low is None:
            return f"{self.field}:{'<' if self.open_high else '<='}{_number(self.high)}"
        # A bare attribute value is text, so an attribute's number is only written as a range.
        if self.low == self.high and not self.field.startswith("attributes."):
            return f"{self.field}:{_number(self.low)}"
        return f"{self.field}:[{self.low} TO {self.high}]"

    def first(self, now: int) -> int:
        """The least value inside, for whole numbers and moments."""
        low = self.low
        assert not isinstance(low, float), "only attributes have fractions"
        if low is None:
            return EARLIEST
        if isinstance(low, Instant):
            return _clamp(low.last(now) + 1) if self.open_low else low.first(now)
        return low + 1 if self.open_low else low

    def last(self, now: int) -> int:
        """The greatest value inside, for whole numbers and moments."""
        high = self.high
        assert not isinstance(high, float), "only attributes have fractions"
        if high is None:
            return LATEST
        if isinstance(high, Instant):
            return _clamp(high.first(now) - 1) if self.open_high else high.last(now)
        return high - 1 if self.open_high else high


Node: TypeAlias = Everything | Nothing | And | Or | Not | Exists | Match | Regex | Within | Range

EVERYTHING, NOTHING = Everything(), Nothing()
QUOTE, BACKSLASHED = '"', r"\""


def conjunction(parts: Iterable[Node]) -> Node:
    """All of *parts*, as simply as it can be said."""
    flat = [p for part in parts for p in (part.parts if isinstance(part, And) else (part,))]
    flat = [p for p in flat if p != EVERYTHING]
    if NOTHING in flat:
        return NOTHING
    return And(tuple(flat)) if len(flat) > 1 else flat[0] if flat else EVERYTHING


def disjunction(parts: Iterable[Node]) -> Node:
    """At least one of *parts*, as simply as it can be said."""
    flat = [p for part in parts for p in (part.parts if isinstance(part, Or) else (part,))]
    flat = [p for p in flat if p != NOTHING]
    if EVERYTHING in flat:
        return EVERYTHING
    return Or(tuple(flat)) if len(flat) > 1 else flat[0] if flat else NOTHING


def negation(part: Node) -> Node:
    """The opposite of *part*, as simply as it can be said."""
    if part == EVERYTHING:
        return NOTHING
    if part == NOTHING:
        return EVERYTHING
    return part.part if isinstance(part, Not) else Not(part)


def _clamp(ns: int) -> int:
    return max(EARLIEST, min(LATEST, ns))


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _number(value: Number | None) -> str:
    text = str(value)
    return f'"{text}"' if text.startswith("-") else text
