"""Findings that belong together become one incident, however they arrive."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tocsin.alerts import group
from tocsin.event import Entity, Finding, Incident, Severity

SECOND = 10**9
Make = Callable[..., Finding]


def grouped(*findings: Finding) -> list[Incident]:
    return group(findings, now=0, gap_ns=600 * SECOND)


def test_one_entity_and_one_kind_of_abuse_is_one_incident(finding: Make) -> None:
    later = finding(
        id="f2", rule="spray", severity=Severity.CRITICAL, last_seen=300 * SECOND, count=5
    )
    (incident,) = grouped(finding(), later)
    assert incident.rule == "spray"
    assert incident.severity is Severity.CRITICAL
    assert incident.count == 20  # both rules may have counted the same events
    assert incident.counts == {"brute-force": 20, "spray": 5}
    assert incident.findings == ("f1", "f2")
    assert (incident.first_seen, incident.last_seen) == (100 * SECOND, 300 * SECOND)


def test_counts_of_one_rule_add_up(finding: Make) -> None:
    (incident,) = grouped(finding(), finding(id="f2", count=7))
    assert incident.count == 27


def test_an_incident_counts_at_least_the_events_that_it_names(finding: Make) -> None:
    """What each rule alone counts may be less: they look at different events."""
    others = finding(id="f2", rule="spray", count=3, evidence=(40, 41, 42))
    (incident,) = grouped(finding(count=3, evidence=(1, 2, 3)), others)
    assert (incident.count, len(incident.evidence)) == (6, 6)


def test_an_incident_counts_events_where_a_finding_counts_values(finding: Make) -> None:
    (incident,) = grouped(finding(count=4, events=60, evidence=(1, 2)))
    assert incident.count == 60


def test_another_kind_of_abuse_is_another_incident(finding: Make) -> None:
    assert len(grouped(finding(), finding(id="f2", owasp=("API8:2023",)))) == 2


def test_another_entity_is_another_incident(finding: Make) -> None:
    assert len(grouped(finding(), finding(id="f2", entity=Entity("user", "eve")))) == 2


def test_after_a_quiet_time_it_is_another_incident(finding: Make) -> None:
    at = 160 * SECOND + 600 * SECOND
    assert len(grouped(finding(), finding(id="f2", first_seen=at, last_seen=at))) == 1
    assert len(grouped(finding(), finding(id="f2", first_seen=at + 1, last_seen=at + 1))) == 2


def test_a_finding_that_grew_replaces_its_younger_self(finding: Make) -> None:
    (incident,) = grouped(finding(), finding(count=50, last_seen=200 * SECOND))
    assert incident.count == 50
    assert incident.findings == ("f1",)


def test_risk_adds_up_and_never_passes_100(finding: Make) -> None:
    (incident,) = grouped(*(finding(id=f"f{n}", risk=90) for n in range(9)))
    assert 90 < incident.risk <= 100


def test_evidence_is_bounded_and_keeps_both_ends(finding: Make) -> None:
    (incident,) = grouped(
        *(finding(id=f"f{n}", evidence=tuple(range(n * 100, n * 100 + 60))) for n in range(20))
    )
    assert len(incident.evidence) <= 200
    assert incident.evidence[0] == 0
    assert incident.evidence[-1] == 1959


def test_the_worst_comes_first(finding: Make) -> None:
    mild = finding(id="f1", severity=Severity.LOW, entity=Entity("user", "a"))
    bad = finding(id="f2", severity=Severity.CRITICAL, entity=Entity("user", "b"))
    assert [i.severity for i in grouped(mild, bad)] == [Severity.CRITICAL, Severity.LOW]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.permutations(range(8)))
def test_the_order_of_arrival_does_not_matter(finding: Make, order: list[int]) -> None:
    made = [
        finding(id=f"f{n}", first_seen=n * 200 * SECOND, last_seen=n * 200 * SECOND, count=n + 1)
        for n in range(8)
    ]
    expected = grouped(*made)
    assert grouped(*(made[n] for n in order)) == expected
    assert msgspec.json.encode(expected)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    order=st.permutations(range(5)),
    severities=st.lists(st.sampled_from([*Severity]), min_size=5, max_size=5),
    risks=st.lists(st.sampled_from([10, 60]), min_size=5, max_size=5),
    ids=st.permutations("vwxyz"),
    shift=st.integers(0, 1000),
)
def test_the_leader_is_the_worst_then_the_riskiest_then_the_first(
    finding: Make,
    order: list[int],
    severities: list[Severity],
    risks: list[int],
    ids: list[str],
    shift: int,
) -> None:
    made = [
        finding(
            id=ids[n], rule=f"r{n}", title=f"t{n}", severity=severities[n], risk=risks[n],
            evidence=(shift + n,),
        )
        for n in range(5)
    ]  # fmt: skip
    best = min(range(5), key=lambda n: (-severities[n].rank, -risks[n], n))
    (incident,) = grouped(*(made[n] for n in order))
    assert (incident.rule, incident.title, incident.lead) == (f"r{best}", f"t{best}", ids[best])
    assert incident.severity is severities[best]
