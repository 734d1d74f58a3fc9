"""The main road, end to end, with real processes: in by HTTP and files, out as incidents."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest


def line(ip: str, path: str, status: int, *, at: float | None = None, method: str = "GET") -> str:
    when = datetime.fromtimestamp(at or time.time(), UTC).strftime("%d/%b/%Y:%H:%M:%S +0000")
    return f'{ip} - - [{when}] "{method} {path} HTTP/1.1" {status} 120 "-" "curl/8"\n'


def failures(ip: str, count: int = 25) -> bytes:
    at = time.time() - 60
    return "".join(
        line(ip, "/api/v1/login", 401, at=at + n, method="POST") for n in range(count)
    ).encode()


def test_events_go_in_and_are_found_again_and_proved(up: Any) -> None:
    key = up.token("orders", "--layer", "app")
    body = b'{"time":"2026-11-23T10:00:00Z","kind":"authn_login_fail","user":"joe"}\n' * 3
    answer = up.post(body, key)
    assert (answer["accepted"], answer["repeated"]) == (3, False)
    found = up.rows("search", "user:joe kind:authn_login_fail")
    assert len(found) == 3
    assert {row["source"] for row in found} == {"orders"}
    assert up.here("verify").returncode == 0


def test_attacks_in_a_gateway_log_become_an_incident_that_people_can_work_on(up: Any) -> None:
    key = up.token("edge", "--parser", "nginx")
    up.post(failures("198.51.100.7"), key, "text/plain")
    (incident,) = up.until(lambda: up.rows("incidents", "list"))
    assert incident["entity"] == {"type": "client_ip", "value": "198.51.100.7"}
    assert incident["status"] == "open"
    assert incident["owasp"]
    assert incident["reason"]
    assert set(incident["evidence"]) <= {r["seq"] for r in up.rows("search", "", "--limit", "0")}
    assert b"198.51.100.7" in up.here("incidents", "show", incident["id"]).stdout
    assert incident["id"].encode() in up.log.read_bytes()  # it was printed when it was opened
    up.here("incidents", "ack", incident["id"])
    up.here("incidents", "close", incident["id"], "--reason", "benign", "--note", "a test")
    (closed,) = up.rows("incidents", "list")
    assert (closed["status"], closed["close_reason"]) == ("closed", "benign")
    decisions = up.rows("search", 'kind:authz_admin message:~"^incident closed"')
    # Nobody who has the disk, but not the key, reads whom it is about.
    for file in (path for path in up.data.rglob("*") if path.is_file()):
        assert b"198.51.100.7" not in file.read_bytes(), file
    said = decisions[0]["attributes"]
    assert said["finding"] == incident["findings"][0]
    assert {n: said[n] for n in ("decision", "incident", "reason", "text")} == {
        "decision": "incident closed",
        "incident": incident["id"],
        "reason": "benign",
        "text": "a test",
    }


def test_a_followed_file_is_read_on_after_a_restart_and_nothing_twice(tocsin: Any) -> None:
    log: Path = tocsin.home / "access.log"
    log.write_text(line("192.0.2.1", "/a", 200) * 3)
    tocsin.start("--follow", str(log))
    tocsin.until(lambda: len(tocsin.rows("search", "source:access.log")) == 3)
    tocsin.stop()
    with log.open("a") as file:
        file.write(line("192.0.2.1", "/b", 200) * 2)
    tocsin.start("--follow", str(log))
    tocsin.until(lambda: len(tocsin.rows("search", "source:access.log path:/b")) == 2)
    assert len(tocsin.rows("search", "source:access.log")) == 5


def test_the_greeting_lists_followed_files_and_says_which_is_not_there_yet(tocsin: Any) -> None:
    there, missing = tocsin.home / "a.log", tocsin.home / "nowhere.log"
    there.touch()
    tocsin.start("--follow", str(there), "--follow", str(missing))
    said = tocsin.log.read_text()
    assert f"\n  follow   {there}\n           {missing}\n" in said
    assert f"tocsin: not there yet: {missing}; it is followed from when it appears\n" in said
    assert f"not there yet: {there}" not in said


def test_the_greeting_names_the_data_directory_only_where_it_must(tocsin: Any) -> None:
    tocsin.data = tocsin.home / ".local" / "share" / "tocsin"
    if sys.platform != "linux":
        pytest.skip("another default")
    tocsin.start()
    assert "--data" not in tocsin.log.read_text()
    tocsin.stop()
    tocsin.data = tocsin.home / "a place"
    tocsin.start()
    assert f"tocsin tail --data '{tocsin.data}'" in tocsin.log.read_text()


def test_what_was_acknowledged_survives_a_kill_and_detection_repeats_nothing(up: Any) -> None:
    key = up.token("edge", "--parser", "nginx")
    up.post(failures("198.51.100.7"), key, "text/plain")
    before = up.until(lambda: up.rows("incidents", "list"))
    up.stop(signal.SIGKILL)
    # Everything can be seen without a running tocsin ...
    assert len(up.rows("search", "source:edge")) == 25
    # ... and with the next one, which starts within five seconds.
    began = time.monotonic()
    up.start()
    assert time.monotonic() - began < 5
    assert len(up.rows("search", "source:edge")) == 25
    time.sleep(1)
    after = [i for i in up.rows("incidents", "list") if i["entity"]["value"] != "tocsin"]
    assert [i["id"] for i in after] == [i["id"] for i in before]  # beside that it was killed
    assert up.here("verify").returncode == 0


def test_a_second_tocsin_on_the_same_data_says_who_holds_it(up: Any) -> None:
    done = up.here("up", "--listen", "127.0.0.1:0", code=1)
    assert str(up.process.pid).encode() in done.stderr
    assert b"Traceback" not in done.stderr


def test_a_missing_and_a_wrong_key_are_told_apart(up: Any) -> None:
    up.stop()
    kek = up.home / ".config" / "tocsin" / "kek"
    away = kek.rename(kek.with_name("away"))
    here = ("up", "--listen", f"127.0.0.1:{up.port}")
    done = up.here(*here, code=1)
    assert b"kek: cannot be read" in done.stderr
    assert b"want key-encryption key" in done.stderr
    kek.write_bytes(os.urandom(32))
    kek.chmod(0o600)
    done = up.here(*here, code=1)
    assert b"holds key-encryption key" in done.stderr
    kek.chmod(0o644)
    assert b"chmod 600" in up.here(*here, code=2).stderr
    away.replace(kek)
    up.start()


def test_an_unsafe_address_is_refused(tocsin: Any) -> None:
    done = tocsin.here("up", "--listen", "0.0.0.0:0", code=2)
    assert b"insecure" in done.stderr


def test_a_bad_line_harms_no_neighbour(up: Any) -> None:
    key = up.token("edge", "--parser", "nginx")
    good = line("192.0.2.1", "/a", 200).encode()
    answer = up.post(good + b"\x00\xff garbage\n" + good, key, "text/plain")
    assert (answer["accepted"], answer["parse_errors"]) == (3, 1)
    kinds = [row["kind"] for row in up.rows("search", "source:edge")]
    assert sorted(kinds) == ["log", "request", "request"]


@pytest.mark.parametrize(("named", "kind"), [((), "log"), (("--parser", "nginx"), "request")])
def test_a_sent_file_is_read_as_the_command_says_or_else_the_key(
    up: Any, named: tuple[str, ...], kind: str
) -> None:
    log = up.home / "app.log"
    log.write_bytes(failures("198.51.100.99"))  # what somebody had written into a log of words
    key = up.token("words", "--parser", "text")
    up("send", str(log), "--to", f"http://127.0.0.1:{up.port}", "--key", key, *named)
    assert {row["kind"] for row in up.rows("search", "source:words")} == {kind}


def test_a_revoked_key_ends_within_a_second(up: Any) -> None:
    key = up.token("edge")
    (listed,) = up.rows("token", "list")
    up.here("token", "revoke", listed["id"])
    time.sleep(1)
    refused = up.post(b'{"time":1,"kind":"log"}\n', key)
    assert refused["status"] == 401
    # Nobody learns that it was a key once.
    assert refused == up.post(b'{"time":1,"kind":"log"}\n', "tocsin_nobody")


def test_tail_prints_what_arrives(up: Any) -> None:
    key = up.token("orders")
    command = [sys.executable, "-m", "tocsin", "tail", "user:eve", "--json", "--data", str(up.data)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=up.environ) as tail:
        assert tail.stdout is not None
        try:
            for _ in range(40):  # until the tail has surely begun
                for user in ("eve", "bob"):
                    event = {"time": "2026-11-23T10:00:00Z", "kind": "request", "user": user}
                    up.post(msgspec.json.encode(event), key)
                time.sleep(0.1)
            seen = msgspec.json.decode(tail.stdout.readline())
        finally:
            tail.terminate()
    assert seen["user"] == "eve"


def test_the_demo_tells_a_story_and_can_be_removed(tocsin: Any) -> None:
    began = time.monotonic()
    tocsin.start("--demo")
    tocsin.until(lambda: tocsin.rows("incidents", "list"), 10)
    assert time.monotonic() - began < 15
    tocsin.until(lambda: b"that was all" in tocsin.log.read_bytes())
    entities = {
        i["entity"]["value"] for i in tocsin.until(lambda: tocsin.rows("incidents", "list"))
    }
    assert "198.51.100.23" in entities
    # Honest shoppers of the story are left in peace.
    assert not any(value.startswith("203.0.113.") for value in entities)
    tocsin.stop()
    tocsin.here("up", "--remove-demo")
    assert not tocsin.data.exists()


def test_a_demo_never_touches_a_real_vault(up: Any) -> None:
    up.stop()
    assert b"no demo" in up.here("up", "--demo", code=2).stderr
    assert b"nothing is removed" in up.here("up", "--remove-demo", code=2).stderr
    assert (up.data / "catalog.db").exists()


def test_commands_without_a_vault_say_so(tocsin: Any) -> None:
    for command in (["search", ""], ["incidents", "list"], ["tail"], ["verify"], ["token", "list"]):
        done = tocsin.here(*command, code=2)
        assert b"there is no vault here" in done.stderr


def test_a_webhook_hears_of_an_incident(tocsin: Any, receiver: Callable[[], Any]) -> None:
    hook = receiver()
    (tocsin.home / "tocsin.toml").write_text(
        f'[[channels]]\ntype = "webhook"\nurl = "{hook.url}"\nsecret = "s"\nallow_private = true\n'
    )
    tocsin.start()
    key = tocsin.token("edge", "--parser", "nginx")
    tocsin.post(failures("198.51.100.7"), key, "text/plain")
    body = msgspec.json.decode(tocsin.until(lambda: hook.bodies)[0])
    assert body["incident"]["entity"]["value"] == "198.51.100.7"


@pytest.mark.parametrize("with_signal", [signal.SIGINT, signal.SIGTERM])
def test_it_stops_in_order(up: Any, with_signal: int) -> None:
    up.stop(with_signal)
    assert up.process.returncode == 0
    assert b"everything it acknowledged is sealed" in up.log.read_bytes()
    (stopped,) = up.rows("search", "kind:sys_shutdown")
    assert stopped["source"] == "tocsin"


def _damage(up: Any, at: float | None = None) -> str:
    """Change one byte of the largest segment, *at* that part of it, or in its first column.

    Every search reads that; some of the others only serve to skip rows.
    """
    segment = max((up.data / "segments").iterdir(), key=lambda p: p.stat().st_size)
    content = bytearray(segment.read_bytes())
    content[40 if at is None else int(len(content) * at)] ^= 1
    segment.write_bytes(content)
    return str(segment.name)


def test_a_damaged_segment_is_named_and_the_rest_goes_on(tocsin: Any) -> None:
    tocsin.start(TOCSIN_EPOCH_SECONDS="1")
    key = tocsin.token("edge", "--parser", "nginx")
    for n in range(3):
        tocsin.post(line(f"192.0.2.{n}", "/a", 200).encode() * 50, key, "text/plain")
        tocsin.until(lambda: tocsin.rows("search", "kind:request") and not _hot(tocsin))
    name = _damage(tocsin)
    done = tocsin.here("search", "kind:request", "--json", "--limit", "0", code=1)
    assert name.encode() in done.stderr
    assert len(done.stdout.splitlines()) == 100
    # It was set aside.  What it might have held is never passed over in silence ...
    done = tocsin.here("search", "kind:request", "--json", "--limit", "0", code=1)
    assert name.encode() in done.stderr
    assert len(done.stdout.splitlines()) == 100
    # ... but where it cannot have held anything, nothing is missing.
    assert tocsin.rows("search", "kind:request", "--until", "2020-01-01") == []
    assert list((tocsin.data / "quarantine").glob(f"{name}*"))
    assert tocsin.post(line("192.0.2.9", "/b", 200).encode(), key, "text/plain")["accepted"] == 1
    report = tocsin.here("verify", "--json", code=3)
    assert msgspec.json.decode(report.stdout)["verdict"] == "tampered"


def _hot(up: Any) -> int:
    from tocsin.siem.access import SOCKET
    from tocsin.siem.local import Remote

    with Remote(up.data / SOCKET) as remote:
        return int(remote.status()["hot_rows"])


@pytest.mark.parametrize("at", [0, 0.1, 0.5, 0.9999])
def test_one_changed_byte_in_what_is_sealed_is_found(up: Any, at: float) -> None:
    key = up.token("edge", "--parser", "nginx")
    up.post(failures("198.51.100.7"), key, "text/plain")
    up.stop()
    assert up.here("verify").returncode == 0
    name = _damage(up, at)
    assert b"TAMPERED" in up.here("verify", code=3).stdout
    # Reading it without a running tocsin names it too, and changes nothing.
    done = up.here("search", "", "--limit", "0", code=None)
    if done.returncode:  # a byte that no search reads is found by verify alone
        assert (done.returncode, name.encode() in done.stderr) == (1, True)
    assert (up.data / "segments" / name).exists()
