"""``tocsin config`` shows what is in force, where it comes from, and no secret."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tocsin.cli.entry import main


def out(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    captured = capsys.readouterr()
    assert left.value.code == code, captured.err
    return captured.out if code == 0 else captured.err


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOCSIN_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("TOCSIN_KEK_FILE", str(tmp_path / "kek"))


def test_show_says_where_each_setting_comes_from(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOCSIN_EPOCH_ROWS", "2000")
    shown = json.loads(out(capsys, "config", "show", "--origin", "--json"))
    assert shown["epoch_rows"] == {"value": 2000, "origin": "TOCSIN_EPOCH_ROWS"}
    assert shown["listen"]["origin"] == "default"
    assert "epoch_rows\t2000" in out(capsys, "config", "show")


def test_show_leaves_secrets_out(capsys: pytest.CaptureFixture[str]) -> None:
    Path("tocsin.toml").write_text(
        '[[channels]]\ntype = "webhook"\nurl = "https://h.example"\nsecret = "hunter2"\n'
    )
    for form in ([], ["--json"], ["--origin"]):
        assert "hunter2" not in out(capsys, "config", "show", *form)


def test_validate_names_what_is_wrong(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOCSIN_LISTEN", "127.0.0.1:0")
    out(capsys, "config", "validate")
    monkeypatch.setenv("TOCSIN_LISEN", "x")
    assert 'did you mean "listen"?' in out(capsys, "config", "validate", code=2)
    Path("tocsin.toml").write_text("epoch_rows = 'many'")
    assert "tocsin.toml:1" in out(capsys, "config", "validate", code=2)


def test_schema_is_json_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert "$defs" in json.loads(out(capsys, "config", "schema"))


def test_a_variable_of_watched_applications_is_noted_and_no_fault(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOCSIN_LISTEN", "127.0.0.1:0")
    monkeypatch.setenv("TOCSIN_SAMPLE", "0.1")
    for command in ("show", "validate"):
        with pytest.raises(SystemExit) as left:
            main(["config", command])
        assert left.value.code == 0
        assert capsys.readouterr().err.startswith(
            "note: TOCSIN_SAMPLE: an option of watched applications; the server has no such setting"
        )


def test_what_may_be_mistyped_is_noted(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOCSIN_LISTEN", "127.0.0.1:0")
    Path("rules").mkdir()
    Path("rules/mine.yml").write_text(
        "title: Mine\nlogsource: {category: request}\n"
        "detection: {one: {client_pi: 192.0.2.1}, condition: one}\n"
    )
    Path("tocsin.toml").write_text('rules = ["rules"]\nfollow = [{path = "/nowhere/a*.log"}]\n')
    stranger = 'rules/mine.yml:1: no column is called "client_pi"'
    for command in (["config", "validate"], ["rules", "list"], ["rules", "test", "mine"]):
        with pytest.raises(SystemExit) as left:
            main(command)
        assert left.value.code == 0
        err = capsys.readouterr().err
        assert f"note: {stranger}" in err
        assert 'did you mean "client_ip"?' in err
        assert ("note: follow /nowhere/a*.log: not there yet" in err) == (command[0] == "config")
    with pytest.raises(SystemExit):
        main(["doctor"])
    said = capsys.readouterr().out
    assert f"warn  rules        {stranger}" in said
    assert "warn  follow       /nowhere/a*.log is not there yet" in said
