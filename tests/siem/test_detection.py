"""Detection keeps its place with its memory, and a restart anywhere repeats nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tocsin.alerts import Change, ChangeKind, Decided, Desk
from tocsin.alerts.decisions import Closed
from tocsin.catalog import open_catalog
from tocsin.catalog.box import Box
from tocsin.detect import Engine, RuleFile, compile_rules
from tocsin.errors import Damaged
from tocsin.event import CloseReason, Entity, Event, Finding, Kind, Status
from tocsin.event.batch import Entries, from_events
from tocsin.siem.decisions import Made, event_of
from tocsin.siem.detection import Detection, Losses
from tocsin.siem.house import own_batch
from tocsin.vault import CatalogCursors

SECOND = 10**9
NOW = 1_795_000_000 * SECOND

RULE = """
title: Failed login
id: 11111111-1111-4111-8111-111111111111
name: failed
logsource: {category: application}
detection:
  login: {kind: authn_login_fail}
  condition: login
---
title: Failed logins from one address
id: 22222222-2222-4222-8222-222222222222
correlation:
  type: event_count
  rules: [failed]
  group-by: [client_ip]
  timespan: 5m
  condition: {gte: COUNT}
level: high
"""


class Memory:
    """A place to keep state, in memory."""

    def __init__(self) -> None:
        self.data: bytes | None = None
        self.saves = 0

    def load(self) -> bytes | None:
        if self.data == b"broken":
            raise Damaged("broken")
        return self.data

    def save(self, data: bytes) -> None:
        self.data, self.saves = data, self.saves + 1


def engine(count: int = 5) -> Engine:
    rules = compile_rules([RuleFile("test.yml", RULE.replace("COUNT", str(count)))])
    assert rules.problems == ()
    return Engine(rules)


def entries(first: int, count: int) -> Entries:
    events = [
        Event(
            time=NOW + seq * SECOND,
            observed=NOW + seq * SECOND,
            kind=Kind.AUTHN_LOGIN_FAIL,
            layer="app",
            client_ip="192.0.2.7",
        )
        for seq in range(first, first + count)
    ]
    return Entries(first, from_events(events))


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(open_catalog(tmp_path / "catalog.db"), Box(bytes(32)))


def detection(
    desk: Desk,
    memory: Memory,
    count: int = 5,
    pause: float = 3600,
    *,
    cursors: dict[str, int] | None = None,
    end: int = 0,
    **more: Any,
) -> Detection:
    return Detection(
        more.pop("engine", None) or engine(count),
        desk,
        memory,
        cursors={"detect": 0} if cursors is None else cursors,
        end=end,
        clock=lambda: NOW,
        pause_seconds=pause,
        **more,
    )


def test_findings_become_incidents_and_are_told(desk: Desk) -> None:
    told: list[Change] = []

    def hear(changes: Iterable[Change]) -> None:
        told.extend(changes)

    one = detection(desk, Memory(), changed=hear)
    one.follow(entries(0, 4))
    assert told == []
    one.follow(entries(4, 1))
    assert [change.incident.entity.value for change in told] == ["192.0.2.7"]
    assert one.cursor == 5


@pytest.mark.parametrize("cut", range(8))
def test_a_restart_anywhere_finds_the_same_once(desk: Desk, cut: int) -> None:
    memory, cursors = Memory(), {"detect": 0}
    first = detection(desk, memory, cursors=cursors)
    first.follow(entries(0, cut))
    first.save()
    first.follow(entries(cut, 8 - cut))  # and then it is killed: this is forgotten
    again = detection(desk, memory, cursors=cursors, end=8)
    assert again.cursor == cut
    again.follow(entries(cut, 8 - cut))
    (incident,) = desk.incidents()
    assert incident.count >= 5  # a finding that grows is told again at each doubling
    assert len(incident.findings) == 1


def test_broken_state_is_made_anew_from_the_log(desk: Desk) -> None:
    memory = Memory()
    for data in (b"broken", b"\x00\x01\x02"):
        memory.data = data
        again = detection(desk, memory)
        assert again.cursor == 0
        again.follow(entries(0, 5))
        assert len(desk.incidents()) == 1


def test_state_is_saved_now_and_then_and_only_when_it_changed(desk: Desk) -> None:
    memory = Memory()
    one = detection(desk, memory, pause=0)
    one.follow(entries(0, 1))
    assert memory.saves == 1
    one.tick()
    assert memory.saves == 1


def test_an_edited_rule_is_behind_until_it_is_shown_history(desk: Desk) -> None:
    memory, cursors = Memory(), {"detect": 0}
    first = detection(desk, memory, count=50, cursors=cursors)
    first.follow(entries(0, 6))
    first.save()
    edited = detection(desk, memory, count=5, cursors=cursors, end=6)
    before = edited.is_behind
    edited.follow(entries(0, 6))
    assert (before, edited.is_behind) == (True, False)
    assert len(desk.incidents()) == 1


def test_what_the_desk_could_not_take_is_owed_until_it_can(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_findings: Iterable[Finding], **_: Any) -> list[Change]:
        raise OSError("disk full")

    memory = Memory()
    one = detection(desk, memory)
    with monkeypatch.context() as broken:
        broken.setattr(desk, "take", full)
        with pytest.raises(OSError, match="disk full"):
            one.follow(entries(0, 6))
        with pytest.raises(OSError, match="disk full"):
            one.save()
    assert memory.saves == 0
    assert desk.incidents() == []
    one.tick()
    assert len(desk.incidents()) == 1
    one.save()
    assert memory.saves == 1


# A catalog that was lost.

PAIR = """
title: Failed login
id: 11111111-1111-4111-8111-111111111111
name: failed
logsource: {category: application}
detection:
  login: {kind: authn_login_fail}
  condition: login
