"""``POST /v1/events``: each answer that a sender may meet, and what is stored behind it."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from typing import Any

import httpx2
import msgspec
import polars as pl
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.types import ASGIApp, Message

from tocsin.errors import Malformed, Pushback, StorageFailed, VaultClosed
from tocsin.event.batch import SCHEMA, Batch
from tocsin.intake.http import Receipt, Road, app, receiver
from tocsin.intake.limits import Limits
from tocsin.intake.origin import Origin
from tocsin.intake.tokens import Grant

NOW = 1_800_000_000_000_000_000
KEY = "tocsin_edge_hunter2hunter2"
OTHER = "tocsin_raw_hunter3hunter3"
NDJSON = {"content-type": "application/x-ndjson"}
ARRAY = {"content-type": "application/json"}
TEXT = {"content-type": "text/plain"}
GRANTS = {
    KEY: Grant(Origin(source="edge")),
    OTHER: Grant(Origin(source="raw"), parser="lines"),
}


class Taken(msgspec.Struct, frozen=True):
    """A receipt."""

    first_seq: int
    rows: int
    repeated: bool
    same: bool = True


class Vault:
    """A vault in memory that will not take what a real one must not be given."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.batches: dict[tuple[str, str], tuple[int, int, bytes | None]] = {}
        self.fault: Exception | None = None
        self.late: Exception | None = None
        self.forever = False
        self.threads: set[int] = set()
        self.lock = threading.Lock()

    def append(
        self, batch: Batch, *, source: str, batch_id: str | None, content: bytes | None
    ) -> Future[Receipt]:
        assert (content is None) == (batch_id is None)
        with self.lock:
            return self._append(batch, source, batch_id, content)

    def _append(
        self, batch: Batch, source: str, batch_id: str | None, content: bytes | None
    ) -> Future[Receipt]:
        self.threads.add(threading.get_ident())
        if self.fault:
            raise self.fault
        frame = batch.frame
        assert frame.height, "an empty batch is not worth a sync"
        assert [c for c in SCHEMA if c in frame.columns] == frame.columns
        assert not any(frame[c].null_count() for c in ("time", "observed", "kind"))
        done: Future[Receipt] = Future()
        if self.forever:
            return done
        if self.late:
            done.set_exception(self.late)
            return done
        known = self.batches.get((source, batch_id)) if batch_id else None
        first, rows, kept = known or (len(self.rows), frame.height, content)
        if not known:
            self.rows += frame.to_dicts()
            if batch_id:
                self.batches[source, batch_id] = (first, rows, content)
        done.set_result(Taken(first, rows, known is not None, content == kept))
        return done


def parse(data: bytes, parser: str, origin: Origin, observed: int, _guessed: bool) -> pl.DataFrame:
    """A decoder of one text, ``message``, and one number, ``status``; lines in = rows out."""
    rows = [_row(line, parser) for line in data.split(b"\n") if line.strip()]
    names = ["message", "status", "raw", "parse_error"]
    frame = pl.DataFrame(rows, schema={n: SCHEMA[n] for n in names}, orient="row")
    return frame.select(
        *(pl.lit(observed, pl.Int64).cast(SCHEMA[n]).alias(n) for n in ("time", "observed")),
        pl.lit("log").alias("kind"),
        pl.lit(origin.source).alias("source"),
        pl.lit(origin.peer_ip, pl.String).alias("host"),
        *names,
        pl.lit(parser).alias("parser"),
    ).select(n for n in SCHEMA if n in {*names, "time", "observed", "kind", "source", "parser"})


def _row(line: bytes, parser: str) -> tuple[str | None, int | None, str | None, str | None]:
    text = line.decode("utf-8", "backslashreplace")
    if parser == "lines":
        return text, None, text, "shouting: " + text if text.isupper() else None
    try:
        value = json.loads(line, parse_constant=lambda c: 1 / 0)
    except (ValueError, ZeroDivisionError, RecursionError) as error:
        return text, None, text, f"JSON: {error}: {text}"
    if not isinstance(value, dict):
        return text, None, text, f"JSON: not an object: {text}"
    if not isinstance(value.get("status", 0), int):
        return text, None, text, f"status: not a number: {value['status']}"
    return value.get("message"), value.get("status"), None, None


def sniff(head: bytes) -> str:
    if b"\0" in head:
        raise Malformed("looks binary")
    return "tocsin" if head.lstrip()[:1] == b"{" else "lines"


