"""Every rule that we ship proves itself, and says what a person needs to act on it."""

from __future__ import annotations

from uuid import UUID

import pytest

from tocsin.detect import RuleFile, TestResult, compile_rules, lint, pack, run_tests

FILES = pack()


def test_there_are_rules() -> None:
    assert len(FILES) >= 14


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.name)
def test_each_rule_passes_its_own_tests_however_events_are_batched(file: RuleFile) -> None:
    whole = run_tests(file)
    assert whole
    assert [r for r in whole if not r.passed] == []
    assert _outcomes(run_tests(file, batch=7)) == _outcomes(whole)


def _outcomes(results: list[TestResult]) -> list[tuple[str, str, bool]]:
    return [(r.rule, r.test, r.passed) for r in results]


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.name)
def test_each_rule_has_tests_of_both_kinds_a_runbook_and_a_reason(file: RuleFile) -> None:
    assert lint(file) == []


def test_the_pack_loads_as_a_whole_without_problems() -> None:
    rules = compile_rules(FILES)
    assert rules.problems == ()
    assert rules.blind == ()
    told = [rule for rule in (*rules.rules, *rules.correlations) if rule.reason]
    for rule in told:
        assert UUID(rule.id).version == 4
        assert rule.owasp
        assert rule.attack
        assert any(tag.startswith(("appsensor.", "owasp.")) for tag in rule.tags)


def test_a_reason_of_ours_never_says_unknown_in_its_own_tests() -> None:
    # What a template asks for must be in the events that the rule is about.
    for file in FILES:
        for result in run_tests(file):
            assert "unknown" not in result.message
