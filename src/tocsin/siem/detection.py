"""Detection as a follower of the vault: durable entries in, incidents out, its place kept.

The detector's state and its cursor are one file, replaced as one.  A crash at any moment leaves the
last saved pair; the rows since then come again, and findings with ids that are already on the desk
change nothing.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Iterable
from typing import Protocol

from tocsin.alerts import Change, Desk
from tocsin.detect import Engine, State
from tocsin.errors import Damaged
from tocsin.event import Finding
from tocsin.event.batch import Entries, empty

__all__ = ["Detection", "Keep"]

log = logging.getLogger("tocsin.detection")


class Keep(Protocol):
    """Where the state is kept between runs."""

    def load(self) -> bytes | None: ...

    def save(self, data: bytes) -> None: ...


class Detection:
    """Runs the engine over entries and puts what it finds on the desk."""

    name = "detect"

    def __init__(
        self,
        engine: Engine,
        desk: Desk,
        keep: Keep,
        *,
        changed: Callable[[Iterable[Change]], None] = lambda _changes: None,
        clock: Callable[[], int] = time.time_ns,
        pause_seconds: float = 60.0,
    ) -> None:
        self._engine, self._desk, self._keep = engine, desk, keep
        self._changed = changed
        self._clock = clock
        self._pause_ns = int(pause_seconds * 10**9)
        self._owed: list[Finding] = []  # found, and not yet on the desk
        self._state = self._restored()
        self._saved_at, self._saved_cursor = clock(), self.cursor

    @property
    def cursor(self) -> int:
        """The first seq that was not taken yet."""
        return self._state.next_seq

    @property
    def is_behind(self) -> bool:
        """Whether a rule is new or was edited, and has not seen what the others have."""
        return self._engine.behind(self._state)

    def _restored(self) -> State:
        try:
            data = self._keep.load()
            if data is not None:
                return self._engine.load(data)
        except Damaged as error:  # cut short, or of another version: all of it can be found again
            log.warning("detection starts over and reads the vault again: %s", error)
        return self._engine.start(secrets.token_bytes(32))

    def follow(self, entries: Entries) -> None:
        """Find what is in *entries*.  A repeat does no harm: findings keep their ids.

        The engine's memory moves before the desk has the findings.  So these are owed until the
        desk took them, and the state is not saved meanwhile: a failure there brings them again with
        the next call, a crash brings the entries again.
        """
        self._state, findings = self._engine.step(self._state, entries, now=self._clock())
        self._owed += findings
        self._deliver()
        if self._clock() - self._saved_at >= self._pause_ns:
            self.save()

    def tick(self) -> None:
        """Time goes by though nothing arrives: windows close, and what is over is told."""
        self.follow(Entries(self.cursor, empty()))

    def _deliver(self) -> None:
        changes = self._desk.take(self._owed)
        self._owed = []
        if changes:
            self._changed(changes)

    def save(self) -> None:
        """Keep the state, and in it the cursor.  What is owed goes first."""
        if self._owed:
            self._deliver()
        if self.cursor != self._saved_cursor:
            self._keep.save(self._engine.dump(self._state))
            self._saved_cursor = self.cursor
        self._saved_at = self._clock()
