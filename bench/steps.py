"""Where the time of the road goes, step by step, and what the proofs cost.

Each step is charged the processor time of the whole process, all its threads, while it runs, less
that of the steps within it; so the figures add up, and a busy machine disturbs little.  Bodies are
read one at a time here; the door reads those that wait together, which lies between the two sizes.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any, TypeVar
from unittest.mock import patch

import msgspec

from bench import http_door
from bench.load import Spec
from bench.report import Figure, scaled
from bench.server import Server, corpora_rules, running, vault_directory
from bench.traffic import bodies
from tocsin.catalog import open_catalog
from tocsin.detect import Engine
from tocsin.event.batch import Entries
from tocsin.intake import Origin, admit, parse
from tocsin.intake.admit import admit as admit_frame
from tocsin.siem.rulebook import load_rules
from tocsin.vault import KeyRing, file_key, merkle, recover, rows, segments, wal
from tocsin.vault.jobs import SealJob
from tocsin.vault.sealer import Sealer

__all__ = ["main"]

T = TypeVar("T")
SIZES = (1_000, 10_000)
EPOCH = 65_536
EPOCHS = 3  #: that count, after one that does not
TURNS = 2  #: of the whole road, with and without proofs
BODIES = scaled(330, 66)  #: a turn: five epochs of 66 bodies
ORIGIN = Origin(source="bench", layer="app")
HTTP = "HTTP and inflate"
PROOFS = ("seal: canonical rows", "seal: leaf hashes", "seal: tree", "seal: log and checkpoint")
SEALING = (
    "seal: read back", "seal: Parquet, encrypted", "seal: filters", "seal: table, file, catalog",
)  # fmt: skip
TAKING = (
    "parse", "signatures", "redact", "normalise", "WAL encode", "WAL encrypt, write, sync",
    "detect",
)  # fmt: skip


class Stopwatch:
    """Processor seconds by step; what runs within a step is charged to itself alone."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}
        self._within: list[float] = []

    @contextlib.contextmanager
    def on(self, step: str) -> Generator[None]:
        """Charge to *step*."""
        self._within.append(0.0)
        began = time.process_time()
        try:
            yield
        finally:
            whole = time.process_time() - began
            inner = self._within.pop()
            self.spent[step] = self.spent.get(step, 0.0) + whole - inner
            if self._within:
                self._within[-1] += whole

    def timed(self, step: str, do: Callable[..., T]) -> Callable[..., T]:
        """*do*, charged to *step*."""

        def charged(*given: Any, **named: Any) -> T:
            with self.on(step):
                return do(*given, **named)

        return charged


def main() -> list[Figure]:
    """The shares at two sizes of batch, then the proofs' price, on the road and in the sealer."""
    with vault_directory() as folder:
        figures = [figure for size in SIZES for figure in _shares(folder, size)]
        figures += _price(folder)
    return figures


# -- shares ---------------------------------------------------------------------------------------


