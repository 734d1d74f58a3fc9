"""Sealed rows on disk: encrypted Parquet, a file a segment, and filters that spare reading it.

A segment ``<id>`` is ``segments/<id>.parquet``: Parquet Modular Encryption, AES_GCM_V1, footer and
columns under one key of its own (``seg.<id>``), with the id as AAD prefix that the file does not
hold.  So a file under another's name fails before anything in it is believed.  Row order is seq
order.  The footer's metadata, encrypted with the rest, keeps each range's salt seed and the
batches delivered, from which the catalog can be rebuilt.

``idx/<id>.idx`` holds a Bloom filter a column.  It is derived: authenticated, and made anew when it
is missing, damaged or of another make; it may cost a reading, never hide a row.
"""

from __future__ import annotations

import base64
import contextlib
import hmac
import itertools
import json
import os
import secrets
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import polars as pl
import pyarrow
import pyarrow.parquet
import pyarrow.parquet.encryption
import sqlalchemy as sa
import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tocsin.catalog import segments as catalog_segments
from tocsin.errors import Damaged, KeyMissing, StorageFailed
from tocsin.event.batch import SCHEMA
from tocsin.event.schema import NAMES, Type
from tocsin.vault.disk import DISK, Disk, make_directory, must_be_file, read_file, write_durably
from tocsin.vault.keys import KeyRing

__all__ = [
    "FILTERED",
    "Delivery",
    "Range",
    "Segment",
    "Shelf",
    "Shelves",
    "Stored",
    "aside_mark",
    "build_filters",
    "filter_path",
    "from_row",
    "is_listed",
    "key_name",
    "make_id",
    "open_shelves",
    "quarantine",
    "read",
    "read_stored",
    "record",
    "segment_path",
    "write",
    "write_filters",
]

# pyarrow has no types: one Any at its door is worth more than an ignore at each call.
pa: Any = pyarrow
pq: Any = pyarrow.parquet
pe: Any = pyarrow.parquet.encryption
Table: TypeAlias = Any

ROW_GROUP = 131_072
SEAL_LEVEL = 1  # of zstd: on API traffic 6 saves under 1 % more and takes twice as long
COMPACT_LEVEL = 3  # some old messages and raw lines gain by it

#: Columns with nearly as many values as rows: a dictionary would only be thrown away.
_DISTINCT = frozenset({"trace_id", "span_id", "request_id", "objects"})
#: Columns that people look up by one value out of very many.  Of ``objects``, each element.
FILTERED = (
    "trace_id",
    "span_id",
    "request_id",
    "user",
    "claimed_user",
    "session",
    "api_key",
    "client_ip",
    "peer_ip",
    "objects",
)

_METADATA = b"tocsin"
_DELIVERIES = b"tocsin.deliveries"


class Range(NamedTuple):
    """The rows of one manifest inside a segment."""

    first_seq: int
    rows: int
    names: tuple[str, ...]  #: its schema, in order; a column not named is null in all its rows
    seed: bytes  #: of its salts

    @property
    def last_seq(self) -> int:
        """The seq of its last row."""
        return self.first_seq + self.rows - 1


class Delivery(NamedTuple):
    """A batch that came under an id of its sender's."""

    source: str
    batch_id: str
    first_seq: int
    rows: int
    at: int  #: when it was taken, ns
    content: str | None = None  #: mark of the body it came in


class Stored(NamedTuple):
    """What a segment says of itself, beside its rows."""

    ranges: tuple[Range, ...]
    deliveries: tuple[Delivery, ...]


class Segment(NamedTuple):
    """A row of the catalog's table ``segments``."""

    id: str
    first_seq: int
    last_seq: int
    rows: int
    time_min: int
    time_max: int
    columns: tuple[str, ...]  #: canonical columns present
    bytes: int
    sha256: str
    sealed_at: int
    ranges: int = 1


def make_id(first_seq: int) -> str:
    """A name that sorts by seq and is used once, though the same rows be sealed again."""
    return f"{first_seq:020d}-{secrets.token_hex(4)}"


def segment_path(directory: Path, segment: str) -> Path:
    """Where the segment's rows are."""
    return directory / "segments" / f"{segment}.parquet"


