"""What can be wrong with an installation, checked one by one, each with its cure."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from pathlib import Path
from urllib.parse import quote

import msgspec

from tocsin.detect import Engine
from tocsin.errors import TocsinError
from tocsin.intake import PARSERS
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
            last = _last_seal(catalog)
        except sqlite3.Error as error:
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


def _last_seal(catalog: Path) -> int | None:
    """When the vault was sealed last, ns since 1970; read without writing a byte beside it.

    Without a log of writes nobody has the catalog open, and SQLite may take it as it lies; else it
    needs the log's index, which whoever writes has made.
    """
    alone = not catalog.with_name(catalog.name + "-wal").exists()
    how = "immutable=1" if alone else "mode=ro"
    address = f"file:{quote(str(catalog.resolve()))}?{how}"
    with contextlib.closing(sqlite3.connect(address, uri=True, timeout=5)) as connection:
        (last,) = connection.execute("SELECT max(sealed_at) FROM segments").fetchone()
    return int(last) if last is not None else None


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
    unread: list[OSError] = []
    open_to_others = [path for path, mode in _modes(data, unread.append) if mode & 0o077]
    for error in unread:
        yield Check(
            "permissions", "bad", f"{error.filename}: cannot be looked into: {error.strerror}",
            "run it as the user that tocsin runs as",
        )  # fmt: skip
    if open_to_others:
        first = open_to_others[0]
        yield Check(
            "permissions", "bad",
            f"{len(open_to_others)} files can be reached by others, {first} first",
            f"chmod -R go= {data}",
        )  # fmt: skip
    elif not unread:
        yield Check("permissions", "good", f"only the owner reaches {data}")


def _modes(data: Path, failed: Callable[[OSError], None]) -> Iterator[tuple[Path, int]]:
    """Permissions of *data* and what is in it.  A running tocsin removes files as we look."""

    def told(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            failed(error)

    for place, _, names in os.walk(data, onerror=told):
        for path in (Path(place), *(Path(place, name) for name in names)):
            try:
                mode = path.lstat().st_mode
            except OSError as error:
                told(error)
                continue
            if not stat.S_ISLNK(mode):
                yield path, stat.S_IMODE(mode)


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
    try:
        answered = answers(data / SOCKET)
    except TocsinError as error:
        return Check("server", "bad", str(error), "run it as the user that tocsin runs as")
    if answered:
        return Check("server", "good", f"a tocsin runs on {data}")
    return Check("server", "warn", "the last tocsin did not stop in order", "start it: `tocsin up`")


def _rules(settings: Settings) -> Iterator[Check]:
    try:
        rules = load_rules(settings.rules, with_pack=settings.pack)
    except TocsinError as error:
        yield Check("rules", "bad", str(error), "correct `rules` in tocsin.toml")
        return
    for problem in (*rules.problems, *Engine(rules).problems):
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
    wrong = [f for f in loaded.settings.follow if f.parser and f.parser not in PARSERS]
    for follow in wrong:
        near = get_close_matches(follow.parser, PARSERS, n=1)
        yield Check(
            "settings", "bad", f'follow {follow.path}: there is no parser "{follow.parser}"',
            f'did you mean "{near[0]}"?' if near else f"there are {', '.join(sorted(PARSERS))}",
        )  # fmt: skip
    if not loaded.unknown and not wrong:
        yield Check("settings", "good", "every name is known")
