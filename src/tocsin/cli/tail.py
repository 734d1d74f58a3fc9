"""``tocsin tail``."""

from __future__ import annotations

import sys

import click

from tocsin.cli.asking import Asking
from tocsin.cli.options import data_option, json_option, loaded
from tocsin.cli.out import terminal_width

__all__ = ["command"]


@click.command(
    "tail",
    cls=Asking,
    epilog="""\b
Examples:
  tocsin tail
  tocsin tail 'status:>=500' --json
  tocsin tail '-user:bob'""",
)
@click.argument("query", default="")
@data_option
@json_option
def command(query: str, data: str | None, as_json: bool) -> None:
    """Print events as they arrive, until Ctrl-C.  Needs a running tocsin."""
    from tocsin.query import render
    from tocsin.siem.access import access

    with access(loaded(data=data).settings) as house:
        arriving = (frame for frame in house.tail(query) if frame.height)
        width = terminal_width()
        shape = "json" if as_json else "tsv" if width is None else "table"
        for text in render(arriving, shape, width=width or 0, arriving=True):
            sys.stdout.write(text)
            sys.stdout.flush()
