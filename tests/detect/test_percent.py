"""Percent-decoding of columns says what the standard library says of single texts."""

from __future__ import annotations

from urllib.parse import unquote, unquote_plus

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from tocsin.detect.percent import decode

pieces = st.sampled_from(
    [
        "%",
        "%4",
        "%41",
        "%c3",
        "%a9",
        "é",
        "+",
        "a",
        "%0a",
        "%E2%82",
        "%%",
        "%2541",
        "\0",
        "😀",
        "%f0",
    ]
)
values = st.lists(st.lists(pieces, max_size=5).map("".join), max_size=6)


@settings(max_examples=200, deadline=None)
@given(values, st.integers(0, 2))
def test_each_value_decodes_as_it_would_alone(texts: list[str], skipped: int) -> None:
    column = pl.Series(["%zz", "x%4", *texts], dtype=pl.String).slice(skipped)
    plain = column.to_list()
    assert decode(column, plus=False).to_list() == [unquote(t, errors="replace") for t in plain]
    assert decode(column, plus=True).to_list() == [unquote_plus(t, errors="replace") for t in plain]


def test_an_escape_is_not_put_together_from_two_values() -> None:
    assert decode(pl.Series(["%", "41", "%4", "1", "", "%"]), plus=False).to_list() == [
        *("%", "41", "%4", "1", "", "%")
    ]


def test_half_a_character_at_the_end_of_a_value_is_not_completed_by_the_next() -> None:
    decoded = decode(pl.Series(["%c3", "%a9"]), plus=False).to_list()
    assert decoded == ["\ufffd", "\ufffd"]


def test_what_is_encoded_twice_is_decoded_once() -> None:
    assert decode(pl.Series(["%252e"]), plus=False).to_list() == ["%2e"]
