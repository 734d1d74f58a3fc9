"""The disk refuses: no false acknowledgement, a clear word, and back to work when it is mended.

The short form samples; ``TOCSIN_FAULTS=long`` goes through all of the calls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

Sample = Callable[[Sequence[Any], int], Iterator[Any]]
Check = Callable[[Path, Any], None]

#: Calls that a disk may refuse.
REFUSED = frozenset(
    "pwrite64 writev fdatasync fsync ftruncate rename renameat renameat2 mkdir openat".split()
)


@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
def test_a_refused_call_is_said_survived_and_costs_nothing_that_was_acknowledged(
    lives: Any, clean_points: list[Any], sample: Sample, check: Check, error: str
) -> None:
    refused = 0
    for point in sample([p for p in clean_points if p.kind in REFUSED], 9):
        data = lives.new()
        told = lives.live(data, f"inject={point.kind}:error={error}:when={point.n}")
        refused += any(line.startswith(("refused", "failed", "not ")) for line in told.lines)
        assert not any(line.startswith("traceback") for line in told.lines), (point, told.lines)
        assert told.last == "end" or told.last.startswith("failed "), (point, told.lines)
        check(data, told)
    assert refused


def test_a_disk_that_stays_full_acknowledges_nothing_more_and_harms_nothing(
    lives: Any, clean_points: list[Any], sample: Sample, check: Check
) -> None:
    writes = [p for p in clean_points if p.kind == "writev"]
    for point in sample(writes, 4):
        data = lives.new()
        told = lives.live(data, f"inject=writev,pwrite64:error=ENOSPC:when={point.n}+")
        assert not any(line.startswith("traceback") for line in told.lines), (point, told.lines)
        for line in told.lines:
            if line.startswith("refused"):
                assert "No space left on device" in line
        check(data, told)
