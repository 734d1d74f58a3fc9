"""The door with the real parsers behind it: what senders are told about real lines."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from typing import Any

import httpx2
import msgspec
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tocsin.event.batch import Batch
from tocsin.intake import PARSERS, parse, sniff
from tocsin.intake.http import Receipt, Road, app, receiver
from tocsin.intake.origin import Origin
from tocsin.intake.tokens import Grant

NOW = 1_800_000_000_000_000_000
NGINX = (
    b'203.0.113.7 - alice [23/Nov/2026:10:00:00 +0000] "GET /orders/7?x=1 HTTP/1.1" 200 512 '
    b'"-" "curl/8"\n'
)


class Taken(msgspec.Struct, frozen=True):
    """A receipt."""

    first_seq: int
    rows: int
    repeated: bool = False
    same: bool = True


class Door:
    """The door, and the frames that came through."""

    def __init__(self) -> None:
        self.frames: list[pl.DataFrame] = []
        self.app = app(
            receiver(
                authenticate=lambda _key: Grant(Origin(source="edge")),
                decode=Road(parse, lambda frame, _origin: Batch(frame), sniff, PARSERS),
                accept=self.append,
                clock=lambda: NOW,
            )
        )

    def append(
        self, batch: Batch, *, source: str, batch_id: str | None, content: bytes | None
    ) -> Future[Receipt]:
        self.frames.append(batch.frame)
        done: Future[Receipt] = Future()
        done.set_result(Taken(0, batch.frame.height))
        return done

    def post(self, body: bytes, media: str = "application/x-ndjson", query: str = "") -> Any:
        async def ask() -> httpx2.Response:
            transport = httpx2.ASGITransport(self.app)
            async with httpx2.AsyncClient(transport=transport, base_url="http://door") as client:
                return await client.post(
                    "/v1/events" + query,
                    content=body,
                    headers={"content-type": media, "x-tocsin-key": "k"},
                )

        return asyncio.run(ask())


@pytest.mark.parametrize(
    ("line", "field", "say"),
    [
        (b'{"status": "many"}', "status", '"status" is not a whole number'),
        (b'{"status": 1.5}', "status", '"status" is not a whole number'),
        (b'{"status": 1180591620717411303424}', "status", '"status" is not a whole number'),
        (b'{"time": "soon"}', "time", '"time" is not a time'),
        (b'{"kind": "something else"}', "kind", '"kind" is not a kind of event'),
        (b'{"tags": 5}', "tags", '"tags" is not a list of texts'),
        (b'{"attributes": 5}', "attributes", '"attributes" is not an object'),
        (b'{"message": {"a": 1}}', "message", '"message" is not text'),
        (b'{"client_ip": "999.1.1.1"}', "client_ip", '"client_ip" is not an IP address'),
        (b'{"peer_ip": "proxy"}', "peer_ip", '"peer_ip" is not an IP address'),
        (b'{"datetime": "soon"}', "datetime", '"datetime" is not a time'),
        (b'{"user": "mallory", "user": "alice"}', "user", '"user" stands twice'),
        (b'{"secret-key": 1, "secret-key": 2}', None, "a key stands twice"),
        (b'{"message": NaN}', None, "not JSON, invalid character at byte 12 of the line"),
        (b"[]", None, "not a JSON object"),
        (b'{"a":' * 100_000, None, "nested too deeply"),
        (b'{"a":' * 80 + b"1" + b"}" * 80, None, "nested too deeply, or longer"),
    ],
)
@pytest.mark.parametrize("array", [False, True])
def test_the_line_and_the_field_that_are_wrong_are_named(
    line: bytes, field: str | None, say: str, array: bool
) -> None:
    door = Door()
    good = b'{"kind": "log", "message": "m"}'
    if array:
        answer = door.post(b"[" + good + b",\n" + line + b"]", "application/json")
    else:
        answer = door.post(good + b"\n" + line + b"\n" + good)
    assert answer.status_code == 400
    framed = line == b"[]" or "longer" in say or "twice" in say
    if array and field is None and not framed:
        assert "not one JSON array" in answer.json()["detail"]  # the frame itself is broken
        return
    assert answer.json()["line"] == 2
    assert answer.json().get("field") == field
    assert f"line 2: {say}" in answer.json()["detail"]
    assert not door.frames


def test_keys_that_nobody_knows_are_no_error() -> None:
    door = Door()
    assert door.post(b'{"message": "m", "cart_size": 3}').json()["accepted"] == 1
    assert '"cart_size":3' in door.frames[0]["attributes"][0]


def test_log_lines_are_recognised_and_a_strange_one_is_kept() -> None:
    door = Door()
    answer = door.post(NGINX * 3 + b"strange\n" + NGINX, "text/plain").json()
    assert (answer["accepted"], answer["parse_errors"]) == (5, 1)
    assert door.frames[0]["path"].to_list() == ["/orders/7"] * 3 + [None, "/orders/7"]
    answer = door.post(NGINX * 3 + b"strange\n", "text/plain", "?on_error=refuse").json()
    assert answer["line"] == 4


@pytest.mark.parametrize("parser", sorted(PARSERS))
@pytest.mark.parametrize("media", ["text/plain", "application/x-ndjson"])
def test_every_format_can_be_named(parser: str, media: str) -> None:
    door = Door()
    answer = door.post(b"one\ntwo\n", media, f"?parser={parser}&on_error=keep")
    assert answer.status_code == 200
    assert sum(frame.height for frame in door.frames) == answer.json()["accepted"] > 0


def test_a_repeated_key_has_one_meaning_in_both_forms() -> None:
    door = Door()
    element = b'{"status": 200, "status": 500}'
    door.post(element, query="?on_error=keep")
    door.post(b"[" + element + b"]", "application/json", query="?on_error=keep")
    assert door.frames[0]["status"].to_list() == door.frames[1]["status"].to_list()


@settings(max_examples=200, deadline=None)
@given(
    body=st.one_of(
        st.binary(max_size=200),
        st.lists(
            st.sampled_from(
                [NGINX, b'{"status": 200}\n', b'{"status": "x"}\n', b"\xff\n", b"a=1 b=2\n", b'{"']
            ),
            max_size=6,
        ).map(b"".join),
    ),
    media=st.sampled_from(["application/x-ndjson", "application/json", "text/plain"]),
    query=st.sampled_from(
        ["", "?on_error=keep", "?on_error=refuse", *(f"?parser={p}" for p in PARSERS)]
    ),
)
def test_no_body_is_an_error_of_ours(body: bytes, media: str, query: str) -> None:
    assert SHARED.post(body, media, query).status_code in (200, 400)


SHARED = Door()
