"""SQLAlchemy watched: what a request asked of the database; and being watched changes nothing."""

from __future__ import annotations

import asyncio
import gc
import sqlite3
import sys
import threading
import time
import weakref
from collections.abc import Callable, Generator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import exc, orm
from sqlalchemy.pool import StaticPool
from tests.sdk import apps
from tests.sdk.taken import Taken

from tocsin.errors import UsageError
from tocsin.event import Event, Kind
from tocsin.sdk.context import Context, identify
from tocsin.sdk.database import queries
from tocsin.sdk.database.sql import watch_sqlalchemy
from tocsin.sdk.harmless import mishaps

OLD = sa.__version__.startswith("1.")
FUTURE: dict[str, Any] = {"future": True} if OLD else {}

registry = orm.registry()
orders = sa.Table(
    "orders",
    registry.metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("owner", sa.String(20), unique=True),
)


class Order:
    id: Any

    def __init__(self, owner: str) -> None:
        self.owner = owner


registry.map_imperatively(Order, orders)


def database() -> Any:
    """An engine on a database of its own, with ten orders."""
    engine = sa.create_engine("sqlite://", poolclass=StaticPool, **FUTURE)
    registry.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(orders.insert(), [{"owner": f"u{n}"} for n in range(10)])
    return engine


@contextmanager
def serving(user: str | None = None) -> Generator[Context]:
    context = Context("r-1", "a" * 32, "b" * 16)
    token = context.bind()
    identify(user)
    try:
        yield context
    finally:
        context.end()
        Context.release(token)


class Shop:
    """A watched database, and what was told of it."""

    def __init__(self, engine: Any) -> None:
        self.engine = engine
        self.taken = Taken()
        watch_sqlalchemy(self.engine, client=self.taken)

    def told(self, work: Callable[[Any], object]) -> list[Event]:
        """What is told of a request that does this *work* with a connection."""
        with serving(), self.engine.connect() as connection:
            work(connection)
            connection.rollback()
        events, self.taken.events = self.taken.events, []
        return events


@pytest.fixture
def bare() -> Generator[Any]:
    """The same database, not watched."""
    engine = database()
    yield engine
    engine.dispose()


@pytest.fixture
def shop() -> Generator[Shop]:
    shop = Shop(database())
    yield shop
    shop.engine.dispose()


SELECT = "SELECT orders.id, orders.owner FROM orders"


# --- rows ----------------------------------------------------------------------------------------


def dropped(connection: Any) -> None:
    result = connection.execute(orders.select())
    result.fetchone()
    del result
    gc.collect()


def partly(connection: Any) -> None:
    for n, _ in enumerate(connection.execute(orders.select())):
        if n == 3:
            break


FETCHES: dict[str, tuple[Callable[[Any], object], int | None]] = {
    "all": (lambda c: c.execute(orders.select()).all(), 10),
    "fetchall": (lambda c: c.execute(orders.select()).fetchall(), 10),
    "first": (lambda c: c.execute(orders.select()).first(), 1),
    "fetchmany": (lambda c: c.execute(orders.select()).fetchmany(4), 4),
    "each": (lambda c: list(c.execute(orders.select())), 10),
    "partitions": (lambda c: list(c.execute(orders.select()).partitions(3)), 10),
    "scalars": (lambda c: c.execute(orders.select()).scalars().all(), 10),
    "text": (lambda c: c.execute(sa.text(SELECT)).all(), 10),
    "driver's own": (lambda c: c.exec_driver_sql(SELECT).all(), 10),
    "streamed": (
        lambda c: list(c.execute(orders.select(), execution_options={"stream_results": True})),
        10,
    ),
    "given up": (partly, 4),
    "dropped": (dropped, 1),
    "not asked for": (lambda c: c.execute(orders.select()), None),
    "none there": (lambda c: c.execute(orders.select().where(orders.c.id > 99)).all(), 0),
}


@pytest.mark.parametrize("way", FETCHES)
def test_rows_are_counted_as_they_are_fetched(way: str, shop: Shop) -> None:
    fetch, rows = FETCHES[way]
    (event,) = shop.told(fetch)
    assert (event.kind, event.layer, event.outcome) == (Kind.QUERY, "app", "success")
    assert (event.db_statement or "").startswith(SELECT)
    assert event.db_rows == rows
    assert event.attributes == {"statements": 1}


