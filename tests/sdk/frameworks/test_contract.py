"""The same promises, held in every framework: the answer is untouched, and the request is seen."""

from __future__ import annotations

import base64
import json
import re
import socket
import struct
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest
from tests.sdk.frameworks.talk import DEADLINE, Site, hang_up, only, request, send

PLAIN = ("asgi", "wsgi")  #: sites without a framework, of whose routes nobody knows

SLASHED = ("starlette", "quart", "flask")  #: whose collection of orders ends with a slash


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def body(answer: bytes) -> bytes:
    return answer.partition(b"\r\n\r\n")[2]


def header(answer: bytes, name: str) -> list[bytes]:
    return re.findall(rb"^" + name.encode() + rb":[ \t]*([^\r\n]*)", answer, re.I | re.M)


def orders(site: Site) -> str:
    return "/v1/orders/" if site.framework in SLASHED else "/v1/orders"


def with_routes(framework: str, _server: str) -> bool:
    return framework not in PLAIN


def with_validator(framework: str, _server: str) -> bool:
    return framework not in (*PLAIN, "starlette")


def with_websockets(framework: str, server: str) -> bool:
    return server in ("uvicorn", "hypercorn") and framework not in ("django", "connexion")


def knows_routes(site: Site) -> bool:
    return site.framework not in PLAIN


# What an ordinary request looks like.


def test_a_plain_request_is_seen_whole(site: Site) -> None:
    answer, seen = site.both(request("GET /v1/orders/7?expand=a%20b"))
    assert status(answer) == 200
    assert seen["method"] == "GET"
    assert seen["path"] == "/v1/orders/7"
    assert seen["query"] == "expand=a%20b"
    assert seen["scheme"] == "http"
    assert seen["http_version"] == "1.1"
    assert seen["status"] == 200
    assert seen["bytes_out"] == len(body(answer))
    assert json.loads(seen["body_out"]) == json.loads(body(answer))
    assert seen["duration_ns"] > 0
    assert not seen["gone"]
    assert seen["failure"] is None
    assert seen["service"] == "shop"
    assert seen["peer"][0] == "127.0.0.1"
    names = {name.lower().removeprefix("http_") for name, _ in seen["headers"]}
    assert "host" in names


def test_the_template_has_all_prefixes(site: Site) -> None:
    _, seen = site.both(request("GET /v1/orders/7"))
    if knows_routes(site):
        assert re.fullmatch(r"/v1/orders/\{(id|pk)\}", seen["route"])
        assert seen["routed"] is True
        assert list(seen["params"].values()) == ["7"]
    else:
        assert seen["route"] is seen["routed"] is None


@only(lambda framework, _: framework == "fastapi")
def test_a_router_that_is_included_twice_has_two_templates(site: Site) -> None:
    _, seen = site.both(request("GET /v2/orders/7"))
    assert seen["route"] == "/v2/orders/{id}"


@only(with_routes)
def test_a_mounted_application_keeps_the_parameters_of_its_mount(site: Site) -> None:
    mounted = site.framework == "litestar"  # which has no parameters in mounts
    _, seen = site.both(request(f"GET /t/{'' if mounted else 'acme/'}reports/7"))
    if mounted:
        assert seen["route"] == "/t/reports/{id}"
    else:
        assert seen["route"] == "/t/{tenant}/reports/{id}"
        assert seen["params"] == {"tenant": "acme", "id": "7"}


def test_a_path_that_nothing_is_at_is_not_routed(site: Site) -> None:
    answer, seen = site.both(request("GET /nowhere/at/all"))
    assert status(answer) == seen["status"] == 404
    assert seen["route"] is None
    assert seen["routed"] is (False if knows_routes(site) else None)


def test_a_body_is_seen_as_the_application_reads_it(site: Site) -> None:
    given = json.dumps({"user": "joe", "password": "guess"}).encode()
    answer, seen = site.both(request("POST /v1/login", body=given))
    assert status(answer) == 200
    assert seen["bytes_in"] == len(given)
    assert seen["body_in"].encode() == given
    assert json.loads(seen["body_out"])["status"] == "fail"
    assert not seen["cut_in"]
    assert not seen["cut_out"]


