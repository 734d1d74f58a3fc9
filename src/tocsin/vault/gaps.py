"""Notes about rows that were acknowledged and are lost: ``<data>/quarantine/<first>-<rows>.gap``.

A note is what lets the log go on where evidence was.  So it carries a MAC under a key of the
vault's own (``gaps``): who can only write files cannot explain away what he removed.

Layout: one line of JSON, a newline, the HMAC-SHA-256 of ``"tocsin gap\\n"`` and that line in hex,
and a newline.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import msgspec
import polars as pl

from tocsin.errors import Damaged, KeyMissing
from tocsin.event import Kind
from tocsin.event.batch import DTYPES, SCHEMA
from tocsin.event.schema import Type
from tocsin.vault.disk import DISK, Disk, make_directory, read_file, write_durably
from tocsin.vault.keys import KeyRing
from tocsin.vault.wal import Frame

__all__ = ["Gap", "Gaps", "filler"]

_KEY = "gaps"
_NAME = re.compile(r"([0-9]{20})-([0-9]{1,18})\.gap")


class Gap(msgspec.Struct, frozen=True, gc=False):
    """Rows that were acknowledged and cannot be read any more."""

    first_seq: int
    rows: int
    at: int  #: wall clock, ns, when the loss was found
    reason: str

    @property
    def next_seq(self) -> int:
        """The seq of whatever comes after."""
        return self.first_seq + self.rows


class Gaps:
    """The notes of one vault.  A note that does not authenticate is none."""

    def __init__(self, directory: Path, ring: KeyRing, *, disk: Disk = DISK) -> None:
        self._directory = directory  #: the vault's ``quarantine/``
        self._ring = ring
        self._disk = disk

    def write(self, gap: Gap) -> None:
        """Write a loss down, durably.  Repeating it does no harm."""
        try:
            key = self._ring.get(_KEY)
        except KeyMissing:
            key = self._ring.create(_KEY)
        line = msgspec.json.encode(gap)
        path = self._directory / f"{gap.first_seq:020d}-{gap.rows}.gap"
        make_directory(self._directory, disk=self._disk)
        write_durably(path, b"%s\n%s\n" % (line, _mac(key, line).encode()), disk=self._disk)

    def within(self, first_seq: int, rows: int) -> list[Gap]:
        """The notes that together tell of exactly these rows; none when they do not."""
        found: list[Gap] = []
        seq, end = first_seq, first_seq + rows
        notes = [gap for _, gap in self._read() if gap is not None]
        while seq < end:
            fitting = [gap for gap in notes if gap.first_seq == seq and gap.next_seq <= end]
            if not fitting:
                return []
            found.append(max(fitting, key=lambda gap: gap.rows))
            seq = found[-1].next_seq
        return found

    def forged(self) -> list[Path]:
        """What looks like a note, and nobody wrote who had this vault's key."""
        return [path for path, gap in self._read() if gap is None]

    def _read(self) -> Iterator[tuple[Path, Gap | None]]:
        paths = sorted(self._directory.iterdir()) if self._directory.is_dir() else []
        for path in paths:
            if _NAME.fullmatch(path.name):
                yield path, self._note(path)

    def _note(self, path: Path) -> Gap | None:
        try:
            line, _, mac = read_file(path).partition(b"\n")
            gap = msgspec.json.decode(line, type=Gap)
            good = hmac.compare_digest(mac, b"%s\n" % _mac(self._ring.get(_KEY), line).encode())
        except (OSError, Damaged, KeyMissing, msgspec.MsgspecError):
            return None
        named = path.name == f"{gap.first_seq:020d}-{gap.rows}.gap"
        return gap if good and named and gap.rows > 0 else None


def _mac(key: bytes, line: bytes) -> str:
    return hmac.new(key, b"tocsin gap\n" + line, sha256).hexdigest()


def filler(gap: Gap) -> Frame:
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
    numbers = pl.DataFrame({"number": pl.int_range(gap.rows, eager=True)})
    frame = one.join(numbers, how="cross").drop("number")
    return Frame(0, gap.first_seq, frame, "tocsin", None, gap.at)
