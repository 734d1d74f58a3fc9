"""For an application's own tests: what would have been recorded?

::

    def test_a_stranger_is_told_of() -> None:
        with tocsin.testing.capture() as captured:
            client.get("/orders/42", headers=as_joe)
        captured.one("authz_fail", user="joe", outcome="failure")
"""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from msgspec.structs import replace

from tocsin.errors import UsageError
from tocsin.event.kinds import Kind, read_kind
from tocsin.event.model import Event
from tocsin.sdk import client
from tocsin.sdk.noted import Probe
from tocsin.sdk.options import Options, read_options
from tocsin.sdk.reading.reader import Reader

__all__ = ["Captured", "capture"]

#: Seconds to wait for what the application's threads have left.
_PATIENCE = 10.0


class Captured:
    """The events that were recorded, in the order in which they would have left."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._probes: list[Probe] = []
        self._lock = threading.Lock()
        self._is_over = False

    @property
    def events(self) -> list[Event]:
        """All of them so far: redacted, and with everything that is added before they leave."""
        if not self._is_over and not client.flush(_PATIENCE):
            raise TimeoutError(f"what was recorded was not read within {_PATIENCE:g} s")
        with self._lock:
            return list(self._events)

    @property
    def probes(self) -> list[Probe]:
        """Request values that would have been handed over, to be searched for attacks."""
        _ = self.events
        with self._lock:
            return list(self._probes)

    def of(self, kind: Kind | str, **columns: Any) -> list[Event]:
        """Those of *kind* that have these values in these columns.

        Raises UsageError for a kind or a column that there is none of.
        """
        wanted = kind if isinstance(kind, Kind) else read_kind(kind)[0]
        if wanted is None:
            raise UsageError(f"there is no kind of event {kind!r}; see tocsin.Kind")
        unknown = sorted(set(columns) - set(Event.__struct_fields__))
        if unknown:
            raise UsageError(f"an event has no column {unknown[0]!r}; see tocsin.Event")
        return [
            event
            for event in self.events
            if event.kind is wanted
            and all(getattr(event, name) == value for name, value in columns.items())
        ]

    def one(self, kind: Kind | str, **columns: Any) -> Event:
        """The one event of *kind* with these columns; AssertionError when there are none, or more.

        The message of the error lists what was recorded.
        """
        found = self.of(kind, **columns)
        if len(found) != 1:
            wanted = " ".join(
                [
                    kind.value if isinstance(kind, Kind) else kind,
                    *(f"{k}={v!r}" for k, v in columns.items()),
                ]
            )
            listed = "\n".join(f"  {_line(event)}" for event in self.events) or "  nothing"
            raise AssertionError(f"{len(found)} events, not one, of {wanted}; recorded:\n{listed}")
        return found[0]

    # What the client calls: see ``tocsin.sdk.sending.drain.Out``.

    works = True
    waiting = 0

    def put(self, event: Event, probe: Probe | None) -> None:
        """Keep *event*, unless it is only of the recording itself."""
        if event.kind in _OF_ITSELF and event.message in ("recording begins", "recording ends"):
            return
        with self._lock:
            self._events.append(event)
            if probe:
                self._probes.append(probe)

    def flush(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """Nothing is open."""

    def abandon(self) -> None:
        """Nothing is open."""


_OF_ITSELF = frozenset({Kind.SYS_STARTUP, Kind.SYS_SHUTDOWN})


@contextmanager
def capture(**options: Any) -> Generator[Captured]:
    """Have events kept here, and sent nowhere, until the end of the ``with``.

    The options are those of the application as it is, with *options* in place of some.
    Applications that are watched already are captured as well.
    Raises SettingsError for an option that is unknown or makes no sense.
    """
    from tocsin.sdk.checks import checked

    captured = Captured()

    def made(usual: Options) -> client.Client:
        given = {name: getattr(usual, name) for name in Options.__struct_fields__} | options
        asked = checked(read_options(given, {}), options)
        alone = replace(asked, url=None, output="off", heartbeat_seconds=0)
        return client.Client(alone, Reader(alone), out=captured)

    with client.made_by(made):
        try:
            yield captured
            _ = captured.events
        finally:
            captured._is_over = True


def _line(event: Event) -> str:
    """The columns of *event* by which one would tell it."""
    names = ("user", "method", "route", "path", "status", "outcome", "reason", "message")
    told = [f"{n}={v!r}" for n in names if (v := getattr(event, n)) is not None]
    return " ".join([event.kind.value, *told])
