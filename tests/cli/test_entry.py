"""The command line explains itself, and every failure is one clear line."""

from __future__ import annotations

import importlib
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from tocsin.cli.entry import COMMANDS, main
from tocsin.cli.group import group


def run(*arguments: str, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "tocsin", *arguments],
        input=stdin,
        capture_output=True,
        timeout=60,
        check=False,
    )


def leave(*arguments: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert isinstance(left.value.code, int)
    return left.value.code


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_help_with_what_the_list_says(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert leave(name, "--help") == 0
    text = capsys.readouterr().out
    assert COMMANDS[name].split(".")[0].split(";")[0].split(":")[0][:24] in " ".join(text.split())
    command = importlib.import_module(f"tocsin.cli.{name}").command
    assert command.name == name


def test_help_lists_every_command_without_importing_any() -> None:
    done = run("--help")
    assert done.returncode == 0
    for name, words in COMMANDS.items():
        assert name.encode() in done.stdout
        assert words.encode()[:30] in done.stdout
    probe = (
        "import sys, tocsin.cli.group; sys.exit('polars' in sys.modules or 'rich' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", probe], check=False).returncode == 0


def test_a_wrong_command_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert leave("serach") == 2
    assert "Did you mean 'search'?" in capsys.readouterr().err


def test_a_wrong_option_is_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert leave("search", "--nope") == 2
    assert "--nope" in capsys.readouterr().err


def test_a_missing_file_is_named_without_a_traceback() -> None:
    done = run("parse", "/nowhere/access.log")
    assert done.returncode == 1
    assert done.stderr == b"tocsin: /nowhere/access.log: no such file or directory\n"


def test_debug_shows_the_traceback() -> None:
    assert b"Traceback" in run("--debug", "search", "--data", "/nowhere").stderr


def test_a_reader_that_goes_away_is_no_failure(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    log.write_text("some words\n" * 200_000)
    command = f"{sys.executable} -m tocsin parse {log} | head -1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.count(b"\n") == 1


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_printed_for_each_shell(
    shell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert leave("--completion", shell) == 0
    assert "_TOCSIN_COMPLETE" in capsys.readouterr().out


def every_command(
    command: click.Command = group, path: str = "tocsin"
) -> Iterator[tuple[str, click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            inner = command.get_command(click.Context(command), name)
            assert inner is not None
            yield from every_command(inner, f"{path} {name}")


def test_every_option_is_explained() -> None:
    assert [
        f"{path} {parameter.opts[0]}"
        for path, command in every_command()
        for parameter in command.params
        if isinstance(parameter, click.Option) and not parameter.help
    ] == []


def test_every_command_shows_examples_of_itself_that_can_be_read() -> None:
    commands = list(every_command())
    assert len(commands) > 25
    for path, command in commands:
        text = command.get_help(click.Context(command, info_name=path))
        found = re.search(r"\n\s*Examples:\n(.*?)(?:\n\n|$)", text, re.DOTALL)
        assert found is not None, path
        examples = found[1].splitlines()
        assert any(path in line for line in examples), path
        for line in examples:
            for words in re.findall(r"tocsin ((?:[a-z]+ ?)+)", line):
                named = [name for name, _ in commands if f"tocsin {words} ".startswith(name + " ")]
                assert len(named) > 1, f"{path}: there is no command tocsin {words}"


def test_foreign_words_in_an_error_cannot_move_the_terminal() -> None:
    done = run("parse", "/nowhere/\x1b[2J\u202e.log")
    assert b"\x1b" not in done.stderr
    assert b"\\x1b[2J\\u202e" in done.stderr


def test_choices_of_an_option_that_is_missing_stand_on_its_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert leave("incidents", "close", "inc-01") == 2
    err = capsys.readouterr().err
    assert "\\n" not in err
    assert err.splitlines()[-1] == (
        "Error: Missing option '--reason'. "
        "Choose from: true_positive, benign, false_positive, duplicate"
    )


@pytest.mark.parametrize(
    "command", [("scan", "a.log"), ("parse", "a.log"), ("token", "create", "--source", "a")]
)
def test_a_time_zone_that_is_none_is_wrong_usage(
    command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert leave(*command, "--tz", "Foo/Bar") == 2
    assert "no time zone is called 'Foo/Bar'" in capsys.readouterr().err


def test_a_length_of_time_in_words_is_answered_with_how_to_write_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for written, right in {"1hour": "1h", "30 minutes": "30m", "2 Days ago": "2d"}.items():
        assert leave("search", "--data", str(tmp_path), "--since", written) == 2
        assert f"did you mean {right}?" in capsys.readouterr().err


def test_a_door_that_is_away_is_told_with_the_cause_and_not_waited_for_longer_than_asked(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    log = tmp_path / "a.log"
    log.write_text("a line\n")
    with socket.socket() as taken:  # bound, and listening to nobody
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        began = time.monotonic()
        assert leave("send", str(log), "--to", url, "--key", "k", "--timeout", "0.5") == 1
    assert time.monotonic() - began < 5
    first, last = capsys.readouterr().err.splitlines()
    assert first == f"{url}: connection refused; trying again for 0.5 s, Ctrl-C to end"
    assert "within 0.5 s (connection refused)" in last
    assert leave("send", "--help") == 0
    assert "--timeout SECONDS" in capsys.readouterr().out
