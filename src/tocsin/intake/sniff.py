"""Telling which parser a log wants, from its first lines."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import msgspec

from tocsin.errors import Malformed
from tocsin.event import NAMES, read_kind
from tocsin.intake.parsers.kv import PAIR
from tocsin.intake.parsers.lines import BOM
from tocsin.intake.parsers.objects import SYSLOG

__all__ = ["sniff"]

_BYTES = 64 << 10
_LINES = 50
#: Share of the lines that must agree.
_AGREE = 0.6

_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_CONTROL = bytes(set(range(32)) - set(b"\t\n\r\x1b")) + b"\x7f"

_ACCESS = re.compile(
    rb"(?:\S+ ){1,3}.*?\[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] "
    rb'".*?" \d{3} (?:\d+|-)( "|$)?'
)
_PER_HOST = re.compile(rb"[A-Za-z]\S* [0-9a-fA-F]*[.:][0-9a-fA-F.:]* ")
_NGINX_ERROR = re.compile(rb"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d \[[a-z]+\] \d+#\d+: ")
_APACHE_ERROR = re.compile(
    rb"\[[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d(?:\.\d+)? \d{4}\] \["
)
_PG_CSV = re.compile(
    rb'\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+ [^,"]{1,12},(?:"[^"]*")?,(?:"[^"]*")?,\d+,(?:"[^"]*")?,'
)
_HEADER = re.compile(
    rb"(?:<\d{1,3}>)?(?:1 )?"
    rb"(?:[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d|\d{4}-\d\d-\d\dT[0-9:.]+(?:Z|[+-]\d\d:?\d\d)) "
    rb"(?:\S+ )?[A-Za-z][\w./-]*(?:\[\d+\])?: "
)

_NGINX_KEYS = frozenset(
    "remote_addr request_uri body_bytes_sent http_user_agent http_referer time_local time_iso8601 "
    "msec request_time upstream_response_time upstream_addr remote_user request_method "
    "request_length bytes_sent http_x_forwarded_for ssl_protocol rt urt uri args xff "
    "req_bytes resp_bytes body_bytes".split()
)
_JSON = frozenset({"tocsin", "nginx_json", "pg_json", "json"})
_decode = msgspec.json.Decoder().decode


def sniff(head: bytes) -> str:
    """Name of the parser for a log that begins with *head* (already decompressed).

    The first 50 lines vote and most must agree; where they do not, it is plain ``text``.  What is
    no text at all raises :class:`Malformed`.

    >>> sniff(b'{"level": "info", "msg": "hello"}')
    'json'
    """
    lines = _lines(_text(head[:_BYTES]), whole=len(head) <= _BYTES)
    if not lines:
        return "text"
    votes = Counter(_vote(line) for line in lines)
    if votes["pg_csv"] and _vote(lines[0]) == "pg_csv" and votes["pg_csv"] >= 0.1 * len(lines):
        return "pg_csv"  # the other lines are inside of its quoted fields
    objects = sum(votes[name] for name in _JSON)
    served = votes["nginx"] + votes["apache"]
    winner, count = votes.most_common(1)[0]
    need = _AGREE * len(lines)
    if objects >= need:
        return winner if winner in _JSON and count >= _AGREE * objects else "json"
    if served >= need:
        return "nginx" if votes["nginx"] >= votes["apache"] else "apache"
    if objects and objects + votes["kv"] >= need:
        return "kv"  # which reads objects too
    return winner if count >= need else "text"


def _text(head: bytes) -> bytes:
    """*head*, if it is text."""
    pairs = head[: len(head) & ~1]
    if head[:2] in _UTF16 or (pairs and _every_other_is_null(pairs)):
        raise Malformed("the input looks like UTF-16; convert it to UTF-8 (iconv -t UTF-8)")
    if head.startswith((b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PK\x03\x04", b"BZh", b"\xfd7zXZ")):
        raise Malformed(
            "the input is an archive; decompress it first (gzip and zstd files are read)"
        )
    head = head.removeprefix(BOM)
    strange = len(head) - len(head.translate(None, _CONTROL))
    if strange > 0.05 * len(head):
        raise Malformed("the input looks binary; name a parser to read it anyway")
    return head


def _every_other_is_null(pairs: bytes) -> bool:
    half = len(pairs) // 2
    return max(pairs[0::2].count(0), pairs[1::2].count(0)) > 0.4 * half


def _lines(head: bytes, *, whole: bool) -> list[bytes]:
    lines = head.split(b"\n")
    if not whole and len(lines) > 1:
        lines.pop()  # cut in the middle
    return [line for line in lines if line.strip()][:_LINES]


def _vote(line: bytes) -> str:
    """The parser that this one line wants."""
    if wrapped := SYSLOG.match(line):
        line = line[wrapped.end() :]
    if line.lstrip()[:1] == b"{":
        return _object(line)
    if _PG_CSV.match(line):
        return "pg_csv"
    if header := _HEADER.match(line):
        line = line[header.end() :]
    if found := _ACCESS.match(line):
        # Both parsers read both; the name only says what it most likely is.
        plain = found[1] is None or not found[1].strip() or b'\\"' in line
        return "apache" if plain or _PER_HOST.match(line) else "nginx"
    if _NGINX_ERROR.match(line):
        return "nginx"
    if _APACHE_ERROR.match(line):
        return "apache"
    text = line.decode(errors="replace")
    pairs = sum(1 for _ in PAIR.finditer(text))
    return "kv" if pairs >= 3 or (pairs >= 2 and PAIR.match(text)) else "text"


def _object(line: bytes) -> str:
    try:
        record: Any = _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "text"
    if not isinstance(record, dict):
        return "text"
    keys = set(record)
    if {"timestamp", "error_severity"} <= keys and keys & {"pid", "backend_type", "session_id"}:
        return "pg_json"
    kind = record.get("kind")
    known = isinstance(kind, str) and read_kind(kind)[0] is not None
    if known and len(keys & set(NAMES)) * 2 > len(keys):
        return "tocsin"
    if "status" in keys and len(keys & _NGINX_KEYS) >= 2:
        return "nginx_json"
    return "json"
