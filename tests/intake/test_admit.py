"""Nothing passes from the parsers to the vault that was not marked, cleaned, filled in and checked."""

# One row of a table is one line, whatever its length.
# ruff: noqa: E501

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.event import canaries

from tocsin.event import NAMES, Kind, Type
from tocsin.event.batch import SCHEMA, to_events
from tocsin.intake.admit import SKEW_NS, admit
from tocsin.intake.origin import Origin
from tocsin.intake.parse import parse
from tocsin.intake.parsers import PARSERS

NOW = 1_795_424_400_000_000_000
ORIGIN = Origin(source="edge", service="shop", layer="gateway", env="prod", peer_ip="10.0.0.9")
KEY = b"k" * 32


def frame(**columns: list[Any]) -> pl.DataFrame:
    size = len(next(iter(columns.values())))
    always: dict[str, list[Any]] = {"time": [NOW] * size, "observed": [NOW] * size}
    columns = always | {"kind": ["request"] * size} | columns
    schema = {n: pl.Int64() if NAMES[n].type is Type.TIME else SCHEMA[n] for n in columns}
    made = pl.DataFrame(columns, schema=schema)
    return made.with_columns(pl.col("time", "observed").cast(SCHEMA["time"]))


def admitted(**columns: list[Any]) -> pl.DataFrame:
    return admit(frame(**columns), ORIGIN, key=KEY, now=NOW).frame


def test_the_key_decides_who_speaks_and_the_claim_is_kept_as_a_claim() -> None:
    out = admitted(source=["edge", "evil", None], attributes=[None, '{"a":1}', None])
    assert out["source"].to_list() == ["edge"] * 3
    assert out["attributes"].to_list() == [None, '{"a":1,"claimed_source":"evil"}', None]


def test_the_origin_fills_in_only_what_a_line_leaves_out() -> None:
    out = admitted(service=["api", None], client_ip=["10.0.0.9", "1.2.3.4"])
    assert out["service"].to_list() == ["api", "shop"]
    assert out["layer"].to_list() == ["gateway"] * 2
    assert out["peer_ip"].to_list() == [None, "10.0.0.9"]
    assert "host" not in out.columns


def test_a_tenant_bound_to_the_key_cannot_be_left_by_claiming_another() -> None:
    bound = Origin(source="edge", tenant="acme")
    out = admit(frame(tenant=["rival"]), bound, now=NOW).frame
    assert out["tenant"].to_list() == ["acme"]
    assert out["attributes"].to_list() == ['{"claimed_tenant":"rival"}']


def test_a_claimed_peer_does_not_win_over_the_one_that_was_seen() -> None:
    out = admitted(peer_ip=["6.6.6.6", "10.0.0.9", None], client_ip=["1.1.1.1", None, "10.0.0.9"])
    assert out["peer_ip"].to_list() == ["10.0.0.9", "10.0.0.9", None]
    assert out["attributes"].to_list() == ['{"claimed_peer_ip":"6.6.6.6"}', None, None]


def test_nobody_but_tocsin_speaks_as_the_layer_self() -> None:
    told = frame(layer=["self", "app"], parser=["nginx", "nginx"])
    assert admit(told, ORIGIN).frame["layer"].to_list() == ["gateway", "app"]
    out = admit(told, Origin(source="edge")).frame
    assert out["layer"].to_list() == ["gateway", "app"]  # the parser's
    assert out["attributes"].to_list() == ['{"claimed_layer":"self"}', None]
    own = admit(told, Origin(source="tocsin", layer="self")).frame
    assert own["layer"].to_list() == ["self", "app"]


def test_tags_that_only_our_sensors_give_cannot_be_claimed() -> None:
    claim = ["demo", "lost", "gap", "clock_skew", "enc.double", "sig.sqli.query"]
    told = frame(tags=[claim, ["sig.x"], None, []], query=["a=1", "a=' OR 1=1--", None, None])
    out = admit(told, ORIGIN, now=NOW).frame
    assert out["tags"].to_list() == [["demo"], ["sig.sqli.query"], None, []]
    assert [a and json.loads(a)["claimed_tags"] for a in out["attributes"]] == [
        *(claim[1:], ["sig.x"]),
        *(None, None),
    ]
    own = admit(told, Origin(source="tocsin", layer="self")).frame
    assert own["tags"][0].to_list() == claim


