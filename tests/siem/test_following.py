"""A followed file loses no line and doubles none, whatever the vault does meanwhile."""

from __future__ import annotations

import gzip
import os
from concurrent.futures import Future
from pathlib import Path

import polars as pl
import pytest

from tocsin.catalog import open_catalog
from tocsin.errors import Pushback, StorageFailed, UsageError
from tocsin.event import Event
from tocsin.event.batch import Batch
from tocsin.intake import Origin
from tocsin.intake.admit import admit
from tocsin.settings import Follow
from tocsin.siem.following import Following, Positions
from tocsin.vault import Receipt


class Vault:
    """Keeps what it is given, once an id, after failing as it is told."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.kept: dict[str, list[str]] = {}

    def append(self, batch: Batch, *, source: str, batch_id: str | None) -> Future[Receipt]:
        assert batch_id is not None
        if self.failures:
            failure = self.failures.pop(0)
            if isinstance(failure, Pushback):
                raise failure
            done: Future[Receipt] = Future()
            done.set_exception(failure)
            return done
        self.kept.setdefault(batch_id, batch.frame["message"].to_list())
        done = Future()
        done.set_result(Receipt(0, len(batch), repeated=False))
        return done

    @property
    def lines(self) -> list[str]:
        return [line for lines in self.kept.values() for line in lines]


def following(vault: Vault, directory: Path, *, told: list[Event] | None = None) -> Following:
    def admitted(frame: pl.DataFrame, origin: Origin) -> Batch:
        return admit(frame, origin)

    return Following(
        vault,  # type: ignore[arg-type]  # as much of a vault as following needs
        open_catalog(directory / "catalog.db"),
        [Follow(path=str(directory / "*.log"), parser="text")],
        admit=admitted,
        tell=(told if told is not None else []).append,
    )


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "app.log"
    path.write_text("one\ntwo\n")
    return path


def test_lines_are_kept_as_they_come(log: Path) -> None:
    vault = Vault()
    one = following(vault, log.parent)
    one.step()
    with log.open("a") as file:
        file.write("three\nhal")
        file.flush()
        one.step()
        file.write("f\n")
    one.step()
    assert vault.lines == ["one", "two", "three", "half"]


def test_pushback_is_waited_out(log: Path) -> None:
    vault = Vault(Pushback("full", retry_after=0.01), Pushback("full", retry_after=0.01))
    following(vault, log.parent).step()
    assert vault.lines == ["one", "two"]


def test_what_could_not_be_stored_comes_again_without_a_restart(log: Path) -> None:
    vault = Vault(StorageFailed("disk full"))
    one = following(vault, log.parent)
    with pytest.raises(StorageFailed):
        one.step()
    with log.open("a") as file:
        file.write("three\n")
    one.step()
    assert vault.lines == ["one", "two", "three"]


def test_a_restart_reads_on_where_it_was(log: Path) -> None:
    vault = Vault()
    following(vault, log.parent).step()
    with log.open("a") as file:
        file.write("three\n")
    following(vault, log.parent).step()
    assert vault.lines == ["one", "two", "three"]


def test_a_file_that_vanished_unread_is_told(log: Path) -> None:
    vault, told = Vault(), list[Event]()
    following(vault, log.parent).step()
    log.unlink()
    following(vault, log.parent, told=told).step()
    assert [event.tags for event in told] == [("gap",)]


def test_an_unknown_parser_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no parser 'nope'"):
        Following(
            Vault(),  # type: ignore[arg-type]  # never reached
            open_catalog(tmp_path / "catalog.db"),
            [Follow(path="x", parser="nope")],
            admit=admit,
            tell=lambda _event: None,
        )


def test_positions_are_a_mapping_that_lasts(tmp_path: Path) -> None:
    positions = Positions(open_catalog(tmp_path / "catalog.db"))
    positions["a"] = b"1"
    positions["a"] = b"2"
    positions["b"] = b"3"
    again = Positions(open_catalog(tmp_path / "catalog.db"))
    assert dict(again) == {"a": b"2", "b": b"3"}
    del again["a"]
    assert list(positions) == ["b"]
    with pytest.raises(KeyError):
        del again["a"]
    with pytest.raises(KeyError):
        positions["a"]


def test_other_content_at_the_same_place_is_no_repeat(log: Path) -> None:
    tail = "the very same long ending of both lines, which is longer than sixty-four bytes"
    log.write_text(f"first  {tail}\n")
    vault = Vault()
    one = following(vault, log.parent)
    one.step()
    log.write_text(f"second {tail[1:]}\n")  # truncated and written anew, to the same length
    one.step()
    assert [line[:6] for line in vault.lines] == ["first ", "second"]


@pytest.mark.parametrize("grown", ["", "three\n", "three\nfour\n"])
def test_a_crash_between_storing_and_acknowledging_stores_nothing_twice(
    log: Path, monkeypatch: pytest.MonkeyPatch, grown: str
) -> None:
    vault = Vault()
    one = following(vault, log.parent)
    monkeypatch.setattr(one._tails[0].tail, "ack", lambda _chunk: None)
    one.step()
    with log.open("a") as file:
        file.write(grown)
    following(vault, log.parent).step()
    assert vault.lines == ["one", "two", *grown.split()]


def test_a_file_that_is_no_log_is_named_once_and_costs_nobody_else(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_bytes(bytes(range(256)) * 40 + b"\n")
    (tmp_path / "b.log").write_text("one\n")
    vault, told = Vault(), list[Event]()
    one = Following(
        vault,  # type: ignore[arg-type]  # as much of a vault as following needs
        open_catalog(tmp_path / "catalog.db"),
        [Follow(path=str(tmp_path / "*.log"))],
        admit=admit,
        tell=told.append,
    )
    one.step()
    with (tmp_path / "a.log").open("ab") as file:
        file.write(bytes(range(256)) * 40 + b"\n")
    (tmp_path / "b.log").write_text("one\ntwo\n")
    one.step()
    assert vault.lines == ["one", "two"]
    assert ["a.log" in str(event.message) for event in told] == [True]


def following_unnamed(vault: Vault, log: Path, told: list[Event] | None = None) -> Following:
    return Following(
        vault,  # type: ignore[arg-type]  # as much of a vault as following needs
        open_catalog(log.parent / "catalog.db"),
        [Follow(path=str(log))],
        admit=admit,
        tell=(told if told is not None else []).append,
    )


def test_a_banner_at_the_top_does_not_decide_the_format(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    log.write_text("Starting app version 1.2\n")
    vault = Vault()
    one = following_unnamed(vault, log)
    one.step()
    with log.open("a") as file:
        file.write('{"level": "info", "msg": "hello"}\n' * 20)
    one.step()
    assert vault.lines == ["Starting app version 1.2", *["hello"] * 20]


def test_records_of_several_lines_are_not_cut_though_nobody_named_the_format(
    tmp_path: Path,
) -> None:
    log = tmp_path / "postgresql.csv"
    who = '"u","d",1,"127.0.0.1:1",a.b,1,"SELECT",2026-11-23 05:46:22 UTC,3/1,0'
    words = f"first line\nsecond {'x' * 900}\nthird line"
    record = f'2026-11-23 05:46:22.750 UTC,{who},LOG,00000,"{words}",,,,,,,,,"app","client",,0\n'
    log.write_text(record * 3000)
    vault = Vault()
    following_unnamed(vault, log).step()
    assert len(vault.lines) == 3000
    assert {line[:11] for line in vault.lines} == {"first line\n"}


def test_the_same_words_after_a_truncation_are_kept_again(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    vault = Vault()
    one = following_unnamed(vault, log)
    for _ in range(3):
        log.write_text("")
        one.step()
        log.write_text("service started\n")
        one.step()
    assert vault.lines == ["service started"] * 3


@pytest.mark.parametrize("crash", [False, True])
def test_what_was_rotated_and_packed_while_nobody_looked_is_read_from_the_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crash: bool
) -> None:
    log = tmp_path / "app.log"
    lines = [f"line {n} {'x' * 40}" for n in range(100)]
    log.write_text("".join(f"{line}\n" for line in lines[:60]))
    vault, told = Vault(), list[Event]()
    following_unnamed(vault, log, told).step()
    with log.open("a") as file:
        file.write("".join(f"{line}\n" for line in lines[60:]))
    if crash:  # stored, and killed before the place moved
        one = following_unnamed(vault, log, told)
        monkeypatch.setattr(one._tails[0].tail, "ack", lambda _chunk: None)
        one.step()
        with log.open("a") as file:
            file.write("last\n")
        lines.append("last")
    times = log.stat()
    with gzip.open(f"{log}.1.gz", "wb") as packed:
        packed.write(log.read_bytes())
    os.utime(f"{log}.1.gz", ns=(times.st_atime_ns, times.st_mtime_ns))
    log.unlink()
    log.write_text("new\n")
    for _ in range(2):
        following_unnamed(vault, log, told).step()
    assert sorted(vault.lines) == sorted([*lines, "new"])
    assert told == []


def test_an_archive_that_holds_something_else_is_read_and_the_loss_is_told(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    log.write_text("one\n")
    vault, told = Vault(), list[Event]()
    following_unnamed(vault, log, told).step()
    log.unlink()
    with gzip.open(f"{log}.1.gz", "wb") as packed:
        packed.write(b"came and went\n")
    log.write_text("new\n")
    following_unnamed(vault, log, told).step()
    assert sorted(vault.lines) == ["came and went", "new", "one"]
    assert [event.tags for event in told] == [("gap",)]
    following_unnamed(vault, log, told).step()
    assert len(told) == 1


LINE = '203.0.113.7 - - [23/Nov/2026:05:46:16 +0000] "GET / HTTP/1.1" 200 8 "-" "curl"\n'


@pytest.mark.parametrize("hole", [bytes(5000), bytes(2 << 20), bytes(range(256)) * 40])
def test_lines_around_what_is_no_text_are_kept(tmp_path: Path, hole: bytes) -> None:
    log = tmp_path / "app.log"
    log.write_bytes(hole + b"\n" + b"2026-11-28 10:00:00 ERROR it broke\n" * 3)
    vault, told = Vault(), list[Event]()
    one = following_unnamed(vault, log, told)
    one.step()
    with log.open("ab") as file:
        file.write(hole + b"\n" + b"2026-11-28 10:00:00 ERROR it broke\n" * 2)
    one.step()
    assert vault.lines.count("ERROR it broke") == 5
    assert not told


def test_requests_between_words_are_requests_when_they_are_followed(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    log.write_text((LINE + "2026-11-28 10:00:00 INFO hello\n") * 9)
    vault = Vault()
    following_unnamed(vault, log).step()
    assert vault.lines == [None, "INFO hello"] * 9
