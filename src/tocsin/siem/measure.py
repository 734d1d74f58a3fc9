"""How fast this machine is at each step of the road, in a minute or less.

The figures are of one process, one step after the other, on made-up traffic of a small shop.  The
project's own ``bench/`` measures the whole road, from other processes and under load.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from tocsin.detect import Engine, RuleSet
from tocsin.event.batch import Entries
from tocsin.intake import Origin, parse
from tocsin.intake.admit import admit
from tocsin.query import search
from tocsin.siem.story import story
from tocsin.vault import Vault, file_key

__all__ = ["Speed", "measure"]

_ROUNDS = 5


class Speed(msgspec.Struct, frozen=True):
    """One step, and how many events a second it takes."""

    step: str
    per_second: int


def measure(rules: RuleSet, *, events: int = 50_000) -> Iterator[Speed]:
    """Each step in turn, the best of five rounds."""
    now = time.time_ns()
    origin = Origin(source="bench")
    lines = [step.line for seed in range(-(-events // 900)) for step in story(now, seed=seed)]
    data = ("\n".join(lines[:events]) + "\n").encode()

    def parsed() -> None:
        parse(data, "nginx", origin, now)

    frame = parse(data, "nginx", origin, now)
    yield Speed("parse nginx combined", _rate(events, parsed))
    yield Speed("admit: signatures and redaction", _rate(events, lambda: admit(frame, origin)))
    batch = admit(frame, origin)
    engine = Engine(rules)

    def detected() -> None:
        engine.step(engine.start(bytes(32)), Entries(0, batch.frame))

    yield Speed("detect with every rule", _rate(events, detected))
    with TemporaryDirectory(prefix="tocsin-bench-") as directory:
        place = Path(directory)
        keys = file_key(place / "kek", create=True)
        with Vault.open(place / "data", keys, sealing="inline") as vault:

            def kept() -> None:
                vault.append(batch, source="bench", batch_id=None).result()

            yield Speed("keep: encrypt and sync", _rate(events, kept))
            began = time.perf_counter()
            vault.seal()
            took = time.perf_counter() - began
            yield Speed("seal: segment, proofs, checkpoint", round(events * _ROUNDS / took))
            began = time.perf_counter()
            for _ in search("status:>=500", vault.shelves(), now=now, limit=0):
                pass
            took = time.perf_counter() - began
            yield Speed("search a status in it", round(events * _ROUNDS / took))


def _rate(events: int, step: Callable[[], object]) -> int:
    best = float("inf")
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        step()
        best = min(best, time.perf_counter() - began)
    return round(events / best)
