"""An open vault with its desk and its door's keys: what one process needs to serve people.

``Verbs`` answers the commands; ``Direct`` does so on a vault that nobody runs, ``House`` on one
that this process writes to.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import sqlalchemy as sa

from tocsin import query
from tocsin.alerts import Desk, Subscription
from tocsin.alerts.desk import Suppression
from tocsin.catalog import open_catalog, segments
from tocsin.catalog.box import Box
from tocsin.errors import Damaged, KeyMissing, UsageError
from tocsin.event import CloseReason, Entity, Event, Finding, Incident, Kind, Severity, Status
from tocsin.event.batch import Batch, from_events
from tocsin.intake import Origin, tokens
from tocsin.intake.admit import admit
from tocsin.query import Shelf
from tocsin.settings import Channel, Settings, Smtp
from tocsin.siem.access import MutedRow, NewToken, TokenShown
from tocsin.vault import Vault
from tocsin.vault.keys import CommandKey, EnvironmentKey, FileKey, KeyRing, KeySource, file_key
from tocsin.vault.view import view

__all__ = ["OWN", "Direct", "House", "key_source", "subscriptions"]

#: The environment variable that may hold the key-encryption key itself.
KEK_VARIABLE = "TOCSIN_KEK"

#: tocsin as a source of events about itself.
OWN = Origin(source="tocsin", layer="self")

_CATALOG = "catalog.db"
_TAIL_SECONDS = 1.0


def key_source(settings: Settings, *, create: bool = False) -> KeySource:
    """Where the key-encryption key comes from: variable, else command, else file.

    With *create* the file is made when it is not there; never for a vault that has keys already,
    since those want the key that wrapped them.
    """
    if os.environ.get(KEK_VARIABLE):
        return EnvironmentKey(KEK_VARIABLE)
    if settings.kek_command:
        return CommandKey(tuple(settings.kek_command))
    path = Path(settings.kek_file)
    keys = Path(settings.data) / "keys"
    fresh = not keys.is_dir() or not any(keys.iterdir())
    return file_key(path, create=True) if create and fresh else FileKey(path)


def subscriptions(channels: Sequence[Channel]) -> list[Subscription]:
    """Who wants to be told of what."""
    return [Subscription(channel_name(c), c.min_severity) for c in channels]


def channel_name(channel: Channel) -> str:
    """Under which a channel's notifications wait in the outbox."""
    return f"{'mail' if isinstance(channel, Smtp) else 'webhook'}:{channel.name}"


def _below(text: str, end: int | None) -> str:
    """The question, for rows that were not given out yet."""
    if end is None:
        return text
    return f"seq:<{end} ({text})" if text.strip() else f"seq:<{end}"


def _has_moved(shelf: Shelf, shelves: Sequence[Shelf]) -> bool:
    """Whether other shelves hold now what *shelf* held."""
    same = (shelf.first_seq, shelf.rows)
    return all((s.first_seq, s.rows) != same for s in shelves) and any(
        s.first_seq <= shelf.first_seq < s.first_seq + s.rows for s in shelves
    )


