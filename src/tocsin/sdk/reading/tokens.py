"""What a request brings to show who it is from: tokens, keys, cookies; read, and never believed.

A token's words are a claim until the application accepts it.  Secrets leave here as keyed hashes.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections import OrderedDict
from collections.abc import Iterator
from functools import lru_cache
from hashlib import blake2b
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

import msgspec
from msgspec import Struct

from tocsin.sdk.reading.words import (
    ORDINARY_COOKIE,
    ORDINARY_HEADER,
    SECRETS_IN,
    SESSION_COOKIE,
    TOKENS,
    folded,
)

__all__ = [
    "NOTHING",
    "NO_KEYS",
    "Claims",
    "Credentials",
    "Hasher",
    "Keys",
    "Recent",
    "claims_of",
    "is_alone",
    "keys_of",
    "plain",
    "presented",
    "with_query",
]

_KNOWN = frozenset(
    (
        "none HS256 HS384 HS512 RS256 RS384 RS512 ES256 ES384 ES512 ES256K PS256 PS384 PS512 EdDSA"
    ).split()
)
#: Claims that name a principal, the most telling first.
_NAMES = "sub username user_name preferred_username email user_id uid user id name".split()
_ROLES = ("role", "roles", "groups", "scope", "scopes", "permissions")


#: Secrets, and ids, that are remembered with their hashes, since clients come again; longer ones
#: are not: they are few, and would fill the memory.
MOST_KNOWN = 2_048
LONGEST = 2_048


class Recent(OrderedDict[Any, Any]):
    """The *most* latest entries; what is older is forgotten."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most

    def put(self, key: Any, value: Any) -> None:
        """Remember *value* under *key*, as the latest."""
        self[key] = value
        self.move_to_end(key)
        if len(self) > self.most:
            self.popitem(last=False)


class Hasher:
    """Keyed hashes in place of what must not leave."""

    def __init__(self, key: bytes) -> None:
        self._long = blake2b(digest_size=16, key=key[:64], person=b"tocsin.secret")
        self._short = blake2b(digest_size=8, key=key[:64], person=b"tocsin.object")
        self._known: dict[str, str] = {}
        self._objects: dict[str, str] = {}

    def secret(self, text: str) -> str:
        """What stands for a session id or an API key: ``h:`` and 32 hex digits."""
        known = self._known.get(text)
        if known is None:
            one = self._long.copy()
            one.update(text.encode("utf-8", "surrogatepass"))
            known = f"h:{one.hexdigest()}"
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            if len(text) <= LONGEST:
                self._known[text] = known
        return known

    def object(self, text: str) -> str:
        """What stands for an object's id: 16 hex digits."""
        known = self._objects.get(text)
        if known is None:
            one = self._short.copy()
            one.update(text.encode("utf-8", "surrogatepass"))
            known = one.hexdigest()
            if len(self._objects) >= MOST_KNOWN:
                self._objects.clear()
            if len(text) <= LONGEST:
                self._objects[text] = known
        return known


class Claims(Struct, frozen=True, gc=False):
    """What a JWT says of itself and of its holder; nobody has verified it here."""

    subject: str | None = None
    names: tuple[str, ...] = ()  #: all that name the principal
    role: str | None = None
    tenant: str | None = None
    algorithm: str | None = None
    flaws: tuple[str, ...] = ()  #: alg_none, alg_odd, no_signature, no_exp, key_inside, kid_odd
    expires: float | None = None  #: seconds since 1970


class Credentials(Struct, frozen=True, gc=False):
    """What a request brought."""

    method: str = "none"  #: none, basic, token, key, session, certificate
    secret: str | None = None  #: the token, key or session id itself: in memory only
    name: str | None = None  #: the user of Basic authentication
    claims: Claims | None = None
    in_url: bool = False  #: it stood in the URL
    others: tuple[str, ...] = ()  #: the secrets of further ones: in memory only
    odd: bool = False  #: there is a header or a cookie that may be one as well


class Keys(NamedTuple):
    """What the keys of a query tell."""

    credential: bool = False  #: a token or an API key is under one
    login: bool = False  #: what one logs in with


