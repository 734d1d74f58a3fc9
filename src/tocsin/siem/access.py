"""What the command line asks of a vault, whether or not ``tocsin up`` runs on it.

``access(settings)`` finds out: with a running tocsin it speaks to it over the socket in the data
directory, else it opens the vault itself.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, Protocol, Self

import msgspec
import polars as pl
import sqlalchemy as sa

from tocsin.errors import Damaged, UsageError
from tocsin.event import CloseReason, Entity, Finding, Incident, Severity, Status
from tocsin.settings import Settings

__all__ = [
    "SOCKET",
    "Access",
    "Count",
    "Counted",
    "MutedRow",
    "NewToken",
    "TokenShown",
    "Verified",
    "access",
    "holds_a_vault",
    "is_lost",
]

#: Name of the socket in the data directory.
SOCKET = "tocsin.sock"


class NewToken(msgspec.Struct, frozen=True, kw_only=True):
    """What a new source key shall be good for."""

    source: str
    layer: str | None = None
    service: str | None = None
    env: str | None = None
    host: str | None = None
    tenant: str | None = None
    tz: str = "UTC"
    parser: str | None = None


class TokenShown(msgspec.Struct, frozen=True, kw_only=True):
    """A source key as people see it: never the secret.  Times are ns since 1970."""

    id: str
    source: str
    created_at: int
    revoked_at: int | None = None
    last_used_at: int | None = None
    parser: str | None = None


class MutedRow(msgspec.Struct, frozen=True, kw_only=True):
    """A suppression in force."""

    id: str
    rule: str | None
    entity: Entity | None
    owner: str
    reason: str
    created_at: int
    expires_at: int
    hits: int


class Count(msgspec.Struct, frozen=True):
    """How many, of what or from when on."""

    count: int
    start: int | None = None  #: of the bucket, ns since 1970
    value: str | None = None


class Counted(msgspec.Struct, frozen=True):
    """An answer in numbers."""

    rows: list[Count]
    left_out: str = ""  #: what could not be counted, and why; empty: everything was

    @classmethod
    def of(cls, frame: pl.DataFrame, *, left_out: str) -> Self:
        """*frame* with ``count`` and perhaps ``start`` or ``value``."""
        if "start" in frame.columns:
            frame = frame.with_columns(frame["start"].to_physical())
        return cls([Count(**row) for row in frame.iter_rows(named=True)], left_out)


class Verified(msgspec.Struct, frozen=True):
    """What a verification found, in short."""

    problems: int
    first: str


class Access(Protocol):
    """Everything that the commands need.  Frames carry ``seq`` and canonical columns."""

    @property
    def first_epoch_key(self) -> bytes | None:
        """The auditor's, when a decision made the vault just now: it is kept nowhere."""
        ...

    def status(self) -> dict[str, Any]: ...

    def search(
        self, text: str, *, since: int | None, until: int | None, limit: int
    ) -> Iterator[pl.DataFrame]: ...

    def count(self, text: str, *, since: int | None, until: int | None) -> Counted: ...

    def histogram(
        self, text: str, *, since: int | None, until: int | None, width_ns: int | None
    ) -> Counted: ...

    def top(
        self, text: str, *, field: str, since: int | None, until: int | None, n: int
    ) -> Counted: ...

    def tail(self, text: str) -> Iterator[pl.DataFrame]: ...

    def incidents(
        self, *, status: Status | None, severity: Severity | None, limit: int
    ) -> list[Incident]: ...

    def incident(self, incident: str) -> tuple[Incident, list[Finding]]: ...

    def acknowledge(self, incident: str, *, by: str, text: str) -> Incident: ...

    def close(self, incident: str, *, by: str, reason: CloseReason, text: str) -> Incident: ...

    def comment(self, incident: str, *, by: str, text: str) -> Incident: ...

    def suppress(
        self, *, rule: str | None, entity: Entity | None, by: str, reason: str, expires_at: int
    ) -> MutedRow: ...

    def muted(self) -> list[MutedRow]: ...

    def lift(self, suppression: str, *, by: str) -> None: ...

    def create_token(self, token: NewToken, *, by: str) -> str: ...

    def tokens(self) -> list[TokenShown]: ...

    def revoke_token(self, token: str, *, by: str) -> None: ...

    def verified(self, report: Verified, *, by: str) -> None: ...


@contextlib.contextmanager
def access(settings: Settings, *, create: bool = False) -> Generator[Access]:
    """The vault in ``settings.data``, however it can be reached.

    With *create*, a vault that does not exist yet is made.  Raises UsageError when there is none.
    """
    from tocsin.siem.local import Remote, answers

    data = Path(settings.data)
    socket = data / SOCKET
    if answers(socket):
        with Remote(socket) as remote:
            yield remote
        return
    if not (data / "catalog.db").exists():
        if holds_a_vault(data):
            raise Damaged(
                f"{data / 'catalog.db'}: missing, though the vault is there; restore it from a "
                f"backup, or start tocsin with `tocsin up --data {data}`: it makes the catalog "
                "anew, and incidents, decisions and source keys come back from the vault"
            )
        if not create:
            raise UsageError(
                f"{data}: there is no vault here; start one with `tocsin up --data {data}`"
            )
    from tocsin.siem.house import Direct

    direct = Direct(settings, clock=time.time_ns)
    try:
        yield direct
    finally:
        direct.leave()


def holds_a_vault(data: Path) -> bool:
    """Whether a vault, or what is left of one, lies in *data*."""
    parts = (data / "log" / "checkpoint", *(data / name for name in ("wal", "segments", "keys")))
    return any(any(part.iterdir()) if part.is_dir() else part.exists() for part in parts)


def is_lost(catalog: sa.Engine, data: Path) -> bool:
    """Whether *catalog* never met the vault in *data*, and so was made after it."""
    from tocsin.vault import CatalogCursors

    return (data / "log" / "checkpoint").exists() and "detect" not in CatalogCursors(catalog)
