"""``WsgiWatch`` without any framework: what is seen, and that nothing else changes."""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from wsgiref.handlers import SimpleHandler
from wsgiref.util import FileWrapper

import pytest
from tests.sdk.recording import Recorder, environ, wsgi

from tocsin.sdk.context import current, identify
from tocsin.sdk.harmless import mishaps
from tocsin.sdk.watching import wsgi as adapter
from tocsin.sdk.watching.wsgi import WsgiWatch

JSON = [("Content-Type", "application/json")]
BODY = b'{"ok": true}'


def says(*parts: Any, headers: Any = JSON, status: str = "200 OK") -> Any:
    """An application that answers a list of these parts."""

    def app(_environ: Any, start_response: Any) -> Any:
        start_response(status, headers)
        return list(parts)

    return app


def streams(*parts: Any, headers: Any = JSON) -> Any:
    """An application that answers them one by one; an exception among them is raised."""

    def app(_environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", headers)
        for part in parts:
            if isinstance(part, BaseException):
                raise part
            yield part

    return app


def watched(app: Any, look: Any = None, **options: Any) -> tuple[WsgiWatch, Recorder]:
    recorder = Recorder(**options)
    return WsgiWatch(app, recorder.watching("shop"), look), recorder


# What is seen.


def test_a_request_is_seen_as_the_server_tells_it() -> None:
    app, recorder = watched(says(BODY))
    answer = wsgi(app, environ(HTTP_X_REQUEST_ID="given-7"))
    seen = recorder.seen
    assert (seen.method, seen.scheme, seen.http_version) == ("GET", "https", "1.1")
    assert (seen.path, seen.query) == ("/v1/orders/7", b"a=1")
    assert seen.peer == ("203.0.113.9", 51234)
    assert dict(seen.headers) == {
        "HTTP_HOST": "shop.example.org",
        "HTTP_X_REQUEST_ID": "given-7",
    }
    assert (seen.status, seen.bytes_out, seen.service) == (200, len(BODY), "shop")
    assert seen.body_out == [BODY]
    assert seen.context.request_id == "given-7"
    assert seen.duration_ns > 0
    assert answer.body == BODY


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"RAW_URI": "/caf%C3%A9?a=1"}, "/caf%C3%A9"),
        ({"REQUEST_URI": "/v1//orders"}, "/v1//orders"),
        ({"RAW_URI": "http://shop.example.org/v1?x"}, "/v1"),
        ({"RAW_URI": "*"}, "*"),
        ({"RAW_URI": "/\xff\r\n"}, "/%FF%0D%0A"),
        ({"SCRIPT_NAME": "/shop", "PATH_INFO": "/caf\xc3\xa9/100%"}, "/shop/caf%C3%A9/100%25"),
        ({"PATH_INFO": "/a\r\nb"}, "/a%0D%0Ab"),
        ({"PATH_INFO": ""}, "/"),
    ],
)
def test_the_path_is_as_on_the_wire(changes: dict[str, str], path: str) -> None:
    app, recorder = watched(says(BODY))
    wsgi(app, environ(**changes))
    assert recorder.seen.path == path


def test_nothing_but_headers_leaves_the_environment() -> None:
    app, recorder = watched(says(BODY))
    wsgi(app, environ(b"{}", HOME="/root", DATABASE_PASSWORD="hunter2", CONTENT_TYPE="text/plain"))
    names = {str(name) for name, _ in recorder.seen.headers}
    assert names == {"HTTP_HOST", "CONTENT_TYPE", "CONTENT_LENGTH"}


def test_headers_that_somebody_makes_up_do_not_pile_up() -> None:
    app, recorder = watched(says(BODY))
    for number in range(1_000):
        wsgi(app, environ(**{f"HTTP_X_{number}": "1"}))
    assert [name for name, _ in recorder.items[-1].headers] == ["HTTP_HOST", "HTTP_X_999"]
    assert len(adapter._shapes) <= adapter._MOST_SHAPES


def test_a_request_without_any_header_is_one_too() -> None:
    app, recorder = watched(says(BODY))
    given = environ()
    del given["HTTP_HOST"]
    wsgi(app, given)
    assert recorder.seen.headers == ()


