"""Which requests are logins, and what came of them, whatever the status says.

A login is known by its shape: somebody's name and a secret go in, and on some occasions a token or
a cookie comes out.  A sign-up has the shape too and gives nothing, or has two secrets; so a route
becomes a login when it was seen to give something, when its name says so, or when it refuses with
the words of a login.

What came of it is what the application says, if it does; else a token means that somebody got in,
and the form once more, the way back to it, or an answer unlike those that came with tokens means
that nobody did.  Where none of that can be seen it is no login to us: a guess would be a lie in the
record.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct

from tocsin.sdk.reading.tokens import Recent
from tocsin.sdk.reading.verdicts import Verdict, reason_of, said_in
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
from tocsin.sdk.seen import Seen

__all__ = ["Answer", "Given", "Login", "Logins", "given"]

#: Accounts, and routes, that are remembered.
MOST_ACCOUNTS = 10_000
MOST_ROUTES = 1_000
#: Secrets of one account that are remembered, to tell a new guess from an old mistake.
SECRETS_KEPT = 8
#: Kinds of answers of one route that are remembered.
MOST_SHAPES = 8

#: What an answer looks like: its status, and its keys.
_Shape = tuple[int, tuple[str, ...]]

_LOGIN_REASONS = frozenset({"bad_credentials", "unknown_user", "locked"})


class Given(Struct, frozen=True, gc=False):
    """What a request brings to log in with."""

    identity: str | None
    secret: str
    code: bool  #: the secret is a code that was sent
    sign_up: bool  #: there are two secrets, or more about a person than a login needs


class Answer(Struct, frozen=True):
    """What came back, as far as it tells whether somebody got in."""

    status: int
    body: Any = None  #: of JSON
    text: str = ""  #: the beginning, of what is no JSON
    cookies: str = ""  #: ``Set-Cookie``
    location: str = ""


class Login(Struct, frozen=True):
    """An attempt to log in."""

    success: bool
    account: str | None
    new_secret: bool | None  #: of a failure: this secret was not tried for the account just before
    tokens: tuple[str, ...] = ()  #: what it gave: in memory only
    names: tuple[str, ...] = ()  #: other names of the account, as the answer tells
    retries: int = 0  #: failures of the account before this success
    code: bool = False
    reason: str | None = None  #: of a failure, as far as the answer's words tell


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
        self._routes: Recent = Recent(
            MOST_ROUTES
        )  # route: what answers that gave something look like
        self._accounts: Recent = Recent(MOST_ACCOUNTS)  # account: [failures, hashes of secrets]
        self._key = secrets.token_bytes(32)  # of this process: nothing hashed with it leaves

    def told(self, success: bool, account: str | None, brought: Given | None) -> Login:
        """A login whose outcome the framework tells, whatever its request looks like."""
        name = account or (brought.identity if brought is not None else None)
        key = name.strip().lower() if name else None
        if success:
            return Login(True, name, None, retries=self._forget(key))
        new = self._new(key, brought.secret if brought is not None else None)
        return Login(False, name, new, reason="bad_credentials")

    def judge(
        self,
        route: str,
        seen: Seen,
        brought: Given,
        verdict: Verdict,
        answer: Answer,
        own: Sequence[str],
    ) -> Login | None:
        """What came of a request that has the shape of a login; None when it is none.

        Also when nobody can tell.  *own* are texts that the client sent: a token that is among them
        was not given to anybody.
        """
        known: set[_Shape] | None = self._routes.get(route)
        if known is None:
            known = set()
            self._routes.put(route, known)
        tokens, cookies = (
            tuple(one for one in found if not any(one in text for text in own))
            for found in (_tokens(answer.body), _session_cookies(answer.cookies))
        )
        reason = verdict.reason or _spoken(answer)
        shape = _shape(answer)
        got_in = _got_in(seen.path, verdict, reason, answer, bool(tokens), bool(cookies))
        if got_in is None and answer.status < 300:
            if known:
                got_in = shape in known
            elif type(answer.body) is dict and LOGIN_ROUTE.search(route):
                got_in = None if _leads_on(answer.body) else False
        gave = (*tokens, *cookies)[:8] if got_in else ()
        if not self._is_login(route, seen.method, brought, reason, known, bool(gave)):
            return None
        if gave and len(known) < MOST_SHAPES:
            known.add(shape)
        account = brought.identity.strip().lower() if brought.identity else None
        if got_in is None:
            return None
        if not got_in:
            new = self._new(account, brought.secret)
            return Login(False, brought.identity, new, code=brought.code, reason=reason)
        names, retries = _names(answer.body), self._forget(account)
        return Login(True, brought.identity, None, gave, names, retries, brought.code)

    def _is_login(
        self,
        route: str,
        method: str,
        brought: Given,
        reason: str | None,
        known: set[_Shape],
        gave: bool,
    ) -> bool:
        if method not in ("POST", "PUT", "GET") or (method == "GET" and not known):
            return False
        if OTHER_ROUTE.search(route):
            return False
        if LOGIN_ROUTE.search(route):
            return True
        if brought.sign_up:
            return False
        return bool(known or gave or reason in _LOGIN_REASONS)

    def _new(self, account: str | None, secret: str | None) -> bool | None:
        """Whether *secret* was not among the last that were tried for *account*."""
        if account is None:
            return None
        failures, tried = self._accounts.get(account, (0, ()))
        new = None
        if secret is not None:
            data = secret.encode("utf-8", "surrogatepass")
            mark = blake2b(data, digest_size=8, key=self._key).digest()
            new = mark not in tried
            tried = (*tried, mark)[-SECRETS_KEPT:] if new else tried
        self._accounts.put(account, (failures + 1, tried))
        return new

    def _forget(self, account: str | None) -> int:
        """The account got in: how many failures there were before, now forgotten."""
        failures: int = self._accounts.pop(account, (0, ()))[0]
        return failures


#: The field for a password, in the markup of a form.
_FORM = re.compile(r"""<input\b[^>]{0,512}?\btype\s*=\s*["']?password\b""", re.I)
_MARKUP = re.compile(r"<(?:script|style)\b.*?(?:</(?:script|style)>|\Z)|<[^<>]*+>", re.I | re.S)
_BACK = re.compile(r"log[-_]?(?:in|on)|sign[-_]?in|/auth/?$", re.I)
_ONWARD = re.compile(r"otp|mfa|2fa|two[-_]?factor|verify|code|consent|challenge", re.I)
#: The same of keys of an answer.
_NEXT = re.compile(r"otp|mfa|2fa|two[-_]?factor|verif|challenge|next[-_]?step|consent", re.I)
_COMPLAINT = re.compile(r"\b(?:error|fail|denied|invalid|incorrect|wrong)", re.I)


