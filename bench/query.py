"""Search over ten million events in ten shelves: plain Parquet, so that only searching is measured.

Shelves look like a compacted vault's: a million rows each, twenty columns, row groups of 131,072,
and an exact stand-in for the vault's filters.  Each figure is the median of some runs with a warm
page cache.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl

from bench.report import Figure
from tocsin.event.batch import SCHEMA, Entries
from tocsin.query import count, histogram, predicate, search, top

__all__ = ["main"]

SECOND = 10**9
NOW = 1_790_000_000 * SECOND
SHELF_ROWS = 1_000_000
PER_SECOND = 1_000  #: so ten million are about three hours
RUNS = 5

_NOUNS = "products orders carts users invoices payments reviews addresses".split()
_AGENTS = [
    f"Mozilla/5.0 (X11; Linux x86_64; rv:{v}.0) Gecko/20100101 Firefox/{v}.0"
    for v in range(60, 140)
]


class FileShelf:
    """A Parquet file with the face of a vault's shelf."""

    def __init__(self, path: Path, frame: pl.DataFrame) -> None:
        self.path, self.first_seq, self.rows = path, int(frame["seq"][0]), frame.height
        self.name = str(path)
        times = frame["time"].dt.epoch("ns")
        self.time_min, self.time_max = int(times[0]), int(times[-1])
        self.columns = frozenset(frame.columns) - {"seq"}
        self._hashes = {
            name: np.sort(frame[name].hash().to_numpy()) for name in ("trace_id", "span_id", "user")
        }
        frame.write_parquet(path, compression="zstd", compression_level=3, row_group_size=131_072)

    def scan(self) -> pl.LazyFrame:
        return pl.scan_parquet(self.path)

    def maybe(self, column: str, value: str) -> bool:
        hashes = self._hashes.get(column)
        if hashes is None:
            return True
        wanted = pl.Series([value]).hash().to_numpy()[0]
        at = int(np.searchsorted(hashes, wanted))
        return at < len(hashes) and bool(hashes[at] == wanted)


def main(rows: int = 10_000_000) -> list[Figure]:
    """Build the shelves in a temporary directory and ask them."""
    with TemporaryDirectory(prefix="tocsin-bench-") as folder:
        shelves = list(_shelves(Path(folder), rows))
        return list(_figures(shelves, rows))


