"""Unpack what a sender packed, and stop at a limit, however small the bomb looks from outside."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from io import BytesIO
from types import MappingProxyType

import zstandard
from isal import igzip_lib

from tocsin.errors import Malformed, TooLarge

__all__ = ["ENCODINGS", "inflate"]

_PIECE = 1 << 20  # output taken from a decoder at once
_SLICE = 64 << 10  # input given to a decoder at once
_KEEP = 16 << 20  # output kept while it is not yet known whether the rest fits
_WINDOW = 8 << 20  # the largest zstd window that a decoder must support
_PARTS = 4_096  # gzip members, or zstd frames, in one body
_BLOCKS = 65_536  # zstd blocks in one body
_GZIP_MAGIC = b"\x1f\x8b"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


def inflate(body: bytes, encoding: str, *, limit: int) -> bytes:
    """*body* as it was before *encoding*, a key of ``ENCODINGS``.

    Raises TooLarge as soon as more than *limit* bytes have come out, and Malformed when the body
    is cut short, damaged, or followed by something else.

    A body that turns out large is inflated twice: first only measured, then kept.  So a bomb costs
    time up to the limit and memory up to a fraction of it.
    """
    if encoding == "identity":
        return _within(body, limit)
    pieces = _DECODERS[encoding]
    kept: BytesIO | None = BytesIO()
    size = 0
    for piece in pieces(body):
        size += len(piece)
        if size > limit:
            raise TooLarge(
                f"the body is over {limit} bytes once inflated; send it in smaller parts"
            )
        if kept is not None:
            kept = kept if size <= _KEEP else None
        if kept is not None:
            kept.write(piece)
    if kept is None:
        kept = BytesIO()
        kept.writelines(pieces(body))
    return kept.getvalue()


def _within(body: bytes, limit: int) -> bytes:
    if len(body) > limit:
        raise TooLarge(f"the body is over {limit} bytes; send it in smaller parts")
    return body


def _gunzip(body: bytes) -> Iterator[bytes]:
    """All members, in order."""
    at = 0
    for _ in range(_PARTS):
        at = yield from _member(body, at)
        if at == len(body):
            return
    raise TooLarge(f"the gzip body has more than {_PARTS} members; pack it as one")


def _member(body: bytes, start: int) -> Generator[bytes, None, int]:
    """One member; returns where it ends.  Fed in slices, so that leftovers are small copies."""
    if body[start : start + 2] != _GZIP_MAGIC:
        raise Malformed(
            "the gzip body is followed by something else; send nothing after the last member"
            if start
            else "the body is not gzip, though Content-Encoding says so"
        )
    decoder = igzip_lib.IgzipDecompressor(igzip_lib.DECOMP_GZIP, 15)
    view = memoryview(body)
    at = start
    while not decoder.eof:
        if decoder.needs_input:
            if at == len(body):
                raise Malformed("the gzip body ends in its middle; send it again")
            given = view[at : at + _SLICE]
            at += len(given)
        else:
            given = view[:0]
        try:
            piece = decoder.decompress(given, _PIECE)
        except igzip_lib.IsalError as error:  # type: ignore[misc]  # its stub calls it an instance
            raise Malformed("the gzip body is damaged; send it again") from error
        if piece:
            yield piece
    return at - len(decoder.unused_data)


def _unzstd(body: bytes) -> Iterator[bytes]:
    """All frames, in order."""
    _check_frames(body)
    decoder = zstandard.ZstdDecompressor(max_window_size=_WINDOW)
    try:
        with decoder.stream_reader(body, read_across_frames=True) as reader:
            while piece := reader.read(_PIECE):
                yield piece
    except zstandard.ZstdError as error:
        raise Malformed(
            f"the zstd body is damaged, or needs a window over {_WINDOW >> 20} MiB"
        ) from error


def _check_frames(body: bytes) -> None:
    """Raise unless *body* is whole frames and nothing else.

    The stream reader takes a body that is cut short for one that is complete, so the frame and
    block headers (RFC 8878, 3.1.1) are walked here.
    """
    at, blocks = 0, 0
    while at < len(body) or not at:
        at, blocks = _frame(body, at, blocks)


def _frame(body: bytes, start: int, blocks: int) -> tuple[int, int]:
    """Where the frame at *start* ends, and how many blocks have been seen up to there."""
    if body[start : start + 4] != _ZSTD_MAGIC:
        raise Malformed(
            "the zstd body is followed by something else; send nothing after the last frame"
            if start
            else "the body is not zstd, though Content-Encoding says so"
        )
    head = body[start : start + 18]  # the longest frame header
    try:
        parameters = zstandard.get_frame_parameters(head)
        at = start + zstandard.frame_header_size(head)
    except zstandard.ZstdError as error:
        raise Malformed("the zstd body is damaged or cut short; send it again") from error
    if parameters.dict_id:
        raise Malformed("the zstd body needs a dictionary; pack it without one")
    last = False
    while not last:
        blocks += 1
        if blocks > _BLOCKS:
            raise TooLarge(f"the zstd body has more than {_BLOCKS} blocks; pack it as one")
        word = int.from_bytes(body[at : at + 3], "little")
        last, kind, size = bool(word & 1), word >> 1 & 3, word >> 3
        at += 3 + (1 if kind == _RUN else size)
        if at > len(body):
            raise Malformed("the zstd body ends in its middle; send it again")
    at += 4 if parameters.has_checksum else 0
    if at > len(body):
        raise Malformed("the zstd body ends in its middle; send it again")
    return at, blocks


_RUN = 1  # block type: one byte, repeated

_DECODERS: Mapping[str, Callable[[bytes], Iterator[bytes]]] = MappingProxyType(
    {"gzip": _gunzip, "x-gzip": _gunzip, "zstd": _unzstd}
)

#: Content codings that ``inflate`` understands.
ENCODINGS = frozenset(_DECODERS) | {"identity"}
