"""What can be wrong with an installation, checked one by one, each with its cure."""

from __future__ import annotations

import shutil
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import sqlalchemy as sa

from tocsin.catalog import open_catalog, segments
from tocsin.errors import TocsinError
from tocsin.settings import Loaded, Settings
from tocsin.siem.access import SOCKET
from tocsin.siem.house import key_source
from tocsin.siem.local import answers
from tocsin.siem.rulebook import load_rules
from tocsin.vault.keys import KeyRing

__all__ = ["Check", "examine"]

_LOW_BYTES, _VERY_LOW_BYTES = 5 << 30, 1 << 30
_SKEW_SECONDS = 5 * 60
#: No tocsin can run before this was written: a clock below it has never been set.
_NOT_BEFORE = 1_790_000_000


class Check(msgspec.Struct, frozen=True):
    """One thing looked at."""

    name: str
    state: str  #: good, warn or bad
    says: str
    mend: str = ""


def examine(loaded: Loaded, *, clock: Callable[[], float] = time.time) -> list[Check]:
    """Look at clock, disk, permissions, keys, rules and settings; change nothing."""
    settings = loaded.settings
    data = Path(settings.data)
    return [
        _clock(data, clock()),
        *_disk(data),
        *_permissions(data),
        _keys(settings),
        _running(data),
        *_rules(settings),
        *_settings(loaded),
    ]


def _clock(data: Path, now: float) -> Check:
    if now < _NOT_BEFORE:
        return Check("clock", "bad", "it stands in the past", "set the clock, and keep it with NTP")
    catalog = data / "catalog.db"
    if catalog.exists():
        try:
            engine = open_catalog(catalog)
            with engine.connect() as connection:
                last = connection.scalar(sa.select(sa.func.max(segments.c.sealed_at)))
            engine.dispose()
        except TocsinError as error:
            return Check("clock", "warn", f"could not be compared with the vault: {error}")
        if last is not None and last / 1e9 - now > _SKEW_SECONDS:
            behind = int(last / 1e9 - now)
            return Check(
                "clock",
                "bad",
                f"{behind} s behind the vault's last seal",
                "set it; keep it with NTP",
            )
    return Check("clock", "good", "later than everything in the vault")


def _disk(data: Path) -> Iterator[Check]:
    place = next(p for p in (data, *data.parents) if p.exists())
    usage = shutil.disk_usage(place)
    free = f"{usage.free / 2**30:.1f} GiB free of {usage.total / 2**30:.1f} at {place}"
    if usage.free < _VERY_LOW_BYTES:
        yield Check("disk", "bad", free, "free some space: without it, senders are told to wait")
    elif usage.free < _LOW_BYTES:
        yield Check("disk", "warn", free, "free some space soon")
    else:
        yield Check("disk", "good", free)
    if data.exists() and data.stat().st_dev == Path("/").stat().st_dev:
        yield Check(
            "partition", "warn", "the vault shares a file system with the rest of the machine",
            "give it a partition of its own, so that neither can fill the other",
        )  # fmt: skip


def _permissions(data: Path) -> Iterator[Check]:
    if not data.exists():
        yield Check("permissions", "good", f"{data} is not there yet")
        return
    open_to_others = [
        path
        for path in (data, *data.rglob("*"))
        if not path.is_symlink() and stat.S_IMODE(path.stat().st_mode) & 0o077
    ]
    if open_to_others:
        first = open_to_others[0]
        yield Check(
            "permissions", "bad",
            f"{len(open_to_others)} files can be reached by others, {first} first",
            f"chmod -R go= {data}",
        )  # fmt: skip
    else:
        yield Check("permissions", "good", f"only the owner reaches {data}")


def _keys(settings: Settings) -> Check:
    source = key_source(settings)
    keys = Path(settings.data) / "keys"
    if not keys.is_dir():
        return Check("keys", "good", f"none yet; they will be wrapped with the {source.place}")
    try:
        ring = KeyRing(keys, source)
        for name in ring.names():
            ring.get(name)
    except TocsinError as error:
        return Check(
            "keys", "bad", str(error), "restore the key, or the key files, from the backup"
        )
    if ring.rotating:
        return Check(
            "keys", "warn", "a rotation was begun and not ended", "run `tocsin key rotate` again"
        )
    return Check(
        "keys",
        "good",
        f"{len(ring.names())} open with generation {ring.generation}, {source.place}",
    )


def _running(data: Path) -> Check:
    if not (data / SOCKET).exists():
        return Check("server", "good", f"no tocsin runs on {data}")
    if answers(data / SOCKET):
        return Check("server", "good", f"a tocsin runs on {data}")
    return Check("server", "warn", "the last tocsin did not stop in order", "start it: `tocsin up`")


def _rules(settings: Settings) -> Iterator[Check]:
    try:
        rules = load_rules(settings.rules, with_pack=settings.pack)
    except TocsinError as error:
        yield Check("rules", "bad", str(error), "correct `rules` in tocsin.toml")
        return
    for problem in rules.problems:
        yield Check("rules", "bad", str(problem), "correct the rule, or take it out")
    for blind in rules.blind:
        yield Check(
            "rules", "warn", f"{blind.rule} is blind: no event has {', '.join(blind.fields)}",
            "map the fields, or take the rule out",
        )  # fmt: skip
    yield Check("rules", "good", f"{len(rules.rules) + len(rules.correlations)} rules are loaded")


def _settings(loaded: Loaded) -> Iterator[Check]:
    for problem in loaded.unknown:
        yield Check("settings", "warn", problem, "unset the variable, or correct its name")
    if not loaded.unknown:
        yield Check("settings", "good", "every name is known")
