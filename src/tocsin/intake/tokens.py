"""Keys of the sources: made, checked, listed, revoked.

A key reads ``tocsin_<id>_<secret><checksum>``.  What is stored is its keyed digest and what it is
good for, sealed with a key of the vault: who can write to the catalog, but has not that key, makes
no key and brings none back to life.  The checksum lets a scanner of code and logs tell a real key
from something that looks like one, without asking us.
"""

from __future__ import annotations

import hmac
import logging
import secrets
import threading
import time
import zlib
from collections.abc import Callable, Iterable
from typing import TypeAlias

import msgspec
import sqlalchemy as sa
from msgspec import Struct
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import DatabaseError

from tocsin.catalog import said, tokens, writing
from tocsin.catalog.box import Box
from tocsin.errors import Damaged, StorageFailed, UsageError
from tocsin.intake.origin import Origin
from tocsin.intake.parsers import PARSERS
from tocsin.intake.parsers.times import zone

__all__ = [
    "LAYERS",
    "Grant",
    "Token",
    "Tokens",
    "create",
    "keep",
    "live",
    "looks_like_token",
    "make",
    "revoke",
    "tokens_of",
]

log = logging.getLogger("tocsin.keys")

#: Where a source may sit.  "self" is ours alone.
LAYERS = ("app", "gateway", "database", "host", "identity")

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SECRET = 43  # base-62 digits of 256 bits
_CHECKSUM = 6  # base-62 digits of 32 bits
_FRESH_SECONDS = 0.5  # age at which what is known of the table is read anew


class Grant(Struct, frozen=True):
    """What a key is good for."""

    origin: Origin
    parser: str | None = None  #: the format of what it sends; None: found from the lines


class Token(Struct, frozen=True, kw_only=True):
    """A key as the vault knows it: never the secret.  Times are nanoseconds since 1970."""

    id: str
    proof: str  #: keyed digest of the whole key
    grant: Grant
    created_at: int
    revoked_at: int | None = None
    last_used_at: int | None = None

    @property
    def source(self) -> str:
        """Who sends with it."""
        return self.grant.origin.source


def make(
    box: Box,
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
) -> tuple[str, Token]:
    """A new key for *source*, and what is to be kept of it; it is no key before that is kept."""
    _check(source, layer, tz, parser)
    origin = Origin(
        source=source, layer=layer, service=service, env=env, host=host, tenant=tenant, tz=tz
    )
    key = _new()
    return key, Token(
        id=_id(key), proof=_proof(box, key), grant=Grant(origin, parser), created_at=now
    )


def keep(engine: sa.Engine, box: Box, token: Token) -> None:
    """Let *token* be a key.  Repeating it does no harm, and revives no key that was revoked."""
    values = {"id": token.id, "created_at": token.created_at, "body": _sealed(box, token)}
    with writing(engine) as tx:
        tx.execute(insert(tokens).values(values).on_conflict_do_nothing())


def create(engine: sa.Engine, box: Box, source: str, *, now: int, **more: str | None) -> str:
    """Make a key and keep it.  It is shown here and never again."""
    key, token = make(box, source, now=now, **more)  # type: ignore[arg-type]  # make's own names
    keep(engine, box, token)
    return key


def _check(source: str, layer: str | None, tz: str, parser: str | None) -> None:
    """Refuse here what would otherwise fail each request that the key is used for."""
    if not source or not source.isprintable():
        raise UsageError("a source needs a name of visible characters; give one with --source")
    if source.strip().casefold() == "tocsin":
        raise UsageError('"tocsin" is what tocsin itself is called; give the source another name')
    if layer is not None and layer not in LAYERS:
        raise UsageError(f'there is no layer "{layer}"; there are {", ".join(LAYERS)}')
    if parser is not None and parser not in PARSERS:
        raise UsageError(f'there is no parser "{parser}"; there are {", ".join(PARSERS)}')
    zone(tz)


def tokens_of(engine: sa.Engine, box: Box) -> list[Token]:
    """Every key, oldest first, the revoked ones too.  A row that we did not write is said."""
    with engine.connect() as tx:
        found, forged = _opened(box, _rows(tx))
    for row in forged:
        log.error("source key %s in the catalog was not written by this vault: it is none", row)
    return found


