"""The demo: an incident within seconds, one pair of keys, and no removal under a running one."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from tocsin.errors import VaultBusy
from tocsin.siem.demo import prepare, remove
from tocsin.siem.story import APP, GATEWAY, USERS, story
from tocsin.vault.lock import Lock


def test_the_first_incident_is_printed_within_ten_seconds_of_the_greeting(tocsin: Any) -> None:
    tocsin.start("--demo")
    tocsin.until(lambda: b"tocsin is up" in tocsin.log.read_bytes())
    greeted = time.monotonic()
    tocsin.until(lambda: b"inc-" in tocsin.log.read_bytes(), 30)
    took = time.monotonic() - greeted
    said = tocsin.log.read_text()
    assert took < 10, said
    (first, *_) = [line for line in said.splitlines() if "inc-" in line]
    assert "198.51.100.23" in first
    # It cannot be removed while it is being told ...
    done = tocsin.here("up", "--remove-demo", code=1)
    assert f"held by process {tocsin.process.pid}".encode() in done.stderr
    assert (tocsin.data / "catalog.db").exists()
    # ... and all of it says that it is not real.
    tocsin.until(lambda: b"that was all" in tocsin.log.read_bytes())
    query = "-source:tocsin -tags:demo -env:demo"
    assert tocsin.rows("search", query, "--limit", "0") == []
    tocsin.stop()
    # Told again, it needs keys again; those of the first time end.
    tocsin.start("--demo")
    tocsin.until(lambda: len(tocsin.rows("token", "list")) == 4)
    tocsin.stop()
    good = [t["source"] for t in tocsin.rows("token", "list") if not t.get("revoked_at")]
    assert sorted(good) == sorted([GATEWAY, APP])
    tocsin.here("up", "--remove-demo")
    assert not tocsin.data.exists()


def test_a_demo_that_is_being_told_is_not_removed(tmp_path: Path) -> None:
    data = tmp_path / "demo"
    prepare(data)
    lock = Lock(data)
    try:
        with pytest.raises(VaultBusy, match="held by process"):
            remove(data)
        assert (data / "DEMO").exists()
    finally:
        lock.release()
    remove(data)
    assert not data.exists()


def test_the_story_has_the_people_that_it_says() -> None:
    assert len(set(USERS)) == 26
    seen = {step.event.user for step in story(10**18) if step.event is not None}
    assert set(USERS) <= seen
    assert all(s.event is None or s.event.tags == ("demo",) for s in story(10**18))
