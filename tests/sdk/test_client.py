"""The client: takes at once, loses nothing in silence, and is no burden to its host."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.sdk.receiving import (
    IMPATIENT,
    KEY,
    LOST,
    LOST_ANSWER,
    MakeClient,
    Plain,
    Reaction,
    Receiver,
    event,
    numbers,
    problem,
    seen,
    until,
)

from tocsin.errors import SettingsError
from tocsin.event import Event, Kind
from tocsin.sdk import client as module
from tocsin.sdk.checks import FORMATS
from tocsin.sdk.client import Client, at_once, configure, flush, reset, the_client, use
from tocsin.sdk.harmless import harmless
from tocsin.sdk.options import Options
from tocsin.sdk.sending import inbox, lines

#: Newer versions of Python warn of what these tests are about.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")

REPOSITORY = str(Path(__file__).parents[2])


class Slow(Plain):
    """A reader that waits until it may go on."""

    def __init__(self) -> None:
        self.go = threading.Event()

    def finish(self, event: Event) -> Event:
        self.go.wait(20)
        return event


def gaps(receiver: Receiver) -> list[dict[str, Any]]:
    return [one["attributes"] for one in receiver.tagged("source_gap")]


def kinds(receiver: Receiver) -> list[str]:
    return [one["kind"] for one in receiver.stored]


# What goes out.


def test_an_event_goes_out_with_what_is_known_of_its_process(
    receiver: Receiver, client: MakeClient
) -> None:
    made = client(env="production")
    made.take(Event(time=1_795_424_400_123_456_789, kind=Kind.AUTHZ_FAIL, user="joe"))
    assert made.flush(10)
    first, second = receiver.stored
    assert second == {
        "time": 1_795_424_400_123_456_789,
        "kind": "authz_fail",
        "layer": "app",
        "service": "orders",
        "env": "production",
        "host": os.uname().nodename,
        "user": "joe",
        "boot": made.boot,
        "source_seq": 2,
    }
    assert (first["kind"], first["source_seq"]) == ("sys_startup", 1)


def test_what_an_event_says_of_itself_is_left_as_it_is(
    receiver: Receiver, client: MakeClient
) -> None:
    made = client()
    said = {"layer": "database", "service": "billing", "env": "test", "host": "elsewhere"}
    made.take(event(1, **said))
    made.flush(10)
    assert said.items() <= receiver.stored[-1].items()


def test_nobody_can_choose_another_boot_or_number(receiver: Receiver, client: MakeClient) -> None:
    made = client()
    made.take(event(1, boot="forged", source_seq=7))
    made.flush(10)
    assert receiver.stored[-1]["boot"] == made.boot
    assert receiver.stored[-1]["source_seq"] == 2


def test_numbers_are_consecutive_from_the_first_word_to_the_last(
    receiver: Receiver, client: MakeClient
) -> None:
    made = client()
    for n in range(3_000):
        made.take(event(n))
    made.close()
    stored = receiver.stored
    assert numbers(stored) == list(range(3_000))
    assert [one["source_seq"] for one in stored] == list(range(1, 3_003))
    assert {one["boot"] for one in stored} == {made.boot}
    assert (kinds(receiver)[0], kinds(receiver)[-1]) == ("sys_startup", "sys_shutdown")


def test_a_request_becomes_what_its_reader_makes_of_it_and_the_probe_goes_along(
    receiver: Receiver, client: MakeClient
) -> None:
    made = client()
    made.take(seen(path="/orders/1", query=b"q=' OR 1=1--"))
    made.take(seen(path="/orders/2"))
    made.flush(10)
    one, two = receiver.stored[1:]
    assert (one["path"], one["probe_body"]) == ("/orders/1", "q=' OR 1=1--")
    assert (two["path"], "probe_body" in two) == ("/orders/2", False)


def test_what_json_cannot_say_is_said_in_words(receiver: Receiver, client: MakeClient) -> None:
    made = client()
    loop: dict[str, Any] = {}
    loop["loop"] = loop
    hostile: list[dict[str, Any]] = [
        {"user": "a\udc80b", "path": "\ud800"},
        {"attributes": loop},
        {"attributes": {("a", 1): object(), "x": float("nan"), 3: 2**80, "\ud800": {1, 2}}},
        {"attributes": {"deep": [[[[[[[[[[[[1]]]]]]]]]]]]}},
        {"tags": ("a\nb", "\x00")},
        {"status": "two hundred", "bytes_in": 1.5},
        {"kind": "log"},
        {"message": "x" * 5_000_000},
        {"attributes": {str(n): "y" * 90_000 for n in range(40)}},
    ]
    for more in hostile:
        made.take(event(1, **more))
    made.take(event(2))
    assert made.flush(20)
    assert len(receiver.stored) == len(hostile) + 2
    stored = receiver.stored[1:]
    assert stored[0]["user"] == "a\\udc80b"
    assert stored[5]["status"] == "two hundred"
    assert max(len(line) for request in receiver.requests for line in request.lines) < 400_000
    assert "cut: 5000000" in stored[7]["message"]


@pytest.mark.parametrize("time_ns", [5, -1, 0, 10**17 - 1, 10**17, 2**63 - 1])
def test_times_of_a_clock_that_was_never_set_are_not_mistaken_for_others(
    receiver: Receiver, client: MakeClient, time_ns: int
) -> None:
    from tocsin.event.times import read_time

    made = client()
    made.take(Event(time=time_ns))
    made.flush(10)
    instant = read_time(receiver.stored[-1]["time"])
    assert instant is not None
    assert instant.ns == time_ns


def test_a_time_that_is_none_becomes_now(receiver: Receiver, client: MakeClient) -> None:
    made = client()
    for wrong in ("yesterday", None, 2**80):
        made.take(Event(time=wrong))  # type: ignore[arg-type]
    made.flush(10)
    now = time.time_ns()
    assert all(now - 60 * 10**9 < one["time"] <= now for one in receiver.stored[1:])


# Taking.


def test_taking_costs_well_under_a_microsecond(client: MakeClient) -> None:
    made = client()
    made.start()
    made.flush(10)
    body = b"x" * 1_500

    def cost(make: Callable[[], Any]) -> float:
        best = float("inf")
        for _ in range(20):
            items = [make() for _ in range(500)]
            began = time.perf_counter_ns()
            for item in items:
                made.take(item)
            best = min(best, (time.perf_counter_ns() - began) / len(items))
            made.flush(10)
        return best

    assert cost(event) < 1_000
    assert cost(lambda: seen(body_in=(body,), body_out=(body, body))) < 2_000


def test_nothing_runs_before_something_is_taken(receiver: Receiver, client: MakeClient) -> None:
    before = threading.active_count()
    made = client()
    assert threading.active_count() == before
    made.close()
    assert receiver.requests == []


def test_a_start_is_enough_to_be_heard(receiver: Receiver, client: MakeClient) -> None:
    client().start()
    until(lambda: kinds(receiver) == ["sys_startup"])


def test_it_sleeps_when_there_is_nothing_to_do_and_wakes_for_the_next(
    receiver: Receiver, client: MakeClient
) -> None:
    made = client(heartbeat_seconds=0.0)
    made.take(event(1))
    until(lambda: made._life.inbox.asleep)
    before = made._life.tally.cpu["reader"]
    time.sleep(0.3)
    assert made._life.tally.cpu["reader"] == before
    made.take(event(2))
    until(lambda: numbers(receiver.stored) == [1, 2])


def test_takes_from_many_threads_all_arrive(receiver: Receiver, client: MakeClient) -> None:
    made = client()

    def take(start: int) -> None:
        for n in range(start, start + 500):
            made.take(event(n))

    threads = [threading.Thread(target=take, args=(n * 500,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made.flush(20)
    assert sorted(numbers(receiver.stored)) == list(range(4_000))


def test_an_overflow_is_counted_and_shows_as_a_hole_and_as_an_event(
    receiver: Receiver, client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox, "MOST", 100)
    slow = Slow()
    made = client(slow)
    made.take(event(0))
    until(lambda: made._life.inbox.overflowed == 0 and len(made._life.inbox) == 0)
    for n in range(1, 151):
        made.take(event(n))
    assert len(made._life.inbox) == 100
    slow.go.set()
    until(lambda: gaps(receiver))
    assert gaps(receiver) == [{"lost": 50, "why": {"inbox_full": 50}}]
    (gap,) = receiver.tagged("source_gap")
    assert (gap["kind"], gap["severity"], gap["message"]) == ("log", "error", "50 events were lost")
    made.close()
    assert numbers(receiver.stored) == list(range(101))
    sequence = {one["source_seq"] for one in receiver.stored}
    assert max(sequence) - len(sequence) == 50


def test_bodies_beyond_the_bound_are_left_out_and_counted(
    receiver: Receiver, client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox, "BODIES", 10_000)
    slow = Slow()
    made = client(slow)
    made.take(event(0))
    until(lambda: len(made._life.inbox) == 0)
    requests = [seen(body_in=(b"x" * 3_000,), body_out=(b"y" * 1_000,)) for _ in range(4)]
    for one in requests:
        made.take(one)
    assert [bool(one.body_in) for one in requests] == [True, True, False, False]
    assert [one.cut_in and one.cut_out for one in requests] == [False, False, True, True]
    assert made._life.inbox.uninspected == 2
    slow.go.set()
    made.close()
    assert len(receiver.stored) == 7
    assert receiver.stored[-1]["attributes"]["uninspected"] == 2


def test_room_for_bodies_comes_back(client: MakeClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox, "BODIES", 10_000)
    made = client()
    for _ in range(20):
        made.take(seen(body_in=(b"x" * 9_000,)))
        made.flush(10)
    assert made._life.inbox.uninspected == 0


def test_a_flood_of_large_heads_gets_less_room(client: MakeClient) -> None:
    slow = Slow()
    made = client(slow)
    made.take(event(0))
    until(lambda: len(made._life.inbox) == 0)
    box = made._life.inbox
    heavy = seen(headers=[(b"x" * 100, b"y" * 65_000)])
    for _ in range(600):
        made.take(heavy)
        box.fit()  # as its reader does, every few events
    assert len(box) < 520
    assert box.overflowed > 80
    slow.go.set()
    made.flush(10)
    box.fit()
    assert box.room == inbox.MOST


def test_a_flood_of_long_requests_pushes_out_no_short_ones() -> None:
    box = inbox.Inbox(lambda: None)
    for _ in range(1_000):  # the reader never gets to it
        box.put(seen(query=b"x" * 60_000))
    assert 64 <= len(box) <= inbox.HEADS // 60_000 // 2
    long = len(box)
    assert box.overflowed == 1_000 - long
    box.fit()
    for _ in range(long):
        box.put(seen())
    assert (len(box), box.overflowed) == (2 * long, 1_000 - long)


def test_what_is_read_no_longer_counts_as_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox, "BODIES", 10_000)
    box = inbox.Inbox(lambda: None)
    for _ in range(10):  # it is never empty in between
        box.put(seen(body_in=(b"x" * 4_000,), body_out=(b"x" * 1_000,)))
        if len(box) == 2:
            box.get()
    assert box.uninspected == 0


class Bad:
    """Something that fails wherever it is touched."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError("do not touch me")


