"""What is remembered from request to request changes nothing of what is said, and stays small."""

# One row of a table is one line, whatever its length.
# ruff: noqa: E501

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.sdk.recording import Recorder, asgi, environ, wsgi
from tests.sdk.requests import App, jwt, seen

from tocsin.sdk import context as module
from tocsin.sdk.context import Context
from tocsin.sdk.reading import headers, shapes
from tocsin.sdk.reading.headers import said
from tocsin.sdk.reading.shapes import Shapes
from tocsin.sdk.seen import Failure, Seen
from tocsin.sdk.watching import exchange
from tocsin.sdk.watching.asgi import AsgiWatch
from tocsin.sdk.watching.serving import Serving
from tocsin.sdk.watching.wsgi import WsgiWatch

# Reading.

_ANSWERS: list[Any] = [
    None, {}, {"id": 7, "status": "ok"}, {"id": 7, "status": "failed"}, {"status": "fail", "message": "no such user"},
    {"status": True}, {"status": False}, {"id": 8, "owner": "ann"}, {"id": 8, "owner": {"name": "bob"}}, {"data": {"id": 9, "role": "admin"}},
    {"items": [{"id": 1, "email": "a@b.example"}, {"id": 2}]}, [{"id": 1}, {"id": 2}], {"error": "it broke"}, {"success": False},
]  # fmt: skip
_ROUTES: list[tuple[str, dict[str, Any]]] = [
    ("/v1/orders/{id}", {"id": "7"}),
    ("/v1/orders/{id}", {"id": 8}),
    ("/v1/users/{name}/orders", {"name": "ann"}),
    ("/v1/items", {}),
]
_HEADERS: list[dict[str, str]] = [
    {}, {"authorization": f"Bearer {jwt({'sub': 'ann'})}"}, {"authorization": "Bearer other"},
    {"cookie": "session=8f3a"}, {"user-agent": "password=hunter2pw"},
]  # fmt: skip
_FAILURES = [None, Failure("app.NotFound", "", "", handled=True), Failure("ValueError", "", "")]


def request(
    n: int, status: int, answer: int, route: int, lines: int, failure: int, out: str
) -> Seen:
    template, params = _ROUTES[route]
    return seen(
        f"GET {template.format(**params)}?page={n}",
        status,
        _ANSWERS[answer],
        route=template,
        params=params,
        headers=_HEADERS[lines],
        failure=_FAILURES[failure],
        out={"content-type": out, "x-request-id": f"r-{n}"},
        context=Context(f"r-{n}", f"{n:032x}"),
    )


requests = st.builds(
    request,
    st.integers(0, 3),
    st.sampled_from([200, 200, 201, 302, 404, 422, 500]),
    st.integers(0, len(_ANSWERS) - 1),
    st.integers(0, len(_ROUTES) - 1),
    st.integers(0, len(_HEADERS) - 1),
    st.sampled_from([0, 0, 0, 1, 2]),
    st.sampled_from(["application/json", "application/problem+json; charset=utf-8"]),
)


# Nobody is refused for who he is: from that a reader learns, and means to.
@given(st.lists(requests, min_size=2, max_size=12))
def test_a_request_is_the_same_event_whatever_was_read_before(some: list[Seen]) -> None:
    app = App()
    for one in some:
        assert app.take(one) == App().take(one)


def test_each_answer_has_its_own_shape_however_alike_they_are() -> None:
    known = Shapes()
    first, second = {"id": 1, "admin": True}, {"id": 1, "Admin": True, "token": "a"}
    for _ in range(2):
        assert known.of(first).told == ("admin",)
        assert known.of(second).told == ("Admin", "token")
        assert known.of(None) is shapes.NO_SHAPE
        assert known.of([first]) is shapes.NO_SHAPE


def test_names_that_an_answer_tells_leave_as_names_only() -> None:
    card = "4111111111111111"
    shape = Shapes().of({"role": 1, card: 2, **{f"owner{'_' * n}": 3 for n in range(200)}})
    assert card not in repr(shape.told)
    assert len(shape.told or ()) == shapes.MOST_TOLD


