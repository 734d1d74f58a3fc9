"""tocsin's own NDJSON: one event a line, keys are column names.

A value of the wrong type is kept in ``attributes`` and ``parse_error`` names the key; so is a key
that is no column.  ``source``, ``observed``, ``parser`` and ``parse_error`` are the door's to say:
what a line claims of them becomes an attribute.
"""

from __future__ import annotations

import polars as pl

from tocsin.intake.origin import Origin
from tocsin.intake.parsers.fields import rows
from tocsin.intake.parsers.lines import Lines
from tocsin.intake.parsers.objects import decode
from tocsin.intake.parsers.readers import Context

__all__ = ["parse"]


def parse(lines: Lines, origin: Origin, observed: int) -> pl.DataFrame:
    """Rows of tocsin's NDJSON."""
    return rows(decode(lines, nested=False), "tocsin", Context(origin.tz, observed))
