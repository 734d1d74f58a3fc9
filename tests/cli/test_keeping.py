"""``token``, ``key``, ``doctor``, ``rules`` and ``incidents`` on a vault that nothing runs on."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tocsin.alerts import Desk
from tocsin.catalog import open_catalog
from tocsin.catalog.box import Box
from tocsin.cli.entry import main
from tocsin.errors import Damaged, StorageFailed
from tocsin.event import Entity, Finding, Severity
from tocsin.siem.verbs import Verbs
from tocsin.vault import FileKey, KeyRing

Run = Callable[..., tuple[str, str]]


@pytest.fixture
def tocsin(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run a command on a data directory of our own; what it said on stdout and stderr."""

    def run(*arguments: str, code: int = 0, data: bool = True) -> tuple[str, str]:
        words = [*arguments, *(["--data", str(tmp_path / "data")] if data else [])]
        with pytest.raises(SystemExit) as left:
            main(words)
        out, err = capfd.readouterr()
        assert left.value.code == code, (left.value.code, out, err)
        assert "Traceback" not in err
        return out, err

    return run


def events(tocsin: Run, query: str) -> list[dict[str, Any]]:
    return [json.loads(x) for x in tocsin("search", query, "--json")[0].splitlines()]


def box_of(home: Path) -> Box:
    """The vault's own box, as a running tocsin has it."""
    return Box(KeyRing(home / "data" / "keys", FileKey(kek())).get("catalog"))


def kek() -> Path:
    return Path(os.environ["HOME"]) / ".config" / "tocsin" / "kek"


def test_a_token_is_shown_once_and_listed_without_its_secret(tocsin: Run) -> None:
    out, err = tocsin("token", "create", "--source", "edge", "--parser", "nginx")
    token = out.strip()
    assert token.startswith("tocsin_")
    assert "not shown again" in err
    listed, _ = tocsin("token", "list", "--json")
    row = json.loads(listed)
    assert (row["source"], row["parser"]) == ("edge", "nginx")
    assert token.split("_")[2] not in listed
    tocsin("token", "revoke", row["id"])
    assert json.loads(tocsin("token", "list", "--json")[0])["revoked_at"]
    assert "there is none of that id" in tocsin("token", "revoke", "nope", code=2)[1]


def test_making_and_revoking_keys_are_events(tocsin: Run) -> None:
    tocsin("token", "create", "--source", "edge", "--json")
    (event,) = [json.loads(x) for x in tocsin("search", "layer:self", "--json")[0].splitlines()]
    assert event["kind"] == "authn_token_created"
    assert event["attributes"]["source"] == "edge"


def test_the_key_can_be_shown_and_turned_without_losing_a_word(tocsin: Run, tmp_path: Path) -> None:
    tocsin("token", "create", "--source", "edge")
    before = json.loads(tocsin("key", "show", "--json")[0])
    new = tmp_path / "kek-2"
    _, err = tocsin("key", "rotate", "--to", str(new))
    assert str(new) in err
    assert new.stat().st_mode & 0o777 == 0o600
    _, err = tocsin("search", "", code=1)
    assert "holds key-encryption key" in err
    kek().write_bytes(new.read_bytes())
    after = json.loads(tocsin("key", "show", "--json")[0])
    assert after["generation"] != before["generation"]
    assert "authn_token_created" in tocsin("search", "", "--json")[0]
    tocsin("verify")
    (event,) = events(tocsin, "kind:authz_admin")
    assert event["message"] == "key-encryption key rotated"
    assert event["attributes"] == {
        "generation_before": before["generation"],
        "generation_after": after["generation"],
    }
    # The same key again: nothing is turned, and nothing told.
    assert "nothing was to be done" in tocsin("key", "rotate", "--to", str(kek()))[1]
    assert len(events(tocsin, "kind:authz_admin")) == 1


