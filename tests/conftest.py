"""What every test shares: no skip goes unnoticed, and nobody's home directory is touched."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

import tocsin


def _corpora() -> Path:
    """Where foreign test data is kept: as said, or in ``shared/corpora`` beside a folder above."""
    beside = [folder / "shared" / "corpora" for folder in Path(__file__).parents]
    found = next((place for place in beside if place.is_dir()), beside[-1])
    return Path(os.environ.get("TOCSIN_CORPORA", found))


CORPORA = _corpora()


def pytest_configure() -> None:
    """A run that is to test an installed package tests no other."""
    wanted = os.environ.get("TOCSIN_TESTED")
    found = Path(tocsin.__file__).parents[1]
    if wanted is not None and found != Path(wanted):
        pytest.exit(f"tocsin is imported from {found}, and not from {wanted}", returncode=4)


@pytest.fixture
def corpora() -> Path:
    """Foreign test data, kept outside the repository; without it the test is skipped by name."""
    if not CORPORA.is_dir():
        pytest.skip(f"corpora: no foreign test data at {CORPORA}; set TOCSIN_CORPORA")
    return CORPORA


@pytest.fixture(autouse=True)
def _catalogs_are_closed() -> Iterator[None]:
    """Close what a test left open of catalogs: from Python 3.13 on, SQLite warns of it."""
    made: list[sa.Engine] = []
    make = sa.create_engine

    def making(*given: Any, **named: Any) -> sa.Engine:
        made.append(make(*given, **named))
        return made[-1]

    with pytest.MonkeyPatch.context() as patch:  # of its own: a test may undo what it patched
        patch.setattr(sa, "create_engine", making)
        yield
    for engine in made:
        engine.dispose()


@pytest.fixture(autouse=True)
def _no_foreign_settings(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Run each test as a user without any configuration of tocsin's."""
    home = tmp_path_factory.mktemp("home")
    for name in [n for n in os.environ if n.startswith("TOCSIN_") and n not in KEPT]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)


KEPT = {"TOCSIN_CORPORA", "TOCSIN_FAULTS", "TOCSIN_NO_SKIPS"}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name each skipped test, with its reason."""
    for report in terminalreporter.stats.get("skipped", []):
        terminalreporter.write_line(f"skipped: {report.nodeid}: {report.longrepr}")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Under ``TOCSIN_NO_SKIPS`` a skip is a failure, unless it says that foreign data is absent."""
    if not os.environ.get("TOCSIN_NO_SKIPS"):
        return
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []
    if (
        any("corpora: no foreign test data" not in str(r.longrepr) for r in skipped)
        and not exitstatus
    ):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
