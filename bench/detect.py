"""How fast detection is: one counting rule alone, and the whole engine with our rules."""

from __future__ import annotations

from statistics import median
from time import perf_counter, process_time

import numpy as np
import polars as pl

from bench.report import Figure
from tocsin.detect import Engine, compile_rules, pack
from tocsin.detect.correlate import DistinctCount, EventCount, Rows
from tocsin.event.batch import SCHEMA, Entries

S = 1_000_000_000
BEGIN = 1_767_866_400 * S


def counting(total: int = 1_000_000, size: int = 10_000, *, distinct: bool = False) -> float:
    """Events a processor second through one rule: N = 20 in 300 s, 20,000 entities."""
    rng = np.random.default_rng(1)
    who = np.minimum(rng.zipf(1.3, total) - 1, 19_999).astype(np.int64)
    who = np.where(rng.random(total) < 0.9, rng.integers(0, 20_000, total), who)
    times = BEGIN + np.cumsum(rng.exponential(0.01 * S, total)).astype(np.int64)
    window = (
        DistinctCount(20, 300 * S, 300 * S, limit=200_000, pairs=400_000)
        if distinct
        else EventCount(20, 300 * S, 300 * S, limit=200_000)
    )
    batches: list[Rows] = []
    for start in range(0, total, size):
        part = slice(start, start + size)
        distinct_keys, codes = np.unique(who[part], return_inverse=True)
        batches.append(
            Rows(
                times=times[part],
                seqs=np.arange(start, start + size),
                codes=codes.astype(np.int64),
                keys=[f"192.0.2.{k}" for k in distinct_keys.tolist()],
                values=[f"/path/{k % 50}" for k in range(size)],
            )
        )
    begin = process_time()  # one thread, and the machine may be busy with others
    for rows in batches:
        window.feed(rows)
        window.episodes.unread = []
        window.episodes.tell(int(rows.times[-1]))
    return total / (process_time() - begin)


def traffic(rows: int, seed: int = 1) -> pl.DataFrame:
    """API requests at a gateway: 2,000 clients, 4 % refused or missing, one guesser."""
    rng = np.random.default_rng(seed)
    client = rng.integers(0, 2_000, rows)
    kind = rng.random(rows)
    agents = [f"client/{i}.0 (Linux; build {i * 7})" for i in range(60)]
    status = np.where(kind < 0.96, 200, np.where(kind < 0.98, 404, 401))
    names = ["orders", "users", "items", "carts", "invoices", "search", "health", "sessions"]
    which = rng.integers(0, len(names), rows)
    ids = rng.integers(0, 100_000, rows)
    path = [f"/api/v1/{names[w]}/{i}" for w, i in zip(which.tolist(), ids.tolist(), strict=True)]
    for i in range(0, rows, 500):
        path[i], client[i], status[i] = "/api/v1/login", 1, 401
        path[i + 1], client[i + 1], status[i + 1] = f"/old/backup{chr(97 + i // 500 % 26)}", 2, 404
    frame = pl.DataFrame(
        {
            "time": BEGIN + np.cumsum(rng.exponential(0.0001 * S, rows)).astype(np.int64),
            "kind": ["request"] * rows,
            "outcome": np.where(status < 400, "success", "failure"),
            "layer": ["gateway"] * rows,
            "source": ["gw-1"] * rows,
            "client_ip": [f"198.51.{c // 250}.{c % 250}" for c in client.tolist()],
            "user_agent": [agents[c % 60] for c in client.tolist()],
            "method": [("POST" if p.endswith("login") else "GET") for p in path],
            "path": path,
            "query": [f"page={i % 9}&sort=name" if i % 3 else None for i in ids.tolist()],
            "status": status.astype(np.int64),
            "bytes_out": rng.integers(100, 9_000, rows),
        }
    )
    frame = frame.with_columns(observed=pl.col("time"))
    names_in_order = [n for n in SCHEMA if n in frame.columns]
    return frame.select(pl.col(n).cast(SCHEMA[n]) for n in names_in_order)


def stepping(size: int, total: int = 200_000) -> tuple[float, float, int]:
    """Rows a second through the engine with our rules; milliseconds a step; findings."""
    engine = Engine(compile_rules(pack()))
    frame = traffic(total)
    state = engine.start(b"bench")
    spent: list[float] = []
    found = 0
    for start in range(0, total, size):
        part = frame.slice(start, size).rechunk()
        begin = perf_counter()
        state, findings = engine.step(state, Entries(start, part))
        spent.append(perf_counter() - begin)
        found += len(findings)
    return size / median(spent), 1000 * median(spent), found


def saving() -> tuple[float, float, int]:
    """Seconds to dump and to load the state of 200,000 rows, and its bytes."""
    engine = Engine(compile_rules(pack()))
    state, _ = engine.step(engine.start(b"bench"), Entries(0, traffic(200_000)))
    begin = perf_counter()
    data = engine.dump(state)
    middle = perf_counter()
    engine.load(data)
    return middle - begin, perf_counter() - middle, len(data)


def main() -> list[Figure]:
    """Counting alone, the engine at three sizes of batch, its state."""
    many, few = median(counting() for _ in range(3)), counting(300_000, distinct=True)
    figures = [
        Figure.of("detect: event_count, one rule", many, "rows/CPU s"),
        Figure.of("detect: value_count, one rule", few, "rows/CPU s"),
    ]
    for size in (100, 1_000, 10_000):
        rate, ms, _ = stepping(size, 20_000 if size == 100 else 200_000)
        figures += [
            Figure.of(f"detect: the pack, batches of {size:,}", rate, "rows/s"),
            Figure.of(f"detect: the pack, a step of {size:,} rows", ms, "ms"),
        ]
    dump, load, size = saving()
    return [
        *figures,
        Figure.of("detect: state after 200,000 rows, dumped", dump, "s"),
        Figure.of("detect: state after 200,000 rows, loaded", load, "s"),
        Figure.of("detect: state after 200,000 rows", size, "bytes"),
    ]
