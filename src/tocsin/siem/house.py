"""An open vault with its desk and its door's keys: what one process needs to serve people.

``Direct`` answers the commands on a vault that nobody runs, ``House`` on one that this process
writes to.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from subprocess import Popen
from typing import Any

import msgspec
import polars as pl
import sqlalchemy as sa

from tocsin import query
from tocsin.alerts import Desk, Subscription
from tocsin.catalog import open_catalog
from tocsin.catalog.box import Box
from tocsin.errors import Damaged, StorageFailed, UsageError, VaultBusy
from tocsin.event import Event
from tocsin.event.batch import Batch, from_events
from tocsin.intake import Origin, tokens
from tocsin.intake.admit import admit
from tocsin.query import Shelf
from tocsin.settings import Channel, Settings, Smtp
from tocsin.siem.access import SOCKET, is_lost
from tocsin.siem.decisions import KeyMade, KeyRevoked, Made, OnKey, decided, of_frame, token_of
from tocsin.siem.detection import Losses
from tocsin.siem.local import answers
from tocsin.siem.verbs import Verbs, Write
from tocsin.vault import CatalogCursors, Vault, refuse_shared
from tocsin.vault.keys import CommandKey, EnvironmentKey, FileKey, KeyRing, KeySource, file_key
from tocsin.vault.store import Status
from tocsin.vault.view import view

__all__ = ["OWN", "Direct", "House", "key_source", "subscriptions"]

#: The environment variable that may hold the key-encryption key itself.
KEK_VARIABLE = "TOCSIN_KEK"

#: tocsin as a source of events about itself.
OWN = Origin(source="tocsin", layer="self")

#: The catalog's row that says that it has met its vault.
_MET = "detect"

_CATALOG = "catalog.db"
_TAIL_SECONDS = 1.0
_PATIENCE_SECONDS = 10.0  # that commands wait for each other
_RESULT_SECONDS = 30.0


def key_source(settings: Settings, *, create: bool = False) -> KeySource:
    """Where the key-encryption key comes from: variable, else command, else file.

    With *create* the file is made when it is not there; never for a vault that has keys already,
    since those want the key that wrapped them.
    """
    if os.environ.get(KEK_VARIABLE):
        return EnvironmentKey(KEK_VARIABLE)
    if settings.kek_command:
        return CommandKey(tuple(settings.kek_command))
    path = Path(settings.kek_file)
    if not create or not is_fresh(settings):
        return FileKey(path)
    try:
        return file_key(path, create=True, data=Path(settings.data))
    except OSError as error:
        raise StorageFailed(
            f"{path}: the key-encryption key cannot be made there: {error.strerror or error}; let "
            "this user write there, or set kek_file (TOCSIN_KEK_FILE) to another place"
        ) from error


def is_fresh(settings: Settings) -> bool:
    """Whether the vault has no keys yet."""
    keys = Path(settings.data) / "keys"
    return not keys.is_dir() or not any(keys.iterdir())


def subscriptions(channels: Sequence[Channel]) -> list[Subscription]:
    """Who wants to be told of what."""
    return [Subscription(channel_name(c), c.min_severity) for c in channels]


def channel_name(channel: Channel) -> str:
    """Under which a channel's notifications wait in the outbox."""
    return f"{'mail' if isinstance(channel, Smtp) else 'webhook'}:{channel.name}"


def own_batch(events: Sequence[Event]) -> Batch:
    """Events about tocsin itself, admitted like everybody's."""
    return admit(from_events(events), OWN)


def _desk(settings: Settings, catalog: sa.Engine, box: Box, clock: Callable[[], int]) -> Desk:
    return Desk(
        catalog,
        box,
        gap_ns=int(settings.incident_gap_seconds * 10**9),
        subscriptions=subscriptions(settings.channels),
        clock=clock,
    )


