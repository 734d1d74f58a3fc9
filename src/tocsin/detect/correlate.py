"""Sliding windows on event time: too many events, or too many different values, from one entity.

Windows slide and both ends belong to them: events at ``a`` and ``b`` are together when
``b - a <= timespan``.  There is one meaning, *events taken one by one in seq order*; what is done
for whole batches at once is a short cut to the same result, and tests hold it to that.

**No delay, and disorder does no harm.**  ``gte`` and ``gt`` decide at once.  Instead of holding
events back until late ones have arrived, each entity keeps its ``2N - 1`` latest times (or most
recently seen values) *in time order*, and a late event is inserted where it belongs.  Why that is
enough, for an event at ``t`` that is late by no more than the timespan: if an event ``d`` was
dropped, ``2N - 1`` kept ones are later than it.  Either ``N`` of those are at or after ``t``: they
lie within the lateness, so within one timespan, and have crossed already.  Or ``N`` of them lie
between ``d`` and ``t``: then each window that holds ``d`` and ``t`` crossed without ``t``.  So a
late event whose crossing cannot be seen is never the first to cross, and it joins the episode that
is open.

``eq``, ``lte``, ``lt`` and ``neq`` can be decided only when nothing more can fall into the window,
and those wait in :mod:`tocsin.detect.closing`.
"""

from __future__ import annotations

import operator
from array import array
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from tocsin.detect.episodes import Episodes
from tocsin.detect.slots import Slots

__all__ = [
    "COMPARE",
    "NEVER",
    "DistinctCount",
    "EachEvent",
    "EventCount",
    "Ints",
    "LongCount",
    "Rows",
    "Window",
]

Ints: TypeAlias = npt.NDArray[np.int64]

#: No event yet.
NEVER = np.iinfo(np.int64).min

COMPARE: MappingProxyType[str, Callable[[int, int], bool]] = MappingProxyType(
    {
        "eq": operator.eq,
        "neq": operator.ne,
        "lt": operator.lt,
        "lte": operator.le,
        "gt": operator.gt,
        "gte": operator.ge,
    }
)


@dataclass(frozen=True, slots=True)
class Rows:
    """The events that a rule looks at, in seq order, keyed by entity.

    ``keys`` are the distinct keys in order of appearance; ``codes[i]`` is the key of event ``i``.
    """

    times: Ints
    seqs: Ints
    codes: Ints
    keys: list[str]
    values: list[str] | None = None  #: whose distinct ones are counted
    reached: Ints | None = None  #: watermark before each event, for windows that must close

    def __len__(self) -> int:
        return len(self.times)

    def part(self, start: int, stop: int) -> Rows:
        """Events *start* to *stop*, with only their keys."""
        codes, first, back = np.unique(
            self.codes[start:stop], return_index=True, return_inverse=True
        )
        order = np.argsort(first, kind="stable")
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        return Rows(
            times=self.times[start:stop],
            seqs=self.seqs[start:stop],
            codes=place[back],
            keys=[self.keys[c] for c in codes[order].tolist()],
            values=None if self.values is None else self.values[start:stop],
            reached=None if self.reached is None else self.reached[start:stop],
        )


class Window(Protocol):
    """One correlation's state."""

    @property
    def episodes(self) -> Episodes: ...

    @property
    def slots(self) -> Slots: ...

    def feed(self, rows: Rows) -> None:
        """Take events in seq order; crossings open or prolong episodes."""

    def close(self, reached: int) -> None:
        """No event at or before *reached* is still to come."""

    def dump(self) -> dict[str, Any]:
        """Everything, as plain data."""
        ...

    def load(self, data: dict[str, Any]) -> None:
        """Take back what :meth:`dump` gave."""


