"""Events as lines, for who has no receiver: on stderr, in a file, in one of several formats.

One event is one line, whatever stands in it: no control, bidi or invisible character survives
unescaped, so nothing that a client sent can begin a line of its own or hide a part of one.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tocsin.errors import UsageError
from tocsin.event.codecs import encode_logfmt, encode_xml
from tocsin.event.escape import UNSAFE
from tocsin.event.model import Event
from tocsin.sdk.harmless import harmless
from tocsin.sdk.noted import Probe
from tocsin.sdk.sending.dialects import DIALECTS
from tocsin.sdk.sending.tally import Tally
from tocsin.sdk.sending.wire import encode, mended, to_json

__all__ = ["FORMATS", "Lines", "write"]

#: Bytes of one write: a file takes all of it at once; a pipe mixes in others' from here on.
_FILE, _PIPE = 1 << 18, getattr(select, "PIPE_BUF", 512)

#: Milliseconds to wait for a full stream that somebody has set to non-blocking.
_FULL_MS = 1_000

_UNSAFE = re.compile(f"[{UNSAFE}]")
_NEW = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY


def write(event: Event, form: str) -> bytes:
    """*event* as one line in the format *form*, without a new line."""
    try:
        return FORMATS[form](event)
    except (UnicodeError, RecursionError, ValueError, TypeError, UsageError):
        return FORMATS[form](mended(event))


def _json(event: Event) -> bytes:
    return _safe(encode(event, words=True))


def _other(form: str) -> Callable[[Event], bytes]:
    translate = DIALECTS[form]

    def written(event: Event) -> bytes:
        fields = translate(event)
        time = fields.pop("_time", None)
        line = to_json(fields)
        if time is not None:  # a number too long for a float
            line = b'{"_time":%s,%s' % (str(time).encode(), line[1:])
        return _safe(line)

    return written


#: Every format, and who writes it.
FORMATS: dict[str, Callable[[Event], bytes]] = {
    "json": _json,
    "xml": lambda event: encode_xml(event).encode(),
    "kv": lambda event: encode_logfmt(event).encode(),
    **{form: _other(form) for form in DIALECTS},
}


def _safe(line: bytes) -> bytes:
    """JSON with every unsafe character in it escaped; they can only stand inside of texts."""
    if line.isascii() and b"\x7f" not in line:
        return line
    return _UNSAFE.sub(lambda found: json.dumps(found[0])[1:-1], line.decode()).encode()


class Lines:
    """The way out without a receiver.  For one thread at a time; nothing here raises."""

    def __init__(self, output: str, form: str, tally: Tally) -> None:
        self._output, self._form, self._tally = output, form, tally
        self._lines: list[bytes] = []
        self._fd = -1
        self._torn = False  # the last write ended in the middle of a line
        self._there = 0  # whole lines of the last write that are there
        self.works = True  #: the last write did

    def put(self, event: Event, probe: Probe | None) -> None:  # noqa: ARG002  a probe is never kept
        """Take *event*, to be written with others."""
        self._lines.append(write(event, self._form) + b"\n")

    @property
    def waiting(self) -> int:
        """Lines not yet written."""
        return len(self._lines)

    def flush(self) -> None:
        """Write what was taken, whole lines at a time; what cannot be written is lost."""
        lines, self._lines = self._lines, []
        if not lines:
            return
        left = len(lines)
        try:
            self._there = 0
            for group, size in self._groups(lines):
                self._write(group)
                self._there = 0
                left -= size
                self._tally.sent += size
            self.works = True
        except Exception as error:  # noqa: BLE001  a full disk, a broken pipe, the host's own stream
            self.works = False
            self._tally.disk_errors += 1
            self._tally.sent += self._there
            self._tally.lose("unwritable", left - self._there)
            harmless.mishap(error)

    def abandon(self) -> None:
        """In a forked child."""
        self.close()

    def close(self) -> None:
        """Close the file; the next line opens it again."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            with contextlib.suppress(OSError):
                os.close(fd)

    def _groups(self, lines: list[bytes]) -> Iterator[tuple[bytes, int]]:
        most = self._open()
        group: list[bytes] = []
        size = 0
        for line in lines:
            if group and size + len(line) > most:
                yield b"".join(group), len(group)
                group, size = [], 0
            group.append(line)
            size += len(line)
        yield b"".join(group), len(group)

    def _open(self) -> int:
        """Have the output open; how much to write at once."""
        if self._output == "stderr":
            return _PIPE
        if self._fd >= 0 and not self._is_there():
            self.close()  # rotated: the name is another file now
        if self._fd < 0:
            self._fd = os.open(self._output, _NEW, 0o600)
        return _FILE if stat.S_ISREG(os.fstat(self._fd).st_mode) else _PIPE

    def _is_there(self) -> bool:
        try:
            named = Path(self._output).stat()
        except OSError:
            return False
        return os.path.samestat(named, os.fstat(self._fd))

    def _write(self, data: bytes) -> None:
        if self._output != "stderr":
            self._write_to(self._fd, data)
            return
        stream = sys.stderr  # whatever the host has put there by now
        if stream is None:
            raise OSError("this process has no stderr")
        fd = _descriptor(stream)
        if fd is None:
            stream.write(data.decode())
            stream.flush()
        else:
            self._write_to(fd, data)

    def _write_to(self, fd: int, data: bytes) -> None:
        """Write all of *data*; when that fails, remember what of it is there."""
        data = b"\n" + data if self._torn else data  # ends the line that a full disk cut short
        at = 0
        try:
            while at < len(data):
                try:
                    at += os.write(fd, memoryview(data)[at:])
                except BlockingIOError:
                    if not _is_writable(fd):
                        raise
        finally:
            if at:
                self._torn = data[at - 1] != ord("\n")
            self._there = data.count(b"\n", 0, at) - (len(data) > at > 0 and data[:1] == b"\n")


def _is_writable(fd: int) -> bool:
    waiting = select.poll()
    waiting.register(fd, select.POLLOUT)
    return bool(waiting.poll(_FULL_MS))


def _descriptor(stream: Any) -> int | None:
    try:
        return int(stream.fileno())
    except (AttributeError, OSError, ValueError):  # a stream that is no file
        return None
