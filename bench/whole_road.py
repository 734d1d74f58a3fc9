"""The whole road: batches over HTTP to a real ``tocsin up``, until sealed, proved and searched."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from bench.load import Spec
from bench.report import Figure
from bench.server import Server, corpora_rules, running, vault_directory
from bench.traffic import bodies

__all__ = ["main"]

SIZE = 1_000  #: events a body
DISTINCT = 600  #: bodies that differ: all of them, for repeats would compress too well
COUNT = 600  #: bodies sent in a timed run


def main() -> list[Figure]:
    """Throughput with every proof, disk use, memory, start."""
    rules = corpora_rules()
    named = "public web and proxy rules beside the pack" if rules else "the pack's rules"
    figures: list[Figure] = []
    with vault_directory() as directory:
        path = directory / "bodies"
        path.write_bytes(
            msgspec.msgpack.encode(bodies(DISTINCT, SIZE, start=time.time_ns() - 600 * 10**9))
        )
        with running(directory, rules=rules) as server:
            time.sleep(2)
            figures += [
                Figure.of("start", server.started_in, "s", at_most=3),
                Figure.of("idle memory", server.memory() / 2**20, "MB", at_most=400, against=named),
            ]
            spec = Spec(port=server.port, key=server.key("bench", layer="app"), bodies=str(path))
            figures += _road(server, msgspec.structs.replace(spec, connections=8))
            figures.append(_disk(server.data))
            hot = _killed(server, spec)
        with running(directory, rules=rules) as again:
            left = f"{hot:,} events not sealed yet"
            figures.append(
                Figure.of("restart after kill -9", again.started_in, "s", at_most=5, against=left)
            )
    return figures


def _road(server: Server, spec: Spec) -> Iterator[Figure]:
    server.load(msgspec.structs.replace(spec, count=100))  # warm
    _, sealed = server.settled()
    sent = msgspec.structs.replace(spec, count=COUNT)
    began = time.monotonic()
    before = server.status()["next_seq"]
    outcome = server.load(sent)
    last, then = server.settled()
    rows = server.status()["next_seq"] - before
    yield Figure.of(
        "whole road, acknowledged",
        rows / outcome.seconds,
        "events/s",
        against="8 connections, zstd",
    )
    yield Figure.of(
        "whole road, sealed, proved and searched",
        (then - sealed) / (last - began),
        "events/s",
        at_least=100_000,
    )
    latencies = sorted(outcome.latencies)
    yield Figure.of(
        "whole road, answer to a batch, p50", latencies[len(latencies) // 2] * 1e3, "ms"
    )
    yield Figure.of(
        "whole road, answer to a batch, p99", latencies[len(latencies) * 99 // 100] * 1e3, "ms"
    )
    yield Figure.of("whole road, batches pushed back", outcome.refused, "batches")


def _killed(server: Server, spec: Spec) -> int:
    """End *server* by force while much waits to be sealed; how much."""
    server.load(msgspec.structs.replace(spec, count=60))
    hot = int(server.status()["hot_rows"])
    server.process.kill()
    server.process.wait()
    return hot


def _disk(data: Path) -> Figure:
    used = sum(p.stat().st_blocks * 512 for p in data.rglob("*") if p.is_file())
    rows = (COUNT + 100) * SIZE
    return Figure.of("disk, everything included", used / rows, "bytes/event", at_most=150)
