"""Listen to a SQLAlchemy engine: which statements a request runs, and how many rows it gets.

The application gets what it got before: the same rows, as lazily, and the same exceptions.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

from tocsin.errors import UsageError
from tocsin.sdk.database.queries import END, Database, Queries, Statement
from tocsin.sdk.harmless import harmless
from tocsin.sdk.saying.say import Taker

__all__ = ["watch_sqlalchemy"]

#: Where an engine says that it is watched, and an execution context which statement it is at.
MARK = "_tocsin"


def watch_sqlalchemy(engine: Any, *, client: Taker | None = None) -> None:
    """Tell of every statement that goes through *engine*, an ``Engine`` or an ``AsyncEngine``.

    SQLAlchemy 1.4 to 2.1, Core and ORM.  One event of kind ``query`` tells of all statements of a
    request with the same fingerprint: how many, how long, and how many rows were fetched or
    changed.  Literals and parameters are never looked at.  A second call for an engine does
    nothing.  Raises UsageError for what is no engine.
    """
    engine = getattr(engine, "sync_engine", engine)
    engine = getattr(engine, "_proxied", engine)  # with options of its own, but the same engine
    dialect = getattr(engine, "dialect", None)
    url = getattr(engine, "url", None)
    if dialect is None or url is None:
        raise UsageError(
            f"watch_sqlalchemy(): {type(engine).__name__} is no engine; "
            "give what create_engine or create_async_engine made"
        )
    if getattr(engine, MARK, None) is not None:
        return
    system = "mariadb" if getattr(dialect, "is_mariadb", False) else dialect.name
    listener = _Listener(Database(system, url.database, url.username), Queries(client))
    listen = import_module("sqlalchemy.event").listen
    listen(engine, "before_cursor_execute", listener.before, retval=True)
    listen(engine, "after_cursor_execute", listener.after)
    listen(engine, "handle_error", listener.failed)
    setattr(engine, MARK, listener)


class _Listener:
    """What SQLAlchemy calls around a statement.  An execution context is one execution."""

    def __init__(self, database: Database, queries: Queries) -> None:
        self._database = database
        self._queries = queries

    def before(
        self, _conn: Any, _cursor: Any, statement: str, values: Any, context: Any, _many: bool
    ) -> tuple[str, Any]:
        """Statement and values as they are; to say so saves SQLAlchemy a detour."""
        try:
            if context is not None:
                setattr(context, MARK, Statement(self._queries, self._database, statement))
        except Exception as error:  # noqa: BLE001  the app must not feel it
            harmless.mishap(error)
        return statement, values

    def after(
        self, _conn: Any, cursor: Any, statement: str, _values: Any, context: Any, many: bool
    ) -> None:
        try:
            at: Statement | None = getattr(context, MARK, None)
            if at is None:
                return
            at.took(at.started)
            if _fetches(context, cursor, statement, many):
                context.cursor = _Counted(cursor, at)
                return
            rows = cursor.rowcount
            # Of rows that are still to be fetched some drivers do not know how many there are.
            if type(rows) is int and rows >= (0 if cursor.description is None else 1):
                at.rows = rows
            at.settle()
        except Exception as error:  # noqa: BLE001  the app must not feel it
            harmless.mishap(error)

    def failed(self, exception: Any) -> None:
        try:
            at: Statement | None = getattr(exception.execution_context, MARK, None)
            if at is not None:
                if not at.spent_ns:
                    at.took(at.started)
                at.settle(exception.original_exception)
        except Exception as error:  # noqa: BLE001  the app must not feel it
            harmless.mishap(error)


def _fetches(context: Any, cursor: Any, statement: str, many: bool) -> bool:
    """Whether the rows of this execution are going to be fetched from ``context.cursor``.

    Not those of the small statements before and after a change (sequences, the id of a new row),
    which run in its context, nor those of a change in batches, which have been fetched by then.
    """
    if cursor is not context.cursor:
        return False
    if context.is_crud:
        returns = cursor.description is not None
        return returns and not many and statement is context.statement
    return cursor.description is not None or bool(getattr(context, "_is_server_side", False))


class _Counted:
    """A driver's cursor, but its rows are counted as they are fetched.

    The result of the execution holds it and nobody else.  It passes for the cursor that it holds.
    """

    __slots__ = ("__weakref__", "_at", "_cursor")

    _at: Statement
    _cursor: Any

    def __init__(self, cursor: Any, at: Statement) -> None:
        _set_cursor(self, cursor)
        _set_at(self, at)

    def fetchone(self) -> Any:
        return self._at.one(self._cursor.fetchone)

    def fetchmany(self, *size: Any, **named: Any) -> Any:
        return self._at.many(self._cursor.fetchmany, *size, **named)

    def fetchall(self) -> Any:
        return self._at.all(self._cursor.fetchall)

    def __iter__(self) -> Iterator[Any]:
        return self._at.each(iter(self._cursor))

    def __next__(self) -> Any:
        row = self._at.following(self._cursor)
        if row is END:
            raise StopIteration
        return row

    def __enter__(self) -> Any:
        self._cursor.__enter__()
        return self

    def __exit__(self, *error: Any) -> Any:
        self._at.settle()
        return self._cursor.__exit__(*error)

    def close(self) -> Any:
        self._at.settle()
        return self._cursor.close()

    @property
    def description(self) -> Any:  # asked so often that the detour below would show
        return self._cursor.description

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._cursor, name, value)

    __class__ = property(lambda it: type(it._cursor))  # pyright: ignore[reportIncompatibleMethodOverride]

    def __del__(self) -> None:
        self._at.forget()


# Past ``__setattr__``, which is the cursor's.
_set_cursor = vars(_Counted)["_cursor"].__set__
_set_at = vars(_Counted)["_at"].__set__