CHANGES: dict[str, tuple[Callable[[Any], object], int]] = {
    "insert": (lambda c: c.execute(orders.insert().values(owner="x")), 1),
    "many": (lambda c: c.execute(orders.insert(), [{"owner": f"x{n}"} for n in range(5)]), 5),
    "update": (lambda c: c.execute(orders.update().where(orders.c.id < 4).values(owner=None)), 3),
    "none": (lambda c: c.execute(orders.update().where(orders.c.id > 99).values(owner=None)), 0),
    "delete": (lambda c: c.execute(orders.delete()), 10),
    "text": (lambda c: c.execute(sa.text("delete from orders where id < 3")), 2),
    "text, returning": (
        lambda c: c.execute(sa.text("update orders set owner = null returning id")).all(),
        10,
    ),
}
if not OLD:
    CHANGES["returning"] = (
        lambda c: c.execute(orders.delete().where(orders.c.id < 5).returning(orders.c.id)).all(),
        4,
    )


@pytest.mark.parametrize("way", CHANGES)
def test_changed_rows_are_counted(way: str, shop: Shop) -> None:
    change, rows = CHANGES[way]
    (event,) = shop.told(change)
    assert event.db_rows == rows


def test_statements_of_the_orm_are_seen_too(shop: Shop) -> None:
    def work(connection: Any) -> None:
        session = orm.Session(bind=connection, **FUTURE)
        session.add_all([Order(owner="ann"), Order(owner="bob")])
        session.flush()
        assert len(session.execute(sa.select(Order).where(orders.c.id > 5)).scalars().all()) == 7
        found = session.get(Order, 1)
        assert found is not None
        session.refresh(found)
        session.rollback()

    rows = {e.db_statement: e.db_rows for e in shop.told(work)}
    assert rows[f"{SELECT} WHERE orders.id > ?"] == 7
    assert any((name or "").startswith("INSERT INTO orders") for name in rows)


# --- one event for those alike -------------------------------------------------------------------


def test_statements_of_a_request_that_are_alike_are_one_event(shop: Shop) -> None:
    def work(connection: Any) -> None:
        for n in range(1, 6):
            connection.execute(orders.select().where(orders.c.id == n)).all()
        connection.execute(sa.text("select 1 where 'joe' = 'secret'")).all()

    began = time.time_ns()
    many, one = shop.told(work)
    assert (many.attributes, many.db_rows) == ({"statements": 5}, 5)
    assert many.db_statement == f"{SELECT} WHERE orders.id = ?"
    assert began <= many.time <= time.time_ns()
    assert 0 < (many.duration_ns or 0) < time.time_ns() - began
    assert one.db_statement == "select ? where ? = ?"


def test_an_event_carries_the_ids_of_the_request_and_whom_it_is_from(shop: Shop) -> None:
    with serving("joe"), shop.engine.connect() as connection:
        connection.execute(orders.select()).all()
        assert shop.taken.events == [], "it waits for others"
    event = shop.taken.event
    assert (event.request_id, event.trace_id, event.user) == ("r-1", "a" * 32, "joe")


def test_after_the_request_what_it_left_running_is_still_its_own(shop: Shop) -> None:
    with shop.engine.connect() as connection:
        with serving("joe"):
            result = connection.execute(orders.select())
            result.fetchone()
        assert shop.taken.events == []
        assert len(result.all()) == 9
    event = shop.taken.event
    assert (event.db_rows, event.request_id, event.user) == (10, "r-1", "joe")


def test_a_request_with_very_many_kinds_of_statements_is_not_kept_in_memory(shop: Shop) -> None:
    with serving(), shop.engine.connect() as connection:
        for n in range(queries.KINDS + 10):
            connection.execute(sa.text(f"select 1 as c{n}")).all()
        assert len(shop.taken.events) == queries.KINDS
    assert len(shop.taken.events) == queries.KINDS + 10


def test_a_request_that_takes_for_ever_is_told_of_meanwhile(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "SECONDS", 0.0)
    with serving(), shop.engine.connect() as connection:
        connection.execute(orders.select()).all()
        assert shop.taken.event.db_rows == 10


def test_a_request_that_nobody_ends_is_told_of_all_the_same(shop: Shop) -> None:
    def forgotten() -> None:
        token = Context("r-9").bind()
        with shop.engine.connect() as connection:
            connection.execute(orders.select()).all()
        Context.release(token)

    forgotten()
    gc.collect()
    assert shop.taken.event.request_id == "r-9"


def test_outside_a_request_those_of_a_second_are_one_event(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "LOOSE_SECONDS", 0.3)
    with shop.engine.connect() as connection:
        for _ in range(50):
            connection.execute(orders.select()).all()
    deadline = time.monotonic() + 30
    while sum(e.attributes["statements"] for e in shop.taken.events if e.attributes) < 50:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert len(shop.taken.events) < 10
    assert shop.taken.events[0].request_id is None


