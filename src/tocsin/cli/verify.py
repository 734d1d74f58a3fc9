"""``tocsin verify``."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

from tocsin.cli.options import data_option, json_option, loaded
from tocsin.cli.out import json_line, put
from tocsin.cli.progress import Progress
from tocsin.errors import UsageError
from tocsin.event.escape import visible

__all__ = ["command"]

#: Exit statuses by verdict.
STATUS = {"intact": 0, "tampered": 3, "could not finish": 1}


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
@click.option(
    "--epoch-key", metavar="FILE", type=click.Path(), help="The auditor's first epoch key (hex)."
)
@json_option
def command(data: str | None, no_key: bool, epoch_key: str | None, as_json: bool) -> None:
    """Check that nobody changed the record.

    Reads every byte again, and shares no code with what wrote it.  It says which grade of proof the
    vault reaches, and what that grade cannot show.
    """
    import msgspec

    from tocsin.siem.house import key_source
    from tocsin.vault.verify import verify

    settings = loaded(data=data).settings
    place = Path(settings.data)
    if not (place / "log").is_dir() and not (place / "wal").is_dir():
        raise UsageError(f"{place}: there is no vault here")
    kek = None if no_key else key_source(settings).fetch(place)
    first = bytes.fromhex(Path(epoch_key).read_text().strip()) if epoch_key else None
    with Progress("verifying", None) as progress:
        report = verify(
            place,
            kek,
            epoch_key=first,
            now=time.time_ns(),
            on_progress=lambda rows: progress.at(rows),
        )
    if as_json:
        json_line(msgspec.to_builtins(report))
    else:
        put(visible(str(report)))
    sys.exit(STATUS[report.verdict])