def test_one_address_has_one_spelling() -> None:
    spelt = [
        "2001:db8::1",
        "2001:DB8::1",
        "2001:0db8:0:0:0:0:0:1",
        "2001:db8:0::0:1",
        "[2001:db8::1]",
    ]
    other = ["::ffff:192.0.2.1", "::FFFF:c000:201", "fe80::1%eth0", None]
    out = admitted(client_ip=[*spelt, *other], peer_ip=["10.0.0.9"] * 9)
    assert out["client_ip"].to_list() == [
        *(["2001:db8::1"] * 5),
        *("192.0.2.1", "192.0.2.1", "fe80::1", None),
    ]
    seen = Origin(source="edge", peer_ip="2001:DB8:0::1")
    assert admit(frame(client_ip=["::1"]), seen).frame["peer_ip"].to_list() == ["2001:db8::1"]


def test_what_is_no_address_stands_in_no_column_of_addresses() -> None:
    false = ["999.999.999.999", "10.0.0.1\u202e", "10.0.0.1\n10.0.0.2", "010.0.0.1", "a:b", ""]
    hosts = ["proxy.example", "localhost"]
    claimed = [*false, *hosts, "10.0.0.1"]
    out = admit(
        frame(client_ip=claimed, peer_ip=[*false, *hosts, "10.0.0.2"]), Origin(source="edge")
    ).frame
    assert out["client_ip"].to_list() == [None] * 8 + ["10.0.0.1"]
    assert out["peer_ip"].to_list() == [None] * 8 + ["10.0.0.2"]
    kept = [json.loads(a) if a else {} for a in out["attributes"]]
    assert [a.get("claimed_client_ip") for a in kept] == [*false, None, None, None]
    assert [a.get("client_host") for a in kept] == [None] * 6 + [*hosts, None]
    assert [a.get("claimed_peer_ip") for a in kept] == [*false, *hosts, None]


def test_the_port_of_a_client_has_a_column_of_its_own() -> None:
    out = admitted(
        client_ip=["198.51.100.7:40001", "[2001:DB8::1]:443", "10.0.0.1", "198.51.100.7:5"],
        client_port=[None, None, 7, 6],
    )
    assert out["client_ip"].to_list() == ["198.51.100.7", "2001:db8::1", "10.0.0.1", "198.51.100.7"]
    assert out["client_port"].to_list() == [40001, 443, 7, 6]
    assert admitted(client_ip=["198.51.100.7:80"])["client_port"].to_list() == [80]


def test_of_a_user_and_password_in_the_place_of_a_user_the_user_stays() -> None:
    users = [
        "bob:S9x:y",
        "arn:aws:iam::1:user/bob",
        "system:serviceaccount:a:b",
        "bob",
        None,
        ":S9x",
    ]
    out = admitted(user=users, raw=['1.2.3.4 - bob:S9x:y [x] "GET / HTTP/1.1"', *users[1:]])
    assert out["user"].to_list() == ["bob", *users[1:5], "[redacted:password]"]
    assert out["raw"][0] == '1.2.3.4 - bob:[redacted:password] [x] "GET / HTTP/1.1"'
    assert "S9x" not in str(out.to_dicts())


def test_an_unknown_kind_becomes_a_log_that_says_so() -> None:
    out = admitted(kind=["nonsense", "AUTHN_LOGIN_FAIL", None], parse_error=["x", None, None])
    assert out["kind"].to_list() == ["log", "authn_login_fail", "log"]
    assert out["parse_error"].to_list() == ["x; unknown kind: nonsense", None, None]


def test_severity_is_the_vocabularys_unless_the_source_names_one() -> None:
    kinds = ["authz_fail", "upload_validation", "upload_validation", "request"]
    out = admitted(
        kind=kinds,
        severity=[None, None, None, "error"],
        outcome=["failure", "failure", "success", None],
    )
    assert out["severity"].to_list() == ["critical", "critical", "info", "error"]


