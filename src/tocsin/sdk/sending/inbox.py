"""Where the application's threads leave things, and the SDK's thread finds them.

The one rule: ``put`` costs next to nothing and waits for nobody.  So it takes no lock and starts no
clock; counters that several threads write may, on an unlucky switch, be off by one, and mend
themselves when the inbox is empty.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable

from tocsin.event.model import Event
from tocsin.sdk.seen import Seen

__all__ = ["BODIES", "MOST", "Bell", "Inbox", "Item"]

Item = Seen | Event

#: Things that may wait.
MOST = 10_000

#: Bytes of bodies that may wait; a request beyond is recorded without its bodies.
BODIES = 8 << 20

#: Bytes of headers, paths and queries that may wait, as far as a sample of them tells.
HEADS = 32 << 20

#: A request with more bytes than this of headers, path and query is a heavy one; none is weighed
#: while few wait.
HEAVY = 4 << 10
FEW = 64

#: What a request weighs at least, so that empty ones do not count as free.
_LIGHT = 1 << 10


class Bell:
    """Wakes one sleeper.  ``ring`` never waits, not even in a signal handler that interrupts it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def ring(self) -> None:
        """Let the sleeper go on, or not fall asleep the next time."""
        with contextlib.suppress(RuntimeError):  # it rings already
            self._lock.release()

    def wait(self, seconds: float) -> None:
        """Sleep until the bell rings, *seconds* at most."""
        self._lock.acquire(timeout=max(0.0, min(seconds, 3600.0)))


class Inbox:
    """A bounded queue with one reader.  ``wake`` is called when that one sleeps soundly."""

    __slots__ = ("_held", "_items", "_wake", "asleep", "overflowed", "room", "uninspected")

    def __init__(self, wake: Callable[[], None]) -> None:
        self._items: deque[Item] = deque()
        self._held = 0  # bytes of bodies
        self._wake = wake
        self.room = MOST  #: things it takes; 0 closes it
        self.asleep = True  #: the reader wants to be woken
        self.overflowed = 0  #: things that were not taken
        self.uninspected = 0  #: requests that were taken without their bodies

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: Item) -> None:
        """Take *item*, if there is room.

        Half of it is for what is light: a flood of long requests, which take the longest to read,
        pushes out long ones and no others.
        """
        waiting = len(self._items)
        if waiting >= self.room or (waiting >= FEW and waiting >= self._room_for(item)):
            self.overflowed += 1
            return
        if type(item) is Seen and (item.body_in or item.body_out):
            self._hold(item)
        self._items.append(item)
        if self.asleep:
            self._wake()

    def get(self) -> Item:
        """The oldest thing; IndexError when there is none.  Only for the reader."""
        try:
            item = self._items.popleft()
        except IndexError:
            self._held = 0
            raise
        if type(item) is Seen and (item.body_in or item.body_out):
            self._held -= _bodies(item)
        return item

    def fit(self) -> None:
        """Make the room fit what the newest request weighs: a flood of large heads must not fill
        the memory.  Only for the reader, who calls it often, so that ``put`` need not weigh.
        """
        if not self.room:
            return
        try:
            newest = self._items[-1]
        except IndexError:
            self.room = MOST
            return
        if type(newest) is Seen:
            weight = max(_LIGHT, _head(newest))
            # Down at once, up by a step: a flood of heavy requests with light ones in between.
            self.room = min(MOST, HEADS // weight, self.room + 100)

    def _room_for(self, item: Item) -> int:
        weight = _head(item) if type(item) is Seen else 0
        return self.room if weight <= HEAVY else min(self.room, HEADS // weight) // 2

    def _hold(self, seen: Seen) -> None:
        size = _bodies(seen)
        if self._held + size <= BODIES:
            self._held += size
            return
        seen.cut_in = seen.cut_in or bool(seen.body_in)
        seen.cut_out = seen.cut_out or bool(seen.body_out)
        seen.body_in = seen.body_out = ()
        self.uninspected += 1


def _bodies(seen: Seen) -> int:
    size = 0
    for part in seen.body_in:  # a loop: for the one or two parts that there are, sum() takes twice
        size += len(part)
    for part in seen.body_out:
        size += len(part)
    return size


def _head(seen: Seen) -> int:
    pairs = (*seen.headers, *seen.out_headers)
    return len(seen.path) + len(seen.query) + sum(len(name) + len(value) for name, value in pairs)
