"""The desk keeps incidents through repeats, decisions and restarts."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa

from tocsin.alerts import ChangeKind, Decided, Desk, Subscription
from tocsin.catalog import findings, incidents, open_catalog, outbox, suppressions
from tocsin.catalog.box import Box
from tocsin.errors import UsageError
from tocsin.event import CloseReason, Entity, Finding, Severity, Status

SECOND = 10**9
BOX = Box(bytes(32))
Make = Callable[..., Finding]


@pytest.fixture
def desk(catalog: sa.Engine) -> Desk:
    return Desk(catalog, BOX, clock=lambda: 5_000 * SECOND)


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
    assert Desk(catalog, BOX).incidents() == desk.incidents()


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
    desk = Desk(catalog, BOX, clock=lambda: now[0])
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
    desk = Desk(catalog, BOX, subscriptions=[Subscription("hook", Severity.HIGH)])
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
    assert Desk(catalog, BOX).incidents() == []


@pytest.mark.parametrize("ends", ["expiry", "lift"])
def test_an_attack_that_goes_on_after_its_muting_opens_an_incident(
    catalog: sa.Engine, finding: Make, ends: str
) -> None:
    now = [1_000 * SECOND]
    desk = Desk(
        catalog, BOX, clock=lambda: now[0], subscriptions=[Subscription("hook", Severity.LOW)]
    )
    made = desk.suppress(
        rule="brute-force", entity=None, owner="ann", reason="a test", expires_at=2_000 * SECOND
    )
    assert desk.take([finding()]) == []
    assert desk.take([finding(count=30)]) == []
    assert desk.take([finding(count=30)]) == []  # a repeat is no hit
    assert desk.muted()[0].hits == 2
    if ends == "lift":
        desk.lift(made.id)
    else:
        now[0] = made.expires_at
    (change,) = desk.take([finding(count=45)])
    assert change.kind is ChangeKind.OPENED
    assert change.incident.count == 45
    assert desk.show(change.incident.id)[1] == [finding(count=45)]
    (grown,) = desk.take([finding(count=50)])
    assert (grown.kind, grown.incident.count) == (ChangeKind.GREW, 50)
    with catalog.connect() as tx:
        assert tx.scalars(sa.select(outbox.c.change)).all() == ["opened"]


def test_a_finding_that_was_muted_joins_the_incident_that_it_belongs_to(
    desk: Desk, finding: Make
) -> None:
    made = desk.suppress(
        rule="spray", entity=None, owner="ann", reason="a test", expires_at=9_999 * SECOND
    )
    (opened,) = desk.take([finding(), finding(id="f2", rule="spray", count=3)])
    desk.lift(made.id)
    (change,) = desk.take([finding(id="f2", rule="spray", count=5)])
    assert change.incident.id == opened.incident.id
    assert change.incident.findings == ("f1", "f2")


def test_two_threads_on_one_desk_lose_nothing(desk: Desk, finding: Make) -> None:
    (change,) = desk.take([finding(count=1)])

    def grow() -> None:
        for n in range(2, 52):
            desk.take([finding(count=n)])

    def talk() -> None:
        for n in range(50):
            desk.comment(change.incident.id, by="ann", text=str(n))

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(grow), pool.submit(talk)]:
            done.result()
    incident, _ = desk.show(change.incident.id)
    assert incident.count == 51
    assert [n.text for n in incident.notes if n.action == "commented"] == [*map(str, range(50))]


_TALK = """
import sys
from pathlib import Path
from tocsin.alerts import Desk
from tocsin.catalog import open_catalog
from tocsin.catalog.box import Box
desk = Desk(open_catalog(Path(sys.argv[1])), Box(bytes(32)))
print("ready", flush=True)
sys.stdin.readline()
for n in range(50):
    desk.comment(sys.argv[2], by=sys.argv[3], text=str(n))
