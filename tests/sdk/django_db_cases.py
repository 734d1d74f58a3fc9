"""Django's databases watched; ``test_django_db`` runs this where there is a Django."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from tests.sdk.taken import Taken

from tocsin.event import Event, Kind
from tocsin.sdk.context import Context, identify
from tocsin.sdk.database import django_db, queries
from tocsin.sdk.harmless import mishaps


def connection() -> Any:
    return import_module("django.db").connection


@cache
def order() -> Any:
    """A model of this module's own."""
    models = import_module("django.db.models")

    class Order(models.Model):  # type: ignore[misc, name-defined]
        owner = models.CharField(max_length=20, null=True, unique=True)

        class Meta:
            app_label = "shop"

    return Order


@pytest.fixture(scope="session", autouse=True)
def _database(tmp_path_factory: pytest.TempPathFactory) -> Generator[None]:
    """A Django with one table on disk."""
    place: Path = tmp_path_factory.mktemp("django") / "db.sqlite3"
    database = {"ENGINE": "django.db.backends.sqlite3", "NAME": place}
    settings = import_module("django.conf").settings
    settings.configure(
        DATABASES={"default": database}, DEFAULT_AUTO_FIELD="django.db.models.AutoField"
    )
    import_module("django").setup()
    with connection().schema_editor() as editor:
        editor.create_model(order())
    yield
    connection().close()


@pytest.fixture(autouse=True)
def _ten_orders() -> None:
    order().objects.all().delete()
    order().objects.bulk_create([order()(id=n, owner=f"u{n}") for n in range(1, 11)])


def unwatched() -> None:
    """Take everything back that ``watch`` does."""
    signals = import_module("django.db.backends.signals")
    signals.connection_created.disconnect(dispatch_uid="tocsin")
    kept = [w for w in connection().execute_wrappers if not isinstance(w, django_db._Listener)]
    connection().execute_wrappers[:] = kept


@pytest.fixture
def taken() -> Generator[Taken]:
    """What is told while Django is watched."""
    taken = Taken()
    django_db.watch(client=taken)
    yield taken
    unwatched()


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


def told(taken: Taken, work: Callable[[], object]) -> list[Event]:
    with serving():
        work()
    events, taken.events = taken.events, []
    return events


# --- rows ----------------------------------------------------------------------------------------


def raw(fetch: Callable[[Any], object]) -> None:
    with connection().cursor() as cursor:
        cursor.execute("select id, owner from shop_order where id > %s", [0])
        fetch(cursor)


def iterated() -> None:
    for n, _ in enumerate(order().objects.all().iterator(chunk_size=3)):
        if n == 3:
            break


def dropped() -> None:
    cursor = connection().cursor()
    cursor.execute("select id from shop_order")
    cursor.fetchone()
    del cursor
    gc.collect()


def twice() -> None:
    with connection().cursor() as cursor:
        for _ in range(2):
            cursor.execute("select id from shop_order")
            cursor.fetchmany(3)


FETCHES: dict[str, tuple[Callable[[], object], int | None]] = {
    "list": (lambda: list(order().objects.all()), 10),
    "filtered": (lambda: list(order().objects.filter(id__lt=4)), 3),
    "values": (lambda: list(order().objects.values_list("id")), 10),
    "get": (lambda: order().objects.get(id=3), 1),
    "first": (lambda: order().objects.first(), 1),
    "count": (lambda: order().objects.count(), 1),
    "none there": (lambda: list(order().objects.filter(id=99)), 0),
    "given up": (iterated, 6),
    "fetchone": (lambda: raw(lambda c: c.fetchone()), 1),
    "fetchmany": (lambda: raw(lambda c: c.fetchmany(4)), 4),
    "fetchmany, by name": (lambda: raw(lambda c: c.fetchmany(size=4)), 4),
    "fetchall": (lambda: raw(lambda c: c.fetchall()), 10),
    "each": (lambda: raw(list), 10),
    "not asked for": (lambda: raw(lambda c: None), None),
    "dropped": (dropped, 1),
    "one cursor for two": (twice, 6),
}


