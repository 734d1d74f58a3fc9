"""The public Sigma rules that we are given: each loads, fires on what it describes, and only then.

For every rule an event is made from the rule's own condition, then the same with each of its
texts broken.  The rules themselves are foreign and stay outside the repository.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice, product
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tocsin.detect.matcher import Matcher
from tocsin.detect.rule import And, Condition, Leaf, Not, Op, Or, Rule, RuleFile, RuleSet
from tocsin.detect.sigma import compile_rules
from tocsin.event.batch import SCHEMA

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def public(corpora: Path) -> RuleSet:
    """Every public rule."""
    root = corpora / "sigma" / "rules"
    files = sorted(root.rglob("*.yml"))
    return compile_rules(RuleFile(str(f.relative_to(root)), f.read_text()) for f in files)


# ---------------------------------------------------------------------- an event from a condition


def ways(condition: Condition) -> Iterator[list[Leaf]]:
    """Sets of leaves that, if they hold and nothing else is there, may satisfy *condition*."""
    match condition:
        case Leaf():
            yield [condition]
        case Not(kid=Leaf(op=Op.NULL, field=field)):
            yield [Leaf(field, Op.PRESENT)]
        case Not():
            yield []
        case Or(kids=kids):
            for kid in kids:
                yield from ways(kid)
        case And(kids=kids):
            for parts in product(*(list(islice(ways(kid), 12)) for kid in kids)):
                yield [leaf for part in parts for leaf in part]


def event(leaves: list[Leaf], *, broken: bool) -> dict[str, str]:
    """Field to text, so that *leaves* hold; with *broken* texts, so that they just do not."""
    made: dict[str, tuple[str, str, str]] = {}
    for leaf in leaves:
        front, middle, back = made.get(str(leaf.field), ("", "", ""))
        text = sample(leaf)
        if broken:
            text = "".join(f"{char}\x7f" for char in text) or "\x7f"
        if leaf.op is Op.STARTSWITH:
            front = text
        elif leaf.op is Op.ENDSWITH:
            back = text
        elif leaf.op is not Op.NULL:
            middle += text
        if leaf.op is not Op.NULL:
            made[str(leaf.field)] = front, middle, back
    return {field: "".join(parts) for field, parts in made.items()}


def sample(leaf: Leaf) -> str:
    text = str(leaf.value)
    match leaf.op:
        case Op.GLOB:
            return re.sub(r"\\([\\*?])|[*?]", lambda m: m[1] or "w", text)
        case Op.RE:
            return spelled(vars(re)["_parser"].parse(text))  # Python has no public one
        case Op.PRESENT:
            return "something"
        case Op.GT:
            return str(int(text) + 1)
        case _:
            return text


def spelled(tree: Any) -> str:
    """A text that a simple regular expression finds."""
    out = ""
    for op, argument in tree:
        match str(op):
            case "LITERAL":
                out += chr(argument)
            case "ANY" | "NOT_LITERAL":
                out += "w"
            case "IN":
                kind, first = argument[0]
                out += (
                    " "
                    if str(kind) == "CATEGORY"
                    else chr(first if str(kind) == "LITERAL" else first[0])
                )
            case "BRANCH":
                out += spelled(argument[1][0])
            case "SUBPATTERN":
                out += spelled(argument[3])
            case "MAX_REPEAT":
                out += spelled(argument[2]) * max(argument[0], 1 if argument[0] else 0)
            case _:
                pass
    return out


WEB = {
    "cs-method": "method",
    "cs-uri-query": "query",
    "c-uri-query": "query",
    "c-uri": "path",
    "cs-uri": "path",
    "c-useragent": "user_agent",
    "cs-user-agent": "user_agent",
    "cs-host": "authority",
    "cs-referer": "referer",
    "sc-status": "status",
    "None": "raw",
}


def row(rule: Rule, fields: dict[str, str]) -> dict[str, Any]:
    """A row of the kind that *rule* is about."""
    source = rule.logsource
    if source.category in ("webserver", "proxy"):
        made: dict[str, Any] = {"kind": "request"}
        for field, text in fields.items():
            if field == "c-uri-extension":
                made["path"] = made.get("path", "/x") + "." + text
            elif field in WEB:
                value: Any = text
                if field == "sc-status":
                    value = int(text) if text.isdigit() else 999
                made[WEB[field]] = value
        return made
    if source.category == "database":
        return {"kind": "query", "layer": "database", "db_statement": fields.get("None", "")}
    if "None" in fields and set(fields) == {"None"}:
        return {"kind": "log", "layer": "app", "message": fields["None"]}
    return {
        "kind": "log",
        "source": source.product or source.service,
        "attributes": json.dumps({f: t for f, t in fields.items() if f != "None"}),
    }


def frame(rows: list[dict[str, Any]]) -> pl.DataFrame:
    full = [{**r, "time": NOW, "observed": NOW} for r in rows]
    used = {name for r in full for name in r}
    return pl.DataFrame(full, schema={n: d for n, d in SCHEMA.items() if n in used})


# ---------------------------------------------------------------------- tests


def test_every_public_rule_loads(public: RuleSet) -> None:
    assert not public.problems
    assert len(public.rules) == 226
    assert [(b.fields, b.whole) for b in public.blind] == [(("cs-cookie",), False)]
    assert all(rule.author for rule in public.rules)


def test_every_public_rule_fires_on_an_event_made_from_it_and_not_on_a_broken_one(
    public: RuleSet,
) -> None:
    silent: list[str] = []
    loose: list[str] = []
    for rule in public.rules:
        asked = Matcher([rule])
        tries = list(islice(ways(rule.condition), 200))
        good = frame([row(rule, event(leaves, broken=False)) for leaves in tries])
        bad = frame([row(rule, event(leaves, broken=True)) for leaves in tries])
        if not asked.match(good):
            silent.append(rule.file)
        if asked.match(bad):
            loose.append(rule.file)
    assert silent == []
    assert loose == []


def test_all_rules_at_once_find_what_each_finds_alone(public: RuleSet) -> None:
    rows = [
        row(rule, event(leaves, broken=broken))
        for rule in public.rules
        for leaves in islice(ways(rule.condition), 3)
        for broken in (False, True)
    ]
    events = frame(rows)
    together = {h.rule_index: h.rows.tolist() for h in Matcher(public.rules).match(events)}
    alone = {
        index: hits[0].rows.tolist()
        for index, rule in enumerate(public.rules)
        if (hits := Matcher([rule]).match(events))
    }
    assert together == alone


AGENTS = [
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148",
    "okhttp/4.12.0",
    "python-requests/2.32.3",
    "kube-probe/1.30",
]


def test_no_public_rule_fires_on_ordinary_traffic(public: RuleSet) -> None:
    dice = random.Random(7)
    rows: list[dict[str, Any]] = [
        {
            "kind": "request",
            "layer": "gateway",
            "method": dice.choice(["GET", "GET", "GET", "POST", "PUT", "DELETE"]),
            "path": dice.choice(
                [
                    "/api/v1/orders/{}",
                    "/api/v1/users/{}/avatar.png",
                    "/static/app.{}.js",
                    "/caf%C3%A9/{}",
                ]
            ).format(dice.randrange(10**6)),
            "query": dice.choice([None, "page=2&sort=-created", "q=red+shoes%20size%2042"]),
            "status": dice.choice([200, 200, 200, 201, 204, 304, 404, 500]),
            "user_agent": dice.choice(AGENTS),
            "referer": dice.choice([None, "https://shop.example/"]),
            "authority": "api.shop.example",
            "scheme": "https",
            "client_ip": f"198.51.100.{dice.randrange(256)}",
            "bytes_out": dice.randrange(10**5),
        }
        for _ in range(5_000)
    ]
    rows += [
        {"kind": "log", "layer": "app", "message": f"order {i} was shipped"} for i in range(500)
    ]
    rows += [
        {"kind": "query", "layer": "database", "db_statement": "INSERT INTO orders VALUES (?, ?)"}
        for _ in range(500)
    ]
    hits = Matcher(public.rules).match(frame(rows))
    assert {public.rules[h.rule_index].title: len(h.rows) for h in hits} == {}
