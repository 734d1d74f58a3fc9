"""Whether the catalog lists what the log promises: searches see only what it lists.

It proves nothing and can be made again, but who edits it hides rows from everybody but the
verifier.  It is read here with sqlite3 alone, as a file that somebody may have made to harm.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tocsin.vault.verify_files import is_regular, shown
from tocsin.vault.verify_history import SEGMENT, File, History

__all__ = ["WAY_OUT", "Hidden", "Unreadable", "complaints", "is_plain"]

WAY_OUT = (
    "catalog.db and its -wal and -shm files can be moved aside while tocsin is stopped: `tocsin "
    "up` makes it anew from the vault"
)

_FACTS = ("first_seq", "last_seq", "rows", "time_min", "time_max", "bytes", "sha256", "ranges")
_SEGMENTS = f"SELECT id, columns, quarantined, {', '.join(_FACTS)} FROM segments"  # noqa: S608  our own names
_MUTES = "SELECT id FROM suppressions WHERE rule IS NULL AND entity_type IS NULL"
_STRANGE = (
    "SELECT type, name FROM sqlite_master WHERE type IN ('trigger', 'view') OR type = 'table' AND "
    "name IN ('segments', 'suppressions') AND sql NOT LIKE 'CREATE TABLE%'"
)

#: It could not be read now; that is not what is wrong with the file itself.
_BUSY = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_READONLY,
}

#: No honest catalog takes that many steps, times rounds, of SQLite's machine.
_STEPS, _ROUNDS = 1_000_000, 1_000


@dataclass(frozen=True, slots=True)
class Hidden:
    """A segment that was found damaged and set aside, and is whole again."""

    segment: str
    rows: int


class Unreadable(Exception):
    """It cannot be read now, and that says nothing of it."""


def is_plain(path: Path) -> bool:
    """Whether the catalog, and what SQLite opens beside it, are files; a pipe would stop us."""
    names = [path.with_name(f"{path.name}{end}") for end in ("", "-wal", "-shm", "-journal")]
    return all(is_regular(each) for each in names if os.path.lexists(each))


def complaints(
    path: Path,
    history: History,
    whole: Set[str],
    is_ours: Callable[[str, object], bool],
) -> Iterator[tuple[str, str | Hidden]]:
    """Where and how the catalog contradicts *history*; *whole* are the segments as promised.

    *is_ours* says of a segment whether the vault itself wrote why it was set aside.  Raises
    Unreadable.
    """
    try:
        with contextlib.closing(_open(path)) as file:
            strange = file.execute(_STRANGE).fetchall()
            for kind, name in strange:
                yield f"{kind} {_word(name)}", "tocsin makes no such thing"
            if strange:
                return  # what such tables say is anybody's word
            rows = {row[0]: _named(row) for row in file.execute(_SEGMENTS)}
            mutes = [row[0] for row in file.execute(_MUTES)]
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF in _BUSY:
            raise Unreadable(str(error)) from error
        yield "", f"is not a catalog that can be read ({error})"
        return
    for mute in mutes:
        yield f"mute {_word(mute)}", "names neither a rule nor an entity: it mutes everything"
    yield from _presence(rows, history)
    for name, row in rows.items():
        if name in history.live:
            wrong = _against(row, history.live[name])
            if row["quarantined"] is not None and name in whole:
                if is_ours(name, row["quarantined"]):
                    yield f"segment {name}", Hidden(name, history.live[name].facts()["rows"])
                else:
                    wrong.append("it is set aside, though its file is whole, and not by tocsin")
            if wrong:
                yield f"segment {name}", "; ".join(wrong)


def _open(path: Path) -> sqlite3.Connection:
    uri, log = f"{path.as_uri()}?mode=ro", path.with_name(f"{path.name}-wal")
    # Where nothing may be written beside it, SQLite opens it only as a file that never changes.
    if not os.access(path.parent, os.W_OK) and not (log.exists() and log.stat().st_size):
        uri += "&immutable=1"
    file = sqlite3.connect(uri, uri=True)
    rounds = iter(range(_ROUNDS))
    file.set_progress_handler(lambda: next(rounds, None) is None, _STEPS)
    file.text_factory = lambda data: data.decode(errors="replace")
    return file


def _named(row: tuple[Any, ...]) -> dict[str, Any]:
    return dict(zip(("id", "columns", "quarantined", *_FACTS), row, strict=True))


def _presence(rows: Mapping[Any, Mapping[str, Any]], history: History) -> Iterator[tuple[str, str]]:
    """Rows there should be and are not, and the reverse."""
    known = set(history.live)
    # Between the log's last entry and the catalog there may have been a crash; not before it.
    late = {history.newest} if history.newest_is_last else set[str]()
    replaced = history.replaced if late - set(rows) else set[str]()
    lost = sorted(known - set(rows) - late)
    if lost:
        yield "", f"does not list {len(lost)} segments, as {lost[0]}"
    for name, row in rows.items():
        if not isinstance(name, str) or not re.fullmatch(SEGMENT, name):
            yield "segments", f"lists {_word(name)}, which is no segment's name"
        elif name not in known | replaced and not _is_ahead(name, row, history.next_seq):
            yield f"segment {name}", "is listed and not promised"


def _is_ahead(name: str, row: Mapping[str, Any], next_seq: int) -> bool:
    """Whether it was sealed after we read the log."""
    first = int(name[:20])
    return first >= next_seq and row["first_seq"] == first


def _against(row: Mapping[str, Any], file: File) -> list[str]:
    """How a row says otherwise than the log."""
    promised = file.facts()
    wrong = [
        f"{fact} is {_word(row[fact])} instead of {promised[fact]}"
        for fact in _FACTS
        if row[fact] != promised[fact]
    ]
    try:
        listed = json.loads(row["columns"])
        same = len(listed) == len(file.columns) and set(listed) == file.columns
    except (ValueError, TypeError, RecursionError):
        same = False
    if not same:
        wrong.append(f"columns are {_word(row['columns'])} instead of {sorted(file.columns)}")
    return wrong


def _word(value: Any) -> str:
    """A value of anybody's, for a message."""
    text = repr(value)
    return shown(text if len(text) <= 200 else f"{text[:197]}...")
