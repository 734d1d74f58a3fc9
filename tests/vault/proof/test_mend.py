"""A file that was damaged and is whole again counts again; one bad byte in the log stops nobody."""

from __future__ import annotations

import random
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tocsin.catalog import segments as table
from tocsin.errors import Damaged, KeyMissing
from tocsin.vault import segments, tlog
from tocsin.vault.store import SegmentShelving


def seqs(house: Any) -> list[int]:
    """The rows that a search finds."""
    found: list[int] = house.frame()["seq"].to_list()
    return found


def damage(path: Path) -> bytes:
    """Change a byte; what was there before."""
    good = path.read_bytes()
    path.write_bytes(good[:100] + bytes([good[100] ^ 1]) + good[101:])
    return good


def set_aside(house: Any, shelf: segments.Shelf) -> None:
    shelving = SegmentShelving(house.directory, house.ring, house.catalog)
    assert shelving.set_aside(shelf, ValueError("a query")) == shelf.path.name


# -- segments -------------------------------------------------------------------------------------


def test_a_segment_that_was_set_aside_counts_again_when_its_file_is_put_back(house: Any) -> None:
    shelf = house.shelves()[1]
    good = damage(shelf.path)
    assert house.verify().verdict == "tampered"
    set_aside(house, shelf)
    assert seqs(house) == [*range(12), *range(21, 26)]
    report = house.verify()
    assert "missing" in [p.message for p in report.problems]
    assert house.another().recover().taken_back == (), "it is not there yet"
    shelf.path.write_bytes(good)
    report = house.verify()
    assert (report.verdict, report.exit_code) == ("lossy", 4), report.problems
    assert report.losses == "9 events are set aside, so that no search finds them"
    assert any("until `tocsin up` starts, which takes it back" in note for note in report.notes)
    assert house.another().recover().taken_back == (shelf.segment.id,)
    assert seqs(house) == list(range(26))
    report = house.verify()
    assert report.verdict == "intact"
    assert any("was set aside as damaged" in note for note in report.notes), "the damaged copy"
    assert house.another().recover().taken_back == (), "once"


def test_a_file_that_was_gone_counts_again_when_it_is_put_back(house: Any) -> None:
    shelf = house.shelves()[1]
    good = shelf.path.read_bytes()
    shelf.path.unlink()
    set_aside(house, shelf)
    shelf.path.write_bytes(good)
    assert house.verify().verdict == "lossy"
    assert house.another().recover().taken_back == (shelf.segment.id,)
    assert house.verify().verdict == "intact"
    assert seqs(house) == list(range(26))


def test_a_file_that_was_set_aside_whole_is_fetched_from_there(house: Any) -> None:
    shelf = house.shelves()[1]
    segments.quarantine(shelf, house.catalog, "the disk could not read it that day")
    assert not shelf.path.exists()
    assert house.another().recover().taken_back == (shelf.segment.id,)
    assert shelf.path.exists()
    assert house.verify().verdict == "intact"


@pytest.mark.parametrize("wrong", ["file", "key"])
def test_what_is_not_what_the_log_promised_is_not_taken_back(house: Any, wrong: str) -> None:
    shelf, other = house.shelves()[:2]
    good = damage(shelf.path)
    set_aside(house, shelf)
    if wrong == "file":
        bad = other.path.read_bytes()
        with house.catalog.begin() as connection:  # even if the catalog says so
            values = {"sha256": sha256(bad).hexdigest()}
            mine = table.c.id == shelf.segment.id
            connection.execute(sa.update(table).where(mine).values(**values))
        shelf.path.write_bytes(bad)
    else:
        shelf.path.write_bytes(good)
        house.ring.drop(segments.key_name(shelf.segment.id))
    assert house.another().recover().taken_back == ()
    assert shelf.first_seq not in [s.first_seq for s in house.shelves()]
    assert house.verify().verdict == "tampered"


