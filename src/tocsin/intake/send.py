"""Send log files to a door: in pieces, packed, in order, and the same again when in doubt.

Each piece carries a batch id made of where it comes from and what it says.  So a piece that was
taken, but whose answer was lost, is recognised by the vault, and running the same file twice stores
it once.  Where a run ended is remembered, and the next one cuts there again: of a file that has
grown since, only what is new is stored.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import random
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import httpx2
import msgspec
import zstandard
from isal import igzip
from msgspec import Struct

from tocsin.errors import DeliveryError, Malformed, UsageError

__all__ = [
    "Ends",
    "Patience",
    "Piece",
    "Refusal",
    "RememberedEnds",
    "Sent",
    "identity",
    "line_end",
    "pieces",
    "send",
]

_PIECE_BYTES = 1 << 20
_REMEMBERED_SECONDS = 180 * 86_400  # that an input is remembered after it was sent last
_LONGEST = 4  # a record may take a piece doubled so often, and is cut beyond that
_LATER = frozenset({408, 425, 429, 500, 502, 503, 504})  # the same again may be taken
_BAD_KEY = frozenset({401, 403})


class Piece(Struct, frozen=True):
    """Some whole records of one input."""

    source: str  #: identity of the input
    offset: int  #: of the first byte in it
    data: bytes

    @property
    def batch_id(self) -> str:
        """The same for the same bytes at the same place of the same input, in every run."""
        place = f"{self.source}\n{self.offset}\n".encode()
        return sha256(place + self.data).hexdigest()[:40]


class Refusal(Struct, frozen=True):
    """A piece that the door did not take and never will."""

    offset: int
    size: int
    why: str


class Sent(Struct, frozen=True):
    """How far it has come."""

    bytes: int = 0  #: read from the input, and answered for
    accepted: int = 0  #: rows that the door holds, repeated ones included
    repeated: int = 0  #: of these, rows that it already held
    parse_errors: int = 0  #: of these, lines kept as they are since no parser took them
    retries: int = 0
    refused: tuple[Refusal, ...] = ()


class Patience(Struct, frozen=True):
    """How long to try again.  A pause doubles from ``first`` to ``longest``, with full jitter."""

    first: float = 0.2  #: seconds
    longest: float = 10.0  #: seconds
    total: float = 300.0  #: seconds spent on one piece before giving up
    told: Callable[[str], None] = lambda _why: None  #: hears why it waits, before each pause
    sleep: Callable[[float], None] = time.sleep
    monotonic: Callable[[], float] = time.monotonic
    random: Callable[[], float] = random.random  # jitter, nothing secret


def identity(file: int) -> str:
    """Who the open *file* (a descriptor) is, whatever its name: it survives a rename."""
    stat = os.fstat(file)
    return f"{socket.gethostname()}:{stat.st_dev}:{stat.st_ino}"


def line_end(data: bytes) -> int:
    """How many of the first bytes of *data* are whole lines."""
    return data.rfind(b"\n") + 1


class Ends(Protocol):
    """Where earlier runs over an input ended."""

    def after(self, offset: int) -> int | None:
        """The first such place behind *offset*."""
        ...

    def add(self, offset: int) -> None:
        """This run ends here: written down before the last piece is sent."""
        ...


class RememberedEnds:
    """Ends in a small file of the user's, one for each input and door.

    Only a help: without it the last lines of a file that has grown are stored again.
    """

    def __init__(self, folder: Path, url: str, source: str) -> None:
        self._path = folder / sha256(f"{url}\n{source}".encode()).hexdigest()[:40]
        self.failed = ""  #: why it cannot be remembered, if so
        try:
            self._ends = msgspec.json.decode(self._path.read_bytes(), type=list[int])
        except (OSError, msgspec.MsgspecError):
            self._ends = []

    def after(self, offset: int) -> int | None:
        """The first end behind *offset*."""
        return next((end for end in self._ends if end > offset), None)

    def add(self, offset: int) -> None:
        """Remember *offset*; a crash leaves what was remembered before."""
        if offset in self._ends:
            return
        self._ends = sorted([*self._ends, offset])
        temporary = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _prune(self._path.parent)
            temporary.write_bytes(msgspec.json.encode(self._ends))
            temporary.replace(self._path)
        except OSError as error:
            self.failed = f"{self._path.parent}: {(error.strerror or str(error)).lower()}"


def _prune(folder: Path) -> None:
    """Forget inputs that nobody has sent for long."""
    oldest = time.time() - _REMEMBERED_SECONDS
    for path in folder.iterdir():
        with contextlib.suppress(OSError):
            if path.stat().st_mtime < oldest:
                path.unlink()


def pieces(
    chunks: Iterable[bytes],
    source: str,
    *,
    size: int = _PIECE_BYTES,
    boundary: Callable[[bytes], int] = line_end,
    ends: Ends | None = None,
) -> Iterator[Piece]:
    """*chunks* cut anew into whole records, about *size* bytes each.

    Where the cuts fall depends on the bytes and on *ends* only, not on how they arrived: a place
    where an earlier run ended is cut again, so that what was sent then is recognised.  *boundary*
    tells how many of the first bytes are whole records.  A record far longer than a piece, which no
    door would take, is cut, and the door keeps the parts as plain lines.
    """
    rest, offset = b"", 0
    broken: Malformed | None = None
    parts = _small(chunks, size)
    while True:
        try:
            part = next(parts, None)
        except Malformed as error:  # of an archive that is cut short: what came before it counts
            part, broken = None, error
        if part is None:
            break
        rest += part
        while cut := _next_cut(rest, offset, size, boundary, ends):
            yield Piece(source, offset, rest[:cut])
            rest, offset = rest[cut:], offset + cut
    whole = boundary(rest)
    if ends is not None and whole:
        ends.add(offset + whole)
    # A line without its end may be being written: it goes alone, so that the rest is known again.
    for tail in (rest[:whole], rest[whole:]):
        left = tail
        while left:
            cut = _cut(left, size, boundary) or len(left)
            yield Piece(source, offset, left[:cut])
            left, offset = left[cut:], offset + cut
    if broken is not None:
        raise broken


def _next_cut(
    data: bytes, offset: int, size: int, boundary: Callable[[bytes], int], ends: Ends | None
) -> int:
    """Where the first piece of *data*, which begins at *offset*, ends; 0: more bytes are needed."""
    cut = _cut(data, size, boundary) if len(data) >= size else 0
    end = ends.after(offset) if ends is not None else None
    while ends is not None and end is not None and end - offset <= (cut or len(data)):
        if boundary(data[: end - offset]) == end - offset:
            return end - offset
        end = ends.after(end)  # of another content: no record ends there
    return cut


def _small(chunks: Iterable[bytes], size: int) -> Iterator[bytes]:
    for chunk in chunks:
        for start in range(0, len(chunk), size):
            yield chunk[start : start + size]


def _cut(data: bytes, size: int, boundary: Callable[[bytes], int]) -> int:
    """Where the first piece of *data* ends; 0 when more bytes are needed to tell."""
    for length in (size << n for n in range(_LONGEST)):
        if length > len(data):
            return 0
        if cut := boundary(data[:length]):
            return cut
    return size << (_LONGEST - 1)


def send(
    stream: Iterable[Piece],
    *,
    client: httpx2.Client,
    url: str,
    key: str,
    parser: str | None = None,
    guess: str | None = None,
    keep: bool = True,
    encoding: str = "zstd",
    patience: Patience | None = None,
    progress: Callable[[Sent], None] = lambda _sent: None,
    boundary: Callable[[bytes], int] = line_end,
    insecure: bool = False,
) -> Sent:
    """Send each piece of *stream* to the door at *url*, in order; *progress* hears after each.

    Lines are read as *parser* says, else as the source's key does, else as *guess*, else as they
    look to the door.
    Bad lines are kept by the door as plain log events, or refuse their piece with *keep* off.
    Raises DeliveryError when the key is not accepted, when the answer is none of a tocsin's, or
    when *patience* is at its end; whatever was sent before is safe, and running it again repeats
    nothing.
    """
    said = {"tocsin-parser": parser, "tocsin-parser-guess": guess}
    formats = {name: value for name, value in said.items() if value is not None}
    post = _Post(client, _target(url, insecure), key, formats, keep, encoding, patience, boundary)
    sent = Sent()
    for piece in stream:
        sent = post.deliver(piece, sent)
        progress(sent)
    return sent


def _target(url: str, insecure: bool) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f'"{url}" is no address; give one such as http://127.0.0.1:7461')
    if parts.scheme == "http" and not insecure and not _is_loopback(parts.hostname):
        raise UsageError(f'"{url}" would carry the key in the clear; use https, or say --insecure')
    return url.rstrip("/").removesuffix("/v1/events") + "/v1/events"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


_PACK: dict[str, Callable[[bytes], bytes]] = {
    "zstd": lambda data: zstandard.compress(data, 3),
    "gzip": lambda data: igzip.compress(data, 1),
    "identity": lambda data: data,
}


class _Answer(Struct):
    """The part of the door's answer that is used here."""

    accepted: int
    repeated: bool = False
    parse_errors: int = 0


