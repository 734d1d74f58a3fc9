"""The catalog opens, migrates, and says what is wrong with it."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory

import tocsin.catalog
from tocsin.catalog import cursors, metadata, open_catalog, writing
from tocsin.catalog.opening import HEAD
from tocsin.errors import Damaged, StorageFailed, VaultError


def test_the_migrations_make_exactly_the_tables_of_the_code(tmp_path: Path) -> None:
    engine = open_catalog(tmp_path / "catalog.db")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_head_is_the_newest_migration() -> None:
    config = Config()
    config.set_main_option(
        "script_location", str(Path(tocsin.catalog.__file__).parent / "migrations")
    )
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD


def test_what_was_committed_is_there_after_opening_again(tmp_path: Path) -> None:
    path = tmp_path / "catalog.db"
    with open_catalog(path).begin() as connection:
        connection.execute(cursors.insert().values(name="detect", seq=7))
    with open_catalog(path).connect() as connection:
        assert connection.execute(sa.select(cursors)).all() == [("detect", 7)]


def test_only_the_owner_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "catalog.db"
    with open_catalog(path).begin() as connection:
        connection.execute(cursors.insert().values(name="detect", seq=7))
        modes = {file.name: file.stat().st_mode & 0o777 for file in tmp_path.iterdir()}
    assert set(modes.values()) == {0o600}, modes


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "catalog.db"
    path.write_bytes(
        b"this is not SQLite, it is a text file, and long enough to be looked at\n" * 9
    )
    with pytest.raises(
        Damaged, match=r"not a readable catalog.*restore it from a backup.*aside.*come back"
    ):
        open_catalog(path)


def test_a_file_with_a_torn_page_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "catalog.db"
    open_catalog(path).dispose()
    whole = path.read_bytes()
    path.write_bytes(whole[:100] + b"\xff" * 4000 + whole[4100:])
    with pytest.raises(Damaged, match="malformed"):
        open_catalog(path)


def test_what_cannot_be_opened_is_not_called_damaged(tmp_path: Path) -> None:
    path = tmp_path / "catalog.db"
    path.mkdir()
    with pytest.raises(StorageFailed, match="let this user read and write it"):
        open_catalog(path)
    with pytest.raises(StorageFailed, match="cannot be made or opened"):
        open_catalog(tmp_path / "nowhere" / "catalog.db")


@pytest.mark.timeout(20)
@pytest.mark.parametrize("end", ["", "-wal", "-shm", "-journal"])
@pytest.mark.parametrize("kind", ["pipe", "link"])
def test_what_is_no_file_is_refused_and_never_waited_for(
    tmp_path: Path, end: str, kind: str
) -> None:
    path = tmp_path / "catalog.db"
    if end:
        open_catalog(path).dispose()
    place = tmp_path / f"catalog.db{end}"
    place.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(place)
    else:
        place.symlink_to("/dev/zero")
    with pytest.raises(Damaged, match=f"{place}: not a regular file; move it away"):
        open_catalog(path)


def test_a_catalog_that_another_process_holds_is_not_called_damaged(tmp_path: Path) -> None:
    path = tmp_path / "catalog.db"
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StorageFailed, match="another process holds it"):
        open_catalog(path, patience=0.1)
    holder.close()


def test_a_writer_that_waits_too_long_says_who_stands_in_its_way(tmp_path: Path) -> None:
    path = tmp_path / "catalog.db"
    engine = open_catalog(path, patience=0.1)
    other = open_catalog(path)
    with writing(other), pytest.raises(StorageFailed, match="another process"), writing(engine):
        pass


@pytest.mark.parametrize(
    ("pragma", "way_out"),
    [("max_page_count=1", "make room on the disk"), ("query_only=ON", "let this user")],
)
def test_a_full_or_read_only_catalog_says_the_way_out(
    tmp_path: Path, pragma: str, way_out: str
) -> None:
    engine = open_catalog(tmp_path / "catalog.db")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"PRAGMA {pragma}")
    with pytest.raises(StorageFailed, match=way_out), writing(engine) as connection:
        connection.execute(cursors.insert().values(name="x" * 100_000, seq=7))


def test_a_write_that_fails_midway_leaves_what_was_there(tmp_path: Path) -> None:
    engine = open_catalog(tmp_path / "catalog.db")

    def dies() -> None:
        with writing(engine) as connection:
            connection.execute(cursors.insert().values(name="detect", seq=7))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dies()
    with writing(engine) as connection:
        assert connection.execute(sa.select(cursors)).all() == []


def test_a_catalog_that_is_refused_is_let_go_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer, broken, nowhere = tmp_path / "newer.db", tmp_path / "broken.db", tmp_path / "no" / "c.db"
    with open_catalog(newer).begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    broken.write_bytes(b"no database" * 99)
    let_go, dispose = list[str | None](), sa.Engine.dispose

    def counted(engine: sa.Engine, close: bool = True) -> None:
        let_go.append(engine.url.database)
        dispose(engine, close)

    monkeypatch.setattr(sa.Engine, "dispose", counted)
    for path in (newer, broken, nowhere):
        with pytest.raises(VaultError):
            open_catalog(path)
    assert let_go == [str(newer), str(broken), str(nowhere)]


def test_a_catalog_of_a_newer_tocsin_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "catalog.db"
    with open_catalog(path).begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(VaultError, match="version 9999"):
        open_catalog(path)


def test_a_crash_in_the_midst_of_migrating_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "catalog.db"
    create, made = Operations.create_table, list[str]()

    def dies(operations: Operations, name: str, *columns: Any, **more: Any) -> Any:
        if len(made) == 4:
            raise KeyboardInterrupt
        made.append(name)
        return create(operations, name, *columns, **more)

    monkeypatch.setattr(Operations, "create_table", dies)
    with pytest.raises(KeyboardInterrupt):
        open_catalog(path)
    monkeypatch.undo()
    assert len(made) == 4
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == []
    connection.close()
    with open_catalog(path).begin() as opened:
        opened.execute(cursors.insert().values(name="detect", seq=7))


def test_several_processes_may_open_a_new_catalog_at_once(tmp_path: Path) -> None:
    code = "import sys, pathlib; from tocsin.catalog import open_catalog; "
    code += "open_catalog(pathlib.Path(sys.argv[1]))"
    many = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "catalog.db")])
        for _ in range(4)
    ]
    assert [process.wait(60) for process in many] == [0, 0, 0, 0]
