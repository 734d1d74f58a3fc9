"""Open a catalog, bringing its tables up to date first."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import DatabaseError

from tocsin.errors import Damaged, VaultError

__all__ = ["HEAD", "open_catalog"]

#: The newest migration.  A test holds it to the migrations' own chain.
HEAD = "0001"


def open_catalog(path: Path) -> sa.Engine:
    """The catalog at *path*, created or migrated as needed.

    Write-ahead logging, so that readers never wait; a full sync on each commit, since people's
    decisions are in it.  Raises Damaged when the file is no database, VaultError when it was
    written by a newer tocsin.
    """
    existed = path.exists()
    # Made here rather than by SQLite, whose side files take the mode that they find.
    path.touch(mode=0o600)
    engine = sa.create_engine(f"sqlite:///{path}", connect_args={"timeout": 30.0})
    event.listen(engine, "connect", _prepare)
    try:
        version = _version(engine) if existed else None
        if version != HEAD:
            _migrate(engine, path, version)
    except DatabaseError as error:
        engine.dispose()
        raise Damaged(
            f"{path}: not a readable catalog ({error.orig}); move it away, and tocsin rebuilds "
            "what the vault needs of it"
        ) from error
    return engine


def _prepare(connection: sqlite3.Connection, _record: object) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute("PRAGMA secure_delete=ON")


def _version(engine: sa.Engine) -> str | None:
    with engine.connect() as connection:
        if not sa.inspect(connection).has_table("alembic_version"):
            return None
        version: str | None = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
        return version


def _migrate(engine: sa.Engine, path: Path, version: str | None) -> None:
    # Alembic is slow to import, and needed only when something changes.
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with engine.begin() as connection:
        # One transaction, which SQLite's driver would not begin for DDL by itself: a crash inside
        # leaves the old tables, and the next start tries again; a second process waits here.
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise VaultError(
                f"{path}: its tables have version {version}, which this tocsin does not know; "
                "use the tocsin that wrote it, or a newer one"
            ) from error