def _got_in(
    path: str, verdict: Verdict, reason: str | None, answer: Answer, tokens: bool, cookies: bool
) -> bool | None:
    """Whether somebody did; None when this answer alone does not show it."""
    if verdict.outcome == "failure":
        return False
    if tokens:
        return True
    if verdict.source == "body":
        return None if any(v and _NEXT.search(k) for k, v in _items(answer.body)) else True
    if 300 <= answer.status < 400:
        return not _leads_back(answer.location, path)
    if reason in _LOGIN_REASONS or _FORM.search(answer.text):
        return False
    return True if cookies else None


def _leads_back(location: str, path: str) -> bool:
    """Whether a redirect leads to where one logs in; the next step of a login is not that."""
    try:
        target = urlsplit(location)
    except ValueError:
        return False
    if target.path.rstrip("/") == path.rstrip("/") or _COMPLAINT.search(target.query):
        return True
    return bool(_BACK.search(target.path)) and not _ONWARD.search(target.path)


def _leads_on(body: Mapping[str, Any]) -> bool:
    """Whether an answer without a token is about somebody, or asks for the next step."""
    for key, value in _items(body):
        if value and (folded(key) in IDENTITIES or type(value) is dict or _NEXT.search(key)):
            return True
    return False


def _items(body: Any) -> Iterable[tuple[str, Any]]:
    return body.items() if type(body) is dict else ()


def _spoken(answer: Answer) -> str | None:
    """Why, by the words of an answer that is called a success."""
    words = said_in(answer.body) if type(answer.body) is dict else None
    if words is None and answer.text:
        words = " ".join(_MARKUP.sub(" ", answer.text[:16_384]).split())
    return reason_of(words) if words else None


def _shape(answer: Answer) -> _Shape:
    body = answer.body
    return answer.status, tuple(sorted(body)[:16]) if type(body) is dict else ()


def _tokens(body: Any) -> tuple[str, ...]:
    """The tokens in an answer."""
    found: list[str] = []
    if type(body) is dict:
        _collect(body, found, 2)
    return tuple(found[:8])


def _session_cookies(set_cookie: str) -> tuple[str, ...]:
    """The session cookies that an answer sets."""
    found: list[str] = []
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
