"""Detection keeps its place with its memory, and a restart anywhere repeats nothing."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from tocsin.alerts import Change, Desk
from tocsin.catalog import open_catalog
from tocsin.catalog.box import Box
from tocsin.detect import Engine, RuleFile, compile_rules
from tocsin.errors import Damaged
from tocsin.event import Event, Finding, Kind
from tocsin.event.batch import Entries, from_events
from tocsin.siem.detection import Detection

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


def detection(desk: Desk, memory: Memory, count: int = 5, pause: float = 3600) -> Detection:
    return Detection(engine(count), desk, memory, clock=lambda: NOW, pause_seconds=pause)


def test_findings_become_incidents_and_are_told(desk: Desk) -> None:
    told: list[Change] = []

    def hear(changes: Iterable[Change]) -> None:
        told.extend(changes)

    one = Detection(engine(), desk, Memory(), changed=hear, clock=lambda: NOW)
    one.follow(entries(0, 4))
    assert told == []
    one.follow(entries(4, 1))
    assert [change.incident.entity.value for change in told] == ["192.0.2.7"]
    assert one.cursor == 5


@pytest.mark.parametrize("cut", range(8))
def test_a_restart_anywhere_finds_the_same_once(desk: Desk, cut: int) -> None:
    memory = Memory()
    first = detection(desk, memory)
    first.follow(entries(0, cut))
    first.save()
    first.follow(entries(cut, 8 - cut))  # and then it is killed: this is forgotten
    again = detection(desk, memory)
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
    memory = Memory()
    first = detection(desk, memory, count=50)
    first.follow(entries(0, 6))
    first.save()
    edited = detection(desk, memory, count=5)
    before = edited.is_behind
    edited.follow(entries(0, 6))
    assert (before, edited.is_behind) == (True, False)
    assert len(desk.incidents()) == 1


def test_what_the_desk_could_not_take_is_owed_until_it_can(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_findings: Iterable[Finding]) -> list[Change]:
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
