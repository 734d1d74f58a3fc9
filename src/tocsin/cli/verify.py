"""``tocsin verify``."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tocsin.cli.options import data_option, json_option, loaded
from tocsin.cli.out import json_line, put
from tocsin.cli.progress import Progress
from tocsin.errors import UsageError
from tocsin.event.escape import visible

if TYPE_CHECKING:
    from tocsin.vault.verify import Report

__all__ = ["command"]


@click.command(
    "verify",
    epilog="""\b
Examples:
  tocsin verify
  tocsin verify --data /srv/tocsin --json
  tocsin verify --no-key                  the files only, as an auditor without keys

Exit status: 0 intact, 3 tampered, 1 could not finish, 2 usage.""",
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

    Reads every byte again, and shares no code with what wrote it.  It says which grade of proof the
    vault reaches, and what that grade cannot show.
    """
    from tocsin.siem.house import key_source
    from tocsin.vault.verify import verify

    settings = loaded(data=data).settings
    place = Path(settings.data)
    if not (place / "log").is_dir() and not (place / "wal").is_dir():
        raise UsageError(f"{place}: there is no vault here")
    with Progress("verifying", None) as progress:

        def hear(_what: str, done: int, total: int) -> None:
            progress.at(done, total=total)

        report = verify(
            place,
            None if no_key else key_source(settings).fetch(place),
            epoch_key=_hex(epoch_key),
            vkey=Path(vkey).read_text().strip() if vkey else None,
            now=time.time_ns(),
            on_progress=hear,
        )
    if as_json:
        json_line(_facts(report))
    else:
        put("\n".join(visible(line) for line in _lines(report)))
    sys.exit(report.exit_code)


def _hex(path: str | None) -> bytes | None:
    if path is None:
        return None
    try:
        return bytes.fromhex(Path(path).read_text())
    except ValueError as error:
        raise UsageError(f"{path}: not a key in hex digits: {error}") from error


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
        "torn_bytes": report.torn_bytes,
        "next_seq": report.next_seq,
    }


def _lines(report: Report) -> Iterator[str]:
    said = {"intact": "INTACT", "tampered": "TAMPERED", "unfinished": "COULD NOT FINISH"}
    yield f"{said[report.verdict]}  grade {report.grade}: {report.limit}"
    yield (
        f"  {report.rows} sealed events in {report.segments} segments, {report.entries} entries in "
        f"the log; {report.unsealed_rows} events not sealed yet"
    )
    for problem in report.problems:
        what = "unreadable" if problem.unread else "PROBLEM"
        yield f"  {what} {problem.rule} {problem.file} {problem.place}: {problem.message}"
    for note in report.notes:
        yield f"  note: {note}"
    for rule, result in report.rules.items():
        yield f"  {rule:<6} {result}"
