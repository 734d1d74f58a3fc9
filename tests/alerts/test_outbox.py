"""What is owed is delivered, tried again, and given up only loudly."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from tocsin.alerts import Desk, Subscription, deliver
from tocsin.alerts.outbox import ATTEMPTS
from tocsin.catalog import outbox
from tocsin.errors import DeliveryError
from tocsin.event import Finding, Incident, Severity

SECOND = 10**9
Make = Callable[..., Finding]


class Flaky:
    """A channel that fails as often as it is told to."""

    name = "hook"

    def __init__(self, failures: int = 0) -> None:
        self.failures, self.sent = failures, list[str]()

    def send(self, change: str, incident: Incident) -> None:
        if self.failures:
            self.failures -= 1
            raise DeliveryError("hook: down")
        self.sent.append(incident.id)


@pytest.fixture
def owed(catalog: sa.Engine, finding: Make) -> sa.Engine:
    desk = Desk(catalog, subscriptions=[Subscription("hook", Severity.LOW)], clock=lambda: 0)
    desk.take([finding()])
    return catalog


def test_a_delivery_happens_once(owed: sa.Engine) -> None:
    channel = Flaky()
    assert deliver(owed, [channel], clock=lambda: SECOND) == 1
    assert deliver(owed, [channel], clock=lambda: 2 * SECOND) == 0
    assert len(channel.sent) == 1


def test_a_failure_is_tried_again_after_a_growing_pause(owed: sa.Engine) -> None:
    channel, now = Flaky(failures=2), 0
    assert deliver(owed, [channel], clock=lambda: now, jitter=lambda: 1.0) == 0
    assert deliver(owed, [channel], clock=lambda: now, jitter=lambda: 1.0) == 0  # not due yet
    assert channel.failures == 1
    now = 5 * SECOND
    assert deliver(owed, [channel], clock=lambda: now, jitter=lambda: 1.0) == 0
    now += 9 * SECOND
    assert deliver(owed, [channel], clock=lambda: now) == 0
    now += SECOND
    assert deliver(owed, [channel], clock=lambda: now) == 1


def test_it_is_given_up_after_some_hours_and_says_so(
    owed: sa.Engine, caplog: pytest.LogCaptureFixture
) -> None:
    channel, hours = Flaky(failures=10**6), iter(range(10**6))
    for _ in range(ATTEMPTS + 3):
        deliver(owed, [channel], clock=lambda: next(hours) * 3600 * SECOND)
    with owed.connect() as tx:
        (row,) = tx.execute(sa.select(outbox.c.attempts, outbox.c.failed))
    assert row == (ATTEMPTS, "hook: down")
    assert any(r.levelno == logging.ERROR and "given up" in r.message for r in caplog.records)


def test_a_channel_that_is_not_there_keeps_its_mail(owed: sa.Engine) -> None:
    assert deliver(owed, [], clock=lambda: SECOND) == 0
    assert deliver(owed, [Flaky()], clock=lambda: SECOND) == 1
