"""Sliding windows: every short cut equals taking events one by one, and that equals brute force."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin.detect.closing import ClosedWindow
from tocsin.detect.correlate import DistinctCount, EachEvent, EventCount, LongCount, Rows, Window
from tocsin.detect.episodes import Episode

S = 1_000_000_000

#: key, time in seconds, value; its place in the list is its seq.
Stream = Sequence[tuple[str, int, str]]

streams = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(0, 60), st.sampled_from("uvwxyz")), max_size=60
)
cuts = st.lists(st.integers(0, 60), max_size=6)


def rows(stream: Stream, first: int = 0, reached: Iterable[int] | None = None) -> Rows:
    """*stream* as the engine hands it to a window."""
    keys = list(dict.fromkeys(key for key, _, _ in stream))
    return Rows(
        times=np.array([t * S for _, t, _ in stream], np.int64),
        seqs=np.arange(first, first + len(stream)),
        codes=np.array([keys.index(k) for k, _, _ in stream], np.int64),
        keys=keys,
        values=[v for _, _, v in stream],
        reached=None if reached is None else np.array(list(reached), np.int64),
    )


def run(window: Window, stream: Stream, at: Iterable[int] = ()) -> dict[str, list[Episode]]:
    """All episodes by key, as last told, after feeding *stream* cut into batches *at*."""
    told: dict[tuple[str, int], Episode] = {}
    edges = sorted({0, len(stream), *(a for a in at if a < len(stream))})
    for start, stop in pairwise(edges):
        window.feed(rows(stream[start:stop], start))
        for episode in window.episodes.tell(0):
            told[episode.key, episode.first_seq] = episode
    for episode in window.episodes.tell(0, everything=True):
        told[episode.key, episode.first_seq] = episode
    found = defaultdict[str, list[Episode]](list)
    for (key, _), episode in sorted(told.items()):
        found[key].append(episode)
    return dict(found)


def facts(found: dict[str, list[Episode]]) -> Any:
    """What of episodes must not depend on how the stream was cut."""
    return {
        k: [
            (e.first_seq, e.first_seen, e.last_seen, e.until, e.events, e.count, e.evidence)
            for e in episodes
        ]
        for k, episodes in found.items()
    }


def events(count: int, span: int, limit: int = 1000) -> EventCount:
    return EventCount(count, span * S, span * S, limit=limit)


def values(count: int, span: int, limit: int = 1000, pairs: int = 10_000) -> DistinctCount:
    return DistinctCount(count, span * S, span * S, limit=limit, pairs=pairs)


def long(count: int, span: int, kept: int = 10_000) -> LongCount:
    return LongCount(count, span * S, span * S, limit=1000, kept=kept)


def crossing_times(
    stream: Stream, count: int, span: int, *, distinct: bool
) -> dict[str, list[int]]:
    """By brute force over all windows: when each key crosses, events taken in time order."""
    found = defaultdict[str, list[int]](list)
    for key, time, _ in stream:
        inside = [(t, v) for k, t, v in stream if k == key and time - span <= t <= time]
        number = len({v for _, v in inside}) if distinct else len(inside)
        if number >= count:
            found[key].append(time)
    return {k: sorted(ts) for k, ts in found.items()}


def chains(times: Sequence[int], quiet: int) -> list[int]:
    """Where episodes begin, when a new one needs more than *quiet* without a crossing."""
    return [t for i, t in enumerate(times) if i == 0 or t - times[i - 1] > quiet]


MAKERS: list[Callable[[int, int], Window]] = [events, long, values]


@given(streams, st.integers(1, 5), st.integers(0, 12), st.booleans())
def test_events_in_time_order_cross_exactly_where_brute_force_says(
    stream: Stream, count: int, span: int, distinct: bool
) -> None:
    stream = sorted(stream, key=lambda e: e[1])
    found = run((values if distinct else events)(count, span), stream)
    wanted = crossing_times(stream, count, span, distinct=distinct)
    assert {k: len(v) for k, v in found.items()} == {
        k: len(chains(ts, span)) for k, ts in wanted.items()
    }
    for key, episodes in found.items():
        begins = chains(wanted[key], span)
        assert [e.until for e in episodes][:1] >= [begins[0] * S + span * S]
        assert all(e.first_seen <= b * S for e, b in zip(episodes, begins, strict=True))


@pytest.mark.parametrize("make", MAKERS)
@given(stream=streams, count=st.integers(1, 5), span=st.integers(0, 12), at=cuts)
def test_how_a_stream_is_cut_into_batches_changes_nothing(
    make: Callable[[int, int], Window], stream: Stream, count: int, span: int, at: list[int]
) -> None:
    singly = run(make(count, span), stream, range(len(stream)))
    assert facts(run(make(count, span), stream)) == facts(singly)
    assert facts(run(make(count, span), stream, at)) == facts(singly)


@pytest.mark.parametrize("make", MAKERS)
@given(stream=streams, count=st.integers(1, 5), span=st.integers(0, 12), cut=st.integers(0, 60))
def test_a_window_that_was_dumped_and_loaded_goes_on_as_if_nothing_had_been(
    make: Callable[[int, int], Window], stream: Stream, count: int, span: int, cut: int
) -> None:
    cut = min(cut, len(stream))
    first, second = make(count, span), make(count, span)
    told = {e.first_seq: e for e in _feed(first, stream[:cut], 0)}
    second.load(msgspec.msgpack.decode(msgspec.msgpack.encode(first.dump())))
    told |= {e.first_seq: e for e in _feed(second, stream[cut:], cut)}
    told |= {e.first_seq: e for e in second.episodes.tell(0, everything=True)}
    found = defaultdict[str, list[Episode]](list)
    for episode in sorted(told.values(), key=lambda e: (e.key, e.first_seq)):
        found[episode.key].append(episode)
    whole = run(make(count, span), stream)
    assert facts(found) == facts(whole)


def _feed(window: Window, stream: Stream, first: int) -> list[Episode]:
    window.feed(rows(stream, first))
    return window.episodes.tell(0)


@st.composite
def disordered(draw: st.DrawFn) -> tuple[Stream, Stream]:
    """A stream in time order, and the same with no event more than 5 s behind a newer one."""
    stream = sorted(draw(streams), key=lambda e: e[1])
    late = [(t + draw(st.integers(0, 5)), i) for i, (_, t, _) in enumerate(stream)]
    return stream, [stream[i] for _, i in sorted(late)]


@given(streams, st.integers(1, 5), st.integers(0, 12), cuts)
def test_large_counts_are_kept_otherwise_and_mean_the_same(
    stream: Stream, count: int, span: int, at: list[int]
) -> None:
    assert facts(run(long(count, span), stream, at)) == facts(run(events(count, span), stream))


def test_events_kept_for_large_counts_are_bounded_in_all() -> None:
    window = long(100, 3_000, kept=2_000)
    run(window, [(f"k{t % 90}", t // 10, "") for t in range(9_000)], range(0, 9_000, 100))
    assert window.kept <= 2_000
    assert window.slots.evicted > 0


@pytest.mark.parametrize("distinct", [False, True])
@given(both=disordered(), count=st.integers(1, 5), span=st.integers(5, 12))
def test_disorder_within_the_lateness_finds_the_same_entities(
    distinct: bool, both: tuple[Stream, Stream], count: int, span: int
) -> None:
    ordered, shuffled = both
    make = values if distinct else events
    wanted = crossing_times(ordered, count, span, distinct=distinct)
    found = run(make(count, span), shuffled)
    assert set(found) == set(wanted)
    for key, times in wanted.items():
        gaps = [b - a for a, b in pairwise(times)]
        # A late crossing may join two episodes that have been told apart already, or part those
        # it came too late to join; where no gap is near the quiet time, episodes agree too.
        if not any(span - 5 <= gap <= span + 5 for gap in gaps):
            assert len(found[key]) == len(chains(times, span))


def test_the_window_includes_both_ends() -> None:
    assert run(events(2, 10), [("a", 0, ""), ("a", 10, "")])
    assert not run(events(2, 10), [("a", 0, ""), ("a", 11, "")])


def test_an_attack_is_one_finding_and_the_next_one_after_a_quiet_time_another() -> None:
    burst = [("a", t, "") for t in range(10)]
    again = [("a", t, "") for t in range(100, 110)]
    first, second = run(events(5, 20), burst + again)["a"]
    assert (first.events, first.first_seen, first.last_seen) == (10, 0, 9 * S)
    assert (second.events, second.first_seq) == (10, 10)


def test_evidence_is_the_first_and_the_last_events() -> None:
    (episode,) = run(events(5, 20), [("a", t // 10, "") for t in range(1000)])["a"]
    assert episode.events == 1000
    assert episode.evidence == (*range(20), *range(980, 1000))


def test_a_flood_of_single_keys_leaves_an_attacker_in_sight_and_is_counted() -> None:
    window = events(4, 3_000, limit=100)
    stream: list[tuple[str, int, str]] = []
    for t in range(3_000):
        stream.append((f"flood-{t}", t, ""))
        if t % 900 == 0:
            stream += [("slow", t, "")]
        if t == 60:  # a second event, in another batch, while the flood goes on
            stream += [("slow", t, "")]
    found = run(window, stream, range(0, len(stream), 50))
    assert set(found) == {"slow"}
    assert window.slots.evicted > 2_000
    assert len(window.times) <= 100


def test_dead_entities_are_forgotten_without_being_counted() -> None:
    window = events(4, 10, limit=100)
    run(window, [(f"k{t}", t * 11, "") for t in range(1_000)], range(0, 1_000, 5))
    assert window.slots.evicted == 0


def test_pairs_of_entity_and_value_are_bounded_too() -> None:
    window = values(50, 3_000, pairs=500)
    run(window, [(f"k{t % 40}", t, str(t)) for t in range(2_000)], range(0, 2_000, 10))
    assert window.pairs <= 500
    assert window.slots.evicted > 0


def test_distinct_values_count_not_repeats() -> None:
    assert not run(values(3, 60), [("a", t, "xy"[t % 2]) for t in range(50)])
    (episode,) = run(values(3, 60), [("a", t, "xyz"[t % 3]) for t in range(50)])["a"]
    assert (episode.count, episode.events) == (3, 50 - 2 + 2)


def test_very_many_distinct_values_are_told_as_at_least() -> None:
    (episode,) = run(values(10, 60), [("a", t // 100, str(t)) for t in range(3_000)])["a"]
    assert (episode.count, episode.more_values) == (1024, True)


def test_a_plain_rule_tells_of_an_entity_once_until_it_was_quiet() -> None:
    window = EachEvent(60 * S, limit=100)
    found = run(window, [("a", t, "") for t in (0, 30, 80, 200)], (1, 2))
    assert [e.events for e in found["a"]] == [3, 1]


@given(streams, st.sampled_from(["eq", "lte", "lt", "neq"]), st.integers(1, 4), cuts)
def test_closing_windows_partition_time_and_are_decided_when_they_are_over(
    stream: Stream, op: str, count: int, at: list[int]
) -> None:
    stream = sorted(stream, key=lambda e: e[1])
    span = 7
    wanted = dict[str, int]()
    for key in "abc":
        left = [t for k, t, _ in stream if k == key]
        while left:
            inside = [t for t in left if t <= left[0] + span]
            left = left[len(inside) :]
            fits = {
                "eq": len(inside) == count,
                "lte": len(inside) <= count,
                "lt": len(inside) < count,
                "neq": len(inside) != count,
            }
            if fits[op]:
                wanted[key] = wanted.get(key, 0) + len(inside)
    window = ClosedWindow(op, count, span * S, span * S, limit=1000)
    edges = sorted({0, len(stream), *(a for a in at if a < len(stream))})
    told: dict[tuple[str, int], Episode] = {}
    for start, stop in pairwise(edges):
        newest = [-S, *(t * S - S for _, t, _ in stream[:stop])]
        window.feed(rows(stream[start:stop], start, newest[start:stop]))
        window.close(newest[stop])
        told |= {(e.key, e.first_seq): e for e in window.episodes.tell(0)}
    window.close(10**15)
    told |= {(e.key, e.first_seq): e for e in window.episodes.tell(0, everything=True)}
    total = defaultdict[str, int](int)
    for (key, _), episode in told.items():
        total[key] += episode.events
    assert dict(total) == wanted
    assert window.late == 0
    assert window.pending == 0


def test_what_comes_after_its_window_was_decided_is_counted() -> None:
    window = ClosedWindow("lte", 2, 5 * S, 5 * S, limit=10)
    window.feed(rows([("a", 0, "")], 0, [-S]))
    window.close(20 * S)
    window.feed(rows([("a", 1, "")], 1, [20 * S]))
    window.feed(rows([("a", 20, ""), ("a", 21, "")], 2, [20 * S, 20 * S]))
    assert (window.late, window.pending) == (2, 1)


def test_too_many_undecided_events_hurry_the_oldest_window_and_are_counted() -> None:
    window = ClosedWindow("lte", 2, 5 * S, 5 * S, limit=1000, pending=10)
    window.feed(rows([(f"k{t}", t, "") for t in range(50)], 0, [-S] * 50))
    assert window.pending <= 10
    assert window.hurried >= 40


def test_a_hot_entity_is_not_dropped_however_the_ring_wraps() -> None:
    # A first, faster variant of the ring lost events of hot entities and raised nothing at all.
    stream = [("hot", t // 100, "") for t in range(5_000)] + [("cold", 50, "")]
    found = run(events(20, 300), stream, range(0, 5_000, 777))
    assert [e.events for e in found["hot"]] == [5_000]
    assert "cold" not in found


@pytest.mark.parametrize("make", MAKERS)
def test_an_event_that_does_not_cross_joins_the_open_episode(
    make: Callable[[int, int], Window],
) -> None:
    stream = [("a", 0, "u"), ("a", 5, "v"), ("a", 10, "w"), ("a", 19, "x"), ("a", 21, "y")]
    for at in ((), range(5)):
        (episode,) = run(make(3, 10), stream, at)["a"]
        assert (episode.events, episode.last_seen) == (4, 19 * S)


@pytest.mark.parametrize("make", MAKERS)
def test_a_late_event_completes_a_window_that_newer_events_have_pushed_aside(
    make: Callable[[int, int], Window],
) -> None:
    # 0 1 2 3 and the late 5 are five within five seconds; 8 9 10 came before it.
    times = [0, 1, 2, 3, 8, 9, 10, 5]
    stream = [("a", t, f"v{t}") for t in times]
    assert set(run(make(5, 5), stream, range(8))) == {"a"}


@pytest.mark.parametrize("make", MAKERS)
def test_an_episode_that_is_long_over_takes_no_late_events(
    make: Callable[[int, int], Window],
) -> None:
    stream = [("a", 0, "u"), ("a", 1, "v"), ("a", 2, "w"), ("b", 100, "u"), ("a", 5, "x")]
    for at in ((), range(5)):
        first, second = run(make(3, 10), stream, at)["a"]
        assert (first.events, second.events) == (3, 3)


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("singly", [False, True])
def test_a_source_that_is_days_late_makes_one_episode_of_one_attack(
    make: Callable[[int, int], Window], singly: bool
) -> None:
    late = [("a", t, f"v{t}") for t in range(60)]
    stream: Stream = [("b", 100_000, "u"), *late]
    (found,) = run(make(5, 60), stream, range(len(stream)) if singly else ())["a"]
    assert (found.events, found.first_seen, found.last_seen) == (60, 0, 59 * S)


@pytest.mark.parametrize("make", MAKERS)
@given(
    count=st.integers(1, 4),
    gaps=st.lists(st.integers(0, 40), max_size=30),
    lead=st.integers(0, 10**6),
)
def test_being_late_changes_nothing_for_a_source_in_order(
    make: Callable[[int, int], Window], count: int, gaps: list[int], lead: int
) -> None:
    times = [sum(gaps[: n + 1]) for n in range(len(gaps))]
    stream: Stream = [("a", t, f"v{n}") for n, t in enumerate(times)]
    alone = run(make(count, 10), [("b", 0, "u"), *stream])
    ahead = run(make(count, 10), [("b", sum(gaps) + lead, "u"), *stream])
    assert facts({"a": ahead.get("a", [])}) == facts({"a": alone.get("a", [])})
