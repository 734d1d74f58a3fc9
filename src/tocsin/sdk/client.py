"""The client: takes what happened from any thread, and never holds anybody up.

``take`` is all that an application pays for on its own time.  A forked child begins anew: with a
boot, an inbox and threads of its own, while the parent keeps what it had.

There is one client in a process, ``the_client``; its options come from the environment, or from
``configure``.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tocsin.errors import SettingsError
from tocsin.event.model import Event
from tocsin.sdk import context
from tocsin.sdk.harmless import harmless
from tocsin.sdk.options import Options, read_options
from tocsin.sdk.seen import Seen
from tocsin.sdk.sending.drain import Out, Reading
from tocsin.sdk.sending.inbox import MOST, Item
from tocsin.sdk.sending.life import Life, warm

if TYPE_CHECKING:
    from tocsin.sdk.sending.ship import Patience

__all__ = ["Client", "at_once", "configure", "flush", "made_by", "reset", "the_client", "use"]

log = logging.getLogger("tocsin")


class Client:
    """Records what it is given.  Every method may be called from any thread; none raises.

    *reader* makes events of what was seen.  *out*, *clock* (ns since 1970) and *patience* are for
    who wants another end, another time, or less of it.
    """

    def __init__(
        self,
        options: Options,
        reader: Reading,
        *,
        out: Out | None = None,
        clock: Callable[[], int] = time.time_ns,
        patience: Patience | None = None,
    ) -> None:
        self.options = options
        self._reader, self._out, self._clock, self._patience = reader, out, clock, patience
        self._off = out is None and options.url is None and options.output == "off"
        self._registered = False
        if out is None and not self._off:
            warm(options)
        self._life = self._new_life()
        _clients.add(self)
        if "uwsgi" in sys.modules:
            _uwsgi.heed()
            self.take = self._take_under_uwsgi  # type: ignore[method-assign]

    def take(self, item: Item) -> None:
        """Record *item*: well under a microsecond, no lock, no wait, no exception."""
        if self._off:
            return
        try:
            self._life.inbox.put(item)
        except Exception as error:  # noqa: BLE001  the guest's first rule
            harmless.mishap(error)

    def _take_under_uwsgi(self, item: Item) -> None:
        """The same where forks go unnoticed, and no thread may run before them."""
        with harmless:
            if _uwsgi.is_worker():
                Client.take(self, item)
                if not self._life.runs:  # it did not begin in the master, which is this process
                    self._life.start()
            else:
                self._life.inbox.asleep = False  # nobody is to be woken
                Client.take(self, item)
                self._life.write_down()

    def start(self) -> None:
        """Begin at once, not with the first event: the receiver then hears that we are there."""
        with harmless:
            if not self._off and ("uwsgi" not in sys.modules or _uwsgi.is_worker()):
                self._life.start()

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait until all that was taken so far is sent or, if need be, spooled.

        True when it is.  It blocks: in an event loop, call it in a thread.
        """
        with harmless:
            return self._off or self._life.flush(timeout)
        return False

    def close(self) -> None:
        """Say goodbye and send what is left, for ``farewell`` seconds; the rest goes to the spool.

        What is taken afterwards is lost.
        """
        with harmless:
            self._life.close(self.options.farewell)
            atexit.unregister(self.close)

    @property
    def boot(self) -> str:
        """Random name of this life: another one in each process."""
        return self._life.boot

    def begin_anew(self) -> None:
        """In a forked child: leave everything to the parent, and start from nothing."""
        parents, self._life = self._life, self._new_life()
        parents.abandon()

    def _new_life(self) -> Life:
        return Life(
            self.options,
            self._reader,
            out=self._out,
            clock=self._clock,
            patience=self._patience,
            began=self._see_to_the_end,
        )

    def _see_to_the_end(self) -> None:
        """Have ``close`` called when this process ends, in whatever way it ends."""
        if not self._registered:  # a forked child inherits the registration
            self._registered = True
            atexit.register(self.close)
        workers = sys.modules.get("multiprocessing.util")
        if workers is not None and sys.modules["multiprocessing.process"].parent_process():
            # A worker of multiprocessing leaves without atexit, but not without these.
            workers.Finalize(None, self.close, exitpriority=0)


