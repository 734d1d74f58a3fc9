"""The desk: findings come in, incidents stand on it, people decide about them.  Durable.

Each ``take`` is one catalog transaction: findings, incidents and the notifications owed change
together or not at all, and nobody else writes between its reading and its writing.  A crash before
the commit leaves nothing, and the follower brings the findings again; a crash after it finds the
same ids on the desk and adds nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from uuid import uuid4

import msgspec
import sqlalchemy as sa

from tocsin.alerts.grouping import GAP_NS, absorb, belongs, kind_of, open_incident
from tocsin.alerts.records import Records, Suppression
from tocsin.catalog import suppressions, writing
from tocsin.catalog.box import Box
from tocsin.errors import UsageError
from tocsin.event import CloseReason, Entity, Finding, Incident, Note, Severity, Status

__all__ = ["Change", "ChangeKind", "Desk", "Subscription", "Suppression"]


class ChangeKind(StrEnum):
    """What became of an incident."""

    OPENED = "opened"
    ESCALATED = "escalated"  #: it became more severe
    GREW = "grew"
    REOPENED = "reopened"
    ACKNOWLEDGED = "acknowledged"
    COMMENTED = "commented"
    CLOSED = "closed"


#: Changes that people are told of.
TOLD = frozenset({ChangeKind.OPENED, ChangeKind.ESCALATED, ChangeKind.REOPENED})


class Change(msgspec.Struct, frozen=True):
    """An incident as it now stands, and what happened to it."""

    kind: ChangeKind
    incident: Incident


class Subscription(msgspec.Struct, frozen=True):
    """A channel that wants to be told, from some severity on."""

    channel: str
    min_severity: Severity


class Desk:
    """Incidents in the catalog.  Safe to use from several threads and processes."""

    def __init__(
        self,
        engine: sa.Engine,
        box: Box,
        *,
        gap_ns: int = GAP_NS,
        subscriptions: Sequence[Subscription] = (),
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._engine = engine
        self._records = Records(box)
        self._gap_ns = gap_ns
        self._subscriptions = tuple(subscriptions)
        self._clock = clock

    def take(self, findings: Iterable[Finding]) -> list[Change]:
        """Put *findings* on the desk; return what changed, one entry an incident."""
        arrived = list(findings)
        if not arrived:
            return []
        now = self._clock()
        changes: dict[str, Change] = {}
        with writing(self._engine) as tx:
            muting = self._records.suppressions(tx, now)
            for finding in arrived:
                change = self._place(tx, finding, muting, now)
                if change is not None:
                    changes[change.incident.id] = _stronger(changes.get(change.incident.id), change)
            self._owe(tx, changes.values(), now)
        return list(changes.values())

    def _place(
        self, tx: sa.Connection, finding: Finding, muting: list[Suppression], now: int
    ) -> Change | None:
        known = self._records.finding(tx, finding.id)
        if known is not None:
            home, before = known
            if before == finding:
                return None  # a repeat after a crash
            incident = self._records.load(tx, home)
            if incident is not None:
                self._records.keep(tx, finding, home)
                return self._grow(tx, incident, finding, before, now)
            # It began while muted.  Whether it still is, is asked each time that it grows.
        muted_by = next((s for s in muting if _mutes(s, finding)), None)
        if muted_by is not None:
            self._records.keep(tx, finding, "")
            tx.execute(
                suppressions.update()
                .where(suppressions.c.id == muted_by.id)
                .values(hits=suppressions.c.hits + 1)
            )
            return None
        incident = self._home(tx, finding)
        if incident is None:
            incident = open_incident(finding, now)
            incident = _noted(incident, now, "tocsin", ChangeKind.OPENED, finding.reason)
            self._records.keep(tx, finding, incident.id)
            self._records.save(tx, incident)
            return Change(ChangeKind.OPENED, incident)
        self._records.keep(tx, finding, incident.id)
        return self._grow(tx, incident, finding, None, now)

    def _home(self, tx: sa.Connection, finding: Finding) -> Incident | None:
        """The incident, not closed, that *finding* belongs to."""
        kind = kind_of(finding)
        for incident in self._records.about(tx, finding.entity):
            same = kind in incident.owasp[:1] if finding.owasp else incident.rule == finding.rule
            if same and belongs(incident, finding, self._gap_ns):
                return incident
        return None

    def _grow(
        self,
        tx: sa.Connection,
        incident: Incident,
        finding: Finding,
        before: Finding | None,
        now: int,
    ) -> Change:
        grown = absorb(incident, finding, before)
        kind = ChangeKind.GREW
        if incident.status is Status.CLOSED and incident.close_reason is CloseReason.TRUE_POSITIVE:
            # It was real, and it goes on: the person who closed it would want to know.
            kind = ChangeKind.REOPENED
            grown = msgspec.structs.replace(grown, status=Status.OPEN, close_reason=None)
        elif grown.severity.rank > incident.severity.rank:
            kind = ChangeKind.ESCALATED
        if kind is not ChangeKind.GREW:
            grown = _noted(grown, now, "tocsin", kind, finding.reason)
        self._records.save(tx, grown)
        return Change(kind, grown)

    def _owe(self, tx: sa.Connection, changes: Iterable[Change], now: int) -> None:
        """Write down who must be told; the outbox delivers."""
        notices = [
            (subscription.channel, str(change.kind), change.incident)
            for change in changes
            if change.kind in TOLD
            for subscription in self._subscriptions
            if change.incident.severity.rank >= subscription.min_severity.rank
        ]
        self._records.owe(tx, notices, now)

    # What people see and decide.

    def incidents(
        self, *, status: Status | None = None, severity: Severity | None = None, limit: int = 0
    ) -> list[Incident]:
        """Incidents, the latest opened first; *severity* is the least shown; limit 0 means all."""
        with self._engine.connect() as tx:
            return self._records.incidents(tx, status, severity, limit)

    def show(self, incident_id: str) -> tuple[Incident, list[Finding]]:
        """One incident and its findings; a unique beginning of the id is enough."""
        with self._engine.connect() as tx:
            incident = self._records.find(tx, incident_id)
            return incident, self._records.findings_of(tx, incident.id)

    def acknowledge(self, incident_id: str, *, by: str, text: str = "") -> Incident:
        """Somebody takes it.  A closed incident must be reopened first."""

        def step(incident: Incident) -> Incident:
            if incident.status is Status.CLOSED:
                raise UsageError(
                    f"incident {incident.id}: it is closed ({incident.close_reason}); "
                    "new evidence opens it again"
                )
            return msgspec.structs.replace(incident, status=Status.ACKNOWLEDGED, owner=by)

        return self._decide(incident_id, step, by, ChangeKind.ACKNOWLEDGED, text)

    def close(self, incident_id: str, *, by: str, reason: CloseReason, text: str = "") -> Incident:
        """It is dealt with, for a reason that must be given."""

        def step(incident: Incident) -> Incident:
            if incident.status is Status.CLOSED:
                raise UsageError(
                    f"incident {incident.id}: it is closed already ({incident.close_reason})"
                )
            return msgspec.structs.replace(
                incident, status=Status.CLOSED, close_reason=reason, owner=incident.owner or by
            )

        words = f"{reason}: {text}" if text else str(reason)
        return self._decide(incident_id, step, by, ChangeKind.CLOSED, words)

    def comment(self, incident_id: str, *, by: str, text: str) -> Incident:
        """Write something down beside it."""
        return self._decide(incident_id, lambda i: i, by, ChangeKind.COMMENTED, text)

    def _decide(
        self,
        incident_id: str,
        step: Callable[[Incident], Incident],
        by: str,
        kind: ChangeKind,
        text: str,
    ) -> Incident:
        with writing(self._engine) as tx:
            incident = step(self._records.find(tx, incident_id))
            incident = _noted(incident, self._clock(), by, kind, text)
            self._records.save(tx, incident)
        return incident

    # What people do not want to be told.

    def suppress(
        self, *, rule: str | None, entity: Entity | None, owner: str, reason: str, expires_at: int
    ) -> Suppression:
        """Mute a rule, an entity, or a rule for an entity, until *expires_at* (wall clock, ns)."""
        now = self._clock()
        if rule is None and entity is None:
            raise UsageError(
                "suppression: name a rule, an entity or both; nothing mutes everything"
            )
        if not owner.strip() or not reason.strip():
            raise UsageError("suppression: say who answers for it and why")
        if expires_at <= now:
            raise UsageError("suppression: it must end in the future")
        made = Suppression(
            id="sup-" + uuid4().hex[:12],
            rule=rule,
            entity=entity,
            owner=owner,
            reason=reason,
            created_at=now,
            expires_at=expires_at,
            hits=0,
        )
        with writing(self._engine) as tx:
            self._records.suppress(tx, made)
        return made

    def muted(self) -> list[Suppression]:
        """Those in force."""
        with self._engine.connect() as tx:
            return self._records.suppressions(tx, self._clock())

    def lift(self, suppression_id: str) -> None:
        """End a suppression now."""
        with writing(self._engine) as tx:
            done = tx.execute(
                suppressions.update()
                .where(suppressions.c.id == suppression_id, ~suppressions.c.lifted)
                .values(lifted=True)
            )
        if done.rowcount == 0:
            raise UsageError(f"suppression {suppression_id}: there is none of that id in force")


def _stronger(old: Change | None, new: Change) -> Change:
    """One entry an incident: the telling kind wins, the latest incident stands."""
    if old is not None and old.kind in TOLD and new.kind not in TOLD:
        return Change(old.kind, new.incident)
    if old is not None and old.kind is ChangeKind.OPENED:
        return Change(old.kind, new.incident)
    return new


def _noted(incident: Incident, at: int, by: str, kind: ChangeKind, text: str) -> Incident:
    note = Note(at=at, by=by, action=str(kind), text=text)
    return msgspec.structs.replace(incident, notes=(*incident.notes, note))


def _mutes(suppression: Suppression, finding: Finding) -> bool:
    return (suppression.rule is None or suppression.rule == finding.rule) and (
        suppression.entity is None or suppression.entity == finding.entity
    )
