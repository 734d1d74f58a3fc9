"""How fast the vault takes batches: durable, encrypted, acknowledged, and sealed behind."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import polars as pl

from tocsin.event.batch import SCHEMA, Batch
from tocsin.vault import Vault, file_key
from tocsin.vault.wal import encode

ROWS = 1_000  # a batch


def main(batches: int = 300) -> dict[str, float]:
    """Rows a second and latencies, for one caller and for eight."""
    figures: dict[str, float] = {}
    batch = Batch(requests(ROWS))
    figures["encode_us_per_row"] = _encode_cost(batch)
    with tempfile.TemporaryDirectory() as root:
        keys = file_key(Path(root) / "kek", create=True)
        began = time.perf_counter()
        with Vault.open(Path(root) / "data", keys, sealing="process") as vault:
            figures["open_s"] = time.perf_counter() - began
            for callers in (1, 8):
                figures |= _append(vault, batch, callers, batches)
            began = time.perf_counter()
            vault.seal()
            figures["drain_s"] = time.perf_counter() - began
            figures["rows"] = vault.next_seq
    return figures


def _encode_cost(batch: Batch) -> float:
    times: list[float] = []
    for _ in range(50):
        began = time.perf_counter()
        encode(batch.frame, source="bench", batch_id=None, at=0)
        times.append(time.perf_counter() - began)
    return statistics.median(times) / ROWS * 1e6


def _append(vault: Vault, batch: Batch, callers: int, batches: int) -> dict[str, float]:
    def one(_: int) -> float:
        began = time.perf_counter()
        vault.append(batch, source="bench", batch_id=None).result()
        return time.perf_counter() - began

    began = time.perf_counter()
    with ThreadPoolExecutor(callers) as pool:
        times = sorted(pool.map(one, range(batches)))
    rate = batches * ROWS / (time.perf_counter() - began)
    return {
        f"append_{callers}_rows_per_s": round(rate),
        f"append_{callers}_p50_ms": statistics.median(times) * 1e3,
        f"append_{callers}_p99_ms": times[int(len(times) * 0.99)] * 1e3,
    }


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


if __name__ == "__main__":
    print(json.dumps(main(), indent=2))
