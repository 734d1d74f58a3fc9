"""Which rows the write-ahead log holds, across its files; and the gap that a lost row leaves.

Frames are laid end to end, from a given seq on.  Where files overlap, the later file is right (see
``wal``).  Where rows are missing, evidence that was acknowledged is gone: the gap is written down
in ``<data>/quarantine/<first seq>-<rows>.gap`` and filled with rows that say so, so that every seq
keeps its meaning and the loss itself is an entry.  A gap that nobody wrote down is never filled.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import polars as pl

from tocsin.errors import Damaged, KeyMissing
from tocsin.event import Kind
from tocsin.event.batch import DTYPES, SCHEMA
from tocsin.event.schema import Type
from tocsin.vault.disk import DISK, Disk, write_durably
from tocsin.vault.keys import KeyRing
from tocsin.vault.wal import Frame, WalContents, first_seq_of, key_name, read_wal

__all__ = [
    "GAP_MAX",
    "Gap",
    "Laid",
    "filler",
    "find_gap",
    "lay_out",
    "quarantine",
    "read_range",
    "write_gap",
]

#: A wider gap is not a lost file or two: somebody took the log away, and a person must look.
GAP_MAX = 10_000_000


class Gap(msgspec.Struct, frozen=True, gc=False):
    """Rows that were acknowledged and cannot be read any more."""

    first_seq: int
    rows: int
    at: int  #: wall clock, ns, when the loss was found
    reason: str


@dataclass(frozen=True, slots=True)
class Laid:
    """The frames of one file that count, and the gaps among and before them."""

    contents: WalContents
    frames: tuple[Frame, ...]
    holes: tuple[tuple[int, int], ...]  #: (first seq, rows)
    end: int  #: the seq after its last row, or hole


def lay_out(files: Sequence[WalContents], start: int, end: int | None = None) -> list[Laid]:
    """Lay the frames of *files*, in the order of their opening, end to end from seq *start*.

    Every file but the last is known to have been complete up to the next one's first seq; the last
    one up to *end*, when that is given, or else to what its own headers say.
    """
    laid: list[Laid] = []
    seq = start
    for i, contents in enumerate(files):
        later = [first_seq_of(file.path) for file in files[i + 1 :]]
        limit = min(later, default=end)
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
    laid = lay_out([read_wal(path, ring) for path in paths], first_seq, first_seq + rows)
    found = [frame for file in laid for frame in file.frames]
    for file in laid:
        for hole in file.holes:
            gap = find_gap(quarantine, *hole)
            if gap is None:
                why = file.contents.damaged or "its rows are gone"
                raise Damaged(f"{file.contents.path}: {why} ({hole[1]} rows from seq {hole[0]})")
            found.append(filler(gap, *hole))
    found.sort(key=lambda frame: frame.first_seq)
    if sum(frame.rows for frame in found) != rows:
        raise Damaged(f"seq {first_seq} and the {rows - 1} after it are not in the log's files")
    return found


def write_gap(directory: Path, gap: Gap, *, disk: Disk = DISK) -> None:
    """Write a loss down, durably.  Repeating it does no harm."""
    write_durably(
        _gap_path(directory, gap.first_seq, gap.rows), msgspec.json.encode(gap), disk=disk
    )


def filler(gap: Gap, first_seq: int, rows: int) -> Frame:
    """Rows that stand where evidence was, and say so."""
    time = pl.Series([gap.at], dtype=pl.Int64).cast(DTYPES[Type.TIME])
    values = {
        "time": time,
        "observed": time,
        "kind": [str(Kind.LOG)],
        "message": [f"acknowledged and then lost: {gap.reason}"],
        "layer": ["self"],
        "source": ["tocsin"],
        "tags": [["lost"]],
    }
    one = pl.DataFrame({name: values[name] for name in SCHEMA if name in values})
    numbers = pl.DataFrame({"number": pl.int_range(rows, eager=True)})
    frame = one.join(numbers, how="cross").drop("number")
    return Frame(0, first_seq, frame, "tocsin", None, gap.at)


def quarantine(contents: WalContents, directory: Path, ring: KeyRing, *, disk: Disk = DISK) -> Path:
    """Keep a second name of a damaged file, and its key, for whoever wants to look into it.

    The first name goes when what could be read is sealed.  Repeating it does no harm: a crash in
    between leaves the file under one name or under both.
    """
    kept = directory / contents.path.name
    if not kept.exists():
        kept.hardlink_to(contents.path)
        disk.sync_dir(directory)
    name = key_name(contents.path)
    with contextlib.suppress(KeyMissing, Damaged):  # the key may be what is damaged
        ring.put(f"quarantine.{name}", ring.get(name))
    return kept


def _gap_path(directory: Path, first_seq: int, rows: int) -> Path:
    return directory / f"{first_seq:020d}-{rows}.gap"


def find_gap(directory: Path, first_seq: int, rows: int) -> Gap | None:
    """The note about exactly this gap, if it was written down."""
    path = _gap_path(directory, first_seq, rows)
    if not path.exists():
        return None
    try:
        return msgspec.json.decode(path.read_bytes(), type=Gap)
    except (OSError, msgspec.MsgspecError) as error:
        raise Damaged(f"{path}: the note about lost rows cannot be read: {error}") from error
