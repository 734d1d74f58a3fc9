"""Work that goes on beside the door, each in a thread of its own, started again when it fails."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

__all__ = ["Chore", "briefly"]

log = logging.getLogger("tocsin.chores")

_LONGEST_PAUSE = 30.0
_QUIET_SECONDS = 60.0


class Chore:
    """Calls *step* again and again until it is stopped, *pause* seconds apart.

    A failing step is told to *failed*, once for each run of failures, and tried again after a
    pause that grows: a chore that dies silently would be the worst of all.  The log says it in one
    line, and not more than once a minute.
    """

    def __init__(
        self,
        name: str,
        step: Callable[[], object],
        *,
        pause: float,
        failed: Callable[[str, BaseException], None],
    ) -> None:
        self.name = name
        self._step, self._pause, self._failed = step, pause, failed
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"tocsin-{name}", daemon=True)
        self.failures = 0  #: failed steps since the last good one
        self._said_at = float("-inf")
        self._owed: BaseException | None = None  # failed, and not told yet

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, timeout: float = 30.0) -> bool:
        """End after the step in hand; False when that took longer than *timeout* seconds."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._step()
            except Exception as error:  # noqa: BLE001  the root of a thread
                self.failures += 1
                if self.failures == 1:
                    self._owed = error
                self._complain(error, self._tell())
                self._stopping.wait(min(2.0**self.failures / 10, _LONGEST_PAUSE))
            else:
                self.failures = 0
                self._tell()
                self._stopping.wait(self._pause)

    def _tell(self) -> str:
        """Have told what is owed, or say why that fails: it may need the very thing that failed."""
        if self._owed is None:
            return ""
        try:
            self._failed(self.name, self._owed)
        except Exception as why:  # noqa: BLE001  it is tried again, and said meanwhile
            return f" (nor can that be recorded now: {briefly(why)})"
        self._owed = None
        return ""

    def _complain(self, error: BaseException, more: str) -> None:
        if time.monotonic() - self._said_at < _QUIET_SECONDS:
            return
        self._said_at = time.monotonic()
        trace = error if log.isEnabledFor(logging.DEBUG) else None
        what = briefly(error)
        log.error("%s failed and is tried again: %s%s", self.name, what, more, exc_info=trace)


def briefly(error: BaseException) -> str:
    """What went wrong, in one line."""
    cause = getattr(error, "orig", None)  # a database's own words, without the statement
    lines = str(cause or error).splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
