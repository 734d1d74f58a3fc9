"""The request that is being served: who it is, and by which ids its events find each other."""

from __future__ import annotations

import itertools
import os
import secrets
from collections.abc import Callable, Mapping
from contextvars import ContextVar, Token
from enum import Enum
from typing import Any

from msgspec import Struct

from tocsin.sdk.harmless import harmless
from tocsin.sdk.plain import plain, text

__all__ = ["Context", "begin_anew", "current", "identify", "new_request_id"]

#: Characters of what somebody is known by, and of a session's id.
LONGEST = 256
LONGEST_SESSION = 8_192

_current: ContextVar[Context | None] = ContextVar("tocsin_request", default=None)


class Context(Struct, eq=False):
    """What is known of the request at hand while it is served.

    Adapters make one for each request and bind it for the time of serving; events made meanwhile
    (by ``tocsin.log``, the bridges, the database listeners) carry its ids.
    """

    request_id: str
    trace: str | None = None  #: of the caller's ``traceparent``, if there was one
    span_id: str | None = None  #: the caller's span, 16 hex digits
    user: str | None = None  #: these five as :func:`identify` was told
    role: str | None = None
    tenant: str | None = None
    session: str | None = None
    auth_method: str | None = None
    #: Whether somebody logged in, and who, as the framework tells.
    login: tuple[bool, str | None] | None = None
    more: dict[str, Any] | None = None  #: attributes for the request's event
    complaints: list[Any] | None = None  #: fields refused (``seen.Complaint``)
    #: The adapter's: columns of the request so far (``client_ip``, ``user_agent``, ``method``,
    #: ``path``, ``route`` ...), worked out only when an event is made meanwhile.  Must not hold
    #: on to more than ``Seen`` does.
    facts: Callable[[], Mapping[str, Any]] | None = None
    said: set[str] | None = None  #: kinds that the application told of itself meanwhile
    ending: list[Callable[[], object]] | None = []  #: see :meth:`at_end`; None: ended

    def __repr__(self) -> str:
        return object.__repr__(self)  # applications print their scope, and a session is a secret

    @property
    def trace_id(self) -> str:
        """W3C trace id, 32 hex digits: the caller's, or one of our own."""
        if self.trace is None:
            made = _new_trace_id()  # which lets another thread go on, that may need one as well
            if self.trace is None:
                self.trace = made
        return self.trace

    def bind(self) -> Token[Context | None]:
        """Make this the request at hand; give the token to :meth:`release`."""
        return _current.set(self)

    @staticmethod
    def release(token: Token[Context | None]) -> None:
        """The request is served.  In another context than it was bound in, nothing happens."""
        try:
            _current.reset(token)
        except ValueError:  # a generator's clean-up, or a server that runs the end elsewhere
            _current.set(None)

    def at_end(self, call: Callable[[], object]) -> bool:
        """Have *call* made when the request is served; False when it already is."""
        calls = self.ending
        if calls is None:
            return False
        calls.append(call)
        if self.ending is not None:
            return True
        try:
            calls.remove(call)  # it ended just now: either end() takes the call, or we do
        except ValueError:
            return True
        return False

    def end(self) -> None:
        """The request is served: make the calls that wait for it.  The adapter's last word."""
        calls, self.ending = self.ending, None
        while calls:
            with harmless:
                calls.pop(0)()


def current() -> Context | None:
    """The request at hand, if one is being served here."""
    return _current.get()


def identify(
    user: object = None,
    *,
    role: object = None,
    tenant: object = None,
    session: object = None,
    auth_method: object = None,
    **attributes: Any,
) -> None:
    """Say who the request at hand is from, as the application has accepted it.

    Call it where the application knows: in the login dependency, the decorator, the middleware.
    What is not given stays as it was.  Outside a request nothing happens.  Whatever is given
    (a number, a UUID, an enum) is copied as text; attributes, as JSON has them.
    *session* is a secret and leaves only as a keyed hash.
    """
    at_hand = _current.get()
    if at_hand is None:
        return
    with harmless:
        if user is not None:
            at_hand.user = _name(user)
        if role is not None:
            at_hand.role = _name(role)
        if tenant is not None:
            at_hand.tenant = _name(tenant)
        if session is not None:
            at_hand.session = _name(session, LONGEST_SESSION)
        if auth_method is not None:
            at_hand.auth_method = _name(auth_method)
        if attributes:
            at_hand.more = {**(at_hand.more or {}), **plain(attributes)}


def _name(value: Any, longest: int = LONGEST) -> str:
    """*value* as a text to be known by: of an enum its value, and no more than so long."""
    return text(value.value if isinstance(value, Enum) else value)[:longest]


_prefix = secrets.token_hex(8)
_count = itertools.count(1)

#: Trace ids that were made and not given yet: many at once, since one alone takes five times as
#: long.
_traces: list[str] = []
_TRACES = 64


def begin_anew() -> None:
    """A forked child must not go on with its parent's ids."""
    global _prefix, _count
    _prefix, _count = secrets.token_hex(8), itertools.count(1)
    _traces.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=begin_anew)


def new_request_id() -> str:
    """An id that no other request of any process has; cheap, and not meant to be a secret."""
    return f"{_prefix}-{next(_count):x}"


def _new_trace_id() -> str:
    """32 hex digits at random: an id, no secret."""
    try:
        return _traces.pop()
    except IndexError:
        many = os.urandom(16 * _TRACES).hex()
        _traces.extend(many[at : at + 32] for at in range(0, len(many), 32))
        return _new_trace_id()