def test_of_an_answers_lines_those_that_matter_are_read() -> None:
    lines = [(b"Server", b"a"), (b"CONTENT-TYPE", b"text/html"), (b"x-request-id", b"7"), (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")]  # fmt: skip
    assert said(lines) == {"content-type": "text/html", "set-cookie": "a=1, b=2"}
    assert said([("Location", "/a"), ("Content-Encoding", "br")]) == {
        "location": "/a",
        "content-encoding": "br",
    }


def test_names_of_an_answers_lines_are_remembered_within_bounds() -> None:
    for n in range(10_000):
        said([(b"x-%d" % n, b"")])
        said([(b"x-%d-%s" % (n, b"x" * 1_000), b"")])
    assert len(headers._OF_ANSWERS) <= 4_096
    assert max(map(len, headers._OF_ANSWERS)) < 64


# Answers as they go by.

_JSON, _TEXT = (b"content-type", b"application/json"), (b"content-type", b"text/csv")
_OTHER, _ID = (b"x-other-name", b"json"), (b"X-Request-ID", b"its-own")
_SETS: list[tuple[list[tuple[bytes, bytes]], bool]] = [
    ([_JSON, _OTHER], True), ([_OTHER, _JSON], True), ([_TEXT, _OTHER], False), ([_OTHER], False), ([], False),
    ([_OTHER, _ID, _JSON], True), ([_ID], False), ([_JSON, _TEXT], False), ([_TEXT, _JSON], True), ([(b"Content-Type", b"text/json")], True),
]  # fmt: skip


@given(st.lists(st.sampled_from(_SETS), min_size=1, max_size=12))
def test_each_answers_own_lines_decide(
    answers: list[tuple[list[tuple[bytes, bytes]], bool]],
) -> None:
    recorder = Recorder()
    left = iter(answers)

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": next(left)[0]})
        await send({"type": "http.response.body", "body": b"{}"})

    watch = AsgiWatch(app, recorder.watching())
    for lines, is_json in answers:
        first, _ = asgi(watch)
        seen = recorder.items[-1]
        assert bool(seen.body_out) is is_json
        ids = [value for name, value in first["headers"] if name.lower() == b"x-request-id"]
        assert ids == [b"its-own" if _ID in lines else seen.context.request_id.encode()]


def _answering(names: list[str]) -> Callable[..., Any]:
    def app(_environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [(name, "a") for name in names])
        return []

    return app


def test_sets_of_names_of_an_answers_lines_are_remembered_within_bounds() -> None:
    watching = Recorder().watching()
    for n in range(exchange._MOST_SETS + 50):
        wsgi(WsgiWatch(_answering([f"X-{n}"]), watching), environ())
    assert len(watching._known) == exchange._MOST_SETS
    wide = Recorder().watching()
    wsgi(WsgiWatch(_answering(["X" * exchange._LONGEST_SET, "Y"]), wide), environ())
    assert not wide._known


# Ids.


def test_trace_ids_are_made_many_at_once_and_given_once() -> None:
    given = [Context("r").trace_id for _ in range(1_000)]
    assert len(set(given)) == 1_000
    assert all(len(one) == 32 and int(one, 16) for one in given)
    assert len(module._traces) < module._TRACES
    context = Context("r")
    assert context.trace_id == context.trace_id


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_gives_no_trace_id_of_its_parents() -> None:
    Context("r").trace_id  # noqa: B018  so that some wait
    waiting = set(module._traces)
    assert waiting
    reading, writing = os.pipe()
    if not (pid := os.fork()):
        os.write(writing, Context("r").trace_id.encode())
        os._exit(0)
    os.waitpid(pid, 0)
    childs = os.read(reading, 32).decode()
    os.close(reading)
    os.close(writing)
    assert len(childs) == 32
    assert childs not in waiting


def test_a_request_at_hand_shows_nothing_of_itself_when_it_is_printed() -> None:
    serving = Serving("r-1")
    serving.session, serving.user = "s3cr3t-session", "ann"
    assert "s3cr3t" not in repr(serving)
    assert "ann" not in f"{ {'tocsin': serving} }"
    assert serving != Serving("r-1")
    assert len({serving, Serving("r-1")}) == 2
