"""Open a catalog, bringing its tables up to date first, and write to it one at a time."""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import DatabaseError

from tocsin.errors import Damaged, StorageFailed, VaultError

__all__ = ["HEAD", "open_catalog", "said", "writing"]

#: The newest migration.  A test holds it to the migrations' own chain.
HEAD = "0003"

_ALLOW = "let this user read and write it and its directory"
_WAIT = "another process holds it; wait for that one, or end it, and try again"
_WAYS_OUT = {
    sqlite3.SQLITE_FULL: "make room on the disk",
    sqlite3.SQLITE_BUSY: _WAIT,
    sqlite3.SQLITE_LOCKED: _WAIT,
    sqlite3.SQLITE_PERM: _ALLOW,
    sqlite3.SQLITE_READONLY: _ALLOW,
    sqlite3.SQLITE_CANTOPEN: _ALLOW,
}


def open_catalog(path: Path, *, patience: float = 30.0) -> sa.Engine:
    """The catalog at *path*, created or migrated as needed.

    Write-ahead logging, so that readers never wait; a full sync on each commit, since people's
    decisions are in it.  Writers wait *patience* seconds for each other.  Raises Damaged when the
    file is no database, StorageFailed when it cannot be opened or written, VaultError when it was
    written by a newer tocsin.
    """
    _refuse_what_is_no_file(path)
    engine = sa.create_engine(f"sqlite:///{path}", connect_args={"timeout": patience})
    event.listen(engine, "connect", _prepare)
    try:
        existed = path.exists()
        # Made here rather than by SQLite, whose side files take the mode that they find.
        path.touch(mode=0o600)
        version = _version(engine) if existed else None
        if version != HEAD:
            _migrate(engine, path, version)
    except BaseException as error:
        engine.dispose()
        if isinstance(error, DatabaseError):
            raise said(path, error) from error
        if isinstance(error, OSError):
            raise StorageFailed(
                f"{path}: cannot be made or opened: {error.strerror or error}; {_ALLOW}"
            ) from error
        raise
    return engine


@contextmanager
def writing(engine: sa.Engine) -> Generator[sa.Connection]:
    """A transaction in which what was read still holds when it is written.

    SQLite's driver begins by itself only at the first write, and what was read before that may
    be another writer's past.  So the write lock is taken first; others wait for it.  A crash inside
    leaves what was there before.  Raises Damaged or StorageFailed for what SQLite refuses.
    """
    try:
        with engine.begin() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection
    except DatabaseError as error:
        raise said(engine.url.database or "the catalog", error) from error


def said(place: Path | str, error: DatabaseError) -> VaultError:
    """What SQLite refused, in words of ours and with the way out."""
    code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF  # the rest is detail
    if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return Damaged(
            f"{place}: not a readable catalog ({error.orig}); restore it from a backup, or stop "
            f"tocsin, move {place} and its -wal and -shm files aside, and start `tocsin up`: "
            "segments, incidents, decisions and source keys come back from the vault; what does "
            "not: notifications still owed, places in followed files, when keys were last used"
        )
    way_out = _WAYS_OUT.get(code, "mend the disk")
    return StorageFailed(f"{place}: the catalog cannot be used ({error.orig}); {way_out}")


def _refuse_what_is_no_file(path: Path) -> None:
    """SQLite would wait for ever for a pipe in the place of one of its files, and follow a link."""
    for end in ("", "-wal", "-shm", "-journal"):
        place = path.with_name(f"{path.name}{end}")
        try:
            mode = place.lstat().st_mode
        except OSError:
            continue  # nothing there, or nothing that we may look at: the opening says which
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            raise Damaged(f"{place}: not a regular file; move it away")


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
    with writing(engine) as connection:
        # One transaction, which SQLite's driver would not begin for DDL by itself: a crash inside
        # leaves the old tables, and the next start tries again; a second process waits here.
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise VaultError(
                f"{path}: its tables have version {version}, which this tocsin does not know; "
                "use the tocsin that wrote it, or a newer one"
            ) from error
