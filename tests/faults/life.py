"""One life of a vault, told on standard output, for somebody else to end or spoil at a bad moment.

``python life.py --serve`` imports everything once and then, for each line ``DATA KEK`` on its
standard input, forks a life that stops at its first breath (for a tracer to come) and tells its
tale to ``DATA.tale``.

Everything happens in one thread, in the same order each time, so that "the n-th write" means the
same write in each life.  ``ack <batch> <first seq> <rows>`` is told only after the future of that
batch has resolved; ``refused <batch> <why>`` when the disk did not take it.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from concurrent.futures import Future
from pathlib import Path

import alembic.command
import polars as pl

import tocsin.vault.seal
from tocsin.errors import StorageFailed, TocsinError
from tocsin.event.batch import SCHEMA, Batch
from tocsin.vault import FileKey, Receipt, Vault, compact, sealer, store

#: What a life would import on the way, it finds imported.
BEFOREHAND = (alembic.command, tocsin.vault.seal)

#: Rows of each batch; "seal" and "compact" stand between.
STEPS: tuple[int | str, ...] = (
    *(3, 2, "seal", 4, 1, "seal", 5, "seal", 5, "seal", "compact"),
    *(3, "seal", 2),
)


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

    def seal_now(self) -> None:
        """End the epoch and seal it."""
        self._turn_epoch(last=False)
        for _ in range(20):
            if self._epochs:
                self._seal_once()
        if self._epochs:
            tell(f"not sealed {self.status().sealing_failed}")

    def compact_now(self) -> None:
        """Join the segments; whoever asks is told when that fails."""
        future: Future[int] = Future()
        self._compact(future)
        error = future.exception()
        tell(f"not joined {error}" if error else f"joined {future.result()}")


def tell(line: str) -> None:
    """Say what happened."""
    os.write(1, f"{line}\n".encode())


def live(data: Path, kek: Path) -> None:
    """Open, take, seal, join, close."""
    start = threading.Thread.start
    threading.Thread.start = lambda self: (  # type: ignore[method-assign]  # see the docstring
        None if self.name.startswith("tocsin-vault") else start(self)
    )
    threading.Thread.join = lambda *_: None  # type: ignore[method-assign]  # same
    store.RETRY_SECONDS = 0.01
    compact.FEWEST = 4  # so that there is something to join
    sealer._RETIRED_AFTER = 0.0  # and joined segments are removed at once
    vault = OneThread.open(data, FileKey(kek), sealing="inline", epoch_seconds=3600.0)
    assert isinstance(vault, OneThread)
    tell("open")
    for number, step in enumerate(STEPS):
        if step == "seal":
            vault.seal_now()
        elif step == "compact":
            vault.compact_now()
        else:
            assert isinstance(step, int)
            take(vault, number, step)
    vault.close()
    tell("end")


def take(vault: OneThread, number: int, rows: int) -> None:
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


def breathe(data: Path, kek: Path) -> None:
    """A life in a process of its own."""
    tale = os.open(f"{data}.tale", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(tale, 1)
    os.kill(os.getpid(), signal.SIGSTOP)
    try:
        live(data, kek)
    except TocsinError as error:
        tell(f"failed {type(error).__name__}: {error}")
    except BaseException:
        tell(f"traceback {traceback.format_exc()}")


def serve() -> None:
    """Fork lives on demand: the process id when it has stopped, the status when it has ended."""
    for line in sys.stdin:
        data, kek = line.split()
        pid = os.fork()
        if not pid:
            breathe(Path(data), Path(kek))
            os._exit(0)
        os.waitpid(pid, os.WUNTRACED)
        print(pid, flush=True)
        print(os.waitpid(pid, 0)[1], flush=True)


if __name__ == "__main__":
    serve()
