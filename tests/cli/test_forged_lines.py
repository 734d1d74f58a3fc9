"""Nothing that a log, a rule or a file's name says makes a line of its own, on stdout or stderr."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tocsin.alerts import Desk
from tocsin.catalog import open_catalog
from tocsin.catalog.box import Box
from tocsin.cli.entry import main
from tocsin.cli.out import complain, put, say
from tocsin.cli.progress import Progress
from tocsin.event import Entity, Event, Finding, Kind, Severity
from tocsin.event.batch import Batch, from_events
from tocsin.settings import Settings
from tocsin.siem.house import key_source
from tocsin.vault import KeyRing, Vault

#: What an attacker would have a reader believe, after each way to begin a line or move the cursor.
FAKE = "FAKE"
EVIL = "".join(
    f"bob{way}{FAKE}  high  status   closed"
    for way in ("\r\n", "\n", "\r", "\x1b[2K\x1b[1G", "\x85", "\u2028", "\u202e", "\x0b", "\x0c")
)
#: The same as a file's name.
NAME = EVIL.replace("/", "")[:200]

OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")

Run = Callable[..., tuple[str, str]]


def is_safe(text: str) -> bool:
    """Whether a terminal shows *text* as it is meant: nothing acts, no line is forged."""
    text = text.replace("\r\n", "\n")  # as CSV ends its lines
    lines = re.split("[\n\r\x0b\x0c\x85\u2028\u2029]", text)
    return OBEYED.search(text) is None and not any(x.lstrip().startswith(FAKE) for x in lines)


@pytest.fixture
def tocsin(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run a command; what it said on stdout and stderr, both looked through."""

    def run(*arguments: str, data: bool = True) -> tuple[str, str]:
        words = [*arguments, *(["--data", str(tmp_path / "data")] if data else [])]
        with pytest.raises(SystemExit):
            main(words)
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        assert is_safe(out), out
        assert is_safe(err), err
        return out, err

    return run


@pytest.fixture
def hostile(tocsin: Run, tmp_path: Path) -> Finding:
    """A vault in which every text is hostile, and an incident about it."""
    tocsin("token", "create", "--source", "edge")
    settings = Settings(
        data=str(tmp_path / "data"),
        kek_file=str(Path(os.environ["HOME"]) / ".config" / "tocsin" / "kek"),
    )
    event = Event(
        time=1, kind=Kind.REQUEST, observed=1, user=EVIL, client_ip=EVIL, method=EVIL, path=EVIL,
        message=EVIL, source=EVIL, status=200, tags=(EVIL,), attributes={"x": EVIL}, raw=EVIL,
    )  # fmt: skip
    with Vault.open(tmp_path / "data", key_source(settings), sealing="inline") as vault:
        vault.append(Batch(from_events([event])), source="x", batch_id=None).result()
        seq = vault.next_seq - 1
    finding = Finding(
        id="f1", rule=EVIL, title=EVIL, severity=Severity.HIGH, entity=Entity("client_ip", EVIL),
        first_seen=1, last_seen=2, count=9, reason=EVIL, evidence=(seq,),
        related=(Entity("user", EVIL),), owasp=(EVIL,), attack=(EVIL,), author=EVIL,
    )  # fmt: skip
    ring = KeyRing(tmp_path / "data" / "keys", key_source(settings))
    engine = open_catalog(tmp_path / "data" / "catalog.db")
    Desk(engine, Box(ring.get("catalog"))).take([finding])
    engine.dispose()
    return finding


@pytest.mark.usefixtures("hostile")
def test_no_value_in_the_vault_makes_a_line_of_its_own(tocsin: Run, tmp_path: Path) -> None:
    listed, _ = tocsin("incidents", "list", "--json")
    incident = json.loads(listed)["id"]
    assert json.loads(listed)["entity"]["value"] == EVIL  # in JSON nothing is lost of it
    out, _ = tocsin("incidents", "list")
    assert len(out.splitlines()) == 2
    out, _ = tocsin("incidents", "show", incident)
    assert out.count("\n  why ") == 1
    assert out.count("\n  entity ") == 1
    tocsin("incidents", "show", incident, "--json")
    tocsin("incidents", "comment", incident, EVIL)
    tocsin(
        "incidents", "suppress", "--entity", f"client_ip={EVIL}", "--for", "1h", "--reason", EVIL
    )
    tocsin("incidents", "suppress", "--rule", EVIL, "--for", "1h", "--reason", EVIL, "--json")
    out, _ = tocsin("incidents", "suppressions")
    assert len(out.splitlines()) == 3
    tocsin("incidents", "suppressions", "--json")
    tocsin("incidents", "close", incident, "--reason", "benign", "--note", EVIL)
    out, _ = tocsin("incidents", "show", incident)
    assert out.count(" by ") == 3
    for form in ("table", "csv", "json"):
        tocsin("search", "kind:request", "--format", form)
        tocsin("search", "kind:request", "--top", "user", "--format", form)
        tocsin("search", "kind:request", "--histogram", "--format", form)
    out, _ = tocsin("search", "kind:request", "--top", "user", "--format", "csv")
    assert len(out.splitlines()) == 2