NOTHING = Credentials()
NO_KEYS = Keys()
_HEADERS = ("x-api-key", "api-key", "apikey", "x-auth-token", "x-access-token", "x-token")
_READ = frozenset({*_HEADERS, "authorization", "cookie"})
_QUERY_KEYS = frozenset(
    b"token access_token auth_token api_key apikey key auth jwt session sessionid sid".split()
)
#: Where one ``Authorization`` ends and a further one begins.
_FURTHER = re.compile(r",\s*(?=(?:bearer|basic|token|jwt)\s)", re.I)
#: Characters of a header's or a cookie's value that may be a secret.
SHORTEST = 8
#: Bytes of a query that are looked at, and up to which its keys are remembered.
LONGEST_QUERY = 4_096
SHORT = 256
#: Credentials of one request that are looked at.
MOST_PRESENTED = 16


def presented(headers: dict[str, str], *, crowded: bool = False) -> Credentials:
    """The credentials in the headers of a request, the strongest first.

    Of *crowded* ones some were not read, and may hold what is not known here.
    """
    sent = list(_cookies(headers.get("cookie", "")))
    odd = crowded or _is_odd(headers, sent)
    found = [*_in_headers(headers), *(_token(v, "session") for n, v in sent if _is_session(n))]
    if not found:
        return Credentials(odd=True) if odd else NOTHING
    if not odd and len(found) == 1:
        return found[0]
    others = (one.secret for one in found[1:MOST_PRESENTED] if one.secret)
    return msgspec.structs.replace(found[0], others=tuple(others), odd=odd)


def keys_of(query: bytes) -> Keys:
    """Which keys of a query may have a secret under them.

    >>> keys_of(b"limit=20&pass%77ord=x"), keys_of(b"API_KEY=x")
    (Keys(credential=False, login=True), Keys(credential=True, login=False))
    """
    names = tuple([part.partition(b"=")[0] for part in query[:LONGEST_QUERY].split(b"&")])
    return _short_keys(names) if len(query) <= SHORT else _read_keys(names)


def with_query(brought: Credentials, query: bytes, keys: Keys) -> Credentials:
    """*brought*, and the credential in a URL, where it should not be."""
    if keys.login:
        brought = msgspec.structs.replace(brought, odd=True)
    for part in query[:LONGEST_QUERY].split(b"&") if keys.credential else ():
        name, _, value = part.partition(b"=")
        if len(value) >= SHORTEST and name.lower() in _QUERY_KEYS:
            text = unquote_to_bytes(value).decode("utf-8", "replace")
            if brought.secret is not None:
                return msgspec.structs.replace(brought, others=(*brought.others, text))
            found = _token(text, "key" if b"key" in name.lower() else "token")
            return msgspec.structs.replace(found, in_url=True, odd=brought.odd)
    return brought


def _read_keys(names: tuple[bytes, ...]) -> Keys:
    credential = any(name.lower() in _QUERY_KEYS for name in names)
    plain_names = (unquote_to_bytes(name).decode("utf-8", "replace") for name in names)
    return Keys(credential, any(folded(name) in SECRETS_IN for name in plain_names))


# APIs have few.
_short_keys = lru_cache(1024)(_read_keys)


def plain(name: str) -> str:
    """A name as it is counted: addresses are the same in any case.

    >>> plain(" Ann@Example.org "), plain("Ann")
    ('ann@example.org', 'Ann')
    """
    name = name[:256].strip()
    return name.lower() if "@" in name else name


def is_alone(brought: Credentials, asked: Any) -> bool:
    """Whether nothing but the first credential of *brought* can have opened the door.

    Nor anything in *asked*, the body of the request.
    """
    if brought.odd or brought.others:
        return False
    return type(asked) is not dict or not any(map(_is_secret, asked.items()))


def claims_of(token: str) -> Claims | None:
    """What *token* says, if it is a JWT."""
    return _token(token, "token").claims


def _is_secret(item: tuple[Any, Any]) -> bool:
    key, value = item
    if type(key) is not str or not value or type(value) is bool:
        return False
    name = folded(key)
    return name in SECRETS_IN or (name in TOKENS and type(value) is str and len(value) >= SHORTEST)


def _cookies(header: str) -> Iterator[tuple[str, str]]:
    """All of them, also those of one name: of these some take the first and some the last."""
    for part in header.split(";") if header else ():
        name, equals, value = part.strip().partition("=")
        if equals and (value := value.strip('"')):
            yield name, value


def _is_session(cookie: str) -> bool:
    return bool(SESSION_COOKIE.search(cookie)) and not ORDINARY_COOKIE.search(cookie)


