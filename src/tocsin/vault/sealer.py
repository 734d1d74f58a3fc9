"""The one who seals: rows become a segment, a manifest, an entry of the log and a signed promise.

The log is the only truth; catalog and filters are derived from it and from the segments.  Every
entry gets a checkpoint of its own, and each checkpoint a MAC under an epoch key that is then
replaced by its own hash: who takes the live keys cannot rewrite what was sealed before.

The order of writes, and what a crash just after each leaves, is said where they are made.  Recovery
is the same code: it goes on with whatever entry it finds durable.  After any error the state in
memory is thrown away and read again from disk before the next entry.
"""

from __future__ import annotations

import contextlib
import hmac
import itertools
import os
import struct
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import polars as pl
import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert as insert_sqlite
from sqlalchemy.exc import DatabaseError

from tocsin.catalog import deliveries as catalog_deliveries
from tocsin.catalog import segments as catalog_segments
from tocsin.errors import Damaged, KeyMissing, StorageFailed
from tocsin.event.batch import SCHEMA
from tocsin.vault import merkle, recover, rows, segments, tlog, wal
from tocsin.vault.disk import DISK, Disk, make_directory, read_file, sweep, write_durably
from tocsin.vault.jobs import Recovered, Sealed, SealJob
from tocsin.vault.keys import KeyRing
from tocsin.vault.note import Checkpoint, Signer, open_note, parse_checkpoint, sign
from tocsin.vault.segments import Delivery, Range, Segment, Stored

__all__ = ["FORMAT", "Sealer", "epoch_commitment", "mac_path", "next_epoch_key"]

FORMAT = 1  #: of log entries
_EPOCH = struct.Struct("<Q32s")  # how many checkpoints the key has left behind, and the key
_COPY = (
    "no single bad byte explains it, so put this file, or all of log/ with keys/epoch.key, back "
    "from a copy of the very last state (an older one would cut off what was sealed since); "
    "`tocsin verify` names what is wrong, and `tocsin search` still reads the events"
)
_BAD_BYTES = 8  # that a promise may have and still be known for ours
_RETIRED_AFTER = 60.0  # seconds a replaced segment stays for readers who have begun with it


def next_epoch_key(key: bytes) -> bytes:
    """The key of the next checkpoint; there is no way back."""
    return sha256(b"tocsin epoch" + key).digest()


def epoch_commitment(first: bytes) -> str:
    """What the log's first entry says of the first epoch key, so that its holder can be sure."""
    return sha256(b"tocsin first epoch" + first).hexdigest()


def mac_path(number: int) -> str:
    """Path under ``log/`` of the MACs of 256 checkpoints, 32 bytes each."""
    return f"macs/{tlog.tile_path(0, number).removeprefix('tile/0/')}"


@contextlib.contextmanager
def _telling() -> Generator[None]:
    """Say in our own words what disk and catalog refuse."""
    try:
        yield
    except OSError as error:
        place = error.filename or "the vault's disk"
        raise StorageFailed(f"{place}: {error.strerror or error}") from error
    except DatabaseError as error:
        raise StorageFailed(f"the catalog refused a change: {error.orig}") from error


@dataclass(slots=True)
class _Last:
    """What the newest entries say."""

    next_seq: int = 0
    epoch: int = 0
    at: int = 0
    stopped: bool = True


@dataclass(slots=True)
class _State:
    """The log as this process continues it."""

    signer: Signer
    tree: tlog.Tree
    epoch: tuple[int, bytes]
    macs: bytes
    last: _Last


