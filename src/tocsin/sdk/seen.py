"""What the request path hands over: plain values, copied on the spot, to be understood later.

The app's own thread only copies references to immutable values; everything that costs time
(decoding, redaction, encoding) is done by the SDK's thread.  Nothing here keeps a scope, a request,
an exception or a frame alive.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from tocsin.sdk.context import Context
from tocsin.sdk.refusals import Complaint

__all__ = ["Complaint", "Failure", "Pairs", "Seen"]

#: Header lines as the server gave them: ASGI's lower-case bytes, or WSGI's ``HTTP_X_Y`` texts.
Pairs = Sequence[tuple[bytes, bytes]] | Sequence[tuple[str, str]]


class Failure(Struct, frozen=True, gc=False):
    """An exception, copied: its class, its words, where it came from."""

    type: str  #: qualified name: ``app.errors.NotYours``
    message: str  #: not redacted yet
    stack: str  #: frames as ``file:line function``, no source lines, no values
    handled: bool = False  #: the framework made an answer of it


class Seen(Struct):
    """One request, as it went by.  Written by an adapter, read once by the SDK's thread.

    Adapters make it by position: by 27 keywords it takes six times as long, which is more than all
    the rest of the request path.
    """

    began: int  #: wall clock, ns
    duration_ns: int
    context: Context
    method: str
    scheme: str
    path: str  #: as on the wire where the server tells it, else as decoded, percent-encoded again
    service: str | None = None  #: as the watch was told; None: the client's own
    query: bytes = b""
    http_version: str = ""
    peer: tuple[str, int] | None = None  #: who is at the other end of the connection
    headers: Pairs = ()
    status: int = 0  #: 0: no answer was begun
    out_headers: Pairs = ()
    bytes_in: int = 0
    bytes_out: int = 0
    body_in: Sequence[bytes] = ()  #: first parts of a JSON or form body, when they are looked at
    body_out: Sequence[bytes] = ()  #: first parts of a JSON answer, when they are looked at
    cut_in: bool = False  #: the body went on after what ``body_in`` holds
    cut_out: bool = False
    gone: bool = False  #: the client went away before the answer was complete
    route: str | None = None  #: template; None when no route matched, or nobody knows
    routed: bool | None = None  #: whether a route matched; None: the framework does not tell
    params: Mapping[str, Any] = {}  #: path parameters by name
    failure: Failure | None = None
    complaints: Sequence[Complaint] = ()
    user: Any = None  #: what the framework says the principal is: text, or (text, role, tenant)