class _Problem(Struct):
    detail: str = ""


class _Post:
    """One door, and how to speak to it."""

    def __init__(
        self,
        client: httpx2.Client,
        url: str,
        key: str,
        formats: Mapping[str, str],
        keep: bool,
        encoding: str,
        patience: Patience | None,
        boundary: Callable[[bytes], int],
    ) -> None:
        if encoding not in _PACK:
            raise UsageError(f'no such encoding "{encoding}"; there are {", ".join(_PACK)}')
        self._client = client
        self._url = url
        self._pack = _PACK[encoding]
        self._patience = patience or Patience()
        self._boundary = boundary
        self._headers = {
            "authorization": f"Bearer {key}",
            "content-type": "text/plain; charset=utf-8",
            "content-encoding": encoding,
            "tocsin-on-error": "keep" if keep else "refuse",
            **formats,
        }

    def deliver(self, piece: Piece, sent: Sent) -> Sent:
        """*sent* with *piece* added.  A piece that is too large is sent in halves."""
        answer, retries = self._post(piece)
        sent = msgspec.structs.replace(sent, retries=sent.retries + retries)
        if answer.status_code == 413 and (halves := self._halves(piece)):
            for half in halves:
                sent = self.deliver(half, sent)
            return sent
        sent = msgspec.structs.replace(sent, bytes=sent.bytes + len(piece.data))
        if answer.status_code in (400, 413):
            refusal = Refusal(piece.offset, len(piece.data), _detail(answer))
            return msgspec.structs.replace(sent, refused=(*sent.refused, refusal))
        taken = self._taken(answer)
        return msgspec.structs.replace(
            sent,
            accepted=sent.accepted + taken.accepted,
            repeated=sent.repeated + taken.accepted * taken.repeated,
            parse_errors=sent.parse_errors + taken.parse_errors,
        )

    def _post(self, piece: Piece) -> tuple[httpx2.Response, int]:
        """The door's last word on *piece*, and how often it had to be asked again."""
        headers = self._headers | {"tocsin-batch-id": piece.batch_id}
        body = self._pack(piece.data)
        patience = self._patience
        end = patience.monotonic() + patience.total
        retries = 0
        while True:
            wait = 0.0
            try:
                answer = self._client.post(
                    self._url, content=body, headers=headers, follow_redirects=False
                )
                if answer.status_code not in _LATER:
                    return answer, retries
                why = f"{answer.status_code} {_detail(answer)}"
                wait = _retry_after(answer)
            except httpx2.TransportError as error:
                why = _cause(error)
            pause = min(patience.longest, patience.first * 2.0 ** min(retries, 30))
            wait += pause * patience.random()
            if patience.monotonic() + wait > end:
                raise DeliveryError(
                    f"{self._url} did not take the piece at byte {piece.offset} within "
                    f"{patience.total:g} s ({why}); run it again later, nothing is stored twice"
                )
            patience.told(why)
            patience.sleep(wait)
            retries += 1

    def _halves(self, piece: Piece) -> tuple[Piece, Piece] | None:
        """*piece* cut between records, near its middle; None when it is a single record."""
        data = piece.data
        for length in (len(data) // 2, len(data) * 3 // 4, len(data) - 1):
            if cut := self._boundary(data[:length]):
                return (
                    Piece(piece.source, piece.offset, data[:cut]),
                    Piece(piece.source, piece.offset + cut, data[cut:]),
                )
        return None

    def _taken(self, answer: httpx2.Response) -> _Answer:
        status = answer.status_code
        if status in _BAD_KEY:
            raise DeliveryError(
                f"{self._url} does not accept the key ({status}); make one there with "
                "tocsin token create --source NAME"
            )
        if answer.is_redirect:
            raise DeliveryError(
                f"{self._url} sends us elsewhere ({status}), where the key will not go; "
                "give the final address"
            )
        if not answer.is_success:
            raise DeliveryError(f"{self._url} answered {status} {_detail(answer)}".rstrip())
        try:
            return msgspec.json.decode(answer.content, type=_Answer)
        except msgspec.MsgspecError as error:
            raise DeliveryError(f"{self._url} does not answer like a tocsin; check it") from error


def _cause(error: httpx2.TransportError) -> str:
    """Why nothing came of it, without the number that the system gives it."""
    why = str(error).partition("] ")[2] if str(error).startswith("[Errno") else str(error)
    return why[:1].lower() + why[1:] or type(error).__name__


def _retry_after(answer: httpx2.Response) -> float:
    text = answer.headers.get("retry-after", "")
    return float(text) if text.isdecimal() and len(text) < 7 else 0.0


def _detail(answer: httpx2.Response) -> str:
    try:
        return msgspec.json.decode(answer.content, type=_Problem).detail
    except msgspec.MsgspecError:
        return answer.reason_phrase
