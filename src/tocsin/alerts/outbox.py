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

import msgspec
import sqlalchemy as sa

from tocsin.catalog import outbox
from tocsin.errors import DeliveryError
from tocsin.event import Incident

__all__ = ["ATTEMPTS", "Channel", "deliver"]

log = logging.getLogger("tocsin.alerts")

#: Tries before a notification is given up: with the pauses below, about four hours.
ATTEMPTS = 12

_FIRST_PAUSE_NS = 5 * 10**9
_LONGEST_PAUSE_NS = 1800 * 10**9


class Channel(Protocol):
    """A way to tell people.  Raise DeliveryError, and it is tried again later."""

    @property
    def name(self) -> str: ...

    def send(self, change: str, incident: Incident) -> None: ...


def deliver(
    engine: sa.Engine,
    channels: Iterable[Channel],
    *,
    clock: Callable[[], int] = time.time_ns,
    jitter: Callable[[], float] = random.random,
    limit: int = 100,
) -> int:
    """Try each notification that is due, oldest first; return how many were taken."""
    by_name = {channel.name: channel for channel in channels}
    c = outbox.c
    with engine.connect() as tx:
        due = tx.execute(
            sa.select(outbox)
            .where(
                c.sent_at.is_(None),
                c.failed.is_(None),
                c.next_try_at <= clock(),
                c.channel.in_(list(by_name)),
            )
            .order_by(c.id)
            .limit(limit)
        ).all()
    sent = 0
    for row in due:
        incident = msgspec.json.decode(row.body, type=Incident)
        try:
            by_name[row.channel].send(row.change, incident)
        except DeliveryError as error:
            values = _after_failure(row.attempts + 1, str(error), clock(), jitter())
        else:
            values = {"sent_at": clock(), "attempts": row.attempts + 1}
            sent += 1
        with engine.begin() as tx:
            tx.execute(outbox.update().where(c.id == row.id).values(**values))
    return sent


def _after_failure(attempts: int, why: str, now: int, luck: float) -> dict[str, object]:
    if attempts >= ATTEMPTS:
        log.error("notification given up after %d tries: %s", attempts, why)
        return {"attempts": attempts, "failed": why}
    log.warning("notification not delivered, try %d of %d: %s", attempts, ATTEMPTS, why)
    pause = min(_FIRST_PAUSE_NS << (attempts - 1), _LONGEST_PAUSE_NS)
    return {"attempts": attempts, "next_try_at": now + int(pause * (0.5 + luck / 2))}
