"""Which requests are logins, and what came of them, whatever the status says.

A login is known by its shape: somebody's name and a secret go in, and on some occasions a token or
a cookie comes out.  A sign-up has the shape too and gives nothing, or has two secrets; so a route
becomes a login when it was seen to give something, when its name says so, or when it refuses with
the words of a login.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

from msgspec import Struct

from tocsin.sdk.reading.tokens import Recent
from tocsin.sdk.reading.verdicts import Verdict
from tocsin.sdk.reading.words import (
    CODES,
    IDENTITIES,
    LOGIN_ROUTE,
    OTHER_ROUTE,
    SECOND_SECRETS,
    SECRETS,
    SESSION_COOKIE,
    TOKENS,
    folded,
)

__all__ = ["Given", "Login", "Logins", "given"]

#: Accounts, and routes, that are remembered.
MOST_ACCOUNTS = 10_000
MOST_ROUTES = 1_000
#: Secrets of one account that are remembered, to tell a new guess from an old mistake.
SECRETS_KEPT = 8

_LOGIN_REASONS = frozenset({"bad_credentials", "unknown_user", "locked"})


class Given(Struct, frozen=True, gc=False):
    """What a request brings to log in with."""

    identity: str | None
    secret: str
    code: bool  #: the secret is a code that was sent
    sign_up: bool  #: there are two secrets, or more about a person than a login needs


class Login(Struct, frozen=True):
    """An attempt to log in."""

    success: bool
    account: str | None
    new_secret: bool | None  #: of a failure: this secret was not tried for the account just before
    tokens: tuple[str, ...] = ()  #: what it gave: in memory only
    names: tuple[str, ...] = ()  #: other names of the account, as the answer tells
    retries: int = 0  #: failures of the account before this success
    code: bool = False


class _Route:
    """What is known of one route."""

    __slots__ = ("failures", "gave")

    def __init__(self) -> None:
        self.gave = 0  # how often it gave a token or a cookie
        self.failures = 0


def given(asked: Any) -> Given | None:
    """The name and the secret in a request, at its top or one level down."""
    if type(asked) is not dict:
        return None
    found = _given(asked)
    if found is None:
        for inner in asked.values():
            if type(inner) is dict and (found := _given(inner)) is not None:
                break
    return found


def _given(asked: Mapping[str, Any]) -> Given | None:
    keys = {folded(k): k for k in asked if type(k) is str}
    secret = next((asked[keys[n]] for n in SECRETS if n in keys), None)
    code = None
    if not isinstance(secret, str) or not secret:
        code = next((asked[keys[n]] for n in CODES if n in keys), None)
        secret = str(code) if isinstance(code, (str, int)) and not isinstance(code, bool) else None
    if not secret:
        return None
    identity = next((asked[keys[n]] for n in IDENTITIES if n in keys), None)
    if isinstance(identity, bool) or not isinstance(identity, (str, int)):
        identity = None
    return Given(
        str(identity)[:256] if identity is not None else None,
        secret[:1024],
        code is not None,
        any(n in keys for n in SECOND_SECRETS) or ("email" in keys and "username" in keys),
    )


class Logins:
    """Knows the logins of one application, and the last secrets of each account."""

    def __init__(self) -> None:
        self._routes: Recent = Recent(MOST_ROUTES)
        self._accounts: Recent = Recent(MOST_ACCOUNTS)  # account: [failures, hashes of secrets]
        self._key = secrets.token_bytes(32)  # of this process: nothing hashed with it leaves

    def judge(
        self,
        route: str,
        method: str,
        brought: Given,
        verdict: Verdict,
        answer: Any,
        set_cookie: str,
    ) -> Login | None:
        """What came of a request that has the shape of a login; None when it is none."""
        known = self._routes.get(route)
        if known is None:
            known = _Route()
            self._routes.put(route, known)
        failed = verdict.outcome == "failure"
        gave = () if failed else _gave(answer, set_cookie)
        known.gave += bool(gave)
        if not self._is_login(route, method, brought, verdict, known, bool(gave)):
            return None
        account = brought.identity.strip().lower() if brought.identity else None
        if failed:
            known.failures += 1
            return Login(
                False, brought.identity, self._new(account, brought.secret), code=brought.code
            )
        names = _names(answer)
        return Login(True, brought.identity, None, gave, names, self._forget(account), brought.code)

    def _is_login(
        self, route: str, method: str, brought: Given, verdict: Verdict, known: _Route, gave: bool
    ) -> bool:
        if method not in ("POST", "PUT", "GET") or (method == "GET" and not known.gave):
            return False
        if OTHER_ROUTE.search(route):
            return False
        if LOGIN_ROUTE.search(route):
            return True
        if brought.sign_up:
            return False
        return bool(known.gave or gave or verdict.reason in _LOGIN_REASONS)

    def _new(self, account: str | None, secret: str) -> bool | None:
        """Whether *secret* was not among the last that were tried for *account*."""
        if account is None:
            return None
        mark = blake2b(
            secret.encode("utf-8", "surrogatepass"), digest_size=8, key=self._key
        ).digest()
        failures, tried = self._accounts.get(account, (0, ()))
        new = mark not in tried
        kept = (*tried, mark)[-SECRETS_KEPT:] if new else tried
        self._accounts.put(account, (failures + 1, kept))
        return new

    def _forget(self, account: str | None) -> int:
        """The account got in: how many failures there were before, now forgotten."""
        failures: int = self._accounts.pop(account, (0, ()))[0]
        return failures


def _gave(answer: Any, set_cookie: str) -> tuple[str, ...]:
    """The tokens in an answer, and the session cookies it sets."""
    found: list[str] = []
    if type(answer) is dict:
        _collect(answer, found, 2)
    if set_cookie:
        for part in set_cookie.split(", "):
            name, equals, value = part.partition("=")
            value = value.partition(";")[0].strip('" ')
            if equals and len(value) >= 8 and SESSION_COOKIE.search(name.strip()):
                found.append(value)
    return tuple(found[:8])


def _collect(answer: Mapping[str, Any], found: list[str], depth: int) -> None:
    for key, value in answer.items():
        if type(value) is str:
            if len(value) >= 8 and (folded(key) in TOKENS or _is_jwt(value)) and " " not in value:
                found.append(value)
        elif type(value) is dict and depth:
            _collect(value, found, depth - 1)


def _is_jwt(text: str) -> bool:
    return text.startswith("ey") and text.count(".") == 2


def _is_name(value: Any) -> bool:
    return isinstance(value, (str, int)) and not isinstance(value, bool) and len(str(value)) <= 256


def _names(answer: Any) -> tuple[str, ...]:
    """How the answer to a login names the account: its id, its name, its address."""
    if type(answer) is not dict:
        return ()
    found: list[str] = []
    for inner in (answer, *(v for v in answer.values() if type(v) is dict)):
        for key, value in inner.items():
            name = folded(key)
            if (name == "id" or name in IDENTITIES) and _is_name(value):
                found.append(str(value))
    return tuple(dict.fromkeys(found[:8]))
