"""Answers in numbers: how ``search --count``, ``--histogram`` and ``--top`` look."""

from __future__ import annotations

import csv
import io
import re
import sys

import click

from tocsin.cli.asking import Asking
from tocsin.cli.out import json_line, put, table
from tocsin.errors import UsageError
from tocsin.event.escape import visible
from tocsin.event.times import rfc3339
from tocsin.siem.access import Count, Counted

__all__ = ["AUTO", "Counting", "print_counts", "width_of"]

AUTO = "auto"
_LENGTH = re.compile(r"([0-9]{1,9})(ms|s|m|h|d|w)")
_UNITS_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")


class Counting(Asking):
    """Takes ``--histogram`` with a length behind it, and without."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does; what follows ``--histogram`` is its value only when it is a length."""
        end = args.index("--") if "--" in args else len(args)
        for at, word in enumerate(args[:end]):
            after = args[at + 1] if at + 1 < end else ""
            if word == "--histogram" and not _LENGTH.fullmatch(after):
                args[at] = f"--histogram={AUTO}"
        return super().parse_args(ctx, args)


def width_of(text: str) -> int | None:
    """The length of a bucket, ns; None: as fits."""
    if text == AUTO:
        return None
    found = _LENGTH.fullmatch(text)
    if found is None or not int(found[1]):
        raise UsageError(f"--histogram {text}: write a length of time, as in 15m, 1h or 30s")
    return int(found[1]) * _UNITS_MS[found[2]] * 10**6


def print_counts(counted: Counted, form: str) -> None:
    """The numbers: one a line, each with what it counts."""
    names = _names(counted.rows)
    if form == "json":
        for row in counted.rows:
            json_line({name: _cell(row, name) for name in names})
        return
    rows = [["" if (v := _cell(row, n)) is None else str(v) for n in names] for row in counted.rows]
    if form == "csv":
        sys.stdout.write(_csv([names, *rows]))
    elif names == ["count"]:
        put(rows[0][0])
    elif form == "tsv":
        for cells in [names, *rows]:
            sys.stdout.write("\t".join(map(visible, cells)) + "\n")
    else:
        table(names, rows)


def _names(rows: list[Count]) -> list[str]:
    if any(row.start is not None for row in rows):
        return ["start", "count"]
    one = len(rows) == 1 and rows[0].value is None
    return ["count"] if one else ["value", "count"]


def _cell(row: Count, name: str) -> object:
    if name == "start":
        return None if row.start is None else rfc3339(row.start)
    return row.value if name == "value" else row.count


def _csv(rows: list[list[str]]) -> str:
    """By RFC 4180; what a spreadsheet could take for a formula begins with an apostrophe."""
    written = io.StringIO()
    writer = csv.writer(written)
    for row in rows:
        cells = (visible(cell) for cell in row)
        writer.writerow([f"'{cell}" if cell.startswith(_FORMULA) else cell for cell in cells])
    return written.getvalue()
