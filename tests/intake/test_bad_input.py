"""Whatever comes in, each line goes out once, in its place, and its neighbours are unharmed."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tocsin.errors import Malformed
from tocsin.event.batch import SCHEMA
from tocsin.intake import PARSERS, Origin, boundary, parse, sniff
from tocsin.intake.parsers.lines import LIMIT

NOW = 1_795_412_800 * 10**9
ORIGIN = Origin(source="s")
#: Parsers for which a record is a line.
BY_LINE = sorted(set(PARSERS) - {"pg_csv"})

GOOD = {
    "nginx": '203.0.113.7 - bob [23/Nov/2026:05:46:16 +0000] "GET /a?b HTTP/1.1" 200 8 "-" "curl"',
    "apache": '203.0.113.7 - bob [23/Nov/2026:05:46:16 +0000] "GET /a HTTP/1.1" 200 8 "-" "a\\"b"',
    "nginx_json": '{"msec":1795412776.045,"remote_addr":"203.0.113.7","status":200,"uri":"/a"}',
    "tocsin": '{"time":"2026-11-23T05:46:16Z","kind":"request","status":200,"tags":["x"]}',
    "json": '{"ts":"2026-11-23T05:46:16Z","level":"info","msg":"hi","a":{"b":[1,{}]}}',
    "pg_json": '{"timestamp":"2026-11-23 05:46:22.750 UTC","error_severity":"LOG","message":"m"}',
    "kv": 'time=2026-11-23T05:46:16Z level=info msg="a b" status=200 remote_addr=203.0.113.7',
    "text": "Nov 23 05:46:16 web-1 sshd[42]: Invalid user bob",
    "pg_csv": '2026-11-23 05:46:22.750 UTC,"u","d",42,"h:1",6b.1,3,"",2026-11-23 05:46:22 UTC,,0,'
    'LOG,00000,"hello, ""you""",,,,,,,,,"","client backend",,0',
}


def lines_of(data: bytes) -> list[bytes]:
    return [line for line in data.removeprefix(b"\xef\xbb\xbf").split(b"\n") if line.strip()]


def visible(line: bytes) -> str:
    return line.decode(errors="backslashreplace")


def check(data: bytes, parser: str) -> None:
    """One row a line, canonical; a line that was not understood is there, whole."""
    frame = parse(data, parser, ORIGIN, NOW)
    assert frame.columns == [n for n in SCHEMA if n in frame.columns]
    lines = lines_of(data)
    assert frame.height == len(lines)
    if "parse_error" not in frame.columns or "raw" not in frame.columns:
        return
    for line, raw, error in zip(lines, frame["raw"], frame["parse_error"], strict=True):
        if raw is not None:
            changed = "longer than" in error or "null bytes" in error
            assert raw.rstrip() == visible(line).rstrip() or changed


@pytest.mark.parametrize("parser", BY_LINE)
@settings(max_examples=40, deadline=None)
@given(data=st.binary(max_size=300))
def test_any_bytes_give_a_row_a_line(parser: str, data: bytes) -> None:
    check(data, parser)


@pytest.mark.parametrize("parser", sorted(PARSERS))
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), edits=st.integers(1, 6))
def test_a_mutated_line_does_not_harm_its_neighbours(parser: str, seed: int, edits: int) -> None:
    rng = random.Random(seed)
    good = GOOD[parser].encode()
    bad = bytearray(good)
    for _ in range(edits):
        at = rng.randrange(len(bad) + 1)
        bad[at : at + rng.randrange(3)] = rng.choice(
            [b"", b'"', b"\\", b" ", b"{", b"}", b"\xff", b"\r", b"[", b",", b"9" * 30, b"\x00"]
        )
    if parser == "pg_csv" and bad.count(b'"') % 2:
        bad = bad.replace(b'"', b"")  # an open quote is a case of its own, in test_postgres
    wanted = parse(good, parser, ORIGIN, NOW).row(0, named=True)
    frame = parse(b"\n".join([good, bytes(bad), good, good]), parser, ORIGIN, NOW)
    assert frame.height == (4 if bad.strip() else 3)
    for i in (0, -1, -2):
        row = frame.row(i, named=True)
        assert {k: v for k, v in row.items() if v is not None} == {
            k: v for k, v in wanted.items() if v is not None
        }


def test_many_good_lines_around_few_bad_ones_stay_what_they_are() -> None:
    for parser, good in GOOD.items():
        data = "\n".join([*[good] * 1500, "\x16\x03 nonsense", *[good] * 1500]).encode()
        frame = parse(data, parser, ORIGIN, NOW)
        assert frame.height == 3001
        if parser != "text":
            errors = frame["parse_error"].is_not_null()
            assert errors.arg_true().to_list() == [1500], parser
        assert frame["time"].n_unique() <= 2


# Lines that try to be two, or another: quotes, a whole line in a value, carriage returns.
TIME = "[23/Nov/2026:05:46:16 +0000]"
FORGERIES = [
    f'203.0.113.7 - - {TIME} "GET / HTTP/1.1" 200 8 "-" "x" 1.1.1.1 - root {TIME} "GET /a" 200 8',
    f'203.0.113.7 - a" 200 1 "-" "- {TIME} "GET / HTTP/1.1" 200 8 "-" "x"',
    f'203.0.113.7 - - {TIME} "GET / HTTP/1.1\r1.1.1.1 - - [x] "GET" 200 8 "-" "x"',
    f'203.0.113.7 - {TIME} "GET /forged HTTP/1.1 {TIME} "GET / HTTP/1.1" 200 8 "-" "x"',
]


