"""What the receiver is handed to look for attacks in: request values, without the secrets.

Lines ``name=value``.  Values that are one plain word or number show nothing and stay here; those
under a secret's name never leave.
"""

from __future__ import annotations

import re
from typing import Any

from tocsin.event.sensitive import key_class
from tocsin.sdk.reading.bodies import leaves

__all__ = ["of_body", "of_headers"]

#: Values that are no attack in any grammar: one word, number, date, address.
_PLAIN = re.compile(r"[\w.@:+\-]{0,64}", re.A)
_ODD = re.compile(r"""[<>{}$'"`;|\\()%\r\n]|\.\./""")
#: Headers that are columns of the event, that are secrets, or that have a grammar of their own.
_LEFT_OUT = frozenset(
    (
        "host user-agent referer authorization proxy-authorization cookie content-type x-api-key "
        "api-key apikey x-auth-token x-access-token x-token x-csrf-token x-csrftoken x-xsrf-token"
    ).split()
)


def of_body(asked: Any, most: int) -> str | None:
    """The values of a request's body, up to *most* characters.

    >>> of_body({"name": "bob", "note": "1' OR 1=1", "password": "' OR 1=1"}, 2048)
    "note=1' OR 1=1"
    >>> of_body({"user": {"$ne": None}}, 2048)
    '{"$ne":null'
    """
    lines: list[str] = []
    left = most
    for path, key, value in leaves(asked):
        line = _line(path, value)
        if line is None or key_class(key) is not None:
            continue
        line = line[: min(left, 1024)]
        lines.append(line)
        left -= len(line) + 1
        if left <= 0:
            break
    return "\n".join(lines) or None


def _line(path: str, value: Any) -> str | None:
    text = value if type(value) is str else "null" if value is None else str(value)
    if "$" in path or "__" in path:  # operators and prototypes, where only data should be
        odd = next((p for p in path.split(".") if p[:1] == "$" or "__" in p), None)
        if odd is not None:
            return f'{{"{odd}":{text}'.replace("\n", "\x0b")
    if _PLAIN.fullmatch(text):
        return None
    name = path if _PLAIN.fullmatch(path) else path[:256]
    return f"{name}={text}".replace("\n", "\x0b")


def of_headers(headers: dict[str, str], most: int) -> str | None:
    """The values of a request's headers that are odd, up to *most* characters."""
    lines: list[str] = []
    left = most
    for name, value in headers.items():
        if name in _LEFT_OUT or not _ODD.search(value):
            continue
        if name.startswith("x-amz-") or key_class(name) is not None:
            continue
        line = f"{name}={value}"[: min(left, 512)].replace("\n", "\x0b")
        lines.append(line)
        left -= len(line) + 1
        if left <= 0:
            break
    return "\n".join(lines) or None
