r"""Show hostile text to people: nothing in it moves a cursor, turns the line or hides.

Control and format characters (bidi, zero-width, tags), separators and lone surrogates are written
as escapes.  A backslash stays as it is: this is for eyes, not for reading back.
"""

from __future__ import annotations

import unicodedata

__all__ = ["visible"]

_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def visible(text: str) -> str:
    r"""*text* with everything escaped that a terminal would obey rather than show.

    >>> print(visible("eve\r\n\x1b[2J\u202etxt"))
    eve\r\n\x1b[2J\u202etxt
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_shown(char) for char in text)


def _shown(char: str) -> str:
    if unicodedata.category(char) not in _HIDDEN:
        return char
    return char.encode("unicode_escape").decode()