def live(engine: sa.Engine, box: Box, id: str) -> Token | None:  # noqa: A002  the column's name
    """Key *id*, if it is one and was not revoked."""
    with engine.connect() as tx:
        found, _ = _opened(box, _rows(tx, tokens.c.id == id))
    return next((token for token in found if token.revoked_at is None), None)


def revoke(engine: sa.Engine, box: Box, id: str, *, now: int) -> bool:  # noqa: A002  as above
    """Make key *id* worthless, everywhere within a second.  False when no live key has it."""
    with writing(engine) as tx:
        found, _ = _opened(box, _rows(tx, tokens.c.id == id))
        if not found or found[0].revoked_at is not None:
            return False
        body = _sealed(box, msgspec.structs.replace(found[0], revoked_at=now))
        tx.execute(tokens.update().where(tokens.c.id == id).values(body=body))
    return True


#: Id, sealed body and last use of a key.
_Row: TypeAlias = tuple[str, str, int | None]


def _rows(tx: sa.Connection, which: sa.ColumnElement[bool] | None = None) -> list[_Row]:
    c = tokens.c
    query = sa.select(c.id, c.body, c.last_used_at).order_by(c.created_at, c.id)
    return [tuple(row) for row in tx.execute(query if which is None else query.where(which))]


class _Body(Struct, frozen=True):
    """What is sealed of a key, under its id."""

    proof: str
    grant: Grant
    created_at: int
    revoked_at: int | None = None


def _sealed(box: Box, token: Token) -> str:
    body = _Body(token.proof, token.grant, token.created_at, token.revoked_at)
    return box.seal(msgspec.json.encode(body).decode(), f"source key {token.id}")


def _opened(box: Box, rows: Iterable[_Row]) -> tuple[list[Token], list[str]]:
    """The keys in *rows*, and the ids of rows that are none: changed, moved or of somebody else."""
    found: list[Token] = []
    forged: list[str] = []
    for name, sealed, last_used_at in rows:
        try:
            body = msgspec.json.decode(box.open(sealed, f"source key {name}"), type=_Body)
        except Damaged:
            forged.append(name)
            continue
        found.append(
            Token(
                id=name,
                proof=body.proof,
                grant=body.grant,
                created_at=body.created_at,
                revoked_at=body.revoked_at,
                last_used_at=last_used_at,
            )
        )
    return found, forged


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
        self, engine: sa.Engine, box: Box, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._engine, self._box = engine, box
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._nobody = _proof(box, "")  # what no key has
        self._open: dict[tuple[str, str], Token] = {}  # by id and sealed body, as read before
        self._known: dict[str, Token] = {}
        self._read_at = float("-inf")
        self._used: dict[str, int] = {}
        self.forged: frozenset[str] = frozenset()  #: ids of rows that this vault did not write

    def authenticate(self, key: str) -> Grant | None:
        """Who *key* belongs to.  Unknown, malformed and revoked keys are all one: None."""
        if self._monotonic() - self._read_at > _FRESH_SECONDS:
            self.read()
        token = self._known.get(_id(key))
        # Both are done for unknown keys too, so that time does not tell which ids exist.
        proof = _proof(self._box, key)
        same = hmac.compare_digest(proof, token.proof if token else self._nobody)
        if token is None or not same:
            return None
        with self._lock:
            self._used[token.id] = time.time_ns()
        return token.grant

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
        try:
            with writing(self._engine) as tx:
                tx.execute(statement, [{"key": k, "at": v} for k, v in used.items()])
        except StorageFailed:
            with self._lock:
                self._used = used | self._used  # for the next time
            raise

    def read(self) -> None:
        """Look at the table; only rows that are new or were changed are opened."""
        began = self._monotonic()
        try:
            with self._engine.connect() as tx:
                rows = _rows(tx)
        except DatabaseError as error:
            why = said(self._engine.url.database or "the catalog", error)
            raise StorageFailed(f"source keys cannot be looked up: {why}") from error
        sealed = {name: body for name, body, _ in rows}
        fresh = (row for row in rows if (row[0], row[1]) not in self._open)
        found, forged = _opened(self._box, fresh)
        tokens_now = {t.id: t for t in found}
        self._open = {
            (name, body): token
            for name, body in sealed.items()
            if (token := self._open.get((name, body)) or tokens_now.get(name))
        }
        self._known = {t.id: t for t in self._open.values() if t.revoked_at is None}
        self.forged = frozenset(forged)
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


def _proof(box: Box, key: str) -> str:
    return box.tag(f"source key\0{key}")