def _shares(folder: Path, size: int) -> Iterator[Figure]:
    per_epoch = -(-EPOCH // size)
    made = bodies((EPOCHS + 1) * per_epoch, size, start=time.time_ns())
    watch = Stopwatch()
    with _instrumented(watch):
        _road(folder / f"road-{size}", made, per_epoch, watch)
    events = EPOCHS * per_epoch * size
    cost = {HTTP: _http(folder, made, size)}
    cost |= {step: watch.spent[step] / events for step in (*TAKING, *SEALING, *PROOFS)}
    whole = sum(cost.values())
    batches = f"batches of {size:,}"
    for step, seconds in cost.items():
        yield Figure.of(
            f"step {step}, {batches}",
            seconds * 1e6,
            "us CPU/event",
            against="of all steps",
            ratio=seconds / whole,
        )
    yield Figure.of(f"steps together, {batches}", whole * 1e6, "us CPU/event")
    yield Figure.of(f"steps: two busy cores would take, {batches}", 2 / whole, "events/s")
    proofs = sum(cost[step] for step in PROOFS)
    yield Figure.of(f"steps: proofs' share of the CPU, {batches}", 100 * proofs / whole, "%")


@contextlib.contextmanager
def _instrumented(watch: Stopwatch) -> Generator[None]:
    """The rooms' own functions, where the road calls them, with a watch on each."""
    places: list[tuple[Any, str, str]] = [
        (admit, "mark", "signatures"),
        (admit, "redact_frame", "redact"),
        (recover, "read_range", "seal: read back"),
        (rows, "_part", "seal: canonical rows"),
        (rows, "leaves", "seal: leaf hashes"),
        (merkle, "root", "seal: tree"),
        (segments, "write", "seal: Parquet, encrypted"),
        (segments, "build_filters", "seal: filters"),
        (segments, "write_filters", "seal: filters"),
        (Sealer, "_commit", "seal: log and checkpoint"),
        (Sealer, "seal", "seal: table, file, catalog"),
    ]
    with contextlib.ExitStack() as stack:
        for owner, name, step in places:
            stack.enter_context(
                patch.object(owner, name, watch.timed(step, getattr(owner, name)), create=False)
            )
        yield


def _road(folder: Path, made: Sequence[bytes], per_epoch: int, watch: Stopwatch) -> None:
    """Bodies to sealed segments in this thread, by the functions that the server calls."""
    engine = Engine(load_rules(corpora_rules()))
    state, seq = engine.start(bytes(32)), 0
    with _sealer(folder) as (at_work, ring):
        for start in range(0, len(made), per_epoch):
            if start == per_epoch:
                watch.spent.clear()  # the first epoch was for warming up
            file, first = wal.start_wal(folder / "data" / "wal", ring, seq), seq
            for body in made[start : start + per_epoch]:
                now = time.time_ns()
                with watch.on("parse"):
                    frame = parse(body, "tocsin", ORIGIN, now)
                with watch.on("normalise"):
                    batch = admit_frame(frame, ORIGIN)
                with watch.on("WAL encode"):
                    payload = wal.encode(batch.frame, source="bench", batch_id=None, at=now)
                with watch.on("WAL encrypt, write, sync"):
                    file.append([payload])
                with watch.on("detect"):
                    state, _ = engine.step(state, Entries(seq, batch.frame), now=now)
                seq += len(batch)
            file.close()
            at_work.seal(SealJob((file.path,), first, seq - first, 0))


@contextlib.contextmanager
def _sealer(folder: Path) -> Generator[tuple[Sealer, KeyRing]]:
    """A sealer of a new vault, in this process."""
    directory = folder / "data"
    (directory / "wal").mkdir(parents=True)
    ring = KeyRing(directory / "keys", file_key(folder / "kek", create=True))
    engine = open_catalog(directory / "catalog.db")
    made = Sealer(directory, ring, catalog=engine)
    made.recover()
    made.start("bench")
    try:
        yield made, ring
    finally:
        made.stop()
        engine.dispose()


def _http(folder: Path, made: Sequence[bytes], size: int) -> float:
    """Processor seconds an event of the door with nothing behind it."""
    path = folder / "http-bodies"
    path.write_bytes(msgspec.msgpack.encode(list(made[: 20_000 // size])))
    _, cost = http_door._measure(
        folder, http_door._nothing(), path, 100_000 // size, connections=4, zstd=True
    )
    return cost / size


# -- what the proofs cost -------------------------------------------------------------------------


def _price(folder: Path) -> Iterator[Figure]:
    """The same load to two servers in turn, of which one proves nothing."""
    path = folder / "bodies"
    path.write_bytes(msgspec.msgpack.encode(bodies(BODIES, 1_000, start=time.time_ns())))
    rules = corpora_rules()
    speeds: dict[str, list[_Turn]] = {"tocsin": [], "bench.unproved": []}
    with contextlib.ExitStack() as stack:
        servers: dict[str, tuple[Server, Spec]] = {}
        for program in speeds:
            place = folder / program
            place.mkdir()
            server = stack.enter_context(running(place, rules=rules, program=program))
            key = server.key("bench", layer="app")
            spec = Spec(port=server.port, key=key, bodies=str(path), count=BODIES, connections=8)
            server.load(msgspec.structs.replace(spec, count=66))  # warm, and a whole epoch
            server.settled()
            servers[program] = server, spec
        for _ in range(TURNS):
            for program, turns in speeds.items():
                turns.append(_turn(*servers[program]))
        proved, unproved = (_promises(server) for server, _ in servers.values())
        if unproved > 2 or proved < unproved + TURNS * BODIES // 66:
            raise RuntimeError(f"{proved} promises with proofs and {unproved} without were made")
    on, off = speeds["tocsin"], speeds["bench.unproved"]
    with_proofs, without = median(t.rate for t in on), median(t.rate for t in off)
    yield Figure.of("whole road, proofs on", with_proofs, "events/s", at_least=100_000)
    yield Figure.of("whole road, proofs off", without, "events/s")
    yield Figure.of(
        "whole road, what proofs cost",
        100 * (1 - with_proofs / without),
        "% of throughput",
        at_most=30,
        against="proofs off",
        ratio=with_proofs / without,
    )
    for name, turns in (("on", on), ("off", off)):
        yield Figure.of(
            f"whole road, sealer, proofs {name}", median(t.sealer for t in turns), "us CPU/event"
        )
        yield Figure.of(
            f"whole road, server, proofs {name}", median(t.server for t in turns), "us CPU/event"
        )


def _promises(server: Server) -> int:
    """How many entries the log's signed checkpoint promises."""
    return int((server.data / "log" / "checkpoint").read_text().splitlines()[1])


class _Turn(msgspec.Struct, frozen=True):
    rate: float  #: events a second until sealed and searched
    server: float  #: microseconds of processor time an event, sealer apart
    sealer: float


def _turn(server: Server, spec: Spec) -> _Turn:
    _, sealed = server.settled()
    before, began = _cpu(server), time.monotonic()
    server.load(spec)
    last, then = server.settled()
    after = _cpu(server)
    events = BODIES * 1_000
    return _Turn(
        (then - sealed) / (last - began),
        *(1e6 * (late - early) / events for early, late in zip(before, after, strict=True)),
    )


def _cpu(server: Server) -> tuple[float, float]:
    """Processor seconds so far of the server's process and of its children, the sealer."""
    pid = server.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return _used(str(pid)), sum(map(_used, children))


def _used(pid: str) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