"""


def test_two_processes_on_one_catalog_lose_nothing(tmp_path: Path, finding: Make) -> None:
    path = tmp_path / "catalog.db"
    desk = Desk(open_catalog(path), BOX)
    (change,) = desk.take([finding()])
    both = [
        subprocess.Popen(
            [sys.executable, "-c", _TALK, str(path), change.incident.id, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("ann", "bob")
    ]
    for process in both:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in both:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in both:
        process.communicate(timeout=60)
        assert process.returncode == 0
    notes = desk.show(change.incident.id)[0].notes
    for name in ("ann", "bob"):
        assert [n.text for n in notes if n.by == name] == [*map(str, range(50))]


def test_a_suppression_that_was_put_into_the_catalog_by_hand_mutes_nothing(
    catalog: sa.Engine, desk: Desk, finding: Make, caplog: pytest.LogCaptureFixture
) -> None:
    with catalog.begin() as tx:
        tx.execute(
            suppressions.insert().values(
                id="x", rule=None, entity_type=None, entity_value=None, owner="root",
                reason="maintenance", created_at=0, expires_at=2**62, hits=0, lifted=False,
            )
        )  # fmt: skip
    assert len(desk.take([finding()])) == 1
    assert "suppression x in the catalog was not written by this vault" in caplog.text
    assert desk.forged == {"suppression x"}
    desk.take([finding(count=30)])
    assert len(caplog.records) == 1  # said once


@pytest.mark.parametrize(
    "terms",
    [
        {"rule": None},
        {"rule": "brute-force"},
        {"entity_type": None},
        {"expires_at": 2**62},
        {"created_at": 0},
        {"lifted": False},
    ],
)
def test_nobody_without_the_vaults_key_widens_a_suppression(
    catalog: sa.Engine, desk: Desk, finding: Make, terms: dict[str, object]
) -> None:
    made = desk.suppress(
        rule="spray", entity=Entity("client_ip", "203.0.113.9"), owner="ann", reason="a test",
        expires_at=5_001 * SECOND,
    )  # fmt: skip
    if terms == {"lifted": False}:
        desk.lift(made.id)
    with catalog.begin() as tx:
        tx.execute(suppressions.update().values(**terms))
    assert len(desk.take([finding()])) == 1
    assert len(desk.take([finding(id="f2", rule="spray", owasp=())])) == 1
    assert desk.muted() == []
    assert desk.forged == {f"suppression {made.id}"}


def test_an_incident_that_was_edited_hides_no_other_and_stops_nothing(
    catalog: sa.Engine, desk: Desk, finding: Make
) -> None:
    desk.take([finding(), finding(id="f2", entity=Entity("user", "eve"))])
    with catalog.begin() as tx:
        tx.execute(incidents.update().where(incidents.c.entity_type == "user").values(body="box1:"))
        tx.execute(findings.update().where(findings.c.id == "f2").values(body="box1:"))
    assert [i.entity.value for i in desk.incidents()] == ["203.0.113.9"]
    changes = desk.take([finding(id="f3"), finding(id="f4", entity=Entity("user", "eve"))])
    assert [c.kind for c in changes] == [ChangeKind.GREW, ChangeKind.OPENED]
    assert len(desk.forged) == 1


# Who leads.


def pair(finding: Make) -> list[Finding]:
    """Two findings of equal severity and kind about one entity."""
    return [
        finding(id="f1", rule="b", title="Many of them", reason="many", evidence=(3, 4, 5)),
        finding(id="f2", rule="a", title="The first of them", reason="first", evidence=(0, 9)),
    ]


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("at_once", [False, True])
def test_who_leads_does_not_depend_on_who_came_first(
    desk: Desk, finding: Make, turned: bool, at_once: bool
) -> None:
    found = pair(finding)[::-1] if turned else pair(finding)
    for part in [found] if at_once else [[one] for one in found]:
        desk.take(part)
    desk.take([msgspec.structs.replace(found[0], count=99)])
    (incident,) = desk.incidents()
    assert (incident.rule, incident.title, incident.reason) == ("a", "The first of them", "first")
    worse = finding(id="f3", rule="c", title="Worse", severity=Severity.CRITICAL, evidence=(20,))
    desk.take([worse])
    assert desk.incidents()[0].title == "Worse"


def test_nothing_in_the_catalog_says_whom_an_incident_is_about(
    catalog: sa.Engine, desk: Desk, finding: Make
) -> None:
    desk.take([finding(entity=Entity("user", "eve@example.org"), reason="eve did it")])
    with catalog.connect() as tx:
        rows = [str(row) for t in (incidents, findings) for row in tx.execute(sa.select(t))]
    assert rows
    assert not any("eve" in row for row in rows)


def test_a_secret_in_what_people_write_is_kept_nowhere(desk: Desk, finding: Make) -> None:
    told: list[Decided] = []
    (change,) = desk.take([finding()])
    words = "reset with password=hunter2hunter2"
    kept = "reset with password=[redacted:password]"
    noted = desk.comment(change.incident.id, by="ann", text=words, tell=told.append)
    closed = desk.close(noted.id, by="ann", reason=CloseReason.BENIGN, text=words, tell=told.append)
    muted = desk.suppress(
        rule="r", entity=None, owner="ann", reason=words, expires_at=9_000 * SECOND,
        tell=told.append,
    )  # fmt: skip
    assert [note.text for note in closed.notes[-2:]] == [kept, f"benign: {kept}"]
    assert muted.reason == kept
    assert "hunter2" not in repr((told, desk.show(noted.id), desk.muted()))
