"""What commands print: data on stdout, talk on stderr, and nothing that moves a terminal."""

from __future__ import annotations

import sys
from typing import Any

import msgspec

from tocsin.event.escape import visible

__all__ = ["complain", "json_line", "put", "say", "table"]


def put(text: str) -> None:
    """One line, or lines, of data."""
    sys.stdout.write(text if text.endswith("\n") else text + "\n")


def json_line(value: Any) -> None:
    """One JSON value on one line of stdout."""
    sys.stdout.buffer.write(msgspec.json.encode(value) + b"\n")
    sys.stdout.flush()


def say(text: str) -> None:
    """Talk, for a person."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def complain(text: str) -> None:
    """Why it did not work.  Foreign words in it are shown escaped."""
    say("tocsin: " + "\n".join(visible(line) for line in text.split("\n")))


def table(head: list[str], rows: list[list[str]]) -> None:
    """A table as wide as the terminal allows, plain when it is piped."""
    # rich is slow to import, and most commands do not need it.
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(soft_wrap=not sys.stdout.isatty())
    if not console.is_terminal:
        for row in [head, *rows]:
            put("\t".join(visible(cell) for cell in row))
        return
    made = Table(box=None, pad_edge=False, header_style="bold")
    for title in head:
        made.add_column(title)
    for row in rows:
        made.add_row(*(Text(visible(cell)) for cell in row))
    console.print(made)
