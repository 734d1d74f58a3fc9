"""Which requests are logins, and what came of them, whatever the status says.

A login is known by its shape: somebody's name and a secret go in, and on some occasions a token or
a cookie comes out.  A sign-up has the shape too and gives nothing, or has two secrets; so a route
becomes a login when it was seen to give something, when its name says so, or when it refuses with
the words of a login.

What came of it is what the application says, if it does; else a token means that somebody got in,
and the form once more, the way back to it, or an answer unlike those that came with tokens means
that nobody did.  A redirect or a cookie alone means neither: it has to look otherwise than answers
that surely refused.  Where none of that can be seen nobody knows, and it is recorded so: a guess
would be a lie in the record.

Who got in is never told by the request alone if it says more than one thing.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct
from msgspec.structs import replace

from tocsin.sdk.reading.bodies import form, leaves
from tocsin.sdk.reading.tokens import LONGEST_QUERY, Recent, claims_of, plain
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

__all__ = ["Answer", "Bearer", "Given", "Login", "Logins", "given", "given_in_query"]

#: Accounts, and routes, that are remembered.
MOST_ACCOUNTS = 10_000
MOST_ROUTES = 1_000
#: Secrets of one account that are remembered, to tell a new guess from an old mistake.
SECRETS_KEPT = 8
#: Different ones, answered alike, of which nobody has so many: none of them was right.
SECRETS_OF_NOBODY = 3
#: Kinds of answers of one route that are remembered.
MOST_SHAPES = 8
MOST_LOOKS = 32
#: Names in one request that are looked at.
MOST_NAMES = 24
#: Of one key, and names that are looked for in an answer; with more nothing is told by its look.
MOST_VALUES = 4
#: Characters of a text of the client that may be found again.
SHORTEST = 6

#: What an answer looks like: its status, and its keys.
_Shape = tuple[int, tuple[str, ...]]

_LOGIN_REASONS = frozenset({"bad_credentials", "unknown_user", "locked"})


class Given(Struct, frozen=True, gc=False):
    """What a request brings to log in with."""

    names: tuple[tuple[str, str], ...]  #: key and name: each name once, the likeliest first
    secrets: tuple[str, ...]
    codes: tuple[str, ...] = ()  #: that were sent to somebody
    sign_up: bool = False  #: there are two secrets, or more about a person than a login needs
    in_url: bool = False
    grant: str | None = None  #: OAuth's; of a password, the client's own name is not who logs in

    @property
    def code(self) -> bool:
        """Whether the secret is a code that was sent."""
        return not self.secrets

    @property
    def likeliest(self) -> str | None:
        """The first name."""
        return self.names[0][1] if self.names else None

    def beside(self, other: Given | None) -> Given:
        """This and what stands at another place of the same request, where it may count as well."""
        if other is None:
            return self
        names: dict[str, tuple[str, str]] = {}
        for key, name in (*self.names, *other.names):
            names.setdefault(name.lower(), (key, name))
        return replace(
            self,
            names=tuple(names.values())[:MOST_NAMES],
            secrets=(*self.secrets, *other.secrets),
            codes=(*self.codes, *other.codes),
            in_url=self.in_url or other.in_url,
        )


class Answer(Struct, frozen=True):
    """What came back, as far as it tells whether somebody got in."""

    status: int
    body: Any = None  #: of JSON
    text: str = ""  #: the beginning, of what is no JSON
    cookies: str = ""  #: ``Set-Cookie``
    location: str = ""


class Bearer(Struct, frozen=True, gc=False):
    """Who asks to be let in, as far as it is known beforehand."""

    name: str | None = None  #: as the application or the framework says
    is_known: bool = False  #: it is somebody already: what looks like a login may be none
    known_as: frozenset[str] = frozenset()  #: to whom its credentials were given, in small letters
    may_get_tokens: bool = True  #: it brings nothing that may have opened this door
    may_get_cookies: bool = True  #: it brings none that is only renewed


class Login(Struct, frozen=True):
    """An attempt to log in."""

    success: bool | None  #: None: nobody can tell
    account: str | None = None  #: of a success: who got in, by more than the request's own word
    claimed: str | None = None  #: who the request says it is
    new_secret: bool | None = None  #: of a failure: it was not tried for the account just before
    tokens: tuple[str, ...] = ()  #: what it gave: in memory only
    names: tuple[str, ...] = ()  #: other names of the account, as the answer tells
    retries: int = 0  #: failures of the account before this success
    code: bool = False
    reason: str | None = None  #: of a failure, as far as the answer's words tell


def given(asked: Any) -> Given | None:
    """The names and the secrets in a request, at its top or one level down."""
    if type(asked) is not dict:
        return None
    found = _given(asked)
    inner = [_given(value) for value in asked.values() if type(value) is dict]
    several = [one for one in (found, *inner) if one.secrets or one.codes]
    if not several:
        return None
    whole = several[0]
    for one in (*several[1:], found):
        if one is not whole:
            whole = whole.beside(one)
    return whole


def given_in_query(query: bytes, route: str) -> Given | None:
    """The same of a URL, where both have to be, and a code is only where one logs in."""
    found = given(form([query[:LONGEST_QUERY]]))
    if found is None or not found.names or (found.code and not LOGIN_ROUTE.search(route)):
        return None
    return replace(found, in_url=True)


def _given(asked: Mapping[str, Any]) -> Given:
    ranked: list[tuple[int, bool, int, str, str]] = []
    found: list[str] = []
    codes: list[str] = []
    keys: set[str] = set()
    for key, value in asked.items():
        if type(key) is not str:
            continue
        name = folded(key)
        if name in _RANKS:
            # Of several values most applications take the last.
            last_first = _texts(value)[: -MOST_VALUES - 1 : -1]
            ranked += [
                (nth, key != name, _RANKS[name], key[:64], plain(one))
                for nth, one in enumerate(last_first)
            ]
        elif name in SECRETS:
            found += _texts(value)
        elif name in CODES:
            codes += _texts(value)
        keys.add(name)
    grant = asked.get("grant_type")
    grant = grant if type(grant) is str else None
    # A client's name goes with a client's secret.
    if len(ranked) > 1 and (grant == "password" or keys.isdisjoint(("clientsecret", "secret"))):
        ranked = [one for one in ranked if folded(one[3]) != "clientid"]
    names: dict[str, tuple[str, str]] = {}
    for *_, key, name in sorted(ranked, key=lambda one: one[:3]):
        names.setdefault(name.lower(), (key, name))
    sign_up = not keys.isdisjoint(SECOND_SECRETS) or {"email", "username"} <= keys
    most = tuple(names.values())[:MOST_NAMES]
    return Given(most, tuple(found), tuple(codes), sign_up, grant=grant)


def _texts(value: Any) -> list[str]:
    """A text or a number, or several, as texts."""
    several = value if type(value) is list else [value]
    return [str(one) for one in several if type(one) in (str, int) and one != ""]


_RANKS = {name: rank for rank, name in enumerate(IDENTITIES)}


class _Route(Struct):
    """What is known of a route."""

    is_login: bool  #: it gave something to who brought a name and a secret
    gave: set[_Shape]  #: what answers look like with which somebody got in
    refused: set[bytes]  #: looks of answers that surely refused
    key: str | None = None  #: under which is the name of who got in


class Logins:
    """Knows the logins of one application, and the last secrets of each account."""

    def __init__(self) -> None:
        self._routes: Recent = Recent(MOST_ROUTES)  # route: _Route
        self._accounts: Recent = Recent(MOST_ACCOUNTS)  # account: (failures, hashes of secrets)
        self._alike: Recent = Recent(MOST_ACCOUNTS)  # route, account, look: hashes of secrets
        self._key = secrets.token_bytes(32)  # of this process: nothing hashed with it leaves

    def told(self, success: bool, account: str | None, brought: Given | None) -> Login:
        """A login whose outcome the framework tells, whatever its request looks like."""
        name = plain(account) if account else brought.likeliest if brought else None
        if success:
            return Login(True, name, name, retries=self._forget(name))
        return Login(False, None, name, self._new(name, brought), reason="bad_credentials")

    def judge(
        self,
        route: str,
        seen: Seen,
        brought: Given,
        verdict: Verdict,
        answer: Answer,
        own: Sequence[str],
        bearer: Bearer,
    ) -> Login | None:
        """What came of a request that has the shape of a login; None when it is none.

        *own* are texts that the client sent: a token that is among them was not given to anybody.
        """
        known: _Route = self._routes.get(route) or _Route(False, set(), set())
        tokens, cookies = (
            tuple(one for one in found if not any(one in text for text in own))
            for found in (_tokens(answer.body), _session_cookies(answer.cookies))
        )
        reason = verdict.reason or _spoken(answer)
        shape = _shape(answer)
        claimed = self._claimed(brought, known.key)
        got_in = _got_in(seen.path, verdict, reason, answer, bool(tokens))
        is_open = got_in is None and verdict.source != "body"
        by_look = is_open and bool(cookies or 300 <= answer.status < 400)
        if by_look:
            got_in = self._by_look(route, known, answer, brought, own)
            # Who is logged in already is led on, or given its session anew, whatever it says.
            is_new = bearer.may_get_cookies or bool(cookies)
            if bearer.known_as:
                is_new = claimed is not None and claimed.lower() in bearer.known_as
            if got_in and not is_new:
                got_in = None
        elif got_in is None and answer.status < 300:
            if known.gave:
                got_in = shape in known.gave
            elif type(answer.body) is dict and LOGIN_ROUTE.search(route):
                got_in = None if _leads_on(answer.body) else False
        gave = (*tokens, *cookies)[:8] if got_in or by_look else ()
        may_get = bearer.may_get_tokens if tokens else bearer.may_get_cookies
        gave_it = bool(gave) and may_get
        if not _is_login(route, seen.method, brought, reason, known, bearer, gave=gave_it):
            return None
        if gave:
            self._learn(seen, route, known)
        if got_in is None:
            return Login(None, None, claimed, code=brought.code) if by_look else None
        if not got_in:
            if not by_look and _is_refusal(verdict, reason) and not _is_chosen(answer, own):
                self._learn(seen, route, known, refused=_looks(answer, brought))
            tried = {name: self._new(name, brought) for _, name in brought.names}
            new = tried.get(claimed) if claimed is not None else None
            return Login(False, None, claimed, new, code=brought.code, reason=reason)
        key, account, names = _whose(brought, tokens, answer.body, bearer.name)
        if gave:
            self._learn(seen, route, known, gave=shape, key=key)
        if account is None:
            return Login(True, None, claimed, code=brought.code)
        return Login(True, account, claimed, None, gave, names, self._forget(account), brought.code)

    def unread(self, route: str, seen: Seen, verdict: Verdict) -> Login | None:
        """A login that was refused, of which nobody could read who it was."""
        if seen.method not in ("POST", "PUT") or verdict.reason not in _LOGIN_REASONS:
            return None
        known: _Route | None = self._routes.get(route)
        is_named = LOGIN_ROUTE.search(route) and not OTHER_ROUTE.search(route)
        if not is_named and not (known is not None and known.is_login):
            return None
        return Login(False, reason=verdict.reason)

    def _learn(
        self,
        seen: Seen,
        route: str,
        known: _Route,
        *,
        gave: _Shape | None = None,
        refused: Sequence[bytes] = (),
        key: str | None = None,
    ) -> None:
        """That *route* gave something, if nothing else is said.

        Made-up paths teach nothing, or they could push out what is known.
        """
        if seen.routed is False:
            return
        known.is_login = known.is_login or not refused
        if gave is not None and len(known.gave) < MOST_SHAPES:
            known.gave.add(gave)
        if refused and len(known.refused) < MOST_LOOKS:
            known.refused.update(refused)
        known.key = key or known.key
        self._routes.put(route, known)

    def _by_look(
        self, route: str, known: _Route, answer: Answer, brought: Given, own: Sequence[str]
    ) -> bool | None:
        """Whether somebody got in, of a redirect or a cookie, which those get as well who did not.

        Only answers that surely refused tell what they look like here.  And nobody has several
        passwords: where all are answered alike, none was right.
        """
        looks = _looks(answer, brought)
        if not known.refused.isdisjoint(looks):
            return False
        if answer.status < 300 and known.gave and _shape(answer) not in known.gave:
            return False
        claimed = self._claimed(brought, known.key)
        if claimed is not None and brought.secrets:
            place = (route, claimed.lower(), looks[0])
            tried: tuple[bytes, ...] = self._alike.get(place, ())
            mark = self._mark(brought.secrets)
            if mark not in tried and len(tried) < SECRETS_OF_NOBODY:
                tried = (*tried, mark)
            self._alike.put(place, tried)
            if len(tried) >= SECRETS_OF_NOBODY:
                return False
        if not known.refused or len(brought.names) > MOST_VALUES:
            return None
        return None if _hands_back(answer, brought, own) else True

    def _claimed(self, brought: Given, key: str | None) -> str | None:
        """Of several names that under *key*, or the one that was most often refused so far."""
        if len(brought.names) < 2:
            return brought.likeliest
        under = next((name for one, name in brought.names if one == key), None)
        if under is not None:
            return under
        names = [name for _, name in brought.names]
        return max(names, key=lambda name: self._accounts.get(name.lower(), (0, ()))[0])

    def _new(self, account: str | None, brought: Given | None) -> bool | None:
        """Whether these secrets were not among the last that were tried for *account*."""
        if account is None:
            return None
        failures, tried = self._accounts.get(account.lower(), (0, ()))
        new = None
        if brought is not None:
            mark = self._mark((*brought.secrets, *brought.codes))
            new = mark not in tried
            tried = (*tried, mark)[-SECRETS_KEPT:] if new else tried
        self._accounts.put(account.lower(), (failures + 1, tried))
        return new

    def _mark(self, given_secrets: Sequence[str]) -> bytes:
        """What stands for all of them: with one new among them it is another."""
        data = "\0".join(given_secrets).encode("utf-8", "surrogatepass")
        return blake2b(data, digest_size=8, key=self._key).digest()

    def _forget(self, account: str | None) -> int:
        """The account got in: how many failures there were before, now forgotten."""
        failures: int = self._accounts.pop(account.lower(), (0, ()))[0] if account else 0
        return failures


def _is_login(
    route: str,
    method: str,
    brought: Given,
    reason: str | None,
    known: _Route,
    bearer: Bearer,
    *,
    gave: bool = False,
) -> bool:
    if method not in ("POST", "PUT", "GET") or OTHER_ROUTE.search(route):
        return False
    if known.is_login:
        return True
    if LOGIN_ROUTE.search(route):
        return method != "GET" or brought.in_url
    if method == "GET" or brought.sign_up or bearer.is_known:
        return False
    return gave or reason in _LOGIN_REASONS


def _whose(
    brought: Given, tokens: Sequence[str], answer: Any, told: str | None
) -> tuple[str | None, str | None, tuple[str, ...]]:
    """Who got in: under which key the name was given, the name, and others of the account.

    The request alone is believed only if it gives one name, and nobody says another: neither the
    application, nor a token, nor, of several names, the answer.
    """
    names = _names(answer)
    claims = next((c for one in tokens if (c := claims_of(one)) and c.subject), None)
    if told is not None:
        found = _given_as(brought, (("", told),))
    elif claims is not None:
        found = _given_as(brought, tuple(("", name) for name in claims.names))
        if found is None:
            return None, plain(claims.subject or ""), claims.names
    elif len(brought.names) > 1:
        found = _given_as(brought, names)
    else:
        found = brought.names[0] if brought.names else None
    if found is None:
        return None, None, ()
    others = (*(claims.names if claims is not None else ()), *(name for _, name in names))
    return found[0], found[1], tuple(dict.fromkeys(others))[:8]


def _given_as(brought: Given, names: Sequence[tuple[str, str]]) -> tuple[str, str] | None:
    """Which of the given names is among *names*.

    A mere ``name`` in an answer, which anybody may choose, is no other than that.
    """
    for key, one in brought.names:
        for under, name in names:
            if name.strip().lower() == one.lower() and (under != "name" or folded(key) == "name"):
                return key, one
    return None


#: The field for a password, in the markup of a form.
_FORM = re.compile(r"""<input\b[^<>]{0,512}?\btype\s*=\s*["']?password\b""", re.I)
_MARKUP = re.compile(r"<(?:script|style)\b.*?(?:</(?:script|style)>|\Z)|<[^<>]*+>", re.I | re.S)
_BACK = re.compile(r"log[-_]?(?:in|on)|sign[-_]?in|/auth/?$", re.I)
_ONWARD = re.compile(r"otp|mfa|2fa|two[-_]?factor|verify|code|consent|challenge", re.I)
#: The same of keys of an answer.
_NEXT = re.compile(r"otp|mfa|2fa|two[-_]?factor|verif|challenge|next[-_]?step|consent", re.I)
_BETWEEN = re.compile(r"[\s/&=?]+")
_DIGIT = re.compile(r"[0-9]")
_COMPLAINT = re.compile(r"\b(?:error|fail|denied|invalid|incorrect|wrong)", re.I)


