"""``send`` against a door of its own making: what goes over the wire, and what comes of trouble."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from tocsin.errors import DeliveryError, Malformed, UsageError
from tocsin.intake.send import (
    Patience,
    Piece,
    RememberedEnds,
    Sent,
    identity,
    line_end,
    pieces,
    send,
)

URL = "http://127.0.0.1:7461"
UNPACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.decompress,
    "zstd": lambda data: zstandard.ZstdDecompressor().decompress(data),
    "identity": bytes,
}


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def patience(self, total: float = 300.0) -> Patience:
        return Patience(total=total, sleep=self.sleep, monotonic=self, random=lambda: 0.5)


class FakeDoor:
    """Takes batches as the real door does, repeats included; ``trouble`` comes first."""

    def __init__(self, largest: int = 1 << 30) -> None:
        self.taken: dict[str, bytes] = {}
        self.requests: list[httpx2.Request] = []
        self.trouble: list[httpx2.Response | Exception] = []
        self.lose_answers = 0
        self.largest = largest

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        if self.trouble:
            trouble = self.trouble.pop(0)
            if isinstance(trouble, Exception):
                raise trouble
            return trouble
        body = UNPACK[request.headers["content-encoding"]](request.content)
        if len(body) > self.largest:
            return problem(413, "the body is too large")
        if b"poison" in body:
            return problem(400, "line 1: no")
        batch_id = request.headers["tocsin-batch-id"]
        repeated = batch_id in self.taken
        if repeated:
            assert self.taken[batch_id] == body, "one batch id for two contents loses one of them"
        self.taken[batch_id] = body
        if self.lose_answers:
            self.lose_answers -= 1
            raise httpx2.ReadError("gone")
        return httpx2.Response(
            200,
            json={
                "accepted": body.count(b"\n"),
                "first_seq": 0,
                "repeated": repeated,
                "parse_errors": body.count(b"bad"),
                "something_new": True,
            },
        )

    @property
    def client(self) -> httpx2.Client:
        return httpx2.Client(transport=httpx2.MockTransport(self))

    @property
    def content(self) -> bytes:
        return b"".join(self.taken.values())


def problem(status: int, detail: str, **headers: str) -> httpx2.Response:
    return httpx2.Response(status, json={"title": "x", "detail": detail}, headers=headers)


LINES = b"".join(b"line %d\n" % n for n in range(1_000))


def deliver(door: FakeDoor, data: bytes = LINES, **options: Any) -> Sent:
    size = options.pop("size", 1_000)
    boundary = options.get("boundary", line_end)
    options.setdefault("patience", Clock().patience())
    return send(
        pieces([data], "file", size=size, boundary=boundary),
        client=door.client,
        url=URL,
        key="tocsin_a_b",
        **options,
    )


# Pieces.


@given(
    lines=st.lists(st.binary(max_size=30).map(lambda b: b.replace(b"\n", b"")), max_size=60),
    size=st.integers(1, 200),
    cuts=st.lists(st.integers(1, 50), min_size=1, max_size=20),
)
def test_pieces_are_the_input_whatever_chunks_it_came_in(
    lines: list[bytes], size: int, cuts: list[int]
) -> None:
    data = b"\n".join(lines)
    whole = list(pieces([data], "f", size=size))
    chunked = list(pieces(chunks(data, cuts), "f", size=size))
    assert whole == chunked
    assert b"".join(piece.data for piece in whole) == data
    assert all(data[piece.offset :].startswith(piece.data) for piece in whole)
    assert all(piece.data for piece in whole)


def chunks(data: bytes, cuts: list[int]) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        for cut in cuts:
            yield data[at : at + cut]
            at += cut


@given(lines=st.lists(st.integers(0, 30), max_size=100))
def test_no_line_is_cut_that_a_piece_can_hold(lines: list[int]) -> None:
    data = b"".join(b"x" * length + b"\n" for length in lines)
    for piece in pieces([data], "f", size=40):
        assert piece.data.endswith(b"\n")
        assert len(piece.data) <= 40


def test_a_line_longer_than_a_piece_goes_alone_and_a_gigantic_one_in_parts() -> None:
    data = b"a\n" + b"b" * 30 + b"\nc\n" + b"d" * 200 + b"\ne\n"
    sizes = [len(piece.data) for piece in pieces([data], "f", size=10)]
    assert max(sizes) == 80
    assert b"".join(piece.data for piece in pieces([data], "f", size=10)) == data


def test_an_endless_line_does_not_fill_the_memory() -> None:
    def endless() -> Iterator[bytes]:
        while True:
            yield bytes(1_000)

    stream = pieces(endless(), "f", size=1_000)
    assert [len(next(stream).data) for _ in range(3)] == [8_000] * 3


def test_a_growing_file_keeps_the_pieces_that_were_full() -> None:
    before = list(pieces([LINES[:5_500]], "f", size=1_000))
    after = list(pieces([LINES], "f", size=1_000))
    full = before[:-2]  # then come the last lines, and the one that is cut
    assert len(full) == 5
    assert after[: len(full)] == full


@given(
    lines=st.lists(st.integers(0, 30), max_size=80),
    stops=st.lists(st.integers(0, 2_000), max_size=6),
)
def test_of_a_growing_file_only_what_is_new_is_stored(
    tmp_path_factory: pytest.TempPathFactory, lines: list[int], stops: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("ends")
    data = b"".join(b"%d %s;\n" % (n, b"x" * length) for n, length in enumerate(lines))
    door = FakeDoor()
    for stop in [*sorted(stops), len(data)]:
        stop += data[stop - 1 : stop] == b";"  # else a line would be whole but for its end
        ends = RememberedEnds(folder, URL, "f")
        send(
            pieces([data[:stop]], "f", size=200, ends=ends),
            client=door.client, url=URL, key="k", patience=Clock().patience(),
        )  # fmt: skip
    stored = [line for body in door.taken.values() for line in body.split(b"\n")]
    # A line that was cut when it was sent comes again, whole; nothing else comes twice.
    assert sorted(x for x in stored if x.endswith(b";")) == sorted(data.splitlines())


def test_ends_of_other_content_at_the_place_are_passed_over(tmp_path: Path) -> None:
    ends = RememberedEnds(tmp_path, URL, "f")
    list(pieces([b"some longer line\n" * 3], "f", ends=ends))
    new = b"short\n" * 100  # rewritten in place: no line of it ends where one did
    assert list(pieces([new], "f", ends=ends)) == [Piece("f", 0, new)]


def test_where_it_ended_is_written_down_before_the_end_is_sent(tmp_path: Path) -> None:
    ends = RememberedEnds(tmp_path, URL, "f")
    assert next(pieces([b"a\nb\n"], "f", ends=ends)).data == b"a\nb\n"
    # Killed here, after the door took it: the next run cuts there all the same.
    again = [p.data for p in pieces([b"a\nb\nc\n"], "f", ends=RememberedEnds(tmp_path, URL, "f"))]
    assert again == [b"a\nb\n", b"c\n"]


def test_a_place_that_cannot_be_remembered_is_said_and_nothing_else_fails(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ends = RememberedEnds(tmp_path / "file", URL, "f")
    assert [p.data for p in pieces([b"a\n"], "f", ends=ends)] == [b"a\n"]
    assert "file" in ends.failed


def test_what_could_be_read_of_a_broken_archive_is_cut_before_it_is_said() -> None:
    def broken() -> Iterator[bytes]:
        yield b"a\nb\n"
        raise Malformed("gzip data ends early")

    stream = pieces(broken(), "f")
    assert next(stream).data == b"a\nb\n"
    with pytest.raises(Malformed):
        next(stream)


def test_the_batch_id_tells_inputs_places_and_contents_apart() -> None:
    some = [
        Piece(source, offset, data)
        for source in ("f", "g")
        for offset in (0, 1)
        for data in (b"a", b"b")
    ]
    assert len({piece.batch_id for piece in some}) == 8
    assert Piece("f", 0, b"a").batch_id == hashlib.sha256(b"f\n0\na").hexdigest()[:40]


def test_a_renamed_file_is_the_same_and_a_copy_is_not(tmp_path: Path) -> None:
    def who(path: Path) -> str:
        with path.open("rb") as file:
            return identity(file.fileno())

    path = tmp_path / "access.log"
    path.write_bytes(b"line\n")
    before = who(path)
    path.rename(tmp_path / "access.log.1")
    path.write_bytes(b"line\n")
    assert who(tmp_path / "access.log.1") == before
    assert who(path) != before


# The wire.


@pytest.mark.parametrize("encoding", ["zstd", "gzip", "identity"])
def test_everything_arrives_once_and_in_order(encoding: str) -> None:
    door = FakeDoor()
    told: list[Sent] = []
    sent = deliver(door, encoding=encoding, progress=told.append)
    assert door.content == LINES
    assert sent == Sent(bytes=len(LINES), accepted=1_000)
    assert told[-1] == sent
    assert [t.bytes for t in told] == sorted({t.bytes for t in told})


def test_the_key_the_format_and_the_wish_to_keep_go_along() -> None:
    door = FakeDoor()
    deliver(door, parser="nginx")
    headers = door.requests[0].headers
    assert headers["authorization"] == "Bearer tocsin_a_b"
    assert headers["tocsin-parser"] == "nginx"
    assert headers["tocsin-on-error"] == "keep"
    assert str(door.requests[0].url) == URL + "/v1/events"
    deliver(door, keep=False)
    assert door.requests[-1].headers["tocsin-on-error"] == "refuse"
    assert "tocsin-parser" not in door.requests[-1].headers


def test_a_second_run_stores_nothing_twice() -> None:
    door = FakeDoor()
    deliver(door)
    again = deliver(door)
    assert again.accepted == again.repeated == 1_000
    assert door.content == LINES


def test_lines_that_no_parser_took_are_counted() -> None:
    assert deliver(FakeDoor(), b"good\nbad\nbad\n").parse_errors == 2


# Trouble.


def test_a_lost_answer_is_asked_for_again_and_nothing_is_doubled() -> None:
    door = FakeDoor()
    door.lose_answers = 3
    sent = deliver(door)
    assert door.content == LINES
    assert sent.retries == 3
    assert sent.accepted == 1_000
    assert sent.repeated > 0


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_what_may_pass_is_waited_for(status: int) -> None:
    door, clock = FakeDoor(), Clock()
    door.trouble = [problem(status, "later"), httpx2.ConnectError("refused")]
    assert deliver(door, patience=clock.patience()).retries == 2
    assert clock.slept == [0.1, 0.2]
    assert door.content == LINES


def test_the_doors_own_time_to_wait_is_honoured() -> None:
    door, clock = FakeDoor(), Clock()
    door.trouble = [problem(429, "later", **{"retry-after": "7"})]
    deliver(door, patience=clock.patience())
    assert clock.slept == [7.1]


@pytest.mark.parametrize("nonsense", ["-1", "soon", "1e9", "9" * 400, "NaN"])
def test_nonsense_in_retry_after_is_no_time(nonsense: str) -> None:
    door, clock = FakeDoor(), Clock()
    door.trouble = [problem(503, "later", **{"retry-after": nonsense})]
    deliver(door, patience=clock.patience())
    assert clock.slept == [0.1]


def test_patience_ends_and_says_where() -> None:
    door, clock = FakeDoor(), Clock()
    first = next(pieces([LINES], "file", size=1_000))
    door.trouble = [httpx2.Response(200, json={"accepted": 1})]
    door.trouble += [problem(503, "the vault sleeps") for _ in range(1_000)]
    with pytest.raises(DeliveryError, match="nothing is stored twice") as gave_up:
        deliver(door, patience=clock.patience(total=60))
    assert f"at byte {len(first.data)} within 60 s (503 the vault sleeps)" in str(gave_up.value)
    assert 45 < clock.now <= 60
    assert max(clock.slept) <= 10


def test_a_piece_that_is_too_large_goes_in_halves() -> None:
    door = FakeDoor(largest=100)
    sent = deliver(door, size=1_000)
    assert door.content == LINES
    assert sent == Sent(bytes=len(LINES), accepted=1_000)
    again = deliver(door, size=1_000)
    assert again.repeated == 1_000


def test_records_of_several_lines_are_never_cut_in_two() -> None:
    def records(data: bytes) -> int:
        return data.rfind(b";\n") + 2 if b";\n" in data else 0

    door = FakeDoor(largest=100)
    data = b"".join(b"begin\n %d\nend;\n" % n for n in range(100))
    deliver(door, data, size=500, boundary=records)
    assert door.content == data
    assert all(body.endswith(b";\n") for body in door.taken.values())


def test_a_line_that_is_too_large_alone_is_reported_and_the_rest_goes_on() -> None:
    door = FakeDoor(largest=100)
    data = b"a\n" + b"b" * 200 + b"\nc\n"
    sent = deliver(door, data)
    assert door.content == b"a\nc\n"
    (refused,) = sent.refused
    assert (refused.offset, refused.size, refused.why) == (2, 201, "the body is too large")
    assert (sent.bytes, sent.accepted) == (len(data), 2)


def test_a_refused_piece_is_reported_and_the_rest_goes_on() -> None:
    door = FakeDoor()
    sent = deliver(door, LINES[:1_000] + b"poison\n" + LINES[1_000:], size=100)
    (refused,) = sent.refused
    assert refused.why == "line 1: no"
    assert len(door.content) + refused.size == len(LINES) + len("poison\n")


@pytest.mark.parametrize(
    ("answer", "say"),
    [
        (problem(401, "no"), "token create"),
        (problem(403, "no"), "token create"),
        (httpx2.Response(307, headers={"location": "http://elsewhere/"}), "elsewhere"),
        (httpx2.Response(404, text="<html>"), "answered 404"),
        (problem(415, "send zstd"), "answered 415 send zstd"),
        (httpx2.Response(200, text="<html>hello"), "not answer like a tocsin"),
        (httpx2.Response(200, json=[]), "not answer like a tocsin"),
    ],
)
def test_what_will_not_pass_ends_it_at_once(answer: httpx2.Response, say: str) -> None:
    door = FakeDoor()
    door.trouble = [answer]
    with pytest.raises(DeliveryError, match=say) as ended:
        deliver(door)
    assert URL in str(ended.value)
    assert "tocsin_a_b" not in str(ended.value)
    assert len(door.requests) == 1


@pytest.mark.parametrize("url", ["", "localhost:7461", "ftp://127.0.0.1", "http://", "/v1/events"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="no address"):
        send([], client=FakeDoor().client, url=url, key="k")


def test_the_key_goes_nowhere_in_the_clear_unless_asked_to() -> None:
    for url in ("http://203.0.113.5", "http://localhost.example.org", "http://127.0.0.1.example"):
        with pytest.raises(UsageError, match="in the clear"):
            send([], client=FakeDoor().client, url=url, key="k")
        send([], client=FakeDoor().client, url=url, key="k", insecure=True)
    for url in ("https://203.0.113.5", "http://[::1]:80/", "http://localhost:7461/v1/events/"):
        send([], client=FakeDoor().client, url=url, key="k")


def test_an_unknown_encoding_is_refused() -> None:
    with pytest.raises(UsageError, match="zstd, gzip, identity"):
        deliver(FakeDoor(), encoding="br")
