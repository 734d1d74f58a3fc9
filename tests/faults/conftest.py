"""Lives of a vault that end badly, and what must hold afterwards."""

from __future__ import annotations

import importlib.util
import itertools
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import pytest

from tocsin.catalog import open_catalog
from tocsin.event.batch import Batch
from tocsin.vault import FileKey, Vault, file_key
from tocsin.vault.verify import verify

LONG = os.environ.get("TOCSIN_FAULTS") == "long"

LIFE = Path(__file__).with_name("life.py")

#: Every call that can change the data directory.
KINDS = (
    "write pwrite64 writev fdatasync fsync ftruncate rename renameat renameat2 "
    "unlink unlinkat link linkat mkdir mkdirat openat"
).split()

CALL = re.compile(r"(\w+)\((.*)")


@dataclass(frozen=True)
class Point:
    """The n-th call of a kind."""

    kind: str
    n: int


@dataclass(frozen=True)
class Told:
    """What a life said before its end."""

    acknowledged: dict[int, tuple[int, int]]  #: batch: first seq, rows
    lines: tuple[str, ...]

    @property
    def last(self) -> str:
        return self.lines[-1] if self.lines else ""


class Lives:
    """Begins lives under a tracer."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.kek = file_key(root / "kek", create=True).path
        self.count = 0
        self._catalog = root / "catalog.db"
        open_catalog(self._catalog).dispose()
        self._server = subprocess.Popen(
            [sys.executable, str(LIFE), "--serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def new(self) -> Path:
        """A fresh data directory.  Its catalog is there already: to make one is not our subject."""
        self.count += 1
        data = self.root / f"life{self.count}"
        data.mkdir(mode=0o700)
        shutil.copy(self._catalog, data / "catalog.db")
        return data

    def live(self, data: Path, *rules: str) -> Told:
        """One life over *data*, traced with *rules* (of strace)."""
        trace = data.with_suffix(".trace")
        server_in = cast("IO[str]", self._server.stdin)
        server_out = cast("IO[str]", self._server.stdout)
        server_in.write(f"{data} {self.kek}\n")
        server_in.flush()
        pid = int(server_out.readline())
        options = [f"trace={','.join(KINDS)}", *rules]
        expressions = [word for option in options for word in ("-e", option)]
        tracer = subprocess.Popen(
            ["strace", "-p", str(pid), "-s", "16", "-o", str(trace), *expressions],
            stderr=subprocess.PIPE,
            text=True,
        )
        errors = cast("IO[str]", tracer.stderr)
        said = errors.readline()
        assert "attached" in said, said
        os.kill(pid, signal.SIGCONT)
        try:
            tracer.wait(30)
        except subprocess.TimeoutExpired:
            os.kill(pid, signal.SIGKILL)  # a life that hangs is a failure, and ends here
            tracer.wait(10)
            raise
        finally:
            errors.close()
        server_out.readline()
        return read_tale(data)

    def points(self, data: Path) -> list[Point]:
        """The calls of the life that was traced over *data*, but opens that make nothing."""
        counts: dict[str, int] = {}
        found: list[Point] = []
        for line in data.with_suffix(".trace").read_text().splitlines():
            match = CALL.match(line)
            if match is None or match[1] not in KINDS:
                continue
            kind = match[1]
            counts[kind] = counts.get(kind, 0) + 1
            if kind != "openat" or "O_CREAT" in match[2]:
                found.append(Point(kind, counts[kind]))
        return found

    def close(self) -> None:
        cast("IO[str]", self._server.stdin).close()
        self._server.wait(10)
        cast("IO[str]", self._server.stdout).close()


def read_tale(data: Path) -> Told:
    """What the life over *data* said; a line without its end was not said."""
    tale = Path(f"{data}.tale")
    text = tale.read_text() if tale.exists() else ""
    lines = text[: text.rfind("\n") + 1].splitlines()
    acknowledged: dict[int, tuple[int, int]] = {}
    for line in lines:
        if line.startswith("ack "):
            number, first, rows = map(int, line.split()[1:])
            acknowledged[number] = first, rows
    return Told(acknowledged, tuple(lines))


class Batches:
    """Makes the batches of a life."""

    def __init__(self) -> None:
        spec = importlib.util.spec_from_file_location("tocsin_life", LIFE)
        assert spec is not None
        assert spec.loader is not None
        self.module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self.module)

    def __call__(self, number: int, rows: int) -> Batch:
        """The same batch each time."""
        made: Batch = self.module.batch(number, rows)
        return made

    @property
    def sizes(self) -> dict[int, int]:
        """Rows of each batch of a life."""
        return {n: s for n, s in enumerate(self.module.STEPS) if isinstance(s, int)}


def numbers(vault: Vault) -> list[int]:
    """Every row, in order."""
    found: list[int] = []
    seq = 0
    while seq < vault.next_seq:
        entries = vault.read(seq, 1000)
        assert entries.first_seq == seq, "no row is gone"
        found += entries.frame["source_seq"].to_list()
        seq = entries.next_seq
    return found


def check_after(lives: Lives, batches: Batches, data: Path, told: Told) -> None:
    """After any end: nothing acknowledged is lost, nothing is there twice, all of it verifies."""
    began = time.monotonic()
    key, sizes = FileKey(lives.kek), batches.sizes
    with Vault.open(data, key, sealing="inline", epoch_seconds=3600.0) as vault:
        assert time.monotonic() - began < 5, "back within 5 s"
        found = numbers(vault)
        for number, (first, rows) in told.acknowledged.items():
            assert found[first : first + rows] == [100 * number + i for i in range(rows)], number
        assert len(found) == len(set(found)), "nothing is there twice"
        whole = {n: [100 * n + i for i in range(rows)] for n, rows in sizes.items()}
        for number, values in whole.items():
            assert sum(v in set(values) for v in found) in (0, len(values)), (
                f"batch {number} is whole"
            )
        assert vault.recovery.lost_rows == 0
        assert vault.recovery.damaged == ()
        # The sender repeats whatever it has: each batch is there once, then.
        for number, rows in sizes.items():
            future = vault.append(batches(number, rows), source="life", batch_id=f"b{number}")
            receipt = future.result(10)
            assert receipt.repeated == (100 * number in found)
            if number in told.acknowledged:
                assert (receipt.first_seq, receipt.rows) == told.acknowledged[number]
        assert sorted(numbers(vault)) == sorted(v for rows in whole.values() for v in rows)
        vault.seal(10)
    report = verify(data, key.fetch(data), now=time.time_ns())
    assert report.verdict == "intact", report.problems
    assert report.rows == sum(sizes.values())
    for path in data.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, f"{path} is for its owner alone"


@pytest.fixture(scope="session")
def batches() -> Batches:
    """The batches of a life."""
    return Batches()


@pytest.fixture(scope="session")
def lives(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lives]:
    """Begins lives; needs a tracer."""
    if shutil.which("strace") is None:
        pytest.skip("strace: not installed, so no fault can be injected into a process")
    made = Lives(tmp_path_factory.mktemp("lives"))
    yield made
    made.close()


@pytest.fixture(scope="session")
def clean_points(lives: Lives, batches: Batches) -> list[Point]:
    """Every call of a life that nobody disturbs."""
    data = lives.new()
    told = lives.live(data)
    assert told.last == "end"
    assert "joined 4" in told.lines
    assert told.acknowledged.keys() == batches.sizes.keys()
    check_after(lives, batches, data, told)
    return lives.points(data)


@pytest.fixture(scope="session")
def check(lives: Lives, batches: Batches) -> Callable[[Path, Told], None]:
    """What must hold after any end of a life."""
    return lambda data, told: check_after(lives, batches, data, told)


@pytest.fixture(scope="session")
def sample() -> Callable[[Sequence[Point], float], Iterator[Point]]:
    """Some of the points, spread over all kinds of call, for so many seconds; or all of them."""
    return choose


def choose(points: Sequence[Point], seconds: float) -> Iterator[Point]:
    """At least one of each kind, then more, in an order that is the same each time."""
    if LONG:
        yield from points
        return
    chance = random.Random(1)
    kinds = sorted({point.kind for point in points})
    piles = [
        chance.sample(own, len(own)) for k in kinds if (own := [p for p in points if p.kind == k])
    ]
    until = time.monotonic() + seconds
    for turn, row in enumerate(itertools.zip_longest(*piles)):
        for point in row:
            if turn and time.monotonic() > until:
                return
            if point is not None:
                yield point
