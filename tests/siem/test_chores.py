"""Work beside the door goes on after failures, and says so once, not forever."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable

import pytest
from sqlalchemy.exc import OperationalError

from tocsin.siem import chores
from tocsin.siem.chores import Chore, briefly

FULL = OperationalError(
    "UPDATE tokens SET last_used_at=? WHERE id = ?", {"at": 1}, sqlite3.OperationalError("full")
)


def until(holds: Callable[[], object], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def run(step: Callable[[], object], failed: Callable[[str, BaseException], None]) -> Chore:
    chore = Chore("key-use", step, pause=0.01, failed=failed)
    chore.start()
    return chore


def test_a_failure_that_lasts_is_one_line_a_minute_and_told_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chores, "_LONGEST_PAUSE", 0.01)
    told: list[str] = []

    def step() -> None:
        raise FULL

    with caplog.at_level(logging.ERROR):
        chore = run(step, lambda name, error: told.append(f"{name} {briefly(error)}"))
        until(lambda: chore.failures > 20)
        assert chore.stop()
    assert told == ["key-use OperationalError: full"]
    (record,) = caplog.records
    assert record.getMessage() == "key-use failed and is tried again: OperationalError: full"
    assert record.exc_info is None


def test_what_could_not_be_told_is_told_when_something_can(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chores, "_LONGEST_PAUSE", 0.01)
    told: list[str] = []
    steps: list[int] = []

    def step() -> None:
        steps.append(1)
        if len(steps) < 4:
            raise OSError("no space left")

    def failed(name: str, error: BaseException) -> None:
        if len(steps) < 4:  # telling needs the very disk that is full
            raise FULL
        told.append(f"{name}: {error}")

    with caplog.at_level(logging.ERROR):
        chore = run(step, failed)
        until(lambda: told)
        assert chore.stop()
    assert told == ["key-use: no space left"]
    (record,) = caplog.records
    assert "nor can that be recorded now: OperationalError: full" in record.getMessage()


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (FULL, "OperationalError: full"),
        (ValueError("a\nb"), "ValueError: a"),
        (OSError(), "OSError"),
    ],
)
def test_an_error_is_said_in_one_line(error: Exception, words: str) -> None:
    assert briefly(error) == words
