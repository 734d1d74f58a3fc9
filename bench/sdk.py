"""What watching an application costs, in turn with the same application bare and with other guests.

The guests live in an environment of their own (``make bench`` makes it), each in one process, and
are asked in turn, so that a machine that is busy with something else disturbs all of them.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from pathlib import Path

from bench.guest import GUESTS
from bench.report import Figure, scaled

__all__ = ["main"]

ROOT = Path(__file__).parent.parent
PYTHON = ROOT / ".venv-apps-bench" / "bin" / "python"
SMALL, LARGE, WAITING = "/v1/orders/#", "/v1/items", "/v1/waiting/#"
RATE = 400  #: requests a second, of one worker


def main() -> list[Figure]:
    """All figures of the guest."""
    if not PYTHON.exists():
        raise FileNotFoundError(f"{PYTHON} is not there; make bench installs it")
    return [*_path(), *_import(), *_cpu(), *_tail()]


class Child:
    """A process of the guests' environment that answers lines with lines of JSON."""

    def __init__(self, *arguments: str) -> None:
        environ = {n: v for n, v in os.environ.items() if not n.startswith("TOCSIN_")}
        environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "src")])
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            [str(PYTHON), *arguments], stdin=pipe, stdout=pipe, env=environ, text=True
        )

    def line(self) -> str:
        """The next line that it prints."""
        assert self.process.stdout is not None
        text = self.process.stdout.readline()
        if not text:
            raise RuntimeError(f"{self.process.args!r} ended with {self.process.wait()}")
        return text.strip()

    def ask(self, line: str) -> object:
        """What it answers to *line*."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        return json.loads(self.line())


@contextlib.contextmanager
def child(*arguments: str) -> Generator[Child]:
    """One that is ended afterwards."""
    made = Child(*arguments)
    try:
        yield made
    finally:
        made.process.terminate()
        with made.process:
            pass


def _path() -> list[Figure]:
    """What is added in the thread that serves the request."""
    bounds = {
        "asgi": 8.0,
        "wsgi": 8.0,
        "asgi, 5 KB, inspected": 20.0,
        "wsgi, 5 KB, inspected": 20.0,
    }
    with child("-m", "bench.sdk_path", "--json", str(scaled(2))) as measuring:
        found: dict[str, dict[str, float]] = json.loads(measuring.line())
    return [
        Figure.of(
            f"SDK: request path, {name}: added",
            figure["added_ns"] / 1e3,
            "us, median",
            at_most=bounds.get(name),
            against=f"bare {figure['bare_ns'] / 1e3:.1f} us",
        )
        for name, figure in found.items()
    ]


def _import() -> list[Figure]:
    """``import tocsin`` and all that watching an application loads, over an empty process."""
    code = "import tocsin; tocsin.watch; tocsin.log; import tocsin.sdk.watching.asgi"
    added: list[float] = []
    for _ in range(scaled(15, 5)):
        took: list[float] = []
        for program in ("pass", code):
            began = time.perf_counter()
            environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "src")}
            subprocess.run([str(PYTHON), "-c", program], check=True, env=environ)
            took.append(time.perf_counter() - began)
        added.append(took[1] - took[0])
    return [Figure.of("SDK: import", statistics.median(added) * 1e3, "ms, median", at_most=60)]


def _cpu() -> list[Figure]:
    """CPU of the whole process, in threads and on the way out included."""
    figures: list[Figure] = []
    count, rounds = scaled(1500, 200), scaled(9, 3)
    with contextlib.ExitStack() as stack:
        sink = stack.enter_context(child("-m", "bench.sink")).line()
        guests = {g: stack.enter_context(child("-m", "bench.guest", g, sink)) for g in GUESTS}
        for path, what in ((SMALL, "plain GET"), (LARGE, "5 KB answer")):
            spent: dict[str, list[float]] = {guest: [] for guest in GUESTS}
            memory: dict[str, float] = {}
            for turn in range(rounds + 1):
                for guest in random.Random(turn).sample(GUESTS, len(GUESTS)):
                    answer = guests[guest].ask(f"{path} {count}")
                    assert isinstance(answer, dict)
                    if turn:  # the first one warms up
                        spent[guest].append(answer["cpu_ns"] / 1e3)
                    memory[guest] = answer["memory"] / 2**20
            bare = spent["bare"]
            added = {
                guest: statistics.median(mine - its for mine, its in zip(some, bare, strict=True))
                for guest, some in spent.items()
            }
            ours = added["tocsin"]
            against = f"bare {statistics.median(bare):.0f} us"
            bound = 40 if path == SMALL else None
            name = f"SDK: all CPU, {what}: added"
            figures.append(Figure.of(name, ours, "us a request", at_most=bound, against=against))
            figures += [
                Figure.of(
                    f"SDK: all CPU, {what}: added by {other}",
                    added[other],
                    "us a request",
                    against="tocsin",
                    ratio=round(added[other] / ours, 2),
                )
                for other in ("opentelemetry", "structlog", "sentry")
            ]
            if path == SMALL:
                less = added["opentelemetry"] / ours
                name = "SDK: all CPU, times less than opentelemetry"
                figures.append(Figure.of(name, less, "x", at_least=5))
            figures += [
                Figure.of(f"SDK: memory of the process, {what}, {guest}", memory[guest], "MB")
                for guest in ("bare", "tocsin", "opentelemetry", "sentry")
            ]
    return figures


def _tail() -> Iterator[Figure]:
    """How long the slowest hundredth of the answers takes, under uvicorn and a steady load.

    The bound is for a handler that waits 5 ms for its database; one that does nothing at all has
    answers so short that whatever else runs in the process shows.
    """
    with contextlib.ExitStack() as stack:
        sink = stack.enter_context(child("-m", "bench.sink")).line()
        asking = stack.enter_context(child("-m", "bench.paced"))
        ports = {guest: _free_port() for guest in ("bare", "tocsin")}
        for guest, port in ports.items():
            stack.enter_context(child("-m", "bench.guest", guest, sink, str(port)))
            _wait(port)

        def p99(guest: str, path: str, seconds: float) -> float:
            took = asking.ask(f"{ports[guest]} {path} {RATE} {seconds}")
            assert isinstance(took, list)
            return float(statistics.quantiles(took, n=100)[98]) * 1e3

        for path, what, bound in (
            (WAITING, "a handler that waits 5 ms", 1.05),
            (SMALL, "a handler that does nothing", None),
        ):
            for guest in ports:
                p99(guest, path, 2)
            found: dict[str, list[float]] = {guest: [] for guest in ports}
            for turn in range(scaled(12, 3)):
                for guest in random.Random(turn).sample(list(ports), len(ports)):
                    found[guest].append(p99(guest, path, 4))
            bare, ours = (statistics.median(found[guest]) for guest in ("bare", "tocsin"))
            ratio = statistics.median(
                mine / its for mine, its in zip(found["tocsin"], found["bare"], strict=True)
            )
            yield Figure.of(
                f"SDK: p99 under uvicorn, {what}, watched over bare",
                ratio,
                "x",
                at_most=bound,
                against=f"bare {bare:.2f} ms, watched {ours:.2f} ms at {RATE} requests/s",
            )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(port: int) -> None:
    for _ in range(200):
        with contextlib.suppress(ConnectionError):
            socket.create_connection(("127.0.0.1", port)).close()
            return
        time.sleep(0.05)
    raise RuntimeError("the application did not come up")


if __name__ == "__main__":
    for figure in main():
        print(figure, file=sys.stderr)