Headers = dict[str, str] | list[tuple[str, str]] | list[tuple[bytes, bytes]]


def _bytes(text: str | bytes) -> bytes:
    return text.encode("latin-1") if isinstance(text, str) else text


class Door:
    """The application under test, and its vault."""

    def __init__(self, **limits: Any) -> None:
        self.vault = Vault()
        self.unready: str | None = None
        self.parse: Callable[..., pl.DataFrame] = parse
        self.admit: Callable[[pl.DataFrame, Origin], Batch] = lambda frame, origin: Batch(frame)
        self.routes = receiver(
            authenticate=GRANTS.get,
            decode=Road(
                lambda *args: self.parse(*args),
                lambda *args: self.admit(*args),
                sniff,
                {"tocsin", "lines"},
            ),
            accept=self.vault.append,
            limits=Limits(workers=2, **limits),
            clock=lambda: NOW,
            unready=lambda: self.unready,
        )
        self.app: ASGIApp = app(self.routes)

    async def ask(
        self,
        content: bytes | AsyncIterator[bytes] = b"",
        headers: Headers = NDJSON,
        *,
        url: str = "/v1/events",
        method: str = "POST",
        key: str | None = KEY,
    ) -> httpx2.Response:
        transport = httpx2.ASGITransport(self.app, client=("192.0.2.7", 4711))
        async with httpx2.AsyncClient(transport=transport, base_url="http://door") as client:
            pairs = [
                (_bytes(name), _bytes(value))
                for name, value in (headers.items() if isinstance(headers, dict) else headers)
            ]
            if key is not None:
                pairs.insert(0, (b"authorization", b"Bearer " + key.encode()))
            return await client.request(method, url, content=content, headers=pairs)

    def post(self, *args: Any, **kwargs: Any) -> httpx2.Response:
        return asyncio.run(self.ask(*args, **kwargs))


@pytest.fixture
def door() -> Door:
    return Door()


def refused(answer: httpx2.Response, status: int) -> dict[str, Any]:
    """The problem that *answer* tells."""
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    content: dict[str, Any] = answer.json()
    assert content["status"] == status
    assert content["title"]
    assert content["detail"]
    return content


# What is taken.


def test_each_line_is_an_event_and_the_answer_counts_them(door: Door) -> None:
    answer = door.post(b'{"message": "a"}\n{"message": "b"}\n')
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {
        "accepted": 2,
        "first_seq": 0,
        "repeated": False,
        "parse_errors": 0,
    }
    assert [row["message"] for row in door.vault.rows] == ["a", "b"]
    assert [row["source"] for row in door.vault.rows] == ["edge", "edge"]


@pytest.mark.parametrize(
    ("body", "messages"),
    [
        (b"[]", []),
        (b'[{"message": "a"}]', ["a"]),
        (b' \n[ {"message":\r\n "a"} ,\n {"message": "b\\n"}\n]\n', ["a", "b\n"]),
        (b'{"message": "one object"}', ["one object"]),
        (b'\xef\xbb\xbf[{"message": "after a mark"}]', ["after a mark"]),
        (b'[{"message": "\xc3\xa9, ]"}, {"message": "["}]', ["é, ]", "["]),
    ],
)
def test_an_array_is_as_good_as_lines(door: Door, body: bytes, messages: list[str]) -> None:
    answer = door.post(body, ARRAY)
    assert answer.json()["accepted"] == len(messages)
    assert [row["message"] for row in door.vault.rows] == messages


def test_a_repeated_key_means_the_same_in_an_array_and_in_a_line(door: Door) -> None:
    element = b'{"message": "first", "message": "last"}'
    door.post(element, NDJSON)
    door.post(b"[" + element + b"]", ARRAY)
    one, other = door.vault.rows
    assert one["message"] == other["message"]


@pytest.mark.parametrize("media", ["application/x-ndjson", "application/jsonl", "text/plain"])
@pytest.mark.parametrize("suffix", ["", "; charset=utf-8", ';charset="UTF-8"'])
def test_media_types_of_lines(door: Door, media: str, suffix: str) -> None:
    answer = door.post(b'{"message": "a"}', {"content-type": media + suffix})
    assert answer.json()["accepted"] == 1


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        ("gzip", gzip.compress),
        ("GZIP", gzip.compress),
        ("x-gzip", gzip.compress),
        ("zstd", zstandard.compress),
        ("identity", bytes),
    ],
)
def test_bodies_come_packed(door: Door, encoding: str, pack: Callable[[bytes], bytes]) -> None:
    answer = door.post(pack(b'{"message": "a"}'), {**NDJSON, "content-encoding": encoding})
    assert answer.json()["accepted"] == 1


