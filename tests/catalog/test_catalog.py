"""The catalog opens, migrates, and says what is wrong with it."""

from __future__ import annotations

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
from tocsin.catalog import cursors, metadata, open_catalog
from tocsin.catalog.opening import HEAD
from tocsin.errors import Damaged, VaultError


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
    with pytest.raises(Damaged, match="not a readable catalog"):
        open_catalog(path)


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