def test_nonsense_is_counted_and_raises_nothing(receiver: Receiver, client: MakeClient) -> None:
    made = client()
    before = harmless.count
    for nonsense in (None, 7, "text", object(), Bad()):
        made.take(nonsense)  # type: ignore[arg-type]
    made.take(event(1))
    assert made.flush(10)
    assert numbers(receiver.stored) == [1]
    assert harmless.count > before
    until(lambda: sum(gap["why"]["unreadable"] for gap in gaps(receiver)) == 5)


class Broken(Plain):
    """A reader with a mistake in it."""

    def finish(self, event: Event) -> Event:
        if event.message == "e13":
            raise ZeroDivisionError("secret")
        return event


def test_what_the_reader_cannot_read_is_lost_and_said_so_and_the_rest_goes_on(
    receiver: Receiver, client: MakeClient
) -> None:
    made = client(Broken())
    for n in range(20):
        made.take(event(n))
    made.flush(10)
    assert numbers(receiver.stored) == [n for n in range(20) if n != 13]
    until(lambda: gaps(receiver) == [{"lost": 1, "why": {"unreadable": 1}}])


# The hook.


def exits(_event: Event) -> Event:
    raise SystemExit


def fails(_event: Event) -> Event:
    raise ZeroDivisionError


def nonsense(_event: Event) -> Any:
    return 7


