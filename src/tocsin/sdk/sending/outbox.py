"""Encoded events that wait to be sent: bounded, and cut into batches that never change.

A batch keeps its id and its lines however often it is sent, so the receiver recognises a repeat.
What memory does not hold is spilled (to the spool); what that does not take either is lost, and
always the newest: who wants to hide his tracks cannot do it by making more of them.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from msgspec import Struct

from tocsin.sdk.sending.tally import Tally

__all__ = ["BATCH_BYTES", "Batch", "Line", "Outbox"]

#: Bytes of lines in one batch, about.
BATCH_BYTES = 1 << 20

#: What a line costs beyond its bytes.
_OVERHEAD = 150


class Line(Struct, frozen=True, gc=False):
    """One event as it goes out."""

    text: bytes
    probe: bytes | None = None  #: JSON members; only ever sent, never kept

    @property
    def size(self) -> int:
        """Bytes of memory, about."""
        return _OVERHEAD + len(self.text) + len(self.probe or b"")


class Batch(Struct, frozen=True):
    """Some events that are sent together, always under the same id."""

    id: str
    lines: tuple[Line, ...]
    since: float  #: when its first event came, by the monotonic clock
    size: int  #: bytes of memory, about

    def body(self) -> bytes:
        """What is sent: one event a line."""
        return b"\n".join(
            line.text if line.probe is None else line.text[:-1] + b"," + line.probe + b"}"
            for line in self.lines
        )

    def kept(self) -> bytes:
        """What may be kept: the same events, without the probes."""
        return b"".join(line.text + b"\n" for line in self.lines)


class Outbox:
    """The lines and batches of one life, *boot*.  One thread puts, any may take out."""

    def __init__(
        self,
        boot: str,
        *,
        memory_bytes: int,
        batch_events: int,
        batch_seconds: float,
        spill: Callable[[Batch], bool],
        tally: Tally,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._boot = boot
        self._batch_bytes = max(1, min(BATCH_BYTES, memory_bytes // 4))
        self._most = memory_bytes - self._batch_bytes  # of what is cut; the rest is for the open
        self._batch_events, self._batch_seconds = batch_events, batch_seconds
        self._spill, self._tally, self._monotonic = spill, tally, monotonic
        self._lock = threading.Lock()
        self._open: list[Line] = []  # these five under the lock
        self._open_size = 0
        self._first = 0  # number of the first open line
        self._since = 0.0
        self._cut: deque[Batch] = deque()
        self._cut_size = 0

    def put(self, number: int, line: Line) -> bool:
        """Take the line of the event that has this *number* in its boot.

        True when whoever sends should look: something began to wait, or need not wait any more.
        """
        size = line.size
        with self._lock:
            first = not self._open
            if first:
                self._first, self._since = number, self._monotonic()
            self._open.append(line)
            self._open_size += size
            full = len(self._open) >= self._batch_events or self._open_size >= self._batch_bytes
            batch = self._close() if full else None
        if batch is not None:
            self._keep(batch)
        return first or full

    def ready(self, *, hurry: bool = False) -> Batch | None:
        """The oldest batch, if one is full, or its events have waited, or there is a *hurry*.

        It stays here until it is ``done``.
        """
        with self._lock:
            if self._cut:
                return self._cut[0]
            due = self._monotonic() >= self._since + self._batch_seconds
            if not self._open or not (due or hurry):
                return None
            return self._hold(self._close())

    def older(self, seconds: float) -> list[Batch]:
        """The batches whose first event has waited for so long, oldest first."""
        then = self._monotonic() - seconds
        with self._lock:
            if self._open and self._since <= then:
                self._hold(self._close())
            return [batch for batch in self._cut if batch.since <= then]

    def done(self, batch: Batch) -> None:
        """Forget *batch*: it is in other hands, or lost.  A repeat does nothing."""
        with self._lock:
            if batch in self._cut:
                self._cut.remove(batch)
                self._cut_size -= batch.size

    def due(self) -> float | None:
        """Seconds until a batch is ready; None when nothing waits."""
        with self._lock:
            if self._cut:
                return 0.0
            if not self._open:
                return None
            return max(0.0, self._since + self._batch_seconds - self._monotonic())

    @property
    def waiting(self) -> int:
        """Events that wait here."""
        with self._lock:
            return len(self._open) + sum(len(batch.lines) for batch in self._cut)

    @property
    def size(self) -> int:
        """Bytes of memory they take, about."""
        with self._lock:
            return self._open_size + self._cut_size

    def _close(self) -> Batch:
        name = f"{self._boot}-{self._first}"
        batch = Batch(name, tuple(self._open), self._since, self._open_size)
        self._open, self._open_size = [], 0
        return batch

    def _hold(self, batch: Batch) -> Batch:
        self._cut.append(batch)
        self._cut_size += batch.size
        return batch

    def _keep(self, batch: Batch) -> None:
        with self._lock:
            if self._cut_size + batch.size <= self._most or not self._cut:
                self._hold(batch)
                return
        if not self._spill(batch):  # it may write to a disk, so nobody waits for the lock meanwhile
            self._tally.lose("no_room", len(batch.lines))
