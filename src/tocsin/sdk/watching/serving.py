"""One request while it is served: what every adapter finds out about it, in whatever framework."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date
from decimal import Decimal
from typing import Any, Protocol
from urllib.parse import quote_from_bytes
from uuid import UUID

from tocsin.event.model import Event
from tocsin.sdk.context import Context, current
from tocsin.sdk.failures import failure_of
from tocsin.sdk.harmless import harmless
from tocsin.sdk.options import Options
from tocsin.sdk.refusals import complaints_of
from tocsin.sdk.seen import Failure, Seen

__all__ = [
    "Serving",
    "Taker",
    "at_hand",
    "is_farewell",
    "is_inspected",
    "note_failure",
    "percent_encoded",
    "plain",
    "sane",
]


class Taker(Protocol):
    """The client, as far as adapters know it."""

    options: Options

    def take(self, item: Seen | Event) -> None: ...

    def flush(self, timeout: float = 5.0) -> bool: ...


class Serving(Context, eq=False):
    """The request at hand, with what hooks inside the framework find out about it.

    It holds plain values only, since it outlives the request.
    """

    failure: Failure | None = None
    principal: Any = None
    route: str | None = None
    routed: bool | None = None
    params: Mapping[str, Any] = {}

    def goes_on(self, parent: str) -> None:
        """With the caller's trace, if *parent*, a ``traceparent``, is one to the letter."""
        if (found := _PARENT(parent)) is not None:
            self.trace, self.span_id = found.groups()

    def failed(self, error: BaseException, *, handled: bool = False) -> None:
        """Note *error*.  What nobody handled is never replaced by what somebody did.

        That the client went away is no failure.
        """
        if is_farewell(error):
            return
        if handled and self.failure is not None and not self.failure.handled:
            return
        found = complaints_of(error)
        self.failure = failure_of(error, handled=handled, refuses=bool(found))
        if found:
            self.complaints = self.complaints or found


def at_hand() -> Serving | None:
    """The request that is being served here, if an adapter of ours serves it."""
    context = current()
    return context if isinstance(context, Serving) else None


#: How frameworks tell an application that its client is gone, over a websocket in good order too.
_FAREWELLS = frozenset(
    """WebSocketDisconnect WebSocketDisconnected WebsocketDisconnect ClientDisconnect
    ClientDisconnected RequestAborted StopConsumer""".split()
)


def is_farewell(error: BaseException) -> bool:
    """Whether *error* says that the client is gone, be it in a task group's wrapping."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return not _FAREWELLS.isdisjoint([kind.__name__ for kind in type(error).__mro__])


def note_failure(error: BaseException, *, handled: bool) -> None:
    """To be called by hooks: the request at hand ran into *error*.  Never raises."""
    with harmless:
        serving = at_hand()
        if serving is not None:
            serving.failed(error, handled=handled)


#: A traceparent (W3C Trace Context, 3.2): a trace and a span, neither all zero.  Version 00 ends
#: with the flags; later ones may go on; ff is none.
_PARENT: Callable[[str], re.Match[str] | None] = re.compile(
    r"(?:00(?!.{54})|(?!00|ff)[0-9a-f]{2})"
    r"-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}(?:-.{0,200})?"
).fullmatch

#: A caller's request id that we go on with: visible ASCII, and not a book.
sane: Callable[[str], re.Match[str] | None] = re.compile(r"[\x21-\x7e]{1,128}").fullmatch


_INSPECTED = ("application/x-www-form-urlencoded", "multipart/", "text/")


def is_inspected(content_type: str) -> bool:
    """Whether a request body of this type is looked at however it begins."""
    kind = content_type[:128].lower()
    return "json" in kind or "xml" in kind or kind.startswith(_INSPECTED)


#: What stands in a path as it is; everything else is percent-encoded.
_SAFE = "/:@!$&'()*+,;=-._~%"


def percent_encoded(path: bytes, *, decoded: bool = False) -> str:
    """A path as it goes over the wire; *decoded*: a ``%`` in it is a percent sign.

    >>> percent_encoded("/café/100%".encode(), decoded=True)
    '/caf%C3%A9/100%25'
    >>> percent_encoded(b"/caf%C3%A9")
    '/caf%C3%A9'
    """
    return quote_from_bytes(path, _SAFE[:-1] if decoded else _SAFE)


_PLAIN = frozenset({str, int, float, bool, UUID, date, Decimal, type(None)})


def plain(params: Mapping[str, Any]) -> Mapping[str, Any]:
    """*params* as they are when all values are plain, else only those that are.

    A converter may make anything of a path parameter, rows of a database included.
    """
    for value in params.values():
        if type(value) not in _PLAIN:
            return {k: v for k, v in params.items() if type(v) in _PLAIN}
    return params