class _Uwsgi:
    """uWSGI loads an application in its master, and forks without telling Python.

    A thread that holds the interpreter just then holds it in each worker for ever; and a worker
    takes the threads that its master had for its own.
    """

    def __init__(self) -> None:
        self._pid = 0

    def heed(self) -> None:
        """Be told of forks by its hook, and say so if it runs no threads."""
        if self._pid:
            return
        self._pid = os.getpid()
        with harmless:
            server: Any = sys.modules["uwsgi"]
            before = getattr(server, "post_fork_hook", None)

            def forked() -> None:
                with harmless:
                    self._look()
                if before is not None:
                    before()

            server.post_fork_hook = forked
            if not {"enable-threads", "threads"} & set(server.opt):
                log.warning(
                    "tocsin: uWSGI runs no threads of Python; without --enable-threads what is "
                    "recorded is sent only when a worker ends"
                )

    def is_worker(self) -> bool:
        """Whether this process serves, so that nothing forks any more."""
        self._look()
        return bool(sys.modules["uwsgi"].worker_id())

    def _look(self) -> None:
        """Begin anew if this is another process by now: not each fork comes to the hook."""
        pid = os.getpid()
        if pid != self._pid:
            self._pid = pid
            harmless.begin_anew()
            context.begin_anew()
            _begin_anew()


_uwsgi = _Uwsgi()


class _Nobody:
    """The reader of a client that takes nothing."""

    def read(self, seen: Seen) -> list[Event]:  # noqa: ARG002  the name is the call
        """Nothing."""
        return []

    def finish(self, event: Event) -> Event:
        """Nothing to do."""
        return event


def _made(options: Options) -> Client:
    from tocsin.sdk.reading.reader import (
        Reader,  # it needs much that a client with a reader does not
    )

    return Client(options, Reader(options))


class _TheOne:
    """The one client of this process, and the options that were given for it."""

    def __init__(self) -> None:
        self.client: Client | None = None
        self.given: dict[str, Any] = {}
        self.make: Callable[[Options], Client] = _made
        self.lock = threading.RLock()


_the = _TheOne()

#: Every client of this process, for the sake of its children.
_clients: weakref.WeakSet[Client] = weakref.WeakSet()


def the_client() -> Client:
    """The one client, made from the environment if nobody has configured it yet.  Never raises."""
    client = _the.client
    if client is not None:
        return client
    with _the.lock:
        if _the.client is None:
            try:
                made = _the.make(read_options(_the.given, _sound(os.environ)))
            except Exception as error:  # noqa: BLE001  who asks may be serving a request
                harmless.mishap(error)
                made = Client(Options(output="off"), _Nobody())
            _the.client = made
            _waiting.go_to(made)
        return _the.client


def at_once() -> Client | _Waiting:
    """The one client; or, while it is being made beside us, where things wait for it meanwhile.

    To make one takes a tenth of a second, most of it for imports, and who says something is
    serving a request.
    """
    client = _the.client
    return client if client is not None else _waiting


class _Waiting:
    """Takes what is said before there is a client, and has one made by a thread of our own."""

    def __init__(self) -> None:
        self._items: deque[Item] = deque()
        self._overflowed = 0
        self._thread: threading.Thread | None = None
        self._registered = False

    def take(self, item: Item) -> None:
        """Record *item*, as soon as there is somebody who does."""
        if len(self._items) >= MOST:
            self._overflowed += 1
        else:
            self._items.append(item)
        with harmless:
            self.start()
            if (client := _the.client) is not None:  # it was made just now
                self.go_to(client)

    def start(self) -> None:
        """Have the client made."""
        thread = self._thread
        if thread is not None and thread.is_alive():
            return
        self._thread = threading.Thread(target=the_client, name="tocsin-maker", daemon=True)
        try:
            if "uwsgi" in sys.modules and not _uwsgi.is_worker():
                raise RuntimeError("no threads before uWSGI has forked")
            self._thread.start()
        except RuntimeError:  # no more threads, or the interpreter is ending
            self._thread = None
            the_client()
        if not self._registered:
            self._registered = True
            atexit.register(self._end)

    def go_to(self, client: Client) -> None:
        """Hand over what waits."""
        lost, self._overflowed = self._overflowed, 0
        client._life.inbox.overflowed += lost
        while True:
            try:
                client.take(self._items.popleft())
            except IndexError:
                return

    def settle(self) -> None:
        """Before a fork: an import that it interrupts would never end in the child."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(_LONGEST_IMPORT)

    def abandon(self) -> None:
        """In a forked child: what waits is the parent's."""
        self._items.clear()
        self._overflowed = 0
        self._thread = None

    def _end(self) -> None:
        if self._items:
            the_client().close()


