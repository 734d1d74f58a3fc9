"""Run the benchmarks: all of them into ``bench/report.json``, or the ones that are named.

Each part of a whole run has a process of its own, so none works with what another left in memory,
and one that fails is named while the others go on.  The exit status is 1 when a part failed; a
bound that was missed is shown, and is no failure of the measuring.  With TOCSIN_BENCH_SCALE=0.1 in
the environment the large parts take a tenth of the events, and the report says so.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from bench.report import Figure, machine, table, write

HERE = Path(__file__).parent

#: What is promised as a whole comes first, then the rooms one by one.
PARTS = (
    "whole_road",
    "latency",
    "sdk",
    "scan",
    "steps",
    "search",
    "query",
    "detect",
    "matcher",
    "parsers",
    "admit",
    "http_door",
    "vault_append",
    "seal",
)

#: Seconds after which a part counts as hanging.
PATIENCE = 900.0


def part(name: str) -> list[Figure]:
    """The figures of one part, measured here."""
    made: list[Figure] = importlib.import_module(f"bench.{name}").main()
    return made


def apart(name: str, result: Path) -> list[Figure]:
    """The same, measured in a process of its own; none, and said why, when it fails."""
    # A group of its own: whatever a part started goes with it when it hangs.
    child = subprocess.Popen(
        [sys.executable, "-m", "bench", "--into", str(result), name], start_new_session=True
    )
    try:
        status = child.wait(PATIENCE)
    except BaseException as interrupted:
        _end(child)
        if not isinstance(interrupted, subprocess.TimeoutExpired):
            raise
        print(f"{name}: ended after {PATIENCE:.0f} s without a result", file=sys.stderr)
        return []
    if status:
        print(f"{name}: failed with status {status}", file=sys.stderr)
        return []
    return msgspec.json.decode(result.read_bytes(), type=list[Figure])


def _end(child: subprocess.Popen[bytes]) -> None:
    """Have it and all it started end in order and tidy up; by force, if it does not."""
    for way, patience in ((signal.SIGINT, 30.0), (signal.SIGKILL, None)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, way)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(patience)
            return


def everything(report: Path) -> int:
    """All parts, one after the other; the report is there after each."""
    began = time.monotonic()
    figures, failed = [*machine()], list[str]()
    with TemporaryDirectory(prefix="tocsin-bench-") as folder:
        for name in PARTS:
            start = time.monotonic()
            made = apart(name, Path(folder) / name)
            print(f"{name}: {time.monotonic() - start:.0f} s", file=sys.stderr)
            figures += made
            failed += [] if made else [name]
            write(report, figures)
    figures.append(Figure.of("time that all of it took", time.monotonic() - began, "s"))
    write(report, figures)
    show(figures)
    if failed:
        print(f"without figures: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def show(figures: list[Figure]) -> None:
    """The table, and what was missed."""
    print(table(figures))
    missed = [figure.name for figure in figures if figure.holds is False]
    if missed:
        print(f"\nbounds missed: {'; '.join(missed)}")


def main(arguments: list[str]) -> int:
    """``[NAME...]`` of parts; without names all of them."""
    if arguments[:1] == ["--into"]:
        write(Path(arguments[1]), part(arguments[2]))
        return 0
    unknown = sorted(set(arguments) - set(PARTS))
    if unknown:
        print(f"no part {', '.join(unknown)}; there are {', '.join(PARTS)}", file=sys.stderr)
        return 2
    if arguments:
        show([*machine(), *(figure for name in arguments for figure in part(name))])
        return 0
    return everything(HERE / "report.json")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
