"""What each parser reads in a second of processor time: bytes of a log in, canonical columns out.

Processor time, of all threads: so it is the figure of one core, and a busy machine disturbs little.
The input is synthetic: addresses, paths and users repeat as in real logs, times advance.  Medians.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from statistics import median
from time import process_time

from bench.report import Figure
from tocsin.intake import Origin, parse

__all__ = ["main"]

_LINES = 20_000
_RUNS = 5
_START = datetime(2026, 11, 23, 5, 0, tzinfo=UTC)
_AGENTS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0",
    "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0",
    "okhttp/4.12.0",
)


def _when(i: int) -> datetime:
    return _START + timedelta(milliseconds=25 * i)


def _combined(i: int) -> str:
    user = f"user{i % 400}" if i % 3 else "-"
    query = f"?page={i % 50}&sort=price" if i % 4 == 0 else ""
    return (
        f"10.{i % 7}.{i % 200}.{i % 251} - {user} [{_when(i):%d/%b/%Y:%H:%M:%S} +0000] "
        f'"GET /api/v1/orders/{i}{query} HTTP/1.1" {(200, 200, 200, 404, 201)[i % 5]} '
        f"{200 + i % 900} "
        f'"https://shop.example/cart" "{_AGENTS[i % 3]}"'
    )


def _cri(i: int) -> str:
    return f"{_when(i):%Y-%m-%dT%H:%M:%S.%f}Z stdout F {_combined(i)}"


def _docker(i: int) -> str:
    when = f"{_when(i):%Y-%m-%dT%H:%M:%S.%f}Z"
    record = {"log": _combined(i) + "\n", "stream": "stdout", "time": when}
    return json.dumps(record, separators=(",", ":"))


def _per_host(i: int) -> str:
    return f"shop.example:443 {_combined(i)}"


def _nginx_json(i: int) -> str:
    return json.dumps(
        {
            "ts": f"{_when(i):%Y-%m-%dT%H:%M:%S}+00:00",
            "msec": round(_when(i).timestamp(), 3),
            "request_id": f"{i:032x}",
            "client_ip": f"10.0.{i % 200}.{i % 251}",
            "user": f"user{i % 400}" if i % 3 else "",
            "method": "GET",
            "uri": f"/api/v1/orders/{i}",
            "args": f"page={i % 50}" if i % 4 == 0 else "",
            "request_uri": f"/api/v1/orders/{i}" + (f"?page={i % 50}" if i % 4 == 0 else ""),
            "status": (200, 200, 200, 404, 201)[i % 5],
            "req_bytes": 300 + i % 90,
            "resp_bytes": 400 + i % 900,
            "body_bytes": 200 + i % 900,
            "rt": (i % 200) / 1000,
            "urt": f"{(i % 200) / 1000:.3f}",
            "upstream": "127.0.0.1:8180",
            "host": "shop.example",
            "ua": _AGENTS[i % 3],
            "xff": "",
            "tls": "TLSv1.3",
        },
        separators=(",", ":"),
    )


def _event(i: int) -> str:
    return json.dumps(
        {
            "time": f"{_when(i):%Y-%m-%dT%H:%M:%S.%f}Z",
            "kind": "request",
            "outcome": "success",
            "outcome_source": "framework",
            "duration_ns": 1_000_000 + i,
            "layer": "app",
            "service": "shop",
            "env": "production",
            "host": "web-1",
            "user": f"user{i % 400}",
            "session": f"a3f1{i % 900:08d}",
            "client_ip": f"10.0.{i % 200}.{i % 251}",
            "method": "GET",
            "route": "/api/v1/orders/{id}",
            "path": f"/api/v1/orders/{i}",
            "status": 200,
            "bytes_out": 200 + i % 900,
            "user_agent": _AGENTS[i % 3],
            "trace_id": f"{i:032x}",
            "request_id": f"{i:016x}",
            "boot": "b7c1",
        },
        separators=(",", ":"),
    )


def _foreign(i: int) -> str:
    return json.dumps(
        {
            "@timestamp": f"{_when(i):%Y-%m-%dT%H:%M:%S.%f}Z",
            "log": {"level": "info"},
            "message": "order shown",
            "http": {"request": {"method": "GET"}, "response": {"status_code": 200}},
            "url": {"path": f"/api/v1/orders/{i}"},
            "client": {"ip": f"10.0.{i % 200}.{i % 251}"},
            "trace": {"id": f"{i:032x}"},
            "order": i,
        },
        separators=(",", ":"),
    )


def _pg(i: int) -> list[str]:
    """Fields of one csvlog record: a slow statement, an audit record or a plain one."""
    statement = f"select * from orders where id = {i % 500} and state = 'open'"
    message = (
        f"duration: {i % 90}.{i % 1000:03d} ms  statement: {statement}",
        f"AUDIT: SESSION,{i},1,READ,SELECT,TABLE,public.orders,{statement},<none>,{i % 90}",
        "connection authorized: user=shop database=shop application_name=web",
        "checkpoint starting: time",
    )[i % 4]
    when = f"{_when(i):%Y-%m-%d %H:%M:%S}.{i % 1000:03d} UTC"
    return [
        when, "shop", "shop", str(9_000 + i % 50), f"10.0.0.{i % 20}:4{i % 9999:04d}",
        f"6b03d32e.{i % 50:x}", str(i), "SELECT", "2026-11-23 05:00:00 UTC", "3/12", "0", "LOG",
        "00000", message, "", "", "", "", "", "", "", "", "web", "client backend", "", "0",
    ]  # fmt: skip


def _pg_csv(i: int) -> str:
    quoted = {1, 2, 4, 7, 13, 22, 23}
    return ",".join(
        '"' + field.replace('"', '""') + '"' if n in quoted else field
        for n, field in enumerate(_pg(i))
    )


def _pg_json(i: int) -> str:
    f = _pg(i)
    host, _, port = f[4].partition(":")
    return json.dumps(
        {
            "timestamp": f[0], "user": f[1], "dbname": f[2], "pid": int(f[3]), "remote_host": host,
            "remote_port": int(port), "session_id": f[5], "line_num": int(f[6]), "ps": f[7],
            "session_start": f[8], "vxid": f[9], "txid": 0, "error_severity": f[11],
            "message": f[13], "application_name": "web", "backend_type": "client backend",
            "query_id": 0,
        },
        separators=(",", ":"),
    )  # fmt: skip


def _logfmt(i: int) -> str:
    return (
        f"time={_when(i):%Y-%m-%dT%H:%M:%S.%f}Z level=info msg=\"order shown\" method=GET "
        f"path=/api/v1/orders/{i} status=200 remote_addr=10.0.{i % 200}.{i % 251} order={i}"
    )  # fmt: skip


def _plain(i: int) -> str:
    return f"{_when(i):%Y-%m-%d %H:%M:%S.%f} INFO  order {i} shown to user{i % 400}"


_CASES: dict[str, tuple[str, Callable[[int], str]]] = {
    "nginx combined": ("nginx", _combined),
    "nginx combined in CRI": ("nginx", _cri),
    "nginx combined in Docker JSON": ("nginx", _docker),
    "Apache vhost_combined": ("apache", _per_host),
    "nginx JSON": ("nginx_json", _nginx_json),
    "tocsin NDJSON": ("tocsin", _event),
    "JSON, nested": ("json", _foreign),
    "PostgreSQL csvlog": ("pg_csv", _pg_csv),
    "PostgreSQL jsonlog": ("pg_json", _pg_json),
    "key=value": ("kv", _logfmt),
    "text": ("text", _plain),
}


def main(lines: int = _LINES, runs: int = _RUNS) -> list[Figure]:
    """Lines a second for each kind of log."""
    origin = Origin(source="bench")
    figures: list[Figure] = []
    for name, (parser, line) in _CASES.items():
        data = "".join(f"{line(i)}\n" for i in range(lines)).encode()
        frame = parse(data, parser, origin, 0)
        times: list[float] = []
        for _ in range(runs):
            start = process_time()
            parse(data, parser, origin, 0)
            times.append(process_time() - start)
        if frame.height != lines or "parse_error" in frame.columns:
            raise AssertionError(f"{name}: {frame.height} rows of {lines} lines")
        of = f"{len(data) / lines:.0f} bytes a line"
        figures.append(Figure.of(f"parse {name}", lines / median(times), "lines/CPU s", against=of))
    return figures
