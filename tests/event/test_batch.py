"""Batches: columns that come and go, rows that do not."""

from __future__ import annotations

import polars as pl
import pytest

from tocsin.event.batch import SCHEMA, complete


@pytest.mark.parametrize("names", [["user"], ["user", "status"], ["time", "user"], [], None])
@pytest.mark.parametrize("rows", [0, 1, 3])
def test_completing_keeps_every_row_whatever_is_wanted(rows: int, names: list[str] | None) -> None:
    frame = pl.DataFrame({"seq": range(rows), "path": pl.Series(["/x"] * rows, dtype=pl.String)})
    whole = complete(frame, names)
    wanted = list(SCHEMA) if names is None else names
    assert whole.height == rows
    assert whole.schema == {name: SCHEMA[name] for name in wanted}
    assert all(whole[name].null_count() == rows for name in wanted if name != "path")
