"""Settings come in layers, and a wrong one is named with its place and its nearest neighbour."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tocsin.errors import SettingsError
from tocsin.event import Severity
from tocsin.sdk.options import Options
from tocsin.settings import Follow, Loaded, Settings, Smtp, Webhook, load, schema


def read(
    directory: Path,
    *,
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    file: str = "",
    user: str = "",
) -> Loaded:
    (directory / "tocsin.toml").write_text(file)
    (directory / "user.toml").write_text(user)
    return load(
        flags, environ=environ or {}, directory=directory, user_file=directory / "user.toml"
    )


def test_a_nearer_layer_wins_and_says_so(tmp_path: Path) -> None:
    user, file, environ = "epoch_rows = 2000", "epoch_rows = 3000", {"TOCSIN_EPOCH_ROWS": "4000"}
    assert read(tmp_path).settings.epoch_rows == 65_536
    assert read(tmp_path, user=user).settings.epoch_rows == 2000
    assert read(tmp_path, user=user, file=file).settings.epoch_rows == 3000
    loaded = read(tmp_path, user=user, file=file, environ=environ)
    assert loaded.settings.epoch_rows == 4000
    assert loaded.origins["epoch_rows"] == "TOCSIN_EPOCH_ROWS"
    loaded = read(tmp_path, user=user, file=file, environ=environ, flags={"epoch_rows": 5000})
    assert (loaded.settings.epoch_rows, loaded.origins["epoch_rows"]) == (5000, "flag")


def test_a_flag_that_was_not_given_decides_nothing(tmp_path: Path) -> None:
    assert read(tmp_path, flags={"listen": None}).settings.listen == "127.0.0.1:7461"


def test_an_unknown_name_in_a_file_is_named_with_its_line_and_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r'tocsin.toml:2: unknown setting "lisen".*"listen"'):
        read(tmp_path, file='\nlisen = "127.0.0.1:1"')


def test_an_unknown_variable_is_reported_but_stops_nothing(tmp_path: Path) -> None:
    loaded = read(tmp_path, environ={"TOCSIN_LISEN": "x", "TOCSIN_KEY": "x", "OTHER": "y"})
    assert len(loaded.unknown) == 1
    assert 'did you mean "listen"?' in loaded.unknown[0]


def test_a_variable_of_a_watched_application_is_known_as_such(tmp_path: Path) -> None:
    loaded = read(tmp_path, environ={"TOCSIN_SAMPLE": "0.1", "TOCSIN_INSECURE": "true"})
    assert (loaded.unknown, loaded.settings.insecure) == ((), True)
    assert loaded.application == (
        "TOCSIN_SAMPLE: an option of watched applications; the server has no such setting",
    )
    options = set(Options.__struct_fields__) - {"before_send"}
    for name in options - set(Settings.__struct_fields__) - {"url", "key"}:
        assert read(tmp_path, environ={f"TOCSIN_{name.upper()}": "1"}).unknown == (), name


def test_a_value_that_is_none_of_some_is_answered_with_all_of_them(tmp_path: Path) -> None:
    file = '[[channels]]\ntype = "webhook"\nurl = "https://h"\nsecret = "s"\nmin_severity = "hgh"\n'
    with pytest.raises(SettingsError) as refused:
        read(tmp_path, file=file)
    assert str(refused.value).endswith(
        'did you mean "high"? there are informational, low, medium, high, critical'
    )


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("ten", "float"), ("-1", "> 0.0"), ("3600", "<= 60.0")],
)
def test_a_wrong_value_names_the_variable_and_what_was_wanted(
    tmp_path: Path, text: str, wanted: str
) -> None:
    with pytest.raises(SettingsError, match=f"TOCSIN_EPOCH_SECONDS: .*{wanted}"):
        read(tmp_path, environ={"TOCSIN_EPOCH_SECONDS": text})


def test_broken_toml_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"tocsin\.toml: .*line 1"):
        read(tmp_path, file="listen =\nx = 1")


def test_text_that_looks_like_a_number_stays_text(tmp_path: Path) -> None:
    assert read(tmp_path, environ={"TOCSIN_DATA": "2026"}).settings.data == "2026"


def test_files_to_follow_and_channels_are_tables(tmp_path: Path) -> None:
    settings = read(
        tmp_path,
        file="""
            [[follow]]
            path = "/var/log/nginx/access.log"
            parser = "nginx"

            [[channels]]
            type = "webhook"
            url = "https://hooks.example/1"
            secret = "s"
            min_severity = "low"

            [[channels]]
            type = "smtp"
            host = "mail.example"
            sender = "tocsin@example"
            to = ["a@example"]
        """,
    ).settings
    assert settings.follow == [Follow(path="/var/log/nginx/access.log", parser="nginx")]
    hook, mail = settings.channels
    assert isinstance(hook, Webhook)
    assert hook.min_severity is Severity.LOW
    assert isinstance(mail, Smtp)
    assert mail.tls == "starttls"


def test_the_schema_knows_every_setting_and_explains_it() -> None:
    document = msgspec.json.decode(schema())
    properties = document["$defs"]["Settings"]["properties"]
    assert set(properties) == set(Settings.__struct_fields__)
    assert all(entry.get("description") for entry in properties.values())


HOOK = '[[channels]]\ntype = "webhook"\nurl = "https://hooks.example/1"\nsecret = "s"\n'
MAIL = '[[channels]]\ntype = "smtp"\nhost = "mail.example"\nsender = "t@e"\nto = ["a@e"]\n'


def test_two_channels_of_one_type_need_two_names(tmp_path: Path) -> None:
    both = (
        r'toml:1: channels\[0\] \(webhook\) and channels\[2\] \(webhook\) are both named "webhook"'
    )
    with pytest.raises(SettingsError, match=both):
        read(tmp_path, file=HOOK + MAIL + HOOK)
    with pytest.raises(SettingsError, match='both named "ops"'):
        read(tmp_path, file=(MAIL + 'name = "ops"\n') * 2)
    settings = read(
        tmp_path, file=HOOK + HOOK + 'name = "b"\n' + MAIL + MAIL + 'name = "b"'
    ).settings
    assert [c.name for c in settings.channels] == ["webhook", "b", "mail", "b"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (HOOK.replace("https", "http"), "plain http needs allow_private"),
        (HOOK.replace("https", "ftp") + "allow_private = true", "only https"),
        (HOOK.replace("https://hooks.example", "https:"), "a url with a host"),
        (HOOK.replace("hooks.", "user:hush@hooks."), "without credentials"),
        (HOOK.replace("hooks.", "hooks "), "without spaces"),
        (HOOK.replace("hooks.example", "hooks.example:99999"), "not a url"),
        (HOOK.replace("hooks.example", "[::1"), "not a url"),
        (HOOK.replace('"s"', '""'), "give a secret"),
        (MAIL.replace('["a@e"]', "[]"), "at least one receiver"),
        (MAIL.replace('"mail.example"', '""'), "give a host"),
        (MAIL.replace('"a@e"', '"a@e\\nBcc: b@e"'), "control characters"),
        (MAIL + 'password = "hush"', "no username"),
        (MAIL + 'tls = "maybe"', "starttls"),
        (HOOK.replace("hooks.example/1", "user:hush"), "not a url"),
    ],
)
def test_a_channel_that_could_not_deliver_is_refused_with_its_place(
    tmp_path: Path, text: str, words: str
) -> None:
    with pytest.raises(SettingsError, match=words) as refused:
        read(tmp_path, file=text)
    assert "tocsin.toml:1" in str(refused.value)
    assert "hush" not in str(refused.value)


def test_plain_http_is_taken_where_private_addresses_are(tmp_path: Path) -> None:
    text = HOOK.replace("https://hooks.example", "http://localhost:8080") + "allow_private = true"
    assert len(read(tmp_path, file=text).settings.channels) == 1


@pytest.mark.parametrize("tz", ["Mars/Olympus", "", "../etc/passwd", "+2", "+25:00", "+02:99"])
def test_an_unknown_time_zone_is_named_with_the_file_it_is_for(tmp_path: Path, tz: str) -> None:
    with pytest.raises(SettingsError, match=r"tocsin.toml:1: follow\[0\] \(/a.log\): time zone"):
        read(tmp_path, file=f'[[follow]]\npath = "/a.log"\ntz = "{tz}"')


@pytest.mark.parametrize("tz", ["UTC", "Europe/Berlin", "+02:00", "-0530", "+14"])
def test_a_time_zone_is_a_name_or_an_offset(tmp_path: Path, tz: str) -> None:
    text = f'[[follow]]\npath = "/a.log"\ntz = "{tz}"'
    assert read(tmp_path, file=text).settings.follow[0].tz == tz


def test_a_file_to_follow_needs_a_path(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="give a path"):
        read(tmp_path, file='[[follow]]\npath = ""')


def test_a_tilde_is_the_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    settings = read(
        tmp_path,
        file='rules = ["~/rules", "./rules"]\n[[follow]]\npath = "~/logs/*.log"',
        environ={"TOCSIN_KEK_FILE": "~/kek"},
        flags={"data": "~/vault"},
    ).settings
    assert settings.data == "/home/ann/vault"
    assert settings.kek_file == "/home/ann/kek"
    assert settings.rules == ["/home/ann/rules", "./rules"]
    assert settings.follow[0].path == "/home/ann/logs/*.log"
    with pytest.raises(SettingsError, match="flag: ~nobody-here/x: there is no such home"):
        read(tmp_path, flags={"data": "~nobody-here/x"})


# Whose word it is.


def test_a_file_that_somebody_else_can_write_is_left_out_and_said(tmp_path: Path) -> None:
    text = 'data = "/evil"'
    assert read(tmp_path, file=text).settings.data == "/evil"
    for path, mode in (("tocsin.toml", 0o664), ("tocsin.toml", 0o646), (".", 0o775), (".", 0o1777)):
        place = tmp_path / path
        before = place.stat().st_mode
        place.chmod(mode)
        found = read(tmp_path, file=text)
        place.chmod(before)
        assert found.settings.data != "/evil", (path, oct(mode))
        (said,) = [words for words in found.left_out if "/tocsin.toml: " in words]
        assert "not read: others can write to it" in said
        assert f"chmod go-w {place.resolve()}" in said


def test_a_directory_above_that_others_can_write_is_no_better_unless_it_is_sticky(
    tmp_path: Path,
) -> None:
    inner = tmp_path / "above" / "here"
    inner.mkdir(parents=True)
    for mode, obeyed in ((0o777, False), (0o1777, True), (0o755, True)):
        (tmp_path / "above").chmod(mode)
        assert (read(inner, file='data = "/x"').settings.data == "/x") is obeyed, oct(mode)


def test_a_file_of_another_user_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    me = os.geteuid()
    (tmp_path / "tocsin.toml").write_text('data = "/x"')
    if me == 0:  # only root can give a file away
        os.chown(tmp_path / "tocsin.toml", 12345, -1)
    monkeypatch.setattr(os, "geteuid", lambda: me if me == 0 else me + 1)
    found = load({}, environ={}, directory=tmp_path, user_file=tmp_path / "user.toml")
    assert found.settings.data != "/x"
    assert "belongs to another user" in found.left_out[0]


def test_a_link_is_as_good_as_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "here").mkdir()
    (tmp_path / "open" / "real.toml").write_text('data = "/x"')
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "here" / "tocsin.toml").symlink_to(tmp_path / "open" / "real.toml")
    found = load({}, environ={}, directory=tmp_path / "here", user_file=tmp_path / "user.toml")
    assert found.settings.data != "/x"
    assert found.left_out


@pytest.mark.timeout(10)
def test_a_pipe_by_that_name_is_passed_over_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "tocsin.toml")
    found = load({}, environ={}, directory=tmp_path, user_file=tmp_path / "user.toml")
    assert "it is no file" in found.left_out[0]


def test_the_key_never_comes_from_the_current_directory(tmp_path: Path) -> None:
    text = 'kek_command = ["touch", "/tmp/owned"]\nkek_file = "/x"\nepoch_rows = 2000'
    found = read(tmp_path, file=text)
    assert (found.settings.kek_command, found.origins["kek_command"]) == ([], "default")
    assert found.settings.kek_file != "/x"
    assert found.settings.epoch_rows == 2000  # what does no harm is taken
    assert len(found.left_out) == 2
    assert "TOCSIN_KEK_COMMAND" in " ".join(found.left_out)
    assert read(tmp_path, user=text).settings.kek_command == ["touch", "/tmp/owned"]


def test_a_path_in_a_file_is_a_text(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r'tocsin.toml:1: setting "data": expected `str`'):
        read(tmp_path, file="data = 5")
