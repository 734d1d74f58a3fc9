"""Deliver the notifications that are owed, and keep trying for a while.

A row is written in the transaction that changes the incident, and marked as sent after the channel
took it.  A crash between the two sends it twice, never not at all: receivers see the same
``Tocsin-Delivery`` and can drop the second.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterable
from typing import Protocol

import sqlalchemy as sa

from tocsin.alerts.records import Records
from tocsin.catalog import outbox, writing
from tocsin.catalog.box import Box
from tocsin.errors import DeliveryError
from tocsin.event import Incident

__all__ = ["ATTEMPTS", "Channel", "deliver"]

log = logging.getLogger("tocsin.alerts")

#: Tries before a notification is given up: with the pauses below, about four hours.
ATTEMPTS = 12

_FIRST_PAUSE_NS = 5 * 10**9
_LONGEST_PAUSE_NS = 1800 * 10**9


class Channel(Protocol):
    """A way to tell people.  Raise DeliveryError, and it is tried again later.

    *delivery* is the notification's own id, the same each time that it is tried.
    """

    @property
    def name(self) -> str: ...

    def send(self, change: str, incident: Incident, *, delivery: str) -> None: ...


def deliver(
    engine: sa.Engine,
    box: Box,
    channels: Iterable[Channel],
    *,
    gave_up: Callable[[str], None],
    stop: Callable[[], bool] = lambda: False,
    clock: Callable[[], int] = time.time_ns,
    jitter: Callable[[], float] = random.random,
    limit: int = 100,
) -> int:
    """Try what is due on each channel, oldest first; return how many were taken.

    A channel is left at its first failure, so that a dead one costs the others one try a pass.
    What is given up is told to *gave_up*; when that raises, nothing was given up yet.
    """
    return sum(
        _serve(engine, Records(box), channel, limit, gave_up, stop, clock, jitter)
        for channel in channels
        if not stop()
    )


def _serve(
    engine: sa.Engine,
    records: Records,
    channel: Channel,
    limit: int,
    gave_up: Callable[[str], None],
    stop: Callable[[], bool],
    clock: Callable[[], int],
    jitter: Callable[[], float],
) -> int:
    """One channel's pass."""
    sent = 0
    with engine.connect() as tx:
        due = records.owed(tx, channel.name, clock(), limit)
    for row in due:
        if stop():
            break
        delivery = row.delivery
        try:
            channel.send(row.change, row.incident, delivery=delivery)
        except DeliveryError as error:
            values = _after_failure(row.attempts + 1, str(error), clock(), jitter())
            if "failed" in values:
                # Told first: a crash before it is written down tells it twice, never not at all.
                gave_up(
                    f"notification {delivery} for {channel.name} given up after "
                    f"{row.attempts + 1} tries: {error}"
                )
            _mark(engine, row.id, values)
            break
        _mark(engine, row.id, {"sent_at": clock(), "attempts": row.attempts + 1})
        sent += 1
    return sent


def _mark(engine: sa.Engine, row: int, values: dict[str, object]) -> None:
    with writing(engine) as tx:
        tx.execute(outbox.update().where(outbox.c.id == row).values(**values))


def _after_failure(attempts: int, why: str, now: int, luck: float) -> dict[str, object]:
    if attempts >= ATTEMPTS:
        log.error("notification given up after %d tries: %s", attempts, why)
        return {"attempts": attempts, "failed": why}
    log.warning("notification not delivered, try %d of %d: %s", attempts, ATTEMPTS, why)
    pause = min(_FIRST_PAUSE_NS << (attempts - 1), _LONGEST_PAUSE_NS)
    return {"attempts": attempts, "next_try_at": now + int(pause * (0.5 + luck / 2))}
