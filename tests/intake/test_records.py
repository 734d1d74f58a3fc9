"""Streams are cut at record ends, through compression, in bounded memory."""

from __future__ import annotations

import gzip
import io
import tracemalloc
from collections.abc import Callable
from typing import BinaryIO, cast

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from tocsin.errors import Malformed
from tocsin.intake import Origin, boundary, parse, read_records
from tocsin.intake.parsers.lines import LIMIT

LINES = b"".join(b"line %d of the log\n" % i for i in range(20_000))


@pytest.mark.parametrize(
    "pack",
    [
        bytes,
        gzip.compress,
        zstandard.compress,
        lambda data: gzip.compress(data[:99]) + gzip.compress(data[99:]) + b"\0" * 512,
        lambda data: zstandard.compress(data[:99]) + zstandard.compress(data[99:]),
    ],
    ids=["plain", "gzip", "zstd", "gzip members", "zstd frames"],
)
def test_a_file_comes_back_in_whole_lines(pack: Callable[[bytes], bytes]) -> None:
    packed = pack(LINES)
    chunks = list(read_records(io.BytesIO(packed), "text", chunk=10_000))
    assert b"".join(chunks) == LINES
    assert len(chunks) > 1
    assert all(chunk.endswith(b"\n") for chunk in chunks)


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress], ids=["gzip", "zstd"])
def test_a_truncated_archive_gives_what_can_be_read_and_then_says_so(
    pack: Callable[[bytes], bytes],
) -> None:
    data = b"".join(b"%x\n" % (i * 2654435761 % 2**32) for i in range(300_000))
    packed = pack(data)
    got: list[bytes] = []
    with pytest.raises(Malformed, match="ends early"):
        got.extend(read_records(io.BytesIO(packed[: len(packed) // 2]), "text"))
    assert data.startswith(b"".join(got))
    assert len(b"".join(got)) > len(data) // 4


def test_damage_in_an_archive_is_named() -> None:
    packed = bytearray(gzip.compress(LINES))
    packed[-6] ^= 0xFF  # its checksum
    with pytest.raises(Malformed, match="gzip data is damaged"):
        list(read_records(io.BytesIO(bytes(packed)), "text"))


class _Endless:
    """A line without an end, as long as asked for."""

    def __init__(self, size: int) -> None:
        self.left = size

    def read(self, size: int = -1) -> bytes:
        part = min(size, self.left)
        self.left -= part
        return b"x" * part


def test_a_gigantic_line_is_read_in_little_memory_and_is_one_row() -> None:
    tracemalloc.start()
    endless = cast("BinaryIO", _Endless(100 << 20))
    chunks = list(read_records(endless, "text"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 32 << 20
    data = b"".join(chunks)
    frame = parse(data, "text", Origin(source="s"), 0)
    assert frame.height == 1
    assert "longer than" in frame["parse_error"].item()


def test_lines_after_a_gigantic_one_are_read() -> None:
    data = b"a\n" + b"x" * (3 * LIMIT) + b"\nb\nc"
    chunks = list(read_records(io.BytesIO(data), "text", chunk=LIMIT))
    frame = parse(b"".join(chunks), "text", Origin(source="s"), 0)
    assert [m[:1] for m in frame["message"]] == ["a", "x", "b", "c"]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from([b"\n", b"ab", b'"', b"x" * 40, b"\xff", b"\r\n"]), max_size=60),
    st.integers(1, 64),
)
def test_no_byte_is_lost_or_moved(parts: list[bytes], chunk: int) -> None:
    data = b"".join(parts)
    for parser in ("text", "pg_csv"):
        assert b"".join(read_records(io.BytesIO(data), parser, chunk=chunk)) == data


def test_a_boundary_waits_for_the_end_of_a_record_but_not_for_ever() -> None:
    assert boundary(b"a\nb", "text") == 2
    assert boundary(b"ab", "text") == 0
    assert boundary(b'2026-11-23 05:46:22.750 UTC,"a\nb', "pg_csv") == 0
    assert boundary(b"x" * (LIMIT + 1), "text") == LIMIT + 1
