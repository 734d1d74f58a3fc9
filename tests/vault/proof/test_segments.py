"""Segments: what goes in comes out, under its own name only, and filters never hide a row."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from tocsin.catalog import segments as table
from tocsin.errors import Damaged
from tocsin.event.batch import SCHEMA
from tocsin.event.schema import COLUMNS, Type
from tocsin.vault import segments
from tocsin.vault.segments import Delivery, Range, Segment, Shelf, Stored


def full(count: int) -> pl.DataFrame:
    """Every canonical column, with nulls and edges in each."""
    makers: dict[Type, Any] = {
        Type.TIME: lambda i: 1_700_000_000_000_000_000 + i,
        Type.TEXT: lambda i: [None, "", "é\0\n", f"value {i}"][i % 4],
        Type.INT: lambda i: [None, 0, -(2**63), 2**63 - 1, i][i % 5],
        Type.TEXTS: lambda i: [None, [], [""], ["a", f"b{i}"]][i % 4],
    }
    plain = {c.name: pl.Int64() if c.type is Type.TIME else SCHEMA[c.name] for c in COLUMNS}
    values = {c.name: [makers[c.type](i) for i in range(count)] for c in COLUMNS}
    frame = pl.DataFrame(values, schema=plain).cast(SCHEMA)
    return frame.insert_column(0, pl.Series("seq", range(count), dtype=pl.Int64))


def put(directory: Path, frame: pl.DataFrame, key: bytes) -> str:
    segment = segments.make_id(0)
    stored = Stored(
        (Range(0, frame.height, tuple(frame.columns), bytes(32)),),
        (Delivery("shop", "batch é", 0, frame.height, 5),),
    )
    path = segments.segment_path(directory, segment)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(segments.write([frame.to_arrow()], key, segment, stored, level=1))
    return segment


class Ring:
    """One key for all."""

    def __init__(self, key: bytes) -> None:
        self.key = key

    def get(self, name: str) -> bytes:
        return self.key


def shelf(directory: Path, segment: str, frame: pl.DataFrame, key: bytes) -> Shelf:
    columns = tuple(n for n in frame.columns if n != "seq")
    row = Segment(segment, 0, frame.height - 1, frame.height, 0, 1, columns, 0, "", 0)
    return Shelf(directory, row, Ring(key))  # type: ignore[arg-type]  # only get() is asked of it


def test_every_type_comes_back_as_it_was_by_both_readers(tmp_path: Path) -> None:
    frame, key = full(50), secrets.token_bytes(32)
    segment = put(tmp_path, frame, key)
    by_polars = shelf(tmp_path, segment, frame, key).scan().collect()
    assert by_polars.schema == frame.schema
    assert by_polars.equals(frame)
    path = segments.segment_path(tmp_path, segment)
    by_arrow = pl.from_arrow(segments.read(path, key, segment))
    assert isinstance(by_arrow, pl.DataFrame)
    assert by_arrow.cast(frame.schema).equals(frame)
    stored = segments.read_stored(path, key, segment)
    assert stored.ranges[0].names == tuple(frame.columns)
    assert stored.deliveries == (Delivery("shop", "batch é", 0, 50, 5),)


def test_nothing_of_a_row_can_be_read_in_the_file(tmp_path: Path) -> None:
    frame, key = full(50).with_columns(user=pl.lit("marked-user")), secrets.token_bytes(32)
    data = segments.segment_path(tmp_path, put(tmp_path, frame, key)).read_bytes()
    for word in (b"marked-user", b"trace_id", b"shop", b"tocsin"):
        assert word not in data


def test_a_segment_under_anothers_name_or_key_does_not_open(tmp_path: Path) -> None:
    frame, key = full(20), secrets.token_bytes(32)
    segment = put(tmp_path, frame, key)
    path = segments.segment_path(tmp_path, segment)
    other = segments.segment_path(tmp_path, "other")
    other.write_bytes(path.read_bytes())
    with pytest.raises(Damaged, match=r"other\.parquet: cannot be read"):
        segments.read(other, key, "other")
    with pytest.raises(Damaged, match=r"other\.parquet: cannot be read"):
        shelf(tmp_path, "other", frame, key).scan()
    with pytest.raises(Damaged):
        shelf(tmp_path, segment, frame, bytes(32)).scan()


def test_a_damaged_or_missing_file_is_named(tmp_path: Path) -> None:
    frame, key = full(20), secrets.token_bytes(32)
    segment = put(tmp_path, frame, key)
    path = segments.segment_path(tmp_path, segment)
    data = path.read_bytes()
    for bad in (data[:-1], data[: len(data) // 2], b"", data + b"x", b"PARE" * 10):
        path.write_bytes(bad)
        with pytest.raises(Damaged, match=path.name):
            shelf(tmp_path, segment, frame, key).scan()
        with pytest.raises(Damaged, match=path.name):
            segments.read_stored(path, key, segment)
    middle = bytearray(data)
    middle[200] ^= 1
    path.write_bytes(middle)
    with pytest.raises(Damaged, match=path.name):
        shelf(tmp_path, segment, frame, key).check()
    path.unlink()
    with pytest.raises(Damaged, match=r"parquet"):
        shelf(tmp_path, segment, frame, key).scan()


def test_a_filter_says_no_to_nearly_all_that_is_not_there(tmp_path: Path) -> None:
    key = secrets.token_bytes(32)
    frame = pl.DataFrame({"seq": range(5000), "trace_id": [f"{i:032x}" for i in range(5000)]})
    segment = put(tmp_path, frame, key)
    segments.write_filters(tmp_path, key, segment, segments.build_filters([frame]))
    one = shelf(tmp_path, segment, frame, key)
    assert all(one.maybe("trace_id", f"{i:032x}") for i in range(5000))
    wrong = sum(one.maybe("trace_id", f"{i:032x}") for i in range(5000, 10_000))
    assert wrong < 150
    assert segments.filter_path(tmp_path, segment).stat().st_size < 2 * 5000


@given(values=st.lists(st.one_of(st.none(), st.text(max_size=8)), min_size=1, max_size=30))
@settings(deadline=None)
def test_a_filter_never_hides_a_value(values: list[str | None]) -> None:
    frame = pl.DataFrame({"user": values}, schema={"user": pl.String})
    bits = segments.build_filters([frame.head(7), frame.slice(7)])["user"]
    assert all(segments._holds(bits, value) for value in values if value is not None)


def test_elements_of_lists_can_be_looked_up(tmp_path: Path) -> None:
    key = secrets.token_bytes(32)
    frame = pl.DataFrame({"seq": [0, 1, 2], "objects": [["a", "b"], [], ["c"]]})
    segment = put(tmp_path, frame, key)
    one = shelf(tmp_path, segment, frame, key)
    assert [one.maybe("objects", v) for v in "abc"] == [True, True, True]
    assert not one.maybe("objects", "nowhere")


def test_a_filter_that_is_no_use_is_made_again_and_hides_nothing(tmp_path: Path) -> None:
    frame, key = full(20).with_columns(user=pl.lit("alice")), secrets.token_bytes(32)
    segment = put(tmp_path, frame, key)
    path = segments.filter_path(tmp_path, segment)
    segments.write_filters(tmp_path, key, segment, segments.build_filters([frame]))
    good = path.read_bytes()
    for place in range(0, len(good), 5):
        bad = bytearray(good)
        bad[place] ^= 0x40
        path.write_bytes(bad)
        assert shelf(tmp_path, segment, frame, key).maybe("user", "alice")
    for bad_file in (b"", good[:30], good[:-3], good + b"x"):
        path.write_bytes(bad_file)
        one = shelf(tmp_path, segment, frame, key)
        assert one.maybe("user", "alice")
        assert one.maybe("objects", "b3")
    path.unlink()
    one = shelf(tmp_path, segment, frame, key)
    assert one.maybe("user", "alice")
    assert not one.maybe("user", "bob")
    assert path.exists()


def test_a_filter_made_by_another_hash_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame, key = full(20).with_columns(user=pl.lit("alice")), secrets.token_bytes(32)
    segment = put(tmp_path, frame, key)
    with monkeypatch.context() as patch:
        patch.setattr(segments, "_make", lambda: "an older hash")
        segments.write_filters(tmp_path, key, segment, {"user": bytes(8)})
    assert shelf(tmp_path, segment, frame, key).maybe("user", "alice")


def test_only_what_is_certainly_absent_is_denied(tmp_path: Path) -> None:
    frame, key = pl.DataFrame({"seq": [0], "kind": ["request"]}), secrets.token_bytes(32)
    one = shelf(tmp_path, put(tmp_path, frame, key), frame, key)
    assert one.maybe("kind", "anything: low cardinality, no filter")
    assert one.maybe("seq", "0")
    assert one.maybe("no such column", "x")
    assert not one.maybe("user", "alice")


def test_shelves_are_listed_newest_first_and_by_time(house: Any) -> None:
    shelves = segments.Shelves(house.directory, house.ring, house.catalog)
    found = shelves.within()
    assert [s.first_seq for s in found] == [21, 12, 0]
    assert [s.rows for s in found] == [5, 9, 12]
    assert found[0].columns == {
        "time",
        "observed",
        "kind",
        "user",
        "path",
        "status",
        "trace_id",
        "tags",
    }
    assert "message" in found[1].columns
    middle = shelves.within(found[1].time_min, found[1].time_max)
    assert [s.first_seq for s in middle] == [12]
    assert shelves.within(found[1].time_min)[0] is found[0], "what was read once is kept"
    assert house.frame()["seq"].to_list() == list(range(26))


def test_a_quarantined_segment_is_set_aside_and_the_rest_goes_on(house: Any) -> None:
    bad = house.shelves()[1]
    aside = segments.quarantine(bad, house.catalog, "bit rot")
    assert aside.exists()
    assert not bad.path.exists()
    assert [s.first_seq for s in house.shelves()] == [21, 0]
    with house.catalog.connect() as connection:
        why = connection.scalar(sa.select(table.c.quarantined).where(table.c.id == bad.segment.id))
    assert why.splitlines() == [
        "bit rot",
        segments.aside_mark(bad.secret(), bad.segment.id, "bit rot"),
    ]
    segments.quarantine(bad, house.catalog, "bit rot")
    assert "missing" in [p.message for p in house.verify().problems]
