"""What tocsin has to say of itself: each loss or damage becomes an event, and a rule rings for it.

The tag of such an event is what the rules in ``own_record.yml`` look for.  A loss that nobody hears
of is the worst: what one life could not tell, the next one does.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

import msgspec
import sqlalchemy as sa

from tocsin.catalog import segments as table
from tocsin.detect import span
from tocsin.errors import TocsinError
from tocsin.event import Event, Kind
from tocsin.siem.detection import Losses
from tocsin.vault import Recovery
from tocsin.vault.note import parse_checkpoint
from tocsin.vault.segments import key_name, segment_path
from tocsin.vault.store import Status
from tocsin.vault.tlog import decode, entries

__all__ = [
    "CATALOG",
    "RESTORED",
    "TAMPERED",
    "UNCLEAN",
    "UNTOLD",
    "Notice",
    "Watch",
    "Watched",
    "found_at_start",
    "gone",
    "notice",
]

DAMAGED = "record_damaged"  #: evidence is gone, or does not read
TAMPERED = "record_tampered"  #: somebody changed what is proved
FORGED = "catalog_forged"  #: somebody else wrote into the catalog
RESTORED = "record_restored"  #: what was set aside is whole again, and counts
CATALOG = "catalog_lost"
UNCLEAN = "unclean_stop"
SEALER = "sealer_died"
STUCK = "not_kept"  #: events can be neither taken nor sealed
BLIND = "detection_loss"
UNTOLD = "not_told"  #: people were not reached

#: Seconds between two events about what detection lost.
_LOSS_SECONDS = 60.0
_LOG_ENTRIES = 8  #: how far back from its end a life's own ``start`` is looked for


class Notice(msgspec.Struct, frozen=True):
    """One thing that people should know."""

    tag: str
    severity: str  #: of the event
    words: str


def notice(
    tag: str,
    words: str,
    *,
    at: int,
    severity: str = "critical",
    kind: Kind = Kind.SYS_CRASH,
    user: str | None = None,
) -> Event:
    """The event that says it."""
    return Event(time=at, kind=kind, severity=severity, message=words, tags=(tag,), user=user)


def found_at_start(data: Path, recovery: Recovery, catalog: sa.Engine) -> Iterator[Notice]:
    """What the last life left in disorder."""
    if recovery.torn_bytes:
        words = f"{recovery.torn_bytes} bytes of an unfinished write were cut off"
        yield Notice(UNCLEAN, "warn", words)
    if recovery.lost_rows:
        yield Notice(DAMAGED, "critical", f"{recovery.lost_rows} acknowledged events were lost")
    if recovery.unproved_rows:
        words = f"{recovery.unproved_rows} events were in files whose keys are gone, and are lost"
        yield Notice(DAMAGED, "critical", words)
    for what in recovery.mended:
        yield Notice(DAMAGED, "critical", f"a bad byte was put right by what is signed: {what}")
    if recovery.taken_back:
        words = f"whole again, and taken back: {_some(f'{n}.parquet' for n in recovery.taken_back)}"
        yield Notice(RESTORED, "info", words)
    for what in recovery.damaged:
        yield Notice(DAMAGED, "critical", f"damaged and set aside: {what}")
    if files := _set_aside(catalog):
        yield Notice(DAMAGED, "critical", f"damaged and set aside earlier: {_some(files)}")
    if files := gone(data, catalog):
        words = f"gone from the disk, with all events in them: {_some(files)}"
        yield Notice(DAMAGED, "critical", words)
    if files := locked(data, catalog):
        words = f"cannot be read until a key is back: {_some(files)}; restore it from the backup"
        yield Notice(DAMAGED, "critical", words)
    if (silent := _unclean(data)) is not None:
        words = f"tocsin had ended without a stop; the record is silent for {span(silent)}"
        yield Notice(UNCLEAN, "warn", words)


def gone(data: Path, catalog: sa.Engine) -> list[str]:
    """Segments that the catalog lists and the disk does not have."""
    wanted = sa.select(table.c.id).where(table.c.quarantined.is_(None)).order_by(table.c.first_seq)
    with catalog.connect() as connection:
        segments = connection.scalars(wanted).all()
    return [path.name for path in (segment_path(data, s) for s in segments) if not path.exists()]


def locked(data: Path, catalog: sa.Engine) -> list[str]:
    """Segments that are there, while their keys are not; each with the file that is missing."""
    wanted = sa.select(table.c.id).where(table.c.quarantined.is_(None)).order_by(table.c.first_seq)
    with catalog.connect() as connection:
        segments = connection.scalars(wanted).all()
    keys = data / "keys"
    there = {path.name for path in keys.iterdir()} if keys.is_dir() else set[str]()
    keyless = [s for s in segments if f"{key_name(s)}.key" not in there]
    return [
        f"{segment}.parquet, for want of keys/{key_name(segment)}.key"
        for segment in keyless
        if segment_path(data, segment).exists()
    ]


def _set_aside(catalog: sa.Engine) -> list[str]:
    wanted = sa.select(table.c.id).where(table.c.quarantined.is_not(None))
    with catalog.connect() as connection:
        segments = connection.scalars(wanted.order_by(table.c.first_seq))
        return [f"{segment}.parquet" for segment in segments]


def _unclean(data: Path) -> int | None:
    """Nanoseconds of silence before this life, when the one before it did not end in order."""
    log = data / "log"
    try:
        path = log / "checkpoint"
        text = path.read_text("utf-8").partition("\n\n")[0] + "\n"
        size = parse_checkpoint(text, where=str(path)).size
        begin = max(0, size - _LOG_ENTRIES)
        for entry in reversed([decode(e, where=str(log)) for e in entries(log, size, begin)]):
            if entry["kind"] == "start":
                return None if entry["clean"] else int(entry["gap"])
    except (OSError, TocsinError, KeyError, ValueError):
        return None  # whatever is wrong with the log, the vault itself says
    return None


def _some(names: Iterable[str], most: int = 3) -> str:
    every = list(names)
    more = f" and {len(every) - most} more" if len(every) > most else ""
    return f"{len(every)} segment{'s' * (len(every) != 1)}: {', '.join(every[:most])}{more}"


class Watched(Protocol):
    """Where a running tocsin can see how it is."""

    @property
    def catalog(self) -> sa.Engine: ...

    def vault_status(self) -> Status: ...

    def losses(self) -> Losses: ...

    def forged(self) -> frozenset[str]: ...

    def tell(self, *events: Event) -> None: ...


class Watch:
    """Turns what the house knows of itself into events, once for each change."""

    def __init__(self, house: Watched) -> None:
        self._house = house
        self._restarts, self._failed = 0, frozenset[str]()
        self._aside = frozenset(_set_aside(house.catalog))
        self._locked = frozenset[str]()
        self._forged = frozenset[str]()
        self._lost, self._lost_told_at = house.losses(), float("-inf")

    def step(self) -> None:
        """Tell what is new.  What cannot be told now is told as soon as something can."""
        status = self._house.vault_status()
        restarts = status.sealer_restarts
        failed = frozenset(w for w in (status.writing_failed, status.sealing_failed) if w)
        aside, forged = frozenset(_set_aside(self._house.catalog)), self._house.forged()
        lost, now = self._house.losses(), time.monotonic()
        found: list[Notice] = []
        if restarts > self._restarts:
            words = f"the sealer died and was started again: {restarts}"
            found.append(Notice(SEALER, "error", words))
        found += [Notice(STUCK, "critical", why) for why in sorted(failed - self._failed)]
        found += [
            Notice(DAMAGED, "critical", f"damaged and set aside: {name}")
            for name in sorted(aside - self._aside)
        ]
        locked = frozenset(status.locked)
        found += [Notice(DAMAGED, "critical", words) for words in sorted(locked - self._locked)]
        found += [
            Notice(FORGED, "critical", f"{name} in the catalog was not written by tocsin")
            for name in sorted(forged - self._forged)
        ]
        more = lost.since(self._lost)
        tells_loss = bool(more) and now - self._lost_told_at >= _LOSS_SECONDS
        if tells_loss:
            found.append(Notice(BLIND, "warn", _lost(more)))
        if found:
            at = time.time_ns()
            self._house.tell(*(notice(n.tag, n.words, at=at, severity=n.severity) for n in found))
        # Only now: while nothing can be written, it waits.
        self._restarts, self._failed, self._aside, self._forged = restarts, failed, aside, forged
        self._locked = locked
        if tells_loss:
            self._lost, self._lost_told_at = lost, now


def _lost(more: Losses) -> str:
    parts = [
        (more.late, "events came later than their source is allowed"),
        (more.evicted, "entities were forgotten while they still counted"),
        (more.missed, "events came after their window was decided"),
        (more.hurried, "windows were decided early"),
    ]
    said = "; ".join(f"{many} {what}" for many, what in parts if many > 0)
    return f"detection could not look as the rules ask: {said}"
