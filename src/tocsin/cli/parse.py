"""``tocsin parse``."""

from __future__ import annotations

import sys

import click

from tocsin.cli.options import zone_option
from tocsin.cli.out import complain
from tocsin.errors import UsageError

__all__ = ["command"]


@click.command(
    "parse",
    epilog="""\b
Examples:
  tocsin parse access.log | jq .status
  tocsin parse --parser pg_json postgresql.json""",
)
@click.argument(
    "files", nargs=-1, required=True, metavar="FILE...", type=click.Path(allow_dash=True)
)
@click.option("--source", metavar="NAME", help="Name of the source. [default: the file's name]")
@click.option("--parser", metavar="NAME", help="Format. [default: found from the lines]")
@zone_option
def command(files: tuple[str, ...], source: str | None, parser: str | None, tz: str) -> None:
    """Print log lines as canonical JSON events, one a line, in input order.

    What is printed is what the vault would keep: secrets are redacted.  A line that no parser takes
    is an event of kind log with a parse_error.  ``-`` is standard input.

    Exit status: 0 done, 1 a file could not be read to its end, 2 usage.
    """
    from tocsin.event.lines import json_lines
    from tocsin.intake import PARSERS
    from tocsin.siem.scan import chunks_of
    from tocsin.siem.troubles import Troubles

    if parser is not None and parser not in PARSERS:
        raise UsageError(f"--parser {parser}: there are {', '.join(sorted(PARSERS))}")
    unread: dict[str, str] = {}
    for name in files:
        troubles = Troubles()
        for chunk in chunks_of(name, unread, parser=parser, source=source, tz=tz):
            sys.stdout.buffer.write(json_lines(chunk.batch.frame))
            troubles.see(name, chunk)
        sys.stdout.buffer.flush()
        for words in troubles.words():
            complain(words)
        if name in unread:  # the other files are none the worse for it
            complain(unread[name])
    if unread:
        sys.exit(1)