def test_at_the_end_of_the_process_nothing_is_left_untold() -> None:
    code = """
        import sqlalchemy as sa
        from tocsin.sdk.database.sql import watch_sqlalchemy

        class Taken:
            def take(self, event): print(event.attributes, event.db_rows)

        engine = sa.create_engine("sqlite://")
        watch_sqlalchemy(engine, client=Taken())
        with engine.connect() as connection:
            for _ in range(3): connection.execute(sa.text("select 1")).all()
    """
    assert apps.run(Path(sys.executable), code) == "{'statements': 3} 3\n"


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
def test_a_forked_child_does_not_tell_what_its_parent_tells() -> None:
    code = """
        import os, sqlalchemy as sa
        from tocsin.sdk.context import Context
        from tocsin.sdk.database.sql import watch_sqlalchemy

        class Taken:
            def take(self, event):
                told = f"{who} {event.db_statement} {event.attributes['statements']}\\n"
                os.write(1, told.encode())

        engine = sa.create_engine("sqlite://")
        watch_sqlalchemy(engine, client=Taken())
        context = Context("r-1")
        context.bind()
        who = "parent"
        with engine.connect() as connection:
            connection.execute(sa.text("select 'before'")).all()
            child = os.fork()
            if not child:
                who = "child"
                connection.execute(sa.text("select 1 as c")).all()
            else:
                os.waitpid(child, 0)
        context.end()
    """
    assert apps.run(Path(sys.executable), code).splitlines() == [
        "child select ? as c 1",
        "parent select ? 1",
    ]


# --- what is not told ----------------------------------------------------------------------------


def test_the_password_of_the_database_is_not_told(bare: Any) -> None:
    bare.url = sa.engine.URL.create("postgresql", "app", "hunter2", "db", 5432, "shop")
    taken = Taken()
    watch_sqlalchemy(bare, client=taken)
    with serving(), bare.connect() as connection:
        connection.execute(orders.select()).all()
    event = taken.event
    assert (event.db_system, event.db_name, event.db_user) == ("sqlite", "shop", "app")
    assert "hunter2" not in repr(event)


@pytest.mark.parametrize(
    ("statements", "fingerprint"),
    [
        (["select 1 /* traceparent='00-a' */", "select 1 /* traceparent='00-b' */"], "select ?"),
        (["select 1 /* a */", "select 1"], "select ?"),
        (["select 'a'", "select 'b'"], "select ?"),
        (["select 1 where 1 in (1)", "select 1 where 1 in (1, 2)"], None),
        (["savepoint a1", "savepoint a2"], "savepoint ?"),
        (["select 1" + " " * 20_000 + "as x", "select 2" + " " * 20_000 + "as y"], "select ?"),
    ],
)
def test_what_differs_in_values_only_is_alike(
    statements: list[str], fingerprint: str | None, shop: Shop
) -> None:
    def work(connection: Any) -> None:
        for statement in statements:
            result = connection.exec_driver_sql(statement)
            if result.returns_rows:
                result.all()

    events = shop.told(work)
    if fingerprint is not None:
        assert [event.db_statement for event in events] == [fingerprint]
        assert events[0].attributes == {"statements": 2}


@pytest.mark.parametrize(
    ("sql", "fingerprint"),
    [
        ("select a from t where b in (%(b_1)s, %(b_2)s)", "select a from t where b in (?+)"),
        (
            "select a from t where b in ($1::INTEGER, $2::INTEGER)",
            "select a from t where b in (?+)",
        ),
        ("RELEASE SAVEPOINT sa_savepoint_17", "RELEASE SAVEPOINT ?"),
        ("ROLLBACK TO SAVEPOINT x", "ROLLBACK TO SAVEPOINT ?"),
    ],
)
def test_parameters_of_every_driver_are_parameters(sql: str, fingerprint: str) -> None:
    assert queries._Fingerprints()[sql] == fingerprint


def test_however_many_texts_there_are_only_so_many_are_remembered() -> None:
    fingerprints = queries._Fingerprints()
    for n in range(3 * fingerprints.MOST):
        assert fingerprints[f"select {n}"] == "select ?"
    assert len(fingerprints) <= fingerprints.MOST


# --- failures ------------------------------------------------------------------------------------


def failing(connection: Any) -> None:
    connection.execute(orders.insert().values(owner="u1"))


