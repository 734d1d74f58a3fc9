"""How far event time has come, when sources disagree about it.

The watermark is what the slowest active source has reached, less the allowed lateness.  A source
that has been silent for a while stops holding the others back.  Arrival time comes in as data
(``observed``, and *now* when the caller has a clock), so a replay decides as the live run did.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tocsin.detect.correlate import NEVER, Ints

__all__ = ["FUTURE_NS", "LATENESS_NS", "SILENT_NS", "Watermark", "event_times"]

#: An event may come this much later than a newer one of its source.
LATENESS_NS = 5_000_000_000

#: A source that was not heard of for this long holds nobody back.
SILENT_NS = 30_000_000_000

#: Event time further past its arrival than this is not believed.
FUTURE_NS = 300_000_000_000

_SAFE = 2**62  # times beyond about 2116 or before 1824 would overflow window arithmetic


def event_times(time: Ints, observed: Ints) -> Ints:
    """Event times as detection takes them: one from the future counts as of its arrival.

    Else one forged timestamp would carry the watermark away and make every other event late.
    """
    believed = np.where(time > observed + FUTURE_NS, observed, time)
    return np.clip(believed, -_SAFE, _SAFE)


class Watermark:
    """Latest event time and arrival of each source, and how many events came late."""

    def __init__(self) -> None:
        self.late: dict[str, int] = {}
        self._newest: dict[str, int] = {}
        self._heard: dict[str, int] = {}
        self._clock = NEVER
        self._floor = NEVER

    def advance(
        self,
        sources: list[str],
        codes: Ints,
        times: Ints,
        observed: Ints,
        reached: Ints | None = None,
    ) -> None:
        """Take some events' times; ``codes[i]`` is the source of event ``i``.

        *reached* is what :meth:`walk` said of them, if it was asked.
        """
        if reached is not None:
            self._floor = max(self._floor, int(reached.max()))
        for code, source in enumerate(sources):
            which = np.flatnonzero(codes == code)
            if not len(which):
                continue
            mine = times[which]
            before = np.maximum.accumulate(mine)
            known = self._newest.get(source, NEVER)
            before[1:] = np.maximum(before[:-1], known)
            before[0] = known
            floor = np.maximum(before, -_SAFE) - LATENESS_NS
            late = int(np.count_nonzero(mine < floor))
            if late:
                self.late[source] = self.late.get(source, 0) + late
            self._newest[source] = max(known, int(mine.max()))
            self._heard[source] = max(self._heard.get(source, NEVER), int(observed[which].max()))
        self._clock = max(self._clock, int(observed.max()))

    def walk(self, sources: list[str], codes: Ints, times: Ints, observed: Ints) -> Ints:
        """What had been reached just before each event.  The watermark itself stays.

        One event at a time, so only for rules whose windows must close.
        """
        copy = Watermark()
        copy.load(self.dump())
        reached = np.empty(len(times), np.int64)
        for i, (code, time, seen) in enumerate(
            zip(codes.tolist(), times.tolist(), observed.tolist(), strict=True)
        ):
            reached[i] = copy.reached()
            source = sources[code]
            copy._newest[source] = max(copy._newest.get(source, NEVER), time)
            copy._heard[source] = max(copy._heard.get(source, NEVER), seen)
            copy._clock = max(copy._clock, seen)
        return reached

    def reached(self, now: int | None = None) -> int:
        """No event at or before this is expected any more.  It never goes back."""
        self._floor = max(self._floor, self._slowest(now))
        return self._floor

    def _slowest(self, now: int | None) -> int:
        if not self._newest:
            return NEVER
        clock = self._clock if now is None else max(self._clock, now)
        active = [
            newest
            for source, newest in self._newest.items()
            if self._heard[source] + SILENT_NS >= clock
        ]
        if active:
            return min(active) - LATENESS_NS - 1
        # Everybody is silent: event time goes on with the clock, or no window would ever close.
        return max(max(self._newest.values()), clock - SILENT_NS) - LATENESS_NS - 1

    @property
    def newest(self) -> int:
        """The latest event time of all."""
        return max(self._newest.values(), default=NEVER)

    def dump(self) -> dict[str, Any]:
        """Everything, as plain data."""
        return {
            "late": self.late,
            "newest": self._newest,
            "heard": self._heard,
            "clock": self._clock,
            "floor": self._floor,
        }

    def load(self, data: dict[str, Any]) -> None:
        """Take back what :meth:`dump` gave."""
        self.late = dict(data["late"])
        self._newest = dict(data["newest"])
        self._heard = dict(data["heard"])
        self._clock = int(data["clock"])
        self._floor = int(data["floor"])
