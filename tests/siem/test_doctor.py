"""The doctor looks at everything, changes nothing, and is upset by nothing that it finds."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tocsin.catalog import open_catalog, segments
from tocsin.errors import VaultError
from tocsin.settings import Follow, Loaded, Settings
from tocsin.siem import doctor
from tocsin.siem.access import SOCKET, NewToken, access
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


def test_what_up_would_refuse_about_the_settings_is_bad(data: Path) -> None:
    follow = [Follow(path="/var/log/a.log", parser="ngnix"), Follow(path="/b.log", parser="nginx")]
    (check,) = named(examine(loaded(data, follow=follow)), "settings")
    assert check.state == "bad"
    assert '/var/log/a.log: there is no parser "ngnix"; did you mean "nginx"?' in check.says
    assert [c.state for c in named(examine(loaded(data, follow=follow[1:])), "settings")] == [
        "good"
    ]
    (check,) = named(examine(loaded(data, listen="0.0.0.0:0")), "settings")
    assert "insecure" in check.says


def test_a_settings_file_that_is_left_out_is_told(data: Path) -> None:
    found = msgspec.structs.replace(loaded(data), left_out=("./tocsin.toml: not read: why",))
    (check,) = named(examine(found), "settings")
    assert (check.state, check.says) == ("warn", "./tocsin.toml: not read: why")


# A vault, and what may become of it.


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small vault that was stopped in order, with two segments."""
    data = tmp_path_factory.mktemp("made") / "data"
    for source in ("edge", "shop"):
        with access(loaded(data).settings, create=True) as house:
            house.create_token(NewToken(source=source), by="ann")
    return data


@pytest.fixture
def vault(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, to be harmed.  Rules, which take their time, are looked at elsewhere."""
    monkeypatch.setattr(doctor, "_rules", lambda _settings: ())
    shutil.copy2(made.parent / "kek", tmp_path / "kek")
    return Path(shutil.copytree(made, tmp_path / "data"))


def first_segment(data: Path) -> Path:
    return min((data / "segments").iterdir())


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def renew(path: Path) -> None:
    path.unlink()
    open_catalog(path).dispose()


def unlink_all(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


HARMS: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "zeros in the catalog": (
        "catalog", lambda d: (d / "catalog.db").write_bytes(bytes(8192)), "no readable catalog"),
    "no catalog": ("catalog", lambda d: (d / "catalog.db").unlink(), "is missing"),
    "an empty catalog": (
        "catalog", lambda d: (d / "catalog.db").write_bytes(b""), "no readable catalog"),
    "a new catalog": (
        "catalog",
        lambda d: renew(d / "catalog.db"),
        "empty, though the vault is not"),
    "no signing key": ("keys", lambda d: (d / "keys/signing.key").unlink(), "signing.key"),
    "no epoch key": ("keys", lambda d: (d / "keys/epoch.key").unlink(), "epoch.key"),
    "no catalog key": ("keys", lambda d: (d / "keys/catalog.key").unlink(), "catalog.key"),
    "a torn key": ("keys", lambda d: cut(d / "keys/signing.key"), "signing.key"),
    "no key of a segment": (
        "keys", lambda d: min((d / "keys").glob("seg.*")).unlink(), "seg.0000"),
    "no log": ("log", lambda d: shutil.rmtree(d / "log"), "checkpoint is missing"),
    "an empty checkpoint": ("log", lambda d: (d / "log/checkpoint").write_bytes(b""), "checkpoint"),
    "another checkpoint": ("log", lambda d: cut(d / "log/checkpoint"), "checkpoint"),
    "no tiles": ("log", lambda d: shutil.rmtree(d / "log/tile/0"), "missing"),
    "no segments": ("segments", lambda d: unlink_all(d / "segments"), "is gone"),
    "a torn segment": ("segments", lambda d: cut(first_segment(d)), "bytes, not"),
}  # fmt: skip


@pytest.mark.parametrize("harm", HARMS)
def test_what_is_gone_or_damaged_is_bad_and_the_way_out_is_named(vault: Path, harm: str) -> None:
    name, do, words = HARMS[harm]
    assert [c for c in examine(loaded(vault)) if c.state == "bad"] == []
    do(vault)
    (check,) = named(examine(loaded(vault)), name)
    assert check.state == "bad"
    assert words in check.says
    assert "tocsin " in check.mend
    before = state_of(vault)
    examine(loaded(vault))
    assert state_of(vault) == before


def test_an_epoch_key_that_has_seen_more_than_the_log_promises_is_bad(vault: Path) -> None:
    old = {p: p.read_bytes() for p in (vault / "log").rglob("*") if p.is_file()}
    with access(loaded(vault).settings) as house:
        house.create_token(NewToken(source="third"), by="ann")
    for path, content in old.items():
        path.write_bytes(content)
    (check,) = named(examine(loaded(vault)), "log")
    assert (check.state, "the epoch key has seen" in check.says) == ("bad", True)


def test_a_segment_that_was_set_aside_is_bad(vault: Path) -> None:
    engine = open_catalog(vault / "catalog.db")
    with engine.begin() as tx:
        tx.execute(segments.update().where(segments.c.first_seq == 0).values(quarantined="torn"))
    engine.dispose()
    (check,) = named(examine(loaded(vault)), "segments")
    assert (check.state, "in place again" in check.says) == ("warn", True)
    assert "takes back" in check.mend
    min((vault / "segments").iterdir()).unlink()
    (check,) = named(examine(loaded(vault)), "segments")
    assert (check.state, "set aside" in check.says) == ("bad", True)


def test_damage_to_what_is_not_sealed_yet_is_bad(
    vault: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        files = ()
        strange = ((vault / "wal" / "a.wal", "frame 1 does not authenticate"),)

    monkeypatch.setattr(doctor, "read_all", lambda *_: Broken())
    (check,) = named(examine(loaded(vault)), "unsealed")
    assert (check.state, "does not authenticate" in check.says) == ("bad", True)


def test_what_a_running_tocsin_says_of_itself_is_told(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (data / SOCKET).touch(mode=0o600)
    status: dict[str, Any] = {
        "next_seq": 100, "detected_seq": 90, "writing_failed": "no space left",
        "detection_losses": {"late": 7, "evicted": 3, "missed": 0, "hurried": 0},
    }  # fmt: skip

    class Running:
        def __init__(self, path: Path) -> None:
            assert path == data / SOCKET

        def __enter__(self) -> Running:
            return self

        def __exit__(self, *_: object) -> None:
            """Nothing to let go of."""

        def status(self) -> dict[str, Any]:
            return status

    monkeypatch.setattr(doctor, "answers", lambda _path: True)
    monkeypatch.setattr(doctor, "Remote", Running)
    checks = examine(loaded(data))
    assert ("bad", "no space left") in [(c.state, c.says) for c in named(checks, "server")]
    (detection,) = named(checks, "detection")
    assert detection.state == "warn"
    assert "7 late, 3 evicted" in detection.says
    del status["detection_losses"], status["writing_failed"]
    (detection,) = named(examine(loaded(data)), "detection")
    assert (detection.state, detection.says) == ("good", "10 events behind the vault")
