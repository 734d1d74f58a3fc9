"""``import tocsin`` is a light guest: the standard library, msgspec, and a few milliseconds."""

from __future__ import annotations

import subprocess
import sys

HEAVY = (
    "polars pyarrow numpy cryptography hyperscan sqlalchemy starlette uvicorn click rich".split()
)


def fresh(code: str) -> str:
    """Run *code* in an interpreter of its own; what it printed."""
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    ).stdout


def test_the_vocabulary_loads_nothing_heavy() -> None:
    loaded = fresh("import sys, tocsin, tocsin.event; print(*sys.modules)").split()
    assert not set(HEAVY) & set(loaded)


def test_the_vocabulary_is_quick_to_import() -> None:
    code = (
        "import time; began = time.process_time(); import tocsin, tocsin.event; "
        "print(time.process_time() - began)"
    )
    assert min(float(fresh(code)) for _ in range(7)) < 0.060


def test_without_the_server_extra_the_command_says_what_to_install() -> None:
    code = (
        "import importlib.util, sys\n"
        "real = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda n, *a: None if n == 'click' else real(n, *a)\n"
        "from tocsin.cli.entry import main\n"
        "main([])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    assert 'pip install "tocsin[server]"' in done.stderr
