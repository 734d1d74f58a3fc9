"""Getting batches to the receiver: what each answer means, and when to try again.

Nothing is given up before the receiver has it, or says that it never will take it.  A crash, or a
connection lost between sending and answer, leaves the batch where it is, to be sent again under the
same id.
"""

from __future__ import annotations

import logging
import random
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from tocsin.event.escape import visible
from tocsin.sdk.harmless import harmless
from tocsin.sdk.sending.outbox import Batch, Outbox
from tocsin.sdk.sending.spool import Spool
from tocsin.sdk.sending.tally import Tally

__all__ = ["Answer", "Patience", "Posting", "Shipper"]

log = logging.getLogger("tocsin")

_TOO_LARGE = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
_BAD_KEY = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
_LONGEST_ID = 160  # the receiver takes 200 characters; each cut or repair adds a few


class Answer(Struct, frozen=True):
    """What the receiver said."""

    status: int
    retry_after: float = 0.0  #: seconds it asks for
    taken: bool = False  #: it is a tocsin, and has the events
    line: int | None = None  #: the line that it did not take, from 1
    detail: str = ""


class Posting(Protocol):
    """Sends one packed body under a batch id.  Any exception: nobody knows what came of it."""

    def __call__(self, batch_id: str, body: bytes) -> Answer:
        """The receiver's answer."""
        ...


class Patience(Struct, frozen=True):
    """How long to wait, in seconds.  A pause doubles from ``first`` to ``longest``; full jitter."""

    first: float = 0.5
    longest: float = 30.0
    wrong_key: float = 60.0  #: between two tries of a key that was not accepted
    settle: float = 30.0  #: what has waited so long in an outage goes to disk
    hurried: float = 0.2  #: between two tries when somebody waits for the end of it
    look: float = 10.0  #: between two looks for what dead processes left
    tell: float = 60.0  #: between two lines in the host's log


