"""Parsers: each a pure function from lines to canonical columns, one subject a file."""

from __future__ import annotations

from types import MappingProxyType
from typing import Protocol

import polars as pl

from tocsin.intake.origin import Origin
from tocsin.intake.parsers import (
    apache,
    json_lines,
    kv,
    nginx,
    nginx_json,
    pg_csv,
    pg_json,
    text,
    tocsin,
)
from tocsin.intake.parsers.lines import Lines

__all__ = ["LAYERS", "PARSERS", "Parser"]


class Parser(Protocol):
    """Reads whole records; a record it cannot read it keeps, and never raises for one."""

    def __call__(self, lines: Lines, origin: Origin, observed: int, /) -> pl.DataFrame:
        """Rows of *lines* in their order; columns that the door fills in may be missing."""
        ...


#: Every parser by its name.
PARSERS = MappingProxyType[str, Parser](
    {
        "tocsin": tocsin.parse,
        "nginx": nginx.parse,
        "nginx_json": nginx_json.parse,
        "apache": apache.parse,
        "pg_csv": pg_csv.parse,
        "pg_json": pg_json.parse,
        "json": json_lines.parse,
        "kv": kv.parse,
        "text": text.parse,
    }
)

#: Where what a parser reads comes from, if nobody says otherwise.
LAYERS = MappingProxyType(
    {
        "tocsin": "app",
        "nginx": "gateway",
        "nginx_json": "gateway",
        "apache": "gateway",
        "pg_csv": "database",
        "pg_json": "database",
    }
)