def test_a_peer_that_is_a_socket_file_has_no_address() -> None:
    app, recorder = watched(says(BODY))
    wsgi(app, environ(REMOTE_ADDR="", REMOTE_PORT=""))
    assert recorder.seen.peer is None


# The body of the request.


@pytest.mark.parametrize(
    "read",
    [
        lambda body: body.read(),
        lambda body: body.read(-1),
        lambda body: b"".join(iter(lambda: body.read(3), b"")),
        lambda body: b"".join(iter(body.readline, b"")),
        lambda body: b"".join(body.readlines()),
        lambda body: b"".join(body),
        lambda body: io.BufferedReader(body).read(),
        lambda body: body.readline(4) + body.read(),
    ],
)
def test_a_body_is_seen_however_it_is_read(read: Any) -> None:
    given = b'{"a":\n1,\n"b": 2}\n'
    got: list[bytes] = []

    def app(env: Any, start_response: Any) -> list[bytes]:
        got.append(read(env["wsgi.input"]))
        start_response("200 OK", JSON)
        return [BODY]

    watch, recorder = watched(app)
    wsgi(watch, environ(given, CONTENT_TYPE="application/json"))
    assert got == [given]
    assert recorder.seen.bytes_in == len(given)
    assert b"".join(recorder.seen.body_in) == given


def test_a_body_that_nobody_reads_is_not_read() -> None:
    body = io.BytesIO(b"{}")
    app, recorder = watched(says(BODY))
    wsgi(app, environ(b"{}") | {"wsgi.input": body})
    assert body.tell() == 0
    assert recorder.seen.bytes_in == 0


def test_everything_else_of_the_input_is_the_servers() -> None:
    met: list[Any] = []

    def app(env: Any, start_response: Any) -> list[bytes]:
        met.append((env["wsgi.input"].getvalue(), env["wsgi.input"].seekable()))
        with pytest.raises(AttributeError):
            _ = env["wsgi.input"].nothing
        start_response("200 OK", JSON)
        return [BODY]

    watch, _ = watched(app)
    wsgi(watch, environ(b"{}"))
    assert met == [(b"{}", True)]


def test_without_a_body_the_input_is_the_servers_own() -> None:
    met: list[Any] = []

    def app(env: Any, start_response: Any) -> list[bytes]:
        met.append(env["wsgi.input"])
        start_response("200 OK", JSON)
        return [BODY]

    given = environ()
    watch, _ = watched(app)
    wsgi(watch, given)
    assert met == [given["wsgi.input"]]


# Answers of every kind.


def test_a_list_reaches_the_server_as_it_is() -> None:
    parts = [b"a", b"", b"b"]

    def app(_environ: Any, start_response: Any) -> Any:
        start_response("200 OK", JSON)
        return parts

    watch, recorder = watched(app)
    assert wsgi(watch).parts is parts
    assert recorder.seen.bytes_out == 2


def test_a_file_reaches_the_server_as_it_is() -> None:
    file = FileWrapper(io.BytesIO(b"x" * 10_000))

    def app(_environ: Any, start_response: Any) -> Any:
        start_response("200 OK", JSON)
        return file

    watch, recorder = watched(app)
    assert wsgi(watch, environ() | {"wsgi.file_wrapper": FileWrapper}).parts is file
    assert recorder.seen.bytes_out == 0
    assert not recorder.seen.gone


def test_a_stream_is_passed_on_part_by_part() -> None:
    log: list[str] = []

    def app(_environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", JSON)
        for number in range(3):
            log.append(f"made {number}")
            yield b"%d" % number

    watch, recorder = watched(app)
    answer = watch(environ(), lambda *_: None)
    for part in answer:
        log.append(f"sent {part.decode()}")
    assert log == ["made 0", "sent 0", "made 1", "sent 1", "made 2", "sent 2"]
    assert not recorder.items
    answer.close()  # type: ignore[attr-defined]
    assert recorder.seen.bytes_out == 3
    assert not recorder.seen.gone


class Sized:
    """An answer of known length that wants to be closed."""

    def __init__(self, *parts: bytes) -> None:
        self.parts = parts
        self.closed = 0

    def __len__(self) -> int:
        return len(self.parts)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.parts)

    def close(self) -> None:
        self.closed += 1


