"""Telling which parser a log wants, from its lines; and for a stream, from all it said so far."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import msgspec

from tocsin.errors import Malformed
from tocsin.event import NAMES, read_kind
from tocsin.intake.parsers.envelope import opened, together
from tocsin.intake.parsers.kv import PAIR
from tocsin.intake.parsers.lines import BOM, Lines, squeezed

__all__ = ["JSON", "OBJECT", "Sniffer", "dialect", "sniff"]

_BYTES = 64 << 10
_LINES = 50
#: Share of the lines that must agree.
_AGREE = 0.6
#: Share of the lines, and least number of them, that are asked again when all are plain text.
_END, _LEAST = 0.25, 10
#: Lines that have to have wanted a format before lines that want none are read as it, too.
_SURE = 10

_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_CONTROL = bytes(set(range(32)) - set(b"\t\n\r\x1b")) + b"\x7f"

_ACCESS = re.compile(
    rb"(?:\S+ ){1,3}.*?\[(?:\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}"
    rb"|\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[^]\[ ]*)\] "
    rb'".*?" \d{3} (?:\d+|-)( "|$)?'
)
_PER_HOST = re.compile(rb"[A-Za-z]\S* [0-9a-fA-F]*[.:][0-9a-fA-F.:]* ")
_NGINX_ERROR = re.compile(rb"(?:\d{4}/\d\d/\d\d \d\d:\d\d:\d\d )?\[[a-z]+\] \d+#\d+: ")
_APACHE_ERROR = re.compile(
    rb"\[[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d(?:\.\d+)? \d{4}\] \["
)
_PG_CSV = re.compile(
    rb'\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+ [^,"]{1,12},(?:"[^"]*")?,(?:"[^"]*")?,\d+,(?:"[^"]*")?,'
)
_NGINX_KEYS = frozenset(
    "remote_addr request_uri body_bytes_sent http_user_agent http_referer time_local time_iso8601 "
    "msec request_time upstream_response_time upstream_addr remote_user request_method "
    "request_length bytes_sent http_x_forwarded_for ssl_protocol rt urt uri args xff "
    "req_bytes resp_bytes body_bytes".split()
)
_PLAIN = "text"
#: Bytes of a line by which a log is told among what is none.
_SHORTEST = 16
_TIMED = re.compile(
    rb"[\[(<]?(?:\d{1,3}>)?"
    rb"(?:\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d|[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d)"
)
#: Parsers of lines that are JSON objects.
JSON = frozenset({"tocsin", "nginx_json", "pg_json", "json"})
#: How an object begins; what else begins with a brace is words.
OBJECT = r'^\{\s*["}]'
_OBJECT = re.compile(OBJECT.encode())
_BROKEN = "broken"  # the vote of an object that cannot be decoded: JSON, of whatever make
#: Parsers that read each other's lines, under one of them.
_KIN = {"apache": "nginx", "tocsin": "json", "nginx_json": "json"}
_decode = msgspec.json.Decoder().decode


def sniff(data: bytes) -> str:
    """Name of the parser for a log that begins with *data* (already decompressed).

    The first 50 lines vote and most must agree.  Where they do not, the last ones do, since many
    programs greet before they log; where those do not either, it is plain ``text``.  It is what
    most lines are: the others are read as what they are, see ``company``.  Null bytes in a row, as
    a crash or a truncation leaves them, are passed over.  What is no text at all raises
    :class:`Malformed`.

    >>> sniff(b'{"level": "info", "msg": "hello"}')
    'json'
    """
    return _told(data)[0]


class Sniffer:
    """The format of one stream, chunk by chunk: ask it for each chunk, in their order.

    ``parser`` names the parser for the next chunk, which must be whole records.  The contract:

    - A chunk whose lines agree on a format is read as that, whatever came before: a banner does not
      make a log plain text, and a file that changes its format is read on.  Formats that one parser
      reads, or that are each JSON lines of some make, count as one; the one that most lines wanted
      is named.
    - A chunk whose lines agree on none is read as the format that most lines before wanted, if at
      least ten did.  (What of it is not in that format is kept as ``log`` and says so.)  Else it
      is ``text``, which is never more than a guess: the next chunk is asked again.
    - :class:`Malformed` is raised only as long as nothing but such chunks was seen, and never for a
      chunk in which a line is plainly one of a log.

    A format that was *named* is not asked about.
    """

    def __init__(self, named: str | None = None) -> None:
        self._named = named
        self._wanted = Counter[str]()
        self._begun = False

    def parser(self, data: bytes) -> str:
        """The parser for *data*, the next chunk of the stream."""
        if self._named is not None:
            return self._named
        try:
            found, lines = _told(data)
        except Malformed:
            if not self._begun:
                raise
            found, lines = _PLAIN, 0
        self._begun |= lines > 0
        if found == _PLAIN:
            likely = self._wanted.most_common(1)
            return likely[0][0] if likely and likely[0][1] >= _SURE else _PLAIN
        self._wanted[found] += lines
        kin = [name for name in self._wanted if _KIN.get(name, name) == _KIN.get(found, found)]
        return max(kin, key=self._wanted.__getitem__)


def _told(data: bytes) -> tuple[str, int]:
    """The parser for *data* and how many lines asked for it."""
    data, _ = squeezed(data)
    head = data[:_BYTES]
    try:
        head = _text(head)
    except Malformed:
        if not any(map(_is_of_a_log, data.split(b"\n"))):
            raise
        # Whatever else is in it costs no line of a log.
    lines = _lines(head, whole=len(data) <= _BYTES)
    if not lines:
        return _PLAIN, 0
    found = _verdict(lines[:_LINES])
    if found[0] == _PLAIN:
        if len(data) > _BYTES:
            lines = _lines(data[-_BYTES:], whole=True)[1:]  # the first was cut in the middle
        last = max(_LEAST, round(_END * len(lines)))
        if len(lines) > last or len(data) > _BYTES:
            again = _verdict(lines[-min(last, _LINES) :])
            return again if again[0] != _PLAIN else found
    return found


def _verdict(lines: list[bytes]) -> tuple[str, int]:
    """What most of *lines* want, and how many do."""
    seals = list(opened(Lines(b"\n".join(lines)), "UTC", 0))
    if seals:
        lines = together(seals[-1].inner).plain()
    if not lines:
        return _PLAIN, 0
    votes = Counter(_vote(line) for line in lines)
    if seals:
        votes[_PLAIN] += votes.pop("pg_csv", 0)  # whose records may span lines
    if votes["pg_csv"] and _vote(lines[0]) == "pg_csv" and votes["pg_csv"] >= 0.1 * len(lines):
        return "pg_csv", len(lines)  # the other lines are inside of its quoted fields
    broken = votes.pop(_BROKEN, 0)
    objects = sum(votes[name] for name in JSON) + broken
    served = votes["nginx"] + votes["apache"]
    winner, count = votes.most_common(1)[0] if votes else ("json", broken)
    need = _AGREE * len(lines)
    if objects >= need:
        sure = winner in JSON and count >= _AGREE * (objects - broken)
        return (winner if sure else "json"), objects
    if served >= need:
        return ("nginx" if votes["nginx"] >= votes["apache"] else "apache"), served
    if objects and objects + votes["kv"] >= need:
        return "kv", objects + votes["kv"]  # which reads objects too
    return (winner, count) if count >= need else (_PLAIN, len(lines))


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
    low, high = sorted((pairs[0::2].count(0), pairs[1::2].count(0)))
    return high > 0.4 * half and low < 0.1 * half


def _is_of_a_log(line: bytes) -> bool:
    """Whether a line has a format or begins with a time, and has nothing in it that no text has."""
    if len(line) < _SHORTEST or line.translate(None, _CONTROL) != line:
        return False
    return _TIMED.match(line) is not None or _vote(line) != _PLAIN


def _lines(head: bytes, *, whole: bool) -> list[bytes]:
    lines = head.split(b"\n")
    if not whole and len(lines) > 1:
        lines.pop()  # cut in the middle
    return [line for line in lines if line.strip()]


def _vote(line: bytes) -> str:
    """The parser that this one line wants."""
    if line.lstrip()[:1] == b"{":
        return _object(line)
    if _PG_CSV.match(line):
        return "pg_csv"
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


def dialect(line: bytes) -> str:
    """The parser that a line which begins with a brace wants."""
    vote = _object(line)
    return "json" if vote == _BROKEN else vote


def _object(line: bytes) -> str:
    try:
        record: Any = _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _BROKEN if _OBJECT.match(line.lstrip()) else _PLAIN
    if not isinstance(record, dict):
        return _PLAIN
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