@pytest.mark.parametrize("hook", [exits, fails, nonsense])
def test_what_a_hook_fails_over_is_not_sent_since_it_may_hold_what_the_hook_takes_out(
    receiver: Receiver, client: MakeClient, hook: Any
) -> None:
    before = harmless.count
    made = client(before_send=hook)
    made.take(event(1))
    made.take(event(2))
    made.close()
    assert numbers(receiver.stored) == []
    assert harmless.count == before + 2
    assert sum(gap["why"]["hook_failed"] for gap in gaps(receiver)) == 2
    there = [one["source_seq"] for one in receiver.stored]
    assert len(set(range(1, max(there) + 1)) - set(there)) == 2  # each shows as a hole
    assert receiver.stored[-1]["attributes"]["hook_failed"] == 2


def test_a_hook_may_change_an_event_or_keep_it_back(receiver: Receiver, client: MakeClient) -> None:
    def hook(given: Event) -> Event | None:
        return None if given.message == "e1" else event(7, user="changed")

    made = client(before_send=hook)
    made.take(event(1))
    made.take(event(2))
    made.close()
    assert numbers(receiver.stored) == [7]
    assert receiver.stored[1]["user"] == "changed"
    assert [one["source_seq"] for one in receiver.stored] == [1, 2, 3]  # no gap: it was wanted so
    assert receiver.stored[-1]["attributes"]["withheld"] == 1


def test_a_hook_cannot_hold_back_what_the_sdk_says_itself(
    receiver: Receiver, client: MakeClient
) -> None:
    made = client(before_send=lambda _event: None, heartbeat_seconds=0.05)
    made.take(event(1))
    until(lambda: receiver.tagged("heartbeat"))
    made.close()
    assert {"sys_startup", "sys_shutdown", "log"} == set(kinds(receiver))


def test_a_hook_that_flushes_does_not_wait_for_itself(
    receiver: Receiver, client: MakeClient
) -> None:
    answers: list[bool] = []

    def hook(given: Event) -> Event:
        answers.append(made.flush(20))
        return given

    made = client(before_send=hook)
    made.take(event(1))
    until(lambda: numbers(receiver.stored) == [1])
    assert answers == [False]


