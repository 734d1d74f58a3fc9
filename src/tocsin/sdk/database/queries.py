"""Database statements as the application sees them; of one request, those alike are one event.

A listener makes a :class:`Statement` when one is executed and settles it when its rows are fetched.
What is settled while a request is served waits for the request's end, joined by fingerprint; what
belongs to none waits for a second, so that a job of a million statements is not a million events.
"""

from __future__ import annotations

import atexit
import os
import re
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from time import monotonic, perf_counter_ns, time_ns
from typing import Any

from msgspec import Struct

from tocsin.event.kinds import LEVELS, Kind, Level
from tocsin.event.model import Event
from tocsin.event.sql import fingerprint, without_literals
from tocsin.sdk.context import Context, current
from tocsin.sdk.failures import class_of
from tocsin.sdk.harmless import harmless
from tocsin.sdk.plain import text
from tocsin.sdk.saying.say import Taker, known, tell, the_taker

__all__ = ["END", "Database", "Queries", "Statement"]

#: Statements do not wait for the end of their request when there are so many different ones ...
KINDS = 64
#: ... or when the first of them is so many seconds old.
SECONDS = 10.0

#: Seconds that statements outside any request wait for others like them.
LOOSE_SECONDS = 1.0

#: Comes after the last row.
END = object()


class Database(Struct, frozen=True, gc=False):
    """Which database, and as whom."""

    system: str  #: ``postgresql``, ``sqlite`` ...
    name: str | None
    user: str | None


class Statement:
    """One statement, from its execution until its rows are fetched.  Keeps no row and no value."""

    __slots__ = (
        "_queries",
        "_waiting",
        "began",
        "database",
        "rows",
        "settled",
        "spent_ns",
        "sql",
        "started",
    )

    def __init__(self, queries: Queries, database: Database, sql: str) -> None:
        self._queries = queries
        self.database = database
        self.sql = sql
        self._waiting = queries.of_request(current())
        self.settled = False
        self.rows: int | None = None  #: returned or changed so far; None: nobody knows
        self.spent_ns = 0  #: executing and fetching, so far
        self.began = time_ns()
        self.started = perf_counter_ns()

    def took(self, since_ns: int) -> None:
        """The database was at it since then, by ``perf_counter_ns``."""
        self.spent_ns += perf_counter_ns() - since_ns

    def one(self, fetch: Callable[[], Any]) -> Any:
        """The row that a cursor's ``fetchone`` gives, counted."""
        row = self._timed(fetch)
        if row is None:
            self.settle()
        else:
            self.rows = (self.rows or 0) + 1
        return row

    def many(self, fetch: Callable[..., Any], *size: Any, **named: Any) -> Any:
        """The rows that a cursor's ``fetchmany`` gives, counted."""
        rows = self._timed(fetch, *size, **named)
        if not self._count(rows):
            self.settle()
        return rows

    def all(self, fetch: Callable[[], Any]) -> Any:
        """The rows that a cursor's ``fetchall`` gives, counted."""
        rows = self._timed(fetch)
        self._count(rows)
        self.settle()
        return rows

    def following(self, rows: Iterator[Any]) -> Any:
        """The next of *rows*, counted; END after the last."""
        row = self._timed(next, rows, END)
        if row is END:
            self.settle()
        else:
            self.rows = (self.rows or 0) + 1
        return row

    def each(self, rows: Iterator[Any]) -> Iterator[Any]:
        """*rows* as they come, counted."""
        while (row := self.following(rows)) is not END:
            yield row

    def _count(self, rows: Any) -> int:
        try:
            count = len(rows)
        except Exception as error:  # noqa: BLE001  a driver with a mind of its own
            harmless.mishap(error)
            return 1
        self.rows = (self.rows or 0) + count
        return count

    def _timed(self, fetch: Callable[..., Any], *size: Any, **named: Any) -> Any:
        began = perf_counter_ns()
        try:
            rows = fetch(*size, **named)
        except BaseException as error:
            self.took(began)
            self.settle(error)
            raise
        self.spent_ns += perf_counter_ns() - began
        return rows

    def settle(self, error: BaseException | None = None) -> None:
        """It is through, with *error* or without.  Never raises; only the first time counts."""
        if self.settled:
            return
        self.settled = True
        try:
            self._queries.add(self, self._waiting, error)
        except Exception as mistake:  # noqa: BLE001  ours
            harmless.mishap(mistake)

    def forget(self) -> None:
        """Its rows will not be fetched any more, says the garbage collector.

        That may interrupt anything, even what we do ourselves under a lock; so this only leaves
        word for whoever comes next.
        """
        if not self.settled:
            self._queries.forgotten.append(self)


