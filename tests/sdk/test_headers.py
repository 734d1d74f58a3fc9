"""Header lines: whose word counts, and how many of them are read at all."""

# One row of a table is one line, whatever its length.
# ruff: noqa: E501

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest
from tests.sdk.recording import Recorder, environ, wsgi
from tests.sdk.requests import App, seen

from tocsin.sdk.options import Options
from tocsin.sdk.reading import headers, heads
from tocsin.sdk.reading.clean import Cleaner
from tocsin.sdk.reading.headers import LONGEST, MOST, Proxies, read
from tocsin.sdk.reading.reader import Reader
from tocsin.sdk.reading.shapes import Shapes
from tocsin.sdk.watching import wsgi as module
from tocsin.sdk.watching.wsgi import WsgiWatch

TRUSTED = ("10.0.0.0/8",)
PROXY, CLIENT, FORGED = "10.0.0.1", "203.0.113.5", "6.6.6.6"


def client(lines: list[tuple[Any, Any]]) -> str | None:
    return Proxies(TRUSTED).client(PROXY, read(lines))


@pytest.mark.parametrize(
    "length", [0, 100, LONGEST - 60, LONGEST - 20, LONGEST, LONGEST + 1, 3 * LONGEST]
)
def test_what_a_client_writes_into_the_forwarding_header_pushes_out_nobody(length: int) -> None:
    forged = (f"{FORGED}, " * (length // len(FORGED) + 1))[:length]
    for text in (f"{forged}, {CLIENT}, 10.0.0.2", f"{'x' * length}, {CLIENT}, 10.0.0.2"):
        assert client([(b"x-forwarded-for", text.encode())]) == CLIENT
        assert client([("HTTP_X_FORWARDED_FOR", text)]) == CLIENT
    lines = [
        (b"x-forwarded-for", forged.encode()),
        (b"x-forwarded-for", f"{CLIENT}, 10.0.0.2".encode()),
    ]
    assert client(lines) == CLIENT


def test_half_a_hop_is_nobodys_address() -> None:
    hops = ", ".join(["10.0.0.9"] * (LONGEST // 10 + 2))
    for more in range(12):
        text = f"1{CLIENT}, {hops}"[: len(hops) + more]
        assert client([(b"x-forwarded-for", text.encode())]) in (None, "10.0.0.9", PROXY)


@pytest.mark.parametrize("junk", [0, 1, MOST - 2, MOST - 1, MOST, MOST + 1, 5 * MOST])
@pytest.mark.parametrize("name", sorted(headers._MATTERS))
def test_no_line_that_matters_is_lost_because_of_others_before_it(junk: int, name: str) -> None:
    value = "203.0.113.5"
    lines = [(f"x-{n}".encode(), b"1") for n in range(junk)]
    assert read([*lines, (name.encode(), value.encode())])[name] == value
    old = [(f"HTTP_X_{n}", "1") for n in range(junk)]
    assert read([*old, (f"HTTP_{name.upper().replace('-', '_')}", value)])[name] == value


def test_a_request_with_too_many_lines_still_says_who_and_from_where() -> None:
    request = seen("GET /v1/orders", 401, peer=PROXY)
    junk = [(f"x-{n}".encode(), b"1") for n in range(1_000)]
    late = [(b"x-forwarded-for", CLIENT.encode()), (b"authorization", b"Bearer abcdefghijkl")]
    request.headers = [*junk, *late, (b"user-agent", b"late/1")]
    event = App(trusted_proxies=TRUSTED).take(request)[0]
    assert (event.client_ip, event.peer_ip) == (CLIENT, PROXY)
    assert (event.auth_method, event.user_agent) == ("token", "late/1")
    assert event.session is not None


def test_lines_that_do_not_matter_are_bounded() -> None:
    assert len(read([(f"x-{n}".encode(), b"1") for n in range(10_000)])) == MOST
    assert len(read([(b"x-a", b"1" * 100)] * 1_000)["x-a"]) == LONGEST
    assert len(read([(b"cookie", b"1" * 100)] * 1_000)["cookie"]) == LONGEST
    assert len(read([(b"x-forwarded-for", b"1.2.3.4")] * 10_000)["x-forwarded-for"]) <= LONGEST


# -- what is held -------------------------------------------------------------------------------


def held(make: Any, count: int) -> int:
    """Bytes that a reader holds on to after so many requests, each another."""
    reader = Reader(Options(hash_key="x"))
    for n in range(8):
        reader.read(make(n))
    tracemalloc.start()
    try:
        for n in range(8, count):
            reader.read(make(n))
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


def with_lines(n: int, *lines: tuple[bytes, bytes]) -> Any:
    request: Any = seen(f"GET /v1/orders/{n % 7}", 200)
    request.headers = (*request.headers, *lines)
    return request


def nowhere(path: str) -> Any:
    request = seen("GET /", 404)
    request.path, request.route = path, None
    return request


LARGE = {
    "a header that nobody reads": lambda n: with_lines(n, (b"accept-language", b"%d" % n + b"x" * 60_000)),
    "names without values": lambda n: with_lines(
        n, *((b"x-%d-%d-" % (n, m) + b"x" * 1_000, b"") for m in range(60))
    ),
    "small lines": lambda n: with_lines(n, *((b"x-%d" % m, b"%d" % n) for m in range(60))),
    "a cookie": lambda n: with_lines(n, (b"cookie", b"session=%d" % n + b"x" * 8_000)),
    "a token": lambda n: with_lines(n, (b"authorization", b"Bearer %d" % n + b"x" * 8_000)),
    "an agent": lambda n: with_lines(n, (b"user-agent", b"%d" % n + b"x" * 500)),
    "paths": lambda n: nowhere(f"/{n}{'x' * 8_000}"),
    "queries": lambda n: seen(f"GET /a?b={n}{'x' * 400}&c={'y' * 8_000}", 404),
    "answers of many keys": lambda n: seen("GET /a", 200, {f"k{n}_{m}": m for m in range(700)}),
    "answers of some keys": lambda n: seen("GET /a", 200, {f"k{n}_{m}": m for m in range(100)}),
    "bodies of many keys": lambda n: seen("POST /a", 200, body={f"k{n}_{m}": m for m in range(700)}),
    "ids": lambda n: seen("GET /a", 200, {"id": f"{n}{'x' * 100}"}, params={"id": f"{n}{'x' * 8_000}"}),
    "names of accounts": lambda n: seen("POST /login", 401, {"message": "wrong password"}, body={"username": f"{n}" * 80, "password": "a"}),
}  # fmt: skip


@pytest.mark.parametrize("what", LARGE)
def test_what_is_remembered_of_clients_stays_small_whatever_they_send(what: str) -> None:
    assert held(LARGE[what], 250 if "many" in what else 800) < 8 << 20


def test_usual_clients_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    browser = [(b"accept-language", b"de,en;q=0.5"), (b"cookie", b"session=" + b"x" * 1_500)]
    made = heads.Heads(Options(), Reader(Options())._hasher, Cleaner())
    usual: Any = seen("GET /").headers
    lines: list[Any] = [(*usual, *browser, (b"x-n", b"%d" % n)) for n in range(500)]
    first = [made.of(one, None) for one in lines]
    assert all(made.of(one, None) is head for one, head in zip(lines, first, strict=True))
    shapes = Shapes()
    wide = {f"k{n}": n for n in range(200)}
    assert shapes.of(wide) is shapes.of(dict(wide))


def test_shapes_of_requests_with_long_names_are_not_remembered() -> None:
    recorder = Recorder()

    def app(_environ: Any, start_response: Any) -> list[bytes]:
        start_response("204 No Content", [])
        return []

    module._shapes.clear()
    wsgi(WsgiWatch(app, recorder.watching()), environ(HTTP_X="1"))
    wsgi(WsgiWatch(app, recorder.watching()), environ(**{f"HTTP_{'X' * 8_000}": "1"}))
    assert len(module._shapes) == 1
    assert len(recorder.items) == 2
