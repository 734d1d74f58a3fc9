"""``token``, ``key``, ``doctor``, ``rules`` and ``incidents`` on a vault that nothing runs on."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tocsin.alerts import Desk
from tocsin.catalog import open_catalog
from tocsin.cli.entry import main
from tocsin.event import Entity, Finding, Severity

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
    assert "authn_token_created" in tocsin("search", "")[0]
    tocsin("verify")


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
    (change,) = Desk(engine).take(
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
    assert done == [
        "suppression lifted",
        "suppression made",
        "incident closed",
        "incident acknowledged",
    ]


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