def test_a_missing_key_is_called_one_moves_no_file_and_is_all_that_is_wanted(house: Any) -> None:
    shelf = house.shelves()[1]
    path = house.ring.path(segments.key_name(shelf.segment.id))
    key = path.read_bytes()
    path.unlink()
    fresh = segments.Shelf(house.directory, shelf.segment, house.ring)
    with pytest.raises(KeyMissing) as found:
        fresh.scan()
    for words in (fresh.path.name, str(path), "is missing", "put it back"):
        assert words in str(found.value)
    shelving = SegmentShelving(house.directory, house.ring, house.catalog)
    with pytest.raises(KeyMissing):
        shelving.set_aside(fresh, found.value)
    assert fresh.path.exists()
    assert [s.first_seq for s in house.shelves()] == [21, 12, 0], "nor is it struck off"
    (problem,) = house.verify().problems
    assert problem.file == f"keys/{path.name}"
    path.write_bytes(key)
    assert fresh.scan().collect().height == 9, "the very same shelf reads it now"
    assert house.verify().verdict == "intact"


# -- the log --------------------------------------------------------------------------------------

EDGE = ("checkpoint", "tile/0/000.p/7", "tile/entries/000.p/7")


@pytest.mark.parametrize("name", EDGE)
def test_one_bad_byte_at_the_logs_edge_is_put_right_and_told(house: Any, name: str) -> None:
    path = house.directory / "log" / name
    good = path.read_bytes()
    chance = random.Random(4)
    places = {0, 1, len(good) - 1, *chance.sample(range(len(good)), 12)}
    for place in sorted(places):
        bit = 1 << chance.randrange(8)
        path.write_bytes(good[:place] + bytes([good[place] ^ bit]) + good[place + 1 :])
        assert house.verify().verdict == "tampered"
        (told,) = house.another().recover().mended
        assert f"log/{name}" in told
        assert path.read_bytes() == good, place
    assert house.another().recover().mended == ()
    assert house.verify().verdict == "intact"


def test_a_hash_tile_of_a_higher_level_is_made_again(house: Any, build: Any) -> None:
    made = build("long")
    made.begin()
    while not (made.directory / "log/tile/1/000.p/1").exists():
        made.empty()
    path = made.directory / "log/tile/1/000.p/1"
    path.write_bytes(bytes(32))
    assert made.another().recover().mended == ("log/tile/1/000.p/1",)
    assert made.verify().verdict == "intact"


def test_what_was_rewritten_is_never_mended_into_a_promise(house: Any) -> None:
    """An entry, its hash and a promise that no longer reads: all that a writer without keys has."""
    log = house.directory / "log"
    bundle = log / "tile/entries/000.p/7"
    changed = bundle.read_bytes().replace(b'"boot":"life"', b'"boot":"lite"')
    bundle.write_bytes(changed)
    tree = tlog.Tree(house.directory / "scratch")
    at = 0
    while at < len(changed):
        end = at + 2 + int.from_bytes(changed[at : at + 2], "big")
        tree.append(changed[at + 2 : end])
        at = end
    tile = (tree.directory / "tile/0/000.p/7").read_bytes()
    (log / "tile/0/000.p/7").write_bytes(tile)
    good = (log / "checkpoint").read_bytes()
    for bad in (good, b"", good[:-9] + b"AAAAAAA=\n", good.replace(b"\n7\n", b"\n6\n")):
        (log / "checkpoint").write_bytes(bad)
        with pytest.raises(Damaged, match="put this file, or all of log/"):
            house.another().recover()
        assert (log / "checkpoint").read_bytes() == bad
        assert bundle.read_bytes() == changed


def test_the_file_that_is_wrong_is_named_and_no_other(house: Any) -> None:
    for name, place in (("tile/entries/000.p/7", 300), ("tile/0/000.p/7", 40)):
        path = house.directory / "log" / name
        good = path.read_bytes()
        path.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        blamed = {p.file for p in house.verify().problems if p.rule in ("V1", "V4")}
        assert blamed == {f"log/{name}"}
        path.write_bytes(good)