class Verbs:
    """The commands' questions, answered from a catalog and some shelves."""

    def __init__(
        self,
        catalog: sa.Engine,
        desk: Callable[[], Desk],
        *,
        shelves: Callable[[int | None, int | None], Sequence[Shelf]],
        set_aside: Callable[[Shelf, Exception], str | None],
        tell: Callable[[Event], None],
        clock: Callable[[], int],
    ) -> None:
        self.catalog, self._desk = catalog, desk
        self._shelves, self._set_aside = shelves, set_aside
        self._tell, self._clock = tell, clock

    @property
    def desk(self) -> Desk:
        """Where the incidents stand."""
        return self._desk()

    def search(
        self, text: str, *, since: int | None, until: int | None, limit: int
    ) -> Iterator[pl.DataFrame]:
        """Rows that match, newest first.

        What cannot be read is left out and named: Damaged comes at the end, after the rest.
        """
        now = self._clock()
        query.predicate(text, now=now)  # a wrong question is refused at once
        return self._search(text, now, since, until, limit)

    def _search(
        self, text: str, now: int, since: int | None, until: int | None, limit: int
    ) -> Iterator[pl.DataFrame]:
        left, end = limit, None
        damaged = self._missing(since, until)
        waiting = list(self._shelves(since, until))
        while waiting and (left > 0 or not limit):
            shelf = waiting.pop(0)
            try:
                for frame in query.search(
                    _below(text, end), [shelf], now=now, since=since, until=until, limit=left
                ):
                    left -= frame.height if limit else 0
                    end = int(frame["seq"].min())  # type: ignore[arg-type]  # never empty
                    yield frame
            except (Damaged, KeyMissing) as error:
                aside = self._set_aside(shelf, error)
                if aside is None and _has_moved(shelf, again := self._shelves(since, until)):
                    # Compaction joined it with others while we read: go on from where we were.
                    last = shelf.first_seq + shelf.rows
                    end = last if end is None else min(end, last)
                    waiting = [s for s in again if s.first_seq < last]
                    continue
                damaged.append(aside or str(error))
        if damaged:
            raise Damaged(
                f"{', '.join(dict.fromkeys(damaged))}: left out of what was found; run "
                "`tocsin verify`, and restore it from a backup"
            )

    def _missing(self, since: int | None, until: int | None) -> list[str]:
        """Segments that were set aside and might have held what is asked for."""
        c = segments.c
        query = sa.select(c.id).where(c.quarantined.is_not(None)).order_by(c.first_seq)
        if since is not None:
            query = query.where(c.time_max >= since)
        if until is not None:
            query = query.where(c.time_min < until)
        with self.catalog.connect() as connection:
            return [f"{name}.parquet, set aside" for name in connection.scalars(query)]

    def incidents(
        self, *, status: Status | None, severity: Severity | None, limit: int
    ) -> list[Incident]:
        """Incidents, the latest first."""
        return self.desk.incidents(status=status, severity=severity, limit=limit)

    def incident(self, incident: str) -> tuple[Incident, list[Finding]]:
        """One incident and its findings."""
        return self.desk.show(incident)

    def acknowledge(self, incident: str, *, by: str, text: str) -> Incident:
        """Somebody takes it."""
        made = self.desk.acknowledge(incident, by=by, text=text)
        self._decided("incident acknowledged", by, incident=made.id, text=text)
        return made

    def close(self, incident: str, *, by: str, reason: CloseReason, text: str) -> Incident:
        """It is dealt with."""
        made = self.desk.close(incident, by=by, reason=reason, text=text)
        self._decided("incident closed", by, incident=made.id, reason=str(reason), text=text)
        return made

    def comment(self, incident: str, *, by: str, text: str) -> Incident:
        """Write something down beside it."""
        made = self.desk.comment(incident, by=by, text=text)
        self._decided("incident commented", by, incident=made.id, text=text)
        return made

    def suppress(
        self, *, rule: str | None, entity: Entity | None, by: str, reason: str, expires_at: int
    ) -> MutedRow:
        """Mute a rule, an entity or both, for a while."""
        made = self.desk.suppress(
            rule=rule, entity=entity, owner=by, reason=reason, expires_at=expires_at
        )
        self._decided("suppression made", by, suppression=made.id, rule=rule or "", reason=reason)
        return _muted(made)

    def muted(self) -> list[MutedRow]:
        """Suppressions in force."""
        return [_muted(row) for row in self.desk.muted()]

    def lift(self, suppression: str, *, by: str) -> None:
        """End a suppression."""
        self.desk.lift(suppression)
        self._decided("suppression lifted", by, suppression=suppression)

    def create_token(self, token: NewToken, *, by: str) -> str:
        """A new source key; shown here and never again."""
        made = tokens.create(
            self.catalog,
            token.source,
            layer=token.layer,
            service=token.service,
            env=token.env,
            host=token.host,
            tenant=token.tenant,
            tz=token.tz,
            parser=token.parser,
            now=self._clock(),
        )
        self._decided("source key made", by, Kind.AUTHN_TOKEN_CREATED, source=token.source)
        return made

    def tokens(self) -> list[TokenShown]:
        """All source keys."""
        return [
            TokenShown(
                id=t.id,
                source=t.source,
                created_at=t.created_at,
                revoked_at=t.revoked_at,
                last_used_at=t.last_used_at,
                parser=t.grant.parser,
            )
            for t in tokens.tokens_of(self.catalog)
        ]

    def revoke_token(self, token: str, *, by: str) -> None:
        """End a source key."""
        if not tokens.revoke(self.catalog, token, now=self._clock()):
            raise UsageError(f"key {token!r}: there is none of that id; see `tocsin token list`")
        self._decided("source key revoked", by, Kind.AUTHN_TOKEN_REVOKED, key=token)

    def _decided(self, what: str, by: str, kind: Kind = Kind.AUTHZ_ADMIN, **facts: str) -> None:
        """People's decisions are events too."""
        said = {name: text for name, text in facts.items() if text}
        self._tell(
            Event(
                time=self._clock(),
                kind=kind,
                outcome="success",
                message=what,
                user=by,
                attributes=said or None,
            )
        )


def _muted(row: Suppression) -> MutedRow:
    return MutedRow(
        id=row.id,
        rule=row.rule,
        entity=row.entity,
        owner=row.owner,
        reason=row.reason,
        created_at=row.created_at,
        expires_at=row.expires_at,
        hits=row.hits,
    )


def own_batch(events: Sequence[Event]) -> Batch:
    """Events about tocsin itself, admitted like everybody's."""
    return admit(from_events(events), OWN)


