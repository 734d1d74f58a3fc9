"""What tocsin loses or finds damaged becomes an event, once for each change."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from tocsin.catalog import open_catalog, segments
from tocsin.event import Event
from tocsin.siem import notices
from tocsin.siem.detection import Losses
from tocsin.siem.notices import Watch, found_at_start
from tocsin.vault import Recovery
from tocsin.vault.store import Status

CALM = Recovery(rows=0, torn_bytes=0, lost_rows=0, damaged=(), seconds=0.0)
WELL = Status(
    next_seq=0, sealed_seq=0, waiting_rows=0, waiting_bytes=0, hot_rows=0, hot_bytes=0, jobs=0,
    batches_known=0, repeats=0, writing_failed=None, sealing_failed=None, sealer_restarts=0,
    last_sealed_at=None, generation="", rotating=False, quarantined=(), locked=(), recovery=CALM,
)  # fmt: skip


class House:
    """A house in which things go wrong when a test says so."""

    def __init__(self, catalog: sa.Engine) -> None:
        self.catalog = catalog
        self.status, self.lost, self.others = WELL, Losses(), frozenset[str]()
        self.told: list[Event] = []
        self.full = False

    def vault_status(self) -> Status:
        return self.status

    def losses(self) -> Losses:
        return self.lost

    def forged(self) -> frozenset[str]:
        return self.others

    def tell(self, *events: Event) -> None:
        if self.full:
            raise OSError("no space left")
        self.told += events

    def happens(self, **changes: Any) -> None:
        self.status = msgspec.structs.replace(self.status, **changes)

    def words(self) -> list[str]:
        """What was told since it was last asked."""
        said = [f"{event.tags[0] if event.tags else ''}: {event.message}" for event in self.told]
        self.told = []
        return said


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[sa.Engine]:
    made = open_catalog(tmp_path / "catalog.db")
    yield made
    made.dispose()


@pytest.fixture
def house(catalog: sa.Engine) -> House:
    return House(catalog)


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now

    def time_ns(self) -> int:
        return int(self.now * 10**9)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(notices, "time", made)
    return made


def segment(catalog: sa.Engine, name: str, quarantined: str | None = None) -> None:
    with catalog.begin() as tx:
        tx.execute(segments.insert().values(
            id=name, first_seq=int(name), last_seq=int(name), rows=1, time_min=0, time_max=0,
            columns="[]", bytes=1, sha256="", sealed_at=0, quarantined=quarantined,
        ))  # fmt: skip


def test_each_trouble_is_told_once_and_again_when_it_comes_back(house: House) -> None:
    watch = Watch(house)
    watch.step()
    assert house.words() == []
    house.happens(sealer_restarts=1, writing_failed="disk full")
    house.others = frozenset({"source key X"})
    watch.step()
    assert house.words() == [
        "sealer_died: the sealer died and was started again: 1",
        "not_kept: disk full",
        "catalog_forged: source key X in the catalog was not written by tocsin",
    ]
    watch.step()
    assert house.words() == []
    house.happens(writing_failed=None)
    watch.step()
    house.happens(writing_failed="disk full")
    watch.step()
    assert house.words() == ["not_kept: disk full"]


def test_what_cannot_be_told_now_is_told_as_soon_as_it_can(house: House) -> None:
    watch = Watch(house)
    house.happens(sealer_restarts=2)
    house.full = True
    with pytest.raises(OSError, match="no space"):
        watch.step()
    house.full = False
    watch.step()
    assert len(house.words()) == 1


def test_whoever_sets_a_segment_aside_it_is_noticed(house: House, catalog: sa.Engine) -> None:
    segment(catalog, "1", quarantined="earlier")
    watch = Watch(house)  # what was there at its start is told at the start
    segment(catalog, "2", quarantined="by the process that compacts")
    watch.step()
    assert house.words() == ["record_damaged: damaged and set aside: 2.parquet"]


def test_what_detection_lost_leaves_a_trace_at_most_once_a_minute(
    house: House, clock: Clock
) -> None:
    house.lost = Losses(late=5)  # of an earlier life, which told of it
    watch = Watch(house)
    told: list[str] = []
    for second in range(180):  # a flood of three minutes
        house.lost = Losses(late=5, evicted=10 * (second + 1))
        clock.now += 1
        watch.step()
        told += house.words()
    assert told == [
        "detection_loss: detection could not look as the rules ask: "
        f"{many} entities were forgotten while they still counted"
        for many in (10, 600, 600)
    ]
    clock.now += 60
    watch.step()
    (rest,) = house.words()
    assert rest.startswith("detection_loss")
    clock.now += 60
    watch.step()
    assert house.words() == []


GONE = "gone from the disk, with all events in them"
LOCKED = "cannot be read until a key is back"
RESTORE = "restore it from the backup"
MENDED = "a bad byte was put right by what is signed"


def test_a_start_tells_what_the_last_life_could_not(tmp_path: Path, catalog: sa.Engine) -> None:
    recovery = msgspec.structs.replace(
        CALM,
        torn_bytes=7,
        lost_rows=3,
        damaged=("a.wal: torn (lost: 3 rows)",),
        unproved_rows=4,
        mended=("log/checkpoint, 1 bytes",),
        taken_back=("0",),
    )
    segment(catalog, "1", quarantined="in the last second of a life")
    for name in "2345":
        segment(catalog, name)
    (tmp_path / "segments").mkdir()
    (tmp_path / "segments" / "3.parquet").touch()
    (tmp_path / "segments" / "4.parquet").touch()
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "seg.4.key").touch()
    found = list(found_at_start(tmp_path, recovery, catalog))
    assert [(n.tag, n.words) for n in found] == [
        ("unclean_stop", "7 bytes of an unfinished write were cut off"),
        ("record_damaged", "3 acknowledged events were lost"),
        ("record_damaged", "4 events were in files whose keys are gone, and are lost"),
        ("record_damaged", f"{MENDED}: log/checkpoint, 1 bytes"),
        ("record_restored", "whole again, and taken back: 1 segment: 0.parquet"),
        ("record_damaged", "damaged and set aside: a.wal: torn (lost: 3 rows)"),
        ("record_damaged", "damaged and set aside earlier: 1 segment: 1.parquet"),
        ("record_damaged", f"{GONE}: 2 segments: 2.parquet, 5.parquet"),
        (
            "record_damaged",
            f"{LOCKED}: 1 segment: 3.parquet, for want of keys/seg.3.key; {RESTORE}",
        ),
    ]


def test_a_start_after_an_orderly_stop_has_nothing_to_tell(
    tmp_path: Path, catalog: sa.Engine
) -> None:
    assert list(found_at_start(tmp_path, CALM, catalog)) == []


@pytest.mark.parametrize("checkpoint", [b"", b"nonsense", b"a\nb\nc\n\nx"])
def test_a_log_that_cannot_be_read_is_not_for_the_notices_to_judge(
    tmp_path: Path, catalog: sa.Engine, checkpoint: bytes
) -> None:
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "checkpoint").write_bytes(checkpoint)
    assert list(found_at_start(tmp_path, CALM, catalog)) == []
