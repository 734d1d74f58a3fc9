"""Show text from outside so that it cannot act: no control, bidi or invisible character survives.

``visible`` is for eyes (terminals, tables, messages) and one-way.  ``escape`` and ``unescape`` are
for formats that must give back the very same text.
"""

from __future__ import annotations

import re

__all__ = ["UNSAFE", "escape", "unescape", "visible"]

#: Inside of a character class: Unicode's controls, format characters (direction, zero-width, tags),
#: line and paragraph separators and lone surrogates; also what is blank without being space, and
#: what XML cannot hold.
UNSAFE = (
    "\\x00-\\x1f\\x7f-\\x9f\\xad\\u034f\\u0600-\\u0605\\u061c\\u06dd\\u070f\\u0890-\\u0891\\u08e2"
    "\\u115f-\\u1160\\u17b4-\\u17b5\\u180b-\\u180f\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u206f\\u3164"
    "\\ud800-\\udfff\\ufeff\\uffa0\\ufff0-\\ufffb\\ufffe-\\uffff\\U000110bd\\U000110cd\\U00013430-"
    "\\U00013438\\U0001bca0-\\U0001bca3\\U0001d173-\\U0001d17a\\U000e0000-\\U000e0fff"
)
_UNSAFE = re.compile(f"[{UNSAFE}]")
_UNSAFE_OR_SLASH = re.compile(f"[{UNSAFE}\\\\]")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\"}
_LONG = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\"}
_ESCAPED = re.compile(r"\\(?:([nrt\\])|x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8}))")


def visible(text: str) -> str:
    r"""*text* for a person to look at, on one line.

    >>> visible("a\nb\x1b[31m\u202e")
    'a\\nb\\x1b[31m\\u202e'
    """
    return _UNSAFE.sub(_show, text)


def escape(text: str) -> str:
    r"""As :func:`visible`, and reversible: a backslash is doubled.

    >>> escape("a\\n\n"), unescape(escape("a\\n\n")) == "a\\n\n"
    ('a\\\\n\\n', True)
    """
    return _UNSAFE_OR_SLASH.sub(_show, text)


def unescape(text: str) -> str:
    """The text that :func:`escape` was given."""
    return _ESCAPED.sub(lambda m: _LONG[m[1]] if m[1] else chr(int(m[2] or m[3] or m[4], 16)), text)


def _show(found: re.Match[str]) -> str:
    char = found[0]
    code = ord(char)
    if code < 0x100:
        return _SHORT.get(char) or f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
