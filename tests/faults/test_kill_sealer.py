"""The house as it runs: one process takes batches, its child seals, and either may be killed.

The short form samples; ``TOCSIN_FAULTS=long`` goes through all of the calls.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

LONG = os.environ.get("TOCSIN_FAULTS") == "long"
ERRORS = ("EIO", "ENOSPC")

Sample = Callable[[Sequence[Any], int], Iterator[Any]]
Check = Callable[[Path, Any], None]


@pytest.mark.timeout(7200)
def test_a_sealer_that_is_killed_at_any_call_is_replaced_and_nothing_is_lost(
    lives: Any, clean_points_of: Callable[[str], list[Any]], sample: Sample, check: Check
) -> None:
    replaced = 0
    for point in sample(clean_points_of("sealer"), 4):
        data = lives.new()
        rule = f"inject={point.kind}:signal=SIGKILL:when={point.n}"
        told = lives.live(data, rule, sealing="process", who="sealer")
        # A sealer killed while it opens the vault ends that attempt; later, the life goes on.
        assert told.last == "end" or told.last.startswith("failed VaultClosed"), (point, told.lines)
        replaced += told.last == "end"
        check(data, told)
    assert replaced


@pytest.mark.timeout(7200)
def test_a_keeper_that_is_killed_at_any_call_takes_its_sealer_along_and_loses_nothing(
    lives: Any, clean_points_of: Callable[[str], list[Any]], sample: Sample, check: Check
) -> None:
    killed = 0
    for point in sample(clean_points_of("keeper"), 7):
        data = lives.new()
        rule = f"inject={point.kind}:signal=SIGKILL:when={point.n}"
        told = lives.live(data, rule, sealing="process", who="keeper")
        killed += told.last != "end"
        check(data, told)
    assert killed > 4


@pytest.mark.timeout(7200)
def test_a_sealer_whose_disk_refuses_says_so_and_seals_when_it_can(
    lives: Any, clean_points_of: Callable[[str], list[Any]], sample: Sample, check: Check
) -> None:
    refusable = "pwrite64 writev fdatasync fsync rename mkdir openat".split()
    points = [p for p in clean_points_of("sealer") if p.kind in refusable]
    for turn, point in enumerate(sample(points, 4)):
        for error in ERRORS if LONG else (ERRORS[turn % 2],):
            data = lives.new()
            rule = f"inject={point.kind}:error={error}:when={point.n}"
            told = lives.live(data, rule, sealing="process", who="sealer")
            assert told.last == "end" or told.last.startswith("failed "), (point, told.lines)
            check(data, told)
