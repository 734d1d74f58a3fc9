"""Follow log files into the vault: a place in a file moves only when its lines are durable."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from hashlib import blake2b
from pathlib import Path

import msgspec
import polars as pl
import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from tocsin.catalog import positions as table
from tocsin.errors import Malformed, Pushback, UsageError
from tocsin.event import Event, Kind
from tocsin.event.batch import Batch
from tocsin.intake import PARSERS, Origin, boundary, parse, read_records, sniff
from tocsin.intake.sniff import Sniffer
from tocsin.intake.tail import Archive, Chunk, Position, Tail, head_digest
from tocsin.settings import Follow
from tocsin.vault import Vault

__all__ = ["Following", "Positions"]

_HEAD = 64 << 10


class Following:
    """All followed files.  ``step`` returns when what was written since is durable."""

    def __init__(
        self,
        vault: Vault,
        catalog: sa.Engine,
        follow: Sequence[Follow],
        *,
        admit: Callable[[pl.DataFrame, Origin], Batch],
        tell: Callable[[Event], None],
        stopping: threading.Event | None = None,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._stopping = stopping or threading.Event()
        self._vault, self._admit, self._tell, self._clock = vault, admit, tell, clock
        self._tails = [
            _Followed(one, Positions(catalog), Positions(catalog, "tried")) for one in follow
        ]

    def step(self) -> None:
        """One look at every file, until nothing new is in any, or until it is to stop."""
        for followed in self._tails:
            try:
                while not self._stopping.is_set() and (chunks := followed.tail.poll()):
                    for chunk in chunks:
                        self._take(followed, chunk)
            except BaseException:
                followed.reopen()  # what was polled and not acknowledged comes again
                raise
            for archive in followed.tail.archives():
                self._unpack(followed, archive)
            for gap in followed.tail.gaps():
                self._warn(f"{gap.path}: {gap.what}", "gap")

    def _take(self, followed: _Followed, chunk: Chunk) -> None:
        origin = followed.origin(chunk.path)
        try:
            parser = followed.parser(chunk)
        except Malformed as error:
            # A file that is no log costs nobody else theirs: no line in the chunk is one of a log.
            # What it holds is passed over, and said: once, since the place moves on and the file is
            # known from then on.
            if followed.refuse(chunk):
                self._warn(f"{chunk.path}: {error}; it is not followed", "gap")
            followed.tail.ack(chunk)
            return
        content, begin = chunk.position.id, chunk.position.offset - len(chunk.data)
        for start, data in followed.parts(content, begin, chunk.data):
            self._keep(followed, data, parser, origin, f"{content}@{start}")
        # A crash before this brings the chunk again, perhaps longer: see ``parts``.
        followed.tail.ack(chunk)

    def _keep(
        self, followed: _Followed, data: bytes, parser: str, origin: Origin, place: str
    ) -> None:
        """Store records; the same bytes at the same place of the same content are a repeat."""
        frame = parse(data, parser, origin, self._clock(), guessed=followed.named is None)
        if frame.height:
            digest = blake2b(data, digest_size=16).hexdigest()
            self._store(self._admit(frame, origin), origin.source, f"{place}-{digest}")

    def _unpack(self, followed: _Followed, archive: Archive) -> None:
        """Read what was packed before it was read: of the content that was at hand, the rest."""
        met = False
        for path in archive.paths:
            try:
                met |= self._unpack_one(followed, path, archive.place)
            except (OSError, Malformed) as error:
                self._warn(f"{path}: rotated and packed before it was read: {error}", "gap")
        if not met:
            self._warn(
                f"{archive.place.path}: gone after byte {archive.place.offset:,}, and in none of "
                f"{', '.join(archive.paths)}; lines written behind it may be missing",
                "gap",
            )
        # A crash before this brings all of it again: the same batches, which are recognised.
        followed.tail.done(archive)

    def _unpack_one(self, followed: _Followed, path: str, place: Position) -> bool:
        """Whether *path* holds the content of *place*.  If not, it came and went unseen."""
        origin = followed.origin(place.path)
        sniffer = Sniffer(followed.named)
        at, skip = 0, 0
        begun = met = False
        with Path(path).open("rb") as file:
            for data in read_records(file, followed.named or "text"):
                if not begun:
                    begun = True
                    head = head_digest(data[: place.head_size])
                    met = bool(place.head_size) and head == place.head
                    skip = place.offset if met else 0
                rest = data[max(0, skip - at) :]
                content = place.id if met else f"{place.id}/{Path(path).name}"
                begin = at + len(data) - len(rest)
                parts = followed.parts(content, begin, rest) if rest else []
                for start, part in parts:
                    begun_at = f"{content}@{start}"
                    self._keep(followed, part, sniffer.parser(part), origin, begun_at)
                at += len(data)
        return met

    def _warn(self, message: str, tag: str) -> None:
        self._tell(
            Event(time=self._clock(), kind=Kind.LOG, severity="warn", message=message, tags=(tag,))
        )

    def _store(self, batch: Batch, source: str, batch_id: str) -> None:
        """Wait while too much is waiting: a file, unlike a sender, loses nothing by it."""
        while True:
            try:
                self._vault.append(batch, source=source, batch_id=batch_id).result()
            except Pushback as error:
                if self._stopping.wait(error.retry_after):
                    raise
            else:
                return

    def close(self) -> None:
        """Let go of the files."""
        for followed in self._tails:
            followed.tail.close()


class _Tried(msgspec.Struct, frozen=True, array_like=True):
    """Where a chunk began and ended when it was handed to the vault."""

    start: int
    end: int


class _Followed:
    """One entry of the settings, and the files it matches."""

    def __init__(
        self,
        follow: Follow,
        positions: MutableMapping[str, bytes],
        tried: MutableMapping[str, bytes],
    ) -> None:
        if follow.parser and follow.parser not in PARSERS:
            raise UsageError(
                f"follow {follow.path}: no parser {follow.parser!r}; "
                f"there are {', '.join(sorted(PARSERS))}"
            )
        self._follow = follow
        self.named = follow.parser or None  #: the format, if it is set
        self._sniffers: dict[str, Sniffer] = {}
        self._parsers: dict[str, str] = {}
        self._refused: set[str] = set()
        self._positions, self._tried = positions, tried
        self.tail = self._open()

    def _open(self) -> Tail:
        return Tail([self._follow.path], self._positions, boundary=self._boundary)

    def _boundary(self, data: bytes, key: str) -> int:
        """How many bytes are whole records, in the format that the file has or seems to have."""
        parser = self.named or self._parsers.get(key)
        if parser is None:
            try:
                parser = sniff(data[:_HEAD])
            except Malformed:  # told when it is to be read
                parser = "text"
        return boundary(data, parser)

    def reopen(self) -> None:
        """Begin again from the places that are known to be durable."""
        self.tail.close()
        self.tail = self._open()

    def parser(self, chunk: Chunk) -> str:
        """The format: as set, else as this chunk and those before it tell."""
        sniffer = self._sniffers.setdefault(chunk.key, Sniffer(self.named))
        found = self._parsers[chunk.key] = sniffer.parser(chunk.data)
        return found

    def refuse(self, chunk: Chunk) -> bool:
        """Note that a file is no log; False when that was known."""
        known = chunk.key in self._refused
        self._refused.add(chunk.key)
        return not known

    def parts(self, content: str, start: int, data: bytes) -> list[tuple[int, bytes]]:
        """*data* with the offset of its start; cut where it ended when it was tried before.

        Where it ends is written down before it is stored.  So after a crash between storing and
        acknowledging, in which the file grew, what may be stored already comes by itself again and
        is recognised, and the rest is new.
        """
        end = start + len(data)
        tried = _Tried(start, end)
        if (known := self._tried.get(content)) is not None:
            before = msgspec.msgpack.decode(known, type=_Tried)
            if before.start == start and start < before.end < end:
                cut = before.end - start
                return [(start, data[:cut]), (before.end, data[cut:])]
            if before == tried:
                return [(start, data)]
        self._tried[content] = msgspec.msgpack.encode(tried)
        return [(start, data)]

    def origin(self, path: str) -> Origin:
        """The source's name is the file's, unless it is set."""
        f = self._follow
        return Origin(
            source=f.source or Path(path).name,
            layer=f.layer,
            service=f.service,
            env=f.env,
            host=f.host,
            tenant=f.tenant,
            tz=f.tz,
        )


class Positions(MutableMapping[str, bytes]):
    """Places in files, in the catalog.  An assignment is durable when it returns."""

    def __init__(self, catalog: sa.Engine, kind: str = "read") -> None:
        self._catalog = catalog
        self._prefix = f"{kind} "

    def __getitem__(self, name: str) -> bytes:
        with self._catalog.connect() as connection:
            found: bytes | None = connection.scalar(
                sa.select(table.c.position).where(table.c.name == self._prefix + name)
            )
        if found is None:
            raise KeyError(name)
        return found

    def __setitem__(self, name: str, position: bytes) -> None:
        row = insert(table).values(name=self._prefix + name, position=position)
        with self._catalog.begin() as connection:
            connection.execute(row.on_conflict_do_update(["name"], set_={"position": position}))

    def __delitem__(self, name: str) -> None:
        gone = sa.delete(table).where(table.c.name == self._prefix + name)
        with self._catalog.begin() as connection:
            if not connection.execute(gone).rowcount:
                raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        mine = sa.select(table.c.name).where(table.c.name.startswith(self._prefix))
        with self._catalog.connect() as connection:
            names = connection.scalars(mine.order_by(table.c.name)).all()
        return iter([name.removeprefix(self._prefix) for name in names])

    def __len__(self) -> int:
        return sum(1 for _ in self)
