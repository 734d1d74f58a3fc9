"""What stands around a line is taken off, says only what the line does not, and forges nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.event import canaries

from tocsin.event.batch import complete
from tocsin.intake import Origin, parse, sniff
from tocsin.intake.admit import admit
from tocsin.intake.parse import parse_placed

NOW = 1_795_412_800 * 10**9
ORIGIN = Origin(source="edge")
AT = "2026-11-23T05:46:59.125Z"


def rows(data: str, parser: str | None = None) -> list[dict[str, Any]]:
    found = parse(data.encode(), parser or sniff(data.encode()), ORIGIN, NOW)
    out: list[dict[str, Any]] = []
    for row in found.iter_rows(named=True):
        kept = {k: v for k, v in row.items() if v is not None}
        kept["time"] = row["time"].isoformat()
        if "attributes" in kept:
            kept["attributes"] = msgspec.json.decode(kept["attributes"])
        out.append(kept)
    return out


def docker(line: str, **more: Any) -> str:
    return json.dumps({"log": line + "\n", "stream": "stdout", "time": AT, **more})


def journal(line: str, **more: Any) -> str:
    fields = {"__REALTIME_TIMESTAMP": "1795412819125000", "_HOSTNAME": "web-1", "MESSAGE": line}
    return json.dumps(
        {**fields, "SYSLOG_IDENTIFIER": "shop", "_PID": "42", "PRIORITY": "4", **more}
    )


ENVELOPES: dict[str, Callable[[str], str]] = {
    "cri": lambda line: f"{AT} stdout F {line}",
    "docker": docker,
    "journal": journal,
    "compose": lambda line: f"shop-1  | {line}",
    "rfc5424": lambda line: f"<132>1 {AT} web-1 shop 42 - - {line}",
    "rfc3164": lambda line: f"<132>Nov 23 05:46:59 web-1 shop[42]: {line}",
    "file": lambda line: f"Nov 23 05:46:59 web-1 shop[42]: {line}",
    "file 3339": lambda line: f"{AT} web-1 shop[42]: {line}",
}
#: What each says of the line besides.
SAY: dict[str, dict[str, str]] = {
    "cri": {"stream": "stdout"},
    "docker": {"stream": "stdout"},
    "compose": {"program": "shop-1"},
}
SYSLOG = {"program": "shop", "pid": "42"}
HOSTLESS = ("cri", "docker", "compose")

INNER = {
    "nginx": '203.0.113.7 - - [23/Nov/2026:05:46:16 +0000] "POST /login HTTP/1.1" 401 8 "-" "curl"',
    "apache": '203.0.113.7 - - [23/Nov/2026:05:46:16 +0000] "POST /login HTTP/1.1" 401 8',
    "nginx_json": '{"msec":1795412776.0,"remote_addr":"203.0.113.7","uri":"/a","status":401}',
    "tocsin": '{"time":"2026-11-23T05:46:16Z","kind":"request","client_ip":"203.0.113.7"}',
    "json": '{"ts":"2026-11-23T05:46:16Z","level":"info","client_ip":"203.0.113.7","status":401}',
    "pg_json": '{"timestamp":"2026-11-23 05:46:16 UTC","pid":1,"error_severity":"LOG"}',
    "kv": "time=2026-11-23T05:46:16Z level=info client_ip=203.0.113.7 status=401 a=b",
    "text": "2026-11-23 05:46:16 INFO hello",
}


@pytest.mark.parametrize("parser", INNER)
@pytest.mark.parametrize("envelope", ENVELOPES)
def test_a_line_in_an_envelope_says_what_it_says_alone(envelope: str, parser: str) -> None:
    line = INNER[parser]
    sealed = ENVELOPES[envelope](line)
    assert sniff(f"{sealed}\n{sealed}\n".encode()) == parser
    [row], [bare] = rows(sealed), rows(line)
    host = None if envelope in HOSTLESS else "web-1"
    assert row.pop("host", None) == host
    assert row.pop("attributes", {}) == SAY.get(envelope, SYSLOG) | bare.pop("attributes", {})
    if "severity" not in bare and envelope in ("journal", "rfc5424", "rfc3164"):
        assert row.pop("severity") == "warn"
    if "raw" in bare:
        assert row.pop("raw") == (line if sealed.startswith("{") else sealed)
        del bare["raw"]
    assert row == bare


@pytest.mark.parametrize("envelope", ENVELOPES)
def test_the_time_of_an_envelope_counts_where_the_line_has_none(envelope: str) -> None:
    [row] = rows(ENVELOPES[envelope]("it broke"), "text")
    assert (row["message"], row["kind"]) == ("it broke", "log")
    if envelope == "compose":
        assert row["time"] == "2026-11-23T05:46:40+00:00"  # of receipt
        return
    exact = envelope not in ("rfc3164", "file")
    assert row["time"] == (
        "2026-11-23T05:46:59.125000+00:00" if exact else "2026-11-23T05:46:59+00:00"
    )
    assert row.get("tags") == (None if exact else ["time_assumed"])


def test_what_a_line_says_of_itself_is_better() -> None:
    [row] = rows(ENVELOPES["rfc5424"]('{"host":"h9","level":"error","pid":7,"stream":"x"}'), "json")
    assert (row["host"], row["severity"]) == ("h9", "error")
    assert row["attributes"] == {"pid": 7, "stream": "x", "program": "shop"}
    assert row["time"] == "2026-11-23T05:46:59.125000+00:00"


def test_all_else_that_an_envelope_has_is_kept() -> None:
    [row] = rows(docker("hello", attrs={"tag": "web"}, kubernetes={"pod": "p"}))
    assert row["attributes"] == {
        "stream": "stdout", "attrs": {"tag": "web"}, "kubernetes": {"pod": "p"},
    }  # fmt: skip
    [row] = rows(journal("hello", _SYSTEMD_UNIT="shop.service"))
    assert row["attributes"] == SYSLOG | {"_SYSTEMD_UNIT": "shop.service"}
    [row] = rows(f'<134>1 {AT} - - - ID47 [x@1 a="b \\"]"][y@1] \ufeffhello')
    assert row["attributes"] == {"message_id": "ID47", "structured_data": '[x@1 a="b \\"]"][y@1]'}
    assert (row["message"], row.get("host"), row["severity"]) == ("hello", None, "info")


@pytest.mark.parametrize(
    ("line", "message", "more"),
    [
        ("<11>it broke\0", "it broke", {"severity": "error"}),
        ("<11>Nov 23 05:46:59 it broke", "it broke", {"severity": "error"}),
        ("<134>Nov 23 05:46:59 nginx: hello", "hello", {"attributes": {"program": "nginx"}}),
        ("Nov 23 05:46:59 web-1 kernel: [ 1.2] usb", "[ 1.2] usb", {"host": "web-1"}),
        ("<999>hello", "<999>hello", {"severity": None}),
        ("Nov 23 05:46:59 ERROR: it broke", "ERROR: it broke", {"severity": "error"}),
        (f"{AT} ERROR shop: it broke", "ERROR shop: it broke", {"host": None, "severity": "error"}),
        (f"{AT} shop WARN: it broke", "shop WARN: it broke", {"host": None}),
        (f"{AT} stdout X hello", "stdout X hello", {"attributes": None}),
        ('{"log":"a","stream":"nowhere"}', '{"log":"a","stream":"nowhere"}', {"attributes": None}),
        ("INFO | hello", "INFO | hello", {"severity": "info"}),
    ],
)
def test_a_header_is_taken_off_and_only_a_header(
    line: str, message: str, more: dict[str, Any]
) -> None:
    [row] = rows(line, "text")
    assert row["message"] == message
    assert {k: row.get(k) for k in more} == more


def test_a_bad_line_in_an_envelope_is_kept_whole_and_harms_no_neighbour() -> None:
    for name, seal in ENVELOPES.items():
        good, bad = seal(INNER["nginx"]), seal("no access line")
        found = rows("\n".join([good, bad, INNER["nginx"], good]), "nginx")
        assert [row.get("status") for row in found] == [401, None, 401, 401]
        assert found[1]["message"] == "no access line"
        assert found[1]["raw"] == ("no access line" if bad.startswith("{") else bad)
        assert "combined" in found[1]["parse_error"], name


def test_plain_words_of_a_program_that_logs_json_are_no_broken_json() -> None:
    lines = [ENVELOPES["cri"](INNER["json"])] * 9 + [ENVELOPES["cri"]("Listening on :8000")]
    found = rows("\n".join([*lines, "{broken", "no envelope"]))
    assert [row.get("status") for row in found] == [401] * 9 + [None] * 3
    assert (found[9]["message"], found[9]["kind"]) == ("Listening on :8000", "log")
    assert ["parse_error" in row for row in found] == [False] * 10 + [True, True]
    assert found[9]["time"] == "2026-11-23T05:46:59.125000+00:00"


def test_an_envelope_may_stand_in_another() -> None:
    inner = ENVELOPES["rfc3164"](INNER["nginx"])
    [row] = rows(ENVELOPES["cri"](inner))
    assert (row["status"], row["host"]) == (401, "web-1")
    assert row["attributes"] == {"stream": "stdout", **SYSLOG}
    assert row["raw"] == ENVELOPES["cri"](inner)
    outer, both = INNER["json"], ENVELOPES["rfc3164"](INNER["json"])
    found = rows("\n".join(ENVELOPES["cri"](line) for line in (outer, both, "Listening")), "json")
    assert [row["kind"] for row in found] == ["log"] * 3
    assert [row.get("host") for row in found] == [None, "web-1", None]
    assert not any("parse_error" in row for row in found)


def test_the_parts_of_a_line_are_joined_by_stream() -> None:
    long = INNER["nginx"]
    a, b = long[:30], long[30:]
    cri = [
        f"{AT} stdout P {a}",
        f"{AT} stderr F other",
        "no envelope",
        f"{AT} stdout F {b}",
        f"{AT} stdout P begun",
    ]
    found = rows("\n".join(cri), "nginx")
    assert [row.get("status") for row in found] == [401, None, None, None]
    assert [row.get("message") for row in found] == [None, "other", "no envelope", "begun"]
    assert found[0]["raw"] == f"{AT} stdout P {long}"
    parts = [json.dumps({"log": part, "stream": "stdout", "time": AT}) for part in (a, b + "\n")]
    found = rows("\n".join([*parts, docker("end")]), "nginx")
    assert [row.get("status") for row in found] == [401, None]


def test_lines_without_their_ends_are_no_parts() -> None:
    lines = [json.dumps({"log": f"m{n}", "stream": "stdout"}) for n in range(3)]
    assert [row["message"] for row in rows("\n".join(lines))] == ["m0", "m1", "m2"]


def test_each_row_knows_its_line() -> None:
    lines = [
        "no envelope",
        f"{AT} stdout P one ",
        f"{AT} stdout F ",
        f"{AT} stdout F ",
        "",
        f"{AT} stderr F two",
    ]
    placed = parse_placed("\n".join(lines).encode(), "text", ORIGIN, NOW)
    assert placed.frame["message"].to_list() == ["no envelope", "one ", "two"]
    assert placed.places is not None
    assert placed.places.tolist() == [0, 1, 4]
    assert placed.lines == 5


def test_a_key_that_stands_twice_in_an_envelope_is_told() -> None:
    line = '{"log":"a\\n","log":"b\\n","stream":"stdout","time":"2026-11-23T05:46:16Z"}'
    [row] = rows(line, "json")
    assert row["parse_error"] == "log: stands twice; the last one counts"
    assert row["raw"] == line


def test_a_line_end_inside_of_a_message_makes_no_line() -> None:
    forged = f"hello\n{INNER['nginx']}"
    for seal in (docker, journal):
        [row] = rows(seal(forged), "nginx")
        assert row["kind"] == "log"
        assert row["message"] == forged.replace("\n", "\\n")


def test_the_journals_bytes_are_text() -> None:
    record = json.loads(journal(""))
    record["MESSAGE"] = list(b"caf\xe9")
    [row] = rows(json.dumps(record))
    assert row["message"] == "caf\\xe9"


LINES = (
    *(seal(line) for seal in ENVELOPES.values() for line in (INNER["nginx"], INNER["json"], "x")),
    *INNER.values(),
    "<1>",
    "Nov",
    '{"log":5,"stream":"stdout"}',
    '{"log":"a","log":"b","stream":"stdout"}',
    '{"MESSAGE":null,"_HOSTNAME":"h"}',
    '{"MESSAGE":"a","x":[1,{"y":2}],"_HOSTNAME":"h"}',
)


@settings(deadline=None, max_examples=60)
@given(
    lines=st.lists(st.sampled_from(LINES), max_size=10),
    parser=st.sampled_from(("nginx", "json", "tocsin", "nginx_json", "kv", "text", "pg_json")),
)
def test_lines_in_envelopes_mean_the_same_together_and_alone(lines: list[str], parser: str) -> None:
    together = complete(parse("\n".join(lines).encode(), parser, ORIGIN, NOW))
    alone = [complete(parse(line.encode(), parser, ORIGIN, NOW)) for line in lines]
    expected = pl.concat([together.clear(), *alone])
    # The keys of one object stand in no order.
    assert together.height == expected.height
    left, right = (
        [json.loads(a) if a else None for a in frame["attributes"]]
        for frame in (together, expected)
    )
    assert left == right
    # Only when it was said may be a neighbour's to tell, where a line does not.
    timed = expected["time"] != expected["observed"]
    borrowed = ("time", "tags")
    assert together.drop("attributes", *borrowed).equals(expected.drop("attributes", *borrowed))
    assert together.select(borrowed).filter(timed).equals(expected.select(borrowed).filter(timed))


@pytest.mark.parametrize("envelope", ENVELOPES)
def test_no_canary_passes_in_an_envelope(envelope: str) -> None:
    found: list[tuple[Any, str]] = []
    for n, canary in enumerate(canaries.canaries()):
        carriers = [text for text in canaries.carriers(canary) if "\n" not in text]
        found += [(canary, carriers[n % len(carriers)])] if carriers else []
    lines = "\n".join(ENVELOPES[envelope](f"hello {text}") for _, text in found)
    frame = admit(parse(lines.encode(), "text", ORIGIN, NOW), ORIGIN, key=b"k" * 32, now=NOW).frame
    assert frame.height == len(found) >= 500
    texts = [" ".join(str(v) for v in row if v is not None) for row in frame.iter_rows()]
    leaked = [
        (canary.kind, needle)
        for (canary, _), text in zip(found, texts, strict=True)
        for needle in canaries.needles(canary)
        if needle in text
    ]
    assert leaked == []


def test_a_secret_that_the_runtime_cut_in_two_is_taken_out() -> None:
    token = "ghp_" + "a1B2c3D4e5F6" * 3
    lines = f"{AT} stdout P token {token[:20]}\n{AT} stdout F {token[20:]}"
    out = admit(parse(lines.encode(), "text", ORIGIN, NOW), ORIGIN, key=b"k" * 32, now=NOW).frame
    assert token[:20] not in str(out.rows())
    assert token[20:] not in str(out.rows())
