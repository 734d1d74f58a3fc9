"""Many small segments become one: fewer files to open, better compression, the same evidence.

A new file holds whole manifest ranges of neighbours, rows and order untouched, so every manifest
still verifies against it.  Order of writes: new key, new file, ``rewrite`` entry under a
checkpoint, catalog, and only then the old files and keys.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from hashlib import sha256

import polars as pl
import sqlalchemy as sa

from tocsin.catalog import segments as catalog_segments
from tocsin.errors import Damaged, TocsinError
from tocsin.event.batch import SCHEMA, complete
from tocsin.vault import segments
from tocsin.vault.deliveries import KEPT_NS
from tocsin.vault.disk import write_durably
from tocsin.vault.sealer import Sealer
from tocsin.vault.segments import Segment, Shelf, Stored

__all__ = ["FEWEST", "MOST", "MOST_ROWS", "choose", "compact"]

MOST_ROWS = 1_048_576  #: a file is not made larger than this
FEWEST = 8  #: fewer neighbours than this are left as they are
MOST = 512  #: more are not joined at once: their names must fit the log entry


def choose(known: Sequence[Segment]) -> list[Segment]:
    """The first run of neighbours worth joining, or nothing.  *known* ascends by seq.

    A run is worth it when it is at least four times its largest member, so that a row is written
    again a few times in its life and not at every turn.
    """
    for start in range(len(known)):
        run = _run_from(known, start)
        if len(run) >= FEWEST and sum(s.rows for s in run) >= 4 * max(s.rows for s in run):
            return run
    return []


def _run_from(known: Sequence[Segment], start: int) -> list[Segment]:
    run, rows = [known[start]], known[start].rows
    for segment in known[start + 1 : start + MOST]:
        rows += segment.rows
        if segment.first_seq != run[-1].last_seq + 1 or rows > MOST_ROWS:
            break
        run.append(segment)
    return run


def compact(sealer: Sealer) -> int:
    """Join one run; how many segments went into it."""
    # What has no key waits for it, and keeps nobody else from being joined.
    keys = set(sealer.ring.names())
    known = [s for s in _catalogued(sealer.catalog) if segments.key_name(s.id) in keys]
    run = choose(known)
    if not run:
        return 0
    shelves = [Shelf(sealer.directory, segment, sealer.ring) for segment in run]
    try:
        # What is damaged must not be written again as if it were whole.
        stored = [_read(shelf) for shelf in shelves]
    except Damaged as error:
        bad = next(s for s in shelves if s.path.name in str(error))
        segments.quarantine(bad, sealer.catalog, str(error), disk=sealer.disk)
        raise
    new = _write(sealer, run, shelves, _merged(stored, sealer.now() - KEPT_NS))
    sealer.rewrite(new, run)
    return len(run)


def _read(shelf: Shelf) -> Stored:
    shelf.check_hash()
    return segments.read_stored(shelf.path, shelf.secret(), shelf.segment.id)


def _merged(stored: Sequence[Stored], since: int) -> Stored:
    return Stored(
        tuple(itertools.chain.from_iterable(s.ranges for s in stored)),
        tuple(d for s in stored for d in s.deliveries if d.at >= since),
    )


def _write(
    sealer: Sealer, run: Sequence[Segment], shelves: Sequence[Shelf], stored: Stored
) -> Segment:
    present = {name for segment in run for name in segment.columns}
    names = tuple(name for name in SCHEMA if name in present)
    filters = _filters(shelves, names)
    segment = segments.make_id(run[0].first_seq)
    # A crash after this leaves a key without a file, then a file without an entry: no entry of the
    # log speaks of them, and recovery removes both.
    key = sealer.ring.create(segments.key_name(segment))
    try:
        tables = (frame.to_arrow() for frame in _frames(shelves, names))
        data = segments.write(tables, key, segment, stored, level=segments.COMPACT_LEVEL)
        write_durably(segments.segment_path(sealer.directory, segment), data, disk=sealer.disk)
        segments.write_filters(sealer.directory, key, segment, filters, disk=sealer.disk)
    except Exception:
        # Else each further try would leave one more.  What cannot be removed now, recovery does.
        with contextlib.suppress(OSError, TocsinError):
            sealer.remove_segment(segment)
        raise
    return Segment(
        id=segment,
        first_seq=run[0].first_seq,
        last_seq=run[-1].last_seq,
        rows=sum(s.rows for s in run),
        time_min=min(s.time_min for s in run),
        time_max=max(s.time_max for s in run),
        columns=names,
        bytes=len(data),
        sha256=sha256(data).hexdigest(),
        sealed_at=sealer.now(),
        ranges=len(stored.ranges),
    )


def _filters(shelves: Sequence[Shelf], names: Sequence[str]) -> dict[str, bytes]:
    """The filters of the new segment; shelves without any of their columns are not read."""
    filtered = [name for name in names if name in segments.FILTERED]
    having = [shelf for shelf in shelves if not shelf.columns.isdisjoint(filtered)]
    return segments.build_filters(_frames(having, filtered))


def _frames(shelves: Sequence[Shelf], names: Sequence[str]) -> Iterator[pl.DataFrame]:
    """The rows of all shelves, ``seq`` and *names*, a row group at a time."""
    waiting: list[pl.DataFrame] = []
    for shelf in shelves:
        have = [name for name in names if name in shelf.columns]
        frame = shelf.scan().select("seq", *have).collect()
        waiting.append(complete(frame, names).insert_column(0, frame["seq"]))
        if sum(frame.height for frame in waiting) >= segments.ROW_GROUP:
            yield pl.concat(waiting).rechunk()
            waiting = []
    if waiting:
        yield pl.concat(waiting).rechunk()


def _catalogued(engine: sa.Engine) -> list[Segment]:
    table = catalog_segments
    wanted = sa.select(table).where(table.c.quarantined.is_(None)).order_by(table.c.first_seq)
    with engine.connect() as connection:
        return [segments.from_row(row) for row in connection.execute(wanted)]