@pytest.mark.parametrize("where", ["variable", "command"])
def test_the_advice_after_a_rotation_fits_where_the_key_comes_from(
    tocsin: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    tocsin("token", "create", "--source", "edge")
    if where == "variable":
        monkeypatch.setenv("TOCSIN_KEK", kek().read_text().strip())
        wanted = "set TOCSIN_KEK to what is in"
    else:
        monkeypatch.setenv("TOCSIN_KEK_COMMAND", json.dumps(["cat", str(kek())]))
        wanted = "let kek_command print what is in"
    new = tmp_path / "kek-2"
    _, err = tocsin("key", "rotate", "--to", str(new))
    assert f"{wanted} {new}" in err
    monkeypatch.setenv("TOCSIN_KEK", new.read_text().strip())
    assert len(events(tocsin, "kind:authz_admin")) == 1  # written with the new key all the same


def test_a_rotation_that_cannot_be_recorded_says_so(
    tocsin: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tocsin("token", "create", "--source", "edge")

    def full(*_: object, **__: object) -> None:
        raise StorageFailed("the disk is full")

    monkeypatch.setattr("tocsin.siem.rotation.Vault.open", full)
    _, err = tocsin("key", "rotate", "--to", str(tmp_path / "kek-2"))
    assert "keys are wrapped with" in err
    assert "no event could be written about it: the disk is full" in err


def test_the_doctor_is_content_with_a_good_installation(tocsin: Run) -> None:
    tocsin("token", "create", "--source", "edge")
    out, _ = tocsin("doctor", "--json")
    states = {json.loads(x)["name"]: json.loads(x)["state"] for x in out.splitlines()}
    assert states["clock"] == states["permissions"] == states["keys"] == states["rules"] == "good"
    assert set(states.values()) <= {"good", "warn"}


def test_the_doctor_names_what_is_wrong_and_how_to_mend_it(
    tocsin: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tocsin("token", "create", "--source", "edge")
    (tmp_path / "data" / "catalog.db").chmod(0o644)
    kek().write_bytes(os.urandom(32))
    (tmp_path / "bad.yml").write_text("title: [\n")
    monkeypatch.setenv("TOCSIN_RULES", json.dumps([str(tmp_path / "bad.yml")]))
    out, _ = tocsin("doctor", "--json", code=1)
    bad = {c["name"]: c for c in map(json.loads, out.splitlines()) if c["state"] == "bad"}
    assert set(bad) == {"permissions", "keys", "rules"}
    assert all(check["mend"] for check in bad.values())
    assert "chmod" in bad["permissions"]["mend"]
    assert "bad.yml" in bad["rules"]["says"]


def test_rules_are_listed_and_their_tests_run(tocsin: Run, tmp_path: Path) -> None:
    out, _ = tocsin("rules", "list", "--json", data=False)
    rules = [json.loads(x) for x in out.splitlines()]
    assert len(rules) >= 10
    assert not any(rule["blind"] for rule in rules)
    out, _ = tocsin("rules", "test", "brute", data=False)
    assert "pass" in out
    assert "FAIL" not in out
    (tmp_path / "mine.yml").write_text(
        "title: Mine\nid: 5d8e8c5e-7c2f-4c41-9f6b-0f4e5d3c2b1a\nlevel: low\n"
        "logsource: {category: webserver}\n"
        "detection: {s: {cs-uri-stem: /x}, condition: s}\n"
        "tests:\n  - {name: wrong, events: [{at: 0s, path: /y}], expect: {findings: 1}}\n"
    )
    out, _ = tocsin("rules", "test", "mine", "--rules", str(tmp_path), code=1, data=False)
    assert "FAIL" in out
    tocsin("rules", "test", "no-such-rule", code=2, data=False)


def test_incidents_can_be_worked_on_without_a_running_tocsin(tocsin: Run, tmp_path: Path) -> None:
    tocsin("token", "create", "--source", "edge")  # makes the vault
    engine = open_catalog(tmp_path / "data" / "catalog.db")
    (change,) = Desk(engine, box_of(tmp_path)).take(
        [
            Finding(
                id="f1",
                rule="r",
                title="Brute force",
                severity=Severity.HIGH,
                entity=Entity("client_ip", "192.0.2.7"),
                first_seen=time.time_ns(),
                last_seen=time.time_ns(),
                count=9,
                reason="nine \x1b[31mfailures\u202e\x9b",
                evidence=(0,),
            )
        ]
    )
    engine.dispose()
    incident = change.incident.id
    out, _ = tocsin("incidents", "show", incident[:8])
    assert "Brute force" in out
    assert "authn_token_created" in out  # the event that is its evidence
    assert "\x1b" not in out
    shown = tocsin("incidents", "show", incident, "--json")[0]
    assert "\u202e" not in shown
    assert "\\u202e" in shown
    assert json.loads(shown)["opened_at"].endswith("Z")
    tocsin("incidents", "ack", incident, "--note", "on it")
    assert "--reason" in tocsin("incidents", "close", incident, code=2)[1]
    tocsin("incidents", "close", incident, "--reason", "false_positive")
    row = json.loads(tocsin("incidents", "list", "--json")[0])
    assert (row["status"], row["close_reason"]) == ("closed", "false_positive")
    tocsin("incidents", "suppress", "--rule", "r", "--for", "2h", "--reason", "tuning")
    made = json.loads(tocsin("incidents", "suppressions", "--json")[0])
    assert 7_000e9 < made["expires_at"] - made["created_at"] < 7_300e9
    tocsin("incidents", "lift", made["id"])
    assert tocsin("incidents", "suppressions", "--json")[0] == ""
    done = [
        json.loads(x)["message"]
        for x in tocsin("search", "kind:authz_admin", "--json")[0].splitlines()
    ]
    # Whom it is about stands where a table shows it.
    assert done == [
        f"suppression lifted: {made['id']}",
        f"suppression made: {made['id']} of r",
        f"incident closed: {incident} as false_positive",
        f"incident acknowledged: {incident}",
    ]


def test_every_decision_prints_what_came_of_it_as_json(tocsin: Run, tmp_path: Path) -> None:
    tocsin("token", "create", "--source", "edge")
    incident = incident_in(tmp_path)

    def did(*words: str, said: str = "") -> Any:
        out, err = tocsin(*words, "--json")
        assert said in err if said else err == ""
        return json.loads(out)

    assert did("incidents", "ack", incident, "--note", "mine")["status"] == "acknowledged"
    assert did("incidents", "comment", incident, "a scanner of ours")["notes"][-1]["text"] == (
        "a scanner of ours"
    )
    closed = did("incidents", "close", incident, "--reason", "benign")
    assert (closed["id"], closed["close_reason"]) == (incident, "benign")
    suppress = ("incidents", "suppress", "--for", "1h", "--reason", "tuning")
    made = did(*suppress, "--rule", "r", said="no rule 'r' is loaded here")
    assert made["reason"] == "tuning"
    beginning = made["id"][:8]
    assert did("incidents", "lift", beginning) == {"id": made["id"], "lifted": True}
    whole = "7d85d464-b59a-455a-99bd-82dbb139350e"
    assert did(*suppress, "--rule", whole[:8])["rule"] == whole
    _, err = tocsin(*suppress, "--entity", "clientip=192.0.2.7", code=2)
    assert "no entity is a 'clientip'; did you mean client_ip?" in err
    (key,) = [json.loads(x) for x in tocsin("token", "list", "--json")[0].splitlines()]
    assert did("token", "revoke", key["id"]) == {"id": key["id"], "revoked": True}
    assert "there is nothing in it" in tocsin("incidents", "comment", incident, " ", code=2)[1]


def incident_in(home: Path) -> str:
    """Put an incident on the desk; its id."""
    engine = open_catalog(home / "data" / "catalog.db")
    finding = Finding(
        id="f1", rule="r", title="Brute force", severity=Severity.HIGH,
        entity=Entity("client_ip", "192.0.2.7"), first_seen=1, last_seen=2, count=9,
        reason="nine failures", evidence=(0,),
    )  # fmt: skip
    (change,) = Desk(engine, box_of(home)).take([finding])
    engine.dispose()
    return change.incident.id


def test_a_rule_is_called_by_its_title_where_people_look(tocsin: Run, tmp_path: Path) -> None:
    listed = [json.loads(x) for x in tocsin("rules", "list", "--json", data=False)[0].splitlines()]
    rule = next(r for r in listed if r["title"] == "Log forging")
    tocsin("token", "create", "--source", "edge")
    tocsin("incidents", "suppress", "--rule", rule["id"], "--for", "1h", "--reason", "x")
    out, _ = tocsin("incidents", "suppressions")
    assert f"Log forging ({rule['id']})" in out
    assert "Brute force (r)" in tocsin("incidents", "show", incident_in(tmp_path))[0]


def test_rules_are_listed_without_what_only_serves_them(tocsin: Run) -> None:
    few = tocsin("rules", "list", "--json", data=False)[0].splitlines()
    every = tocsin("rules", "list", "--json", "--all", data=False)[0].splitlines()
    assert set(few) < set(every)
    blocks = [json.loads(x) for x in set(every) - set(few)]
    assert "Failed login from an address" in {block["title"] for block in blocks}
    assert all(json.loads(x)["tests"] for x in few)  # what tells of something proves itself


def test_a_search_can_be_answered_in_numbers(tocsin: Run) -> None:
    for source in ("edge", "edge2", "=cmd"):
        tocsin("token", "create", "--source", source)
    made = "kind:authn_token_created"
    assert tocsin("search", made, "--count")[0] == "3\n"
    assert json.loads(tocsin("search", made, "--count", "--json")[0]) == {"count": 3}
    assert tocsin("search", made, "--count", "--format", "csv")[0].split() == ["count", "3"]
    out, _ = tocsin("search", made, "--top", "kind", "--json")
    assert json.loads(out) == {"value": "authn_token_created", "count": 3}
    assert (
        tocsin("search", "", "--top", "kind", "--limit", "1")[0].splitlines()[0] == "value\tcount"
    )
    out, _ = tocsin("search", made, "--histogram", "1h", "--since", "24h", "--json")
    rows = [json.loads(x) for x in out.splitlines()]
    assert sum(row["count"] for row in rows) == 3
    assert 24 <= len(rows) <= 25
    assert all(row["start"].endswith(":00:00Z") for row in rows)
    # Without a length, what follows is the question.
    for words in (["--histogram", made], [made, "--histogram"]):
        out, _ = tocsin("search", *words, "--json")
        assert sum(json.loads(x)["count"] for x in out.splitlines()) == 3
    assert "one at a time" in tocsin("search", "", "--count", "--top", "kind", code=2)[1]
    assert "cannot be grouped" in tocsin("search", "", "--top", "time", code=2)[1]
    assert "write a length of time" in tocsin("search", "", "--histogram=x", code=2)[1]
    assert "a count has none" in tocsin("search", "", "--count", "--columns", "user", code=2)[1]
    assert tocsin("search", "user:nobody-here", "--count")[0] == "0\n"
    assert tocsin("search", "user:nobody-here", "--top", "kind", "--json")[0] == ""


def test_a_count_without_all_of_the_vault_says_so(tocsin: Run, tmp_path: Path) -> None:
    for source in ("edge", "shop", "mail"):
        tocsin("token", "create", "--source", source)
    first, second, _ = sorted((tmp_path / "data" / "segments").iterdir())
    first.write_bytes(first.read_bytes()[:-9])
    second.unlink()
    for words in (["--count"], ["--histogram"], ["--top", "kind"]):
        out, err = tocsin("search", "user:*", *words, "--json", code=1)
        assert sum(json.loads(x)["count"] for x in out.splitlines()) == 1
        assert err.startswith("tocsin: not everything could be looked at: ")
        assert first.name in err
        assert second.name in err
        assert len(err.splitlines()) == 1


def test_an_incident_is_shown_even_when_its_evidence_cannot_be_read(
    tocsin: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tocsin("token", "create", "--source", "edge")
    engine = open_catalog(tmp_path / "data" / "catalog.db")
    finding = Finding(
        id="f1", rule="r", title="Brute force", severity=Severity.HIGH,
        entity=Entity("client_ip", "192.0.2.7"), first_seen=1, last_seen=2, count=9,
        reason="nine failures", evidence=(0, 1),
    )  # fmt: skip
    (change,) = Desk(engine, box_of(tmp_path)).take([finding])
    engine.dispose()
    whole = Verbs.search

    def torn(self: Verbs, *args: Any, **more: Any) -> Iterator[Any]:
        yield from whole(self, *args, **more)
        raise Damaged("seg-7: cannot be read")

    monkeypatch.setattr(Verbs, "search", torn)
    out, err = tocsin("incidents", "show", change.incident.id, code=1)
    assert "Brute force" in out
    assert "source key made" in out  # what could be read of the evidence
    assert "seg-7: cannot be read" in err


def test_a_query_may_begin_with_a_minus(tocsin: Run) -> None:
    tocsin("token", "create", "--source", "edge")
    me = events(tocsin, "")[0]["user"]
    assert events(tocsin, f"-user:{me}") == []
    assert len(events(tocsin, "-user:nobody-of-that-name")) == 1
    out, _ = tocsin("search", "--limit", "1", "-user:x", "--json")
    assert len(out.splitlines()) == 1
    assert "no tocsin runs here" in tocsin("tail", "-user:bob", code=2)[1]


def test_a_list_that_was_cut_says_so(tocsin: Run) -> None:
    for source in ("edge", "shop", "till"):
        tocsin("token", "create", "--source", source)
    out, err = tocsin("search", "kind:authn_token_created", "--limit", "2", "--json")
    assert (len(out.splitlines()), "the newest 2; there may be more: --limit 0" in err) == (2, True)
    assert "may be more" not in tocsin("search", "kind:authn_token_created", "--json")[1]
    assert "the first 1;" in tocsin("search", "", "--top", "kind", "--limit", "1")[1]


@pytest.mark.parametrize("form", ["table", "csv", "tsv"])
def test_a_query_that_makes_no_sense_is_refused_before_a_header(tocsin: Run, form: str) -> None:
    tocsin("token", "create", "--source", "edge")
    assert tocsin("search", "nosuch:1", "--format", form, code=2)[0] == ""


@pytest.mark.parametrize("command", ["search", "tail"])
def test_a_mistyped_option_is_still_wrong_usage(tocsin: Run, command: str) -> None:
    for words in (["--jsn"], ["user:bob", "--jsn"], ["--jsn=1", "user:bob"], ["-user:x", "--jsn"]):
        _, err = tocsin(command, *words, code=2)
        assert "--jsn" in err
        assert "--json" in err  # the nearest


def test_one_without_a_name_can_decide_too(tocsin: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def nameless() -> str:
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.setattr("getpass.getuser", nameless)
    tocsin("token", "create", "--source", "edge")
    assert events(tocsin, "")[0]["user"] == f"uid:{os.getuid()}"


BROKEN = """
title: Refers to nothing
id: 0b7d3f0e-3a58-4a5e-9a1c-2d4f6b8c0e11
correlation:
  type: event_count
  rules: [no_such_rule]
  group-by: [client_ip]
  timespan: 1m
  condition: {gte: 5}
"""


def test_a_correlation_that_refers_to_nothing_is_named_wherever_rules_are(
    tocsin: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lost.yml").write_text(BROKEN)
    (tmp_path / "a.log").write_text("some words\n")
    place = ("--rules", str(tmp_path / "lost.yml"))
    _, err = tocsin("rules", "list", *place, code=1, data=False)
    assert "lost.yml" in err
    assert "no_such_rule" in err
    _, err = tocsin("scan", str(tmp_path / "a.log"), *place, data=False)
    assert "no_such_rule" in err
    tocsin("token", "create", "--source", "edge")
    monkeypatch.setenv("TOCSIN_RULES", json.dumps([place[1]]))
    out, _ = tocsin("doctor", "--json", code=1)
    assert [c["name"] for c in map(json.loads, out.splitlines()) if c["state"] == "bad"] == [
        "rules"
    ]
    assert "no_such_rule" in out


def test_searches_print_json_tables_and_csv_that_no_formula_survives(tocsin: Run) -> None:
    tocsin("token", "create", "--source", "=cmd")
    assert "authn_token_created" in tocsin("search", "kind:authn_token_created")[0]
    out, _ = tocsin("search", "", "--format", "csv", "--columns", "seq,kind,attributes")
    assert out.splitlines()[0] == "seq,kind,attributes"
    assert "time" not in json.loads(tocsin("search", "", "--json", "--columns", "kind")[0])


@pytest.mark.parametrize("query", ["stauts:401", "a |count", "(", "status:>=x", "a" * 5000])
def test_a_wrong_query_says_where_and_what_instead(tocsin: Run, query: str) -> None:
    tocsin("token", "create", "--source", "edge")
    _, err = tocsin("search", query, code=2)
    assert len(err.splitlines()) <= 3


def test_measuring_names_each_step(tocsin: Run) -> None:
    out, _ = tocsin("bench", "--events", "1000", "--json", data=False)
    steps = [json.loads(x) for x in out.splitlines()]
    assert len(steps) >= 5
    assert all(step["per_second"] > 0 for step in steps)


def test_evidence_says_how_much_of_it_is_not_shown(tocsin: Run, tmp_path: Path) -> None:
    for n in range(20):
        tocsin("token", "create", "--source", f"edge-{n}")
    engine = open_catalog(tmp_path / "data" / "catalog.db")
    finding = Finding(
        id="f1", rule="r", title="Many keys", severity=Severity.HIGH,
        entity=Entity("user", "ann"), first_seen=1, last_seen=2, count=30,
        reason="thirty keys", evidence=tuple(range(20)),
    )  # fmt: skip
    (change,) = Desk(engine, box_of(tmp_path)).take([finding])
    engine.dispose()
    out, _ = tocsin("incidents", "show", change.incident.id)
    lines = out.splitlines()
    gap = lines.index("           ... 18 more")
    assert "\n  events   30\n" in out
    assert [line.split()[0] for line in lines[gap - 8 : gap]] == [str(n) for n in range(8)]
    assert [line.split()[0] for line in lines[gap + 1 : gap + 5]] == ["16", "17", "18", "19"]


def test_search_in_a_pipe_is_a_header_and_cells_between_tabs(tocsin: Run) -> None:
    tocsin("token", "create", "--source", "edge")
    out, _ = tocsin("search", "")
    header, row = out.splitlines()
    assert header.split("\t")[:2] == ["time", "kind"]
    assert row.split("\t")[1] == "authn_token_created"
    assert row.split("\t")[-1].endswith(" for edge")
    assert tocsin("search", "", "--count")[0] == "1\n"
