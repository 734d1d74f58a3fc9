"""The vault with its real sealer, in a child process: deaths, holders, and files that move."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tocsin.catalog import open_catalog
from tocsin.errors import (
    Damaged,
    KeyMissing,
    StorageFailed,
    UsageError,
    VaultBusy,
    VaultClosed,
)
from tocsin.event.batch import Batch
from tocsin.siem.early import sealer as sealer_process
from tocsin.vault import seal, sealer, store
from tocsin.vault.jobs import Sealed
from tocsin.vault.keys import FileKey, KeyRing, file_key
from tocsin.vault.sealing import Child
from tocsin.vault.store import Vault
from tocsin.vault.verify import verify

RowsOf = Callable[[Vault], list[int]]
Put = Callable[[Vault, int, int], None]


@pytest.fixture
def key(tmp_path: Path) -> FileKey:
    return file_key(tmp_path / "kek", create=True)


@pytest.fixture
def opened(tmp_path: Path, key: FileKey) -> Iterator[Callable[..., Vault]]:
    """Opens the one vault of the test; it is closed afterwards."""
    made: list[Vault] = []

    def make(**more: Any) -> Vault:
        made.append(Vault.open(tmp_path / "data", key, epoch_seconds=3600.0, **more))
        return made[-1]

    yield make
    for vault in made:
        vault.close()


@pytest.fixture
def put(frames: Any) -> Put:
    """Puts rows into a vault, acknowledged."""

    def do(vault: Vault, rows: int, first: int) -> None:
        vault.append(Batch(frames(rows, first)), source="shop", batch_id=None).result(10)

    return do


def kill(vault: Vault) -> None:
    """End the sealer's process, as the system does when memory runs out."""
    child = vault._sealing
    assert isinstance(child, Child)
    os.kill(child.pid, signal.SIGKILL)
    until = time.monotonic() + 10
    while child._child.alive and time.monotonic() < until:
        time.sleep(0.01)


def intact(data: Path, key: FileKey) -> bool:
    report = verify(data, key.fetch(data), now=time.time_ns())
    assert report.verdict == "intact", report.problems
    return True


def is_replaced_once(vault: Vault, put: Put, rows_of: RowsOf) -> None:
    """Whether *vault*, with ten rows and no working sealer, seals thirty more all the same."""
    for i in range(1, 4):
        put(vault, 10, 10 * i)
    until = time.monotonic() + 40
    while not vault.sealed_all and time.monotonic() < until:
        time.sleep(0.02)
    assert vault.sealed_all
    assert vault.status().sealer_restarts == 1
    assert vault.status().sealing_failed is None
    assert rows_of(vault) == list(range(40))


def test_a_sealer_that_is_killed_is_begun_anew_and_nothing_is_lost(
    tmp_path: Path, key: FileKey, opened: Any, put: Put, rows_of: RowsOf
) -> None:
    vault = opened(epoch_rows=10)
    put(vault, 10, 0)
    vault.seal(20)
    kill(vault)
    is_replaced_once(vault, put, rows_of)
    vault.close()
    assert intact(tmp_path / "data", key)
    again = opened()
    assert rows_of(again) == list(range(40))


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sealer shows that it lives often, and is soon missed."""
    monkeypatch.setattr(seal, "BEAT", 0.1)
    monkeypatch.setattr(seal, "SILENCE", 3.0)


def freeze(vault: Vault) -> None:
    """Stop the sealer's process where it is, as a debugger does, or a cgroup."""
    child = vault._sealing
    assert isinstance(child, Child)
    os.kill(child.pid, signal.SIGSTOP)


@pytest.mark.usefixtures("impatient")
def test_a_sealer_that_is_frozen_is_replaced_and_counted_as_one_that_died(
    tmp_path: Path, key: FileKey, opened: Any, put: Put, rows_of: RowsOf
) -> None:
    vault = opened(epoch_rows=10)
    put(vault, 10, 0)
    vault.seal(20)
    freeze(vault)
    is_replaced_once(vault, put, rows_of)
    vault.close()
    assert intact(tmp_path / "data", key)


@pytest.mark.usefixtures("impatient")
def test_a_frozen_sealer_is_told_with_the_reason(opened: Any, put: Put) -> None:
    vault = opened()
    put(vault, 5, 0)
    freeze(vault)
    with pytest.raises(VaultClosed, match="was ended: it showed no sign of life for 3 s"):
        vault.seal(30)


