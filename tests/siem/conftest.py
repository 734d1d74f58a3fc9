"""A real tocsin on loopback, in a process of its own, and a way to run commands against it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest


class Tocsin:
    """One home directory, one data directory, and what a user does with them."""

    def __init__(self, home: Path) -> None:
        self.home, self.data = home, home / "data"
        self.process: subprocess.Popen[bytes] | None = None
        self.port = 0

    @property
    def environ(self) -> dict[str, str]:
        kept = {n: v for n, v in os.environ.items() if not n.startswith(("TOCSIN_", "XDG_"))}
        return kept | {"HOME": str(self.home)}

    def __call__(
        self, *arguments: str, stdin: bytes | None = None, code: int | None = 0, **environ: str
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command to its end; *code* is the exit status that it must have."""
        done = subprocess.run(
            [sys.executable, "-m", "tocsin", *arguments],
            input=stdin,
            capture_output=True,
            env=self.environ | environ,
            cwd=self.home,
            timeout=100,
            check=False,
        )
        assert code is None or done.returncode == code, (done.returncode, done.stdout, done.stderr)
        return done

    def here(self, *arguments: str, **more: Any) -> subprocess.CompletedProcess[bytes]:
        """A command with ``--data``."""
        return self(*arguments, "--data", str(self.data), **more)

    def rows(self, *arguments: str) -> list[dict[str, Any]]:
        """What a command with ``--json`` prints, as objects."""
        done = self.here(*arguments, "--json")
        return [msgspec.json.decode(line) for line in done.stdout.splitlines()]

    def start(self, *arguments: str, **environ: str) -> Tocsin:
        """``tocsin up`` in the background, until it answers."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        command = [sys.executable, "-m", "tocsin", "up", "--data", str(self.data)]
        command += ["--listen", f"127.0.0.1:{self.port}", *arguments]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, env=self.environ | environ, cwd=self.home
            )
        self.until(self._answers, 30)
        return self

    @property
    def log(self) -> Path:
        return self.home / "up.log"

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()
        with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
            address = f"http://127.0.0.1:{self.port}/healthz"
            urllib.request.urlopen(address, timeout=2).close()
            return True
        return False

    def until(self, holds: Callable[[], Any], seconds: float = 20) -> Any:
        """Wait until something is true, and return it."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if found := holds():
                return found
            time.sleep(0.05)
        raise AssertionError(f"not within {seconds} s; tocsin said:\n{self.log.read_text()}")

    def stop(self, with_signal: int = signal.SIGTERM) -> None:
        """End it, and wait."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(with_signal)
            self.process.wait(60)

    def token(self, source: str, *arguments: str) -> str:
        (made,) = self.rows("token", "create", "--source", source, *arguments)
        return str(made["token"])

    def post(
        self, body: bytes, key: str, media: str = "application/x-ndjson", path: str = "/v1/events"
    ) -> dict[str, Any]:
        """One POST; a refusal is returned too, with its ``status``."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            data=body,
            headers={"Authorization": f"Bearer {key}", "Content-Type": media},
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                decoded: dict[str, Any] = msgspec.json.decode(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                decoded = msgspec.json.decode(error.read())
        return decoded


@pytest.fixture
def tocsin(tmp_path: Path) -> Iterator[Tocsin]:
    made = Tocsin(tmp_path)
    yield made
    made.stop()


@pytest.fixture
def up(tocsin: Tocsin) -> Tocsin:
    """A tocsin that runs."""
    return tocsin.start()


class Hook:
    """An HTTP server that keeps the bodies it gets."""

    def __init__(self) -> None:
        bodies: list[bytes] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base's name
                """Quiet."""

        self.bodies = bodies
        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def receiver() -> Iterator[Callable[[], Hook]]:
    made: list[Hook] = []

    def make() -> Hook:
        made.append(Hook())
        return made[-1]

    yield make
    for hook in made:
        hook.close()
