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

import msgspec

from tocsin.alerts import Change, Desk
from tocsin.detect import Engine, State
from tocsin.errors import Damaged
from tocsin.event import Finding
from tocsin.event.batch import Entries

__all__ = ["Detection", "Keep"]

log = logging.getLogger("tocsin.detection")


class Keep(Protocol):
    """Where the state is kept between runs."""

    def load(self) -> bytes | None: ...

    def save(self, data: bytes) -> None: ...


class _Saved(msgspec.Struct, frozen=True):
    version: int
    cursor: int
    state: bytes


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
        self.cursor, self._state = self._restored()
        self._saved_at, self._saved_cursor = clock(), self.cursor

    def _restored(self) -> tuple[int, State]:
        try:
            data = self._keep.load()
        except Damaged as error:
            log.warning("detection starts over and reads the vault again: %s", error)
            data = None
        if data is not None:
            try:
                saved = msgspec.msgpack.decode(data, type=_Saved)
                return saved.cursor, self._engine.load(saved.state)
            except (msgspec.MsgspecError, ValueError) as error:
                # Written by another version: everything in it can be found again.
                log.warning("detection starts over and reads the vault again: %s", error)
        return 0, self._engine.start(secrets.token_bytes(32))

    def follow(self, entries: Entries) -> None:
        """Find what is in *entries*.  A repeat does no harm: findings keep their ids."""
        self._state, findings = self._engine.step(self._state, entries, now=self._clock())
        self._put(findings)
        self.cursor = entries.next_seq
        if self._clock() - self._saved_at >= self._pause_ns:
            self.save()

    def _put(self, findings: list[Finding]) -> None:
        changes = self._desk.take(findings)
        if changes:
            self._changed(changes)

    def save(self) -> None:
        """Keep state and cursor, together."""
        if self.cursor != self._saved_cursor:
            state = self._engine.dump(self._state)
            self._keep.save(msgspec.msgpack.encode(_Saved(1, self.cursor, state)))
            self._saved_cursor = self.cursor
        self._saved_at = self._clock()
