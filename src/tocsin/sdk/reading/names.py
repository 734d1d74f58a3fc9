"""Names of keys, which leave as they are; so what stands in the place of one must not.

A body may be keyed by cards, addresses or tokens, and a client that says that JSON is a form makes
one long name of all of it.
"""

from __future__ import annotations

import re

from tocsin.event.redact import redact
from tocsin.event.sensitive import looks_random

__all__ = ["NAMES", "named"]

#: Names that are remembered, and characters of one that is still a name.
MOST = 8_192
LONGEST = 64

_NAME = re.compile(r"[\w.\-\[\]$@:]{1,64}")
#: A long number, an address, or what a machine made.
_VALUE = re.compile(
    r"[0-9]{6}|(?:[0-9][^0-9]{0,2}){9}|\w@(?!odata\.)[\w\-]{1,64}\.\w"
    r"|[0-9a-f]{8}-[0-9a-f]{4}-|(?=[0-9a-f]{0,15}[0-9])[0-9a-f]{16}",
    re.I,
)
#: Letters and digits by turns, as in no word with a number behind it.
_MIXED = re.compile(r"(?:[0-9]{1,8}[A-Za-z]{1,16}){3}")
#: The same in a word that somebody made a password of.
_DISGUISED = re.compile(
    r"(?=\w{8})[A-Za-z]{0,16}[0-9]{1,4}[a-z][A-Za-z]{0,15}[0-9]{1,4}[A-Za-z0-9]*+"
)


class _Names(dict[str, str]):
    """Names as they may leave; APIs have few, and attackers must not fill the memory."""

    def __missing__(self, name: str) -> str:
        said = name if _is_name(name) else "*"
        if len(name) <= LONGEST:
            if len(self) >= MOST:
                self.clear()
            self[name] = said
        return said


def _is_name(name: str) -> bool:
    return (
        _NAME.fullmatch(name) is not None
        and _VALUE.search(name) is None
        and not (looks_random(name, 16) and _MIXED.search(name))
        and _DISGUISED.fullmatch(name) is None
        and redact(name) == name
    )


#: A name, or ``*`` for what is none.
NAMES = _Names()


def named(path: str) -> str:
    """A dotted *path* of names.

    >>> named("body.items.0.card"), named("body.4111111111111111"), named("data.ann@example.org")
    ('body.items.0.card', '*', 'data.*')
    """
    if not path or path in NAMES:
        return path and NAMES[path]
    if "@" not in path:
        return ".".join(map(NAMES.__getitem__, path.split("."))) if redact(path) == path else "*"
    head, dot, tail = path.partition(".")  # the dots of an address are not those of a path
    return f"{NAMES[head]}.{NAMES[tail]}" if dot and "@" not in head else NAMES[path]
