"""The outbox: bounded, cut into batches that never change, and losing only the newest."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from tocsin.sdk.sending.outbox import BATCH_BYTES, Batch, Line, Outbox
from tocsin.sdk.sending.tally import Tally

LINE = Line(b'{"a":1}')


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Spill:
    """A spool that takes so many batches."""

    def __init__(self, room: int = 0) -> None:
        self.room = room
        self.batches: list[Batch] = []

    def __call__(self, batch: Batch) -> bool:
        if len(self.batches) >= self.room:
            return False
        self.batches.append(batch)
        return True


class Box(Outbox):
    def __init__(self, *, memory: int = 1 << 23, events: int = 1000, room: int = 0) -> None:
        self.clock, self.spilled, self.tally = Clock(), Spill(room), Tally()
        super().__init__(
            "b00t",
            memory_bytes=memory,
            batch_events=events,
            batch_seconds=1.0,
            spill=self.spilled,
            tally=self.tally,
            monotonic=self.clock,
        )


def texts(*batches: Batch | None) -> list[bytes]:
    return [line.text for batch in batches if batch for line in batch.lines]


def test_events_wait_for_company_but_not_for_long() -> None:
    box = Box()
    box.put(1, LINE)
    assert box.ready() is None
    assert box.due() == 1.0
    box.clock.now += 0.75
    box.put(2, LINE)
    assert box.due() == 0.25
    box.clock.now += 0.25
    batch = box.ready()
    assert batch is not None
    assert batch.id == "b00t-1"
    assert len(batch.lines) == 2


def test_nothing_is_due_when_nothing_waits() -> None:
    assert Box().due() is None
    assert Box().ready(hurry=True) is None


def test_a_full_batch_waits_for_nobody() -> None:
    box = Box(events=3)
    looks = [box.put(n, LINE) for n in range(1, 6)]
    assert looks == [True, False, True, True, False]
    batch = box.ready()
    assert batch is not None
    assert (batch.id, len(batch.lines)) == ("b00t-1", 3)
    assert box.due() == 0.0


def test_long_lines_make_short_batches() -> None:
    box = Box()
    long = Line(b"x" * (BATCH_BYTES // 4))
    for n in range(5):
        box.put(n, long)
    batch = box.ready()
    assert batch is not None
    assert len(batch.lines) == 4


def test_a_hurry_cuts_what_is_there() -> None:
    box = Box()
    box.put(7, LINE)
    batch = box.ready(hurry=True)
    assert batch is not None
    assert batch.id == "b00t-7"


def test_a_batch_stays_the_same_until_it_is_done() -> None:
    box = Box(events=2)
    for n in range(1, 6):
        box.put(n, LINE)
    first = box.ready()
    box.put(6, LINE)
    assert box.ready() is first
    assert first is not None
    box.done(first)
    box.done(first)  # a repeat does nothing
    assert box.waiting == 4
    second = box.ready()
    assert second is not None
    assert second.id == "b00t-3"


def test_the_probe_is_sent_and_never_kept() -> None:
    box = Box()
    box.put(1, Line(b'{"path":"/a"}', b'"probe_body":"q=1"'))
    box.put(2, LINE)
    batch = box.ready(hurry=True)
    assert batch is not None
    assert batch.body() == b'{"path":"/a","probe_body":"q=1"}\n{"a":1}'
    assert batch.kept() == b'{"path":"/a"}\n{"a":1}\n'
    assert msgspec.json.decode(batch.body().split(b"\n")[0])["probe_body"] == "q=1"


def test_what_memory_does_not_hold_is_spilled_and_then_the_newest_is_lost() -> None:
    box = Box(memory=10_000, events=10, room=2)
    lines = [Line(b"%d" % n) for n in range(200)]
    for n, line in enumerate(lines, 1):
        box.put(n, line)
    held: list[Batch] = []
    while batch := box.ready():
        held.append(batch)
        box.done(batch)
    kept = len(held) * 10
    assert texts(*held) == [line.text for line in lines[:kept]]
    assert texts(*box.spilled.batches) == [line.text for line in lines[kept : kept + 20]]
    assert box.tally.lost == {"no_room": 200 - kept - 20}


def test_what_waits_for_long_can_be_taken_out_oldest_first() -> None:
    box = Box(events=2)
    box.put(1, LINE)
    box.put(2, LINE)
    box.clock.now += 20
    box.put(3, LINE)
    box.clock.now += 20
    assert [batch.id for batch in box.older(30)] == ["b00t-1"]
    assert [batch.id for batch in box.older(10)] == ["b00t-1", "b00t-3"]
    assert box.older(50) == []


@given(
    sizes=st.lists(st.integers(1, 3_000), max_size=120),
    memory=st.integers(4_000, 60_000),
    events=st.integers(1, 30),
    room=st.integers(0, 5),
)
def test_no_line_is_in_two_places_and_none_disappears_uncounted(
    sizes: list[int], memory: int, events: int, room: int
) -> None:
    box = Box(memory=memory, events=events, room=room)
    for n, size in enumerate(sizes, 1):
        box.put(n, Line(b"%d " % n + b"x" * size))
        assert box.size <= memory + 3_500  # one line over
    held: list[Batch] = []
    while batch := box.ready(hurry=True):
        held.append(batch)
        box.done(batch)
    there = texts(*held, *box.spilled.batches)
    assert len(there) == len(set(there))
    assert len(there) + sum(box.tally.lost.values()) == len(sizes)
    assert box.waiting == box.size == 0
    assert len({batch.id for batch in held + box.spilled.batches}) == len(
        held + box.spilled.batches
    )