def test_nothing_sent_is_nothing_stored(door: Door) -> None:
    for body in (b"", b"\n\n \n"):
        answer = door.post(body)
        assert answer.json() == {
            "accepted": 0,
            "first_seq": None,
            "repeated": False,
            "parse_errors": 0,
        }
    assert not door.vault.rows


def test_ten_thousand_lines_arrive_in_order(door: Door) -> None:
    body = b"".join(b'{"message": "%d"}\n' % n for n in range(10_000))
    assert door.post(body).json()["accepted"] == 10_000
    assert [row["message"] for row in door.vault.rows] == [str(n) for n in range(10_000)]


def test_a_batch_id_makes_sending_again_harmless(door: Door) -> None:
    for name in ("tocsin-batch-id", "idempotency-key"):
        headers = {**NDJSON, name: "batch-" + name}
        first = door.post(b'{"message": "a"}', headers).json()
        again = door.post(b'{"message": "a"}', headers).json()
        assert not first["repeated"]
        assert again == {**first, "repeated": True}
    assert len(door.vault.rows) == 2


def test_a_batch_id_that_is_a_secret_is_kept_only_as_its_hash(door: Door) -> None:
    secret = "tocsin_abc_ThisIsNoBatchIdButAKey0123456789"
    door.post(b"{}", {**NDJSON, "tocsin-batch-id": secret})
    (kept,) = (batch_id for _, batch_id in door.vault.batches)
    assert secret not in kept
    assert len(kept) == 40


def test_a_batch_id_is_the_senders_own(door: Door) -> None:
    headers = {**NDJSON, "tocsin-batch-id": "1"}
    assert not door.post(b'{"message": "a"}', headers).json()["repeated"]
    assert not door.post(b"b", {**TEXT, "tocsin-batch-id": "1"}, key=OTHER).json()["repeated"]


def test_a_batch_id_that_was_used_for_another_batch_is_refused(door: Door) -> None:
    headers = {**NDJSON, "tocsin-batch-id": "7"}
    assert door.post(b'{"message": "a"}\n', headers).status_code == 200
    for other in (b'{"message": "a"}\n{"message": "b"}\n', b'{"message": "b"}\n'):
        refused = door.post(other, headers)
        assert refused.status_code == 409
        assert "another batch, of 1 events" in refused.json()["detail"]
    assert len(door.vault.rows) == 1


def test_a_batch_is_the_same_however_it_is_packed(door: Door) -> None:
    headers = {**NDJSON, "tocsin-batch-id": "7"}
    body = b'{"message": "a"}\n'
    assert door.post(body, headers).json()["accepted"] == 1
    for name, packed in (("gzip", gzip.compress(body)), ("zstd", zstandard.compress(body))):
        again = door.post(packed, headers | {"content-encoding": name})
        assert again.json()["repeated"]


def test_bodies_under_one_batch_id_are_told_apart_also_at_once(door: Door) -> None:
    bodies = [b'{"message": "%d"}\n' % n for n in range(6)]

    async def call() -> list[int]:
        headers = {**NDJSON, "tocsin-batch-id": "7"}
        answers = await asyncio.gather(*(door.ask(body, headers) for body in bodies))
        return sorted(answer.status_code for answer in answers)

    assert asyncio.run(call()) == [200, *[409] * 5]
    assert len(door.vault.rows) == 1


def test_the_key_may_come_in_a_header_of_its_own(door: Door) -> None:
    answer = door.post(b"{}", {**NDJSON, "x-tocsin-key": KEY}, key=None)
    assert answer.status_code == 200
    answer = door.post(b"{}", {**NDJSON, "authorization": "bearer " + KEY}, key=None)
    assert answer.status_code == 200


def test_the_peer_and_the_time_of_receipt_are_ours(door: Door) -> None:
    seen: list[tuple[str | None, int]] = []

    def spy(data: bytes, parser: str, origin: Origin, observed: int, guessed: bool) -> pl.DataFrame:
        seen.append((origin.peer_ip, observed))
        return parse(data, parser, origin, observed, guessed)

    door.parse = spy
    door.post(b"{}", {**NDJSON, "x-forwarded-for": "203.0.113.9"})
    assert seen == [("192.0.2.7", NOW)]


