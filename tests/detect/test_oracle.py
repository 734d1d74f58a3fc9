"""The engine agrees with a slow, obvious evaluator, on random rules and random hostile rows.

The evaluator walks pySigma's own condition tree over plain dicts, one event at a time, and shares
no leaf, view, decoding or anchor code with the engine: only the rule text goes to both.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any
from urllib.parse import unquote, unquote_plus

import hypothesis.strategies as st
import polars as pl
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from sigma import conditions as c
from sigma import types as t
from sigma.rule import SigmaRule

from tocsin.detect import matcher as engine
from tocsin.detect.matcher import Matcher
from tocsin.detect.rule import RuleFile
from tocsin.detect.sigma import compile_rules
from tocsin.event.batch import SCHEMA

Event = dict[str, Any]
STAR = str(t.SpecialChars.WILDCARD_MULTI)

# ---------------------------------------------------------------------- the oracle


def holds(rule: SigmaRule, event: Event) -> bool:
    """Whether *event* satisfies *rule*."""
    return any(_holds(condition.parsed, event) for condition in rule.detection.parsed_condition)


def _holds(node: Any, event: Event) -> bool:
    if isinstance(node, c.ConditionNOT):
        return not _holds(node.args[0], event)
    if isinstance(node, c.ConditionAND):
        return all(_holds(arg, event) for arg in node.args)
    if isinstance(node, c.ConditionOR):
        return any(_holds(arg, event) for arg in node.args)
    if isinstance(node, c.ConditionFieldEqualsValueExpression):
        return _leaf(node.field, node.value, event)
    assert isinstance(node, c.ConditionValueExpression)
    return _keyword(node.value, event)


def _leaf(field: str, value: Any, event: Event) -> bool:
    if isinstance(value, t.SigmaExpansion):
        return any(_leaf(field, v, event) for v in value.values)
    if isinstance(value, t.SigmaNull):
        return not _wire(field, event)
    if isinstance(value, t.SigmaString) and set(map(str, value.s)) == {STAR}:
        return bool(_wire(field, event))
    if isinstance(value, t.SigmaExists):
        return bool(_wire(field, event)) == value.exists
    if isinstance(value, t.SigmaFieldReference):
        theirs = [x.lower() for x in _texts(value.field, event)]
        ours = [x.lower() for x in _texts(field, event)]
        return any(_related(a, b, value) for a in ours for b in theirs)
    if isinstance(value, t.SigmaCompareExpression):
        return any(_compares(x, value) for x in _wire(field, event))
    if isinstance(value, t.SigmaCIDRExpression):
        return any(_inside(x, value.cidr) for x in _wire(field, event))
    return any(_matches(x, value) for x in _texts(field, event))


def _keyword(value: Any, event: Event) -> bool:
    if isinstance(value, t.SigmaString) and not isinstance(value, t.SigmaCasedString):
        star = t.SpecialChars.WILDCARD_MULTI
        parts = [star, *value.s, star]
        return any(_wild(parts, x.lower(), str.lower) for x in _every_text(event))
    assert isinstance(value, t.SigmaNumber)
    return any(str(value.number) in x for x in _every_text(event))


def _related(a: str, b: str, reference: t.SigmaFieldReference) -> bool:
    if reference.starts_with and reference.ends_with:
        return a.find(b) >= 0
    if reference.starts_with:
        return a[: len(b)] == b
    if reference.ends_with:
        return not b or a[-len(b) :] == b
    return a == b


def _matches(text: str, value: Any) -> bool:
    if isinstance(value, t.SigmaRegularExpression):
        flags = 0
        for flag in value.flags:
            flags |= value.sigma_to_python_flags[flag]
        return re.search(str(value.regexp), text, flags) is not None
    if isinstance(value, t.SigmaCasedString):
        return _wild(value.s, text, str)
    if isinstance(value, t.SigmaString):
        return _wild(value.s, text.lower(), str.lower)
    assert isinstance(value, t.SigmaNumber)
    return text == str(value.number)


def _wild(parts: list[Any], text: str, change: Callable[[str], str]) -> bool:
    """Whether *parts*, text and wildcards, cover all of *text*: by the set of reachable ends."""
    ends = {0}
    for part in parts:
        if part is t.SpecialChars.WILDCARD_MULTI:
            ends = set(range(min(ends), len(text) + 1)) if ends else ends
        elif part is t.SpecialChars.WILDCARD_SINGLE:
            ends = {e + 1 for e in ends if e < len(text)}
        else:
            piece = change(part)
            ends = {e + len(piece) for e in ends if text[e : e + len(piece)] == piece}
    return len(text) in ends


def _compares(text: str, value: t.SigmaCompareExpression) -> bool:
    if not re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", text, re.ASCII):
        return False
    number, limit = float(text), float(value.number.number)
    return {"LT": number < limit, "LTE": number <= limit, "GT": number > limit}.get(
        value.op.name, number >= limit
    )


def _inside(text: str, network: str) -> bool:
    try:
        address = ip_address(text)
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return address in ip_network(network)


def _wire(field: str, event: Event) -> list[str]:
    """What *field* has as it came."""
    match field:
        case "cs-uri-query":
            return _some(event.get("query"))
        case "c-uri" | "c-uri-extension":
            return _texts(field, event)
        case _:
            return _plain(field, event)


def _texts(field: str, event: Event) -> list[str]:
    """What *field* has, as it came and decoded."""
    path, query = event.get("path"), event.get("query")
    clear, clear_query = _decoded(path), None if query is None else unquote_plus(query)
    both = [*_some(_target(path, query)), *_some(_target(clear, clear_query))]
    match field:
        case "cs-uri-stem":
            return [*_some(path), *_some(clear)]
        case "cs-uri-query":
            return [*_some(query), *_some(clear_query), *both]
        case "c-uri":
            host, scheme = event.get("authority"), event.get("scheme")
            front = None if host is None else (f"{scheme}://{host}" if scheme else host)
            return [*both, *([front + u for u in both] or [front] if front is not None else [])]
        case "c-uri-extension":
            return [x for p in (path, clear) for x in _extension(p)]
        case _:
            return _plain(field, event)


def _plain(field: str, event: Event) -> list[str]:
    names = {
        "cs-method": "method",
        "c-useragent": "user_agent",
        "sc-status": "status",
        "cs-referer": "referer",
        "c-ip": "client_ip",
        "cs-host": "authority",
        "cs-uri-stem": "path",
    }
    name = names.get(field, field)
    if name in SCHEMA:
        value = event.get(name)
        return [*value] if isinstance(value, list) else _some(value)
    return list(_dig(event.get("attributes"), field))


def _dig(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, list):
        for item in value:
            yield from _dig(item, path)
    elif path == "":
        yield from _shown(value)
    elif isinstance(value, dict):
        for key, inner in value.items():
            if path == key:
                yield from _dig(inner, "")
            elif path.startswith(key + "."):
                yield from _dig(inner, path[len(key) + 1 :])


def _shown(value: Any) -> list[str]:
    if value is None:
        return []
    if isinstance(value, bool):
        return ["true" if value else "false"]
    if isinstance(value, dict):
        return [json.dumps(value, separators=(",", ":"), ensure_ascii=False)]
    return [str(value)]


def _leaves(value: Any) -> Iterator[str]:
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _leaves(item)
    else:
        yield from _shown(value)


def _every_text(event: Event) -> list[str]:
    columns = "method user_agent referer user message raw".split()
    texts = [event[n] for n in columns if event.get(n) is not None]
    return [*texts, *_texts("c-uri", event), *_leaves(event.get("attributes"))]


def _some(value: Any) -> list[str]:
    return [] if value is None else [str(value)]


def _decoded(path: str | None) -> str | None:
    return None if path is None else unquote(path)


def _target(path: str | None, query: str | None) -> str | None:
    if path is None and query is None:
        return None
    return (path or "") + ("" if query is None else "?" + query)


def _extension(path: str | None) -> list[str]:
    segment = (path or "").rpartition("/")[2]
    return [segment.rpartition(".")[2]] if "." in segment else []


# ---------------------------------------------------------------------- random rules and rows

PIECES = [
    *("a", "A", "k", "K", "\u212a", "s", "S", "ſ", "ß", "ẞ", "Σ", "σ", "ς", "İ", "i", "ı", "I"),
    *("é", "É", "e\u0301", "Å", "Å", "😀", "\n", "\r", "\0", " ", "\u2028", "\x1b", '"', "'"),
    *("/", ".", "?", "&", "=", "+", "%", "%2e", "%41", "%c3%a9", "%0a", "%25", "%zz", "-", ":"),
    *("admin", "ADMIN", "select", "UNION", "/etc/", "../", ".exe", "kiss", "1", "404", "{", "}"),
]
WORDS = [
    "kiss",
    "admin",
    "/etc/",
    "select ",
    "straße",
    "ΑΣ",
    "ΑΣα",
    "İst",
    "{a:1}",
    'q"uote',
    "\\\\x",
]


def variants(word: str) -> list[str]:
    """*word* as an attacker, or another alphabet, might write it."""
    return [
        word,
        word.upper(),
        word.title(),
        word.replace("k", "\u212a").replace("s", "ſ"),
        word.replace("i", "İ"),
        "".join(f"%{b:02X}" for b in word.encode()),
        word.replace(" ", "+"),
        f"%25{word}",
        word.lower().replace("σ", "ς"),
        f"\n{word}\n",
        word[:-1],
    ]


EVERY = [v for word in WORDS for v in variants(word)]
piece = st.one_of(st.sampled_from(PIECES), st.sampled_from(EVERY))
texts = st.one_of(st.sampled_from(EVERY), st.lists(piece, max_size=4).map("".join))
wild = (
    st.sampled_from(WORDS).map("*{}".format)
    | st.sampled_from(WORDS)
    | st.lists(st.sampled_from([*PIECES, "*", "?", "\\*", "\\?", "\\", "\\\\"]), max_size=5).map(
        "".join
    )
)
FIELDS = (
    "cs-method c-uri cs-uri-stem cs-uri-query c-uri-extension c-useragent cs-referer cs-host "
    "sc-status c-ip user message tags actor.name flat.key bytes_out"
).split()
fields = st.sampled_from(FIELDS)
REGEXES = ["ad.in", "^/", "k+$", "(select|union)", "a{2,3}", "[^a]s", "^$", "é.", r"\.exe$", "x?"]

pairs = st.one_of(
    st.tuples(fields, wild),
    st.tuples(fields, st.lists(wild, min_size=1, max_size=3)),
    st.tuples(fields.map("{}|contains".format), st.lists(texts, min_size=1, max_size=4)),
    st.tuples(fields.map("{}|contains|all".format), st.lists(texts, min_size=2, max_size=2)),
    st.tuples(fields.map("{}|startswith".format), wild),
    st.tuples(fields.map("{}|endswith".format), st.lists(texts, min_size=1, max_size=2)),
    st.tuples(fields.map("{}|cased".format), wild),
    st.tuples(fields.map("{}|contains|cased".format), texts),
    st.tuples(fields.map("{}|windash|contains".format), st.sampled_from(["-a", "/k", " -s"])),
    st.tuples(fields.map("{}|base64offset|contains".format), st.sampled_from(["admin", "kiss"])),
    st.tuples(fields.map("{}|re".format), st.sampled_from(REGEXES)),
    st.tuples(fields.map("{}|re|i".format), st.sampled_from(REGEXES)),
    st.tuples(fields.map("{}|re|s|m".format), st.sampled_from(REGEXES)),
    st.tuples(fields.map("{}|exists".format), st.booleans()),
    st.tuples(fields.map("{}|fieldref".format), fields),
    st.tuples(fields.map("{}|fieldref|startswith".format), fields),
    st.tuples(fields.map("{}|fieldref|endswith".format), fields),
    st.tuples(fields, st.none()),
    st.tuples(fields, st.sampled_from([404, "404", 1, [200, None]])),
    st.tuples(
        st.sampled_from(["sc-status|gte", "bytes_out|lt", "actor.name|gt", "sc-status|lte"]),
        st.sampled_from([0, 1, 404, 404.5, -3, 10**20]),
    ),
    st.tuples(
        st.just("c-ip|cidr"), st.sampled_from(["10.0.0.0/8", "::/0", "fe80::/10", "10.0.0.1/32"])
    ),
    st.tuples(st.sampled_from(["sc-status|neq", "c-useragent|neq"]), st.sampled_from(["404", "a"])),
)
selections = st.one_of(
    st.lists(pairs, min_size=1, max_size=3, unique_by=lambda p: p[0]).map(dict),
    st.lists(pairs.map(lambda p: dict([p])), min_size=1, max_size=2),
    st.lists(wild.filter(bool), min_size=1, max_size=3),
    st.fixed_dictionaries({"|all": st.lists(texts.filter(bool), min_size=2, max_size=2)}),
)
conditions = st.recursive(
    st.sampled_from(
        ["sel_a", "sel_b", "sel_c", "1 of sel_*", "all of sel_*", "sel_a and not sel_b"]
    ),
    lambda inner: st.one_of(
        inner.map("not ({})".format),
        st.tuples(inner, inner).map("({0[0]}) and ({0[1]})".format),
        st.tuples(inner, inner).map("({0[0]}) or ({0[1]})".format),
    ),
    max_leaves=4,
)
rules = st.builds(
    lambda a, b, k, condition: {
        "title": "random",
        "logsource": {"category": "webserver"},
        "detection": {"sel_a": a, "sel_b": b, "sel_c": k, "condition": condition},
    },
    selections,
    selections,
    selections,
    st.one_of(conditions, st.lists(conditions, min_size=2, max_size=2)),
)
maybe = st.none() | texts
ips = st.none() | st.sampled_from(
    ["10.0.0.1", "10.255.0.9", "::ffff:10.1.1.1", "fe80::1", "8.8.8.8", "unknown", ""]
)
attributes = st.none() | st.fixed_dictionaries(
    {},
    optional={
        "actor": st.one_of(
            st.fixed_dictionaries(
                {"name": st.none() | texts | st.integers(-5, 500) | st.booleans()}
            ),
            st.lists(st.fixed_dictionaries({"name": texts}), max_size=2),
            st.fixed_dictionaries({"name": st.fixed_dictionaries({"x": texts})}),
        ),
        "flat.key": texts | st.lists(texts, max_size=2),
        "actor.name": texts,
    },
)
events = st.fixed_dictionaries(
    {},
    optional={
        "method": maybe,
        "scheme": st.none() | st.just("https"),
        "authority": maybe,
        "path": maybe,
        "query": maybe,
        "user_agent": maybe,
        "referer": maybe,
        "user": maybe,
        "message": maybe,
        "raw": maybe,
        "client_ip": ips,
        "status": st.none() | st.sampled_from([0, 1, 200, 404, 500]),
        "bytes_out": st.none() | st.integers(-(2**63), 2**63 - 1),
        "tags": st.none() | st.lists(texts, max_size=2),
        "attributes": attributes,
    },
)


def frame_of(rows: list[Event], *, escaped: bool) -> pl.DataFrame:
    """*rows* as intake would hand them on."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    flat = [
        {
            **row,
            "kind": "request",
            "time": now,
            "observed": now,
            "attributes": None
            if row.get("attributes") is None
            else json.dumps(row["attributes"], ensure_ascii=escaped),
        }
        for row in rows
    ]
    used = {name for row in flat for name in row}
    return pl.DataFrame(flat, schema={n: d for n, d in SCHEMA.items() if n in used})


