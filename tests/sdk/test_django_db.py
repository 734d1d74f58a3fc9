"""Django's databases watched: what a request asked of them; and being watched changes nothing."""

from __future__ import annotations

from pathlib import Path

from tests.sdk import apps

CASES = str(Path(__file__).with_name("django_db_cases.py"))


@apps.both
def test_all_cases_hold_with_the_oldest_and_the_newest_django(age: str) -> None:
    apps.suite(apps.interpreter(age), CASES)
