"""Detection as a follower of the vault: durable entries in, incidents out, its place kept.

The detector's state and its cursor are one file, replaced as one.  A crash at any moment leaves the
last saved pair; the rows since then come again, and findings with ids that are already on the desk
change nothing.

The catalog keeps the cursor too, written just before the state.  So a state that is ahead of the
catalog belongs to another one, lost or put back from a backup: detection starts over then, and
finds again what was found.  What people decided stands among the rows, and is done again in its
place, so that incidents come back as they stood.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from typing import Protocol

import msgspec
import polars as pl

from tocsin.alerts import Change, ChangeKind, Desk
from tocsin.detect import Engine, State
from tocsin.errors import Damaged
from tocsin.event import Finding
from tocsin.event.batch import Entries, empty
from tocsin.siem.decisions import Made, decided, of_frame

__all__ = ["Detection", "Keep", "Losses"]

log = logging.getLogger("tocsin.detection")


class Keep(Protocol):
    """Where the state is kept between runs."""

    def load(self) -> bytes | None: ...

    def save(self, data: bytes) -> None: ...


class Losses(msgspec.Struct, frozen=True):
    """What detection could not look at as the rules ask, since its state was begun; in events,
    entities or windows."""

    late: int = 0  #: events later than their source is allowed to be
    evicted: int = 0  #: entities forgotten while their state still mattered
    missed: int = 0  #: events that came after their window was decided
    hurried: int = 0  #: windows decided early because too much was waiting

    def since(self, before: Losses) -> Losses:
        """What was added since *before*."""
        return Losses(*(getattr(self, n) - getattr(before, n) for n in self.__struct_fields__))

    def __bool__(self) -> bool:
        return any(getattr(self, name) > 0 for name in self.__struct_fields__)


class Detection:
    """Runs the engine over entries and puts what it finds on the desk."""

    name = "detect"

    def __init__(
        self,
        engine: Engine,
        desk: Desk,
        keep: Keep,
        *,
        cursors: MutableMapping[str, int],
        end: int,
        redo: Callable[[Made], None] = lambda _made: None,
        changed: Callable[[Iterable[Change]], None] = lambda _changes: None,
        came_back: Callable[[int], None] = lambda _incidents: None,
        clock: Callable[[], int] = time.time_ns,
        pause_seconds: float = 60.0,
    ) -> None:
        """*cursors* is the catalog's, *end* the seq after the last row of the vault.

        *came_back* hears, once, how many incidents were found again after the catalog was lost.
        """
        self._engine, self._desk, self._keep = engine, desk, keep
        self._cursors = cursors
        self._redo, self._changed, self._came_back = redo, changed, came_back
        self._clock = clock
        self._pause_ns = int(pause_seconds * 10**9)
        self._owed: list[_Found | Made] = []  # for the desk, which has not taken it yet
        self._again_until = 0  # rows before this were looked at once, for an earlier catalog
        self._again = 0  # incidents that were found again
        self._state = self._restored(end)
        self._saved_at, self._saved_cursor = clock(), self.cursor
        self.counters = engine.counters(self._state)

    @property
    def cursor(self) -> int:
        """The first seq that was not taken yet."""
        return self._state.next_seq

    @property
    def is_behind(self) -> bool:
        """Whether a rule is new or was edited, and has not seen what the others have."""
        return self._engine.behind(self._state)

    @property
    def starts_over(self) -> bool:
        """Whether it finds again what an earlier catalog knew."""
        return self.cursor < self._again_until

    @property
    def losses(self) -> Losses:
        """What it could not look at as the rules ask."""
        c = self.counters
        return Losses(*(sum(each.values()) for each in (c.late, c.evicted, c.missed, c.hurried)))

    def _restored(self, end: int) -> State:
        kept = self._cursors.get(self.name)
        try:
            data = self._keep.load()
            state = None if data is None else self._engine.load(data)
        except Damaged as error:  # cut short, or of another version: all of it can be found again
            log.warning("detection starts over and reads the vault again: %s", error)
            state = None
        if kept is None or (state is not None and state.next_seq > kept):
            self._again_until = end
            state = None
        return state or self._engine.start(secrets.token_bytes(32))

    def follow(self, entries: Entries) -> None:
        """Find what is in *entries*, and do what people decided in them.

        The engine's memory moves before the desk has the findings.  So these are owed until the
        desk took them, and the state is not saved meanwhile: a failure there brings them again with
        the next call, a crash brings the entries again.
        """
        for part, decision in self._parts(entries):
            again = self.starts_over
            # Rows bring their own time.  The clock's would close windows over the heads of rows of
            # a past that is being read.
            now = None if len(part) else self._clock()
            self._state, findings = self._engine.step(self._state, part, now=now)
            if findings:
                self._owed.append(_Found(findings, _instants(part) if again else None))
            if decision is not None:
                self._owed.append(decision)
            self._deliver()
            if again and not self.starts_over:
                self._came_back(self._again)
        self.counters = self._engine.counters(self._state)
        if self._clock() - self._saved_at >= self._pause_ns:
            self.save()

    def tick(self) -> None:
        """Time goes by though nothing arrives: windows close, and what is over is told."""
        self.follow(Entries(self.cursor, empty()))

    def _parts(self, entries: Entries) -> Iterator[tuple[Entries, Made | None]]:
        """*entries* cut behind each decision, and where what was seen before ends."""
        frame, begin = entries.frame, 0
        made: dict[int, Made | None] = {row: of_frame(frame, row) for row in decided(frame)}
        edge = self._again_until - entries.first_seq - 1
        rows = [*made, edge] if 0 <= edge < frame.height - 1 else [*made]
        for row in [*sorted(set(rows)), frame.height - 1]:
            if begin <= row or not frame.height:
                part = Entries(entries.first_seq + begin, frame[begin : row + 1])
                yield part, made.get(row)
            begin = row + 1

    def _deliver(self) -> None:
        while self._owed:
            owed = self._owed[0]
            if isinstance(owed, _Found):
                self._put(owed)
            else:
                self._redo(owed)
            del self._owed[0]

    def _put(self, found: _Found) -> None:
        now = self._clock()
        at = found.instants
        changes = self._desk.take(
            found.findings,
            at=None if at is None else lambda f: min(now, at.get(f.evidence[-1:])),
            quiet=at is not None,
        )
        if at is not None:
            self._again += sum(change.kind is ChangeKind.OPENED for change in changes)
        elif changes:
            self._changed(changes)

    def save(self) -> None:
        """Keep the state, and in it the cursor.  What is owed goes first.

        A crash between catalog and state leaves an older state, which the catalog is not behind of.
        """
        self._deliver()
        if self.cursor != self._saved_cursor or self.name not in self._cursors:
            self._cursors[self.name] = self.cursor
            self._keep.save(self._engine.dump(self._state))
            self._saved_cursor = self.cursor
        self._saved_at = self._clock()


class _Instants(msgspec.Struct, frozen=True):
    """When rows came, wall clock."""

    first_seq: int
    observed: pl.Series

    def get(self, seqs: tuple[int, ...]) -> int:
        """Of the row of the one of *seqs*; of the last row when it is another's."""
        row = seqs[0] - self.first_seq if seqs else -1
        return int(self.observed[row if 0 <= row < len(self.observed) else -1])


class _Found(msgspec.Struct, frozen=True):
    """Findings on their way to the desk; with *instants* when they were found once before."""

    findings: list[Finding]
    instants: _Instants | None


def _instants(part: Entries) -> _Instants | None:
    if not len(part):
        return None
    return _Instants(part.first_seq, part.frame["observed"].to_physical())
