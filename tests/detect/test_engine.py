"""The engine: same findings however entries come, and none twice after a crash."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tocsin.detect import Engine, Limits, RuleFile, compile_rules
from tocsin.detect.engine import duration
from tocsin.errors import Damaged
from tocsin.event import Entity, Event, Finding, Kind
from tocsin.event.batch import Entries, from_events

S = 1_000_000_000
BEGIN = 1_767_866_400 * S

RULES = """
title: Failed login
name: failed
logsource: {category: authn_login_fail}
detection: {any: {kind: authn_login_fail}, condition: any}
---
title: Refused
name: refused
logsource: {category: request}
detection: {any: {status: 401}, condition: any}
---
title: Brute force
name: brute
level: high
tags: [attack.t1110.001, owasp.api2-2023]
correlation:
  type: event_count
  rules: [failed, refused]
  group-by: [client_ip]
  timespan: 10s
  condition: {gte: 3}
reason: "{count} from {entity}"
---
title: Spray
name: spray
correlation:
  type: value_count
  rules: [failed]
  group-by: [client_ip]
  timespan: 10s
  condition: {field: user, gte: 3}
reason: "{count} accounts: {values}"
---
title: Few
name: few
correlation:
  type: event_count
  rules: [refused]
  group-by: [client_ip]
  timespan: 5s
  condition: {lte: 1}
