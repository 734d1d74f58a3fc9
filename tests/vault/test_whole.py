"""The vault with its real sealer, in a child process: deaths, holders, and files that move."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tocsin.errors import Damaged, KeyMissing, VaultBusy, VaultClosed
from tocsin.event.batch import Batch
from tocsin.vault import sealer
from tocsin.vault.keys import FileKey, file_key
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


def test_a_sealer_that_is_killed_is_begun_anew_and_nothing_is_lost(
    tmp_path: Path, key: FileKey, opened: Any, put: Put, rows_of: RowsOf
) -> None:
    vault = opened(epoch_rows=10)
    put(vault, 10, 0)
    vault.seal(20)
    kill(vault)
    for i in range(1, 4):
        put(vault, 10, 10 * i)
    until = time.monotonic() + 20
    while not vault.sealed_all and time.monotonic() < until:
        time.sleep(0.02)
    assert vault.sealed_all
    assert vault.status().sealer_restarts == 1
    assert vault.status().sealing_failed is None
    assert rows_of(vault) == list(range(40))
    vault.close()
    assert intact(tmp_path / "data", key)
    again = opened()
    assert rows_of(again) == list(range(40))


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