def test_decoding_and_storing_leave_the_event_loop_alone(door: Door) -> None:
    door.post(b"{}")
    assert threading.get_ident() not in door.vault.threads
    assert door.vault.threads


# Formats.


@pytest.mark.parametrize(
    ("url", "headers", "key", "parser"),
    [
        ("/v1/events", NDJSON, KEY, "tocsin"),
        ("/v1/events", ARRAY, KEY, "tocsin"),
        ("/v1/events", TEXT, KEY, "tocsin"),  # found from the first lines
        ("/v1/events", TEXT, OTHER, "lines"),  # the source's own
        ("/v1/events", NDJSON, OTHER, "lines"),
        ("/v1/events?parser=tocsin", TEXT, OTHER, "tocsin"),
        ("/v1/events?parser=auto", TEXT, OTHER, "tocsin"),
        ("/v1/events?parser=lines", NDJSON, KEY, "lines"),
        ("/v1/events", {**NDJSON, "tocsin-parser": "lines"}, KEY, "lines"),
        # A guess counts where neither the request nor the key says more.
        ("/v1/events", {**TEXT, "tocsin-parser-guess": "lines"}, KEY, "lines"),
        ("/v1/events", {**TEXT, "tocsin-parser-guess": "tocsin"}, OTHER, "lines"),
    ],
)
def test_the_format_is_named_or_the_sources_or_found(
    door: Door, url: str, headers: dict[str, str], key: str, parser: str
) -> None:
    assert door.post(b'{"message": "a"}', headers, url=url, key=key).status_code == 200
    assert door.vault.rows[0]["parser"] == parser


def test_an_unknown_format_is_refused_with_the_known_ones(door: Door) -> None:
    content = refused(door.post(b"{}", url="/v1/events?parser=ngnix"), 400)
    assert content["field"] == "parser"
    assert "auto, lines, tocsin" in content["detail"]


def test_lines_that_look_like_nothing_are_refused(door: Door) -> None:
    assert refused(door.post(b"\0\0\0", TEXT), 400)["detail"] == "looks binary"


# Wrong lines.


BAD = [
    (b'{"message": "a"}\n{"message": \n{"message": "c"}\n', 2, None),
    (b'\n\n{"message": "a"}\n\n17\n', 5, None),
    (b'{"message": "a"}\n{"status": "200"}', 2, "status"),
    (b'{"message": NaN}', 1, None),
    (b'{"message": Infinity}', 1, None),
    (b'{"message": "\xff"}', 1, None),
    (b'{"a":' * 100_000, 1, None),
    (b'{"message": "a"}\n' + b"[" * 100_000, 2, None),
    (b"PUT your hands up", 1, None),
]


@pytest.mark.parametrize(("body", "line", "field"), BAD)
def test_a_wrong_line_is_named_and_nothing_of_its_batch_is_stored(
    door: Door, body: bytes, line: int, field: str | None
) -> None:
    content = refused(door.post(body), 400)
    assert content["line"] == line
    assert content.get("field") == field
    assert f"line {line}: " in content["detail"]
    assert not door.vault.rows


def test_what_is_wrong_is_said_in_words(door: Door) -> None:
    def detail(body: bytes) -> str:
        text: str = refused(door.post(body), 400)["detail"]
        return text.partition(": ")[2].partition("; ")[0]

    assert detail(b'{"status": "200"}') == '"status" is not a number'
    assert detail(b"17") == "not a JSON object"
    assert detail(b'{"message": }') == "not JSON, invalid character at byte 12 of the line"


@pytest.mark.parametrize(("body", "line", "field"), BAD)
def test_a_wrong_line_is_kept_on_request_and_harms_no_other(
    door: Door, body: bytes, line: int, field: str | None
) -> None:
    answer = door.post(body, url="/v1/events?on_error=keep")
    lines = [at for at in body.split(b"\n") if at.strip()]
    assert answer.json()["accepted"] == len(lines) == len(door.vault.rows)
    assert answer.json()["parse_errors"] == 1
    (kept,) = (row for row in door.vault.rows if row["parse_error"])
    assert kept["raw"]


def test_lines_of_other_formats_are_kept_unless_refusal_is_asked_for(door: Door) -> None:
    body = b"calm\nLOUD\ncalm\n"
    assert door.post(body, TEXT).json()["parse_errors"] == 1
    content = refused(door.post(body, {**TEXT, "tocsin-on-error": "refuse"}), 400)
    assert content["line"] == 2
    assert "not in the format lines" in content["detail"]
    assert len(door.vault.rows) == 3