def test_events_that_are_made_meanwhile_know_the_request(site: Site) -> None:
    given = b'{"user": "joe", "password": "guess"}'
    _, seen = site.both(request("POST /v1/login", "User-Agent: test/1", body=given))
    assert seen["facts"] == {
        "authority": "shop.example.org",
        "client_ip": "127.0.0.1",
        "client_port": seen["peer"][1],
        "method": "POST",
        "path": "/v1/login",
        "role": None,
        "route": "/v1/login" if knows_routes(site) else None,
        "service": "shop",
        "tenant": None,
        "user": None,
        "user_agent": "test/1",
    }


def test_a_refusal_by_status_is_seen_with_what_was_raised(site: Site) -> None:
    answer, seen = site.both(request("GET /v1/admin"))
    assert status(answer) == seen["status"] == 403
    if knows_routes(site):
        kind, _, stack, handled = seen["failure"]
        assert handled is True
        assert re.search("HTTPException|PermissionDenied|Forbidden", kind)
        assert re.search(r"site_\w+\.py:\d+ (\w+\.<locals>\.)?admin", stack)


@only(with_validator)
def test_a_refused_body_is_seen_by_field_and_rule_without_its_values(site: Site) -> None:
    given = json.dumps({"name": "secret-name", "quantity": "secret-quantity"}).encode()
    answer, seen = site.both(request(f"POST {orders(site)}", body=given))
    assert status(answer) in (400, 422)
    fields = {field.rpartition(".")[2]: rule for field, rule in seen["complaints"]}
    assert list(fields) == ["quantity"]
    assert fields["quantity"]
    assert "secret" not in json.dumps([seen["complaints"], seen["failure"]])
    assert seen["failure"][3] is True


@only(with_validator)
def test_a_missing_field_is_named(site: Site) -> None:
    answer, seen = site.both(request(f"POST {orders(site)}", body=b'{"name": "x"}'))
    assert status(answer) in (400, 422)
    [[field, rule]] = seen["complaints"]
    assert field.endswith("quantity")
    assert re.search("missing|required", rule)


def test_a_crash_is_seen_with_its_way_and_the_client_gets_its_id(site: Site) -> None:
    answer, seen = site.both(request("GET /v1/crash"))
    if knows_routes(site):
        assert status(answer) == seen["status"] == 500
        assert header(answer, "x-request-id") == [seen["id"].encode()]
        assert seen["route"] == "/v1/crash"
    kind, words, stack, handled = seen["failure"]
    assert (kind, words, handled) == ("ZeroDivisionError", "the till is empty", False)
    last = stack.partition("\ncaused by")[0].splitlines()[-1]
    assert re.fullmatch(r".*/site_\w+\.py:\d+ .*", last)
    assert "tocsin/sdk" not in stack
    assert stack.count("\n") < 65


@only(lambda framework, _: framework != "connexion")
def test_a_crash_after_the_answer_began_cuts_it_as_before(site: Site) -> None:
    _, seen = site.both(request("GET /v1/late"))
    assert seen["status"] == 200
    if seen["failure"] is None:  # a task group of the framework may cancel before it can tell
        assert seen["gone"]
    else:
        kind, _, stack, handled = seen["failure"]
        assert "ZeroDivisionError" in kind + stack
        assert handled is False


def test_a_stream_is_passed_on_part_by_part(site: Site) -> None:
    answer, seen = site.both(request("GET /v1/stream"))
    assert status(answer) == 200
    assert seen["bytes_out"] == 64 * 16_384
    assert not seen["gone"]
    assert seen["body_out"] == ""


def test_a_file_is_served_as_before(site: Site) -> None:
    answer, seen = site.both(request("GET /v1/file"))
    assert status(answer) == seen["status"] == 200
    if site.framework != "asgi":
        assert len(answer) > 200_000
    assert not seen["gone"]


def test_an_upload_is_counted_and_kept_no_longer_than_it_is_looked_at(site: Site) -> None:
    given = b"x" * 300_000
    answer, seen = site.both(request("POST /v1/upload", body=given, kind="application/json"))
    if status(answer) == 200:  # some frameworks parse what calls itself JSON
        assert seen["bytes_in"] == len(given)
    assert len(seen["body_in"]) <= 2 * 65_536
    assert seen["cut_in"] or len(seen["body_in"]) == seen["bytes_in"]