class EventCount:
    """At least *count* events of one entity within *span_ns*.  Exact.

    ``times[slot]`` is a ring of the latest times, ``pos`` the place of the next, so the K-th latest
    is one gather away for a whole batch of entities.  Entities that cross, are in an open episode
    or got events out of order are walked one event at a time; nearly all others never are.
    """

    def __init__(self, count: int, span_ns: int, quiet_ns: int, *, limit: int) -> None:
        self.count = max(1, count)
        self.span_ns = span_ns
        self.ring = max(1, 2 * self.count - 1)
        self.episodes = Episodes(quiet_ns)
        self.slots = Slots(limit, alive=self._alive, forget=self._forget)
        self._reached = NEVER  # newest event time of any entity
        self._allocate(0)

    def _allocate(self, room: int) -> None:
        self.times = np.full((room, self.ring), NEVER, np.int64)
        self.seqs = np.zeros((room, self.ring), np.int64)
        self.pos = np.zeros(room, np.int64)
        self.filled = np.zeros(room, np.int64)
        self.newest = np.full(room, NEVER, np.int64)
        self.until = np.full(room, NEVER, np.int64)

    def _grow(self, room: int) -> None:
        have = len(self.pos)
        if room <= have:
            return
        old = (self.times, self.seqs, self.pos, self.filled, self.newest, self.until)
        self._allocate(min(max(room, 2 * have, 256), max(room, self.slots.limit)))
        new = (self.times, self.seqs, self.pos, self.filled, self.newest, self.until)
        for source, target in zip(old, new, strict=True):
            target[:have] = source

    def _alive(self, slot: int) -> bool:
        latest = max(int(self.newest[slot]), int(self.until[slot]))
        return latest + self.span_ns >= self._reached

    def _forget(self, slot: int) -> None:
        self.episodes.close(slot)
        self.times[slot] = NEVER
        self.pos[slot] = self.filled[slot] = 0
        self.newest[slot] = self.until[slot] = NEVER

    def close(self, reached: int) -> None:
        """Nothing waits here."""

    def feed(self, rows: Rows) -> None:
        """Take events in seq order."""
        stride = self.slots.stride
        if len(rows) <= stride:
            self._feed(rows)
            return
        for start in range(0, len(rows), stride):
            self._feed(rows.part(start, start + stride))

    def _feed(self, rows: Rows) -> None:
        if not len(rows):
            return
        per_key = np.bincount(rows.codes, minlength=len(rows.keys))
        taken = self.slots.take(rows.keys, (per_key > 1).tolist())
        self._grow(self.slots.room)
        slot = np.asarray(taken, np.int64)[rows.codes]
        reached = np.maximum.accumulate(np.maximum(rows.times, self._reached))
        order = np.argsort(slot, kind="stable")
        s, t = slot[order], rows.times[order]

        first = np.empty(len(s), np.bool_)
        first[0] = True
        np.not_equal(s[1:], s[:-1], out=first[1:])
        starts = np.flatnonzero(first)
        lengths = np.diff(starts, append=len(s))
        rank = np.arange(len(s)) - np.repeat(starts, lengths)

        before = np.empty_like(t)  # time of the event just before, of the same entity
        before[1:] = t[:-1]
        before[starts] = self.newest[s[starts]]
        walk = t < before
        walk |= t <= self.until[s]
        walk |= self._crossing(s, t, rank)
        odd = np.logical_or.reduceat(walk, starts)

        self._append(s, t, rows.seqs[order], rank, lengths, odd)
        for i in np.flatnonzero(odd).tolist():
            rows_of = order[starts[i] : starts[i] + lengths[i]]
            self._walk(int(s[starts[i]]), rows, rows_of, reached)
        self._reached = int(reached[-1])

    def _crossing(self, s: Ints, t: Ints, rank: Ints) -> npt.NDArray[np.bool_]:
        """Where the N-th latest time, its own included, is within the span; if in order."""
        back = self.count - 1
        nth = np.empty_like(t)
        inside = rank >= back
        at = np.flatnonzero(inside)
        nth[at] = t[at - back]
        at = np.flatnonzero(~inside)
        slots = s[at]
        nth[at] = self.times[slots, (self.pos[slots] - (back - rank[at])) % self.ring]
        crossing: npt.NDArray[np.bool_] = (nth != NEVER) & (nth >= t - self.span_ns)
        return crossing

    def _append(
        self,
        s: Ints,
        t: Ints,
        seqs: Ints,
        rank: Ints,
        lengths: Ints,
        odd: npt.NDArray[np.bool_],
    ) -> None:
        """Write the events of entities that need no walk: the last K of each."""
        left = np.repeat(lengths, lengths) - rank  # 1 for the last event of an entity
        keep = np.flatnonzero((left <= self.ring) & ~np.repeat(odd, lengths))
        slots = s[keep]
        places = (self.pos[slots] + rank[keep]) % self.ring
        self.times[slots, places] = t[keep]
        self.seqs[slots, places] = seqs[keep]
        last = keep[left[keep] == 1]
        slots, added = s[last], rank[last] + 1
        self.pos[slots] = (self.pos[slots] + added) % self.ring
        self.filled[slots] = np.minimum(self.filled[slots] + added, self.ring)
        self.newest[slots] = t[last]

    def _walk(self, slot: int, rows: Rows, which: Ints, reached: Ints) -> None:
        """One entity's events, one by one: this is the meaning, all else is speed."""
        key = rows.keys[int(rows.codes[which[0]])]
        filled = int(self.filled[slot])
        places = (int(self.pos[slot]) - filled + np.arange(filled)) % self.ring
        times: list[int] = self.times[slot, places].tolist()
        seqs: list[int] = self.seqs[slot, places].tolist()
        for time, seq, newest in zip(
            rows.times[which].tolist(),
            rows.seqs[which].tolist(),
            reached[which].tolist(),
            strict=True,
        ):
            _take(self, slot, key, times, seqs, time, seq, newest)
        times, seqs = times[-self.ring :], seqs[-self.ring :]
        self.times[slot, : len(times)] = times
        self.seqs[slot, : len(times)] = seqs
        self.filled[slot] = len(times)
        self.pos[slot] = len(times) % self.ring
        self.newest[slot] = times[-1]
        newest = int(reached[which[-1]])
        episode = self.episodes.current(slot, newest)
        self.until[slot] = NEVER if episode is None else episode.until

    def dump(self) -> dict[str, Any]:
        """Everything, as plain data; arrays as little-endian bytes."""
        room = self.slots.room
        arrays = (self.times, self.seqs, self.pos, self.filled, self.newest, self.until)
        return {
            "arrays": [np.ascontiguousarray(a[:room], "<i8").tobytes() for a in arrays],
            "slots": self.slots.dump(),
            "episodes": self.episodes.dump(),
            "reached": self._reached,
        }

    def load(self, data: dict[str, Any]) -> None:
        """Take back what :meth:`dump` gave."""
        self.slots.load(data["slots"])
        self.episodes.load(data["episodes"])
        self._reached = int(data["reached"])
        self._allocate(self.slots.room)
        arrays = (self.times, self.seqs, self.pos, self.filled, self.newest, self.until)
        for target, raw in zip(arrays, data["arrays"], strict=True):
            target[:] = np.frombuffer(raw, "<i8").reshape(target.shape)


