"""How fast the vault takes batches: durable, encrypted, acknowledged, and sealed behind."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import polars as pl

from bench.report import Figure
from bench.server import vault_directory
from tocsin.event.batch import SCHEMA, Batch
from tocsin.vault import Vault, file_key
from tocsin.vault.wal import encode

ROWS = 1_000  # a batch


def main(batches: int = 300) -> list[Figure]:
    """Rows a second and latencies, for one caller and for eight."""
    batch = Batch(requests(ROWS))
    with vault_directory() as root:
        return list(_figures(root, batch, batches))


def _figures(root: Path, batch: Batch, batches: int) -> Iterator[Figure]:
    yield Figure.of("append: a batch of 1,000 encoded", _encode_cost(batch), "us/row")
    keys = file_key(root / "kek", create=True)
    began = time.perf_counter()
    with Vault.open(root / "data", keys, sealing="process") as vault:
        yield Figure.of("append: opening a new vault", time.perf_counter() - began, "s")
        for callers in (1, 8):
            yield from _append(vault, batch, callers, batches)
        began = time.perf_counter()
        vault.seal()
        yield Figure.of("append: sealing what was left", time.perf_counter() - began, "s")


def _encode_cost(batch: Batch) -> float:
    times: list[float] = []
    for _ in range(50):
        began = time.perf_counter()
        encode(batch.frame, source="bench", batch_id=None, at=0)
        times.append(time.perf_counter() - began)
    return statistics.median(times) / ROWS * 1e6


def _append(vault: Vault, batch: Batch, callers: int, batches: int) -> Iterator[Figure]:
    def one(_: int) -> float:
        began = time.perf_counter()
        vault.append(batch, source="bench", batch_id=None).result()
        return time.perf_counter() - began

    began = time.perf_counter()
    with ThreadPoolExecutor(callers) as pool:
        times = sorted(pool.map(one, range(batches)))
    rate = batches * ROWS / (time.perf_counter() - began)
    named = f"append: batches of 1,000, {callers} at once"
    yield Figure.of(f"{named}, durable", rate, "rows/s")
    yield Figure.of(f"{named}, p50", statistics.median(times) * 1e3, "ms")
    yield Figure.of(f"{named}, p99", times[int(len(times) * 0.99)] * 1e3, "ms")


def requests(rows: int) -> pl.DataFrame:
    """Request rows of 24 columns, with the variety of real ones."""
    n = pl.int_range(rows, eager=True)
    mixed = (n * 2_654_435_761) % 4_294_967_296
    time_ns = (1_700_000_000_000_000_000 + n * 1_000_000).cast(SCHEMA["time"])
    hexed = mixed.cast(pl.String).hash(1).cast(pl.String)
    columns: dict[str, pl.Series | str] = {
        "time": time_ns,
        "observed": time_ns,
        "duration_ns": mixed % 90_000_000,
        "kind": "request",
        "outcome": "success",
        "layer": "gateway",
        "source": "nginx-1",
        "service": "shop",
        "env": "prod",
        "host": "web-1",
        "user": (mixed % 5_000).cast(pl.String),
        "session": hexed,
        "client_ip": (mixed % 256).cast(pl.String),
        "user_agent": "Mozilla/5.0 (X11; Linux x86_64)",
        "method": "GET",
        "scheme": "https",
        "route": "/orders/{id}",
        "path": (mixed % 1_000_000).cast(pl.String),
        "query": (mixed % 100).cast(pl.String),
        "status": pl.Series([200, 200, 404, 401] * (rows // 4 + 1))[:rows],
        "bytes_out": mixed % 100_000,
        "trace_id": hexed.str.pad_start(32, "0"),
        "span_id": hexed.str.slice(0, 16),
        "parser": "nginx_json",
    }
    frame = pl.DataFrame(
        {k: v if isinstance(v, pl.Series) else pl.Series([v] * rows) for k, v in columns.items()}
    )
    return frame.select(pl.col(name).cast(SCHEMA[name]) for name in SCHEMA if name in columns)
