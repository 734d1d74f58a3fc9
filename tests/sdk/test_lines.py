"""Lines: one event each in every format, unforgeable, and whole whatever happens to the disk."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.sdk.receiving import MakeClient, event, seen, until
from tests.sdk.test_client import REPOSITORY

from tocsin.event import COLUMNS, Event, Kind, Type
from tocsin.event.codecs import decode_json, decode_logfmt, decode_xml
from tocsin.event.escape import UNSAFE
from tocsin.sdk.sending.lines import FORMATS, Lines, write
from tocsin.sdk.sending.tally import Tally

#: Newer versions of Python warn of what some of these tests are about.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")

FULL = Event(
    time=1_795_424_400_123_456_789,
    kind=Kind.REQUEST,
    duration_ns=1_234_567,
    outcome="failure",
    outcome_source="body",
    reason="forbidden",
    severity="warn",
    message="not the owner",
    layer="app",
    service="orders",
    env="production",
    host="web-1",
    tenant="acme",
    user="joe",
    role="admin",
    session="h:" + "0" * 32,
    client_ip="203.0.113.9",
    method="GET",
    scheme="https",
    authority="api.example.org",
    route="/orders/{id}",
    path="/orders/42",
    query="a=1",
    status=200,
    bytes_out=1_500,
    object_type="order",
    objects=("h:1", "h:2"),
    fields_in=("name",),
    db_rows=7,
    trace_id="a" * 32,
    request_id="r-1",
    boot="b00t",
    source_seq=9,
    tags=("a", "b"),
    attributes={"plain": 1, "dotted.key": "x", "nested": {"y": [1]}, "tocsin": "mine"},
)
EVERY = sorted(FORMATS)
BAD = re.compile(f"[{UNSAFE}]")


def line(form: str, given: Event = FULL) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(write(given, form))
    return found


# Formats.


@pytest.mark.parametrize(
    ("form", "decode"), [("json", decode_json), ("xml", decode_xml), ("kv", decode_logfmt)]
)
def test_our_own_formats_give_back_the_very_event(
    form: str, decode: Callable[[str], Event]
) -> None:
    assert decode(write(FULL, form).decode()) == FULL


def test_ecs() -> None:
    found = line("ecs")
    assert found["@timestamp"] == "2026-11-23T09:00:00.123456789Z"
    assert found["ecs"] == {"version": "8.11.0"}
    assert found["event"] == {
        "action": "request",
        "outcome": "failure",
        "reason": "forbidden",
        "duration": 1_234_567,
        "sequence": 9,
    }
    assert found["http"]["response"]["status_code"] == 200
    assert found["http"]["route"] == "/orders/{id}"
    assert found["client"]["ip"] == "203.0.113.9"
    assert found["user"] == {"name": "joe", "roles": ["admin"]}
    assert found["log"] == {"level": "warn"}
    assert found["tags"] == ["a", "b"]
    assert found["labels"] == {"plain": 1, "dotted_key": "x", "tocsin": "mine"}
    assert found["tocsin"]["attributes"] == {"nested": {"y": [1]}}
    assert found["tocsin"]["outcome_source"] == "body"
    assert found["tocsin"]["object"] == {"type": "order", "ids": ["h:1", "h:2"]}


def test_ocsf() -> None:
    found = line("ocsf")
    assert found["time"] == 1_795_424_400_123
    assert found["duration"] == 1
    assert (found["class_uid"], found["category_uid"]) == (4002, 4)
    assert (found["activity_id"], found["type_uid"]) == (3, 400_203)
    assert (found["severity"], found["severity_id"]) == ("Medium", 3)
    assert (found["status"], found["status_id"]) == ("Failure", 2)
    assert found["metadata"]["version"] == "1.3.0"
    assert found["metadata"]["product"] == {"name": "orders", "vendor_name": "tocsin"}
    assert found["metadata"]["uid"] == "b00t-9"
    assert found["metadata"]["event_code"] == "request"
    assert found["http_request"]["url"]["path"] == "/orders/42"
    assert found["http_response"] == {"code": 200}
    assert found["actor"]["user"]["name"] == "joe"
    assert found["resources"] == [{"type": "order", "uid": "h:1"}, {"type": "order", "uid": "h:2"}]
    assert found["unmapped"]["nested"] == {"y": [1]}
    assert found["unmapped"]["_tocsin"] == "mine"
    assert found["unmapped"]["tocsin"]["db_rows"] == 7
    assert found["unmapped"]["tocsin"]["layer"] == "app"
    bare = line("ocsf", Event(time=5_000_000, kind=Kind.SYS_STARTUP))
    assert (bare["class_uid"], bare["type_uid"], bare["severity_id"]) == (0, 99, 0)
    assert bare["activity_name"] == "sys_startup"


def test_datadog() -> None:
    found = line("datadog")
    assert found["date"] == "2026-11-23T09:00:00.123456789Z"
    assert (found["status"], found["http.status_code"]) == ("warn", 200)
    assert (found["usr.id"], found["service"], found["duration"]) == ("joe", "orders", 1_234_567)
    assert found["ddtags"] == "a,b"
    assert found["attributes"]["nested"] == {"y": [1]}
    assert found["tocsin.outcome_source"] == "body"


def test_splunk() -> None:
    text = write(FULL, "splunk")
    assert text.startswith(b'{"_time":1795424400.123456789,')
    found = line("splunk")
    assert (found["action"], found["signature"], found["status"]) == ("failure", "request", 200)
    assert (found["src"], found["app"]) == ("203.0.113.9", "orders")
    assert found["response_time"] == 1.234567
    assert found["tocsin.boot"] == "b00t"
    assert write(Event(time=-1), "splunk").startswith(b'{"_time":-1.999999999,')


def full(column: str, kind: Type) -> Any:
    values: dict[Type, Any] = {Type.TEXT: "GET", Type.INT: 7, Type.TEXTS: ("x", "y")}
    values[Type.TIME] = 10**18
    apart = {"kind": Kind.QUERY, "outcome": "success", "severity": "warn", "attributes": {"k": 1}}
    return apart.get(column, values[kind])


@pytest.mark.parametrize("form", ["ecs", "ocsf", "datadog", "splunk"])
def test_every_column_has_a_place_of_its_own_in_every_dialect(form: str) -> None:
    """No two columns share a place, and none is in the way of another's path."""
    whole = Event(**{column.name: full(column.name, column.type) for column in COLUMNS})
    found = write(whole, form)
    for column in COLUMNS:
        if column.name == "time":
            continue
        without = {c.name: full(c.name, c.type) for c in COLUMNS if c.name != column.name}
        assert write(Event(**without), form) != found, column.name


