"""What ``up`` refuses, ``config validate`` does too; and a refused start leaves nothing behind."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tocsin.cli.entry import main
from tocsin.errors import TocsinError
from tocsin.settings import Follow, Settings
from tocsin.siem.checks import check, problems
from tocsin.siem.run import run


def settings(tmp_path: Path, **more: object) -> Settings:
    facts: dict[str, object] = {
        "data": str(tmp_path / "data"), "kek_file": str(tmp_path / "kek"), "listen": "127.0.0.1:0",
    }  # fmt: skip
    return Settings(**(facts | more))  # type: ignore[arg-type]  # the test's own


def held(place: Path) -> str:
    place.write_text("a file")
    return str(place / "data")


WRONG: dict[str, tuple[Callable[[Path], dict[str, object]], str]] = {
    "an address that others reach": (lambda _: {"listen": "0.0.0.0:80"}, "say --insecure"),
    "no address": (lambda _: {"listen": "nowhere"}, "give HOST:PORT"),
    "rules that are not there": (lambda _: {"rules": ["/nonexistent"]}, "no such directory"),
    "a command that gives no key": (lambda _: {"kek_command": ["false"]}, "failed with status 1"),
    "a command that is not there": (lambda _: {"kek_command": ["/no/such"]}, "cannot be run"),
    "an unknown parser": (
        lambda _: {"follow": [Follow(path="/a", parser="ngnix")]}, 'did you mean "nginx"?'),
    "an unknown layer": (lambda _: {"follow": [Follow(path="/a", layer="self")]}, "no layer"),
    "a source called tocsin": (
        lambda _: {"follow": [Follow(path="/a", source="Tocsin")]}, "another name"),
    "a key inside of the data": (
        lambda t: {"kek_file": str(t / "data" / "kek")}, "protects nothing"),
    "data in a file": (lambda t: {"data": held(t / "held")}, "is no directory"),
    "a key that is none": (
        lambda t: {"kek_file": str(t / "held")} if held(t / "held") else {}, "others can read"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_found_by_both_and_nothing_is_made(tmp_path: Path, what: str) -> None:
    changes, words = WRONG[what]
    wrong = settings(tmp_path, **changes(tmp_path))
    before = sorted(tmp_path.rglob("*"))
    (said,) = problems(wrong)
    assert words in said
    with pytest.raises(TocsinError) as refused:
        run(wrong, ready=lambda _up: None, printed=lambda _line: None)
    assert str(refused.value) == said
    assert sorted(tmp_path.rglob("*")) == before  # no half vault, no dead socket, no key


def test_what_is_right_is_right_for_both(tmp_path: Path) -> None:
    good = settings(tmp_path, follow=[Follow(path="/var/log/a.log", parser="nginx", layer="app")])
    assert problems(good) == []
    check(good)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # as for whoever is not root
    first, second = problems(settings(tmp_path))
    assert f"this user may not write to {tmp_path}" in first
    assert "the key-encryption key is to be made there" in second


def test_a_door_that_is_taken_is_found_by_both(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = settings(tmp_path, listen=f"127.0.0.1:{other.getsockname()[1]}")
        (said,) = problems(taken)
        assert said.endswith("taken by another program; name another with --listen HOST:PORT")
        with pytest.raises(TocsinError, match="taken by another program"):
            check(taken)


def test_the_door_of_the_tocsin_that_the_settings_are_for_is_no_fault_of_theirs(up: Any) -> None:
    here = {"TOCSIN_DATA": str(up.data), "TOCSIN_LISTEN": f"127.0.0.1:{up.port}"}
    assert b"the settings are good" in up("config", "validate", **here).stderr
    done = up("up", code=2, **here)
    assert f"process {up.process.pid} serves {up.data} already".encode() in done.stderr


def test_another_tocsin_at_the_door_is_named_with_its_process_if_that_can_be_known(
    up: Any,
) -> None:
    there = f"127.0.0.1:{up.port}"
    for command in (("config", "validate"), ("up",)):
        done = up(*command, code=2, TOCSIN_DATA=str(up.home / "other"), TOCSIN_LISTEN=there)
        assert b"is taken by another tocsin; name another with --listen" in done.stderr
    demo = {"TOCSIN_DATA": f"{up.data}-demo", "TOCSIN_LISTEN": there}
    done = up("config", "validate", code=2, **demo)
    assert f"by the tocsin on {up.data} (process {up.process.pid})".encode() in done.stderr


def test_validate_says_all_that_is_wrong_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOCSIN_KEK_COMMAND", '["false"]')
    Path("tocsin.toml").write_text(
        'listen = "0.0.0.0:80"\nrules = ["/nonexistent"]\n'
        '[[follow]]\npath = "/a"\nparser = "nope"\n'
    )
    with pytest.raises(SystemExit) as left:
        main(["config", "validate"])
    err = capsys.readouterr().err
    assert left.value.code == 2
    assert len(err.splitlines()) == 5
    assert err.startswith("note: follow /a: not there yet\n")
    for words in ("insecure", "/nonexistent", "nope", "false"):
        assert words in err
