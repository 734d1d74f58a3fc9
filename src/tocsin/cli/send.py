"""``tocsin send``."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import click

from tocsin.cli.options import json_option
from tocsin.cli.out import complain, json_line, say
from tocsin.cli.progress import Progress
from tocsin.errors import UsageError

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
    "--parser", metavar="NAME", help="Format of the lines. [default: found from the first lines]"
)
@click.option("--insecure", is_flag=True, help="Send over plain HTTP beyond loopback.")
@json_option
def command(
    files: tuple[str, ...], url: str, key: str, parser: str | None, insecure: bool, as_json: bool
) -> None:
    """Send log files to a running tocsin.

    Sending the same file again stores nothing twice.  ``-`` is standard input.
    """
    import httpx2

    from tocsin.intake import PARSERS, boundary, read_records
    from tocsin.intake.send import Patience, Sent, identity, pieces, send
    from tocsin.siem.reading import open_input, sniff_input

    if parser is not None and parser not in PARSERS:
        raise UsageError(f"--parser {parser}: there are {', '.join(sorted(PARSERS))}")
    refused = 0
    with httpx2.Client(timeout=60, trust_env=False) as client:
        for name in files:
            with open_input(name) as file, Progress(name, size_of(name)) as progress:
                source = identity(file.fileno())
                named = parser or sniff_input(file)

                def whole(data: bytes, named: str = named) -> int:
                    return boundary(data, named)

                def hear(sent: Sent, progress: Progress = progress) -> None:
                    progress.at(sent.bytes)

                sent = send(
                    pieces(read_records(file, named), source, boundary=whole),
                    client=client,
                    url=url,
                    key=key,
                    parser=named,
                    insecure=insecure,
                    boundary=whole,
                    progress=hear,
                    patience=Patience(sleep=_waiting(url)),
                )
            refused += len(sent.refused)
            if as_json:
                json_line({"file": name, "accepted": sent.accepted, "repeated": sent.repeated,
                           "parse_errors": sent.parse_errors, "bytes": sent.bytes,
                           "refused": len(sent.refused)})  # fmt: skip
            else:
                say(
                    f"{name}: {sent.accepted} events taken as {named}, {sent.repeated} of them "
                    f"known already, {sent.parse_errors} kept as plain lines"
                )
            for refusal in sent.refused:
                complain(f"{name}: {refusal.size} bytes at {refusal.offset} refused: {refusal.why}")
    if refused:
        sys.exit(1)


def _waiting(url: str) -> Callable[[float], None]:
    """Say, once, that the door does not take events just now; then wait."""
    told: list[bool] = []

    def wait(seconds: float) -> None:
        if not told:
            say(f"{url} does not take events just now; trying again, Ctrl-C to end")
            told.append(True)
        time.sleep(seconds)

    return wait


def size_of(name: str) -> int | None:
    """Bytes of the file, when that can be known."""
    return None if name == "-" or not Path(name).is_file() else Path(name).stat().st_size
