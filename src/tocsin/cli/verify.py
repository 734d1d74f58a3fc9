"""``tocsin verify``."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tocsin.cli.options import data_option, json_option, loaded
from tocsin.cli.out import complain, json_line, put
from tocsin.cli.progress import Progress
from tocsin.cli.who import who
from tocsin.errors import KeyMissing, TocsinError, UsageError

if TYPE_CHECKING:
    from tocsin.vault.keys import KeySource
    from tocsin.vault.verify import Report

__all__ = ["command"]

#: Readings of a vault that a tocsin is writing to, before what looks wrong is believed.
_TRIES = 3

#: What an auditor does about an epoch key that does not fit.
_WHICH = (
    "compare it with what was noted when this vault was made; if it is the very key, the record is "
    "not the one that it belongs to: treat it as tampered with"
)

_EPOCH_KEY = 32  #: bytes
_VKEY = re.compile(r"[^\s+]+\+[0-9a-f]{8}\+[A-Za-z0-9+/]{40,60}={0,2}")
_LONGEST = 4096  #: bytes of a file with a key

#: What each check looks at.
_CHECKS = {
    "V1": "the log is whole, and the promise about it is signed",
    "V2": "entries, epochs and events follow each other without a hole",
    "V3": "every silence is told, up to now or to a stop",
    "V4": "the auditor's first epoch key leads to every seal",
    "V5": "each sealed event reads as it was promised",
    "V6": "of erased events only what is personal is gone",
    "V7": "what was erased cannot be made again",
    "V8": "what expired was older than the policy of its time",
    "V9": "witnesses on other machines saw this log",
    "V10": "what needs two persons was approved by two",
    "V11": "what is not sealed yet is authentic and continues the rest",
    "files": "the files are those promised, no more and no less",
    "keys": "each key file is whole and opens",
}
_MEANINGS = "\n".join(f"  {rule:<6} {meaning}" for rule, meaning in _CHECKS.items())


@click.command(
    "verify",
    epilog=f"""\b
Checks (V6 to V10 have nothing to look at yet):
{_MEANINGS}

\b
Examples:
  tocsin verify
  tocsin verify --data /srv/tocsin --json
  tocsin verify --no-key                  the files only, as an auditor without keys

