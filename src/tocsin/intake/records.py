"""Cutting a stream into chunks of whole records, through gzip and zstd, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import BinaryIO, cast

import zstandard
from isal import isal_zlib
from isal.igzip_lib import IsalError

from tocsin.errors import Malformed
from tocsin.intake.parsers.lines import LIMIT
from tocsin.intake.parsers.pg_csv import ends

__all__ = ["CHUNK", "boundary", "read_records"]

#: Bytes of records handed on at once.
CHUNK = 4 << 20

_READ = 1 << 18
#: Compressed bytes given to zstd at once.  A block of 128 KiB can take as little as 4 of them.
_SLICE = 1 << 10
_DAMAGED = cast("type[Exception]", IsalError)  # its stub takes the class for an instance
_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"


def boundary(data: bytes, parser: str) -> int:
    """How many bytes at the start of *data* are whole records.

    A line end closes a record; for ``pg_csv`` only one outside quotes does.  What goes on for more
    than 1 MiB is no record any more: it is given out as it stands, and ``parse`` keeps it, cut.
    """
    if parser == "pg_csv":
        marks = ends(data)
        whole = marks[-1] if marks else 0
    else:
        whole = data.rfind(b"\n") + 1
    return whole if whole or len(data) <= LIMIT else len(data)


def read_records(
    file: BinaryIO, parser: str | Callable[[bytes], str], *, chunk: int = CHUNK
) -> Iterator[bytes]:
    """Chunks of whole records from *file*, which may be compressed with gzip or zstd.

    *parser* says where a record ends; it may also be asked, with what was read, as a ``Sniffer``
    can be.  Where a file begins without a line feed but with carriage returns, as old Macs and some
    tools write, those end its lines, and are handed on as line feeds.

    A line longer than 1 MiB is cut while it is read, so no line can fill the memory.  An archive
    that ends early or is damaged yields all that can be read of it; then comes :class:`Malformed`.
    """
    held = bytearray()
    skipping = False
    broken: Malformed | None = None
    blocks = _line_feeds(_blocks(file))
    while True:
        try:
            block = next(blocks, None)
        except Malformed as error:
            broken, block = error, None
        if block is None:
            break
        if skipping:
            end = block.find(b"\n")
            if end < 0:
                continue
            block, skipping = block[end + 1 :], False
        held += block
        if len(held) >= chunk or (len(held) > LIMIT and b"\n" not in held):
            whole = bytes(held)
            named = parser if isinstance(parser, str) else parser(whole)
            data, held, skipping = _take(whole, named)
            if data:
                yield data
    if held:
        yield bytes(held)
    if broken is not None:
        raise broken


def _take(held: bytes, parser: str) -> tuple[bytes, bytearray, bool]:
    """What of *held* to hand on, what to keep, and whether the rest of a line is to be skipped."""
    if len(held) > LIMIT and b"\n" not in held:
        # One byte over the limit is enough for parse() to see and say that the line was cut.
        return held[: LIMIT + 1] + b"\n", bytearray(), True
    whole = boundary(held, parser)
    rest = held[whole:]
    if len(rest) > LIMIT and b"\n" not in rest:
        return held[: whole + LIMIT + 1] + b"\n", bytearray(), True
    return held[:whole], bytearray(rest), False


def _line_feeds(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """*blocks* with line feeds at the ends of their lines."""
    translate = None
    for block in blocks:
        if translate is None:
            translate = b"\r" in block and b"\n" not in block
        yield block.replace(b"\r", b"\n") if translate else block


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    """Bytes of *file*, decompressed."""
    head = file.read(_READ)
    raw = _raw(head, file)
    if head.startswith(_GZIP):
        return _gunzip(raw)
    if head.startswith(_ZSTD):
        return _unzstd(raw)
    return raw


def _raw(head: bytes, file: BinaryIO) -> Iterator[bytes]:
    while head:
        yield head
        head = file.read(_READ)


def _gunzip(raw: Iterator[bytes]) -> Iterator[bytes]:
    """Members of a gzip stream, each expansion bounded by asking for a block at a time."""
    done = 0
    inflate = isal_zlib.decompressobj(wbits=31)
    fresh = True  # nothing of the present member was read yet
    data = b""
    try:
        for block in raw:
            data = block
            while data:
                fresh = False
                out = inflate.decompress(data, _READ)
                done += len(out)
                if out:
                    yield out
                data = inflate.unconsumed_tail
                if inflate.eof:
                    data = inflate.unused_data.lstrip(b"\0")  # tape drives pad with zeros
                    inflate, fresh = isal_zlib.decompressobj(wbits=31), True
        while not fresh and (out := inflate.decompress(b"", _READ)):
            done += len(out)
            yield out
    except _DAMAGED as error:
        raise Malformed(f"gzip data is damaged after {done:,} bytes of content: {error}") from error
    if not fresh and not inflate.eof:
        raise Malformed(f"gzip data ends early, after {done:,} bytes of content; fetch it again")


def _unzstd(raw: Iterator[bytes]) -> Iterator[bytes]:
    """Frames of a zstd stream, given in slices so small that no expansion is large."""
    done = 0
    packed = zstandard.ZstdDecompressor(max_window_size=1 << 27)
    inflate, fresh = packed.decompressobj(), True
    try:
        for block in raw:
            for at in range(0, len(block), _SLICE):
                data = block[at : at + _SLICE]
                while data:
                    fresh = False
                    out = inflate.decompress(data)
                    done += len(out)
                    if out:
                        yield out
                    data = b""
                    if inflate.eof:
                        data = inflate.unused_data
                        inflate, fresh = packed.decompressobj(), True
    except zstandard.ZstdError as error:
        raise Malformed(f"zstd data is damaged after {done:,} bytes of content: {error}") from error
    if not fresh:
        raise Malformed(f"zstd data ends early, after {done:,} bytes of content; fetch it again")
