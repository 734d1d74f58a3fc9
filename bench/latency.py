"""From the answer to a batch to the incident that its events make, under steady load.

Every third body of the load holds the tries of one guesser whom no other body names.  The moment
of the answer is the sender's, that of the incident its ``opened_at``: one machine, one wall clock.
As ``opened_at`` is read just before the incident is committed, the moment at which it is printed,
which is after that, is measured too.
"""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Callable, Generator, Iterator
from itertools import islice
from pathlib import Path

import msgspec

from bench.load import Outcome, Spec
from bench.report import Figure, scaled
from bench.server import Server, corpora_rules, running, vault_directory
from bench.traffic import events
from tocsin.event import Incident

__all__ = ["main"]

SECOND = 10**9
SIZE = 1_000  #: events a body
RATE = 20  #: bodies a second
COUNT = scaled(330, 40)  #: bodies
TRIES = 12  #: the rule asks for ten within five minutes
WARM = 20  #: bodies before the first guesser
PATIENCE = 20.0  #: seconds that the last incident may take


def main() -> list[Figure]:
    """The whole distribution, and whether every guesser was found."""
    guessers = {f"198.18.{n // 250}.{n % 250 + 1}": n for n in range(WARM, COUNT, 3)}
    with vault_directory() as directory:
        path = directory / "bodies"
        # The load begins some seconds from now; nothing here hangs on which second it is.
        path.write_bytes(msgspec.msgpack.encode(list(_bodies(guessers, time.time_ns()))))
        with running(directory, rules=corpora_rules()) as server:
            spec = Spec(
                port=server.port,
                key=server.key("bench", layer="app"),
                bodies=str(path),
                count=COUNT,
                rate=RATE,
            )
            with _printed(directory / "up.log", guessers) as printed:
                outcome = server.load(spec)
                opened = _opened(server, guessers)
                _until(lambda: len(printed) == len(guessers))
    return list(_figures(outcome, guessers, opened, printed))


def _figures(
    outcome: Outcome, guessers: dict[str, int], opened: dict[str, float], printed: dict[str, float]
) -> Iterator[Figure]:
    rate = COUNT * SIZE / outcome.seconds
    yield Figure.of("latency: load held", rate, "events/s", at_least=0.98 * RATE * SIZE)
    yield Figure.of("latency: guessers found", len(opened), "incidents", at_least=len(guessers))
    answered = outcome.acknowledged_at
    took = sorted(opened[who] - answered[guessers[who]] for who in opened)
    shown = sorted(printed[who] - answered[guessers[who]] for who in printed)
    sent = sorted(
        printed[who] - answered[guessers[who]] + outcome.latencies[guessers[who]] for who in printed
    )
    yield Figure.of("latency: acknowledged to incident, p50", _share(took, 50), "ms")
    yield Figure.of("latency: acknowledged to incident, p99", _share(took, 99), "ms", at_most=500)
    yield Figure.of("latency: acknowledged to printed, p99", _share(shown, 99), "ms")
    yield Figure.of("latency: sent to printed, p99", _share(sent, 99), "ms")
    answers = sorted(outcome.latencies[WARM:])
    yield Figure.of("latency: sent to acknowledged, p99", _share(answers, 99), "ms")


def _share(ordered: list[float], percent: int) -> float:
    """The value, in ms, that so many per cent do not exceed."""
    if not ordered:
        raise RuntimeError("no incident was opened at all")
    return 1e3 * ordered[-(-len(ordered) * percent // 100) - 1]


def _bodies(guessers: dict[str, int], start: int) -> Iterator[bytes]:
    """Honest traffic; a guesser's tries take the place of the last events of his body."""
    encode = msgspec.json.Encoder().encode
    by_body = {number: who for who, number in guessers.items()}
    stream = events(COUNT * SIZE, start=start, rate=RATE * SIZE)
    for number in range(COUNT):
        body = list(islice(stream, SIZE))
        if number in by_body:
            for event in body[-TRIES:]:
                event |= {
                    "client_ip": by_body[number],
                    "method": "POST",
                    "route": "/api/v1/login",
                    "path": "/api/v1/login",
                    "status": 401,
                    "outcome": "failure",
                }
                for name in ("user", "role", "session", "query"):
                    event.pop(name, None)
        yield b"\n".join(map(encode, body)) + b"\n"


def _opened(server: Server, guessers: dict[str, int]) -> dict[str, float]:
    """When the first incident about each guesser was opened, once all are there, or time is up."""
    found: dict[str, float] = {}

    def all_there() -> bool:
        with server.remote() as remote:
            incidents: list[Incident] = remote.incidents(status=None, severity=None, limit=10_000)
        found.clear()
        for incident in incidents:
            who, at = incident.entity.value, incident.opened_at / SECOND
            if who in guessers:
                found[who] = min(at, found.get(who, at))
        return len(found) == len(guessers)

    _until(all_there)
    return found


def _until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not done() and time.monotonic() < end:
        time.sleep(0.25)


@contextlib.contextmanager
def _printed(log: Path, guessers: dict[str, int]) -> Generator[dict[str, float]]:
    """When each guesser was first named in what the server prints; fills up as it is read."""
    seen: dict[str, float] = {}
    over = threading.Event()

    def read() -> None:
        left = ""
        with log.open() as file:
            while not over.wait(0.002):
                text = left + file.read()
                whole, _, left = text.rpartition("\n")
                for who in re.findall(r"=(198\.18\.\d+\.\d+)\]", whole):
                    if who in guessers:
                        seen.setdefault(who, time.time())

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()
