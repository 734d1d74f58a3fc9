"""A progress bar on stderr, when somebody is there to see it."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Self

__all__ = ["Progress"]


class Progress:
    """How far into some input we are, in bytes; nothing at all when stderr is no terminal."""

    def __init__(self, label: str, total: int | None) -> None:
        self._label, self._total = label, total
        self._bar = None
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            from tocsin.event.escape import visible

            self._bar = Bar(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                DownloadColumn(),
                TextColumn("{task.fields[found]}", markup=False),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._task = self._bar.add_task(visible(label), total=total, found="")

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar:
            self._bar.stop()

    def at(self, done: int, found: str = "", *, total: int | None = None) -> None:
        """*done* bytes are behind us; *found* says what was seen on the way."""
        if self._bar:
            self._bar.update(self._task, completed=done, found=found, total=total or self._total)
