"""Packed bodies come out as they went in, or are refused within a bound."""

from __future__ import annotations

import contextlib
import gzip
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from isal import igzip

from tocsin.errors import Malformed, TooLarge
from tocsin.intake.inflate import ENCODINGS, inflate

LIMIT = 64 << 20
PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": igzip.compress,
    "zstd": zstandard.ZstdCompressor(write_checksum=True).compress,
    "identity": bytes,
}
PACKED = sorted(ENCODINGS - {"identity"})


def zstd_stream(data: bytes) -> bytes:
    """Without the size in the frame's header, as a streaming sender writes it."""
    packer = zstandard.ZstdCompressor().compressobj()
    return packer.compress(data) + packer.flush()


def bomb(encoding: str) -> bytes:
    """A gigabyte of zeros."""
    zeros = bytes(1 << 20)
    if encoding == "zstd":
        packer = zstandard.ZstdCompressor().compressobj()
        return b"".join(packer.compress(zeros) for _ in range(1024)) + packer.flush()
    return igzip.compress(zeros, 3) * 1024


def test_every_encoding_has_a_packer_here() -> None:
    assert set(PACK) == ENCODINGS


@pytest.mark.parametrize("encoding", sorted(ENCODINGS))
@given(data=st.binary(max_size=2_000))
def test_what_went_in_comes_out(encoding: str, data: bytes) -> None:
    assert inflate(PACK[encoding](data), encoding, limit=LIMIT) == data


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
@given(parts=st.lists(st.binary(max_size=200), min_size=1, max_size=5))
def test_members_and_frames_follow_each_other(encoding: str, parts: list[bytes]) -> None:
    body = b"".join(PACK[encoding](part) for part in parts)
    assert inflate(body, encoding, limit=LIMIT) == b"".join(parts)


@pytest.mark.parametrize("encoding", sorted(ENCODINGS))
def test_the_limit_is_a_size_that_still_passes(encoding: str) -> None:
    data = b"x" * 100_000
    assert inflate(PACK[encoding](data), encoding, limit=100_000) == data
    with pytest.raises(TooLarge, match="99999 bytes"):
        inflate(PACK[encoding](data), encoding, limit=99_999)


@pytest.mark.parametrize("encoding", PACKED)
def test_a_large_body_is_whole_although_it_is_inflated_twice(encoding: str) -> None:
    data = b"".join(b"%d," % n for n in range(3_000_000))
    assert len(data) > 17 << 20
    assert inflate(PACK[encoding](data), encoding, limit=LIMIT) == data


def test_a_zstd_stream_of_unknown_size_is_read() -> None:
    data = b"a line of a log\n" * 50_000
    assert inflate(zstd_stream(data), "zstd", limit=LIMIT) == data


@pytest.mark.parametrize("encoding", PACKED)
def test_a_bomb_is_stopped_at_the_limit_in_little_time(encoding: str) -> None:
    body = bomb(encoding)
    began = time.process_time()
    with pytest.raises(TooLarge):
        inflate(body, encoding, limit=LIMIT)
    assert time.process_time() - began < 0.1


MEASURE = """
import re, sys
from pathlib import Path
from tocsin.errors import TooLarge
from tocsin.intake.inflate import inflate
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
body = sys.stdin.buffer.read()
before = peak()
try:
    inflate(body, sys.argv[1], limit=64 << 20)
except TooLarge:
    print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process is read from /proc")
@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_a_bomb_is_stopped_in_little_memory(encoding: str) -> None:
    """In a process of its own, whose peak no other test has raised."""
    command = [sys.executable, "-c", MEASURE, encoding]
    done = subprocess.run(command, input=bomb(encoding), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert 0 <= int(done.stdout) < 40 << 10  # KiB


@pytest.mark.parametrize("encoding", PACKED)
def test_a_body_cut_short_anywhere_is_malformed(encoding: str) -> None:
    body = PACK[encoding](b"a line of a log, and another one\n" * 5)
    for cut in range(len(body)):
        with pytest.raises(Malformed):
            inflate(body[:cut], encoding, limit=LIMIT)


@pytest.mark.parametrize("encoding", PACKED)
@pytest.mark.parametrize("tail", [b"\0", b"garbage", b"\x1f", b"\x28\xb5"])
def test_something_after_the_end_is_malformed(encoding: str, tail: bytes) -> None:
    with pytest.raises(Malformed):
        inflate(PACK[encoding](b"line\n") + tail, encoding, limit=LIMIT)


@pytest.mark.parametrize("encoding", PACKED)
def test_a_flipped_bit_is_malformed_or_changes_nothing(encoding: str) -> None:
    data = b"a line of a log, and another one\n" * 5
    body = PACK[encoding](data)
    refused = 0
    for at in range(len(body) * 8):
        damaged = bytearray(body)
        damaged[at // 8] ^= 1 << at % 8
        try:
            assert inflate(bytes(damaged), encoding, limit=LIMIT) == data
        except (Malformed, TooLarge):
            refused += 1
    assert refused > len(body) * 8 - 80  # in gzip's header, time and system mean nothing to us


@pytest.mark.parametrize("encoding", PACKED)
@given(body=st.binary(max_size=300))
def test_no_bytes_do_any_other_harm(encoding: str, body: bytes) -> None:
    for prefix in (b"", b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd"):
        with contextlib.suppress(Malformed, TooLarge):
            inflate(prefix + body, encoding, limit=LIMIT)


def test_a_flood_of_empty_members_is_refused_quickly() -> None:
    body = (gzip.compress(b"") * 420_000)[: 8 << 20]
    began = time.process_time()
    with pytest.raises(TooLarge, match="members"):
        inflate(body, "gzip", limit=LIMIT)
    assert time.process_time() - began < 0.1


def test_a_flood_of_empty_frames_is_refused_quickly() -> None:
    frame = zstandard.ZstdCompressor(write_content_size=False).compress(b"")
    began = time.process_time()
    with pytest.raises(TooLarge, match="blocks"):
        inflate(frame * ((8 << 20) // len(frame)), "zstd", limit=LIMIT)
    assert time.process_time() - began < 0.3


def test_a_frame_that_needs_much_memory_is_refused() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=27)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    body = packer.compress(bytes(20 << 20)) + packer.flush()
    with pytest.raises(Malformed, match="window over 8 MiB"):
        inflate(body, "zstd", limit=LIMIT)


def test_a_frame_that_needs_a_dictionary_is_refused() -> None:
    samples: list[bytes | bytearray | memoryview] = [
        b"user=%d action=login outcome=failure" % n for n in range(2_000)
    ]
    dictionary = zstandard.train_dictionary(2_000, samples)
    body = zstandard.ZstdCompressor(dict_data=dictionary).compress(bytes(samples[0]))
    with pytest.raises(Malformed, match="dictionary"):
        inflate(body, "zstd", limit=LIMIT)
