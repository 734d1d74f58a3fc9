"""The wheel holds everything, and works with the sources out of the way."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

#: Where a wheel lies that was built already.
BUILT = os.environ.get("TOCSIN_BUILT", "")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built once and unpacked as an installer would."""
    place = tmp_path_factory.mktemp("wheel")
    if not BUILT:
        subprocess.run(
            [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(place)],
            cwd=ROOT,
            check=True,
            capture_output=True,
            timeout=100,
        )
    (wheel,) = Path(BUILT or place).glob("*.whl")
    target = place / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    return target


def run(installed: Path, *arguments: str, code: int = 0) -> bytes:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=installed.parent,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == code, done.stderr
    return done.stdout


def test_the_wheel_is_what_runs(installed: Path) -> None:
    said = run(installed, "-c", "import tocsin; print(tocsin.__file__)")
    assert Path(said.decode().strip()).is_relative_to(installed)


def test_every_file_of_the_package_is_in_it(installed: Path) -> None:
    source = ROOT / "src" / "tocsin"
    ours = {
        p.relative_to(source)
        for p in source.rglob("*")
        if p.is_file() and "__pycache__" not in p.parts
    }
    there = {
        p.relative_to(installed / "tocsin")
        for p in (installed / "tocsin").rglob("*")
        if p.is_file()
    }
    assert ours <= there


def test_a_scan_with_it_finds_an_attack(installed: Path, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    log.write_text(
        "".join(
            f"198.51.100.7 - - [23/Nov/2026:10:00:{n:02d} +0000] "
            '"POST /login HTTP/1.1" 401 9 "-" "x"\n'
            for n in range(40)
        )
    )
    assert b"198.51.100.7" in run(installed, "-m", "tocsin", "scan", str(log), code=3)
