"""What a start finds in the write-ahead log, and what it makes of it.

Every step can be repeated: a crash during a start is found by the next one as this one found it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from tocsin.errors import StorageFailed
from tocsin.vault.disk import Disk, make_directory, sweep
from tocsin.vault.jobs import SealJob
from tocsin.vault.keys import KeyRing
from tocsin.vault.recover import Gap, Laid, filler, find_gap, lay_out, quarantine, write_gap
from tocsin.vault.wal import (
    Frame,
    WalFile,
    encode,
    first_seq_of,
    key_name,
    read_wal,
    start_wal,
    wal_files,
)

__all__ = ["Begun", "Recovery", "restart"]


class Recovery(msgspec.Struct, frozen=True):
    """What a start found.  Anything but zeros is worth telling somebody."""

    rows: int  #: replayed: durable, but not sealed yet
    torn_bytes: int  #: cut off; nobody had been told that they were durable
    lost_rows: int  #: acknowledged, and damaged since
    damaged: tuple[str, ...]  #: which files, and how; kept under quarantine/
    seconds: float


@dataclass(frozen=True, slots=True)
class Begun:
    """Where the writer goes on."""

    recovery: Recovery
    frames: tuple[Frame, ...]  #: everything not sealed, without a hole
    jobs: tuple[SealJob, ...]
    file: WalFile | None  #: already holds the last group again, if there was one


def restart(
    directory: Path, ring: KeyRing, start: int, *, epoch_rows: int, disk: Disk, now: int
) -> Begun:
    """Replay the write-ahead log of the vault in *directory* from seq *start*, the first unsealed.

    The last group of the last file is written once more, to a new file: it may be only in the
    system's cache, whatever a sync says now (a failed sync is reported once).  Everything before
    was synced, or a later frame or file would not exist.
    """
    began = time.monotonic()
    wal = directory / "wal"
    sweep(wal, disk=disk)
    ring.sweep()
    laid = lay_out([read_wal(path, ring) for path in wal_files(wal)], start)
    covered = [file for file in laid if _is_covered(file, start)]
    live = [file for file in laid if file not in covered]
    gaps = _set_aside(directory, ring, live, disk, now)
    frames = [frame for file in live for frame in file.frames]
    frames += [filler(gap, gap.first_seq, gap.rows) for gap in gaps]
    frames.sort(key=lambda frame: frame.first_seq)
    last = _last_group(live)
    end = last[0].first_seq if last else max((file.end for file in live), default=start)
    # A crash before this leaves the last group where it was; after it, the new file's name takes
    # over from there.
    file = _write_again(wal, ring, last, disk) if last else None
    # A crash among these leaves some of them: they are found covered, or without a file, again.
    for old in covered:
        disk.unlink(old.contents.path)
        ring.drop(key_name(old.contents.path))
    _drop_orphans(wal, ring)
    jobs = _jobs(live, start, end, epoch_rows)
    recovery = Recovery(
        rows=sum(frame.rows for frame in frames),
        torn_bytes=sum(job.wal_cut for job in jobs),
        lost_rows=sum(gap.rows for gap in gaps),
        damaged=tuple(_problem(file) for file in live if file.contents.damaged or file.holes),
        seconds=time.monotonic() - began,
    )
    return Begun(recovery, tuple(frames), tuple(jobs), file)


def _is_covered(file: Laid, start: int) -> bool:
    """Whether the seal that took this file's rows was interrupted just before removing it."""
    return not file.frames and not file.holes and first_seq_of(file.contents.path) < start


def _set_aside(
    directory: Path, ring: KeyRing, files: Iterable[Laid], disk: Disk, now: int
) -> list[Gap]:
    """Keep damaged files for whoever wants to look, and write down which rows are gone."""
    aside = directory / "quarantine"
    make_directory(aside, disk=disk)
    gaps: list[Gap] = []
    for file in files:
        if file.contents.damaged or file.holes:
            quarantine(file.contents, aside, ring, disk=disk)
        for first, rows in file.holes:
            gap = find_gap(aside, first, rows)
            if gap is None:
                gap = Gap(first, rows, now, _problem(file))
                write_gap(aside, gap, disk=disk)
            gaps.append(gap)
    return gaps


def _problem(file: Laid) -> str:
    why = file.contents.damaged or "rows after its end are missing"
    lost = ", ".join(f"{rows} rows from seq {first}" for first, rows in file.holes)
    return f"{file.contents.path.name}: {why}" + (f" (lost: {lost})" if lost else "")


def _last_group(files: Sequence[Laid]) -> list[Frame]:
    """The frames of the last file that no later frame calls durable."""
    if not files:
        return []
    return [f for f in files[-1].frames if f.number > files[-1].contents.synced]


def _write_again(wal: Path, ring: KeyRing, frames: Iterable[Frame], disk: Disk) -> WalFile:
    group = [encode(f.frame, source=f.source, batch_id=f.batch_id, at=f.at) for f in frames]
    first = next(iter(frames)).first_seq
    try:
        return start_wal(wal, ring, first, group, disk=disk)
    except OSError as error:
        raise StorageFailed(
            f"{wal}: cannot be written: {error.strerror or error}; make room or mend the disk, "
            "and start again; nothing is lost"
        ) from error


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


def _drop_orphans(wal: Path, ring: KeyRing) -> None:
    """Forget the keys of files that are gone: a crash came between the two."""
    wanted = {key_name(path) for path in wal_files(wal)}
    for name in ring.names():
        if name.startswith("wal.") and name not in wanted:
            ring.drop(name)
