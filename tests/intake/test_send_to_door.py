"""Sender, wire, door, keys, parsers and redaction together, on a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Generator, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import polars as pl
import pytest

from tocsin.catalog import open_catalog
from tocsin.catalog.box import Box
from tocsin.errors import DeliveryError, Pushback
from tocsin.event.batch import Batch
from tocsin.intake import PARSERS, boundary, parse, sniff
from tocsin.intake.admit import admit
from tocsin.intake.http import Receipt, Road, app, receiver
from tocsin.intake.limits import Limits
from tocsin.intake.send import Patience, Sent, pieces, send
from tocsin.intake.serve import listen, new_event_loop, serve
from tocsin.intake.tokens import Tokens, create, revoke, tokens_of

BOX = Box(bytes(32))


class Taken(msgspec.Struct, frozen=True):
    """A receipt."""

    first_seq: int
    rows: int
    repeated: bool
    same: bool = True


class Vault:
    """In memory, and every third time too busy."""

    def __init__(self) -> None:
        self.frames: list[pl.DataFrame] = []
        self.known: dict[tuple[str, str | None], Taken] = {}
        self.asked = 0

    def append(
        self, batch: Batch, *, source: str, batch_id: str | None, content: bytes | None
    ) -> Future[Receipt]:
        self.asked += 1
        if self.asked % 3 == 0:
            raise Pushback("busy", retry_after=0.01)
        done: Future[Receipt] = Future()
        known = self.known.get((source, batch_id))
        if known is None:
            first = sum(frame.height for frame in self.frames)
            self.frames.append(batch.frame)
            self.known[source, batch_id] = Taken(first, batch.frame.height, True)
        done.set_result(known or Taken(0, batch.frame.height, False))
        return done

    def column(self, name: str) -> list[Any]:
        return [value for frame in self.frames for value in frame[name].to_list()]


class House:
    """A door with all that belongs to it."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        self.engine = open_catalog(folder / "catalog.db")
        self.vault = Vault()
        self.listener = listen(
            app(
                receiver(
                    authenticate=Tokens(self.engine, BOX).authenticate,
                    decode=Road(parse, admit, sniff, PARSERS),
                    accept=self.vault.append,
                    limits=limits,
                )
            ),
            "127.0.0.1:0",
        )
        self.url = "http://" + self.listener.address

    def key(self, source: str, **more: Any) -> str:
        return create(self.engine, BOX, source, now=time.time_ns(), **more)

    def send(self, data: bytes, key: str, *, size: int = 4_000, **more: Any) -> Sent:
        parser = more.get("parser") or "tocsin"

        def whole(part: bytes) -> int:
            return boundary(part, parser)

        # The door asks for a second; the test does not wait that long.
        patience = Patience(sleep=lambda _seconds: None)
        with httpx2.Client() as client:
            return send(
                pieces([data], "file", size=size, boundary=whole),
                client=client,
                url=self.url,
                key=key,
                patience=patience,
                boundary=whole,
                **more,
            )


@contextlib.contextmanager
def at_work(folder: Path, limits: Limits) -> Generator[House]:
    house = House(folder, limits)
    ready, handles = threading.Event(), list[tuple[asyncio.AbstractEventLoop, asyncio.Event]]()

    async def run() -> None:
        handles.append((asyncio.get_running_loop(), asyncio.Event()))
        await serve(house.listener, stop=handles[0][1], ready=ready.set)

    def in_loop() -> None:
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.run(run())

    thread = threading.Thread(target=in_loop)
    thread.start()
    assert ready.wait(10)
    try:
        yield house
    finally:
        handles[0][0].call_soon_threadsafe(handles[0][1].set)
        thread.join(20)
        house.engine.dispose()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with at_work(tmp_path, Limits(body_bytes=1_000, inflated_bytes=3_000)) as house:
        yield house


EVENTS = b"".join(
    b'{"kind":"request","time":"2026-11-23T10:00:00Z","method":"GET","path":"/orders/%d",'
    b'"status":200}\n' % n
    for n in range(300)
)
ACCESS = b"".join(
    b'203.0.113.7 - - [23/Nov/2026:10:00:00 +0000] "GET /orders/%d HTTP/1.1" 200 9 "-" "curl/8"\n'
    % n
    for n in range(300)
)


@pytest.mark.parametrize("encoding", ["zstd", "gzip", "identity"])
def test_every_event_arrives_once_through_pushback_and_limits(house: House, encoding: str) -> None:
    key = house.key("shop", service="orders", env="test")
    sent = house.send(EVENTS, key, encoding=encoding)
    assert (sent.accepted, sent.repeated, sent.refused) == (300, 0, ())
    assert sent.retries > 0
    assert house.vault.column("path") == [f"/orders/{n}" for n in range(300)]
    assert set(house.vault.column("source")) == {"shop"}
    assert set(house.vault.column("service")) == {"orders"}
    again = house.send(EVENTS, key, encoding=encoding)
    assert again.repeated == 300
    assert len(house.vault.column("path")) == 300


def test_log_lines_take_the_sources_format_and_strange_ones_are_kept(house: House) -> None:
    key = house.key("edge", parser="nginx")
    sent = house.send(ACCESS + b"strange line\n", key)
    assert (sent.accepted, sent.parse_errors) == (301, 1)
    assert house.vault.column("path")[:300] == [f"/orders/{n}" for n in range(300)]


def test_a_secret_does_not_come_through_the_door(house: House) -> None:
    line = b'{"kind":"log","message":"password=hunter2hunter2 for alice"}\n'
    house.send(line, house.key("shop"))
    assert all("hunter2" not in str(frame.rows()) for frame in house.vault.frames)
    assert "alice" in house.vault.column("message")[0]


def test_a_revoked_key_stops_working_within_a_second(house: House) -> None:
    key = house.key("shop")
    assert house.send(b"{}\n", key).accepted == 1
    (token,) = tokens_of(house.engine, BOX)
    assert revoke(house.engine, BOX, token.id, now=time.time_ns())
    time.sleep(0.6)
    with pytest.raises(DeliveryError, match="does not accept the key"):
        house.send(b"{}\n", key)


def test_many_senders_at_once_each_keep_their_order(house: House) -> None:
    sources = [f"app{n}" for n in range(6)]
    keys = {source: house.key(source) for source in sources}
    threads = [
        threading.Thread(target=house.send, args=(EVENTS, keys[source])) for source in sources
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wanted = [f"/orders/{n}" for n in range(300)]
    for source in sources:
        frames = [f for f in house.vault.frames if f["source"][0] == source]
        assert [path for frame in frames for path in frame["path"].to_list()] == wanted
