"""What commands print: data on stdout, talk on stderr, and nothing that moves a terminal.

On a terminal, lines break between words and tables fit its width.  In a pipe a line stays a line,
and a table is its head and its rows, their cells whole, with tabs between them.
"""

from __future__ import annotations

import re
import shutil
import sys
import textwrap
import unicodedata
from collections.abc import Sequence
from itertools import takewhile
from typing import Any, TextIO

import msgspec

from tocsin.event.escape import UNSAFE, visible

_OBEYED = re.compile(f"[{UNSAFE}]")

__all__ = ["complain", "json_line", "put", "say", "shortened", "table", "terminal_width"]

_GAP = "  "
_LEAST = 10  #: columns of a table that what is broken between words gets at least
_READABLE = 14  #: and its last column, before others are left out
_SHORT = 8  #: signs of an id, without its kind, that are shown at least


def put(*lines: str, hang: int = 2) -> None:
    """Lines of data.  No value in one begins another.

    What is wider than the terminal goes on below, *hang* columns to the right.
    """
    sys.stdout.write("".join(_laid(line, sys.stdout, hang) for line in lines))


def _laid(line: str, stream: TextIO, hang: int) -> str:
    text = visible(line)
    width = terminal_width(stream)
    if width is None or len(text) <= width:
        return f"{text}\n"
    # Paths and ids stay whole: broken, they could not be copied.
    parts = textwrap.wrap(
        text,
        max(width, 2 * hang),
        subsequent_indent=" " * hang,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "\n".join(parts) + "\n"


def json_line(value: Any) -> None:
    """One JSON value on one line of stdout; what a terminal would obey is escaped."""
    text = msgspec.json.encode(value).decode()
    sys.stdout.write(_OBEYED.sub(_escaped, text) + "\n")
    sys.stdout.flush()


def _escaped(found: re.Match[str]) -> str:
    # Such characters stand in JSON's texts only, where this escape means the same.
    units = found[0].encode("utf-16-be")
    return "".join(f"\\u{units[n : n + 2].hex()}" for n in range(0, len(units), 2))


def say(*lines: str, hang: int = 2) -> None:
    """Talk, for a person; laid out as :func:`put` does."""
    sys.stderr.write("".join(_laid(line, sys.stderr, hang) for line in lines))
    sys.stderr.flush()


def complain(*lines: str) -> None:
    """Why it did not work."""
    first, *rest = lines
    say(f"tocsin: {first}", *rest)


def terminal_width(stream: TextIO | None = None) -> int | None:
    """How wide a line of *stream*, by default stdout, may be; None where no terminal is."""
    shown = (stream or sys.stdout).isatty()
    return shutil.get_terminal_size().columns if shown else None


def table(
    head: list[str], rows: list[list[str]], *, whole: Sequence[str] = (), drop: Sequence[str] = ()
) -> None:
    """A table as wide as the terminal, or lines of cells with tabs between them in a pipe.

    On a terminal a column without a value is left out, and those of *drop*, in that order, while
    the others have too little room.  Columns of *whole* are never broken.
    """
    width = terminal_width()
    shown = [[visible(cell) for cell in row] for row in [head, *rows]]
    if width is None:
        sys.stdout.write("".join("\t".join(row) + "\n" for row in shown))
        return
    names, *body = shown
    filled = [n for n, _ in enumerate(names) if not body or any(row[n] for row in body)]
    chosen = _roomy(shown, filled, [names.index(n) for n in drop if n in names], width)
    fixed = {names.index(n) for n in whole if n in names}
    widths = _widths(shown, chosen, fixed, width)
    for row in shown:
        cells = [_broken(row[n], w) for n, w in zip(chosen, widths, strict=True)]
        for at in range(max(map(len, cells))):
            parts = [
                _padded(cell[at] if at < len(cell) else "", w)
                for cell, w in zip(cells, widths, strict=True)
            ]
            sys.stdout.write(_GAP.join(parts).rstrip() + "\n")


def shortened(ids: Sequence[str]) -> dict[str, str]:
    """For a terminal, the beginning of each that none of the others has; in a pipe, all of it.

    Commands take a beginning for the whole.
    """
    every = sorted(set(ids))
    if terminal_width() is None:
        return {one: one for one in every}
    made: dict[str, str] = {}
    for at, one in enumerate(every):
        size = _SHORT + (4 if one[:4] in ("inc-", "sup-") else 0)
        for near in (*every[max(0, at - 1) : at], *every[at + 1 : at + 2]):
            same = takewhile(lambda pair: pair[0] == pair[1], zip(one, near, strict=False))
            size = max(size, sum(1 for _ in same) + 1)
        made[one] = one[:size] if len(one) > size + 2 else one
    return made


def _roomy(shown: list[list[str]], columns: list[int], drop: list[int], width: int) -> list[int]:
    """*columns* without as many of *drop* as it takes for the last to be readable."""
    left = list(columns)
    for out in drop:
        *others, last = (_natural(shown, n) for n in left)
        if sum(others) + len(_GAP) * len(others) + min(last, _READABLE) <= width:
            break
        left = [n for n in left if n != out]
    return left


def _widths(shown: list[list[str]], columns: list[int], fixed: set[int], width: int) -> list[int]:
    """As wide as the content; of the widest that may be broken is taken until all fit."""
    widths = [_natural(shown, n) for n in columns]
    soft = [at for at, n in enumerate(columns) if n not in fixed]
    over = sum(widths) + len(_GAP) * (len(widths) - 1) - width
    while over > 0 and soft:
        widest = max(soft, key=lambda at: widths[at])
        if widths[widest] <= _LEAST:
            break
        widths[widest] -= 1
        over -= 1
    return widths


def _natural(shown: list[list[str]], column: int) -> int:
    return max(_wide(row[column]) for row in shown)


def _broken(cell: str, width: int) -> list[str]:
    """*cell* in lines; within a word only where it is too long for one."""
    if _wide(cell) <= width:
        return [cell]
    return textwrap.wrap(cell, width, break_on_hyphens=False)


def _padded(text: str, width: int) -> str:
    return text + " " * (width - _wide(text))


def _wide(text: str) -> int:
    """How many columns *text* takes on a terminal."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(char) else 1 + (unicodedata.east_asian_width(char) in "WF")
        for char in text
    )
