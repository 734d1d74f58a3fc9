"""Files that grow, are renamed, truncated, removed and found again: each line once."""

from __future__ import annotations

import gzip
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tocsin.intake import Origin, parse
from tocsin.intake.parsers.lines import LIMIT
from tocsin.intake.tail import Chunk, Tail


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def drain(tail: Tail, rounds: int = 6) -> bytes:
    """All that is there, each chunk acknowledged."""
    out: list[bytes] = []
    for _ in range(rounds):
        for chunk in tail.poll():
            out.append(chunk.data)
            tail.ack(chunk)
    return b"".join(out)


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def test_a_file_that_is_not_there_yet_is_read_when_it_comes(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    tail = Tail([log], {})
    assert tail.poll() == []
    append(log, b"one\n")
    assert drain(tail) == b"one\n"
    tail.close()


def test_a_line_without_an_end_waits_for_it(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    append(log, b"one\ntw")
    tail = Tail([log], {})
    assert drain(tail) == b"one\n"
    append(log, b"o\n")
    assert drain(tail) == b"two\n"
    tail.close()


def test_a_restart_goes_on_behind_the_last_acknowledged_chunk(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    positions: dict[str, bytes] = {}
    append(log, b"one\n")
    tail = Tail([log], positions)
    assert drain(tail) == b"one\n"
    append(log, b"two\n")
    (lost,) = tail.poll()  # delivered, never acknowledged: the crash comes first
    assert lost.data == b"two\n"
    tail.close()
    tail = Tail([log], positions)
    assert drain(tail) == b"two\n"
    tail.close()


def test_acknowledging_a_later_chunk_first_leaves_no_hole(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    positions: dict[str, bytes] = {}
    append(log, b"one\n")
    tail = Tail([log], positions)
    (first,) = tail.poll()
    append(log, b"two\n")
    (second,) = tail.poll()
    before = dict(positions)
    tail.ack(second)
    assert positions == before
    tail.ack(first)
    assert positions != before
    tail.close()
    tail = Tail([log], positions)
    assert drain(tail) == b""
    tail.close()


def test_a_renamed_file_is_finished_before_the_new_one_begins(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    append(log, b"one\n")
    tail = Tail([log], {}, linger=10, clock=Clock())
    assert drain(tail) == b"one\n"
    append(log, b"two\n")
    log.rename(tmp_path / "a.log.1")
    append(tmp_path / "a.log.1", b"three\n")  # its writer has not noticed yet
    append(log, b"four\n")
    assert drain(tail) == b"two\nthree\nfour\n"
    append(tmp_path / "a.log.1", b"late\n")
    assert drain(tail) == b"late\n"
    tail.close()


def test_the_new_file_waits_until_a_long_old_one_is_read(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    old = b"".join(b"%d %s\n" % (i, b"x" * 1000) for i in range(4000))
    append(log, old)
    tail = Tail([log], {}, chunk=1)
    first = tail.poll()[0]
    log.rename(tmp_path / "a.log.1")
    append(log, b"new\n")
    assert first.data + drain(tail, rounds=9) == old + b"new\n"
    tail.close()


def test_a_removed_file_gives_its_last_line_after_a_while_and_is_let_go(tmp_path: Path) -> None:
    log, clock = tmp_path / "a.log", Clock()
    positions: dict[str, bytes] = {}
    append(log, b"one\nno end")
    tail = Tail([log], positions, linger=10, clock=clock)
    assert drain(tail) == b"one\n"
    log.unlink()
    assert drain(tail) == b""
    clock.now += 11
    assert drain(tail) == b"no end"
    clock.now += 11
    assert drain(tail) == b""
    clock.now += 11
    assert drain(tail) == b""
    assert positions == {}
    tail.close()


def test_a_file_renamed_while_nobody_looked_is_found_again(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    positions: dict[str, bytes] = {}
    append(log, b"one\n")
    tail = Tail([log], positions)
    drain(tail)
    tail.close()
    append(log, b"two\n")
    log.rename(tmp_path / "a.log.1")
    append(log, b"three\n")
    tail = Tail([log], positions)
    assert drain(tail) == b"two\nthree\n"
    assert tail.gaps() == []
    tail.close()


def test_a_file_gone_while_nobody_looked_is_reported_once(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    positions: dict[str, bytes] = {}
    append(log, b"one\n")
    tail = Tail([log], positions)
    drain(tail)
    tail.close()
    log.unlink()
    tail = Tail([log], positions)
    tail.poll()
    (gap,) = tail.gaps()
    assert (gap.path, "gone" in gap.what) == (str(log), True)
    assert tail.gaps() == []
    tail.close()
    assert positions == {}


@pytest.mark.parametrize("longer", [False, True])
def test_a_truncated_file_is_read_from_its_start(tmp_path: Path, longer: bool) -> None:
    log = tmp_path / "a.log"
    append(log, b"first content\n")
    tail = Tail([log], {})
    assert drain(tail) == b"first content\n"
    fresh = b"second content, and longer than what was there before\n" if longer else b"x\n"
    log.write_bytes(fresh)
    assert drain(tail) == fresh
    tail.close()


def test_a_copy_made_before_truncation_is_not_read_twice(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    tail = Tail([tmp_path / "a.log*"], {})
    append(log, b"one\n")
    assert drain(tail) == b"one\n"
    append(log, b"two\n")
    copy = tmp_path / "a.log.1"
    copy.write_bytes(log.read_bytes())
    log.write_bytes(b"three\n")
    assert sorted(drain(tail).split()) == [b"three", b"two"]
    tail.close()


def test_a_reused_inode_is_a_new_file(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    positions: dict[str, bytes] = {}
    append(log, b"one, the first line\n")
    tail = Tail([log], positions)
    drain(tail)
    tail.close()
    # The same inode with other content, which is what a reused inode looks like.
    log.write_bytes(b"the new file has more in it than the old one had\n")
    tail = Tail([log], positions)
    assert drain(tail) == b"the new file has more in it than the old one had\n"
    tail.close()


def test_a_gigantic_line_is_cut_and_the_next_is_read(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    positions: dict[str, bytes] = {}
    append(log, b"a\n" + b"x" * (3 * LIMIT))
    tail = Tail([log], positions, chunk=64)
    out = drain(tail)
    tail.close()
    append(log, b"yyy\nb\n")
    tail = Tail([log], positions, chunk=64)
    out += drain(tail)
    tail.close()
    frame = parse(out, "text", Origin(source="s"), 0)
    assert [m[:1] for m in frame["message"]] == ["a", "x", "b"]
    assert frame["parse_error"].is_not_null().to_list() == [False, True, False]


def test_pipes_directories_and_archives_are_left_alone(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.log")
    (tmp_path / "b.log").mkdir()
    (tmp_path / "c.log.gz").write_bytes(b"\x1f\x8b\n")
    tail = Tail([tmp_path / "*.log*"], {})
    assert tail.poll() == []
    tail.close()


def restarted(tail: Tail, log: Path, positions: dict[str, bytes]) -> Tail:
    tail.close()
    return Tail([log], positions, linger=0)


def rotate(log: Path, *, pack: bool = False) -> None:
    """As logrotate does: every number one up, the file itself becomes number one."""
    older = sorted(log.parent.glob(f"{log.name}.*"), key=lambda p: -int(p.name.split(".")[2]))
    for path in older:
        number = int(path.name.split(".")[2])
        path.rename(path.with_name(path.name.replace(f".{number}", f".{number + 1}", 1)))
    log.rename(f"{log}.1")
    if pack:
        old = Path(f"{log}.1")
        with gzip.open(f"{old}.gz", "wb") as packed:
            packed.write(old.read_bytes())
        times = old.stat()
        os.utime(f"{old}.gz", ns=(times.st_atime_ns, times.st_mtime_ns))
        old.unlink()


def test_a_rotated_file_is_read_to_its_end_however_often_we_are_killed(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    positions: dict[str, bytes] = {}
    append(log, b"0\n")
    tail = Tail([log], positions)
    out = drain(tail)
    tail.close()
    lines = [b"%d %s\n" % (n, b"x" * 1000) for n in range(1, 4000)]
    append(log, b"".join(lines))
    rotate(log)
    append(log, b"new\n")
    for _ in range(3):  # killed in the middle of catching up
        tail = Tail([log], positions)
        for chunk in tail.poll():
            out += chunk.data
            tail.ack(chunk)
        tail.close()
    tail = Tail([log], positions)
    out += drain(tail, 9)
    tail.close()
    assert out == b"0\n" + b"".join(lines) + b"new\n"
    assert tail.gaps() == []


def test_files_that_came_and_went_while_nobody_looked_are_read_in_order(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    append(tmp_path / "a.log.1", b"from before the first look\n")
    os.utime(tmp_path / "a.log.1", (1, 1))
    positions: dict[str, bytes] = {}
    append(log, b"one\n")
    tail = Tail([log], positions)
    assert drain(tail) == b"one\n"
    tail.close()
    append(log, b"two\n")
    for data in (b"three\n", b"four\n", b"five\n"):
        rotate(log)
        append(log, data)
    tail = restarted(tail, log, positions)
    assert drain(tail) == b"two\nthree\nfour\nfive\n"
    assert tail.gaps() == []
    tail.close()


def test_files_that_came_and_went_between_two_looks_are_read_too(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    append(log, b"one\n")
    tail = Tail([log], {}, linger=0)
    assert drain(tail) == b"one\n"
    for data in (b"two\n", b"three\n", b"four\n"):
        rotate(log)
        append(log, data)
    assert drain(tail) == b"two\nthree\nfour\n"
    tail.close()


def test_a_copy_that_somebody_made_is_not_taken_for_a_rotated_file(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    positions: dict[str, bytes] = {}
    append(log, b"one\n")
    tail = Tail([log], positions)
    assert drain(tail) == b"one\n"
    shutil.copy(log, tmp_path / "a.log.old")
    rotate_to = tmp_path / "a.log.1"
    log.rename(rotate_to)
    append(log, b"two\n")
    tail = restarted(tail, log, positions)
    assert drain(tail) == b"two\n"
    tail.close()


def test_a_file_that_was_packed_while_nobody_looked_is_handed_over(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    positions: dict[str, bytes] = {}
    append(log, b"one\n")
    tail = Tail([log], positions)
    assert drain(tail) == b"one\n"
    tail.close()
    append(log, b"two\n")
    rotate(log, pack=True)
    append(log, b"three\n")
    tail = restarted(tail, log, positions)
    assert drain(tail) == b"three\n"
    tail = restarted(tail, log, positions)  # it comes again at each start until it is done
    assert drain(tail) == b""
    (archive,) = tail.archives()
    assert archive.paths == (f"{log}.1.gz",)
    assert archive.place.offset == len(b"one\n")
    assert tail.gaps() == []
    tail.done(archive)
    tail = restarted(tail, log, positions)
    assert drain(tail) == b""
    assert tail.archives() == []
    tail.close()


def test_an_inode_that_was_taken_over_does_not_hide_what_is_missing(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    positions: dict[str, bytes] = {}
    append(log, b"one, the first line\n")
    tail = Tail([log], positions)
    drain(tail)
    tail.close()
    log.write_bytes(b"the new file has more in it than the old one had\n")  # the same inode
    tail = Tail([log], positions)
    drain(tail)
    (gap,) = tail.gaps()
    assert "replaced" in gap.what
    tail.close()


def test_a_copy_made_before_truncation_is_read_on_though_nobody_watches_it(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    tail = Tail([log], {}, linger=0)
    append(log, b"one\n")
    assert drain(tail) == b"one\n"
    append(log, b"two\n")
    shutil.copy(log, tmp_path / "a.log.1")
    log.write_bytes(b"x\n")
    assert drain(tail) == b"two\nx\n"
    assert tail.gaps() == []
    tail.close()


def test_the_same_words_after_a_truncation_are_other_words(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    positions: dict[str, bytes] = {}
    append(log, b"service started\n")
    tail = Tail([log], positions)
    (first,) = tail.poll()
    tail.ack(first)
    log.write_bytes(b"")
    tail.poll()
    append(log, b"service started\n")
    (second,) = tail.poll()
    assert first.position.id != second.position.id
    tail.close()
    tail = Tail([log], positions)  # it was not acknowledged, so it comes again: as the same
    (again,) = tail.poll()
    assert again.position.id == second.position.id
    tail.close()


class Rotations(RuleBasedStateMachine):
    """Any order of writing, renaming, truncating, polling, crashing: each line exactly once."""

    @initialize()
    def start(self) -> None:
        self.home = Path(tempfile.mkdtemp())
        self.log = self.home / "a.log"
        self.positions: dict[str, bytes] = {}
        self.written: list[bytes] = []
        self.got: list[bytes] = []
        self.pending: list[Chunk] = []
        self.number = 0
        self.generation = 0
        self.open()

    def open(self) -> None:
        self.tail = Tail([self.log], self.positions, linger=1e9)

    @rule(count=st.integers(1, 5), half=st.booleans())
    def write(self, count: int, half: bool) -> None:
        data = b""
        for _ in range(count):
            self.number += 1
            line = b"line %d %s" % (self.number, b"x" * (self.number % 7))
            self.written.append(line)
            data += line + b"\n"
        # With *half*, the last line arrives in two writes.
        cut = len(data) - 3 if half else len(data)
        append(self.log, data[:cut])
        if half:
            self.poll()
            append(self.log, data[cut:])

    @rule()
    def rename(self) -> None:
        if not self.positions:
            self.poll()  # a name that was never looked at has no history
        if self.log.exists():
            self.generation += 1
            self.log.rename(f"{self.log}.{self.generation}")

    @rule()
    def poll(self) -> None:
        self.pending += self.tail.poll()

    @rule(count=st.integers(1, 3))
    def keep(self, count: int) -> None:
        for chunk in self.pending[:count]:
            self.tail.ack(chunk)
            self.got += chunk.data.splitlines()
        del self.pending[:count]

    @rule()
    def crash(self) -> None:
        self.tail.close()
        self.pending.clear()  # delivered, but nobody kept it
        self.open()

    @rule()
    def truncate(self) -> None:
        # Only what was read may be thrown away; more is lost to everyone.
        self.settle()
        if self.log.exists():
            self.log.write_bytes(b"")

    def settle(self) -> None:
        for _ in range(2 * self.generation + 4):
            self.poll()
            self.keep(count=99)

    @invariant()
    def none_twice_and_in_order(self) -> None:
        assert self.got == self.written[: len(self.got)]

    def teardown(self) -> None:
        try:
            self.settle()
            assert self.got == self.written
        finally:
            self.tail.close()
            shutil.rmtree(self.home)


Rotations.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
test_each_line_comes_once_whatever_happens_to_the_file = Rotations.TestCase
