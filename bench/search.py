"""Searching ten million events in a real vault: taken, sealed, joined, closed and opened again.

The events are admitted traffic that comes again every 400,000, each time with times that go on and
with paths, trace ids and span ids of its own.  A row group holds fewer than that, so neither
compression nor the filters nor the search profit from the repeats.  "First" is a run with the
vault's files dropped from the page cache.  An answer that is not the expected one gives no figure.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple, cast

import numpy as np
import polars as pl

from bench.report import Figure, scaled
from bench.server import vault_directory
from bench.traffic import bodies
from tocsin.errors import Pushback
from tocsin.event.batch import SCHEMA, Batch
from tocsin.intake import Origin, parse
from tocsin.intake.admit import admit
from tocsin.query import count, histogram, search
from tocsin.vault import Limits, Receipt, Vault, file_key
from tocsin.vault.verify import verify

__all__ = ["main"]

SECOND = 10**9
NOW = 1_790_000_000 * SECOND
BATCH = 10_000
ROWS = scaled(1_000, 40) * BATCH
PER_SECOND = 1_000  #: of event time, so ten million are about three hours
BASE = min(400_000, ROWS)  #: events that are made one by one
RUNS = 5
QUARTER = 900 * SECOND
USER = "user1000@shop.example"  #: neither the busiest nor the rarest
REGEX = r"/\d*77\d/(history|x)"
SIZE = f"{ROWS / 1e6:g} M events"


class Expected(NamedTuple):
    """What the answers must be."""

    trace: str  #: an id that one event has
    matching: int  #: events whose path the regex matches
    missing: int  #: events with status 404
    of_user: int


def main() -> list[Figure]:
    """Build, weigh, ask, verify."""
    with vault_directory() as folder:
        keys = file_key(folder / "kek", create=True)
        # Less waits in memory than usual: this process has ten million events to hold besides.
        limits = Limits(hot_bytes=512 << 20)
        with Vault.open(folder / "data", keys, limits=limits) as vault:
            figures: list[Figure] = []
            expected = _fill(vault, figures)
            _join(vault, figures)
        data = folder / "data"
        used = sum(p.stat().st_blocks * 512 for p in data.rglob("*") if p.is_file())
        figures.append(
            Figure.of(f"search: disk, {SIZE}, joined", used / ROWS, "bytes/event", at_most=150)
        )
        began = time.perf_counter()
        with Vault.open(data, keys) as vault:
            took = time.perf_counter() - began
            figures.append(Figure.of(f"search: opening a vault of {SIZE}", took, "s"))
            figures += _answers(vault, data, expected)
        figures += _verified(data, keys.fetch(data))
    return figures


# -- building -------------------------------------------------------------------------------------


def _fill(vault: Vault, figures: list[Figure]) -> Expected:
    base = _base()
    began = time.perf_counter()
    waiting: list[Future[Receipt]] = []
    trace, matching = "", 0
    for start in range(0, ROWS, BATCH):
        batch = _batch(base, start)
        if start <= ROWS // 2 < start + BATCH:
            trace = str(batch["trace_id"][ROWS // 2 - start])
        matching += int(batch["path"].str.contains(REGEX).sum())
        waiting.append(_append(vault, Batch(batch)))
    for future in waiting:
        future.result()
    taken = time.perf_counter() - began
    vault.seal()
    sealed = time.perf_counter() - began
    print(f"search: {ROWS:,} events sealed in {sealed:.0f} s", file=sys.stderr)
    figures += [
        Figure.of("search: vault filled, durable", ROWS / taken, "events/s"),
        Figure.of("search: vault filled, sealed", ROWS / sealed, "events/s"),
    ]
    missing, of_user = base["status"] == 404, base["user"] == USER
    return Expected(trace, matching, _repeated(missing), _repeated(of_user))


def _repeated(marks: pl.Series) -> int:
    """How many of all events are marked, if these of the base are."""
    times, rest = divmod(ROWS, BASE)
    return times * int(marks.sum()) + int(marks.head(rest).sum())


def _base() -> pl.DataFrame:
    origin = Origin(source="bench", layer="app")
    made = bodies(BASE // BATCH, BATCH, start=NOW)
    frames = [admit(parse(body, "tocsin", origin, NOW), origin).frame for body in made]
    return pl.concat(frames, how="diagonal").rechunk()


def _batch(base: pl.DataFrame, start: int) -> pl.DataFrame:
    """Some events of the base, in a time of their own and with ids of their own."""
    step = SECOND // PER_SECOND
    dice = np.random.default_rng(start)
    times = NOW - (ROWS - start) * step + np.sort(dice.integers(0, BATCH * step, BATCH))
    clock = pl.Series(times).cast(SCHEMA["time"])
    late = pl.Series(times + dice.integers(10**6, 2 * 10**8, BATCH)).cast(SCHEMA["observed"])
    ids = pl.Series(dice.integers(1, 90_000, BATCH)).cast(pl.String)
    return base.slice(start % BASE, BATCH).with_columns(
        pl.col("route").str.replace("{id}", pl.lit(ids), literal=True).alias("path"),
        clock.alias("time"),
        late.alias("observed"),
        _hex(dice, 16).alias("trace_id"),
        _hex(dice, 8).alias("span_id"),
    )


def _hex(dice: np.random.Generator, width: int) -> pl.Series:
    digits = dice.bytes(BATCH * width).hex()
    return pl.Series([digits[at : at + 2 * width] for at in range(0, len(digits), 2 * width)])


def _append(vault: Vault, batch: Batch) -> Future[Receipt]:
    while True:
        try:
            return vault.append(batch, source="bench", batch_id=None)
        except Pushback:
            time.sleep(0.05)


def _join(vault: Vault, figures: list[Figure]) -> None:
    """Compact until there is nothing left to join."""
    began, rounds = time.perf_counter(), 0
    while vault.compact():
        rounds += 1
    took = time.perf_counter() - began
    print(f"search: joined in {rounds} rounds, {took:.0f} s", file=sys.stderr)
    figures.append(Figure.of("search: compaction", ROWS / took, "events/s"))


# -- asking ---------------------------------------------------------------------------------------


def _answers(vault: Vault, data: Path, expected: Expected) -> Iterator[Figure]:
    def rows(text: str, limit: int) -> Callable[[], int]:
        return lambda: sum(
            frame.height for frame in search(text, vault.shelves(), now=NOW, limit=limit)
        )

    def counted(text: str) -> Callable[[], int]:
        return lambda: count(text, vault.shelves(), now=NOW)

    def quarter() -> int:
        since = NOW - QUARTER
        made = histogram("*", vault.shelves(since, NOW), now=NOW, since=since, until=NOW)
        return int(made["count"].sum())

    in_quarter = min(ROWS, QUARTER // SECOND * PER_SECOND)
    trace = f"trace_id:{expected.trace}"
    asked: list[tuple[str, Callable[[], int], int, float | None]] = [
        ("15-minute histogram", quarter, in_quarter, 0.3),
        ("15-minute histogram of failures", _failures(vault), -1, 0.3),
        ("one trace id", rows(trace, 0), 1, 0.3),
        ("regex on path, counted", counted(f'path:~"{REGEX}"'), expected.matching, 3.0),
        ("regex that never matches", rows('path:~"[xyz]{3}/etc/passwd$"', 100), 0, 3.0),
        ("newest 100", rows("*", 100), 100, None),
        ("a status, counted", counted("status:404"), expected.missing, None),
        ("one user, every event", rows(f'user:"{USER}"', 0), expected.of_user, None),
    ]
    shelves = len(vault.shelves())
    yield Figure.of(f"search: files that hold {SIZE}", shelves, "files")
    for name, ask, right, bound in asked:
        _forget(data)
        first, found = _timed(ask)
        if right not in (found, -1):
            raise RuntimeError(f"{name}: {found} events were found, not {right}")
        again = median(_timed(ask)[0] for _ in range(RUNS))
        yield Figure.of(f"search: {name}, {SIZE}", again, "s", at_most=bound)
        yield Figure.of(f"search: {name}, {SIZE}, first", first, "s")


def _failures(vault: Vault) -> Callable[[], int]:
    since = NOW - QUARTER
    return lambda: int(
        histogram("status:>=400", vault.shelves(since, NOW), now=NOW, since=since, until=NOW)[
            "count"
        ].sum()
    )


def _timed(ask: Callable[[], int]) -> tuple[float, int]:
    began = time.perf_counter()
    found = ask()
    return time.perf_counter() - began, found


def _forget(data: Path) -> None:
    """Have the system drop the vault's files from its page cache, where it can."""
    advise = cast("Callable[..., Any] | None", getattr(os, "posix_fadvise", None))
    if advise is None:
        return
    for path in data.rglob("*"):
        if path.is_file():
            handle = os.open(path, os.O_RDONLY)
            try:
                advise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(handle)


# -- verifying ------------------------------------------------------------------------------------


def _verified(data: Path, kek: bytes) -> Iterator[Figure]:
    began = time.perf_counter()
    report = verify(data, kek, now=time.time_ns())
    took = time.perf_counter() - began
    if report.verdict != "intact" or report.rows != ROWS:
        raise RuntimeError(f"verify: {report.verdict}, {report.rows} rows: {report.problems}")
    yield Figure.of(f"verify, {SIZE}, every row", report.rows / took, "rows/s")
