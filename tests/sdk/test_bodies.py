"""Bodies are read as the application may read them, whatever they are called."""

# One row of a table is one line, whatever its length.
# ruff: noqa: E501

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.sdk.recording import Recorder, asgi, environ, wsgi
from tests.sdk.requests import App, seen

from tocsin.sdk.options import Options
from tocsin.sdk.reading import bodies
from tocsin.sdk.reading.names import NAMES, named
from tocsin.sdk.reading.reader import Reader
from tocsin.sdk.seen import Seen
from tocsin.sdk.sending.wire import encode
from tocsin.sdk.watching.asgi import AsgiWatch
from tocsin.sdk.watching.wsgi import WsgiWatch

LOGIN = '{"username": "joe", "password": "wrong-one"}'
FAILED = {"status": "fail", "message": "Password is not correct"}


def posted(
    data: bytes, kind: str | None = None, *, cut: bool = False, path: str = "/login"
) -> Seen:
    headers = {} if kind is None else {"content-type": kind}
    request = seen(f"POST {path}", 200, FAILED, headers=headers, cut_in=cut)
    request.body_in, request.bytes_in = [data], len(data)
    return request


ODD = [
    LOGIN[:-1] + ', "x": NaN}',
    LOGIN[:-1] + ', "x": -Infinity}',
    LOGIN[:-1] + ', "x": 1e999}',
    LOGIN[:-1] + ', "x": "\\ud800"}',
]


@pytest.mark.parametrize("text", [LOGIN, *ODD])
@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"]
)
@pytest.mark.parametrize("cut", [False, True])
def test_what_the_standard_library_reads_is_read(text: str, encoding: str, cut: bool) -> None:
    data = text.encode(encoding)
    assert json.loads(data)["password"] == "wrong-one"
    found = bodies.json([data], cut=cut)
    assert (found["username"], found["password"]) == ("joe", "wrong-one")
    events = App().take(posted(data, "application/json", cut=cut))
    assert [event.kind for event in events] == ["request", "authn_login_fail"]
    for event in events:
        assert encode(event)


@pytest.mark.parametrize(
    "data", [b"{", b"[NaN", b"{NaN:1}", b"\xff\xfe{", b"\0{", b"[" * 9000, b'{"a":"\xff"}']
)
def test_what_nobody_reads_is_nothing(data: bytes) -> None:
    assert bodies.json([data]) is None


@given(st.binary(max_size=64), st.booleans())
def test_no_bytes_whatsoever_make_it_fail(data: bytes, cut: bool) -> None:
    bodies.json([data], cut=cut)
    bodies.multipart([data], f"multipart/form-data; boundary={data[:3].decode('latin-1')}", cut=cut)
    bodies.form([data], cut=cut)


KINDS = [None, "text/plain", "text/plain;charset=UTF-8", "application/x-www-form-urlencoded", "application/xml",
         "image/png", "application/vnd.api+json", "APPLICATION/JSON", "application/octet-stream"]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_json_under_another_name_is_json(kind: str | None) -> None:
    (request, login) = App().take(posted(LOGIN.encode(), kind))
    assert login.kind == "authn_login_fail"
    assert login.claimed_user == "joe"
    assert request.fields_in == ("username", "password")
    assert "wrong-one" not in repr((request, login))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("data", [LOGIN, " " * 80 + LOGIN, "\ufeff" + LOGIN])
