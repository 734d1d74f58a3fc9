"""Foreign and recorded logs: how much is understood, and whether as others understand it."""

from __future__ import annotations

import gzip
import io
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tocsin.intake import Origin, parse, read_records, sniff

NOW = 1_795_412_800 * 10**9
ORIGIN = Origin(source="corpus")


def read(path: Path, parser: str | None = None) -> tuple[str, pl.DataFrame]:
    """What a scan does: sniff, cut, parse."""
    data = path.read_bytes()
    plain = gzip.decompress(data) if path.suffix == ".gz" else data
    name = parser or sniff(plain)
    frames = [
        parse(c, name, ORIGIN, NOW) for c in read_records(io.BytesIO(data), name, chunk=9_999)
    ]
    frame = pl.concat(frames, how="diagonal_relaxed")
    lines = sum(1 for line in plain.split(b"\n") if line.strip())
    assert name == "pg_csv" or frame.height == lines
    return name, frame


def errors(frame: pl.DataFrame) -> int:
    return frame["parse_error"].count() if "parse_error" in frame.columns else 0


def test_a_public_sites_apache_log_is_understood(corpora: Path) -> None:
    name, frame = read(corpora / "reallogs" / "apache_combined_10k.log.gz")
    assert name in ("nginx", "apache")
    assert frame.height == 10_000
    assert errors(frame) <= 10
    assert frame["method"].null_count() <= 10
    assert frame["status"].is_between(100, 599).all()


def test_unknown_json_keeps_its_time(corpora: Path) -> None:
    name, frame = read(corpora / "reallogs" / "nginxplus_json.log.gz")
    assert (name, frame.height, errors(frame)) == ("json", 500, 0)
    assert frame["kind"].unique().to_list() == ["log"]
    assert frame["time"].dt.year().unique().to_list() == [2015]
    assert frame["attributes"].null_count() == 0


def test_our_recorded_nginx_lines_say_the_same_in_both_formats(corpora: Path) -> None:
    name, combined = read(corpora / "samples" / "nginx-1.22.1-combined.log")
    assert name == "nginx"
    name, as_json = read(corpora / "samples" / "nginx-1.22.1-json.log")
    assert name == "nginx_json"
    assert combined.height == as_json.height == 12
    same = "client_ip user method status user_agent bytes_out outcome reason kind".split()
    assert combined.select(same).equals(as_json.select(same))
    assert combined["status"].to_list() == [200, 200, 401, 403, 500, 200, 200, *[503] * 5]
    assert combined["user"].to_list() == ["alice"] * 6 + [None] * 6
    assert combined["user_agent"][0] == 'te"st\\ua'
    # One is the wire, the other was decoded by nginx.
    assert combined["path"][5] == "/x'%20OR%201=1--"
    assert as_json["path"][5] == "/x' OR 1=1--"
    assert as_json["query"].to_list() == [None, "q=a%22b", *[None] * 10]
    assert as_json["duration_ns"][0] == 5_000_000
    assert as_json["time"].dt.truncate("1s").equals(combined["time"])


def test_our_recorded_syslog_says_the_same_as_the_file(corpora: Path) -> None:
    _, as_file = read(corpora / "samples" / "nginx-1.22.1-json.log")
    name, over_syslog = read(corpora / "samples" / "syslog-udp-mixed.raw")
    assert (name, errors(over_syslog)) == ("nginx_json", 0)
    served = over_syslog.filter(pl.col("attributes").str.contains('"program":"nginx"'))
    same = "client_ip user method path query status user_agent bytes_out outcome kind".split()
    assert served.head(7).select(same).equals(as_file.head(7).select(same))
    assert over_syslog["time"].dt.hour().unique().to_list() == [5]

    name, haproxy = read(corpora / "samples" / "haproxy-2.6.12-rfc5424-httplog-and-json.log")
    assert (name, errors(haproxy)) == ("json", 0)
    statuses = haproxy.filter(pl.col("kind") == "request")["status"].to_list()
    assert statuses == [200, 200, 401, 403, 500, 200]
    assert haproxy["attributes"].str.contains('"program":"haproxy","pid":"14637"').all()


