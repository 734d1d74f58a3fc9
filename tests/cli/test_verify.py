"""``verify``: from wherever it is called, and with whatever it is given to check against."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tocsin.cli.entry import main

Run = Callable[..., tuple[str, str]]


@pytest.fixture
def tocsin(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Run:
    """Run a command beside a vault called ``data``; what it said on stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, code: int = 0) -> tuple[str, str]:
        with pytest.raises(SystemExit) as left:
            main([*arguments])
        out, err = capfd.readouterr()
        assert left.value.code == code, (left.value.code, out, err)
        assert "Traceback" not in err
        return out, err

    run("token", "create", "--source", "edge", "--data", "data")
    return run


def test_a_vault_is_found_by_a_relative_path(tocsin: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert tocsin("verify", "--data", "data")[0].startswith("INTACT")
    monkeypatch.setenv("TOCSIN_DATA", "./data")
    assert tocsin("verify")[0].startswith("INTACT")
    assert tocsin("verify", "--no-key", "--json")[0].startswith('{"verdict":"intact"')


BAD_KEYS = {
    "empty": b"",
    "blank": b" \n",
    "short": b"ab" * 31,
    "long": b"ab" * 33,
    "very long": b"ab" * 100_000,
    "no hex": b"xy" * 32,
    "bytes": bytes(range(128, 160)),
    "wide digits": "２".encode() * 64,
}


@pytest.mark.parametrize("option", ["--epoch-key", "--vkey"])
@pytest.mark.parametrize("data", BAD_KEYS.values(), ids=BAD_KEYS)
def test_a_file_that_holds_no_key_is_refused_and_never_passed_over(
    tocsin: Run, tmp_path: Path, option: str, data: bytes
) -> None:
    (tmp_path / "key").write_bytes(data)
    out, err = tocsin("verify", "--data", "data", option, "key", code=2)
    assert out == ""
    assert "tocsin: key: " in err


def test_a_key_file_that_is_not_there_is_wrong_usage(tocsin: Run) -> None:
    for option in ("--epoch-key", "--vkey"):
        assert "cannot be read" in tocsin("verify", "--data", "data", option, "none", code=2)[1]
        assert "cannot be read" in tocsin("verify", "--data", "data", option, ".", code=2)[1]


def test_the_noted_public_key_is_compared_and_may_come_through_a_pipe(
    tocsin: Run, tmp_path: Path
) -> None:
    vkey = (tmp_path / "data/log/vkey").read_text()
    (tmp_path / "vkey").write_text(f"\n{vkey}\n")
    tocsin("verify", "--data", "data", "--vkey", "vkey")
    reading, writing = os.pipe()
    os.write(writing, vkey.encode())
    os.close(writing)
    tocsin("verify", "--data", "data", "--vkey", f"/dev/fd/{reading}")
    os.close(reading)
    name, hint, public = vkey.split("+", 2)
    other = public.replace(public[5], "A" if public[5] != "A" else "B", 1)
    (tmp_path / "vkey").write_text(f"{name}+{hint}+{other}")
    assert "noted elsewhere" in tocsin("verify", "--data", "data", "--vkey", "vkey", code=3)[0]


def test_a_key_that_does_not_fit_is_no_tampering_and_says_both_that_it_may_mean(
    tocsin: Run, tmp_path: Path
) -> None:
    (tmp_path / "key").write_text("00" * 32)
    out, err = tocsin("verify", "--data", "data", "--epoch-key", "key", code=2)
    assert out.startswith("KEY DOES NOT FIT  grade T0")
    assert "TAMPERED" not in out
    assert "either it is not this vault's first epoch key, or the record was rewritten" in err
    assert "if it is the very key" in err
    out, _ = tocsin("verify", "--data", "data", "--epoch-key", "key", "--json", code=2)
    facts = json.loads(out)
    assert (facts["verdict"], facts["grade"], facts["problems"]) == ("misfit", "T0", [])


def test_each_check_says_what_it_looks_at_in_the_output_and_in_the_help(tocsin: Run) -> None:
    out, _ = tocsin("verify", "--data", "data")
    rules = json.loads(tocsin("verify", "--data", "data", "--json")[0])["rules"]
    help_, _ = tocsin("verify", "--help")
    meanings = dict(re.findall(r"^  (V\d+|files|keys) +([^:\n]+): \S", out, re.MULTILINE))
    assert set(meanings) == set(rules)
    for rule, meaning in meanings.items():
        assert re.search(rf"^ +{rule} +{re.escape(meaning)}$", help_, re.MULTILINE)


def test_a_vault_of_which_only_keys_are_left_is_tampered_and_not_missing(
    tocsin: Run, tmp_path: Path
) -> None:
    for path in [*(tmp_path / "data").iterdir()]:
        if path.name != "keys":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path in (tmp_path / "data/keys").glob("seg.*"):
        path.unlink()
    out, _ = tocsin("verify", "--data", "data", "--json", code=3)
    assert "there is no log of them" in json.loads(out)["problems"][0]["message"]
    shutil.rmtree(tmp_path / "data")
    assert "there is no vault here" in tocsin("verify", "--data", "data", code=2)[1]


def test_names_that_are_no_text_are_told_as_json_too(tocsin: Run, tmp_path: Path) -> None:
    (tmp_path / "data/segments").mkdir(exist_ok=True)
    (tmp_path / "data/segments" / os.fsdecode(b"\xff\xfe.parquet")).write_bytes(b"x")
    out, _ = tocsin("verify", "--data", "data", "--json", code=3)
    assert json.loads(out)["problems"][0]["file"] == "segments/\\xff\\xfe.parquet"
    assert "\\xff\\xfe.parquet" in tocsin("verify", "--data", "data", code=3)[0]


def test_without_the_key_one_is_told_which_is_wanted_and_what_can_be_done_without_it(
    tocsin: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TOCSIN_KEK_FILE", str(tmp_path / "elsewhere"))
    said = " ".join(tocsin("verify", "--data", "data", code=1)[1].split())
    assert "elsewhere: cannot be read" in said
    assert re.search("key-encryption key [0-9a-f]{16} is wanted", said)
    assert "tocsin verify --no-key" in said
    assert "not checked: keys/*" in tocsin("verify", "--no-key", "--data", "data")[0]
