"""How fast rows are hashed, sealed and verified, and what they weigh: one core, one run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator

import numpy as np
import polars as pl
import pyarrow

from bench.report import Figure
from bench.server import vault_directory
from tocsin.catalog import open_catalog
from tocsin.event.batch import SCHEMA
from tocsin.vault import merkle, rows, segments, wal
from tocsin.vault.jobs import SealJob
from tocsin.vault.keys import KeyRing, file_key
from tocsin.vault.sealer import Sealer
from tocsin.vault.segments import Range, Stored
from tocsin.vault.verify import verify

ROWS = 65_536
ROUNDS = 5


def traffic(count: int, seed: int) -> pl.DataFrame:
    """API requests of some thousand users: 25 columns, random trace and span ids."""
    dice = np.random.default_rng(seed)
    time_ns = np.sort(1_790_000_000_000_000_000 + dice.integers(0, 10**10, count))
    users = dice.zipf(1.3, count) % 5000
    ids = dice.integers(0, 100_000, count)
    nouns = "orders users carts items prices stock search login pay ship".split()
    routes = dice.choice(nouns, count)
    traces, spans = dice.bytes(16 * count).hex(), dice.bytes(8 * count).hex()

    def pick(values: list[str], odds: list[float] | None = None) -> list[str]:
        found: list[str] = dice.choice(values, count, p=odds).tolist()
        return found

    columns = {
        "time": time_ns,
        "observed": time_ns + dice.integers(10**6, 10**7, count),
        "duration_ns": dice.lognormal(16, 1, count).astype("i8"),
        "kind": ["request"] * count,
        "outcome": pick(["success", "failure"], [0.95, 0.05]),
        "layer": ["app"] * count,
        "source": ["shop"] * count,
        "service": pick(["shop", "pay"]),
        "env": ["production"] * count,
        "host": pick([f"web-{i}" for i in range(8)]),
        "user": [f"user{u}" for u in users],
        "session": [f"{int(u) * 2654435761 % 2**64:016x}" for u in users],
        "client_ip": [f"203.0.{u // 250}.{u % 250}" for u in users],
        "user_agent": pick([f"Mozilla/5.0 (X11; Linux x86_64) Agent/5{i}.0" for i in range(40)]),
        "method": pick(["GET", "POST", "PUT"], [0.8, 0.15, 0.05]),
        "scheme": ["https"] * count,
        "authority": ["api.example.com"] * count,
        "route": [f"/api/v1/{noun}/{{id}}" for noun in routes],
        "path": [f"/api/v1/{noun}/{i}" for noun, i in zip(routes, ids, strict=True)],
        "status": dice.choice([200, 201, 204, 400, 401, 404, 500], count),
        "bytes_in": dice.integers(0, 2000, count),
        "bytes_out": dice.integers(100, 20_000, count),
        "objects": [[f"{i:08x}"] for i in ids],
        "trace_id": [traces[32 * i : 32 * i + 32] for i in range(count)],
        "span_id": [spans[16 * i : 16 * i + 16] for i in range(count)],
    }
    frame = pl.DataFrame({name: columns[name] for name in SCHEMA if name in columns})
    return frame.cast({name: SCHEMA[name] for name in frame.columns})


def median(do: Callable[[], object]) -> float:
    """Median seconds of a few runs, after one that does not count."""
    do()
    times: list[float] = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        do()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def steps() -> Iterator[Figure]:
    """Each step of sealing alone, µs a row."""
    frame = traffic(ROWS, 1)
    frame = frame.insert_column(0, pl.int_range(ROWS, dtype=pl.Int64, eager=True).alias("seq"))
    fields, seed, key = rows.fields_of(frame.columns), bytes(32), bytes(range(32))
    table = frame.to_arrow()
    leaves = rows.leaves(table, fields, seed)
    stored = Stored((Range(0, ROWS, tuple(frame.columns), seed),), ())
    found = {
        "to Arrow": median(frame.to_arrow),
        "canonical rows and leaf hashes": median(lambda: rows.leaves(table, fields, seed)),
        "tree": median(lambda: merkle.root(leaves)),
        "Parquet, encrypted": median(lambda: segments.write([table], key, "s", stored, level=1)),
        "filters": median(lambda: segments.build_filters([frame])),
    }
    for name, seconds in found.items():
        yield Figure.of(f"seal: {name}", 1e6 * seconds / ROWS, "us/row")


def whole() -> Iterator[Figure]:
    """From closed files of the write-ahead log to a promise, and the verification of it all."""
    with vault_directory() as place:
        directory = place / "data"
        (directory / "wal").mkdir(parents=True)
        source = file_key(place / "kek", create=True)
        ring = KeyRing(directory / "keys", source)
        engine = open_catalog(directory / "catalog.db")
        sealer = Sealer(directory, ring, catalog=engine)
        sealer.recover()
        sealer.start("bench")
        times: list[float] = []
        for number in range(ROUNDS + 1):
            frame, first = traffic(ROWS, number), number * ROWS
            file = wal.start_wal(directory / "wal", ring, first)
            for batch in frame.iter_slices(1000):
                at = time.time_ns()
                file.append([wal.encode(batch, source="shop", batch_id=str(at), at=at)])
            file.close()
            start = time.perf_counter()
            sealer.seal(SealJob((file.path,), first, ROWS, 0))
            times.append(time.perf_counter() - start)
        sealer.stop()
        engine.dispose()
        count = ROWS * (ROUNDS + 1)
        size = sum(p.stat().st_size for p in directory.rglob("*") if p.is_file())
        files = sum(p.stat().st_size for p in (directory / "segments").iterdir())
        kek = source.fetch(directory)
        keyed = median(lambda: verify(directory, kek, now=time.time_ns()))
        keyless = median(lambda: verify(directory, None, now=time.time_ns()))
    yield Figure.of("seal: an epoch of 65,536", ROWS / statistics.median(times[1:]), "rows/s")
    yield Figure.of("seal: segments on disk", files / count, "bytes/row")
    yield Figure.of("seal: everything on disk", size / count, "bytes/row")
    yield Figure.of("verify, every row", count / keyed, "rows/s")
    yield Figure.of("verify, without the key", files / keyless / 1e6, "MB/s")


def main() -> list[Figure]:
    """Each step alone, then the whole, on one core."""
    pyarrow.set_cpu_count(1)  # type: ignore[attr-defined]  # pyarrow has no types
    return [*steps(), *whole()]
