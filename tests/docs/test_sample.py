"""The README's first sample is what the command prints of such a log."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tocsin.cli.entry import main

ROOT = Path(__file__).parents[2]
BEGIN = datetime(2026, 11, 23, 10, tzinfo=UTC)


def line(second: int, ip: str, request: str, status: int) -> str:
    when = (BEGIN + timedelta(seconds=second)).strftime("%d/%b/%Y:%H:%M:%S +0000")
    return f'{ip} - - [{when}] "{request} HTTP/1.1" {status} 512 "-" "Mozilla/5.0"\n'


def access_log() -> str:
    """A quiet morning at a shop; then somebody guesses passwords."""
    pages = ("/", "/products", "/products/7", "/cart", "/orders")
    quiet = [
        line(n, f"203.0.113.{n % 40 + 1}", f"GET {pages[n % len(pages)]}", 200) for n in range(1041)
    ]
    guesses = [line(1041 + n // 2, "198.51.100.7", "POST /login", 401) for n in range(52)]
    return "".join([*quiet, *guesses])


def test_a_scan_prints_what_the_readme_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "access.log").write_text(access_log())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as left:
        main(["scan", "access.log"])
    assert left.value.code == 3
    printed = capsys.readouterr().out
    block = re.search(
        r"\$ tocsin scan access\.log\n(.*?)```", (ROOT / "README.md").read_text(), re.S
    )
    assert block is not None
    assert _without_id(printed) == _without_id(block[1])


def _without_id(text: str) -> str:
    """An edit of the rule gives its incidents other ids, and is none of the README."""
    return re.sub(r"inc-[0-9a-f]{12}", "inc-ID", text).rstrip()
