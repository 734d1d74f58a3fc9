"""How times and incidents look to people."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from tocsin.cli.out import say
from tocsin.event import Entity, Finding, Incident

__all__ = ["FACT", "ago", "few", "incident_text", "moment", "new_vault"]

#: Where what is said of an incident begins on its line.
FACT = 11

_UNITS = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


def moment(ns: int) -> str:
    """``2026-11-23 10:00:00Z``."""
    return datetime.fromtimestamp(ns // 10**9, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def ago(ns: int | None) -> str:
    """``3m ago``; ``never`` for None."""
    if ns is None:
        return "never"
    seconds = max(0, (time.time_ns() - ns) // 10**9)
    unit, size = next((u for u in _UNITS if seconds >= u[1]), _UNITS[-1])
    return f"{seconds // size}{unit} ago"


def incident_text(
    incident: Incident,
    *,
    evidence: list[str],
    findings: list[Finding] | None = None,
    runbook: str = "",
) -> list[str]:
    """An incident in full, a value a line; foreign text in it is still to be escaped."""
    facts = [
        ("why", incident.reason),
        ("entity", _named(incident.entity)),
        ("when", f"{moment(incident.first_seen)} to {moment(incident.last_seen)}"),
        ("events", _counted(incident)),
        ("rule", f"{incident.title} ({incident.rule})"),
        ("owasp", ", ".join(incident.owasp)),
        ("attack", ", ".join(incident.attack)),
        ("also", ", ".join(few([_named(entity) for entity in incident.related], first=8, last=0))),
    ]
    lines = [f"{incident.severity.upper()}  {incident.title}  ({incident.id})"]
    lines += [f"  {name:<8} {text}" for name, text in facts if text]
    for finding in findings or ():
        lines.append(f"  finding  {finding.title}: {finding.reason}")
    lines += [f"  {'evidence' if n == 0 else '':<8} {text}" for n, text in enumerate(evidence)]
    lines += [
        f"  {'runbook' if n == 0 else '':<8} {text}" for n, text in enumerate(_paragraphs(runbook))
    ]
    return lines


def _counted(incident: Incident) -> str:
    """How many events there are; and that what ``why`` counts are those of one finding."""
    many = len(incident.findings)
    if many < 2:
        return str(incident.count)
    # Rules may have counted the same events: how many in all, only evidence that is whole can tell.
    from tocsin.detect.episodes import EVIDENCE

    sampled = any(count > 2 * EVIDENCE for count in incident.counts.values())
    least = "at least " if sampled and len(incident.counts) > 1 else ""
    return f"{least}{incident.count}, in {many} findings; why tells of the gravest"


def _paragraphs(text: str) -> list[str]:
    """*text* with its lines joined, but for those of lists and what is indented."""
    made: list[str] = []
    for line in text.splitlines():
        if made and made[-1] and line and line[0] not in " \t-*0123456789":
            made[-1] += f" {line}"
        else:
            made.append(line)
    return made


def few(places: list[str], count: int | None = None, *, first: int = 4, last: int = 2) -> list[str]:
    """The first and the last of *places*, and how many of *count* are not shown between them."""
    much = len(places) > first + last
    shown = [*places[:first], *places[len(places) - last :]] if much else places
    left = (len(places) if count is None else count) - len(shown)
    return [*shown[:first], f"... {left} more", *shown[first:]] if left > 0 else shown


def new_vault(first_epoch_key: bytes) -> None:
    """Show the auditor's key, which is never shown again."""
    say(
        "this is a new vault; its first epoch key, for the auditor and kept nowhere else:",
        f"  {first_epoch_key.hex()}",
        "keep it on another machine; `tocsin verify --epoch-key FILE` proves more with it",
    )


def _named(entity: Entity) -> str:
    return f"{entity.type} {entity.value}"
