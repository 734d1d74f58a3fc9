"""The vault: takes batches, makes them durable in one order, and gives them back as entries.

One writer thread takes everything that waits, writes it with one call, syncs it with one, and only
then answers.  One sealing thread has the sealer turn closed files of the write-ahead log into
sealed segments.  Readers see the sealed segments and the *hot tail*, which is what is durable but
not sealed yet, as one log.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen
from typing import Any, Literal, Protocol

import msgspec
import polars as pl
import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from tocsin.catalog import open_catalog
from tocsin.errors import (
    Damaged,
    KeyMissing,
    Pushback,
    StorageFailed,
    UsageError,
    VaultClosed,
)
from tocsin.event.batch import SCHEMA, Batch, Entries
from tocsin.vault import segments
from tocsin.vault.deliveries import Deliveries, Marks, Taken, agree, load, prune
from tocsin.vault.disk import DISK, Disk, make_directory
from tocsin.vault.hot import SHELF_ROWS, HotShelf, HotTail, cut, join
from tocsin.vault.jobs import Recovered, Sealed, SealJob
from tocsin.vault.keys import FileKey, KeyRing, KeySource, file_key
from tocsin.vault.lock import Lock
from tocsin.vault.place import refuse_shared
from tocsin.vault.restart import Recovery, restart
from tocsin.vault.sealing import Sealing, open_sealing
from tocsin.vault.wal import Payload, WalFile, encode, start_wal

__all__ = ["Limits", "Receipt", "Shelf", "Shelving", "Status", "Vault"]

#: Columns without which a row says nothing.
ALWAYS = ("time", "observed", "kind")
#: Rows that one write takes at most, so that the first of them need not wait long.
GROUP_ROWS = 65_536
#: Seconds between two attempts to seal, after a failure.
RETRY_SECONDS = 1.0
#: Seconds that closing waits for the sealer.  A service manager waits for 90, and then kills.
CLOSING_SECONDS = 60.0


class Shelf(Protocol):
    """A run of rows that can be searched, sealed or hot."""

    @property
    def name(self) -> str: ...
    @property
    def first_seq(self) -> int: ...
    @property
    def rows(self) -> int: ...
    @property
    def time_min(self) -> int: ...
    @property
    def time_max(self) -> int: ...
    @property
    def columns(self) -> frozenset[str]: ...
    def scan(self) -> pl.LazyFrame: ...
    def maybe(self, column: str, value: str) -> bool: ...


class Shelving(Protocol):
    """Where sealed rows are found."""

    def within(self) -> Sequence[Shelf]:
        """All sealed segments that can be read, newest first."""
        ...

    def set_aside(self, shelf: Shelf, error: Exception) -> str | None:
        """Quarantine *shelf* if its file is to blame for *error*; its name, or None if not.

        KeyMissing when only its key is: the file stays, and can be read when the key is back.
        """
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may wait before senders are asked to wait."""

    queue_rows: int = 1_000_000  #: taken, not yet durable
    queue_bytes: int = 128 * 1024 * 1024
    hot_bytes: int = 1024 * 1024 * 1024  #: durable, not yet sealed


@dataclass(frozen=True, slots=True)
class Receipt:
    """The vault's answer to a batch: it is durable, and has these seqs."""

    first_seq: int
    rows: int
    repeated: bool  #: it was taken before; these are the seqs of that first time
    same: bool = True  #: else its name was taken by another body, and nothing of this one is kept


class Status(msgspec.Struct, frozen=True):
    """How the vault is doing, for people and for health checks."""

    next_seq: int
    sealed_seq: int  #: rows below this seq are sealed
    waiting_rows: int  #: taken, not yet durable
    waiting_bytes: int
    hot_rows: int
    hot_bytes: int
    jobs: int  #: epochs that wait for the sealer
    batches_known: int
    repeats: int
    writing_failed: str | None  #: why nothing can be written now
    sealing_failed: str | None  #: why nothing can be sealed now
    sealer_restarts: int  #: how often the sealing process died and was begun anew
    last_sealed_at: int | None  #: wall clock, ns
    generation: str  #: of the key-encryption key
    rotating: bool
    quarantined: tuple[str, ...]  #: files set aside since the start
    locked: tuple[str, ...]  #: what cannot be read since its key is missing, and which key
    recovery: Recovery


@dataclass(slots=True)
class Waiting:
    """A batch in the queue."""

    payload: Payload
    batch: Batch
    source: str
    batch_id: str | None
    content: str | None
    at: int
    future: Future[Receipt]

    @property
    def name(self) -> tuple[str, str] | None:
        """Under which a repeat of it is known."""
        return None if self.batch_id is None else (self.source, self.batch_id)


