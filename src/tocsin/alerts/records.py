"""How incidents, findings and suppressions stand in the catalog: bodies sealed, people findable.

Entities, which are names and addresses, stand there as keyed tags.  Every function takes the
transaction it works in.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Generator, Iterable, Iterator
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from tocsin.catalog import findings as findings_table
from tocsin.catalog import incidents as incidents_table
from tocsin.catalog import outbox, suppressions
from tocsin.catalog.box import Box
from tocsin.errors import Damaged, UsageError
from tocsin.event import Entity, Finding, Incident, Severity, Status

log = logging.getLogger("tocsin.alerts")

__all__ = ["Owed", "Records", "Suppression"]


class Suppression(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody asked not to be told about.  Evidence and counts are kept all the same."""

    id: str
    rule: str | None  #: None: any rule
    entity: Entity | None  #: None: any entity
    owner: str
    reason: str
    created_at: int
    expires_at: int
    hits: int


class Owed(msgspec.Struct, frozen=True, kw_only=True):
    """A notification that waits for its channel."""

    id: int
    channel: str
    change: str
    attempts: int
    incident: Incident  #: as it was when the notification was owed

    @property
    def delivery(self) -> str:
        """The notification's own id, the same each time that it is tried."""
        return f"{self.id}-{self.incident.id}-{self.change}"


def _terms(
    suppression: str,
    rule: str | None,
    entity: Entity | None,
    created_at: int,
    expires_at: int,
    lifted: bool,
) -> str:
    """What a suppression is about and until when: nobody changes that without the vault's key."""
    kind = entity.type if entity else None
    terms = (rule, kind, created_at, expires_at, lifted)
    return f"suppression {suppression} {msgspec.json.encode(terms).decode()}"


