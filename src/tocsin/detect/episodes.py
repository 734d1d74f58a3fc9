"""One finding per attack, not one per event: the open findings of one rule.

The first crossing of a threshold opens an *episode* for an entity.  Events of that entity join it
until a quiet time has passed since the last crossing; what crosses after that opens the next one.
Counts and evidence are never suppressed, only repeated messages are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from msgspec import Struct, field

__all__ = ["EVIDENCE", "GRACE_NS", "LOOKED_AT", "VALUES", "Episode", "Episodes"]

#: How many of the first, and how many of the last, events of an episode are kept as evidence.
EVIDENCE = 20

#: Distinct values counted exactly within one episode; beyond it the reason says "at least".
VALUES = 1024

#: Events of an episode whose related entities are looked at.
LOOKED_AT = 256

#: How long past its quiet time an episode still takes events that come late.
GRACE_NS = 5_000_000_000

#: Between doublings, a growing episode is told again after this much event time.
_RETELL_NS = 5_000_000_000


class Episode(Struct, kw_only=True, gc=False):
    """A finding in the making."""

    slot: int
    key: str
    first_seq: int  #: seq of the first evidence: with rule and entity, what its id is made of
    opened_seq: int = 0  #: seq of the event that opened it
    first_seen: int
    last_seen: int
    until: int  #: event time up to which events join
    over: int = 0  #: event time of the whole stream beyond which nothing joins any more
    events: int  #: events behind it, the opening window included
    first: list[int]  #: seqs
    last: list[int] = field(default_factory=list)  #: seqs
    values: dict[str, None] | None = None  #: distinct values, in order of appearance
    more_values: bool = False
    looked_at: int = 0
    related: list[tuple[str, str]] = field(default_factory=list)  #: entity types and values
    facts: dict[str, str] = field(default_factory=dict)  #: of the first event that was read
    told: int = 0  #: how many events the last telling counted; 0: never told
    told_at: int = 0  #: event time of the last telling

    @property
    def count(self) -> int:
        """Distinct values where those are counted, else events."""
        return self.events if self.values is None else len(self.values)

    def join(self, time: int, seq: int) -> None:
        """One more event."""
        self.events += 1
        self.last_seen = max(self.last_seen, time)
        self.first_seen = min(self.first_seen, time)
        if len(self.first) < EVIDENCE:
            self.first.append(seq)
            return
        self.last.append(seq)
        if len(self.last) > 2 * EVIDENCE:
            del self.last[:EVIDENCE]

    def value(self, value: str) -> None:
        """Remember one of the distinct values."""
        if self.values is None or value in self.values:
            return
        if len(self.values) < VALUES:
            self.values[value] = None
        else:
            self.more_values = True

    @property
    def evidence(self) -> tuple[int, ...]:
        """A bounded sample of seqs, ascending."""
        return tuple(sorted({*self.first, *self.last[-EVIDENCE:]}))


class Episodes:
    """The open episodes of one rule, by slot."""

    def __init__(self, quiet_ns: int, *, counts_values: bool = False) -> None:
        self.quiet_ns = quiet_ns
        self._counts_values = counts_values
        self._open: dict[int, Episode] = {}
        self._untold: dict[int, None] = {}
        self._finished: list[Episode] = []
        self._swept = 0
        self.unread: list[tuple[Episode, int]] = []  #: episodes, and the seqs to read for them

    def __len__(self) -> int:
        return len(self._open)

    def current(self, slot: int, newest: int) -> Episode | None:
        """The slot's episode, unless the event time that has been reached, *newest*, is past it."""
        episode = self._open.get(slot)
        return None if episode is None or episode.over < newest else episode

    def join(
        self,
        episode: Episode,
        time: int,
        seq: int,
        crossed: int | None,
        newest: int,
        *,
        at_hand: bool = True,
    ) -> None:
        """An event joins; *crossed* is the time of a crossing that it caused, if any.

        *newest* is the event time that has been reached: when a source is late, the quiet time of
        its episodes is counted from there, or each of its crossings would be an episode.
        ``at_hand``: the event is among those that the caller was just given, so it can be read.
        """
        episode.join(time, seq)
        if crossed is not None:
            episode.until = max(episode.until, crossed + self.quiet_ns)
            episode.over = max(episode.over, self._over(crossed, newest))
        self._untold[episode.slot] = None
        if episode.looked_at < LOOKED_AT and at_hand:
            episode.looked_at += 1
            self.unread.append((episode, seq))

    def open(
        self,
        slot: int,
        key: str,
        times: Sequence[int],
        seqs: Sequence[int],
        crossed: int,
        newest: int,
        read: int | None,
    ) -> Episode:
        """A crossing opens an episode; *times* and *seqs* are those of its window.

        *newest* is as in :meth:`join`.  *read* is the seq of the event that caused it, if that is
        at hand.
        """
        self.close(slot)
        episode = Episode(
            slot=slot,
            key=key,
            first_seq=seqs[0],
            opened_seq=max(seqs) if read is None else read,
            first_seen=times[0],
            last_seen=times[-1],
            until=crossed + self.quiet_ns,
            over=self._over(crossed, newest),
            events=len(seqs),
            first=list(seqs[:EVIDENCE]),
            last=list(seqs[EVIDENCE:][-EVIDENCE:]),
            values={} if self._counts_values else None,
        )
        self._open[slot] = episode
        self._untold[slot] = None
        if read is not None:
            self.unread.append((episode, read))
        return episode

    def _over(self, crossed: int, newest: int) -> int:
        return max(crossed, newest) + self.quiet_ns + GRACE_NS

    def close(self, slot: int) -> None:
        """Whatever was open for *slot* is over; what of it was not told yet will be."""
        episode = self._open.pop(slot, None)
        if slot in self._untold:
            del self._untold[slot]
            if episode is not None:
                self._finished.append(episode)

    def tell(self, newest: int, *, everything: bool = False) -> list[Episode]:
        """Episodes that are new, have doubled, are over, or were last told long enough ago."""
        due = self._finished
        self._finished = []
        for slot in list(self._untold):
            episode = self._open[slot]
            if everything or _is_due(episode, newest):
                due.append(episode)
                del self._untold[slot]
        for episode in due:
            episode.told, episode.told_at = episode.events, newest
        self._sweep(newest)
        return due

    def _sweep(self, newest: int) -> None:
        """Drop what :meth:`current` would no longer return; costs little, because rarely done."""
        if len(self._open) < 2 * self._swept + 1_000:
            return
        for slot, episode in list(self._open.items()):
            if episode.over < newest and slot not in self._untold:
                del self._open[slot]
        self._swept = len(self._open)

    def dump(self) -> dict[str, Any]:
        """Everything, as plain data.  ``unread`` is not: its events are gone by then."""
        return {
            "open": [msgspec.to_builtins(e) for e in self._open.values()],
            "untold": list(self._untold),
            "finished": [msgspec.to_builtins(e) for e in self._finished],
            "swept": self._swept,
        }

    def load(self, data: dict[str, Any]) -> None:
        """Take back what :meth:`dump` gave."""
        self._open = {e.slot: e for e in _episodes(data["open"])}
        self._untold = dict.fromkeys(data["untold"])
        self._finished = list(_episodes(data["finished"]))
        self._swept = int(data["swept"])


def _is_due(episode: Episode, newest: int) -> bool:
    return (
        episode.events >= 2 * episode.told
        or newest - episode.told_at >= _RETELL_NS
        or episode.over < newest
    )


def _episodes(data: Iterable[Any]) -> Iterable[Episode]:
    return (msgspec.convert(item, Episode) for item in data)