@dataclass(slots=True)
class Epoch:
    """A closed epoch on its way to the sealer."""

    job: SealJob
    waiters: list[Future[Sealed]] = field(default_factory=list)


class Vault:
    """One data directory, opened for writing by this process alone."""

    def __init__(
        self,
        directory: Path,
        ring: KeyRing,
        sealing: Sealing,
        shelving: Shelving,
        deliveries: Callable[[], Deliveries],
        *,
        epoch_rows: int = 65_536,
        epoch_seconds: float = 10.0,
        limits: Limits = Limits(),
        disk: Disk = DISK,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        """Use :meth:`open`, unless you bring another sealer."""
        self._directory = directory
        self._ring = ring
        self._sealing = sealing
        self._shelving = shelving
        self._load = deliveries
        self._epoch_rows = epoch_rows
        self._epoch_seconds = epoch_seconds
        self._limits = limits
        self._disk = disk
        self._clock = clock
        self._undo = contextlib.ExitStack()
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)  # for the writer
        self._grown = threading.Condition(self._lock)  # for followers
        self._duty = threading.Condition(self._lock)  # for the sealing thread
        # All that follows is guarded by the lock, but `_file`, which is the writer's own.
        self._queue: deque[Waiting] = deque()
        self._in_hand: list[Waiting] = []  # taken off the queue, not answered yet
        self._queue_rows = 0
        self._queue_bytes = 0
        self._pending: dict[tuple[str, str], Waiting] = {}
        self._repeats = 0
        self._closing = False
        self._dead: BaseException | None = None
        self._writing_failed: str | None = None
        self._sealing_failed: str | None = None
        self._last_sealed_at: int | None = None
        self._aside: list[str] = []
        self._locked: dict[int, tuple[Shelf, str]] = {}  # by first seq, and what it lacks
        self._epochs: deque[Epoch] = deque()
        self._wishes: list[Future[Sealed]] = []
        self._compactions: deque[Future[int]] = deque()
        self._no_more_epochs = False  # the writer is gone
        self._no_more_seals = False  # the sealing thread is gone
        self._leftovers: list[Path] = []  # of failed writes: nothing in them counts
        self._cut = 0
        self._marks = Marks(ring)
        self._restart()
        self._epoch_began = time.monotonic()
        self._threads = [
            threading.Thread(target=self._write_forever, name="tocsin-vault-writer", daemon=True),
            threading.Thread(target=self._seal_forever, name="tocsin-vault-sealing", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    @classmethod
    def open(
        cls,
        directory: Path,
        keys: KeySource,
        *,
        sealing: Literal["process", "inline"] = "process",
        epoch_rows: int = 65_536,
        epoch_seconds: float = 10.0,
        limits: Limits = Limits(),
        catalog: sa.Engine | None = None,
        disk: Disk = DISK,
        clock: Callable[[], int] = time.time_ns,
        sealer: Popen[bytes] | None = None,
    ) -> Vault:
        """Open the vault in *directory*, made if it is new, and take up what the last life left.

        With *sealing* "process" the sealer, and the signing key, live in a child process, which
        has a disk of its own; *sealer* is one that was begun early.  Raises UsageError, VaultBusy,
        KeyMissing, KeyWrong, Damaged or StorageFailed, each saying what to do; the first before
        anything is made.
        """
        refuse_shared(directory)
        if isinstance(keys, FileKey):
            file_key(keys.path, data=directory)
        with contextlib.ExitStack() as undo, _said(directory):
            make_directory(directory, disk=disk)
            lock = Lock(directory)
            undo.callback(lock.release)
            ring = KeyRing(directory / "keys", keys, disk=disk)
            engine = catalog or open_catalog(directory / "catalog.db")
            if catalog is None:
                undo.callback(engine.dispose)
            sealed_by = open_sealing(
                directory,
                keys,
                ring,
                engine,
                mode=sealing,
                epoch_seconds=epoch_seconds,
                disk=disk,
                clock=clock,
                child=sealer,
            )
            undo.callback(sealed_by.close)
            prune(engine, clock())
            vault = cls(
                directory,
                ring,
                sealed_by,
                SegmentShelving(directory, ring, engine),
                lambda: load(engine, clock()),
                epoch_rows=epoch_rows,
                epoch_seconds=epoch_seconds,
                limits=limits,
                disk=disk,
                clock=clock,
            )
            vault._undo = undo.pop_all()
        return vault

    def _restart(self) -> None:
        """Take up what the last life left.  The same order of writes, entered in the middle."""
        sealed = self._sealing.recover()
        self._first_epoch_key = self._sealing.first_epoch_key
        # Only now: the roll-forward may have sealed more batches.
        self._deliveries = self._load()
        wal = self._directory / "wal"
        make_directory(wal, disk=self._disk)
        begun = restart(
            self._directory,
            self._ring,
            sealed.next_seq,
            epoch_rows=self._epoch_rows,
            disk=self._disk,
            now=self._clock(),
        )
        self._recovery = msgspec.structs.replace(
            begun.recovery,
            catalog_lost=sealed.catalog_lost,
            segments_entered=sealed.entered,
            taken_back=sealed.taken_back,
            mended=sealed.mended,
        )
        self._file: WalFile | None = begun.file
        self._ordinal = begun.ordinal
        self._sealed_seq = sealed.next_seq
        self._hot = HotTail(sealed.next_seq)
        for frame in begun.frames:
            self._hot.append(Entries(frame.first_seq, frame.frame))
            if frame.batch_id is not None:
                taken = Taken(frame.first_seq, frame.rows, frame.at, frame.content)
                self._deliveries.add(frame.source, frame.batch_id, taken)
        self._epochs.extend(Epoch(job) for job in begun.jobs)
        self._sealing.start(secrets.token_hex(8))

    # -- taking ---------------------------------------------------------------------------------

    def append(
        self, batch: Batch, *, source: str, batch_id: str | None, content: bytes | None = None
    ) -> Future[Receipt]:
        """Take *batch*; the future resolves when it is durable, and never before.

        A (*source*, *batch_id*) that was taken before gets the first receipt again; when that body
        had another digest than *content*, the receipt says so.  Raises Pushback at once when too
        much waits.  The future raises StorageFailed when the disk refuses; nothing of the batch
        counts then, and the sender may repeat it.
        """
        future: Future[Receipt] = Future()
        future.set_running_or_notify_cancel()  # a taken batch cannot be taken back
        name = None if batch_id is None else self._marks.name(batch_id)
        mark = None if content is None or name is None else self._marks.content(content)
        with self._lock:
            if self._taken_before(source, name, mark, future):
                return future
            self._admit(len(batch))
            if not len(batch):
                future.set_result(Receipt(self._hot.next_seq, 0, repeated=False))
                return future
        frame = _checked(batch.frame)
        at = self._clock()
        payload = encode(frame, source=source, batch_id=name, at=at, content=mark)
        waiting = Waiting(payload, Batch(frame), source, name, mark, at, future)
        with self._lock:
            if self._taken_before(source, name, mark, future):
                return future
            self._admit(len(batch))
            self._queue.append(waiting)
            self._queue_rows += payload.rows
            self._queue_bytes += len(payload.data)
            if waiting.name is not None:
                self._pending[waiting.name] = waiting
            self._work.notify()
        return future

    def _taken_before(
        self, source: str, name: str | None, mark: str | None, future: Future[Receipt]
    ) -> bool:
        """Whether *future* is answered, or will be, by an earlier delivery under the same name."""
        if name is None:
            return False
        if taken := self._deliveries.get(source, name):
            self._repeats += 1
            same = agree(taken.content, mark)
            future.set_result(Receipt(taken.first_seq, taken.rows, repeated=True, same=same))
            return True
        first = self._pending.get((source, name))
        if first is None:
            return False
        self._repeats += 1
        same = agree(first.content, mark)
        first.future.add_done_callback(lambda done: _pass_on(done, future, same))
        return True

    def _admit(self, rows: int) -> None:
        """Raise unless a batch of *rows* may wait now.  One always may, however large."""
        self._alive()
        limits = self._limits
        if self._queue and (
            self._queue_rows + rows > limits.queue_rows or self._queue_bytes > limits.queue_bytes
        ):
            raise Pushback(
                f"{self._queue_rows} events wait for the disk; send again later", retry_after=1.0
            )
        if self._hot.bytes > limits.hot_bytes:
            raise Pushback(
                f"{self._hot.rows} events wait to be sealed; send again later",
                retry_after=self._epoch_seconds,
            )

    def _alive(self) -> None:
        if self._dead is not None:
            raise self._failure() from self._dead
        if self._closing:
            raise VaultClosed(f"{self._directory}: this vault is closed")

    # -- reading --------------------------------------------------------------------------------

    @property
    def next_seq(self) -> int:
        """The seq after the last durable row."""
        return self._hot.next_seq

    @property
    def recovery(self) -> Recovery:
        """What the start found, torn or damaged."""
        return self._recovery

    @property
    def ring(self) -> KeyRing:
        """The keys, for small states that are kept beside the vault."""
        return self._ring

    @property
    def first_epoch_key(self) -> bytes | None:
        """The first epoch key, when this life made the vault: for the auditor, kept nowhere."""
        return self._first_epoch_key

    def wait(self, seq: int, timeout: float | None = None) -> bool:
        """Wait until the row *seq* is durable; False when it is not after *timeout* seconds."""
        with self._grown:
            self._grown.wait_for(
                lambda: self._hot.next_seq > seq or self._closing or self._dead, timeout
            )
            return self._hot.next_seq > seq

    def read(self, start: int, limit: int) -> Entries:
        """The first rows at or after *start*, in one run: at most *limit*, at least one.

        Its first seq is later than *start* only where rows are gone (expired, or quarantined).
        At the end of the log it is empty.
        """
        while True:
            with self._lock:
                hot_from = self._hot.first_seq
                parts = self._hot.since(start, limit) if start >= hot_from else []
            if start >= hot_from:
                return cut(parts, start, limit)
            entries = self._read_sealed(start, limit)
            if entries is not None:
                return entries
            start = hot_from

    def _read_sealed(self, start: int, limit: int) -> Entries | None:
        """The same, out of the segments; None when they hold nothing at or after *start*."""
        failed: tuple[int, int] | None = None
        locked: list[Shelf] = []
        while True:
            shelves = self._shelving.within()
            later = [s for s in shelves if s.first_seq + s.rows > start and s not in locked]
            if not later:
                return None
            shelf = min(later, key=lambda s: s.first_seq)
            first = max(start, shelf.first_seq)
            try:
                scan = shelf.scan().filter(pl.col("seq").is_between(first, first + limit - 1))
                frame = scan.collect()
                return Entries(
                    first, frame.select(name for name in SCHEMA if name in frame.columns)
                )
            except (Damaged, KeyMissing, OSError, pl.exceptions.PolarsError) as error:
                # Compaction may have replaced the file between listing and reading: list again.
                again = (shelf.first_seq, shelf.rows) == failed
                if again and self._is_locked(shelf, error):
                    # Who follows goes on with what can be read: an alarm must not wait for a key
                    # that somebody took away.
                    locked.append(shelf)
                failed = shelf.first_seq, shelf.rows

    def _is_locked(self, shelf: Shelf, error: Exception) -> bool:
        """Set *shelf* aside for *error*; or whether its key is all that it lacks."""
        if self.set_aside(shelf, error) is not None:
            return False
        if shelf.first_seq in self._locked:
            return True
        raise StorageFailed(f"rows from seq {shelf.first_seq} on: {error}") from error

    def set_aside(self, shelf: Shelf, error: Exception) -> str | None:
        """Quarantine *shelf* if its file is to blame for *error*; its name, or None if not.

        None as well when compaction replaced the file: :meth:`shelves` lists then what holds its
        rows; and when only its key is missing, which :meth:`status` says.
        """
        if isinstance(shelf, HotShelf):
            return None
        try:
            name = self._shelving.set_aside(shelf, error)
        except KeyMissing as lack:
            with self._lock:
                self._locked[shelf.first_seq] = shelf, str(lack)
            return None
        if name is not None:
            with self._lock:
                self._aside.append(name)
        return name

    def _still_locked(self) -> Generator[str]:
        """What lacks its key now; what has it again is forgotten."""
        for seq, (shelf, words) in list(self._locked.items()):
            try:
                if isinstance(shelf, segments.Shelf):
                    shelf.secret()
                    del self._locked[seq]
                    continue
            except KeyMissing:
                pass
            yield words

    def shelves(self, time_min: int | None = None, time_max: int | None = None) -> list[Shelf]:
        """Everything that may hold event times in [*time_min*, *time_max*], newest first."""
        # Hot first, then sealed: what is sealed in between is seen twice, and cut here, not missed.
        hot = self._hot_shelves()
        sealed = self._shelving.within()
        covered = max((s.first_seq + s.rows for s in sealed), default=0)
        fresh = [s for s in (_uncovered(s, covered) for s in hot) if s is not None]
        everything: list[Shelf] = [*reversed(fresh), *sealed]
        return [
            shelf
            for shelf in everything
            if (time_max is None or shelf.time_min <= time_max)
            and (time_min is None or shelf.time_max >= time_min)
        ]

    def _hot_shelves(self) -> list[HotShelf]:
        """The hot tail in few large pieces.  Full ones stay joined, for the next who asks."""
        with self._lock:
            entries = self._hot.snapshot()
        shelves: list[HotShelf] = []
        for parts in _groups(entries):
            whole = parts[0]
            if len(parts) > 1:
                whole = Entries(parts[0].first_seq, join([part.frame for part in parts]))
                if len(whole) >= SHELF_ROWS:
                    whole = Entries(whole.first_seq, whole.frame.rechunk())
                    with self._lock:
                        self._hot.replace(parts, whole)
            shelves.append(HotShelf(whole))
        return shelves

    # -- tending --------------------------------------------------------------------------------

    def seal(self, timeout: float | None = None) -> Sealed:
        """Seal everything that is durable now, and wait for it."""
        future: Future[Sealed] = Future()
        with self._lock:
            self._alive()
            self._wishes.append(future)
            self._work.notify()
        return future.result(timeout)

    def compact(self, timeout: float | None = None) -> int:
        """Join small segments, and wait for it; how many files were replaced."""
        future: Future[int] = Future()
        with self._lock:
            self._alive()
            self._compactions.append(future)
            self._duty.notify()
        return future.result(timeout)

    def status(self) -> Status:
        """How the vault is doing."""
        with self._lock:
            return Status(
                next_seq=self._hot.next_seq,
                sealed_seq=self._sealed_seq,
                waiting_rows=self._queue_rows,
                waiting_bytes=self._queue_bytes,
                hot_rows=self._hot.rows,
                hot_bytes=self._hot.bytes,
                jobs=len(self._epochs),
                batches_known=len(self._deliveries),
                repeats=self._repeats,
                writing_failed=repr(self._dead) if self._dead else self._writing_failed,
                sealing_failed=self._sealing_failed,
                sealer_restarts=self._sealing.restarts,
                last_sealed_at=self._last_sealed_at,
                generation=self._ring.generation,
                rotating=self._ring.rotating,
                quarantined=tuple(self._aside),
                locked=tuple(self._still_locked()),
                recovery=self._recovery,
            )

    def close(self) -> None:
        """Write what waits, seal it, and let go of the directory.  Closing twice is no error.

        When sealing fails now, or takes longer than a minute, the rows stay in the write-ahead log,
        the next start seals them, and :attr:`sealed_all` and :meth:`status` say so.
        """
        with self._lock:
            if self._closing:
                return
            self._closing = True
            self._work.notify_all()
            self._grown.notify_all()
        # What is being asked of the sealer then fails, and with it all that waits for that.
        late = threading.Timer(CLOSING_SECONDS, self._sealing.abandon)
        late.daemon = True
        late.start()
        self._undo.callback(late.cancel)
        with self._undo, _said(self._directory):
            for thread in self._threads:
                thread.join()
            if self._dead is None and not self._epochs:
                self._stop()

    def _stop(self) -> None:
        """Note in the log that this life ends as it should.

        The sealer may have died since it was last needed: it is begun anew, once.  If that does
        not help, the next start sees a life that did not end in order, which is true.
        """
        for _ in range(2):
            try:
                self._recover_if_failed()
                self._sealing.stop()
            except Exception as error:  # noqa: BLE001  said by `status`; closing goes on
                with self._lock:
                    self._sealing_failed = f"{type(error).__name__}: {error}"
            else:
                with self._lock:
                    self._sealing_failed = None
                return

    @property
    def sealed_all(self) -> bool:
        """Whether everything acknowledged is sealed; the rest waits in the write-ahead log."""
        with self._lock:
            return self._sealed_seq >= self._hot.next_seq

    def __enter__(self) -> Vault:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- the writer's thread --------------------------------------------------------------------

    def _write_forever(self) -> None:
        try:
            while self._write_once():
                pass
        except BaseException as error:  # noqa: BLE001  the root of a thread: say it to all
            self._die(error)
        finally:
            with self._lock:
                self._no_more_epochs = True
                self._duty.notify()
            self._settle()
            if self._file is not None:  # only of a writer that died
                with contextlib.suppress(OSError):
                    self._file.close()

    def _write_once(self) -> bool:
        """One round: a group, perhaps the end of an epoch.  False when there is no more to do."""
        with self._work:
            due = self._epoch_began + self._epoch_seconds
            while not (self._queue or self._wishes or self._closing or self._dead):
                left = due - time.monotonic()
                if left <= 0:
                    break
                self._work.wait(left)
            if self._dead is not None:  # of the sealing thread: nothing would ever be sealed
                return False
            group = self._in_hand = self._take()
            last = self._closing and not self._queue
        if group:
            self._commit(group)
        with self._lock:
            self._in_hand = []
        full = self._file is not None and self._file.rows >= self._epoch_rows
        if full or last or self._wishes or time.monotonic() >= due:
            self._turn_epoch(last=last)
        return not last

    def _take(self) -> list[Waiting]:
        """The next group: all that waits, up to the end of the epoch's rows."""
        room = min(GROUP_ROWS, self._epoch_rows - (self._file.rows if self._file else 0))
        group: list[Waiting] = []
        while self._queue and (not group or self._queue[0].payload.rows <= room):
            waiting = self._queue.popleft()
            room -= waiting.payload.rows
            group.append(waiting)
            self._queue_rows -= waiting.payload.rows
            self._queue_bytes -= len(waiting.payload.data)
        return group

    def _commit(self, group: Sequence[Waiting]) -> None:
        """Make *group* durable, then known, then acknowledged, in this order."""
        try:
            if self._file is None:
                # Nobody else writes; the hot tail ends where the log ends.
                self._ordinal += 1
                self._file = start_wal(
                    self._directory / "wal",
                    self._ring,
                    self._hot.next_seq,
                    ordinal=self._ordinal - 1,
                    disk=self._disk,
                )
            first = self._file.append([waiting.payload for waiting in group])
        except (OSError, StorageFailed) as error:
            self._refuse(group, error)
            return
        # A crash here leaves rows that are durable, though nobody was told: they are replayed, and
        # a repeat of the batch is recognised by its id.
        with self._lock:
            self._writing_failed = None
            receipts: list[Receipt] = []
            for waiting in group:
                self._hot.append(Entries(first, waiting.batch.frame))
                receipts.append(Receipt(first, len(waiting.batch), repeated=False))
                if waiting.name is not None:
                    taken = Taken(first, len(waiting.batch), waiting.at, waiting.content)
                    self._deliveries.add(*waiting.name, taken)
                    del self._pending[waiting.name]
                first += len(waiting.batch)
            self._grown.notify_all()
        for waiting, receipt in zip(group, receipts, strict=True):
            waiting.future.set_result(receipt)

    def _refuse(self, group: Sequence[Waiting], error: Exception) -> None:
        """Tell the senders that the disk refused, and leave the file: never write to it again.

        The pages of a failed sync may be on the disk, or gone while the cache says otherwise.  What
        is left of the group does not count once the next file is there; until then, a restart may
        find it whole, and then it stands: its sender was told nothing false, and its repeat is
        recognised.
        """
        place = self._file.path if self._file else self._directory / "wal"
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        if self._file is not None:
            self._leave_file()
        failure = StorageFailed(
            f"{place}: {why}; none of these events was kept; make room or mend the disk, "
            "and send them again"
        )
        with self._lock:
            self._writing_failed = str(failure)
            for waiting in group:
                if waiting.name is not None:
                    del self._pending[waiting.name]
        for waiting in group:
            waiting.future.set_exception(failure)

    def _leave_file(self) -> None:
        """Close the file, and have what counts in it sealed with the next epoch."""
        assert self._file is not None
        file, self._file = self._file, None
        with contextlib.suppress(OSError):  # a failing disk may fail here too; the file is left
            file.close()
        with contextlib.suppress(OSError):  # what cannot be removed now, the next start does
            file.discard()
        if not file.named:
            return
        with contextlib.suppress(OSError):
            self._cut += max(file.path.stat().st_size - file.size, 0)
        self._leftovers.append(file.path)

    def _turn_epoch(self, *, last: bool) -> None:
        """End the epoch: hand its rows to the sealer, even if there are none.

        The next file is opened with the next batch.  A crash in between leaves two files, or one,
        which are replayed in order.
        """
        if self._file is not None:
            self._leave_file()
        with self._lock:
            wishes, self._wishes = self._wishes, []
            first = self._epochs[-1].job if self._epochs else None
            start = first.first_seq + first.rows if first else self._sealed_seq
            rows = self._hot.next_seq - start
            # A lagging sealer needs no empty epochs on top: the one it is at will be sealed.
            idle = not self._epochs and not last
            if rows or wishes or idle or (last and self._leftovers):
                job = SealJob(tuple(self._leftovers), start, rows, self._cut)
                self._epochs.append(Epoch(job, wishes))
                self._leftovers, self._cut = [], 0
                self._duty.notify()
        self._epoch_began = time.monotonic()

    def _die(self, error: BaseException) -> None:
        """A thread met what it was not made for: nothing more is taken, and the other one ends.

        What the writer has in hand it still ends and answers; each thread settles what is its own.
        """
        with self._lock:
            self._dead = self._dead or error
            self._work.notify_all()
            self._grown.notify_all()
            self._duty.notify_all()

    def _settle(self) -> None:
        """Answer everyone who waits for a thread that is gone.  Both call it at their end."""
        with self._lock:
            left: list[Future[Any]] = []
            if self._no_more_epochs:
                left += [w.future for w in (*self._in_hand, *self._queue)]
                left += self._wishes
                self._in_hand, self._wishes = [], []
                self._queue.clear()
                self._pending.clear()
                self._queue_rows = self._queue_bytes = 0
            if self._no_more_seals:
                left += self._compactions
                self._compactions.clear()
                for epoch in self._epochs:
                    left += epoch.waiters
                    epoch.waiters = []
            failure = self._failure()
        for future in left:
            if not future.done():  # of a group in hand, some may be answered
                future.set_exception(failure)

    def _failure(self) -> VaultClosed:
        """Why nothing more is done."""
        if self._dead is None:
            return VaultClosed(f"{self._directory}: closed before it was done")
        failure = VaultClosed(
            f"{self._directory}: this vault stopped at an error: {self._dead!r}; start it again, "
            "and send again what was not acknowledged"
        )
        failure.__cause__ = self._dead
        return failure

    # -- the sealing thread ---------------------------------------------------------------------

    def _seal_forever(self) -> None:
        try:
            while self._seal_once():
                pass
        except BaseException as error:  # noqa: BLE001  the root of a thread: say it to all
            self._die(error)
        finally:
            with self._lock:
                self._no_more_seals = True
            self._settle()

    def _seal_once(self) -> bool:
        """One epoch, or one compaction when none is due.  False when there is no more to do."""
        with self._duty:
            while not (self._epochs or self._compactions or self._no_more_epochs):
                self._duty.wait()
            epoch = self._epochs[0] if self._epochs else None
            wish = self._compactions.popleft() if self._compactions and not epoch else None
        if epoch is not None:
            return self._seal_or_wait(epoch)
        if wish is not None:
            self._compact(wish)
        return wish is not None

    def _seal_or_wait(self, epoch: Epoch) -> bool:
        """Seal *epoch*, or wait before the next try.  False when there will be none."""
        had_failed = self._sealing_failed is not None
        if self._seal_epoch(epoch):
            return True
        with self._duty:
            if not self._no_more_epochs:
                self._duty.wait(RETRY_SECONDS)
            # Closing: only the second try begins with a recovery, which may be all that is missing.
            # If that fails too, the write-ahead log keeps the rows.
            elif had_failed:
                return False
        return True

    def _seal_epoch(self, epoch: Epoch) -> bool:
        """Seal the oldest epoch; False when that failed, and must be tried again."""
        try:
            self._recover_if_failed()
            if not self._epochs or self._epochs[0] is not epoch:
                return True  # it turned out to be sealed
            sealed = self._sealing.seal(epoch.job)
        except Exception as error:  # noqa: BLE001  the root of a thread: say it and try again
            with self._lock:
                self._sealing_failed = f"{type(error).__name__}: {error}"
                # Compactions come after it, so they are told as well, rather than kept waiting.
                told: list[Future[Any]] = [*epoch.waiters, *self._compactions]
                epoch.waiters = []
                self._compactions.clear()
            for future in told:
                future.set_exception(error)
            return False
        self._sealed(epoch, sealed)
        return True

    def _recover_if_failed(self) -> None:
        """The last attempt may have ended anywhere: roll it forward before the next."""
        if self._sealing_failed is not None:
            self._skip_sealed(self._sealing.recover())

    def _sealed(self, epoch: Epoch, sealed: Sealed) -> None:
        """The rows are in the segments, and the catalog says so: forget the hot ones."""
        with self._lock:
            self._epochs.popleft()
            self._sealed_seq = sealed.last_seq + 1
            self._hot.drop_below(self._sealed_seq)
            self._sealing_failed = None
            self._last_sealed_at = self._clock()
        for waiter in epoch.waiters:
            waiter.set_result(sealed)

    def _skip_sealed(self, recovered: Recovered) -> None:
        """After a roll-forward: epochs that turned out to be sealed need no second time."""
        with self._lock:
            done: list[Epoch] = []
            while self._epochs and self._epochs[0].job.rows:
                job = self._epochs[0].job
                if job.first_seq + job.rows > recovered.next_seq:
                    break
                done.append(self._epochs.popleft())
            if done:
                self._sealed_seq = recovered.next_seq
                self._hot.drop_below(self._sealed_seq)
                self._last_sealed_at = self._clock()
                self._sealing_failed = None
        for epoch in done:
            job = epoch.job
            sealed = Sealed(job.first_seq, job.first_seq + job.rows - 1, job.rows, None, 0)
            for waiter in epoch.waiters:
                waiter.set_result(sealed)

    def _compact(self, wish: Future[int]) -> None:
        try:
            self._recover_if_failed()
            count = self._sealing.compact()
        except Exception as error:  # noqa: BLE001  whoever asked is told
            with self._lock:
                # It may have ended anywhere: the next seal rolls it forward first.
                self._sealing_failed = f"{type(error).__name__}: {error}"
            wish.set_exception(error)
        else:
            with self._lock:
                self._sealing_failed = None
            wish.set_result(count)


@contextlib.contextmanager
def _said(directory: Path) -> Generator[None]:
    """Whatever the disk or the catalog refuses, in words of ours."""
    try:
        yield
    except OSError as error:
        place = error.filename or directory
        raise StorageFailed(f"{place}: {error.strerror or error}; mend the disk") from error
    except SQLAlchemyError as error:
        why = getattr(error, "orig", None) or error
        raise StorageFailed(f"{directory / 'catalog.db'}: {why}; mend the disk") from error


def _pass_on(first: Future[Receipt], repeat: Future[Receipt], same: bool) -> None:
    """Answer a repeat that came while the first copy was still waiting."""
    error = first.exception()
    if error is not None:
        repeat.set_exception(error)
    else:
        receipt = first.result()
        repeat.set_result(Receipt(receipt.first_seq, receipt.rows, repeated=True, same=same))


def _checked(frame: pl.DataFrame) -> pl.DataFrame:
    """*frame* without columns that are null throughout; UsageError if it is not canonical.

    One bad batch in the log would stop the sealer for good, so this is asked once more here.
    """
    for name, dtype in frame.schema.items():
        if SCHEMA.get(name) != dtype:
            raise UsageError(f"column {name!r} of type {dtype} is not of the schema")
    for name in ALWAYS:
        if name not in frame.columns or frame[name].null_count():
            raise UsageError(f"a batch needs {name!r} in every row")
    present = [c.name for c in frame if c.null_count() < frame.height]
    ordered = [name for name in SCHEMA if name in set(present)]
    return frame if ordered == frame.columns else frame.select(ordered)


def _groups(entries: Iterable[Entries]) -> list[list[Entries]]:
    """Neighbours to be joined: up to a full shelf each."""
    groups: list[list[Entries]] = []
    rows = SHELF_ROWS
    for part in entries:
        if rows >= SHELF_ROWS:
            groups.append([])
            rows = 0
        groups[-1].append(part)
        rows += len(part)
    return groups


def _uncovered(shelf: HotShelf, covered: int) -> HotShelf | None:
    """What of a hot shelf is not sealed as well."""
    if shelf.first_seq >= covered:
        return shelf
    rest = cut([shelf.entries], covered, shelf.rows)
    return HotShelf(rest) if len(rest) else None


class SegmentShelving:
    """Sealed rows, where the catalog says they are."""

    def __init__(self, directory: Path, ring: KeyRing, engine: sa.Engine) -> None:
        self._directory = directory
        self._engine = engine
        self._shelves = segments.Shelves(directory, ring, engine)
        self._lock = threading.Lock()

    def within(self) -> Sequence[Shelf]:
        """All sealed segments that can be read, newest first."""
        with self._lock:
            return self._shelves.within()

    def set_aside(self, shelf: Shelf, error: Exception) -> str | None:
        """Quarantine *shelf* if its file is to blame for *error*; its name, or None if not.

        A file that is gone because compaction replaced it is not to blame: the catalog forgets it
        before it is removed, and :meth:`within` lists what holds its rows now.
        """
        assert isinstance(shelf, segments.Shelf)
        try:
            shelf.secret()
            shelf.check()
        except (Damaged, KeyMissing) as damage:
            if not segments.is_listed(self._engine, shelf.segment.id):
                return None
            if isinstance(damage, KeyMissing):
                raise
            segments.quarantine(shelf, self._engine, f"{damage} ({error})")
            return shelf.path.name
        return None
