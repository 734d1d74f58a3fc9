"""What a statement does, without what it does it to: literals become ``?``.

A lexer, not a parser: it knows strings, numbers, comments and names, and no dialect's grammar.
"""

from __future__ import annotations

import re

__all__ = ["fingerprint", "without_literals"]

_TOKEN = re.compile(
    r"(?P<comment>--[^\n]*|/\*.*?(?:\*/|\Z))"
    r"|(?P<string>(?:[EeNnBbXx]|[Uu]&)?'(?:[^'\\]|''|\\.)*+(?:'|\Z))"
    r"|(?P<name>\"(?:[^\"]|\"\")*+(?:\"|\Z)|`[^`]*+(?:`|\Z)|[A-Za-z_\x80-\U0010ffff][\w$\x80-\U0010ffff]*+)"
    r"|(?P<dollar>\$(?:[A-Za-z_]\w*)?\$)"
    r"|(?P<param>\$\d+|[:@]\w+|%s|\?)"
    r"|(?P<number>(?:0[xX][0-9A-Fa-f]+|(?:\d[\d_]*(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?))"
    r"|(?P<space>\s+)"
    r"|(?P<other>.)",
    re.S | re.A,
)
_LIST = re.compile(r"\( ?\?(?: ?, ?\?)+ ?\)")
_ROWS = re.compile(r"(\(\?\+\)|\( ?\? ?\))(?: ?, ?(?:\(\?\+\)|\( ?\? ?\)))+")
_SIGNED = re.compile(r"(?<=[=<>(,+*/-] )-\?|(?<=[=<>(,])-\?")


def fingerprint(sql: str) -> str:
    """*sql* with literals as ``?``, lists of them as one, comments gone, white space folded.

    >>> fingerprint("SELECT * FROM t\\n WHERE a = 'x''y' AND b IN (1, 2,3) -- why")
    'SELECT * FROM t WHERE a = ? AND b IN (?+)'
    >>> fingerprint(fingerprint("insert into t values (1,'a'),(2,'b')"))
    'insert into t values (?+)'
    """
    text = " ".join(_folded(sql).split())
    text = _SIGNED.sub("?", text)
    return _ROWS.sub(r"\1", _LIST.sub("(?+)", text)).rstrip("; ")


def _folded(sql: str) -> str:
    out: list[str] = []
    at = 0
    while at < len(sql):
        found = _TOKEN.match(sql, at)
        if found is None:  # cannot be: the last branch takes any character
            break
        at = found.end()
        kind = found.lastgroup
        if kind == "dollar":  # an open dollar quote runs to the end
            end = sql.find(found[0], at)
            at = end + len(found[0]) if end >= 0 else len(sql)
        if kind in {"string", "number", "dollar"}:
            out.append("?")
        elif kind in {"comment", "space"}:
            out.append(" ")
        elif kind == "param":
            out.append("?")
        else:
            out.append(found[0])
    return "".join(out)


_QUOTED = re.compile(r"'(?:[^'\\]|''|\\.)*+'?|\$(\w*)\$.*?(?:\$\1\$|\Z)", re.S | re.A)


def without_literals(text: str) -> str:
    """A log line around a statement, with its quoted literals as ``?``; the rest as it is.

    >>> without_literals("duration: 1 ms statement: insert into t values ('secret', $$x$$)")
    'duration: 1 ms statement: insert into t values (?, ?)'
    """
    return _QUOTED.sub("?", text)