def test_the_head_of_a_multipart_upload_is_seen(site: Site) -> None:
    part = b'Content-Disposition: form-data; name="file"; filename="plan.pdf"\r\n'
    given = b"--b0\r\n" + part + b"\r\n" + b"%PDF" * 20_000 + b"\r\n--b0--\r\n"
    kind = "multipart/form-data; boundary=b0"
    answer, seen = site.both(request("POST /v1/upload", body=given, kind=kind))
    if status(answer) == 200 and site.framework != "connexion":
        assert "plan.pdf" in seen["body_in"]
        assert len(seen["body_in"]) < 140_000


def test_a_head_request_is_complete_without_a_body(site: Site) -> None:
    answer, seen = site.both(request("HEAD /health"))  # old servers send one all the same
    assert status(answer) == 200
    assert seen["method"] == "HEAD"
    assert not seen["gone"]


def test_a_handler_that_reads_no_body_is_left_to_it(site: Site) -> None:
    given = b'{"a": "' + b"x" * 4_000 + b'"}'
    answer, seen = site.both(request("POST /v1/deaf", body=given))
    assert status(answer) == 200
    assert seen["status"] == 200


def test_a_redirect_is_an_answer_like_any_other(site: Site) -> None:
    answer, seen = site.both(request("GET /v1/moved"))
    assert status(answer) == seen["status"] == 307
    assert header(answer, "location")[0].endswith(b"/health")


@only(lambda framework, _: framework != "wsgi")
def test_the_frameworks_own_user_is_the_principal(site: Site) -> None:
    _, seen = site.both(request("GET /v1/me"))
    name = seen["user"][0] if isinstance(seen["user"], list) else seen["user"]
    assert name == "joe"
    if site.framework == "fastapi":
        assert seen["user"] == ["joe", "clerk", None]
    if site.framework == "django":
        assert seen["user"] == ["joe", "staff", None]


@only(with_websockets)
def test_a_websocket_talks_as_before(site: Site) -> None:
    name = f"case-{uuid4().hex}"
    heard = [websocket(port, name) for port in (site.bare, site.watched)]
    assert heard[0] == heard[1]
    assert heard[1][1] == b"heard hello"
    seen = site.record(name)
    assert (seen["status"], seen["scheme"]) == (101, "ws")
    assert seen["bytes_in"] == len("hello")
    assert seen["bytes_out"] == len("heard hello")
    if knows_routes(site):
        assert seen["route"] == "/v1/ws"


@only(lambda framework, server: with_websockets(framework, server) and framework not in PLAIN)
def test_a_client_that_leaves_a_websocket_is_no_failure(site: Site) -> None:
    name = f"case-{uuid4().hex}"
    heard = [websocket(port, name, "/v1/ws-until-it-breaks") for port in (site.bare, site.watched)]
    assert heard[0] == heard[1]
    assert heard[1][1] == b"heard hello"
    seen = site.record(name)
    assert seen["failure"] is None
    assert not seen["gone"]
    assert (seen["status"], seen["route"]) == (101, "/v1/ws-until-it-breaks")


def websocket(port: int, name: str, path: str = "/v1/ws") -> tuple[bytes, bytes]:
    """The status line of a handshake, and the answer to one message."""
    key = base64.b64encode(b"0" * 16).decode()
    hello = request(
        f"GET {path}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {key}",
        f"X-Request-ID: {name}",
        close=False,
    )
    with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE) as peer:
        peer.sendall(hello)
        answer = b""
        while b"\r\n\r\n" not in answer and (part := peer.recv(4096)):
            answer += part
        line, _, rest = answer.partition(b"\r\n")
        if b" 101 " not in line:
            return line, b""
        peer.sendall(b"\x81\x85" + bytes(4) + b"hello")
        rest = rest.partition(b"\r\n\r\n")[2]
        while len(rest) < 2 or len(rest) < 2 + rest[1]:
            rest += peer.recv(4096)
        peer.sendall(b"\x88\x82" + bytes(4) + struct.pack("!H", 1000))
        while peer.recv(4096):
            pass
        return line, rest[2 : 2 + rest[1]]


