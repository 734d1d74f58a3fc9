"""Damage to tocsin's own record rings the bell, with real processes and real files."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

from tocsin.catalog import open_catalog, tokens

LINE = '192.0.2.{n} - - [23/Nov/2026:10:00:00 +0000] "GET /a HTTP/1.1" 200 120 "-" "curl/8"\n'


def send(up: Any, lines: int = 20) -> None:
    key = up.token("edge", "--parser", "nginx")
    up.post("".join(LINE.format(n=n) for n in range(lines)).encode(), key, "text/plain")


#: A byte of a segment's first column, which every search reads.  Others only serve to skip rows.
FIRST = 40


def flip(path: Path, byte: int | None = None) -> None:
    """Change a *byte*, or the one in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2 if byte is None else byte] ^= 1
    path.write_bytes(content)


def about_tocsin(up: Any) -> dict[str, Any]:
    """The incident about tocsin itself, when there is one."""
    found = [i for i in up.rows("incidents", "list") if i["entity"]["value"] == "tocsin"]
    return found[0] if found else {}


def test_a_changed_byte_in_an_acknowledged_frame_is_a_critical_incident(tocsin: Any) -> None:
    tocsin.start(TOCSIN_EPOCH_SECONDS="60")
    send(tocsin)
    send(tocsin)  # a later frame knows that those before it were durable
    tocsin.stop(signal.SIGKILL)
    last = max((tocsin.data / "wal").iterdir())
    flip(last, last.stat().st_size // 10)
    tocsin.start()
    found = tocsin.until(lambda: critical(tocsin))
    assert found["title"] == "Evidence was lost or damaged"
    assert found["evidence"]
    # Told on the terminal as well, and that nobody stopped it in order.
    tocsin.until(lambda: b"acknowledged events were lost" in tocsin.log.read_bytes())
    assert b"ended without a stop; the record is silent for" in tocsin.log.read_bytes()
    shown = tocsin.here("incidents", "show", found["id"]).stdout
    assert b"runbook" in shown
    assert b"tocsin verify" in shown
    (unclean,) = tocsin.rows("search", "tags:unclean_stop")
    assert unclean["kind"] == "sys_crash"


def critical(up: Any) -> dict[str, Any]:
    """The same, once it is critical: lesser things may be told first."""
    found = about_tocsin(up)
    return found if found.get("severity") == "critical" else {}


def test_segments_that_are_gone_or_changed_and_forged_keys_are_told(tocsin: Any) -> None:
    tocsin.start(TOCSIN_EPOCH_SECONDS="1", TOCSIN_COMPACT_SECONDS="600")
    send(tocsin)
    tocsin.until(lambda: len(list((tocsin.data / "segments").glob("*.parquet"))) > 1)
    tocsin.stop()
    first, second, *_ = sorted((tocsin.data / "segments").iterdir())
    first.unlink()
    flip(second)
    engine = open_catalog(tocsin.data / "catalog.db")
    with engine.begin() as tx:  # somebody who can write there, and has no key
        tx.execute(tokens.insert().values(id="mine", created_at=1, body="box1:AAAA"))
    engine.dispose()
    tocsin.start()
    tocsin.until(lambda: b"gone from the disk" in tocsin.log.read_bytes())
    assert first.name.encode() in tocsin.log.read_bytes()
    tocsin.here("verify", code=3)  # finds the edit, and tells the tocsin that runs there

    def titles() -> set[str]:
        (shown,) = tocsin.rows("incidents", "show", critical(tocsin)["id"])
        return {finding["title"] for finding in shown["finding_details"]}

    wanted = {
        "Evidence was lost or damaged",
        "The record was changed",
        "Somebody else wrote into the catalog",
    }
    tocsin.until(lambda: titles() >= wanted)


def test_a_mistyped_key_of_the_auditor_rings_no_alarm(tocsin: Any) -> None:
    tocsin.start()
    send(tocsin)
    (tocsin.home / "key").write_text("00" * 32)
    done = tocsin.here("verify", "--epoch-key", "key", code=2)
    assert b"either it is not this vault's first epoch key" in done.stderr
    assert not tocsin.rows("search", "tags:record_tampered")
    assert not tocsin.rows("incidents", "list")


def test_what_is_set_aside_in_the_last_moment_is_told_in_it(tocsin: Any) -> None:
    tocsin.start(TOCSIN_EPOCH_SECONDS="1")
    send(tocsin)
    tocsin.stop()
    damaged = max((tocsin.data / "segments").iterdir(), key=lambda p: p.stat().st_size)
    flip(damaged, FIRST)
    tocsin.start()
    tocsin.here("search", "", "--json", "--limit", "0", code=1)  # somebody meets it ...
    tocsin.stop()  # ... and the self-watch, which looks each five seconds, may not have seen it
    said = tocsin.here("search", "tags:record_damaged", "--json", code=1).stdout
    assert damaged.name in json.loads(said.splitlines()[0])["message"]
    assert critical(tocsin)


def test_a_lost_catalog_is_noticed_and_comes_back(tocsin: Any) -> None:
    tocsin.start()
    key = tocsin.token("edge", "--parser", "nginx")
    attack = LINE.format(n=7).replace('"GET /a', '"POST /login').replace(" 200 ", " 401 ") * 25
    tocsin.post(attack.encode(), key, "text/plain")
    (incident,) = tocsin.until(lambda: tocsin.rows("incidents", "list"))
    tocsin.here("incidents", "close", incident["id"], "--reason", "benign", "--note", "a test")
    tocsin.here("incidents", "comment", incident["id"], "and so it was")
    tocsin.stop()
    for path in tocsin.data.glob("catalog.db*"):
        path.unlink()
    for command in (["incidents", "list"], ["token", "list"], ["search", ""]):
        err = tocsin.here(*command, code=1).stderr
        assert b"catalog.db: missing, though the vault is there" in err
        assert b"tocsin up --data" in err
    assert not (tocsin.data / "catalog.db").exists()
    tocsin.start()
    log = tocsin.until(lambda: b"came back" in tocsin.log.read_bytes() and tocsin.log.read_bytes())
    assert b"catalog.db was made anew" in log
    again = next(i for i in tocsin.rows("incidents", "list") if i["id"] == incident["id"])
    assert (again["status"], again["close_reason"], again["count"]) == ("closed", "benign", 25)
    assert [n["text"] for n in again["notes"]][1:] == ["benign: a test", "and so it was"]
    assert tocsin.until(lambda: about_tocsin(tocsin))["title"] == "The catalog was lost"
    assert tocsin.post(attack.encode(), key, "text/plain")["accepted"] == 25  # the key is good


def test_a_segment_that_is_put_back_as_doctor_says_is_found_and_proved_again(tocsin: Any) -> None:
    tocsin.start(TOCSIN_EPOCH_SECONDS="1", TOCSIN_COMPACT_SECONDS="600")
    send(tocsin)
    tocsin.stop()
    damaged = max((tocsin.data / "segments").iterdir(), key=lambda p: p.stat().st_size)
    good = damaged.read_bytes()
    flip(damaged, FIRST)
    tocsin.start()
    assert tocsin.here("search", "kind:request", "--json", code=1).stdout == b""
    tocsin.stop()
    assert not damaged.exists()
    assert state(tocsin, "segments") == "bad"
    assert b"TAMPERED" in tocsin.here("verify", code=3).stdout
    damaged.write_bytes(good)
    damaged.chmod(0o600)
    assert state(tocsin, "segments") == "warn"
    verified = tocsin.here("verify", code=4).stdout
    assert verified.startswith(b"INTACT, WITH LOSSES")
    assert b"so that no search finds them" in verified
    tocsin.start()
    assert b"whole again, and taken back: 1 segment: " in tocsin.log.read_bytes()
    assert len(tocsin.rows("search", "kind:request", "--limit", "0")) == 20
    assert len(tocsin.rows("search", "tags:record_restored")) == 1
    assert state(tocsin, "segments") == "good"
    assert tocsin.here("verify").stdout.startswith(b"INTACT  grade")


def state(up: Any, name: str) -> str:
    """What the doctor says of one thing."""
    lines = up.here("doctor", "--json", code=None).stdout.splitlines()
    (found,) = [c["state"] for c in map(json.loads, lines) if c["name"] == name]
    return str(found)


def test_a_missing_key_is_told_as_one_and_putting_it_back_suffices(tocsin: Any) -> None:
    tocsin.start(TOCSIN_EPOCH_SECONDS="1", TOCSIN_COMPACT_SECONDS="600")
    send(tocsin)
    tocsin.stop()
    segment = max((tocsin.data / "segments").iterdir(), key=lambda p: p.stat().st_size)
    key = tocsin.data / "keys" / f"seg.{segment.stem}.key"
    kept = key.read_bytes()
    key.unlink()
    tocsin.start()
    assert b"cannot be read until a key is back" in tocsin.log.read_bytes()
    err = tocsin.here("search", "kind:request", code=1).stderr
    for words in (segment.name, key.name, "is missing", "put it back"):
        assert words.encode() in err
    assert b"damaged" not in err.replace(b"restore what is damaged", b"")
    assert segment.exists()
    assert state(tocsin, "keys") == "bad"
    key.write_bytes(kept)
    key.chmod(0o600)
    assert len(tocsin.rows("search", "kind:request", "--limit", "0")) == 20
    assert state(tocsin, "keys") == "good"
    assert tocsin.here("verify").returncode == 0


def test_lost_events_stand_at_the_head_of_a_verification(tocsin: Any) -> None:
    tocsin.start(TOCSIN_EPOCH_SECONDS="60")
    send(tocsin)
    tocsin.stop(signal.SIGKILL)
    (wal,) = (tocsin.data / "wal").iterdir()
    (tocsin.data / "keys" / f"wal.{wal.stem[21:]}.key").unlink()
    tocsin.start()
    assert b"were in files whose keys are gone, and are lost" in tocsin.log.read_bytes()
    tocsin.stop()
    report = json.loads(tocsin.here("verify", "--json", code=4).stdout)
    assert (report["verdict"], report["doubtful_rows"] >= 20) == ("lossy", True)
    assert (
        b"events may be lost, in files whose keys are gone" in tocsin.here("verify", code=4).stdout
    )


def test_one_bad_byte_in_the_log_stops_no_start_and_is_told(tocsin: Any) -> None:
    tocsin.start()
    send(tocsin)
    tocsin.stop()
    flip(tocsin.data / "log" / "checkpoint")
    tocsin.start()
    assert b"put right by what is signed: log/checkpoint" in tocsin.log.read_bytes()
    tocsin.stop(signal.SIGKILL)
    (tocsin.data / "log" / "checkpoint").write_bytes(b"?")
    done = tocsin.here("up", code=1)
    for words in (b"log/checkpoint: ", b"a copy of the very last state", b"tocsin verify"):
        assert words in done.stderr
    assert b"192.0.2.3" in tocsin.here("search", "kind:request", "--limit", "0").stdout
