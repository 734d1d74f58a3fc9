"""People's decisions: an event first, then done; and neither, when the event cannot be written."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tocsin.alerts import Decided, Desk
from tocsin.alerts.decisions import Suppressed
from tocsin.catalog import open_catalog
from tocsin.catalog.box import Box
from tocsin.errors import KeyMissing, UsageError, VaultBusy
from tocsin.event import CloseReason, Entity, Finding, Severity, Status
from tocsin.intake import tokens
from tocsin.settings import Settings
from tocsin.siem import house
from tocsin.siem.access import Access, NewToken, access
from tocsin.siem.decisions import OnKey, decided, event_of, key_made, of_frame, token_of
from tocsin.siem.house import House, own_batch
from tocsin.vault import FileKey, KeyRing, Lock, holder


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A vault that no tocsin runs on, with a source key and an open incident."""
    made = Settings(data=str(tmp_path / "data"), kek_file=str(tmp_path / "kek"))
    with access(made, create=True) as opened:
        opened.create_token(NewToken(source="edge", layer="gateway", parser="nginx"), by="ann")
    engine = open_catalog(tmp_path / "data" / "catalog.db")
    Desk(engine, box_of(made)).take([FOUND])
    engine.dispose()
    return made


FOUND = Finding(
    id="f1", rule="r", title="Brute force", severity=Severity.HIGH,
    entity=Entity("client_ip", "192.0.2.7"), first_seen=1, last_seen=2, count=9, reason="nine",
    evidence=(0,),
)  # fmt: skip


def box_of(settings: Settings) -> Box:
    ring = KeyRing(Path(settings.data) / "keys", FileKey(Path(settings.kek_file)))
    return Box(ring.get("catalog"))


def events(settings: Settings, query: str) -> list[dict[str, Any]]:
    with access(settings) as opened:
        frames = list(opened.search(query, since=None, until=None, limit=0))
    return [row for frame in frames for row in frame.to_dicts()]


def incident_of(settings: Settings) -> Any:
    with access(settings) as opened:
        (found,) = opened.incidents(status=None, severity=None, limit=0)
    return found


def test_three_who_close_at_once_wait_for_each_other_and_one_does(settings: Settings) -> None:
    command = [sys.executable, "-m", "tocsin", "incidents", "close", incident_of(settings).id]
    command += ["--reason", "benign", "--data", settings.data, "--json"]
    environ = {"TOCSIN_KEK_FILE": settings.kek_file, "PATH": "/usr/bin:/bin", "HOME": "/nowhere"}
    three = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environ)
        for _ in range(3)
    ]
    done = [(p.communicate(timeout=60), p.returncode) for p in three]
    assert sorted(code for _, code in done) == [0, 2, 2], done
    ((out, _),) = [both for both, code in done if code == 0]
    assert json.loads(out)["close_reason"] == "benign"
    refused = [err for (_, err), code in done if code == 2]
    assert all(b"closed already" in err for err in refused)
    assert len(events(settings, 'message:~"^incident closed"')) == 1
    assert [n.action for n in incident_of(settings).notes] == ["opened", "closed"]


Decide = Callable[[Access, str], object]
DECISIONS: dict[str, Decide] = {
    "acknowledge": lambda a, i: a.acknowledge(i, by="ann", text="mine"),
    "close": lambda a, i: a.close(i, by="ann", reason=CloseReason.BENIGN, text=""),
    "comment": lambda a, i: a.comment(i, by="ann", text="hm"),
    "suppress": lambda a, _: a.suppress(
        rule="r", entity=None, by="ann", reason="b", expires_at=2**62
    ),
    "create a key": lambda a, _: a.create_token(NewToken(source="x"), by="ann"),
    "revoke a key": lambda a, _: a.revoke_token(a.tokens()[0].id, by="ann"),
}


def state_of(settings: Settings) -> Any:
    with access(settings) as opened:
        return (
            opened.incidents(status=None, severity=None, limit=0),
            opened.muted(),
            opened.tokens(),
        )


