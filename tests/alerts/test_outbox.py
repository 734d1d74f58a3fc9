"""What is owed is delivered, tried again, and given up only loudly."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from tocsin.alerts import Desk, Subscription, deliver
from tocsin.alerts.outbox import ATTEMPTS
from tocsin.catalog import outbox
from tocsin.catalog.box import Box
from tocsin.errors import DeliveryError
from tocsin.event import Entity, Finding, Incident, Severity

SECOND = 10**9
BOX = Box(bytes(32))
Make = Callable[..., Finding]


class Flaky:
    """A channel that fails as often as it is told to."""

    def __init__(self, failures: int = 0, name: str = "hook") -> None:
        self.failures, self.sent, self.name = failures, list[str](), name
        self.tries = 0

    def send(self, change: str, incident: Incident, *, delivery: str) -> None:
        self.tries += 1
        if self.failures:
            self.failures -= 1
            raise DeliveryError("hook: down")
        assert incident.id in delivery
        self.sent.append(delivery)


def never(message: str) -> None:
    raise AssertionError(message)


@pytest.fixture
def owed(catalog: sa.Engine, finding: Make) -> sa.Engine:
    desk = Desk(catalog, BOX, subscriptions=[Subscription("hook", Severity.LOW)], clock=lambda: 0)
    desk.take([finding()])
    return catalog


def test_a_delivery_happens_once(owed: sa.Engine) -> None:
    channel = Flaky()
    assert deliver(owed, BOX, [channel], gave_up=never, clock=lambda: SECOND) == 1
    assert deliver(owed, BOX, [channel], gave_up=never, clock=lambda: 2 * SECOND) == 0
    assert len(channel.sent) == 1


def test_a_failure_is_tried_again_after_a_growing_pause(owed: sa.Engine) -> None:
    channel, now = Flaky(failures=2), 0
    assert deliver(owed, BOX, [channel], gave_up=never, clock=lambda: now, jitter=lambda: 1.0) == 0
    assert (
        deliver(owed, BOX, [channel], gave_up=never, clock=lambda: now, jitter=lambda: 1.0) == 0
    )  # not due yet
    assert channel.failures == 1
    now = 5 * SECOND
    assert deliver(owed, BOX, [channel], gave_up=never, clock=lambda: now, jitter=lambda: 1.0) == 0
    now += 9 * SECOND
    assert deliver(owed, BOX, [channel], gave_up=never, clock=lambda: now) == 0
    now += SECOND
    assert deliver(owed, BOX, [channel], gave_up=never, clock=lambda: now) == 1


def test_it_is_given_up_after_some_hours_and_says_so(
    owed: sa.Engine, caplog: pytest.LogCaptureFixture
) -> None:
    channel, hours = Flaky(failures=10**6), iter(range(10**6))
    told: list[str] = []
    for _ in range(ATTEMPTS + 3):
        deliver(
            owed, BOX, [channel], gave_up=told.append, clock=lambda: next(hours) * 3600 * SECOND
        )
    with owed.connect() as tx:
        (row,) = tx.execute(sa.select(outbox.c.attempts, outbox.c.failed))
    assert row == (ATTEMPTS, "hook: down")
    (message,) = told
    assert f"for hook given up after {ATTEMPTS} tries: hook: down" in message
    assert any(r.levelno == logging.ERROR and "given up" in r.message for r in caplog.records)


def test_a_channel_that_is_not_there_keeps_its_mail(owed: sa.Engine) -> None:
    assert deliver(owed, BOX, [], gave_up=never, clock=lambda: SECOND) == 0
    assert deliver(owed, BOX, [Flaky()], gave_up=never, clock=lambda: SECOND) == 1


def test_what_could_not_be_told_was_not_given_up(owed: sa.Engine) -> None:
    channel, hours = Flaky(failures=ATTEMPTS), iter(range(10**6))
    for _ in range(ATTEMPTS - 1):
        deliver(owed, BOX, [channel], gave_up=never, clock=lambda: next(hours) * 3600 * SECOND)
    with pytest.raises(AssertionError, match="given up"):
        deliver(owed, BOX, [channel], gave_up=never, clock=lambda: next(hours) * 3600 * SECOND)
    later = 10**6 * SECOND
    assert deliver(owed, BOX, [channel], gave_up=never, clock=lambda: later) == 1


@pytest.fixture
def much_owed(catalog: sa.Engine, finding: Make) -> sa.Engine:
    """Ten notifications for each of two channels."""
    wants = [Subscription(name, Severity.LOW) for name in ("dead", "hook")]
    desk = Desk(catalog, BOX, subscriptions=wants, clock=lambda: 0)
    desk.take([finding(id=f"f{n}", entity=Entity("user", f"u{n}")) for n in range(10)])
    return catalog


def test_a_dead_channel_costs_the_others_one_try_a_pass(much_owed: sa.Engine) -> None:
    dead, alive = Flaky(failures=10**6, name="dead"), Flaky()
    assert deliver(much_owed, BOX, [dead, alive], gave_up=never, clock=lambda: SECOND) == 10
    assert (dead.tries, len(alive.sent)) == (1, 10)
    deliver(much_owed, BOX, [dead, alive], gave_up=never, clock=lambda: SECOND)
    assert dead.tries == 2  # the next one; the first waits for its time


def test_a_dead_channel_with_more_than_one_pass_holds_keeps_no_one_out(
    much_owed: sa.Engine,
) -> None:
    dead, alive = Flaky(failures=10**6, name="dead"), Flaky()
    assert deliver(much_owed, BOX, [dead, alive], gave_up=never, clock=lambda: SECOND, limit=4) == 4


def test_a_stop_is_heeded_between_two_posts(much_owed: sa.Engine) -> None:
    first, second = Flaky(), Flaky(name="dead")
    stop = lambda: len(first.sent) == 3  # noqa: E731  short, and only here
    assert (
        deliver(much_owed, BOX, [first, second], gave_up=never, stop=stop, clock=lambda: SECOND)
        == 3
    )
    assert second.tries == 0
    assert deliver(much_owed, BOX, [first, second], gave_up=never, clock=lambda: SECOND) == 17


def test_each_escalation_is_a_delivery_of_its_own_and_a_repeat_is_not(
    catalog: sa.Engine, finding: Make
) -> None:
    desk = Desk(catalog, BOX, subscriptions=[Subscription("hook", Severity.LOW)], clock=lambda: 0)
    for n, severity in enumerate((Severity.LOW, Severity.HIGH, Severity.CRITICAL)):
        desk.take([finding(id=f"f{n}", severity=severity)])
    channel = Flaky()
    assert deliver(catalog, BOX, [channel], gave_up=never, clock=lambda: SECOND) == 3
    assert len(set(channel.sent)) == 3
    with catalog.begin() as tx:
        tx.execute(outbox.update().values(sent_at=None))  # a crash before it was marked
    deliver(catalog, BOX, [channel], gave_up=never, clock=lambda: SECOND)
    assert channel.sent[3:] == channel.sent[:3]