@pytest.mark.usefixtures("hostile")
def test_no_word_of_an_error_makes_a_line_of_its_own(tocsin: Run, tmp_path: Path) -> None:
    for words in (
        ["incidents", "show", EVIL], ["incidents", "close", EVIL, "--reason", "benign"],
        ["incidents", "lift", EVIL], ["token", "revoke", EVIL],
        ["token", "create", "--source", EVIL],
        ["search", f"{EVIL}:x"], ["search", "", "--columns", EVIL], ["search", "", "--since", EVIL],
        ["search", f"--{EVIL}"], [EVIL], ["search", "", "--top", EVIL],
        ["search", "", f"--histogram={EVIL}"], ["tail", EVIL],
        ["incidents", "list", "--status", EVIL],
    ):  # fmt: skip
        _, err = tocsin(*words)
        assert err


RULE = f"""
title: {json.dumps(EVIL)}
id: 0d0b9e0c-5f2f-4d4a-8a55-2f0f5a7c1d11
level: critical
logsource: {{category: webserver}}
detection: {{door: {{cs-uri-stem: /secret}}, condition: door}}
runbook: {json.dumps(EVIL)}
tests: [{{name: {json.dumps(EVIL)}, events: [], expect: {{findings: 1}}}}]
"""


def test_no_line_of_a_log_and_no_name_of_a_file_makes_a_line_of_its_own(
    tocsin: Run, tmp_path: Path
) -> None:
    rules = tmp_path / "rules"
    rules.mkdir()
    (rules / "evil.yml").write_text(RULE)
    (rules / f"{NAME}.yml").write_text("title: [\n")
    log = tmp_path / NAME
    lines = [
        json.dumps({"time": f"2026-11-23T10:00:{n:02}Z", "kind": "authn_login_fail", "user": EVIL,
                    "client_ip": EVIL, "reason": "bad_credentials"})
        for n in range(40)
    ]  # fmt: skip
    log.write_text("\n".join([*lines, '{"time":"x","user":' + json.dumps(EVIL) + "}", EVIL, ""]))
    out, err = tocsin("scan", str(log), "--rules", str(rules), data=False)
    assert out.startswith(("LOW", "MEDIUM", "HIGH", "CRITICAL"))
    assert err
    tocsin("scan", str(log), "--json", data=False)
    tocsin("parse", str(log), data=False)
    missing = str(tmp_path / "no" / NAME)
    for command in ("parse", "scan"):
        assert "no such file" in tocsin(command, missing, data=False)[1]
    mine = ["--rules", str(rules)]
    for words in (
        ["send", missing, "--to", "http://127.0.0.1:1", "--key", "k"],
        ["rules", "list", *mine], ["rules", "list", *mine, "--json", "--all"],
        ["rules", "test", *mine], ["rules", "list", "--rules", missing],
        ["scan", str(log), "--parser", EVIL],
    ):  # fmt: skip
        out, err = tocsin(*words, data=False)
        assert out + err


def test_settings_and_doctor_show_hostile_names_as_they_are(
    tocsin: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tocsin.toml").write_text(
        "rules = [EVIL]\n[[follow]]\npath = EVIL\nparser = EVIL\n".replace("EVIL", json.dumps(EVIL))
    )
    for words in (
        ["config", "show", "--origin"],
        ["config", "validate"],
        ["config", "show", "--json"],
    ):
        tocsin(*words, data=False)
    tocsin("doctor")
    tocsin("doctor", "--json")
    (tmp_path / "tocsin.toml").write_text(f"{json.dumps(EVIL)} = 1\n")
    assert "unknown setting" in tocsin("config", "validate", data=False)[1]


def test_what_is_said_stays_one_line_each(capfd: pytest.CaptureFixture[str]) -> None:
    put(EVIL, "b")
    say(EVIL, "b")
    complain(EVIL, "b")
    out, err = capfd.readouterr()
    assert (len(out.splitlines()), len(err.splitlines())) == (2, 4)
    assert is_safe(out)
    assert is_safe(err)


def test_a_progress_bar_is_not_moved_by_the_name_of_its_file(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("TERM", "dumb")
    with Progress(EVIL, 10) as progress:
        progress.at(5, EVIL)
    assert FAKE not in [line.strip()[:4] for line in capfd.readouterr().err.splitlines()]
