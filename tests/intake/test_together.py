"""Bodies that are read together get the answers that they would get alone."""

from __future__ import annotations

import gzip
import threading
from concurrent.futures import Future
from typing import NamedTuple

import msgspec
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tocsin.errors import Malformed, Pushback
from tocsin.event.batch import Batch
from tocsin.intake import Origin, parse, sniff, together
from tocsin.intake.admit import admit
from tocsin.intake.limits import Limits
from tocsin.intake.together import Job, Outcome, Road, Workers

NOW = 1_795_000_000_000_000_000


class Receipt(NamedTuple):
    frame: pl.DataFrame
    batch_id: str | None
    content: bytes | None


class Gate:
    """A road whose first parse waits until the rest has queued up behind it."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.begun = threading.Event()
        self.parsed: list[bytes] = []
        self.full: set[str] = set()

    def road(self) -> Road:
        return Road(parse=self.parse, admit=admit, sniff=sniff, parsers=("tocsin", "nginx", "text"))

    def parse(
        self, data: bytes, parser: str, origin: Origin, observed: int, guessed: bool
    ) -> pl.DataFrame:
        if data.startswith(b'{"first"'):
            self.begun.set()
            assert self.open.wait(20)
        else:
            self.parsed.append(data)
        return parse(data, parser, origin, observed, guessed)

    def accept(
        self, batch: Batch, *, source: str, batch_id: str | None, content: bytes | None
    ) -> Future[Receipt]:
        if batch_id in self.full:
            raise Pushback("full")
        done: Future[Receipt] = Future()
        done.set_result(Receipt(batch.frame, batch_id, content))
        return done


def job(body: bytes, *, parser: str | None = "tocsin", source: str = "a", **more: object) -> Job:
    facts: dict[str, object] = {
        "body": body,
        "encoding": "identity",
        "array": False,
        "parser": parser,
        "refuse": None,
        "origin": Origin(source=source),
        "batch_id": None,
        "observed": NOW,
    }
    return Job(**(facts | more))  # type: ignore[arg-type]  # typed in Job


def run(jobs: list[Job], gate: Gate | None = None) -> tuple[list[object], Gate]:
    """What becomes of *jobs* when all of them wait at once; failures as the exception."""
    gate = gate or Gate()
    workers = Workers(gate.road(), gate.accept, Limits(workers=1))
    first = workers.submit(job(b'{"first":1,"time":1,"kind":"log"}\n', source="other"))
    assert gate.begun.wait(20)
    waiting = [workers.submit(j) for j in jobs]
    gate.open.set()
    first.done.result(20)
    return [_result(ticket.done) for ticket in waiting], gate


def _result(future: Future[Outcome[Receipt]]) -> object:
    error = future.exception(20)
    if error is not None:
        return error
    stored, _, parse_errors = future.result()
    return None if stored is None else (_rows(stored.result(5).frame), parse_errors)


def _users(outcome: object) -> list[object]:
    assert isinstance(outcome, tuple), outcome
    return [row["user"] for row in outcome[0]]


def _rows(frame: pl.DataFrame) -> list[dict[str, object]]:
    return [{k: v for k, v in row.items() if v is not None} for row in frame.iter_rows(named=True)]


def body(*users: str) -> bytes:
    events = [{"time": NOW, "kind": "request", "user": user} for user in users]
    return b"".join(msgspec.json.encode(e) + b"\n" for e in events)


def test_bodies_of_one_source_that_wait_are_read_at_once_and_kept_apart() -> None:
    outcomes, gate = run([job(body("ann", "bob")), job(body("eve")), job(body("dan"))])
    assert len(gate.parsed) == 1
    assert [_users(outcome) for outcome in outcomes] == [["ann", "bob"], ["eve"], ["dan"]]


def test_another_source_or_format_is_read_apart() -> None:
    line = b'192.0.2.1 - - [23/Nov/2026:10:00:00 +0000] "GET /a HTTP/1.1" 200 1 "-" "x"\n'
    _, gate = run([job(body("ann")), job(body("bob"), source="b"), job(line, parser="nginx")])
    assert len(gate.parsed) == 3


def test_one_bad_line_refuses_its_own_body_only() -> None:
    outcomes, _ = run([job(body("ann")), job(b"{nonsense\n"), job(body("bob"))])
    assert isinstance(outcomes[1], Malformed)
    assert outcomes[1].line == 1
    assert outcomes[0] is not None
    assert not isinstance(outcomes[0], Exception)
    assert not isinstance(outcomes[2], Exception)


def test_pushback_for_one_is_not_pushback_for_all() -> None:
    gate = Gate()
    gate.full.add("b")
    outcomes, _ = run([job(body("ann"), batch_id="a"), job(body("bob"), batch_id="b")], gate)
    assert not isinstance(outcomes[0], Exception)
    assert isinstance(outcomes[1], Pushback)


def test_a_failure_of_the_road_is_told_to_everybody() -> None:
    class Broken(Gate):
        def parse(
            self, data: bytes, parser: str, origin: Origin, observed: int, guessed: bool
        ) -> pl.DataFrame:
            if b"first" in data:
                return super().parse(data, parser, origin, observed, guessed)
            raise ZeroDivisionError

    outcomes, _ = run([job(body("ann")), job(body("bob"))], Broken())
    assert all(isinstance(outcome, ZeroDivisionError) for outcome in outcomes)


LINES = st.sampled_from(
    [
        body("ann"),
        body("bob").rstrip(b"\n"),
        b"",
        b"\n",
        b" \r\n",
        b"\xef\xbb\xbf" + body("eve"),
        b"{nonsense\n",
        b'{"time":1,"kind":"request","status":"many"}\n',
        b"\xff\n",
        b'{"time":1,"kind":"request","user":"x","user":"y"}\r\n',
    ]
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(LINES, max_size=3).map(b"".join), min_size=2, max_size=5),
    st.sampled_from([None, True, False]),
)
def test_company_changes_nothing(bodies: list[bytes], refuse: bool | None) -> None:
    jobs = [job(b, refuse=refuse) for b in bodies]
    together, _ = run(jobs)
    alone = [run([j])[0][0] for j in jobs]
    assert [_plain(o) for o in together] == [_plain(o) for o in alone]


def _plain(outcome: object) -> object:
    if isinstance(outcome, Exception):
        return type(outcome).__name__, str(outcome)
    return outcome


@pytest.mark.parametrize("parser", ["tocsin", None])
def test_every_body_is_answered_however_many_wait(parser: str | None) -> None:
    outcomes, _ = run([job(body(f"u{n}"), parser=parser) for n in range(300)])
    assert [_users(outcome) for outcome in outcomes] == [[f"u{n}"] for n in range(300)]


def test_a_group_of_bombs_is_not_inflated_at_once() -> None:
    class Counting(Gate):
        largest = 0

        def parse(
            self, data: bytes, parser: str, origin: Origin, observed: int, guessed: bool
        ) -> pl.DataFrame:
            self.largest = max(self.largest, len(data))
            return super().parse(data, parser, origin, observed, guessed)

    gate = Counting()
    padded = body("ann")[:-2] + b',"message":"' + b"x" * (6 << 20) + b'"}\n'
    bombs = [job(gzip.compress(padded), encoding="gzip", refuse=False) for _ in range(8)]
    outcomes, _ = run(bombs, gate)
    assert len(outcomes) == 8
    assert gate.largest <= 24 << 20


# -- large bodies, in pieces -----------------------------------------------------------------------


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(together, "_PIECE_BYTES", 400)


@pytest.mark.usefixtures("small_pieces")
def test_a_large_body_lets_others_have_their_turn_and_is_stored_as_one() -> None:
    users = [f"user{n}" for n in range(200)]
    order: list[str] = []
    gate = Gate()
    workers = Workers(gate.road(), gate.accept, Limits(workers=1))
    first = workers.submit(job(b'{"first":1,"time":1,"kind":"log"}\n', source="other"))
    assert gate.begun.wait(20)
    tickets = {
        "large": workers.submit(job(body(*users))),
        "small": workers.submit(job(body("eve"), source="b")),
    }
    tickets["large"].done.add_done_callback(lambda _: order.append("large"))
    tickets["small"].done.add_done_callback(lambda _: order.append("small"))
    gate.open.set()
    assert _users(_result(tickets["small"].done)) == ["eve"]
    assert _users(_result(tickets["large"].done)) == users
    assert order == ["small", "large"]
    assert len(gate.parsed) > 20
    first.done.result(20)


@pytest.mark.usefixtures("small_pieces")
def test_a_fault_far_into_a_large_body_is_told_with_its_line() -> None:
    lines = body(*(f"user{n}" for n in range(60))).splitlines(keepends=True)
    lines[47] = b'{"time":1,"kind":"log","status":"many"}\n'
    (outcome,), gate = run([job(b"".join(lines))])
    assert isinstance(outcome, Malformed)
    assert (outcome.line, outcome.field) == (48, "status")
    array = b"[\n" + b",\n".join(line.strip() for line in lines) + b"\n]"
    (outcome,), _ = run([job(array, array=True)])
    assert isinstance(outcome, Malformed)
    assert (outcome.line, outcome.field) == (49, "status")
    assert str(outcome).startswith("element 48, at line 49: ")
    assert len(gate.parsed) > 5


@pytest.mark.usefixtures("small_pieces")
def test_a_body_that_nobody_waits_for_is_put_away() -> None:
    gate = Gate()
    workers = Workers(gate.road(), gate.accept, Limits(workers=1))
    first = workers.submit(job(b'{"first":1,"time":1,"kind":"log"}\n', source="other"))
    assert gate.begun.wait(20)
    ticket = workers.submit(job(body(*(f"user{n}" for n in range(200)))))
    ticket.leave()
    gate.open.set()
    assert isinstance(_result(ticket.done), Pushback)
    assert gate.parsed == []
    first.done.result(20)


@given(st.lists(st.binary(max_size=120), max_size=30), st.sampled_from(["text", "tocsin", "nginx"]))
@settings(max_examples=60, deadline=None)
def test_pieces_of_a_body_are_the_body(lines: list[bytes], parser: str) -> None:
    data = b"\n".join(lines)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(together, "_PIECE_BYTES", 100)
        pieces = list(together._pieces(data, parser))
    assert b"".join(pieces) == data
    assert all(piece.endswith(b"\n") for piece in pieces[:-1])
