"""What detection concludes, and what a person acts on."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from msgspec import Struct, to_builtins

from tocsin.event.times import rfc3339

__all__ = ["CloseReason", "Entity", "Finding", "Incident", "Note", "Severity", "Status", "shown"]


class Severity(StrEnum):
    """How bad a finding or an incident is.  Ordered by :attr:`rank`."""

    INFORMATIONAL = "informational"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0 for informational to 4 for critical."""
        return list(Severity).index(self)


class Entity(Struct, frozen=True, order=True, gc=False):
    """Whom a finding is about."""

    type: str  #: client_ip, user, session, api_key, route, object, service or source
    value: str


class Finding(Struct, frozen=True, kw_only=True, gc=False):
    """A rule's conclusion about one entity, with the seqs that show it.

    ``id`` is deterministic (rule, rule content, entity, first evidence), so that a replay after a
    crash repeats a finding instead of adding one.  The same id may come again with a higher
    ``count``, a later ``last_seen`` and more evidence: the later one replaces the earlier.
    """

    id: str
    rule: str  #: the rule's id
    title: str
    severity: Severity
    entity: Entity
    first_seen: int  #: event time, ns
    last_seen: int  #: event time, ns
    count: int  #: how many events or distinct values stand behind it
    reason: str  #: one sentence for a person, control characters escaped
    evidence: tuple[int, ...]  #: seqs, ascending, a bounded sample
    related: tuple[Entity, ...] = ()  #: further entities, a bounded sample
    owasp: tuple[str, ...] = ()  #: API2:2023 ...
    attack: tuple[str, ...] = ()  #: T1110.003 ...
    risk: int = 0  #: 0-100, what it adds to its entity
    author: str | None = None  #: of the rule, where its licence asks for it to be shown
    events: int = 0  #: behind it, where ``count`` is of distinct values; 0: ``count`` is of events


class Status(StrEnum):
    """Where an incident stands."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    CLOSED = "closed"


class CloseReason(StrEnum):
    """Why an incident was closed.  One is mandatory."""

    TRUE_POSITIVE = "true_positive"
    BENIGN = "benign"
    FALSE_POSITIVE = "false_positive"
    DUPLICATE = "duplicate"


class Note(Struct, frozen=True, kw_only=True, gc=False):
    """Something a person, or tocsin itself, did to an incident."""

    at: int  #: wall clock, ns
    by: str
    action: str  #: opened, grew, acknowledged, closed, reopened, commented, notified ...
    text: str = ""
    id: str = ""  #: of the decision that it notes; the same when that is done again from the record


class Incident(Struct, frozen=True, kw_only=True, gc=False):
    """Findings about one entity, close in time, that one person works on together."""

    id: str
    rule: str  #: the leading finding's
    title: str
    severity: Severity
    status: Status
    entity: Entity
    related: tuple[Entity, ...]
    first_seen: int  #: event time, ns
    last_seen: int  #: event time, ns
    opened_at: int  #: wall clock, ns
    count: int  #: events behind it: at least as many as one rule counts, and as are in evidence
    reason: str
    owasp: tuple[str, ...]
    attack: tuple[str, ...]
    evidence: tuple[int, ...]
    risk: int
    findings: tuple[str, ...]  #: ids of the findings inside
    lead: str = ""  #: id of the one that gives rule, title and reason
    counts: dict[str, int] = {}  #: events by rule; several rules may have counted the same event
    owner: str | None = None
    close_reason: CloseReason | None = None
    notes: tuple[Note, ...] = ()


def shown(incident: Incident) -> dict[str, Any]:
    """An incident as JSON shows it: times in RFC 3339, as events have them."""
    facts: dict[str, Any] = to_builtins(incident)
    for name in ("first_seen", "last_seen", "opened_at"):
        facts[name] = rfc3339(facts[name])
    facts["notes"] = [note | {"at": rfc3339(note["at"])} for note in facts["notes"]]
    return facts
