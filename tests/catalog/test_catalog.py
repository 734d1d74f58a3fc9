"""The catalog opens, migrates, and says what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
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
