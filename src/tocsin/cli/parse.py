"""``tocsin parse``."""

from __future__ import annotations

import sys

import click

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
@click.option("--parser", metavar="NAME", help="Format. [default: found from the first lines]")
@click.option(
    "--tz", default="UTC", show_default=True, metavar="ZONE", help="Zone of times without one."
)
def command(files: tuple[str, ...], source: str | None, parser: str | None, tz: str) -> None:
    """Print log lines as canonical JSON events, one a line, in input order.

    What is printed is what the vault would keep: secrets are redacted.  A line that no parser takes
    is an event of kind log with a parse_error.  ``-`` is standard input.
    """
    from tocsin.event.lines import json_lines
    from tocsin.intake import PARSERS
    from tocsin.siem.reading import read_file

    if parser is not None and parser not in PARSERS:
        raise UsageError(f"--parser {parser}: there are {', '.join(sorted(PARSERS))}")
    for name in files:
        errors, trouble = 0, None
        for chunk in read_file(name, parser=parser, source=source, tz=tz):
            sys.stdout.buffer.write(json_lines(chunk.batch.frame))
            errors += chunk.parse_errors
            trouble = trouble or chunk.trouble
        sys.stdout.buffer.flush()
        if errors:
            complain(
                f"not understood and kept as plain log events: {errors} lines, "
                f"the first at {trouble}"
            )
