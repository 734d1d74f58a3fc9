"""Which kinds of personal and secret data an answer holds: class and count, never a value.

Each class is looked for only where its mark stands: a byte or two that C finds in no time, where a
pattern would take longer than all else that is done for a request.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from tocsin.event.sensitive import card, iban_end

__all__ = ["classes"]

#: Of one class, more are not counted.
MOST = 1_000

#: Bytes as what they are: digits ``d``, capitals ``A``, small letters ``a``, others themselves.
_KINDS = bytes(
    ord("d") if 48 <= n < 58 else ord("A") if 65 <= n < 91 else ord("a") if 97 <= n < 123 else n
    for n in range(256)
)


class _Class(NamedTuple):
    """One class: where it may stand, what it looks like, and a check of what does."""

    name: str
    marks: tuple[bytes, ...]  #: one of these is in the bytes
    kinds: bytes  #: or this is in the bytes' kinds
    dense: bool  #: without spaces and dashes
    shape: re.Pattern[str]
    check: Callable[[str], bool] | None = None


def _is_card(text: str) -> bool:
    digits = re.sub(r"[ -]", "", text)
    return 13 <= len(digits) <= 19 and card(digits)


def _is_iban(text: str) -> bool:
    return iban_end(text, 0) is not None


def _class(
    name: str,
    shape: str,
    *,
    marks: str = "",
    kinds: bytes = b"",
    dense: bool = False,
    check: Callable[[str], bool] | None = None,
) -> _Class:
    found = tuple(mark.encode() for mark in marks.split("|") if mark)
    return _Class(name, found, kinds, dense, re.compile(shape), check)


_CLASSES = (
    _class(
        "email",
        r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,4}",
        marks="@",
    ),
    _class(
        "token",
        r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*",
        marks="eyJ",
    ),
    _class(
        "password_hash",
        r"\$(?:2[aby]|argon2(?:id|i|d)|5|6|pbkdf2[a-z0-9-]*|scrypt)\$[^\s\"']{16,}"
        r"|\bpbkdf2_sha256\$[0-9]{1,9}\$[^\s\"']{16,}",
        marks="$2|$argon|$5$|$6$|pbkdf2|$scrypt",
    ),
    _class(
        "secret_key",
        r"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"
        r"|\b(?:sk|rk)_live_[0-9A-Za-z]{16,}|\bgh[pousr]_[0-9A-Za-z]{30,}"
        r"|\bxox[abprs]-[0-9A-Za-z-]{10,}",
        marks="-----BEGIN|AKIA|ASIA|_live_|ghp_|gho_|ghs_|ghu_|ghr_|xox",
    ),
    _class(
        "ssn",
        r"(?<![0-9-])(?!000|666|9)[0-9]{3}-(?!00)[0-9]{2}-(?!0000)[0-9]{4}(?![0-9-])",
        kinds=b"ddd-dd-dddd",
    ),
    _class(
        "phone",
        r"(?<![0-9A-Za-z])\+[1-9](?:[ .()-]{0,3}+[0-9]){6,14}+(?![0-9A-Za-z])",
        kinds=b"+d",
    ),
    _class(
        "card",
        r"(?<![0-9A-Za-z.])(?:[0-9][ -]?){12,18}[0-9](?![0-9A-Za-z.])",
        kinds=b"d" * 13,
        dense=True,
        check=_is_card,
    ),
    _class(
        "iban",
        r"(?<![0-9A-Za-z])[A-Z]{2}[0-9]{2}(?:[ ]?[0-9A-Z]{4}){2,7}(?:[ ]?[0-9A-Z]{1,4})?",
        kinds=b"AAdd",
        check=_is_iban,
    ),
    _class(
        "debug",
        r"Traceback \(most recent call last\)|\bat [\w.$]+\([\w]+\.java:[0-9]+\)"
        r"|File \\?\"[^\"]+\.py\\?\", line [0-9]+"
        r"|\b(?:sqlite3|psycopg2?|pymysql)\.(?:\w{1,64}+\.){0,4}\w{0,64}Error"
        r"|sqlalchemy\.exc\.|SQLSTATE\[|ORA-[0-9]{5}|You have an error in your SQL syntax"
        r"|Werkzeug Debugger|You're seeing this error because you have <code>DEBUG = True",
        marks="Traceback|.java:|.py|Error|sqlalchemy.|SQLSTATE|ORA-|SQL syntax|Werkzeug|DEBUG",
    ),
)


def classes(data: bytes) -> tuple[str, ...]:
    """``class:count`` of all that *data*, an answer's text, holds.

    >>> classes(b'[{"email": "ann@example.org", "card": "4111 1111 1111 1111"}]')
    ('email:1', 'card:1')
    """
    kinds = data.translate(_KINDS)
    dense = data.translate(_KINDS, b" -")
    text: str | None = None
    found: list[str] = []
    for name, marks, mark, is_dense, shape, check in _CLASSES:
        # find(): of bytes, "in" asks first whether it is given a number, by way of an error.
        if mark:
            if (dense if is_dense else kinds).find(mark) < 0:
                continue
        elif max(map(data.find, marks)) < 0:
            continue
        if text is None:
            text = data.decode("utf-8", "replace")
        hits = shape.findall(text)[:MOST]
        count = len(hits) if check is None else sum(map(check, hits))
        if count:
            found.append(f"{name}:{count}")
    return tuple(found)