@pytest.mark.parametrize("line", FORGERIES)
def test_a_line_that_imitates_others_is_one_row_of_its_own_client(line: str) -> None:
    frame = parse((line + "\n" + GOOD["nginx"]).encode(), "nginx", ORIGIN, NOW)
    assert frame.height == 2
    row = frame.row(0, named=True)
    assert row.get("client_ip") in ("203.0.113.7", None)
    assert row["raw"] == line
    assert row.get("path") in ("/", None)
    assert frame.row(1, named=True)["status"] == 200


def test_an_open_quote_swallows_no_line() -> None:
    open_quote = GOOD["nginx"].replace('"curl"', '"curl')
    data = "\n".join([open_quote, GOOD["nginx"], open_quote, GOOD["nginx"]]).encode()
    frame = parse(data, "nginx", ORIGIN, NOW)
    assert frame["status"].to_list() == [200] * 4
    assert frame["user_agent"].to_list() == [None, "curl", None, "curl"]
    assert json.loads(frame["attributes"][0])["rest"] == '"-" "curl'


HOSTILE_JSON = {
    "deep": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "deep list": b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "somewhat deep": b'{"a":' * 200 + b"1" + b"}" * 200,
    "NaN": b'{"status":NaN}',
    "Infinity": b'{"status":-Infinity}',
    "1e400": b'{"status":1e400}',
    "digits": b'{"status":' + b"7" * 5000 + b"}",
    "not an object": b"[1,2]",
    "number": b"42",
    "cut": b'{"status":20',
    "two": b'{"status":1}{"status":2}',
    "raw control": b'{"a":"\x01"}',
    "nothing": b"null",
}


@pytest.mark.parametrize("case", sorted(HOSTILE_JSON))
@pytest.mark.parametrize("parser", ["tocsin", "json", "nginx_json", "pg_json"])
def test_json_that_cannot_be_read_is_kept_as_it_came(case: str, parser: str) -> None:
    line = HOSTILE_JSON[case]
    good = GOOD[parser].encode()
    frame = parse(b"\n".join([good, line, good]), parser, ORIGIN, NOW)
    assert frame.height == 3
    row = frame.row(1, named=True)
    assert row["kind"] == "log"
    assert row["raw"] == row["message"] == visible(line)
    assert row["parse_error"]
    assert frame["parse_error"].is_null().to_list() == [True, False, True]


@pytest.mark.parametrize("parser", ["tocsin", "json", "nginx_json"])
def test_bytes_and_surrogates_that_a_client_chose_do_not_cost_the_line(parser: str) -> None:
    line = (
        b'{"time":"2026-11-23T05:46:16Z","kind":"request","status":403,"user_agent":"\xff\\ud800x"}'
    )
    frame = parse(line, parser, ORIGIN, NOW)
    assert frame["status"].to_list() == [403]
    assert frame["user_agent"].to_list() == ["\\xff\\ud800x"]
    assert "parse_error" not in frame.columns


def test_huge_and_odd_numbers_do_not_wrap() -> None:
    line = b'{"kind":"log","time":1,"status":18446744073709551615,"bytes_out":true,"db_rows":1.0}'
    row = parse(line, "tocsin", ORIGIN, NOW).row(0, named=True)
    assert row.get("status") is None
    assert json.loads(row["attributes"])["status"] == 18446744073709551615
    assert "status: not a whole number" in row["parse_error"]
    assert "bytes_out: not a whole number" in row["parse_error"]


@pytest.mark.parametrize("parser", sorted(PARSERS))
def test_a_gigantic_line_is_cut_says_so_and_harms_nobody(parser: str) -> None:
    good = GOOD[parser].encode()
    frame = parse(good + b"\n" + b"x" * (LIMIT + 5) + b"\n" + good, parser, ORIGIN, NOW)
    assert frame.height == 3
    row = frame.row(1, named=True)
    assert row["parse_error"] == f"record longer than {LIMIT} bytes; the rest was cut"
    assert row["raw"] == "x" * LIMIT
    assert frame["parse_error"].is_not_null().to_list() == [False, True, False]


def test_a_line_just_short_of_the_limit_is_not_cut() -> None:
    frame = parse(b"x" * LIMIT, "text", ORIGIN, NOW)
    assert "parse_error" not in frame.columns


def test_invalid_utf8_is_made_visible() -> None:
    line = GOOD["nginx"].encode().replace(b"curl", b"\xff\xc3")
    row = parse(line, "nginx", ORIGIN, NOW).row(0, named=True)
    assert row["user_agent"] == "\\xff\\xc3"
    assert row["raw"] == line.decode(errors="backslashreplace")


def test_a_time_out_of_range_falls_back_and_says_so() -> None:
    line = GOOD["nginx"].replace("2026", "9999")
    row = parse(line.encode(), "nginx", ORIGIN, NOW).row(0, named=True)
    assert row["time"] == row["observed"]
    assert "9999" in row["parse_error"]
    assert row["status"] == 200


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400))
def test_sniffing_any_bytes_names_a_parser_or_says_why_not(head: bytes) -> None:
    try:
        found = sniff(head)
    except Malformed:
        return  # said in words, which test_sniff reads
    assert found in PARSERS


@pytest.mark.parametrize("parser", sorted(PARSERS))
@settings(max_examples=40, deadline=None)
@given(data=st.binary(max_size=300))
def test_a_boundary_is_at_a_line_end(parser: str, data: bytes) -> None:
    cut = boundary(data, parser)
    assert 0 <= cut <= len(data)
    assert cut == 0 or data[cut - 1 : cut] == b"\n"
    if parser != "pg_csv":
        assert b"\n" not in data[cut:]
