"""Rule files become plain data; what is wrong with one is told, and stops no other."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tocsin.detect.rule import (
    And,
    CorrelationKind,
    Leaf,
    LogSource,
    Not,
    Op,
    Or,
    Rule,
    RuleFile,
    leaves,
)
from tocsin.detect.sigma import compile_rules
from tocsin.detect.strangers import strangers
from tocsin.event import Severity

FULL = """\
title: Too many of them
id: 6a0f0f5e-3f0f-4a52-9d0b-3a1c3f1f0a01
name: too_many
status: test
description: Somebody tries a lot.
author: Ada
license: Apache-2.0
references: [https://example.org/a]
tags: [attack.t1110.003, attack.credential-access, owasp.api2-2023, appsensor.ae2]
logsource: {category: request}
detection:
  login: {path|endswith: /login, method: POST}
  fine: {status|lt: 400}
  condition: login and not fine
falsepositives: [a new client]
level: high
entity: [client_ip]
risk: 40
reason: "{count} refused logins from {entity}"
runbook: |
  Ask them.
suppress: {by: [client_ip], for: 1h}
tests:
  - {name: fires, events: [{at: 0s, path: /login}], expect: {findings: 1}}
behaviour_hint: kept
"""

CORRELATION = """\
title: Many refused logins
id: 6a0f0f5e-3f0f-4a52-9d0b-3a1c3f1f0a02
correlation:
  type: value_count
  rules: [too_many]
  group-by: [client_ip]
  timespan: 5m
  aliases: {who: {too_many: user}}
  condition: {gte: 10, field: user}
level: critical
entity: client_ip
"""


def one(text: str) -> Rule:
    """The only rule of *text*."""
    compiled = compile_rules([RuleFile("one.yml", text)])
    assert not compiled.problems, compiled.problems
    return compiled.rules[0]


def rule_of(detection: dict[str, Any], **more: Any) -> str:
    return yaml.safe_dump(
        {
            "title": "a rule",
            "logsource": {"category": "webserver"},
            "detection": detection,
            **more,
        },
        sort_keys=False,
    )


def leaf_of(**selection: Any) -> Any:
    return one(rule_of({"sel": selection, "condition": "sel"})).condition


def problem_of(text: str) -> str:
    """How the only problem of *text* reads."""
    compiled = compile_rules([RuleFile("bad.yml", text)])
    assert not compiled.rules
    assert not compiled.correlations
    assert len(compiled.problems) == 1, compiled.problems
    return str(compiled.problems[0])


def test_a_rule_tells_everything_that_its_author_wrote() -> None:
    rule = one(FULL)
    assert rule.id == "6a0f0f5e-3f0f-4a52-9d0b-3a1c3f1f0a01"
    assert (rule.title, rule.name, rule.level) == ("Too many of them", "too_many", Severity.HIGH)
    assert (rule.author, rule.license, rule.status) == ("Ada", "Apache-2.0", "test")
    assert rule.logsource == LogSource(category="request")
    assert rule.attack == ("T1110.003",)
    assert rule.owasp == ("API2:2023",)
    assert "appsensor.ae2" in rule.tags
    assert (rule.entity, rule.risk) == (("client_ip",), 40)
    assert rule.reason == "{count} refused logins from {entity}"
    assert rule.runbook == "Ask them.\n"
    assert rule.suppress == {"by": ["client_ip"], "for": "1h"}
    assert rule.tests[0]["expect"] == {"findings": 1}
    assert rule.custom == {"behaviour_hint": "kept"}
    assert rule.falsepositives == ("a new client",)
    assert rule.condition == And(
        (
            And((Leaf("path", Op.ENDSWITH, "/login"), Leaf("method", Op.EQ, "POST"))),
            Not(Leaf("status", Op.LT, "400")),
        )
    )


def test_a_correlation_tells_what_it_counts_and_by_whom() -> None:
    compiled = compile_rules([RuleFile("a.yml", FULL + "---\n" + CORRELATION)])
    assert not compiled.problems
    correlation = compiled.correlations[0]
    assert correlation.type is CorrelationKind.VALUE_COUNT
    assert correlation.rules == ("too_many",)
    assert compiled.find("too_many") == 0
    assert compiled.find("6a0f0f5e-3f0f-4a52-9d0b-3a1c3f1f0a01") == 0
    assert compiled.find("nobody") is None
    assert correlation.group_by == ("client_ip",)
    assert correlation.timespan_ns == 300_000_000_000
    assert (correlation.op, correlation.count) == ("gte", 10)
    assert correlation.value_fields == ("user",)
    assert correlation.aliases == {"who": {"too_many": "user"}}
    assert correlation.generate is False
    assert correlation.entity == ("client_ip",)
    assert correlation.line == FULL.count("\n") + 2


@pytest.mark.parametrize(
    ("selection", "condition"),
    [
        ({"f": "x"}, Leaf("f", Op.EQ, "x")),
        ({"f": "*x*"}, Leaf("f", Op.CONTAINS, "x")),
        ({"f": "x*"}, Leaf("f", Op.STARTSWITH, "x")),
        ({"f": "**x"}, Leaf("f", Op.ENDSWITH, "x")),
        ({"f": "*"}, Leaf("f", Op.PRESENT)),
        ({"f|contains": ""}, Leaf("f", Op.PRESENT)),
        ({"f": ""}, Leaf("f", Op.EQ, "")),
        ({"f": "a*b"}, Leaf("f", Op.GLOB, "a*b")),
        ({"f": r"\*?\\"}, Leaf("f", Op.GLOB, r"\*?\\")),
        ({"f|contains": r"\*"}, Leaf("f", Op.CONTAINS, "*")),
        ({"f|startswith|cased": "x"}, Leaf("f", Op.STARTSWITH, "x", cased=True)),
        ({"f": None}, Leaf("f", Op.NULL)),
        ({"f": []}, Leaf("f", Op.NULL)),
        ({"f|exists": True}, Leaf("f", Op.PRESENT)),
        ({"f|exists": False}, Leaf("f", Op.NULL)),
        ({"f": 1.0}, Leaf("f", Op.EQ, "1")),
        ({"f": True}, Leaf("f", Op.EQ, "true")),
        ({"f|neq": "x"}, Not(Leaf("f", Op.EQ, "x"))),
        ({"f|gte": 3}, Leaf("f", Op.GTE, "3")),
        ({"f|re|i|m": "a+"}, Leaf("f", Op.RE, "a+", flags="im")),
        ({"f|cidr": "10.0.0.0/8"}, Leaf("f", Op.CIDR, "10.0.0.0/8")),
        ({"f|fieldref|endswith": "g"}, Leaf("f", Op.FIELDREF, "g", flags=">")),
        ({"f|hour": 3}, Leaf("f", Op.TIME_PART, 3, flags="hour")),
        (
            {"f|contains|all": ["a", "b"]},
            And((Leaf("f", Op.CONTAINS, "a"), Leaf("f", Op.CONTAINS, "b"))),
        ),
        ({"f": ["a", None]}, Or((Leaf("f", Op.EQ, "a"), Leaf("f", Op.NULL)))),
        ({"f|wide|base64": "a"}, Leaf("f", Op.EQ, "YQA=")),
        (
            {"f|base64offset|contains": "foo"},
            Or(tuple(Leaf("f", Op.CONTAINS, v) for v in ("Zm9v", "Zvb", "mb2"))),
        ),
        (
            {"f|windash|contains": "-x"},
            Or(tuple(Leaf("f", Op.CONTAINS, f"{d}x") for d in "-/\u2013\u2014\u2015")),
        ),
    ],
)
def test_a_value_and_its_modifiers_become_a_leaf(selection: dict[str, Any], condition: Any) -> None:
    assert leaf_of(**selection) == condition


def test_a_keyword_stands_anywhere() -> None:
    condition = one(rule_of({"sel": ["a", "b*c", 7], "condition": "sel"})).condition
    assert condition == Or(
        (
            Leaf(None, Op.CONTAINS, "a"),
            Leaf(None, Op.GLOB, "*b*c*"),
            Leaf(None, Op.CONTAINS, "7"),
        )
    )


def test_not_binds_before_and_before_or_and_a_list_of_conditions_is_any_of_them() -> None:
    parts = {n: {n: "x"} for n in "abc"}
    a, b, c = (Leaf(n, Op.EQ, "x") for n in "abc")
    both = one(rule_of({**parts, "condition": ["a or b and not c", "all of *"]})).condition
    assert both == Or((Or((a, And((b, Not(c))))), And((a, b, c))))


def test_one_of_them_skips_names_that_begin_with_an_underscore() -> None:
    condition = one(
        rule_of({"_x": {"f": "1"}, "a": {"f": "2"}, "condition": "1 of them"})
    ).condition
    assert condition == Leaf("f", Op.EQ, "2")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("title: [", "bad.yml:2: not YAML"),
        ("a: 1\na: 2\n", "bad.yml:1: not YAML: Duplicate key 'a'"),
        ("- 1\n", "bad.yml:1: a rule is a mapping"),
        ("\0", "not YAML"),
        ("title: x\n", "log source"),
        (rule_of({"sel": {"f": "x"}, "condition": "sel and nope"}), "bad.yml:7: condition"),
        (rule_of({"sel": {"f": "x"}, "condition": "sel | count() > 3"}), "pipe"),
        (rule_of({"sel": {"f|nope": "x"}, "condition": "sel"}), "bad.yml:5: unknown modifier"),
        (
            rule_of({"ok": {"f": 1}, "sel": {"f|cidr": "10.0.0.1/8"}, "condition": "sel"}),
            "bad.yml:7:",
        ),
        (rule_of({"sel": {"f|expand": "%x%"}, "condition": "sel"}), "%placeholder%"),
        (rule_of({"sel": {"f|re|expand": "a%x%"}, "condition": "sel"}), "%placeholder%"),
        (rule_of({"sel": {"f|re": "(?=a)b"}, "condition": "sel"}), "without lookaround"),
        (rule_of({"sel": {"f|re": r"(a)\1"}, "condition": "sel"}), "without lookaround"),
        (rule_of({"sel": {"f|re": "a++"}, "condition": "sel"}), "without lookaround"),
        (rule_of({"sel": {"f|re": "("}, "condition": "sel"}), "regular expression"),
        (rule_of({"sel": {"f|re": "a" * 30_000}, "condition": "sel"}), "longer than 20,000"),
        (rule_of({"sel": {"f": "x"}, "condition": "1 of zz*"}), "doesn't match any detection"),
        (rule_of({"sel": {"f": "x"}, "condition": "sel"}, risk=200), "bad.yml:8: one of risk"),
        (rule_of({"sel": {"f": "x"}, "condition": "sel"}, tests="no"), "bad.yml:8: one of tests"),
        (rule_of({"sel": {"f": "x"}, "condition": "sel"}, level="odd"), "bad.yml:8:"),
        (rule_of({"sel": {"f": "x"}, "condition": "sel"}, action="global"), "write each rule out"),
        (rule_of({"sel": {"f": "x"}, "condition": "not " * 3000 + "sel"}), "nested too deeply"),
        ("title: x\ntest: " + "[" * 5000, "bad.yml"),
        (
            rule_of({"sel": {"f": 1}, "condition": "sel"}).replace(
                "category: webserver", "{product: windows, category: process_creation}"
            ),
            "receives no such log source",
        ),
        (
            CORRELATION.replace("value_count", "temporal_ordered"),
            '"temporal_ordered" is not supported',
        ),
        (CORRELATION.replace("5m", "soon"), "bad.yml:7: timespan 'soon' is invalid"),
        (CORRELATION.replace("gte: 10, ", ""), "exactly one condition item"),
        (CORRELATION.replace("gte: 10", "gte: 10, lte: 12"), "exactly one condition item"),
        (CORRELATION.replace("gte: 10", "gte: 10.5"), "whole number"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text: str, said: str) -> None:
    assert said.lower() in problem_of(text).lower()


def test_a_broken_rule_does_not_stop_its_neighbours() -> None:
    bad = rule_of({"sel": {"f|nope": "x"}, "condition": "sel"})
    compiled = compile_rules(
        [
            RuleFile("a.yml", "title: ["),
            RuleFile("b.yml", bad + "---\n" + FULL),
            RuleFile("c.yml", ""),
        ]
    )
    assert [r.name for r in compiled.rules] == ["too_many"]
    assert [p.file for p in compiled.problems] == ["a.yml", "b.yml"]


def test_a_second_rule_of_the_same_id_is_refused() -> None:
    compiled = compile_rules([RuleFile("a.yml", FULL), RuleFile("b.yml", FULL)])
    assert len(compiled.rules) == 1
    assert "already defined at a.yml:1" in compiled.problems[0].message


def test_the_content_hash_does_not_see_comments_and_sees_everything_else() -> None:
    plain = one(FULL).content_hash
    assert one("# why\n" + FULL.replace("level: high", "level:  high  # yes")).content_hash == plain
    assert one(FULL.replace("high", "low")).content_hash != plain


def test_a_rule_that_names_what_no_event_has_is_listed_as_blind() -> None:
    half = rule_of(
        {"a": {"cs-cookie": "x"}, "b": {"path": "/"}, "condition": "a or b"}, name="half"
    )
    whole = rule_of({"a": {"cs-cookie": "x"}, "condition": "not a"}, name="whole")
    compiled = compile_rules(
        [RuleFile("a.yml", half), RuleFile("b.yml", whole), RuleFile("c.yml", FULL)]
    )
    assert [(b.rule, b.fields, b.whole) for b in compiled.blind] == [
        ("half", ("cs-cookie",), False),
        ("whole", ("cs-cookie",), True),
    ]


def test_what_the_cache_kept_is_what_was_read() -> None:
    files = [
        RuleFile("a.yml", FULL + "---\n" + CORRELATION),
        RuleFile("b.yml", "title: ["),
        RuleFile(
            "c.yml", rule_of({"sel": {"f": [1, None]}, "condition": "sel"}, date="2026-01-02")
        ),
    ]
    cache: dict[str, bytes] = {}
    read = compile_rules(files, cache)
    assert len(cache) == 3
    assert compile_rules(files, cache) == read == compile_rules(files)
    for key in cache:
        cache[key] = b"damaged"
    assert compile_rules(files, cache) == read


def test_rules_from_the_cache_do_not_import_pysigma_and_nothing_asks_the_network() -> None:
    program = """
import sys
from tocsin.detect.rule import RuleFile
from tocsin.detect.sigma import compile_rules
text = open(0).read()
assert not any(m.split(".")[0] == "sigma" for m in sys.modules)
cache = {}
compile_rules([RuleFile("a.yml", text)], cache)
assert "sigma.rule" in sys.modules
assert "sigma.data.mitre_attack" not in sys.modules
for name in [m for m in sys.modules if m.split(".")[0] == "sigma"]:
    sys.modules[name] = None
assert compile_rules([RuleFile("a.yml", text)], cache).rules
"""
    subprocess.run([sys.executable, "-c", program], input=FULL, text=True, check=True, timeout=60)


yamlish = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.text(max_size=8)
    | st.floats(allow_nan=False),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(
            "title id name level tags logsource detection correlation tests risk date".split()
        ),
        yamlish,
    )
)
def test_any_mapping_is_a_rule_or_a_problem(content: dict[str, Any]) -> None:
    text = yaml.safe_dump(content)
    compiled = compile_rules([RuleFile("any.yml", text)])
    assert len(compiled.rules) + len(compiled.correlations) + len(compiled.problems) == 1
    for problem in compiled.problems:
        assert 1 <= problem.line <= text.count("\n") + 1
        assert "\n" not in problem.message


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=200) | st.binary(max_size=60).map(lambda b: b.decode(errors="replace")))
def test_any_text_is_read_or_refused(text: str) -> None:
    compiled = compile_rules([RuleFile("any.yml", text)])
    assert all(leaf for rule in compiled.rules for leaf in leaves(rule.condition))


def laughing(levels: int, each: int) -> str:
    """Lists of lists by aliases: short to write, and *each* to the power of *levels* long."""
    lines = ["a0: &a0 [ha, ha]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * each)}]" for n in range(1, levels + 1)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("title: x\nlevel: " + "[" * 50_000, 2, "nested deeper than 50"),
        ("title: x\nlevel: " + "{a: " * 50_000, 2, "nested deeper than 50"),
        ("- " * 50_000, 1, "nested deeper than 50"),
        ("? " * 50_000, 1, "nested deeper than 50"),
        ("\n".join(" " * n + "a:" for n in range(400)), 51, "nested deeper than 50"),
        (f"title: x\n{laughing(9, 10)}", 8, "more than 50 aliases"),
        (f"---\ntitle: x\n{laughing(16, 3)}", 2, "unfold"),
        ("a: &a [*a, *a]", 1, "unfold"),
        (f"x: &x {'y' * 50_000}\nall: [*x, *x, *x, *x]", 1, "unfold"),
        ("x: &x {k: v}\n<<: [*x, *x]\nrest: &r\n  <<: *r", 1, "unfold"),
    ],
    ids=["lists", "maps", "dashes", "marks", "lines", "many", "laughs", "itself", "long", "merge"],
)
def test_a_file_that_would_grow_without_end_is_refused_at_its_line(
    text: str, line: int, words: str
) -> None:
    """In a process of its own: such a file has ended one, or kept it busy for minutes."""
    program = """
import sys
from tocsin.detect.rule import RuleFile
from tocsin.detect.sigma import compile_rules
for problem in compile_rules([RuleFile("bad.yml", sys.stdin.read())]).problems:
    print(f"{problem.file}:{problem.line}: {problem.message}")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], input=text, text=True, capture_output=True, timeout=20
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"bad.yml:{line}: ")
    assert words in done.stdout


