"""Figures, what they were held against, and how they are written down."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

import msgspec

__all__ = ["Figure", "machine", "scaled", "table", "write"]


class Figure(msgspec.Struct, frozen=True):
    """One measured figure.  ``bound`` is what we promise, ``against`` what it was compared with."""

    name: str
    value: float
    unit: str
    bound: str | None = None  #: ">= 100000" or "<= 0.3"
    holds: bool | None = None
    against: str | None = None
    ratio: float | None = None

    @classmethod
    def of(
        cls,
        name: str,
        value: float,
        unit: str,
        *,
        at_least: float | None = None,
        at_most: float | None = None,
        against: str | None = None,
        ratio: float | None = None,
    ) -> Figure:
        """A figure held against a bound, when there is one."""
        bound = holds = None
        if at_least is not None:
            bound, holds = f">= {at_least:g}", value >= at_least
        if at_most is not None:
            bound, holds = f"<= {at_most:g}", value <= at_most
        return cls(name, round(value, 4), unit, bound, holds, against, ratio)


def write(path: Path, figures: Iterable[Figure]) -> None:
    """The report, one figure a line, so that a change shows as such."""
    lines = ",\n".join(" " + msgspec.json.encode(figure).decode() for figure in figures)
    path.write_text(f"[\n{lines}\n]\n")


def table(figures: Iterable[Figure]) -> str:
    """The same for people."""
    rows = [("", "figure", "value", "unit", "bound", "against")]
    for f in figures:
        mark = {True: "ok", False: "MISS", None: ""}[f.holds]
        against = f"{f.ratio:.2f}x {f.against}" if f.ratio is not None else f.against or ""
        rows.append((mark, f.name, f"{f.value:,.6g}", f.unit, f.bound or "", against))
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def machine() -> list[Figure]:
    """What it was measured on, as figures, so that a report without it does not exist."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    python = f"{platform.python_implementation()} {platform.python_version()}"
    system = f"{platform.system()} {platform.machine()}, {python}, Polars {version('polars')}"
    figures = [
        Figure.of("machine: cores", len(os.sched_getaffinity(0)), "cores", against=system),
        Figure.of("machine: memory", memory / 2**30, "GB"),
        Figure.of("machine: load when it began", os.getloadavg()[0], "processes"),
    ]
    if _SCALE != 1:
        figures.append(Figure.of("machine: amounts scaled by TOCSIN_BENCH_SCALE", _SCALE, "x"))
    return figures


#: For a quick look: a tenth of everything with TOCSIN_BENCH_SCALE=0.1.  The report says so.
_SCALE = float(os.environ.get("TOCSIN_BENCH_SCALE", "1"))


def scaled(amount: int, least: int = 1) -> int:
    """*amount*, or the share of it that was asked for."""
    return max(least, round(amount * _SCALE))
