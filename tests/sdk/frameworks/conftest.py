"""Sites of real frameworks under real servers, each served bare and watched at once."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.sdk.apps import interpreter
from tests.sdk.frameworks.talk import Site

import tocsin

#: Where ``tocsin`` itself comes from, be it the sources or a wheel.
HOME = Path(tocsin.__file__).parents[1]

#: The sites are scripts for other interpreters; nothing in them is a test.
collect_ignore_glob = ["sites/*"]

#: Framework, age of everything, and the server it runs under.
SITES = [
    ("asgi", "old", "uvicorn"),
    ("asgi", "new", "uvicorn"),
    ("wsgi", "old", "sync"),
    ("wsgi", "new", "gthread"),
    ("fastapi", "old", "uvicorn"),
    ("fastapi", "new", "uvicorn"),
    ("starlette", "old", "uvicorn"),
    ("starlette", "new", "uvicorn"),
    ("litestar", "old", "uvicorn"),
    ("litestar", "new", "uvicorn"),
    ("quart", "old", "hypercorn"),
    ("quart", "new", "hypercorn"),
    ("flask", "old", "gthread"),
    ("flask", "new", "sync"),
    ("connexion", "old", "gthread"),
    ("connexion", "new", "uvicorn"),
    ("django", "old", "gthread"),
    ("django", "new", "sync"),
    ("django-asgi", "old", "uvicorn"),
    ("django-asgi", "new", "uvicorn"),
]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test on the sites that it is about."""
    if "site" in metafunc.fixturenames:
        suits = getattr(metafunc.function, "suits", lambda _framework, _server: True)
        chosen = [one for one in SITES if suits(one[0].partition("-")[0], one[2])]
        metafunc.parametrize("site", chosen, ids="-".join, indirect=True, scope="module")


@pytest.fixture(scope="module")
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    name, age, server = request.param
    python = interpreter(age)
    seen = tmp_path_factory.mktemp("site") / "seen.jsonl"
    seen.touch()
    framework, _, asgi = name.partition("-")
    errors = seen.with_suffix(".err").open("wb")
    process = subprocess.Popen(
        [str(python), "-W", "ignore", "serve.py", framework, server, asgi],
        cwd=Path(__file__).with_name("sites"),
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(HOME),
            "PYTHONDONTWRITEBYTECODE": "1",
            "TOCSIN_TEST_SEEN": str(seen),
            "TOCSIN_TEST_LIST": "yes" if age == "new" else "",
            "TOCSIN_TEST_NO_BLINKER": "yes" if framework == "flask" and age == "old" else "",
        },
        stdout=subprocess.PIPE,
        stderr=errors,
    )
    try:
        assert process.stdout is not None
        with process.stdout as said:
            line = said.readline()
        assert line, seen.with_suffix(".err").read_text()
        bare, watched = json.loads(line)
        yield Site(framework, age, server, bare, watched, seen)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
        errors.close()