_waiting = _Waiting()

#: Seconds for which a fork waits until the client is made.
_LONGEST_IMPORT = 5.0


def configure(**given: Any) -> Client:
    """Give the one client these options; those given earlier, and the environment's, remain.

    SettingsError names an option that is unknown or makes no sense.  What a client with other
    options had taken is sent first.
    """
    from tocsin.sdk.checks import checked

    with _the.lock:
        asked = {**_the.given, **given}
        options = checked(read_options(asked, _sound(os.environ)), asked)
        before = _the.client
        _the.given = asked
        if before is not None and before.options == options:
            return before
        _the.client = _the.make(options)
        _waiting.go_to(_the.client)
    if before is not None:
        before.close()
    return _the.client


def flush(timeout: float = 5.0) -> bool:
    """Wait until all that was recorded so far is sent or, if need be, on disk; True when it is.

    It blocks for *timeout* seconds at most: in an event loop, call it in a thread.
    """
    return the_client().flush(timeout)


def use(client: Client | None) -> Client | None:
    """Have *client* be the one, and return the one before; None: made anew when it is needed."""
    with _the.lock:
        before, _the.client = _the.client, client
        return before


@contextmanager
def made_by(make: Callable[[Options], Client]) -> Generator[None]:
    """Have the one client made by *make* meanwhile, also if it is configured meanwhile.

    Afterwards it is the one before; or another, if it was configured.
    """
    with _the.lock:
        before, given, usual = the_client(), _the.given, _the.make
        _the.client, _the.make = make(before.options), make
    try:
        yield
    finally:
        with _the.lock:
            ours, _the.make = _the.client, usual
            _the.client = before if _the.given == given else None
        for done in (ours, None if _the.client is before else before):
            if done is not None:
                done.close()


def reset() -> None:
    """Close the one client and forget its options.  For tests."""
    before = use(None)
    _the.given = {}
    if before is not None:
        before.close()


def _sound(environment: Mapping[str, str]) -> dict[str, str]:
    """*environment* without the variables that are wrong: these must not stop an application."""
    from tocsin.sdk.checks import checked

    sound = dict(environment)
    for name in Options.__struct_fields__:
        variable = f"TOCSIN_{name.upper()}"
        if variable not in environment:
            continue
        try:
            checked(read_options({}, {variable: environment[variable]}), [name])
        except SettingsError as error:
            del sound[variable]
            with harmless:
                log.warning("tocsin goes on with the default: %s", error)
    with harmless:
        _tell_of_typos(environment)
    return sound


def _tell_of_typos(environment: Mapping[str, str]) -> None:
    """Say which variables are none, and all but one: the server has some of its own."""
    known = [f"TOCSIN_{name.upper()}" for name in Options.__struct_fields__]
    for variable in environment:
        if variable.startswith("TOCSIN_") and variable not in known:
            from difflib import get_close_matches

            for meant in get_close_matches(variable, known, 1, 0.91):
                log.warning("tocsin: %s is no option; is %s meant?", variable, meant)


def _begin_anew() -> None:
    _the.lock = threading.RLock()
    _waiting.abandon()
    for client in list(_clients):
        with harmless:
            client.begin_anew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_waiting.settle, after_in_child=_begin_anew)
