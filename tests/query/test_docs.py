"""Every example of the manual works, and the manual knows every short name and limit."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tocsin.errors import QueryError
from tocsin.query import ALIASES, parse
from tocsin.query.reader import MAX_BYTES, MAX_DEPTH, MAX_TERMS, MAX_WORDS

MANUAL = (Path(__file__).parents[2] / "docs" / "how-to" / "search.md").read_text()
HONEST, REFUSED = MANUAL.split("## What is refused")


def first_cells(text: str) -> list[str]:
    rows = re.findall(r"^\| `((?:[^`\\|]|\\.)*)` \|", text, re.MULTILINE)
    return [row.replace(r"\|", "|") for row in rows]


EXAMPLES = first_cells(HONEST) + re.findall(
    r"^tocsin (?:search|tail) '([^']*)'", HONEST, re.MULTILINE
)
MISTAKES = first_cells(REFUSED)
INSTEAD = re.findall(r"\| `((?:[^`\\|]|\\.)*)` \|$", REFUSED, re.MULTILINE)


@pytest.mark.parametrize("text", EXAMPLES)
def test_an_example_is_understood(text: str) -> None:
    assert parse(str(parse(text))) == parse(text)


@pytest.mark.parametrize("text", MISTAKES)
def test_what_the_manual_calls_a_mistake_is_refused(text: str) -> None:
    with pytest.raises(QueryError) as caught:
        parse(text)
    assert caught.value.column is not None


@pytest.mark.parametrize("text", INSTEAD)
def test_what_the_manual_offers_instead_is_understood(text: str) -> None:
    parse(text)


def test_the_examples_were_found() -> None:
    assert len(EXAMPLES) >= 45
    assert len(MISTAKES) >= 10
    assert len(INSTEAD) >= 9


def test_the_manual_knows_every_short_name_and_limit() -> None:
    for short, name in ALIASES.items():
        assert f"`{short}` is `{name}`" in MANUAL
    for limit in (f"{MAX_BYTES:,} bytes", f"{MAX_TERMS} conditions", f"{MAX_WORDS} words"):
        assert limit in MANUAL
    assert f"nested {MAX_DEPTH} deep" in MANUAL
