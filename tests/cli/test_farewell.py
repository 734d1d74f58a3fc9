"""What `tocsin up` says last."""

from __future__ import annotations

import msgspec
import pytest

from tocsin.cli.up import farewell
from tocsin.vault.restart import Recovery
from tocsin.vault.store import Status

DONE = Status(
    next_seq=10,
    sealed_seq=10,
    waiting_rows=0,
    waiting_bytes=0,
    hot_rows=0,
    hot_bytes=0,
    jobs=0,
    batches_known=0,
    repeats=0,
    writing_failed=None,
    sealing_failed=None,
    sealer_restarts=0,
    last_sealed_at=None,
    generation="g",
    rotating=False,
    quarantined=(),
    locked=(),
    recovery=Recovery(rows=0, torn_bytes=0, lost_rows=0, damaged=(), seconds=0.0),
)


WAITING = "7 events in 2 epochs are not sealed: they wait in the write-ahead log for the next start"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, "everything it acknowledged is sealed"),
        (
            {"sealing_failed": "gone"},
            "everything it acknowledged is sealed, but the log does not say that it stopped (gone)",
        ),
        (
            {"sealed_seq": 3, "jobs": 2, "sealing_failed": None},
            WAITING,
        ),
    ],
)
def test_the_last_word_is_true(changed: dict[str, object], said: str) -> None:
    assert farewell(msgspec.structs.replace(DONE, **changed)) == f"tocsin has stopped; {said}"
