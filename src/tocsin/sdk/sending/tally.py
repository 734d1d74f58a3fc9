"""What one life of the client did, in numbers; above all what was lost, and why."""

from __future__ import annotations

import threading

__all__ = ["Tally"]


class Tally:
    """Counts.  Only ``lost`` is written by several threads, and has the lock for it."""

    def __init__(self) -> None:
        self.taken = 0  #: things the application handed over, the dropped ones included
        self.withheld = 0  #: events that ``before_send`` kept back
        self.sent = 0  #: events that the receiver has, or that were written as lines
        self.spooled = 0  #: events that went to disk at least once
        self.adopted = 0  #: batches of dead processes that were taken over
        self.refusals = 0  #: requests the receiver did not take, for whatever reason
        self.disk_errors = 0  #: writes to the spool or the output that failed
        self.cpu = {"reader": 0.0, "sender": 0.0}  #: seconds of each thread so far
        self._lost: dict[str, int] = {}
        self._lock = threading.Lock()

    def lose(self, why: str, events: int = 1) -> None:
        """Note that *events* are gone for good."""
        with self._lock:
            self._lost[why] = self._lost.get(why, 0) + events

    @property
    def lost(self) -> dict[str, int]:
        """How many were lost so far, by reason."""
        with self._lock:
            return dict(self._lost)
