"""``tocsin up --demo``: tell the story to a running door, as its gateway and its app would."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path

import httpx2
import msgspec

from tocsin.errors import UsageError
from tocsin.siem.access import NewToken
from tocsin.siem.run import Up
from tocsin.siem.story import APP, GATEWAY, LENGTH_NS, Step, story
from tocsin.vault.lock import Lock

__all__ = ["MARK", "prepare", "remove", "tell"]

#: A file that says of a data directory: nothing in here is real.
MARK = "DEMO"

_PARTS = 40
_TOLD_IN_SECONDS = 6.0


def prepare(data: Path) -> None:
    """Badge *data* as a demo's.  A vault with real evidence in it is never used for one."""
    if data.exists() and any(data.iterdir()) and not (data / MARK).exists():
        raise UsageError(
            f"{data}: there is a vault here that is no demo's; name another directory with --data"
        )
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    (data / MARK).touch(mode=0o600)
    (data / MARK).write_text(
        "This vault belongs to a demo. Nothing in it is real.\n"
        "Remove it with: tocsin up --remove-demo\n"
    )


def remove(data: Path) -> None:
    """Remove a demo's vault, and only a demo's; VaultBusy while a tocsin runs on it."""
    if not (data / MARK).is_file():
        raise UsageError(f"{data}: there is no demo here, so nothing is removed")
    lock = Lock(data)  # a demo that is being told would go on writing into what is no more
    try:
        shutil.rmtree(data)
    finally:
        lock.release()


def tell(up: Up, stopping: threading.Event, *, say: Callable[[str], None]) -> None:
    """Send the story through the HTTP door, in about six seconds."""
    by = "demo"
    _revoke(up, by)
    keys = {
        GATEWAY: up.house.create_token(
            NewToken(source=GATEWAY, layer="gateway", service="shop", env="demo", parser="nginx"),
            by=by,
        ),
        APP: up.house.create_token(NewToken(source=APP, layer="app", env="demo"), by=by),
    }
    steps = story(time.time_ns())
    say(f"demo: telling a story of {len(steps)} requests, an intruder among them ...")
    with httpx2.Client(base_url=f"http://{up.address}", timeout=30, trust_env=False) as client:
        for number, part in enumerate(_parts(steps)):
            for source, body in _bodies(part):
                client.post(
                    "/v1/events",
                    content=body,
                    headers={
                        "Authorization": f"Bearer {keys[source]}",
                        "Content-Type": (
                            "text/plain" if source == GATEWAY else "application/x-ndjson"
                        ),
                        "Tocsin-Batch-Id": f"demo-{steps[0].at}-{source}-{number}",
                    },
                ).raise_for_status()
            if stopping.wait(_TOLD_IN_SECONDS / _PARTS):
                return
    say("demo: that was all; look around, and end it with Ctrl-C")


def _revoke(up: Up, by: str) -> None:
    """End the keys of earlier tellings: what they were is not kept, so nobody can use them."""
    for token in up.house.tokens():
        if token.source in {GATEWAY, APP} and token.revoked_at is None:
            up.house.revoke_token(token.id, by=by)


def _parts(steps: list[Step]) -> Iterator[list[Step]]:
    begin = steps[0].at
    for _, part in groupby(steps, key=lambda s: (s.at - begin) * _PARTS // LENGTH_NS):
        yield list(part)


def _bodies(part: list[Step]) -> Iterator[tuple[str, bytes]]:
    yield GATEWAY, "".join(step.line + "\n" for step in part).encode()
    seen = [msgspec.json.encode(step.event) for step in part if step.event is not None]
    if seen:
        yield APP, b"\n".join(seen) + b"\n"
