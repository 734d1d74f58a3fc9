"""Times are read in the forms that sources write, and written in one."""

# One row of a table is one line, whatever its length.
# ruff: noqa: E501

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin.event.times import MAX_NS, MIN_NS, read_time, rfc3339

NINE = 1_795_424_400_000_000_000  # 2026-11-23T09:00:00Z


@pytest.mark.parametrize(
    ("value", "ns", "assumed"),
    [
        ("2026-11-23T09:00:00Z", NINE, False),
        ("2026-11-23t09:00:00z", NINE, False),
        ("2026-11-23T10:30:00+01:30", NINE, False),
        ("2026-11-23 04:00:00-0500", NINE, False),
        ("2026-11-23 09:00:00 UTC", NINE, False),
        ("2026-11-23 09:00:00", NINE, True),
        ("2026-11-23T09:00", NINE, True),
        ("2026-11-23T09:00:00,5", NINE + 500_000_000, True),
        ("2026-11-23T08:59:60Z", NINE, False),
        ("2026-11-23T09:00:00.1234567891Z", NINE + 123_456_789, False),
        (NINE // 10**9, NINE, False),
        (NINE // 10**6, NINE, False),
        (NINE // 10**3, NINE, False),
        (NINE, NINE, False),
        (str(NINE), NINE, False),
        ("1795424400.25", NINE + 250_000_000, False),
        (1795424400.25, NINE + 250_000_000, False),
        (0, 0, False),
    ],
)
def test_each_form_is_read(value: object, ns: int, assumed: bool) -> None:
    assert read_time(value) == (ns, assumed)


@pytest.mark.parametrize(
    "value",
    ["", "now", "2026-13-01T00:00:00Z", "2026-02-30", "2026-11-23T25:00:00Z", "9999-01-01", True, None, [], 10 ** 30, float("nan"), float("inf"), "1e999", "2026-11-23T09:00:00+99:00", "1" * 1000, "٢٠٢٦-11-23"],
)  # fmt: skip
def test_what_is_no_time_is_none_and_no_error(value: object) -> None:
    assert read_time(value) is None


@given(ns=st.integers(MIN_NS, MAX_NS))
def test_what_is_written_is_read_back(ns: int) -> None:
    assert read_time(rfc3339(ns)) == (ns, False)
