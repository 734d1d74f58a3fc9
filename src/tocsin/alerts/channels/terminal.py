"""Incidents on the terminal, one line each, for whoever is watching."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from tocsin.event import Incident
from tocsin.event.escape import visible

__all__ = ["Terminal", "line"]


def line(change: str, incident: Incident) -> str:
    """One line, safe to print: whatever an attacker put into a name is shown escaped."""
    at = datetime.fromtimestamp(incident.last_seen // 10**9, UTC).strftime("%H:%M:%SZ")
    head = f"{at}  {incident.severity.upper():<13} {change:<10} {incident.id}"
    entity = f"{incident.entity.type}={incident.entity.value}"
    return visible(f"{head}  {incident.title}  [{entity}]  {incident.reason}")


class Terminal:
    """A channel that hands each line to *write*."""

    name = "terminal"

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write

    def send(self, change: str, incident: Incident, *, delivery: str) -> None:  # noqa: ARG002  the protocol's name
        """Print it."""
        self._write(line(change, incident))
