"""Keys of the sources: made, checked, listed, revoked.

A key reads ``tocsin_<id>_<secret><checksum>``.  The secret has 256 bits, so a plain SHA-256 of the
key is all that is stored: there is nothing to guess.  The checksum lets a scanner of code and logs
tell a real key from something that looks like one, without asking us.
"""

from __future__ import annotations

import hmac
import secrets
import threading
import time
import zlib
from collections.abc import Callable
from hashlib import sha256

import msgspec
import sqlalchemy as sa
from msgspec import Struct
from sqlalchemy.exc import SQLAlchemyError

from tocsin.catalog import tokens
from tocsin.errors import StorageFailed, UsageError
from tocsin.intake.origin import Origin
from tocsin.intake.parsers import PARSERS
from tocsin.intake.parsers.times import zone

__all__ = ["Grant", "Token", "Tokens", "create", "looks_like_token", "revoke", "tokens_of"]

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SECRET = 43  # base-62 digits of 256 bits
_CHECKSUM = 6  # base-62 digits of 32 bits
_FRESH_SECONDS = 0.5  # age at which what is known of the table is read anew
_LAYERS = ("app", "gateway", "database", "host", "identity")  # "self" is ours alone
_NOBODY = sha256(b"no key has this digest").digest()


class Grant(Struct, frozen=True):
    """What a key is good for."""

    origin: Origin
    parser: str | None = None  #: the format of what it sends; None: found from the first lines


class Token(Struct, frozen=True):
    """A key as people see it: never the secret.  Times are nanoseconds since 1970."""

    id: str
    source: str
    created_at: int
    revoked_at: int | None
    last_used_at: int | None
    grant: Grant


def create(
    engine: sa.Engine,
    source: str,
    *,
    layer: str | None = None,
    service: str | None = None,
    env: str | None = None,
    host: str | None = None,
    tenant: str | None = None,
    tz: str = "UTC",
    parser: str | None = None,
    now: int,
) -> str:
    """A new key for *source*.  It is shown here and never again.

    A crash before the commit leaves no key; a crash after it, one that nobody knows.
    """
    _check(source, layer, tz, parser)
    origin = Origin(
        source=source, layer=layer, service=service, env=env, host=host, tenant=tenant, tz=tz
    )
    token = _new()
    row = {
        "id": _id(token),
        "source": source,
        "digest": _digest(token),
        "origin_json": msgspec.json.encode(Grant(origin, parser)).decode(),
        "created_at": now,
    }
    with engine.begin() as connection:
        connection.execute(tokens.insert().values(row))
    return token


def _check(source: str, layer: str | None, tz: str, parser: str | None) -> None:
    """Refuse here what would otherwise fail each request that the key is used for."""
    if not source or not source.isprintable():
        raise UsageError("a source needs a name of visible characters; give one with --source")
    if source.strip().casefold() == "tocsin":
        raise UsageError('"tocsin" is what tocsin itself is called; give the source another name')
    if layer is not None and layer not in _LAYERS:
        raise UsageError(f'there is no layer "{layer}"; there are {", ".join(_LAYERS)}')
    if parser is not None and parser not in PARSERS:
        raise UsageError(f'there is no parser "{parser}"; there are {", ".join(PARSERS)}')
    zone(tz)


def tokens_of(engine: sa.Engine) -> list[Token]:
    """Every key, oldest first, the revoked ones too."""
    with engine.connect() as connection:
        rows = connection.execute(sa.select(tokens).order_by(tokens.c.created_at, tokens.c.id))
        return [
            Token(r.id, r.source, r.created_at, r.revoked_at, r.last_used_at, _grant(r.origin_json))
            for r in rows
        ]


def revoke(engine: sa.Engine, id: str, *, now: int) -> bool:  # noqa: A002  the column's name
    """Make key *id* worthless, everywhere within a second.  False when no live key has it."""
    with engine.begin() as connection:
        done = connection.execute(
            tokens.update()
            .where(tokens.c.id == id, tokens.c.revoked_at.is_(None))
            .values(revoked_at=now)
        )
        return done.rowcount == 1


def looks_like_token(text: str) -> bool:
    """Whether *text* has the form of a key, its checksum included.

    >>> looks_like_token("tocsin_abc_def")
    False
    """
    prefix, _, rest = text.partition("_")
    name, _, secret = rest.partition("_")
    return (
        prefix == "tocsin"
        and len(secret) == _SECRET + _CHECKSUM
        and text.isascii()
        and secret.isalnum()
        and name.isalnum()
        and secret[_SECRET:] == _checksum(text[:-_CHECKSUM])
    )


class Tokens:
    """The keys as a running door knows them.

    ``authenticate`` reads the table again when its knowledge is half a second old, so a revocation
    by any process counts within a second.  When the table cannot be read it raises StorageFailed:
    a key that may have been revoked is not trusted, and a sender told to come back loses nothing.
    """

    def __init__(
        self, engine: sa.Engine, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._engine = engine
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._known: dict[str, tuple[bytes, Grant]] = {}
        self._read_at = float("-inf")
        self._used: dict[str, int] = {}

    def authenticate(self, token: str) -> Grant | None:
        """Who *token* belongs to.  Unknown, malformed and revoked keys are all one: None."""
        if self._monotonic() - self._read_at > _FRESH_SECONDS:
            self._read()
        entry = self._known.get(_id(token))
        # Both are done for unknown keys too, so that time does not tell which ids exist.
        digest = _digest(token)
        same = hmac.compare_digest(digest, entry[0] if entry else _NOBODY)
        if entry is None or not same:
            return None
        with self._lock:
            self._used[_id(token)] = time.time_ns()
        return entry[1]

    def flush(self) -> None:
        """Write down when keys were last used.

        Call it now and then: a crash before it loses nothing but these times.
        """
        with self._lock:
            used, self._used = self._used, {}
        if not used:
            return
        statement = (
            tokens.update()
            .where(tokens.c.id == sa.bindparam("key"))
            .values(last_used_at=sa.bindparam("at"))
        )
        with self._engine.begin() as connection:
            connection.execute(statement, [{"key": k, "at": v} for k, v in used.items()])

    def _read(self) -> None:
        began = self._monotonic()
        live = sa.select(tokens.c.id, tokens.c.digest, tokens.c.origin_json).where(
            tokens.c.revoked_at.is_(None)
        )
        try:
            with self._engine.connect() as connection:
                rows = connection.execute(live).all()
        except SQLAlchemyError as error:
            raise StorageFailed(f"the catalog's keys cannot be read: {error}") from error
        self._known = {r.id: (r.digest, _grant(r.origin_json)) for r in rows}
        self._read_at = began


def _new() -> str:
    body = f"tocsin_{_text(secrets.randbits(60), 11)}_{_text(secrets.randbits(256), _SECRET)}"
    return body + _checksum(body)


def _checksum(body: str) -> str:
    return _text(zlib.crc32(body.encode()), _CHECKSUM)


def _text(number: int, width: int) -> str:
    digits: list[str] = []
    for _ in range(width):
        number, digit = divmod(number, 62)
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))


def _id(token: str) -> str:
    return token.split("_", 2)[1] if token.count("_") >= 2 else ""


def _digest(token: str) -> bytes:
    return sha256(token.encode("utf-8", "surrogateescape")).digest()


def _grant(text: str) -> Grant:
    return msgspec.json.decode(text, type=Grant)
