"""A rule proves itself: runs the ``tests:`` that stand in the rule's own file.

Each test is a handful of events with relative times, and what the rule shall find in them::

    tests:
      - name: ten wrong passwords in a minute
        events:
          - {kind: authn_login_fail, client_ip: 203.0.113.7, user: ann, repeat: 10, every: 6s}
        expect: {findings: 1, entity: {client_ip: 203.0.113.7}}

An event names canonical columns, and may say ``at`` (when, default ``0s``), ``repeat`` (how
often), ``every`` (how far apart, default ``1s``) and ``vary`` (columns whose value goes through a
list; a text there may hold ``{n}``, the number of the repetition from 0 on).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

import msgspec
from msgspec import Struct

from tocsin.detect.engine import Engine, duration
from tocsin.detect.fields import Route, route
from tocsin.detect.findings import placeholders
from tocsin.detect.rule import CorrelationRule, Rule, RuleFile, RuleSet
from tocsin.detect.sigma import compile_rules
from tocsin.errors import RuleError
from tocsin.event import NAMES, Event, Finding
from tocsin.event.batch import Entries, from_events

__all__ = ["TestResult", "lint", "run_tests"]

#: When a test begins: a Thursday morning, so that nothing depends on the day it is run.
BEGIN_NS = 1_767_866_400_000_000_000

#: Events that one test may expand to.
LIMIT = 100_000

_OWN_KEYS = frozenset({"at", "repeat", "every", "vary"})
_TEST_KEYS = frozenset({"name", "events", "expect"})
_EXPECT_KEYS = frozenset({"findings", "entity", "count"})


class TestResult(Struct, frozen=True, gc=False):
    """How one test of one rule went."""

    __test__ = False  # pytest shall not take it for a test

    file: str
    rule: str
    title: str
    test: str
    passed: bool
    message: str  #: what was expected and what came; empty when it passed


def run_tests(file: RuleFile, *, batch: int | None = None) -> list[TestResult]:
    """Run all tests in *file*; *batch* is how many events to give at once, default all.

    A file that cannot be compiled is one failed result for each of its problems.
    """
    rules = compile_rules([file])
    engine = Engine(rules)
    results = [
        TestResult(p.file, "", "", f"line {p.line}", False, p.message)
        for p in (*rules.problems, *engine.problems)
    ]
    every: list[Rule | CorrelationRule] = [*rules.rules, *rules.correlations]
    for rule in every:
        for number, test in enumerate(rule.tests, 1):
            name = str(test.get("name", f"test {number}"))
            try:
                message = _run(engine, rules, rule, test, batch)
            except RuleError as e:
                message = str(e)
            results.append(TestResult(rule.file, rule.id, rule.title, name, not message, message))
    return results


def lint(file: RuleFile) -> list[str]:
    """What a rule of ours must have and lacks: tests of both kinds, a runbook, a reason."""
    rules = compile_rules([file])
    found = [str(problem) for problem in rules.problems]
    found += [f"{file.name}: {b.rule} cannot see {', '.join(b.fields)}" for b in rules.blind]
    told = {reference for c in rules.correlations if not c.generate for reference in c.rules}
    every: list[Rule | CorrelationRule] = [*rules.correlations, *rules.rules]
    for rule in every:
        if isinstance(rule, Rule) and {rule.id, rule.name} & told:
            continue
        found += [f"{rule.file}:{rule.line}: {what}" for what in _lacks(rule)]
    return found


def _lacks(rule: Rule | CorrelationRule) -> Iterator[str]:
    wanted = [_number(test.get("expect", {}).get("findings", 0)) for test in rule.tests]
    if not any(wanted):
        yield "no test that expects a finding; add one"
    if all(wanted):
        yield "no test that expects none; add the nearest miss"
    for name in ("runbook", "falsepositives", "description"):
        if not getattr(rule, name):
            yield f"no {name}; say it"
    if not rule.owasp and not any(t.startswith("tocsin.") for t in rule.tags):
        yield "no owasp.* tag; add one"
    if rule.reason is None:
        yield "no reason; write the sentence that a finding shall say"
    elif unknown := placeholders(rule.reason)[1]:
        yield f"reason: unknown {', '.join(sorted(unknown))}; use columns or count, window, values"


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


def _run(
    engine: Engine,
    rules: RuleSet,
    rule: Rule | CorrelationRule,
    test: Mapping[str, Any],
    batch: int | None,
) -> str:
    _known(test, _TEST_KEYS, "test")
    expect = test.get("expect")
    if not isinstance(expect, dict) or not isinstance(expect.get("findings"), int):
        raise RuleError("expect: say how many findings, like `expect: {findings: 1}`")
    _known(expect, _EXPECT_KEYS, "expect")
    events = expand(test.get("events", []), _usual_kind(rules, rule))
    found = _findings(engine, rule, events, batch or len(events) or 1)
    return _compare(expect, found)


def _findings(
    engine: Engine, rule: Rule | CorrelationRule, events: list[Event], batch: int
) -> list[Finding]:
    state = engine.start(b"rule tests")
    told: dict[str, Finding] = {}
    for start in range(0, len(events), batch):
        part = events[start : start + batch]
        state, found = engine.step(state, Entries(start, from_events(part)))
        told |= {f.id: f for f in found}
    state, found = engine.flush(state)
    told |= {f.id: f for f in found}
    return [f for f in told.values() if f.rule == rule.id]


def _compare(expect: Mapping[str, Any], found: list[Finding]) -> str:
    if len(found) != expect["findings"]:
        seen = "; ".join(f.reason for f in found[:3])
        return f"expected {expect['findings']} findings, got {len(found)}" + (
            f": {seen}" if seen else ""
        )
    for kind, value in expect.get("entity", {}).items():
        if not any(f.entity.type == kind and f.entity.value == str(value) for f in found):
            seen = ", ".join(f"{f.entity.type} {f.entity.value}" for f in found[:3])
            return f"expected a finding on {kind} {value}, got {seen or 'none'}"
    count = expect.get("count")
    if count is not None and not any(f.count == count for f in found):
        return f"expected a count of {count}, got {', '.join(str(f.count) for f in found[:3])}"
    return ""


def _usual_kind(rules: RuleSet, rule: Rule | CorrelationRule) -> str:
    """The kind of an event that does not say it: what the rule's log source is about."""
    if isinstance(rule, CorrelationRule):
        index = rules.find(rule.rules[0])
        if index is None:
            return "log"
        rule = rules.rules[index]
    kinds = (route(rule.logsource) or Route()).kinds
    return kinds[0] if kinds else "log"


