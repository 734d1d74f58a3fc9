"""What commands print: data on stdout, talk on stderr, and nothing that moves a terminal."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Sequence
from typing import Any

import msgspec

from tocsin.event.escape import UNSAFE, visible

_OBEYED = re.compile(f"[{UNSAFE}]")

__all__ = ["complain", "json_line", "put", "say", "table", "terminal_width"]


def put(*lines: str) -> None:
    """Lines of data.  Each stays one line, whatever a value in it says."""
    sys.stdout.write("".join(f"{visible(line)}\n" for line in lines))


def json_line(value: Any) -> None:
    """One JSON value on one line of stdout; what a terminal would obey is escaped."""
    text = msgspec.json.encode(value).decode()
    sys.stdout.write(_OBEYED.sub(_escaped, text) + "\n")
    sys.stdout.flush()


def _escaped(found: re.Match[str]) -> str:
    # Such characters stand in JSON's texts only, where this escape means the same.
    units = found[0].encode("utf-16-be")
    return "".join(f"\\u{units[n : n + 2].hex()}" for n in range(0, len(units), 2))


def say(*lines: str) -> None:
    """Talk, for a person.  Each stays one line, whatever a value in it says."""
    sys.stderr.write("".join(f"{visible(line)}\n" for line in lines))
    sys.stderr.flush()


def complain(*lines: str) -> None:
    """Why it did not work."""
    first, *rest = lines
    say(f"tocsin: {first}", *rest)


def terminal_width() -> int:
    """How wide a line may be: as wide as the terminal, or 160 where there is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 160


def table(head: list[str], rows: list[list[str]], *, whole: Sequence[str] = ()) -> None:
    """A table as wide as the terminal, plain when it is piped.

    Columns named in *whole* are never cut: what people paste must be there.
    """
    # rich is slow to import, and most commands do not need it.
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    if not console.is_terminal:
        for row in [head, *rows]:
            # Cell by cell: the tabs between them stay.
            sys.stdout.write("\t".join(visible(cell) for cell in row) + "\n")
        return
    made = Table(box=None, pad_edge=False, header_style="bold")
    for title in head:
        made.add_column(title, no_wrap=title in whole, overflow="fold")
    for row in rows:
        made.add_row(*(Text(visible(cell)) for cell in row))
    console.print(made)