def test_a_time_from_the_future_is_tagged_and_kept() -> None:
    ahead = NOW + SKEW_NS
    out = admitted(time=[ahead, ahead + 1, NOW], tags=[None, ["demo"], None])
    assert out["tags"].to_list() == [None, ["demo", "clock_skew"], None]
    assert out["time"].dt.epoch("ns").to_list() == [ahead, ahead + 1, NOW]


def test_missing_clocks_are_filled_in_and_said() -> None:
    bare = pl.DataFrame({"kind": ["log"], "message": ["x"]})
    out = admit(bare, ORIGIN, now=NOW).frame
    assert out["observed"].dt.epoch("ns").to_list() == [NOW]
    assert out["time"].dt.epoch("ns").to_list() == [NOW]
    assert out["parse_error"].to_list() == ["no event time"]


def test_session_ids_and_api_keys_are_kept_only_as_keyed_hashes() -> None:
    marked = "h:" + "0" * 32
    out = admitted(session=["abc", "abc", marked, None], api_key=["k1", None, None, None])
    first, second, third, fourth = out["session"].to_list()
    assert first == second
    assert first.startswith("h:")
    assert (third, fourth) == (marked, None)
    other = admit(frame(session=["abc"]), ORIGIN, key=b"other").frame["session"].item()
    assert other != first
    assert "k1" not in str(out["api_key"].to_list())


def test_statements_become_fingerprints_wherever_they_stand() -> None:
    out = admitted(
        kind=["query", "log"],
        db_statement=["insert into t values ('Miller', 7)", None],
        raw=["LOG: insert into t values ('Miller', 7)", "it's 'fine'"],
    )
    assert out["db_statement"].to_list() == ["insert into t values (?+)", None]
    assert out["raw"].to_list() == ["LOG: insert into t values (?, 7)", "it's 'fine'"]


def test_attacks_are_marked_before_their_payload_may_be_redacted() -> None:
    out = admitted(query=["token=' UNION SELECT password FROM users--", "a=1"])
    assert out["tags"].to_list() == [["sig.sqli.query"], None]
    assert "UNION" not in out["query"][0]


def test_the_batch_is_canonical_and_holds_no_empty_column() -> None:
    out = admitted(user=[None, None], status=[200, 404], path=["/a", "/b"])
    assert out.columns == [n for n in SCHEMA if n in out.columns]
    assert {n: out.schema[n] for n in out.columns} == {n: SCHEMA[n] for n in out.columns}
    assert "user" not in out.columns
    assert to_events(out)[0].kind is Kind.REQUEST


def test_a_frame_of_no_rows_is_a_batch_of_no_rows() -> None:
    assert len(admit(frame(path=["/"])[:0], ORIGIN)) == 0


texts = st.one_of(st.none(), st.text(max_size=12))


@settings(deadline=None)
@given(
    rows=st.lists(
        st.fixed_dictionaries(
            dict.fromkeys(("kind", "path", "query", "user_agent", "message", "raw", "session"), texts)
            | {"source": texts, "db_statement": texts, "tags": st.none() | st.lists(st.text(max_size=4))}
        ),
        min_size=1,
        max_size=8,
    )
)  # fmt: skip
def test_rows_are_never_added_lost_or_moved(rows: list[dict[str, Any]]) -> None:
    numbered = {n: [row[n] for row in rows] for n in rows[0]} | {
        "source_seq": list(range(len(rows)))
    }
    out = admitted(**numbered)
    assert out["source_seq"].to_list() == list(range(len(rows)))
    assert not any(out[n].null_count() for n in ("time", "observed", "kind", "source", "severity"))


PLACES = ("message", "raw", "query", "user_agent", "user")


@pytest.mark.parametrize("place", [*PLACES, "attributes", "tags"])
def test_no_canary_passes_in_any_column(place: str) -> None:
    pairs = [(c, line) for c in canaries.canaries() for line in canaries.carriers(c)]
    values: list[Any] = [line for _, line in pairs]
    if place == "attributes":
        values = [line if line.startswith("{") else json.dumps({"x": [line]}) for line in values]
    if place in {"tags", "objects"}:
        values = [["demo", line] for line in values]
    out = admitted(**{place: values})[place].to_list()
    leaks = [
        (canary.kind, line)
        for (canary, line), value in zip(pairs, out, strict=True)
        if any(needle in str(value) for needle in canaries.needles(canary))
    ]
    assert leaks == []