class LongCount:
    """As :class:`EventCount`, for counts so large that a ring for every entity would be waste.

    Each entity has just as many times as it had events, up to ``2N - 1``; all together no more than
    *kept*, and what that bound forgets is counted.
    """

    def __init__(self, count: int, span_ns: int, quiet_ns: int, *, limit: int, kept: int) -> None:
        self.count = max(1, count)
        self.span_ns = span_ns
        self.ring = 2 * self.count - 1
        self.limit_kept = max(kept, 2 * self.ring)
        self.kept = 0
        self.episodes = Episodes(quiet_ns)
        self.slots = Slots(limit, alive=self._alive, forget=self._forget)
        self._reached = NEVER
        self._times: dict[int, array[int]] = {}
        self._seqs: dict[int, array[int]] = {}

    def _alive(self, slot: int) -> bool:
        times = self._times.get(slot)
        if self.episodes.current(slot, self._reached) is not None:
            return True
        return times is not None and times[-1] + self.span_ns >= self._reached

    def _forget(self, slot: int) -> None:
        self.episodes.close(slot)
        self.kept -= len(self._times.pop(slot, ()))
        self._seqs.pop(slot, None)

    def close(self, reached: int) -> None:
        """Nothing waits here."""

    def feed(self, rows: Rows) -> None:
        """Take events in seq order."""
        stride = self.slots.stride
        if len(rows) <= stride:
            self._feed(rows)
            return
        for start in range(0, len(rows), stride):
            self._feed(rows.part(start, start + stride))

    def _feed(self, rows: Rows) -> None:
        per_key = np.bincount(rows.codes, minlength=len(rows.keys))
        slots = self.slots.take(rows.keys, (per_key > 1).tolist())
        for code, time, seq in zip(
            rows.codes.tolist(), rows.times.tolist(), rows.seqs.tolist(), strict=True
        ):
            self._reached = max(self._reached, time)
            slot = slots[code]
            times = self._times.setdefault(slot, array("q"))
            before = len(times)
            seqs = self._seqs.setdefault(slot, array("q"))
            _take(self, slot, rows.keys[code], times, seqs, time, seq, self._reached)
            self.kept += len(times) - before
        while self.kept > self.limit_kept and self.slots.drop_one():
            pass

    def dump(self) -> dict[str, Any]:
        """Everything, as plain data."""
        return {
            "slots": self.slots.dump(),
            "episodes": self.episodes.dump(),
            "reached": self._reached,
            "events": [
                (slot, times[-self.ring :].tolist(), self._seqs[slot][-self.ring :].tolist())
                for slot, times in self._times.items()
            ],
        }

    def load(self, data: dict[str, Any]) -> None:
        """Take back what :meth:`dump` gave."""
        self.slots.load(data["slots"])
        self.episodes.load(data["episodes"])
        self._reached = int(data["reached"])
        self._times = {slot: array("q", times) for slot, times, _ in data["events"]}
        self._seqs = {slot: array("q", seqs) for slot, _, seqs in data["events"]}
        self.kept = sum(map(len, self._times.values()))


