"""The real frameworks, oldest and newest: interpreters of their own, and code that runs in them.

``TOCSIN_APPS_OLD`` and ``TOCSIN_APPS_NEW`` name Python executables that have the frameworks;
``make apps`` makes them.  Without, a test that needs one is skipped by name.
"""

from __future__ import annotations

import os
import subprocess
import textwrap
from collections.abc import Mapping
from pathlib import Path

import pytest

import tocsin

__all__ = ["both", "interpreter", "run", "suite"]

#: Read once, since each test runs without the variables of whoever started it.
_WHERE = {age: os.environ.get(f"TOCSIN_APPS_{age.upper()}") for age in ("old", "new")}

#: Where ``tocsin`` itself comes from, be it the sources or a wheel.
HOME = Path(tocsin.__file__).parents[1]

#: Runs a test with the oldest and with the newest frameworks, as its argument ``age``.
both = pytest.mark.parametrize("age", ["old", "new"])


def interpreter(age: str) -> Path:
    """The Python that has the "old" or the "new" frameworks; without one the test is skipped."""
    where = _WHERE[age]
    if not where or not Path(where).exists():
        pytest.skip(f"apps: no interpreter with {age} frameworks; run make apps")
    return Path(where)


def run(
    python: Path,
    code: str,
    *arguments: str,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float = 60.0,
) -> str:
    """What *code* prints, run by *python* with this ``tocsin``; a failure shows what it said."""
    done = subprocess.run(
        [str(python), "-c", textwrap.dedent(code), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(HOME), **(env or {})},
    )
    told = f"{done.stdout}\n{done.stderr}"
    assert done.returncode == 0, f"{python} ended with {done.returncode}:\n{told}"
    return done.stdout


_SUITE = """
    import os, sys
    sys.path.append(sys.argv[1])  # where pytest is; the frameworks go before all that is there
    import pytest
    sys.exit(pytest.main(["-q", "-c", os.devnull, "--rootdir=.", "--noconftest", "-W", "error",
                          "--import-mode=importlib", "-p", "no:cacheprovider", *sys.argv[2:]]))
"""


def suite(python: Path, *tests: str) -> None:
    """Run test files in *python*, with its frameworks and the pytest of this interpreter."""
    ours = Path(pytest.__file__).parents[1]
    told = run(
        python, _SUITE, str(ours), *tests,
        cwd=Path(__file__).parents[2], env={"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
    )  # fmt: skip
    assert " passed" in told, told
