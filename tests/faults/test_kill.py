"""SIGKILL at every call that touches the data directory: nothing acknowledged is ever lost.

The short form samples; ``TOCSIN_FAULTS=long`` goes through all of them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

Sample = Callable[[Sequence[Any], int], Iterator[Any]]
Check = Callable[[Path, Any], None]


def test_a_kill_at_any_call_loses_nothing(
    lives: Any, clean_points: list[Any], sample: Sample, check: Check
) -> None:
    killed = 0
    for point in sample(clean_points, 14):
        data = lives.new()
        told = lives.live(data, f"inject={point.kind}:signal=SIGKILL:when={point.n}")
        killed += told.last != "end"
        check(data, told)
    assert (
        killed >= len({p.kind for p in clean_points}) - 1
    )  # the last "end" may just have been told


def test_a_kill_in_the_middle_of_taking_up_a_killed_life_loses_nothing(
    lives: Any, clean_points: list[Any], sample: Sample, check: Check
) -> None:
    chance = random.Random(2)
    killed = 0
    for first in sample(clean_points, 8):
        data = lives.new()
        told = None
        for point in (first, *chance.choices(clean_points, k=2)):
            n = min(point.n, chance.randrange(1, 60))
            told = lives.live(data, f"inject={point.kind}:signal=SIGKILL:when={n}")
            killed += told.last != "end"
        check(data, told)
    assert killed > 10