_Longs: TypeAlias = "list[int] | array[int]"


def _take(
    window: EventCount | LongCount,
    slot: int,
    key: str,
    times: _Longs,
    seqs: _Longs,
    time: int,
    seq: int,
    newest: int,
) -> None:
    """One event of one entity: the meaning of a count of at least so many events."""
    count, ring, episodes = window.count, window.ring, window.episodes
    end = _insert(times, seqs, time, seq, ring)
    crossed = None if end is None else _crossed(times, end, count, window.span_ns, ring)
    episode = episodes.current(slot, newest)
    if episode is not None and time <= episode.until:
        episodes.join(episode, time, seq, None if crossed is None else times[crossed], newest)
    elif crossed is not None:
        run = slice(crossed - count + 1, crossed + 1)
        episodes.open(slot, key, list(times[run]), list(seqs[run]), times[crossed], newest, seq)
    if len(times) > 2 * ring:
        del times[:-ring], seqs[:-ring]


def _insert(times: _Longs, seqs: _Longs, time: int, seq: int, ring: int) -> int | None:
    """Put an event where it belongs; return its place, or ``None`` if it is older than all kept.

    Only the last *ring* of the lists are kept; what is before them has been dropped already.
    """
    if not times or time >= times[-1]:
        times.append(time)
        seqs.append(seq)
        return len(times) - 1
    low = max(0, len(times) - ring)
    place = bisect_right(times, time, lo=low)
    if place == low and len(times) - low == ring:
        return None
    times.insert(place, time)
    seqs.insert(place, seq)
    return place


