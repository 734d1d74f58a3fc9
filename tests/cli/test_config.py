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
    out(capsys, "config", "validate")
    monkeypatch.setenv("TOCSIN_LISEN", "x")
    assert 'did you mean "listen"?' in out(capsys, "config", "validate", code=2)
    Path("tocsin.toml").write_text("epoch_rows = 'many'")
    assert "tocsin.toml:1" in out(capsys, "config", "validate", code=2)


def test_schema_is_json_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert "$defs" in json.loads(out(capsys, "config", "schema"))