class Shipper:
    """Takes batches out of *outbox* and *spool*, one at a time, until the receiver has them.

    ``step`` is called by one thread at a time; the rest may be read from anywhere.  Without *post*
    there is no receiver, and all goes to the spool.
    """

    def __init__(
        self,
        outbox: Outbox,
        spool: Spool,
        post: Posting | None,
        *,
        tally: Tally,
        name: str = "the receiver",
        patience: Patience | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._outbox, self._spool, self._post = outbox, spool, post
        self._tally, self._name = tally, name
        self._patience = patience or Patience()
        self._monotonic, self._jitter = monotonic, jitter
        self._stepping = threading.Lock()
        self._current: Batch | None = None  # what is being delivered
        self._parts: deque[Batch] = deque()  # what of it is still to be sent
        self._next_try = self._next_look = self._next_tell = float("-inf")
        self._last_try = float("-inf")
        self.failures = 0  #: in a row; 0: the last word of the receiver was good
        self.failed = 0  #: in all
        self.calling: float | None = None  #: since when we wait for an answer

    @property
    def works(self) -> bool:
        """Whether events get through, as far as we know."""
        return self._post is not None and not self.failures

    def step(self, *, hurry: bool = False) -> float:
        """Send one request, if there is something to send; return how long to sleep.

        In a *hurry* neither batches nor pauses are waited for.
        """
        if not self._stepping.acquire(blocking=False):
            return self._patience.first  # a farewell that found the thread still at it
        try:
            return self._step(hurry)
        finally:
            self._stepping.release()

    def settle(self, seconds: float) -> None:
        """Bring what has waited for so long to disk, since a process may end at any time.

        What is being sent meanwhile goes on; once it is delivered, its file goes too.
        """
        for batch in self._outbox.older(seconds):
            if not self._spool.keep(batch):
                break
            self._outbox.done(batch)

    def _step(self, hurry: bool) -> float:
        again = self._last_try + self._patience.hurried if hurry else self._next_try
        pause = min(self._next_try, again) - self._monotonic()
        if self._post is None or pause > 0:
            self.settle(self._patience.settle)
            return min(pause, self._patience.look) if pause > 0 else self._patience.look
        if not self._parts and not self._load(hurry):
            self._look()
            due = self._outbox.due()
            waits = self._spool.waiting or due == 0
            return 0.0 if waits else min(self._patience.look, due or self._patience.look)
        self._send(self._post, self._parts[0])
        return 0.0 if not self.failures else max(0.0, self._next_try - self._monotonic())

    def _load(self, hurry: bool) -> bool:
        """Have something to send.  Fresh events come first: somebody may be waiting for them."""
        batch = self._outbox.ready(hurry=hurry) or self._spool.next()
        if batch is None:
            return False
        self._current = batch
        self._parts = deque([batch])
        return True

    def _send(self, post: Posting, part: Batch) -> None:
        body = _packed(part.body())
        self.calling = self._monotonic()
        try:
            answer = post(part.id, body)
        except Exception as error:  # noqa: BLE001  whatever it is, the batch stays and comes again
            self._failed(f"{type(error).__name__}: {error}")
            return
        finally:
            self.calling = None
        self._heard(part, answer)

    def _heard(self, part: Batch, answer: Answer) -> None:
        """Act on the receiver's *answer* to *part*."""
        if answer.taken:
            self.failures = 0
            self._tally.sent += len(part.lines)
            self._became()
            return
        self._tally.refusals += 1
        lines = part.lines
        if answer.status == _TOO_LARGE:
            middle = len(lines) // 2
            if middle:
                self._became(_part(part, "0", 0, middle), _part(part, "1", middle, len(lines)))
            else:
                self._refused(1, answer)
                self._became()
        elif answer.status == HTTPStatus.BAD_REQUEST and 1 <= (answer.line or 0) <= len(lines):
            bad = (answer.line or 0) - 1
            self._refused(1, answer)
            self._became(_part(part, f"x{bad}", 0, len(lines), without=bad))
        elif answer.status == HTTPStatus.CONFLICT:  # the id was used for something else
            self._became(_part(part, "c", 0, len(lines)))
        elif answer.status in _BAD_KEY:
            self._failed(f"it does not accept the key ({answer.status})", self._patience.wrong_key)
        else:
            no_tocsin = 200 <= answer.status < 300
            why = "it does not answer like a tocsin" if no_tocsin else answer.detail
            self._failed(f"{answer.status} {why}", answer.retry_after)

    def _became(self, *parts: Batch) -> None:
        """Put *parts* in the place of the one that was sent."""
        self._parts.popleft()
        good = [part for part in parts if part.lines]
        for part in good:
            if len(part.id) > _LONGEST_ID:
                self._refused(len(part.lines), Answer(0, detail="it was cut too often"))
        self._parts.extendleft(part for part in reversed(good) if len(part.id) <= _LONGEST_ID)
        if not self._parts and self._current is not None:
            # A crash before this line leaves the batch to be sent again, and be recognised.
            self._outbox.done(self._current)
            self._spool.done(self._current)
            self._current = None

    def _refused(self, lines: int, answer: Answer) -> None:
        """The receiver will never take these."""
        self._tally.lose("refused", lines)
        self._tell("%s refused an event: %s %s", answer.status, answer.detail)

    def _failed(self, why: str, at_least: float = 0.0) -> None:
        """Try again later: after *at_least* seconds, and later each time."""
        patience = self._patience
        pause = min(patience.longest, patience.first * 2.0 ** min(self.failures, 30))
        self._next_try = self._monotonic() + at_least + pause * self._jitter()
        self._last_try = self._monotonic()
        self.failures += 1
        self.failed += 1
        self._tell("%s does not take events, they wait: %s", why)
        self.settle(self._patience.settle)

    def _look(self) -> None:
        now = self._monotonic()
        if now >= self._next_look:
            self._next_look = now + self._patience.look
            self._spool.adopt()

    def _tell(self, words: str, *about: object) -> None:
        """Say it in the host's log, unless something was said a while ago."""
        now = self._monotonic()
        if now < self._next_tell:
            return
        self._next_tell = now + self._patience.tell
        with harmless:
            log.warning("tocsin: " + words, self._name, *(visible(str(a))[:300] for a in about))


def _part(batch: Batch, name: str, start: int, end: int, *, without: int = -1) -> Batch:
    """Some lines of *batch*, under an id that is the same whenever they are cut out again."""
    lines = batch.lines[start:end]
    if without >= 0:
        lines = lines[:without] + lines[without + 1 :]
    return replace(batch, id=f"{batch.id}.{name}", lines=lines)


def _packed(body: bytes) -> bytes:
    packer = zlib.compressobj(1, wbits=31)
    return packer.compress(body) + packer.flush()
