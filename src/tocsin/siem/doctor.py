"""What can be wrong with an installation, checked one by one, each with its cure."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import quote

import msgspec

from tocsin.detect import Engine, span
from tocsin.errors import TocsinError
from tocsin.settings import Loaded, Settings
from tocsin.siem.access import SOCKET, holds_a_vault
from tocsin.siem.checks import absent, problems
from tocsin.siem.house import key_source
from tocsin.siem.local import Remote, answers
from tocsin.siem.rulebook import load_rules, told, unknown_fields
from tocsin.vault import tlog
from tocsin.vault.keys import KeyRing
from tocsin.vault.note import Signer, open_note, parse_checkpoint
from tocsin.vault.segments import segment_path
from tocsin.vault.wal import read_all

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
    """Look at clock, disk, permissions, keys, catalog, log, segments, rules; change nothing."""
    settings = loaded.settings
    data = Path(settings.data)
    return [
        _clock(data, clock()),
        *_disk(data),
        *_permissions(data),
        *_record(settings),
        *_running(data),
        *_rules(settings),
        *_settings(loaded),
    ]


def _clock(data: Path, now: float) -> Check:
    if now < _NOT_BEFORE:
        return Check("clock", "bad", "it stands in the past", "set the clock, and keep it with NTP")
    catalog = data / "catalog.db"
    if catalog.exists():
        try:
            ((last,),) = _asked(catalog, "SELECT max(sealed_at) FROM segments")
        except sqlite3.Error as error:
            return Check("clock", "warn", f"could not be compared with the vault: {error}")
        if last is not None and last / 1e9 - now > _SKEW_SECONDS:
            behind = span(last - int(now * 1e9))
            return Check(
                "clock",
                "bad",
                f"{behind} behind the vault's last seal",
                "set it; keep it with NTP",
            )
    return Check("clock", "good", "later than everything in the vault")


def _asked(catalog: Path, question: str) -> list[tuple[Any, ...]]:
    """What the catalog answers; read without writing a byte beside it.

    Without a log of writes nobody has the catalog open, and SQLite may take it as it lies; else it
    needs the log's index, which whoever writes has made.
    """
    alone = not catalog.with_name(catalog.name + "-wal").exists()
    how = "immutable=1" if alone else "mode=ro"
    address = f"file:{quote(str(catalog.resolve()))}?{how}"
    with contextlib.closing(sqlite3.connect(address, uri=True, timeout=5)) as connection:
        return connection.execute(question).fetchall()


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


def _record(settings: Settings) -> Iterator[Check]:
    """Keys, catalog, log, segments and write-ahead log: what ``up`` would refuse, or find gone."""
    data = Path(settings.data)
    source = key_source(settings)
    if not holds_a_vault(data):
        yield Check("keys", "good", f"none yet; they will be wrapped with the {source.place}")
        return
    listed, check = _catalog(data)
    yield check
    try:
        ring = KeyRing(data / "keys", source)
    except TocsinError as error:
        yield Check("keys", "bad", str(error), "restore the key from where you keep its copy")
        return
    yield _keys(data, ring, listed)
    yield _log(data, ring)
    yield _segments(data, listed)
    if not _is_running(data):  # else it is at work there, and says itself what it finds
        yield _wal(data, ring)


#: What the catalog says of a segment: its id, its bytes, and why it was set aside, if it was.
_Listed: TypeAlias = list[tuple[str, int, str | None]]


def _catalog(data: Path) -> tuple[_Listed, Check]:
    path = data / "catalog.db"
    anew = (
        f"restore it from a backup; or move {path} and its -wal and -shm files aside and start "
        "`tocsin up`, which makes it anew from the vault"
    )
    if not path.exists():
        return [], Check("catalog", "bad", f"{path} is missing, though the vault is there", anew)
    try:
        ((state,),) = _asked(path, "PRAGMA quick_check(1)")
        if state != "ok":
            return [], Check("catalog", "bad", f"{path} is damaged: {state}", anew)
        listed = _asked(path, "SELECT id, bytes, quarantined FROM segments ORDER BY first_seq")
        met = _asked(path, "SELECT 1 FROM cursors WHERE name = 'detect'")
    except sqlite3.Error as error:
        return [], Check("catalog", "bad", f"{path} is no readable catalog: {error}", anew)
    if not met:
        words = f"{path} is empty, though the vault is not"
        return listed, Check("catalog", "bad", words, "start `tocsin up`, which fills it again")
    return listed, Check("catalog", "good", f"reads well, and lists {len(listed)} segments")


def _keys(data: Path, ring: KeyRing, listed: _Listed) -> Check:
    mend = f"restore it from the backup of {data / 'keys'}, and start `tocsin up`"
    wanted = {"signing", "epoch", "catalog", "identifiers", "deliveries"}
    wanted |= {f"seg.{segment}" for segment, *_ in listed}
    there = set(ring.names())
    running = _is_running(data)
    for name in sorted(wanted if running else there | wanted):  # others come and go as it works
        try:
            ring.get(name)
        except TocsinError as error:
            return Check("keys", "bad", str(error), mend)
    if ring.rotating:
        return Check(
            "keys", "warn", "a rotation was begun and not ended", "run `tocsin key rotate` again"
        )
    return Check("keys", "good", f"{len(there)} open with generation {ring.generation}")


_TRIES = 4  # while tocsin seals, log and key are not of one moment


def _log(data: Path, ring: KeyRing) -> Check:
    """What the sealer looks at before it goes on with a log."""
    log, wrong = data / "log", ""
    for _ in range(_TRIES):
        try:
            size, wrong = _promised(log, ring)
        except (TocsinError, OSError) as error:
            size, wrong = 0, str(error)
        if not wrong:
            return Check("log", "good", f"its checkpoint promises {size} entries, and they fit")
        if not _is_running(data):
            break
        time.sleep(0.2)
    mend = f"restore {log} and keys/epoch.key from the same, latest backup; then `tocsin verify`"
    return Check("log", "bad", wrong, mend)


def _promised(log: Path, ring: KeyRing) -> tuple[int, str]:
    """How many entries the checkpoint promises, and what does not fit."""
    path = log / "checkpoint"
    if not path.exists():
        return 0, f"{path} is missing"
    secret = ring.get("signing")
    signer = Signer(secret[32:].decode(), secret[:32])
    note = open_note(path.read_bytes(), [signer.verifier], where=str(path))
    promise = parse_checkpoint(note.text, where=str(path))
    if tlog.load(log, promise.size).root() != promise.root:
        return 0, f"{log}: the tiles do not have the root that {path} promises"
    seen = int.from_bytes(ring.get("epoch")[:8], "little")
    if seen not in (promise.size, promise.size - 1):
        return 0, f"{path}: promises {promise.size} entries, but the epoch key has seen {seen}"
    return promise.size, ""


def _segments(data: Path, listed: _Listed) -> Check:
    mend = f"restore them from a backup into {data / 'segments'}, and start `tocsin up`"
    aside, wrong, back = list[str](), list[str](), list[str]()
    for segment, size, why in listed:
        path = segment_path(data, segment)
        if why is not None:
            there = path.exists() and path.stat().st_size == size
            (back if there else aside).append(path.name)
            continue
        try:
            found = path.stat().st_size
        except OSError:
            wrong.append(f"{path.name} is gone")
        else:
            if found != size:
                wrong.append(f"{path.name} has {found} bytes, not {size}")
    if wrong:
        return Check("segments", "bad", _some(wrong), mend)
    if aside:
        return Check("segments", "bad", f"damaged and set aside: {_some(aside)}", mend)
    if back:
        words = f"set aside, and in place again: {_some(back)}"
        take = "start `tocsin up`: it takes back what is as it was promised; then `tocsin verify`"
        return Check("segments", "warn", words, take)
    return Check("segments", "good", f"{len(listed)} are there, with their sizes")


def _some(names: Sequence[str]) -> str:
    more = f", and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _wal(data: Path, ring: KeyRing) -> Check:
    wal = data / "wal"
    try:
        found = read_all(wal, ring) if wal.is_dir() else None
    except (TocsinError, OSError) as error:
        return Check("unsealed", "bad", str(error), "restore the key files from the backup")
    files = found.files if found else []
    broken = [f"{f.path.name}: {f.damaged}" for f in files if f.damaged]
    broken += [f"{path.name}: {why}" for path, why in (found.strange if found else [])]
    if broken:
        mend = (
            "`tocsin up` keeps what can be read and sets the rest aside; restore it from a backup"
        )
        return Check("unsealed", "bad", broken[0], mend)
    rows = sum(frame.rows for file in files for frame in file.frames)
    return Check("unsealed", "good", f"{rows} events wait in {len(files)} files to be sealed")


def _is_running(data: Path) -> bool:
    with contextlib.suppress(TocsinError):
        return answers(data / SOCKET)
    return False


def _running(data: Path) -> Iterator[Check]:
    if not (data / SOCKET).exists():
        yield Check("server", "good", f"no tocsin runs on {data}")
        return
    try:
        if not answers(data / SOCKET):
            yield Check(
                "server", "warn", "the last tocsin did not stop in order", "start it: `tocsin up`"
            )
            return
        with Remote(data / SOCKET) as remote:
            status = remote.status()
    except TocsinError as error:
        yield Check("server", "bad", str(error), "run it as the user that tocsin runs as")
        return
    yield Check("server", "good", f"a tocsin runs on {data}")
    for what in ("writing_failed", "sealing_failed"):
        if status.get(what):
            yield Check("server", "bad", str(status[what]), "make room, or mend the disk")
    yield _detection(status)


def _detection(status: dict[str, Any]) -> Check:
    behind = status.get("next_seq", 0) - status.get("detected_seq", 0)
    lost = {name: many for name, many in status.get("detection_losses", {}).items() if many}
    if lost:
        return Check(
            "detection", "warn",
            "since its state was begun: " + ", ".join(f"{many} {n}" for n, many in lost.items()),
            "look for a source with a wrong clock (late), or for a flood (evicted, missed, "
            "hurried): `tocsin search tags:detection_loss`",
        )  # fmt: skip
    return Check("detection", "good", f"{behind} events behind the vault")


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
    for stranger in unknown_fields(settings.rules):
        mend = "correct the name; or leave it, if your events have such an attribute"
        yield Check("rules", "warn", str(stranger), mend)
    yield Check("rules", "good", f"{len(told(rules))} rules are loaded")


def _settings(loaded: Loaded) -> Iterator[Check]:
    for problem in loaded.unknown:
        yield Check("settings", "warn", problem, "unset the variable, or correct its name")
    for note in loaded.application:
        yield Check("settings", "good", note)
    for path in absent(loaded.settings.follow):
        words = f"{path} is not there yet"
        yield Check("follow", "warn", words, "correct the path, or wait for it")
    for problem in loaded.left_out:
        yield Check("settings", "warn", problem, "do what it says, or remove it")
    wrong = problems(loaded.settings, but=("rules", "key"))  # looked at already
    for problem in wrong:
        yield Check("settings", "bad", problem, "correct it, and run `tocsin config validate`")
    if not (loaded.unknown or loaded.left_out or wrong):
        yield Check("settings", "good", "what can be checked of them is in order")
