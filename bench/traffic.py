"""Realistic API traffic, invented: as native events, and as lines of a gateway's log.

A small shop's API: 2,000 users with habits, 48 routes of very different popularity, 120 user
agents, long-tailed latencies and sizes, a few per cent of errors.  21 to 23 fields an event, about
600 bytes as JSON.  Trace and span ids are random, as in life, and do not compress.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec

__all__ = ["bodies", "events", "lines"]

SECOND = 10**9

_NOUNS = "products orders carts users invoices payments reviews addresses".split()
_ROUTES = [
    (method, template)
    for noun in _NOUNS
    for method, template in (
        ("GET", f"/api/v1/{noun}"),
        ("GET", f"/api/v1/{noun}/{{id}}"),
        ("POST", f"/api/v1/{noun}"),
        ("PUT", f"/api/v1/{noun}/{{id}}"),
        ("DELETE", f"/api/v1/{noun}/{{id}}"),
        ("GET", f"/api/v1/{noun}/{{id}}/history"),
    )
]
_WEIGHTS = [1 / (rank + 1) for rank in range(len(_ROUTES))]
_SYSTEMS = ("X11; Linux x86_64", "Windows NT 10.0; Win64; x64", "Macintosh; Intel Mac OS X 15_6")
_AGENTS = [
    f"Mozilla/5.0 ({system}; rv:{version}.0) Gecko/20100101 Firefox/{version}.0"
    for version in range(110, 144)
    for system in _SYSTEMS
] + [f"ShopApp/{major}.{minor} (Android 16)" for major in range(4, 6) for minor in range(9)]
_COMMON = [200] * 890 + [201] * 40 + [304] * 30 + [404] * 25
_STATUSES = _COMMON + [400] * 7 + [422] * 3 + [401] * 2 + [500] * 2 + [403]


def events(
    count: int, *, start: int, seed: int = 1, rate: int = 2_000
) -> Iterator[dict[str, object]]:
    """*count* native events from *start* (ns) on, *rate* a second of event time."""
    dice = random.Random(seed)
    people = [_person(dice, n) for n in range(2_000)]
    habits = [1 / (n + 300) for n in range(len(people))]
    picked: Iterator[dict[str, str]] = iter(())
    routes: Iterator[tuple[str, str]] = iter(())
    at = start
    for n in range(count):
        if n % 10_000 == 0:  # drawing many at once is cheaper
            picked = iter(dice.choices(people, habits, k=10_000))
            routes = iter(dice.choices(_ROUTES, _WEIGHTS, k=10_000))
        person, (method, template) = next(picked), next(routes)
        status = dice.choice(_STATUSES)
        at += int(dice.expovariate(rate) * SECOND)
        path = template.replace("{id}", str(dice.randrange(1, 90_000)))
        event: dict[str, object] = {
            "time": _rfc3339(at),
            "kind": "request",
            "outcome": "success" if status < 400 else "failure",
            "layer": "app",
            "service": "shop",
            "env": "production",
            "host": f"shop-{dice.randrange(6)}",
            "user": person["user"],
            "role": person["role"],
            "session": person["session"],
            "client_ip": person["ip"],
            "user_agent": person["agent"],
            "method": method,
            "route": template,
            "path": path,
            "status": status,
            "duration_ns": int(dice.lognormvariate(16.5, 0.9)),
            "bytes_in": dice.randrange(200, 900),
            "bytes_out": int(dice.lognormvariate(7.5, 1.2)),
            "trace_id": f"{dice.getrandbits(128):032x}",
            "span_id": f"{dice.getrandbits(64):016x}",
        }
        if method == "GET" and not template.endswith("}"):
            event["query"] = f"page={dice.randrange(1, 40)}&size=50"
        yield event


def bodies(count: int, size: int, *, start: int, seed: int = 1) -> list[bytes]:
    """*count* NDJSON bodies of *size* events each."""
    encode = msgspec.json.Encoder().encode
    made = [encode(event) for event in events(count * size, start=start, seed=seed)]
    return [b"\n".join(made[n : n + size]) + b"\n" for n in range(0, len(made), size)]


def lines(count: int, *, start: int, seed: int = 1, rate: int = 2_000) -> Iterator[str]:
    """*count* lines of nginx combined."""
    for event in events(count, start=start, seed=seed, rate=rate):
        at = datetime.fromisoformat(str(event["time"]))
        target = f"{event['path']}?{event['query']}" if "query" in event else event["path"]
        yield (
            f"{event['client_ip']} - - [{at:%d/%b/%Y:%H:%M:%S} +0000] "
            f'"{event["method"]} {target} HTTP/1.1" {event["status"]} {event["bytes_out"]} '
            f'"-" "{event["user_agent"]}"\n'
        )


def _person(dice: random.Random, number: int) -> dict[str, str]:
    return {
        "user": f"user{number:04d}@shop.example",
        "role": dice.choice(("customer",) * 40 + ("staff", "admin")),
        "session": f"{dice.getrandbits(64):016x}",
        "ip": f"203.{dice.randrange(256)}.{dice.randrange(256)}.{dice.randrange(1, 255)}",
        "agent": dice.choice(_AGENTS),
    }


def _rfc3339(at: int) -> str:
    whole, rest = divmod(at, SECOND)
    return (
        datetime.fromtimestamp(whole, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{rest // 1000:06d}Z"
    )
