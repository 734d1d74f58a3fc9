"""The desk keeps incidents through repeats, decisions and restarts."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sqlalchemy as sa

from tocsin.alerts import ChangeKind, Desk, Subscription
from tocsin.catalog import outbox
from tocsin.errors import UsageError
from tocsin.event import CloseReason, Entity, Finding, Severity, Status

SECOND = 10**9
Make = Callable[..., Finding]


@pytest.fixture
def desk(catalog: sa.Engine) -> Desk:
    return Desk(catalog, clock=lambda: 5_000 * SECOND)


def test_a_finding_opens_an_incident_that_says_why(desk: Desk, finding: Make) -> None:
    (change,) = desk.take([finding()])
    assert change.kind is ChangeKind.OPENED
    incident, findings = desk.show(change.incident.id)
    assert incident == change.incident
    assert incident.opened_at == 5_000 * SECOND
    assert incident.notes[0].action == "opened"
    assert findings == [finding()]


def test_a_repeated_finding_changes_nothing(desk: Desk, finding: Make) -> None:
    desk.take([finding()])
    assert desk.take([finding()]) == []
    assert desk.incidents()[0].count == 20


def test_a_finding_that_grew_adds_only_what_is_new(desk: Desk, finding: Make) -> None:
    desk.take([finding()])
    (change,) = desk.take([finding(count=35)])
    assert change.kind is ChangeKind.GREW
    assert change.incident.count == 35


def test_a_worse_finding_escalates_the_incident(desk: Desk, finding: Make) -> None:
    desk.take([finding()])
    (change,) = desk.take([finding(id="f2", severity=Severity.CRITICAL)])
    assert change.kind is ChangeKind.ESCALATED
    assert len(desk.incidents()) == 1


def test_incidents_survive_a_restart(catalog: sa.Engine, desk: Desk, finding: Make) -> None:
    desk.take([finding()])
    assert Desk(catalog).incidents() == desk.incidents()


def test_one_can_be_acknowledged_and_closed_with_a_reason(desk: Desk, finding: Make) -> None:
    (change,) = desk.take([finding()])
    taken = desk.acknowledge(change.incident.id, by="ann")
    assert (taken.status, taken.owner) == (Status.ACKNOWLEDGED, "ann")
    closed = desk.close(taken.id, by="ann", reason=CloseReason.BENIGN, text="a pentest")
    assert (closed.status, closed.close_reason) == (Status.CLOSED, CloseReason.BENIGN)
    assert [note.action for note in closed.notes] == ["opened", "acknowledged", "closed"]
    with pytest.raises(UsageError, match="closed already"):
        desk.close(taken.id, by="ann", reason=CloseReason.BENIGN)
    with pytest.raises(UsageError, match="it is closed"):
        desk.acknowledge(taken.id, by="ann")


def test_a_real_attack_that_goes_on_opens_its_incident_again(desk: Desk, finding: Make) -> None:
    (change,) = desk.take([finding()])
    desk.close(change.incident.id, by="ann", reason=CloseReason.TRUE_POSITIVE)
    (again,) = desk.take([finding(count=40)])
    assert again.kind is ChangeKind.REOPENED
    assert again.incident.status is Status.OPEN


def test_a_false_alarm_that_goes_on_stays_closed(desk: Desk, finding: Make) -> None:
    (change,) = desk.take([finding()])
    desk.close(change.incident.id, by="ann", reason=CloseReason.FALSE_POSITIVE)
    (again,) = desk.take([finding(count=40)])
    assert again.incident.status is Status.CLOSED
    assert again.incident.count == 40


def test_a_new_finding_after_closing_opens_a_new_incident(desk: Desk, finding: Make) -> None:
    (change,) = desk.take([finding()])
    desk.close(change.incident.id, by="ann", reason=CloseReason.FALSE_POSITIVE)
    (new,) = desk.take([finding(id="f2")])
    assert new.kind is ChangeKind.OPENED
    assert new.incident.id != change.incident.id


def test_the_beginning_of_an_id_is_enough_when_it_is_the_only_one(
    desk: Desk, finding: Make
) -> None:
    (change,) = desk.take([finding()])
    assert desk.show(change.incident.id[:7])[0].id == change.incident.id
    desk.take([finding(id="f2", entity=Entity("user", "eve"))])
    with pytest.raises(UsageError, match="more than one"):
        desk.show("inc-")
    with pytest.raises(UsageError, match="there is none"):
        desk.show("inc-%")


def test_incidents_are_listed_by_status_and_severity(desk: Desk, finding: Make) -> None:
    desk.take([finding()])
    desk.take([finding(id="f2", entity=Entity("user", "eve"), severity=Severity.LOW)])
    assert len(desk.incidents()) == 2
    assert len(desk.incidents(severity=Severity.MEDIUM)) == 1
    assert desk.incidents(status=Status.CLOSED) == []
    assert len(desk.incidents(limit=1)) == 1


def test_a_suppressed_finding_opens_nothing_but_is_counted(
    catalog: sa.Engine, finding: Make
) -> None:
    now = [1_000 * SECOND]
    desk = Desk(catalog, clock=lambda: now[0])
    made = desk.suppress(
        rule="brute-force",
        entity=Entity("client_ip", "203.0.113.9"),
        owner="ann",
        reason="our own scanner",
        expires_at=2_000 * SECOND,
    )
    assert desk.take([finding()]) == []
    assert desk.muted()[0].hits == 1
    assert len(desk.take([finding(id="f2", entity=Entity("user", "eve"))])) == 1
    now[0] = made.expires_at
    assert desk.muted() == []
    assert len(desk.take([finding(id="f3")])) == 1


def test_a_suppression_can_be_lifted_once(desk: Desk, finding: Make) -> None:
    made = desk.suppress(
        rule="brute-force", entity=None, owner="a", reason="b", expires_at=9_999 * SECOND
    )
    desk.lift(made.id)
    assert len(desk.take([finding()])) == 1
    with pytest.raises(UsageError, match="none of that id"):
        desk.lift(made.id)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rule": None}, "nothing mutes everything"),
        ({"owner": " "}, "who answers"),
        ({"reason": ""}, "who answers"),
        ({"expires_at": 1}, "future"),
    ],
)
def test_a_suppression_needs_a_target_an_owner_a_reason_and_an_end(
    desk: Desk, change: dict[str, object], words: str
) -> None:
    said: dict[str, object] = {
        "rule": "r", "entity": None, "owner": "a", "reason": "b", "expires_at": 9_999 * SECOND,
    }  # fmt: skip
    with pytest.raises(UsageError, match=words):
        desk.suppress(**(said | change))  # type: ignore[arg-type]  # wrong on purpose


def test_whom_to_tell_is_written_down_with_the_incident(catalog: sa.Engine, finding: Make) -> None:
    desk = Desk(catalog, subscriptions=[Subscription("hook", Severity.HIGH)])
    desk.take([finding()])
    desk.take([finding(count=30)])  # it grew: nobody needs to be told again
    desk.take([finding(id="f2", severity=Severity.LOW, entity=Entity("user", "eve"))])
    with catalog.connect() as tx:
        assert tx.execute(sa.select(outbox.c.channel, outbox.c.change)).all() == [
            ("hook", "opened")
        ]


def test_all_of_one_take_is_kept_or_nothing_of_it(
    catalog: sa.Engine, desk: Desk, finding: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise OSError("disk gone")

    monkeypatch.setattr(desk, "_owe", fails)
    with pytest.raises(OSError, match="disk gone"):
        desk.take([finding()])
    assert Desk(catalog).incidents() == []
