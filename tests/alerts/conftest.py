"""Findings by the handful, and a desk to put them on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tocsin.catalog import open_catalog
from tocsin.event import Entity, Finding, Severity

SECOND = 10**9

Make = Callable[..., Finding]


@pytest.fixture
def finding() -> Make:
    """Make a finding; what is not said is filled in."""

    def make(**said: Any) -> Finding:
        facts: dict[str, Any] = {
            "id": "f1",
            "rule": "brute-force",
            "title": "Brute force",
            "severity": Severity.HIGH,
            "entity": Entity("client_ip", "203.0.113.9"),
            "first_seen": 100 * SECOND,
            "last_seen": 160 * SECOND,
            "count": 20,
            "reason": "20 failed logins in 60 s",
            "evidence": tuple(range(20)),
            "owasp": ("API2:2023",),
            "attack": ("T1110",),
            "risk": 50,
        }
        return Finding(**(facts | said))

    return make


@pytest.fixture
def catalog(tmp_path: Path) -> sa.Engine:
    return open_catalog(tmp_path / "catalog.db")