def filter_path(directory: Path, segment: str) -> Path:
    """Where its filters are."""
    return directory / "idx" / f"{segment}.idx"


def key_name(segment: str) -> str:
    """The ring's name of its key."""
    return f"seg.{segment}"


# -- rows ---------------------------------------------------------------------------------------


def write(
    tables: Iterable[Table], key: bytes, segment: str, stored: Stored, *, level: int
) -> bytes:
    """The bytes of a segment file.  *tables*: ``seq``, then canonical columns, all the same."""
    sink, tables = BytesIO(), iter(tables)
    first = next(tables)
    names = first.column_names
    numbers = [n for n in names if n == "seq" or NAMES[n].type in (Type.TIME, Type.INT)]
    distinct = [_leaf_path(n) for n in names if n in _DISTINCT]
    with pq.ParquetWriter(
        sink,
        first.schema,
        compression="zstd",
        compression_level=level,
        use_dictionary=[_leaf_path(n) for n in names if n not in {*numbers, *_DISTINCT}],
        column_encoding=dict.fromkeys(numbers, "DELTA_BINARY_PACKED")
        | dict.fromkeys(distinct, "DELTA_LENGTH_BYTE_ARRAY"),
        write_statistics=["seq", "time"],
        store_schema=False,
        encryption_properties=pe.create_encryption_properties(
            key, aad_prefix=segment.encode(), store_aad_prefix=False
        ),
    ) as writer:
        for table in itertools.chain([first], tables):
            writer.write_table(table, row_group_size=ROW_GROUP)
        writer.add_key_value_metadata(_metadata(stored))
    return sink.getvalue()


def read(path: Path, key: bytes, segment: str, names: Sequence[str] | None = None) -> Table:
    """The rows of a segment, by Arrow; :class:`Damaged` when they cannot be read."""
    with _damage(path), _open(path, key, segment) as file:
        return file.read(columns=None if names is None else list(names))


def read_stored(path: Path, key: bytes, segment: str) -> Stored:
    """What a segment says of itself; :class:`Damaged` when it cannot be read."""
    with _damage(path), _open(path, key, segment) as file:
        metadata = file.metadata.metadata
        head = json.loads(metadata[_METADATA])
        deliveries = json.loads(zstandard.decompress(base64.b64decode(metadata[_DELIVERIES])))
        ranges = [
            Range(r["first_seq"], r["rows"], tuple(r["names"]), bytes.fromhex(r["seed"]))
            for r in head["ranges"]
        ]
        return Stored(tuple(ranges), tuple(Delivery(*d) for d in deliveries))


def _metadata(stored: Stored) -> dict[bytes, bytes]:
    ranges = [
        {"first_seq": r.first_seq, "rows": r.rows, "names": r.names, "seed": r.seed.hex()}
        for r in stored.ranges
    ]
    deliveries = zstandard.compress(json.dumps(stored.deliveries).encode())
    return {
        _METADATA: json.dumps({"v": 1, "ranges": ranges}).encode(),
        _DELIVERIES: base64.b64encode(deliveries),
    }


def _leaf_path(name: str) -> str:
    """The Parquet path of a column's values."""
    return f"{name}.list.element" if SCHEMA.get(name) == pl.List(pl.String) else name


def _open(path: Path, key: bytes, segment: str) -> Any:
    must_be_file(path)
    properties = pe.create_decryption_properties(key, aad_prefix=segment.encode())
    return pq.ParquetFile(path, decryption_properties=properties, pre_buffer=False)


@contextlib.contextmanager
def _damage(path: Path) -> Any:
    try:
        yield
    except FileNotFoundError:
        raise Damaged(f"{path}: missing") from None
    except (OSError, ValueError, KeyError, TypeError, pl.exceptions.PolarsError) as error:
        raise Damaged(f"{path}: {_why(error)}") from error


def _why(error: Exception) -> str:
    """In words of ours: what a library says of bytes that it does not understand helps nobody."""
    if isinstance(error, OSError) and error.errno:  # Arrow's own errors have none
        return f"cannot be read: {os.strerror(error.errno)}"
    return "cannot be read: it does not authenticate, or is cut"


# -- filters ------------------------------------------------------------------------------------