class Direct(Verbs):
    """A vault that no tocsin runs on: read as it lies; opened for writing only to decide."""

    def __init__(self, settings: Settings, *, clock: Callable[[], int] = time.time_ns) -> None:
        self._settings = settings
        self._data = data = Path(settings.data)
        self._vault: Vault | None = None  # while something is decided
        if not (data / _CATALOG).exists():
            # A key that cannot be had should leave nothing behind.
            key_source(settings, create=True).fetch(data)
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        catalog = open_catalog(data / _CATALOG)
        if is_lost(catalog, data):
            catalog.dispose()
            raise Damaged(
                f"{data / _CATALOG}: empty, though the vault is not; start tocsin with "
                f"`tocsin up --data {data}`: it fills the catalog again from the vault"
            )
        box = cache(lambda: Box(self._ring().get("catalog")))
        super().__init__(
            catalog,
            box=box,
            desk=cache(lambda: _desk(settings, catalog, box(), clock)),
            shelves=self._view,
            set_aside=lambda _shelf, _error: None,  # a reader changes nothing
            writing=self._write,
            clock=clock,
        )

    def _ring(self) -> KeyRing:
        """The keys, opened when something needs them."""
        if self._vault is not None:
            return self._vault.ring
        return KeyRing(self._data / "keys", key_source(self._settings))

    def _view(self, _since: int | None, _until: int | None) -> Sequence[Shelf]:
        return view(self._data, self._ring(), self.catalog)

    @contextlib.contextmanager
    def _write(self) -> Generator[Write]:
        """The vault, ours alone for as long as a decision takes."""
        source = key_source(self._settings, create=True)
        with contextlib.closing(self._open(source)) as vault:
            self.first_epoch_key = vault.first_epoch_key
            if not _has_met(self.catalog):
                _own_keys(vault.ring)
                _meet(self.catalog)
            self._vault = vault
            try:
                yield lambda event: _append(vault, event)
            finally:
                self._vault = None

    def _open(self, source: KeySource) -> Vault:
        """Open the vault; a command beside this one that decides too is waited for."""
        end = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                return Vault.open(self._data, source, sealing="inline", catalog=self.catalog)
            except VaultBusy:
                if time.monotonic() >= end:
                    raise
            if answers(self._data / SOCKET):
                raise VaultBusy(f"{self._data}: a tocsin was started here just now; try again")
            time.sleep(0.1)

    def status(self) -> dict[str, Any]:
        """It does not run."""
        return {"running": False, "data": str(self._data)}

    def tail(self, text: str) -> Iterator[pl.DataFrame]:
        """Nothing arrives where nothing runs."""
        query.predicate(text, now=self._clock())  # a wrong query is the first thing to say
        raise UsageError(
            f"{self._data}: no tocsin runs here, so nothing arrives; start it with "
            f"`tocsin up --data {self._data}`, or look back with `tocsin search`"
        )

    def leave(self) -> None:
        """Let go of the catalog."""
        self.catalog.dispose()


def _own_keys(ring: KeyRing) -> None:
    """The secrets of a new vault.  One that is gone later is never made anew in silence."""
    there = ring.names()
    for name in ("catalog", "identifiers"):
        if name not in there:
            ring.create(name)


def _append(vault: Vault, *events: Event) -> None:
    done = vault.append(own_batch(events), source=OWN.source, batch_id=None)
    done.result(timeout=_RESULT_SECONDS)


def _has_met(catalog: sa.Engine) -> bool:
    return _MET in CatalogCursors(catalog)


def _meet(catalog: sa.Engine) -> None:
    """Note in the catalog that it belongs to a vault: one that does not say so was made anew."""
    CatalogCursors(catalog).setdefault(_MET, 0)