def _got_in(
    path: str, verdict: Verdict, reason: str | None, answer: Answer, tokens: bool
) -> bool | None:
    """Whether somebody did; None when this answer alone does not show it."""
    if verdict.outcome == "failure":
        return False
    if tokens:
        return True
    if verdict.source == "body":
        return None if any(v and _NEXT.search(k) for k, v in _items(answer.body)) else True
    if 300 <= answer.status < 400:
        return False if _leads_back(answer.location, path) else None
    return False if reason in _LOGIN_REASONS or _FORM.search(answer.text) else None


def _is_refusal(verdict: Verdict, reason: str | None) -> bool:
    """Whether a failure was of what was brought, and not of how, when or how often."""
    if reason in _LOGIN_REASONS or verdict.outcome != "failure":
        return True
    return reason is None and verdict.source == "body"


def _is_chosen(answer: Answer, own: Sequence[str]) -> bool:
    """Whether a redirect leads to where the client asked to be led."""
    target = _path(answer.location)
    return bool(target) and any(_path(text) == target for text in own if text[:1] in "/h")


def _path(address: str) -> str:
    try:
        return urlsplit(address[:2048]).path.rstrip("/") or ("/" if address else "")
    except ValueError:
        return ""


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


def _looks(answer: Answer, brought: Given) -> tuple[bytes, ...]:
    """What an answer looks like to who reads it, less what varies: as it is, and less each name."""
    text = f"{answer.location[:2048]} {_said(answer)}".lower()
    less = (text.replace(name.lower(), "?") for _, name in brought.names[:MOST_VALUES])
    return tuple(dict.fromkeys(_look(answer.status, one) for one in (text, *less)))