def _is_odd(headers: dict[str, str], sent: list[tuple[str, str]]) -> bool:
    for name, value in headers.items():
        if len(value) >= SHORTEST and name not in _READ and not ORDINARY_HEADER.match(name):
            return True
    return any(
        len(value) >= SHORTEST and not ORDINARY_COOKIE.search(name) and not _is_session(name)
        for name, value in sent
    )


def _in_headers(headers: dict[str, str]) -> Iterator[Credentials]:
    if authorization := headers.get("authorization"):
        for one in _FURTHER.split(authorization, MOST_PRESENTED):
            yield _authorization(one)
    for name in _HEADERS:
        if value := headers.get(name):
            yield _token(value, "key" if "key" in name else "token")


def _authorization(text: str) -> Credentials:
    return _short_authorization(text) if len(text) <= LONGEST else _read_authorization(text)


def _read_authorization(text: str) -> Credentials:
    scheme, _, rest = text.partition(" ")
    rest = rest.strip()
    if scheme.lower() == "basic":
        try:  # as frameworks do, which pass over what is no Base64
            both = base64.b64decode(rest).decode("utf-8", "replace")
        except (binascii.Error, ValueError):
            return Credentials("basic", rest)
        name, colon, _secret = both.partition(":")
        return Credentials("basic", both, plain(name) if colon else None)
    if not rest:  # a bare token, as some APIs have it
        scheme, rest = "bearer", text.strip()
    return _token(rest, "key" if "key" in scheme.lower() else "token")


def _token(text: str, method: str) -> Credentials:
    return _short_token(text, method) if len(text) <= LONGEST else _read_token(text, method)


def _read_token(text: str, method: str) -> Credentials:
    claims = _claims(text) if text.count(".") == 2 else None
    return Credentials(method, text, None, claims)


# Clients come again with the same one.
_short_authorization = lru_cache(1024)(_read_authorization)
_short_token = lru_cache(1024)(_read_token)


def _claims(text: str) -> Claims | None:
    """Read a JWT (RFC 7519) without verifying it; None when it is none."""
    parts = text.split(".")
    head, body = _part(parts[0]), _part(parts[1])
    if head is None or body is None:
        return None
    algorithm = head.get("alg")
    algorithm = algorithm if isinstance(algorithm, str) else None
    names = tuple(dict.fromkeys(n for key in _NAMES if (n := _name(body.get(key)))))
    return Claims(
        names[0] if names else None,
        names,
        next((r for key in _ROLES if (r := _name(body.get(key)))), None),
        next(
            (
                t
                for key in ("tenant", "tenant_id", "org", "org_id", "tid")
                if (t := _name(body.get(key)))
            ),
            None,
        ),
        algorithm[:32] if algorithm else None,
        tuple(_flaws(algorithm, head, body, parts[2])),
        _expiry(body),
    )


def _part(text: str) -> dict[str, Any] | None:
    try:
        data = base64.urlsafe_b64decode(text[:8192] + "==")
    except (binascii.Error, ValueError):
        return None
    try:
        found = msgspec.json.decode(data)
    except (ValueError, RecursionError):
        found = _part_as_python(data)
    return found if isinstance(found, dict) else None


def _part_as_python(data: bytes) -> Any:
    """As libraries for JWT read it: with NaN, for one."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _name(value: Any) -> str | None:
    if isinstance(value, list):
        value = " ".join(v for v in value[:8] if isinstance(v, str))
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return None
    return str(value)[:256] or None


def _expiry(body: dict[str, Any]) -> float | None:
    expiry = body.get("exp")
    if isinstance(expiry, bool) or not isinstance(expiry, (int, float)):
        return None
    return float(min(max(expiry, 0), 1e12))


def _flaws(
    algorithm: str | None, head: dict[str, Any], body: dict[str, Any], signature: str
) -> list[str]:
    found: list[str] = []
    if algorithm is None or algorithm.lower() == "none":
        found.append("alg_none")
    elif algorithm not in _KNOWN:
        found.append("alg_odd")
    if not signature:
        found.append("no_signature")
    if any(name in head for name in ("jku", "x5u", "jwk", "x5c")):
        found.append("key_inside")
    kid = head.get("kid")
    if isinstance(kid, str) and (len(kid) > 256 or set(kid) & set("/\\'\";|$<>%\x00 ")):
        found.append("kid_odd")
    if _expiry(body) is None:
        found.append("no_exp")
    return found
