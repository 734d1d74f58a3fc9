"""Each way in which a fast engine may miss a row, or take one that it should not, by name."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest
import yaml

from tocsin.detect import matcher as engine
from tocsin.detect.matcher import Matcher
from tocsin.detect.rule import RuleFile
from tocsin.detect.sigma import compile_rules
from tocsin.event.batch import SCHEMA

NOW = datetime(2026, 1, 1, 13, 30, tzinfo=UTC)


def frame(*rows: dict[str, Any]) -> pl.DataFrame:
    """Requests with these columns."""
    full = [{"kind": "request", "time": NOW, "observed": NOW, **row} for row in rows]
    used = {name for row in full for name in row}
    return pl.DataFrame(full, schema={n: d for n, d in SCHEMA.items() if n in used})


def matcher(*detections: dict[str, Any], category: str = "webserver") -> Matcher:
    """One rule a detection; a detection without a condition selects ``sel``."""
    files = [
        RuleFile(
            f"{i}.yml",
            yaml.safe_dump(
                {
                    "title": f"rule {i}",
                    "logsource": {"category": category},
                    "detection": d if "condition" in d else {"sel": d, "condition": "sel"},
                }
            ),
        )
        for i, d in enumerate(detections)
    ]
    compiled = compile_rules(files)
    assert not compiled.problems, compiled.problems
    return Matcher(compiled.rules)


def agents(detection: dict[str, Any], *values: str | None) -> list[int]:
    """The rows among user agents *values* that satisfy *detection*, asked in both ways."""
    asked = matcher(detection)
    rows = frame(*({"user_agent": v} for v in values))
    answers = [[r for hit in asked.match(rows) for r in hit.rows.tolist()]]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "_MANY", 0)
        answers.append([r for hit in asked.match(rows) for r in hit.rows.tolist()])
    assert answers[0] == answers[1]
    return answers[0]


def test_a_cased_variant_of_a_non_ascii_literal_is_found() -> None:
    assert agents({"c-useragent|contains": "übel"}, "so ÜBEL", "ubel", "übel") == [0, 2]


def test_counted_dots_count_characters_and_not_bytes() -> None:
    assert agents({"c-useragent|re": "^.{3}$"}, "äöü", "äö", "abc", "abcd") == [0, 2]


def test_an_anchor_of_the_regex_dialect_means_the_value_and_not_the_buffer() -> None:
    assert agents({"c-useragent|re": r"\Aevil\Z"}, "x", "evil", "evil ", "evil") == [1, 3]


def test_every_row_of_a_batch_is_reported_and_not_only_the_first() -> None:
    assert agents({"c-useragent|contains": "sqlmap"}, *["sqlmap/1.7"] * 5) == [0, 1, 2, 3, 4]


def test_a_match_at_the_very_beginning_is_of_the_first_row_and_not_of_the_last() -> None:
    assert agents({"c-useragent|startswith": "evil"}, "evil", "x", "y") == [0]


@pytest.mark.parametrize(
    ("needle", "value", "found"),
    [
        ("kelvin", "\u212aelvin", True),  # the Kelvin sign lowers to k
        ("\u212aelvin", "kelvin", True),
        ("secret", "ſecret", False),  # a long s is itself in lower case
        ("straße", "STRASSE", False),
        ("straße", "STRAẞE", True),
        ("i\u0307st", "İst", True),  # lowers to two characters
        ("istan", "İstan", False),
        ("ist", "İst", False),
        ("σοφος", "ΣΟΦΟΣ", True),  # the last sigma of a word lowers to another one
        ("σοφοσ", "ΣΟΦΟΣ", False),
        ("ΦΟΣ", "ΣΟΦΟΣΑ", False),
    ],
)
def test_caseless_is_lower_case_on_both_sides(needle: str, value: str, found: bool) -> None:
    assert (needle.lower() in value.lower()) is found
    assert agents({"c-useragent|contains": needle}, "x", value) == ([1] if found else [])


def test_a_caseless_regex_folds_the_kelvin_sign_and_the_long_s() -> None:
    assert agents({"c-useragent|re|i": "kisses"}, "\u212aiſſes", "KISSES", "kises") == [0, 1]


@pytest.mark.parametrize("value", ["a\nevil", "evil\nb", "a\r\nevil\r\nb", "evil\0", "\nevil\n"])
def test_a_value_with_line_breaks_is_not_taken_for_several_values(value: str) -> None:
    assert agents({"c-useragent": "evil"}, value, "evil") == [1]
    assert agents({"c-useragent|contains": "evil"}, value, "x") == [0]


def test_a_needle_with_a_line_break_does_not_match_across_rows() -> None:
    assert agents({"c-useragent|contains": "one\ntwo"}, "one", "two", "one\ntwo") == [2]


def test_cased_looks_at_the_text_as_it_is() -> None:
    assert agents({"c-useragent|contains|cased": "EvilÄ"}, "xEvilÄx", "evilä", "EvilÄ") == [0, 2]


def test_a_regex_is_case_sensitive_unless_it_says_otherwise() -> None:
    assert agents({"c-useragent|re": "evil"}, "EVIL", "evil") == [1]
    assert agents({"c-useragent|re|i": "evil"}, "EVIL", "evil") == [0, 1]


def test_the_flags_of_a_regex_are_kept() -> None:
    assert agents({"c-useragent|re|m": "^evil$"}, "a\nevil\nb", "evils") == [0]
    assert agents({"c-useragent|re|s": "one.two"}, "one\ntwo", "one two") == [0, 1]
    assert agents({"c-useragent|re": "one.two"}, "one\ntwo", "one two") == [1]


def test_a_dollar_also_stands_before_a_last_line_break() -> None:
    """So that an encoded line break at the end of a path does not hide an extension."""
    asked = matcher({"cs-uri-stem|re": r"\.exe$"})
    assert [h.rows.tolist() for h in asked.match(frame({"path": "/a.exe%0a"}, {"path": "/a.exed"}))]


def test_a_code_point_escape_in_a_regex_is_a_character() -> None:
    assert agents({"c-useragent|re": r"[\u00e4]b\u00e4"}, "äbä", "ab") == [0]


@pytest.mark.parametrize(
    "pattern", ["(a+)+$", "(a|a)*b", "([a-z]+)*1", r"(.*a){20}$", "^(([a-z])+.)+[A-Z]([a-z])+$"]
)
@pytest.mark.timeout(5)
def test_a_regex_with_catastrophic_backtracking_is_run_in_linear_time(pattern: str) -> None:
    assert agents({"c-useragent|re": pattern}, "a" * 50_000 + "!") == []


def test_a_keyword_is_looked_for_in_every_text_of_the_row() -> None:
    asked = matcher({"sel": ["needle"], "condition": "sel"})
    places: list[dict[str, Any]] = [
        {"path": "/needle"},
        {"path": "/", "query": "q=needle"},
        {"path": "/%6eeedle"},
        {"user_agent": "Needle"},
        {"referer": "https://needle"},
        {"raw": "a needle"},
        {"message": "needle"},
        {"attributes": '{"deep":[{"x":"needle"}]}'},
        {"attributes": '{"deep":"\\u006eeedle"}'},
        {"error_message": "needle"},
        {"path": "/nothing"},
    ]
    assert asked.match(frame(*places))[0].rows.tolist() == list(range(10))


def test_all_keywords_may_stand_in_different_texts() -> None:
    asked = matcher({"sel": {"|all": ["one", "two"]}, "condition": "sel"})
    rows = frame({"path": "/one", "user_agent": "two"}, {"path": "/one"})
    assert [h.rows.tolist() for h in asked.match(rows)] == [[0]]


def test_fields_are_compared_with_each_other() -> None:
    rows = frame(
        {"user_agent": "Ab", "referer": "aB"},
        {"user_agent": "abc", "referer": "AB"},
        {"user_agent": "xab", "referer": "ab"},
        {"user_agent": None, "referer": None},
        {"user_agent": "ab", "referer": None},
    )

    def found(key: str) -> list[list[int]]:
        return [h.rows.tolist() for h in matcher({key: "cs-referer"}).match(rows)]

    assert found("c-useragent|fieldref") == [[0]]
    assert found("c-useragent|fieldref|startswith") == [[0, 1]]
    assert found("c-useragent|fieldref|endswith") == [[0, 2]]


def test_networks_take_both_families_and_addresses_mapped_from_one_into_the_other() -> None:
    asked = matcher({"c-ip|cidr": ["10.0.0.0/8", "fe80::/10"]})
    values = ["10.1.2.3", "11.0.0.1", "fe80::1", "::ffff:10.0.0.1", "::1", "10.1.2", "", None]
    rows = frame(*({"client_ip": v} for v in values))
    assert asked.match(rows)[0].rows.tolist() == [0, 2, 3]


def test_numbers_and_texts_of_digits_match_a_number_alike() -> None:
    rows = frame({"status": 404}, {"status": 200}, {"status": None})
    for wanted in (404, "404", 404.0, [404, 500]):
        assert [h.rows.tolist() for h in matcher({"sc-status": wanted}).match(rows)] == [[0]]
    assert [h.rows.tolist() for h in matcher({"sc-status|gte": 201}).match(rows)] == [[0]]
    assert [h.rows.tolist() for h in matcher({"sc-status|lt": 404}).match(rows)] == [[1]]
    assert [h.rows.tolist() for h in matcher({"sc-status|startswith": "4"}).match(rows)] == [[0]]


def test_bounds_beyond_64_bits_are_above_or_below_every_number() -> None:
    rows = frame({"bytes_out": 2**63 - 1}, {"bytes_out": -(2**63)}, {"bytes_out": None})
    assert matcher({"sc-bytes|lt": 10**20}).match(rows)[0].rows.tolist() == [0, 1]
    assert matcher({"sc-bytes|gt": 10**20}).match(rows) == []
    assert matcher({"sc-bytes|gt": -(10**20)}).match(rows)[0].rows.tolist() == [0, 1]


def test_parts_of_the_time_are_compared() -> None:
    rows = frame({"time": NOW}, {"time": NOW.replace(hour=3)})
    assert matcher({"date|hour": 13}).match(rows)[0].rows.tolist() == [0]
    assert matcher({"date|minute": 30}).match(rows)[0].rows.tolist() == [0, 1]
    assert matcher({"date|week": 1}).match(rows)[0].rows.tolist() == [0, 1]


# ---------------------------------------------------------------------- null, empty, missing


def test_the_negation_of_a_leaf_holds_where_there_is_nothing() -> None:
    detection = {"sel": {"c-useragent|contains": "bot"}, "condition": "not sel"}
    assert agents(detection, None, "", "a bot", "x") == [0, 1, 3]


def test_a_column_that_is_absent_is_null() -> None:
    rows = frame({"path": "/"}, {"path": "/x"})
    assert matcher({"cs-referer": None}).match(rows)[0].rows.tolist() == [0, 1]
    assert matcher({"cs-referer|exists": True}).match(rows) == []
    assert matcher({"cs-referer|exists": False}).match(rows)[0].rows.tolist() == [0, 1]


def test_empty_text_is_a_value() -> None:
    assert agents({"c-useragent": ""}, "", None, "x") == [0]
    assert agents({"c-useragent": None}, "", None, "x") == [1]
    assert agents({"c-useragent": "*"}, "", None, "x") == [0, 2]
    assert agents({"c-useragent|contains": ""}, "", None, "x") == [0, 2]
    assert agents({"c-useragent": "?*"}, "", None, "x") == [2]
    assert agents({"c-useragent": []}, "", None, "x") == [1]


def test_a_filter_on_null_does_not_swallow_a_finding() -> None:
    detection = {
        "sel": {"cs-uri-stem|endswith": "/admin"},
        "filter": {"cs-uri-query|contains": "safe"},
        "condition": "sel and not filter",
    }
    rows = frame({"path": "/admin"}, {"path": "/admin", "query": "safe=1"}, {"path": "/x"})
    assert [h.rows.tolist() for h in matcher(detection).match(rows)] == [[0]]


# ---------------------------------------------------------------------- wildcards and escapes


@pytest.mark.parametrize(
    ("pattern", "hits", "misses"),
    [
        (r"a\*b", ["a*b"], ["axb"]),
        (r"a\\*b", ["a\\xxb", "a\\b"], ["a*b"]),
        (r"a\\\*b", ["a\\*b"], ["a\\xb"]),
        ("a\\b", ["a\\b"], ["ab"]),
        ("a\\\\b", ["a\\b"], ["a\\\\b"]),
        ("a?c", ["abc", "aäc", "A\nc"], ["ac", "abbc"]),
        ("a*c*e", ["ace", "aXcYe", "ac\nce"], ["acex"]),
        ("*mid*", ["mid", "xmidy"], ["md"]),
        ("**", ["", "x"], []),
        ("[a-z]*", ["[a-z]x"], ["abc"]),
        ("100%", ["100%"], ["100"]),
    ],
)
def test_wildcards_and_their_escapes(pattern: str, hits: list[str], misses: list[str]) -> None:
    assert agents({"c-useragent": pattern}, *hits, *misses) == list(range(len(hits)))


# ---------------------------------------------------------------------- web fields


def test_path_and_query_are_matched_as_they_came_and_decoded_once() -> None:
    asked = matcher(
        {"cs-uri-stem|contains": "/../"},
        {"cs-uri-stem|contains": "%2e%2e"},
        {"cs-uri-query|contains": "union select"},
        {"cs-uri-stem|contains": "a b"},
    )
    rows = frame(
        {"path": "/x/%2e%2e/y"},
        {"path": "/x/%252e%252e/y"},
        {"path": "/", "query": "q=union+select"},
        {"path": "/", "query": "q=union%20select"},
        {"path": "/a+b"},
        {"path": "/a%20b"},
    )
    assert [h.rows.tolist() for h in asked.match(rows)] == [[0], [0, 1], [2, 3], [5]]
    # Decoding %252e once leaves %2e, so row 1 matches the second rule by its decoded form.


def test_the_whole_target_is_seen_with_and_without_its_host() -> None:
    asked = matcher(
        {"c-uri": "/a?b=c"},
        {"c-uri": "https://example.org/a?b=c"},
        {"c-uri|startswith": "/a"},
        {"c-uri|startswith": "https://example"},
        {"cs-host": "example.org"},
        {"c-uri|endswith": "?b=c"},
    )
    rows = frame(
        {"path": "/a", "query": "b=c"},
        {"path": "/a", "query": "b=c", "scheme": "https", "authority": "example.org"},
    )
    assert [h.rows.tolist() for h in asked.match(rows)] == [
        [0, 1],
        [1],
        [0, 1],
        [1],
        [1],
        [0, 1],
    ]


def test_the_beginning_of_a_path_is_found_behind_a_host() -> None:
    asked = matcher({"cs-uri-stem|startswith": "/admin"}, {"cs-uri-query": "debug=1"})
    behind = {"scheme": "https", "authority": "example.org"}
    rows = frame(
        {"path": "/admin/x", **behind},
        {"path": "/x/admin", **behind},
        {"path": "/%61dmin", "query": "debug=1", **behind},
        {"query": "debug%3d1", **behind},
    )
    assert [h.rows.tolist() for h in asked.match(rows)] == [[0, 2], [2, 3]]


def test_the_extension_is_that_of_the_last_segment() -> None:
    asked = matcher({"c-uri-extension": ["exe", "dll"]})
    paths = ["/a.exe", "/a.EXE", "/a.exe/b", "/a%2eexe", "/a.exe.txt", "/exe", "/x.dll", None]
    rows = frame(*({"path": p, "user_agent": "x"} for p in paths))
    assert asked.match(rows)[0].rows.tolist() == [0, 1, 3, 6]


def test_a_leaf_on_a_field_that_no_event_has_is_neither_true_nor_false() -> None:
    unknown = {"cs-cookie|contains": "evil"}
    path = {"cs-uri-stem|contains": "/admin"}
    rows = frame({"path": "/admin"}, {"path": "/x"})
    for condition, found in {
        "u": [],
        "not u": [],
        "p and not u": [],
        "p and u": [],
        "p or u": [[0]],
        "p or not u": [[0]],
        "not (u and p)": [[1]],
        "not (u or p)": [],
    }.items():
        asked = matcher({"u": unknown, "p": path, "condition": condition})
        assert [h.rows.tolist() for h in asked.match(rows)] == found, condition


# ---------------------------------------------------------------------- attributes


def test_keys_of_attributes_are_found_however_json_spells_them() -> None:
    asked = matcher(
        {"eventName": "DeleteTrail"},
        {"a.b": "deep/value"},
        {"a": '*"b":"deep*'},
        {"n": 404},
        {"on": True},
        category="any",
    )
    spelled = [
        '{"eventName":"DeleteTrail"}',
        '{ "eventName" : "\\u0044eleteTrail" }',
        '{"a":{"b":"deep\\/value"}}',
        '{"a.b":["x","deep/value"]}',
        '{"a":[{"b":"deep/value"}]}',
        '{"n":404.0,"on":true}',
        '{"n":4.04e2,"big":1e999}',
        '{"eventName":"\\ud800"}',
        '["eventName"]',
        "no json",
        '{"a":' * 2000 + "1" + "}" * 2000,
    ]
    rows = frame(*({"attributes": a} for a in spelled))
    assert [h.rows.tolist() for h in asked.match(rows)] == [
        [0, 1],
        [2, 3, 4],
        [2, 4],
        [5, 6],
        [5],
    ]


def test_lists_match_by_any_of_their_elements() -> None:
    asked = matcher({"tags|startswith": "sig.sqli"}, category="request")
    rows = frame({"tags": ["x", "sig.sqli.query"]}, {"tags": []}, {"tags": None}, {"tags": ["y"]})
    assert asked.match(rows)[0].rows.tolist() == [0]


# ---------------------------------------------------------------------- hostile amounts


def test_a_flood_of_anchors_in_one_value_neither_stalls_nor_hides_a_row() -> None:
    asked = matcher({"c-useragent|contains": "evil"}, {"c-useragent|contains": "needle"})
    rows = frame(
        *({"user_agent": "x"} for _ in range(300)),
        {"user_agent": "evil" * 20_000},
        *({"user_agent": f"y{i}"} for i in range(300)),
        {"user_agent": "a needle"},
    )
    assert [h.rows.tolist() for h in asked.match(rows)] == [[300], [601]]
    assert asked.overflows == 1


def test_a_flood_in_every_row_is_still_answered_exactly() -> None:
    asked = matcher({"c-useragent|contains": "evil", "sc-status": 200})
    rows = frame(*({"user_agent": "evil" * 50 + str(i), "status": 200 + i % 2} for i in range(500)))
    assert asked.match(rows)[0].rows.tolist() == list(range(0, 500, 2))
    assert asked.overflows > 0


def test_a_frame_too_large_for_one_scan_is_halved() -> None:
    asked = matcher({"c-useragent|contains": "evil"})
    rows = frame(*({"user_agent": "evil" if i % 7 == 0 else "x" * 100} for i in range(100)))
    whole = asked.match(rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "_BYTES", 1_000)
        halves = asked.match(rows)
    assert [h.rows.tolist() for h in halves] == [h.rows.tolist() for h in whole]
    assert whole[0].rows.tolist() == list(range(0, 100, 7))


def test_a_batch_is_answered_as_its_parts_are() -> None:
    asked = matcher({"c-useragent|endswith": "bot"}, {"cs-uri-stem|contains": "/../"})
    rows = frame(
        *(
            {"user_agent": f"{i} bot" if i % 3 else "x", "path": "/%2e./" if i % 5 else "/../"}
            for i in range(50)
        )
    )
    whole = [h.rows.tolist() for h in asked.match(rows)]
    single: list[list[int]] = [[], []]
    for i in range(rows.height):
        for hit in asked.match(rows[i : i + 1]):
            single[hit.rule_index].append(i)
    assert single == whole


@pytest.mark.parametrize("many", [0, 400, 10_000])
@pytest.mark.parametrize("share", [2, 7, 50])
def test_the_answer_does_not_depend_on_how_it_is_asked_for(many: int, share: int) -> None:
    detection = {
        "sel": {"cs-uri-stem|contains": "/../", "c-useragent|contains": ["bot", "crawl"]},
        "keywords": ["needle"],
        "filter": {"sc-status": 404, "tags|contains": "known"},
        "condition": "(sel or keywords) and not filter",
    }
    paths = ["/%2e%2e/%2e./", "/a/../b", "/a"]
    rows: list[dict[str, Any]] = [
        {
            "path": paths[i // 3 % 3] if i % share == 0 else "/ordinary",
            "user_agent": ["a bot", "Crawler", "x", None][i % 4],
            "message": "a needle" if i % (share * 5) == 0 else None,
            "status": 404 if i % 2 else 200,
            "tags": [["known"], ["other", "known"], [], None][i % 4],
        }
        for i in range(3_000)
    ]
    wanted = [
        i
        for i, r in enumerate(rows)
        if ((r["path"] in paths[:2] and i % 4 < 2) or r["message"] is not None)
        and not (i % 2 and i % 4 < 2)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "_MANY", many)
        assert [h.rows.tolist() for h in matcher(detection).match(frame(*rows))] == [wanted]


def test_no_rows_and_no_rules_are_no_trouble() -> None:
    assert matcher({"c-useragent": "x"}).match(frame({"path": "/"})[:0]) == []
    assert Matcher([]).match(frame({"path": "/"})) == []


# ---------------------------------------------------------------------- routing


@pytest.mark.parametrize(
    ("source", "rows"),
    [
        ({"category": "webserver"}, [0]),
        ({"category": "proxy"}, [0]),
        ({"category": "database"}, [1]),
        ({"category": "application", "product": "django"}, [2, 3]),
        ({"product": "okta", "service": "okta"}, [4, 5]),
        ({"product": "aws", "service": "cloudtrail"}, [6, 7]),
        ({"category": "any"}, [0, 1, 2, 3, 4, 5, 6, 7, 8]),
        ({"category": "authentication"}, [8]),
        ({"category": "authn_login_fail"}, [8]),
    ],
)
def test_a_rule_sees_only_the_rows_of_its_log_source(
    source: dict[str, str], rows: list[int]
) -> None:
    text = json.dumps(
        {
            "title": "routed",
            "logsource": source,
            "detection": {"sel": {"time|exists": True}, "condition": "sel"},
        }
    )
    compiled = compile_rules([RuleFile("routed.yml", text)])
    assert not compiled.problems
    events = frame(
        {"kind": "request"},
        {"kind": "query", "layer": "database"},
        {"kind": "log", "source": "oktaish"},
        {"kind": "authz_fail", "layer": "app"},
        {"kind": "sys_startup", "source": "Okta-prod"},
        {"kind": "sys_startup", "attributes": '{"debugContext":{}}'},
        {"kind": "sys_startup", "service": "cloudtrail"},
        {"kind": "sys_startup", "attributes": '{"eventSource": "s3"}'},
        {"kind": "authn_login_fail"},
    )
    hits = Matcher(compiled.rules).match(events)
    assert [h.rows.tolist() for h in hits] == [rows]
