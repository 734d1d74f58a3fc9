"""Many events as columns: ``Batch`` is claimed, ``Entries`` is durable.

Not imported by ``tocsin.event`` itself, so that the SDK stays free of Polars.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import msgspec
import polars as pl

from tocsin.event.model import Event
from tocsin.event.schema import COLUMNS, Type

__all__ = ["DTYPES", "SCHEMA", "Batch", "Entries", "complete", "empty", "from_events", "to_events"]

DTYPES = MappingProxyType[Type, pl.DataType](
    {
        Type.TIME: pl.Datetime("ns", "UTC"),
        Type.TEXT: pl.String(),
        Type.INT: pl.Int64(),
        Type.TEXTS: pl.List(pl.String()),
    }
)

#: Polars schema of a whole batch, in canonical order.
SCHEMA = pl.Schema({column.name: DTYPES[column.type] for column in COLUMNS})


@dataclass(frozen=True, slots=True)
class Batch:
    """Claims, redacted, ready for the vault.

    ``frame`` holds canonical columns only, in canonical order and dtype.  A column that is null in
    every row may be absent; ``time``, ``observed`` and ``kind`` never are, and are never null.
    """

    frame: pl.DataFrame

    def __len__(self) -> int:
        return self.frame.height


@dataclass(frozen=True, slots=True)
class Entries:
    """Evidence: rows ``first_seq .. first_seq + len - 1``, durable and in order.

    ``frame`` is a :class:`Batch`'s; the seq is not a column of it.
    """

    first_seq: int
    frame: pl.DataFrame

    def __len__(self) -> int:
        return self.frame.height

    @property
    def next_seq(self) -> int:
        """The seq of whatever comes after."""
        return self.first_seq + self.frame.height


def empty() -> pl.DataFrame:
    """No rows, every column."""
    return pl.DataFrame(schema=SCHEMA)


def complete(frame: pl.DataFrame, names: Iterable[str] | None = None) -> pl.DataFrame:
    """*frame* with the canonical columns *names* (default: all), absent ones as null."""
    wanted = list(SCHEMA) if names is None else list(names)
    have = set(frame.columns)
    if not wanted:
        return pl.DataFrame(height=frame.height)
    # Beside the columns that are there, not instead of them: alone, a null is a single row.
    absent = [pl.lit(None, dtype=SCHEMA[n]).alias(n) for n in wanted if n not in have]
    return frame.with_columns(absent).select(wanted)


def from_events(events: Iterable[Event]) -> pl.DataFrame:
    """Columns of *events*, absent fields as null.  For tests, the SDK's tests and small inputs."""
    rows = [_row(event) for event in events]
    used = {name for row in rows for name in row}
    schema = {
        n: pl.Int64() if d == DTYPES[Type.TIME] else d for n, d in SCHEMA.items() if n in used
    }
    frame = pl.DataFrame(rows, schema=schema)
    return frame.with_columns(pl.col(n).cast(SCHEMA[n]) for n in ("time", "observed") if n in used)


def to_events(frame: pl.DataFrame) -> list[Event]:
    """The rows of *frame* as events, for people to look at.  Unknown columns are ignored."""
    plain = frame.select(
        pl.col(n).dt.epoch("ns") if SCHEMA[n] == DTYPES[Type.TIME] else pl.col(n)
        for n in frame.columns
        if n in SCHEMA
    )
    return [msgspec.convert(_unrow(row), Event) for row in plain.iter_rows(named=True)]


def _row(event: Event) -> dict[str, Any]:
    row = {k: v for k in SCHEMA if (v := getattr(event, k)) is not None}
    row["kind"] = str(event.kind)
    if event.attributes is not None:
        row["attributes"] = msgspec.json.encode(event.attributes).decode()
    return row


def _unrow(row: dict[str, Any]) -> dict[str, Any]:
    row = {k: v for k, v in row.items() if v is not None}
    if "attributes" in row:
        row["attributes"] = msgspec.json.decode(row["attributes"])
    return row
