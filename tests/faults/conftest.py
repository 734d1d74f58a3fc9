"""Lives of a vault that end badly, and what must hold afterwards."""

from __future__ import annotations

import itertools
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal, cast

import msgspec
import pytest
from tests.faults.aftermath import SIZES, Told, check_after, read_tale
from tests.faults.life import Wish

from tocsin.catalog import open_catalog
from tocsin.vault import file_key

LONG = os.environ.get("TOCSIN_FAULTS") == "long"

#: Seconds of processor time that the short form may take; it takes half of that.
BUDGET = 120.0
_spent: list[float] = []

ROOT = Path(__file__).parents[2]

#: Every call that can change the data directory.
KINDS = (
    "write pwrite64 writev fdatasync fsync ftruncate rename renameat renameat2 "
    "unlink unlinkat link linkat mkdir mkdirat openat"
).split()

CALL = re.compile(r"(\w+)\((.*)")

#: Whose calls are traced: those of the process that takes the batches, or of its sealing child.
Who = Literal["keeper", "sealer"]


@dataclass(frozen=True)
class Point:
    """The n-th call of a kind."""

    kind: str
    n: int


@pytest.fixture(autouse=True)
def _within_budget() -> Iterator[None]:
    """The short form stays short: on two quiet cores it takes about a minute, all of it together.

    What is counted is time of the processor, of which a busy machine takes no more.
    """
    before = os.times()[:4]
    yield
    _spent.append(sum(os.times()[:4]) - sum(before))
    assert LONG or sum(_spent) < BUDGET, f"{sum(_spent):.0f} s: let the short form sample less"


class Lives:
    """Begins lives under a tracer."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.kek = file_key(root / "kek", create=True).path
        self.count = 0
        self._catalog = root / "catalog.db"
        open_catalog(self._catalog).dispose()
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.life"],
            cwd=ROOT,
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

    def live(
        self,
        data: Path,
        *rules: str,
        sealing: Literal["inline", "process"] = "inline",
        who: Who = "keeper",
    ) -> Told:
        """One life over *data*; the calls of *who* are traced with *rules* (of strace)."""
        options = [f"trace={','.join(KINDS)}", *rules]
        expressions = [word for option in options for word in ("-e", option)]
        strace = ["strace", "-s", "16", "-o", str(data.with_suffix(".trace")), *expressions]
        # -D: the tracer is the child, so that the sealer is who its parent takes it for.
        under = (*strace, "-D") if who == "sealer" else ()
        wish = Wish(str(data), str(self.kek), sealing, under)
        server_in = cast("IO[str]", self._server.stdin)
        server_out = cast("IO[str]", self._server.stdout)
        server_in.write(f"{msgspec.json.encode(wish).decode()}\n")
        server_in.flush()
        pid = int(server_out.readline())
        if who == "sealer":
            os.kill(pid, signal.SIGCONT)
        else:
            _trace(pid, [*strace, "-p", str(pid)])
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


def _trace(pid: int, command: Sequence[str]) -> None:
    """Let the stopped process *pid* live under a tracer, to its end."""
    tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    errors = cast("IO[str]", tracer.stderr)
    said = errors.readline()
    assert "attached" in said, said
    os.kill(pid, signal.SIGCONT)
    try:
        tracer.wait(60)
    except subprocess.TimeoutExpired:
        os.kill(pid, signal.SIGKILL)  # a life that hangs is a failure, and ends here
        tracer.wait(10)
        raise
    finally:
        errors.close()


@pytest.fixture(scope="session")
def lives(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lives]:
    """Begins lives; needs a tracer."""
    if shutil.which("strace") is None:
        pytest.skip("strace: not installed, so no fault can be injected into a process")
    made = Lives(tmp_path_factory.mktemp("lives"))
    yield made
    made.close()


@pytest.fixture(scope="session")
def clean_points(lives: Lives) -> list[Point]:
    """Every call of a life that nobody disturbs, and that seals for itself."""
    return undisturbed(lives, "inline", "keeper")


@pytest.fixture(scope="session")
def clean_points_of(lives: Lives) -> Callable[[Who], list[Point]]:
    """Every call of one of the two processes of a life that nobody disturbs."""
    return lambda who: undisturbed(lives, "process", who)


def undisturbed(lives: Lives, sealing: Literal["inline", "process"], who: Who) -> list[Point]:
    """The calls of *who* in a life that goes well."""
    data = lives.new()
    told = lives.live(data, sealing=sealing, who=who)
    assert told.last == "end", told.lines
    assert "joined 4" in told.lines
    assert told.acknowledged.keys() == SIZES.keys()
    check_after(lives.kek, data, told)
    return lives.points(data)


@pytest.fixture(scope="session")
def check(lives: Lives) -> Callable[[Path, Told], None]:
    """What must hold after any end of a life."""
    return lambda data, told: check_after(lives.kek, data, told)


@pytest.fixture(scope="session")
def sample() -> Callable[[Sequence[Point], int], Iterator[Point]]:
    """Some of the points, spread over the kinds of call: so many; or all of them."""
    return choose


def choose(points: Sequence[Point], wanted: int) -> Iterator[Point]:
    """*wanted* of the points, kind by kind in turns, in an order that is always the same.

    So many, and not for so long: a busy machine tries no fewer.
    """
    if LONG:
        yield from points
        return
    chance = random.Random(1)
    kinds = sorted({point.kind for point in points})
    piles = [
        chance.sample(own, len(own)) for k in kinds if (own := [p for p in points if p.kind == k])
    ]
    chance.shuffle(piles)
    rows = itertools.zip_longest(*piles)
    yield from itertools.islice(filter(None, itertools.chain.from_iterable(rows)), wanted)