@pytest.mark.parametrize(
    ("body", "line"),
    [
        (b"", 1),
        (b"17", 1),
        (b"null", 1),
        (b'"a"', 1),
        (b"[1, 2", 1),
        (b'[{"message": "a"},]', 1),
        (b'[{"message": "a"}]\n[{"message": "b"}]', 2),
        (b'{"message": "a"}\n{"message": "b"}', 2),
        (b'[\n{"message": "a"},\n{"message": NaN}\n]', 3),
        (b'[{"message": "a\nb"}]', 1),
        (b"[" * 100_000, 1),
        (b'[{"a":' * 50_000, 1),
        (b"\xff\xfe[\0]\0", 1),
    ],
)
@pytest.mark.parametrize("query", ["", "?on_error=keep"])
def test_a_body_that_is_no_array_is_refused_whole(
    door: Door, body: bytes, line: int, query: str
) -> None:
    content = refused(door.post(body, ARRAY, url="/v1/events" + query), 400)
    assert content["line"] == line
    assert "not one JSON array" in content["detail"]
    assert not door.vault.rows


def test_a_wrong_element_is_named_by_the_line_it_begins_on(door: Door) -> None:
    body = b'[{"status": 1},\n {"status": 1}, {"status":\n"2"}, {"status": "3"}]'
    content = refused(door.post(body, ARRAY), 400)
    assert (content["line"], content["field"]) == (2, "status")
    content = refused(door.post(b'[{"message": "a"},\n\n17]', ARRAY), 400)
    assert content["line"] == 3
    assert "not a JSON object" in content["detail"]


def test_a_wrong_value_of_on_error_is_refused(door: Door) -> None:
    assert refused(door.post(b"{}", url="/v1/events?on_error=drop"), 400)["field"] == "on_error"


@pytest.mark.parametrize("batch_id", [b"a b", b"x" * 201, b"", b"\xe9"])
def test_a_wrong_batch_id_is_refused(door: Door, batch_id: bytes) -> None:
    pairs = [(b"content-type", b"application/x-ndjson"), (b"tocsin-batch-id", batch_id)]
    assert refused(door.post(b"{}", pairs), 400)["field"] == "tocsin-batch-id"


# Keys.


@pytest.mark.parametrize(
    "pairs",
    [
        [],
        [("authorization", "Bearer ")],
        [("authorization", "Bearer")],
        [("authorization", f"Basic {KEY}")],
        [("authorization", KEY)],
        [("authorization", f"Bearer {KEY}"), ("authorization", f"Bearer {OTHER}")],
        [("authorization", f"Bearer {KEY}"), ("x-tocsin-key", KEY)],
        [("authorization", "Basic x"), ("x-tocsin-key", KEY)],
        [("x-tocsin-key", "")],
    ],
)
def test_without_exactly_one_key_the_answer_is_always_the_same(
    door: Door, pairs: list[tuple[str, str]]
) -> None:
    answer = door.post(b"{}", [*NDJSON.items(), *pairs], key=None)
    assert refused(answer, 401) == refused(door.post(b"{}", key=None), 401)
    assert 'as "Authorization: Bearer KEY"' in refused(answer, 401)["detail"]
    assert answer.headers["www-authenticate"] == 'Bearer realm="tocsin"'
    assert not door.vault.rows


def test_a_key_that_is_none_here_is_called_so_and_not_asked_for(door: Door) -> None:
    strange = [("x-tocsin-key", b"\xff\xff\xff".decode("latin-1"))]
    answer = door.post(b"{}", [*NDJSON.items(), *strange], key=None)
    assert refused(answer, 401) == refused(door.post(b"{}", key="nobody"), 401)
    assert refused(answer, 401)["detail"].startswith("this key is unknown or revoked")
    assert answer.headers["www-authenticate"] == 'Bearer realm="tocsin"'


def test_a_key_speaks_for_its_own_source_only(door: Door) -> None:
    refused(door.post(b"{}", url="/v1/events?source=raw"), 403)
    refused(door.post(b"{}", {**NDJSON, "tocsin-source": "raw"}), 403)
    assert door.post(b"{}", url="/v1/events?source=edge").status_code == 200


def test_the_body_of_a_stranger_is_not_read(door: Door) -> None:
    async def call() -> int:
        statuses: list[int] = []

        async def receive() -> Message:
            raise AssertionError("the body was read")

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        await door.app(scope(), receive, send)
        return statuses[0]

    assert asyncio.run(call()) == 401


