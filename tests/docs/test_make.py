"""The two commands of the README, as ``make`` understands them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def make(*targets: str) -> str:
    """What ``make -n`` would do for *targets*."""
    tool = shutil.which("make")
    assert tool is not None
    done = subprocess.run(
        [tool, "--no-print-directory", *targets],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        # The tests themselves may have been started by a make, with its own settings.
        env={n: v for n, v in os.environ.items() if not n.startswith("MAKE")},
    )
    return done.stdout


def test_make_alone_lists_every_target_with_its_purpose() -> None:
    written = re.findall(r"^([a-z-]+):.*## (.+)$", (ROOT / "Makefile").read_text(), re.M)
    assert {"run", "test", "bench", "faults-long"} <= {name for name, _ in written}
    listed = [line.split(maxsplit=1) for line in make().splitlines()]
    assert listed == [[name, purpose] for name, purpose in written]


def test_every_target_that_is_no_file_says_what_it_is_for() -> None:
    text = (ROOT / "Makefile").read_text()
    phony = re.findall(r"^\.PHONY: (.+)$", text, re.M)[0].split()
    told = re.findall(r"^([a-z-]+):.*## ", text, re.M)
    assert sorted(phony) == sorted(told)


@pytest.mark.parametrize("target", ["run", "test"])
def test_the_commands_of_the_readme_are_targets(target: str) -> None:
    assert f"make {target}" in (ROOT / "README.md").read_text()
    assert make("-n", target)


def test_make_run_starts_the_demo() -> None:
    assert make("-n", "run").splitlines()[-1].endswith("tocsin up --demo")
