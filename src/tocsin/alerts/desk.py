"""The desk: findings come in, incidents stand on it, people decide about them.  Durable.

Each ``take`` is one catalog transaction: findings, incidents and the notifications owed change
together or not at all, and nobody else writes between its reading and its writing.  A crash before
the commit leaves nothing, and the follower brings the findings again; a crash after it finds the
same ids on the desk and adds nothing.

A decision is written down first, by whoever is given as *tell*, and done then; what *tell* raises
ends it, and nothing was changed.  :meth:`Desk.redo` does again what the record says was decided.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from uuid import uuid4

import msgspec
import sqlalchemy as sa

from tocsin.alerts.decisions import (
    Acknowledged,
    Closed,
    Commented,
    Decided,
    Lifted,
    OnIncident,
    Suppressed,
)
from tocsin.alerts.grouping import GAP_NS, absorb, belongs, kind_of, open_incident
from tocsin.alerts.records import Records, Suppression
from tocsin.catalog import suppressions, writing
from tocsin.catalog.box import Box
from tocsin.errors import UsageError
from tocsin.event import CloseReason, Entity, Finding, Incident, Note, Severity, Status
from tocsin.event.redact import redact

__all__ = ["TOLD", "Change", "ChangeKind", "Desk", "Subscription", "Suppression"]


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


#: Hears of a decision before it is done, and keeps it for good.
Tell = Callable[[Decided], None]


def _nobody(_made: Decided) -> None:
    """Nobody keeps a record."""


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

    def take(
        self,
        findings: Iterable[Finding],
        *,
        at: Callable[[Finding], int] | None = None,
        quiet: bool = False,
    ) -> list[Change]:
        """Put *findings* on the desk; return what changed, one entry an incident.

        *at* says when one was found, wall clock, where that is not now; with *quiet* nobody is told
        of it again.  Both are for what is found once more after the catalog was lost.
        """
        arrived = list(findings)
        if not arrived:
            return []
        now = self._clock()
        dated = [(finding, at(finding) if at else now) for finding in arrived]
        changes: dict[str, Change] = {}
        with writing(self._engine) as tx:
            muting = self._records.suppressions(tx, min(when for _, when in dated))
            for finding, when in dated:
                change = self._place(tx, finding, muting, when)
                if change is not None:
                    changes[change.incident.id] = _stronger(changes.get(change.incident.id), change)
            if not quiet:
                self._owe(tx, changes.values(), now)
        return list(changes.values())

    @property
    def forged(self) -> frozenset[str]:
        """Rows of the catalog that this vault did not write, as far as the desk met them."""
        return frozenset(self._records.forged)

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
        muted_by = next((s for s in muting if _mutes(s, finding, now)), None)
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
        led = self._records.finding(tx, incident.lead)
        grown = absorb(incident, finding, led[1] if led else None, before)
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

    def acknowledge(
        self, incident_id: str, *, by: str, text: str = "", tell: Tell = _nobody
    ) -> Incident:
        """Somebody takes it.  A closed incident must be reopened first."""
        return self._decide(Acknowledged(incident=incident_id, text=text), by, tell)

    def close(
        self,
        incident_id: str,
        *,
        by: str,
        reason: CloseReason,
        text: str = "",
        tell: Tell = _nobody,
    ) -> Incident:
        """It is dealt with, for a reason that must be given."""
        return self._decide(Closed(incident=incident_id, reason=reason, text=text), by, tell)

    def comment(self, incident_id: str, *, by: str, text: str, tell: Tell = _nobody) -> Incident:
        """Write something down beside it."""
        return self._decide(Commented(incident=incident_id, text=text), by, tell)

    def _decide(self, what: OnIncident, by: str, tell: Tell) -> Incident:
        """Refuse what makes no sense, have it written down, and do it."""
        with self._engine.connect() as tx:
            incident = self._records.find(tx, what.incident)
        if incident.status is Status.CLOSED and not isinstance(what, Commented):
            already = " already" if isinstance(what, Closed) else ""
            raise UsageError(
                f"incident {incident.id}: it is closed{already} ({incident.close_reason}); "
                "new evidence opens it again"
            )
        # As the record will keep it: else the catalog would hold what the record must not.
        text = redact(what.text)
        what = msgspec.structs.replace(
            what, incident=incident.id, finding=incident.findings[0], text=text
        )
        made = Decided(id=_id("dec-"), at=self._clock(), by=by, what=what)
        tell(made)
        # A crash here leaves a decision on the record that was not done: detection, which reads
        # the record, does it.  It may also be doing so by now.
        done = self._do(made, what)
        assert done is not None, "incidents are not taken away"
        return done

    def _do(self, made: Decided, what: OnIncident) -> Incident | None:
        """Do what was decided, once; None when there is no such incident."""
        with writing(self._engine) as tx:
            incident = self._records.load(tx, what.incident) or self._with(tx, what.finding)
            if incident is None or any(note.id == made.id for note in incident.notes):
                return incident
            kind, text = ChangeKind.COMMENTED, what.text
            if isinstance(what, Acknowledged):
                kind = ChangeKind.ACKNOWLEDGED
                status = Status.ACKNOWLEDGED
                incident = msgspec.structs.replace(incident, status=status, owner=made.by)
            elif isinstance(what, Closed):
                kind = ChangeKind.CLOSED
                text = f"{what.reason}: {what.text}" if what.text else str(what.reason)
                incident = msgspec.structs.replace(
                    incident,
                    status=Status.CLOSED,
                    close_reason=what.reason,
                    owner=incident.owner or made.by,
                )
            incident = _noted(incident, made.at, made.by, kind, text, made.id)
            self._records.save(tx, incident)
        return incident

    def _with(self, tx: sa.Connection, finding: str) -> Incident | None:
        """The incident that a finding is in."""
        known = self._records.finding(tx, finding)
        return self._records.load(tx, known[0]) if known else None

    def redo(self, made: Decided) -> bool:
        """Do what the record says was decided; False when it is about nothing that is here.

        Doing it twice does no harm.
        """
        match made.what:
            case Suppressed():
                with writing(self._engine) as tx:
                    self._records.suppress(tx, _suppression(made, made.what))
                return True
            case Lifted():
                return self._lift(made.what.suppression)
            case _:
                return self._do(made, made.what) is not None

    # What people do not want to be told.

    def suppress(
        self,
        *,
        rule: str | None,
        entity: Entity | None,
        owner: str,
        reason: str,
        expires_at: int,
        tell: Tell = _nobody,
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
        what = Suppressed(
            rule=rule,
            entity_type=entity.type if entity else None,
            entity=entity.value if entity else None,
            reason=redact(reason),
            expires_at=expires_at,
        )
        decided = Decided(id=_id("sup-"), at=now, by=owner, what=what)
        tell(decided)
        made = _suppression(decided, what)
        with writing(self._engine) as tx:
            self._records.suppress(tx, made)
        return made

    def muted(self) -> list[Suppression]:
        """Those in force."""
        with self._engine.connect() as tx:
            return self._records.suppressions(tx, self._clock())

    def lift(self, suppression_id: str, *, by: str = "", tell: Tell = _nobody) -> None:
        """End a suppression now."""
        if not any(made.id == suppression_id for made in self.muted()):
            raise UsageError(f"suppression {suppression_id}: there is none of that id in force")
        what = Lifted(suppression=suppression_id)
        tell(Decided(id=_id("dec-"), at=self._clock(), by=by, what=what))
        self._lift(suppression_id)

    def _lift(self, suppression_id: str) -> bool:
        with writing(self._engine) as tx:
            return self._records.lift(tx, suppression_id)


def _stronger(old: Change | None, new: Change) -> Change:
    """One entry an incident: the telling kind wins, the latest incident stands."""
    if old is not None and old.kind in TOLD and new.kind not in TOLD:
        return Change(old.kind, new.incident)
    if old is not None and old.kind is ChangeKind.OPENED:
        return Change(old.kind, new.incident)
    return new


def _noted(
    incident: Incident,
    at: int,
    by: str,
    kind: ChangeKind,
    text: str,
    note_id: str = "",
) -> Incident:
    note = Note(at=at, by=by, action=str(kind), text=text, id=note_id)
    return msgspec.structs.replace(incident, notes=(*incident.notes, note))


def _suppression(made: Decided, what: Suppressed) -> Suppression:
    about = what.entity_type is not None and what.entity is not None
    return Suppression(
        id=made.id,
        rule=what.rule,
        entity=Entity(what.entity_type or "", what.entity or "") if about else None,
        owner=made.by,
        reason=what.reason,
        created_at=made.at,
        expires_at=what.expires_at,
        hits=0,
    )


def _mutes(suppression: Suppression, finding: Finding, at: int) -> bool:
    return (
        suppression.created_at <= at < suppression.expires_at
        and (suppression.rule is None or suppression.rule == finding.rule)
        and (suppression.entity is None or suppression.entity == finding.entity)
    )


def _id(prefix: str) -> str:
    return prefix + uuid4().hex[:12]