def _crossed(times: _Longs, place: int, count: int, span: int, ring: int) -> int | None:
    """End of the latest run of *count* times within *span* that holds *place*, if there is one."""
    kept = max(0, len(times) - 1 - ring)  # what is before had been dropped when *place* came
    for end in range(min(place + count, len(times)) - 1, max(place, kept + count - 1) - 1, -1):
        if times[end] - times[end - count + 1] <= span:
            return end
    return None


class EachEvent:
    """Every event crosses: for rules that one event can satisfy."""

    def __init__(self, quiet_ns: int, *, limit: int) -> None:
        self.episodes = Episodes(quiet_ns)
        self.slots = Slots(limit, alive=self._alive, forget=self.episodes.close)
        self._reached = NEVER

    def _alive(self, slot: int) -> bool:
        return self.episodes.current(slot, self._reached) is not None

    def close(self, reached: int) -> None:
        """Nothing waits here."""

    def feed(self, rows: Rows) -> None:
        """Take events in seq order."""
        stride = self.slots.stride
        if len(rows) <= stride:
            self._feed(rows)
            return
        for start in range(0, len(rows), stride):
            self._feed(rows.part(start, start + stride))

    def _feed(self, rows: Rows) -> None:
        per_key = np.bincount(rows.codes, minlength=len(rows.keys))
        slots = self.slots.take(rows.keys, (per_key > 1).tolist())
        episodes = self.episodes
        for code, time, seq in zip(
            rows.codes.tolist(), rows.times.tolist(), rows.seqs.tolist(), strict=True
        ):
            self._reached = max(self._reached, time)
            episode = episodes.current(slots[code], self._reached)
            if episode is not None and time <= episode.until:
                episodes.join(episode, time, seq, time, self._reached)
            else:
                episodes.open(slots[code], rows.keys[code], [time], [seq], time, self._reached, seq)

    def dump(self) -> dict[str, Any]:
        """Everything, as plain data."""
        return {
            "slots": self.slots.dump(),
            "episodes": self.episodes.dump(),
            "reached": self._reached,
        }

    def load(self, data: dict[str, Any]) -> None:
        """Take back what :meth:`dump` gave."""
        self.slots.load(data["slots"])
        self.episodes.load(data["episodes"])
        self._reached = int(data["reached"])


class _Seen:
    """One entity of a :class:`DistinctCount`: its most recently seen values, in time order."""

    __slots__ = ("last", "newest", "older", "recent", "seqs", "times", "until", "values")

    def __init__(self) -> None:
        self.last: dict[str, int] = {}  # value -> when last seen
        self.times: list[int] = []  # ascending; parallel to values and seqs
        self.values: list[str] = []
        self.seqs: list[int] = []
        self.recent: list[tuple[int, int, str]] = []  # sightings that late events may fall between
        self.older: dict[str, tuple[int, int]] = {}  # last sighting before those, where superseded
        self.newest = NEVER
        self.until = NEVER