def scope(*headers: tuple[bytes, bytes]) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "path": "/v1/events",
        "raw_path": b"/v1/events",
        "query_string": b"",
        "headers": list(headers),
        "client": ("192.0.2.7", 4711),
        "server": ("door", 80),
        "scheme": "http",
        "root_path": "",
    }


# Methods, paths, types.


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW"])
def test_other_methods_are_told_the_right_one(door: Door, method: str) -> None:
    answer = door.post(b"{}", method=method)
    refused(answer, 405)
    assert answer.headers["allow"] == "POST"


def test_other_paths_are_told_the_right_one(door: Door) -> None:
    for path in ("/", "/v1", "/v1/events/1", "/v2/events", "/%2e%2e/etc/passwd"):
        assert "/v1/events" in refused(door.post(b"{}", url=path), 404)["detail"]


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": ""},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "application/xml"},
        {"content-type": "text/plain; charset=iso-8859-1"},
        {**NDJSON, "content-encoding": "br"},
        {**NDJSON, "content-encoding": "gzip, gzip"},
        {**NDJSON, "content-encoding": "gzip, identity"},
    ],
)
def test_other_types_and_encodings_are_refused(door: Door, headers: dict[str, str]) -> None:
    refused(door.post(b"{}", headers), 415)


def test_encodings_in_two_headers_are_nested_too(door: Door) -> None:
    twice = gzip.compress(gzip.compress(b"{}"))
    pairs = [*NDJSON.items(), ("content-encoding", "gzip"), ("content-encoding", "gzip")]
    answer = door.post(twice, pairs)
    refused(answer, 415)
    assert answer.headers["accept-encoding"] == "gzip, zstd, identity"


# Size, time and number.


def test_a_body_over_the_limit_is_refused_before_and_after_inflation() -> None:
    door = Door(body_bytes=1_000, inflated_bytes=2_000)
    line = b'{"message": "a"}\n'
    assert door.post(line * 58).status_code == 200  # 986 bytes
    refused(door.post(line * 59), 413)
    packed = {**NDJSON, "content-encoding": "gzip"}
    assert door.post(gzip.compress(line * 117), packed).status_code == 200  # 1,989 bytes
    refused(door.post(gzip.compress(line * 118), packed), 413)


@pytest.mark.parametrize("media", [NDJSON, TEXT, ARRAY])
def test_a_body_of_too_many_tiny_lines_is_refused(media: dict[str, str]) -> None:
    """A few kilobytes, packed, can be millions of rows, each of which costs more than its bytes."""
    door = Door(lines=1_000)
    packed = {**media, "content-encoding": "zstd"}

    def post(count: int) -> httpx2.Response:
        body = b"[" + b",".join([b"{}"] * count) + b"]" if media is ARRAY else b"{}\n" * count
        return door.post(zstandard.compress(body), packed)

    assert post(1_000).json()["accepted"] == 1_000
    refused(post(1_002), 413)
    began = time.process_time()
    refused(post(20_000_000), 413)
    assert time.process_time() - began < 15  # it took minutes, line by line
    assert len(door.vault.rows) == 1_000


def test_a_body_without_a_length_is_stopped_at_the_limit() -> None:
    door = Door(body_bytes=1_000)
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += 1
            assert read < 100
            yield b"x" * 500

    messages: list[Message] = []

    async def call() -> None:
        parts = endless()

        async def receive() -> Message:
            return {"type": "http.request", "body": await anext(parts), "more_body": True}

        async def send(message: Message) -> None:
            messages.append(message)

        await door.app(
            scope((b"authorization", b"Bearer " + KEY.encode()), (b"content-type", b"text/plain")),
            receive,
            send,
        )

    asyncio.run(call())
    assert messages[0]["status"] == 413
    assert read == 3


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
@pytest.mark.parametrize("body", [b"", b"not packed at all", b"\x1f\x8b", b"\x28\xb5\x2f\xfd"])
def test_a_body_that_is_not_packed_as_it_says_is_refused(
    door: Door, encoding: str, body: bytes
) -> None:
    refused(door.post(body, {**NDJSON, "content-encoding": encoding}), 400)


def test_a_truncated_body_stores_nothing(door: Door) -> None:
    packed = gzip.compress(b'{"message": "a"}\n' * 1_000)
    refused(door.post(packed[:-9], {**NDJSON, "content-encoding": "gzip"}), 400)
    assert not door.vault.rows


