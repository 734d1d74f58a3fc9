"""Each parser on good lines: what the columns say, and that nothing is lost."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import polars as pl
import pytest

from tocsin.errors import UsageError
from tocsin.event import VOCABULARY
from tocsin.event.batch import SCHEMA
from tocsin.intake import PARSERS, Origin, parse

NOW = 1_795_412_800 * 10**9
ORIGIN = Origin(source="edge")


def rows(data: bytes | str, parser: str, origin: Origin = ORIGIN) -> list[dict[str, Any]]:
    """Rows without their nulls; attributes decoded, times as ISO text."""
    frame = parse(data.encode() if isinstance(data, str) else data, parser, origin, NOW)
    out: list[dict[str, Any]] = []
    for row in frame.iter_rows(named=True):
        kept = {k: v for k, v in row.items() if v is not None}
        kept["time"] = row["time"].isoformat()
        if "attributes" in kept:
            kept["attributes"] = msgspec.json.decode(kept["attributes"])
        out.append(kept)
    return out


def one(data: bytes | str, parser: str, origin: Origin = ORIGIN) -> dict[str, Any]:
    found = rows(data, parser, origin)
    assert len(found) == 1
    return found[0]


COMBINED = (
    '203.0.113.7 - alice [23/Nov/2026:05:46:16 +0100] "GET /a%20b?q=1&r=?x HTTP/1.1" 404 153 '
    '"https://shop.example/" "te\\x22st\\x5Cua"'
)


def test_a_combined_line_says_who_what_and_how_it_ended() -> None:
    row = one(COMBINED, "nginx")
    assert row["time"] == "2026-11-23T04:46:16+00:00"
    wanted = {
        "kind": "request", "client_ip": "203.0.113.7", "user": "alice", "method": "GET",
        "path": "/a%20b", "query": "q=1&r=?x", "http_version": "1.1", "status": 404,
        "bytes_out": 153, "referer": "https://shop.example/", "user_agent": 'te"st\\ua',
        "outcome": "failure", "outcome_source": "status", "reason": "not_found", "raw": COMBINED,
        "parser": "nginx", "layer": "gateway", "source": "edge",
    }  # fmt: skip
    assert {k: row.get(k) for k in wanted} == wanted
    assert "parse_error" not in row


@pytest.mark.parametrize("parser", sorted(PARSERS))
def test_frames_are_canonical_in_names_order_and_types(parser: str) -> None:
    frame = parse(COMBINED.encode() + b"\n{}\nx=1 y=2\n", parser, ORIGIN, NOW)
    names = [n for n in SCHEMA if n in frame.columns]
    assert frame.columns == names
    assert frame.schema == pl.Schema({n: SCHEMA[n] for n in names})
    for always in ("time", "observed", "kind"):
        assert frame[always].null_count() == 0
    assert frame["observed"].dt.epoch("ns").unique().to_list() == [NOW]


@pytest.mark.parametrize("parser", sorted(PARSERS))
@pytest.mark.parametrize("data", [b"", b"\n", b"\n\r\n  \n\t\n", b"\xef\xbb\xbf"])
def test_nothing_gives_no_rows(parser: str, data: bytes) -> None:
    frame = parse(data, parser, ORIGIN, NOW)
    assert frame.height == 0
    assert {"time", "observed", "kind"} <= set(frame.columns)


def test_an_unknown_parser_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match=r'no parser "nope"; there are .*nginx'):
        parse(b"x", "nope", ORIGIN, NOW)


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        (  # common
            '203.0.113.7 - - [23/Nov/2026:05:46:16 +0000] "HEAD / HTTP/1.0" 200 -',
            {"client_ip": "203.0.113.7", "method": "HEAD", "path": "/", "status": 200},
        ),
        (  # per host, with a port
            f"shop.example:443 {COMBINED}",
            {"authority": "shop.example:443", "client_ip": "203.0.113.7", "user": "alice"},
        ),
        (  # nginx's packaged "main" format
            COMBINED + ' "198.51.100.4, 10.0.0.1"',
            {"attributes": {"x_forwarded_for": "198.51.100.4, 10.0.0.1"}, "status": 404},
        ),
        (  # more fields at the end
            COMBINED + ' 0.005 "backend" 0ms',
            {"attributes": {"rest": '0.005 "backend" 0ms'}, "path": "/a%20b"},
        ),
        (  # a user name with spaces must not shift the columns
            COMBINED.replace("alice", "alice b c"),
            {"user": "alice b c", "client_ip": "203.0.113.7", "status": 404},
        ),
        (  # Apache's escapes
            COMBINED.replace("te\\x22st\\x5Cua", 'a\\"b\\\\c'),
            {"user_agent": 'a"b\\c', "status": 404},
        ),
        (  # a port of the client, which has a column
            COMBINED.replace("203.0.113.7", "203.0.113.7:40001"),
            {"client_ip": "203.0.113.7", "client_port": 40001, "user": "alice"},
        ),
        (
            COMBINED.replace("203.0.113.7", "[2001:DB8::7]:443"),
            {"client_ip": "2001:db8::7", "client_port": 443},
        ),
        (  # a host with a port in front
            f"[2001:db8::1]:443 {COMBINED}",
            {"authority": "[2001:db8::1]:443", "client_ip": "203.0.113.7"},
        ),
        (  # a socket has no address
            COMBINED.replace("203.0.113.7", "unix:"),
            {"client_ip": None, "attributes": None, "status": 404},
        ),
        (  # the time as $time_iso8601
            COMBINED.replace("23/Nov/2026:05:46:16 +0100", "2026-11-23T05:46:16+01:00"),
            {"time": "2026-11-23T04:46:16+00:00", "tags": None, "status": 404},
        ),
        (  # neither a zone nor whole seconds
            COMBINED.replace("23/Nov/2026:05:46:16 +0100", "23/Nov/2026:05:46:16.250"),
            {"time": "2026-11-23T05:46:16.250000+00:00", "tags": ["time_assumed"]},
        ),
        (  # no names of users
            COMBINED.replace(" - alice", ""),
            {"client_ip": "203.0.113.7", "user": None, "status": 404},
        ),
        (  # a resolved name is no address
            COMBINED.replace("203.0.113.7", "client.example"),
            {"attributes": {"client_host": "client.example"}, "client_ip": None},
        ),
        (  # IPv6
            COMBINED.replace("203.0.113.7", "2001:db8::7"),
            {"client_ip": "2001:db8::7"},
        ),
        (  # behind syslog
            f"<134>Nov 23 05:46:16 web-1 nginx[42]: {COMBINED}",
            {"host": "web-1", "attributes": {"program": "nginx", "pid": "42"}, "status": 404},
        ),
        (  # spaces in the target
            COMBINED.replace("/a%20b?q=1&r=?x", "/a b?x=1 2"),
            {"method": "GET", "path": "/a b", "query": "x=1 2", "http_version": "1.1"},
        ),
        (  # HTTP/0.9: no version
            COMBINED.replace(" HTTP/1.1", ""),
            {"method": "GET", "path": "/a%20b", "http_version": None},
        ),
        (COMBINED.replace("HTTP/1.1", "HTTP/2.0"), {"http_version": "2"}),
        (  # TLS spoken to a plain port
            COMBINED.replace("GET /a%20b?q=1&r=?x HTTP/1.1", "\\x16\\x03\\x01\\x02\\x00"),
            {
                "method": None,
                "path": None,
                "status": 404,
                "kind": "request",
                "attributes": {"request": "\\x16\\x03\\x01\\x02\\x00"},
                "parse_error": None,
            },
        ),
        (  # a connection closed before any request
            COMBINED.replace("GET /a%20b?q=1&r=?x HTTP/1.1", "-"),
            {"method": None, "path": None, "attributes": None, "status": 404},
        ),
        (  # bytes that are UTF-8 once unescaped, and a line end that stays escaped
            COMBINED.replace("te\\x22st\\x5Cua", "\\xD0\\x9F\\x0A"),
            {"user_agent": "П\\x0A"},
        ),
    ],
)
@pytest.mark.parametrize("parser", ["nginx", "apache"])
def test_the_kin_of_combined_are_read(line: str, wanted: dict[str, Any], parser: str) -> None:
    row = one(line, parser)
    assert {k: row.get(k) for k in wanted} == wanted


@pytest.mark.parametrize(
    "line",
    [
        "999.999.999.999" + COMBINED.removeprefix("203.0.113.7"),
        "203.0.113.7\u202e" + COMBINED.removeprefix("203.0.113.7"),
        "010.0.0.1" + COMBINED.removeprefix("203.0.113.7"),
        f"2026-11-23T05:46:16Z stdout {COMBINED}",
        f"Nov 23 05:46:16 weird {COMBINED}",
        f"web-1 F {COMBINED}",
        f"203.0.113.9, {COMBINED}",
        f"203.0.113.9 F {COMBINED}",
        f"203.0.113.9 - - {COMBINED}",
    ],
)
def test_no_request_is_made_of_a_line_whose_address_is_not_in_its_place(line: str) -> None:
    row = one(line, "nginx")
    assert (row["kind"], row["message"], row["raw"]) == ("log", line, line)
    assert row["parse_error"] == "not an access log line in common or combined format"
    assert not {"client_ip", "user", "status"} & row.keys()


def test_odd_lines_among_plain_ones_keep_their_places() -> None:
    lines = [COMBINED.replace(" 404 ", f" {200 + i} ") for i in range(40)]
    lines[7] = f"shop.example {lines[7]}"
    lines[21] = "no access line"
    lines[30] = lines[30].replace("alice", "al ice")
    found = rows("\n".join(lines), "nginx")
    assert [r.get("status") for r in found] == [None if i == 21 else 200 + i for i in range(40)]
    assert [r["raw"] for r in found] == lines
    assert found[21]["kind"] == "log"
    assert found[21]["message"] == "no access line"
    assert "combined" in found[21]["parse_error"]


@pytest.mark.parametrize("parser", ["nginx", "json", "tocsin", "kv"])
def test_a_line_that_no_parser_took_still_has_the_time_and_level_it_begins_with(
    parser: str,
) -> None:
    line = "2026-11-23 05:46:16 ERROR it broke"
    row = one(line, parser)
    assert (row["time"], row["severity"]) == ("2026-11-23T05:46:16+00:00", "error")
    assert (row["message"], row["raw"], row["tags"]) == (line, line, ["time_assumed"])
    assert "parse_error" in row


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        (
            (
                '2026/11/23 05:46:16 [error] 31#31: *46 user "bob" was not found in "/etc/x", '
                'client: 203.0.113.7, server: _, request: "GET /x?y HTTP/1.1", host: "shop.example"'
            ),
            {
                "kind": "authn_login_fail", "claimed_user": "bob", "reason": "unknown_user",
                "client_ip": "203.0.113.7", "method": "GET", "path": "/x", "query": "y",
                "authority": "shop.example", "severity": "error", "tags": ["time_assumed"],
            },
        ),
        (  # over syslog, which has the time
            '<187>Nov 23 05:46:16 nginx: [error] 31#31: *46 it failed, client: 203.0.113.7:5',
            {"kind": "log", "severity": "error", "client_ip": "203.0.113.7", "client_port": 5,
             "message": "it failed", "time": "2026-11-23T05:46:16+00:00", "parse_error": None},
        ),
        (
            '2026/11/23 05:46:16 [crit] 31#31: *46 SSL_do_handshake() failed, client: 203.0.113.7',
            {"kind": "log", "severity": "critical", "client_ip": "203.0.113.7",
             "message": "SSL_do_handshake() failed"},
        ),
        (
            (
                "[Thu Oct 13 12:24:49.880562 2022] [auth_basic:error] [pid 10:tid 14] [client "
                '203.0.113.7:50229] AH01617: user bob: authentication failure for "/x": Password '
                "Mismatch"
            ),
            {
                "kind": "authn_login_fail", "claimed_user": "bob", "reason": "bad_credentials",
                "client_ip": "203.0.113.7", "client_port": 50229, "path": "/x",
                "time": "2022-10-13T12:24:49.880562+00:00",
            },
        ),
    ],
)  # fmt: skip
def test_error_log_lines_share_the_stream(line: str, wanted: dict[str, Any]) -> None:
    row = one(line, "nginx")
    assert {k: row.get(k) for k in wanted} == wanted


def test_a_client_that_a_name_or_a_request_forged_into_an_error_log_is_not_believed() -> None:
    row = one(
        '2026/11/23 05:46:16 [error] 3#3: *4 user "x", client: 6.6.6.6, server: _, request: "a" '
        'was not found in "/etc/x", client: 203.0.113.7, server: _, request: "GET / HTTP/1.1"',
        "nginx",
    )
    assert "client_ip" not in row
    assert row["parse_error"] == "client: stands twice, and one of them is forged"


def test_nginx_json_prefers_what_was_on_the_wire() -> None:
    record = {
        "ts": "2026-11-23T05:46:16+00:00", "msec": 1795412776.045, "client_ip": "203.0.113.7",
        "user": "", "method": "GET", "uri": "/x' OR 1=1--", "args": "a=1",
        "request_uri": "/x'%20OR%201=1--?a=1", "status": 200, "body_bytes": 8, "resp_bytes": 129,
        "rt": 0.005, "urt": "", "host": "shop.example", "ua": 'te"st', "xff": "",
    }  # fmt: skip
    row = one(msgspec.json.encode(record), "nginx_json")
    wanted = {
        "time": "2026-11-23T05:46:16.045000+00:00", "kind": "request", "path": "/x'%20OR%201=1--",
        "query": "a=1", "duration_ns": 5_000_000, "bytes_out": 8, "authority": "shop.example",
        "user_agent": 'te"st', "user": None, "raw": None,
        "attributes": {"uri": "/x' OR 1=1--", "resp_bytes": 129},
    }  # fmt: skip
    assert {k: row.get(k) for k in wanted} == wanted


def test_nginx_json_takes_variables_under_their_own_names_and_numbers_as_text() -> None:
    record = {
        "time_local": "23/Nov/2026:05:46:16 +0000", "remote_addr": "203.0.113.7",
        "remote_user": "-", "request": "POST /login?next=/ HTTP/2.0", "status": "403",
        "body_bytes_sent": "12", "request_time": "0.250", "http_user_agent": "curl/8",
    }  # fmt: skip
    row = one(msgspec.json.encode(record), "nginx_json")
    wanted = {
        "time": "2026-11-23T05:46:16+00:00", "client_ip": "203.0.113.7", "user": None,
        "method": "POST", "path": "/login", "query": "next=/", "http_version": "2", "status": 403,
        "bytes_out": 12, "duration_ns": 250_000_000, "reason": "forbidden",
    }  # fmt: skip
    assert {k: row.get(k) for k in wanted} == wanted


def test_native_events_keep_every_column_and_unknown_keys() -> None:
    line = (
        '{"time":"2026-11-23T05:46:16.123456789+01:00","kind":"AUTHN_login_fail:joe","status":401,'
        '"tags":["a"],"objects":["x","y"],"attributes":{"deep":{"er":1}},"colour":"red",'
        '"source":"liar","observed":1}'
    )
    row = one(line, "tocsin")
    wanted = {
        "time": "2026-11-23T04:46:16.123456+00:00", "kind": "authn_login_fail", "user": "joe",
        "status": 401, "tags": ["a"], "objects": ["x", "y"], "source": "edge", "raw": None,
        "layer": "app",
        "attributes": {"deep": {"er": 1}, "colour": "red", "source": "liar", "observed": 1},
    }  # fmt: skip
    assert {k: row.get(k) for k in wanted} == wanted
    assert "parse_error" not in row


def test_nanoseconds_survive() -> None:
    frame = parse(b'{"time":"2026-11-23T05:46:16.123456789Z","kind":"log"}', "tocsin", ORIGIN, NOW)
    assert frame["time"].dt.epoch("ns").item() % 10**9 == 123_456_789


def test_a_wrong_type_is_kept_and_named_and_harms_no_neighbour() -> None:
    found = rows(
        '{"time":"2026-11-23T05:46:16Z","kind":"request","status":"200","user":5}\n'
        '{"time":"2026-11-23T05:46:17Z","kind":"request","status":201,"user":"bob"}\n'
        '{"time":"no time","kind":"nonsense","status":1.5}\n',
        "tocsin",
    )
    assert found[0]["attributes"] == {"status": "200", "user": 5}
    assert found[0]["parse_error"] == "status: not a whole number; user: not text"
    assert (found[1]["status"], found[1]["user"]) == (201, "bob")
    assert "parse_error" not in found[1]
    assert found[2]["attributes"] == {"time": "no time", "kind": "nonsense", "status": 1.5}
    for name in ("time", "kind", "status"):
        assert f"{name}: not" in found[2]["parse_error"]
    assert found[2]["kind"] == "log"


@pytest.mark.parametrize(
    ("record", "wanted"),
    [
        (
            {"@timestamp": "2026-11-23T05:46:16Z", "log": {"level": "WARN"}, "message": "hi",
             "http": {"request": {"method": "GET"}, "response": {"status_code": 404}},
             "url": {"path": "/x"}, "client": {"ip": "203.0.113.7"}, "trace": {"id": "ab"}},
            {"severity": "warn", "message": "hi", "method": "GET", "status": 404, "path": "/x",
             "client_ip": "203.0.113.7", "trace_id": "ab", "kind": "request"},
        ),
        (
            {"ts": 1795412776.5, "level": 30, "msg": "hi", "req": {"method": "GET", "url": "/x?y",
             "remoteAddress": "203.0.113.7:42"}, "res": {"statusCode": 200}, "responseTime": 12},
            {"severity": "info", "method": "GET", "path": "/x", "query": "y", "status": 200,
             "client_ip": "203.0.113.7", "duration_ns": 12_000_000,
             "time": "2026-11-23T05:46:16.500000+00:00"},
        ),
        (
            {"timestamp": 1795412776500, "http.status_code": 500, "http.method": "PUT",
             "usr.id": "u1", "a": {"b": [1, {"c": None}]}},
            {"status": 500, "method": "PUT", "user": "u1", "reason": "internal",
             "attributes": {"a.b": [1, {"c": None}]}},
        ),
        (
            {"hello": "world", "n": 1.5, "no": None},
            {"kind": "log", "attributes": {"hello": "world", "n": 1.5}},
        ),
    ],
)  # fmt: skip
def test_foreign_json_is_understood_where_it_can_be(
    record: dict[str, Any], wanted: dict[str, Any]
) -> None:
    row = one(msgspec.json.encode(record), "json")
    assert {k: row.get(k) for k in wanted} == wanted
    assert "parse_error" not in row


TWICE = [
    ('{"kind":"authn_login_fail","user":"mallory","user":"alice"}', "user"),
    ('{"kind":"log","user":"mallory","us\\u0065r":"alice"}', "user"),
    ('{"kind":"log","user":"mallory", "user" :"alice","a":1}', "user"),
    ('{"kind":"log","user":"mallory","user":null}', "user"),
    ('{"kind":"log","user":"::1","message":"say \\"user\\":","user":"alice"}', "user"),
    ('{"kind":"log","attributes":{"n":1,"n":2}}', "n"),
    ('{"kind":"log","attributes":{"a\\\\":1,"n":1,"n":2}}', "n"),
    ('{"kind":"log","attributes":{"a\\":":1,"n":1,"n":2}}', "n"),
    ('{"kind":"log","list":[{"n":1,"n":2}]}', "n"),
]
ONCE = [
    '{"kind":"log","user":"::1","message":"a \\"user\\": \\\\","tags":[":",":null"],"host":null}',
    '{"kind": "log", "user": ":null", "message": "\\"x\\":", "host": null, "status" : 200}',
    '{"kind":"log","user":"alice","user":"alice"}',
    '{"kind":"log","user":null,"user":"alice"}',
    '{"kind":"log","attributes":{"n":null,"m":"a:b :c","o":[":x"]}}',
]


@pytest.mark.parametrize("parser", ["tocsin", "json", "nginx_json"])
@pytest.mark.parametrize(("line", "key"), TWICE)
def test_a_key_that_stands_twice_is_told_and_the_line_is_kept(
    line: str, key: str, parser: str
) -> None:
    others = [json.dumps({"kind": "log", "user": "bob", "message": "m", "n": n}) for n in range(40)]
    for lines in ([line], [line] * 3, [*others, line, *others]):
        found = rows("\n".join(lines), parser)
        bad = [row for row in found if "parse_error" in row]
        assert len(bad) == lines.count(line)
        for row in bad:
            assert row["parse_error"] == f"{key}: stands twice; the last one counts"
            assert row["raw"] == line


@pytest.mark.parametrize("parser", ["tocsin", "json", "nginx_json"])
@pytest.mark.parametrize("line", ONCE)
def test_what_only_looks_like_a_key_that_stands_twice_is_none(line: str, parser: str) -> None:
    for lines in ([line], [line] * 3, [*ONCE, line]):
        assert all("parse_error" not in row for row in rows("\n".join(lines), parser))


def test_two_keys_that_are_one_once_they_are_flat_are_told_too() -> None:
    row = one('{"a.b":1,"a":{"b":2}}', "json")
    assert row["attributes"] == {"a.b": 2}
    assert row["parse_error"] == "a.b: stands twice; the last one counts"
    assert row["raw"] == '{"a.b":1,"a":{"b":2}}'


def test_a_key_of_postgres_that_stands_twice_is_told_without_the_statement() -> None:
    line = (
        '{"timestamp":"2026-11-23 05:46:22.750 UTC","error_severity":"LOG","user":"a","user":"b",'
        '"statement":"select \'hunter2\'"}'
    )
    row = one(line, "pg_json")
    assert row["parse_error"] == "user: stands twice; the last one counts"
    assert "hunter2" not in str(row)


def test_many_keys_that_stand_twice_make_no_endless_complaint() -> None:
    keys = ",".join(f'"{"k" * 200}{n}":{v}' for v in (1, 2) for n in range(500))
    assert len(one("{" + keys + "}", "json")["parse_error"]) < 1000


def test_a_repeated_key_means_its_last_value_on_every_path() -> None:
    twice = b'{"status":1,"kind":"request","status":7}\n'
    plain = b'{"status":5,"kind":"request"}\n'
    foreign = b'{"status":1,"kind":"request","x":1,"status":7}\n'
    for parser in ("tocsin", "json", "nginx_json"):
        found = rows(plain * 40 + twice + foreign, parser)
        assert [r["status"] for r in found] == [5] * 40 + [7, 7]
    assert one("status=1 status=7", "kv")["status"] == 7


def test_a_repeated_key_of_a_pair_keeps_both_values_and_says_so() -> None:
    row = one("user=bob user=admin ok=1 user=admin user=root", "kv")
    assert row["user"] == "root"
    assert row["attributes"] == {"ok": "1", "user_": ["bob", "admin"]}
    assert row["parse_error"] == "user: given 3 times"
    assert one("user=bob user=bob", "kv").get("parse_error") is None


@pytest.mark.parametrize(
    ("line", "note"),
    [
        ('a=1 note="x user=admin status=500', "x user=admin status=500"),
        ("a=1 note='x user=admin status=500", "x user=admin status=500"),
        ('a=1 note="x user="admin" status=500', 'x user="admin" status=500'),
    ],
)
def test_a_quote_that_is_not_closed_takes_the_rest_of_the_line(line: str, note: str) -> None:
    row = one(line, "kv")
    assert row.get("user") is None
    assert row.get("status") is None
    assert row["attributes"] == {"a": "1", "note": note}
    assert row["parse_error"] == "note: the quote is not closed"


#: The record that the OWASP Logging Vocabulary proposes.
RECORD = {
    "datetime": "2026-11-23T05:46:16-0700", "appid": "shop.auth", "level": "WARN",
    "event": "AUTHN_login_fail:joebob1", "description": "User joebob1 login failed",
    "useragent": "curl/8", "source_ip": "203.0.113.7", "host_ip": "10.12.7.9",
    "hostname": "auth.shop.example", "protocol": "https", "port": "443",
    "request_uri": "/api/v2/auth?x=1", "request_method": "POST", "region": "eu-1", "geo": "DE",
}  # fmt: skip


@pytest.mark.parametrize("parser", ["json", "tocsin"])
def test_the_vocabularys_own_record_is_read(parser: str) -> None:
    row = one(json.dumps(RECORD), parser)
    wanted = {
        "time": "2026-11-23T12:46:16+00:00", "kind": "authn_login_fail", "user": "joebob1",
        "service": "shop.auth", "severity": "warn", "message": "User joebob1 login failed",
        "user_agent": "curl/8", "client_ip": "203.0.113.7", "host": "auth.shop.example",
        "scheme": "https", "path": "/api/v2/auth", "query": "x=1", "method": "POST",
        "attributes": {"host_ip": "10.12.7.9", "port": "443", "region": "eu-1", "geo": "DE"},
    }  # fmt: skip
    assert {k: row.get(k) for k in wanted} == wanted
    assert "parse_error" not in row


@pytest.mark.parametrize("kind", [*VOCABULARY, "permissions_changed"])
def test_every_name_of_the_vocabulary_is_read_wherever_it_may_stand(kind: str) -> None:
    wanted = {"permissions_changed": "privilege_permissions_changed"}.get(kind, kind)
    for name in (kind, kind.upper()):
        event = json.dumps({"event": f"{name}:joe,b", "level": "INFO"})
        lines = {
            "json": event,
            "tocsin": event,
            "kv": f"level=info event={name}:joe,b a=b",
            "text": f"2026-11-23 05:46:16 WARN {name}:joe,b it happened",
        }
        found = {parser: one(line, parser) for parser, line in lines.items()}
        assert {row["kind"] for row in found.values()} == {wanted}
        # A user, a file, a field, a reason: whatever the first argument of this kind is.
        assert all("joe" in map(str, _values(row)) for row in found.values())


def _values(row: dict[str, Any]) -> list[Any]:
    return [*row.values(), *row.get("attributes", {}).values()]


@pytest.mark.parametrize("parser", ["json", "tocsin"])
def test_an_event_that_names_no_kind_is_a_message(parser: str) -> None:
    row = one('{"event":"user logged in","level":"info"}', parser)
    assert (row["kind"], row["message"]) == ("log", "user logged in")
    row = one('{"event":"user logged in","message":"m"}', parser)
    assert (row["message"], row["attributes"]) == ("m", {"event": "user logged in"})
    row = one('{"event":"query","kind":"log"}', parser)
    assert (row["kind"], row["message"]) == ("log", "query")
    row = one('{"event":{"a":1},"level":7}', parser)
    assert row["kind"] == "log"
    assert "parse_error" not in row


def test_a_kind_that_is_told_wins_over_an_event() -> None:
    row = one('{"event":"authn_login_success:joe","kind":"authn_login_fail"}', "tocsin")
    assert row["kind"] == "authn_login_fail"
    assert row["attributes"] == {"event": "authn_login_success"}


@pytest.mark.parametrize(
    "line",
    [
        "{}",
        "2026-11-23 05:46:16 WARN {} by mail",
        "[2026-11-23 05:46:16,332] [WARN] [auth] {}",
        "2026-11-23 05:46:16,332 - shop.auth - WARNING - {}",
        "WARNING:shop.auth:{}",
        "05:46:16 [main] WARN com.shop.Auth - {}",
        "Nov 23 05:46:16 web-1 shop[42]: {}",
    ],
)
def test_a_text_that_begins_with_a_kind_is_of_that_kind(line: str) -> None:
    line = line.removeprefix("05:46:16 ")
    row = one(line.format("authn_login_fail_max:joe,3"), "text")
    assert (row["kind"], row["user"]) == ("authn_login_fail_max", "joe")
    assert row["attributes"]["max_limit"] == "3"


@pytest.mark.parametrize(
    "line",
    [
        "2026-11-23 05:46:16 INFO search for authn_login_fail:admin",
        "INFO q:authn_login_fail:admin",
        "INFO q - authn_login_fail:admin",
        "validation error authn_login_fail:admin",
        "path: authn_login_fail:admin",
        "authn_login_failure:admin",
        "authn_login_fail=admin",
    ],
)
def test_a_kind_further_on_in_a_text_is_what_somebody_sent(line: str) -> None:
    row = one(line, "text")
    assert row["kind"] == "log"
    assert "user" not in row


def test_a_kind_before_pairs_is_read_where_the_pairs_name_none() -> None:
    head = "2026-11-23 05:46:16 WARN authn_login_fail:joe"
    row = one(f"{head} ip=203.0.113.7 try=3 a=b", "kv")
    assert (row["kind"], row["user"], row["client_ip"]) == (
        "authn_login_fail",
        "joe",
        "203.0.113.7",
    )
    row = one(f"{head} kind=authz_fail user=bob a=b", "kv")
    assert (row["kind"], row["user"]) == ("authz_fail", "bob")


def test_an_address_with_a_port_fills_both_columns() -> None:
    for parser in ("json", "tocsin"):
        row = one('{"client_ip":"198.51.100.7:40001","kind":"log"}', parser)
        assert (row["client_ip"], row["client_port"]) == ("198.51.100.7", 40001)
        row = one('{"client_ip":"[fe80::1%eth0]:5","client_port":5,"kind":"log"}', parser)
        assert (row["client_ip"], row["client_port"]) == ("fe80::1", 5)
        assert "attributes" not in row


def test_what_is_no_address_is_kept_beside() -> None:
    row = one('{"client_ip":"999.1.1.1","peer_ip":"proxy","kind":"log"}', "tocsin")
    assert row["attributes"] == {"client_ip": "999.1.1.1", "peer_ip": "proxy"}
    assert row["parse_error"] == "client_ip: not an IP address; peer_ip: not an IP address"
    row = one('{"remote_addr":"client.example","source_ip":5}', "json")
    assert row["attributes"] == {"remote_addr": "client.example", "source_ip": 5}
    assert not {"client_ip", "parse_error"} & row.keys()


def test_key_value_lines_know_quotes_and_what_stands_before_them() -> None:
    row = one(
        "2026-11-23 05:46:16,750 WARN [org.x] (t-1) type=LOGIN_ERROR, ipAddress=203.0.113.7, "
        'username=bob, note="a \\"b\\" c"',
        "kv",
    )
    wanted = {
        "time": "2026-11-23T05:46:16.750000+00:00", "severity": "warn", "tags": ["time_assumed"],
        "client_ip": "203.0.113.7", "user": "bob",
        "attributes": {"type": "LOGIN_ERROR", "note": 'a "b" c'},
    }  # fmt: skip
    assert {k: row.get(k) for k in wanted} == wanted


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("Nov 23 05:46:16 web-1 sshd[42]: Invalid user bob",
         {"time": "2026-11-23T05:46:16+00:00", "host": "web-1", "message": "Invalid user bob",
          "attributes": {"program": "sshd", "pid": "42"}}),
        ("Dec 31 23:59:59 web-1 sshd[42]: x", {"time": "2025-12-31T23:59:59+00:00"}),
        ("<11>Nov 23 05:46:16 web-1 app: x", {"severity": "error", "message": "x"}),
        ("2026-11-23T05:46:16+02:00 ERROR it broke",
         {"time": "2026-11-23T03:46:16+00:00", "severity": "error", "tags": None}),
        ("[2026-11-23 05:46:16,332] [INFO] [auth] hello",
         {"time": "2026-11-23T05:46:16.332000+00:00", "severity": "info"}),
        ("just words", {"message": "just words", "time": "2026-11-23T05:46:40+00:00"}),
        ("9999-99-99 99:99:99 no time", {"message": "9999-99-99 99:99:99 no time"}),
    ],
)  # fmt: skip
def test_text_shows_the_time_that_a_line_begins_with(line: str, wanted: dict[str, Any]) -> None:
    row = one(line, "text")
    assert {k: row.get(k) for k in wanted} == wanted
    assert (row["kind"], row["raw"]) == ("log", line)
    assert "parse_error" not in row


def test_the_door_fills_in_what_lines_leave_out_and_binds_what_they_may_not_say() -> None:
    origin = Origin(
        source="edge", layer="app", service="shop", env="prod", host="h0", tenant="t1",
        peer_ip="192.0.2.1", tz="Europe/Berlin",
    )  # fmt: skip
    line = '{"time":"2026-11-23T05:46:16","kind":"log","host":"h9","tenant":"t2","source":"x"}'
    row = one(line, "tocsin", origin)
    wanted = {
        "time": "2026-11-23T04:46:16+00:00", "tags": ["time_assumed"], "host": "h9",
        "service": "shop", "env": "prod", "tenant": "t1", "source": "edge", "layer": "app",
        "peer_ip": "192.0.2.1",
    }  # fmt: skip
    assert {k: row.get(k) for k in wanted} == wanted


def test_json_behind_a_syslog_header_is_read() -> None:
    row = one('<134>Nov 23 05:46:16 web-1 nginx: {"status":404,"method":"GET"}', "nginx_json")
    assert (row["kind"], row["status"]) == ("request", 404)
    assert (row["host"], row["attributes"]) == ("web-1", {"program": "nginx"})
    assert row["tags"] == ["time_assumed"]


@pytest.mark.parametrize(
    ("line", "duration"),
    [
        ('{"Duration":1500}', 1500),
        ('{"Duration":1.5}', None),
        ('{"duration":1.5}', None),
        ('{"duration":0.0012}', None),
        ('{"DURATION":12}', None),
        ('{"request_time":0.0012}', 1_200_000),
        ('{"Request_Time":12}', None),
        ('{"fields.duration_ms":1.5}', 1_500_000),
    ],
)
def test_a_duration_is_read_only_where_its_unit_is_known(line: str, duration: int | None) -> None:
    row = one(line, "json")
    assert row.get("duration_ns") == duration
    if duration is None:
        assert row["attributes"] == json.loads(line)


SSHD = "Nov 23 05:46:16 web-1 sshd[42]: "
PAM = "pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh "


@pytest.mark.parametrize(
    ("line", "user"),
    [
        (SSHD + "Failed password for invalid user admin from 203.0.113.7 port 4242 ssh2", "admin"),
        (SSHD + "Failed password for root from 203.0.113.7 port 4242 ssh2", "root"),
        (
            SSHD + "Failed password for invalid user x from 1.2.3.4 port 1 ssh2 from 203.0.113.7 "
            "port 4242 ssh2",
            "x from 1.2.3.4 port 1 ssh2",
        ),
        (SSHD + "Invalid user x from 1.2.3.4 from 203.0.113.7 port 5", "x from 1.2.3.4"),
        (SSHD + "Received disconnect from 203.0.113.7 port 5:11: x from 1.2.3.4 port 1 ssh2", None),
        (
            SSHD + "Connection closed by authenticating user root 203.0.113.7 port 5 [preauth]",
            "root",
        ),
        (SSHD + PAM + "ruser= rhost=203.0.113.7  user=x rhost=1.2.3.4", None),
        (
            "[Thu Oct 13 12:24:49.88 2022] [core:error] [pid 10:tid 14] [client 203.0.113.7:5] no",
            None,
        ),
        ("2026/11/23 05:46:16 [error] 31#31: *46 no, client: 203.0.113.7, server: _", None),
    ],
)
def test_a_client_that_a_program_names_in_words_is_found(line: str, user: str | None) -> None:
    row = one(line, "text")
    assert (row["kind"], row["client_ip"], row.get("claimed_user")) == ("log", "203.0.113.7", user)


@pytest.mark.parametrize(
    "line",
    [
        "2026-11-23 05:46:16 INFO Failed password for x from 203.0.113.7 port 1 ssh2",
        "2026-11-23 05:46:16 [INFO] [client 203.0.113.7:5] wrong password",
        "search for from 203.0.113.7 port 1 ssh2",
        "Failed password for x from 999.0.0.1 port 1 ssh2",
        SSHD + PAM + "ruser=x rhost=203.0.113.7 rhost=198.51.100.1  user=root",
        "2026/11/23 05:46:16 [error] 31#31: a, client: 203.0.113.7, server: _, client: 1.2.3.4",
    ],
)
def test_an_address_that_a_client_may_have_written_is_nobodys(line: str) -> None:
    row = one(line, "text")
    assert not {"client_ip", "claimed_user", "user"} & row.keys()


def test_who_was_let_in_is_a_user() -> None:
    row = one(
        SSHD + "Accepted publickey for bob from 203.0.113.7 port 5 ssh2: RSA SHA256:a", "text"
    )
    assert (row["user"], row["client_ip"]) == ("bob", "203.0.113.7")


def test_a_status_that_is_none_is_told() -> None:
    row = one('{"kind":"request","status":99999999999999}', "tocsin")
    assert row["parse_error"] == "status: not a status of HTTP"
    assert row["attributes"] == {"status": 99999999999999}
    assert one('{"kind":"request","status":404}', "tocsin")["status"] == 404
