"""What must hold after the end of a life, however it ended."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.faults.life import STEPS, batch

from tocsin.vault import FileKey, Vault
from tocsin.vault.verify import verify

__all__ = ["SIZES", "Told", "check_after", "read_tale", "understand"]

#: Rows of each batch of a life.
SIZES = {number: rows for number, rows in enumerate(STEPS) if isinstance(rows, int)}


@dataclass(frozen=True)
class Told:
    """What a life said before its end."""

    acknowledged: dict[int, tuple[int, int]]  #: batch: first seq, rows
    lines: tuple[str, ...]

    @property
    def last(self) -> str:
        return self.lines[-1] if self.lines else ""


def read_tale(data: Path) -> Told:
    """What the life over *data* said; a line without its end was not said."""
    tale = Path(f"{data}.tale")
    text = tale.read_text() if tale.exists() else ""
    return understand(text[: text.rfind("\n") + 1].splitlines())


def understand(lines: Sequence[str]) -> Told:
    """What the lines of a tale say."""
    acknowledged: dict[int, tuple[int, int]] = {}
    for line in lines:
        if line.startswith("ack "):
            number, first, rows = map(int, line.split()[1:])
            acknowledged[number] = first, rows
    return Told(acknowledged, tuple(lines))


def numbers(vault: Vault) -> list[int]:
    """Every row, in order."""
    found: list[int] = []
    seq = 0
    while seq < vault.next_seq:
        entries = vault.read(seq, 1000)
        assert entries.first_seq == seq, "no row is gone"
        found += entries.frame["source_seq"].to_list()
        seq = entries.next_seq
    return found


def check_after(kek: Path, data: Path, told: Told) -> None:
    """After any end: nothing acknowledged is lost, nothing is there twice, all of it verifies."""
    began = time.process_time()  # others may keep the machine busy
    key = FileKey(kek)
    with Vault.open(data, key, sealing="inline", epoch_seconds=3600.0) as vault:
        assert time.process_time() - began < 5, "back within 5 s"
        found = numbers(vault)
        for number, (first, rows) in told.acknowledged.items():
            assert found[first : first + rows] == [100 * number + i for i in range(rows)], number
        assert len(found) == len(set(found)), "nothing is there twice"
        whole = {n: [100 * n + i for i in range(rows)] for n, rows in SIZES.items()}
        for number, values in whole.items():
            assert sum(v in set(values) for v in found) in (0, len(values)), (
                f"batch {number} is whole"
            )
        assert vault.recovery.lost_rows == 0
        assert vault.recovery.damaged == ()
        # The sender repeats whatever it has: each batch is there once, then.
        for number, rows in SIZES.items():
            future = vault.append(batch(number, rows), source="life", batch_id=f"b{number}")
            receipt = future.result(10)
            assert receipt.repeated == (100 * number in found)
            if number in told.acknowledged:
                assert (receipt.first_seq, receipt.rows) == told.acknowledged[number]
        assert sorted(numbers(vault)) == sorted(v for rows in whole.values() for v in rows)
        vault.seal(10)
    report = verify(data, key.fetch(data), now=time.time_ns())
    assert report.verdict == "intact", report.problems
    assert report.rows == sum(SIZES.values())
    for path in data.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, f"{path} is for its owner alone"
