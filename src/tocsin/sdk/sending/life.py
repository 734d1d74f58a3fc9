"""One life of the client: from its first event to the end of the process, or to a fork.

Two threads: one reads what the application left and writes it down, one sends.  Both are daemons,
so that they never hold up the end of the process; ``close`` gives them a bounded time instead.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from tocsin.sdk.harmless import harmless
from tocsin.sdk.options import Options
from tocsin.sdk.sending import drain
from tocsin.sdk.sending.drain import Drain, Out, Reading, Where
from tocsin.sdk.sending.inbox import Bell, Inbox
from tocsin.sdk.sending.tally import Tally

if TYPE_CHECKING:
    from tocsin.sdk.sending.mail import Mail
    from tocsin.sdk.sending.ship import Patience

__all__ = ["Life", "warm"]

#: Seconds between two looks into the inbox while things come in; then it sleeps until it is woken.
_POLL, _AWAKE = 0.05, 1.0

#: Seconds between two looks whether a flush is done.
_WATCH = 0.002

#: Seconds until a thread that could not be started, or has ended, is started again.
_AGAIN = 1.0

#: A call that takes this many times what the receiver is given to answer is ended.
_TOO_LONG = 3

_READER, _SENDER = "tocsin-reader", "tocsin-sender"


def warm(options: Options) -> None:
    """Import what is needed later, now: an import that a fork interrupts hangs in the child."""
    if options.url is None:
        from tocsin.sdk.sending import lines as _lines  # noqa: F401  # pyright: ignore[reportUnusedImport]
    else:
        from tocsin.sdk.sending import mail as _mail  # noqa: F401  # pyright: ignore[reportUnusedImport]

        "tocsin".encode("idna")  # what looking up a host name imports


class Life:
    """Everything that a forked child must have anew.

    *began* is called once its threads run.  Only ``close`` and ``flush`` wait for anything.
    """

    def __init__(
        self,
        options: Options,
        reader: Reading,
        *,
        out: Out | None = None,
        clock: Callable[[], int] = time.time_ns,
        patience: Patience | None = None,
        began: Callable[[], None] = lambda: None,
    ) -> None:
        self.boot = os.urandom(8).hex()
        self.tally = Tally()
        self.inbox = Inbox(self._wake)
        self._options, self._began = options, began
        self._read_bell, self._send_bell = Bell(), Bell()
        self._threads: dict[str, threading.Thread] = {}
        self._starting = threading.Lock()
        self._next_start = float("-inf")
        self._hurry = 0  # how many wait for everything to be sent
        self._closing = self._ended = False
        self._mail = _mail(options, self, patience) if out is None and options.url else None
        self._out: Out = out or self._mail or _lines(options, self.tally)
        where = Where(self.boot, _host(), options.service, options.env)
        self._drain = Drain(self.inbox, self._out, reader, options, where, self.tally, now=clock)

    @property
    def bell(self) -> Bell:
        """Wakes who sends."""
        return self._send_bell

    @property
    def runs(self) -> bool:
        """Whether its threads were started."""
        return bool(self._threads)

    def start(self) -> None:
        """Have the threads run, if they do not.  Never waits: who comes second lets it be."""
        if self._closing or not self._starting.acquire(blocking=False):
            return
        try:
            if time.monotonic() >= self._next_start:
                self._next_start = time.monotonic() + _AGAIN
                self._start()
        finally:
            self._starting.release()

    def flush(self, seconds: float) -> bool:
        """Have all that was taken so far sent, or else on disk; whether that was done in time.

        When the receiver does not take it, the spool is not kept waiting for the time to run out.
        """
        if threading.current_thread() in self._threads.values():
            return False  # a hook that waits for its own thread
        end = time.monotonic() + max(0.0, seconds)
        failed = self._mail.shipper.failed if self._mail else 0
        self._hurry += 1
        try:
            self._read_bell.ring()
            self._send_bell.ring()
            while not self._is_settled():
                late = time.monotonic() >= end
                if self._mail is not None and (late or self._mail.shipper.failed != failed):
                    failed = self._mail.shipper.failed
                    self._aside()
                if late:
                    return self._is_settled()
                self._help()
                time.sleep(_WATCH)
            return True
        finally:
            self._hurry -= 1

    def close(self, seconds: float) -> None:
        """Say the last word, send what is left for so many seconds, and the rest to the spool."""
        if self._closing:
            return
        end = time.monotonic() + max(0.0, seconds)
        self.inbox.room = 0
        self._closing = True
        if self._threads or len(self.inbox):
            self._read_bell.ring()
            self._join(_READER, end)
            if _READER not in self._threads:
                self._last_words()
            self.flush(end - time.monotonic())
        self._ended = True
        self._send_bell.ring()
        self._join(_SENDER, end)
        if _SENDER not in self._threads:
            self._out.close()  # else it does so itself, when its last call is over

    def abandon(self) -> None:
        """In a forked child, of the parent's life: give back the descriptors, touch no lock."""
        self._closing = self._ended = True
        self.inbox.room = 0
        self._out.abandon()

    # Waking and starting; in the application's threads.

    def _wake(self) -> None:
        if self._threads:
            self.inbox.asleep = False
            self._read_bell.ring()
        else:
            self.start()

    def _start(self) -> None:
        loops = {_READER: self._read_on}
        if self._mail is not None:
            loops[_SENDER] = self._send_on
        first = not self._threads
        for name, loop in loops.items():
            if name in self._threads and self._threads[name].is_alive():
                continue
            self._threads[name] = threading.Thread(target=loop, name=name, daemon=True)
            try:
                self._threads[name].start()
            except RuntimeError as error:  # no more threads, or the interpreter is ending
                del self._threads[name]
                harmless.mishap(error)
        if first and self._threads:
            self._began()

    def _join(self, name: str, end: float) -> None:
        thread = self._threads.get(name)
        if thread is not None:
            thread.join(max(0.0, end - time.monotonic()))

    # The two threads.

    def _read_on(self) -> None:
        awake_until = time.monotonic() + _AWAKE
        self.inbox.asleep = False
        with _Anything():
            self._drain.started()
        while not self._closing:
            taken, more, due = self.tally.taken, False, _POLL
            with _Anything():
                more = self._drain.turn(hurry=bool(self._hurry))
                due = self._drain.tick()
                self._watch()
            self.tally.cpu["reader"] = time.thread_time()
            now = time.monotonic()
            if self.tally.taken != taken:
                awake_until = now + _AWAKE
            if more:
                time.sleep(drain.pause(len(self.inbox)))
            elif now < awake_until:
                self._read_bell.wait(_POLL)
            else:
                self._sleep(due)
        self._last_words()

    def _sleep(self, seconds: float) -> None:
        """Until something is put into the inbox."""
        self.inbox.asleep = True
        if not len(self.inbox) and not self._closing:
            self._read_bell.wait(seconds)
        self.inbox.asleep = False

    def _last_words(self) -> None:
        self.inbox.room = 0  # whatever else made it larger just now
        for step in (lambda: self._drain.turn(hurry=True), self._drain.confess, self._drain.ended):
            with _Anything():
                step()

    def _send_on(self) -> None:
        assert self._mail is not None
        shipper = self._mail.shipper
        while not self._ended:
            pause = _AGAIN
            with _Anything():
                pause = shipper.step(hurry=bool(self._hurry))
            self.tally.cpu["sender"] = time.thread_time()
            if pause > 0:
                self._send_bell.wait(pause)
        self._mail.close()

    def _watch(self) -> None:
        """Have the other thread run, and end a call of it that trickles on for ever."""
        if self._mail is None:
            return
        since = self._mail.shipper.calling
        if since is not None and time.monotonic() - since > _TOO_LONG * self._options.timeout:
            self._mail.hang_up()
        if _SENDER not in self._threads or not self._threads[_SENDER].is_alive():
            self.start()

    # Waiting for the end.

    def _is_settled(self) -> bool:
        return not len(self.inbox) and not self._drain.busy and not self._out.waiting

    def _help(self) -> None:
        """Where a thread does not run (any more), do its work here."""
        alive = {name for name, thread in self._threads.items() if thread.is_alive()}
        with _Anything():
            if _READER not in alive:
                self._drain.turn(hurry=True)
            if self._mail is not None and _SENDER not in alive:
                self._mail.shipper.step(hurry=True)

    def write_down(self) -> None:
        """Where no thread may run: write as lines, or bring to disk, what was taken so far."""
        for step in (lambda: self._drain.turn(hurry=True), self._aside):
            with _Anything():
                step()

    def _aside(self) -> None:
        """Bring to disk what is read, if all is."""
        if self._mail is not None and not len(self.inbox) and not self._drain.busy:
            self._mail.shipper.settle(0.0)


class _Anything:
    """A thread goes on whatever happens in a step: even if a hook wants to exit."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if error is not None:
            harmless.mishap(error)
        return True


def _mail(options: Options, life: Life, patience: Patience | None) -> Mail:
    from tocsin.sdk.sending.mail import Mail

    return Mail(options, life.boot, life.tally, life.bell, patience)


def _lines(options: Options, tally: Tally) -> Out:
    from tocsin.sdk.sending.lines import Lines

    return Lines(options.output, options.format, tally)


def _host() -> str | None:
    try:
        return os.uname().nodename or None
    except (AttributeError, OSError):
        return None
