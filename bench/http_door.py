"""The HTTP door with nothing behind it: a vault that forgets, so that only the door is measured.

The sender is a process of its own.  The cost of a request is the processor time of the door's
process, all its threads together, so a sender that is slower than the door does not hide it.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import msgspec
import polars as pl

from bench.load import Outcome, Spec
from bench.report import Figure
from bench.traffic import bodies
from tocsin.event.batch import SCHEMA, Batch
from tocsin.intake import PARSERS, parse, sniff
from tocsin.intake.http import Receipt, Road, app, receiver
from tocsin.intake.origin import Origin
from tocsin.intake.serve import listen, new_event_loop, serve
from tocsin.intake.tokens import Grant

__all__ = ["main"]

SECOND = 10**9
NOW = 1_790_000_000 * SECOND
RUNS = 3
KEY = "tocsin_bench_bench"


class Taken(msgspec.Struct, frozen=True):
    """A receipt."""

    first_seq: int
    rows: int
    repeated: bool = False
    same: bool = True


def main(requests: int = 3_000, batches: int = 150) -> list[Figure]:
    """Single events and batches of a thousand, without and with the decoder."""
    with TemporaryDirectory(prefix="tocsin-bench-") as folder:
        return list(_figures(Path(folder), requests, batches))


def _figures(folder: Path, requests: int, batches: int) -> Iterator[Figure]:
    one, thousand = folder / "one", folder / "thousand"
    one.write_bytes(msgspec.msgpack.encode(bodies(500, 1, start=NOW)))
    thousand.write_bytes(msgspec.msgpack.encode(bodies(20, 1_000, start=NOW)))
    for name, road in (("no decoder", _nothing()), ("decoder", _decoder())):
        rate, cost = _measure(folder, road, one, requests, connections=16, zstd=False)
        yield Figure.of(f"http door: 1-event requests, {name}", rate, "requests/s")
        yield Figure.of(f"http door: 1-event requests, {name}, cost", cost * 1e6, "us CPU/request")
        rate, cost = _measure(folder, road, thousand, batches, connections=4, zstd=True)
        yield Figure.of(f"http door: 1,000-event zstd requests, {name}", rate * 1_000, "events/s")
        yield Figure.of(
            f"http door: 1,000-event zstd requests, {name}, cost", cost * 1e3, "us CPU/event"
        )


def _nothing() -> Road:
    """No decoder: the same row for every body."""
    times = {name: [NOW] for name in ("time", "observed")}
    row = pl.DataFrame({**times, "kind": ["log"]}).cast(
        {name: SCHEMA[name] for name in ("time", "observed")}
    )
    batch = Batch(row)
    return Road(lambda *_: row, lambda *_: batch, sniff, PARSERS)


def _decoder() -> Road:
    return Road(parse, lambda frame, _origin: Batch(frame), sniff, PARSERS)


def _forget(batch: Batch, **_facts: object) -> Future[Receipt]:
    done: Future[Receipt] = Future()
    done.set_result(Taken(0, len(batch)))
    return done


def _measure(
    folder: Path, road: Road, body: Path, count: int, *, connections: int, zstd: bool
) -> tuple[float, float]:
    """Requests a second, and the door's processor seconds a request: medians of some runs."""
    grant = Grant(Origin(source="bench"))
    door = app(
        receiver(
            authenticate=lambda key: grant if key == KEY else None,
            decode=road,
            accept=_forget,
            clock=lambda: NOW,
        )
    )
    listener = listen(door, "127.0.0.1:0")
    port = int(listener.address.rpartition(":")[2])
    spec = Spec(
        port=port, key=KEY, bodies=str(body), count=count, connections=connections, zstd=zstd
    )
    ready = threading.Event()
    handles: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def run() -> None:
        handles.append((asyncio.get_running_loop(), asyncio.Event()))
        await serve(listener, stop=handles[0][1], ready=ready.set)

    def in_loop() -> None:
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.run(run())

    thread = threading.Thread(target=in_loop)
    thread.start()
    ready.wait(10)
    try:
        _send(folder, msgspec.structs.replace(spec, count=max(count // 10, 1)))
        runs = [_once(folder, spec) for _ in range(RUNS)]
    finally:
        loop, stop = handles[0]
        loop.call_soon_threadsafe(stop.set)
        thread.join()
    return median(rate for rate, _ in runs), median(cost for _, cost in runs)


def _once(folder: Path, spec: Spec) -> tuple[float, float]:
    began = time.process_time()
    outcome = _send(folder, spec)
    return outcome.sent / outcome.seconds, (time.process_time() - began) / outcome.sent


def _send(folder: Path, spec: Spec) -> Outcome:
    path = folder / "spec.json"
    path.write_bytes(msgspec.json.encode(spec))
    done = subprocess.run(
        [sys.executable, "-m", "bench.load", str(path)], capture_output=True, check=True
    )
    return msgspec.json.decode(done.stdout, type=Outcome)