TEXTS = st.text(st.characters() | st.sampled_from('\n\r\x00\x1b\u2028\u202e\ufeff"\\<>&=,.;{}'))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60)
@given(
    text=TEXTS,
    tags=st.lists(TEXTS, max_size=3),
    attributes=st.dictionaries(TEXTS, JSON, max_size=4),
)
@pytest.mark.parametrize("form", EVERY)
def test_nothing_that_is_said_can_look_like_another_line(
    form: str, text: str, tags: list[str], attributes: dict[str, Any]
) -> None:
    given = Event(
        time=10**18,
        message=text,
        user=text,
        path=text,
        user_agent=text,
        tags=tuple(tags),
        attributes=attributes,
    )
    written = write(given, form).decode()
    assert not BAD.search(written)
    if form not in ("xml", "kv"):
        assert isinstance(json.loads(written), dict)


@pytest.mark.parametrize("form", EVERY)
def test_halves_of_characters_and_foreign_values_still_make_a_line(form: str) -> None:
    hostile = Event(time=10**18, user="a\udc80", attributes={"x": {1, 2}, "y": object()})
    written = write(hostile, form).decode()
    assert "\\udc80" in written
    assert not BAD.search(written)


# Files.


def lines(output: Path | str, form: str = "json") -> Lines:
    return Lines(str(output), form, Tally())


