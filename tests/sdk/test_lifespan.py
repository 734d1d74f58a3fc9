"""The life of an ASGI application: told, and nothing is left unsent when it ends."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.sdk.receiving import KEY, Receiver, until

from tocsin.event import Event, Kind
from tocsin.sdk.options import Options
from tocsin.sdk.watching.asgi import AsgiWatch
from tocsin.sdk.watching.exchange import Watching

REPOSITORY = str(Path(__file__).parents[2])


class Host:
    """A client, and a server that takes an application through its life."""

    def __init__(self) -> None:
        self.options = Options(farewell=2.0)
        self.told: list[Any] = []  # events, flushes and messages, in their order
        self.wait = 0.0

    def take(self, item: Any) -> None:
        self.told.append(item)

    def flush(self, timeout: float = 5.0) -> bool:
        time.sleep(self.wait)
        self.told.append(("flushed", timeout))
        return True

    def itself(self) -> Host:
        return self

    def lead(self, app: Any) -> None:
        coming = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]

        async def receive() -> Any:
            return coming.pop(0)

        async def send(message: Any) -> None:
            self.told.append(message["type"])

        watched = AsgiWatch(app, Watching(self.itself))
        asyncio.run(watched({"type": "lifespan", "asgi": {}}, receive, send))

    def plain(self) -> list[Any]:
        return [one.kind if isinstance(one, Event) else one for one in self.told]


async def lives(_scope: Any, receive: Any, send: Any) -> None:
    assert (await receive())["type"] == "lifespan.startup"
    await send({"type": "lifespan.startup.complete"})
    assert (await receive())["type"] == "lifespan.shutdown"
    await send({"type": "lifespan.shutdown.complete"})


WHOLE_LIFE = [
    Kind.SYS_STARTUP,
    "lifespan.startup.complete",
    Kind.SYS_SHUTDOWN,
    ("flushed", 2.0),
    "lifespan.shutdown.complete",
]


def test_that_an_application_starts_and_stops_is_told_and_sent_before_the_server_hears_of_it() -> (
    None
):
    host = Host()
    host.lead(lives)
    assert host.plain() == WHOLE_LIFE


def test_an_application_without_lifespans_is_given_one() -> None:
    async def only_http(scope: Any, _receive: Any, _send: Any) -> None:
        raise ValueError(f"only http, not {scope['type']}")

    host = Host()
    host.lead(only_http)
    assert host.plain() == WHOLE_LIFE


def test_an_application_that_does_not_start_is_told_of() -> None:
    async def fails(_scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})
        raise RuntimeError("no database")

    host = Host()
    with pytest.raises(RuntimeError, match="no database"):
        host.lead(fails)
    crash, flushed, sent = host.told
    assert (crash.kind, crash.severity, crash.error_message) == (
        Kind.SYS_CRASH,
        "error",
        "no database",
    )
    assert flushed == ("flushed", 2.0)
    assert sent == "lifespan.startup.failed"


def test_an_application_that_stops_badly_is_told_of() -> None:
    async def fails(_scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.failed", "message": "still busy"})

    host = Host()
    host.lead(fails)
    stop = host.told[2]
    assert (stop.kind, stop.severity, stop.error_message) == (
        Kind.SYS_SHUTDOWN,
        "error",
        "still busy",
    )


def test_a_slow_farewell_does_not_hold_up_the_loop() -> None:
    beats = 0

    async def beating(scope: Any, receive: Any, send: Any) -> None:
        async def beat() -> None:
            nonlocal beats
            while True:
                await asyncio.sleep(0.01)
                beats += 1

        task = asyncio.create_task(beat())
        await lives(scope, receive, send)
        task.cancel()

    host = Host()
    host.wait = 0.3
    host.lead(beating)
    assert beats >= 5


def test_what_goes_wrong_with_us_is_kept_from_the_application() -> None:
    class Broken(Host):
        def take(self, item: Any) -> None:
            raise RuntimeError("broken")

    host = Broken()
    host.lead(lives)
    assert host.plain() == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


def test_a_server_that_ends_by_a_signal_leaves_nothing_unsent(tmp_path: Path) -> None:
    receiver = Receiver().start()
    port = free_port()
    app = tmp_path / "site.py"
    app.write_text(
        textwrap.dedent(
            """
            import sys

            import tocsin
            import uvicorn

            async def app(scope, receive, send):
                if scope["type"] != "http":
                    raise ValueError("only http")
                await send({"type": "http.response.start", "status": 204, "headers": []})
                await send({"type": "http.response.body", "body": b""})

            app = tocsin.watch(app, service="short", url=sys.argv[2], key=sys.argv[3])
            uvicorn.run(app, port=int(sys.argv[1]), log_level="critical")
            """
        )
    )
    command = [sys.executable, str(app), str(port), receiver.url, KEY]
    server = subprocess.Popen(command, cwd=REPOSITORY)
    try:
        until(lambda: answers(f"http://127.0.0.1:{port}/up"))
        with httpx2.Client() as client:
            for number in range(20):
                assert client.get(f"http://127.0.0.1:{port}/orders/{number}").status_code == 204
        server.send_signal(signal.SIGTERM)
        server.wait(20)
        paths = [event.get("path") for event in receiver.stored]
        assert [f"/orders/{number}" in paths for number in range(20)] == [True] * 20
        kinds = [event["kind"] for event in receiver.stored]
        assert "sys_shutdown" in kinds
    finally:
        server.kill()
        server.wait()
        receiver.close()


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def answers(url: str) -> bool:
    try:
        return httpx2.get(url).status_code == 204
    except httpx2.TransportError:
        return False
