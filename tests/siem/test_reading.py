"""How a scan reads a file: each chunk as what it is, each row at its line, each flaw counted."""

from __future__ import annotations

import gzip
import io
import os
import threading
import time
from pathlib import Path

import pytest

from tocsin.errors import Malformed
from tocsin.siem.reading import Chunk, Flaws, open_input, read_file, sniff_input

LINE = '203.0.113.7 - - [23/Nov/2026:05:46:16 +0000] "POST /login HTTP/1.1" 401 8 "-" "curl"'
EVENT = '{"ts":"2026-11-23T05:46:16Z","level":"info","msg":"hi"}'
NOT_ACCESS = "not an access log line in common or combined format"


def write(path: Path, *lines: str, end: str = "\n") -> str:
    path.write_bytes(b"".join((line + end).encode() for line in lines))
    return str(path)


def one(name: str, **how: object) -> Chunk:
    [chunk] = read_file(name, **how)  # type: ignore[arg-type]
    return chunk


def trickle(path: Path, *parts: bytes) -> threading.Thread:
    """Write *parts* to a pipe, one after the other."""

    def write() -> None:
        with path.open("wb", buffering=0) as pipe:
            for n, part in enumerate(parts):
                time.sleep(0.05 * (n > 0))
                pipe.write(part)

    thread = threading.Thread(target=write)
    thread.start()
    return thread


def test_a_pipe_that_begins_slowly_is_read_as_what_it_is(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    lines = f"{LINE}\n".encode() * 60
    thread = trickle(pipe, b"banner\n", lines[:100], lines[100:])
    chunk = one(str(pipe))
    thread.join()
    assert chunk.parser == "nginx"
    assert chunk.batch.frame["kind"].to_list() == ["log", *["request"] * 60]


def test_the_format_of_a_pipe_is_told_from_more_than_its_first_words(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    thread = trickle(pipe, b"banner\n", f"{EVENT}\n".encode() * 60)
    with open_input(str(pipe)) as file:
        assert isinstance(file, io.BufferedReader)
        assert sniff_input(file) == "json"
        assert file.read().count(b"\n") == 61  # nothing of it is lost by looking
    thread.join()


def test_what_follows_a_long_banner_is_read_as_what_it_is(tmp_path: Path) -> None:
    name = write(tmp_path / "log", *["banner of words"] * 40_000, *[LINE] * 4_000)
    chunks = list(read_file(name, chunk_bytes=1 << 18))
    assert chunks[0].parser == "text"
    assert chunks[-1].parser == "nginx"
    kinds = [kind for chunk in chunks for kind in chunk.batch.frame["kind"]]
    assert kinds.count("request") == 4_000
    assert [n for chunk in chunks for n in chunk.lines] == list(range(1, 44_001))


@pytest.mark.parametrize("packed", [False, True])
def test_a_file_whose_lines_end_in_carriage_returns_has_lines(tmp_path: Path, packed: bool) -> None:
    name = write(tmp_path / "mac.log", *[LINE] * 60, end="\r")
    if packed:
        Path(name).write_bytes(gzip.compress(Path(name).read_bytes()))
    chunk = one(name)
    assert chunk.batch.frame["kind"].to_list() == ["request"] * 60
    assert chunk.lines.tolist() == list(range(1, 61))


def test_a_carriage_return_in_a_line_ends_none_where_line_feeds_do(tmp_path: Path) -> None:
    name = write(tmp_path / "log", "one\rtwo", "three\r")
    assert one(name).batch.frame["message"].to_list() == ["one\rtwo", "three"]


def test_lines_that_no_parser_took_and_values_that_could_not_be_read_are_told_apart(
    tmp_path: Path,
) -> None:
    name = write(tmp_path / "log", LINE, LINE.replace("2026", "9999"), "", "noise", "noise", LINE)
    chunk = one(name)
    assert chunk.unread == Flaws(2, 4, NOT_ACCESS)
    assert chunk.flawed == Flaws(1, 2, "time: unreadable [23/Nov/9999:05:46:16 +0000]")
    chunk = one(write(tmp_path / "good", LINE))
    assert chunk.unread == chunk.flawed == Flaws()


@pytest.mark.parametrize("inner", ["noise", "{broken"])
@pytest.mark.parametrize(
    "seal", ["2026-11-23T05:46:16Z stdout F {}", "<13>Nov 23 05:46:16 h p: {}"]
)
def test_a_line_that_no_parser_took_is_that_in_an_envelope_too(
    tmp_path: Path, seal: str, inner: str
) -> None:
    good = EVENT if inner.startswith("{") else LINE
    lines = [seal.replace("{}", line) for line in (good, good, inner)]
    chunk = one(write(tmp_path / "log", *lines))
    assert (chunk.unread.lines, chunk.unread.first, chunk.flawed) == (1, 3, Flaws())


def test_a_key_that_stands_twice_is_a_flaw_and_no_unread_line(tmp_path: Path) -> None:
    name = write(tmp_path / "log", EVENT, '{"level":"info","msg":"a","msg":"b"}')
    chunk = one(name)
    assert chunk.unread == Flaws()
    assert chunk.flawed == Flaws(1, 2, "msg: stands twice; the last one counts")


def test_the_parts_of_a_line_are_found_at_the_first_of_them(tmp_path: Path) -> None:
    head = "2026-11-23T05:46:16Z stdout"
    name = write(
        tmp_path / "log", "", f"{head} P {LINE[:9]}", f"{head} F {LINE[9:]}", f"{head} F {LINE}"
    )
    chunk = one(name)
    assert chunk.batch.frame["status"].to_list() == [401, 401]
    assert chunk.lines.tolist() == [2, 4]


def test_what_is_no_log_is_refused_with_its_name(tmp_path: Path) -> None:
    name = write(tmp_path / "log", "hello\0\0\0\0")
    with pytest.raises(Malformed, match=r"/log: the input looks binary"):
        list(read_file(name))


def test_null_bytes_in_an_archive_are_no_utf16(tmp_path: Path) -> None:
    packed = tmp_path / "a.log.gz"
    packed.write_bytes(gzip.compress(bytes(200_000)))
    chunk = one(str(packed))
    assert chunk.batch.frame["message"].to_list() == ["[200,000 null bytes]"]
    assert chunk.unread == Flaws(1, 1, "200,000 null bytes were left out")


def test_every_line_of_a_mixed_log_is_read_at_its_place(tmp_path: Path) -> None:
    words = "2026-11-28 10:00:00,123 INFO hello"
    chunk = one(write(tmp_path / "a.log", *[LINE, words, "", EVENT] * 9))
    assert chunk.batch.frame["kind"].to_list() == ["request", "log", "log"] * 9
    assert chunk.lines.tolist() == [n for n in range(1, 37) if n % 4 != 3]
    assert chunk.unread == Flaws()