class Direct(Verbs):
    """A vault that no tocsin runs on: read as it lies; opened for writing only to decide."""

    def __init__(self, settings: Settings, *, clock: Callable[[], int] = time.time_ns) -> None:
        data = Path(settings.data)
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._settings = settings
        self._data = data
        self._ring: KeyRing | None = None
        catalog = open_catalog(data / _CATALOG)
        super().__init__(
            catalog,
            cache(lambda: self._open_desk(clock)),
            shelves=self._view,
            set_aside=lambda _shelf, _error: None,  # a reader changes nothing
            tell=self._append,
            clock=clock,
        )

    def _keys(self) -> KeyRing:
        """The ring, opened when something is to be read: listing tokens needs no key."""
        if self._ring is None:
            self._ring = KeyRing(self._data / "keys", key_source(self._settings))
        return self._ring

    def _open_desk(self, clock: Callable[[], int]) -> Desk:
        gap_ns = int(self._settings.incident_gap_seconds * 10**9)
        return Desk(self.catalog, catalog_box(self._keys()), gap_ns=gap_ns, clock=clock)

    def _view(self, _since: int | None, _until: int | None) -> Sequence[Shelf]:
        return view(self._data, self._keys(), self.catalog)

    def _append(self, event: Event) -> None:
        source = key_source(self._settings, create=True)
        with contextlib.closing(Vault.open(self._data, source, sealing="inline")) as vault:
            vault.append(own_batch([event]), source=OWN.source, batch_id=None).result()

    def status(self) -> dict[str, Any]:
        """It does not run."""
        return {"running": False, "data": str(self._data)}

    def tail(self, text: str) -> Iterator[pl.DataFrame]:
        """Nothing arrives where nothing runs."""
        query.predicate(text, now=self._clock())  # a wrong query is the first thing to say
        raise UsageError(
            f"{self._data}: no tocsin runs here, so nothing arrives; start it with "
            f"`tocsin up --data {self._data}`, or look back with `tocsin search`"
        )

    def leave(self) -> None:
        """Let go of the catalog."""
        self.catalog.dispose()


def catalog_box(ring: KeyRing) -> Box:
    """What people's names and addresses are sealed with in the catalog."""
    return Box(_secret(ring, "catalog"))


def _secret(ring: KeyRing, name: str) -> bytes:
    """A secret of the vault's own, made once."""
    return ring.get(name) if name in ring.names() else ring.create(name)


class House(Verbs):
    """A vault that this process writes to."""

    def __init__(self, settings: Settings, *, clock: Callable[[], int] = time.time_ns) -> None:
        data = Path(settings.data)
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.settings = settings
        self.data = data
        source = key_source(settings, create=True)
        self.key_place = source.place
        catalog = open_catalog(data / _CATALOG)
        self.vault = Vault.open(
            data,
            source,
            sealing="process",
            epoch_rows=settings.epoch_rows,
            epoch_seconds=settings.epoch_seconds,
            catalog=catalog,
        )
        self.ring = self.vault.ring
        #: The only way in, with this vault's own key for session ids and API keys.
        self.admit = partial(admit, key=_secret(self.ring, "identifiers"))
        self.box = catalog_box(self.ring)
        desk = Desk(
            catalog,
            self.box,
            gap_ns=int(settings.incident_gap_seconds * 10**9),
            subscriptions=subscriptions(settings.channels),
            clock=clock,
        )
        super().__init__(
            catalog,
            lambda: desk,
            shelves=self.vault.shelves,
            set_aside=self.vault.set_aside,
            tell=self.tell,
            clock=clock,
        )
        self.stopping = threading.Event()
        self.detected: Callable[[], int] = lambda: 0  #: the seq that detection has come to

    def tell(self, *events: Event) -> None:
        """Put events about tocsin itself into the vault; durable when it returns."""
        self.vault.append(own_batch(events), source=OWN.source, batch_id=None).result(timeout=30)

    def status(self) -> dict[str, Any]:
        """How the vault is, in figures."""
        facts: dict[str, Any] = msgspec.to_builtins(self.vault.status())
        return {"running": True, "data": str(self.data), "pid": os.getpid(), **facts} | {
            "detected_seq": self.detected()
        }

    def tail(self, text: str) -> Iterator[pl.DataFrame]:
        """Rows that match, as they become durable; an empty frame each second shows life."""
        matching = query.predicate(text, now=self._clock())
        return self._tail(matching)

    def _tail(self, matching: query.Predicate) -> Iterator[pl.DataFrame]:
        at = self.vault.next_seq
        while not self.stopping.is_set():
            self.vault.wait(at, _TAIL_SECONDS)
            entries = self.vault.read(at, 65_536)
            at = entries.next_seq if len(entries) else at
            yield matching(entries)

    def leave(self) -> None:
        """Seal what is left and let go of everything."""
        self.stopping.set()
        self.vault.close()
        self.catalog.dispose()
