"""Settings come in layers, and a wrong one is named with its place and its nearest neighbour."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tocsin.errors import SettingsError
from tocsin.event import Severity
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
