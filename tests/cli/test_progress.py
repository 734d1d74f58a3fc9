"""The progress bar is there for somebody who looks, and for nobody else."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tocsin.cli.entry import main
from tocsin.cli.progress import Progress

Look = Callable[[], "Terminal"]


class Terminal(io.StringIO):
    """A stderr that somebody looks at."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def look(monkeypatch: pytest.MonkeyPatch) -> Look:
    """Look at stderr from here on; not before the test, since pytest puts its own there."""
    made = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.delenv("NO_COLOR", raising=False)

    def begin() -> Terminal:
        monkeypatch.setattr(sys, "stderr", made)
        return made

    return begin


def plain(terminal: Terminal) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue())


def test_a_terminal_sees_how_far_it_is_and_what_was_found(look: Look) -> None:
    terminal = look()
    with Progress("scanning", 4_000_000) as progress:
        progress.at(2_000_000, "7 findings")
    seen = plain(terminal)
    assert "scanning" in seen
    assert "2.0/4.0 MB" in seen
    assert "7 findings" in seen
    assert terminal.getvalue().rstrip("\n").endswith("\x1b[2K")  # it goes when it is done


def test_a_total_may_come_late_or_never(look: Look) -> None:
    terminal = look()
    with Progress("verifying", None) as progress:
        progress.at(1_000_000)
        progress.at(2_000_000, total=8_000_000)
    assert "2.0/8.0 MB" in plain(terminal)


def test_foreign_words_cannot_move_the_terminal(look: Look) -> None:
    terminal = look()
    with Progress("a\x1b[31mb [bold]", 10) as progress:
        progress.at(5)
    assert "\x1b[31m" not in terminal.getvalue()
    assert "a\\x1b[31mb [bold]" in plain(terminal)


def test_nothing_at_all_is_written_where_nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    quiet = io.StringIO()
    monkeypatch.setattr(sys, "stderr", quiet)
    with Progress("scanning", 10) as progress:
        progress.at(5, "7 findings")
    assert quiet.getvalue() == ""


def test_a_scan_says_how_many_findings_there_are_so_far(
    look: Look, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = look()
    said: list[tuple[int, str]] = []
    whole = Progress.at

    def at(self: Progress, done: int, found: str = "", *, total: int | None = None) -> None:
        said.append((done, found))
        whole(self, done, found, total=total)

    monkeypatch.setattr(Progress, "at", at)
    head = (
        '198.51.100.7 - - [23/Nov/2026:10:{:02}:{:02} +0000] "POST /login HTTP/1.1" 401 9 "-" "-"\n'
    )
    attack = "".join(head.format(0, n) for n in range(40))
    calm = "".join(
        f'192.0.2.1 - - [23/Nov/2026:1{h}:{m:02}:{s:02} +0000] "GET / HTTP/1.1" 200 9 "-" "-"\n'
        for h in range(1, 9)
        for m in range(60)
        for s in range(60)
    )
    log = tmp_path / "access.log"
    log.write_text(attack + calm * 6)
    with pytest.raises(SystemExit) as left:
        main(["scan", str(log)])
    assert left.value.code == 3
    assert said[0][1] == ""
    assert re.fullmatch(r"[1-9][0-9]* findings", said[-1][1]), said
    assert said[-1][0] == log.stat().st_size
    assert "findings" in plain(terminal)
