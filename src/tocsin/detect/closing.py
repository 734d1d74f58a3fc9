"""Windows that can be judged only once they are over: *exactly*, *at most*, *other than* so many.

The first event after a closed window opens the next.  A window is decided when the watermark has
passed its end, because then nothing more can fall into it; what comes for it later is counted as
late.  No event at all never fires: silence is another kind of rule.
"""

from __future__ import annotations

from bisect import insort
from heapq import heapify, heappop, heappush
from typing import Any

import numpy as np

from tocsin.detect.correlate import COMPARE, NEVER, Rows
from tocsin.detect.episodes import Episodes
from tocsin.detect.slots import Slots

__all__ = ["ClosedWindow"]


class ClosedWindow:
    """*op* *count* events, or different values, of one entity in a window of *span_ns*.

    At most *pending* undecided events are held; beyond it the oldest window is decided early and
    ``hurried`` counts it.
    """

    def __init__(
        self,
        op: str,
        count: int,
        span_ns: int,
        quiet_ns: int,
        *,
        limit: int,
        pending: int = 200_000,
        values: bool = False,
    ) -> None:
        self.op, self.count, self.span_ns = op, count, span_ns
        self.limit_pending = pending
        self.episodes = Episodes(quiet_ns, counts_values=values)
        self.slots = Slots(limit, alive=self._alive, forget=self._forget)
        self.late = 0
        self.hurried = 0
        self.pending = 0
        self._values = values
        self._reached = NEVER
        self._waiting: dict[int, list[tuple[int, int, str]]] = {}  # time, seq, value
        self._keys: dict[int, str] = {}
        self._deadlines: list[tuple[int, int]] = []

    def _alive(self, slot: int) -> bool:
        return slot in self._waiting

    def _forget(self, slot: int) -> None:
        self.episodes.close(slot)
        self.pending -= len(self._waiting.pop(slot, ()))
        self._keys.pop(slot, None)

    def feed(self, rows: Rows) -> None:
        """Take events in seq order; nothing is decided before :meth:`close`."""
        stride = self.slots.stride
        for start in range(0, len(rows), stride):
            self._feed(rows.part(start, start + stride))

    def _feed(self, rows: Rows) -> None:
        assert rows.reached is not None, "closing windows need the watermark"
        per_key = np.bincount(rows.codes, minlength=len(rows.keys))
        slots = self.slots.take(rows.keys, (per_key > 1).tolist())
        values = rows.values if rows.values is not None else [""] * len(rows)
        for code, time, seq, value, reached in zip(
            rows.codes.tolist(),
            rows.times.tolist(),
            rows.seqs.tolist(),
            values,
            rows.reached.tolist(),
            strict=True,
        ):
            if time <= reached:
                self.late += 1
                continue
            slot = slots[code]
            self._keys[slot] = rows.keys[code]
            waiting = self._waiting.setdefault(slot, [])
            insort(waiting, (time, seq, value))
            self.pending += 1
            if waiting[0][1] == seq:
                heappush(self._deadlines, (time + self.span_ns, slot))
        while self.pending > self.limit_pending and self._deadlines:
            self.hurried += self._decide_next()

    def close(self, reached: int) -> None:
        """No event at or before *reached* is still to come."""
        self._reached = max(self._reached, reached)
        while self._deadlines and self._deadlines[0][0] <= reached:
            self._decide_next()

    def _decide_next(self) -> bool:
        """Judge the window that ends first; false if that was an outdated entry of the heap."""
        deadline, slot = heappop(self._deadlines)
        waiting = self._waiting.get(slot)
        if not waiting or waiting[0][0] + self.span_ns != deadline:
            return False
        end = next((i for i, w in enumerate(waiting) if w[0] > deadline), len(waiting))
        window, rest = waiting[:end], waiting[end:]
        self.pending -= end
        if rest:
            self._waiting[slot] = rest
            heappush(self._deadlines, (rest[0][0] + self.span_ns, slot))
        else:
            del self._waiting[slot]
        seen = {value for *_, value in window} if self._values else window
        if COMPARE[self.op](len(seen), self.count):
            self._conclude(slot, window)
        return True

    def _conclude(self, slot: int, window: list[tuple[int, int, str]]) -> None:
        crossed = window[-1][0]
        episode = self.episodes.current(slot, crossed)
        if episode is not None and window[0][0] <= episode.until:
            for time, seq, value in window:
                self.episodes.join(episode, time, seq, crossed, crossed, at_hand=False)
                episode.value(value)
            return
        episode = self.episodes.open(
            slot,
            self._keys[slot],
            [w[0] for w in window],
            [w[1] for w in window],
            crossed,
            crossed,
            None,
        )
        for *_, value in window:
            episode.value(value)

    def dump(self) -> dict[str, Any]:
        """Everything, as plain data."""
        return {
            "slots": self.slots.dump(),
            "episodes": self.episodes.dump(),
            "waiting": list(self._waiting.items()),
            "keys": list(self._keys.items()),
            "late": self.late,
            "hurried": self.hurried,
            "reached": self._reached,
        }

    def load(self, data: dict[str, Any]) -> None:
        """Take back what :meth:`dump` gave."""
        self.slots.load(data["slots"])
        self.episodes.load(data["episodes"])
        self._waiting = {s: [(t, q, v) for t, q, v in w] for s, w in data["waiting"]}
        self._keys = dict(data["keys"])
        self.pending = sum(map(len, self._waiting.values()))
        self._deadlines = [(w[0][0] + self.span_ns, s) for s, w in self._waiting.items()]
        heapify(self._deadlines)
        self.late, self.hurried = int(data["late"]), int(data["hurried"])
        self._reached = int(data["reached"])
