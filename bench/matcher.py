"""How fast rules are matched: rows a second at several batch sizes, and where the time goes.

With the public Sigma web and proxy rules when they are at hand, else with as many of our own
making.  Rates are by processor time of all threads, so a busy machine disturbs little.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

import polars as pl

from bench.report import Figure
from tocsin.detect import matcher as engine
from tocsin.detect.matcher import Matcher
from tocsin.detect.rule import Rule, RuleFile
from tocsin.detect.sigma import compile_rules

__all__ = ["main"]

_inside: Any = engine  #: its steps are timed, and anchors taken away, from outside

CORPORA = Path(os.environ.get("TOCSIN_CORPORA", Path(__file__).parents[2] / "shared" / "corpora"))
BOUNDS = {100: None, 1_000: 200_000.0, 10_000: 500_000.0, 50_000: None}


def rules() -> tuple[Sequence[Rule], str]:
    """The rules to measure with, and what they are."""
    public = sorted((CORPORA / "sigma" / "rules" / "web").rglob("*.yml"))
    if public:
        found = compile_rules(RuleFile(f.name, f.read_text()) for f in public).rules
        return found, f"{len(found)} public web and proxy rules"
    dice = random.Random(43)
    words = [f"{dice.choice('abcdefgh')}{dice.randrange(10**5)}x" for _ in range(43 * 8)]
    made = [RuleFile(f"{i}.yml", _made(i, words[i * 8 : i * 8 + 8])) for i in range(43)]
    return compile_rules(made).rules, "43 made-up rules"


def _made(number: int, words: list[str]) -> str:
    field = ("c-useragent|contains", "cs-uri-query|contains", "c-uri|endswith")[number % 3]
    values = "".join(f"      - '{word}'\n" for word in words)
    return (
        f"title: made-up {number}\nlogsource: {{category: webserver}}\n"
        f"detection:\n  sel:\n    {field}:\n{values}"
        "  filter: {sc-status: 404}\n  condition: sel and not filter\n"
    )


def traffic(rows: int, seed: int = 1) -> pl.DataFrame:
    """Requests to an API, one in a thousand an attack."""
    dice = random.Random(seed)
    agents = [
        f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
        f"Chrome/{dice.randrange(80, 140)}.0.{dice.randrange(9)}.0 Safari/537.36"
        for _ in range(150)
    ]
    queries = [None, "page={}&sort=-created", "q=red+shoes%20size%20{}"]
    attack = "id=1%27%20UNION%20ALL%20SELECT%20password"
    made = [
        (
            "request",
            "gateway",
            dice.choice(["GET", "GET", "GET", "POST"]),
            f"/api/v1/{dice.choice(['orders', 'users', 'carts'])}/{dice.randrange(10**6)}/items",
            attack if dice.random() < 0.001 else _filled(dice, queries),
            dice.choice([200, 200, 200, 201, 304, 404, 500]),
            dice.choice(agents),
            dice.choice([None, "https://shop.example/checkout"]),
            f"198.51.{dice.randrange(256)}.{dice.randrange(256)}",
        )
        for _ in range(rows)
    ]
    names = "kind layer method path query status user_agent referer client_ip".split()
    return pl.DataFrame(made, schema=names, orient="row", infer_schema_length=None)


def _filled(dice: random.Random, queries: Sequence[str | None]) -> str | None:
    query = dice.choice(queries)
    return query.format(dice.randrange(99)) if query else None


def rate(asked: Matcher, rows: int, total: int = 100_000) -> float:
    """Rows a processor second in batches of *rows*: the median batch."""
    frames = [traffic(rows, seed) for seed in range(4)]
    spent: list[float] = []
    for turn in range(max(8, min(200, total // rows))):
        begin = process_time()
        asked.match(frames[turn % 4])
        spent.append(process_time() - begin)
    return rows / median(spent[2:])


def shares(asked: Matcher, rows: int) -> dict[str, float]:
    """Which part of the time each step takes."""
    spent: dict[str, float] = {}

    def timed(name: str, inner: Callable[..., Any]) -> Callable[..., Any]:
        def outer(*args: Any) -> Any:
            begin = perf_counter()
            made = inner(*args)
            made = list(made) if hasattr(made, "__next__") else made
            spent[name] = spent.get(name, 0) + perf_counter() - begin
            return made

        return outer

    group: Any = engine._Group
    kept = {n: getattr(group, n) for n in ("_candidates", "_of_rows", "_of_columns")}
    mask: Any = _inside._rows
    names = {"_candidates": "views and scan", "_of_rows": "few rows", "_of_columns": "columns"}
    frame = traffic(rows)
    try:
        _inside._rows = timed("routing", mask)
        for name, inner in kept.items():
            setattr(group, name, timed(names[name], inner))
        begin = perf_counter()
        for _ in range(30):
            asked.match(frame)
        whole = perf_counter() - begin
    finally:
        _inside._rows = mask
        for name, inner in kept.items():
            setattr(group, name, inner)
    found = {name: part / whole for name, part in spent.items()}
    return {**found, "the rest": 1 - sum(found.values())}


def without_anchors(chosen: Sequence[Rule]) -> Matcher:
    """The same rules, each asked on every row."""
    anchors = _inside.anchors
    try:
        _inside.anchors = lambda _: None
        return Matcher(chosen)
    finally:
        _inside.anchors = anchors


def main() -> list[Figure]:
    """Measure."""
    chosen, what = rules()
    asked = Matcher(chosen)
    plain = rate(without_anchors(chosen), 10_000, 80_000)
    figures = []
    for rows, bound in BOUNDS.items():
        value = rate(asked, rows)
        compared = {"against": "every rule on every row", "ratio": value / plain}
        figures.append(
            Figure.of(
                f"matcher, {what}, batches of {rows:,}",
                value,
                "rows/s",
                at_least=bound,
                **(compared if rows == 10_000 else {}),  # type: ignore[arg-type]  # two keywords
            )
        )
    for rows in (1_000, 10_000):
        figures += [
            Figure.of(f"matcher, share of {name}, batches of {rows:,}", share, "of wall time")
            for name, share in shares(asked, rows).items()
        ]
    return figures
