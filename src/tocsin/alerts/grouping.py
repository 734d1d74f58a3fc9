"""Findings that belong together become one incident.  Pure: same findings, same incidents.

Together belongs what one entity did of one kind (the first OWASP category of the rule, else the
rule itself), with no longer pause than the gap.  Different kinds of abuse by one entity stay apart,
since they ask for different answers; ``related`` and the entity lead from one to the other.

One finding *leads*: it gives the incident its rule, title and reason.  Which one follows from the
findings alone, never from the order in which they came.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from typing import TypeVar

import msgspec

from tocsin.event import Entity, Finding, Incident, Status

T = TypeVar("T")

__all__ = ["GAP_NS", "absorb", "belongs", "group", "kind_of", "leads", "open_incident"]

#: Quiet time, event time, after which a finding opens a new incident.
GAP_NS = 3600 * 10**9

#: Most evidence, related entities and findings that an incident names; counts are never cut.
EVIDENCE, RELATED, FINDINGS = 200, 50, 500


def kind_of(finding: Finding) -> str:
    """What kind of abuse it is: the key, beside the entity, under which findings are grouped."""
    return finding.owasp[0] if finding.owasp else finding.rule


def open_incident(finding: Finding, now: int) -> Incident:
    """A new incident with *finding* in it.  Its id follows from the finding's, so that a replay
    after a crash opens the same one."""
    return Incident(
        id="inc-" + sha256(finding.id.encode()).hexdigest()[:12],
        rule=finding.rule,
        title=finding.title,
        severity=finding.severity,
        status=Status.OPEN,
        entity=finding.entity,
        related=finding.related[:RELATED],
        first_seen=finding.first_seen,
        last_seen=finding.last_seen,
        opened_at=now,
        count=max(_events(finding), len(finding.evidence)),
        reason=finding.reason,
        owasp=finding.owasp,
        attack=finding.attack,
        evidence=_sample(finding.evidence),
        risk=finding.risk,
        findings=(finding.id,),
        lead=finding.id,
        counts={finding.rule: _events(finding)},
    )


def _events(finding: Finding) -> int:
    """How many events are behind it, also where it counts distinct values."""
    return finding.events or finding.count


def leads(finding: Finding, other: Finding) -> bool:
    """Whether *finding* says better than *other* what an incident of both is about.

    The more severe does, then the riskier, then the one whose evidence begins first.
    """
    return _standing(finding) < _standing(other)


def _coming(finding: Finding) -> tuple[int, tuple[int, ...], str, str, str]:
    """In which order findings are put together."""
    return finding.first_seen, finding.evidence[:1], finding.title, finding.rule, finding.id


def _standing(finding: Finding) -> tuple[int, int, int, str, str, str]:
    first = finding.evidence[0] if finding.evidence else 0
    severity = -finding.severity.rank
    return severity, -finding.risk, first, finding.title, finding.rule, finding.id


def belongs(incident: Incident, finding: Finding, gap_ns: int = GAP_NS) -> bool:
    """Whether *finding* is near enough in event time; entity and kind are the caller's to match."""
    return (
        finding.first_seen <= incident.last_seen + gap_ns
        and finding.last_seen >= incident.first_seen - gap_ns
    )


def absorb(
    incident: Incident, finding: Finding, leader: Finding | None, before: Finding | None = None
) -> Incident:
    """*incident* with *finding* in it.

    *leader* is the finding that led until now, None if it is not known any more; *before* the same
    finding as it stood until now.
    """
    first = leader is None or finding.id == leader.id or leads(finding, leader)
    # Two rules may have seen the same events: counts add up within a rule only.
    added = _events(finding) - (_events(before) if before else 0)
    counts = incident.counts | {finding.rule: incident.counts.get(finding.rule, 0) + added}
    evidence = tuple(sorted({*incident.evidence, *finding.evidence}))
    risk = incident.risk if before else _either(incident.risk, finding.risk)
    return msgspec.structs.replace(
        incident,
        rule=finding.rule if first else incident.rule,
        title=finding.title if first else incident.title,
        severity=max(incident.severity, finding.severity, key=lambda s: s.rank),
        related=_union(incident.related, finding.related)[:RELATED],
        first_seen=min(incident.first_seen, finding.first_seen),
        last_seen=max(incident.last_seen, finding.last_seen),
        count=max(incident.count, len(evidence), *counts.values()),
        counts=counts,
        reason=finding.reason if first else incident.reason,
        owasp=_union(incident.owasp, finding.owasp),
        attack=_union(incident.attack, finding.attack),
        evidence=_sample(evidence),
        risk=max(risk, finding.risk),
        findings=_union(incident.findings, (finding.id,))[:FINDINGS],
        lead=finding.id if first else incident.lead,
    )


def group(findings: Iterable[Finding], *, now: int, gap_ns: int = GAP_NS) -> list[Incident]:
    """All incidents of *findings*, the worst first.  The Desk does the same, durably."""
    last: dict[str, Finding] = {}
    for finding in findings:  # a finding that grew came again: the later one replaces the earlier
        last[finding.id] = finding
    open_now: dict[tuple[Entity, str], Incident] = {}
    done: list[Incident] = []
    for finding in sorted(last.values(), key=_coming):
        key = (finding.entity, kind_of(finding))
        incident = open_now.get(key)
        if incident is not None and belongs(incident, finding, gap_ns):
            open_now[key] = absorb(incident, finding, last[incident.lead])
            continue
        if incident is not None:
            done.append(incident)
        open_now[key] = open_incident(finding, now)
    done.extend(open_now.values())
    return sorted(done, key=lambda i: (-i.severity.rank, -i.risk, i.first_seen, i.id))


def _either(a: int, b: int) -> int:
    """Two risks of 0-100 together, as independent chances: never above 100."""
    return round(100 - (100 - a) * (100 - b) / 100)


def _union(old: tuple[T, ...], new: tuple[T, ...]) -> tuple[T, ...]:
    return tuple(dict.fromkeys((*old, *new)))


def _sample(seqs: tuple[int, ...]) -> tuple[int, ...]:
    """The first and the last, when there are too many to name."""
    half = EVIDENCE // 2
    return seqs if len(seqs) <= EVIDENCE else (*seqs[:half], *seqs[-half:])