@pytest.mark.parametrize("what", DECISIONS)
def test_what_cannot_be_written_down_is_not_done(
    settings: Settings, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, said = state_of(settings), len(events(settings, ""))
    incident = before[0][0].id
    monkeypatch.setattr(house, "_PATIENCE_SECONDS", 0.3)
    held = Lock(Path(settings.data))
    try:
        with access(settings) as opened, pytest.raises(VaultBusy, match="held by process"):
            DECISIONS[what](opened, incident)
    finally:
        held.release()
    kek = Path(settings.kek_file)
    away = kek.rename(kek.with_name("away"))
    with pytest.raises(KeyMissing), access(settings) as opened:
        DECISIONS[what](opened, incident)
    away.rename(kek)
    assert (state_of(settings), len(events(settings, ""))) == (before, said)
    with access(settings) as opened:  # and when it can be, it is
        DECISIONS[what](opened, incident)
    assert len(events(settings, "")) == said + 1


def test_nobody_is_told_to_stop_a_process_that_is_no_more(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(house, "_PATIENCE_SECONDS", 0.2)
    data = Path(settings.data)
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    held = Lock(data)
    mine = holder(data)
    assert mine is not None
    try:  # it crashed with its name in the file, and the next holder has not written theirs
        (data / "lock").write_bytes(
            msgspec.json.encode(msgspec.structs.replace(mine, pid=gone.pid))
        )
        with access(settings) as opened, pytest.raises(VaultBusy) as refused:
            opened.create_token(NewToken(source="x"), by="ann")
        assert str(gone.pid) not in str(refused.value)
        assert "another process holds this vault" in str(refused.value)
    finally:
        held.release()
    assert holder(data) is None  # who lets go leaves no name behind


def test_what_makes_no_sense_is_not_written_down(settings: Settings) -> None:
    said = len(events(settings, ""))
    with access(settings) as opened:
        for wrong in (
            lambda: opened.close("inc-none", by="a", reason=CloseReason.BENIGN, text=""),
            lambda: opened.lift("sup-none", by="a"),
            lambda: opened.revoke_token("none", by="a"),
            lambda: opened.create_token(NewToken(source="tocsin"), by="a"),
            lambda: opened.suppress(rule=None, entity=None, by="a", reason="b", expires_at=2**62),
        ):
            with pytest.raises(UsageError):
                wrong()
    assert len(events(settings, "")) == said


def test_the_event_of_a_suppression_says_whom_until_when_who_and_why(settings: Settings) -> None:
    until = 1_900_000_000 * 10**9
    with access(settings) as opened:
        made = opened.suppress(
            rule="r", entity=Entity("client_ip", "192.0.2.7"), by="ann", reason="our own scanner",
            expires_at=until,
        )  # fmt: skip
        opened.lift(made.id, by="bob")
    (lifted, event) = events(settings, "kind:authz_admin")
    facts = json.loads(event["attributes"])
    assert event["user"] == "ann"
    assert event["client_ip"] == "192.0.2.7"  # a personal column: found, and erased, as one
    assert facts == {
        "decision": "suppression made", "id": made.id, "rule": "r", "reason": "our own scanner",
        "entity_type": "client_ip", "entity": "192.0.2.7", "expires_at": "2030-03-17T17:46:40Z",
    }  # fmt: skip
    assert json.loads(lifted["attributes"])["suppression"] == made.id


def test_every_decision_can_be_read_back_from_its_event() -> None:
    _, token = tokens.make(Box(bytes(32)), "edge", layer="gateway", tz="Europe/Paris", now=5)
    what = Suppressed(reason="x", expires_at=2**60, entity_type="user", entity="ann@example.org")
    for made in (
        Decided(id="sup-1", at=7, by="bob", what=what),
        OnKey(id="dec-1", at=5, by="ann", what=key_made(token)),
    ):
        frame = own_batch([event_of(made)]).frame  # redaction and all
        assert [of_frame(frame, row) for row in decided(frame)] == [made]
    assert token_of(key_made(token), 5) == token


def test_what_only_looks_like_a_decision_is_none() -> None:
    made = Decided(id="d", at=1, by="a", what=Suppressed(reason="x", expires_at=5, rule="r"))
    frame = own_batch([event_of(made)]).frame
    for text in ("{}", "[]", '{"id":"x","decision":"world domination"}', '{"decision":null}'):
        assert of_frame(frame.with_columns(attributes=frame["attributes"].replace(
            frame["attributes"][0], text)), 0) is None  # fmt: skip
    assert list(decided(frame.drop("attributes"))) == []


# In a tocsin that runs.


@pytest.fixture
def running(settings: Settings) -> Iterator[House]:
    opened = House(settings)
    opened.meet()
    yield opened
    opened.leave()


def test_a_key_whose_making_was_cut_off_is_made_when_its_event_is_met(
    running: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    begin = running.vault.next_seq
    with monkeypatch.context() as crash:
        crash.setattr(tokens, "keep", killed)
        with pytest.raises(KeyboardInterrupt):
            running.create_token(NewToken(source="shop"), by="ann")
    assert [t.source for t in running.tokens()] == ["edge"]
    entries = running.vault.read(begin, 10)
    (made,) = [of_frame(entries.frame, row) for row in decided(entries.frame)]
    assert made is not None
    for _ in range(2):  # twice does no harm
        running.redo(made)
    assert [t.source for t in running.tokens()] == ["edge", "shop"]


def test_source_keys_come_back_and_the_revoked_stay_revoked(running: House) -> None:
    good = running.create_token(NewToken(source="good", tenant="acme"), by="ann")
    bad = running.create_token(NewToken(source="bad"), by="ann")
    running.revoke_token(running.tokens()[-1].id, by="ann")
    before = running.tokens()
    with running.catalog.begin() as tx:
        tx.exec_driver_sql("DELETE FROM tokens")
    assert running.restore_keys() == ""
    assert running.tokens() == before
    running.keys.read()
    grant = running.keys.authenticate(good)
    assert grant is not None
    assert (grant.origin.source, grant.origin.tenant) == ("good", "acme")
    assert running.keys.authenticate(bad) is None


def test_a_missing_key_of_the_vaults_own_is_never_made_anew_in_silence(settings: Settings) -> None:
    (Path(settings.data) / "keys" / "catalog.key").unlink()
    with pytest.raises(KeyMissing, match=r"catalog\.key"):
        House(settings)
    with pytest.raises(KeyMissing, match=r"catalog\.key"), access(settings) as opened:
        opened.incidents(status=Status.OPEN, severity=None, limit=0)
