"""Work that goes on beside the door, each in a thread of its own, started again when it fails."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

__all__ = ["Chore"]

log = logging.getLogger("tocsin.chores")

_LONGEST_PAUSE = 30.0


class Chore:
    """Calls *step* again and again until it is stopped, *pause* seconds apart.

    A failing step is told to *failed*, once for each run of failures, and tried again after a
    pause that grows: a chore that dies silently would be the worst of all.
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
            except Exception as error:  # the root of a thread
                self.failures += 1
                trace = error if log.isEnabledFor(logging.DEBUG) else None
                words = f"{type(error).__name__}: {error}"
                log.error("%s failed and is tried again: %s", self.name, words, exc_info=trace)
                if self.failures == 1:
                    self._tell(error)
                self._stopping.wait(min(2.0**self.failures / 10, _LONGEST_PAUSE))
            else:
                self.failures = 0
                self._stopping.wait(self._pause)

    def _tell(self, error: BaseException) -> None:
        try:
            self._failed(self.name, error)
        except Exception:  # telling may need the very thing that failed
            log.exception("%s: its failure could not be told", self.name)
