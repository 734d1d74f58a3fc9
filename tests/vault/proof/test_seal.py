"""Sealing, interrupted at every change of the disk and rolled forward, here and in a child."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, cast

import polars as pl
import pytest
import sqlalchemy as sa

from tocsin.catalog import deliveries, open_catalog
from tocsin.catalog import segments as catalog_segments
from tocsin.errors import Damaged, KeyWrong, StorageFailed, VaultBusy, VaultClosed
from tocsin.event.batch import SCHEMA
from tocsin.vault import seal, tlog
from tocsin.vault.disk import Disk
from tocsin.vault.jobs import SealJob
from tocsin.vault.keys import file_key
from tocsin.vault.seal import SealerProcess, alone
from tocsin.vault.sealer import Sealer


def log_of(house: Any) -> list[dict[str, Any]]:
    tiles = house.directory / "log/tile/entries"
    size = max(int(p.name) for p in tiles.glob("000.p/*"))
    return [json.loads(data) for data in tlog.entries(house.directory / "log", size)]


def test_a_life_is_told_in_entries(house: Any) -> None:
    entries = log_of(house)
    kinds = ["key", "start", "manifest", "manifest", "empty", "manifest", "stop"]
    assert [e["kind"] for e in entries] == kinds
    assert [e["epoch"] for e in entries if "epoch" in e] == [0, 1, 2, 3]
    assert [(e["first_seq"], e["last_seq"]) for e in entries if e["kind"] == "manifest"] == [
        (0, 11),
        (12, 20),
        (21, 25),
    ]
    assert "message:text:personal" in entries[3]["schema"]
    assert not any("message" in line for line in entries[2]["schema"])
    assert house.verify().verdict == "intact"
    assert house.verify().grade == "T2"


def test_the_next_life_continues_where_the_last_one_stopped(house: Any) -> None:
    sealer = house.another()
    recovered = sealer.recover()
    assert (recovered.next_seq, recovered.clean) == (26, True)
    assert sealer.first_epoch_key is None
    sealer.start("second")
    house.sealer = sealer
    house.seal(4)
    again = house.another().recover()
    assert (again.next_seq, again.clean) == (30, False)
    report = house.verify()
    assert report.verdict == "intact", report.problems
    assert house.frame()["seq"].to_list() == list(range(30))


def test_files_and_keys_of_the_log_are_gone_once_their_rows_are_sealed(house: Any) -> None:
    assert not list((house.directory / "wal").iterdir())
    names = {n.split(".")[0] for n in house.ring.names()}
    assert names == {"signing", "epoch", "seg"}


def test_batches_are_remembered_by_their_ids(build: Any) -> None:
    house = build()
    house.begin()
    from_frames = [house.write(_rows(3, i * 3), f"batch {i}") for i in range(2)]
    for job in from_frames:
        house.sealer.seal(job)
    with house.catalog.connect() as connection:
        found = connection.execute(sa.select(deliveries).order_by(deliveries.c.first_seq)).all()
    assert [(r.source, r.batch_id, r.first_seq, r.rows) for r in found] == [
        ("shop", "batch 0", 0, 3),
        ("shop", "batch 1", 3, 3),
    ]


def test_a_lost_catalog_is_made_again_from_log_and_segments(build: Any) -> None:
    house = build()
    house.begin()
    for i in range(3):
        house.sealer.seal(house.write(_rows(3, i * 3), f"batch {i}", content=f"mark {i}"))
    with house.catalog.begin() as connection:
        before = [tuple(r) for r in connection.execute(sa.select(catalog_segments))]
        taken = [tuple(r) for r in connection.execute(sa.select(deliveries))]
        assert [r[-1] for r in taken] == [f"mark {i}" for i in range(3)]
        connection.execute(sa.delete(catalog_segments))
        connection.execute(sa.delete(deliveries))
    house.another().recover()
    with house.catalog.connect() as connection:
        assert [tuple(r) for r in connection.execute(sa.select(catalog_segments))] == before
        assert [tuple(r) for r in connection.execute(sa.select(deliveries))] == taken


def test_a_job_that_is_asked_for_twice_is_sealed_once(build: Any) -> None:
    house = build()
    house.begin()
    job = house.write(_rows(5))
    data = job.paths[0].read_bytes()
    first = house.sealer.seal(job)
    job.paths[0].write_bytes(data)
    again = house.sealer.seal(job)
    assert (again.first_seq, again.last_seq, again.rows) == (0, 4, 5)
    assert again.checkpoint_size == first.checkpoint_size
    assert not job.paths[0].exists()
    assert house.frame().height == 5


def test_rows_that_are_missing_in_between_are_never_skipped(build: Any) -> None:
    house = build()
    house.begin()
    with pytest.raises(Damaged, match="rows in between are missing"):
        house.sealer.seal(SealJob((), 7, 3, 0))
    house.seal(2)
    assert house.verify().verdict == "intact"


def test_a_log_that_was_cut_is_not_continued(house: Any) -> None:
    log = house.directory / "log"
    checkpoint = (log / "checkpoint").read_bytes()
    house.sealer.recover()
    house.sealer.start("later")
    house.sealer.stop()
    (log / "checkpoint").write_bytes(checkpoint)
    with pytest.raises(Damaged, match="entries were cut off"):
        house.another().recover()


def test_an_epoch_key_that_was_put_back_is_not_used(house: Any) -> None:
    path = house.directory / "keys" / "epoch.key"
    old = path.read_bytes()
    house.sealer.recover()
    house.sealer.start("later")
    house.sealer.stop()
    path.write_bytes(old)
    with pytest.raises(Damaged, match="the key was put back"):
        house.another().recover()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("checkpoint", "missing, though there was a log"),
        ("tile/entries/000.p/7", "missing; no single bad byte explains it"),
        ("macs/000", "missing"),
    ],
)
def test_a_log_without_one_of_its_files_is_not_continued(
    house: Any, name: str, message: str
) -> None:
    (house.directory / "log" / name).unlink()
    with pytest.raises(Damaged, match=message):
        house.another().recover()


def test_a_checkpoint_that_another_key_signed_is_not_continued(house: Any, build: Any) -> None:
    other = build("other")
    other.begin()
    theirs = (other.directory / "log/checkpoint").read_bytes()
    (house.directory / "log/checkpoint").write_bytes(theirs)
    with pytest.raises(Damaged, match="not signed by any"):
        house.another().recover()


class Crash(BaseException):
    """The power went."""


class Falling(Disk):
    """Goes down at the n-th change of the disk, before it or after it."""

    def __init__(self, left: int = 10**9, *, after: bool = False) -> None:
        super().__init__()
        self.left, self.after, self.count = left, after, 0
        self.error: type[BaseException] = Crash

    def _change(self, do: Any) -> Any:
        self.count += 1
        self.left -= 1
        if self.left == 0 and not self.after:
            raise self.error(28, "no space left on device")
        found = do()
        if self.left == 0:
            raise self.error(5, "input/output error")
        return found

    def create(self, path: Path) -> int:
        return int(self._change(lambda: super(Falling, self).create(path)))

    def write(self, fd: int, buffers: Any) -> None:
        self._change(lambda: super(Falling, self).write(fd, buffers))

    def datasync(self, fd: int) -> None:
        self._change(lambda: None)

    def rename(self, old: Path, new: Path) -> None:
        self._change(lambda: super(Falling, self).rename(old, new))

    def unlink(self, path: Path) -> None:
        self._change(lambda: super(Falling, self).unlink(path))

    def sync_dir(self, path: Path) -> None:
        self._change(lambda: None)


def _rows(count: int, first: int = 0) -> Any:

    start = 1_700_000_000_000_000_000
    frame = pl.DataFrame(
        {
            "time": [start + i for i in range(first, first + count)],
            "observed": [start] * count,
            "kind": ["request"] * count,
            "user": [f"user{i}" for i in range(first, first + count)],
        }
    )
    return frame.cast({name: SCHEMA[name] for name in frame.columns})


def live(house: Any) -> None:
    """A life with all that a sealer does; what of it is done already is not done again."""
    house.begin(f"life {house.now}")
    done = house.sealer.recover().next_seq
    for job in house.jobs:
        if job.first_seq + job.rows > done:
            house.sealer.seal(job)
    house.empty()
    house.sealer.compact()
    house.sealer.stop()


def prepared(build: Any, name: str, disk: Falling) -> Any:
    house = build(name, disk)
    house.jobs = [house.write(_rows(3, 3 * i), f"batch {i}") for i in range(8)]
    return house


STEPS = 24  # each 24th change of the disk, before it and after it; each one in the long form


@pytest.mark.timeout(900)
@pytest.mark.parametrize("after", [False, True])
def test_whatever_change_of_the_disk_is_the_last_one_the_next_life_goes_on(
    build: Any, after: bool
) -> None:
    clean = Falling()
    house = prepared(build, "clean", clean)
    first = clean.count
    live(house)
    total = clean.count
    assert house.verify().verdict == "intact"
    assert len(house.shelves()) == 1
    step = 1 if os.environ.get("TOCSIN_FAULTS") == "long" else STEPS
    for number in range(first + 1 + after, total + 1, step):
        disk = Falling(after=after)
        house = prepared(build, f"at {number}", disk)
        disk.left = number - disk.count
        with contextlib.suppress(Crash):
            live(house)
        house.disk.left = 10**9
        live_again(house, number)
        house.close()


def live_again(house: Any, number: int) -> None:
    house.sealer = house.another()
    live(house)
    report = house.verify(mac=house.first_epoch_key is not None)
    assert report.verdict == "intact", (number, report.problems)
    assert report.rows == 24, number
    frame = house.frame()
    assert frame["seq"].to_list() == list(range(24)), number
    assert frame["user"].to_list() == [f"user{i}" for i in range(24)], number
    left = {p.stem for p in (house.directory / "segments").iterdir()}
    assert left == {s.segment.id for s in house.shelves()}, number
    keys = {n for n in house.ring.names() if n.startswith("seg.")}
    assert keys == {f"seg.{s}" for s in left}, number
    with house.catalog.connect() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(deliveries)) == 8


def test_an_error_of_the_disk_is_told_and_the_same_sealer_goes_on(build: Any) -> None:
    clean = Falling()
    house = prepared(build, "clean", clean)
    house.begin()
    first = clean.count
    house.sealer.seal(house.jobs[0])
    total = clean.count
    for number in range(first + 1, total + 1, 3):
        disk = Falling()
        house = prepared(build, f"error {number}", disk)
        house.begin()
        disk.left, disk.error = number - disk.count, OSError
        with pytest.raises(StorageFailed, match=r"no space left on device|data"):
            house.sealer.seal(house.jobs[0])
        for job in house.jobs:
            house.sealer.seal(job)
        house.sealer.stop()
        report = house.verify()
        assert report.verdict == "intact", (number, report.problems)
        assert report.rows == 24
        house.close()


def test_an_unpromised_manifest_whose_segment_changed_stops_recovery(build: Any) -> None:
    disk = Falling()
    house = prepared(build, "data", disk)
    house.begin()
    promise = house.sealer._promise
    house.sealer._promise = lambda _state: (_ for _ in ()).throw(Crash)
    with pytest.raises(Crash):
        house.sealer.seal(house.jobs[0])
    house.sealer._promise = promise
    (path,) = (house.directory / "segments").glob("*.parquet")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    good = path.read_bytes()
    path.write_bytes(data)
    with pytest.raises(Damaged, match=path.name):
        house.another().recover()
    path.write_bytes(good)
    assert house.another().recover().next_seq == 3


# -- the child ------------------------------------------------------------------------------------


@pytest.fixture
def child(build: Any) -> Any:
    house = build()
    process = SealerProcess(house.directory, house.source, catalog=house.directory / "catalog.db")
    yield house, process
    process.close()


def test_a_child_seals_as_we_do(child: Any) -> None:
    house, process = child
    assert process.recover().next_seq == 0
    house.first_epoch_key = process.first_epoch_key
    assert len(house.first_epoch_key) == 32
    process.start("child's life")
    jobs = [house.write(_rows(3, 3 * i)) for i in range(8)]
    done = [process.seal(job) for job in jobs]
    assert [f.result(20).first_seq for f in done] == [3 * i for i in range(8)]
    assert process.seal(SealJob((), 24, 0, 0)).result(20).rows == 0
    assert process.compact().result(20) == 8
    with pytest.raises(Damaged, match="rows in between are missing"):
        process.seal(SealJob((), 99, 1, 0)).result(20)
    process.stop()
    process.close()
    report = house.verify(now=time.time_ns())
    assert report.verdict == "intact", report.problems
    assert report.rows == 24


def test_a_child_that_dies_is_reported_and_never_waited_for(child: Any) -> None:
    house, process = child
    process.recover()
    process.start("short life")
    os.kill(process.pid, signal.SIGSTOP)
    waiting = process.seal(SealJob((), 0, 0, 0))
    os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(VaultClosed, match="ended with status -9"):
        waiting.result(10)
    assert not process.alive
    with pytest.raises(VaultClosed, match="start another"):
        process.seal(SealJob((), 0, 0, 0))
    another = SealerProcess(house.directory, house.source, catalog=house.directory / "catalog.db")
    assert another.recover().clean is False
    another.close()


def test_a_child_does_not_outlive_its_parent(build: Any) -> None:
    house = build()
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(house.directory), str(house.source.path)],
        stdout=subprocess.PIPE,
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    with pytest.raises(VaultBusy, match="another sealer is at work"), alone(house.directory, 0.1):
        pass
    parent.kill()
    parent.wait()
    parent.stdout.close()
    with alone(house.directory), pytest.raises(ProcessLookupError):  # waits for the orphan's end
        _until_gone(pid)


PARENT = """
import sys, time
from pathlib import Path
from tocsin.vault.keys import FileKey
from tocsin.vault.seal import SealerProcess
data = Path(sys.argv[1])
child = SealerProcess(data, FileKey(Path(sys.argv[2])), catalog=data / "catalog.db")
child.recover()
print(child.pid, flush=True)
time.sleep(60)
"""


def _until_gone(pid: int) -> None:
    until = time.monotonic() + 5
    while time.monotonic() < until:
        os.kill(pid, 0)
        status = Path(f"/proc/{pid}/status")
        if status.exists() and "State:\tZ" in status.read_text():
            raise ProcessLookupError  # ended; whoever inherited it has not looked yet
        time.sleep(0.01)


def test_a_child_with_the_wrong_key_says_so(child: Any, tmp_path: Path) -> None:
    house, process = child
    process.recover()
    process.close()

    wrong = file_key(tmp_path / "another kek", create=True)
    other = SealerProcess(house.directory, wrong, catalog=house.directory / "catalog.db")
    with pytest.raises(KeyWrong, match="want"):
        other.recover()
    other.close()


def test_a_catalog_opened_twice_serves_both(child: Any) -> None:
    house, process = child
    process.recover()
    engine = open_catalog(house.directory / "catalog.db")
    with engine.connect() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(deliveries)) == 0
    engine.dispose()


@pytest.mark.parametrize("verb", ["seal", "compact"])
def test_what_nobody_foresaw_is_an_answer_and_not_the_end(verb: str) -> None:
    class Broken:
        def compact(self) -> int:
            raise pl.exceptions.ShapeError("heights differ")

        def seal(self, _job: SealJob) -> None:
            raise pl.exceptions.ShapeError("heights differ")

    request = seal._Request(verb, job=SealJob((), 0, 0, 0))
    answer = seal._serve(cast("Sealer", Broken()), request)
    assert (answer.error, answer.message) == ("VaultError", "ShapeError: heights differ")