def test_adapters_keep_the_first_parts_of_what_begins_as_json(kind: str | None, data: str) -> None:
    async def app(_scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    def old(environ: Any, start_response: Any) -> list[bytes]:
        environ["wsgi.input"].read()
        start_response("204 No Content", [])
        return []

    body = data.encode()
    recorder = Recorder()
    headers = [(b"content-type", kind.encode())] if kind else []
    asgi(
        AsgiWatch(app, recorder.watching()),
        [{"type": "http.request", "body": body}],
        headers=headers,
        method="POST",
    )
    wsgi(
        WsgiWatch(old, recorder.watching()), environ(body, **{"CONTENT_TYPE": kind} if kind else {})
    )
    assert [list(item.body_in) for item in recorder.items] == [[body], [body]]


@pytest.mark.parametrize(
    "data", [b"\x89PNG\r\n", b"\xff\xd8\xff\xe0JFIF", b"\0\0\0\x20ftypmp42", b"<a/>", b"a=1"]
)
def test_other_bodies_under_other_names_are_not_kept(data: bytes) -> None:
    async def app(_scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await receive()
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    recorder = Recorder()
    messages = [
        {"type": "http.request", "body": data, "more_body": True},
        {"type": "http.request", "body": b"{}"},
    ]
    asgi(AsgiWatch(app, recorder.watching()), messages, headers=[(b"content-type", b"image/png")])
    assert not recorder.seen.body_in
    assert recorder.seen.bytes_in == len(data) + 2


# -- multipart ----------------------------------------------------------------------------------

PARTS = (
    'junk\r\n--xyz\r\nContent-Disposition: form-data; name="username"\r\n\r\njoe\r\n'
    '--xyz\r\nContent-Type: text/plain\r\ncontent-disposition:form-data;name=password\r\n\r\nwrong-one\r\n'
    '--xyz\r\nContent-Disposition: form-data; name="a"; filename="a.txt"\r\n\r\nwhat is in it\r\n'
    '--xyz\r\nContent-Disposition: form-data; name="long"\r\n\r\n' + "x" * 5_000 + "\r\n--xyz--\r\n"
)  # fmt: skip


def test_the_values_of_small_multipart_fields_are_read_and_those_of_files_are_not() -> None:
    fields, files = bodies.multipart([PARTS.encode()], 'multipart/form-data; Boundary="xyz"')
    assert fields == {"username": "joe", "password": "wrong-one", "a": None, "long": None}
    assert files == ["a.txt"]


def test_the_last_field_of_a_cut_body_has_no_value() -> None:
    data = PARTS[: PARTS.index("ng-one")].encode()
    fields, _ = bodies.multipart([data], "multipart/form-data; boundary=xyz", cut=True)
    assert fields == {"username": "joe", "password": None}


def test_a_multipart_login_is_a_login() -> None:
    request = posted(PARTS.encode(), "multipart/form-data; boundary=xyz")
    events = App().take(request)
    assert [str(event.kind) for event in events] == ["request", "authn_login_fail"]
    assert events[1].claimed_user == "joe"
    assert events[0].fields_in == ("username", "password", "a", "long")
    assert "wrong-one" not in repr(events)


@pytest.mark.parametrize(
    "kind",
    [
        "multipart/form-data; xboundary=zz; boundary=xyz",
        'multipart/form-data; a="; boundary=zz"; BOUNDARY = xyz; charset=utf-8',
        'multipart/form-data; boundary="x\\yz"',
        "multipart/form-data;boundary=xyz,",
    ],
)
def test_a_multipart_login_is_one_whatever_else_its_type_says(kind: str) -> None:
    login = App().take(posted(PARTS.encode(), kind))[-1]
    assert (login.kind, login.claimed_user) == ("authn_login_fail", "joe")


def test_a_long_head_hides_no_field() -> None:
    long = f"X-Long: {'a' * 9_000}\r\nContent-Disposition"
    data = PARTS.replace("Content-Disposition", long).encode()
    fields, files = bodies.multipart([data], "multipart/form-data; boundary=xyz")
    assert (fields["username"], fields["password"]) == ("joe", "wrong-one")
    assert files == ["a.txt"]


def test_a_field_that_is_too_long_to_be_read_hides_no_login() -> None:
    data = PARTS.replace("wrong-one", "x" * 5_000).encode()
    login = App().take(posted(data, "multipart/form-data; boundary=xyz"))[-1]
    assert (login.kind, login.claimed_user) == ("authn_login_fail", None)


def test_an_attack_in_a_multipart_field_is_handed_over_to_be_searched() -> None:
    data = b'--b\r\nContent-Disposition: form-data; name="note"\r\n\r\n1\' OR 1=1 --\r\n--b--'
    (noted,) = Reader(Options(hash_key="x")).read(
        posted(data, "multipart/form-data; boundary=b", path="/notes")
    )[:1]
    assert noted.probe is not None
    assert noted.probe["probe_body"] == "note=1' OR 1=1 --"


# -- names --------------------------------------------------------------------------------------

SECRET = "hunter2Secret"
VALUES = [
    '{"username":"joe","password":"hunter2Secret"}', "4111111111111111", "4111-1111-1111-1111", "ann@example.org",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.c2lnbmF0dXJl", "8f14e45fceea167a5a36dedd4bea2543",
    "0190a5b2-7e1c-7000-8000-0123456789ab", "aB3dE5fG7hJ9kL2mN4pQ", "AKIAIOSFODNN7EXAMPLE", "+49 176 12345678",
    "x" * 65, "two words", "a\nb", "DE89370400440532013000", "joe\ud800", "Tr0ub4dor3", "p4ssw0rd",
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES)
def test_what_is_no_name_does_not_leave_as_one(value: str) -> None:
    assert NAMES[value] == "*"
    assert value not in named(f"body.{value}")
    data = json.dumps({value: {"role": 1}, "list": [{value: 2}]}).encode()
    request = posted(data, "application/json", path="/things")
    request.body_out = [data]
    (event, *_) = App().take(request)
    assert event.fields_in == ("*", "list", "*.role", "list.*")
    assert event.fields_out == ("*.role",)
    name = value.encode("utf-8", "replace").decode()
    part = f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n1\r\n--b--'
    (event, *_) = App().take(
        posted(part.encode(), "multipart/form-data; boundary=b", path="/things")
    )
    assert value not in repr(event)


@pytest.mark.parametrize(
    "name",
    ["password", "card_number", "items[0][name]", "@type", "$where", "Members@odata.count", "größe", "x-a:b", "sha256",
     "utf8mb4", "address1_line2", "line1Address2Text", "customfield_10001", "billing_address_line_2", "oauth2_client_secret_v2", "isTwoFactorAuthV2Enabled"],
)  # fmt: skip
def test_what_is_a_name_leaves_as_it_is(name: str) -> None:
    assert NAMES[name] == name
    assert named(f"body.{name}") == f"body.{name}"


@pytest.mark.parametrize("text", ["hunter2secret", "a=1&hunter2secret", "hunter2secret&a="])
def test_what_stands_alone_in_a_form_is_no_name(text: str) -> None:
    (event,) = App().take(posted(text.encode(), "application/x-www-form-urlencoded", path="/a"))
    assert event.fields_in is not None
    assert set(event.fields_in) <= {"*", "a"}
    assert "hunter2secret" not in repr(event)


def test_json_that_is_called_a_form_is_no_form_of_one_odd_name() -> None:
    kind = "application/x-www-form-urlencoded"
    for text in (LOGIN, LOGIN[:-1], f'{{"a&b":"{SECRET}', f'["{SECRET}"=1&x=2'):
        events = App().take(posted(text.encode(), kind))
        assert "wrong-one" not in repr(events)
        assert SECRET not in repr(events)


def nested(levels: int, name: str, leaves: int) -> Any:
    value: Any = {f"{name}{n}": 1 for n in range(leaves)}
    for _ in range(levels):
        value = {name: value}
    return value


@pytest.mark.parametrize(
    "body",
    [
        {f"{'k' * 60}{n}": 1 for n in range(70)},
        {"k" * 4000: {f"a{n}": 1 for n in range(200)}},
        nested(4, "k" * 60, 70),
        nested(5, "k", 500),
        {"a" * 60: {"b" * 60: {"c" * 60: {f"{n}": 1 for n in range(300)}}}},
        {"\x01" * 4000: 1, "x": "\x02" * 3000},
    ],
)
def test_no_event_is_more_than_a_few_times_as_long_as_its_request(body: Any) -> None:
    data = json.dumps(body).encode()
    for status in (200, 401, 422, 500):
        request = seen("POST /a", status, headers={"content-type": "application/json"})
        request.body_in = [data]
        for event in App().take(request):
            assert len(encode(event)) < 2 * len(data) + 6_000
