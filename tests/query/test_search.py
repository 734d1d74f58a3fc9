"""Rows come newest first, no more is read than must be, and the same columns come out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tocsin.errors import Damaged, QueryError, UsageError
from tocsin.event import Event, Kind
from tocsin.event.batch import SCHEMA, Entries, from_events
from tocsin.query import moment, predicate, search

SECOND = 10**9
NOW = 1_790_000_000 * SECOND

Shelve = Callable[..., list[Any]]


def event(age: float, **fields: Any) -> Event:
    time = NOW - int(age * SECOND)
    return Event(time=time, observed=time, kind=fields.pop("kind", Kind.REQUEST), **fields)


def seqs(frames: Any) -> list[int]:
    return [seq for frame in frames for seq in frame["seq"]]


@pytest.fixture
def shelves(shelve: Shelve) -> list[Any]:
    """Thirty events on three shelves, one a second, oldest first, seqs 100 to 129."""
    log = [
        event(30 - i, status=200 + i % 3, user="Ann" if i < 10 else "bob", trace_id=f"{i:032x}")
        for i in range(30)
    ]
    return shelve(log, [10, 20], start=100)


def test_the_newest_come_first_and_never_more_than_asked_for(shelves: list[Any]) -> None:
    assert seqs(search("", shelves, now=NOW, limit=0)) == list(range(129, 99, -1))
    assert seqs(search("", shelves, now=NOW, limit=12)) == list(range(129, 117, -1))
    assert seqs(search("status:200", shelves, now=NOW, limit=3)) == [127, 124, 121]
    assert len(seqs(search("*", shelves, now=NOW))) == 30


def test_shelves_may_come_in_any_order(shelves: list[Any]) -> None:
    mixed = [shelves[1], shelves[2], shelves[0]]
    assert seqs(search("", mixed, now=NOW)) == list(range(129, 99, -1))


def test_old_shelves_are_not_read_before_their_rows_are_wanted(shelves: list[Any]) -> None:
    found = search("", shelves, now=NOW, limit=0)
    next(found)
    assert [s.scans > 0 for s in shelves] == [False, False, True]


def test_a_satisfied_limit_leaves_the_rest_unread(shelves: list[Any]) -> None:
    assert len(seqs(search("user:bob", shelves, now=NOW, limit=5))) == 5
    assert [s.scans for s in shelves] == [0, 0, 2]


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("time:>=now-5s", [False, False, True]),
        ("time:<now-25s", [True, False, False]),
        ("seq:105", [True, False, False]),
        ("seq:>=120", [False, False, True]),
        ("host:web1", [False, False, False]),
        ("host:web1 OR seq:129", [False, False, True]),
        ("-host:* seq:129", [False, False, True]),
        ("trace:0000000000000000000000000000000C", [False, True, False]),
        ("trace:ff", [False, False, False]),
        ("kind:log", [False, False, False]),
        ("user:ann", [True, True, True]),  # "Ann" is equal, though no filter holds "ann"
        ('trace:ff OR status:"200"', [True, True, True]),
        ("-trace:ff", [True, True, True]),
    ],
)
def test_shelves_that_cannot_match_are_not_read(
    shelves: list[Any], text: str, read: list[bool]
) -> None:
    list(search(text, shelves, now=NOW, limit=0))
    assert [s.scans > 0 for s in shelves] == read


def test_since_is_inside_and_until_is_not(shelves: list[Any]) -> None:
    since, until = NOW - 4 * SECOND, NOW - 2 * SECOND
    assert seqs(search("", shelves, now=NOW, since=since, until=until)) == [127, 126]
    assert seqs(search("", shelves, now=NOW, since=since)) == [129, 128, 127, 126]
    assert seqs(search("", shelves, now=NOW, until=NOW - 28 * SECOND)) == [101, 100]
    assert seqs(search("", shelves, now=NOW, since=until, until=since)) == []


def test_frames_hold_seq_and_what_the_shelf_has_in_canonical_order(shelves: list[Any]) -> None:
    (frame,) = search("", shelves, now=NOW, limit=1)
    assert frame.columns == ["seq", "time", "observed", "kind", "user", "status", "trace_id"]
    assert frame.schema["seq"] == pl.Int64
    assert all(frame.schema[n] == SCHEMA[n] for n in frame.columns[1:])


def test_chosen_columns_come_as_chosen_and_null_where_absent(shelves: list[Any]) -> None:
    (frame,) = search("", shelves, now=NOW, limit=2, columns=["status", "ip", "tags", "status"])
    assert frame.to_dict(as_series=False) == {
        "seq": [129, 128],
        "status": [202, 201],
        "client_ip": [None, None],
        "tags": [None, None],
    }
    assert [frame.schema[n] for n in ("client_ip", "tags")] == [SCHEMA["client_ip"], SCHEMA["tags"]]


def test_mistakes_are_told_before_the_first_row(shelves: list[Any]) -> None:
    with pytest.raises(QueryError, match="unknown field"):
        search("usr:x", shelves, now=NOW)
    with pytest.raises(QueryError, match="did you mean status"):
        search("", shelves, now=NOW, columns=["statuz"])
    with pytest.raises(UsageError, match="limit -1"):
        search("", shelves, now=NOW, limit=-1)


def test_many_rows_come_in_frames_of_bounded_size(
    shelves: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tocsin.query.rows.CHUNK", 3)
    frames = list(search("status:200", shelves, now=NOW, limit=0))
    assert max(map(len, frames)) == 3
    assert seqs(frames) == [s for s in range(129, 99, -1) if (s - 100) % 3 == 0]


def test_an_empty_vault_answers_nothing(shelve: Shelve) -> None:
    assert list(search("user:x OR -user:x", [], now=NOW)) == []


def test_absent_is_not_equal_so_its_negation_holds(shelve: Shelve) -> None:
    log = [event(3, user="bob"), event(2, user=""), event(1)]
    shelves = shelve(log)
    assert seqs(search("-user:bob", shelves, now=NOW)) == [2, 1]
    assert seqs(search("-user:*", shelves, now=NOW)) == [2]
    assert seqs(search('user:""', shelves, now=NOW)) == [1]
    assert seqs(search("-status:>0", shelves, now=NOW)) == [2, 1, 0]


def attributes_shelf(texts: Sequence[str | None], shelve: Shelve) -> list[Any]:
    (shelf,) = shelve([event(1) for _ in texts])
    column = pl.Series("attributes", list(texts), dtype=pl.String)
    shelf.frame = shelf.frame.with_columns(column)
    return [shelf]


def test_attributes_are_read_however_their_json_is_spelled(shelve: Shelve) -> None:
    shelves = attributes_shelf(
        [
            r'{"\u006bey": "v\u0061lue"}',
            '{"key" : "VALUE"}',
            '{"key":1.0e2}',
            '{"other":"key value"}',
            '{"key":"İx"}',
            '{"key": {"a" : [1, 2]}}',
            "{broken key value",
            '["key","value"]',
            "[" * 10_000,
            None,
            '{"key":123}',
        ],
        shelve,
    )

    def found(text: str) -> list[int]:
        return seqs(search(text, shelves, now=NOW))[::-1]

    assert found("attr.key:value") == [0, 1]
    assert found("attr.key:100.0") == [2]
    assert found("attr.key:123") == [10]
    assert found("attr.key:>99") == [2, 10]
    assert found("attr.key:i*x") == [4]
    assert found('attr.key:"{""a"":[1,2]}"'.replace('""', '\\"')) == [5]
    assert found("attr.key:*") == [0, 1, 2, 4, 5, 10]
    assert found("attr.key.a:2") == [5]
    assert found("-attr.key:*") == [3, 6, 7, 8, 9]


ADDRESSES = [
    *("10.0.0.1", "::ffff:10.0.0.1", "0:0:0:0:0:FFFF:a00:1", "010.0.0.1", "10.0.0.1 ", ""),
    *("2001:DB8::1", "fe80::1%eth0", ":", "10.0.0.256", "١٠.0.0.1", "10.0.0.1\n"),
]


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("ip:10.0.0.1", [0, 1, 2]),
        ("ip:10.0.0.0/31", [0, 1, 2]),
        ("ip:0.0.0.0/0", [0, 1, 2]),
        ("ip:::ffff:10.0.0.1", [0, 1, 2]),
        ("ip:2001:db8::/32", [6]),
        ("ip:fe80::/10", [7]),
        ("ip:::/0", [6, 7]),
        ("ip:(10.0.0.1 OR fe80::1)", [0, 1, 2, 7]),
        ("ip:(10.0.0.0/8 OR 11.0.0.0/8)", [0, 1, 2]),
        ('ip:""', [5]),
    ],
)
def test_an_address_is_found_in_every_spelling_and_a_malformed_one_never(
    shelve: Shelve, text: str, right: list[int]
) -> None:
    shelves = shelve([event(1, client_ip=address) for address in ADDRESSES])
    assert seqs(search(text, shelves, now=NOW))[::-1] == right


def test_a_tail_keeps_matching_rows_with_their_seqs(shelves: list[Any]) -> None:
    keep = predicate("user:bob status:200 time:>=now-5s", now=NOW)
    frame = keep(Entries(120, shelves[2].frame))
    assert frame["seq"].to_list() == [127]
    assert frame.columns == ["seq", *shelves[2].frame.columns]
    assert keep(Entries(7, from_events([event(1)]))).height == 0


def test_relative_times_on_the_command_line_count_back_from_now() -> None:
    assert moment("15m", NOW) == moment("now-15m", NOW) == NOW - 900 * SECOND
    assert moment("now", NOW, end=True) == NOW
    day = 86_400 * SECOND
    assert moment("2026-11-01", NOW, end=True) - moment("2026-11-01", NOW) == day
    with pytest.raises(QueryError, match="write now-15m"):
        moment("soon", NOW)


def test_hostile_expressions_take_no_longer_than_honest_ones(shelve: Shelve) -> None:
    shelves = shelve([event(1, path="a" * 50_000 + "!", message="\x00" * 10)])
    assert seqs(search('path:~"^(a+)+$"', shelves, now=NOW)) == []
    assert seqs(search('path:~"(a|a)*b"', shelves, now=NOW)) == []
    assert seqs(search("path:" + "a*" * 1000, shelves, now=NOW)) == [0]
    assert seqs(search("path:" + "*a" * 1000 + "b", shelves, now=NOW)) == []
    assert seqs(search("message:\x00*", shelves, now=NOW)) == [0]


@pytest.mark.parametrize("joint", [" ", " OR "])
def test_as_many_conditions_as_allowed_are_answered(shelve: Shelve, joint: str) -> None:
    shelves = shelve([event(i, path=f"/{i}", client_ip="10.0.9.1") for i in range(1, 4)])
    right = {"{}/*1": [], "path:*{}*": [2, 1, 0], "ip:10.0.{}.0/24": [2, 1, 0]}
    for term, times in (("{}/*1", 64), ("path:*{}*", 200), ("ip:10.0.{}.0/24", 180)):
        text = joint.join(term.format(i) for i in range(times))
        assert seqs(search(text, shelves, now=NOW)) == ([] if joint == " " else right[term])


def test_a_shelf_that_cannot_be_read_is_named(
    shelves: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "segment.parquet"
    shelves[1].scan().collect().write_parquet(file)
    whole = file.read_bytes()
    file.write_bytes(whole[:4] + bytes(200) + whole[204:])
    monkeypatch.setattr(shelves[1], "scan", lambda: pl.scan_parquet(file))
    found = search("user:bob", shelves, now=NOW, limit=0)
    assert len(next(found)) == 10
    with pytest.raises(Damaged, match=r"entries 110 to 119 cannot be read: .*tocsin verify"):
        next(found)
    file.unlink()
    with pytest.raises(Damaged, match="entries 110 to 119"):
        list(search("user:bob", shelves, now=NOW, limit=0))