def put(out: Lines, *numbers: int, **more: Any) -> None:
    for number in numbers:
        out.put(event(number, **more), None)
    out.flush()


def messages(path: Path) -> list[str]:
    return [json.loads(text)["message"] for text in path.read_text().splitlines()]


def test_lines_are_appended_and_for_our_eyes_only(tmp_path: Path) -> None:
    path = tmp_path / "events.log"
    out = lines(path)
    put(out, 1, 2)
    put(out, 3)
    out.close()
    put(lines(path), 4)
    assert messages(path) == ["e1", "e2", "e3", "e4"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_probe_is_in_no_line(tmp_path: Path) -> None:
    path = tmp_path / "events.log"
    for form in EVERY:
        out = lines(path, form)
        out.put(event(1), {"probe_body": "secret probe"})
        out.flush()
        out.close()
    assert "secret" not in path.read_text()


def test_a_rotated_file_is_left_and_the_new_one_written(tmp_path: Path) -> None:
    path = tmp_path / "events.log"
    out = lines(path)
    put(out, 1)
    path.rename(tmp_path / "events.log.1")
    put(out, 2)
    path.unlink()
    put(out, 3)
    assert messages(tmp_path / "events.log.1") == ["e1"]
    assert messages(path) == ["e3"]


def test_a_group_is_one_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writes: list[int] = []
    write_now = os.write

    def counted(fd: int, data: bytes) -> int:
        writes.append(len(data))
        return write_now(fd, data)

    out = lines(tmp_path / "events.log")
    monkeypatch.setattr(os, "write", counted)
    put(out, *range(100))
    assert len(writes) == 1
    put(out, *range(3_000))
    monkeypatch.undo()
    assert 1 < len(writes) < 6
    assert max(writes) <= 1 << 18


def test_processes_that_share_a_file_do_not_tear_each_others_lines(tmp_path: Path) -> None:
    path = tmp_path / "events.log"
    code = f"""
        import sys
        sys.path.insert(0, {REPOSITORY!r})
        from tests.sdk.test_lines import *
        out = lines({str(path)!r})
        for start in range(0, 2_000, 40):
            put(out, *range(start, start + 40), path="/" + sys.argv[1] * 300)
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    running = [subprocess.Popen([*command, name]) for name in "abcd"]
    assert [one.wait(60) for one in running] == [0] * 4
    found = [json.loads(text) for text in path.read_text().splitlines()]
    assert len(found) == 8_000
    for name in "abcd":
        mine = [one["message"] for one in found if one["path"] == "/" + name * 300]
        assert mine == [f"e{n}" for n in range(2_000)]


def test_a_full_disk_is_counted_and_its_torn_line_does_not_spoil_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "events.log"
    out = lines(path)
    put(out, 1)
    size = path.stat().st_size
    write_now = os.write
    room = [int(size * 2.5)]

    def full(fd: int, data: bytes) -> int:
        if not room[0]:
            raise OSError(errno.ENOSPC, "no space left")
        done = write_now(fd, data[: room[0]])
        room[0] -= done
        return done

    monkeypatch.setattr(os, "write", full)
    put(out, 2, 3, 4, 5)
    states = [out.works]
    put(out, 6)
    monkeypatch.undo()
    put(out, 7, 8)
    states.append(out.works)
    assert states == [False, True]
    torn = [text for text in path.read_text().splitlines() if not text.endswith("}")]
    assert len(torn) == 1
    whole = [
        json.loads(text)["message"] for text in path.read_text().splitlines() if text not in torn
    ]
    assert whole == ["e1", "e2", "e3", "e7", "e8"]
    assert out._tally.lost == {"unwritable": 3}
    assert out._tally.sent == 5


@pytest.mark.parametrize("output", ["/proc/tocsin/events.log", "/", "/dev/full"])
def test_what_cannot_be_written_is_counted_and_raises_nothing(output: str) -> None:
    out = lines(output)
    put(out, 1, 2)
    assert out._tally.lost == {"unwritable": 2}
    assert not out.works
    out.close()


def test_a_reader_that_is_gone_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    out = lines("stderr")
    with os.fdopen(theirs, "w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        put(out, 1)
        monkeypatch.undo()
    assert out._tally.lost == {"unwritable": 1}


def test_stderr_is_wherever_the_host_has_put_it(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import io

    out = lines("stderr")
    put(out, 1)
    assert json.loads(capfd.readouterr().err)["message"] == "e1"
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    put(out, 2)
    assert json.loads(stream.getvalue())["message"] == "e2"
    monkeypatch.setattr(sys, "stderr", None)
    put(out, 3)
    assert out._tally.lost == {"unwritable": 1}


def test_a_full_stream_that_does_not_block_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    received: list[bytes] = []
    import threading

    def read() -> None:
        with os.fdopen(ours, "rb") as stream:
            received.append(stream.read())

    out = lines("stderr")
    thread = threading.Thread(target=read)
    with os.fdopen(theirs, "w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        for n in range(3_000):
            out.put(event(n), None)
        threading.Timer(0.1, thread.start).start()
        out.flush()
        monkeypatch.undo()
    until(lambda: received)
    thread.join()
    assert [json.loads(text)["message"] for text in received[0].splitlines()] == [
        f"e{n}" for n in range(3_000)
    ]


# With a client.


def test_a_client_without_an_address_writes_lines(client: MakeClient, tmp_path: Path) -> None:
    path = tmp_path / "events.log"
    made = client(url=None, output=str(path), format="ecs")
    for n in range(100):
        made.take(event(n))
    made.take(seen(query=b"secret"))
    assert made.flush(10)
    found = [json.loads(text) for text in path.read_text().splitlines()]
    assert [one["message"] for one in found[1:101]] == [f"e{n}" for n in range(100)]
    assert [one["event"]["sequence"] for one in found] == list(range(1, 103))
    assert found[0]["event"]["action"] == "sys_startup"
    made.close()
    assert json.loads(path.read_text().splitlines()[-1])["event"]["action"] == "sys_shutdown"
    assert "secret" not in path.read_text()


def test_a_loss_of_lines_is_told_once_there_is_room_again(
    client: MakeClient, tmp_path: Path
) -> None:
    path = tmp_path / "folder" / "events.log"
    made = client(url=None, output=str(path))
    for n in range(10):
        made.take(event(n))
    made.flush(10)
    path.parent.mkdir()
    made.take(event(10))
    until(lambda: path.exists() and "source_gap" in path.read_text())
    gap = next(one for one in map(json.loads, path.read_text().splitlines()) if "tags" in one)
    assert gap["attributes"] == {"lost": 11, "why": {"unwritable": 11}}


def test_parent_and_child_write_to_the_same_file(client: MakeClient, tmp_path: Path) -> None:
    path = tmp_path / "events.log"
    made = client(url=None, output=str(path))
    made.take(event(0))
    made.flush(10)
    pid = os.fork()
    if not pid:
        for n in range(1_000, 2_000):
            made.take(event(n))
        os._exit(not made.flush(20))
    for n in range(1, 1_000):
        made.take(event(n))
    assert os.waitpid(pid, 0)[1] == 0
    made.flush(20)
    found = [json.loads(text) for text in path.read_text().splitlines()]
    own = [
        one["message"] for one in found if one["boot"] == made.boot and "e" in one["message"][:1]
    ]
    assert own == [f"e{n}" for n in range(1_000)]
    assert len({one["boot"] for one in found}) == 2
    assert len(found) == 2_002
