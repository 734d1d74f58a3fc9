"""One request and its answer while they go by, whatever the server speaks."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from operator import itemgetter
from time import perf_counter_ns, time_ns
from typing import Any

from tocsin.sdk.context import Context
from tocsin.sdk.harmless import harmless
from tocsin.sdk.options import Options
from tocsin.sdk.reading.headers import Proxies, read
from tocsin.sdk.seen import Pairs, Seen
from tocsin.sdk.watching.serving import Serving, Taker, is_farewell

__all__ = ["Exchange", "Watching", "name_of"]

#: Sets of names of an answer's headers that are remembered, and characters of one.
_MOST_SETS = 256
_LONGEST_SET = 4_096

#: Of a header line its name.
name_of = itemgetter(0)


class Watching:
    """What all requests of one watched application are handled with."""

    def __init__(self, client: Callable[[], Taker], service: str | None = None) -> None:
        """*client* is asked anew for each request, since there may be another one by then."""
        options: Options = client().options
        self.client = client
        self.service = service
        self.header = options.request_id_header.lower()
        self.header_bytes = self.header.encode("latin-1")
        #: names of request headers that are looked at before the application gets the request
        self.wanted = frozenset({self.header_bytes, b"traceparent", b"content-type"})
        self.key = f"HTTP_{self.header.upper().replace('-', '_')}"
        self.returned = options.return_request_id and bool(self.header)
        self.limit = options.inspect_bytes if options.inspect else 0
        self.proxies = Proxies(options.trusted_proxies)
        self.most = max(65_536, 2 * self.limit)  #: a longer chunk is cut rather than kept alive
        self._known: dict[tuple[Any, ...], tuple[int, bool]] = {}

    def lines(self, headers: Any) -> tuple[int, bool]:
        """Which of an answer's *headers* is its type, the last of several, or -1; and whether there
        is a request id already.

        An application has few sets of names; each is looked at once.
        """
        names = tuple(map(name_of, headers))
        found = self._known.get(names)
        if found is None:
            plain = [one.decode("latin-1") if isinstance(one, bytes) else one for one in names]
            plain = [one.lower() for one in plain]
            at = max((n for n, one in enumerate(plain) if one == "content-type"), default=-1)
            found = (at, self.header in plain)
            if len(self._known) < _MOST_SETS and sum(map(len, names)) <= _LONGEST_SET:
                self._known[names] = found
        return found


class Exchange:
    """What was seen so far.  Adapters make one for each request, and fill it in.

    Parts of bodies are kept by reference; what could still change is copied, and of what is large a
    piece, so that it does not stay.
    """

    __slots__ = (
        "began",
        "body_in",
        "body_out",
        "bytes_in",
        "bytes_out",
        "cut_in",
        "cut_out",
        "ended",
        "gone",
        "looks_in",
        "looks_out",
        "out_headers",
        "serving",
        "started",
        "status",
        "token",
        "unsure",
        "watching",
    )

    serving: Serving
    headers: Pairs
    path: str

    def __init__(self, watching: Watching) -> None:
        self.began = time_ns()
        self.started = perf_counter_ns()
        self.ended = 0
        self.watching = watching
        self.token: Any = None  #: of having bound ``serving``
        self.status = self.bytes_in = self.bytes_out = 0
        self.out_headers: Any = ()
        #: Whether the body is noted, and whether only if it begins as JSON does, since what it is
        #: called does not tell: adapters say so once they know the type.
        self.looks_in, self.unsure = watching.limit > 0, True
        self.looks_out = self.cut_in = self.cut_out = self.gone = False
        self.body_in: list[bytes] | tuple[()] = ()
        self.body_out: list[bytes] | tuple[()] = ()

    def read(self, part: bytes) -> None:
        """The application got *part* of the body, which is not empty."""
        self.bytes_in += len(part)
        if self.looks_in:
            watching = self.watching
            if self.unsure:
                if _JSON(part[:64]) is None:
                    self.looks_in = False
                    return
                self.unsure = False
            kept = part
            if type(part) is not bytes or len(part) > watching.most:
                kept = bytes(part[: watching.limit])
                self.cut_in = len(kept) < len(part)
            self.body_in = [*self.body_in, kept]
            self.looks_in = self.bytes_in < watching.limit
        elif self.body_in:
            self.cut_in = True

    def sent(self, part: bytes) -> None:
        """The server got *part* of the answer, which is not empty."""
        self.bytes_out += len(part)
        if self.looks_out:
            watching = self.watching
            kept = part
            if type(part) is not bytes or len(part) > watching.most:
                kept = bytes(part[: watching.limit])
                self.cut_out = len(kept) < len(part)
            self.body_out = [*self.body_out, kept]
            self.looks_out = self.bytes_out < watching.limit
        elif self.body_out:
            self.cut_out = True

    def failed(self, error: BaseException) -> None:
        """The application let *error* out.  Being cancelled is how it learns that nobody waits."""
        try:
            if type(error).__name__ in _CANCELLED or is_farewell(error):
                self.gone = not self.ended
            elif not (self.gone and isinstance(error, OSError)):
                self.serving.failed(error)
        except Exception as mistake:  # noqa: BLE001  the app must not feel it
            harmless.mishap(mistake)

    def done(self) -> None:
        """Hand over what was seen; the request is no longer at hand.  Never raises."""
        try:
            self.watching.client().take(self.seen())
        except Exception as error:  # noqa: BLE001  the app must not feel it
            harmless.mishap(error)
        serving = self.serving
        serving.end()
        serving.facts = None  # it would keep us alive, and the application's scope with us
        if self.token is not None:
            Context.release(self.token)

    def facts(self) -> Mapping[str, Any]:
        """What is known of the request so far, for events that are made meanwhile."""
        self.look()
        found = read(self.headers)
        at, port = self.peer() or (None, None)
        client = self.watching.proxies.client(at, found)
        told = self.serving.principal
        user, role, tenant = told if isinstance(told, tuple) else (told, None, None)
        return {
            "user": user,
            "role": role,
            "tenant": tenant,
            "client_ip": client,
            "client_port": port if client == at else None,
            "user_agent": found.get("user-agent"),
            "authority": found.get("host"),
            "method": self.method(),
            "path": self.on_the_wire(),
            "route": self.serving.route,
            "service": self.watching.service,
        }

    def look(self) -> None:
        """Find out the route, if it is known by now."""

    def on_the_wire(self) -> str:
        """The path as the client sent it, as far as the server tells."""
        return self.path

    def method(self) -> str:
        raise NotImplementedError

    def peer(self) -> tuple[str, int] | None:
        raise NotImplementedError

    def seen(self) -> Seen:
        raise NotImplementedError


#: How JSON that matters begins, in any encoding; what is only white space so far may.
_JSON = re.compile(rb"(?:\xef\xbb\xbf|\xff\xfe|(?:\0\0)?\xfe\xff)?[\0 \t\r\n]*+(?:[{\[]|\Z)").match

#: How asyncio, trio and the interpreter say that the rest is not wanted any more.
_CANCELLED = frozenset({"CancelledError", "Cancelled", "GeneratorExit"})