@pytest.mark.parametrize("way", FETCHES)
def test_rows_are_counted_as_they_are_fetched(way: str, taken: Taken) -> None:
    fetch, rows = FETCHES[way]
    (event,) = told(taken, fetch)
    assert (event.kind, event.layer, event.outcome) == (Kind.QUERY, "app", "success")
    assert (event.db_statement or "").lower().startswith("select")
    assert event.db_rows == rows


def many() -> None:
    with connection().cursor() as cursor:
        cursor.executemany("insert into shop_order (owner) values (%s)", [["a"], ["b"], ["c"]])


CHANGES: dict[str, tuple[Callable[[], object], int]] = {
    "create": (lambda: order().objects.create(owner="x"), 1),
    "update": (lambda: order().objects.filter(id__lt=4).update(owner=None), 3),
    "none": (lambda: order().objects.filter(id=99).update(owner=None), 0),
    "delete": (lambda: order().objects.filter(id__lt=4).delete(), 3),
    "many": (many, 3),
}


@pytest.mark.parametrize("way", CHANGES)
def test_changed_rows_are_counted(way: str, taken: Taken) -> None:
    change, rows = CHANGES[way]
    events = told(taken, change)
    assert [e.db_rows for e in events if (e.db_statement or "") != "BEGIN"] == [rows]


# --- one event for those alike -------------------------------------------------------------------


def test_statements_of_a_request_that_are_alike_are_one_event(taken: Taken) -> None:
    with serving("joe"):
        for n in range(1, 6):
            order().objects.get(id=n)
        assert taken.events == []
    event = taken.event
    assert (event.attributes, event.db_rows) == ({"statements": 5}, 5)
    assert (event.request_id, event.trace_id, event.user) == ("r-1", "a" * 32, "joe")
    assert event.db_system == "sqlite"
    assert (event.db_name or "").endswith("db.sqlite3")


def test_savepoints_are_alike_whatever_their_names(taken: Taken) -> None:
    atomic = import_module("django.db.transaction").atomic

    def work() -> None:
        with atomic():
            for _ in range(3):
                with atomic():
                    order().objects.count()

    counts = {e.db_statement: (e.attributes or {})["statements"] for e in told(taken, work)}
    assert counts["SAVEPOINT ?"] == counts["RELEASE SAVEPOINT ?"] == 3