def _figures(shelves: list[FileShelf], rows: int) -> Iterator[Figure]:
    middle = shelves[len(shelves) // 2]
    row = middle.scan().slice(middle.rows // 3, 1).collect().row(0, named=True)
    trace, user, address = row["trace_id"], row["user"], row["client_ip"]
    millions = f"{rows / 1e6:g} M events"

    def ask(text: str, limit: int = 100) -> Callable[[], Any]:
        return lambda: sum(len(f) for f in search(text, shelves, now=NOW, limit=limit))

    def figure(name: str, run: Callable[[], Any], at_most: float | None = None) -> Figure:
        return Figure.of(f"query: {name}, {millions}", _seconds(run), "s", at_most=at_most)

    yield figure(
        "15-minute histogram",
        lambda: histogram("status:>=400", shelves, now=NOW, since=NOW - 900 * SECOND, until=NOW),
        0.3,
    )
    yield figure("one trace id", ask(f"trace:{trace}", 0), 0.3)
    yield figure(
        "regex on path, counted",
        lambda: count(r'path:~"/\d*77\d/(items|x)"', shelves, now=NOW),
        3.0,
    )
    yield figure("regex on path that never matches", ask('path:~"[xyz]{3}/etc/passwd$"'), 3.0)
    yield figure(
        "regex on user agent", lambda: count('ua:~"Firefox/(7|9)[0-9]"', shelves, now=NOW), 3.0
    )
    yield figure("newest 100 of everything", ask("*"))
    yield figure("newest 100 failures", ask("status:>=500"))
    yield figure("one user, all", ask(f"user:{user}", 0))
    yield figure("one address, all", ask(f"ip:{address}", 0))
    yield figure("a /12 network, counted", lambda: count("ip:172.16.0.0/12", shelves, now=NOW))
    yield figure("wildcard on path", lambda: count("path:*/77*", shelves, now=NOW))
    yield figure("free text that is nowhere", ask("nowhereatall"))
    yield figure("attribute, counted", lambda: count("attr.order:123", shelves, now=NOW))
    yield figure(
        "histogram of everything by status", lambda: histogram("", shelves, now=NOW, by="status")
    )
    yield figure("top 10 users", lambda: top("user", "", shelves, now=NOW))
    yield from _tail(shelves[-1])


def _tail(shelf: FileShelf) -> Iterator[Figure]:
    """A hot tail of one epoch in memory: the whole search, and the predicate of ``tocsin tail``."""
    frame = shelf.scan().tail(65_536).collect()

    class Hot(FileShelf):
        def scan(self) -> pl.LazyFrame:
            return frame.lazy()

    hot = Hot(shelf.path, frame)
    asked = "kind:request status:>=400 -user:bob path:/api/*"
    yield Figure.of(
        "query: search in a hot tail of 65,536 events",
        _seconds(lambda: list(search(asked, [hot], now=NOW))),
        "s",
    )
    matching = predicate(asked, now=NOW)
    entries = Entries(hot.first_seq, frame.drop("seq").head(1_000))
    yield Figure.of(
        "query: predicate over a batch of 1,000 events", _seconds(lambda: matching(entries)), "s"
    )


def _seconds(run: Callable[[], Any]) -> float:
    run()
    taken: list[float] = []
    for _ in range(RUNS):
        start = time.perf_counter()
        run()
        taken.append(time.perf_counter() - start)
    return median(taken)


def _shelves(folder: Path, rows: int) -> Iterator[FileShelf]:
    rng = np.random.default_rng(20261123)
    for first in range(0, rows, SHELF_ROWS):
        size = min(SHELF_ROWS, rows - first)
        yield FileShelf(folder / f"{first}.parquet", _frame(rng, first, size, rows))


def _frame(rng: np.random.Generator, first: int, size: int, rows: int) -> pl.DataFrame:
    seqs = np.arange(first, first + size)
    times = NOW - (rows - seqs) * (SECOND // PER_SECOND)
    users = np.minimum(rng.zipf(1.3, size), 50_000)
    status = rng.choice([200, 201, 204, 304, 400, 401, 403, 404, 500], size, p=_STATUS)
    numbers = pl.DataFrame(
        {
            "noun": pl.Series(_NOUNS).gather(rng.integers(0, len(_NOUNS), size)),
            "id": rng.integers(1, 400_000, size),
            "deep": rng.random(size) < 0.4,
            **{f"ip{i}": rng.integers(1, 255, size) for i in range(4)},
        }
    )
    texts = numbers.select(
        path=pl.format("/api/v1/{}/{}", "noun", "id")
        + pl.when("deep").then(pl.lit("/items")).otherwise(pl.lit("")),
        route=pl.format("/api/v1/{}/", "noun") + "{id}",
        client_ip=pl.format("{}.{}.{}.{}", "ip0", "ip1", "ip2", "ip3"),
        attributes=pl.concat_str(pl.lit('{"order":'), "id", pl.lit(',"channel":"web"}')),
    )
    frame = pl.DataFrame(
        {
            "seq": seqs,
            "time": pl.Series(times).cast(SCHEMA["time"]),
            "observed": pl.Series(times + SECOND).cast(SCHEMA["time"]),
            "duration_ns": (rng.lognormal(16, 1, size)).astype(np.int64),
            "kind": pl.repeat("request", size, eager=True),
            "outcome": pl.Series(np.where(status < 400, "success", "failure")),
            "service": pl.Series(["shop", "billing"]).gather(rng.integers(0, 2, size)),
            "host": pl.Series(["a", "b", "c"]).gather(rng.integers(0, 3, size)),
            "user": pl.select(pl.format("user{}", pl.Series(users))).to_series(),
            "user_agent": pl.Series(_AGENTS).gather(rng.integers(0, len(_AGENTS), size)),
            "method": pl.Series(["GET", "POST", "PUT"]).gather(rng.integers(0, 3, size)),
            "status": pl.Series(status).cast(pl.Int64),
            "bytes_out": rng.lognormal(7, 2, size).astype(np.int64),
            "trace_id": _hex(rng, size, 16),
            "span_id": _hex(rng, size, 8),
            "parser": pl.repeat("nginx", size, eager=True),
            **{name: texts[name] for name in texts.columns},
        }
    )
    return frame.select("seq", *(n for n in SCHEMA if n in frame.columns))


_STATUS: list[float] = [0.8, 0.04, 0.03, 0.03, 0.02, 0.03, 0.01, 0.03, 0.01]


def _hex(rng: np.random.Generator, size: int, width: int) -> pl.Series:
    digits = rng.bytes(size * width).hex()
    return pl.Series([digits[i : i + 2 * width] for i in range(0, len(digits), 2 * width)])