class Queries:
    """Where the statements of one listener go."""

    def __init__(self, client: Taker | None = None) -> None:
        self.client = client
        self.forgotten: deque[Statement] = deque()
        self._fingerprints = _Fingerprints()
        self._loose: _Waiting | None = None
        self._at_exit = False

    def of_request(self, at_hand: Context | None) -> _Waiting | None:
        """Where the statements of this request wait for its end; None outside a request."""
        if at_hand is None:
            if not self._at_exit:
                self._let_go_at_exit()
            return None
        for call in at_hand.ending or ():
            if isinstance(call, _Waiting) and call.queries is self:
                return call
        waiting = _Waiting(self, at_hand, SECONDS)
        if not at_hand.at_end(waiting):
            waiting()  # it has been served: what it still does is told at once
        return waiting

    def add(
        self, statement: Statement, waiting: _Waiting | None, error: BaseException | None
    ) -> None:
        """Take *statement*, which is through."""
        if self.forgotten:
            self.collect()
        alike = (
            statement.database,
            self._fingerprints[statement.sql],
            None if error is None else class_of(error),
        )
        if waiting is None:
            self._add_loose(alike, statement, error)
        elif not waiting.add(alike, statement, error):
            late = _Waiting(self, waiting.at_hand, SECONDS)
            late.add(alike, statement, error)
            late()

    def collect(self) -> None:
        """Settle what was forgotten."""
        while self.forgotten:
            try:
                statement = self.forgotten.popleft()
            except IndexError:  # another thread was quicker
                return
            statement.settle()

    def _add_loose(self, alike: _Alike, statement: Statement, error: BaseException | None) -> None:
        waiting = self._loose
        if waiting is not None and waiting.add(alike, statement, error):
            return
        waiting = _Waiting(self, None, LOOSE_SECONDS)
        waiting.add(alike, statement, error)
        self._loose = waiting  # of two threads that come here at once, each has its own timer
        timer = threading.Timer(LOOSE_SECONDS, waiting)
        timer.daemon, timer.name = True, "tocsin-queries"
        try:
            timer.start()
        except RuntimeError:  # the interpreter ends, or may have no more threads
            waiting()

    def _let_go_at_exit(self) -> None:
        self._at_exit = True
        start = getattr(the_taker(self.client), "start", None)
        if start is not None:
            start()  # it says its farewell after ours only when it has begun before
        atexit.register(_let_go, weakref.ref(self))

    def let_go(self) -> None:
        """Tell now of what belongs to no request and waits."""
        self.collect()
        waiting, self._loose = self._loose, None
        if waiting is not None:
            waiting()


def _let_go(reference: weakref.ref[Queries]) -> None:
    queries = reference()
    if queries is not None:
        queries.let_go()


#: Statements are alike with the same database, fingerprint and class of error.
_Alike = tuple[Database, str, str | None]


class _Joined:
    """Statements that are alike, as one."""

    __slots__ = ("began", "error", "rows", "spent_ns", "statements")

    def __init__(self, first: Statement, error: BaseException | None) -> None:
        self.began = first.began
        self.rows = first.rows
        self.spent_ns = first.spent_ns
        self.statements = 1
        self.error = None if error is None else _words(error)

    def add(self, other: Statement) -> None:
        self.statements += 1
        self.spent_ns += other.spent_ns
        if other.rows is not None:
            self.rows = other.rows + (self.rows or 0)
        if other.began < self.began:  # it was begun earlier, and went on for longer
            self.began = other.began


