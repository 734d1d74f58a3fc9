"""Compaction: fewer files, the same rows in the same order, the same promises."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
import sqlalchemy as sa

from tocsin.catalog import segments as catalog_segments
from tocsin.errors import Damaged
from tocsin.vault import compact, segments
from tocsin.vault.segments import Segment


def sizes(*rows: int) -> list[Segment]:
    """Neighbours with that many rows each."""
    found, seq = list[Segment](), 0
    for count in rows:
        found.append(Segment(f"s{seq}", seq, seq + count - 1, count, 0, 0, (), 0, "", 0))
        seq += count
    return found


def chosen(*rows: int) -> list[int]:
    return [s.rows for s in compact.choose(sizes(*rows))]


def test_a_few_small_segments_are_left_alone_and_many_are_joined() -> None:
    assert chosen(*[10] * 7) == []
    assert chosen(*[10] * 8) == [10] * 8
    assert chosen(*[10] * 600) == [10] * compact.MOST


def test_a_large_segment_is_not_written_again_for_a_few_small_ones() -> None:
    assert chosen(1000, *[1] * 20) == [1] * 20
    assert chosen(1000, *[1] * 7) == []
    assert chosen(100, *[50] * 7) == [100, *[50] * 7]


def test_a_file_is_not_made_too_large() -> None:
    assert sum(chosen(*[200_000] * 9)) == 0
    assert len(chosen(*[65_536] * 40)) == 16


def test_segments_that_are_no_neighbours_are_not_joined() -> None:
    known = sizes(*[10] * 20)
    del known[5]
    assert [s.first_seq for s in compact.choose(known)] == list(range(60, 200, 10))


@pytest.fixture
def many(build: Any) -> Any:
    house = build()
    house.begin()
    for i in range(9):
        house.seal(4, **({"message": f"part {i}"} if i % 2 else {}))
    return house


def test_rows_and_proofs_are_the_same_afterwards(many: Any) -> None:
    before = many.frame()
    assert many.sealer.compact() == 9
    assert many.sealer.compact() == 0
    (shelf,) = many.shelves()
    assert (shelf.first_seq, shelf.rows, shelf.segment.ranges) == (0, 36, 9)
    assert many.frame().select(before.columns).equals(before)
    report = many.verify()
    assert report.verdict == "intact", report.problems
    assert (report.rows, report.segments) == (36, 1)
    assert shelf.maybe("trace_id", f"{17:032x}")
    assert not shelf.maybe("trace_id", "f" * 32)


def test_replaced_files_stay_for_readers_and_go_at_the_stop(many: Any) -> None:
    old = many.shelves()
    many.sealer.compact()
    assert old[0].scan().collect().height == 4, "who began to read may finish"
    many.sealer.stop()
    assert [p.stem for p in (many.directory / "segments").iterdir()] == [
        many.shelves()[0].segment.id
    ]
    assert len([n for n in many.ring.names() if n.startswith("seg.")]) == 1


def test_compacted_files_can_be_compacted_again(build: Any) -> None:
    house = build()
    house.begin()
    for _ in range(4):
        for _ in range(8):
            house.seal(4)
        house.sealer.compact()
    for _ in range(8):
        house.seal(16)
    assert house.sealer.compact() > 0
    report = house.verify()
    assert report.verdict == "intact", report.problems
    assert report.rows == 4 * 32 + 8 * 16
    assert house.frame()["seq"].to_list() == list(range(report.rows))


def test_damage_is_never_written_again_as_if_it_were_whole(many: Any) -> None:
    bad = many.shelves()[4]
    data = bytearray(bad.path.read_bytes())
    data[len(data) // 2] ^= 1
    bad.path.write_bytes(data)
    with pytest.raises(Damaged, match=bad.path.name):
        many.sealer.compact()
    with many.catalog.connect() as connection:
        why = connection.scalar(
            sa.select(catalog_segments.c.quarantined).where(catalog_segments.c.id == bad.segment.id)
        )
    assert "not the file that was sealed" in why
    assert len(many.shelves()) == 8
    assert many.sealer.compact() == 0, "what is left on either side is too little to join"
    assert many.frame().height == 32
    assert many.verify().verdict == "tampered"


def test_the_catalog_can_be_made_again_after_a_compaction(many: Any) -> None:
    many.sealer.compact()
    many.seal(3)
    (new, old) = [s.segment for s in many.shelves()]
    with many.catalog.begin() as connection:
        connection.execute(sa.delete(catalog_segments))
    many.another().recover()
    assert [s.segment for s in many.shelves()] == [new, old]


def test_deliveries_too_old_to_matter_are_left_behind() -> None:
    stored = [
        segments.Stored((), (segments.Delivery("a", str(at), 0, 1, at),)) for at in (5, 10, 15)
    ]
    assert [d.batch_id for d in compact._merged(stored, 10).deliveries] == ["10", "15"]


def test_columns_that_only_some_ranges_have_stay_null_in_the_others(many: Any) -> None:
    many.sealer.compact()
    frame = many.frame().sort("seq")
    messages = frame["message"].to_list()
    expected = [f"part {i // 4}" if (i // 4) % 2 else None for i in range(36)]
    assert messages == expected
    assert frame.schema["message"] == pl.String()


def test_segments_without_any_filtered_column_are_joined_too(build: Any) -> None:
    house = build()
    house.begin()
    for i in range(9):
        house.seal(4, trace_id=None, user=None, **({"session": "s1"} if i == 4 else {}))
    before = house.frame()
    assert house.sealer.compact() == 9
    assert house.frame().select(before.columns).equals(before)
    (shelf,) = house.shelves()
    assert shelf.maybe("session", "s1")
    assert not shelf.maybe("session", "s2")
    assert house.verify().verdict == "intact"


def test_segments_of_plain_text_alone_are_joined_too(build: Any) -> None:
    house = build()
    house.begin()
    for _ in range(8):
        house.seal(3, trace_id=None, user=None)
    assert house.sealer.compact() == 8
    assert house.frame().height == 24
    assert house.verify().verdict == "intact"


@pytest.mark.parametrize("step", ["build_filters", "write", "write_filters"])
def test_a_compaction_that_fails_leaves_neither_file_nor_key(
    many: Any, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {p.name for p in many.directory.glob("*/*") if p.is_file()}

    def refuse(*_: Any, **__: Any) -> Any:
        raise pl.exceptions.ShapeError("heights differ")

    with monkeypatch.context() as patched:
        patched.setattr(segments, step, refuse)
        with pytest.raises(pl.exceptions.ShapeError):
            many.sealer.compact()
    assert {p.name for p in many.directory.glob("*/*") if p.is_file()} == files
    assert many.sealer.compact() == 9
    assert many.verify().verdict == "intact"
