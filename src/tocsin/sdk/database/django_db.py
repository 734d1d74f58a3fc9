"""Listen to Django's databases: which statements a request runs, and how many rows it gets.

The application gets what it got before: the same rows, as lazily, and the same exceptions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from typing import Any

from tocsin.sdk.database.queries import Database, Queries, Statement
from tocsin.sdk.harmless import harmless
from tocsin.sdk.plain import text
from tocsin.sdk.saying.say import Taker

__all__ = ["watch"]

#: Where a cursor says which statement it is at.
MARK = "_tocsin"
COUNTS = "_tocsin_counts"


def watch(*, client: Taker | None = None) -> None:
    """Tell of every statement on every connection of Django's, those that are open included.

    Django 4.2 to 6.  The events are those of ``watch_sqlalchemy``.  A second call does nothing.
    """
    signal = import_module("django.db.backends.signals").connection_created
    listener = _Listener(Queries(client))
    signal.connect(listener.connected, weak=False, dispatch_uid="tocsin")
    for connection in import_module("django.db").connections.all(initialized_only=True):
        listener.connected(connection=connection)


class _Listener:
    """An execute wrapper, as Django calls it around each statement."""

    def __init__(self, queries: Queries) -> None:
        self._queries = queries

    def connected(self, *, connection: Any, **_: Any) -> None:
        """Go before all other wrappers.

        Behind them would be wrong: who leaves ``with connection.execute_wrapper(...)`` takes away
        the last one, and a connection may be made within.
        """
        with harmless:
            wrappers = connection.execute_wrappers
            if not any(isinstance(wrapper, _Listener) for wrapper in wrappers):
                wrappers.insert(0, self)

    def __call__(
        self, execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: Any
    ) -> Any:
        at = self._begin(sql, context)
        try:
            result = execute(sql, params, many, context)
        except BaseException as error:
            if at is not None:
                at.took(at.started)
                at.settle(error)
            raise
        if at is not None:
            self._executed(at, context["cursor"])
        return result

    def _begin(self, sql: Any, context: Any) -> Statement | None:
        try:
            cursor, connection = context["cursor"], context["connection"]
            before = getattr(cursor, "__dict__", {}).get(MARK)
            if before is not None:  # what it has not fetched by now, it never will
                before.settle()
            words = sql if isinstance(sql, str) else _composed(sql, cursor)
            return Statement(self._queries, _database(connection), words)
        except Exception as error:  # noqa: BLE001  the app must not feel it
            harmless.mishap(error)
            return None

    def _executed(self, at: Statement, cursor: Any) -> None:
        try:
            at.took(at.started)
            if _returns(cursor) and _count_rows(cursor, at):
                return
            rows = cursor.rowcount
            if type(rows) is int and rows >= 0:
                at.rows = rows
            at.settle()
        except Exception as error:  # noqa: BLE001  the app must not feel it
            harmless.mishap(error)


def _database(connection: Any) -> Database:
    settings = connection.settings_dict
    name, user = settings.get("NAME"), settings.get("USER")
    return Database(connection.vendor, text(name) if name else None, text(user) if user else None)


def _composed(sql: Any, cursor: Any) -> str:
    """A statement that psycopg has put together."""
    try:
        return text(sql.as_string(cursor.cursor))
    except Exception:  # noqa: BLE001  anything that can be told is better than nothing
        return text(sql)


def _returns(cursor: Any) -> bool:
    """Whether rows can be fetched; a cursor on the server, which has a name, tells only later."""
    return cursor.description is not None or bool(getattr(cursor.cursor, "name", None))


# --- counting ------------------------------------------------------------------------------------


def _count_rows(cursor: Any, at: Statement) -> bool:
    """Have *cursor*, a wrapper of Django's, count the rows it hands out; False: it cannot.

    The driver's cursor stays as it is, since drivers insist on their own; the wrapper becomes one
    of a subclass of its class, with the same name.
    """
    kind: Any = type(cursor)
    try:
        setattr(cursor, MARK, at)
        if not hasattr(kind, COUNTS):
            cursor.__class__ = _counting(kind)
    except (AttributeError, TypeError):  # somebody's own kind of wrapper
        return False
    return True


@cache
def _counting(kind: Any) -> Any:
    """A class as *kind*, a class of cursor wrappers, that counts the rows it hands out."""
    theirs = {n: getattr(kind, n, None) for n in ("fetchone", "fetchmany", "fetchall", "close")}

    class Counting(kind):  # type: ignore[misc]
        __slots__ = ()  # with which a wrapper can become one

        def fetchone(self) -> Any:
            return _at(self).one(self._fetch("fetchone"))

        def fetchmany(self, *size: Any, **named: Any) -> Any:
            return _at(self).many(self._fetch("fetchmany"), *size, **named)

        def fetchall(self) -> Any:
            return _at(self).all(self._fetch("fetchall"))

        def __iter__(self) -> Iterator[Any]:
            return _at(self).each(super().__iter__())

        def close(self) -> Any:
            _at(self).settle()
            return self._fetch("close")()

        def __del__(self) -> None:
            _at(self).forget()

        def _fetch(self, name: str) -> Any:
            """The method of *kind*, or the one that it gets from the driver's cursor."""
            method = theirs[name]
            return self.__getattr__(name) if method is None else method.__get__(self)

    Counting.__name__, Counting.__qualname__ = kind.__name__, kind.__qualname__
    Counting.__module__ = kind.__module__
    setattr(Counting, COUNTS, True)
    return Counting


def _at(cursor: Any) -> Statement:
    at: Statement = vars(cursor)[MARK]
    return at