def _look(status: int, text: str) -> bytes:
    words = " ".join([word for word in _BETWEEN.split(text) if not _DIGIT.search(word)])
    data = f"{status} {words}".encode("utf-8", "surrogatepass")
    return blake2b(data, digest_size=8).digest()


def _said(answer: Answer) -> str:
    """All that an answer says, without markup."""
    if answer.text:
        return _MARKUP.sub(" ", answer.text[:16_384])
    return " ".join(f"{path} {value}" for path, _, value in leaves(answer.body))[:16_384]


def _hands_back(answer: Answer, brought: Given, own: Sequence[str]) -> bool:
    """Whether the client may itself have made an answer look otherwise than others."""
    said, names = _said(answer).lower(), {name.lower() for _, name in brought.names}
    texts = (text.lower() for text in own if SHORTEST <= len(text) <= LONGEST_QUERY)
    return any(text in said for text in texts if text not in names)


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


def _names(answer: Any) -> tuple[tuple[str, str], ...]:
    """How the answer to a login names the account, and under which keys, folded."""
    if type(answer) is not dict:
        return ()
    found: list[tuple[str, str]] = []
    for inner in (answer, *(v for v in answer.values() if type(v) is dict)):
        for key, value in inner.items():
            name = folded(key)
            if (name == "id" or name in IDENTITIES) and _is_name(value):
                found.append((name, str(value)))
    return tuple(found[:8])