def test_a_failure_is_told_and_reaches_the_application_as_before(shop: Shop, bare: Any) -> None:
    with bare.connect() as connection, pytest.raises(exc.IntegrityError) as wanted:
        failing(connection)
    raised: list[BaseException] = []

    def work(connection: Any) -> None:
        try:
            failing(connection)
        except exc.IntegrityError as error:
            raised.append(error)

    (event,) = shop.told(work)
    assert (event.outcome, event.severity) == ("failure", "error")
    assert event.error_type == "sqlite3.IntegrityError"
    assert event.error_message == "UNIQUE constraint failed: orders.owner"
    assert str(raised[0]) == str(wanted.value)
    assert type(raised[0].__cause__) is type(wanted.value.__cause__)


def test_failures_are_not_joined_with_successes(shop: Shop) -> None:
    def work(connection: Any) -> None:
        for owner in ("new", "u1"):
            try:
                with connection.begin_nested():
                    connection.execute(orders.insert().values(owner=owner))
            except exc.IntegrityError:
                pass

    told = [e for e in shop.told(work) if (e.db_statement or "").startswith("INSERT")]
    assert sorted(event.outcome or "" for event in told) == ["failure", "success"]


def test_the_values_that_a_database_quotes_in_its_words_stay_there(shop: Shop) -> None:
    class Refused(Exception):
        pass

    where = queries.Database("mysql", None, None)
    with serving():
        at = queries.Statement(queries.Queries(shop.taken), where, "select 1")
        at.settle(Refused("duplicate 'joe@example.org' for key\nDETAIL: (email)=(joe@example.org)"))
    assert shop.taken.event.error_message == "duplicate ? for key"


def test_a_row_that_cannot_be_fetched_is_a_failure(shop: Shop) -> None:
    def explode(value: int) -> int:
        if value == 3:
            raise ValueError("three")
        return value

    def work(connection: Any) -> None:
        connection.connection.create_function("explode", 1, explode)
        with pytest.raises(exc.OperationalError):
            connection.execute(sa.text("select explode(id) from orders")).all()

    (event,) = shop.told(work)
    assert (event.outcome, event.error_type) == ("failure", "sqlite3.OperationalError")


# --- no harm -------------------------------------------------------------------------------------


def everything(engine: Any) -> list[Any]:
    """All that an application can see of a database, at length."""
    seen: list[Any] = []
    with engine.connect() as connection:
        result = connection.execute(orders.select().order_by(orders.c.id))
        seen += [type(result), list(result.keys()), result.rowcount, result.returns_rows]
        seen += [isinstance(result.cursor, sqlite3.Cursor), result.cursor.description]
        seen += [result.cursor.arraysize, next(result), result.fetchmany(2), result.closed]
        result.cursor.arraysize = 7
        seen += [result.cursor.arraysize, [tuple(row) for row in result], result.closed]
        result = connection.execute(orders.insert().values(owner="x"))
        seen += [result.rowcount, result.lastrowid, tuple(result.inserted_primary_key)]
        result = connection.execute(orders.update().values(owner=None))
        seen += [result.rowcount, result.returns_rows]
        result = connection.execute(orders.select(), execution_options={"yield_per": 2})
        seen += [[len(part) for part in result.partitions()]]
        raw = connection.execute(orders.select())
        seen += [next(raw.cursor), sum(1 for _ in raw.cursor), raw.cursor.fetchone()]
        seen += [next(raw.cursor, "no more")]
        raw.close()
        try:
            raw.fetchone()
        except exc.ResourceClosedError as error:
            seen += [str(error)]
        try:
            connection.execute(sa.text("select nothing"))
        except exc.OperationalError as error:
            seen += [str(error), error.statement]
        connection.rollback()
    return seen


def test_a_watched_database_is_as_it_was(shop: Shop, bare: Any) -> None:
    assert everything(shop.engine) == everything(bare)


def test_rows_are_as_lazy_as_they_were(shop: Shop) -> None:
    fetched: list[int] = []

    def note(value: int) -> int:
        fetched.append(value)
        return value

    def work(connection: Any) -> None:
        connection.connection.create_function("note", 1, note)
        result = connection.execute(sa.text("select note(id) from orders"))
        next(result)
        assert len(fetched) <= 2
        result.close()

    shop.told(work)


def test_no_result_is_kept_alive(shop: Shop) -> None:
    gone: list[Callable[[], object]] = []

    def work(connection: Any) -> None:
        for fetch in (lambda r: r.all(), lambda r: r.fetchone(), lambda r: None):
            result = connection.execute(orders.select())
            gone.extend([weakref.ref(result.context), weakref.ref(result.cursor)])
            fetch(result)
            del result
        gc.collect()
        assert [reference() for reference in gone] == [None] * 6

    shop.told(work)


