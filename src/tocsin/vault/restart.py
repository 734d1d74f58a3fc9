"""What a start finds in the write-ahead log, and what it makes of it.

Every step can be repeated: a crash during a start is found by the next one as this one found it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from tocsin.errors import StorageFailed
from tocsin.vault.disk import Disk, make_directory, sweep
from tocsin.vault.gaps import Gap, Gaps, filler
from tocsin.vault.jobs import SealJob
from tocsin.vault.keys import KeyRing
from tocsin.vault.recover import Laid, lay_out, quarantine, set_aside
from tocsin.vault.wal import Frame, WalFile, claimed, encode, read_all, remove, start_wal

__all__ = ["Begun", "Recovery", "restart"]


class Recovery(msgspec.Struct, frozen=True):
    """What a start found.  Anything but zeros is worth telling somebody."""

    rows: int  #: replayed: durable, but not sealed yet
    torn_bytes: int  #: cut off; nobody had been told that they were durable
    lost_rows: int  #: acknowledged, and damaged since; at least so many, where a file is gone
    damaged: tuple[str, ...]  #: which files, and how; kept under quarantine/
    seconds: float
    catalog_lost: bool = False  #: the catalog was new, and the log was not
    segments_entered: int = 0  #: segments that the catalog did not know, entered from the log
    taken_back: tuple[str, ...] = ()  #: segments that had been set aside, and are whole again
    mended: tuple[str, ...] = ()  #: files of the log in which a bad byte was put right
    unproved_rows: int = 0  #: in files without a key, by their own word, which nobody can check


@dataclass(frozen=True, slots=True)
class Begun:
    """Where the writer goes on."""

    recovery: Recovery
    frames: tuple[Frame, ...]  #: everything not sealed, without a hole
    jobs: tuple[SealJob, ...]
    file: WalFile | None  #: already holds the last group again, if there was one
    ordinal: int  #: of the next file


def restart(
    directory: Path, ring: KeyRing, start: int, *, epoch_rows: int, disk: Disk, now: int
) -> Begun:
    """Replay the write-ahead log of the vault in *directory* from seq *start*, the first unsealed.

    The last group of the last file is written once more, to a new file: it may be only in the
    system's cache, whatever a sync says now (a failed sync is reported once).  Everything before
    was synced, or a later frame or file would not exist.
    """
    began = time.monotonic()
    wal, aside = directory / "wal", directory / "quarantine"
    sweep(wal, disk=disk)
    ring.sweep()
    make_directory(aside, disk=disk)
    log = read_all(wal, ring)
    laid = lay_out(log.files, start)
    over = [file for file in laid if _is_over(file, start)]
    live = [file for file in laid if file not in over]
    notes = Gaps(aside, ring, disk=disk)
    unproved = [(path, claimed(path)) for path, _ in log.strange]
    told = _refuse(notes, log.strange, dict(unproved), aside, disk)
    gaps = _write_down(live, notes, aside, ring, disk, now)
    frames = [frame for file in live for frame in file.frames] + [filler(gap) for gap in gaps]
    frames.sort(key=lambda frame: frame.first_seq)
    last = _last_group(live)
    end = last[0].first_seq if last else max((file.end for file in live), default=start)
    # A crash before this leaves the last group where it was; after it, the new file takes over
    # from there.
    file = _write_again(wal, ring, last, log.ordinal, disk) if last else None
    # A crash in here leaves some of them, or their keys: they are found to be over again.
    remove([file.contents.path for file in over], ring, disk=disk)
    jobs = _jobs(live, start, end, epoch_rows)
    recovery = Recovery(
        rows=sum(frame.rows for frame in frames),
        torn_bytes=sum(job.wal_cut for job in jobs),
        lost_rows=sum(gap.rows for gap in gaps),
        damaged=(*told, *(_problem(f) for f in live if f.contents.damaged or f.holes)),
        seconds=time.monotonic() - began,
        unproved_rows=sum(rows for _, rows in unproved),
    )
    return Begun(recovery, tuple(frames), tuple(jobs), file, log.ordinal + 1)


def _is_over(file: Laid, start: int) -> bool:
    """Whether only its removal was interrupted; or it never got its name, and has but a key."""
    if file.frames or file.holes:
        return False
    first, began = file.contents.first_seq, file.contents.takes_over_from is not None
    return (not began and not file.contents.damaged) or (first is not None and first < start)


def _refuse(
    notes: Gaps,
    strange: Iterable[tuple[Path, str]],
    claims: Mapping[Path, int],
    aside: Path,
    disk: Disk,
) -> list[str]:
    """Set aside what somebody put there, so that it counts for nothing; and say what that was."""
    told: list[str] = []
    for path in notes.forged():
        set_aside(path, aside, suffix=".forged", disk=disk)
        told.append(f"{path.name}: no note of this vault's: it does not authenticate")
    for path, why in strange:
        set_aside(path, aside, disk=disk)
        rows = claims.get(path)
        told.append(f"{path.name}: {why}" + (f"; by its headers {rows} events" if rows else ""))
    return told


def _write_down(
    files: Iterable[Laid], notes: Gaps, aside: Path, ring: KeyRing, disk: Disk, now: int
) -> list[Gap]:
    """Keep damaged files for whoever wants to look, and write down which rows are gone."""
    gaps: list[Gap] = []
    for file in files:
        if file.contents.damaged or file.holes:
            quarantine(file.contents, aside, ring, disk=disk)
        for hole in file.holes:
            known = notes.within(*hole)
            if not known:
                known = [Gap(*hole, now, _problem(file))]
                notes.write(known[0])
            gaps += known
    return gaps


def _problem(file: Laid) -> str:
    why = file.contents.damaged or "rows after its end are missing"
    lost = ", ".join(f"{rows} rows from seq {first}" for first, rows in file.holes)
    return f"{file.contents.path.name}: {why}" + (f" (known to be lost: {lost})" if lost else "")


def _last_group(files: Sequence[Laid]) -> list[Frame]:
    """The frames of the last file that no later frame calls durable."""
    if not files:
        return []
    return [f for f in files[-1].frames if f.number > files[-1].contents.synced]


def _write_again(
    wal: Path, ring: KeyRing, frames: Sequence[Frame], ordinal: int, disk: Disk
) -> WalFile:
    group = [
        encode(f.frame, source=f.source, batch_id=f.batch_id, at=f.at, content=f.content)
        for f in frames
    ]
    try:
        file = start_wal(wal, ring, frames[0].first_seq, ordinal=ordinal, disk=disk)
        file.append(group)
    except OSError as error:
        raise StorageFailed(
            f"{wal}: cannot be written: {error.strerror or error}; make room or mend the disk, "
            "and start again; nothing is lost"
        ) from error
    return file


def _jobs(files: Iterable[Laid], start: int, end: int, epoch_rows: int) -> list[SealJob]:
    """Epochs to be sealed: neighbouring files together, until they make a full epoch."""
    jobs: list[SealJob] = []
    for file in files:
        upto = min(file.end, end)
        last = jobs[-1] if jobs else None
        if last is None or (last.rows >= epoch_rows and upto > start):
            jobs.append(SealJob((), start, 0, 0))
        job = jobs[-1]
        jobs[-1] = SealJob(
            (*job.paths, file.contents.path),
            job.first_seq,
            upto - job.first_seq,
            job.wal_cut + file.contents.torn_bytes,
        )
        start = upto
    return jobs
