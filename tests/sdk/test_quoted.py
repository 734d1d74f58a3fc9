"""What databases and validators quote in their exceptions does not leave, wherever it is read."""

# Words of exceptions are long.
# ruff: noqa: E501, ISC004

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import import_module
from ipaddress import ip_address
from typing import Any

import pytest
from tests.sdk.requests import App, seen

from tocsin.event import Event
from tocsin.event.kinds import Level
from tocsin.sdk.failures import failure_of
from tocsin.sdk.options import Options
from tocsin.sdk.plain import plain, text
from tocsin.sdk.quoted import without_values, words_of
from tocsin.sdk.reading.reader import Reader
from tocsin.sdk.saying.bridges import LogHandler, StructlogProcessor
from tocsin.sdk.saying.log import Log
from tocsin.sdk.seen import Failure

SECRET = "S3cr3tPassw0rd"
LOGIN = f"joe' OR \"{SECRET}"


def exception(name: str, words: str, base: type[BaseException] = Exception) -> BaseException:
    """An exception of the class *name*, which is not installed here."""
    module, _, short = name.rpartition(".")
    made: BaseException = type(short, (base,), {"__module__": module, "__str__": lambda _: words})()
    return made


class Taken:
    """A client that finishes what it takes as the SDK's thread does."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._reader = Reader(Options(hash_key="test"))

    def take(self, item: Any) -> None:
        self.events.append(self._reader.finish(item))


SQLALCHEMY = (
    "(psycopg2.errors.UniqueViolation) duplicate key value violates unique constraint "
    f'"users_email_key"\nDETAIL:  Key (email)=({SECRET}) already exists.\n\n'
    f"[SQL: INSERT INTO users (name, pw) VALUES ('joe', '{SECRET}', 4711)]\n"
    f"[parameters: ('joe', '{SECRET}')]\n"
    "(Background on this error at: https://sqlalche.me/e/20/gkpj)"
)
MYSQL = f"(1062, \"Duplicate entry '{SECRET}' for key 'users.email'\")"

#: class, what it says, what of it is kept
QUOTING = [
    (
        "sqlalchemy.exc.IntegrityError",
        SQLALCHEMY,
        "(psycopg2.errors.UniqueViolation) duplicate key value violates unique constraint "
        "users_email_key\n[SQL: INSERT INTO users (name, pw) VALUES (?, ?, ?)]",
    ),
    (
        "sqlalchemy.exc.StatementError",
        f"(builtins.TypeError) no text: '{SECRET}'\n[SQL: SELECT 1 WHERE a = $$x$$]\n[parameters: "
        f"[{{'pw': '{SECRET}'}}]]",
        "(builtins.TypeError) no text: ?\n[SQL: SELECT ? WHERE a = ?]",
    ),
    ("pymysql.err.IntegrityError", MYSQL, "1062: Duplicate entry ? for key 'users.email'"),
    (
        "sqlalchemy.exc.IntegrityError",
        f"(pymysql.err.IntegrityError) {MYSQL}\n[SQL: x = \"{SECRET}\"]",
        "(pymysql.err.IntegrityError) 1062: Duplicate entry ? for key 'users.email'\n[SQL: x = ?]",
    ),
    (
        "MySQLdb.OperationalError",
        f"(1366, \"Incorrect integer value: 'it's {SECRET}' for column 'age' at row 1\")",
        "1366: Incorrect integer value: ? for column 'age' at row 1",
    ),
    (
        "psycopg.errors.NotNullViolation",
        'null value in column "email" of relation "users" violates not-null constraint\n'
        f"DETAIL:  Failing row contains (1, joe, {SECRET}).",
        "null value in column email of relation users violates not-null constraint",
    ),
    (
        "asyncpg.exceptions.InvalidTextRepresentationError",
        f'invalid input syntax for type integer: "{SECRET}\n{SECRET}"',
        "invalid input syntax for type integer: ?",
    ),
    (
        "psycopg2.errors.SyntaxError",
        f"syntax error at or near \"{SECRET}\"\nLINE 1: select '{SECRET}'\n        ^",
        "syntax error at or near ?",
    ),
    (
        "django.db.utils.IntegrityError",
        f"duplicate key value violates x\nDETAIL:  Key (email)=({SECRET}) already exists.\n",
        "duplicate key value violates x",
    ),
    ("django.db.utils.IntegrityError", "UNIQUE constraint failed: a.b", "UNIQUE constraint failed: a.b"),
    (
        "pyodbc.IntegrityError",
        f"('23000', \"[23000] The duplicate key value is ({SECRET}). (2627)\")",
        "(?",
    ),
    (
        "pymongo.errors.DuplicateKeyError",
        f'E11000 duplicate key error index: email_1 dup key: {{ email: "{SECRET}" }}',
        "E11000 duplicate key error index: email_1 ?",
    ),
    ("psycopg2.errors.StringDataRightTruncation", f"value '{SECRET}' is too long", "value ?"),
    (
        "pydantic_core._pydantic_core.ValidationError",
        "1 validation error for Login\npassword\n  String should have at least 20 characters "
        f"[type=string_too_short, input_value='{SECRET}', input_type=str]",
        "",
    ),
    ("marshmallow.exceptions.ValidationError", f"Must be one of: a. Not {SECRET}", ""),
    ("jsonschema.exceptions.ValidationError", f"'{SECRET}' is too short", ""),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "words", "kept"), QUOTING)
def test_what_is_quoted_is_left_out_and_what_went_wrong_is_not(
    kind: str, words: str, kept: str
) -> None:
    error = exception(kind, words)
    assert words_of(error) == kept
    assert failure_of(error).message == kept
    assert text(error) == kept
    assert plain({"error": error}) == {"error": kept}
    assert without_values(words, kind) == kept  # told as text
    assert SECRET not in without_values(words, kind.rpartition(".")[2])  # by its bare name


@pytest.mark.parametrize(("kind", "words", "kept"), QUOTING)
def test_a_log_of_such_an_exception_says_no_more_than_that(
    kind: str, words: str, kept: str
) -> None:
    taken = Taken()
    logger = logging.Logger("app")
    logger.addHandler(LogHandler(client=taken))
    process = StructlogProcessor(client=taken)
    try:
        raise exception(kind, words)
    except Exception as error:
        logger.exception("bad")
        logger.error("bad: %s", error)
        logger.error(error)
        logger.warning("bad", extra={"error": error, "more": {"why": [error]}})
        process(logger, "error", {"event": "bad", "exc_info": True})
        process(logger, "error", {"event": "bad: %s", "positional_args": (error,)})
        process(logger, "error", {"event": error, "error": error})
        Log(taken).sys_crash(error=error, reason=words if words is SQLALCHEMY else "x")
        told = f'Traceback (most recent call last):\n  File "a.py", line 1, in f\n{kind}: {words}'
        process(logger, "error", {"event": "bad", "exception": told})
        short = {"exc_type": kind.rpartition(".")[2], "exc_value": words, "frames": []}
        process(logger, "error", {"event": "bad", "exception": [short]})
    assert len(taken.events) == 10
    assert SECRET not in repr(taken.events)
    assert (taken.events[0].error_message or "") == kept
    assert taken.events[0].error_type == kind


def test_words_that_an_application_made_of_such_an_exception_are_cleaned_all_the_same() -> None:
    for words in (
        f"could not save: {SQLALCHEMY}",
        f"could not save: Key (email)=({SECRET}) already exists.",
        f"could not save: Failing row contains (1, {SECRET}, (x)).",
        f"a [type=x, input_value='{SECRET}, input_type=x', input_type=str]\nb",
    ):
        assert SECRET not in without_values(words)
        taken = Taken()
        Log(taken).sys_crash(reason=words, message=words)
        assert SECRET not in repr(taken.events)
        events = App()("POST /a", 500, failure=Failure("app.Boom", words, ""))
        assert SECRET not in repr(events)
        assert any((event.error_message or "").startswith(words[:10]) for event in events)


@pytest.mark.parametrize(
    "words",
    ["no such thing", "f(a)=(b) is true", "the Key is gone", 'it\'s not "here"', "a\nb", ""],
)
def test_words_without_values_stay_as_they_are(words: str) -> None:
    assert words_of(RuntimeError(words)) == words
    assert without_values(words) == words
    assert without_values(words, "app.errors.NotHere") == words


def _raised(fails: Callable[[], object]) -> Exception:
    try:
        fails()
    except Exception as error:
        return error
    raise AssertionError("it did not fail")


def strptime(text: str) -> datetime:
    return datetime.strptime(text, "%Y").replace(tzinfo=UTC)


#: what fails, what of its words is kept
PYTHON: list[tuple[Callable[[], object], str]] = [
    (lambda: int(SECRET), "invalid literal for int() with base 10: ?"),
    (lambda: int(f"it's {SECRET}"), "invalid literal for int() with base 10: ?"),
    (lambda: int(f"it's \"{SECRET}"), "invalid literal for int() with base 10: ?"),
    (lambda: float(SECRET.encode()), "could not convert string to float: ?"),
    (lambda: strptime(SECRET), "time data ? does not match format ?"),
    (lambda: strptime(f"2026{SECRET}"), "unconverted data remains: ?"),
    (lambda: datetime.fromisoformat(SECRET), "Invalid isoformat string: ?"),
    (lambda: dict[str, int]()[SECRET], "?"),
    (lambda: dict[tuple[str, int], int]()[SECRET, 4711], "?"),
    (lambda: ip_address(SECRET), "? does not appear to be an IPv4 or IPv6 address"),
    (lambda: Level(SECRET), "? is not a valid Level"),
    (lambda: SECRET.encode().decode(SECRET), "unknown encoding: ?"),
    (
        lambda: b"\xff".decode("utf-8"),
        "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte",
    ),
    (lambda: json.loads(f"{{{SECRET}"), str(_raised(lambda: json.loads(f"{{{SECRET}")))),
]


@pytest.mark.parametrize(("fails", "kept"), PYTHON)
def test_what_python_itself_repeats_is_left_out(fails: Callable[[], object], kept: str) -> None:
    error = _raised(fails)
    words = str(error)
    assert words_of(error) == kept
    taken = Taken()
    logger = logging.Logger("app")
    logger.addHandler(LogHandler(client=taken))
    logger.error("bad", exc_info=error)
    logger.error("bad: %s", error)
    told = f'Traceback (most recent call last):\n  File "a.py", line 1, in f\n{type(error).__name__}: {words}'
    StructlogProcessor(client=taken)(logger, "error", {"event": "bad", "exception": told})
    assert [event.error_message for event in taken.events] == [kept, None, kept]
    assert SECRET not in repr(taken.events)


def test_what_python_repeats_is_left_out_of_what_an_application_makes_of_it() -> None:
    for fails in (lambda: int(SECRET), lambda: float(SECRET), lambda: strptime(SECRET)):
        words = f"no such number: {_raised(fails)}"
        events = App()("POST /a", 500, failure=Failure("app.Boom", words, ""))
        assert SECRET not in repr(events)
        kept = words_of(_raised(fails)).replace("format ?", "format '%Y'")
        assert events[1].error_message == f"no such number: {kept}"


def test_names_of_a_program_stay() -> None:
    unknown: Any = 7
    for fails in (lambda: unknown.nothing, lambda: import_module("no_such"), lambda: len(unknown)):
        error = _raised(fails)
        assert words_of(error) == str(error)


def test_a_real_database_and_its_real_words() -> None:
    with sqlite3.connect(":memory:") as database:
        database.execute("create table users (email text unique)")
        with pytest.raises(sqlite3.OperationalError) as raised:
            database.execute(f"select * from users where email = '{LOGIN}'")
    database.close()
    assert SECRET in str(raised.value)
    assert SECRET not in words_of(raised.value)
    request = seen("GET /users", 500, failure=failure_of(raised.value))
    assert SECRET not in repr(App().take(request))


def test_an_exception_that_cannot_be_told_is_named_by_its_class() -> None:
    class Odd(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    assert text(Odd()) == "<unprintable Odd>"