def call_slowly(door: Door, pause: float) -> httpx2.Response:
    async def slow() -> AsyncIterator[bytes]:
        while True:
            yield b"{"
            await asyncio.sleep(pause)

    return door.post(slow())


def test_a_body_that_does_not_end_in_time_is_given_up() -> None:
    door = Door(body_seconds=0.1)
    began = time.monotonic()
    answer = call_slowly(door, 0.02)
    refused(answer, 408)
    assert answer.headers["connection"] == "close"
    assert time.monotonic() - began < 2


def test_a_sender_that_hangs_up_in_mid_body_leaves_nothing(door: Door) -> None:
    messages: list[Message] = []

    async def call() -> None:
        parts: list[Message] = [
            {"type": "http.request", "body": b'{"message": "a"}\n', "more_body": True},
            {"type": "http.disconnect"},
        ]

        async def receive() -> Message:
            return parts.pop(0)

        async def send(message: Message) -> None:
            messages.append(message)

        await door.app(
            scope((b"authorization", b"Bearer " + KEY.encode()), (b"content-type", b"text/plain")),
            receive,
            send,
        )

    asyncio.run(call())
    assert not messages
    assert not door.vault.rows
    assert door.post(b"{}").status_code == 200


async def until(true: Callable[[], bool]) -> None:
    """Wait for what other threads bring about."""
    while not true():  # noqa: ASYNC110  an asyncio.Event cannot be set from there
        await asyncio.sleep(0.01)


def hold(door: Door) -> threading.Event:
    """Make every worker wait for the event."""
    go_on = threading.Event()

    def waiting(*args: Any) -> pl.DataFrame:
        assert go_on.wait(10)
        return parse(*args)

    door.parse = waiting
    return go_on


def test_beyond_the_queue_senders_are_asked_to_come_back() -> None:
    door = Door(queued=3)
    go_on = hold(door)

    async def crowd() -> list[httpx2.Response]:
        asking = [asyncio.create_task(door.ask(b"{}")) for _ in range(20)]
        await until(lambda: sum(task.done() for task in asking) == 15)
        go_on.set()
        return [await task for task in asking]

    answers = asyncio.run(crowd())
    assert sorted(a.status_code for a in answers) == [200] * 5 + [429] * 15
    assert all(int(a.headers["retry-after"]) >= 1 for a in answers if a.status_code == 429)
    assert len(door.vault.rows) == 5
    assert door.post(b"{}").status_code == 200


def test_the_bytes_in_work_are_bounded_and_given_back() -> None:
    door = Door(waiting_bytes=10_000)
    body = b'{"message": "%s"}' % (b"x" * 4_000)
    go_on = hold(door)

    async def crowd() -> list[httpx2.Response]:
        asking = [asyncio.create_task(door.ask(body)) for _ in range(10)]
        await until(lambda: sum(task.done() for task in asking) == 8)
        go_on.set()
        return [await task for task in asking]

    answers = asyncio.run(crowd())
    assert sorted(a.status_code for a in answers) == [200] * 2 + [429] * 8
    assert asyncio.run(door.ask(b'{"message": "%s"}' % (b"x" * 9_000))).status_code == 200


def test_a_body_larger_than_all_that_may_wait_still_gets_in_alone() -> None:
    door = Door(waiting_bytes=10)
    assert door.post(b'{"message": "a long one"}').status_code == 200


# The vault's bad days.


def test_pushback_is_429_with_the_vaults_own_time(door: Door) -> None:
    door.vault.fault = Pushback("full", retry_after=6.2)
    answer = door.post(b"{}")
    refused(answer, 429)
    assert answer.headers["retry-after"] == "7"


@pytest.mark.parametrize("error", [StorageFailed("disk /secret/path"), VaultClosed("stopped")])
@pytest.mark.parametrize("late", [False, True])
def test_a_vault_that_cannot_store_is_503(door: Door, error: Exception, late: bool) -> None:
    if late:
        door.vault.late = error
    else:
        door.vault.fault = error
    answer = door.post(b"{}")
    assert "secret" not in refused(answer, 503)["detail"]
    assert int(answer.headers["retry-after"]) >= 1


def test_a_vault_that_never_answers_is_503_and_may_still_store() -> None:
    door = Door(store_seconds=0.05)
    door.vault.forever = True
    answer = door.post(b"{}")
    assert "batch id" in refused(answer, 503)["detail"]


