"""Columns answer as a person would who looks at one event after the other."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from tocsin.event import COLUMNS, Event, Kind, Type
from tocsin.event.batch import Entries
from tocsin.query import count, predicate, search
from tocsin.query.nodes import (
    EVERYTHING,
    And,
    Everything,
    Exists,
    Instant,
    Match,
    Node,
    Not,
    Nothing,
    Or,
    Range,
    Regex,
    Within,
    conjunction,
    disjunction,
    negation,
)
from tocsin.query.reader import parse

SECOND = 10**9
NOW = 1_790_000_000 * SECOND
TEXTUAL = [c.name for c in COLUMNS if c.type in (Type.TEXT, Type.TEXTS)]

# --- one event at a time: written from the documentation, knowing nothing of columns -------------


def holds(node: Node, event: Event, seq: int) -> bool:
    match node:
        case Everything():
            return True
        case Nothing():
            return False
        case And(parts):
            return all(holds(p, event, seq) for p in parts)
        case Or(parts):
            return any(holds(p, event, seq) for p in parts)
        case Not(part):
            return not holds(part, event, seq)
        case Match(None, parts):
            inner = [p for p in parts if p]
            return any(like(v, ["", *inner, ""]) for n in TEXTUAL for v in texts(event, n))
        case Exists(name):
            return bool(values(event, name, seq))
        case Match(name, parts):
            return any(equal(name, v, parts) for v in strings(event, str(name), seq))
        case Regex(name, pattern):
            return any(re.search(pattern, v) for v in strings(event, name, seq))
        case Within(name, network):
            return any(inside(v, network) for v in strings(event, name, seq))
        case Range(name):
            return any(in_range(v, node) for v in values(event, name, seq) if is_number(v))


def values(event: Event, name: str, seq: int) -> list[Any]:
    if name == "seq":
        return [seq]
    if name.startswith("attributes."):
        return inside_json(event.attributes, name.split(".")[1:])
    value = getattr(event, name)
    return [] if value is None else list(value) if isinstance(value, tuple) else [value]


def strings(event: Event, name: str, seq: int) -> list[str]:
    found = values(event, name, seq)
    return [v if isinstance(v, str) else msgspec.json.encode(v).decode() for v in found]


def texts(event: Event, name: str) -> list[str]:
    if name == "attributes":
        return [] if event.attributes is None else [msgspec.json.encode(event.attributes).decode()]
    return strings(event, name, 0)


def inside_json(tree: Any, path: list[str]) -> list[Any]:
    if not path:
        members = tree if isinstance(tree, list) else [tree]
        return [m for m in members if m is not None]
    found: list[Any] = []
    if isinstance(tree, dict):
        for i in range(1, len(path) + 1):
            key = ".".join(path[:i])
            if key in tree:
                found += inside_json(tree[key], path[i:])
    return found


def equal(name: str | None, value: str, parts: tuple[str, ...]) -> bool:
    ids = {"trace_id", "session", "objects"}
    if len(parts) == 1 and name in ids:
        return value in (parts[0], parts[0].lower(), parts[0].upper())
    return like(value, list(parts))


def like(value: str, parts: list[str]) -> bool:
    pattern = ".*".join(re.escape(p.lower()) for p in parts)
    return re.fullmatch(pattern, value.lower(), re.DOTALL) is not None


def inside(value: str, network: str) -> bool:
    try:
        address = ipaddress.ip_address(value.split("%")[0])
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return address in ipaddress.ip_network(network)


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def in_range(value: Any, node: Range) -> bool:
    above = below = True
    if node.low is not None:
        first, last = ends(node.low)
        above = value > last if node.open_low else value >= first
    if node.high is not None:
        first, last = ends(node.high)
        below = value < first if node.open_high else value <= last
    return bool(above and below)


def ends(bound: Any) -> tuple[Any, Any]:
    if not isinstance(bound, Instant):
        return bound, bound
    first = bound.ns + (NOW if bound.relative else 0)
    return first, first + bound.span - 1


# --- events and questions that have a fair chance to meet ----------------------------------------

WORDS = [
    *("Bob", "bob", "ALICE", "ä", "Ä", "a*b", "", "ΑΣ", "ας", "İx", "ß", "K", "k", "7", "a b"),
    *(
        'q"',
        "or",
        "-x",
        "a:b",
        "x(y)",
        "|",
        "\\",
        "\\d",
        "/v1/{id}",
        "line\nbreak",
        "~t",
        "[1",
        "{",
    ),
]
ADDRESSES = [
    *("10.1.2.3", "10.200.0.1", "010.1.2.3", "10.1.2", "::ffff:10.1.2.3", "::FFFF:a01:203"),
    *("2001:DB8::1", "2001:db8:0:0::1", "fe80::1%eth0", "unix:", "255.255.255.255", "1.2.3.4.5"),
]
NETWORKS = [
    *("10.0.0.0/8", "10.1.2.3", "10.128.0.0/9", "0.0.0.0/0", "2001:db8::/32", "2001:db8::1"),
    *("fe80::/10", "::/0", "255.255.255.254/31"),
]
IDS = ["ab12", "AB12", "aB12", "ff"]
TREES: list[dict[str, Any]] = [
    {"n": 7},
    {"n": 7.5, "s": "Bob"},
    {"n": "7", "a": {"b": ["x", 42, None]}},
    {"a.b": True},
    {"a": {"b": {}}, "s": None},
    {"s": ["ä", "bob"]},
    {"n": -3, "a": 1},
]
NUMBERS = [0, 7, 42, 200, 404, 499, 500, -3]

times = st.integers(-24, 4).map(lambda s: NOW + s * SECOND // 4)
events = st.builds(
    Event,
    time=times,
    observed=times,
    kind=st.sampled_from([Kind.REQUEST, Kind.AUTHN_LOGIN_FAIL, Kind.LOG]),
    user=st.none() | st.sampled_from(WORDS),
    message=st.none() | st.sampled_from(WORDS) | st.text(max_size=4),
    client_ip=st.none() | st.sampled_from(ADDRESSES),
    status=st.none() | st.sampled_from(NUMBERS),
    trace_id=st.none() | st.sampled_from(IDS),
    objects=st.none() | st.lists(st.sampled_from(IDS), max_size=2).map(tuple),
    tags=st.none() | st.lists(st.sampled_from(WORDS), max_size=2).map(tuple),
    attributes=st.none() | st.sampled_from(TREES),
)

PATHS = ["attributes.n", "attributes.s", "attributes.a.b", "attributes.a"]
text_fields = st.sampled_from(["user", "message", "tags", "host", *PATHS])
instants = st.one_of(
    st.integers(-24, 4).map(lambda s: Instant(s * SECOND // 4, relative=True)),
    times.map(lambda t: Instant(t - t % SECOND, SECOND)),
    times.map(lambda t: Instant(t - t % (60 * SECOND), 60 * SECOND)),
    times.map(lambda t: Instant(t - t % 10**8, 10**8)),
    st.just(Instant(NOW - NOW % (86_400 * SECOND), 86_400 * SECOND)),
)
# Only what people can write unquoted goes around a wildcard.
pieces = st.sampled_from(["", "b", "Bo", "ä", "4", "/v1", "line", "i", "o", "K"])
patterns = st.lists(pieces, min_size=2, max_size=4).map(
    lambda p: (p[0], *[x for x in p[1:-1] if x], p[-1])
)


def ranges(field: str, bounds: st.SearchStrategy[Any]) -> st.SearchStrategy[Node]:
    return st.one_of(
        st.builds(Range, st.just(field), low=bounds, open_low=st.booleans()),
        st.builds(Range, st.just(field), high=bounds, open_high=st.booleans()),
        st.builds(Range, st.just(field), bounds, bounds),
    )


leaves: st.SearchStrategy[Node] = st.one_of(
    st.just(EVERYTHING),
    st.builds(Match, st.just("user"), st.sampled_from([("bob",), ("BOB",), ("Ä",), ("k",)])),
    st.builds(Match, text_fields, st.sampled_from(WORDS).map(lambda w: (w,))),
    st.builds(Match, text_fields, st.text(max_size=3).map(lambda w: (w,))),
    st.builds(Match, text_fields, patterns).filter(lambda m: any(m.parts)),
    st.builds(Match, st.none(), st.sampled_from(WORDS).filter(bool).map(lambda w: (w,))),
    st.builds(Match, st.none(), patterns).filter(lambda m: any(m.parts)),
    st.builds(
        Match, st.sampled_from(["trace_id", "objects"]), st.sampled_from(IDS).map(lambda i: (i,))
    ),
    st.builds(Match, st.just("status"), st.sampled_from([("4", ""), ("", "0"), ("4", "9")])),
    st.builds(Match, st.just("kind"), st.sampled_from([("request",), ("authn_", ""), ("log",)])),
    st.builds(Regex, text_fields, st.sampled_from(["^b", "[ab]+", "(?i)ALI", r"\d", 'q"', "é|ä"])),
    st.builds(Within, st.just("client_ip"), st.sampled_from(NETWORKS)),
    st.builds(Exists, text_fields | st.sampled_from(["client_ip", "seq", "time"])),
    ranges("status", st.sampled_from(NUMBERS)),
    ranges("seq", st.integers(95, 115)),
    ranges("time", instants),
    ranges("attributes.n", st.sampled_from([7, 7.5, -3, 0, 1e22])),
)
questions = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, min_size=2, max_size=4).map(conjunction),
        st.lists(inner, min_size=2, max_size=4).map(disjunction),
        inner.map(negation),
    ),
    max_leaves=8,
)


@settings(max_examples=1000, deadline=None)
@given(questions)
def test_what_is_printed_reads_back_as_the_same_question(node: Node) -> None:
    assert parse(str(node)) == node


@settings(max_examples=400, deadline=None)
@given(st.data(), st.lists(events, min_size=1, max_size=8))
def test_each_condition_alone_holds_for_the_right_events(
    shelve: Callable[..., list[Any]], data: st.DataObject, log: list[Event]
) -> None:
    node = data.draw(leaves)
    right = [100 + i for i, event in enumerate(log) if holds(node, event, 100 + i)]
    frames = list(search(str(node), shelve(log, start=100), now=NOW, limit=0))
    assert [s for frame in frames for s in frame["seq"]] == right[::-1]


@settings(max_examples=200, deadline=None)
@given(
    questions, st.lists(events, min_size=1, max_size=12), st.lists(st.integers(1, 11), max_size=2)
)
def test_columns_answer_like_a_reader_of_single_events(
    shelve: Callable[..., list[Any]], node: Node, log: list[Event], cuts: list[int]
) -> None:
    right = [100 + i for i, event in enumerate(log) if holds(node, event, 100 + i)]
    shelves = shelve(log, [c for c in cuts if c < len(log)], start=100)
    text = str(node)
    frames = list(search(text, shelves, now=NOW, limit=0))
    assert [s for frame in frames for s in frame["seq"]] == right[::-1]
    assert count(text, shelves, now=NOW) == len(right)
    matching = predicate(text, now=NOW)
    live = [s for x in shelves for s in matching(Entries(x.first_seq, x.frame))["seq"]]
    assert live == right
