"""The SDK's own thread: understands what the application's threads left, and sends it on its way.

It works in short slices and sleeps between them, because whoever runs Python code holds the
interpreter, and the application wants it: a thread that runs on costs everyone else up to 5 ms a
turn (``sys.getswitchinterval``), a thread that sleeps costs nothing.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from msgspec import Struct
from msgspec.structs import replace

from tocsin import __version__
from tocsin.event.kinds import Kind
from tocsin.event.model import Event
from tocsin.event.times import MAX_NS, MIN_NS
from tocsin.sdk.harmless import harmless, mishaps
from tocsin.sdk.noted import Noted, Probe
from tocsin.sdk.options import Options
from tocsin.sdk.seen import Seen
from tocsin.sdk.sending.inbox import Inbox, Item
from tocsin.sdk.sending.tally import Tally

__all__ = ["SLICE", "Drain", "Out", "Reading", "Where", "pause"]

#: Seconds of work before the interpreter is given away.
SLICE = 300e-6

#: For how long it is, when so many things wait: a request rarely meets a slice as long as there is
#: time, and the inbox does not run over when there is none.
_PAUSES = ((500, 3e-3), (2_000, 300e-6))
_SHORTEST = 50e-6

#: Things that are read between two looks at the clock.
_AT_ONCE = 4

#: Seconds between two reports of loss.
_GAPS = 1.0


def pause(waiting: int) -> float:
    """Seconds for which the application has the interpreter, when *waiting* things wait."""
    return next((seconds for most, seconds in _PAUSES if waiting <= most), _SHORTEST)


class Reading(Protocol):
    """Makes events of what was seen.  Called by one thread at a time; a forked child goes on with
    a copy, in whatever state the parent's was.
    """

    def read(self, seen: Seen) -> Sequence[Event | Noted]:
        """What *seen* means: redacted, with the probe beside it."""
        ...

    def finish(self, event: Event) -> Event:
        """An event that the application made, redacted."""
        ...


class Out(Protocol):
    """Where events go."""

    @property
    def works(self) -> bool:
        """Whether they get there, as far as is known."""
        ...

    @property
    def waiting(self) -> int:
        """How many are still on the way."""
        ...

    def put(self, event: Event, probe: Probe | None) -> None:
        """Take one; it has its number."""
        ...

    def flush(self) -> None:
        """What was put belongs together: nothing more comes for a moment."""
        ...

    def close(self) -> None:
        """Nothing more comes: give back what is open.  A repeat does nothing."""
        ...

    def abandon(self) -> None:
        """The same in a forked child, where the parent goes on: take no lock, send no word."""
        ...


class Where(Struct, frozen=True):
    """What every event of this life says of itself."""

    boot: str
    host: str | None
    service: str | None
    env: str | None


class Drain:
    """Empties *inbox* into *out*.  ``turn`` is called by one thread at a time."""

    def __init__(
        self,
        inbox: Inbox,
        out: Out,
        reader: Reading,
        options: Options,
        where: Where,
        tally: Tally,
        *,
        now: Callable[[], int] = time.time_ns,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._inbox, self._out, self._reader, self._tally = inbox, out, reader, tally
        self._options, self._where = options, where
        self._now, self._monotonic = now, monotonic
        self._number = 0
        self._overflowed = 0  # of the inbox's count, what has been numbered
        self._told: dict[str, int] = {}  # of the losses, what has been told
        self._next_gap = 0.0
        self._next_beat = monotonic() + options.heartbeat_seconds
        self._working = threading.Lock()
        self.busy = False  #: something is out of the inbox and not yet in the out

    def turn(self, *, hurry: bool = False) -> bool:
        """Work for a slice, or in a *hurry* until all is done; whether something is left."""
        if not self._working.acquire(blocking=False):
            return False  # somebody else is at it
        try:
            return self._turn(hurry)
        finally:
            self._working.release()

    def tell(self, kind: Kind, severity: str, message: str, **more: Any) -> None:
        """Say something of our own.  No hook can hold it back.  Only for who may call ``turn``."""
        event = Event(time=self._now(), kind=kind, severity=severity, message=message, **more)
        self._send(event, None)
        self._out.flush()

    def started(self) -> None:
        """The first word of a life."""
        version = sys.version_info
        self.tell(
            Kind.SYS_STARTUP,
            "info",
            "recording begins",
            attributes={
                "pid": os.getpid(),
                "python": f"{version.major}.{version.minor}.{version.micro}",
                "tocsin": __version__,
            },
        )

    def ended(self) -> None:
        """The last word of a life that ends as it should."""
        self._account()
        self.tell(Kind.SYS_SHUTDOWN, "info", "recording ends", attributes=self._counts())

    def tick(self) -> float:
        """Do what is due by the clock; return seconds until something is."""
        now = self._monotonic()
        self._account()
        if now >= self._next_gap and self._out.works:
            self.confess()
            self._next_gap = now + _GAPS
        every = self._options.heartbeat_seconds
        if every <= 0:
            return 60.0
        if now >= self._next_beat:
            self._next_beat = now + every
            lost = sum(self._tally.lost.values())
            self.tell(
                Kind.LOG,
                "info" if lost else "debug",
                "recording goes on",
                tags=("heartbeat",),
                attributes=self._counts(),
            )
        return self._next_beat - now

    def confess(self) -> None:
        """Make an event of what was lost since the last time."""
        lost = self._tally.lost
        why = {r: n - self._told.get(r, 0) for r, n in lost.items() if n > self._told.get(r, 0)}
        if not why:
            return
        self._told = lost
        many = sum(why.values())
        self.tell(
            Kind.LOG,
            "error",
            f"{many} {'events were' if many > 1 else 'event was'} lost",
            tags=("source_gap",),
            attributes={"lost": many, "why": why},
        )

    def _turn(self, hurry: bool) -> bool:
        inbox, clock = self._inbox, time.perf_counter
        end = clock() + SLICE
        self.busy = True  # before something is taken, so that nobody sees neither
        try:
            while True:
                for _ in range(_AT_ONCE):
                    try:
                        item = inbox.get()
                    except IndexError:
                        return False
                    self._take(item)
                if clock() >= end and not hurry:
                    inbox.fit()
                    return True
        finally:
            self._account()
            self._out.flush()
            self.busy = False

    def _take(self, item: Item) -> None:
        self._tally.taken += 1
        sent, hook = self._number, self._options.before_send
        try:
            if isinstance(item, Event):
                found: Iterable[Event | Noted] = (self._reader.finish(item),)
            else:
                found = self._reader.read(item)
            for one in found:
                event, probe = (one.event, one.probe) if isinstance(one, Noted) else (one, None)
                hooked = event if hook is None else self._hooked(event, hook)
                if hooked is not None:
                    self._send(hooked, probe)
        except Exception as error:  # noqa: BLE001  of the reader, or what it made
            harmless.mishap(error)
            if self._number == sent:
                self._lose("unreadable", 1)

    def _hooked(self, event: Event, hook: Callable[[Event], Any]) -> Event | None:
        """*event* as the *hook* returns it.

        One over which the hook fails is lost, and counted: it may hold what the hook takes out.
        """
        try:
            changed: Any = hook(event)
        except BaseException as error:  # noqa: BLE001  the host's own code, which may even exit
            harmless.mishap(error)
            self._lose("hook_failed", 1)
            return None
        if changed is None:
            self._tally.withheld += 1
        elif not isinstance(changed, Event):
            harmless.mishap(TypeError(f"before_send returned {type(changed).__name__}, no Event"))
            self._lose("hook_failed", 1)
            return None
        kept: Event | None = changed
        return kept

    def _send(self, event: Event, probe: Probe | None) -> None:
        self._number += 1
        where = self._where
        time: Any = event.time
        is_time = isinstance(time, int) and MIN_NS <= time <= MAX_NS
        filled = replace(
            event,
            time=time if is_time else self._now(),
            layer=event.layer or "app",
            service=event.service or where.service,
            env=event.env or where.env,
            host=event.host or where.host,
            boot=where.boot,
            source_seq=self._number,
        )
        try:
            self._out.put(filled, probe)
        except Exception as error:  # noqa: BLE001  it has its number, so the hole shows
            harmless.mishap(error)
            self._tally.lose("unwritable")

    def _account(self) -> None:
        """Number what the inbox could not take, so that the receiver sees a hole."""
        lost = self._inbox.overflowed - self._overflowed
        if lost > 0:
            self._overflowed += lost
            self._tally.taken += lost
            self._lose("inbox_full", lost)

    def _lose(self, why: str, events: int) -> None:
        self._number += events
        self._tally.lose(why, events)

    def _counts(self) -> dict[str, Any]:
        tally, lost = self._tally, self._tally.lost
        return {
            "taken": tally.taken,
            "dropped": sum(lost.values()),
            "uninspected": self._inbox.uninspected,
            "withheld": tally.withheld,
            "hook_failed": lost.get("hook_failed", 0),
            "sent": tally.sent,
            "spooled": tally.spooled,
            "adopted": tally.adopted,
            "refusals": tally.refusals,
            "disk_errors": tally.disk_errors,
            "mishaps": mishaps(),
            "waiting": self._out.waiting + len(self._inbox),
            "cpu_seconds": round(sum(tally.cpu.values()), 3),
        }