@pytest.mark.parametrize("way", ["rows", "columns", "without anchors", "by distinct value"])
@settings(
    max_examples=120,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(rule=rules, rows=st.lists(events, min_size=1, max_size=8), escaped=st.booleans())
def test_the_engine_agrees_with_the_oracle_on_random_rules_and_rows(
    way: str, rule: dict[str, Any], rows: list[Event], escaped: bool
) -> None:
    text = yaml.safe_dump(rule, sort_keys=False)
    compiled = compile_rules([RuleFile("random.yml", text)])
    try:
        judge = SigmaRule.from_dict(yaml.safe_load(text))
        wanted = [i for i, row in enumerate(rows) if holds(judge, row)]
    except ValueError:  # pySigma refuses a combination; then so must we
        assert not compiled.rules
        return
    assert compiled.rules, compiled.problems
    with pytest.MonkeyPatch.context() as patch:
        if way == "columns":
            patch.setattr(engine, "_MANY", 0)
        if way == "without anchors":
            patch.setattr(engine, "anchors", lambda _: None)
        if way == "by distinct value":
            patch.setattr("tocsin.detect.views._SAMPLE", 1)
            patch.setattr("tocsin.detect.views._REPETITIVE", 2)
        hits = Matcher(compiled.rules).match(frame_of(rows, escaped=escaped))
    assert [row for hit in hits for row in hit.rows.tolist()] == wanted
