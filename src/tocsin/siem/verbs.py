"""The commands' questions and decisions, on a catalog and some shelves, whoever has them open."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TypeVar

import polars as pl
import sqlalchemy as sa

from tocsin import query
from tocsin.alerts import Decided, Desk
from tocsin.alerts.desk import Suppression
from tocsin.catalog import segments
from tocsin.catalog.box import Box
from tocsin.errors import Damaged, KeyMissing, UsageError
from tocsin.event import CloseReason, Entity, Event, Finding, Incident, Kind, Severity, Status
from tocsin.intake import tokens
from tocsin.query import Shelf
from tocsin.siem.access import Counted, MutedRow, NewToken, TokenShown, Verified
from tocsin.siem.decisions import KeyMade, KeyRevoked, OnKey, event_of, key_made, new_id
from tocsin.siem.notices import TAMPERED, notice

__all__ = ["Verbs", "Write"]

T = TypeVar("T")

#: Writes an event for good, and returns then.
Write = Callable[[Event], None]


class Verbs:
    """What people ask and decide.  A decision is an event first, and done then."""

    def __init__(
        self,
        catalog: sa.Engine,
        *,
        box: Callable[[], Box],
        desk: Callable[[], Desk],
        shelves: Callable[[int | None, int | None], Sequence[Shelf]],
        set_aside: Callable[[Shelf, Exception], str | None],
        writing: Callable[[], AbstractContextManager[Write]],
        clock: Callable[[], int],
    ) -> None:
        """*writing* keeps everybody else from deciding, and gives the way to write an event."""
        self.catalog = catalog
        self._box, self._desk = box, desk
        self._shelves, self._set_aside = shelves, set_aside
        self._writing, self._clock = writing, clock
        self.first_epoch_key: bytes | None = None  #: of a vault that was made just now

    @property
    def box(self) -> Box:
        """What the catalog's secrets are sealed with."""
        return self._box()

    @property
    def desk(self) -> Desk:
        """Where the incidents stand."""
        return self._desk()

    # Questions.

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
        aside, broken = self._aside(since, until), list[str]()
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
                name = self._set_aside(shelf, error)
                if name is None and _has_moved(shelf, again := self._shelves(since, until)):
                    # Compaction joined it with others while we read: go on from where we were.
                    last = shelf.first_seq + shelf.rows
                    end = last if end is None else min(end, last)
                    waiting = [s for s in again if s.first_seq < last]
                    continue
                aside, broken = _noted(aside, broken, name, error)
        if words := _left_out(aside, broken):
            raise Damaged(words)

    def count(self, text: str, *, since: int | None, until: int | None) -> Counted:
        """How many rows match."""

        def ask(shelves: Sequence[Shelf]) -> pl.DataFrame:
            total = query.count(text, shelves, now=self._clock(), since=since, until=until)
            return pl.DataFrame({"count": [total]})

        return self._counted(ask, since, until)

    def histogram(
        self, text: str, *, since: int | None, until: int | None, width_ns: int | None
    ) -> Counted:
        """How many rows match, over event time."""

        def ask(shelves: Sequence[Shelf]) -> pl.DataFrame:
            return query.histogram(
                text, shelves, now=self._clock(), since=since, until=until, width=width_ns
            )

        return self._counted(ask, since, until)

    def top(
        self, text: str, *, field: str, since: int | None, until: int | None, n: int
    ) -> Counted:
        """The most frequent values of a field among what matches."""

        def ask(shelves: Sequence[Shelf]) -> pl.DataFrame:
            now = self._clock()
            return query.top(field, text, shelves, now=now, n=n, since=since, until=until)

        return self._counted(ask, since, until)

    def _counted(
        self, ask: Callable[[Sequence[Shelf]], pl.DataFrame], since: int | None, until: int | None
    ) -> Counted:
        """The answer over all shelves that can be read, and what had to be left out of it."""
        aside, broken = self._aside(since, until), list[str]()
        out: list[tuple[int, int]] = []
        while True:
            every = self._shelves(since, until)
            asked: list[Shelf] = []
            shelves = [_Asked(s, asked) for s in every if (s.first_seq, s.rows) not in out]
            try:
                frame = ask(shelves)
            except (Damaged, KeyMissing) as error:
                if not asked:
                    raise
                culprit = asked[-1]  # one shelf is asked after the other
                name = self._set_aside(culprit, error)
                if name is None and _has_moved(culprit, self._shelves(since, until)):
                    continue
                aside, broken = _noted(aside, broken, name, error)
                out.append((culprit.first_seq, culprit.rows))
            else:
                return Counted.of(frame, left_out=_left_out(aside, broken))

    def _aside(self, since: int | None, until: int | None) -> list[str]:
        """Segments that were set aside and might have held what is asked for."""
        c = segments.c
        question = sa.select(c.id).where(c.quarantined.is_not(None)).order_by(c.first_seq)
        if since is not None:
            question = question.where(c.time_max >= since)
        if until is not None:
            question = question.where(c.time_min < until)
        with self.catalog.connect() as connection:
            return [f"{name}.parquet" for name in connection.scalars(question)]

    def incidents(
        self, *, status: Status | None, severity: Severity | None, limit: int
    ) -> list[Incident]:
        """Incidents, the latest first."""
        return self.desk.incidents(status=status, severity=severity, limit=limit)

    def incident(self, incident: str) -> tuple[Incident, list[Finding]]:
        """One incident and its findings."""
        return self.desk.show(incident)

    def muted(self) -> list[MutedRow]:
        """Suppressions in force."""
        return [_muted(row) for row in self.desk.muted()]

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
            for t in tokens.tokens_of(self.catalog, self.box)
        ]

    # Decisions.

    def acknowledge(self, incident: str, *, by: str, text: str) -> Incident:
        """Somebody takes it."""
        with self._writing() as write:
            return self.desk.acknowledge(incident, by=by, text=text, tell=_telling(write))

    def close(self, incident: str, *, by: str, reason: CloseReason, text: str) -> Incident:
        """It is dealt with."""
        with self._writing() as write:
            tell = _telling(write)
            return self.desk.close(incident, by=by, reason=reason, text=text, tell=tell)

    def comment(self, incident: str, *, by: str, text: str) -> Incident:
        """Write something down beside it."""
        with self._writing() as write:
            return self.desk.comment(incident, by=by, text=text, tell=_telling(write))

    def suppress(
        self, *, rule: str | None, entity: Entity | None, by: str, reason: str, expires_at: int
    ) -> MutedRow:
        """Mute a rule, an entity or both, for a while."""
        with self._writing() as write:
            made = self.desk.suppress(
                rule=rule,
                entity=entity,
                owner=by,
                reason=reason,
                expires_at=expires_at,
                tell=_telling(write),
            )
            return _muted(made)

    def lift(self, suppression: str, *, by: str) -> None:
        """End a suppression."""
        with self._writing() as write:
            self.desk.lift(suppression, by=by, tell=_telling(write))

    def create_token(self, token: NewToken, *, by: str) -> str:
        """A new source key; shown here and never again."""
        with self._writing() as write:
            now = self._clock()
            key, made = tokens.make(
                self.box,
                token.source,
                layer=token.layer,
                service=token.service,
                env=token.env,
                host=token.host,
                tenant=token.tenant,
                tz=token.tz,
                parser=token.parser,
                now=now,
            )
            self._write_key(write, key_made(made), now, by)
            # A crash here leaves a key that nobody was shown; the next start makes it one.
            tokens.keep(self.catalog, self.box, made)
            return key

    def revoke_token(self, token: str, *, by: str) -> None:
        """End a source key."""
        with self._writing() as write:
            now = self._clock()
            if tokens.live(self.catalog, self.box, token) is None:
                raise UsageError(
                    f"key {token!r}: there is none of that id; see `tocsin token list`"
                )
            self._write_key(write, KeyRevoked(key=token), now, by)
            # A crash here leaves a key that lives on until the next start, which ends it.
            tokens.revoke(self.catalog, self.box, token, now=now)

    def _write_key(self, write: Write, what: KeyMade | KeyRevoked, now: int, by: str) -> None:
        write(event_of(OnKey(id=new_id(), at=now, by=by, what=what)))

    def verified(self, report: Verified, *, by: str) -> None:
        """Somebody verified the record and found that it was changed: that becomes part of it."""
        with self._writing() as write:
            write(
                notice(
                    TAMPERED,
                    f"tocsin verify found {report.problems} changes, the first: {report.first}",
                    at=self._clock(),
                    kind=Kind.LOG,
                    user=by,
                )
            )


