"""One life of a vault, told on standard output, for somebody else to end or spoil at a bad moment.

``python -m tests.faults.life`` imports everything once and then, for each line on its standard
input (a :class:`Wish` as JSON), forks a life that stops at its first breath, for a tracer to come,
and tells its tale to ``<data>.tale``.

The vault's own two threads are the caller's, so everything happens in the same order each time,
and "the n-th write" means the same write in each life.  ``ack <batch> <first seq> <rows>`` is told
only after the future of that batch has resolved; ``refused <batch> <why>`` when the disk did not
take it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Generator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Literal
from unittest import mock

import alembic.command
import msgspec
import polars as pl

import tocsin.vault.seal
from tocsin.errors import StorageFailed, TocsinError
from tocsin.event.batch import SCHEMA, Batch
from tocsin.vault import FileKey, Receipt, Vault, compact, sealer, store
from tocsin.vault.disk import DISK, Disk

__all__ = ["STEPS", "Wish", "batch", "live"]

#: What a life would import on the way, it finds imported.
BEFOREHAND = (alembic.command, tocsin.vault.seal)

#: Rows of each batch; "seal" and "compact" stand between.
STEPS: tuple[int | str, ...] = (
    *(3, 2, "seal", 4, 1, "seal", 5, "seal", 5, "seal", "compact"),
    *(3, "seal", 2),
)


class Wish(msgspec.Struct, frozen=True):
    """A life that is asked for."""

    data: str
    kek: str
    sealing: Literal["inline", "process"] = "inline"
    #: A command that the first sealer is run under.
    under: tuple[str, ...] = ()


def batch(number: int, rows: int) -> Batch:
    """The same batch each time: its rows are numbered 100 * *number* and on."""
    first = 1_700_000_000 * 10**9 + number
    columns = {
        "time": pl.Series([first + i for i in range(rows)]).cast(SCHEMA["time"]),
        "observed": pl.Series([first + i for i in range(rows)]).cast(SCHEMA["observed"]),
        "kind": ["request"] * rows,
        "user": [f"user{i}" for i in range(rows)],
        "status": [200] * rows,
        "trace_id": [f"{100 * number + i:032x}" for i in range(rows)],
        "source_seq": [100 * number + i for i in range(rows)],
    }
    return Batch(pl.DataFrame({n: columns[n] for n in SCHEMA if n in columns}))


class OneThread(Vault):
    """A vault whose two threads are the caller's own."""

    def append_now(self, number: int, rows: int) -> Receipt:
        """Take a batch and write it."""
        future = self.append(batch(number, rows), source="life", batch_id=f"b{number}")
        if not future.done():  # a repeat is answered without a write
            self._write_once()
        return future.result(0)

    def seal_now(self) -> str | None:
        """End the epoch and seal it; why not, when that fails each time."""
        self._turn_epoch(last=False)
        for _ in range(20):
            if self._epochs:
                self._seal_once()
        return f"not sealed {self.status().sealing_failed}" if self._epochs else None

    def compact_now(self) -> str:
        """Join the segments; whoever asks is told when that fails."""
        future: Future[int] = Future()
        self._compact(future)
        error = future.exception()
        return f"not joined {error}" if error else f"joined {future.result()}"


def say(line: str) -> None:
    """Tell the tale on standard output."""
    os.write(1, f"{line}\n".encode())


@contextlib.contextmanager
def in_one_thread() -> Generator[None]:
    """None of the vault's threads begins, and nothing takes its usual time."""
    start = threading.Thread.start

    def start_foreign(thread: threading.Thread) -> None:
        if not thread.name.startswith("tocsin-vault"):
            start(thread)

    with (
        mock.patch.object(threading.Thread, "start", start_foreign),
        mock.patch.object(threading.Thread, "join", return_value=None),
        mock.patch.object(store, "RETRY_SECONDS", 0.01),
        mock.patch.object(compact, "FEWEST", 4),  # so that there is something to join
        mock.patch.object(sealer, "_RETIRED_AFTER", 0.0),  # joined segments are removed at once
    ):
        yield


def live(
    data: Path,
    kek: Path,
    *,
    sealing: Literal["inline", "process"] = "inline",
    tell: Callable[[str], None] = say,
    disk: Disk = DISK,
) -> None:
    """Open, take, seal, join, close."""
    with in_one_thread():
        vault = OneThread.open(data, FileKey(kek), sealing=sealing, epoch_seconds=3600.0, disk=disk)
        assert isinstance(vault, OneThread)
        tell("open")
        for number, step in enumerate(STEPS):
            if isinstance(step, int):
                take(vault, number, step, tell)
            elif told := vault.seal_now() if step == "seal" else vault.compact_now():
                tell(told)
        vault.close()
        tell("end")


def take(vault: OneThread, number: int, rows: int, tell: Callable[[str], None]) -> None:
    """Send a batch until it is taken, as a patient sender does."""
    for _ in range(20):
        try:
            receipt = vault.append_now(number, rows)
        except StorageFailed as error:
            tell(f"refused {number} {error}")
        else:
            tell(f"ack {number} {receipt.first_seq} {receipt.rows}")
            return
    tell(f"gave up {number}")


def breathe(wish: Wish) -> None:
    """A life in a process of its own."""
    tale = os.open(f"{wish.data}.tale", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(tale, 1)
    os.kill(os.getpid(), signal.SIGSTOP)
    try:
        with first_sealer_under(wish.under):
            live(Path(wish.data), Path(wish.kek), sealing=wish.sealing)
    except TocsinError as error:
        say(f"failed {type(error).__name__}: {error}")
    except BaseException:
        say(f"traceback {traceback.format_exc()}")


@contextlib.contextmanager
def first_sealer_under(command: tuple[str, ...]) -> Generator[None]:
    """Run the first sealing process under *command*; those that take its place run free."""
    popen, left = subprocess.Popen, [command] if command else []

    def begin(_words: list[str], **more: Any) -> subprocess.Popen[bytes]:
        words = [*(left.pop() if left else ()), sys.executable, "-m", "tests.faults.sealer"]
        child: subprocess.Popen[bytes] = popen(words, **more)
        return child

    with mock.patch("tocsin.vault.seal.subprocess.Popen", begin):
        yield


def serve() -> None:
    """Fork lives on demand: the process id when it has stopped, the status when it has ended."""
    for line in sys.stdin:
        wish = msgspec.json.decode(line, type=Wish)
        pid = os.fork()
        if not pid:
            breathe(wish)
            os._exit(0)
        os.waitpid(pid, os.WUNTRACED)
        print(pid, flush=True)
        print(os.waitpid(pid, 0)[1], flush=True)


if __name__ == "__main__":
    serve()