def test_nobody_who_waits_can_cancel_the_vaults_promise() -> None:
    door = Door(store_seconds=30)
    promises: list[Future[Receipt]] = []
    append = door.vault.append
    door.vault.forever = True

    async def call() -> None:
        asking = asyncio.create_task(door.ask(b"{}"))
        await until(lambda: bool(promises))
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking

    def remember(
        batch: Batch, *, source: str, batch_id: str | None, content: bytes | None
    ) -> Future[Receipt]:
        promises.append(append(batch, source=source, batch_id=batch_id, content=content))
        return promises[0]

    routes = receiver(
        authenticate=GRANTS.get,
        decode=Road(parse, lambda frame, _: Batch(frame), sniff, {"tocsin"}),
        accept=remember,
    )
    door.app = app(routes)
    asyncio.run(call())
    assert not promises[0].cancelled()
    promises[0].set_result(Taken(0, 1, False))


def test_our_own_fault_is_500_and_neither_answer_nor_log_quotes_the_body(
    door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(data: bytes, *_: Any) -> pl.DataFrame:
        raise KeyError(data.decode())

    door.parse = broken
    with caplog.at_level(logging.DEBUG):
        answer = door.post(b'{"password": "hunter4"}')
    assert int(answer.headers["retry-after"]) >= 1
    assert "hunter" not in refused(answer, 500)["detail"]
    assert "KeyError" in caplog.text
    assert "hunter" not in caplog.text


def test_a_panic_of_the_column_engine_is_our_own_fault_too(door: Door) -> None:
    def panic(*_: Any) -> pl.DataFrame:
        raise pl.exceptions.PanicException("index out of bounds")

    door.parse = panic
    refused(door.post(b"{}"), 500)
    door.parse = parse
    assert door.post(b"{}").status_code == 200


def test_no_refusal_quotes_body_key_or_header(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    canary = "c4n4ry"
    with caplog.at_level(logging.DEBUG, logger="tocsin"):
        answers = [
            door.post(b'{"status": "c4n4ry"}'),
            door.post(b"c4n4ry"),
            door.post(b'[{"c4n4ry": c4n4ry}]', ARRAY),
            door.post(b'{"c4n4ry": "c4n4ry}'),
            door.post(b"C4N4RY", url="/v1/events?parser=lines&on_error=refuse"),
            door.post(b"{}", url=f"/v1/events?parser={canary}"),
            door.post(b"{}", url=f"/v1/events?source={canary}"),
            door.post(b"{}", url=f"/v1/events?on_error={canary}"),
            door.post(b"{}", url=f"/{canary}"),
            door.post(b"{}", {"content-type": canary}),
            door.post(b"{}", {**NDJSON, "content-encoding": canary}),
            door.post(b"{}", {**NDJSON, "tocsin-batch-id": canary + " " + canary}),
            door.post(b"{}", key=canary),
        ]
    assert all(400 <= answer.status_code < 500 for answer in answers)
    for answer in answers:
        assert canary not in answer.text.lower() + str(answer.headers).lower()
    assert canary not in caplog.text.lower()
    assert "hunter" not in caplog.text


@settings(max_examples=150, deadline=None)
@given(
    body=st.one_of(
        st.binary(max_size=200),
        st.text(alphabet='{}[]",:\\ \n\r\tate0N-.\u00e9\u2028', max_size=60).map(str.encode),
    ),
    headers=st.sampled_from([NDJSON, ARRAY, TEXT]),
    encoding=st.sampled_from(["identity", "gzip", "zstd"]),
    query=st.sampled_from(["", "?on_error=keep", "?parser=lines", "?parser=auto&on_error=refuse"]),
)
def test_no_body_is_an_error_of_ours(
    body: bytes, headers: dict[str, str], encoding: str, query: str
) -> None:
    answer = SHARED.post(body, {**headers, "content-encoding": encoding}, url="/v1/events" + query)
    assert answer.status_code in (200, 400)


SHARED = Door()


# Health.


def test_health_is_told_to_anyone(door: Door) -> None:
    answer = door.post(method="GET", url="/healthz", key=None)
    assert answer.status_code == 200
    assert answer.json() == {"status": "ok"}
    door.unready = "the vault is being read"
    answer = door.post(method="GET", url="/healthz", key=None)
    assert refused(answer, 503)["detail"] == "the vault is being read"
    refused(door.post(method="POST", url="/healthz"), 405)
