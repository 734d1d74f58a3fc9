"""Tests inside rule files: they run, they fail when they should, and they say what is wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tocsin.detect import RuleFile, lint, run_tests
from tocsin.detect.ruletests import BEGIN_NS, expand
from tocsin.errors import RuleError

S = 1_000_000_000
HOW_TO = Path(__file__).parents[2] / "docs" / "how-to" / "write-a-rule.md"

RULE = """
title: Teapot
logsource: {category: request}
detection: {tea: {status: 418}, condition: tea}
tests:
  - name: the test
    events: [EVENT]
    expect: EXPECT
"""


def result(event: str, expect: str) -> str:
    """What the one test of the rule says; nothing when it passes."""
    text = RULE.replace("EVENT", event).replace("EXPECT", expect)
    (only,) = run_tests(RuleFile("tea.yml", text))
    assert only.test == "the test"
    assert only.passed == (not only.message)
    return only.message


def test_a_test_passes_when_the_rule_finds_what_it_should() -> None:
    assert result("{status: 418, client_ip: 192.0.2.1}", "{findings: 1}") == ""
    assert result("{status: 200, client_ip: 192.0.2.1}", "{findings: 0}") == ""


@pytest.mark.parametrize(
    ("event", "expect", "message"),
    [
        ("{status: 200}", "{findings: 1}", "expected 1 findings, got 0"),
        ("{status: 418}", "{findings: 0}", "expected 0 findings, got 1: Teapot"),
        (
            "{status: 418, client_ip: 192.0.2.1}",
            "{findings: 1, entity: {client_ip: 192.0.2.2}}",
            "expected a finding on client_ip 192.0.2.2, got client_ip 192.0.2.1",
        ),
        ("{status: 418, repeat: 3}", "{findings: 1, count: 2}", "expected a count of 2, got 3"),
        ("{statsu: 418}", "{findings: 1}", "row 1: unknown 'statsu'; did you mean 'status'"),
        ("{status: [1]}", "{findings: 1}", "row 1: expected `int | null`, got `array`"),
        ("{at: soon}", "{findings: 1}", "row 1: 'soon' is no length of time"),
        ("{repeat: 100000000}", "{findings: 1}", "row 1: repeat: expected a number up to"),
        ("{repeat: -1}", "{findings: 1}", "row 1: repeat: expected a number up to"),
        ("{vary: 3}", "{findings: 1}", "row 1: vary: expected columns"),
        ("3", "{findings: 1}", "row 1: expected columns"),
        ("{status: 418}", "{finding: 1}", "expect: say how many findings"),
        ("{status: 418}", "{findings: 1, colour: red}", "expect: unknown 'colour'"),
    ],
)
def test_a_test_that_fails_says_what_was_expected_and_what_came(
    event: str, expect: str, message: str
) -> None:
    assert message in result(event, expect)


def test_rows_expand_to_events_in_time_order() -> None:
    events = expand(
        [
            {"at": "1m", "status": 200},
            {"repeat": 3, "every": "10s", "vary": {"path": ["/a", "/b"], "query": "n={n}"}},
            {"at": "-1s", "vary": {"user": ["ann", "bob"]}},
        ],
        "request",
    )
    assert [(e.time - BEGIN_NS) // S for e in events] == [-1, 0, 0, 10, 20, 60]
    assert [e.path for e in events if e.path] == ["/a", "/b", "/a"]
    assert [e.query for e in events if e.query] == ["n=0", "n=1", "n=2"]
    assert {e.kind for e in events} == {"request"}


def test_a_test_may_not_expand_without_end() -> None:
    with pytest.raises(RuleError, match="repeat less"):
        expand([{"repeat": 100_000}] * 3)


def test_a_file_that_is_no_rule_is_a_failed_result() -> None:
    for text in ("title: [", "title: x", "- 3", "\0"):
        results = run_tests(RuleFile("bad.yml", text))
        assert results
        assert not any(r.passed for r in results)


def test_lint_names_what_a_rule_lacks() -> None:
    found = " ".join(
        lint(RuleFile("tea.yml", RULE.replace("EVENT", "{}").replace("EXPECT", "{findings: 0}")))
    )
    for what in (
        "expects a finding",
        "runbook",
        "falsepositives",
        "description",
        "owasp",
        "reason",
    ):
        assert what in found


def test_lint_knows_what_a_reason_may_say() -> None:
    text = RULE.replace("EVENT", "{}").replace("EXPECT", "{findings: 0}")
    found = lint(RuleFile("tea.yml", text + 'reason: "{entity} {colour}"\n'))
    assert any("unknown colour" in line for line in found)


def test_the_examples_of_the_how_to_work_as_they_stand() -> None:
    examples = re.findall(r"```yaml\n(.*?)```", HOW_TO.read_text("utf-8"), re.S)
    assert len(examples) >= 2
    for example in examples:
        file = RuleFile("how-to.yml", example)
        assert lint(file) == []
        assert [r for r in run_tests(file) if not r.passed] == []
