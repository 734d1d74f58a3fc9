"""SQL without its values."""

from __future__ import annotations

import re

__all__ = ["fingerprint"]

_LITERAL = re.compile(
    r"""
      (?:\b[EeBbXxNn]|[Uu]&)?'(?:[^'\\]|''|\\.)*(?:'|$)   # text, also one that was cut
    | \$((?:[A-Za-z_]\w*)?)\$.*?(?:\$\1\$|$)                 # dollar-quoted text
    | --[^\n]* | /\*.*?(?:\*/|$)                           # comments may quote anything
    | (?<![\w$."])-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?\b       # numbers, but not those in names
    """,
    re.VERBOSE | re.DOTALL,
)
_SPACE = re.compile(r"\s+")


def fingerprint(statement: str) -> str:
    """*statement* with every literal as ``?``.

    >>> fingerprint("select * from users where id = 5 and name = 'bob'")
    'select * from users where id = ? and name = ?'
    """
    return _SPACE.sub(" ", _LITERAL.sub("?", statement)).strip()
