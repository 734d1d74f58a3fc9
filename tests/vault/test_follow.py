"""Followers: none misses a row, however often it fails; one that knows too much is reported."""

from __future__ import annotations

from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tocsin.catalog import open_catalog
from tocsin.errors import Damaged
from tocsin.event.batch import Entries, empty
from tocsin.vault import CatalogCursors, catch_up
from tocsin.vault.follow import Follower, Log


class Numbers:
    """A log of empty rows, with holes where nothing is left."""

    def __init__(self, rows: int, gone: frozenset[int] = frozenset()) -> None:
        self.next_seq = rows
        self.gone = gone

    def read(self, start: int, limit: int) -> Entries:
        assert limit > 0
        while start in self.gone and start < self.next_seq:
            start += 1
        end = start
        while end < min(self.next_seq, start + limit) and end not in self.gone:
            end += 1
        return Entries(start, empty().clear(end - start))


class Clumsy:
    """Fails as told, and notes what it got."""

    def __init__(self, failures: list[bool]) -> None:
        self.name = "clumsy"
        self.failures = failures
        self.seen: list[int] = []

    def follow(self, entries: Entries) -> None:
        self.seen += range(entries.first_seq, entries.next_seq)
        if self.failures and self.failures.pop(0):
            raise RuntimeError("not now")


@settings(deadline=None)  # on a busy machine any example may take long
@given(
    st.integers(0, 60),
    st.lists(st.booleans(), max_size=20),
    st.integers(1, 20),
    st.frozensets(st.integers(0, 59), max_size=10),
)
def test_no_entry_is_skipped_however_often_a_follower_fails(
    rows: int, failures: list[bool], batch: int, gone: frozenset[int]
) -> None:
    log, follower, cursors = Numbers(rows, gone), Clumsy(failures), dict[str, int]()
    for _ in range(len(failures) + 1):
        try:
            catch_up(follower, log, cursors, batch)
            break
        except RuntimeError:
            continue
    assert set(follower.seen) == set(range(rows)) - gone
    assert cursors.get("clumsy", 0) == (rows if rows else 0)
    before = list(follower.seen)
    assert catch_up(follower, log, cursors, batch) == 0
    assert follower.seen == before


def test_the_cursor_moves_only_after_the_entries_are_taken() -> None:
    log, cursors = Numbers(10), dict[str, int]()

    class Watching(Clumsy):
        def follow(self, entries: Entries) -> None:
            assert cursors.get(self.name, 0) == entries.first_seq
            super().follow(entries)

    assert catch_up(Watching([]), log, cursors, 3) == 10


def test_a_cursor_beyond_the_log_is_reported_and_not_hidden() -> None:
    with pytest.raises(Damaged, match="lost 5 rows it had called durable"):
        catch_up(Clumsy([]), Numbers(10), {"clumsy": 15})


def test_entries_that_come_meanwhile_wait_for_the_next_time() -> None:
    log = Numbers(5)

    class Growing(Clumsy):
        def follow(self, entries: Entries) -> None:
            log.next_seq += 5
            super().follow(entries)

    assert catch_up(Growing([]), log, {}, 5) == 5


def test_cursors_are_kept_in_the_catalog(tmp_path: Path) -> None:
    cursors: MutableMapping[str, int] = CatalogCursors(open_catalog(tmp_path / "c.db"))
    assert cursors.get("detect", 0) == 0
    assert dict(cursors) == {}
    cursors["detect"] = 7
    cursors["detect"] = 9
    cursors["forward"] = 1
    again = CatalogCursors(open_catalog(tmp_path / "c.db"))
    assert dict(again) == {"detect": 9, "forward": 1}
    assert len(again) == 2
    del again["forward"]
    with pytest.raises(KeyError):
        again["forward"]
    with pytest.raises(KeyError):
        del again["forward"]


def test_a_vault_is_a_log_and_catches_its_followers_up(house: Any) -> None:
    vault = house.open()
    log: Log = vault
    follower: Follower = Clumsy([True])
    cursors: dict[str, int] = {}
    house.put(vault, 10)
    vault.seal(10)
    house.put(vault, 10, 10)
    with pytest.raises(RuntimeError):
        catch_up(follower, log, cursors, 4)
    assert catch_up(follower, log, cursors, 4) == 20
    assert isinstance(follower, Clumsy)
    assert follower.seen == [*range(4), *range(20)]
