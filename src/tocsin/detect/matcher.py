"""Which rows satisfy which rules: look for all rules' anchors at once, ask few rows exactly.

For each group of rules with the same log source: mask its rows; scan each view that has anchors
once, with one Hyperscan database; ask the rules whose anchors occurred about just those rows; and
ask rules without anchors about all rows of the group, as columns.  An empty mask costs nothing.

A scanned buffer holds each distinct value between sentinels, ``\\n value \\n``, so that a prefix, a
suffix or a whole value is one literal.  A value that is not ASCII is in it twice, as it stands
and folded.  A value may contain sentinels itself, and a match may span two values: that yields
further candidates, never fewer, and the exact question follows anyway.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import hyperscan
import numpy as np
import polars as pl

from tocsin.detect.anchors import SENTINEL, anchors, fold
from tocsin.detect.exact import Node, Rows, bind, literal
from tocsin.detect.fields import Route, route
from tocsin.detect.rule import Rule
from tocsin.detect.views import Bag, Bools, Ints, Views

__all__ = ["Hit", "Matcher"]

#: A rule with more candidates than this is asked by columns, with fewer row by row.
_MANY = 400

#: Matches that one scan may report: so many, and so many a value.  A client that repeats an
#: anchor for ever gets its rows asked exactly instead.
_HITS, _HITS_EACH = 2_000, 8

#: The scanner's offsets are 32 bits wide; a frame above this many bytes is halved first.
_BYTES = 1 << 30


@dataclass(frozen=True)
class Hit:
    """The rows, ascending, that satisfy the rule at *rule_index*."""

    rule_index: int
    rows: Ints


@dataclass
class Matcher:
    """Compiled rules.  It belongs to one thread at a time: the scanner has one scratch space.

    A rule whose log source we never receive, or that hangs on fields which no event has, is not
    run; ``sigma.compile_rules`` has told so.
    """

    rules: Sequence[Rule]
    overflows: int = 0  #: how often a scan reported too much and rows were asked exactly instead
    _groups: list[_Group] = field(init=False)

    def __post_init__(self) -> None:
        routed: dict[Route, list[tuple[int, Node]]] = {}
        for index, rule in enumerate(self.rules):
            to = route(rule.logsource)
            node = None if to is None else bind(rule.condition, to)[0]
            if to is not None and node is not None:
                routed.setdefault(to, []).append((index, node))
        self._groups = [_Group(to, nodes) for to, nodes in routed.items()]

    def match(self, frame: pl.DataFrame) -> list[Hit]:
        """Which rules which rows of *frame* satisfy, by rule."""
        if not frame.height:
            return []
        if frame.height > 1 and frame.estimated_size() > _BYTES:
            return self._halved(frame)
        views = Views(frame)  # of all groups: they ask for the same columns
        hits = [hit for group in self._groups for hit in group.match(views)]
        self.overflows = sum(group.overflows for group in self._groups)
        return sorted(hits, key=lambda hit: hit.rule_index)

    def _halved(self, frame: pl.DataFrame) -> list[Hit]:
        half = frame.height // 2
        parts: dict[int, list[Ints]] = {}
        for base, part in ((0, frame[:half]), (half, frame[half:])):
            for hit in self.match(part):
                parts.setdefault(hit.rule_index, []).append(hit.rows + base)
        return [Hit(index, np.concatenate(rows)) for index, rows in sorted(parts.items())]


class _Group:
    """The rules of one log source."""

    def __init__(self, to: Route, nodes: list[tuple[int, Node]]) -> None:
        self.route = to
        self.nodes = dict(nodes)
        self.overflows = 0
        self.direct: list[int] = []  #: rules without anchors
        self.scans: dict[str, _Scan] = {}
        wanted: dict[str, dict[str, list[int]]] = {}
        for index, node in nodes:
            found = anchors(node)
            if found is None:
                self.direct.append(index)
                continue
            for anchor in found:
                wanted.setdefault(anchor.scan, {}).setdefault(anchor.text, []).append(index)
        self.scans = {view: _Scan(texts) for view, texts in wanted.items()}

    def match(self, views: Views) -> Iterator[Hit]:
        rows = _rows(self.route, views)
        if rows is not None and not len(rows):
            return
        for index, found in self._match(views if rows is None else views.part(rows)):
            yield Hit(index, found if rows is None else rows[found])

    def _match(self, views: Views) -> Iterator[tuple[int, Ints]]:
        few: dict[int, Ints] = {}
        for index, candidates in self._candidates(views).items():
            rows = np.flatnonzero(candidates)
            if len(rows) > _MANY:
                yield from _found(index, self._of_columns(index, views, candidates))
            else:
                few[index] = rows
        yield from self._of_rows(views, few)
        alive = np.ones(views.height, dtype=np.bool_)
        for index in self.direct:
            yield from _found(index, self._of_columns(index, views, alive))

    def _of_columns(self, index: int, views: Views, alive: Bools) -> Ints:
        if alive.sum() * 4 > len(alive):
            return np.flatnonzero(self.nodes[index].mask(views, alive) & alive)
        rows = np.flatnonzero(alive)
        part = views.part(rows)
        return rows[
            np.flatnonzero(self.nodes[index].mask(part, np.ones(len(rows), dtype=np.bool_)))
        ]

    def _of_rows(self, views: Views, few: dict[int, Ints]) -> Iterator[tuple[int, Ints]]:
        if not few:
            return
        union = np.unique(np.concatenate(list(few.values())))
        rows = Rows(views.part(union))
        for index, candidates in few.items():
            holds = self.nodes[index].bind(rows)
            local = np.searchsorted(union, candidates)
            found = [i for i in local.tolist() if holds(i)]
            yield from _found(index, union[np.array(found, dtype=np.int64)])

    def _candidates(self, views: Views) -> dict[int, Bools]:
        """For each rule whose anchors occur, the rows in which they do."""
        found: dict[int, Bools] = {}
        for view, scan in self.scans.items():
            bag = views.bag(view)
            if not len(bag.values):
                continue
            for rules, values in scan.occurrences(bag):
                marked = np.zeros(len(bag.values), dtype=np.bool_)
                marked[values] = True
                rows = bag.spread(marked)
                for index in rules:
                    found[index] = found[index] | rows if index in found else rows
            self.overflows += scan.take_overflows()
        return found


def _found(index: int, rows: Ints) -> Iterator[tuple[int, Ints]]:
    if len(rows):
        yield index, rows


def _rows(to: Route, views: Views) -> Ints | None:
    """The rows that *to* means; ``None`` for all of them."""
    wanted = np.ones(views.height, dtype=np.bool_)
    if to.kinds or to.layers:
        wanted = _among(views, "kind", to.kinds) | _among(views, "layer", to.layers)
    if to.products:
        wanted &= _of_product(to, views)
    return None if wanted.all() else np.flatnonzero(wanted)


def _among(views: Views, column: str, wanted: Collection[str]) -> Bools:
    """The rows whose *column*, which has few different values, is one of *wanted*."""
    bag = views.bag(column)
    hits = np.fromiter((v in wanted for v in bag.values), np.bool_, len(bag.values))
    return bag.spread(hits)


def _of_product(to: Route, views: Views) -> Bools:
    """Rows named after a product, or whose attributes only it has."""
    named = rf"(?i)^(?:{'|'.join(map(literal, to.products))})(?:[-_.:/ ].*)?$"
    found = np.zeros(views.height, dtype=np.bool_)
    for column in ("source", "service", "parser"):
        bag = views.bag(column)
        found |= bag.spread(bag.values.str.contains(named).to_numpy())
    if to.marks:
        bag = views.bag("attributes")
        found |= bag.spread(bag.values.str.contains_any(list(to.marks)).to_numpy())
    return found


class _Scan:
    """One view's anchors as a Hyperscan database."""

    def __init__(self, texts: dict[str, list[int]]) -> None:
        self.rules = [tuple(rules) for rules in texts.values()]
        self.overflows = 0
        self.database = hyperscan.Database()
        self.database.compile(
            expressions=[_pattern(text) for text in texts],
            ids=list(range(len(texts))),
            flags=[hyperscan.HS_FLAG_CASELESS] * len(texts),
        )

    def take_overflows(self) -> int:
        """How often a scan reported too much since this was last asked."""
        count, self.overflows = self.overflows, 0
        return count

    def occurrences(self, bag: Bag) -> Iterator[tuple[tuple[int, ...], Ints]]:
        """The rules of each anchor that occurs, and the values in which it does."""
        buffer, offsets, owners = _join(bag.values)
        yield from self._scan(buffer, offsets, owners, 0, len(owners))

    def _scan(
        self, buffer: Any, offsets: Ints, owners: Ints, first: int, last: int
    ) -> Iterator[tuple[tuple[int, ...], Ints]]:
        """Scan entries *first* to *last*; where they report too much, halve them and ask again."""
        start = int(offsets[first]) - 1
        hits: list[tuple[int, int]] = []
        most = _HITS + _HITS_EACH * (last - first)
        append = hits.append

        def on_match(pattern: int, _from: int, end: int, _flags: int, _context: Any) -> bool:
            append((pattern, end))
            return len(hits) > most

        try:
            self.database.scan(buffer[start : int(offsets[last])], match_event_handler=on_match)
        except hyperscan.ScanTerminated:
            yield from self._too_much(buffer, offsets, owners, first, last)
            return
        if hits:
            found = np.array(hits, dtype=np.int64)
            entries = np.searchsorted(offsets, found[:, 1] + (start - 1), side="right") - 1
            yield from self._by_pattern(found[:, 0], owners[np.maximum(entries, 0)])

    def _too_much(
        self, buffer: Any, offsets: Ints, owners: Ints, first: int, last: int
    ) -> Iterator[tuple[tuple[int, ...], Ints]]:
        if last - first > 64:
            middle = (first + last) // 2
            yield from self._scan(buffer, offsets, owners, first, middle)
            yield from self._scan(buffer, offsets, owners, middle, last)
            return
        self.overflows += 1
        everyone = tuple({index for rules in self.rules for index in rules})
        yield everyone, np.unique(owners[first:last])

    def _by_pattern(self, patterns: Ints, values: Ints) -> Iterator[tuple[tuple[int, ...], Ints]]:
        order = np.argsort(patterns, kind="stable")
        patterns, values = patterns[order], values[order]
        cuts = np.flatnonzero(np.diff(patterns)) + 1
        for part in np.split(np.arange(len(patterns)), cuts):
            yield self.rules[int(patterns[part[0]])], values[part]


