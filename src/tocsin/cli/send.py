"""``tocsin send``."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click
from platformdirs import user_state_dir

from tocsin.cli.options import json_option
from tocsin.cli.out import complain, json_line, say
from tocsin.cli.progress import Progress
from tocsin.errors import IntakeError, UsageError

if TYPE_CHECKING:
    import httpx2

    from tocsin.intake.send import Sent

__all__ = ["command"]


@click.command(
    "send",
    epilog="""\b
Examples:
  tocsin send access.log --to http://127.0.0.1:7461 --key tocsin_...
  zcat old.log.gz | tocsin send - --to http://127.0.0.1:7461 --parser nginx""",
)
@click.argument(
    "files", nargs=-1, required=True, metavar="FILE...", type=click.Path(allow_dash=True)
)
@click.option(
    "--to",
    "url",
    envvar="TOCSIN_URL",
    required=True,
    metavar="URL",
    help="The door; also TOCSIN_URL.",
)
@click.option(
    "--key", envvar="TOCSIN_KEY", required=True, help="Key of the source; also TOCSIN_KEY."
)
@click.option(
    "--parser",
    metavar="NAME",
    help="Format of the lines. [default: as the key says, else found from the lines]",
)
@click.option("--insecure", is_flag=True, help="Send over plain HTTP beyond loopback.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=300.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to try again when the door takes nothing, before giving up; 0: not at all.",
)
@json_option
def command(
    files: tuple[str, ...],
    url: str,
    key: str,
    parser: str | None,
    insecure: bool,
    timeout: float,
    as_json: bool,
) -> None:
    """Send log files to a running tocsin.

    Sending a file again stores nothing twice, also when it has grown since, as long as it is the
    same file, sent by the same user of the same machine.  A copy is new to tocsin, and so is what
    comes through a pipe (``-`` is standard input).

    While the door is away or full it is asked again, for --timeout seconds from the first refusal
    on, and the first line says why.

    Exit status: 0 done, 1 something was not taken or could not be read, 2 usage.
    """
    import httpx2

    from tocsin.intake import PARSERS

    if parser is not None and parser not in PARSERS:
        raise UsageError(f"--parser {parser}: there are {', '.join(sorted(PARSERS))}")
    failed = False
    with httpx2.Client(timeout=60, trust_env=False) as client:
        for name in files:
            try:
                sent = _send(name, client, url, key, parser, insecure, timeout)
            except (IntakeError, OSError) as error:  # the other files are none the worse for it
                failed = True
                words = error.strerror if isinstance(error, OSError) else None
                complain(f"{name}: {words.lower() if words else error}; it was not sent to its end")
                continue
            failed |= bool(sent.refused)
            if as_json:
                json_line({"file": name, "accepted": sent.accepted, "repeated": sent.repeated,
                           "parse_errors": sent.parse_errors, "bytes": sent.bytes,
                           "refused": len(sent.refused)})  # fmt: skip
            else:
                say(
                    f"{name}: {sent.accepted} events taken, {sent.repeated} of them known "
                    f"already, {sent.parse_errors} not read whole"
                )
            for refusal in sent.refused:
                complain(f"{name}: {refusal.size} bytes at {refusal.offset} refused: {refusal.why}")
    if failed:
        sys.exit(1)


def _send(
    name: str,
    client: httpx2.Client,
    url: str,
    key: str,
    parser: str | None,
    insecure: bool,
    timeout: float,
) -> Sent:
    """Send one file; what came of it."""
    from tocsin.intake import boundary, read_records
    from tocsin.intake.send import Patience, RememberedEnds, identity, pieces, send
    from tocsin.siem.reading import open_input, sniff_input

    with open_input(name) as file, Progress(name, size_of(name)) as progress:
        source = identity(file.fileno())
        ends = None
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            ends = RememberedEnds(Path(user_state_dir("tocsin")) / "sent", url, source)
        named = parser or sniff_input(file)

        def whole(data: bytes) -> int:
            return boundary(data, named)

        sent = send(
            pieces(read_records(file, named), source, boundary=whole, ends=ends),
            client=client,
            url=url,
            key=key,
            parser=parser,
            # The door looks at each line itself; only records over several lines have to be named,
            # since it sees them body by body.
            guess="pg_csv" if named == "pg_csv" else None,
            insecure=insecure,
            boundary=whole,
            progress=lambda sent: progress.at(sent.bytes),
            patience=Patience(total=timeout, told=_waiting(url, timeout)),
        )
    if ends is not None and ends.failed:
        complain(
            f"{ends.failed}: where {name} ended is not remembered; if it grows and is sent again, "
            "its last lines are stored twice"
        )
    return sent


def _waiting(url: str, timeout: float) -> Callable[[str], None]:
    """Say, once, why the door does not take events just now."""
    told: list[bool] = []

    def tell(why: str) -> None:
        if not told:
            say(f"{url}: {why}; trying again for {timeout:g} s, Ctrl-C to end")
            told.append(True)

    return tell


def size_of(name: str) -> int | None:
    """Bytes of the file, when that can be known."""
    return None if name == "-" or not Path(name).is_file() else Path(name).stat().st_size
