"""The door on real sockets: slow, broken, greedy and honest clients."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from tocsin.errors import UsageError
from tocsin.intake.answers import Refused
from tocsin.intake.http import Road, app, receiver
from tocsin.intake.limits import Limits
from tocsin.intake.serve import Listener, listen, new_event_loop, reachable, serve


async def echo(request: Request) -> Response:
    body = await request.body()
    return PlainTextResponse(f"{len(body)} bytes")


async def refuse(request: Request) -> Response:
    return Refused(413, "never").answer()


async def sleep(request: Request) -> Response:
    await asyncio.sleep(float(request.query_params["s"]))
    return PlainTextResponse("slept")


async def large(request: Request) -> Response:
    return PlainTextResponse("x" * (8 << 20))


PLAIN = Starlette(
    routes=[
        Route("/echo", echo, methods=["POST", "GET"]),
        Route("/refuse", refuse, methods=["POST"]),
        Route("/sleep", sleep),
        Route("/large", large),
    ]
)


class Running:
    """A door in a thread of its own."""

    def __init__(self, *listeners: Listener) -> None:
        self.listeners = listeners
        self.address: Any = listeners[0].socket.getsockname()[:2]
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self._ready.wait(10)

    @property
    def url(self) -> str:
        return "http://" + self.listeners[0].address

    def stop(self) -> None:
        if self._loop is not None and self._stop is not None and self._thread.is_alive():
            with contextlib.suppress(RuntimeError):  # it may stop by itself just now
                self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)
        assert not self._thread.is_alive()
        if self.error is not None:
            raise self.error

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=new_event_loop) as runner:
                runner.run(self._serve())
        except BaseException as error:
            self.error = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        await serve(*self.listeners, stop=self._stop, ready=self._ready.set)


@contextlib.contextmanager
def running(app: ASGIApp = PLAIN, **limits: Any) -> Generator[Running]:
    door = Running(listen(app, "127.0.0.1:0", limits=Limits(**limits)))
    try:
        yield door
    finally:
        door.stop()


@pytest.fixture
def plain() -> Iterator[Running]:
    with running() as door:
        yield door


def connect(door: Running) -> socket.socket:
    client = socket.create_connection(door.address, timeout=10)
    client.settimeout(10)
    return client


def read_all(client: socket.socket) -> bytes:
    """Everything until the other side closes."""
    parts: list[bytes] = []
    with contextlib.suppress(ConnectionResetError):
        while part := client.recv(65_536):
            parts.append(part)
    return b"".join(parts)


def read_answer(client: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """One answer with a content-length."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = client.recv(1)
        assert part, f"closed after {data!r}"
        data += part
    head = data.decode().split("\r\n")
    headers = {
        name.lower(): value for name, value in (line.split(": ", 1) for line in head[1:] if line)
    }
    body = b""
    while len(body) < int(headers["content-length"]):
        body += client.recv(int(headers["content-length"]) - len(body))
    return int(head[0].split()[1]), headers, body


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def eventually(true: Callable[[], bool]) -> None:
    """Wait for what the door does by itself."""
    end = time.monotonic() + 5
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


# What is served.


def test_answers_carry_a_date_and_do_not_say_what_serves_them(plain: Running) -> None:
    answer = httpx2.post(plain.url + "/echo", content=b"12345")
    assert answer.text == "5 bytes"
    assert "date" in answer.headers
    assert "server" not in answer.headers


