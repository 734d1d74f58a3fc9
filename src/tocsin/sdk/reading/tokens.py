"""What a request brings to show who it is from: tokens, keys, cookies; read, and never believed.

A token's words are a claim until the application accepts it.  Secrets leave here as keyed hashes.
"""

from __future__ import annotations

import base64
import binascii
from collections import OrderedDict
from functools import lru_cache
from hashlib import blake2b
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec
from msgspec import Struct

from tocsin.sdk.reading.headers import cookies
from tocsin.sdk.reading.words import SESSION_COOKIE

__all__ = ["NOTHING", "Claims", "Credentials", "Hasher", "Recent", "in_query", "presented"]

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


NOTHING = Credentials()
_QUERY_KEYS = frozenset(
    b"token access_token auth_token api_key apikey key auth jwt session sessionid sid".split()
)


def presented(headers: dict[str, str]) -> Credentials:
    """The strongest credential in the headers of a request."""
    authorization = headers.get("authorization", "")
    if authorization:
        return _authorization(authorization)
    for name in ("x-api-key", "api-key", "apikey", "x-auth-token", "x-access-token", "x-token"):
        if value := headers.get(name):
            return _token(value, "key" if "key" in name else "token")
    if cookie := headers.get("cookie"):
        for name, value in cookies(cookie).items():
            if value and SESSION_COOKIE.search(name):
                return _token(value, "session")
    return NOTHING


def in_query(query: bytes) -> Credentials:
    """The credential in a URL, where it should not be."""
    for part in query[:4096].split(b"&"):
        name, _, value = part.partition(b"=")
        if len(value) >= 8 and name.lower() in _QUERY_KEYS:
            text = unquote_to_bytes(value).decode("utf-8", "replace")
            found = _token(text, "key" if b"key" in name.lower() else "token")
            return msgspec.structs.replace(found, in_url=True)
    return NOTHING


def _authorization(text: str) -> Credentials:
    return _short_authorization(text) if len(text) <= LONGEST else _read_authorization(text)


def _read_authorization(text: str) -> Credentials:
    scheme, _, rest = text.partition(" ")
    rest = rest.strip()
    if scheme.lower() == "basic":
        try:
            plain = base64.b64decode(rest, validate=True).decode("utf-8", "replace")
        except (binascii.Error, ValueError):
            return Credentials("basic", rest)
        name, _, _secret = plain.partition(":")
        return Credentials("basic", plain, name[:256])
    if not rest:  # a bare token, as some APIs have it
        scheme, rest = "bearer", text.strip()
    return _token(rest, "key" if "key" in scheme.lower() else "token")


def _token(text: str, method: str) -> Credentials:
    return _short_token(text, method) if len(text) <= LONGEST else _read_token(text, method)


def _read_token(text: str, method: str) -> Credentials:
    claims = _claims(text) if text.count(".") == 2 and text.startswith("ey") else None
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
        found = msgspec.json.decode(base64.urlsafe_b64decode(text[:8192] + "=="))
    except (binascii.Error, ValueError, msgspec.DecodeError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


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