# Signs of life.


def test_a_heartbeat_tells_how_it_goes(receiver: Receiver, client: MakeClient) -> None:
    made = client(heartbeat_seconds=0.1)
    for n in range(5):
        made.take(event(n))
    until(lambda: len(receiver.tagged("heartbeat")) >= 2)
    beat = receiver.tagged("heartbeat")[-1]
    assert (beat["kind"], beat["severity"]) == ("log", "debug")
    counts = beat["attributes"]
    assert counts["taken"] == 5
    assert counts["sent"] >= 6
    assert set(counts) >= set(
        "taken dropped uninspected sent spooled mishaps waiting cpu_seconds".split()
    )
    assert 0 < counts["cpu_seconds"] < 5


def test_no_heartbeat_when_none_is_wanted(receiver: Receiver, client: MakeClient) -> None:
    made = client(heartbeat_seconds=0.0)
    made.take(event(1))
    made.flush(10)
    time.sleep(0.1)
    assert receiver.tagged("heartbeat") == []


# A receiver in every condition.


def test_nothing_is_lost_or_doubled_over_ten_restarts_and_broken_connections(
    receiver: Receiver, client: MakeClient
) -> None:
    made = client(batch_events=20, batch_seconds=0.005)
    count = 0
    for life in range(10):
        receiver.moods.extend([None, LOST, None, LOST_ANSWER, LOST_ANSWER, None, None, LOST])
        for _ in range(300):
            made.take(event(count))
            count += 1
            if count % 50 == 0:
                time.sleep(0.004)
        if life % 2:
            made.flush(0.02)
        receiver.kill()
        made.take(event(count))
        count += 1
        receiver.start()
    receiver.moods.clear()
    until(lambda: len(numbers(receiver.stored)) >= count)
    assert made.flush(20)
    assert sorted(numbers(receiver.stored)) == list(range(count))
    assert len(receiver.requests) > len(receiver.batches)  # there were repeats
    assert gaps(receiver) == []


def test_a_receiver_that_is_down_at_the_start_gets_everything_later(
    receiver: Receiver, client: MakeClient
) -> None:
    receiver.kill()
    made = client()
    for n in range(100):
        made.take(event(n))
    until(lambda: made._life._mail and made._life._mail.shipper.failed > 2)
    receiver.start()
    until(lambda: numbers(receiver.stored) == list(range(100)))
    assert kinds(receiver)[0] == "sys_startup"


def test_a_slow_receiver_holds_nobody_up(receiver: Receiver, client: MakeClient) -> None:
    receiver.mood = lambda _request: Reaction(wait=0.1, store=True)
    made = client(batch_events=50)
    began = time.monotonic()
    for n in range(500):
        made.take(event(n))
    assert time.monotonic() - began < 0.5
    assert made.flush(20)
    assert numbers(receiver.stored) == list(range(500))