def test_our_recorded_postgres_session_says_the_same_in_both_formats(corpora: Path) -> None:
    name, as_csv = read(corpora / "samples" / "postgresql-15.20-pgaudit-1.7.csv")
    assert name == "pg_csv"
    name, as_json = read(corpora / "samples" / "postgresql-15.20-pgaudit-1.7.json")
    assert name == "pg_json"
    assert as_csv.height == as_json.height == 36
    assert errors(as_csv) == errors(as_json) == 0
    names = [n for n in as_csv.columns if n != "parser"]
    assert as_csv.select(names).equals(as_json.select(names))
    counts = dict(as_csv["kind"].value_counts().iter_rows())
    assert (counts["authn_login_success"], counts["authn_login_fail"]) == (3, 1)
    assert (counts["authz_fail"], counts["sys_startup"]) == (1, 1)
    failed = as_csv.filter(pl.col("kind") == "authn_login_fail").row(0, named=True)
    assert (failed["claimed_user"], failed["user"]) == ("postgres", None)
    denied = as_csv.filter(pl.col("kind") == "authz_fail").row(0, named=True)
    assert (denied["user"], denied["db_statement"]) == ("bob", "delete from users")
    select = as_csv.filter(pl.col("message") == "AUDIT: SESSION READ SELECT public.users")
    assert select["db_rows"].to_list() == [100]
    for frame in (as_csv, as_json):
        text = frame.write_ndjson()
        for literal in ("secret", "4111111111111111", "@x.y"):
            assert literal not in text


# What the corpus calls it, and what we do.
FIELDS = {
    "source_ip": "client_ip",
    "http_verb": "method",
    "http_path": "path",
    "http_status": "status",
    "username": "user",
    "target_user": "user",
    "timestamp": "time",
}


def agrees(key: str, wanted: str, row: dict[str, Any]) -> bool:
    if key == "http_path":
        query = "" if row.get("query") is None else f"?{row['query']}"
        return wanted in (row.get("path"), f"{row.get('path')}{query}")
    if key == "http_status":
        return wanted == ("-" if row.get("status") is None else str(row["status"]))
    if key == "timestamp":  # the corpus has it to the second for some servers
        seconds: float = (datetime.fromisoformat(wanted) - row["time"]).total_seconds()
        return abs(seconds) < 1
    if key in ("username", "target_user"):
        return wanted in (row.get("user"), row.get("claimed_user"))
    return bool(wanted == row.get(FIELDS[key]))


def expectations(corpora: Path) -> dict[str, dict[str, Any]]:
    with gzip.open(corpora / "crowdsec" / "expected.jsonl.gz", "rt") as file:
        return {test["test"]: test for test in map(json.loads, file)}


def disagreements(corpora: Path, test: dict[str, Any]) -> tuple[int, list[str]]:
    """How many fields agree, and which do not."""
    lines: list[str] = []
    rows: list[dict[str, Any]] = []
    for log in test["log"]:
        path = corpora / "crowdsec" / test["test"] / log
        lines += [line for line in path.read_text().splitlines() if line.strip()]
        rows += read(path)[1].iter_rows(named=True)
    good, bad = 0, list[str]()
    for event in test["events"]:
        # Some expectations name the whole line, some the message in it.
        row = next(r for line, r in zip(lines, rows, strict=True) if event["message"] in line)
        for key, wanted in event["meta"].items():
            if key in FIELDS and agrees(key, wanted, row):
                good += 1
            elif key in FIELDS:
                bad.append(f"{test['test']}: {key}={wanted}")
    return good, bad


@pytest.mark.parametrize(
    ("kind", "share"),
    # One line of Traefik's names two clients; we take the one that spoke to it.
    [("nginx", 0.99), ("apache2", 0.99), ("traefik", 0.98)],
)
def test_web_servers_lines_are_understood_as_others_do(
    corpora: Path, kind: str, share: float
) -> None:
    tests = [t for t in expectations(corpora).values() if t["log_type"] == kind and t["events"]]
    found = [disagreements(corpora, test) for test in tests]
    good, bad = sum(g for g, _ in found), [b for _, some in found for b in some]
    assert good > 20
    assert good / (good + len(bad)) >= share, bad


def test_caddys_access_lines_are_understood_as_others_do(corpora: Path) -> None:
    good, bad = disagreements(corpora, expectations(corpora)["caddy-logs"])
    assert good >= 50
    assert bad == []
