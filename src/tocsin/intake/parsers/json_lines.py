"""JSON lines of any make: known names become columns, all others attributes under dotted names."""

from __future__ import annotations

import polars as pl

from tocsin.intake.origin import Origin
from tocsin.intake.parsers.fields import rows
from tocsin.intake.parsers.lines import Lines
from tocsin.intake.parsers.objects import decode
from tocsin.intake.parsers.readers import Context

__all__ = ["parse"]


def parse(lines: Lines, origin: Origin, observed: int) -> pl.DataFrame:
    """Rows of foreign JSON lines."""
    return rows(decode(lines, nested=True), "json", Context(origin.tz, observed))