_IDX = struct.Struct("<8sI")
_IDX_MAGIC = b"TOCSINF1"
_BITS_A_VALUE = 10  # with seven probes one lookup in a hundred reads for nothing
_PROBES = 7
#: Texts of many lengths, whose hashes tell whether this Polars hashes as the filter's maker did.
_PROBE_TEXTS = ("", "a", "tocsin", "0123456789abcdef" * 2, "203.0.113.7", "é" * 40, "x" * 300)

Hashes: TypeAlias = np.ndarray[Any, np.dtype[np.uint64]]


def build_filters(frames: Iterable[pl.DataFrame]) -> dict[str, bytes]:
    """A filter for each of :data:`FILTERED` that any of *frames* has."""
    found: dict[str, list[Hashes]] = {}
    for frame in frames:
        for name in FILTERED:
            if name in frame.columns:
                found.setdefault(name, []).append(_hashes(frame[name]))
    return {
        name: _filter(hashes[0] if len(hashes) == 1 else np.unique(np.concatenate(hashes)))
        for name, hashes in found.items()
    }


def _hashes(column: pl.Series) -> Hashes:
    if column.dtype == pl.List(pl.String):
        column = column.explode()
    return column.drop_nulls().hash(seed=0).unique().to_numpy()


def _filter(hashes: Hashes) -> bytes:
    size = max(64, -(-len(hashes) * _BITS_A_VALUE // 64) * 64)
    bits = np.zeros(size, "u1")
    for place in _places(hashes, size):
        bits[place] = 1
    return np.packbits(bits, bitorder="little").tobytes()


def _places(hashes: Hashes, size: int) -> Iterable[Hashes]:
    first = hashes & np.uint64(0xFFFFFFFF)
    stride = (hashes >> np.uint64(32)) | np.uint64(1)
    for probe in range(_PROBES):
        yield (first + np.uint64(probe) * stride) % np.uint64(size)


def _holds(bits: bytes, value: str) -> bool:
    size = 8 * len(bits)
    places = (int(p[0]) for p in _places(pl.Series([value]).hash(seed=0).to_numpy(), size))
    return all(bits[place >> 3] >> (place & 7) & 1 for place in places)


def _make() -> str:
    """What must be equal for two filters to be comparable."""
    hashes = pl.Series(_PROBE_TEXTS).hash(seed=0).to_list()
    return sha256(json.dumps([_BITS_A_VALUE, _PROBES, hashes]).encode()).hexdigest()


def write_filters(
    directory: Path, key: bytes, segment: str, filters: Mapping[str, bytes], *, disk: Disk = DISK
) -> None:
    """Keep *filters* beside the segment.  Each is sealed alone, so that one can be read alone."""
    sealer = AESGCM(_filter_key(key))
    blobs = {n: _seal(sealer, bits, f"{segment}/{n}") for n, bits in filters.items()}
    head = json.dumps({"make": _make(), "sizes": {n: len(b) for n, b in blobs.items()}})
    sealed = _seal(sealer, head.encode(), segment)
    path = filter_path(directory, segment)
    make_directory(path.parent, disk=disk)
    data = _IDX.pack(_IDX_MAGIC, len(sealed)) + sealed + b"".join(blobs.values())
    write_durably(path, data, disk=disk)


def _seal(sealer: AESGCM, data: bytes, name: str) -> bytes:
    nonce = os.urandom(12)
    return nonce + sealer.encrypt(nonce, data, name.encode())


def _unseal(sealer: AESGCM, data: bytes, name: str) -> bytes:
    return sealer.decrypt(data[:12], data[12:], name.encode())


def _filter_key(key: bytes) -> bytes:
    """A key of its own, so that no nonce is shared with the segment."""
    return sha256(b"tocsin filter" + key).digest()


class _Filters:
    """The filters of one segment, read column by column."""

    def __init__(self, path: Path, key: bytes, segment: str) -> None:
        self._path, self._segment = path, segment
        self._sealer = AESGCM(_filter_key(key))
        must_be_file(path)
        with path.open("rb") as file:
            magic, size = _IDX.unpack(file.read(_IDX.size))
            sealed = file.read(size)
        if magic != _IDX_MAGIC or len(sealed) != size:
            raise ValueError("not a filter file")
        head = json.loads(_unseal(self._sealer, sealed, segment))
        if head["make"] != _make():
            raise ValueError("made by another hash")
        self._spans: dict[str, tuple[int, int]] = {}
        at = _IDX.size + size
        for name, length in head["sizes"].items():
            self._spans[name] = at, length
            at += length

    def get(self, name: str) -> bytes | None:
        """The filter of column *name*; None when there is none."""
        if name not in self._spans:
            return None
        at, length = self._spans[name]
        with self._path.open("rb") as file:
            file.seek(at)
            return _unseal(self._sealer, file.read(length), f"{self._segment}/{name}")


# -- shelves ------------------------------------------------------------------------------------


@dataclass(eq=False)
class Shelf:
    """One segment, for whoever asks questions: what it holds at most, and its rows."""

    directory: Path
    segment: Segment
    keys: KeyRing = field(repr=False)
    _key: bytes | None = field(default=None, repr=False)
    _filters: dict[str, bytes | None] = field(default_factory=dict, repr=False)

    @property
    def name(self) -> str:
        """The file."""
        return str(self.path)

    @property
    def first_seq(self) -> int:
        """The seq of the first row."""
        return self.segment.first_seq

    @property
    def rows(self) -> int:
        """How many rows."""
        return self.segment.rows

    @property
    def time_min(self) -> int:
        """The earliest event time, ns."""
        return self.segment.time_min

    @property
    def time_max(self) -> int:
        """The latest event time, ns."""
        return self.segment.time_max

    @property
    def columns(self) -> frozenset[str]:
        """The canonical columns that are not null throughout."""
        return frozenset(self.segment.columns)

    @property
    def path(self) -> Path:
        """The file."""
        return segment_path(self.directory, self.segment.id)

    def scan(self) -> pl.LazyFrame:
        """The rows, ascending by ``seq``; Polars reads what the query needs and no more.

        :class:`Damaged` when the file does not open.  Damage further in shows only while
        collecting, as a Polars error: :meth:`check` tells then whether the file is to blame.
        """
        with _damage(self.path):
            must_be_file(self.path)
            scan = pl.scan_parquet(
                self.path,
                decryption=pl.ParquetDecryptionProperties(
                    footer_key=self.secret(), aad_prefix=self.segment.id.encode()
                ),
                glob=False,
            )
            scan.collect_schema()
        return scan

    def check_hash(self) -> None:
        """Read the file as it lies; :class:`Damaged` when it is not the one that was sealed."""
        with _damage(self.path):
            found = sha256(read_file(self.path)).hexdigest()
        if found != self.segment.sha256:
            raise Damaged(f"{self.path}: is not the file that was sealed")

    def check(self) -> None:
        """Read all there is; :class:`Damaged` when the file is to blame for a failed query."""
        self.check_hash()
        read(self.path, self.secret(), self.segment.id)

    def maybe(self, column: str, value: str) -> bool:
        """False only when no row has *value* in *column* (or in its list)."""
        if column == "seq" or column not in SCHEMA:
            return True
        if column not in self.segment.columns:
            return False
        if column not in FILTERED:
            return True
        bits = self._filter(column)
        return bits is None or _holds(bits, value)

    def _filter(self, column: str) -> bytes | None:
        """The column's filter, made anew when what lies there is no use."""
        if column not in self._filters:
            path = filter_path(self.directory, self.segment.id)
            try:
                self._filters[column] = _Filters(path, self.secret(), self.segment.id).get(column)
            except (OSError, ValueError, KeyError, TypeError, struct.error, InvalidTag, Damaged):
                self._filters |= self._rebuild()
                self._filters.setdefault(column, None)
        return self._filters[column]

    def _rebuild(self) -> dict[str, bytes]:
        names = [n for n in FILTERED if n in self.segment.columns]
        with _damage(self.path):
            filters = build_filters([self.scan().select(names).collect()])
        # A reader may have no right to write here; it then pays for the filter each time.
        with contextlib.suppress(StorageFailed, OSError):
            write_filters(self.directory, self.secret(), self.segment.id, filters)
        return filters

    def secret(self) -> bytes:
        """Its key; KeyMissing, which is no fault of the file, when it cannot be had."""
        if self._key is None:
            name = key_name(self.segment.id)
            try:
                self._key = self.keys.get(name)
            except (KeyMissing, Damaged) as error:
                lack = "is missing" if isinstance(error, KeyMissing) else "is damaged"
                raise KeyMissing(
                    f"{self.path.name} cannot be read: its key {self.keys.path(name)} {lack}; put "
                    "it back from the backup of the keys, and nothing else is needed"
                ) from error
        return self._key


class Shelves:
    """The vault's sealed segments, as the catalog lists them; what was read once is kept."""

    def __init__(self, directory: Path, ring: KeyRing, engine: sa.Engine) -> None:
        self._directory, self._ring, self._engine = directory, ring, engine
        self._known: dict[Segment, Shelf] = {}

    def within(self, time_min: int | None = None, time_max: int | None = None) -> list[Shelf]:
        """Shelves that may hold event times in ``[time_min, time_max]``, newest first."""
        table = catalog_segments
        wanted = sa.select(table).where(table.c.quarantined.is_(None))
        with self._engine.connect() as connection:
            found = [from_row(row) for row in connection.execute(wanted)]
        # Forget those that compaction replaced.
        self._known = {s: self._known.get(s) or self._shelf(s) for s in found}
        chosen = [
            shelf
            for shelf in self._known.values()
            if (time_min is None or shelf.time_max >= time_min)
            and (time_max is None or shelf.time_min <= time_max)
        ]
        return sorted(chosen, key=lambda shelf: -shelf.first_seq)

    def _shelf(self, segment: Segment) -> Shelf:
        return Shelf(self._directory, segment, self._ring)


def open_shelves(directory: Path, ring: KeyRing, engine: sa.Engine) -> list[Shelf]:
    """All sealed segments, newest first."""
    return Shelves(directory, ring, engine).within()


def record(connection: sa.Connection, new: Segment, replaced: Iterable[str] = ()) -> None:
    """Enter *new* into the catalog in place of *replaced* and of what stood there of its rows."""
    table = catalog_segments
    connection.execute(sa.delete(table).where(table.c.id.in_([*replaced, new.id])))
    connection.execute(
        sa.delete(table).where(table.c.first_seq <= new.last_seq, table.c.last_seq >= new.first_seq)
    )
    values = new._asdict() | {"columns": json.dumps(new.columns)}
    connection.execute(sa.insert(table).values(**values))


def quarantine(shelf: Shelf, engine: sa.Engine, reason: str, *, disk: Disk = DISK) -> Path:
    """Set a damaged segment aside and mark it in the catalog; the rest goes on.

    Its key stays where it is: somebody may yet read part of the file, and a copy of the file as it
    was that is put into its place is taken back by the next start.
    """
    segment = shelf.segment.id
    source = shelf.path
    aside = shelf.directory / "quarantine"
    make_directory(aside, disk=disk)
    with contextlib.suppress(FileNotFoundError):
        # A crash after this leaves a catalog row without a file: read as damaged, and marked then.
        disk.rename(source, aside / source.name)
        disk.sync_dir(aside)
        disk.sync_dir(source.parent)
    # Who has no key of ours cannot hide a whole segment and have it look like this.
    words = f"{reason}\n{aside_mark(shelf.secret(), segment, reason)}"
    table = catalog_segments
    with engine.begin() as connection:
        connection.execute(sa.update(table).where(table.c.id == segment).values(quarantined=words))
    return aside / source.name


def aside_mark(key: bytes, segment: str, reason: str) -> str:
    """What the catalog says beside the *reason* for which a segment was set aside."""
    own = sha256(b"tocsin aside" + key).digest()
    return hmac.digest(own, f"{segment}\n{reason}".encode(), "sha256").hex()


def is_listed(engine: sa.Engine, segment: str) -> bool:
    """Whether the catalog knows *segment*, set aside or not.  Replaced ones it forgets."""
    table = catalog_segments
    with engine.connect() as connection:
        return bool(connection.scalar(sa.select(sa.exists().where(table.c.id == segment))))


def from_row(row: Any) -> Segment:
    """A segment as its row of the catalog says."""
    values = row._asdict()
    del values["quarantined"]
    return Segment(**(values | {"columns": tuple(json.loads(values["columns"]))}))