def test_a_closed_result_is_through_even_if_somebody_holds_on_to_its_cursor(shop: Shop) -> None:
    with serving(), shop.engine.connect() as connection:
        result = connection.execute(orders.select())
        cursor = result.cursor
        result.fetchone()
        result.close()
    assert shop.taken.event.db_rows == 1
    del cursor


@pytest.mark.parametrize("where", ["take", "current"])
def test_whatever_goes_wrong_with_us_the_application_does_not_hear_of_it(
    where: str, shop: Shop, bare: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("ours")

    owner: Any = shop.taken if where == "take" else queries
    monkeypatch.setattr(owner, where, fail)
    before = mishaps()
    with serving():
        assert everything(shop.engine) == everything(bare)
    assert mishaps() > before


def test_what_the_collector_finds_while_we_are_at_it_does_not_stop_us(shop: Shop) -> None:
    with serving() as context, shop.engine.connect() as connection:
        connection.execute(orders.select().where(orders.c.id == 1)).all()
        (waiting,) = context.ending or [gc.collect]
        result = connection.execute(orders.select())
        result.fetchone()
        assert isinstance(waiting, queries._Waiting)
        with waiting._lock:  # as if the collector came in the middle of it
            del result
            gc.collect()
    assert sorted(event.db_rows or 0 for event in shop.taken.events) == [1, 1]


def test_a_small_statement_within_a_change_leaves_the_changes_cursor_alone(shop: Shop) -> None:
    """Such as the next value of a sequence: the driver gets its own cursor for what follows."""

    class Execution:
        is_crud = True
        statement = "INSERT INTO t VALUES (?, ?)"
        cursor = sqlite3.connect(":memory:").execute("select 1")

    execution = Execution()
    listener = shop.engine._tocsin
    with serving():
        listener.before(None, execution.cursor, "select nextval('s')", (), execution, False)
        listener.after(None, execution.cursor, "select nextval('s')", (), execution, False)
        assert type(execution.cursor) is sqlite3.Cursor
    assert shop.taken.event.db_statement == "select nextval(?)"
    execution.cursor.connection.close()


def test_many_threads_of_one_request_are_one_event(tmp_path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'db'}", **FUTURE)
    taken = Taken()
    watch_sqlalchemy(engine, client=taken)
    with serving() as context:

        def work() -> None:
            token = context.bind()
            with engine.connect() as connection:
                for _ in range(50):
                    connection.execute(sa.text("select 1")).all()
            Context.release(token)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sum((e.attributes or {})["statements"] for e in taken.events) == 200
    assert len(taken.events) <= 4
    engine.dispose()


def test_watching_twice_tells_once(shop: Shop) -> None:
    watch_sqlalchemy(shop.engine, client=shop.taken)
    watch_sqlalchemy(shop.engine.execution_options(any_option=True), client=shop.taken)
    (event,) = shop.told(lambda c: c.execute(orders.select()).all())
    assert (event.attributes, event.db_rows) == ({"statements": 1}, 10)


@pytest.mark.parametrize("wrong", [None, "sqlite://", orm.Session])
def test_what_is_no_engine_is_told_at_once(wrong: Any) -> None:
    with pytest.raises(UsageError, match="is no engine; give what create_engine"):
        watch_sqlalchemy(wrong)


# --- asyncio -------------------------------------------------------------------------------------


@pytest.mark.skipif(
    not (find_spec("aiosqlite") and find_spec("greenlet")),
    reason="apps: no interpreter with an asynchronous driver; run make apps",
)
def test_an_asynchronous_engine_is_watched_too() -> None:
    from sqlalchemy.ext.asyncio import create_async_engine

    taken = Taken()

    async def work() -> None:
        engine = create_async_engine("sqlite+aiosqlite://", poolclass=StaticPool)
        watch_sqlalchemy(engine, client=taken)
        async with engine.connect() as connection:
            await connection.execute(sa.text("create table t as select 1 as a union select 2"))
            assert len((await connection.execute(sa.text("select a from t"))).all()) == 2
            stream = await connection.stream(sa.text("select a from t where a > 0"))
            async for _ in stream:
                break
            await stream.close()
        await engine.dispose()

    with serving("joe"):
        asyncio.run(work())
    told = {event.db_statement: event for event in taken.events}
    assert told["select a from t"].db_rows == 2
    assert told["select a from t where a > ?"].db_rows in (1, 2)
    assert {event.user for event in taken.events} == {"joe"}


# --- every SQLAlchemy ----------------------------------------------------------------------------


@apps.both
def test_all_of_this_holds_with_the_oldest_and_the_newest_sqlalchemy(age: str) -> None:
    apps.suite(apps.interpreter(age), __file__)
