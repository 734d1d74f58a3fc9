"""How times and incidents look to people."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from tocsin.cli.out import say
from tocsin.event import Entity, Finding, Incident

__all__ = ["ago", "incident_text", "moment", "new_vault"]

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
        ("events", f"{incident.count}"),
        ("rule", f"{incident.title} ({incident.rule})"),
        ("owasp", ", ".join(incident.owasp)),
        ("attack", ", ".join(incident.attack)),
        ("also", ", ".join(_named(entity) for entity in incident.related[:8])),
    ]
    lines = [f"{incident.severity.upper()}  {incident.title}  ({incident.id})"]
    lines += [f"  {name:<8} {text}" for name, text in facts if text]
    for finding in findings or ():
        lines.append(f"  finding  {finding.title}: {finding.reason}")
    lines += [f"  {'evidence' if n == 0 else '':<8} {text}" for n, text in enumerate(evidence)]
    lines += [
        f"  {'runbook' if n == 0 else '':<8} {text}" for n, text in enumerate(runbook.splitlines())
    ]
    return lines


def new_vault(first_epoch_key: bytes) -> None:
    """Show the auditor's key, which is never shown again."""
    say(
        "this is a new vault; for the auditor, and kept nowhere else, its first epoch key:",
        f"  {first_epoch_key.hex()}",
        "keep it on another machine: with `tocsin verify --epoch-key FILE` it proves more (T2)",
    )


def _named(entity: Entity) -> str:
    return f"{entity.type} {entity.value}"