def _pattern(text: str) -> bytes:
    """*text* as a pattern of bytes, each escaped: nothing in it is special."""
    return b"".join(b"\\x%02x" % byte for byte in text.encode())


def _join(values: pl.Series) -> tuple[Any, Ints, Ints]:
    """All *values* between sentinels in one buffer, and where each entry begins and whose it is.

    Entry ``i`` begins at ``offsets[i]``, and its own sentinel is the last byte before the next.
    """
    owners = np.arange(len(values))
    data, offsets = _ended(values)
    if not data.isascii():
        wide = np.flatnonzero((values.str.len_bytes() != values.str.len_chars()).to_numpy())
        folded = pl.Series([fold(text) for text in values.gather(wide)], dtype=pl.String)
        more, ends = _ended(folded)
        owners = np.concatenate([owners, wide])
        offsets = np.concatenate([offsets, ends[1:] + offsets[-1]])
        data += more
    return memoryview(SENTINEL.encode() + data), offsets + len(SENTINEL), owners


def _ended(values: pl.Series) -> tuple[bytes, Ints]:
    """*values* in one buffer, each with a sentinel behind it, and the offsets between them."""
    array = (values + SENTINEL).to_arrow(compat_level=pl.CompatLevel.oldest())
    _, where, what = array.buffers()
    offsets = np.frombuffer(where, dtype=np.int64)[array.offset : array.offset + len(array) + 1]
    return bytes(memoryview(what)[offsets[0] : offsets[-1]]), offsets - offsets[0]
