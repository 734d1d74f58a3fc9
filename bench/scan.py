"""``tocsin scan`` as people run it: a process of its own on a long nginx log, rules included.

The log is honest traffic with some guessers in it; a scan that does not find every one of them, and
nobody else, gives no figure.  Where foreign data is at hand, ten thousand lines of a real web site,
month after month, are scanned as well.
"""

from __future__ import annotations

import gzip
import os
import random
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import chain, islice
from pathlib import Path
from statistics import median
from typing import NamedTuple

import msgspec

from bench.report import Figure, scaled
from bench.server import CORPORA, corpora_rules, vault_directory
from bench.traffic import lines

__all__ = ["main"]

LINES = scaled(1_000_000, 10_000)
GUESSERS = 20
RUNS = 3
SECOND = 10**9
START = 1_790_000_000 * SECOND
RATE = 2_000  #: lines a second of the log's own time
FOUND = 3  #: exit status of a scan with incidents


class _Run(NamedTuple):
    events: int
    wall: float
    cpu: float
    entities: frozenset[str]


def main() -> list[Figure]:
    """The pack alone, then with the public web and proxy rules where they are at hand."""
    with vault_directory() as folder:
        began = time.monotonic()
        log, tiny = folder / "access.log", folder / "tiny.log"
        with log.open("w") as file:
            file.writelines(_log())
        with tiny.open("w") as file:
            file.writelines(lines(10, start=START))
        print(f"scan: {LINES:,} lines made in {time.monotonic() - began:.0f} s", file=sys.stderr)
        figures = list(_figures(folder, log, tiny, [], "the pack's rules"))
        if public := corpora_rules():
            figures += _figures(folder, log, tiny, public, "public web and proxy rules too")
        figures += _real(folder)
    return figures


def _figures(folder: Path, log: Path, tiny: Path, rules: list[str], named: str) -> Iterator[Figure]:
    first = _scan(folder, tiny, rules)  # nothing compiled is kept yet
    start = median(_scan(folder, tiny, rules).wall for _ in range(RUNS))
    runs = [_scan(folder, log, rules) for _ in range(RUNS)]
    wanted = frozenset(map(_guesser, range(GUESSERS)))
    for run in runs:
        if run.events != LINES:
            raise RuntimeError(f"the scan read {run.events} lines of {LINES}")
        if not rules and run.entities != wanted:
            raise RuntimeError(
                f"the scan found {sorted(run.entities)}, not the {GUESSERS} guessers"
            )
        if not wanted <= run.entities:
            raise RuntimeError(f"the scan did not find {sorted(wanted - run.entities)}")
    whole = median(run.wall for run in runs)
    cpu = median(run.cpu for run in runs)
    yield Figure.of(f"scan, {LINES:,} lines, {named}", LINES / whole, "lines/s", at_least=150_000)
    yield Figure.of(f"scan, without its start, {named}", LINES / (whole - start), "lines/s")
    yield Figure.of(f"scan, a core alone, {named}", LINES / cpu, "lines/CPU s")
    yield Figure.of(f"scan, start and end, {named}", start, "s")
    yield Figure.of(f"scan, start with no rules compiled yet, {named}", first.wall, "s")


def _real(folder: Path) -> Iterator[Figure]:
    """What people, robots and scanners really asked for, in all its variety."""
    source = CORPORA / "reallogs" / "apache_combined_10k.log.gz"
    if not source.is_file():
        return
    once = gzip.decompress(source.read_bytes())
    months = [
        b"/%s/%d" % (m, y) for y in range(2005, 2015) for m in (b"Mar", b"May", b"Jul", b"Oct")
    ]
    log = folder / "real.log"
    parts = [once.replace(b"/May/2015", month) for month in months[: max(1, LINES // 25_000)]]
    log.write_bytes(b"".join(parts))
    count = once.count(b"\n") * len(parts)
    runs = [_scan(folder, log, []) for _ in range(RUNS)]
    if any(run.events != count for run in runs):
        raise RuntimeError(f"the scan read {runs[0].events} lines of {count}")
    whole = median(run.wall for run in runs)
    yield Figure.of(
        f"scan, {count:,} lines of a real web site", count / whole, "lines/s", at_least=150_000
    )


def _scan(folder: Path, log: Path, rules: list[str]) -> _Run:
    command = [sys.executable, "-m", "tocsin", "scan", str(log), "--json"]
    command += [word for rule in rules for word in ("--rules", rule)]
    environ = {n: v for n, v in os.environ.items() if not n.startswith(("TOCSIN_", "XDG_"))}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(
        command, capture_output=True, check=False, env=environ | {"HOME": str(folder)}
    )
    wall, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode not in (0, FOUND):
        raise RuntimeError(f"the scan failed: {done.stderr.decode(errors='replace')}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    incidents = [msgspec.json.decode(line) for line in done.stdout.splitlines()]
    events = int(done.stderr.decode().rpartition(" events of ")[0].split()[-1])
    return _Run(events, wall, cpu, frozenset(i["entity"]["value"] for i in incidents))


def _log() -> Iterator[str]:
    """Traffic, and here and there somebody who guesses passwords."""
    every = LINES // (GUESSERS + 1)
    honest = lines(LINES - 30 * GUESSERS, start=START, rate=RATE)
    dice = random.Random(7)
    for number in range(GUESSERS):
        part = list(islice(honest, every - 30))
        yield from chain(part, _guesses(part[-1], _guesser(number), dice))
    yield from honest


def _guesser(number: int) -> str:
    return f"198.51.100.{number + 1}"


def _guesses(after: str, address: str, dice: random.Random) -> Iterator[str]:
    """Thirty tries within the second of the line *after* which they come."""
    when = after[after.index("[") + 1 : after.index("]")]
    assert datetime.strptime(when, "%d/%b/%Y:%H:%M:%S %z").tzinfo == UTC
    for _ in range(30):
        yield (
            f'{address} - - [{when}] "POST /api/v1/login HTTP/1.1" 401 {dice.randrange(80, 99)} '
            '"-" "python-requests/2.32"\n'
        )
