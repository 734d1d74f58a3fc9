"""A client that only keeps what it is given, for tests of who gives."""

from __future__ import annotations

from tocsin.event import Event
from tocsin.sdk.seen import Seen

__all__ = ["Taken"]


class Taken:
    """Stands where the one client would."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def take(self, item: Seen | Event, /) -> None:
        assert isinstance(item, Event)
        self.events.append(item)

    @property
    def event(self) -> Event:
        """The one event that was taken since the last time; more or fewer are a failure."""
        (event,) = self.events
        self.events = []
        return event
