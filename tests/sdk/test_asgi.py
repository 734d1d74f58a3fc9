"""``AsgiWatch`` without any framework: what is seen, and that nothing else changes."""

from __future__ import annotations

import asyncio
import json
import traceback
from collections.abc import Iterator
from typing import Any

import pytest
from tests.sdk.recording import Recorder, asgi, scope
from tests.sdk.requests import App

from tocsin.sdk.context import current, identify
from tocsin.sdk.harmless import mishaps
from tocsin.sdk.watching.asgi import AsgiWatch, Scope
from tocsin.sdk.watching.serving import Serving

JSON = [(b"content-type", b"application/json")]
BODY = b'{"ok": true}'
ID = (b"x-request-id", b"given-7")


def start(headers: Any = JSON, status: int = 200) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": headers}


def part(body: bytes = BODY, *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": more}


def says(*messages: Any) -> Any:
    """An application that sends these; an exception among them is raised."""

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        for message in messages:
            if isinstance(message, BaseException):
                raise message
            await send(message)

    return app


def reads(count: int = 1_000) -> Any:
    """An application that reads its body, or as many messages of it."""

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        for _ in range(count):
            message = await receive()
            if not message.get("more_body"):
                break
        await send(start())
        await send(part())

    return app


def request(*parts: bytes) -> Iterator[dict[str, Any]]:
    for at, body in enumerate(parts, 1):
        yield {"type": "http.request", "body": body, "more_body": at < len(parts)}


def watched(app: Any, look: Any = None, **options: Any) -> tuple[AsgiWatch, Recorder]:
    recorder = Recorder(**options)
    return AsgiWatch(app, recorder.watching("shop"), look), recorder


# What is seen.


def test_a_request_is_seen_as_the_server_tells_it() -> None:
    app, recorder = watched(says(start(), part()))
    asgi(app, headers=[(b"host", b"shop.example.org"), ID])
    seen = recorder.seen
    assert (seen.method, seen.scheme, seen.http_version) == ("GET", "https", "1.1")
    assert (seen.path, seen.query) == ("/v1/orders/7", b"a=1")
    assert seen.peer == ("203.0.113.9", 51234)
    assert seen.headers == ((b"host", b"shop.example.org"), ID)
    assert (seen.status, seen.bytes_out, seen.service) == (200, len(BODY), "shop")
    assert list(seen.out_headers) == [*JSON, ID]
    assert seen.context.request_id == "given-7"
    assert seen.began > 1_700_000_000 * 10**9
    assert 0 < seen.duration_ns < 60 * 10**9
    assert not seen.gone
    assert (seen.failure, seen.route, seen.routed, seen.user) == (None, None, None, None)


@pytest.mark.parametrize(
    ("raw", "path", "wire"),
    [
        (b"/caf%C3%A9", "/café", "/caf%C3%A9"),
        (b"/a?b=c", "/a", "/a"),
        (b"/\xff\r\n", "/?", "/%FF%0D%0A"),
        (None, "/café/100%/\r\n", "/caf%C3%A9/100%25/%0D%0A"),
        (None, "/\udcff", "/%ED%B3%BF"),
    ],
)
def test_the_path_is_as_on_the_wire(raw: bytes | None, path: str, wire: str) -> None:
    app, recorder = watched(says(start(), part()))
    asgi(app, raw_path=raw, path=path)
    assert recorder.seen.path == wire


def test_a_server_that_tells_little_is_enough() -> None:
    app, recorder = watched(says(start(), part()))

    async def serve() -> None:
        async def nothing(*_: Any) -> Any: ...

        await app({"type": "http", "path": "/", "headers": []}, nothing, nothing)

    asyncio.run(serve())
    assert recorder.seen.peer is None
    assert recorder.seen.method == "GET"


def test_a_body_is_kept_by_reference_and_not_beyond_the_limit() -> None:
    app, recorder = watched(reads(), inspect_bytes=10)
    parts = [b"{" + b" " * 5, b" " * 6, b" " * 7]
    asgi(app, request(*parts), method="POST", headers=JSON)
    seen = recorder.seen
    assert seen.bytes_in == sum(map(len, parts))
    assert [id(one) for one in seen.body_in] == [id(one) for one in parts[:2]]
    assert seen.cut_in


def test_a_body_that_ends_at_the_limit_is_not_cut() -> None:
    app, recorder = watched(says(start(), part(b"x" * 10, more=True), part(b"")), inspect_bytes=10)
    asgi(app)
    assert recorder.seen.body_out == [b"x" * 10]
    assert not recorder.seen.cut_out


def test_of_a_huge_part_a_piece_is_kept() -> None:
    huge = b"x" * 1_000_000
    app, recorder = watched(says(start(), part(huge)), inspect_bytes=100)
    assert asgi(app)[1]["body"] is huge
    assert recorder.seen.body_out == [b"x" * 100]
    assert recorder.seen.cut_out
    assert recorder.seen.bytes_out == len(huge)


def test_a_part_that_may_still_change_is_copied() -> None:
    body = bytearray(BODY)
    app, recorder = watched(says(start(), {"type": "http.response.body", "body": body}))
    asgi(app)
    body[:] = b"something else"
    assert recorder.seen.body_out == [BODY]


@pytest.mark.parametrize("kind", [b"text/html", b"image/png", b"application/octet-stream"])
def test_what_is_not_json_is_counted_only(kind: bytes) -> None:
    app, recorder = watched(says(start([(b"content-type", kind)]), part()))
    asgi(app)
    assert not recorder.seen.body_out
    assert recorder.seen.bytes_out == len(BODY)


def test_no_body_is_looked_at_when_that_is_off() -> None:
    app, recorder = watched(reads(), inspect=False)
    asgi(app, request(BODY), method="POST", headers=JSON)
    assert not recorder.seen.body_in
    assert not recorder.seen.body_out
    assert recorder.seen.bytes_in == recorder.seen.bytes_out == len(BODY)


def test_the_time_that_background_work_takes_is_not_the_requests() -> None:
    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send(start())
        await send(part())
        await asyncio.sleep(0.2)

    watch, recorder = watched(app)
    asgi(watch)
    assert recorder.seen.duration_ns < 150_000_000


def test_what_authentication_left_is_the_user() -> None:
    class Somebody:
        is_authenticated = True
        display_name = "joe"

    app, recorder = watched(says(start(), part()))
    asgi(app, user=Somebody())
    asgi(app, state={"user": "ann"})
    asgi(app, user=object())
    asgi(app)
    assert [seen.user for seen in recorder.items] == ["joe", "ann", None, None]


def test_nothing_of_the_request_is_kept_alive() -> None:
    import gc
    import weakref

    class Held: ...

    async def app(given: Any, _receive: Any, send: Any) -> None:
        await send(start())
        raise ValueError(given["held"])

    def look(given: Scope, serving: Serving, _path: str) -> None:
        serving.params = {"held": given["held"], "id": 7}

    held = Held()
    gone = weakref.ref(held)
    watch, recorder = watched(app, look)
    with pytest.raises(ValueError):
        asgi(watch, held=held)
    del held
    gc.collect()
    assert gone() is None
    assert recorder.seen.failure is not None
    assert recorder.seen.params == {"id": 7}


# Ids.


def test_the_answer_gets_the_id_at_its_end() -> None:
    app, recorder = watched(says(start(), part()))
    [first, _] = asgi(app)
    name = recorder.seen.context.request_id.encode()
    assert first["headers"] == [*JSON, (b"x-request-id", name)]


@pytest.mark.parametrize("name", [b"x-request-id", b"X-Request-ID"])
def test_an_id_that_the_application_sets_itself_stays_alone(name: bytes) -> None:
    message = start([(name, b"its-own")])
    app, _ = watched(says(message, part()))
    assert asgi(app)[0] is message


def test_without_returned_ids_every_message_is_the_applications_own() -> None:
    messages = [start(), part(b"a", more=True), part(b"b")]
    app, _ = watched(says(*messages), return_request_id=False)
    assert [id(one) for one in asgi(app)] == [id(one) for one in messages]


def test_a_message_that_an_application_uses_again_is_not_changed() -> None:
    message = start()
    app, _ = watched(says(message, part()))
    asgi(app)
    asgi(app)
    assert message == start()


def test_headers_that_can_be_read_once_reach_the_server() -> None:
    app, _ = watched(says(start(iter(JSON)), part()))
    assert list(asgi(app)[0]["headers"])[:1] == JSON


def test_another_header_may_carry_the_id() -> None:
    app, recorder = watched(says(start(), part()), request_id_header="Trace-Me")
    [first, _] = asgi(app, headers=[(b"trace-me", b"7")])
    assert first["headers"][-1] == (b"trace-me", b"7")
    assert recorder.seen.context.request_id == "7"


# Answers of every kind.


def test_messages_of_every_kind_pass_as_they_are() -> None:
    messages = [
        {"type": "http.response.early_hint", "links": [b"</a>"]},
        start([*JSON, (b"x-request-id", b"own")]) | {"trailers": True},
        part(b"a", more=True),
        {"type": "http.response.debug", "info": {}},
        {"type": "http.response.push", "path": "/a", "headers": []},
        part(b"b"),
        {"type": "http.response.trailers", "headers": [(b"a", b"b")], "more_trailers": False},
        {"type": "a.kind.of.tomorrow"},
    ]
    app, recorder = watched(says(*messages))
    assert [id(one) for one in asgi(app)] == [id(one) for one in messages]
    assert recorder.seen.bytes_out == 2
    assert not recorder.seen.gone


@pytest.mark.parametrize(
    "message",
    [
        {"type": "http.response.pathsend", "path": "/etc/hostname"},
        {"type": "http.response.zerocopysend", "file": 3},
    ],
)
def test_what_the_server_sends_by_itself_completes_the_answer(message: Any) -> None:
    app, recorder = watched(says(start(), message))
    asgi(app)
    assert not recorder.seen.gone
    assert recorder.seen.bytes_out == 0


def test_a_watched_application_within_a_watched_one_is_seen_once() -> None:
    inner, inside = watched(says(start(), part()), look_for_route("/orders/{id}"))

    async def mount(outer: Any, receive: Any, send: Any) -> None:
        await inner({**outer, "root_path": "/v1"}, receive, send)

    outer, outside = watched(mount)
    [first, _] = asgi(outer)
    assert not inside.items
    assert outside.seen.route == "/orders/{id}"
    assert [name for name, _ in first["headers"]].count(b"x-request-id") == 1


def look_for_route(route: str) -> Any:
    def look(_scope: Scope, serving: Serving, _path: str) -> None:
        serving.route = route

    return look


# Websockets.


def called(name: str, *bases: type[BaseException]) -> type[BaseException]:
    return type(name, bases or (Exception,), {})


@pytest.mark.parametrize(
    "error",
    [
        called("WebSocketDisconnect"),
        called("MyOwn", called("WebSocketDisconnect")),
        called("WebSocketDisconnected"),
        called("ClientDisconnected", OSError),
        called("StopConsumer"),
    ],
)
@pytest.mark.parametrize("grouped", [False, True])
def test_a_clients_farewell_that_is_raised_is_no_failure(
    error: type[Exception], grouped: bool
) -> None:
    async def app(_scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        await receive()
        raise ExceptionGroup("tasks", [error()]) if grouped else error()

    recorder = Recorder()
    with pytest.raises(ExceptionGroup if grouped else error):
        asgi(
            AsgiWatch(app, recorder.watching()),
            [{"type": "websocket.disconnect", "code": 1000}],
            type="websocket",
        )
    assert recorder.seen.failure is None
    assert not recorder.seen.gone
    events = App().take(recorder.seen)
    assert [(event.kind, event.outcome) for event in events] == [("request", "unknown")]


def test_a_farewell_that_the_server_does_not_take_any_more_is_no_failure_and_a_mistake_is() -> None:
    mistake = ZeroDivisionError("in the end")

    async def closes(_scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.close"})

    async def fails(_scope: Any, receive: Any, _send: Any) -> None:
        await receive()
        raise mistake

    async def serve(app: Any, recorder: Recorder) -> None:
        async def receive() -> Any:
            return {"type": "websocket.disconnect", "code": 1000}

        async def send(_message: Any) -> None:
            raise RuntimeError("it is closed")

        with pytest.raises((RuntimeError, ZeroDivisionError)):
            await AsgiWatch(app, recorder.watching())(scope(type="websocket"), receive, send)

    good, bad = Recorder(), Recorder()
    asyncio.run(serve(closes, good))
    asyncio.run(serve(fails, bad))
    assert good.seen.failure is None
    assert bad.seen.failure is not None
    assert bad.seen.failure.message == "in the end"


def test_a_body_that_broke_off_is_the_clients_doing() -> None:
    async def app(_scope: Any, receive: Any, _send: Any) -> None:
        await receive()
        raise gone

    recorder, gone = Recorder(), called("ClientDisconnect")
    with pytest.raises(gone):
        asgi(AsgiWatch(app, recorder.watching()), [{"type": "http.disconnect"}], method="POST")
    assert recorder.seen.failure is None
    assert recorder.seen.gone


def test_a_websocket_is_one_request_from_handshake_to_farewell() -> None:
    async def app(_scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept", "headers": [(b"a", b"b")]})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"] * 2})

    watch, recorder = watched(app)
    incoming = [
        {"type": "websocket.connect"},
        {"type": "websocket.receive", "text": "four"},
        {"type": "websocket.disconnect", "code": 1006},
    ]
    sent = asgi(watch, incoming, type="websocket", scheme="wss")
    assert sent[0] == {"type": "websocket.accept", "headers": [(b"a", b"b")]}
    seen = recorder.seen
    assert (seen.status, seen.scheme, seen.method) == (101, "wss", "GET")
    assert (seen.bytes_in, seen.bytes_out) == (4, 8)
    assert not seen.gone


@pytest.mark.parametrize(
    ("messages", "status"),
    [
        ([{"type": "websocket.close", "code": 1008}], 403),
        (
            [
                {"type": "websocket.http.response.start", "status": 401, "headers": []},
                {"type": "websocket.http.response.body", "body": b"no"},
            ],
            401,
        ),
    ],
)
def test_a_websocket_that_is_refused_has_the_status_of_that(messages: Any, status: int) -> None:
    app, recorder = watched(says(*messages))
    sent = asgi(app, type="websocket")
    assert [id(one) for one in sent] == [id(one) for one in messages]
    assert recorder.seen.status == status


def test_headers_of_a_handshake_that_can_be_read_once_reach_the_server() -> None:
    message = {"type": "websocket.accept", "headers": iter([(b"a", b"b")])}
    app, _ = watched(says(message))
    assert list(asgi(app, type="websocket")[0]["headers"]) == [(b"a", b"b")]


# Trouble.


@pytest.mark.parametrize("before", [[], [start()], [start(), part(b"a", more=True)]])
def test_an_exception_passes_as_it_is(before: list[Any]) -> None:
    error = ZeroDivisionError("the till is empty")
    app, recorder = watched(says(*before, error))
    with pytest.raises(ZeroDivisionError) as raised:
        asgi(app)
    assert raised.value is error
    names = [frame.name for frame in traceback.extract_tb(raised.value.__traceback__)]
    assert names[-2:] == ["__call__", "app"]
    failure = recorder.seen.failure
    assert failure is not None
    assert (failure.type, failure.message, failure.handled) == (
        "ZeroDivisionError",
        "the till is empty",
        False,
    )
    assert failure.stack.endswith(" says.<locals>.app")
    assert "asgi.py" not in failure.stack.replace("test_asgi.py", "")
    assert recorder.seen.status == (200 if before else 0)
    assert not recorder.seen.gone


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
def test_the_end_of_the_process_passes_as_well(error: BaseException) -> None:
    app, recorder = watched(says(error))
    with pytest.raises(type(error)):
        asgi(app)
    assert recorder.seen.failure is not None
    assert recorder.seen.failure.type == type(error).__name__


def test_being_cancelled_is_the_clients_leaving_and_no_failure() -> None:
    app, recorder = watched(says(start(), part(b"a", more=True), asyncio.CancelledError()))
    with pytest.raises(asyncio.CancelledError):
        asgi(app)
    assert recorder.seen.gone
    assert recorder.seen.failure is None


def test_a_server_that_says_the_client_is_gone() -> None:
    watch, recorder = watched(says(start(), part(more=True), part()))
    error = OSError("gone")

    async def serve() -> None:
        async def receive() -> Any: ...

        async def send(message: Any) -> None:
            if message.get("more_body"):
                raise error

        await watch(scope(), receive, send)

    with pytest.raises(OSError, match="gone") as raised:
        asyncio.run(serve())
    assert raised.value is error
    assert recorder.seen.gone
    assert recorder.seen.failure is None


def test_a_client_that_leaves_before_the_end_is_gone() -> None:
    app, recorder = watched(reads())
    begun = {"type": "http.request", "body": b"{", "more_body": True}
    asgi(app, [begun, {"type": "http.disconnect"}], method="POST")
    assert recorder.seen.gone


def test_a_client_that_leaves_after_the_end_is_not() -> None:
    async def app(_scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        await send(part())
        await receive()

    watch, recorder = watched(app)
    asgi(watch, [{"type": "http.disconnect"}])
    assert not recorder.seen.gone


def test_an_answer_that_was_not_completed_lost_its_client() -> None:
    app, recorder = watched(says(start(), part(more=True)))
    asgi(app)
    assert recorder.seen.gone


def test_a_broken_client_of_ours_changes_nothing() -> None:
    messages = [start(), part()]
    app = AsgiWatch(says(*messages), Recorder(broken=True, return_request_id=False).watching())
    before = mishaps()
    assert asgi(app) == messages
    assert mishaps() == before + 1


def test_a_broken_look_costs_the_route_and_nothing_else() -> None:
    def look(*_: Any) -> None:
        raise LookupError("ours")

    app, recorder = watched(says(start(), part()), look)
    before = mishaps()
    assert len(asgi(app)) == 2
    assert mishaps() == before + 1
    assert recorder.seen.status == 200


@pytest.mark.parametrize(
    "changes",
    [
        {"headers": [7]},
        {"headers": None},
        {"headers": [(b"x-request-id", 7)]},
        {"path": None, "headers": [(b"traceparent",)]},
    ],
)
def test_a_request_that_makes_no_sense_is_served_all_the_same(changes: Any) -> None:
    messages = [start(), part()]
    app, recorder = watched(says(*messages))
    before = mishaps()
    assert asgi(app, **changes) == messages
    assert mishaps() == before + 1
    assert not recorder.items
    assert current() is None


@pytest.mark.parametrize(
    "message",
    [
        {"type": "http.response.start"},
        {"type": "http.response.start", "status": 200, "headers": [b"no pair"]},
        {"type": "http.response.body", "body": 7},
        {},
        {"type": 7},
    ],
)
def test_a_message_that_makes_no_sense_is_the_servers_business(message: Any) -> None:
    app, _ = watched(says(message))
    assert asgi(app) == [message]


# The request at hand.


def test_the_request_is_at_hand_while_it_is_served_and_no_longer() -> None:
    met: list[Any] = []

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        identify(user="joe")
        met.append(current())
        await send(start())
        await send(part())

    watch, recorder = watched(app)

    async def serve() -> None:
        async def receive() -> Any: ...
        async def send(_message: Any) -> None: ...

        assert current() is None
        await watch(scope(), receive, send)
        assert current() is None
        await watch(scope(), receive, send)
        assert current() is None

    asyncio.run(serve())
    assert [seen.context for seen in recorder.items] == met
    assert met[0] is not met[1]
    assert met[0].user == "joe"


def test_requests_at_once_do_not_see_each_other() -> None:
    async def app(given: Any, _receive: Any, send: Any) -> None:
        identify(user=given["path"])
        await asyncio.sleep(0.001 * (hash(given["path"]) % 7))
        at_hand = current()
        assert at_hand is not None
        await send(start())
        await send(part(json.dumps({"user": at_hand.user, "path": given["path"]}).encode()))

    watch, recorder = watched(app)

    async def serve() -> None:
        async def receive() -> Any: ...
        async def send(_message: Any) -> None: ...

        await asyncio.gather(*(watch(scope(path=f"/{n}"), receive, send) for n in range(100)))

    asyncio.run(serve())
    for seen in recorder.items:
        told = json.loads(b"".join(seen.body_out))
        assert told["user"] == told["path"] == seen.context.user
    assert len({seen.context.request_id for seen in recorder.items}) == 100


def test_background_work_of_one_request_does_not_lend_its_name_to_the_next() -> None:
    """A task that a request began goes on with that request; what it serves is its own."""
    queue: asyncio.Queue[Any]
    names: list[Any] = []

    async def work(watch: Any) -> None:
        async def receive() -> Any: ...
        async def send(_message: Any) -> None: ...

        while (job := await queue.get()) is not None:
            await watch(scope(path=job), receive, send)
            names.append(current())

    async def app(given: Any, _receive: Any, send: Any) -> None:
        if given["path"] == "/first":
            tasks.append(asyncio.create_task(work(watch)))
        else:
            identify(user=given["path"])
        await send(start())
        await send(part())

    watch, recorder = watched(app)
    tasks: list[asyncio.Task[None]] = []

    async def serve() -> None:
        nonlocal queue
        queue = asyncio.Queue()

        async def receive() -> Any: ...
        async def send(_message: Any) -> None: ...

        await watch(scope(path="/first"), receive, send)
        for job in ("/a", "/b", None):
            await queue.put(job)
        await tasks[0]

    asyncio.run(serve())
    first, a, b = recorder.items
    assert (first.context.user, a.context.user, b.context.user) == (None, "/a", "/b")
    assert len({seen.context.request_id for seen in recorder.items}) == 3
    assert names == [first.context, first.context]


def test_events_that_are_made_meanwhile_know_the_request_and_nothing_holds_on_to_it() -> None:
    known: list[Any] = []

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        at_hand = current()
        assert at_hand is not None
        assert at_hand.facts is not None
        known.append(at_hand.facts())
        await send(start())
        await send(part())

    headers = [(b"user-agent", b"curl"), (b"x-forwarded-for", b"198.51.100.7")]
    watch, recorder = watched(app, look_for_route("/orders/{id}"), trusted_proxies=("203.0.113.9",))
    asgi(watch, headers=headers, raw_path=b"/caf%C3%A9")
    assert known[0]["client_ip"] == "198.51.100.7"
    assert known[0]["client_port"] is None
    assert (known[0]["route"], known[0]["path"]) == ("/orders/{id}", "/caf%C3%A9")
    assert (known[0]["user_agent"], known[0]["method"]) == ("curl", "GET")
    assert recorder.seen.context.facts is None


def test_what_waits_for_the_end_of_the_request_is_called_when_it_has_been_seen() -> None:
    called: list[int] = []

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        at_hand = current()
        assert at_hand is not None
        assert at_hand.at_end(lambda: called.append(len(recorder.items)))
        await send(start())
        await send(part())
        assert not called

    watch, recorder = watched(app)
    asgi(watch)
    assert called == [1]
    assert not recorder.seen.context.at_end(lambda: None)