class House(Verbs):
    """A vault that this process writes to."""

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Callable[[], int] = time.time_ns,
        sealer: Popen[bytes] | None = None,
    ) -> None:
        data = Path(settings.data)
        refuse_shared(data)
        source = key_source(settings, create=True)
        source.fetch(data)  # before anything is made: without it, nothing could be
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.settings = settings
        self.data = data
        self.door = ""  #: HOST:PORT, once it is open
        self.key_place = source.place
        catalog = open_catalog(data / _CATALOG)
        self.cursors = CatalogCursors(catalog)
        try:
            had_met = _has_met(catalog)
            self.vault = Vault.open(
                data,
                source,
                sealing="process",
                epoch_rows=settings.epoch_rows,
                epoch_seconds=settings.epoch_seconds,
                catalog=catalog,
                sealer=sealer,
            )
        except BaseException:
            catalog.dispose()
            raise
        #: Whether the catalog was made anew though the vault was not.
        self.catalog_lost = not had_met and self.vault.next_seq > 0
        self.ring = self.vault.ring
        try:
            if not had_met:
                _own_keys(self.ring)
            #: The only way in, with this vault's own key for session ids and API keys.
            self.admit = partial(admit, key=self.ring.get("identifiers"))
            box = Box(self.ring.get("catalog"))
        except BaseException:
            self.vault.close()
            catalog.dispose()
            raise
        desk = _desk(settings, catalog, box, clock)
        self._deciding = threading.Lock()
        self.stopping = threading.Event()
        self.keys = tokens.Tokens(catalog, box)
        # What detection has come to, once there is one.
        self.detected: Callable[[], int] = lambda: 0
        self.losses: Callable[[], Losses] = Losses
        super().__init__(
            catalog,
            box=lambda: box,
            desk=lambda: desk,
            shelves=self.vault.shelves,
            set_aside=self.vault.set_aside,
            writing=self._write,
            clock=clock,
        )

    def tell(self, *events: Event) -> None:
        """Put events about tocsin itself into the vault; durable when it returns."""
        _append(self.vault, *events)

    @contextlib.contextmanager
    def _write(self) -> Generator[Write]:
        with self._deciding:
            yield self.tell

    # A catalog that was lost.

    def meet(self) -> None:
        """Note in the catalog that it belongs to this vault."""
        _meet(self.catalog)

    def restore_keys(self) -> str:
        """Let the sources' keys be again what the record says; why not all of them, if so.

        Before the door opens: a sender that is told that its key is none gives up.
        """
        found: list[pl.DataFrame] = []
        why = ""
        question = "source:tocsin layer:self kind:(authn_token_created OR authn_token_revoked)"
        try:
            for frame in self.search(question, since=None, until=None, limit=0):
                found.append(frame)  # noqa: PERF402  what came before a failure is kept
        except Damaged as error:
            why = str(error)
        made = [of_frame(frame, row) for frame in found for row in decided(frame)]
        keys = [one for one in made if isinstance(one, OnKey)]
        ended = {one.what.key: one.at for one in keys if isinstance(one.what, KeyRevoked)}
        for one in keys:
            if isinstance(one.what, KeyMade):
                token = token_of(one.what, one.at)
                revoked_at = ended.get(token.id)
                token = msgspec.structs.replace(token, revoked_at=revoked_at)
                tokens.keep(self.catalog, self.box, token)
                if revoked_at is not None:  # in a catalog of before, it may live yet
                    tokens.revoke(self.catalog, self.box, token.id, now=revoked_at)
        return why

    def redo(self, made: Made) -> None:
        """Do what the record says was decided, unless that was done."""
        if not isinstance(made, OnKey):
            self.desk.redo(made)
        elif isinstance(made.what, KeyMade):
            tokens.keep(self.catalog, self.box, token_of(made.what, made.at))
        else:
            tokens.revoke(self.catalog, self.box, made.what.key, now=made.at)

    # How it is.

    def vault_status(self) -> Status:
        """How the vault is."""
        return self.vault.status()

    def forged(self) -> frozenset[str]:
        """What in the catalog this vault did not write."""
        self.keys.read()
        keys = {f"source key {id}" for id in self.keys.forged}  # noqa: A001  the column's name
        return frozenset(keys | self.desk.forged)

    def status(self) -> dict[str, Any]:
        """How the vault is, in figures."""
        facts: dict[str, Any] = msgspec.to_builtins(self.vault.status())
        return {"running": True, "data": str(self.data), "pid": os.getpid(), **facts} | {
            "door": self.door,
            "detected_seq": self.detected(),
            "detection_losses": msgspec.to_builtins(self.losses()),
        }

    def tail(self, text: str) -> Iterator[pl.DataFrame]:
        """Rows that match, as they become durable; an empty frame each second shows life."""
        matching = query.predicate(text, now=self._clock())
        return self._tail(matching)

    def _tail(self, matching: query.Predicate) -> Iterator[pl.DataFrame]:
        at = self.vault.next_seq
        while not self.stopping.is_set():
            self.vault.wait(at, _TAIL_SECONDS)
            entries = self.vault.read(at, 65_536)
            at = entries.next_seq if len(entries) else at
            yield matching(entries)

    def leave(self) -> None:
        """Seal what is left and let go of everything."""
        self.stopping.set()
        self.vault.close()
        self.catalog.dispose()
