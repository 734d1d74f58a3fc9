"""Times as logs write them; what cannot be one is no time, and never another one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tocsin.errors import SettingsError
from tocsin.intake.parsers import times

NOW = 1_795_412_800 * 10**9


def read(text: str, tz: str = "UTC") -> tuple[str | None, bool]:
    """The time by the vectorised way, which has to agree with the one for single texts."""
    frame = times.texts(pl.Series([text]), tz, NOW)
    single = times.one(text, tz, NOW)
    ns = frame["time"].dt.epoch("ns").item()
    assert ns == (single[0] if single else None)
    if single:
        assert frame["assumed"].item() == single[1]
    return (frame["time"].item().isoformat() if ns is not None else None), frame["assumed"].item()


@pytest.mark.parametrize(
    ("text", "wanted", "assumed"),
    [
        ("2026-11-23T05:46:16Z", "2026-11-23T05:46:16+00:00", False),
        ("2026-11-23T05:46:16.25+02:00", "2026-11-23T03:46:16.250000+00:00", False),
        ("2026-11-23T05:46:16+0200", "2026-11-23T03:46:16+00:00", False),
        ("2026-11-23 05:46:16 UTC", "2026-11-23T05:46:16+00:00", False),
        ("2026-11-23 05:46:16,750", "2026-11-23T05:46:16.750000+00:00", True),
        ("2026-11-23 05:46:16 CET", "2026-11-23T04:46:16+00:00", False),
        ("2026-07-28 10:00:00 CEST", "2026-07-28T08:00:00+00:00", False),
        ("2026-07-28 10:00:00.125 EST", "2026-07-28T15:00:00.125000+00:00", False),
        ("2026-07-28T10:00:00,5 PST", "2026-07-28T18:00:00.500000+00:00", False),
        ("2026-07-28 10:00:00 MSK", "2026-07-28T07:00:00+00:00", False),
        ("2026-07-28 10:00:00 JST", "2026-07-28T01:00:00+00:00", False),
        ("2026-07-28 10:00:00 AEST", "2026-07-28T00:00:00+00:00", False),
        ("2026-07-28 10:00:00 IST", "2026-07-28T10:00:00+00:00", True),
        ("2026-07-28 10:00:00 CST", "2026-07-28T10:00:00+00:00", True),
        ("2026-07-28 10:00:00 XYZ", "2026-07-28T10:00:00+00:00", True),
        ("2026-07-28 10:00:00 Europe/Berlin", "2026-07-28T08:00:00+00:00", False),
        ("2026-07-28 10:00:00 Mars/Olympus", "2026-07-28T10:00:00+00:00", True),
        ("2026-07-28T10:00:00Z[Europe/Berlin]", "2026-07-28T10:00:00+00:00", False),
        ("2026-07-28T10:00:00.5+02:00[Europe/Berlin]", "2026-07-28T08:00:00.500000+00:00", False),
        ("2026-07-28T10:00:00[Europe/Berlin]", "2026-07-28T08:00:00+00:00", False),
        ("07/28/2026 10:00:00", "2026-07-28T10:00:00+00:00", True),
        ("28/07/2026 10:00:00", "2026-07-28T10:00:00+00:00", True),
        ("07/07/2026 10:00:00 EST", "2026-07-07T15:00:00+00:00", False),
        ("7/28/2026, 12:05:01 AM", "2026-07-28T00:05:01+00:00", True),
        ("7/28/2026 3:05:01 PM", "2026-07-28T15:05:01+00:00", True),
        ("2026-07-28", "2026-07-28T00:00:00+00:00", True),
        ("28/Jul/2026 10:00:00", "2026-07-28T10:00:00+00:00", True),
        ("Tue Jul 28 10:00:00 CEST 2026", "2026-07-28T08:00:00+00:00", False),
        ("Tue, 28 Jul 2026 10:00:00 CEST", "2026-07-28T08:00:00+00:00", False),
        ("2026/11/23 05:46:16", "2026-11-23T05:46:16+00:00", True),
        ("20261123T054616Z", "2026-11-23T05:46:16+00:00", False),
        ("23/Nov/2026:05:46:16 -0130", "2026-11-23T07:16:16+00:00", False),
        ("Mon, 23 Nov 2026 05:46:16 GMT", "2026-11-23T05:46:16+00:00", False),
        ("Thu Oct 13 12:24:49.88 2022", "2022-10-13T12:24:49.880000+00:00", True),
        ("Nov 23 05:46:16", "2026-11-23T05:46:16+00:00", True),
        ("Dec 31 05:46:16", "2025-12-31T05:46:16+00:00", True),
        ("Feb 29 05:46:16", "2024-02-29T05:46:16+00:00", True),
        ("1795412776.045", "2026-11-23T05:46:16.045000+00:00", False),
        ("1795412776045", "2026-11-23T05:46:16.045000+00:00", False),
        ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00+00:00", False),
        ("2261-12-31T23:59:59Z", "2261-12-31T23:59:59+00:00", False),
    ],
)
def test_times_are_read(text: str, wanted: str, assumed: bool) -> None:
    assert read(text) == (wanted, assumed)


@pytest.mark.parametrize(
    "text",
    [
        "9999-12-31T23:59:59Z", "2262-06-01T00:00:00Z", "0001-01-01T00:00:00Z",
        "1969-12-31T23:59:59Z", "1500-01-01 00:00:00", "2300-01-01 00:00:00", "9" * 19, "9" * 60,
        "2026-02-30T00:00:00Z", "2026-13-01 00:00:00", "2026-11-23T25:00:00Z", "-1", "1e400", "NaN",
        "", " ", "yesterday", "0000-00-00 00:00:00", "31/Dec/9999:23:59:59 +0000", "２０２６-11-23",
        "Feb 30 05:46:16", "2026-11-23 05:46:16 +99:99", "2026-02-30", "07/08/2026 10:00:00",
        "13/13/2026 10:00:00", "7/28/2026 15:05:01 PM",
    ],
)  # fmt: skip
def test_what_is_no_time_of_ours_is_none(text: str) -> None:
    assert read(text)[0] is None


def test_a_zoneless_time_is_read_in_the_sources_zone() -> None:
    assert read("2026-07-01 12:00:00", "Europe/Berlin")[0] == "2026-07-01T10:00:00+00:00"
    assert read("2026-07-01 12:00:00", "+05:30")[0] == "2026-07-01T06:30:00+00:00"
    # An hour that occurs twice is its first, one that does not occur is not lost.
    assert read("2026-10-25 02:30:00", "Europe/Berlin")[0] == "2026-10-25T00:30:00+00:00"
    assert read("2026-03-29 02:30:00", "Europe/Berlin")[0] is not None


@pytest.mark.parametrize(
    ("text", "tz", "wanted"),
    [
        ("2026-07-28 10:00:00 IST", "Asia/Kolkata", "2026-07-28T04:30:00+00:00"),
        ("2026-07-28 10:00:00 IST", "Asia/Jerusalem", "2026-07-28T08:00:00+00:00"),
        ("2026-07-28 10:00:00 CST", "Asia/Shanghai", "2026-07-28T02:00:00+00:00"),
        ("2026-01-28 10:00:00 CST", "America/Chicago", "2026-01-28T16:00:00+00:00"),
        ("2026-07-28 10:00:00 PST", "Asia/Manila", "2026-07-28T02:00:00+00:00"),
        ("2026-07-28 10:00:00 EST", "Europe/Berlin", "2026-07-28T15:00:00+00:00"),
    ],
)
def test_what_the_sources_own_zone_calls_itself_comes_first(
    text: str, tz: str, wanted: str
) -> None:
    assert read(text, tz) == (wanted, False)


def test_an_unknown_zone_is_named_with_the_way_out() -> None:
    with pytest.raises(SettingsError, match='"Mars/Olympus" is unknown; use a name such as'):
        times.zone("Mars/Olympus")


@settings(deadline=None)
@given(
    st.datetimes(datetime(1970, 1, 2), datetime(2261, 12, 30)),  # noqa: DTZ001 - a zone is added
    st.integers(-14 * 60, 14 * 60),
)
def test_every_written_instant_comes_back(moment: datetime, minutes: int) -> None:
    zoned = moment.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    if zoned.astimezone(UTC).year < 1970:
        return
    assert read(zoned.isoformat()) == (zoned.astimezone(UTC).isoformat(), False)
    assert read(moment.isoformat(" "))[0] == moment.replace(tzinfo=UTC).isoformat()


@settings(deadline=None)
@given(st.text(max_size=40))
def test_no_text_makes_it_fail(text: str) -> None:
    read(text)


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-23T05:46:16Z",
        "2026-11-23T05:46:16.7Z",
        "2026-11-23T05:46:16.123456789Z",
        "2026-11-23 05:46:16Z",
        "1970-01-01T00:00:00Z",
        "2261-12-31T23:59:59.999999999Z",
        "2262-01-01T00:00:00Z",
        "1969-12-31T23:59:59Z",
        "2026-11-23T05:46:60Z",
        "2026-11-23T24:00:00Z",
        "2026-02-30T00:00:00Z",
        "2026-11-23T05:46:16.1234567890Z",
        "2026-11-23T05:46:16.Z",
        "2026-11-23T05:46:16.5ZZ",
        "2026-11-23T05:46       Z",
        " 2026-11-23T05:46:16Z",
        "2026-11-23T05Z",
        "2026-11-23T05:46Z",
        "2026-11-23Z",
        "2026-11-23T05:46:16.5z",
    ],
)
def test_what_arrow_reads_of_utc_times_is_what_polars_reads(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for column in (pl.Series([text, None]), pl.Series([text, "2026-11-23T05:46:16.25Z"])):
        quick = times.texts(column, "UTC", 0)
        with monkeypatch.context() as patch:
            patch.setattr(times, "_utc", lambda _: None)
            assert quick.equals(times.texts(column, "UTC", 0))
