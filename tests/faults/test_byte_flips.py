"""Every single byte of a small sealed vault, changed, is found; in the file where it is.

The short form changes every fourth byte, one bit of each; ``TOCSIN_FAULTS=long`` all bits of all.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from tocsin.catalog import open_catalog
from tocsin.event.batch import SCHEMA
from tocsin.vault import segments, wal
from tocsin.vault.jobs import SealJob
from tocsin.vault.keys import KeyRing, file_key
from tocsin.vault.sealer import Sealer
from tocsin.vault.state import StateFile
from tocsin.vault.verify import Report, verify
from tocsin.vault.verify_report import UNSEALED

LONG = os.environ.get("TOCSIN_FAULTS") == "long"
#: The long form turns each bit of each byte; the short one one bit, another from place to place.
BITS = range(8) if LONG else (None,)
STRIDE = 1 if LONG else 4

#: Files in which a change is not found by design, and why.
NOT_EVIDENCE = {
    "catalog.db": "derived: its list of segments is compared with the log, what it says of people "
    "is sealed row by row, and the rest of its bytes are SQLite's own",
    "lock": "who holds the vault now",
    "log/sealer.lock": "empty: only held, never read",
}


class Vault:
    """A sealed range, an unsealed tail, keys, and what an auditor holds."""

    def __init__(self, directory: Path, key: Path) -> None:
        self.directory = directory
        (directory / "wal").mkdir(parents=True)
        source = file_key(key, create=True)
        self.kek = source.fetch(directory)
        self.ring = KeyRing(directory / "keys", source)
        self.engine = open_catalog(directory / "catalog.db")
        sealer = Sealer(directory, self.ring, catalog=self.engine)
        sealer.recover()
        self.epoch_key = sealer.first_epoch_key
        sealer.start("life")
        sealer.seal(SealJob(self.write(0, [3]), 0, 3, 0))
        self.write(3, [2, 1, 1])
        StateFile(directory / "state", self.ring, "detect").save(b"what detection remembers")
        self.now = time.time_ns()

    def write(self, first: int, batches: list[int]) -> tuple[Path, ...]:
        file = wal.start_wal(self.directory / "wal", self.ring, first)
        for rows in batches:
            start = 1_700_000_000_000_000_000
            plain = {"time": [start] * rows, "observed": [start] * rows, "kind": ["log"] * rows}
            frame = pl.DataFrame(plain | {"user": ["alice"] * rows})
            frame = frame.cast({n: SCHEMA[n] for n in frame.columns})
            file.append([wal.encode(frame, source="shop", batch_id="b", at=start)])
        file.close()
        return (file.path,)

    def verify(self) -> Report:
        return verify(self.directory, self.kek, epoch_key=self.epoch_key, now=self.now)


@pytest.fixture(scope="module")
def vault(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vault]:
    place = tmp_path_factory.mktemp("flips")
    made = Vault(place / "data", place / "kek")
    yield made
    made.engine.dispose()


def evidence(vault: Vault) -> list[Path]:
    """All files, but those in which nothing is to be found."""
    files = (path for path in vault.directory.rglob("*") if path.is_file())
    found = {str(path.relative_to(vault.directory)): path for path in files}
    found = {name: path for name, path in found.items() if not name.startswith("catalog.db-")}
    return sorted(path for name, path in found.items() if name not in NOT_EVIDENCE)


def test_the_vault_is_intact_before_it_is_touched(vault: Vault) -> None:
    report = vault.verify()
    assert (report.verdict, report.grade, report.notes) == ("intact", "T2", [UNSEALED])
    assert (report.rows, report.unsealed_rows, report.torn_bytes) == (3, 4, 0)
    kinds = {path.relative_to(vault.directory).parts[0] for path in evidence(vault)}
    assert kinds == set(FOLDERS)


FOLDERS = ("idx", "keys", "log", "segments", "state", "wal")


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("folder", FOLDERS)
def test_every_changed_byte_is_found(vault: Vault, folder: str) -> None:
    flips = start = 0
    for path in evidence(vault):
        if path.relative_to(vault.directory).parts[0] != folder:
            continue
        name = str(path.relative_to(vault.directory))
        good = path.read_bytes()
        assert good, name
        try:
            start += 1
            for place in range(start % STRIDE, len(good), STRIDE):
                for bit in BITS:
                    changed = bytearray(good)
                    changed[place] ^= 1 << (place % 8 if bit is None else bit)
                    path.write_bytes(changed)
                    report = vault.verify()
                    flips += 1
                    assert found(report, name), f"byte {place} of {name}: {report}"
        finally:
            path.write_bytes(good)
    assert flips > 10
    assert vault.verify().verdict == "intact"


def found(report: Report, name: str) -> bool:
    """Told as tampering; or, in the last group of the tail, as bytes that do not authenticate."""
    if report.verdict == "tampered":
        return True
    return name.startswith("wal/") and report.torn_bytes > 0


def test_what_only_the_auditors_key_can_check_is_named_when_it_is_not_given(vault: Vault) -> None:
    macs = vault.directory / "log/macs/000"
    good = macs.read_bytes()
    macs.write_bytes(good[:9] + b"?" + good[10:])
    try:
        report = verify(vault.directory, vault.kek, now=vault.now)
        assert report.verdict == "intact"
        assert report.unchecked == ["log/macs/*: without the first epoch key (--epoch-key)"]
        assert vault.verify().verdict == "tampered"
        assert vault.verify().unchecked == []
        keyless = verify(vault.directory, None, now=vault.now).unchecked
        assert [line.split(":")[0] for line in keyless] == [
            "keys/*",
            "log/macs/*",
            "idx/*, state/* and what the events say",
        ]
    finally:
        macs.write_bytes(good)


@pytest.mark.parametrize("name", ["segments/x.txt", "idx/x.txt", "state/x.txt", "log/x", "wal/x"])
def test_a_file_that_nobody_makes_is_told(vault: Vault, name: str) -> None:
    path = vault.directory / name
    path.write_bytes(b"x")
    assert vault.verify().verdict == "tampered"
    path.unlink()


def test_a_segment_that_nobody_promised_is_told_unless_a_seal_made_its_key(vault: Vault) -> None:
    name = f"{9_999:020d}-deadbeef"
    path = vault.directory / "segments" / f"{name}.parquet"
    path.write_bytes(b"x")
    (problem,) = vault.verify().problems
    assert problem.file == f"segments/{name}.parquet"
    vault.ring.create(f"seg.{name}")
    assert vault.verify().verdict == "intact", "a seal was interrupted"
    path.unlink()
    vault.ring.drop(f"seg.{name}")


def test_a_changed_filter_hides_no_row(vault: Vault) -> None:
    for shelf in segments.open_shelves(vault.directory, vault.ring, vault.engine):
        path = segments.filter_path(vault.directory, shelf.segment.id)
        good = path.read_bytes()
        for place in range(len(good)):
            changed = bytearray(good)
            changed[place] ^= 1 << place % 8
            path.write_bytes(changed)
            fresh = segments.Shelf(vault.directory, shelf.segment, vault.ring)
            assert fresh.maybe("user", "alice"), place
        path.write_bytes(good)