# Ids.


def test_an_id_is_made_and_returned_when_the_client_sends_none(site: Site) -> None:
    answer = site.same(request("GET /health"))
    [name] = header(answer, "x-request-id")
    assert re.fullmatch(rb"[0-9a-f]{16}-[0-9a-f]+", name)
    assert site.record(name.decode())["path"] == "/health"


@pytest.mark.parametrize("bad", ["two words", "x" * 129, "caf\xe9", ""])
def test_an_id_that_is_none_is_replaced(site: Site, bad: str) -> None:
    answer = site.same(request("GET /health", b"X-Request-ID: " + bad.encode("latin-1")))
    [name] = header(answer, "x-request-id")
    assert re.fullmatch(rb"[0-9a-f]{16}-[0-9a-f]+", name)


@pytest.mark.parametrize("form", ["00-{}-{}-01", "01-{}-{}-01", "01-{}-{}-01-more"])
def test_the_callers_trace_is_gone_on_with(site: Site, form: str) -> None:
    trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    _, seen = site.both(request("GET /health", f"traceparent: {form.format(trace, span)}"))
    assert (seen["trace"], seen["span"]) == (trace, span)


@pytest.mark.parametrize(
    "parent",
    [
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
        "nonsense",
    ],
)
def test_a_trace_that_is_none_is_not(site: Site, parent: str) -> None:
    _, seen = site.both(request("GET /health", f"traceparent: {parent}"))
    assert re.fullmatch("[0-9a-f]{32}", seen["trace"])
    assert seen["trace"] not in parent
    assert seen["span"] is None


# The worst of clients, and of days.


def test_a_client_of_ours_that_is_broken_changes_nothing(site: Site) -> None:
    for path in ("/v1/orders/7", "/v1/crash", "/v1/stream", "/nowhere"):
        site.same(request(f"GET {path}?take=broken"))
    given = b'{"user": "joe", "password": "correct horse"}'
    assert b"token-of-joe" in site.same(request("POST /v1/login?take=broken", body=given))


def test_hooks_that_are_broken_change_nothing(site: Site) -> None:
    paths = ("orders/7", "admin", "crash", "stream", "file", "moved", "me", "context/7", "nowhere")
    name = f"X-Request-ID: hooks-break-{uuid4().hex}"
    for path in paths:
        site.same(request(f"GET /v1/{path}", name))
    for body_in in (
        b'{"name": "x"}',
        b'{"name": "x", "quantity": "x"}',
        b"{",
        b'{"name":"x","quantity":1}',
    ):
        site.same(request(f"POST {orders(site)}", name, body=body_in))
    given = b'{"user": "joe", "password": "correct horse"}'
    assert b"token-of-joe" in site.same(request("POST /v1/login", name, body=given))
    seen = [one for one in site.records() if one["id"] == name.partition(" ")[2]]
    assert len(seen) >= len(paths)
    assert [one for one in seen if one["failure"] is not None or one["complaints"]] == []


def test_headers_that_are_no_text_and_headers_that_repeat(site: Site) -> None:
    answer, seen = site.both(
        request("GET /v1/orders/7", b"X-Odd: \xff\xfe\x80", "X-Odd: again", "Cookie: a=1")
    )
    if status(answer) == 200:  # newer servers refuse such bytes
        assert any("\xff\xfe\x80" in value for _, value in seen["headers"])


def test_a_header_of_many_characters(site: Site) -> None:
    data = request("GET /v1/orders/7", "User-Agent: " + "x" * 20_000)
    answer = site.same(data)  # some servers refuse it, and nobody sees it then
    if status(answer) == 200:
        assert site.both(data)[1]["status"] == 200


def test_a_path_of_every_odd_byte(site: Site) -> None:
    for start in range(0, 256, 32):
        escaped = "".join(f"%{byte:02x}" for byte in range(start, start + 32))
        site.same(request(f"GET /v1/orders/{escaped}"))
        site.same(request(f"GET /{escaped}?{escaped}"))
    for start in range(0x80, 0x100, 64):
        raw = bytes(range(start, start + 64))
        site.same(request(b"GET /v1/orders/" + raw))


