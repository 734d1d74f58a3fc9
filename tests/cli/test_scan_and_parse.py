"""``tocsin scan`` and ``tocsin parse`` on files that are good, bad and hostile."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tocsin.cli.entry import main

START = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)


def line(
    second: float = 0,
    *,
    ip: str = "192.0.2.1",
    path: str = "/api/v1/orders",
    status: int = 200,
    method: str = "GET",
    agent: str = "curl/8",
) -> str:
    when = (START + timedelta(seconds=second)).strftime("%d/%b/%Y:%H:%M:%S +0000")
    return f'{ip} - - [{when}] "{method} {path} HTTP/1.1" {status} 120 "-" "{agent}"\n'


def attack(ip: str = "198.51.100.7", begin: float = 0) -> list[str]:
    return [line(begin + n, ip=ip, path="/login", status=401, method="POST") for n in range(30)]


Run = Callable[..., tuple[bytes, bytes]]
Incidents = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def tocsin(capfdbinary: pytest.CaptureFixture[bytes]) -> Run:
    """Run a command in this process; what it said on stdout and stderr."""

    def run(*arguments: str, code: int = 0) -> tuple[bytes, bytes]:
        with pytest.raises(SystemExit) as left:
            main(arguments)
        out, err = capfdbinary.readouterr()
        assert left.value.code == code, (left.value.code, out[-2000:], err[-2000:])
        assert b"Traceback" not in err
        return out, err

    return run


@pytest.fixture
def incidents(tocsin: Run) -> Incidents:
    def run(*arguments: str, code: int = 3) -> list[dict[str, Any]]:
        out, _ = tocsin("scan", *arguments, "--json", code=code)
        return [json.loads(text) for text in out.splitlines()]

    return run


def test_an_attack_is_found_with_who_why_and_which_lines(
    tmp_path: Path, incidents: Incidents, tocsin: Run
) -> None:
    log = tmp_path / "access.log"
    log.write_text("".join([line(n) for n in range(50)] + attack()))
    (incident,) = incidents(str(log))
    assert incident["entity"] == {"type": "client_ip", "value": "198.51.100.7"}
    assert incident["reason"]
    assert incident["owasp"]
    assert incident["attack"]
    assert incident["severity"] in {"medium", "high", "critical"}
    assert all(51 <= int(place.rpartition(":")[2]) <= 80 for place in incident["evidence"])
    assert all(place.startswith(str(log)) for place in incident["evidence"])
    out, err = tocsin("scan", str(log), code=3)
    for words in (b"198.51.100.7", b"why", b"evidence", f"{log}:".encode()):
        assert words in out
    assert b"80 events" in err


def test_a_clean_log_is_clean(tmp_path: Path, incidents: Incidents) -> None:
    log = tmp_path / "access.log"
    log.write_text("".join(line(n) for n in range(100)))
    assert incidents(str(log), code=0) == []


def test_blank_lines_do_not_move_the_numbers_of_evidence(
    tmp_path: Path, incidents: Incidents
) -> None:
    log = tmp_path / "access.log"
    log.write_text("\n \n" + "\n".join(attack()))
    (incident,) = incidents(str(log))
    lines = log.read_text().splitlines()
    for place in incident["evidence"]:
        assert "401" in lines[int(place.rpartition(":")[2]) - 1]


def test_a_packed_log_and_standard_input_are_read_too(
    tmp_path: Path, incidents: Incidents, tocsin: Run
) -> None:
    text = "".join(attack()).encode()
    packed = tmp_path / "access.log.gz"
    packed.write_bytes(gzip.compress(text))
    assert len(incidents(str(packed))) == 1
    piped = subprocess.run(
        [sys.executable, "-m", "tocsin", "scan", "-", "--json"],
        input=text,
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert json.loads(piped.stdout)["evidence"][0] == "-:1"


def test_several_files_are_merged_by_time(tmp_path: Path, incidents: Incidents) -> None:
    failing = attack()
    (tmp_path / "a.log").write_text("".join(failing[::2]))
    (tmp_path / "b.log").write_text("".join(failing[1::2]))
    (incident,) = incidents(str(tmp_path / "a.log"), str(tmp_path / "b.log"))
    files = {place.rpartition(":")[0] for place in incident["evidence"]}
    assert files == {str(tmp_path / "a.log"), str(tmp_path / "b.log")}


def test_a_forged_line_accuses_nobody_else(tmp_path: Path, incidents: Incidents) -> None:
    forged = line(agent='x" 200 1 "-" "y').rstrip() + "\\n" + line(ip="203.0.113.9", status=401)
    log = tmp_path / "access.log"
    log.write_text("".join([forged.rstrip("\n") + "\n" for _ in range(40)] + attack()))
    accused = {i["entity"]["value"] for i in incidents(str(log))}
    assert "203.0.113.9" not in accused


HOSTILE = {
    "empty": b"",
    "blank": b"\n\n \n",
    "cut short": line().encode() + line().encode()[:40],
    "one gigantic line": b"A" * 3_000_000,
    "gigantic lines among good ones": line().encode() + b"B" * 2_000_000 + b"\n" + line().encode(),
    "deep JSON": b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"\n",
    "NaN": b'{"time":"2026-11-23T10:00:00Z","x":NaN}\n{"time":"2026-11-23T10:00:00Z","y":1}\n',
    "huge numbers": b'{"time":1e400,"status":' + b"9" * 5000 + b"}\n",
    "duplicate keys": b'{"time":1,"user":"a","user":"b","kind":"request"}\n',
    "dates of long ago and long from now": line().replace("2026", "0001").encode()
    + line().replace("2026", "9999").encode(),
    "wrong encoding": "naïve – ä\n".encode("latin-1", "replace") * 3,
    "control characters": b"a message of some length, and then \x1b[2J and \xe2\x80\xae\n",
    "carriage returns": line().replace("\n", "\r\n").encode() * 3,
    "quotes": b'"' * 1000 + b"\n" + b"'\n",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_input_is_kept_or_refused_in_words(name: str, tmp_path: Path, tocsin: Run) -> None:
    log = tmp_path / "hostile.log"
    log.write_bytes(HOSTILE[name])
    out, _ = tocsin("parse", str(log))
    events = [json.loads(text) for text in out.splitlines()]
    wanted = [text for text in HOSTILE[name].split(b"\n") if text.strip()]
    assert len(events) == len(wanted)
    assert b"\x1b" not in out
    tocsin("scan", str(log))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("binary", os.urandom(4096)),
        ("UTF-16", "".join(attack()).encode("utf-16")),
        ("a cut archive", gzip.compress("".join(attack()).encode())[:-20]),
    ],
)
def test_what_is_no_log_is_refused_with_its_name(
    name: str, content: bytes, tmp_path: Path, tocsin: Run
) -> None:
    log = tmp_path / "no.log"
    log.write_bytes(content)
    _, err = tocsin("scan", str(log), code=1)
    assert f"tocsin: {log}: ".encode() in err
    _, err = tocsin("parse", str(log), code=1)
    assert f"tocsin: {log}: ".encode() in err


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rand.bin", os.urandom(4096)),
        ("cut.gz", gzip.compress("".join(line(n) for n in range(5_000)).encode())[:-2000]),
        ("missing.log", None),
    ],
)
def test_one_bad_file_costs_nobody_else_their_findings(
    name: str, content: bytes | None, tmp_path: Path, tocsin: Run
) -> None:
    good, bad, more = tmp_path / "brute.log", tmp_path / name, tmp_path / "more.log"
    good.write_text("".join(attack()))
    more.write_text("".join(attack("198.51.100.8")))
    if content is not None:
        bad.write_bytes(content)
    out, err = tocsin("scan", str(good), str(bad), str(more), "--json", code=1)
    accused = {json.loads(text)["entity"]["value"] for text in out.splitlines()}
    assert accused == {"198.51.100.7", "198.51.100.8"}
    assert f"tocsin: {bad}: ".encode() in err
    out, err = tocsin("parse", str(good), str(bad), str(more), code=1)
    assert out.count(b'"client_ip":"198.51.100.8"') == 30
    assert f"tocsin: {bad}: ".encode() in err


def test_what_was_readable_of_a_broken_archive_is_looked_at(
    tmp_path: Path, incidents: Incidents
) -> None:
    log = tmp_path / "cut.gz"
    lines = attack() + [line(60 + n, path=f"/{os.urandom(40).hex()}") for n in range(2_000)]
    log.write_bytes(gzip.compress("".join(lines).encode())[:-1000])
    found = incidents(str(log), code=1)
    assert "198.51.100.7" in {i["entity"]["value"] for i in found}


def test_a_bad_line_harms_no_neighbour(tmp_path: Path, tocsin: Run) -> None:
    log = tmp_path / "access.log"
    log.write_bytes((line(1) + "garbage\n" + line(2)).encode())
    out, err = tocsin("parse", str(log))
    events = [json.loads(text) for text in out.splitlines()]
    assert [event["kind"] for event in events] == ["request", "log", "request"]
    assert events[1]["parse_error"]
    assert f"not understood and kept as plain log events: 1 line, the first at {log}:2: " in (
        err.decode()
    )
    _, err = tocsin("scan", str(log))
    assert f"plain log events: 1 line, the first at {log}:2: ".encode() in err


def test_a_line_that_is_understood_but_for_a_value_is_counted_apart(
    tmp_path: Path, tocsin: Run
) -> None:
    log = tmp_path / "access.log"
    log.write_text(line(1) + line(2).replace("23/Nov", "99/Nov") * 2 + "garbage\n")
    for command in ("parse", "scan"):
        _, err = tocsin(command, str(log))
        assert f"plain log events: 1 line, the first at {log}:4: ".encode() in err
        assert f"not read whole, a value was left as it is: 2 lines, the first at {log}:2: " in (
            err.decode()
        )


def test_parse_prints_canonical_events_in_input_order(tmp_path: Path, tocsin: Run) -> None:
    log = tmp_path / "access.log"
    log.write_text(line(5, path="/b?token=abcdef123456&x=1") + line(1, path="/a"))
    first, second = (json.loads(text) for text in tocsin("parse", str(log))[0].splitlines())
    assert (first["path"], second["path"]) == ("/b", "/a")
    assert first["time"] == "2026-11-23T10:00:05Z"
    assert first["status"] == 200
    assert "abcdef123456" not in json.dumps(first)
    assert None not in first.values()


def test_a_rule_of_ones_own_is_used_and_a_broken_one_is_named(tmp_path: Path, tocsin: Run) -> None:
    (tmp_path / "good.yml").write_text(
        "title: Secret door\n"
        "id: 0d0b9e0c-5f2f-4d4a-8a55-2f0f5a7c1d11\n"
        "level: critical\n"
        "logsource: {category: webserver}\n"
        "detection:\n  door: {cs-uri-stem: /secret-door}\n  condition: door\n"
    )
    (tmp_path / "bad.yml").write_text("title: [\n")
    log = tmp_path / "access.log"
    log.write_text(line(path="/secret-door") + line())
    out, err = tocsin("scan", str(log), "--rules", str(tmp_path), "--no-pack", "--json", code=3)
    assert json.loads(out)["title"] == "Secret door"
    assert b"bad.yml:" in err


def test_unknown_formats_and_missing_directories_are_usage(tmp_path: Path, tocsin: Run) -> None:
    log = tmp_path / "access.log"
    log.write_text(line())
    assert b"there are" in tocsin("scan", str(log), "--parser", "nope", code=2)[1]
    assert b"no such directory" in tocsin("scan", str(log), "--rules", "/nowhere", code=2)[1]


def test_a_scan_that_looks_for_nothing_is_no_all_clear(tmp_path: Path, tocsin: Run) -> None:
    log, rules = tmp_path / "access.log", tmp_path / "rules"
    log.write_text("".join(attack()))
    rules.mkdir()
    _, err = tocsin("scan", str(log), "--no-pack", code=2)
    assert b"there are no rules, so nothing would be found" in err
    _, err = tocsin("scan", str(log), "--no-pack", "--rules", str(rules), code=2)
    assert b"there are no rules" in err
    (rules / "bad.yml").write_text("title: [\n")
    out, err = tocsin("scan", str(log), "--no-pack", "--rules", str(rules), code=1)
    assert b"none of the rules can be run" in err
    assert b"0 incidents" not in out + err
    # With others beside it, it is said how many looked.
    _, err = tocsin("scan", str(log), "--rules", str(rules), code=3)
    assert re.search(rb"looked at by [0-9]+ rules \(1 left out\)", err)


def test_what_an_incident_is_called_does_not_depend_on_what_came_before(
    tmp_path: Path, incidents: Incidents
) -> None:
    log = tmp_path / "access.log"
    attacked = [*attack(), *(line(40 + n, ip="198.51.100.7", path=f"/x{n}", status=404)
                             for n in range(120))]  # fmt: skip
    called: set[tuple[str, ...]] = set()
    for before in range(6):  # each moves all the numbers of the evidence
        log.write_text("".join([line(-60 - n) for n in range(before)] + attacked))
        found = incidents(str(log))
        called.add(tuple(sorted(f"{i['rule']} {i['title']} {i['reason']}" for i in found)))
    assert len(called) == 1


def test_send_names_the_file_that_is_no_log_and_goes_on(tmp_path: Path, tocsin: Run) -> None:
    bad, worse = tmp_path / "rand.bin", tmp_path / "missing.log"
    bad.write_bytes(os.urandom(4096))
    _, err = tocsin(
        "send", str(bad), str(worse), "--to", "http://127.0.0.1:1", "--key", "k", code=1
    )
    first, second = err.decode().splitlines()
    assert first.startswith(f"tocsin: {bad}: the input looks binary")
    assert second.startswith(f"tocsin: {worse}: no such file or directory")


def test_why_a_rule_is_refused_is_a_sentence(tmp_path: Path, tocsin: Run) -> None:
    rule = (
        "title: x\nid: 0d0b9e0c-5f2f-4d4a-8a55-2f0f5a7c1d11\nlogsource: {category: webserver}\n"
        "detection:\n  a: {cs-uri-stem|re: '(?=a)b'}\n  condition: CONDITION\n"
    )
    (tmp_path / "a.yml").write_text(rule.replace("CONDITION", "a"))
    _, err = tocsin("rules", "list", "--rules", str(tmp_path / "a.yml"), code=1)
    assert b'regular expression "(?=a)b" can be run by no linear engine (' in err
    (tmp_path / "b.yml").write_text(rule.replace("CONDITION", "a | count() > 5"))
    _, err = tocsin("rules", "list", "--rules", str(tmp_path / "b.yml"), code=1)
    assert b"pySigma does not support" in err


def test_what_is_said_of_an_incident_adds_up(tmp_path: Path, tocsin: Run) -> None:
    log = tmp_path / "access.log"
    log.write_text("".join(attack()))
    text = tocsin("scan", str(log), code=3)[0].decode()
    (counted,) = re.findall(r"^  events   (?:at least )?(\d+)", text, re.MULTILINE)
    (left,) = re.findall(r"^ +\.\.\. (\d+) more$", text, re.MULTILINE)
    assert len(re.findall(rf"{re.escape(str(log))}:\d+$", text, re.MULTILINE)) == 6
    assert (int(counted), int(left)) == (30, 24)


def test_an_incident_of_few_events_names_each_and_no_more(tmp_path: Path, tocsin: Run) -> None:
    log = tmp_path / "access.log"
    log.write_text("".join(line(n, path="/.git/config", agent="Nikto/2.5.0") for n in range(4)))
    text = tocsin("scan", str(log), code=3)[0].decode()
    assert "\n  events   4" in text
    assert len(re.findall(r"access\.log:\d+$", text, re.MULTILINE)) == 4
    assert " more" not in text


def test_an_empty_file_is_called_empty(tmp_path: Path, tocsin: Run) -> None:
    (tmp_path / "empty.log").touch()
    _, err = tocsin("scan", str(tmp_path / "empty.log"))
    assert f"{tmp_path}/empty.log: it is empty; nothing was looked at".encode() in err