class Sealer:
    """Writer of the log and the segments.  One thread at a time, one process at a time.

    Raises Damaged rather than continue a log that was cut, rolled back or altered.
    """

    def __init__(
        self,
        directory: Path,
        ring: KeyRing,
        *,
        catalog: sa.Engine,
        clock: Callable[[], int] = time.time_ns,
        epoch_seconds: float = 10.0,
        disk: Disk = DISK,
    ) -> None:
        self.directory = directory
        self.first_epoch_key: bytes | None = None  #: set once, when the vault is made; then gone
        self._ring = ring
        self._catalog = catalog
        self._clock = clock
        self._epoch_ns = int(epoch_seconds * 1e9)
        self._disk = disk
        self._log = directory / "log"
        self._boot: str | None = None
        self._state: _State | None = None
        self._retired: list[tuple[float, str]] = []
        self._mended: list[str] = []  # by the recovery under way

    # -- the verbs --------------------------------------------------------------------------------

    @_telling()
    def recover(self) -> Recovered:
        """Roll an interrupted seal forward, or make a new vault; say where the log stands."""
        self._state = None
        self._mended = []
        for name in ("log", "segments", "idx"):
            make_directory(self.directory / name, disk=self._disk)
        for name in ("segments", "idx"):
            sweep(self.directory / name, disk=self._disk)
        for folder in {p.parent for p in self._log.rglob(".*.tmp")}:
            sweep(folder, disk=self._disk)
        old = self._checkpoint_path.exists()
        state = self._load() if old else self._create()
        beyond = state.tree.entry_beyond()
        if beyond is not None:
            # A durable entry is never discarded: check what it promises, and go on.
            entry = tlog.decode(beyond, where=f"{self._log}: entry {state.tree.size}")
            if entry["kind"] == "manifest":
                self._check_manifest(entry)
            self._commit(state, entry)
        entered, new = self._restore_catalog(state.tree.size)
        back = self._take_back(state.tree.size)
        self._remove_orphans(state)
        self._state = state
        last, mended = state.last, tuple(self._mended)
        return Recovered(last.next_seq, last.stopped, old and new, entered, back, mended)

    @_telling()
    def start(self, boot: str) -> None:
        """Say that a life begins; ``gap`` is the time since the last word of the one before."""
        state, at = self._ready(), self._clock()
        last = state.last
        entry = {
            "kind": "start",
            "boot": boot,
            "at": at,
            "clean": last.stopped,
            "gap": at - last.at if last.at else 0,
            "epoch_ns": self._epoch_ns,
        }
        self._boot = boot
        self._commit(state, entry)

    @_telling()
    def stop(self) -> None:
        """Say that this life ends as it should."""
        if self._boot is None:
            return
        state = self._ready()
        while self._retired:  # who read them reads no more
            self.remove_segment(self._retired.pop()[1])
        # A stop that failed half way may have been rolled forward since: it is not said twice.
        if not state.last.stopped:
            self._commit(state, {"kind": "stop", "boot": self._boot, "at": self._clock()})
        self._boot = None

    @_telling()
    def seal(self, job: SealJob) -> Sealed:
        """Seal one epoch.  A job that was sealed before is only tidied up after."""
        state = self._ready()
        done = state.last.next_seq - job.first_seq
        if done < 0:
            raise Damaged(
                f"{self._log}: the log goes to seq {state.last.next_seq - 1}, "
                f"but the next rows begin at {job.first_seq}; rows in between are missing"
            )
        if job.rows and done >= job.rows:
            sealed = Sealed(
                job.first_seq, job.first_seq + job.rows - 1, job.rows, None, state.tree.size
            )
        elif job.rows:
            self._state = None  # whatever fails, the next verb begins by tidying up
            sealed = self._seal_rows(job, state, job.rows - done)
        else:
            self._commit(state, self._entry(state.last, "empty", wal_cut=job.wal_cut))
            size = state.tree.size
            sealed = Sealed(job.first_seq, job.first_seq - 1, 0, None, size)
        # 12. The write-ahead log is no longer needed.  A crash in here leaves files or keys whose
        # rows the log covers: the next start finds them so, and goes on removing.
        wal.remove(job.paths, self._ring, disk=self._disk)
        self._drop_retired()
        return sealed

    @_telling()
    def compact(self) -> int:
        """Join some small neighbours into one segment; how many, 0 when there is nothing to do."""
        from tocsin.vault.compact import compact  # it needs this module's Sealer

        return compact(self)

    # -- sealing ----------------------------------------------------------------------------------

    def _seal_rows(self, job: SealJob, state: _State, count: int) -> Sealed:
        first_seq = state.last.next_seq
        quarantine = self.directory / "quarantine"
        frames = recover.read_range(job.paths, first_seq, count, self._ring, quarantine)
        table, deliveries = _table(frames, first_seq)
        segment = segments.make_id(first_seq)
        # 5. The key is durable.  A crash after this leaves a key without a file: recovery drops it.
        key = self._ring.create(segments.key_name(segment))
        seed = os.urandom(32)
        names = tuple(table.columns)
        fields = rows.fields_of(names)
        arrow = table.to_arrow()
        row_root = merkle.root(rows.leaves(arrow, fields, seed))
        stored = Stored((Range(first_seq, count, names, seed),), deliveries)
        data = segments.write([arrow], key, segment, stored, level=segments.SEAL_LEVEL)
        # 6. The segment is durable.  A crash after this leaves it without a manifest: recovery
        # deletes it with its key, and the rows are sealed again from the write-ahead log.
        write_durably(segments.segment_path(self.directory, segment), data, disk=self._disk)
        # Filters are derived; a crash on either side leaves them to be made when they are missed.
        filters = segments.build_filters([table])
        segments.write_filters(self.directory, key, segment, filters, disk=self._disk)
        schema = rows.describe(fields)
        entry = self._entry(
            state.last,
            "manifest",
            first_seq=first_seq,
            last_seq=first_seq + count - 1,
            rows=count,
            row_root=row_root.hex(),
            segment=segment,
            file_sha256=sha256(data).hexdigest(),
            file_bytes=len(data),
            schema=schema,
            schema_sha256=rows.schema_hash(schema),
            time_min=table["time"].to_physical().min(),
            time_max=table["time"].to_physical().max(),
            wal_cut=job.wal_cut,
        )
        self._commit(state, entry)
        # 11. A crash before this leaves a catalog that does not know the segment: recovery enters
        # it from the log; a crash after it leaves the write-ahead log to be removed.
        self._catalog_segment(entry, deliveries)
        return Sealed(first_seq, first_seq + count - 1, count, segment, state.tree.size)

    def _entry(self, last: _Last, kind: str, **more: Any) -> dict[str, Any]:
        """An entry that ends an epoch."""
        at = self._clock()
        return {
            "kind": kind,
            "epoch": last.epoch,
            "boot": self._boot or "",
            "next_seq": more["last_seq"] + 1 if "last_seq" in more else last.next_seq,
            "sealed_at": at,
            "prev_epoch_gap": at - last.at if last.at else 0,
            **more,
        }

    def _catalog_segment(self, entry: Mapping[str, Any], deliveries: Sequence[Delivery]) -> None:
        """Enter the segment of a manifest, or of a rewrite in the place of those it replaces."""
        with self._catalog.begin() as connection:
            segments.record(connection, _segment_of(entry), entry.get("replaces", ()))
            if deliveries:
                insert = insert_sqlite(catalog_deliveries).on_conflict_do_nothing()
                connection.execute(insert, [d._asdict() for d in deliveries])

    # -- the log ----------------------------------------------------------------------------------

    def _commit(self, state: _State, entry: Mapping[str, Any]) -> None:
        """Append *entry* and promise it.  On any error the next verb reads all from disk again."""
        self._state = None
        # 7. Entry, then hash tiles.  A crash after this leaves an entry beyond the checkpoint:
        # recovery checks it and comes here with it again.
        state.tree.append(tlog.encode({"v": FORMAT, **entry}))
        self._promise(state)
        state.tree.prune()
        _learn(state.last, entry)
        self._state = state

    def _promise(self, state: _State) -> None:
        size = state.tree.size
        text = Checkpoint(state.signer.name, size, state.tree.root()).text()
        behind, key = state.epoch
        assert behind == size - 1, "one epoch key a checkpoint"
        # 8. MAC.  A crash after this leaves a MAC without a checkpoint: made again, to the same.
        number, place = divmod(size - 1, tlog.WIDTH)
        state.macs = (b"" if place == 0 else state.macs[: 32 * place]) + _mac(key, text)
        path = self._log / mac_path(number)
        make_directory(path.parent, disk=self._disk)
        write_durably(path, state.macs, disk=self._disk)
        # 9. Checkpoint.  A crash after this leaves the epoch key one behind: recovery advances it.
        write_durably(self._checkpoint_path, sign(text, [state.signer]), disk=self._disk)
        # 10. The next epoch key takes the old one's place.  A crash after this leaves the catalog
        # behind: recovery enters what the log says.
        state.epoch = self._advance(state.epoch)

    def _advance(self, epoch: tuple[int, bytes]) -> tuple[int, bytes]:
        behind, key = epoch[0] + 1, next_epoch_key(epoch[1])
        self._ring.put("epoch", _EPOCH.pack(behind, key))
        return behind, key

    @property
    def _checkpoint_path(self) -> Path:
        return self._log / "checkpoint"

    def _ready(self) -> _State:
        if self._state is None:
            self.recover()
        assert self._state is not None
        return self._state

    # -- beginning --------------------------------------------------------------------------------

    def _create(self) -> _State:
        """A new vault: keys, and a first entry that says which.

        A crash on the way leaves keys that signed nothing, or the first entry beyond a checkpoint
        that does not exist; both are made again.
        """
        found = [*(self.directory / "segments").glob("*.parquet")]
        if "epoch" in self._ring.names():
            behind, _ = _EPOCH.unpack(self._ring.get("epoch"))
            found += [self._checkpoint_path] * bool(behind)
        if found:
            raise Damaged(
                f"{self._checkpoint_path}: missing, though there was a log: {found[0].name}; "
                "restore log/ from the backup, or move this vault aside and begin another"
            )
        seed, first = os.urandom(32), os.urandom(32)
        signer = Signer(f"tocsin/{os.urandom(8).hex()}", seed)
        self._ring.put("signing", seed + signer.name.encode())
        self._ring.put("epoch", _EPOCH.pack(0, first))
        write_durably(self._log / "vkey", f"{signer.verifier}\n".encode(), disk=self._disk)
        for path in sorted(self._log.glob("tile/**/*"), reverse=True):
            if path.is_file():  # of an attempt that was interrupted before it signed anything
                self._disk.unlink(path)
        state = _State(signer, tlog.Tree(self._log, disk=self._disk), (0, first), b"", _Last())
        self._commit(
            state,
            {
                "kind": "key",
                "use": "signing",
                "action": "register",
                "vkey": str(signer.verifier),
                "epoch_commitment": epoch_commitment(first),
                "at": self._clock(),
            },
        )
        self.first_epoch_key = first
        return state

    def _load(self) -> _State:
        secret = self._ring.get("signing")
        signer = Signer(secret[32:].decode(), secret[:32])
        path = self._checkpoint_path
        behind, key = _EPOCH.unpack(self._ring.get("epoch"))
        checkpoint, text = self._promised(signer, behind)
        if checkpoint.origin != signer.name or not checkpoint.size:
            raise Damaged(f"{path}: promises another log, {checkpoint.origin!r}")
        tree = self._tree(checkpoint)
        macs = self._macs(checkpoint.size)
        if behind == checkpoint.size - 1:
            if macs[-32:] != _mac(key, text):
                raise Damaged(f"{self._log / 'macs'}: the last MAC is not what its key makes")
            behind, key = self._advance((behind, key))
        if behind != checkpoint.size:
            what = "entries were cut off" if behind > checkpoint.size else "the key was put back"
            raise Damaged(
                f"{path}: promises {checkpoint.size} entries, but the epoch key has seen {behind}: "
                f"{what}; restore log/ and keys/epoch.key from the same, latest state"
            )
        return _State(signer, tree, (behind, key), macs, self._last(checkpoint.size))

    def _promised(self, signer: Signer, behind: int) -> tuple[Checkpoint, str]:
        """What was promised last, and its text; *behind* is what the epoch key has seen.

        A promise with a few bad bytes is made again, to the same: a signature has no chance in it.
        So it is ours if what lies there is that but for these bytes.  Who has no key of ours comes
        nowhere near the signature of another log.
        """
        path = self._checkpoint_path
        lying = read_file(path)
        try:
            note = open_note(lying, [signer.verifier], where=str(path))
            return parse_checkpoint(note.text, where=str(path)), note.text
        except Damaged as error:
            for size in (behind, behind - 1):
                with contextlib.suppress(Damaged):
                    made = Checkpoint(signer.name, size, tlog.load(self._log, size).root())
                    good = sign(made.text(), [signer])
                    wrong = sum(a != b for a, b in itertools.zip_longest(lying, good))
                    if wrong <= _BAD_BYTES:
                        write_durably(path, good, disk=self._disk)
                        self._mended.append(f"log/checkpoint, {wrong} bytes")
                        return made, made.text()
            raise Damaged(f"{error}; {_COPY}") from error

    def _tree(self, checkpoint: Checkpoint) -> tlog.Tree:
        """The log's right edge, as it was promised."""
        size = checkpoint.size
        wrong = f"{self._log}: the tiles do not have the root that {self._checkpoint_path} promises"
        try:
            tree = tlog.load(self._log, size, disk=self._disk)
            if tree.root() == checkpoint.root:
                return tree
        except Damaged as error:
            wrong = str(error)
        # A crash after this leaves the file as it was signed, and nobody who tells: the next start
        # has nothing to mend.  So had the one before the damage.
        mended = tlog.mend(self._log, size, checkpoint.root, disk=self._disk)
        if mended is None:
            raise Damaged(f"{wrong}; {_COPY}")
        self._mended.append(str(mended.relative_to(self.directory)))
        return tlog.load(self._log, size, disk=self._disk)

    def _macs(self, size: int) -> bytes:
        number, place = divmod(size - 1, tlog.WIDTH)
        path = self._log / mac_path(number)
        if not path.exists():
            raise Damaged(f"{path}: missing")
        macs = read_file(path)[: 32 * (place + 1)]
        if len(macs) != 32 * (place + 1):
            raise Damaged(f"{path}: {len(macs)} bytes, {32 * (place + 1)} wanted")
        return macs

    def _last(self, size: int) -> _Last:
        """What the newest entries say, from the end back to the last one that ended an epoch."""
        newest: list[dict[str, Any]] = []
        for _, entry in self._backwards(size):
            newest.append(entry)
            if "epoch" in entry:
                break
        last = _Last()
        for entry in reversed(newest):
            _learn(last, entry)
        return last

    def _backwards(self, size: int) -> Iterator[tuple[int, dict[str, Any]]]:
        for number in reversed(range(-(-size // tlog.WIDTH))):
            start = number * tlog.WIDTH
            end = min(size, start + tlog.WIDTH)
            bundle = list(tlog.entries(self._log, end, start))
            for index in reversed(range(len(bundle))):
                where = f"{self._log}: entry {start + index}"
                yield start + index, tlog.decode(bundle[index], where=where)

    # -- recovery ---------------------------------------------------------------------------------

    def _check_manifest(self, entry: Mapping[str, Any]) -> None:
        """Read the segment of an unpromised manifest again; Damaged when it says another thing."""
        segment = entry["segment"]
        path = segments.segment_path(self.directory, segment)
        key = self._ring.get(segments.key_name(segment))
        stored = segments.read_stored(path, key, segment)
        table = segments.read(path, key, segment)
        fields = rows.fields_of(stored.ranges[0].names)
        root = merkle.root(rows.leaves(table, fields, stored.ranges[0].seed)).hex()
        if root != entry["row_root"] or rows.describe(fields) != entry["schema"]:
            raise Damaged(
                f"{path}: does not hold the rows that the log's last entry says; "
                "the seal of it was interrupted, and the file changed since"
            )

    def _restore_catalog(self, size: int) -> tuple[int, bool]:
        """Enter what the catalog does not know, from the newest entry back to the first it knows.

        Commits are durable and in order, so what is older it knows too, or knew in a shape that a
        ``rewrite`` has replaced.  An empty or lost catalog is filled from the whole log.  Returns
        how many were entered, and whether this catalog never belonged to a vault before.
        """
        with self._catalog.connect() as connection:
            known = set(connection.scalars(sa.select(catalog_segments.c.id)))
            new = not known and not connection.scalar(sa.text("PRAGMA user_version"))
        missing: list[dict[str, Any]] = []
        for _, entry in self._backwards(size):
            if entry["kind"] in ("manifest", "rewrite"):
                if entry["segment"] in known:
                    break
                missing.append(entry)
        for entry in reversed(missing):
            self._catalog_segment(entry, self._deliveries_in(entry["segment"]))
        if new:  # after all that: a crash on the way leaves one that is found new again
            with self._catalog.begin() as connection:
                connection.execute(sa.text("PRAGMA user_version = 1"))
        return len(missing), new

    def _deliveries_in(self, segment: str) -> Sequence[Delivery]:
        """The batches that a segment remembers; none when it is gone, which reading it will say."""
        path = segments.segment_path(self.directory, segment)
        with contextlib.suppress(Damaged, KeyMissing):
            if path.exists():
                key = self._ring.get(segments.key_name(segment))
                return segments.read_stored(path, key, segment).deliveries
        return ()

    def _take_back(self, size: int) -> tuple[str, ...]:
        """Let segments count again that were set aside and are now what the log promises."""
        table = catalog_segments
        with self._catalog.connect() as connection:
            wanted = sa.select(table.c.id, table.c.sha256).where(table.c.quarantined.is_not(None))
            aside = {row.id: row.sha256 for row in connection.execute(wanted)}
        aside = {name: hashed for name, hashed in aside.items() if self._is_back(name, hashed)}
        back: list[str] = []
        replaced: set[str] = set()
        for _, entry in self._backwards(size) if aside else ():
            replaced |= set(entry.get("replaces", ()))
            if entry.get("segment") in aside.keys() - replaced:
                name = entry["segment"]
                del aside[name]
                if self._fits(entry):
                    self._catalog_segment(entry, self._deliveries_in(name))
                    back.append(name)
            if not aside:
                break
        return tuple(sorted(back))

    def _is_back(self, segment: str, hashed: str) -> bool:
        """Whether a segment that was set aside lies in its place again.

        One that was set aside whole, as by a disk that failed to read it, is put there.
        """
        path = segments.segment_path(self.directory, segment)
        if path.exists():
            return True
        kept = self.directory / "quarantine" / path.name
        with contextlib.suppress(OSError, Damaged):
            if sha256(read_file(kept)).hexdigest() == hashed:
                # A crash after this leaves it in its place, as if somebody had put it there.
                self._disk.rename(kept, path)
                self._disk.sync_dir(path.parent)
                self._disk.sync_dir(kept.parent)
                return True
        return False

    def _fits(self, entry: Mapping[str, Any]) -> bool:
        """Whether file and key of a segment are those that *entry* promises."""
        path = segments.segment_path(self.directory, entry["segment"])
        try:
            if sha256(read_file(path)).hexdigest() != entry["file_sha256"]:
                return False
            segments.read_stored(path, self._ring.get(segments.key_name(path.stem)), path.stem)
        except (OSError, Damaged, KeyMissing):
            return False
        return True

    def _remove_orphans(self, state: _State) -> None:
        """Remove segments and keys that no entry speaks of, and those that a rewrite replaced."""
        with self._catalog.connect() as connection:
            live = set(connection.scalars(sa.select(catalog_segments.c.id)))
        files = {p.stem for p in (self.directory / "segments").glob("*.parquet")}
        keys = {n.removeprefix("seg.") for n in self._ring.names() if n.startswith("seg.")}
        doubtful = (files | keys) - live
        if not doubtful:
            return
        if any(int(name[:20]) < state.last.next_seq for name in doubtful):
            # Only a crash while compacting, or a catalog that lies, brings us here: ask the log.
            doubtful -= self._in_use(state.tree.size)
        for segment in sorted(doubtful):
            self.remove_segment(segment)

    def _in_use(self, size: int) -> set[str]:
        """Segments that the log speaks of and has not replaced."""
        used: set[str] = set()
        for data in tlog.entries(self._log, size):
            entry = tlog.decode(data, where=str(self._log))
            used |= {entry["segment"]} if "segment" in entry else set()
            used -= set(entry.get("replaces", ()))
        return used

    def remove_segment(self, segment: str) -> None:
        """Remove file, filters and key; a crash in between leaves orphans for the next start."""
        for path in (
            segments.segment_path(self.directory, segment),
            segments.filter_path(self.directory, segment),
        ):
            self._disk.unlink(path)
            self._disk.sync_dir(path.parent)
        self._ring.drop(segments.key_name(segment))

    # -- what compaction needs --------------------------------------------------------------------

    def rewrite(self, new: Segment, replaced: Sequence[Segment]) -> None:
        """Promise that *new* holds the rows of *replaced*, and switch the catalog to it."""
        self._commit(
            self._ready(),
            {
                "kind": "rewrite",
                "boot": self._boot or "",
                "at": new.sealed_at,
                "segment": new.id,
                "file_sha256": new.sha256,
                "file_bytes": new.bytes,
                "first_seq": new.first_seq,
                "last_seq": new.last_seq,
                "rows": new.rows,
                "ranges": new.ranges,
                "time_min": new.time_min,
                "time_max": new.time_max,
                "columns": new.columns,
                "replaces": [old.id for old in replaced],
            },
        )
        # A crash before this leaves the catalog on the old files, which are still there; recovery
        # switches it.  A crash after it leaves the old files, which recovery removes.
        ids = [old.id for old in replaced]
        with self._catalog.begin() as connection:
            segments.record(connection, new, ids)
        until = time.monotonic() + _RETIRED_AFTER
        self._retired += [(until, name) for name in ids]

    def _drop_retired(self) -> None:
        """Remove replaced segments once nobody can still be reading them."""
        now = time.monotonic()
        while self._retired and self._retired[0][0] <= now:
            self.remove_segment(self._retired[0][1])
            del self._retired[0]

    @property
    def catalog(self) -> sa.Engine:
        """The catalog."""
        return self._catalog

    @property
    def ring(self) -> KeyRing:
        """The keys."""
        return self._ring

    @property
    def disk(self) -> Disk:
        """The disk."""
        return self._disk

    def now(self) -> int:
        """Wall clock, ns."""
        return self._clock()


def _mac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")


def _learn(last: _Last, entry: Mapping[str, Any]) -> None:
    if "epoch" in entry:
        last.epoch = entry["epoch"] + 1
        last.next_seq = entry["next_seq"]
        last.at = entry["sealed_at"]
        last.stopped = False
    elif entry["kind"] in ("start", "stop"):
        last.at = entry["at"]
        last.stopped = entry["kind"] == "stop"


def _table(
    frames: Sequence[wal.Frame], first_seq: int
) -> tuple[pl.DataFrame, tuple[Delivery, ...]]:
    """The rows of *frames* as one table with ``seq``, without columns that are null throughout."""
    whole = pl.concat([frame.frame for frame in frames], how="diagonal")
    names = [n for n in SCHEMA if n in whole.columns and whole[n].null_count() < whole.height]
    seq = pl.int_range(first_seq, first_seq + whole.height, dtype=pl.Int64, eager=True).alias("seq")
    table = whole.select(seq, *names).rechunk()
    deliveries = tuple(
        Delivery(f.source, f.batch_id, f.first_seq, f.rows, f.at, f.content)
        for f in frames
        if f.batch_id is not None
    )
    return table, deliveries


def _segment_of(entry: Mapping[str, Any]) -> Segment:
    """The catalog's row for a manifest or a rewrite."""
    if entry["kind"] == "manifest":
        names = [line.split(":")[0] for line in entry["schema"]]
        columns, ranges, at = [n for n in names if n != "seq"], 1, entry["sealed_at"]
    else:
        columns, ranges, at = entry["columns"], entry["ranges"], entry["at"]
    return Segment(
        id=entry["segment"],
        first_seq=entry["first_seq"],
        last_seq=entry["last_seq"],
        rows=entry["rows"],
        time_min=entry["time_min"],
        time_max=entry["time_max"],
        columns=tuple(columns),
        bytes=entry["file_bytes"],
        sha256=entry["file_sha256"],
        sealed_at=at,
        ranges=ranges,
    )
