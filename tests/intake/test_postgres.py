"""PostgreSQL's two structured logs say the same, and never a literal of a statement."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tocsin.intake import Origin, boundary, parse
from tocsin.intake.admit import admit
from tocsin.intake.parsers.pg_csv import NAMES

NOW = 1_795_412_800 * 10**9
ORIGIN = Origin(source="db")
SECRET = "hunter2"

BASE = {
    "timestamp": "2026-11-23 05:46:22.750 UTC", "user": "shop", "dbname": "orders", "pid": "42",
    "remote": "203.0.113.7:4711", "session_id": "6b0.1", "line_num": "3", "ps": "SELECT",
    "session_start": "2026-11-23 05:46:22 UTC", "vxid": "3/1", "txid": "0",
    "error_severity": "LOG", "state_code": "00000", "backend_type": "client backend",
    "query_id": "0",
}  # fmt: skip


def record(**fields: str) -> dict[str, str]:
    return {**BASE, **fields}


PLAIN = frozenset(
    "timestamp pid session_id line_num session_start vxid txid error_severity state_code "
    "query_id".split()
)


def as_csv(*records: dict[str, str], width: int = 26) -> bytes:
    """As the server writes it: texts always in quotes, others never."""

    def field(name: str, value: str) -> str:
        return value if not value or name in PLAIN else '"' + value.replace('"', '""') + '"'

    lines = (",".join(field(n, r.get(n, "")) for n in NAMES[:width]) for r in records)
    return "".join(f"{line}\n" for line in lines).encode()


def as_json(*records: dict[str, str]) -> bytes:
    lines: list[bytes] = []
    for fields in records:
        fields = dict(fields)
        host, _, port = fields.pop("remote", "").partition(":")
        object_: dict[str, Any] = {**fields, "pid": int(fields["pid"])}
        if host:
            object_ |= {"remote_host": host, "remote_port": int(port)}
        if fields["state_code"] == "00000":
            del object_["state_code"]
        lines.append(msgspec.json.encode(object_) + b"\n")
    return b"".join(lines)


def both(**fields: str) -> dict[str, Any]:
    """The one row that both formats give."""
    out: list[dict[str, Any]] = []
    for parser, data in (
        ("pg_csv", as_csv(record(**fields))),
        ("pg_json", as_json(record(**fields))),
    ):
        frame = parse(data, parser, ORIGIN, NOW)
        assert frame.height == 1
        row = {k: v for k, v in frame.row(0, named=True).items() if v is not None}
        assert row.pop("parser") == parser
        row["attributes"] = msgspec.json.decode(row["attributes"])
        out.append(row)
    assert out[0] == out[1]
    return out[0]


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        (
            {"error_severity": "FATAL", "state_code": "28P01",
             "message": 'password authentication failed for user "shop"'},
            {"kind": "authn_login_fail", "outcome": "failure", "reason": "bad_credentials",
             "claimed_user": "shop", "user": None, "error_type": "28P01", "severity": "critical",
             "client_ip": "203.0.113.7", "client_port": 4711},
        ),
        (
            {"error_severity": "FATAL", "state_code": "28P01", "message": "failed",
             "detail": 'Role "shop" does not exist.'},
            {"kind": "authn_login_fail", "reason": "unknown_user"},
        ),
        (
            {"message": "connection authorized: user=shop database=orders"},
            {"kind": "authn_login_success", "outcome": "success", "user": "shop"},
        ),
        (
            {"message": 'connection authenticated: identity="shop" method=scram-sha-256 (x:1)'},
            {"kind": "log", "auth_method": "password"},
        ),
        (
            {"error_severity": "ERROR", "state_code": "42501", "statement": "delete from users",
             "message": "permission denied for table users"},
            {"kind": "authz_fail", "outcome": "failure", "reason": "forbidden",
             "db_statement": "delete from users", "user": "shop"},
        ),
        (
            {"message": 'AUDIT: SESSION,4,1,READ,SELECT,TABLE,public.users,"select a, b from users '
             "where name = 'hunter2'\",\"hunter2,7\",100"},
            {"kind": "query", "outcome": "success", "db_rows": 100, "db_name": "orders",
             "db_system": "postgresql", "db_statement": "select a, b from users where name = ?",
             "message": "AUDIT: SESSION READ SELECT public.users"},
        ),
        (
            {"message": "AUDIT: SESSION,4,1,READ,SELECT,,,select 1,<none>"},
            {"kind": "query", "db_rows": None, "db_statement": "select ?"},
        ),
        (
            {"message": "duration: 3.147 ms  statement: select $$hunter2$$\n  from t"},
            {"kind": "query", "duration_ns": 3_147_000, "db_statement": "select ? from t",
             "message": "duration: 3.147 ms"},
        ),
        (
            {"message": "execute S_1: select * from t where a = $1",
             "detail": "parameters: $1 = 'hunter2'"},
            {"kind": "query", "db_statement": "select * from t where a = ?"},
        ),
        (
            {"error_severity": "ERROR", "state_code": "23505", "message": "duplicate key",
             "detail": "Key (email)=(hunter2) already exists."},
            {"kind": "log", "outcome": "failure", "error_type": "23505"},
        ),
        (
            {"error_severity": "ERROR", "state_code": "22P02",
             "message": 'invalid input syntax for type integer: "hunter2"'},
            {"message": 'invalid input syntax for type integer: "?"'},
        ),
        (
            {"error_severity": "ERROR", "state_code": "42601",
             "message": 'syntax error at or near "\'hunter2\'"'},
            {"message": 'syntax error at or near "?"'},
        ),
        ({"message": "AUDIT: hunter2 in no known form"}, {"message": "AUDIT: unreadable"}),
        ({"message": "database system is ready to accept connections"}, {"kind": "sys_startup"}),
    ],
)  # fmt: skip
def test_records_become_events_without_their_literals(
    fields: dict[str, str], wanted: dict[str, Any]
) -> None:
    row = both(**fields)
    assert {k: row.get(k) for k in wanted} == wanted
    assert SECRET not in repr(row)
    assert row["time"].isoformat() == "2026-11-23T05:46:22.750000+00:00"


def test_the_zone_that_the_server_writes_is_the_zone_of_the_time() -> None:
    row = both(timestamp="2026-07-28 10:00:00.125 CEST", message="m")
    assert row["time"].isoformat() == "2026-07-28T08:00:00.125000+00:00"
    assert "tags" not in row
    assert both(timestamp="2026-07-28 10:00:00.125 IST", message="m")["tags"] == ["time_assumed"]


def test_an_unreadable_audit_record_says_so() -> None:
    assert "AUDIT: not in pgaudit's format" in both(message="AUDIT: nonsense")["parse_error"]


@pytest.mark.parametrize("width", [23, 24, 26])
def test_csvlog_of_every_server_version_is_read(width: int) -> None:
    frame = parse(as_csv(record(message="hello, world"), width=width), "pg_csv", ORIGIN, NOW)
    assert frame["message"].to_list() == ["hello, world"]
    assert "parse_error" not in frame.columns


def test_a_record_over_many_lines_is_one_row() -> None:
    data = as_csv(
        record(message="a"),
        record(message='b\n2026-11-23 05:46:22.750 UTC,forged,"line"\n', line_num="4"),
        record(message="c", line_num="5"),
    )
    frame = parse(data, "pg_csv", ORIGIN, NOW)
    assert frame.height == 3
    assert "parse_error" not in frame.columns
    assert frame["message"].to_list()[1].count("\n") == 2


def test_a_broken_record_harms_no_neighbour() -> None:
    good = [as_csv(record(message=f"m{i}", line_num=str(i))) for i in range(6)]
    torn = as_csv(record(message="half of it", line_num="9")).split(b" of it")[0] + b"\n"
    assert torn.count(b'"') % 2
    frame = parse(b"".join([*good[:3], torn, *good[3:]]), "pg_csv", ORIGIN, NOW)
    assert frame.height == 7
    assert [m for m in frame["message"] if m.startswith("m")] == [f"m{i}" for i in range(6)]
    bad = frame.row(3, named=True)
    assert (bad["kind"], bad["raw"].encode() + b"\n") == ("log", torn)
    assert "csvlog" in bad["parse_error"]


@settings(deadline=None)
@example(messages=["", "\n", ""], cut=310)  # one byte of the next record
@given(
    messages=st.lists(
        st.text(alphabet=st.sampled_from("ab,\"\n\r' \\"), max_size=30), min_size=1, max_size=12
    ),
    cut=st.integers(0, 4000),
)
def test_records_are_cut_where_they_end_whatever_is_in_them(messages: list[str], cut: int) -> None:
    data = as_csv(*(record(message=m, line_num=str(i)) for i, m in enumerate(messages)))
    frame = parse(data, "pg_csv", ORIGIN, NOW)
    assert frame.height == len(messages)
    assert "parse_error" not in frame.columns
    # Cut anywhere: the whole records at the beginning are found, and nothing else.
    whole = boundary(data[:cut], "pg_csv")
    ends = [len(as_csv(*(record(message=m, line_num=str(i)) for i, m in enumerate(messages[:n]))))
            for n in range(len(messages) + 1)]  # fmt: skip
    assert whole == max(end for end in ends if end <= cut)


def test_a_long_statement_is_read_on_both_paths() -> None:
    long = as_csv(record(message="duration: 1.5 ms  statement: select '" + "x" * 300_000 + "'"))
    for data in (long, long + b"broken\n"):
        row = parse(data, "pg_csv", ORIGIN, NOW).row(0, named=True)
        assert (row["kind"], row["db_statement"]) == ("query", "select ?")


def test_an_endless_field_is_kept_as_it_came() -> None:
    row = parse(b'"' * 500_001, "pg_csv", ORIGIN, NOW).row(0, named=True)
    assert row["kind"] == "log"
    assert "csvlog" in row["parse_error"]


@pytest.mark.parametrize("parser", ["pg_csv", "pg_json"])
def test_the_lines_of_one_connection_can_be_joined(parser: str) -> None:
    if parser == "pg_json":
        line = (
            '{"timestamp":"2026-11-23 05:46:22.750 UTC","pid":1,"session_id":"69b0a1c2.2a",'
            '"error_severity":"LOG","message":"m"}'
        )
    else:
        line = (
            '2026-11-23 05:46:22.750 UTC,"u","d",42,"h:1",69b0a1c2.2a,3,"",2026-11-23 05:46:22 UTC,'
            ',0,LOG,00000,"m",,,,,,,,,"","client backend",,0'
        )
    origin = Origin(source="db")
    frame = admit(parse(line.encode(), parser, origin, NOW), origin).frame
    assert json.loads(frame["attributes"][0])["backend_id"] == "69b0a1c2.2a"