---
title: Many
id: 22222222-2222-4222-8222-222222222222
tags: [owasp.api2-2023]
correlation:
  {type: event_count, rules: [failed], group-by: [client_ip], timespan: 5m, condition: {gte: 5}}
level: high
---
title: Some
id: 33333333-3333-4333-8333-333333333333
tags: [owasp.api2-2023]
correlation:
  {type: event_count, rules: [failed], group-by: [client_ip], timespan: 5m, condition: {gte: 3}}
level: medium
"""


def failure(seq: int, ip: str) -> Event:
    at = NOW - 3600 * SECOND + seq * SECOND
    kind = Kind.AUTHN_LOGIN_FAIL
    return Event(time=at, observed=at, kind=kind, layer="app", client_ip=ip)


class Life:
    """A vault in memory, and what people decide in it."""

    def __init__(self, catalog: Path) -> None:
        self.rows: list[Event] = []
        self.memory = Memory()
        self.open(catalog)

    def open(self, catalog: Path, **more: Any) -> None:
        """Begin with *catalog*; what was remembered of an earlier one stays."""
        tables = open_catalog(catalog)
        self.desk = Desk(tables, Box(bytes(32)), clock=self.now)
        self.detection = Detection(
            Engine(compile_rules([RuleFile("pair.yml", PAIR)])),
            self.desk,
            self.memory,
            cursors=CatalogCursors(tables),
            end=len(self.rows),
            redo=self.redo,
            clock=self.now,
            **more,
        )

    def redo(self, made: Made) -> None:
        assert isinstance(made, Decided)  # there are no keys here
        self.desk.redo(made)

    def now(self) -> int:
        return NOW - 3600 * SECOND + len(self.rows) * SECOND

    def arrive(self, *events: Event, parts: int = 1) -> None:
        """Rows become durable and are looked at, *parts* at a time."""
        for at in range(0, len(events), parts):
            some = events[at : at + parts]
            first = len(self.rows)
            self.rows += some
            self.detection.follow(Entries(first, from_events(some)))

    def tell(self, made: Decided) -> None:
        own = own_batch([event_of(made)]).frame
        event = Event(observed=made.at, **{
            name: value for name, value in own.to_dicts()[0].items()
            if name in ("kind", "message", "user", "layer", "source", "client_ip")
        }, time=made.at, attributes=msgspec.json.decode(own["attributes"][0]))  # fmt: skip
        self.rows.append(event)

    def read_again(self, parts: int) -> None:
        for at in range(0, len(self.rows), parts):
            self.detection.follow(Entries(at, from_events(self.rows[at : at + parts])))


def seen(desk: Desk) -> list[Any]:
    """Incidents as people see them, but for how far a finding had grown when it was noted."""
    return [
        (i.id, i.rule, i.title, i.status, i.close_reason, i.owner, i.count, i.evidence,
         [(n.action, n.by, n.text if n.id else "", n.id) for n in i.notes])
        for i in sorted(desk.incidents(), key=lambda i: i.id)
    ]  # fmt: skip


@pytest.fixture
def life(tmp_path: Path) -> Life:
    """Two attacks, and what people did about them while they went on."""
    life = Life(tmp_path / "catalog.db")
    life.arrive(*(failure(n, "192.0.2.7") for n in range(4)))
    (first,) = life.desk.incidents()
    life.desk.acknowledge(first.id, by="ann", text="on it", tell=life.tell)
    life.arrive(*(failure(n, "192.0.2.7") for n in range(5, 9)))
    life.desk.close(
        first.id, by="ann", reason=CloseReason.FALSE_POSITIVE, text="our own", tell=life.tell
    )
    muted = Entity("client_ip", "192.0.2.9")
    until = life.now() + 60 * SECOND
    life.desk.suppress(
        rule=None, entity=muted, owner="bob", reason="a test", expires_at=until, tell=life.tell
    )
    life.arrive(*(failure(n, "192.0.2.9") for n in range(20, 26)))
    life.arrive(*(failure(n, "192.0.2.8") for n in range(30, 36)))
    life.desk.comment(life.desk.incidents()[0].id, by="bob", text="who is this?", tell=life.tell)
    life.detection.save()
    return life


@pytest.mark.parametrize("parts", [1, 3, 7, 1000])
def test_with_a_new_catalog_incidents_come_back_as_they_stood(
    life: Life, tmp_path: Path, parts: int
) -> None:
    before, told = seen(life.desk), list[Change]()
    back: list[int] = []
    life.open(tmp_path / "new.db", changed=told.extend, came_back=back.append)
    again = [life.detection.starts_over]
    assert life.desk.incidents() == []
    life.read_again(parts)
    again.append(life.detection.starts_over)
    assert len(before) == 2  # the muted one opened none, then or now
    assert seen(life.desk) == before
    assert again == [True, False]
    assert (told, back) == ([], [2])  # nobody is told of the old ones again
    opened = [i.opened_at for i in life.desk.incidents()]
    assert all(at < NOW - 3000 * SECOND for at in opened)  # when they were first seen
    life.arrive(*(failure(n, "203.0.113.4") for n in range(50, 54)))
    opened_now = [c.incident.entity.value for c in told if c.kind is ChangeKind.OPENED]
    assert opened_now == ["203.0.113.4"]  # but of a new one


def test_a_catalog_put_back_from_a_backup_gets_what_it_lacks(life: Life, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "catalog.db") as catalog:
        catalog.execute("VACUUM INTO ?", (str(tmp_path / "backup.db"),))
    catalog.close()
    with sqlite3.connect(tmp_path / "backup.db") as backup:
        backup.execute("DELETE FROM incidents")
        backup.execute("DELETE FROM findings")
        backup.execute("UPDATE cursors SET seq = 3")
    backup.close()
    before = seen(life.desk)
    life.open(tmp_path / "backup.db")
    assert life.detection.starts_over
    life.read_again(1000)
    assert seen(life.desk) == before


def test_the_same_catalog_is_never_read_for_again(life: Life, tmp_path: Path) -> None:
    life.open(tmp_path / "catalog.db")
    assert not life.detection.starts_over
    assert life.detection.cursor == len(life.rows) - 1  # the last was not looked at yet


def test_a_new_vault_has_nothing_to_find_again(tmp_path: Path) -> None:
    assert not Life(tmp_path / "catalog.db").detection.starts_over


def test_a_decision_that_was_written_down_and_not_done_is_done_when_it_is_met(
    life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    (other,) = [i for i in life.desk.incidents() if i.status is not Status.CLOSED]

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as crash:
        crash.setattr(life.desk, "_do", killed)
        with pytest.raises(KeyboardInterrupt):
            life.desk.close(other.id, by="ann", reason=CloseReason.BENIGN, tell=life.tell)
    assert life.desk.show(other.id)[0].status is Status.OPEN
    life.detection.follow(Entries(len(life.rows) - 1, from_events(life.rows[-1:])))
    assert life.desk.show(other.id)[0].close_reason is CloseReason.BENIGN
    again = life.desk.show(other.id)
    life.read_again(5)
    assert life.desk.show(other.id) == again


def test_a_decision_that_cannot_be_written_down_changes_nothing(life: Life) -> None:
    def full(_made: Decided) -> None:
        raise OSError("disk full")

    before = seen(life.desk)
    incident = before[0][0] if before[0][3] is not Status.CLOSED else before[1][0]
    for decide in (
        lambda: life.desk.close(incident, by="a", reason=CloseReason.BENIGN, tell=full),
        lambda: life.desk.acknowledge(incident, by="a", tell=full),
        lambda: life.desk.comment(incident, by="a", text="x", tell=full),
        lambda: life.desk.suppress(
            rule="r", entity=None, owner="a", reason="b", expires_at=2**62, tell=full
        ),
    ):
        with pytest.raises(OSError, match="disk full"):
            decide()
    assert seen(life.desk) == before
    assert len(life.desk.muted()) <= 1


def test_an_application_decides_nothing(life: Life) -> None:
    (other,) = [i for i in life.desk.incidents() if i.status is not Status.CLOSED]
    made = Decided(
        id="dec-x", at=NOW, by="eve", what=Closed(incident=other.id, reason=CloseReason.BENIGN)
    )
    event = msgspec.structs.replace(event_of(made), observed=NOW, layer="app", source="shop")
    for claim in ({}, {"layer": "self"}, {"source": "tocsin"}):
        life.arrive(msgspec.structs.replace(event, **claim))
    assert life.desk.show(other.id)[0].status is Status.OPEN


def test_what_detection_lost_is_counted_and_kept(desk: Desk) -> None:
    memory, cursors = Memory(), {"detect": 0}
    one = detection(desk, memory, cursors=cursors)
    assert not one.losses
    one.follow(entries(60, 1))
    one.follow(Entries(61, entries(0, 3).frame))  # a minute late
    assert one.losses == Losses(late=3)
    one.save()
    again = detection(desk, memory, cursors=cursors, end=64)
    assert again.losses == Losses(late=3)
    assert not again.losses.since(one.losses)


def test_rows_of_a_past_are_not_judged_by_the_clock_of_now(desk: Desk) -> None:
    absent = compile_rules([RuleFile("few.yml", RULE.replace("gte: COUNT", "lt: 3"))])
    one = detection(desk, Memory(), engine=Engine(absent))
    # Three in one window, which a restart reads in two parts, long after it was over.
    past = [msgspec.structs.replace(failure(n, "192.0.2.7"), time=NOW - 7200 * SECOND + n * SECOND,
            observed=NOW - 7200 * SECOND + n * SECOND) for n in range(3)]  # fmt: skip
    one.follow(Entries(0, from_events(past[:1])))
    one.follow(Entries(1, from_events(past[1:])))
    assert not one.losses
    one.tick()
    assert desk.incidents() == []