class _Asked:
    """A shelf that notes in *asked* that it is read."""

    def __init__(self, shelf: Shelf, asked: list[Shelf]) -> None:
        self._shelf, self._asked = shelf, asked
        self.name, self.first_seq, self.rows = shelf.name, shelf.first_seq, shelf.rows
        self.time_min, self.time_max = shelf.time_min, shelf.time_max
        self.columns = shelf.columns

    def scan(self) -> pl.LazyFrame:
        """Its rows."""
        self._asked.append(self._shelf)
        return self._shelf.scan()

    def maybe(self, column: str, value: str) -> bool:
        """False only when *value* certainly is not in *column*."""
        self._asked.append(self._shelf)
        return self._shelf.maybe(column, value)


def _telling(write: Write) -> Callable[[Decided], None]:
    return lambda made: write(event_of(made))


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


def _noted(
    aside: list[str], broken: list[str], name: str | None, error: Exception
) -> tuple[list[str], list[str]]:
    return (aside, [*broken, str(error)]) if name is None else ([*aside, name], broken)


def _left_out(aside: Sequence[str], broken: Sequence[str]) -> str:
    """What of the vault could not be looked at, in words; empty when all of it was."""
    files = list(dict.fromkeys(aside))
    parts = list(dict.fromkeys(broken))
    if files:
        were = "was" if len(files) == 1 else "were"
        parts.append(f"{' and '.join(files)} {were} damaged and set aside")
    if not parts:
        return ""
    return (
        f"not everything could be looked at: {'; '.join(parts)}; run `tocsin verify`, and restore "
        "what is damaged from a backup"
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
