"""Counts are exact, and what need not be read for them is not."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tocsin.errors import QueryError, UsageError
from tocsin.event import Event, Kind
from tocsin.query import count, histogram, search, top

SECOND = 10**9
MINUTE = 60 * SECOND
NOW = 1_790_000_040 * SECOND  # a whole minute
Shelve = Callable[..., list[Any]]


def event(age: float, **fields: Any) -> Event:
    time = NOW - int(age * SECOND)
    return Event(time=time, observed=time, kind=fields.pop("kind", Kind.REQUEST), **fields)


@pytest.fixture
def shelves(shelve: Shelve) -> list[Any]:
    """An hour on three shelves, an event each ten seconds, twenty minutes a shelf."""
    log = [
        event(3600 - 10 * i, status=(200, 404)[i % 4 == 0], user=("ann", "bob", None)[i % 3])
        for i in range(360)
    ]
    return shelve(log, [120, 240])


def test_without_a_question_shelves_are_counted_unread(shelves: list[Any]) -> None:
    assert count("", shelves, now=NOW) == 360
    assert count("", shelves, now=NOW, since=NOW - 3600 * SECOND) == 360
    assert [s.scans for s in shelves] == [0, 0, 0]
    assert count("", shelves, now=NOW, until=NOW - 3000 * SECOND) == 60
    assert [s.scans for s in shelves] == [1, 0, 0]
    assert count("status:404", shelves, now=NOW) == 90


def test_a_histogram_has_round_buckets_and_no_holes(shelves: list[Any]) -> None:
    frame = histogram("status:404", shelves, now=NOW, since=NOW - 900 * SECOND, until=NOW + 1)
    starts = frame["start"].dt.epoch("ns").to_list()
    assert starts == list(range(NOW - 900 * SECOND, NOW + 1, 30 * SECOND))
    assert frame["count"].to_list() == [1, 0, 1, 1] * 7 + [1, 0, 0]
    assert frame["count"].sum() == count("status:404", shelves, now=NOW, since=NOW - 900 * SECOND)


def test_a_shelf_inside_one_bucket_is_not_read(shelves: list[Any]) -> None:
    frame = histogram("", shelves, now=NOW, buckets=2)
    assert frame["count"].sum() == 360
    assert sum(s.scans for s in shelves) < 3
    wide = histogram("", shelves, now=NOW, since=0, until=NOW + 1, buckets=1)
    assert wide["count"].to_list() == [360]


def test_the_search_itself_may_give_the_range(shelves: list[Any]) -> None:
    frame = histogram("time:[now-10m TO now] user:ann", shelves, now=NOW, buckets=11)
    assert frame.height == 11
    assert frame["start"].dt.epoch("ns")[0] == NOW - 10 * MINUTE
    assert [s.scans for s in shelves] == [0, 0, 1]


def test_a_histogram_of_nothing_is_empty_buckets(shelves: list[Any]) -> None:
    assert histogram("", [], now=NOW, since=NOW - MINUTE, until=NOW)["count"].sum() == 0
    assert histogram("", [], now=NOW).height == 1
    assert histogram("host:x", shelves, now=NOW)["count"].sum() == 0
    assert histogram("", shelves, now=NOW, since=NOW, until=NOW - 1)["count"].sum() == 0


def test_the_length_of_a_bucket_may_be_given(shelves: list[Any]) -> None:
    hour = histogram("", shelves, now=NOW, since=NOW - 60 * MINUTE, until=NOW, width=7 * MINUTE)
    starts = hour["start"].dt.epoch("ns").to_list()
    assert {b - a for a, b in pairwise(starts)} == {7 * MINUTE}
    assert all(start % (7 * MINUTE) == 0 for start in starts)
    plain = histogram("", shelves, now=NOW, since=NOW - 60 * MINUTE, until=NOW)
    assert hour["count"].sum() == plain["count"].sum() > 0
    with pytest.raises(UsageError, match="longer than nothing"):
        histogram("", shelves, now=NOW, width=0)
    with pytest.raises(UsageError, match="more than 10000 buckets"):
        histogram("", shelves, now=NOW, since=0, until=NOW, width=MINUTE)


def test_a_histogram_by_value_names_the_most_frequent_and_adds_up_the_rest(
    shelves: list[Any],
) -> None:
    frame = histogram("", shelves, now=NOW, buckets=1, since=0, until=NOW, by="user", n=1)
    assert frame.select("value", "count").rows() == [("ann", 120), (None, 240)]
    by_status = histogram("", shelves, now=NOW, by="status")
    assert by_status.height % 3 == 0
    assert dict(by_status.group_by("value").agg(pl.col("count").sum()).rows()) == {
        "200": 270,
        "404": 90,
        None: 0,
    }


def test_top_values_are_exact_and_ties_go_by_value(shelve: Shelve) -> None:
    log = [event(i, user=u, tags=t) for i, (u, t) in enumerate(TAGGED)]
    shelves = shelve(log, [2, 4])
    assert top("user", "", shelves, now=NOW).rows() == [("b", 3), ("a", 1), ("c", 1)]
    assert top("user", "", shelves, now=NOW, n=1).rows() == [("b", 3)]
    assert top("tag", "", shelves, now=NOW).rows() == [("x", 3), ("y", 2)]
    assert top("user", "tags:y", shelves, now=NOW).rows() == [("b", 1), ("c", 1)]
    assert top("status", "", shelves, now=NOW).rows() == []


TAGGED: list[tuple[str | None, tuple[str, ...] | None]] = [
    ("b", ("x", "y")),
    ("a", None),
    (None, ("x",)),
    ("b", ()),
    ("b", None),
    ("c", ("x", "y")),
]


@pytest.mark.parametrize("field", ["time", "seq", "attr.x"])
def test_what_cannot_be_grouped_by_is_refused(shelves: list[Any], field: str) -> None:
    with pytest.raises(UsageError, match="cannot be grouped by"):
        top(field, "", shelves, now=NOW)


def test_other_mistakes_are_told(shelves: list[Any]) -> None:
    with pytest.raises(UsageError, match="tags: a texts cannot be grouped by here"):
        histogram("", shelves, now=NOW, by="tags")
    with pytest.raises(UsageError, match="buckets 0: from 1 to 10000"):
        histogram("", shelves, now=NOW, buckets=0)
    with pytest.raises(UsageError, match="more than 292 years"):
        histogram("", shelves, now=NOW, since=-(2**62), until=2**62 + 1)
    with pytest.raises(QueryError, match="unknown field"):
        histogram("", shelves, now=NOW, by="usr")


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(-5000, 5000), min_size=1, max_size=20).map(sorted),
    st.integers(1, 40),
    st.none() | st.integers(-5000, 5000),
    st.none() | st.integers(-5000, 5000),
)
def test_every_matching_event_falls_into_the_bucket_that_covers_it(
    shelve: Shelve, ages: list[int], buckets: int, since: int | None, until: int | None
) -> None:
    shelves = shelve([event(age / 3, user="u") for age in ages], [len(ages) // 2])
    low = None if since is None else NOW + since * SECOND // 7
    high = None if until is None else NOW + until * SECOND // 7
    frame = histogram("user:u", shelves, now=NOW, buckets=buckets, since=low, until=high)
    starts = frame["start"].dt.epoch("ns").to_list()
    width = starts[1] - starts[0] if len(starts) > 1 else 2**62
    found = list(search("user:u", shelves, now=NOW, limit=0, since=low, until=high))
    times = [t for f in found for t in f["time"].dt.epoch("ns")]
    assert frame.height <= buckets
    assert frame["count"].to_list() == [sum(s <= t < s + width for t in times) for s in starts]
    assert frame["count"].sum() == len(times)