def _words(error: BaseException) -> str:
    """What the database says, without the values it quotes: these stand behind the first line."""
    return without_literals(text(error).partition("\n")[0])


class _Waiting:
    """Statements that wait for the end of a request, or of a second; called, it tells of them."""

    def __init__(self, queries: Queries, at_hand: Context | None, seconds: float) -> None:
        self.queries = queries
        self.at_hand = at_hand
        self._until = monotonic() + seconds
        self._seconds = seconds
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._joined: dict[_Alike, _Joined] | None = {}

    def add(self, alike: _Alike, statement: Statement, error: BaseException | None) -> bool:
        """Join *statement* with those that are alike; False when these are gone."""
        if self._process != os.getpid():  # a fork; what waits here is the parent's to tell
            return False
        ripe = None
        with self._lock:
            if self._joined is None:
                return False
            joined = self._joined.get(alike)
            if joined is not None:
                joined.add(statement)
            else:
                self._joined[alike] = _Joined(statement, error)
            now = monotonic()
            if len(self._joined) >= KINDS or now > self._until:
                ripe, self._joined = self._joined, {}
                self._until = now + self._seconds
        if ripe:
            self._tell(ripe)
        return True

    def __call__(self) -> None:
        """Nothing more will come."""
        if self._process != os.getpid():
            return
        self.queries.collect()
        with self._lock:
            last, self._joined = self._joined, None
        if last:
            self._tell(last)

    def __del__(self) -> None:
        if self._joined:  # the request was given up without an end
            with harmless:
                if self._process == os.getpid():
                    self._tell(self._joined)

    def _tell(self, joined: dict[_Alike, _Joined]) -> None:
        about = {} if self.at_hand is None else known(self.at_hand, {}, facts=False)
        for alike, statements in joined.items():
            with harmless:
                tell(self.queries.client, _event(alike, statements, about))


def _event(alike: _Alike, joined: _Joined, about: dict[str, Any]) -> Event:
    database, statement, error_type = alike
    return Event(
        time=joined.began,
        duration_ns=joined.spent_ns,
        kind=Kind.QUERY,
        outcome="success" if error_type is None else "failure",
        outcome_source="framework",
        severity=str(LEVELS[Kind.QUERY] if error_type is None else Level.ERROR),
        error_type=error_type,
        error_message=joined.error,
        layer="app",
        db_system=database.system,
        db_name=database.name,
        db_user=database.user,
        db_statement=statement,
        db_rows=joined.rows,
        attributes={"statements": joined.statements},
        **about,
    )


# --- fingerprints --------------------------------------------------------------------------------

#: Parameters that have a name, or a type behind them: plain ones make lists that are seen as such.
_NAMED = re.compile(r"(?:%\(\w{1,128}\)s|\$\d{1,5})(?:::\w{1,64})?")

#: Names of savepoints are made up, each time another.
_SAVEPOINT = re.compile(r"\s*(SAVEPOINT|RELEASE(?: SAVEPOINT)?|ROLLBACK TO(?: SAVEPOINT)?)\s", re.I)


class _Fingerprints(dict[str, str]):
    """Fingerprints by statement.  Applications have few texts, and a fingerprint takes its time."""

    MOST = 1024
    LONGEST = 8192  #: characters of a statement that are looked at

    def __missing__(self, sql: str) -> str:
        bare = text(sql)[: self.LONGEST]
        if savepoint := _SAVEPOINT.match(bare):
            return f"{savepoint[1]} ?"
        if bare.endswith("*/"):  # a comment that carries a trace is another in each statement
            bare = bare.rpartition("/*")[0]
        if bare is not sql and (found := self.get(bare)) is not None:
            return found
        if len(self) >= self.MOST:
            self.clear()
        found = self[bare] = fingerprint(_NAMED.sub("?", bare))
        return found
