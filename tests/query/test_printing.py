"""What is printed is what was found, and no value gets out of its place."""

from __future__ import annotations

import csv
import io
import json
import unicodedata
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tocsin.errors import QueryError, UsageError
from tocsin.event import Event, Kind
from tocsin.event.batch import SCHEMA, from_events
from tocsin.query import TABLE_COLUMNS, render

TIME = 1_790_000_000_123_000_000


def frame_of(*events: Event) -> pl.DataFrame:
    frame = from_events(events)
    return frame.select(pl.int_range(0, pl.len(), dtype=pl.Int64).alias("seq"), pl.all())


def event(**fields: Any) -> Event:
    return Event(time=TIME, observed=TIME + 1, kind=Kind.REQUEST, **fields)


def text(frames: list[pl.DataFrame], form: str, **options: Any) -> str:
    return "".join(render(frames, form, **options))


FULL = frame_of(
    event(user="ann", status=200, tags=("a", "b,c"), attributes={"n": 1, "s": "x"}),
    event(message='say "hi"', client_ip="10.0.0.1"),
)


def test_json_is_one_event_a_line_without_nulls() -> None:
    assert [json.loads(line) for line in text([FULL], "json").splitlines()] == [
        {
            "seq": 0,
            "time": "2026-09-21T14:13:20.123Z",
            "observed": "2026-09-21T14:13:20.123000001Z",
            "kind": "request",
            "user": "ann",
            "status": 200,
            "tags": ["a", "b,c"],
            "attributes": {"n": 1, "s": "x"},
        },
        {
            "seq": 1,
            "time": "2026-09-21T14:13:20.123Z",
            "observed": "2026-09-21T14:13:20.123000001Z",
            "kind": "request",
            "message": 'say "hi"',
            "client_ip": "10.0.0.1",
        },
    ]


def test_csv_has_every_column_unless_told_and_the_same_for_every_frame() -> None:
    lines = text([FULL, FULL.select("seq", "time", "kind")], "csv").split("\r\n")
    assert lines[0].split(",") == ["seq", *SCHEMA]
    assert len(lines) == 1 + 2 + 2 + 1
    chosen = text([FULL], "csv", columns=["user", "tags", "message"])
    assert chosen == 'user,tags,message\r\nann,"[""a"",""b,c""]",\r\n,,"say ""hi"""\r\n'


def test_csv_tells_null_from_empty() -> None:
    frame = frame_of(event(user=""), event(user=None, message="x"))
    assert text([frame], "csv", columns=["seq", "user"]) == 'seq,user\r\n0,""\r\n1,\r\n'


@pytest.mark.parametrize("value", ["=1+1", "+1", "-1", "@SUM(A1)", "＝1", '=cmd|"/c calc"!A0'])
def test_a_formula_is_only_text_in_a_spreadsheet(value: str) -> None:
    printed = text([frame_of(event(user=value))], "csv", columns=["user"])
    (row,) = csv.DictReader(io.StringIO(printed))
    assert row["user"] == "'" + value


def test_numbers_of_csv_stay_numbers() -> None:
    frame = frame_of(event(source_seq=-5))
    assert text([frame], "csv", columns=["source_seq"]) == "source_seq\r\n-5\r\n"


def test_a_table_is_as_wide_as_asked_and_aligned() -> None:
    frame = frame_of(
        event(user="日本", path="/" + "x" * 300, status=200), event(user="ann", status=5)
    )
    lines = text([frame], "table", width=80, columns=["user", "status", "path"]).splitlines()
    assert lines[0] == "user  status  path"
    assert lines[1].startswith("日本  200     /xxx")
    assert lines[1].endswith("…")
    assert len(lines[1]) == 80 - 2
    assert lines[2] == "ann   5"


def test_a_table_shows_the_usual_columns_without_being_told() -> None:
    header, row, _ = text([FULL], "table").splitlines()
    assert header.split() == "time kind user client_ip method path status message".split()
    assert row.split() == ["2026-09-21T14:13:20.123Z", "request", "ann", "200"]


@pytest.mark.parametrize("width", [80, 120])
def test_the_time_and_an_address_are_whole_in_a_narrow_table(width: int) -> None:
    asked = event(
        user="ann",
        client_ip="198.51.100.123",
        method="POST",
        path="/api/v1/" + "x" * 60,
        status=401,
    )
    header, row = text([frame_of(asked)], "table", width=width).splitlines()
    assert len(row) <= width
    assert "2026-09-21T14:13:20.123Z" in row
    assert "198.51.100.123" in row
    assert ("method" in header) == (width == 120)


def test_a_narrow_table_leaves_out_what_is_empty_first_unless_more_may_come() -> None:
    frame = frame_of(event(message="incident closed: inc-0123456789ab"))
    header, row = text([frame], "table", width=80).splitlines()
    assert header.split() == ["time", "kind", "status", "message"]
    assert row.endswith("inc-0123456789ab")
    header, _ = text([frame], "table", width=80, arriving=True).splitlines()
    assert "path" in header


def test_columns_that_were_asked_for_are_never_left_out() -> None:
    names = ["time", "user", "client_ip", "method", "path", "status", "message"]
    header, _, _ = text([FULL], "table", width=40, columns=names).splitlines()
    assert len(header.split()) == len(names)


def test_cells_between_tabs_are_whole_and_of_the_columns_of_a_table() -> None:
    frame = frame_of(event(user="a\tb", message="x" * 300))
    header, row = text([frame], "tsv").splitlines()
    assert header.split("\t") == list(TABLE_COLUMNS)
    cells = row.split("\t")
    assert (cells[2], cells[-1]) == ("a\\tb", "x" * 300)
    assert text([], "tsv", columns=["user"]) == "user\n"


def test_a_table_of_nothing_prints_nothing() -> None:
    assert text([], "table") == ""


def test_wrong_forms_and_columns_are_refused_at_once() -> None:
    with pytest.raises(UsageError, match='unknown form "yaml"; there are json, table, csv, tsv'):
        render([], "yaml")
    with pytest.raises(QueryError, match="did you mean status"):
        render([], "csv", columns=["statuz"])


hostile = st.text(max_size=12) | st.sampled_from(
    ["\x1b[2J", "a\nb", "a\r\nb", "\u202egnp", "\u2028", "\x9b31m", "\x00", '","', "\u200b", "'"]
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.builds(event, user=hostile, message=hostile, path=hostile), min_size=1, max_size=5)
)
@pytest.mark.parametrize("form", ["json", "table", "csv", "tsv"])
def test_no_value_begins_a_line_or_moves_the_cursor(form: str, log: list[Event]) -> None:
    columns = ["seq", "user", "path", "message"]
    printed = text([frame_of(*log)], form, columns=columns)
    lines = printed.replace("\r\n", "\n").split("\n")
    between = "" if form == "tsv" else "\t"  # of cells
    assert all(line.count("\t") == len(columns) - 1 for line in lines[:-1]) or form != "tsv"
    assert len(lines) == len(log) + (1 if form == "json" else 2)
    assert not [
        c
        for c in "".join(lines).replace("\t", between)
        if unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp")
    ]
    if form == "json":
        assert [json.loads(line).get("user") for line in lines[:-1]] == [e.user for e in log]
    if form == "csv":
        rows = list(csv.DictReader(io.StringIO(printed, newline="")))
        assert [row["seq"] for row in rows] == [str(i) for i in range(len(log))]
        assert all(row["user"][:1] not in tuple("=+-@") or not row["user"] for row in rows)