def _in_json(text: str, **more: Any) -> str:
    return json.dumps({"ts": "2026-11-23T10:00:00Z", "level": "info", **more, "ctx": {"d": [text]}})


def _in_csvlog(text: str) -> str:
    line = io.StringIO()
    quoted = "select '" + text.replace("'", "''") + "'"
    when = "2026-11-23 05:46:22.750 UTC"
    head = f"{when};u;d;1;127.0.0.1:1;a.b;1;SELECT;{when};3/1;0;LOG;00000".split(";")
    said = [text, text, text, "", "", f"ctx {text}", quoted, "", "", "app"]
    csv.writer(line).writerow([*head, *said, "client backend", "", "0"])
    return line.getvalue().rstrip("\r\n")


def _in_jsonlog(text: str) -> str:
    quoted = "select '" + text.replace("'", "''") + "'"
    words = dict.fromkeys(("message", "detail", "hint", "context"), text)
    return json.dumps(
        {"timestamp": "2026-11-23 05:46:22.750 UTC", "pid": 1, "session_id": "a.b"}
        | {"error_severity": "LOG", "statement": quoted, **words}
    )


def _in_access(text: str) -> str:
    asked = text.replace('"', "%22").replace(" ", "%20")
    agent = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'192.0.2.1 - - [23/Nov/2026:10:00:00 +0000] "GET /x?{asked} HTTP/1.1" 200 1 "http://a/?{asked}" "{agent}"'


DOORS: dict[str, Callable[[str], str]] = {
    "tocsin": lambda text: json.dumps(
        {"time": "2026-11-23T10:00:00Z", "kind": "log", "message": text, "attributes": {"a": text}}
    ),
    "json": lambda text: _in_json(text, msg=text),
    "nginx_json": lambda text: _in_json(
        text, request_uri="/x?" + text, status=200, ua=text, http_cookie=text
    ),
    "kv": lambda text: (
        f"ts=2026-11-23T10:00:00Z level=info msg={json.dumps(text)} ctx={json.dumps(text)}"
    ),
    "pg_csv": _in_csvlog,
    "pg_json": _in_jsonlog,
    "nginx": _in_access,
    "apache": _in_access,
    "text": lambda text: f"2026-11-23 10:00:00 {text}",
}


def test_every_parser_is_a_door_that_is_tried() -> None:
    assert set(DOORS) == set(PARSERS)


@pytest.mark.parametrize("parser", DOORS)
def test_no_canary_passes_any_parser(parser: str) -> None:
    found: list[tuple[Any, str]] = []
    for n, canary in enumerate(canaries.canaries()):  # each once, and each time in another carrier
        carriers = [text for text in canaries.carriers(canary) if "\n" not in text]
        found += [(canary, carriers[n % len(carriers)])] if carriers else []
    assert len(found) >= 500
    lines = "\n".join(DOORS[parser](text) for _, text in found).encode()
    frame = admit(parse(lines, parser, ORIGIN, NOW), ORIGIN, key=KEY, now=NOW).frame
    assert frame.height == len(found)
    errors = frame["parse_error"].drop_nulls().len() if "parse_error" in frame.columns else 0
    assert errors < len(found) / 10, "it is this parser that is tried"
    rows = [" ".join(str(v) for v in row if v is not None) for row in frame.iter_rows()]
    leaked = [
        (canary.kind, needle)
        for (canary, _), row in zip(found, rows, strict=True)
        for needle in canaries.needles(canary)
        if needle in row
    ]
    assert leaked == []


def test_a_key_that_is_printed_into_a_statement_is_no_comment_of_it() -> None:
    key = (
        "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqh\nkiG9w0BAQEFAASC\n-----END PRIVATE KEY-----"
    )
    out = admitted(kind=["query"], db_statement=[f"insert into keys values ({key})"])
    assert "kiG9w0BAQEFAASC" not in repr(out.rows())
