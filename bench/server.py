"""A real ``tocsin up`` in a process of its own, on loopback and in a directory that goes away."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from bench.load import Outcome, Spec
from tocsin.siem.access import SOCKET, NewToken
from tocsin.siem.local import Remote

__all__ = ["Server", "corpora_rules", "running", "vault_directory"]

CORPORA = Path(os.environ.get("TOCSIN_CORPORA", Path(__file__).parents[2] / "shared" / "corpora"))


def corpora_rules() -> list[str]:
    """Directories of public web and proxy rules, where foreign data is at hand; else none."""
    found = CORPORA / "sigma" / "rules" / "web"
    return [str(found)] if found.is_dir() else []


@dataclass
class Server:
    """One running tocsin."""

    process: subprocess.Popen[bytes]
    data: Path
    port: int
    started_in: float  #: seconds from the start of the process to the first good answer

    def remote(self) -> Remote:
        """The socket in its data directory."""
        return Remote(self.data / SOCKET)

    def key(self, source: str, **more: str) -> str:
        """A new source key."""
        with self.remote() as remote:
            return remote.create_token(NewToken(source=source, **more), by="bench")

    def load(self, spec: Spec) -> Outcome:
        """Send, from another process."""
        path = self.data.parent / "spec.json"
        path.write_bytes(msgspec.json.encode(spec))
        done = subprocess.run(
            [sys.executable, "-m", "bench.load", str(path)], capture_output=True, check=True
        )
        return msgspec.json.decode(done.stdout, type=Outcome)

    def status(self) -> dict[str, Any]:
        """What the vault says of itself."""
        with self.remote() as remote:
            return remote.status()

    def settled(self) -> tuple[float, int]:
        """The moment at which every full epoch is sealed and detection has seen everything.

        And how many events are sealed then: what waits for its epoch to end is not counted.
        """
        while True:
            status = self.status()
            behind = status["next_seq"] - status["detected_seq"]
            if not behind and not status["jobs"] and not status["waiting_rows"]:
                return time.monotonic(), status["sealed_seq"]
            time.sleep(0.02)

    def memory(self) -> int:
        """Resident bytes of the process and its children."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return sum(_resident(int(pid)) for pid in [str(self.process.pid), *children.split()])

    def stop(self) -> None:
        """Ctrl-C, and wait."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(60)


def _resident(pid: int) -> int:
    # Shared pages counted once: the proportional set size.
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return next(int(x.split()[1]) * 1024 for x in text.splitlines() if x.startswith("Pss:"))


@contextlib.contextmanager
def vault_directory() -> Generator[Path]:
    """A place on a real disk that goes away."""
    base = Path(__file__).parent / "tmp"
    base.mkdir(exist_ok=True)
    with TemporaryDirectory(dir=base, prefix="v") as directory:
        yield Path(directory)


@contextlib.contextmanager
def running(
    directory: Path,
    *,
    rules: Sequence[str] = (),
    settings: Mapping[str, str] | None = None,
    program: str = "tocsin",
) -> Generator[Server]:
    """``tocsin up`` below *directory*; *program* is the module that is run."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environ = {n: v for n, v in os.environ.items() if not n.startswith("TOCSIN_")}
    environ |= {
        "HOME": str(directory),
        "TOCSIN_KEK_FILE": str(directory / "kek"),
        **(settings or {}),
    }
    command = [sys.executable, "-m", program, "up", "--data", str(directory / "data")]
    command += ["--listen", f"127.0.0.1:{port}"]
    for rule in rules:
        command += ["--rules", rule]
    with (directory / "up.log").open("wb") as log:
        began = time.monotonic()
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environ)
        server = Server(process, directory / "data", port, 0.0)
        try:
            _wait(server, directory / "up.log")
            server.started_in = time.monotonic() - began
            yield server
        finally:
            server.stop()


def _wait(server: Server, log: Path) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if server.process.poll() is not None:
            break
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            urllib.request.urlopen(f"http://127.0.0.1:{server.port}/healthz", timeout=2).close()
            return
        time.sleep(0.02)
    raise RuntimeError(f"tocsin did not come up:\n{log.read_text()}")
