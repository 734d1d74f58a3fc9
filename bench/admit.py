"""What marking, redacting and admitting cost on clean traffic, in microseconds a row."""

# One row of a table is one line, whatever its length.
# ruff: noqa: E501

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable

import polars as pl

from bench.report import Figure
from tocsin.event.batch import SCHEMA
from tocsin.event.lines import json_lines
from tocsin.intake.admit import admit
from tocsin.intake.origin import Origin
from tocsin.intake.redact import redact_frame
from tocsin.intake.signatures import mark

ROUNDS = 15
ORIGIN = Origin(source="edge", service="shop", layer="gateway", env="prod")
AGENTS = [
    f"Mozilla/5.0 (X11; Linux x86_64; rv:{v}.0) Gecko/20100101 Firefox/{v}.0"
    for v in range(90, 130)
]


def clean(rows: int) -> pl.DataFrame:
    """Honest API traffic, 27 columns."""
    rng = random.Random(1)
    at = pl.Series([1_795_424_400_000_000_000 + i * 1_000_003 for i in range(rows)])

    def some(make: Callable[[], str]) -> list[str]:
        return [make() for _ in range(rows)]

    constant = {
        "kind": "request", "outcome": "success", "severity": "info", "layer": "gateway", "source": "edge",
        "service": "shop", "env": "prod", "host": "web-1", "method": "GET", "scheme": "https",
        "authority": "api.example.com", "route": "/orders/{id}", "http_version": "1.1",
        "content_type": "application/json", "parser": "nginx", "referer": "https://shop.example.com/cart",
    }  # fmt: skip
    varied = {
        "user": some(lambda: f"user{rng.randrange(5000)}"),
        "client_ip": some(
            lambda: f"10.{rng.randrange(256)}.{rng.randrange(256)}.{rng.randrange(256)}"
        ),
        "user_agent": some(lambda: rng.choice(AGENTS)),
        "path": some(lambda: f"/api/v1/orders/{rng.randrange(10**6)}/items"),
        "query": some(lambda: f"page={rng.randrange(100)}&limit=20&sort=created_at"),
        "trace_id": some(lambda: f"{rng.getrandbits(128):032x}"),
        "span_id": some(lambda: f"{rng.getrandbits(64):016x}"),
        "request_id": some(lambda: f"{rng.getrandbits(128):032x}"),
        "session": some(lambda: f"h:{rng.getrandbits(128):032x}"),
    }
    frame = pl.DataFrame(varied).with_columns(pl.lit(v).alias(n) for n, v in constant.items())
    return frame.with_columns(
        at.cast(SCHEMA["time"]).alias("time"), at.cast(SCHEMA["observed"]).alias("observed")
    )


def main() -> list[Figure]:
    """Median microseconds a row of each step, at 1,000 and 10,000 rows."""
    figures: list[Figure] = []
    steps: dict[str, Callable[[pl.DataFrame], object]] = {
        "signatures": mark,
        "redaction": redact_frame,
        "the whole of it": lambda frame: admit(frame, ORIGIN),
        "events as JSON lines": json_lines,
    }
    for rows in (1_000, 10_000):
        frame = clean(rows)
        for name, step in steps.items():
            step(frame)
            cost = 1e6 * _median(step, frame) / rows
            figures.append(Figure.of(f"admit: {name}, batches of {rows:,}", cost, "us/row"))
    return figures


def _median(step: Callable[[pl.DataFrame], object], frame: pl.DataFrame) -> float:
    taken: list[float] = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        step(frame)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)