class Records:
    """What the desk writes and reads, under one vault's box."""

    def __init__(self, box: Box) -> None:
        self._box = box
        self.forged: set[str] = set()  #: rows that were met and that this vault did not write

    # Findings.

    def finding(self, tx: sa.Connection, finding: str) -> tuple[str, Finding] | None:
        """A finding as it was kept, and the id of its incident; that is empty while it is muted."""
        c = findings_table.c
        row = tx.execute(sa.select(c.incident, c.body).where(c.id == finding)).one_or_none()
        found: tuple[str, Finding] | None = None
        if row is not None:
            with self._ours(f"finding {finding}"):
                found = row.incident, self._finding(finding, row.body)
        return found

    def keep(self, tx: sa.Connection, finding: Finding, incident: str) -> None:
        """Keep *finding*, in place of what it was before."""
        body = msgspec.json.encode(finding).decode()
        values = {
            "incident": incident,
            "last_seen": finding.last_seen,
            "body": self._box.seal(body, f"finding {finding.id}"),
        }
        tx.execute(
            insert(findings_table)
            .values(id=finding.id, **values)
            .on_conflict_do_update(index_elements=["id"], set_=values)
        )

    def findings_of(self, tx: sa.Connection, incident: str) -> list[Finding]:
        """The findings inside an incident, in order of time."""
        c = findings_table.c
        rows = tx.execute(sa.select(c.id, c.body).where(c.incident == incident))
        found: list[Finding] = []
        for row in rows:
            with self._ours(f"finding {row.id}"):
                found.append(self._finding(row.id, row.body))
        return sorted(found, key=lambda f: (f.first_seen, f.id))

    def _finding(self, finding: str, body: str) -> Finding:
        return msgspec.json.decode(self._box.open(body, f"finding {finding}"), type=Finding)

    # Incidents.

    def save(self, tx: sa.Connection, incident: Incident) -> None:
        """Keep *incident*, in place of what it was before."""
        values = {
            "rule": incident.rule,
            "status": str(incident.status),
            "severity": incident.severity.rank,
            "entity_type": incident.entity.type,
            "entity_value": self._box.tag(incident.entity.value),
            "opened_at": incident.opened_at,
            "last_seen": incident.last_seen,
            "body": self._sealed(incident),
        }
        tx.execute(
            insert(incidents_table)
            .values(id=incident.id, **values)
            .on_conflict_do_update(index_elements=["id"], set_=values)
        )

    def load(self, tx: sa.Connection, incident: str) -> Incident | None:
        """An incident by its whole id."""
        c = incidents_table.c
        body = tx.scalar(sa.select(c.body).where(c.id == incident))
        return next(iter(self._opened([(incident, body)])), None) if body else None

    def find(self, tx: sa.Connection, incident: str) -> Incident:
        """An incident by its id or a unique beginning of it.  Raises UsageError."""
        c = incidents_table.c
        ids = tx.scalars(
            sa.select(c.id).where(c.id.startswith(incident, autoescape=True)).limit(2)
        ).all()
        exact = incident if incident in ids or len(ids) > 1 else next(iter(ids), None)
        found = self.load(tx, exact) if incident and exact else None
        if found is None:
            what = "more than one begins like that" if ids else "there is none of that id"
            raise UsageError(f"incident {incident!r}: {what}; see `tocsin incidents list`")
        return found

    def about(self, tx: sa.Connection, entity: Entity) -> Iterator[Incident]:
        """Incidents of an entity that are not closed, the latest first."""
        c = incidents_table.c
        rows = tx.execute(
            sa.select(c.id, c.body)
            .where(
                c.entity_type == entity.type,
                c.entity_value == self._box.tag(entity.value),
                c.status != Status.CLOSED,
            )
            .order_by(c.last_seen.desc())
        )
        return self._opened((row.id, row.body) for row in rows)

    def incidents(
        self, tx: sa.Connection, status: Status | None, severity: Severity | None, limit: int
    ) -> list[Incident]:
        """Incidents, the latest opened first; *severity* is the least; limit 0 means all."""
        c = incidents_table.c
        query = sa.select(c.id, c.body).order_by(c.opened_at.desc(), c.id)
        if status is not None:
            query = query.where(c.status == status)
        if severity is not None:
            query = query.where(c.severity >= severity.rank)
        if limit:
            query = query.limit(limit)
        return list(self._opened((row.id, row.body) for row in tx.execute(query)))

    def _opened(self, rows: Iterable[tuple[str, str]]) -> Iterator[Incident]:
        """Incidents in *rows*; what this vault did not write hides none of the others."""
        for name, body in rows:
            with self._ours(f"incident {name}"):
                yield self._incident(name, body)

    @contextlib.contextmanager
    def _ours(self, what: str) -> Generator[None]:
        """Pass over a row that does not open, and say so, once."""
        try:
            yield
        except Damaged:
            if what not in self.forged:
                log.error("%s in the catalog was not written by this vault: passed over", what)
            self.forged.add(what)

    def _sealed(self, incident: Incident) -> str:
        body = msgspec.json.encode(incident).decode()
        return self._box.seal(body, f"incident {incident.id}")

    def _incident(self, incident: str, body: str) -> Incident:
        return msgspec.json.decode(self._box.open(body, f"incident {incident}"), type=Incident)

    # Suppressions.

    def suppress(self, tx: sa.Connection, made: Suppression) -> None:
        """Put a suppression in force; one that is there already stays as it is."""
        tx.execute(
            insert(suppressions)
            .values(
                id=made.id,
                rule=made.rule,
                entity_type=made.entity.type if made.entity else None,
                created_at=made.created_at,
                expires_at=made.expires_at,
                hits=made.hits,
                **self._sealed_terms(made, lifted=False),
            )
            .on_conflict_do_nothing()
        )

    def lift(self, tx: sa.Connection, suppression: str) -> bool:
        """End a suppression; False when there is none of that id.  Repeating it does no harm."""
        row = tx.execute(sa.select(suppressions).where(suppressions.c.id == suppression)).first()
        if row is None:
            return False
        with self._ours(f"suppression {suppression}"):
            if not row.lifted:
                terms = self._sealed_terms(self._suppression(row), lifted=True)
                tx.execute(
                    suppressions.update().where(suppressions.c.id == suppression).values(**terms)
                )
        return True

    def _sealed_terms(self, made: Suppression, *, lifted: bool) -> dict[str, object]:
        """What is sealed of it: readable only together with the terms that stand in the clear."""
        about = _terms(made.id, made.rule, made.entity, made.created_at, made.expires_at, lifted)
        value = made.entity.value if made.entity else None
        return {
            "entity_value": None if value is None else self._box.seal(value, about),
            "owner": self._box.seal(made.owner, about),
            "reason": self._box.seal(made.reason, about),
            "lifted": lifted,
        }

    def suppressions(self, tx: sa.Connection, now: int) -> list[Suppression]:
        """Those in force.  One that tocsin did not write mutes nothing, and is said."""
        c = suppressions.c
        rows = tx.execute(
            sa.select(suppressions).where(c.expires_at > now, ~c.lifted).order_by(c.created_at)
        )
        found: list[Suppression] = []
        for row in rows:
            with self._ours(f"suppression {row.id}"):
                found.append(self._suppression(row))
        return found

    def _suppression(self, row: sa.Row[Any]) -> Suppression:
        kind = None if row.entity_type is None else Entity(row.entity_type, "")
        about = _terms(row.id, row.rule, kind, row.created_at, row.expires_at, row.lifted)
        entity = (
            None if kind is None else Entity(kind.type, self._box.open(row.entity_value, about))
        )
        return Suppression(
            id=row.id,
            rule=row.rule,
            entity=entity,
            owner=self._box.open(row.owner, about),
            reason=self._box.open(row.reason, about),
            created_at=row.created_at,
            expires_at=row.expires_at,
            hits=row.hits,
        )

    # Notifications.

    def owe(
        self, tx: sa.Connection, notices: Iterable[tuple[str, str, Incident]], now: int
    ) -> None:
        """Write down who must be told: channel, change, incident."""
        rows = [
            {
                "channel": channel,
                "incident": incident.id,
                "change": change,
                "body": self._sealed(incident),
                "created_at": now,
                "attempts": 0,
                "next_try_at": now,
            }
            for channel, change, incident in notices
        ]
        if rows:
            tx.execute(outbox.insert(), rows)

    def owed(self, tx: sa.Connection, channel: str, now: int, limit: int) -> list[Owed]:
        """What is due on a channel, oldest first."""
        c = outbox.c
        rows = tx.execute(
            sa.select(outbox)
            .where(
                c.sent_at.is_(None),
                c.failed.is_(None),
                c.next_try_at <= now,
                c.channel == channel,
            )
            .order_by(c.id)
            .limit(limit)
        )
        return [
            Owed(
                id=row.id,
                channel=row.channel,
                change=row.change,
                attempts=row.attempts,
                incident=self._incident(row.incident, row.body),
            )
            for row in rows
        ]
