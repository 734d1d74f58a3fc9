"""The guest's first rule: our mistakes are ours, never the host's."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from types import TracebackType

__all__ = ["Harmless", "harmless", "mishaps"]

#: Without a handler, so that Python prints warnings where nobody has set up logging.
log = logging.getLogger("tocsin")

#: Seconds between two reports of mishaps in the host's log.
QUIET = 60.0


class Harmless:
    """Whatever goes wrong inside is counted and told to the host's log, at most once a minute.

    ``with harmless: ...`` never lets an :class:`Exception` out.  One object serves everyone: it
    holds nothing of the block it guards.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._told = -QUIET
        self.count = 0

    def __enter__(self) -> None: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        if error is None:
            return False
        if not isinstance(error, Exception):
            return False
        self.mishap(error)
        return True

    def begin_anew(self) -> None:
        """A forked child must not wait for a lock that a thread of its parent held."""
        self._lock = threading.Lock()

    def mishap(self, error: BaseException) -> None:
        """Count *error*, and tell the host's log if it has not heard of one for a while."""
        with self._lock:
            self.count += 1
            now = time.monotonic()
            quiet = now - self._told < QUIET
            self._told = self._told if quiet else now
        if quiet:
            return
        with contextlib.suppress(Exception):  # the host's own log handlers may fail as well
            log.warning(
                "tocsin could not record something (%d times so far): %s: %s",
                self.count,
                type(error).__name__,
                error,
            )


harmless = Harmless()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=harmless.begin_anew)


def mishaps() -> int:
    """How many things went wrong inside so far."""
    return harmless.count