---
title: Secret file
name: file
level: low
logsource: {category: request}
detection: {file: {path: /.env}, condition: file}
suppress: {for: 20s}
reason: "{entity} asked for {path} with {user_agent}"
"""


def engine(text: str = RULES, **limits: int) -> Engine:
    rules = compile_rules([RuleFile("test.yml", text)])
    assert rules.problems == ()
    made = Engine(rules, limits=Limits(**limits) if limits else None)
    assert made.problems == ()
    return made


def event(at: float, **columns: Any) -> Event:
    time = BEGIN + round(at * S)
    usual: dict[str, Any] = {"time": time, "observed": time, "source": "gw"}
    return Event(**(usual | columns))


def entries(events: list[Event], first: int = 0) -> Entries:
    return Entries(first, from_events(events))


def play(
    made: Engine, events: list[Event], size: int = 10_000, restart: tuple[int, ...] = ()
) -> dict[str, Finding]:
    """The last word on each finding; state is dumped and loaded before batches *restart*."""
    state = made.start(b"key")
    told: dict[str, Finding] = {}
    for number, start in enumerate(range(0, len(events), size)):
        if number in restart:
            state = made.load(made.dump(state))
        state, found = made.step(state, entries(events[start : start + size], start))
        told |= {f.id: f for f in found}
    _, found = made.flush(state)
    return told | {f.id: f for f in found}


ENGINE = engine()

addresses = st.sampled_from(["192.0.2.1", "192.0.2.2", None])
failed = st.builds(
    lambda at, ip, user: event(at, kind=Kind.AUTHN_LOGIN_FAIL, client_ip=ip, user=user),
    st.integers(0, 40),
    addresses,
    st.sampled_from(["ann", "bob", "cy", "dan"]),
)
requests = st.builds(
    lambda at, ip, status, path: event(
        at, kind=Kind.REQUEST, client_ip=ip, status=status, path=path, method="GET"
    ),
    st.integers(0, 40),
    addresses,
    st.sampled_from([200, 401]),
    st.sampled_from(["/", "/.env"]),
)
histories = st.lists(failed | requests, max_size=40)


@settings(max_examples=40)
@given(histories, st.integers(1, 9))
def test_findings_do_not_depend_on_how_entries_are_batched(events: list[Event], size: int) -> None:
    assert play(ENGINE, events, size) == play(ENGINE, events)


@settings(max_examples=40)
@given(histories, st.integers(1, 9), st.sets(st.integers(0, 10)))
def test_a_restart_anywhere_finds_the_same(
    events: list[Event], size: int, restart: set[int]
) -> None:
    assert play(ENGINE, events, size, tuple(restart)) == play(ENGINE, events)


@settings(max_examples=40)
@given(histories, st.integers(0, 40), st.integers(1, 9))
def test_a_crash_between_telling_and_saving_repeats_findings_and_adds_none(
    events: list[Event], crash: int, size: int
) -> None:
    crash = min(crash, len(events))
    state = ENGINE.start(b"key")
    state, _ = ENGINE.step(state, entries(events[:crash]))
    saved = ENGINE.dump(state)
    # All of this is told, but the state is not saved before the crash.
    lost: dict[str, Finding] = {}
    for start in range(crash, len(events), size):
        state, found = ENGINE.step(state, entries(events[start : start + size], start))
        lost |= {f.id: f for f in found}
    # The replay begins before what was saved, and takes other batches than before the crash.
    state = ENGINE.load(saved)
    begin = crash // 2
    state, found = ENGINE.step(state, entries(events[begin:], begin))
    told = {f.id: f for f in found}
    told |= {f.id: f for f in ENGINE.flush(state)[1]}
    assert set(lost) <= set(told)
    wanted = play(ENGINE, events)
    assert {i: wanted[i] for i in told} == told


@pytest.mark.parametrize("number", range(5))
def test_a_step_that_fails_half_way_may_simply_be_repeated(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = [
        event(i, kind=Kind.AUTHN_LOGIN_FAIL, client_ip="192.0.2.1", user=f"u{i}") for i in range(9)
    ]
    events += [
        event(9, kind=Kind.REQUEST, client_ip="192.0.2.1", status=401, path="/.env", method="GET")
    ]
    state, _ = ENGINE.step(ENGINE.start(b"key"), entries(events[:4]))
    trackers = list(state.trackers.values())
    if number < len(trackers):
        window = trackers[number].window

        def fail(rows: Any) -> None:
            raise OSError("no more")

        with monkeypatch.context() as patched:
            patched.setattr(window, "feed", fail)
            with pytest.raises(OSError, match="no more"):
                ENGINE.step(state, entries(events[4:], 4))
    state, found = ENGINE.step(state, entries(events[4:], 4))
    told = {f.id: f for f in found} | {f.id: f for f in ENGINE.flush(state)[1]}
    wanted = play(ENGINE, events)
    assert {i: wanted[i] for i in told} == told
    assert len(wanted) == len({f.rule for f in wanted.values()}) == 4


def test_a_finding_names_rule_entity_reason_evidence_and_taxonomy() -> None:
    events = [
        event(i, kind=Kind.AUTHN_LOGIN_FAIL, client_ip="192.0.2.1", user=f"u{i}") for i in range(4)
    ]
    told = {f.rule: f for f in play(ENGINE, events).values()}
    brute, spray = told["brute"], told["spray"]
    assert brute.entity == Entity(type="client_ip", value="192.0.2.1")
    assert (brute.count, brute.evidence) == (4, (0, 1, 2, 3))
    assert (brute.first_seen, brute.last_seen) == (BEGIN, BEGIN + 3 * S)
    assert brute.reason == "4 from 192.0.2.1"
    assert (brute.owasp, brute.attack) == (("API2:2023",), ("T1110.001",))
    assert brute.risk == 60
    assert spray.reason == "4 accounts: u0, u1, u2, u3"
    assert Entity(type="user", value="u0") in spray.related


def test_the_first_finding_comes_with_the_event_that_crosses() -> None:
    state = ENGINE.start(b"key")
    for i in range(3):
        state, found = ENGINE.step(
            state,
            entries([event(i, kind=Kind.AUTHN_LOGIN_FAIL, client_ip="192.0.2.1", user="a")], i),
        )
        assert [f.rule for f in found] == (["brute"] if i == 2 else [])


def test_what_an_attacker_wrote_is_escaped_and_cut_in_a_reason() -> None:
    agent = "evil\r\n2026 CRITICAL all is well\x1b[2J\u202e{count}" + "x" * 1000
    found = play(
        ENGINE,
        [event(0, kind=Kind.REQUEST, path="/.env", client_ip="192.0.2.1", user_agent=agent)],
    )
    (finding,) = (f for f in found.values() if f.rule == "file")
    assert "\r" not in finding.reason
    assert "\x1b" not in finding.reason
    assert "\u202e" not in finding.reason
    assert "\\r\\n2026" in finding.reason
    assert "{count}" in finding.reason
    assert len(finding.reason) < 700


def test_a_plain_rule_is_told_once_until_it_was_quiet_for_as_long_as_it_says() -> None:
    asked = [
        event(at, kind=Kind.REQUEST, path="/.env", client_ip="192.0.2.1") for at in (0, 15, 30, 60)
    ]
    assert sorted(f.count for f in play(ENGINE, asked).values() if f.rule == "file") == [1, 3]


def test_a_rule_that_only_serves_a_correlation_is_silent() -> None:
    found = play(ENGINE, [event(0, kind=Kind.AUTHN_LOGIN_FAIL, client_ip="192.0.2.1", user="a")])
    assert {f.rule for f in found.values()} == set()


def test_an_event_without_a_key_is_counted_and_not_matched() -> None:
    state = ENGINE.start(b"key")
    events = [event(i, kind=Kind.AUTHN_LOGIN_FAIL, user="a") for i in range(9)]
    state, found = ENGINE.step(state, entries(events))
    assert found == []
    assert ENGINE.counters(state).no_key == {"brute": 9, "spray": 9}


def test_a_forged_time_in_the_future_does_not_make_others_late() -> None:
    forged = event(10**8, kind=Kind.REQUEST, client_ip="192.0.2.9", status=401)
    forged = Event(time=forged.time, observed=BEGIN, kind=Kind.REQUEST, source="gw", status=401)
    events = [
        forged,
        *(event(i, kind=Kind.AUTHN_LOGIN_FAIL, client_ip="192.0.2.1", user="a") for i in range(3)),
    ]
    state = ENGINE.start(b"key")
    state, found = ENGINE.step(state, entries(events))
    assert [f.rule for f in found] == ["brute"]
    assert ENGINE.counters(state).late == {}


def test_events_later_than_allowed_are_counted_by_source_however_batched() -> None:
    times = [0, 20, 14, 15, 16, 40, 34.9]
    events = [event(t, kind=Kind.LOG) for t in times]
    for size in (1, 3, 100):
        state = ENGINE.start(b"key")
        for start in range(0, len(events), size):
            state, _ = ENGINE.step(state, entries(events[start : start + size], start))
        assert ENGINE.counters(state).late == {"gw": 2}


def test_a_window_that_must_close_is_decided_when_the_watermark_passes_it() -> None:
    one = event(0, kind=Kind.REQUEST, client_ip="192.0.2.1", status=401)
    state = ENGINE.start(b"key")
    state, found = ENGINE.step(state, entries([one]))
    assert found == []
    state, found = ENGINE.step(state, entries([event(10, kind=Kind.LOG)], 1))
    assert found == []
    state, found = ENGINE.step(state, entries([event(10.1, kind=Kind.LOG)], 2))
    assert [f.rule for f in found] == ["few"]


def test_a_silent_source_does_not_keep_windows_open() -> None:
    state = ENGINE.start(b"key")
    one = event(0, kind=Kind.REQUEST, client_ip="192.0.2.1", status=401)
    state, found = ENGINE.step(state, entries([one]))
    nothing = Entries(1, from_events([one]).clear())
    state, found = ENGINE.step(state, nothing, now=BEGIN + 30 * S)
    assert found == []
    state, found = ENGINE.step(state, nothing, now=BEGIN + 60 * S)
    assert [f.rule for f in found] == ["few"]


def test_an_edited_rule_loses_only_its_own_state() -> None:
    events = [
        event(i, kind=Kind.AUTHN_LOGIN_FAIL, client_ip="192.0.2.1", user=f"u{i}") for i in range(2)
    ]
    state, _ = ENGINE.step(ENGINE.start(b"key"), entries(events))
    edited = engine(
        RULES.replace("title: Spray", "title: Password spray").replace(
            'gte: 3}\nreason: "{count} from', 'gte: 2}\nreason: "{count} from'
        )
    )
    state = edited.load(ENGINE.dump(state))
    third = [event(2, kind=Kind.AUTHN_LOGIN_FAIL, client_ip="192.0.2.1", user="u2")]
    state, found = edited.step(state, entries(third, 2))
    # The spray rule still knows the first two; brute force begins anew.
    assert [(f.rule, f.title) for f in found] == [("spray", "Password spray")]
    # Fed the history again, only the new rule takes it.
    fresh = edited.load(ENGINE.dump(ENGINE.step(ENGINE.start(b"key"), entries(events))[0]))
    fresh, found = edited.step(fresh, entries(events + third))
    assert sorted((f.rule, f.count) for f in found) == [("brute", 3), ("spray", 3)]


def test_state_that_cannot_be_read_is_refused_by_name() -> None:
    good = ENGINE.dump(ENGINE.start(b"key"))
    for bad in (b"", b"x" + good, good[:-3], good[: len(good) // 2]):
        with pytest.raises(Damaged, match="detection state"):
            ENGINE.load(bad)


def test_an_attribute_can_be_grouped_by_and_counted() -> None:
    text = """
