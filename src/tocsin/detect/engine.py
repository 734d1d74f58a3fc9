"""Entries in, findings out: the rules over the events, with what they remember between batches.

``step`` is a function of state and entries; the state given is used up, the one returned goes on.
Entries that a rule has seen before are skipped, so a repeat does no harm, and a rule that is new
or was changed may be fed history that the others know already.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec
import numpy as np
import polars as pl
from msgspec import Struct

from tocsin.detect.closing import ClosedWindow
from tocsin.detect.correlate import (
    DistinctCount,
    EachEvent,
    EventCount,
    Ints,
    LongCount,
    Rows,
    Window,
)
from tocsin.detect.episodes import Episode
from tocsin.detect.fields import Route, route
from tocsin.detect.findings import (
    ENTITY_COLUMNS,
    FACTS,
    RELATED,
    WEB_ENTITY_COLUMNS,
    entity_type,
    finding,
    plain,
)
from tocsin.detect.keys import Sight, by_entity, code, column_of, gather, keyed, worded
from tocsin.detect.matcher import Matcher
from tocsin.detect.rule import CorrelationKind, CorrelationRule, Problem, Rule, RuleSet
from tocsin.detect.watermark import Watermark, event_times
from tocsin.errors import Damaged, RuleError
from tocsin.event import NAMES, Finding
from tocsin.event.batch import Entries

__all__ = ["Counters", "Engine", "Limits", "State", "duration"]

#: A plain rule tells of one entity once, until it has been quiet for so long.
QUIET_NS = 3_600_000_000_000

#: Longest time that a rule may look back over or be quiet for: a hundred years.
LONGEST_NS = 3_155_760_000_000_000_000

#: Up to this count a ring for every entity is cheap.
_SHORT = 20

#: Bytes that an entity costs, about, as measured: of a rule that counts values, of one with a
#: large count, and of an open episode.
_SEEN, _LONG, _EPISODE = 900, 450, 1_200
#: And what each (entity, value) pair costs.
_PAIR = 200

_MAGIC = b"tocsin-detect\x00\x01"
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


class Limits(Struct, frozen=True, kw_only=True):
    """How much the engine may remember."""

    slots: int = 200_000  #: entities a rule, at most
    pairs: int = 400_000  #: (entity, value) pairs a rule that counts values, at most
    #: Bytes of all correlations together, shared out evenly, and as much again of all other rules:
    #: roughly, and only when somebody floods them all.
    memory: int = 256 * 1024 * 1024


class Counters(Struct, frozen=True, kw_only=True):
    """What an operator should see, since the state was started."""

    late: dict[str, int]  #: by source: events later than the allowed lateness
    no_key: dict[str, int]  #: by rule: events without a field that the rule groups by
    evicted: dict[str, int]  #: by rule: entities forgotten while their state still mattered
    missed: dict[str, int]  #: by rule: events that came after their window was decided
    hurried: dict[str, int]  #: by rule: windows decided early because too much was waiting


@dataclass(slots=True)
class _Tracker:
    """One rule at work."""

    rule: Rule | CorrelationRule
    window: Window
    group: tuple[str, ...]  #: columns of a correlation's key; none for a plain rule
    next_seq: int = 0
    no_key: int = 0


@dataclass(slots=True)
class State:
    """What the engine remembers.  ``next_seq`` is the first seq not yet taken."""

    secret: bytes
    trackers: dict[str, _Tracker]
    watermark: Watermark
    next_seq: int = 0


class Engine:
    """A set of rules, ready to run.  It holds no state of its own."""

    def __init__(self, rules: RuleSet, *, limits: Limits | None = None) -> None:
        self.rules = rules
        self.limits = limits or Limits()
        self._matcher = Matcher(rules.rules)
        self._hashes = [_rule_hash(rule) for rule in rules.rules]
        self._routes = [route(rule.logsource) or Route() for rule in rules.rules]
        self._share = self.limits.memory // max(1, len(rules.correlations))
        self._plans: list[_Plan] = []
        problems: list[Problem] = []
        for rule in rules.correlations:
            try:
                self._plans.append(_plan(rules, rule, self._hashes, self._share // 64))
            except RuleError as e:
                problems.append(Problem(rule.file, rule.line, str(e)))
        silent = _silent(self._plans)
        self._loud = {i: QUIET_NS for i in range(len(rules.rules)) if i not in silent}
        for index in self._loud:
            try:
                self._loud[index] = _quiet(rules.rules[index], QUIET_NS)
            except RuleError as e:
                problems.append(Problem(rules.rules[index].file, rules.rules[index].line, str(e)))
        self.problems = tuple(problems)  #: what of the rules could not be done as written
        self._closes = any(c.op not in ("gte", "gt") for c in rules.correlations)

    def start(self, key: bytes) -> State:
        """Nothing seen yet.  *key* is this installation's own: nobody else can aim collisions."""
        trackers = {self._hashes[i]: self._plain_tracker(i) for i in self._loud}
        trackers |= {plan.identity: self._correlation_tracker(plan) for plan in self._plans}
        return State(secret=key[:64], trackers=trackers, watermark=Watermark())

    def step(
        self, state: State, entries: Entries, now: int | None = None
    ) -> tuple[State, list[Finding]]:
        """Take *entries*; return findings that are new or have grown, in the order of the events
        that opened them: the same order, however the entries were cut.

        *now* is the wall clock, for windows that must close although nothing arrives; a replay
        leaves it out.
        """
        if len(entries):
            self._take(state, entries)
        reached = state.watermark.reached(now)
        for tracker in state.trackers.values():
            tracker.window.close(reached)
        return state, self._tell(state, entries)

    def flush(self, state: State) -> tuple[State, list[Finding]]:
        """The stream is over: close every window and tell everything."""
        end = np.iinfo(np.int64).max
        for tracker in state.trackers.values():
            tracker.window.close(end)
        return state, self._tell(state, None, everything=True)

    # ------------------------------------------------------------------------------- one batch

    def _take(self, state: State, entries: Entries) -> None:
        frame = entries.frame
        hits = {hit.rule_index: hit.rows for hit in self._matcher.match(frame)}
        observed = _instants(frame, "observed")
        times = event_times(_instants(frame, "time"), observed)
        arrivals = self._arrivals(state, entries, times, observed)
        batch = _Batch(entries, times, arrivals.reached, state.secret)
        for index in self._loud:
            tracker = state.trackers[self._hashes[index]]
            if index in hits:
                self._feed_plain(
                    tracker, self.rules.rules[index], batch.new(hits[index], tracker), batch
                )
            tracker.next_seq = max(tracker.next_seq, entries.next_seq)
        for plan in self._plans:
            tracker = state.trackers[plan.identity]
            self._feed_correlation(tracker, plan, hits, batch)
            tracker.next_seq = max(tracker.next_seq, entries.next_seq)
        # Last: whatever failed above finds the watermark as it was when the entries come again.
        if len(arrivals.times):
            state.watermark.advance(*arrivals)
            state.next_seq = entries.next_seq

    def _arrivals(self, state: State, entries: Entries, times: Ints, observed: Ints) -> _Arrivals:
        """What of *entries* is new to the watermark."""
        skip = min(max(0, state.next_seq - entries.first_seq), len(entries))
        if "source" in entries.frame.columns:
            codes, sources = code(entries.frame.get_column("source").fill_null(""))
        else:
            codes, sources = np.zeros(len(times), np.int64), [""]
        fresh = _Arrivals(sources, codes[skip:], times[skip:], observed[skip:], None)
        if not self._closes:
            return fresh
        walked = state.watermark.walk(*fresh[:4])
        before = np.full(skip, state.watermark.reached(), np.int64)
        return fresh._replace(reached=np.concatenate([before, walked]))

    def _feed_plain(self, tracker: _Tracker, rule: Rule, rows: Ints, batch: _Batch) -> None:
        if len(rows):
            codes, keys = by_entity(batch.frame, rows, _entity_columns(rule), batch.secret)
            tracker.window.feed(batch.rows(rows, codes, keys))

    def _feed_correlation(
        self, tracker: _Tracker, plan: _Plan, hits: Mapping[int, Ints], batch: _Batch
    ) -> None:
        sights = [
            Sight(batch.new(hits[base], tracker), self._routes[base], fields)
            for base, fields in zip(plan.bases, plan.fields, strict=True)
            if base in hits
        ]
        rows, parts, lost = gather(batch.frame, sights)
        tracker.no_key += lost
        if not len(rows):
            return
        codes, keys = keyed(parts[: plan.grouped], len(rows), batch.secret)
        values = None
        if plan.counts_values:
            values = worded(parts[plan.grouped :], len(rows), batch.secret)
        tracker.window.feed(batch.rows(rows, codes, keys, values))

    # ------------------------------------------------------------------------------- telling

    def _tell(
        self, state: State, entries: Entries | None, *, everything: bool = False
    ) -> list[Finding]:
        if entries is not None and len(entries):
            _read(state.trackers.values(), entries)
        newest = state.watermark.newest
        told = [
            (episode.opened_seq, finding(tracker.rule, identity, tracker.group, episode))
            for identity, tracker in state.trackers.items()
            for episode in tracker.window.episodes.tell(newest, everything=everything)
        ]
        return [found for _, found in sorted(told, key=lambda one: one[0])]

    def behind(self, state: State) -> bool:
        """Whether some rule has not seen what others have: it is new, or was edited."""
        return any(tracker.next_seq < state.next_seq for tracker in state.trackers.values())

    def counters(self, state: State) -> Counters:
        """What was late, lost or forgotten so far, and where."""
        trackers = state.trackers.values()

        def by_rule(name: str) -> dict[str, int]:
            return {t.rule.id: n for t in trackers if (n := getattr(t.window, name, 0))}

        return Counters(
            late=dict(state.watermark.late),
            no_key={t.rule.id: t.no_key for t in trackers if t.no_key},
            evicted={t.rule.id: n for t in trackers if (n := t.window.slots.evicted)},
            missed=by_rule("late"),
            hurried=by_rule("hurried"),
        )

    # ------------------------------------------------------------------------------- keeping

    def dump(self, state: State) -> bytes:
        """*state* as bytes.  They hold identities and the key: keep them encrypted."""
        return _MAGIC + msgspec.msgpack.encode(
            {
                "secret": state.secret,
                "next_seq": state.next_seq,
                "watermark": state.watermark.dump(),
                "trackers": {
                    identity: {
                        "next_seq": t.next_seq,
                        "no_key": t.no_key,
                        "window": t.window.dump(),
                    }
                    for identity, t in state.trackers.items()
                },
            }
        )

    def load(self, data: bytes) -> State:
        """What :meth:`dump` wrote, as far as the rules are still the same.

        The state of a rule that was changed is left behind, and that of a new one is empty with
        ``next_seq`` 0: feed it the history it should know, the others skip what they have seen.
        """
        if not data.startswith(_MAGIC):
            raise Damaged("detection state: unknown format or version; delete it and replay")
        try:
            kept: Any = msgspec.msgpack.decode(data[len(_MAGIC) :])
            state = self.start(kept["secret"])
            state.next_seq = int(kept["next_seq"])
            state.watermark.load(kept["watermark"])
            for identity, tracker in state.trackers.items():
                if (old := kept["trackers"].get(identity)) is not None:
                    tracker.next_seq, tracker.no_key = int(old["next_seq"]), int(old["no_key"])
                    tracker.window.load(old["window"])
        except (
            msgspec.DecodeError,
            msgspec.ValidationError,
            LookupError,
            TypeError,
            ValueError,
        ) as e:
            raise Damaged(f"detection state: cannot be read ({e}); delete it and replay") from e
        return state

    # ------------------------------------------------------------------------------- rules

    def _plain_tracker(self, index: int) -> _Tracker:
        fit = self.limits.memory // (_EPISODE * len(self._loud))
        window = EachEvent(self._loud[index], limit=self._entities(fit))
        return _Tracker(self.rules.rules[index], window, ())

    def _correlation_tracker(self, plan: _Plan) -> _Tracker:
        rule, quiet, share = plan.rule, plan.quiet_ns, self._share
        count = rule.count + (rule.op == "gt")
        window: Window
        if rule.op not in ("gte", "gt"):
            window = ClosedWindow(
                rule.op,
                rule.count,
                rule.timespan_ns,
                quiet,
                limit=self._entities(share // _SEEN),
                pending=max(1_000, share // _PAIR),
                values=plan.counts_values,
            )
        elif plan.counts_values:
            window = DistinctCount(
                count,
                rule.timespan_ns,
                quiet,
                limit=self._entities(share // _SEEN),
                pairs=max(1_000, min(self.limits.pairs, share // _PAIR)),
            )
        elif count <= _SHORT:
            fit = share // (16 * (2 * count + 2))
            window = EventCount(count, rule.timespan_ns, quiet, limit=self._entities(fit))
        else:
            window = LongCount(
                count,
                rule.timespan_ns,
                quiet,
                limit=self._entities(share // _LONG),
                kept=share // 32,
            )
        return _Tracker(rule, window, plan.group)

    def _entities(self, fit: int) -> int:
        """How many entities a rule may know, when memory would hold *fit*."""
        return min(self.limits.slots, max(1_000, fit))


@dataclass(frozen=True, slots=True)
class _Plan:
    """A correlation, with what it refers to found."""

    rule: CorrelationRule
    identity: str
    bases: tuple[int, ...]  #: indexes of the rules whose events it counts
    fields: tuple[tuple[str, ...], ...]  #: for each of them, what it groups by and counts
    quiet_ns: int
    grouped: int  #: how many of the fields are grouped by
    group: tuple[str, ...]  #: their columns, for the entity

    @property
    def counts_values(self) -> bool:
        return self.rule.type is CorrelationKind.VALUE_COUNT


class _Arrivals(NamedTuple):
    """Events on their way into the watermark; ``codes[i]`` is the source of event ``i``."""

    sources: list[str]
    codes: Ints
    times: Ints
    observed: Ints
    reached: Ints | None  #: before each event of the batch, for rules whose windows must close


@dataclass(frozen=True, slots=True)
class _Batch:
    """Entries on their way through the rules."""

    entries: Entries
    times: Ints
    reached: Ints | None
    secret: bytes

    @property
    def frame(self) -> pl.DataFrame:
        return self.entries.frame

    def new(self, rows: Ints, tracker: _Tracker) -> Ints:
        """Those of *rows* that the tracker has not had yet."""
        skip = tracker.next_seq - self.entries.first_seq
        return rows if skip <= 0 else rows[rows >= skip]

    def rows(
        self, rows: Ints, codes: Ints, keys: list[str], values: list[str] | None = None
    ) -> Rows:
        return Rows(
            times=self.times[rows],
            seqs=rows + self.entries.first_seq,
            codes=codes,
            keys=keys,
            values=values,
            reached=None if self.reached is None else self.reached[rows],
        )


def _plan(rules: RuleSet, rule: CorrelationRule, hashes: list[str], most: int) -> _Plan:
    """*rule* with what it refers to; *most* is the largest count that fits into memory."""
    if not 0 <= rule.count <= most:
        raise RuleError(f"condition: cannot count to {rule.count}; the largest count is {most}")
    if rule.timespan_ns > LONGEST_NS:
        raise RuleError("timespan: longer than a hundred years; shorten it")
    bases: list[int] = []
    fields: list[tuple[str, ...]] = []
    by = sorted(rule.group_by, key=lambda f: rule.entity.index(f) if f in rule.entity else 99)
    for reference in rule.rules:
        index = rules.find(reference)
        if index is None:
            raise RuleError(
                f"correlation refers to {reference!r}, which is no rule here; "
                "load the file that holds it, or correct the name"
            )
        names = {reference, rules.rules[index].id, rules.rules[index].name}
        bases.append(index)
        fields.append(tuple(_aliased(rule, names, f) for f in (*by, *rule.value_fields)))
    columns = [
        column_of(f, route(rules.rules[bases[0]].logsource) or Route())
        for f in fields[0][: len(by)]
    ]
    return _Plan(
        rule=rule,
        identity=_correlation_hash(rule, [hashes[b] for b in bases]),
        bases=tuple(bases),
        fields=tuple(fields),
        quiet_ns=_quiet(rule, rule.timespan_ns),
        grouped=len(by),
        group=tuple(columns) or ("source",),
    )


def _aliased(rule: CorrelationRule, names: set[str | None], field: str) -> str:
    """What one of a correlation's rules calls *field*."""
    for reference, name in rule.aliases.get(field, {}).items():
        if reference in names:
            return name
    return field


def _rule_hash(rule: Rule) -> str:
    """Of what a plain rule's state depends on: an edited title or runbook keeps the state."""
    parts = (rule.id, rule.logsource, rule.condition, rule.entity, rule.suppress)
    return sha256(msgspec.json.encode(parts)).hexdigest()


def _correlation_hash(rule: CorrelationRule, bases: list[str]) -> str:
    parts = (
        rule.id,
        rule.type,
        bases,
        rule.group_by,
        rule.timespan_ns,
        rule.op,
        rule.count,
        rule.value_fields,
        rule.aliases,
        rule.entity,
        rule.suppress,
    )
    return sha256(msgspec.json.encode(parts)).hexdigest()


def _silent(plans: Iterable[_Plan]) -> frozenset[int]:
    """Rules that only serve correlations, and yield no findings of their own."""
    quiet = {base for plan in plans if not plan.rule.generate for base in plan.bases}
    loud = {base for plan in plans if plan.rule.generate for base in plan.bases}
    return frozenset(quiet - loud)


def _entity_columns(rule: Rule) -> tuple[str, ...]:
    web = route(rule.logsource)
    usual = WEB_ENTITY_COLUMNS if web is not None and web.web else ENTITY_COLUMNS
    named = tuple(c for c in rule.entity if c in NAMES)
    return named + tuple(c for c in usual if c not in named)


def _quiet(rule: Rule | CorrelationRule, default: int) -> int:
    """How long an entity must be quiet before it is told of anew: ``suppress: {for: 1h}``."""
    wanted = rule.suppress.get("for")
    if wanted is None:
        return default
    try:
        return duration(str(wanted))
    except ValueError as e:
        raise RuleError(f"suppress.for: {e}") from e


def duration(text: str) -> int:
    """A length of time, signed, as rules write it, in nanoseconds.

    >>> duration("5m"), duration("-1.5s")
    (300000000000, -1500000000)
    """
    number, unit = text.strip()[:-1], text.strip()[-1:]
    try:
        ns = round(float(number) * 1e9) * _UNITS[unit]
        if abs(ns) <= LONGEST_NS:
            return ns
        raise ValueError
    except (ValueError, KeyError, OverflowError):
        raise ValueError(
            f"{text!r} is no length of time; write a number and s, m, h, d or w"
        ) from None


def _instants(frame: pl.DataFrame, name: str) -> Ints:
    return frame.get_column(name).cast(pl.Int64).to_numpy()


def _read(trackers: Iterable[_Tracker], entries: Entries) -> None:
    """Note for each new or growing episode what its events say, in one pass over the frame."""
    wanted = [pair for t in trackers for pair in t.window.episodes.unread]
    for tracker in trackers:
        tracker.window.episodes.unread = []
    wanted = [(e, s) for e, s in wanted if entries.first_seq <= s < entries.next_seq]
    if not wanted:
        return
    rows, back = np.unique([s - entries.first_seq for _, s in wanted], return_inverse=True)
    columns = [c for c in FACTS if c in entries.frame.columns]
    kept = entries.frame[rows].select(columns).rows(named=True)
    for (episode, _), at in zip(wanted, back.tolist(), strict=True):
        _note(episode, kept[at])


def _note(episode: Episode, row: dict[str, Any]) -> None:
    if not episode.facts:
        episode.facts = {
            name: plain(", ".join(value) if isinstance(value, list) else str(value))
            for name, value in row.items()
            if value is not None
        }
    if len(episode.related) >= _RELATED:
        return
    for name in RELATED:
        value = row.get(name)
        if value is not None:
            pair = (entity_type(name), plain(value))
            if pair not in episode.related:
                episode.related.append(pair)


#: Related entities remembered for an episode.
_RELATED = 24
