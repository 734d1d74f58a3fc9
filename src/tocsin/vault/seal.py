"""Sealing, here or in a child process of its own.

Hashing many short rows holds the interpreter's lock, and the signing key has no business near the
doors; so the sealer usually runs as ``python -m tocsin.vault.seal``, one JSON request a line on its
standard input, one JSON answer a line on its standard output; an empty line is a sign of life.  It
ends when its input does: with its parent, however that ends.  While it lives it holds
``log/sealer.lock``, so that an orphan's last breath and the next sealer never meet.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future
from io import FileIO
from pathlib import Path
from typing import IO, Any, TypeVar, cast

import msgspec
from msgspec import Struct

from tocsin import errors
from tocsin.catalog import open_catalog
from tocsin.errors import TocsinError, VaultBusy, VaultClosed
from tocsin.vault.disk import make_directory
from tocsin.vault.jobs import Recovered, Sealed, SealJob
from tocsin.vault.keys import CommandKey, EnvironmentKey, FileKey, KeyRing, KeySource
from tocsin.vault.lock import open_lock
from tocsin.vault.sealer import Sealer

__all__ = ["Recovered", "SealJob", "Sealed", "Sealer", "SealerProcess", "alone", "main"]

T = TypeVar("T")
PATIENCE = 5.0  # seconds that an orphan may take to notice that it is one
ORPHANED = 3  # the exit status of a child whose parent is gone
FAREWELL = 30.0  # seconds that a child may take to finish what it does when told to end
BEAT = 2.0  # seconds between two signs of life
SILENCE = 15.0  # seconds without one after which a child is ended
WAKING = 60.0  # the same, before the first: it has much to import


def _from_text(kind: type[Any], value: Any) -> Any:
    if kind is not Path:
        raise NotImplementedError(kind)
    return Path(value)


_encode = msgspec.json.Encoder(enc_hook=str).encode


class _Source(Struct, frozen=True):
    """A key source that crosses the pipe: never the key."""

    kind: str
    words: tuple[str, ...]
    timeout: float = 10.0


class _Setup(Struct, frozen=True):
    """What the child is told first."""

    directory: Path
    source: _Source
    catalog: Path
    epoch_seconds: float
    beat: float = BEAT  #: seconds


class _Request(Struct, frozen=True):
    verb: str
    job: SealJob | None = None
    boot: str = ""


class _Answer(Struct, frozen=True, omit_defaults=True):
    value: msgspec.Raw = msgspec.Raw(b"null")
    first_epoch_key: str | None = None
    error: str | None = None  #: name of an error of ``tocsin.errors``
    message: str = ""


class SealerProcess:
    """A sealer in a child process, with the verbs of :class:`Sealer`.

    When the child dies, every call and every future in flight raises VaultClosed that says how;
    ``alive`` is False then, and the owner makes another, which recovers.  A child that is frozen is
    killed.  So nothing ever waits for a dead child.
    """

    def __init__(
        self,
        directory: Path,
        source: KeySource,
        *,
        catalog: Path,
        epoch_seconds: float = 10.0,
        child: subprocess.Popen[bytes] | None = None,
    ) -> None:
        """*child* is one that was begun before, and waits to be told which vault."""
        self.first_epoch_key: bytes | None = None  #: set by ``recover`` when the vault is made
        self._lock = threading.Lock()
        self._waiting: list[Future[msgspec.Raw]] = []
        self._why: str | None = None
        self._silent = ""  # how long it was, when that was its end
        self._heard = threading.Event()
        self._gone = threading.Event()
        self._child = child or subprocess.Popen(
            [sys.executable, "-m", "tocsin.vault.seal"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Its own group: an interrupt at the terminal is for the parent, who ends it in order.
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, name="sealer answers", daemon=True)
        self._reader.start()
        threading.Thread(target=self._watch, name="sealer watchdog", daemon=True).start()
        setup = _Setup(directory, _pack(source), catalog, epoch_seconds, BEAT)
        self._write(_encode(setup))

    @property
    def alive(self) -> bool:
        """Whether it still answers."""
        return self._why is None

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._child.pid

    def recover(self) -> Recovered:
        """See :meth:`Sealer.recover`."""
        return self._ask(_Request("recover"), Recovered).result()

    def start(self, boot: str) -> None:
        """See :meth:`Sealer.start`."""
        self._ask(_Request("start", boot=boot), type(None)).result()

    def stop(self) -> None:
        """See :meth:`Sealer.stop`."""
        self._ask(_Request("stop"), type(None)).result()

    def seal(self, job: SealJob) -> Future[Sealed]:
        """See :meth:`Sealer.seal`; jobs are sealed in the order given."""
        return self._ask(_Request("seal", job=job), Sealed)

    def compact(self) -> Future[int]:
        """See :meth:`Sealer.compact`; jobs given later wait for it."""
        return self._ask(_Request("compact"), int)

    def close(self) -> None:
        """End the child once it has done what was asked.  Does not say ``stop`` to the log."""
        with self._lock:
            self._write(_encode(_Request("end")))
        with contextlib.suppress(OSError):
            cast("IO[bytes]", self._child.stdin).close()
        try:
            self._child.wait(FAREWELL)
        except subprocess.TimeoutExpired:
            self._child.kill()  # a seal that is cut short is rolled forward at the next start
            self._child.wait()
        self._reader.join()

    def kill(self) -> None:
        """End the child at once; what it does is rolled forward by the next one."""
        self._child.kill()

    def _ask(self, request: _Request, kind: type[T]) -> Future[T]:
        raw: Future[msgspec.Raw] = Future()
        with self._lock:
            if self._why is not None:
                raise VaultClosed(self._why)
            self._waiting.append(raw)
            self._write(_encode(request))
        return _decoded(raw, kind)

    def _write(self, line: bytes) -> None:
        # A child that is gone is reported by the reader, with its status.
        with contextlib.suppress(OSError, ValueError):
            pipe = cast("IO[bytes]", self._child.stdin)
            pipe.write(line + b"\n")
            pipe.flush()

    def _read(self) -> None:
        pipe = cast("IO[bytes]", self._child.stdout)
        for line in pipe:
            self._heard.set()
            if line != b"\n":
                self._answer(msgspec.json.decode(line, type=_Answer))
        self._gone.set()
        status = self._child.wait()
        ended = f"was ended: {self._silent}" if self._silent else f"ended with status {status}"
        with self._lock:
            self._why = f"the sealer {ended}; start another"
            left, self._waiting = self._waiting, []
        for future in left:
            future.set_exception(VaultClosed(self._why))
        pipe.close()

    def _watch(self) -> None:
        """Kill a child that shows no sign of life.

        Its silence is counted in our own short turns: while we are frozen, it is not.
        """
        turn, quiet, limit = min(1.0, SILENCE / 4), 0.0, WAKING
        while not self._gone.wait(turn):
            if self._heard.is_set():
                self._heard.clear()
                quiet, limit = 0.0, SILENCE
            else:
                quiet += turn
            if quiet >= limit:
                self._silent = f"it showed no sign of life for {limit:g} s"
                self.kill()
                return

    def _answer(self, answer: _Answer) -> None:
        with self._lock:
            future = self._waiting.pop(0)
        if answer.first_epoch_key is not None:
            self.first_epoch_key = bytes.fromhex(answer.first_epoch_key)
        if answer.error is None:
            future.set_result(answer.value)
        else:
            kind = getattr(errors, answer.error, errors.VaultError)
            future.set_exception(kind(answer.message))


def _decoded(raw: Future[msgspec.Raw], kind: type[T]) -> Future[T]:
    found: Future[T] = Future()
    found.set_running_or_notify_cancel()

    def done(answered: Future[msgspec.Raw]) -> None:
        error = answered.exception()
        if error is not None:
            found.set_exception(error)
        else:
            found.set_result(msgspec.json.decode(answered.result(), type=kind))

    raw.add_done_callback(done)
    return found


def _pack(source: KeySource) -> _Source:
    match source:
        case FileKey(path):
            return _Source("file", (str(path.absolute()),))
        case EnvironmentKey(variable):
            return _Source("environment", (variable,))
        case CommandKey(command, timeout):
            return _Source("command", command, timeout)


def _unpack(source: _Source) -> KeySource:
    match source.kind:
        case "file":
            return FileKey(Path(source.words[0]))
        case "environment":
            return EnvironmentKey(source.words[0])
        case _:
            return CommandKey(source.words, source.timeout)


@contextlib.contextmanager
def alone(directory: Path, patience: float = PATIENCE) -> Generator[None]:
    """Hold ``log/sealer.lock``; VaultBusy when another sealer does not let go of it in time."""
    make_directory(directory / "log")
    path = directory / "log" / "sealer.lock"
    handle = open_lock(path)
    try:
        until = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise VaultBusy(f"{path}: another sealer is at work; end it first") from None
                time.sleep(0.02)
        yield
    finally:
        os.close(handle)


# -- the child ----------------------------------------------------------------------------------


def main() -> None:
    """Seal what is asked on standard input until it ends."""
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # whatever a library prints must not be taken for an answer
    say = _Voice(answers).say
    told = sys.stdin.buffer.readline()
    if not told:
        return  # it was begun early, and nothing came of it
    setup = msgspec.json.decode(told, type=_Setup, dec_hook=_from_text)
    threading.Thread(target=_beat, args=(say, setup.beat), name="life", daemon=True).start()
    with contextlib.suppress(BrokenPipeError), contextlib.ExitStack() as until_the_end:
        try:
            until_the_end.enter_context(alone(setup.directory))
            sealer: Sealer | TocsinError = Sealer(
                setup.directory,
                KeyRing(setup.directory / "keys", _unpack(setup.source)),
                catalog=open_catalog(setup.catalog),
                epoch_seconds=setup.epoch_seconds,
            )
        except TocsinError as error:
            sealer = error  # the answer to whatever is asked
        for request in _requests():
            say(_encode(_serve(sealer, request)))


class _Voice:
    """What two threads say, one line at a time."""

    def __init__(self, pipe: FileIO) -> None:
        self._pipe = pipe
        self._lock = threading.Lock()

    def say(self, line: bytes) -> None:
        with self._lock:
            self._pipe.write(line + b"\n")


def _beat(say: Callable[[bytes], None], seconds: float) -> None:
    """Show signs of life, whatever the sealer is at."""
    with contextlib.suppress(OSError, ValueError):  # nobody listens any more
        while True:
            say(b"")
            time.sleep(seconds)


def _requests() -> Iterator[_Request]:
    """What is asked, until the end is.  An input that ends without it is a parent that died."""
    asked: queue.SimpleQueue[_Request] = queue.SimpleQueue()

    def listen() -> None:
        for line in sys.stdin.buffer:
            request = msgspec.json.decode(line, type=_Request, dec_hook=_from_text)
            asked.put(request)
            if request.verb == "end":
                return
        # The next owner waits for the lock: leave now, in the middle of whatever is being done.
        os._exit(ORPHANED)

    threading.Thread(target=listen, name="requests", daemon=True).start()
    while (request := asked.get()).verb != "end":
        yield request


def _serve(sealer: Sealer | TocsinError, request: _Request) -> _Answer:
    try:
        if isinstance(sealer, TocsinError):
            raise sealer
        value = _do(sealer, request)
    except (TocsinError, OSError) as error:
        kind = type(error).__name__ if isinstance(error, TocsinError) else "StorageFailed"
        return _Answer(error=kind, message=str(error))
    except Exception as error:  # noqa: BLE001  the root of a process: an answer, not its end
        # The asker recovers before anything else, as after every error.
        return _Answer(error="VaultError", message=f"{type(error).__name__}: {error}")
    key, sealer.first_epoch_key = sealer.first_epoch_key, None
    return _Answer(msgspec.Raw(_encode(value)), key.hex() if key else None)


def _do(sealer: Sealer, request: _Request) -> Any:
    match request.verb, request.job:
        case "recover", _:
            return sealer.recover()
        case "start", _:
            return sealer.start(request.boot)
        case "stop", _:
            return sealer.stop()
        case "seal", SealJob() as job:
            return sealer.seal(job)
        case "compact", _:
            return sealer.compact()
        case verb, _:
            raise errors.UsageError(f"the sealer does not know how to {verb!r}")


if __name__ == "__main__":
    main()
