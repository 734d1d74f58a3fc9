"""A receiver to send to, and clients that send to it and are closed afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.sdk.receiving import IMPATIENT, KEY, MakeClient, Plain, Receiver

from tocsin.sdk.client import Client
from tocsin.sdk.options import Options
from tocsin.sdk.sending.ship import Patience


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver().start()
    yield made
    made.close()


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def client(receiver: Receiver, spool: Path) -> Iterator[MakeClient]:
    """Makes clients that send to ``receiver``, with any option changed."""
    made: list[Client] = []

    def make(
        reader: Any = None, *, patience: Patience = IMPATIENT, out: Any = None, **options: Any
    ) -> Client:
        usual: dict[str, Any] = {
            "url": receiver.url,
            "key": KEY,
            "service": "orders",
            "spool": str(spool),
            "batch_seconds": 0.02,
            "heartbeat_seconds": 0.0,
            "farewell": 5.0,
            "timeout": 5.0,
        }
        made.append(
            Client(Options(**usual | options), reader or Plain(), patience=patience, out=out)
        )
        return made[-1]

    yield make
    for one in made:
        one.close()