def test_the_password_of_the_database_is_not_told(
    taken: Taken, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(connection().settings_dict, "USER", "app")
    monkeypatch.setitem(connection().settings_dict, "PASSWORD", "hunter2")
    (event,) = told(taken, order().objects.count)
    assert event.db_user == "app"
    assert "hunter2" not in repr(event)


def test_a_statement_that_the_driver_has_put_together_is_told_as_text() -> None:
    class Composed:
        def as_string(self, context: Any) -> str:
            assert context is None
            return "select 1"

    class Cursor:
        cursor = None

    assert django_db._composed(Composed(), Cursor()) == "select 1"
    assert django_db._composed(42, Cursor()) == "42"


# --- which connections ---------------------------------------------------------------------------


def test_a_connection_of_another_thread_is_watched_from_its_beginning(taken: Taken) -> None:
    def work() -> None:
        with serving():
            order().objects.count()
        connection().close()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert taken.event.db_rows == 1


def test_watching_twice_tells_once(taken: Taken) -> None:
    django_db.watch(client=taken)
    connection().close()
    connection().ensure_connection()
    (event,) = told(taken, order().objects.count)
    assert event.attributes == {"statements": 1}
    ours = [w for w in connection().execute_wrappers if isinstance(w, django_db._Listener)]
    assert len(ours) == 1


def test_a_connection_made_within_a_wrapper_of_the_applications_loses_neither(taken: Taken) -> None:
    calls: list[str] = []

    def theirs(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        calls.append(sql)
        return execute(sql, params, many, context)

    connection().close()
    connection().execute_wrappers.clear()
    with connection().execute_wrapper(theirs):
        told(taken, order().objects.count)
    assert len(calls) == 1
    (event,) = told(taken, order().objects.count)
    assert (event.db_rows, len(calls)) == (1, 1)


# --- no harm -------------------------------------------------------------------------------------


def everything() -> list[Any]:
    """All that an application can see of a database, at length."""
    seen: list[Any] = []
    utils = import_module("django.db.backends.utils")
    errors = import_module("django.db")
    with connection().cursor() as cursor:
        cursor.execute("select id, owner from shop_order order by id")
        seen += [isinstance(cursor, utils.CursorWrapper), type(cursor).__name__]
        seen += [type(cursor).__module__, type(cursor.cursor), cursor.description, cursor.rowcount]
        seen += [cursor.fetchone(), cursor.fetchmany(2), cursor.fetchmany(size=1), cursor.arraysize]
        rows = iter(cursor)
        seen += [type(rows), next(rows), list(rows), cursor.fetchone(), cursor.fetchall()]
        cursor.arraysize = 7
        seen += [cursor.arraysize, cursor.execute("select 1") is cursor.cursor]
        seen += [cursor.fetchall(), hasattr(cursor, "nothing"), cursor.db is not None]
        cursor.execute("insert into shop_order (id, owner) values (77, 'x')")
        seen += [cursor.lastrowid, cursor.rowcount, cursor.fetchall()]
        for wrong in ("select nothing", "insert into shop_order (owner) values ('u1')"):
            try:
                cursor.execute(wrong)
            except errors.Error as error:
                seen += [type(error), str(error), type(error.__cause__)]
    with connection().chunked_cursor() as cursor:
        cursor.execute("select id from shop_order")
        seen += [len(cursor.fetchmany(100))]
    try:
        cursor.fetchone()
    except errors.Error as error:
        seen += [type(error), str(error)]
    captured = import_module("django.test.utils").CaptureQueriesContext(connection())
    with captured:
        list(order().objects.all())
    seen += [[query["sql"] for query in captured.captured_queries]]
    order().objects.filter(id=77).delete()
    return seen


def test_a_watched_database_is_as_it_was(taken: Taken) -> None:
    watched = everything()
    assert len(taken.events) == 0
    unwatched()
    assert watched == everything()


def test_a_failure_is_told_and_is_no_success(taken: Taken) -> None:
    errors = import_module("django.db")

    def work() -> None:
        with pytest.raises(errors.IntegrityError):
            order().objects.create(owner="u1")

    (event,) = told(taken, work)
    assert (event.outcome, event.severity) == ("failure", "error")
    assert event.error_type == "django.db.utils.IntegrityError"
    assert event.error_message == "UNIQUE constraint failed: shop_order.owner"


def test_a_row_that_cannot_be_fetched_is_a_failure(taken: Taken) -> None:
    def explode(value: int) -> int:
        if value == 3:
            raise ValueError("three")
        return value

    errors = import_module("django.db")
    connection().connection.create_function("explode", 1, explode)

    def fetch(cursor: Any) -> None:
        cursor.execute("select explode(id) from shop_order")
        with pytest.raises(errors.OperationalError):
            list(cursor)

    events = told(taken, lambda: raw(fetch))
    assert [event.outcome for event in events] == ["success", "failure"]


@pytest.mark.parametrize("where", ["take", "current"])
def test_whatever_goes_wrong_with_us_the_application_does_not_hear_of_it(
    where: str, taken: Taken, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("ours")

    owner: Any = taken if where == "take" else queries
    monkeypatch.setattr(owner, where, fail)
    before = mishaps()
    with serving():
        seen = everything()
    assert mishaps() > before
    unwatched()
    assert seen == everything()


def test_a_cursor_that_cannot_count_is_left_as_it_is(taken: Taken) -> None:
    class Slotted:
        __slots__ = ()
        cursor = None
        description = (("a",),)
        rowcount = -1

    cursor = Slotted()
    at = queries.Statement(queries.Queries(taken), queries.Database("x", None, None), "select 1")
    django_db._Listener(queries.Queries(taken))._executed(at, cursor)
    assert type(cursor) is Slotted
    assert at.settled


def test_the_asynchronous_orm_is_watched_too(taken: Taken) -> None:
    async def work() -> list[int]:
        return [each.id async for each in order().objects.filter(id__lt=4)]

    with serving("joe"):
        assert asyncio.run(work()) == [1, 2, 3]
    event = taken.event
    assert (event.db_rows, event.user, event.request_id) == (3, "joe", "r-1")