@pytest.mark.usefixtures("impatient")
def test_closing_does_not_wait_for_a_frozen_sealer(
    tmp_path: Path, key: FileKey, opened: Any, put: Put
) -> None:
    vault = opened()
    put(vault, 5, 0)
    freeze(vault)
    began = time.monotonic()
    vault.close()
    assert time.monotonic() - began < 30
    assert vault.sealed_all
    assert intact(tmp_path / "data", key)


def test_closing_does_not_wait_for_a_sealer_that_is_at_work_for_ever(
    tmp_path: Path, opened: Any, put: Put, rows_of: RowsOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It shows that it lives, and nothing else: its disk has gone, say."""
    monkeypatch.setattr(store, "CLOSING_SECONDS", 1.0)
    vault = opened()
    put(vault, 5, 0)
    process = vault._sealing._child

    def hang(_job: Any) -> Future[Any]:
        process._waiting.append(Future())
        return seal._decoded(process._waiting[-1], Sealed)

    monkeypatch.setattr(process, "seal", hang)
    began = time.monotonic()
    vault.close()
    assert time.monotonic() - began < 20
    assert not vault.sealed_all
    again = opened()
    assert rows_of(again) == list(range(5))


@pytest.mark.usefixtures("impatient")
def test_a_sealer_that_has_nothing_to_do_is_not_taken_for_frozen(opened: Any, put: Put) -> None:
    vault = opened()
    time.sleep(4.0)
    put(vault, 5, 0)
    vault.seal(20)
    assert vault.status().sealer_restarts == 0


@pytest.mark.parametrize("rows", [0, 5])
def test_closing_begins_a_dead_sealer_anew(
    tmp_path: Path, key: FileKey, opened: Any, put: Put, rows: int
) -> None:
    vault = opened()
    put(vault, 5, 0)
    vault.seal(20)
    kill(vault)
    if rows:
        put(vault, rows, 5)
    vault.close()
    assert vault.sealed_all
    assert vault.status().sealing_failed is None
    assert not list((tmp_path / "data/wal").glob("*.wal"))
    assert intact(tmp_path / "data", key)


def test_closing_after_the_sealer_died_in_a_compaction_raises_nothing(
    tmp_path: Path, key: FileKey, opened: Any, put: Put
) -> None:
    vault = opened()
    put(vault, 5, 0)
    vault.seal(20)
    kill(vault)
    with pytest.raises(VaultClosed, match="ended with status -9"):
        vault.compact(20)
    vault.close()
    assert vault.sealed_all
    assert intact(tmp_path / "data", key)


def test_closing_says_what_could_not_be_sealed(
    opened: Any, put: Put, rows_of: RowsOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault = opened()
    put(vault, 5, 0)
    kill(vault)

    def refuse() -> None:
        raise OSError("no process can be made")

    monkeypatch.setattr(vault._sealing, "_make", refuse)
    vault.close()
    assert not vault.sealed_all
    assert vault.status().jobs == 1
    assert "no process can be made" in str(vault.status().sealing_failed)
    again = opened()
    assert rows_of(again) == list(range(5))
    again.seal(20)
    assert again.sealed_all


def test_a_lost_catalog_is_made_again_and_said(
    tmp_path: Path, opened: Any, put: Put, rows_of: RowsOf
) -> None:
    vault = opened(sealing="inline")
    assert not vault.recovery.catalog_lost, "a new vault has lost nothing"
    vault.close()
    for sealed in range(3):
        for path in (tmp_path / "data").glob("catalog.db*"):
            path.unlink()
        vault = opened(sealing="inline")
        assert vault.recovery.catalog_lost
        assert vault.status().recovery.segments_entered == sealed
        assert rows_of(vault) == list(range(5 * sealed))
        put(vault, 5, 5 * sealed)
        vault.close()
        vault = opened(sealing="inline")
        assert (vault.recovery.catalog_lost, vault.recovery.segments_entered) == (False, 0)
        vault.close()


def test_keys_of_sources_may_be_made_before_the_vault(tmp_path: Path, opened: Any) -> None:
    (tmp_path / "data").mkdir(mode=0o700)
    open_catalog(tmp_path / "data/catalog.db").dispose()
    assert not opened(sealing="inline").recovery.catalog_lost


@pytest.mark.parametrize("mode", [0o777, 0o772, 0o770, 0o1777])
@pytest.mark.parametrize("folder", ["", "wal", "keys"])
def test_a_directory_that_others_can_write_to_is_refused_before_anything_is_made(
    tmp_path: Path, opened: Any, mode: int, folder: str
) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    (data / folder).mkdir(mode=0o700, exist_ok=True)
    (data / folder).chmod(mode)
    with pytest.raises(UsageError, match=rf"others can write.*chmod go-w {data / folder}$"):
        opened(sealing="inline")
    assert [path.name for path in data.iterdir()] == [folder] * bool(folder)
    (data / folder).chmod(0o750)
    opened(sealing="inline")


@pytest.mark.parametrize("me", [0, 4242])
def test_a_directory_of_somebody_elses_is_refused_to_root_as_well(
    tmp_path: Path, opened: Any, monkeypatch: pytest.MonkeyPatch, me: int
) -> None:
    (tmp_path / "data").mkdir(mode=0o700)
    stat = Path.stat

    def owned(path: Path, **more: Any) -> Any:
        found = list(stat(path, **more))
        found[4] = 4243
        return os.stat_result(found)

    monkeypatch.setattr(os, "geteuid", lambda: me)
    monkeypatch.setattr(Path, "stat", owned)
    with pytest.raises(
        UsageError, match=r"belongs to 4243, and this is .*; run tocsin as the first"
    ):
        opened(sealing="inline")


def test_a_key_inside_the_directory_leaves_nothing_behind(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with pytest.raises(UsageError, match="protects nothing"):
        file_key(data / "kek", create=True, data=data)
    with pytest.raises(UsageError, match="protects nothing"):
        Vault.open(data, FileKey(data / "kek"), sealing="inline")
    with pytest.raises(KeyMissing):
        KeyRing(data / "keys", FileKey(tmp_path / "nowhere"))
    assert list(tmp_path.iterdir()) == []


def fifo(path: Path) -> None:
    os.mkfifo(path)


def link(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.timeout(60)
@pytest.mark.parametrize("make", [fifo, link])
@pytest.mark.parametrize(
    "place",
    [
        "lock", "catalog.db", "catalog.db-journal", "catalog.db-wal", "keys/epoch.key",
        "keys/signing.key", "keys/rotation.new.key", "log/checkpoint", "log/macs/000",
        "log/tile/0/000.p/*", "log/tile/entries/000.p/*",
    ],
)  # fmt: skip
def test_what_is_no_file_is_refused_and_never_waited_for_nor_followed(
    tmp_path: Path, opened: Any, put: Put, place: str, make: Callable[[Path], None]
) -> None:
    vault = opened(sealing="inline")
    put(vault, 5, 0)
    vault.close()
    data = tmp_path / "data"
    for path in [*data.glob(place)] or [data / place]:
        path.unlink(missing_ok=True)
        make(path)
    with pytest.raises((Damaged, StorageFailed), match=r"not a regular file|cannot be opened"):
        opened(sealing="inline")


@pytest.mark.timeout(20)
@pytest.mark.parametrize("make", [fifo, link])
def test_a_sealers_lock_that_is_no_file_is_refused(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    (tmp_path / "log").mkdir()
    make(tmp_path / "log" / "sealer.lock")
    with (
        pytest.raises((Damaged, StorageFailed), match=r"not a regular file|cannot be opened"),
        seal.alone(tmp_path),
    ):
        pass


@pytest.mark.timeout(60)
@pytest.mark.parametrize("make", [fifo, link])
@pytest.mark.parametrize("place", ["segments", "idx"])
def test_a_segment_that_is_no_file_is_set_aside_and_a_filter_made_anew(
    tmp_path: Path, opened: Any, put: Put, place: str, make: Callable[[Path], None]
) -> None:
    vault = opened(sealing="inline")
    for i in range(2):
        put(vault, 5, 5 * i)
        vault.seal(20)
    (path, _) = sorted((tmp_path / "data" / place).iterdir())
    path.unlink()
    make(path)
    assert [s.maybe("user", "nobody") for s in vault.shelves()][:1] == [False]
    if place == "segments":
        assert vault.read(0, 100).first_seq == 5
        assert vault.status().quarantined == (path.name,)
    else:
        assert not any(s.maybe("user", "nobody") for s in vault.shelves())
        assert path.is_file()


def test_a_held_vault_names_its_holder(tmp_path: Path, key: FileKey, opened: Any) -> None:
    vault = opened(sealing="inline")
    with pytest.raises(VaultBusy, match=rf"held by process {os.getpid()} \(.+\) since \d{{4}}-"):
        Vault.open(tmp_path / "data", key, sealing="inline")
    vault.close()
    opened(sealing="inline")


def test_a_holder_that_was_killed_holds_nothing(tmp_path: Path, key: FileKey, opened: Any) -> None:
    (tmp_path / "data").mkdir()
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom tocsin.vault.lock import Lock\n"
        "lock = Lock(Path(sys.argv[1]))\nprint('held', flush=True)\ntime.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "data")], stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(VaultBusy, match=f"held by process {other.pid} "):
            Vault.open(tmp_path / "data", key, sealing="inline")
        other.kill()
    opened(sealing="inline")


@pytest.fixture
def compacted(opened: Any, put: Put, monkeypatch: pytest.MonkeyPatch) -> tuple[Vault, list[Any]]:
    """A vault, and the shelves that somebody holds whose files compaction has removed."""
    monkeypatch.setattr(sealer, "_RETIRED_AFTER", 0.0)
    vault = opened(sealing="inline")
    for i in range(8):
        put(vault, 5, 5 * i)
        vault.seal(20)
    held = vault.shelves()
    assert vault.compact(20) == 8
    put(vault, 5, 40)
    vault.seal(20)  # tidies up after the compaction
    assert not any(shelf.path.exists() for shelf in held)
    return vault, held


def test_a_file_that_compaction_replaced_is_not_taken_for_damage(
    compacted: tuple[Vault, list[Any]],
) -> None:
    vault, held = compacted
    for shelf in held:
        with pytest.raises((Damaged, KeyMissing)) as caught:
            shelf.scan().collect()
        assert vault.set_aside(shelf, caught.value) is None
    assert vault.status().quarantined == ()
    shelves = vault.shelves()
    assert [(s.first_seq, s.rows) for s in shelves] == [(40, 5), (0, 40)]
    assert pl.concat([s.scan().select("seq").collect() for s in shelves]).height == 45


def test_a_file_that_is_gone_and_was_not_replaced_is_damage(
    compacted: tuple[Vault, list[Any]],
) -> None:
    vault, _ = compacted
    shelf: Any = vault.shelves()[0]
    shelf.path.unlink()
    assert vault.set_aside(shelf, Damaged("missing")) == shelf.path.name
    assert vault.status().quarantined == (shelf.path.name,)
    # Another search that still holds it hears its name, and not that all is well.
    assert vault.set_aside(shelf, Damaged("missing")) == shelf.path.name
    assert [s.first_seq for s in vault.shelves()] == [0]


def test_who_follows_is_not_stopped_by_a_missing_key_and_reads_on_when_it_is_back(
    opened: Any, put: Put, rows_of: RowsOf
) -> None:
    vault = opened(sealing="inline")
    for first in (0, 10, 20):
        put(vault, 10, first)
        vault.seal(20)
    middle = vault.shelves()[1]
    path = vault.ring.path(f"seg.{middle.segment.id}")
    kept = path.read_bytes()
    path.unlink()
    assert rows_of(vault) == [*range(10), *range(20, 30)]
    (said,) = vault.status().locked
    assert middle.path.name in said
    assert str(path) in said
    assert middle.path.exists()
    assert vault.status().quarantined == ()
    path.write_bytes(kept)
    assert rows_of(vault) == list(range(30))
    assert vault.status().locked == ()


def test_a_segment_without_a_key_keeps_no_others_from_being_joined(
    opened: Any, put: Put, rows_of: RowsOf
) -> None:
    vault = opened(sealing="inline")
    for first in range(0, 100, 10):
        put(vault, 10, first)
        vault.seal(20)
    path = vault.ring.path(f"seg.{vault.shelves()[-1].segment.id}")
    kept = path.read_bytes()
    path.unlink()
    assert vault.compact(20) == 9
    path.write_bytes(kept)
    assert rows_of(vault) == list(range(100))


def test_a_sealer_that_was_begun_early_is_the_one_that_seals_and_else_ends_by_itself(
    tmp_path: Path, key: FileKey, opened: Any, put: Put
) -> None:
    early = sealer_process()
    vault = opened(sealer=early)
    put(vault, 3, 0)
    vault.seal(20)
    assert vault._sealing.pid == early.pid
    vault.close()
    assert early.returncode == 0
    assert intact(tmp_path / "data", key)
    unused = sealer_process()
    assert unused.stdin is not None
    unused.stdin.close()
    assert unused.wait(20) == 0
    assert unused.stdout is not None
    unused.stdout.close()