def test_a_connection_is_used_again(plain: Running) -> None:
    with connect(plain) as client:
        for n in range(5):
            client.sendall(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n" + b"x")
            assert read_answer(client)[2] == b"1 bytes", n


def test_requests_in_one_go_are_answered_in_order(plain: Running) -> None:
    with connect(plain) as client:
        client.sendall(
            b"".join(
                b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (n, b"x" * n)
                for n in range(30)
            )
        )
        assert [read_answer(client)[2] for _ in range(30)] == [b"%d bytes" % n for n in range(30)]


def test_a_refused_body_is_dropped_and_the_connection_goes_on(plain: Running) -> None:
    with connect(plain) as client:
        for _ in range(3):
            client.sendall(b"POST /refuse HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n")
            assert read_answer(client)[0] == 413
            # What looks like a request inside a body is none.
            client.sendall((b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n" * 10_000)[:300_000])
            client.sendall(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nxx")
            assert read_answer(client)[2] == b"2 bytes"


def test_a_chunked_body_is_a_body(plain: Running) -> None:
    with connect(plain) as client:
        client.sendall(b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        client.sendall(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
        assert read_answer(client)[2] == b"5 bytes"


def test_a_client_that_asks_before_sending_is_told_to_go_on(plain: Running) -> None:
    with connect(plain) as client:
        client.sendall(
            b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
        )
        assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"ab")
        assert read_answer(client)[2] == b"2 bytes"


UPGRADES = [
    b"Connection: upgrade\r\nUpgrade: websocket\r\n",
    b"Upgrade: TLS/1.0\r\nconnection: close, Upgrade\r\n",
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
]


@pytest.mark.parametrize("upgrade", UPGRADES, ids=["websocket", "TLS", "h2c"])
@pytest.mark.parametrize("together", [True, False], ids=["in one piece", "in two"])
def test_an_upgrade_is_ignored_and_the_body_is_the_body(
    plain: Running, upgrade: bytes, together: bool
) -> None:
    inner = b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n"  # what looks like a request is none
    framing = b"Content-Length: %d\r\n\r\n" % len(inner), b"Transfer-Encoding: chunked\r\n\r\n"
    for ending, body in zip(
        framing, (inner, b"%x\r\n%s\r\n0\r\n\r\n" % (len(inner), inner)), strict=True
    ):
        with connect(plain) as client:
            head = b"POST /echo HTTP/1.1\r\nHost: x\r\n" + upgrade + ending
            if together:
                client.sendall(head + body)
            else:
                client.sendall(head)
                time.sleep(0.05)
                client.sendall(body)
            assert read_answer(client)[2] == b"%d bytes" % len(inner)
            if b"close" in upgrade:
                assert read_all(client) == b""
            else:
                client.sendall(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx")
                assert read_answer(client)[2] == b"1 bytes"


def test_many_upgrades_in_one_go_are_answered_in_order(plain: Running) -> None:
    with connect(plain) as client:
        for upgrade in UPGRADES[::2]:
            client.sendall(
                b"".join(
                    b"POST /echo HTTP/1.1\r\n%sHost: x\r\nContent-Length: %d\r\n\r\n%s"
                    % (upgrade, n % 7, b"x" * (n % 7))
                    for n in range(1_500)
                )
            )
            for n in range(1_500):
                assert read_answer(client)[2] == b"%d bytes" % (n % 7)
        client.sendall(b"GET /echo HTTP/1.0\r\n%s\r\n" % UPGRADES[0])
        assert read_answer(client)[2] == b"0 bytes"
        assert read_all(client) == b"", "HTTP/1.0 stays what it is"


def test_the_head_of_an_upgrade_has_its_deadline_and_its_bounds() -> None:
    with running(header_seconds=0.3, headers=10, head_bytes=2_000) as door:
        for more in (b"A: b\r\n" * 11 + b"\r\n", b"A: %s\r\n\r\n" % (b"b" * 3_000)):
            with connect(door) as client:
                client.sendall(b"GET /echo HTTP/1.1\r\n" + UPGRADES[0] + more)
                refusal(read_all(client), 431)
        with connect(door) as client:
            client.sendall(b"GET /echo HTTP/1.1\r\n" + UPGRADES[0])
            refusal(read_all(client), 408)


def test_trailers_are_passed_over() -> None:
    async def told(request: Request) -> Response:
        await request.body()
        return PlainTextResponse(",".join(name.lower() for name in request.headers))

    application = Starlette(routes=[Route("/", told, methods=["POST"])])
    trailers = b"Authorization: Bearer x\r\nContent-Encoding: zstd\r\nExpect: 100-continue\r\n"
    with running(application) as door, connect(door) as client:
        for _ in range(2):
            client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
            client.sendall(b"1\r\nx\r\n0\r\n" + trailers + b"\r\n")
            assert read_answer(client)[2] == b"host,transfer-encoding"


# Deadlines.


def test_slow_clients_are_closed_and_honest_ones_do_not_wait() -> None:
    with running(header_seconds=1.0) as door, contextlib.ExitStack() as stack:
        began = time.monotonic()
        slow = [stack.enter_context(connect(door)) for _ in range(200)]
        for n, client in enumerate(slow):
            if n % 2:
                client.sendall(b"POST /echo HTTP/1.1\r\nHost: x\r\n")
        asked = time.monotonic()
        assert httpx2.post(door.url + "/echo", content=b"x").text == "1 bytes"
        assert time.monotonic() - asked < 0.9
        answers = [read_all(client) for client in slow]
        assert time.monotonic() - began < 5
        assert {status_of(answer) for answer in answers[1::2]} == {408}
        assert set(answers[::2]) == {b""}


def test_a_trickle_does_not_move_the_deadline() -> None:
    with running(header_seconds=0.4) as door, connect(door) as client:
        began = time.monotonic()
        answer = b""
        client.settimeout(0.05)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            client.sendall(b"GET /echo HTTP/1.1\r\n")
            while time.monotonic() - began < 5:
                client.sendall(b"X-A: b\r\n")
                with contextlib.suppress(TimeoutError):
                    answer += client.recv(65_536)
                    if answer:
                        break
        assert time.monotonic() - began < 2
        assert status_of(answer) == 408


def test_an_idle_connection_is_closed() -> None:
    with running(keep_alive_seconds=0.2, header_seconds=0.2) as door, connect(door) as client:
        client.sendall(b"GET /echo HTTP/1.1\r\nHost: x\r\n\r\n")
        assert read_answer(client)[0] == 200
        began = time.monotonic()
        assert read_all(client) == b""
        assert time.monotonic() - began < 2


def test_the_second_request_of_a_connection_has_a_deadline_too() -> None:
    with running(keep_alive_seconds=0.2, header_seconds=0.2) as door, connect(door) as client:
        client.sendall(b"GET /echo HTTP/1.1\r\nHost: x\r\n\r\n")
        assert read_answer(client)[0] == 200
        client.sendall(b"GET /ec")
        began = time.monotonic()
        assert status_of(read_all(client)) == 408
        assert time.monotonic() - began < 2


def test_the_rest_of_a_refused_body_has_a_deadline() -> None:
    with running(keep_alive_seconds=0.2, header_seconds=0.2) as door, connect(door) as client:
        client.sendall(b"POST /refuse HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert read_answer(client)[0] == 413
        began = time.monotonic()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            while time.monotonic() - began < 5:
                client.sendall(b"1\r\nx\r\n")
                time.sleep(0.01)
        assert time.monotonic() - began < 3


def test_a_client_that_never_reads_its_answer_is_cut_off() -> None:
    def open_files() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    with running(keep_alive_seconds=0.2, header_seconds=0.2) as door:
        before = open_files()
        with connect(door) as client:
            client.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
            eventually(lambda: open_files() == before + 2)
            eventually(lambda: open_files() == before + 1)


# Bounds.


def refusal(answer: bytes, status: int) -> None:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert status_of(head) == status
    assert b"connection: close" in head
    assert b"application/problem+json" in head
    assert json.loads(body)["status"] == status


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"POST /echo HTTP/1.1\r\nHost: x\r\nX-A: " + b"a" * 600_000, 431),
        (b"POST /echo HTTP/1.1\r\nHost: x\r\nX-A: " + b"a" * 9_000 + b"\r\n\r\n", 431),
        (b"POST /" + b"a" * 300_000, 431),
        (b"POST /" + b"a" * 9_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431),
        (b"GET /echo HTTP/1.1\r\n" + b"A: b\r\n" * 51 + b"\r\n", 431),
        (b"GET /echo HTTP/1.1\r\n" + b"X" * 300_000, 431),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"\0\0\0\0\r\n\r\n", 400),
        (b"hello\r\n\r\n", 400),
        (b"GET /echo HTTP/1.1\r\nno colon here\r\n\r\n", 400),
        (b"GET /echo HTTP/1.1\r\nHost: x\r\nA: b\r\n\x00: c\r\n\r\n", 400),
        (b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"CONNECT example.org:443 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"CONNECT example.org:443 HTTP/1.1\r\nContent-Length: 9\r\n\r\nGET / HTT", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx", 400),
        (
            b"POST /echo HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
        ),
        (b"POST /echo HTTP/1.1\r\nTransfer-Encoding: gzip\r\nHost: x\r\n\r\n", 400),
    ],
)
def test_what_is_no_request_or_too_much_of_one_is_refused(request_: bytes, status: int) -> None:
    with running(head_bytes=8_192, headers=50, header_seconds=2) as door, connect(door) as client:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            client.sendall(request_)
        refusal(read_all(client), status)
        assert httpx2.post(door.url + "/echo", content=b"x").text == "1 bytes"


def test_when_full_the_longest_idle_connection_makes_room() -> None:
    with running(connections=20, header_seconds=30) as door, contextlib.ExitStack() as stack:
        idle = [stack.enter_context(connect(door)) for _ in range(20)]
        time.sleep(0.2)
        assert httpx2.post(door.url + "/echo", content=b"x").text == "1 bytes"
        assert read_all(idle[0]) == b""
        idle[19].sendall(b"GET /echo HTTP/1.1\r\nHost: x\r\n\r\n")
        assert read_answer(idle[19])[0] == 200


def test_when_all_are_at_work_the_next_is_told_so_politely() -> None:
    with running(connections=3) as door, contextlib.ExitStack() as stack:
        busy = [stack.enter_context(connect(door)) for _ in range(3)]
        for client in busy:
            client.sendall(b"GET /sleep?s=1.5 HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(0.3)
        answer = httpx2.post(door.url + "/echo", content=b"x")
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
        assert answer.json()["detail"].startswith("every connection is taken")
        with connect(door) as late:
            # Still busy sending, it is not cut off before it can read why.
            late.sendall(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n")
            for _ in range(4):
                time.sleep(0.05)
                late.sendall(b"x" * 50_000)
            assert status_of(read_all(late)) == 503
        assert [read_answer(client)[0] for client in busy] == [200, 200, 200]
        assert httpx2.post(door.url + "/echo", content=b"x").text == "1 bytes"


# Where it listens.


@pytest.mark.parametrize(
    ("where", "say"),
    [
        ("nonsense", "HOST:PORT"),
        (":80", "HOST:PORT"),
        ("127.0.0.1:", "HOST:PORT"),
        ("127.0.0.1:99999", "HOST:PORT"),
        ("127.0.0.1:-1", "HOST:PORT"),
        ("0.0.0.0:0", "in the clear"),
        ("[::]:0", "in the clear"),
        ("192.0.2.1:0", "in the clear"),
    ],
)
def test_an_address_that_makes_no_sense_is_refused_in_words(where: str, say: str) -> None:
    with pytest.raises(UsageError, match=say) as refused:
        listen(PLAIN, where)
    assert where in str(refused.value)


def test_who_says_insecure_may_listen_for_everybody() -> None:
    listener = listen(PLAIN, "0.0.0.0:0", insecure=True)
    listener.socket.close()


def test_a_taken_port_is_named(plain: Running) -> None:
    with pytest.raises(UsageError, match=r"127\.0\.0\.1:\d+.*taken"):
        listen(PLAIN, plain.listeners[0].address)


def test_a_port_and_a_unix_socket_are_served_together(tmp_path: Path) -> None:
    async def other(scope: Any, receive: Any, send: Any) -> None:
        await PlainTextResponse("other")(scope, receive, send)

    path = tmp_path / "door.sock"
    door = Running(listen(PLAIN, "127.0.0.1:0"), listen(other, path))
    try:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert door.listeners[1].address == str(path)
        assert httpx2.post(door.url + "/echo", content=b"x").text == "1 bytes"
        with httpx2.Client(transport=httpx2.HTTPTransport(uds=str(path))) as client:
            assert client.get("http://tocsin/").text == "other"
    finally:
        door.stop()
    assert list(tmp_path.iterdir()) == []


def test_a_unix_socket_may_lie_deep(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["a-rather-long-name-of-a-directory"] * 6)
    deep.mkdir(parents=True)
    door = Running(listen(PLAIN, deep / "door.sock"))
    try:
        with (
            reachable(deep / "door.sock") as address,
            httpx2.Client(transport=httpx2.HTTPTransport(uds=address)) as client,
        ):
            assert client.post("http://tocsin/echo", content=b"x").text == "1 bytes"
        with pytest.raises(UsageError, match="another tocsin serves here"):
            listen(PLAIN, deep / "door.sock")
    finally:
        door.stop()


def test_a_socket_left_behind_by_a_crash_is_replaced_and_a_live_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "door.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    door = Running(listen(PLAIN, path))
    try:
        with pytest.raises(UsageError, match="another tocsin serves here"):
            listen(PLAIN, path)
        with httpx2.Client(transport=httpx2.HTTPTransport(uds=str(path))) as client:
            assert client.post("http://tocsin/echo", content=b"x").text == "1 bytes"
    finally:
        door.stop()


def test_a_file_in_the_way_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "door.sock"
    path.write_text("precious")
    with pytest.raises(UsageError, match="not a socket"):
        listen(PLAIN, path)
    assert path.read_text() == "precious"


def test_a_directory_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"missing.*no such file"):
        listen(PLAIN, tmp_path / "missing" / "door.sock")


# How it ends.


def test_closing_lets_requests_end_and_takes_no_more() -> None:
    with running() as door:
        with connect(door) as client, connect(door) as idle:
            client.sendall(b"GET /sleep?s=0.5 HTTP/1.1\r\nHost: x\r\n\r\n")
            time.sleep(0.2)
            stopping = threading.Thread(target=door.stop)
            stopping.start()
            assert read_answer(client)[2] == b"slept"
            assert read_all(client) == b""
            assert read_all(idle) == b""
            stopping.join()
        with pytest.raises(ConnectionRefusedError):
            connect(door)


def test_closing_does_not_wait_for_ever(caplog: pytest.LogCaptureFixture) -> None:
    with running(grace_seconds=0.2) as door, connect(door) as client:
        client.sendall(b"GET /sleep?s=60 HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(0.2)
        began = time.monotonic()
        door.stop()
        assert time.monotonic() - began < 5
        assert read_all(client) == b""
    assert not caplog.records


# The door itself, behind all that.


def events(asked: list[str]) -> ASGIApp:
    """The real door, for which nobody has a key."""

    def unknown(key: str) -> None:
        asked.append(key)

    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("no key, no work")

    return app(receiver(authenticate=unknown, decode=Road(never, never, never, ()), accept=never))


def test_a_refused_client_that_asked_first_is_disconnected() -> None:
    """It may leave out its body or not, so what comes next could be either."""
    with running(events([])) as door, connect(door) as client:
        client.sendall(
            b"POST /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer x\r\n"
            b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n"
        )
        answer = read_all(client)
        refusal(answer, 401)


def test_a_refused_client_may_ask_again_on_the_same_connection() -> None:
    asked: list[str] = []
    with running(events(asked)) as door, connect(door) as client:
        for n in range(3):
            client.sendall(
                b"POST /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %d\r\n"
                b"Content-Length: 5\r\n\r\n12345" % n
            )
            assert read_answer(client)[0] == 401
    assert asked == ["0", "1", "2"]


def test_a_key_in_a_trailer_is_no_key() -> None:
    asked: list[str] = []
    with running(events(asked)) as door, connect(door) as client:
        client.sendall(
            b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nAuthorization: Bearer K\r\n\r\n"
        )
        assert read_answer(client)[0] == 401
    assert asked == []


ATTACK = r"""import asyncio, socket
from tocsin.intake.http import app
from tocsin.intake.serve import listen, serve
async def main():
    stop = asyncio.Event()
    listener = listen(app([]), "127.0.0.1:0")
    def attack():
        for data in (
            b"junk\r\n\r\n",
            b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
            b"GET /c4n4ry HTTP/1.1\r\n\r\n",
            b"",
        ):
            with socket.create_connection(listener.socket.getsockname()) as client:
                client.sendall(data)
                client.settimeout(0.2)
                try:
                    client.recv(65536)
                except TimeoutError:
                    pass
    async def clients():
        await asyncio.to_thread(attack)
        stop.set()
    await asyncio.gather(serve(listener, stop=stop), clients())
asyncio.run(main())
"""


def test_nothing_is_printed_however_clients_behave() -> None:
    """Run apart, with logging as Python has it by default."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", ATTACK], capture_output=True, timeout=60, check=True
    )
    assert (done.stdout, done.stderr) == (b"", b"")
