"""Which rows the write-ahead log holds, across its files; and the gap that a lost row leaves.

Frames are laid end to end, from a given seq on.  Where files overlap, the later file is right (see
``wal``).  Where rows are missing, evidence that was acknowledged is gone: the gap is written down
(see ``gaps``) and filled with rows that say so, so that every seq keeps its meaning and the loss
itself is an entry.  A gap that nobody wrote down is never filled.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tocsin.errors import Damaged, KeyMissing
from tocsin.vault.disk import DISK, Disk, is_file
from tocsin.vault.gaps import Gaps, filler
from tocsin.vault.keys import KeyRing
from tocsin.vault.wal import Frame, WalContents, key_name, read_wal

__all__ = ["GAP_MAX", "Laid", "lay_out", "quarantine", "read_range", "set_aside"]

#: A wider gap is not a lost file or two: somebody took the log away, and a person must look.
GAP_MAX = 10_000_000


@dataclass(frozen=True, slots=True)
class Laid:
    """The frames of one file that count, and the gaps among and before them."""

    contents: WalContents
    frames: tuple[Frame, ...]
    holes: tuple[tuple[int, int], ...]  #: (first seq, rows)
    end: int  #: the seq after its last row, or hole


def lay_out(files: Sequence[WalContents], start: int, end: int | None = None) -> list[Laid]:
    """Lay the frames of *files*, in the order of their opening, end to end from seq *start*.

    Every file but the last is known to have been complete up to where a later one takes over; the
    last one up to *end*, when that is given, or else to what its key and its own headers say.
    """
    laid: list[Laid] = []
    seq = start
    for i, contents in enumerate(files):
        later = [file.takes_over_from for file in files[i + 1 :]]
        limit = min((first for first in later if first is not None), default=end)
        frames: list[Frame] = []
        holes: list[tuple[int, int]] = []
        for frame in contents.frames:
            if frame.next_seq <= seq or (limit is not None and frame.next_seq > limit):
                continue  # sealed already, or taken over by a later file
            if frame.first_seq > seq:
                holes.append((seq, frame.first_seq - seq))
            frames.append(_from(frame, seq))
            seq = frame.next_seq
        complete = contents.known_end if limit is None else limit
        if complete > seq:
            holes.append((seq, complete - seq))
            seq = complete
        laid.append(Laid(contents, tuple(frames), tuple(holes), seq))
    for file in laid:
        for first, rows in file.holes:
            if rows > GAP_MAX:
                raise Damaged(
                    f"{file.contents.path}: {rows} rows are missing from seq {first} on; "
                    "put the missing files back, or restore the vault from a backup"
                )
    return laid


def _from(frame: Frame, seq: int) -> Frame:
    """*frame* without the rows before *seq*."""
    if frame.first_seq >= seq:
        return frame
    rest = frame.frame.slice(seq - frame.first_seq)
    return dataclasses.replace(frame, first_seq=seq, frame=rest)


def read_range(
    paths: Iterable[Path], first_seq: int, rows: int, ring: KeyRing, quarantine: Path
) -> list[Frame]:
    """Exactly the rows from *first_seq* on, out of *paths* in the order given; what a seal takes.

    Written-down gaps are filled (frame number 0).  Any other missing row raises Damaged.
    """
    gaps = Gaps(quarantine, ring)
    laid = lay_out([read_wal(path, ring) for path in paths], first_seq, first_seq + rows)
    found = [frame for file in laid for frame in file.frames]
    for file in laid:
        for hole in file.holes:
            notes = gaps.within(*hole)
            if not notes:
                why = file.contents.damaged or "its rows are gone"
                raise Damaged(f"{file.contents.path}: {why} ({hole[1]} rows from seq {hole[0]})")
            found += map(filler, notes)
    found.sort(key=lambda frame: frame.first_seq)
    if sum(frame.rows for frame in found) != rows:
        raise Damaged(f"seq {first_seq} and the {rows - 1} after it are not in the log's files")
    return found


def quarantine(contents: WalContents, directory: Path, ring: KeyRing, *, disk: Disk = DISK) -> None:
    """Keep a second name of a damaged file, and its key, for whoever wants to look into it.

    The first name goes when what could be read is sealed.  Repeating it does no harm: a crash in
    between leaves the file under one name or under both.
    """
    kept = directory / contents.path.name
    try:
        plain = is_file(contents.path)
    except FileNotFoundError:
        return  # only its key is left
    if not plain:
        set_aside(contents.path, directory, disk=disk)
    elif not kept.exists():
        kept.hardlink_to(contents.path)
        disk.sync_dir(directory)
    name = key_name(contents.path)
    with contextlib.suppress(KeyMissing, Damaged):  # the key may be what is damaged
        ring.put(f"quarantine.{name}", ring.get(name))


def set_aside(path: Path, directory: Path, *, suffix: str = "", disk: Disk = DISK) -> None:
    """Give to *directory* what is no part of the vault, whatever it is.

    A crash in between leaves it where it was, or moved.
    """
    disk.rename(path, directory / f"{path.name}{suffix}")
    disk.sync_dir(directory)
    disk.sync_dir(path.parent)
