"""The doctor looks at everything, changes nothing, and is upset by nothing that it finds."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tocsin.catalog import open_catalog
from tocsin.errors import VaultError
from tocsin.settings import Follow, Loaded, Settings
from tocsin.siem import doctor
from tocsin.siem.access import SOCKET
from tocsin.siem.doctor import Check, examine


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory with a catalog in it that nobody has open."""
    made = tmp_path / "data"
    made.mkdir(mode=0o700)
    open_catalog(made / "catalog.db").dispose()
    return made


def loaded(data: Path, **more: object) -> Loaded:
    settings = Settings(data=str(data), kek_file=str(data.parent / "kek"), **more)  # type: ignore[arg-type]  # the test's own
    return Loaded(settings=settings, origins={}, unknown=())


def named(checks: list[Check], name: str) -> list[Check]:
    return [check for check in checks if check.name == name]


def state_of(data: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in (data, *data.rglob("*"))
    }


def seal(data: Path, at: int) -> None:
    with sqlite3.connect(data / "catalog.db") as connection:
        connection.execute("PRAGMA foreign_keys=OFF")
        columns = connection.execute("PRAGMA table_info(segments)").fetchall()
        values = {
            name: (at if name == "sealed_at" else 0 if "INT" in kind.upper() else b"x" * 32)
            for _, name, kind, *_ in columns
        }
        marks = ", ".join("?" * len(values))
        connection.execute(
            f"INSERT INTO segments ({', '.join(values)}) VALUES ({marks})", list(values.values())
        )
    connection.close()


def test_looking_changes_nothing(data: Path) -> None:
    before = state_of(data)
    (clock,) = named(examine(loaded(data)), "clock")
    assert clock.state == "good"
    assert state_of(data) == before


def test_a_catalog_of_another_age_is_neither_migrated_nor_made(data: Path) -> None:
    catalog = data / "catalog.db"
    catalog.write_bytes(b"")  # an empty database: opening it for writing would fill it
    (clock,) = named(examine(loaded(data)), "clock")
    assert clock.state == "warn"
    assert catalog.read_bytes() == b""
    catalog.write_bytes(b"no database at all" * 100)
    (clock,) = named(examine(loaded(data)), "clock")
    assert "could not be compared" in clock.says


@pytest.mark.parametrize("written_to", [False, True])
def test_a_clock_behind_the_last_seal_is_found(data: Path, written_to: bool) -> None:
    seal(data, time.time_ns() + 3600 * 10**9)
    engine = open_catalog(data / "catalog.db")
    try:
        if written_to:  # as a running tocsin does: with a log of writes beside the catalog
            with engine.begin() as connection:
                connection.exec_driver_sql("CREATE TABLE x (y)")
            assert (data / "catalog.db-wal").exists()
        else:
            engine.dispose()
        (clock,) = named(examine(loaded(data)), "clock")
    finally:
        engine.dispose()
    assert clock.state == "bad"
    assert "behind the vault's last seal" in clock.says


def test_a_file_that_vanishes_while_it_looks_is_no_trouble(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Path.stat

    def stat(self: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        if self.name == "gone.wal":
            raise FileNotFoundError(2, "No such file or directory", str(self))
        return whole(self, follow_symlinks=follow_symlinks)

    (data / "gone.wal").touch(mode=0o666)
    monkeypatch.setattr(Path, "stat", stat)
    (permissions,) = named(examine(loaded(data)), "permissions")
    assert permissions.state == "good"
    (data / "catalog.db").chmod(0o644)
    (permissions,) = named(examine(loaded(data)), "permissions")
    assert "1 files can be reached by others" in permissions.says


def test_a_directory_that_cannot_be_looked_into_is_named(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def walk(
        top: Path, **how: Callable[[OSError], object]
    ) -> Iterator[tuple[str, list[str], object]]:
        how["onerror"](PermissionError(13, "Permission denied", str(top / "keys")))
        yield str(top), [], []

    monkeypatch.setattr(os, "walk", walk)
    (permissions,) = named(examine(loaded(data)), "permissions")
    assert permissions.state == "bad"
    assert str(data / "keys") in permissions.says


def test_a_socket_that_cannot_be_asked_is_reported(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (data / SOCKET).touch(mode=0o600)

    def refused(path: Path) -> bool:
        raise VaultError(f"{path}: cannot be asked: Permission denied")

    monkeypatch.setattr(doctor, "answers", refused)
    (server,) = named(examine(loaded(data)), "server")
    assert server.state == "bad"
    assert "cannot be asked" in server.says


def test_a_followed_file_with_an_unknown_parser_is_bad(data: Path) -> None:
    follow = [Follow(path="/var/log/a.log", parser="ngnix"), Follow(path="/b.log", parser="nginx")]
    (check,) = named(examine(loaded(data, follow=follow)), "settings")
    assert (check.state, check.mend) == ("bad", 'did you mean "nginx"?')
    assert "/var/log/a.log" in check.says
    assert [c.state for c in named(examine(loaded(data, follow=follow[1:])), "settings")] == [
        "good"
    ]