Exit status: 0 intact, 4 intact, but acknowledged events are lost or set aside, 3 tampered, 1 could
not finish, 2 usage, or an epoch key that does not fit.""",
)
@data_option
@click.option("--no-key", is_flag=True, help="Check what can be checked without the key.")
@click.option("--epoch-key", metavar="FILE", help="File with the first epoch key, in hex.")
@click.option("--vkey", metavar="FILE", help="File with the log's public key, as noted elsewhere.")
@json_option
def command(
    data: str | None, no_key: bool, epoch_key: str | None, vkey: str | None, as_json: bool
) -> None:
    """Check that nobody changed the record.

    Reads every byte of the record again, and shares no code with what wrote it but the tree
    arithmetic.  It says which grade of proof the vault reaches, and what that grade cannot show.
    What could not be checked for want of a key is named.  Events that were acknowledged and are
    known to be lost, or that no search finds, are counted at its head, and have an exit status of
    their own: losses are no edit, and nothing to be passed over.  Nothing is written; but a tocsin
    that runs on the vault is told when the record was changed, so that it becomes an event and an
    incident.
    """
    from tocsin.siem.access import SOCKET
    from tocsin.siem.house import key_source
    from tocsin.siem.local import answers
    from tocsin.vault.verify import verify
    from tocsin.vault.verify_report import MISFIT

    settings = loaded(data=data).settings
    place = Path(settings.data).absolute()
    first_key, public = _hex(epoch_key), _public(vkey)
    # Keys are enough: they can tell that the log they belong to was taken away.
    if not any((place / name).is_dir() for name in ("log", "wal", "segments", "keys")):
        raise UsageError(f"{place}: there is no vault here")
    with Progress("verifying", None) as progress:

        def hear(_what: str, done: int, total: int) -> None:
            progress.at(done, total=total)

        kek = None if no_key else _key(key_source(settings), place)

        def read() -> Report:
            now = time.time_ns()
            return verify(place, kek, epoch_key=first_key, vkey=public, now=now, on_progress=hear)

        report, tries = read(), 1
        # What is joined or sealed while we read may look like an edit.  Then it looks well the next
        # time; what somebody did does not.
        # A key that does not fit will not fit then either.
        doubtful = ("tampered", "unfinished")
        while report.verdict in doubtful and tries < _TRIES and answers(place / SOCKET):
            time.sleep(1)
            report, tries = read(), tries + 1
    if as_json:
        json_line(_facts(report))
    else:
        put(*_lines(report), hang=9)
    if report.misfit:
        sys.stdout.flush()
        complain(f"{epoch_key}: {MISFIT}", _WHICH)
    # What was typed wrong rings no bell: that takes something that is changed for certain.
    if report.verdict == "tampered" and answers(place / SOCKET):
        sys.stdout.flush()
        _tell(place / SOCKET, report)
    sys.exit(report.exit_code)


def _key(source: KeySource, place: Path) -> bytes:
    """The key-encryption key; without it, which one is wanted and what can be had without it."""
    from tocsin.vault.keys import wanted

    try:
        return source.fetch(place)
    except KeyMissing as error:
        named = " or ".join(wanted(place / "keys")) or "of this vault"
        raise KeyMissing(
            f"{error}; key-encryption key {named} is wanted: put it there, or set kek_file "
            "(TOCSIN_KEK_FILE), TOCSIN_KEK or kek_command to where it is; `tocsin verify --no-key` "
            "checks log and files without it"
        ) from error


def _tell(socket: Path, report: Report) -> None:
    """Let the tocsin that runs there put it on the record."""
    from tocsin.siem.access import Verified
    from tocsin.siem.local import Remote

    found = [p for p in report.problems if not p.unread]
    first = f"{found[0].rule} {found[0].file} {found[0].place}: {found[0].message}"
    try:
        with Remote(socket) as remote:
            remote.verified(Verified(len(found), first), by=who())
    except TocsinError as error:
        complain(f"no event could be written about it: {error}")


def _hex(path: str | None) -> bytes | None:
    """The first epoch key, out of the file that the auditor keeps."""
    if path is None:
        return None
    try:
        key = bytes.fromhex(_text(path))
    except ValueError as error:
        raise UsageError(f"{path}: not a key in hex digits: {error}") from error
    if len(key) != _EPOCH_KEY:
        raise UsageError(
            f"{path}: holds {len(key)} bytes in hex digits, and an epoch key has {_EPOCH_KEY}; "
            "give the file with the key that was shown when the vault was made"
        )
    return key


def _public(path: str | None) -> str | None:
    """The log's public key, as noted elsewhere."""
    if path is None:
        return None
    text = _text(path).strip()
    if not _VKEY.fullmatch(text):
        raise UsageError(
            f"{path}: not the public key of a log (name+8 hex digits+base64); give a copy of "
            "log/vkey that was made when the vault was"
        )
    return text


def _text(path: str) -> str:
    """What somebody noted in a file, or hands over in a pipe."""
    try:
        with Path(path).open("rb") as file:
            return file.read(_LONGEST).decode("ascii")
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not a text; a key is written in plain letters") from error


def _facts(report: Report) -> dict[str, object]:
    return {
        "verdict": report.verdict,
        "grade": report.grade,
        "limit": report.limit,
        "rules": report.rules,
        "problems": [
            {
                "rule": p.rule,
                "file": p.file,
                "place": p.place,
                "message": p.message,
                "unread": p.unread,
            }
            for p in report.problems
        ],
        "notes": report.notes,
        "entries": report.entries,
        "segments": report.segments,
        "rows": report.rows,
        "unsealed_rows": report.unsealed_rows,
        "lost_rows": report.lost_rows,
        "doubtful_rows": report.doubtful_rows,
        "hidden_rows": report.hidden_rows,
        "unchecked": report.unchecked,
        "torn_bytes": report.torn_bytes,
        "next_seq": report.next_seq,
    }


def _lines(report: Report) -> Iterator[str]:
    said = {
        "intact": "INTACT",
        "lossy": "INTACT, WITH LOSSES",
        "tampered": "TAMPERED",
        "misfit": "KEY DOES NOT FIT",
        "unfinished": "COULD NOT FINISH",
    }
    yield f"{said[report.verdict]}  grade {report.grade}: {report.limit}"
    if report.losses:
        yield f"  LOST {report.losses}"
    yield (
        f"  {report.rows} sealed events in {report.segments} segments, {report.entries} entries in "
        f"the log; {report.unsealed_rows} events not sealed yet"
    )
    for problem in report.problems:
        what = "unreadable" if problem.unread else "PROBLEM"
        yield f"  {what} {problem.rule} {problem.file} {problem.place}: {problem.message}"
    for note in report.notes:
        yield f"  note: {note}"
    for what in report.unchecked:
        yield f"  not checked: {what}"
    for rule, result in report.rules.items():
        yield f"  {rule:<6} {_CHECKS[rule]}: {result}"
