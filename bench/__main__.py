"""Run the benchmarks and write ``bench/report.json``."""

from __future__ import annotations

import importlib
import sys
import time
from pathlib import Path

from bench.report import Figure, machine, table, write

HERE = Path(__file__).parent
PARTS = ("whole_road",)


def run(names: list[str]) -> list[Figure]:
    """The figures of the named parts, or of all."""
    figures: list[Figure] = []
    for name in names or PARTS:
        began = time.monotonic()
        made = importlib.import_module(f"bench.{name}").main()
        figures += made
        print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr)
    return figures


if __name__ == "__main__":
    found = run(sys.argv[1:])
    if not sys.argv[1:]:
        write(HERE / "report.json", found)
    print(machine())
    print(table(found))