def test_a_line_break_in_a_path_stays_encoded(site: Site) -> None:
    _, seen = site.both(request("GET /v1/orders/7%0d%0aINFO%20forged?a=%0d%0a"))
    assert seen["path"] == "/v1/orders/7%0d%0aINFO%20forged"
    assert not re.search(r"[\r\n]", seen["path"] + seen["query"] + (seen["route"] or ""))


def test_two_requests_on_one_connection_are_two(site: Site) -> None:
    names = [f"case-{uuid4().hex}" for _ in range(2)]
    first = request("GET /v1/orders/1", f"X-Request-ID: {names[0]}", close=site.server == "sync")
    second = request("GET /v1/orders/2", f"X-Request-ID: {names[1]}")
    answer = site.same(first + second)
    assert site.record(names[0])["path"] == "/v1/orders/1"
    if answer.count(b"HTTP/1.1 200") == 2:  # not every server takes what was sent ahead
        assert site.record(names[1])["path"] == "/v1/orders/2"


def test_who_waits_for_permission_to_send_gets_it(site: Site) -> None:
    given = b'{"user": "joe", "password": "guess"}'
    data = request("POST /v1/login", "Expect: 100-continue", body=given)
    answer, seen = site.both(data)
    assert b"fail" in answer
    assert seen["bytes_in"] == len(given)


@only(lambda framework, _: framework != "django")  # which reads no body of unknown length
def test_a_body_in_pieces_is_seen_whole(site: Site) -> None:
    given = b'{"user": "joe", "password": "guess"}'
    pieces = b"".join(b"1\r\n" + given[at : at + 1] + b"\r\n" for at in range(len(given)))
    data = request("POST /v1/login", "Transfer-Encoding: chunked", "Content-Type: application/json")
    answer, seen = site.both(data + pieces + b"0\r\n\r\n")
    if status(answer) == 200 and b"fail" in answer:
        assert seen["bytes_in"] == len(given)
        assert seen["body_in"].encode() == given


def test_a_client_that_leaves_in_the_middle_of_its_upload(site: Site) -> None:
    name = f"case-{uuid4().hex}"
    data = request("POST /v1/upload", f"X-Request-ID: {name}", body=b"x" * 500_000)
    hang_up(site.watched, data[:20_000], 0)
    hang_up(site.bare, data[:20_000], 0)
    if site.framework == "django" and site.is_asgi:
        return  # Django reads a body before there is a request, and then there is none
    seen = site.record(name)
    assert seen["gone"] or seen["status"] or seen["failure"]
    assert site.both(request("GET /health"))[1]["status"] == 200


def test_a_client_that_leaves_in_the_middle_of_its_download(site: Site) -> None:
    name = f"case-{uuid4().hex}"
    hang_up(site.watched, request("GET /v1/endless", f"X-Request-ID: {name}"), 50_000)
    hang_up(site.bare, request("GET /v1/endless"), 50_000)
    seen = site.record(name)
    assert seen["status"] == 200
    careless = site.framework in ("asgi", "connexion") or (
        site.framework == "django" and site.age == "old"
    )
    if not (careless and site.is_asgi):  # a server swallows what such a one still sends
        assert seen["gone"]
        assert seen["bytes_out"] < 8192 * 16_384
    assert site.both(request("GET /health"))[1]["status"] == 200


def test_fifty_requests_at_once_are_not_taken_for_each_other(site: Site) -> None:
    names = {f"case-{uuid4().hex}": number for number in range(50)}

    def ask(name: str) -> dict[str, Any]:
        data = request(f"GET /v1/context/{names[name]}", f"X-Request-ID: {name}")
        answered: dict[str, Any] = json.loads(body(send(site.watched, data)))
        return answered

    with ThreadPoolExecutor(25) as pool:
        answers = list(pool.map(ask, names))
    assert all(answer["same"] for answer in answers)
    for name, number in names.items():
        seen = site.record(name)
        assert seen["said"] == f"user-{number}"
        assert seen["path"] == f"/v1/context/{number}"
    assert site.both(request("GET /health"))[1]["said"] is None