class DistinctCount:
    """At least *count* different values at one entity within *span_ns*.

    Exact: the N most recently seen values decide, however large N is.  What is kept is bounded by
    *limit* entities and *pairs* (entity, value), and what that bound forgets is counted.  To place
    a late event exactly, the sightings of the last *lateness_ns* are kept too, at most
    ``RECENT`` an entity: more only where one entity repeats its values quickly.
    """

    RECENT = 64

    def __init__(
        self,
        count: int,
        span_ns: int,
        quiet_ns: int,
        *,
        limit: int,
        pairs: int,
        lateness_ns: int = 5_000_000_000,
    ) -> None:
        self.count = max(1, count)
        self.span_ns = span_ns
        self.keep = max(1, 2 * self.count - 1)
        self.lateness_ns = min(lateness_ns, span_ns)
        self.limit_pairs = max(pairs, self.keep)
        self.episodes = Episodes(quiet_ns, counts_values=True)
        self.slots = Slots(limit, alive=self._alive, forget=self._forget)
        self.pairs = 0
        self._seen: dict[int, _Seen] = {}
        self._reached = NEVER

    def _alive(self, slot: int) -> bool:
        seen = self._seen.get(slot)
        return seen is not None and max(seen.newest, seen.until) + self.span_ns >= self._reached

    def _forget(self, slot: int) -> None:
        self.episodes.close(slot)
        seen = self._seen.pop(slot, None)
        if seen is not None:
            self.pairs -= len(seen.times)

    def close(self, reached: int) -> None:
        """Nothing waits here."""

    def feed(self, rows: Rows) -> None:
        """Take events in seq order."""
        stride = self.slots.stride
        if len(rows) <= stride:
            self._feed(rows)
            return
        for start in range(0, len(rows), stride):
            self._feed(rows.part(start, start + stride))

    def _feed(self, rows: Rows) -> None:
        if not len(rows):
            return
        assert rows.values is not None, "distinct values need a column"
        per_key = np.bincount(rows.codes, minlength=len(rows.keys))
        slots = self.slots.take(rows.keys, (per_key > 1).tolist())
        for code, time, seq, value in zip(
            rows.codes.tolist(),
            rows.times.tolist(),
            rows.seqs.tolist(),
            rows.values,
            strict=True,
        ):
            if time > self._reached:
                self._reached = time
            self._one(slots[code], rows.keys[code], time, seq, value)
        while self.pairs > self.limit_pairs and self.slots.drop_one():
            pass

    def _one(self, slot: int, key: str, time: int, seq: int, value: str) -> None:
        seen = self._seen.get(slot)
        if seen is None:
            seen = self._seen[slot] = _Seen()
        in_order = time >= seen.newest
        episode = self.episodes.current(slot, self._reached)
        hot = episode is not None and time <= episode.until
        window: list[tuple[int, int, str]] | None = None
        if not in_order and not hot:
            # While an episode is open, a late event joins it anyway; only else must it be weighed.
            window = self._late_crossing(seen, time, seq, value)
        self._remember(seen, time, seq, value)
        crossed: int | None = window[-1][0] if window else None
        if in_order and self._crosses(seen):
            crossed = time
        if hot:
            assert episode is not None
            self.episodes.join(episode, time, seq, crossed, self._reached)
            episode.value(value)
            seen.until = episode.until
        elif crossed is not None:
            n = self.count
            if window is None:
                window = list(zip(seen.times[-n:], seen.seqs[-n:], seen.values[-n:], strict=True))
            times, seqs = [w[0] for w in window], [w[1] for w in window]
            episode = self.episodes.open(slot, key, times, seqs, crossed, self._reached, seq)
            for _, _, known in window:
                episode.value(known)
            seen.until = episode.until

    def _crosses(self, seen: _Seen) -> bool:
        n = self.count
        return len(seen.times) >= n and seen.times[-n] >= seen.newest - self.span_ns

    def _remember(self, seen: _Seen, time: int, seq: int, value: str) -> None:
        """Bring *value* to its place among the most recently seen."""
        seen.newest = max(seen.newest, time)
        known = seen.last.get(value)
        if known is not None and known > time:
            self._remember_late(seen, time, seq, value)
            return
        if known is not None:
            self._take_out(seen, known, value)
        place = (
            len(seen.times)
            if not seen.times or time >= seen.times[-1]
            else bisect_right(seen.times, time)
        )
        seen.times.insert(place, time)
        seen.values.insert(place, value)
        seen.seqs.insert(place, seq)
        seen.last[value] = time
        self.pairs += 1
        if len(seen.times) > self.keep:
            gone = seen.values.pop(0)
            del seen.times[0], seen.seqs[0], seen.last[gone]
            seen.older.pop(gone, None)
            self.pairs -= 1

    def _take_out(self, seen: _Seen, known: int, value: str) -> None:
        place = bisect_left(seen.times, known)
        while seen.values[place] != value:
            place += 1
        # The sighting that is superseded may still be the one that a late event's window holds.
        insort(seen.recent, (known, seen.seqs[place], value))
        del seen.times[place], seen.values[place], seen.seqs[place]
        self.pairs -= 1
        self._settle(seen)

    def _remember_late(self, seen: _Seen, time: int, seq: int, value: str) -> None:
        insort(seen.recent, (time, seq, value))
        self._settle(seen)

    def _settle(self, seen: _Seen) -> None:
        """Of the superseded sightings too old to lie between late events, keep one a value."""
        horizon = seen.newest - self.lateness_ns
        recent = seen.recent
        gone = 0
        while gone < len(recent) and (
            recent[gone][0] <= horizon or len(recent) - gone > self.RECENT
        ):
            time, seq, value = recent[gone]
            if value in seen.last:
                seen.older[value] = max((time, seq), seen.older.get(value, (time, seq)))
            gone += 1
        if gone:
            del recent[:gone]

    def _late_crossing(
        self, seen: _Seen, time: int, seq: int, value: str
    ) -> list[tuple[int, int, str]] | None:
        """The latest window that holds a late event and *count* values: its sightings, if any."""
        if len(seen.last) + (value not in seen.last) < self.count:
            return None
        low, high = time - self.span_ns, time + self.span_ns
        sightings = [s for s in seen.recent if low <= s[0] <= high]
        sightings += [(t, q, v) for v, (t, q) in seen.older.items() if low <= t <= high]
        sightings += [
            s for s in zip(seen.times, seen.seqs, seen.values, strict=True) if low <= s[0] <= high
        ]
        sightings.append((time, seq, value))
        sightings.sort()
        return _latest_window(sightings, time, self.count, self.span_ns)

    def dump(self) -> dict[str, Any]:
        """Everything, as plain data."""
        return {
            "slots": self.slots.dump(),
            "episodes": self.episodes.dump(),
            "reached": self._reached,
            "seen": [
                (
                    slot,
                    s.times,
                    s.seqs,
                    s.values,
                    s.recent,
                    list(s.older.items()),
                    s.newest,
                    s.until,
                )
                for slot, s in self._seen.items()
            ],
        }

    def load(self, data: dict[str, Any]) -> None:
        """Take back what :meth:`dump` gave."""
        self.slots.load(data["slots"])
        self.episodes.load(data["episodes"])
        self._reached = int(data["reached"])
        self._seen = {}
        for slot, times, seqs, values, recent, older, newest, until in data["seen"]:
            seen = self._seen[slot] = _Seen()
            seen.times, seen.seqs, seen.values = list(times), list(seqs), list(values)
            seen.last = dict(zip(seen.values, seen.times, strict=True))
            seen.recent = [(t, q, v) for t, q, v in recent]
            seen.older = {v: (t, q) for v, (t, q) in older}
            seen.newest, seen.until = newest, until
        self.pairs = sum(len(s.times) for s in self._seen.values())


def _latest_window(
    sightings: list[tuple[int, int, str]], time: int, count: int, span: int
) -> list[tuple[int, int, str]] | None:
    """The latest window over *time* with *count* different values: one sighting a value."""
    start = 0
    held: dict[str, int] = {}
    best: tuple[int, int] | None = None
    for end, (at, _, value) in enumerate(sightings):
        held[value] = held.get(value, 0) + 1
        while sightings[start][0] < at - span:
            old = sightings[start][2]
            held[old] -= 1
            if not held[old]:
                del held[old]
            start += 1
        if len(held) >= count and sightings[start][0] <= time <= at:
            best = (start, end)
    if best is None:
        return None
    latest: dict[str, tuple[int, int, str]] = {}
    for sighting in sightings[best[0] : best[1] + 1]:
        latest.pop(sighting[2], None)
        latest[sighting[2]] = sighting
    return list(latest.values())[-count:]
