"""What is sealed in the catalog is secret, whole, and bound to its row."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin.catalog.box import Box
from tocsin.errors import Damaged

KEY = bytes(range(32))


@given(st.text(st.characters()))
def test_what_was_sealed_is_opened(text: str) -> None:
    assert Box(KEY).open(Box(KEY).seal(text, "incident 1"), "incident 1") == text


def test_nothing_of_it_shows_and_no_two_seals_are_alike() -> None:
    one, two = Box(KEY).seal("203.0.113.9", "a"), Box(KEY).seal("203.0.113.9", "a")
    assert "203" not in one
    assert one != two


def test_it_opens_in_its_own_row_and_with_its_own_key_only() -> None:
    sealed = Box(KEY).seal("x", "incident 1")
    for box, about in ((Box(KEY), "incident 2"), (Box(bytes(32)), "incident 1")):
        with pytest.raises(Damaged, match="cannot be read"):
            box.open(sealed, about)


def test_every_change_is_noticed() -> None:
    sealed = Box(KEY).seal("x", "a")
    for changed in (*(sealed[:n] for n in range(len(sealed))), sealed[:-3] + "AAA", "plain text"):
        with pytest.raises(Damaged):
            Box(KEY).open(changed, "a")


def test_a_tag_finds_equal_values_and_needs_the_key() -> None:
    assert Box(KEY).tag("eve") == Box(KEY).tag("eve")
    assert Box(KEY).tag("eve") != Box(KEY).tag("bob")
    assert Box(KEY).tag("eve") != Box(bytes(32)).tag("eve")
