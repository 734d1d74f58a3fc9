"""Anchors: whatever makes a rule true contains one of them, and the best ones are chosen."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tocsin.detect.anchors import SENTINEL, Anchor, anchors, factors, fold
from tocsin.detect.exact import bind
from tocsin.detect.fields import route
from tocsin.detect.linear import Refused, finder
from tocsin.detect.rule import And, Condition, Leaf, LogSource, Not, Op, Or

AGENT = "c-useragent"
A = Leaf(AGENT, Op.CONTAINS, "sqlmap")
B = Leaf(AGENT, Op.CONTAINS, "nikto-scanner")
STATUS = Leaf("sc-status", Op.EQ, "404")


def of(condition: Condition) -> set[str] | None:
    """The anchors' texts in user agents; ``None`` when there are no anchors."""
    to = route(LogSource(category="webserver"))
    assert to is not None
    node, _ = bind(condition, to)
    assert node is not None
    found = anchors(node)
    return None if found is None else {a.text for a in found if a.scan == "user_agent"}


@pytest.mark.parametrize(
    ("condition", "texts"),
    [
        (A, {"sqlmap"}),
        (And((A, B)), {"nikto-scanner"}),
        (And((A, STATUS)), {"sqlmap"}),
        (Or((A, B)), {"sqlmap", "nikto-scanner"}),
        (Or((A, STATUS)), None),
        (Not(A), None),
        (Not(Not(A)), {"sqlmap"}),
        (Not(Or((A, Not(B)))), {"nikto-scanner"}),
        (Not(And((Not(A), Not(B)))), {"sqlmap", "nikto-scanner"}),
        (And((Not(A), B)), {"nikto-scanner"}),
        (Leaf(AGENT, Op.EQ, "Evil"), {"\nevil\n"}),
        (Leaf(AGENT, Op.STARTSWITH, "Evil"), {"\nevil"}),
        (Leaf(AGENT, Op.ENDSWITH, "Evil"), {"evil\n"}),
        (Leaf(AGENT, Op.GLOB, r"a*evil?\*x"), {"evil"}),
        (Leaf(AGENT, Op.RE, "x?(evil|worse)+"), {"evil", "worse"}),
        (Leaf(AGENT, Op.EQ, ""), None),
        (Leaf(AGENT, Op.CONTAINS, "ab"), None),
        (Leaf(AGENT, Op.CONTAINS, "Chrome/"), None),
        (Leaf(AGENT, Op.NULL), None),
        (Leaf(AGENT, Op.PRESENT), None),
        (Leaf("c-ip", Op.CIDR, "10.0.0.0/8"), None),
        (Leaf("sc-status", Op.GTE, "400"), None),
        (Leaf("cs-method", Op.EQ, "PROPFIND"), None),
    ],
)
def test_anchors_of_a_condition(condition: Condition, texts: set[str] | None) -> None:
    assert of(condition) == texts


def test_a_target_is_looked_for_where_all_of_it_stands() -> None:
    to = route(LogSource(category="webserver"))
    assert to is not None
    node, _ = bind(Leaf("cs-uri-stem", Op.STARTSWITH, "/evil"), to)
    assert node is not None
    assert anchors(node) == frozenset({Anchor("url", "/evil"), Anchor("url%", "/evil")})


@pytest.mark.parametrize(
    ("pattern", "texts"),
    [
        ("abc.*defgh", {"defgh"}),
        ("(ab|cdef)x", {"ab", "cdef"}),
        ("(?i)evil", {"evil"}),
        ("a?b*", None),
        ("[abc]+", None),
        ("(evil)?", None),
        ("(evil){2,}", {"evil"}),
        ("ünïcode", {"code"}),
        (r"\bevil\b", {"evil"}),
        ("(?:a|)", None),
        ("^$", None),
    ],
)
def test_factors_of_a_regular_expression(pattern: str, texts: set[str] | None) -> None:
    found = factors(pattern)
    assert (None if found is None else set(found)) == texts


PATTERNS = ["k(iss|ing)s?", "(?i)kelvin|secret", "[a-c]+dmin", "s{2,}x", "a(b(c|d)e)+f?", "é+vil"]


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(PATTERNS).flatmap(lambda p: st.tuples(st.just(p), st.from_regex(p))))
def test_everything_that_a_pattern_finds_contains_one_of_its_factors(
    found: tuple[str, str],
) -> None:
    pattern, text = found
    texts = factors(pattern)
    assert texts is not None
    if finder(pattern)(text):
        seen = (text.lower(), fold(text))
        assert any(t.lower() in s for t in texts for s in seen)


alphabet = st.sampled_from(list("aAkKsSiIσςΣſßẞİı\u212aÅÅé.\n"))


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet, max_size=4), st.text(alphabet, max_size=4), st.text(alphabet, max_size=4))
def test_folding_finds_whatever_lower_case_finds(needle: str, before: str, after: str) -> None:
    for value in (before + needle.upper() + after, before + needle + after, before + after):
        if needle.lower() in value.lower():
            assert fold(needle) in fold(value)
        if needle.lower() == value.lower():
            assert fold(needle) == fold(value)
        assert value.isascii() <= (fold(value) == value.lower())


def test_the_sentinel_is_a_line_break() -> None:
    assert SENTINEL == "\n"


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            ["a", "[b-d]", "[^x]", ".", "(e|f)", "g?", "h{2}", r"\.", "$", "^", r"\Z", "[]$]"]
        ),
        min_size=1,
        max_size=5,
    ).map("".join),
    st.text("abdefhgx.$]\n", max_size=6),
    st.sampled_from(["", "i", "s"]),
)
def test_a_linear_engine_finds_what_pythons_finds(pattern: str, text: str, flags: str) -> None:
    try:
        wanted = re.search(f"(?{flags})" + pattern if flags else pattern, text) is not None
    except re.error:
        return
    assert finder(pattern, flags)(text) is wanted


@pytest.mark.parametrize("pattern", ["(?=a)b", "(?<!a)b", r"(a)\1", "a++", "(?>a)b", "x" * 20_001])
def test_what_no_linear_engine_can_run_is_refused(pattern: str) -> None:
    with pytest.raises(Refused):
        finder(pattern)


def test_what_only_the_second_engine_can_run_is_run() -> None:
    assert finder("^a{1500}$")("a" * 1500)
    assert not finder("^a{1500}$")("a" * 1499)