def test_a_wrong_key_is_said_and_everything_is_kept_until_it_is_right(
    receiver: Receiver, client: MakeClient, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.mood = lambda _request: problem(401, "send the key of a source")
    with caplog.at_level(logging.WARNING, "tocsin"):
        made = client()
        for n in range(50):
            made.take(event(n))
        until(lambda: len(receiver.requests) >= 3)
    said = [r.getMessage() for r in caplog.records if "key" in r.getMessage()]
    assert len(said) == 1
    assert KEY not in caplog.text
    receiver.mood = lambda _request: None
    until(lambda: numbers(receiver.stored) == list(range(50)))


def test_memory_stays_bounded_while_the_receiver_is_down(
    receiver: Receiver, client: MakeClient
) -> None:
    """200,000 takes against 1 MiB of memory and 1 MiB of spool; then the loss is told exactly."""
    receiver.kill()
    made = client(memory_bytes=1 << 20, spool_bytes=1 << 20)
    mail = made._life._mail
    assert mail is not None
    most = 0
    for n in range(200_000):
        made.take(event(n, path="/orders/%032x" % (n * 7_919**8)))
        if n % 500 == 0:
            most = max(most, mail._outbox.size)
            time.sleep(0.001)
    until(lambda: not len(made._life.inbox), 60)
    assert most <= (1 << 20) + 10_000
    receiver.start()
    until(lambda: not mail.waiting and not mail._spool.waiting, 60)
    until(lambda: gaps(receiver))
    made.close()
    there = numbers(receiver.stored)
    assert len(there) == len(set(there)) > 5_000
    told = sum(gap["lost"] for gap in gaps(receiver))
    assert len(there) + told == 200_000
    sequence = {one["source_seq"] for one in receiver.stored}
    assert max(sequence) - len(sequence) == told
    # The oldest are there: nobody can flood out his own tracks.
    assert set(range(2_000)) <= set(there)


def test_a_loss_is_told_once_sending_works_again_and_not_before(
    receiver: Receiver, client: MakeClient
) -> None:
    receiver.kill()
    made = client(memory_bytes=65_536, spool="off", batch_events=50)
    for n in range(3_000):
        made.take(event(n))
    until(lambda: made._life.tally.lost)
    until(lambda: not len(made._life.inbox))
    lost = sum(made._life.tally.lost.values())
    receiver.start()
    until(lambda: gaps(receiver))
    assert gaps(receiver) == [{"lost": lost, "why": {"no_room": lost}}]
    assert len(numbers(receiver.stored)) + lost == 3_000


def test_a_loss_that_could_not_be_told_is_told_by_the_next_process(
    receiver: Receiver, client: MakeClient
) -> None:
    receiver.kill()
    made = client(Broken())
    made.take(event(1))
    until(lambda: made._life._mail and made._life._mail.shipper.failed)
    made.take(event(13))
    until(lambda: made._life.tally.lost)
    made.close()
    receiver.start()
    client().start()
    until(lambda: gaps(receiver) == [{"lost": 1, "why": {"unreadable": 1}}])
    assert receiver.tagged("source_gap")[0]["boot"] == made.boot


def test_a_call_that_trickles_on_for_ever_is_ended(
    client: MakeClient, caplog: pytest.LogCaptureFixture
) -> None:
    """Each byte of the answer comes in time; its end never does."""
    done = threading.Event()

    def trickle(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 OK\r\nx-more: ")
            while not done.wait(0.02):
                connection.sendall(b"x")

    with socket.create_server(("127.0.0.1", 0)) as server:
        made = client(
            url=f"http://127.0.0.1:{server.getsockname()[1]}",
            timeout=0.1,
            spool="off",
            farewell=0.2,
        )
        made.take(event(1))
        thread = threading.Thread(target=lambda: trickle(server.accept()[0]))
        thread.start()
        until(lambda: made._life._mail and made._life._mail.shipper.failed, 10)
        done.set()
        thread.join()
    assert made._life._mail is not None
    assert made._life._mail.waiting == 2


# Flush, and the end.


def test_a_flush_waits_until_all_is_there(receiver: Receiver, client: MakeClient) -> None:
    made = client(batch_seconds=60.0)
    for n in range(2_500):
        made.take(event(n))
    assert made.flush(20)
    assert numbers(receiver.stored) == list(range(2_500))


def test_a_flush_that_finds_nobody_brings_everything_to_disk(
    receiver: Receiver, client: MakeClient, spool: Path
) -> None:
    receiver.kill()
    made = client()
    for n in range(100):
        made.take(event(n))
    began = time.monotonic()
    assert made.flush(20)
    assert time.monotonic() - began < 10
    assert list(spool.glob("orders/*.gz"))
    receiver.start()
    until(lambda: sorted(numbers(receiver.stored)) == list(range(100)))


def test_a_flush_that_can_do_neither_says_so(receiver: Receiver, client: MakeClient) -> None:
    receiver.kill()
    made = client(spool="off", farewell=0.1)
    made.take(event(1))
    assert not made.flush(0.3)
    receiver.start()
    until(lambda: numbers(receiver.stored) == [1])


def test_what_is_left_at_the_end_is_sent_by_the_next_process(
    receiver: Receiver, client: MakeClient
) -> None:
    receiver.kill()
    first = client()
    for n in range(100):
        first.take(event(n))
    first.close()
    receiver.start()
    second = client()
    second.take(event(100))
    until(lambda: sorted(numbers(receiver.stored)) == list(range(101)))
    assert {one["boot"] for one in receiver.stored} == {first.boot, second.boot}
    assert "sys_shutdown" in kinds(receiver)


def test_a_close_is_final_and_may_be_repeated(receiver: Receiver, client: MakeClient) -> None:
    before = set(threading.enumerate())
    made = client()
    made.take(event(1))
    made.close()
    made.close()
    made.take(event(2))
    assert made.flush(1)
    assert numbers(receiver.stored) == [1]
    mine = set(threading.enumerate()) - before
    assert not [thread for thread in mine if thread.name.startswith("tocsin-")]


def test_a_close_takes_no_longer_than_its_farewell(receiver: Receiver, client: MakeClient) -> None:
    receiver.mood = lambda _request: Reaction(wait=3.0, store=True)
    made = client(farewell=0.4)
    for n in range(10):
        made.take(event(n))
    began = time.monotonic()
    made.close()
    assert time.monotonic() - began < 2.0
    receiver.mood = lambda _request: None
    second = client()
    second.take(event(10))
    until(lambda: sorted(numbers(receiver.stored)) == list(range(11)))


def test_without_threads_a_flush_does_the_work_itself(
    receiver: Receiver, client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = threading.Thread.start

    def no_more(thread: threading.Thread) -> None:
        if thread.name.startswith("tocsin-"):
            raise RuntimeError("can't start new thread")
        start(thread)

    made = client()
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", no_more)
        made.take(event(1))
        assert made.flush(10)
    assert numbers(receiver.stored) == [1]


# Processes.


def run(code: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run *code* in a fresh interpreter, to its end."""
    head = f"""
        import sys
        sys.path.insert(0, {REPOSITORY!r})
        from tests.sdk.receiving import *
        from tocsin.sdk.client import *
        from tocsin.sdk.options import Options
        """
    source = textwrap.dedent(head) + textwrap.dedent(code)
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", source],
        env=os.environ | environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def environ(receiver: Receiver, spool: Path) -> dict[str, str]:
    return {
        "TOCSIN_URL": receiver.url,
        "TOCSIN_KEY": KEY,
        "TOCSIN_SERVICE": "orders",
        "TOCSIN_SPOOL": str(spool),
    }


MAKE = """
from tocsin.sdk.client import Client
import os
client = Client(Options(url=os.environ["TOCSIN_URL"], key=os.environ["TOCSIN_KEY"],
                service="orders", spool=os.environ["TOCSIN_SPOOL"]), Plain())
"""


def test_the_end_of_the_interpreter_sends_what_is_left(
    receiver: Receiver, environ: dict[str, str]
) -> None:
    done = run(MAKE + "for n in range(500): client.take(event(n))", **environ)
    assert (done.returncode, done.stderr) == (0, "")
    assert numbers(receiver.stored) == list(range(500))
    assert kinds(receiver)[-1] == "sys_shutdown"


def test_an_exception_that_ends_the_program_is_no_hindrance(
    receiver: Receiver, environ: dict[str, str]
) -> None:
    done = run(MAKE + "client.take(event(1)); raise SystemExit(3)", **environ)
    assert done.returncode == 3
    assert numbers(receiver.stored) == [1]


def test_an_end_without_receiver_is_quick_and_leaves_all_on_disk(
    receiver: Receiver, client: MakeClient, environ: dict[str, str]
) -> None:
    receiver.kill()
    began = time.monotonic()
    done = run(MAKE + "for n in range(500): client.take(event(n))", **environ)
    assert done.returncode == 0
    assert time.monotonic() - began < 15
    receiver.start()
    heir = client()
    heir.start()
    until(lambda: numbers(receiver.stored) == list(range(500)))


def test_what_a_killed_process_had_spooled_is_sent_by_the_next(
    receiver: Receiver, client: MakeClient, environ: dict[str, str]
) -> None:
    receiver.kill()
    code = """
    import os, signal
    for n in range(500):
        client.take(event(n))
    assert client.flush(20)
    os.kill(os.getpid(), signal.SIGKILL)
    """
    assert run(MAKE + textwrap.dedent(code), **environ).returncode == -signal.SIGKILL
    receiver.start()
    client().start()
    until(lambda: numbers(receiver.stored) == list(range(500)))


def test_a_forked_child_and_its_parent_each_send_their_own(
    receiver: Receiver, client: MakeClient
) -> None:
    """Forked while threads take, the reader reads and the sender sends."""
    made = client(batch_events=20)
    stop = threading.Event()
    taken: list[int] = []

    def take() -> None:
        while not stop.is_set() and len(taken) < 20_000:
            made.take(event(len(taken)))
            taken.append(1)
            if len(taken) % 20 == 0:
                time.sleep(0.0005)

    thread = threading.Thread(target=take)
    thread.start()
    children: list[int] = []
    until(lambda: receiver.stored)
    for child in range(6):
        pid = os.fork()
        if not pid:
            _be_a_child(made, 100_000 + child * 1_000)
        children.append(pid)
        time.sleep(0.03)
    stop.set()
    thread.join()
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
    assert codes == [0] * 6
    assert made.flush(20)
    theirs: dict[str, list[int]] = {}
    for one in receiver.stored:
        theirs.setdefault(one["boot"], []).extend(numbers([one]))
    mine = theirs.pop(made.boot)
    assert sorted(mine) == list(range(len(taken)))
    assert len(theirs) == 6
    expected = [[100_000 + child * 1_000 + n for n in range(200)] for child in range(6)]
    assert sorted(sorted(there) for there in theirs.values()) == expected
    for boot in theirs:
        sequence = [one["source_seq"] for one in receiver.stored if one["boot"] == boot]
        assert sorted(sequence) == list(range(1, len(sequence) + 1))


def _be_a_child(made: Client, start: int) -> None:
    code = 1
    try:
        signal.alarm(30)  # a lock that nobody will ever release ends the child, and the test fails
        parents = made.boot
        for n in range(start, start + 200):
            made.take(event(n))
        code = 0 if made.flush(20) and parents == made.boot else 2
    finally:
        os._exit(code)


def test_a_child_of_a_parent_that_never_took_anything_begins_by_itself(
    receiver: Receiver, client: MakeClient
) -> None:
    """As under a server that loads the application before it forks its workers."""
    made = client()
    pid = os.fork()
    if not pid:
        _be_a_child(made, 0)
    assert os.waitpid(pid, 0)[1] == 0
    assert numbers(receiver.stored) == list(range(200))
    assert made.boot not in {one["boot"] for one in receiver.stored}


def test_a_child_does_not_wait_for_a_lock_that_its_parent_held(client: MakeClient) -> None:
    made = client(Broken())
    with harmless._lock, module._the.lock:
        pid = os.fork()
        if not pid:
            made.take(event(13))
            _be_a_child(made, 0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a_child_that_is_gone_at_once_harms_nobody(receiver: Receiver, client: MakeClient) -> None:
    made = client()
    made.take(event(1))
    for _ in range(5):
        pid = os.fork()
        if not pid:
            made.take(event(2))
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
    made.take(event(3))
    assert made.flush(10)
    assert {1, 3} <= set(numbers(receiver.stored))


def _work(start: int) -> None:
    for n in range(start, start + 50):
        the_client().take(event(n))


def test_workers_of_multiprocessing_send_what_they_took(
    receiver: Receiver, client: MakeClient
) -> None:
    """They end without atexit, and without any flush of their own."""
    made = client(batch_seconds=30.0)
    before = use(made)
    try:
        made.take(event(0))
        fork = multiprocessing.get_context("fork")
        workers = [fork.Process(target=_work, args=(n * 100,)) for n in (1, 2)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(30)
            assert worker.exitcode == 0
    finally:
        use(before)
    there = numbers(receiver.stored)
    assert sorted(n for n in there if n) == [*range(100, 150), *range(200, 250)]


# The application's event loop.


def test_the_applications_loop_goes_on_while_a_lot_is_read(client: MakeClient) -> None:
    """A thread that ran on would hold the loop up for 5 ms at each turn."""

    class Costly(Plain):
        def finish(self, event: Event) -> Event:
            end = time.perf_counter() + 100e-6
            while time.perf_counter() < end:
                pass
            return event

    async def waits(made: Client) -> list[float]:
        loop = asyncio.get_running_loop()
        found: list[float] = []
        while len(made._life.inbox) > 100:
            began = time.perf_counter()
            woken: asyncio.Future[None] = loop.create_future()
            threading_free = loop.call_later(0.0005, woken.set_result, None)
            await woken
            threading_free.cancel()
            found.append(time.perf_counter() - began - 0.0005)
        return sorted(found)

    def measured() -> float:
        made = client(Costly())
        for n in range(3_000):
            made.take(event(n))
        found = asyncio.run(waits(made))
        made.close()
        assert len(found) > 50
        return found[len(found) * 9 // 10]

    assert min(measured() for _ in range(3)) < 0.003


# The one client.


@pytest.fixture
def one(
    receiver: Receiver, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(
        module, "_made", lambda options: Client(options, Plain(), patience=IMPATIENT)
    )
    reset()
    yield
    reset()


def test_there_is_one_client_made_from_the_environment(one: None, receiver: Receiver) -> None:
    assert the_client() is the_client()
    assert the_client().options.url == receiver.url
    the_client().take(event(1))
    reset()
    assert numbers(receiver.stored) == [1]


def test_who_says_something_first_does_not_wait_for_the_client_to_be_made(
    one: None, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = threading.Event()
    usual = module._the.make

    def slowly(options: Options) -> Client:
        assert made.wait(10)
        return usual(options)

    monkeypatch.setattr(module._the, "make", slowly)
    began = time.perf_counter()
    for n in range(1, 4):
        at_once().take(event(n))
    assert time.perf_counter() - began < 0.5
    assert at_once() is not the_made()
    made.set()
    assert flush(10)
    at_once().take(event(4))
    assert at_once() is the_client()
    reset()
    assert numbers(receiver.stored) == [1, 2, 3, 4]


def the_made() -> Client | None:
    return module._the.client


def test_what_waits_for_a_client_is_bounded_and_counted(
    one: None, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST", 2)
    monkeypatch.setattr(module._waiting, "start", lambda: None)
    for n in range(1, 6):
        at_once().take(event(n))
    configure(service="orders")
    reset()
    assert numbers(receiver.stored) == [1, 2]
    (gap,) = receiver.tagged("source_gap")
    assert gap["attributes"] == {"lost": 3, "why": {"inbox_full": 3}}


FIRST = """
import os, sys, tocsin
tocsin.log.authn_login_fail(user="joe")
if sys.argv[1] == "fork":
    child = os.fork()
    if not child:
        tocsin.log.authn_login_fail(user="child")
        sys.exit()
    os.waitpid(child, 0)
"""


@pytest.mark.parametrize("then", ["end", "fork"])
def test_a_word_just_before_the_end_or_a_fork_is_said_once(
    receiver: Receiver, environ: dict[str, str], then: str
) -> None:
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FIRST, then],
        env={**os.environ, **environ},
        check=True,
        timeout=30,
    )
    users = sorted(one["claimed_user"] for one in receiver.stored if "claimed_user" in one)
    users += sorted(one["user"] for one in receiver.stored if "user" in one)
    assert users == (["child", "joe"] if then == "fork" else ["joe"])


def test_a_wrong_variable_is_a_warning_and_the_default(
    one: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name, value in {
        "BATCH_EVENTS": "many",
        "SAMPLE": "7",
        "FORMAT": "cobol",
        "TRUSTED_PROXIES": "10.0.0.0/8,moon",
        "PERSONAL": "user=hide",
        "TIMEOUT": "nan",
    }.items():
        monkeypatch.setenv(f"TOCSIN_{name}", value)
    monkeypatch.setenv("TOCSIN_ENV", "staging")
    with caplog.at_level(logging.WARNING, "tocsin"):
        options = the_client().options
    assert options.batch_events == 1000
    assert (options.sample, options.format, options.timeout) == (1.0, "json", 10.0)
    assert (options.trusted_proxies, options.personal) == ((), {})
    assert options.env == "staging"
    assert len(caplog.records) == 6
    assert "batch_events" in caplog.text.lower()


@pytest.mark.parametrize(
    ("given", "say"),
    [
        ({"sevice": "x"}, "sevice"),
        ({"service": 7}, "service"),
        ({"batch_events": 0}, "batch_events"),
        ({"batch_events": "many"}, "batch_events"),
        ({"format": "cobol"}, "cobol"),
        ({"output": " "}, "output"),
        ({"sample": 2.0}, "sample"),
        ({"timeout": 0.0}, "timeout"),
        ({"before_send": 7}, "before_send"),
        ({"trusted_proxies": ["moon"]}, "moon"),
        ({"personal": {"user": "hide"}}, "hide"),
        ({"personal": {"usr": "hash"}}, "usr"),
    ],
)
def test_a_wrong_option_is_refused_at_once(one: None, given: dict[str, Any], say: str) -> None:
    with pytest.raises(SettingsError, match=say):
        configure(**given)
    assert the_client().options.service == "orders"


def test_a_client_that_cannot_be_made_is_no_harm(
    one: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_options: Options) -> Client:
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr(module, "_made", broken)
    the_client().take(event(1))
    assert the_client().flush(1)


def test_options_add_up_and_what_was_taken_before_is_sent(one: None, receiver: Receiver) -> None:
    first = the_client()
    first.take(event(1))
    second = configure(env="production", trusted_proxies=["10.0.0.0/8"])
    assert second is the_client() is not first
    assert numbers(receiver.stored) == [1]
    third = configure(service="billing")
    assert (third.options.env, third.options.service) == ("production", "billing")
    assert third.options.trusted_proxies == ("10.0.0.0/8",)
    assert configure(service="billing") is third


def test_every_format_that_may_be_asked_for_can_be_written() -> None:
    assert set(lines.FORMATS) == FORMATS


def test_off_is_off(receiver: Receiver) -> None:
    made = Client(Options(output="off"), Plain())
    before = threading.active_count()
    made.take(event(1))
    made.start()
    assert made.flush(1)
    assert threading.active_count() == before
    made.close()


@pytest.mark.parametrize("url", ["http://203.0.113.9:7461", "nonsense", "https://example.org"])
def test_without_a_usable_address_events_go_to_the_spool_and_it_is_said_once(
    client: MakeClient, spool: Path, caplog: pytest.LogCaptureFixture, url: str
) -> None:
    with caplog.at_level(logging.WARNING, "tocsin"):
        made = client(url=url, key=None if url.startswith("https") else KEY, farewell=0.3)
        for n in range(100):
            made.take(event(n))
        assert made.flush(0.3)
        made.close()
    assert list(spool.glob("orders/*.gz"))
    assert len([r for r in caplog.records if "sends nothing" in r.getMessage()]) == 1


def test_importing_the_client_imports_nothing_heavy() -> None:
    code = """
    heavy = {"ssl", "http.client", "gzip", "email", "socket", "sqlalchemy", "django", "asyncio"}
    import tocsin.sdk.client
    assert not heavy & set(sys.modules), heavy & set(sys.modules)
    """
    done = subprocess.run(
        [sys.executable, "-c", "import sys\n" + textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_wrong_key_is_told_on_stderr_where_nobody_has_set_up_logging(receiver: Receiver) -> None:
    receiver.mood = lambda _request: Reaction(status=401)
    code = """
import time, tocsin
tocsin.log.authn_login_fail(user="ann")
time.sleep(2)
"""
    environ = {n: v for n, v in os.environ.items() if not n.startswith("TOCSIN_")}
    environ |= {
        "TOCSIN_URL": receiver.url,
        "TOCSIN_KEY": "tocsin_wrong",
        "TOCSIN_SPOOL": "off",
        "TOCSIN_FAREWELL": "0.1",
        "TOCSIN_SAMPEL": "0.1",
        "PYTHONPATH": str(Path(module.__file__).parents[2]),
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True
    )
    assert "does not take events" in done.stderr
    assert "401" in done.stderr
    assert "TOCSIN_SAMPEL is no option; is TOCSIN_SAMPLE meant?" in done.stderr
    assert "Traceback" not in done.stderr