def expand(rows: object, kind: str = "log") -> list[Event]:
    """The events that the rows of a test stand for, in time order."""
    if not isinstance(rows, list):
        raise RuleError("events: expected a list")
    events: list[Event] = []
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise RuleError(f"events, row {number}: expected columns and their values")
        events += _repeated(row, number, kind)
        if len(events) > LIMIT:
            raise RuleError(f"events, row {number}: more than {LIMIT} events; repeat less")
    return sorted(events, key=lambda e: e.time)


def _repeated(row: dict[str, Any], number: int, kind: str) -> Iterator[Event]:
    place = f"events, row {number}"
    vary = row.get("vary", {})
    if not isinstance(vary, dict):
        raise RuleError(f"{place}: vary: expected columns and lists of values")
    longest = max((len(v) for v in vary.values() if isinstance(v, list)), default=1)
    repeat = row.get("repeat", longest)
    if not isinstance(repeat, int) or not 0 <= repeat <= LIMIT:
        raise RuleError(f"{place}: repeat: expected a number up to {LIMIT}")
    try:
        begin = BEGIN_NS + duration(str(row.get("at", "0s")))
        every = duration(str(row.get("every", "1s")))
    except ValueError as e:
        raise RuleError(f"{place}: {e}") from None
    fixed = {"kind": kind} | {k: v for k, v in row.items() if k not in _OWN_KEYS}
    _known(fixed | vary, frozenset(NAMES), place)
    for n in range(repeat):
        varied = {k: _varied(v, n) for k, v in vary.items()}
        time = begin + n * every
        yield _event(fixed | varied | {"time": time, "observed": time}, place)


def _varied(values: object, n: int) -> object:
    value = values[n % len(values)] if isinstance(values, list) and values else values
    return value.replace("{n}", str(n)) if isinstance(value, str) else value


def _event(row: dict[str, Any], place: str) -> Event:
    try:
        return msgspec.convert(row, Event)
    except msgspec.ValidationError as e:
        raise RuleError(f"{place}: {str(e)[:1].lower()}{str(e)[1:]}") from None


def _known(row: Mapping[str, Any], names: frozenset[str], place: str) -> None:
    for name in row:
        if name not in names:
            near = get_close_matches(str(name), names, 1)
            hint = (
                f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(sorted(names))}"
            )
            raise RuleError(f"{place}: unknown {str(name)!r}{hint}")