title: Call
name: call
logsource: {product: okta}
detection: {any: {eventType: user.session.start}, condition: any}
---
title: Many
name: many
correlation:
  type: value_count
  rules: [call]
  group-by: [actor.id]
  timespan: 1m
  condition: {field: target, gte: 3}
"""
    made = engine(text)
    events = [
        event(
            i,
            source="okta",
            attributes={
                "eventType": "user.session.start",
                "actor": {"id": "a\0b\\"},
                "target": [f"t{i}"],
            },
        )
        for i in range(3)
    ]
    (finding,) = play(made, events).values()
    assert finding.entity == Entity(type="actor.id", value="a\0b\\")
    assert finding.count == 3


def test_keys_of_several_fields_cannot_be_forged_from_one() -> None:
    text = RULES.replace("group-by: [client_ip]", "group-by: [client_ip, user]")
    made = engine(text)
    pairs = [("a\0b", "c"), ("a", "b\0c"), ("a\\0b", "c")]
    events = [
        event(i, kind=Kind.AUTHN_LOGIN_FAIL, client_ip=ip, user=user)
        for i, (ip, user) in enumerate(pairs)
    ]
    assert [f for f in play(made, events).values() if f.rule == "brute"] == []


def test_a_correlation_that_refers_to_nothing_is_a_problem_and_the_others_run() -> None:
    text = RULES.replace("rules: [failed, refused]", "rules: [failed, nobody]")
    rules = compile_rules([RuleFile("test.yml", text)])
    made = Engine(rules)
    assert "nobody" in " ".join(str(p) for p in (*rules.problems, *made.problems))
    asked = [event(0, kind=Kind.REQUEST, path="/.env", client_ip="192.0.2.1")]
    assert [f.rule for f in play(made, asked).values()] == ["file"]


@pytest.mark.parametrize("wrong", ["gte: 1000000000000", "gte: -1"])
def test_a_count_that_no_memory_holds_is_a_problem_and_the_others_run(wrong: str) -> None:
    text = RULES.replace('gte: 3}\nreason: "{count} from', wrong + '}\nreason: "{count} from')
    rules = compile_rules([RuleFile("test.yml", text)])
    made = Engine(rules)
    assert any(wrong.split()[1] in str(p) for p in (*rules.problems, *made.problems))
    asked = [event(0, kind=Kind.REQUEST, path="/.env", client_ip="192.0.2.1")]
    assert [f.rule for f in play(made, asked).values()] == ["file"]


def test_endless_values_and_keys_are_cut_yet_stay_apart() -> None:
    ips = ["x" * 5_000 + str(i) for i in range(2)]
    events = [
        event(i, kind=Kind.AUTHN_LOGIN_FAIL, client_ip=ips[i % 2], user="u" * 9_000 + str(i))
        for i in range(6)
    ]
    found = play(ENGINE, events)
    assert len({f.entity.value for f in found.values()}) == 2
    assert all(len(f.entity.value) < 200 and len(f.reason) < 700 for f in found.values())
    assert sorted(f.count for f in found.values() if f.rule == "spray") == [3, 3]


def test_an_empty_step_says_nothing() -> None:
    _, found = ENGINE.step(
        ENGINE.start(b"key"), Entries(0, pl.DataFrame(schema=from_events([event(0)]).schema))
    )
    assert found == []


@pytest.mark.parametrize(
    ("text", "ns"), [("5m", 300 * S), ("-1.5s", -3 * S // 2), ("2d", 172_800 * S)]
)
def test_a_length_of_time_reads_as_people_write_it(text: str, ns: int) -> None:
    assert duration(text) == ns


@pytest.mark.parametrize("text", ["", "5", "m", "5 minutes", "1e999s"])
def test_what_is_no_length_of_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no length of time"):
        duration(text)