def test_aliases_as_people_write_them_are_read() -> None:
    text = FULL.replace("{path|endswith: /login, method: POST}", "&login {path|endswith: /login}")
    text = text.replace("fine: {", "same: *login\n  fine: {")
    assert one(text).condition == one(text.replace("*login", "{path|endswith: /login}")).condition


def test_a_document_with_an_error_does_not_take_those_before_it_along() -> None:
    compiled = compile_rules([RuleFile("two.yml", f"{FULL}---\ntitle: [\n")])
    assert len(compiled.rules) == 1
    assert [p.line > 5 for p in compiled.problems] == [True]


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("detction:", "detection"), ("logsorce:", "logsource"), ("conditon:", "condition")],
)
def test_a_mistyped_key_is_named_with_its_line_and_the_nearest(wrong: str, right: str) -> None:
    text = (
        "title: A\nlogsource:\n  category: request\n"
        "detection:\n  one: {status: 401}\n  condition: one\n"
    )
    line = 1 + text[: text.index(f"{right}:")].count("\n")
    said = problem_of(text.replace(f"{right}:", wrong))
    assert said == f'bad.yml:{line}: unknown key "{wrong[:-1]}"; did you mean "{right}"?'


def test_a_mistyped_correlation_is_named_too() -> None:
    text = "title: A\ncorelation: {type: event_count, rules: [a]}\nlogsource: {category: request}\n"
    assert 'unknown key "corelation"; did you mean "correlation"?' in problem_of(text)


def test_a_field_that_neither_schema_nor_mapping_knows_is_told_and_no_problem() -> None:
    def strange(source: str, field: str) -> list[str]:
        text = (
            f"title: A\nlogsource: {{{source}}}\ndetection: {{s: {{{field}: 1}}, condition: s}}\n"
        )
        rules = compile_rules([RuleFile("a.yml", text)])
        assert not rules.problems
        return [str(one) for one in strangers(rules)]

    (said,) = strange("category: request", "client_pi")
    assert said.startswith('a.yml:1: no column is called "client_pi", so it is looked for in')
    assert said.endswith('did you mean "client_ip"?')
    for field in ("client_ip", "cs-uri-stem", "c-useragent", "uri", "order.total"):
        assert strange("category: request", field) == []
    assert strange("product: aws", "eventName") == []  # a product's own fields are its own matter
