"""The unit in the documentation makes a first start: its places and its environment, no systemd."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "operate.md"


def block(kind: str, holding: str, begins: str = "") -> str:
    """The block of code of the page that holds some words, and begins with some."""
    found = re.findall(rf"```{kind}\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (text,) = [text for text in found if holding in text and text.startswith(begins)]
    return str(text)


def moved(text: str, root: Path) -> str:
    """*text* with the machine's places below *root*."""
    return re.sub(r"/(etc|var/lib|var/cache)(?=[/ \n\"']|$)", lambda m: f"{root}/{m[1]}", text)


class Machine:
    """What systemd would give the service, in a directory of the test's."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.unit = dict[str, list[str]]()
        for line in moved(block("ini", "ExecStart"), root).splitlines():
            name, equals, value = line.partition("=")
            if equals and not line.startswith("#"):
                self.unit.setdefault(name, []).append(value)
        for folder, name in (("StateDirectory", "var/lib"), ("CacheDirectory", "var/cache")):
            (value,), (mode,) = self.unit[folder], self.unit[f"{folder}Mode"]
            (root / name).mkdir(parents=True)
            (root / name / value).mkdir(mode=int(mode, 8))
        self.environ = {"PATH": "/usr/bin:/bin", "HOME": str(root / "var/lib/tocsin")}
        for value in self.unit["Environment"]:
            for word in shlex.split(value):
                self.environ |= dict([word.split("=", 1)])

    def prepare(self) -> None:
        """The commands of the page, but for those that make a user and give to it."""
        made = moved(block("sh", "useradd"), self.root)
        made = re.sub(r"^useradd.*$", "", made, flags=re.MULTILINE)
        made = re.sub(r"chown \S+ \S+", "true", made).replace("-o tocsin -g tocsin", "")
        subprocess.run(["/bin/sh", "-ec", made], check=True, timeout=60)

    def command(self) -> list[str]:
        (start,) = self.unit["ExecStart"]
        program, *words = shlex.split(start)
        assert Path(program).name == "tocsin"
        return [sys.executable, "-m", "tocsin", *words, "--listen", "127.0.0.1:0"]


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    before = os.umask(0o077)
    made = Machine(tmp_path)
    made.prepare()
    yield made
    os.umask(before)


def test_the_unit_makes_a_first_start_and_writes_only_where_it_may(machine: Machine) -> None:
    etc, state = machine.root / "etc", machine.root / "var/lib/tocsin"
    before = {path: path.stat().st_mtime_ns for path in (etc, *etc.rglob("*"))}
    with subprocess.Popen(
        machine.command(), env=machine.environ, cwd="/", stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as up:  # fmt: skip
        assert up.stdout is not None
        said: list[bytes] = []
        try:
            for line in up.stdout:
                said.append(line)
                if b"proves more with it" in line or line.startswith(b"tocsin: "):
                    break
        finally:
            up.terminate()
            said += up.stdout.readlines()
            code = up.wait(60)
    text = b"".join(said).decode()
    assert code == 0, text
    assert "first epoch key" in text
    assert "tocsin: " not in text  # no complaint, of settings that are not obeyed above all
    assert (state / "catalog.db").exists()
    assert f"file {etc}/tocsin/kek" in text
    assert {path: path.stat().st_mtime_ns for path in (etc, *etc.rglob("*"))} == before
    assert {path.name for path in machine.root.iterdir()} == {"etc", "var"}
    assert {p.name for p in (machine.root / "var").iterdir()} == {"lib", "cache"}
    assert not (state / ".cache").exists()


def test_commands_find_settings_and_key_as_the_page_says(machine: Machine) -> None:
    text = moved(block("sh", "tocsin incidents list --status open\n", begins="sudo"), machine.root)
    words = shlex.split(text)
    assert words[:3] == ["sudo", "-u", "tocsin"]
    name, _, value = words[3].partition("=")
    assert (name, value) == ("XDG_CONFIG_HOME", machine.environ[name])

    def tocsin(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tocsin", *arguments]
        return subprocess.run(
            command,
            env=machine.environ,
            cwd="/",
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    made = tocsin("token", "create", "--source", "edge")
    assert made.returncode == 0, made.stderr
    assert "its first epoch key" in made.stderr  # by hand, so that no journal keeps it
    assert (machine.root / "var/lib/tocsin/catalog.db").exists()
    listed = tocsin(*words[5:])
    assert (listed.returncode, listed.stderr) == (0, "no incidents\n")