def test_an_answer_of_known_length_keeps_it() -> None:
    """A server then tells how long the body is, which it must do as without us."""
    for wrap in (lambda app: app, lambda app: watched(app, return_request_id=False)[0]):
        sized = Sized(BODY)

        def app(_environ: Any, start_response: Any, sized: Sized = sized) -> Any:
            start_response("200 OK", JSON)
            return sized

        out = io.BytesIO()
        handler = SimpleHandler(io.BytesIO(), out, io.StringIO(), environ())
        handler.run(wrap(app))
        assert b"Content-Length: 12\r\n" in out.getvalue()
        assert sized.closed == 1


def test_an_answer_of_unknown_length_gets_none() -> None:
    app, _ = watched(streams(BODY))
    with pytest.raises(TypeError):
        len(app(environ(), lambda *_: None))  # type: ignore[arg-type]


def test_write_works_as_before() -> None:
    def app(_environ: Any, start_response: Any) -> list[bytes]:
        write = start_response("200 OK", JSON)
        write(b'{"ok"')
        write(b"")
        return [b": true}"]

    watch, recorder = watched(app)
    assert wsgi(watch).body == BODY
    assert recorder.seen.bytes_out == len(BODY)
    assert b"".join(recorder.seen.body_out) == BODY


@pytest.mark.parametrize("by_name", [True, False])
def test_an_answer_that_is_begun_again_after_an_error(by_name: bool) -> None:
    def app(_environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", JSON)
        try:
            raise ZeroDivisionError
        except ZeroDivisionError:
            if by_name:
                start_response("500 No", JSON, exc_info=sys.exc_info())
            else:
                start_response("500 No", JSON, sys.exc_info())
        return [BODY]

    watch, recorder = watched(app)
    started = wsgi(watch).started
    assert [(status, info is None) for status, _, info in started] == [
        ("200 OK", True),
        ("500 No", False),
    ]
    assert started[1][2][0] is ZeroDivisionError
    assert recorder.seen.status == 500


def test_the_answer_gets_the_id_at_its_end_unless_it_has_one() -> None:
    app, recorder = watched(says(BODY))
    name = wsgi(app).started[0][1][-1]
    assert name == ("x-request-id", recorder.seen.context.request_id)
    own = [("X-REQUEST-ID", "own")]
    app, _ = watched(says(BODY, headers=own))
    assert wsgi(app).started[0][1] is own
    app, _ = watched(says(BODY, headers=own), return_request_id=False)
    assert wsgi(app).started[0][1] is own


def test_a_watched_application_within_a_watched_one_is_seen_once() -> None:
    inner, inside = watched(says(BODY))
    outer, outside = watched(inner)
    [(_, headers, _)] = wsgi(outer).started
    assert not inside.items
    assert outside.seen.status == 200
    assert [name for name, _ in headers].count("x-request-id") == 1


# Trouble.


def test_an_exception_passes_as_it_is() -> None:
    error = ZeroDivisionError("the till is empty")

    def app(_environ: Any, _start_response: Any) -> list[bytes]:
        raise error

    watch, recorder = watched(app)
    with pytest.raises(ZeroDivisionError) as raised:
        wsgi(watch)
    assert raised.value is error
    failure = recorder.seen.failure
    assert failure is not None
    assert (failure.type, failure.handled) == ("ZeroDivisionError", False)
    assert recorder.seen.status == 0
    assert current() is None


def test_an_exception_in_the_middle_passes_as_it_is() -> None:
    error = ZeroDivisionError("too late")
    app, recorder = watched(streams(b"a", error))
    with pytest.raises(ZeroDivisionError) as raised:
        wsgi(app)
    assert raised.value is error
    assert recorder.seen.failure is not None
    assert not recorder.seen.gone


def test_an_exception_while_closing_passes_as_it_is() -> None:
    class Broken(Sized):
        def close(self) -> None:
            raise ZeroDivisionError("in close")

    def app(_environ: Any, start_response: Any) -> Any:
        start_response("200 OK", JSON)
        return Broken(BODY)

    watch, recorder = watched(app)
    with pytest.raises(ZeroDivisionError):
        wsgi(watch)
    assert recorder.seen.failure is not None
    assert current() is None


def test_a_client_that_leaves_is_gone_and_the_generator_is_told() -> None:
    told: list[str] = []

    def app(_environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", JSON)
        try:
            yield b"a"
            yield b"b"
        finally:
            told.append("closed")

    watch, recorder = watched(app)
    assert wsgi(watch, most=1).body == b"a"
    assert told == ["closed"]
    assert recorder.seen.gone
    assert recorder.seen.failure is None


def test_a_head_request_needs_no_body_to_be_complete() -> None:
    app, recorder = watched(streams(b"a", b"b"))
    wsgi(app, environ(REQUEST_METHOD="HEAD"), most=1)
    assert not recorder.seen.gone


def test_a_server_that_closes_nothing_loses_no_record() -> None:
    app, recorder = watched(streams(b"a"))
    for _ in app(environ(), lambda *_: None):
        pass
    assert recorder.seen.bytes_out == 1


def test_a_server_that_closes_twice_makes_no_second_record() -> None:
    app, recorder = watched(streams(b"a"))
    answer: Any = app(environ(), lambda *_: None)
    list(answer)
    answer.close()
    answer.close()
    assert recorder.seen.bytes_out == 1


def test_a_broken_client_of_ours_changes_nothing() -> None:
    app = WsgiWatch(streams(BODY), Recorder(broken=True, return_request_id=False).watching())
    before = mishaps()
    answer = wsgi(app)
    assert (answer.body, answer.started) == (BODY, [("200 OK", JSON, None)])
    assert mishaps() == before + 1


def test_a_broken_look_costs_the_route_and_nothing_else() -> None:
    def look(*_: Any) -> None:
        raise LookupError("ours")

    app, recorder = watched(says(BODY), look, return_request_id=False)
    before = mishaps()
    assert wsgi(app).started == [("200 OK", JSON, None)]
    assert mishaps() == before + 1
    assert recorder.seen.status == 200


@pytest.mark.parametrize(
    ("status", "headers"),
    [("nonsense", JSON), ("200 OK", [7]), ("200 OK", None), (7, JSON)],
)
def test_a_start_that_makes_no_sense_is_the_servers_business(status: Any, headers: Any) -> None:
    app, _ = watched(says(BODY, status=status, headers=headers))
    assert wsgi(app).started == [(status, headers, None)]


def test_headers_that_can_be_read_once_reach_the_server() -> None:
    app, _ = watched(says(BODY, headers=iter(JSON)))
    assert list(wsgi(app).started[0][1]) == JSON


def test_an_environment_that_makes_no_sense_is_served_all_the_same() -> None:
    app, recorder = watched(says(BODY))
    before = mishaps()
    assert wsgi(app, environ(RAW_URI=7)).body == BODY
    assert mishaps() == before + 1
    assert not recorder.items
    assert current() is None


# The request at hand.


def test_the_request_is_at_hand_until_the_last_part_and_no_longer() -> None:
    met: list[Any] = []

    def app(_environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", JSON)
        identify(user="joe")
        yield b"a"
        met.append(current())

    watch, recorder = watched(app)
    wsgi(watch)
    assert met == [recorder.seen.context]
    assert met[0].user == "joe"
    assert current() is None


def test_threads_do_not_see_each_others_requests() -> None:
    together = threading.Barrier(8, timeout=20)

    def app(env: Any, start_response: Any) -> Iterator[bytes]:
        identify(user=env["PATH_INFO"])
        together.wait()
        start_response("200 OK", JSON)
        at_hand = current()
        assert at_hand is not None
        yield str(at_hand.user).encode()

    watch, recorder = watched(app)

    def serve(number: int) -> None:
        wsgi(watch, environ(PATH_INFO=f"/{number}"))
        assert current() is None

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(serve, range(32)))
    assert len(recorder.items) == 32
    for seen in recorder.items:
        assert b"".join(seen.body_out).decode() == seen.context.user == seen.path


def test_what_waits_for_the_end_of_the_request_is_called_after_the_last_part() -> None:
    called: list[int] = []

    def app(_environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", JSON)
        at_hand = current()
        assert at_hand is not None
        assert at_hand.at_end(lambda: called.append(len(recorder.items)))
        yield BODY
        assert not called

    watch, recorder = watched(app)
    wsgi(watch)
    assert called == [1]
    assert recorder.seen.context.facts is None
