"""The fast way over a frame redacts exactly what the slow way over each cell would."""

# One row of a table is one line, whatever its length.
# ruff: noqa: E501

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Sequence
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.event.test_redaction import CUT

from tocsin.event.batch import SCHEMA
from tocsin.event.redact import FINDERS, redact, redact_json, redact_line
from tocsin.event.sensitive import HINTS, RARE_HINTS
from tocsin.intake import redact as room
from tocsin.intake.redact import redact_frame
from tocsin.intake.scan import Scanner

PIECES = (
    "password passwd secret token api_key Authorization Cookie session pin cvv code key page_token userPassword "
    "--password identified|by PASSWORD bearer Basic eyJhbGciOiJIUzI1NiJ9 eyJzdWIiOiIxMjMifQ.c2ln 4111111111111111 "
    "4111|1111|1111|1111 378282246310005 DE89370400440532013000 GB82|WEST|1234|5698|7654|32 078-05-1120 AB123456C "
    "12345678Z 44051401359 86095742719 ghp_0123456789abcdefghijABCDEFGHIJ012345 AKIAIOSFODNN7EXAMPLE hunter2 a1 "
    "postgres://bob:hunter2@db/x -----BEGIN|PRIVATE|KEY----- sk-a1b2c3d4e5f6g7h8i9j0 true null [redacted:jwt] "
    "<password> <pin|x='1'> </password> \"name\" \"value\" --token \", mysql| -pS9x contraseña 密码 heslo contrase\\u00f1a "
    "/reset-password/8a7b6c5d4e3f2a1b0c9d8e7f %3D %22 %20 %41 %2541 \\x3d \\u003d \\u6f22 \\\" \\\\ \\n \\/ = : => , ; & "
    "| $$ ' \" '' \"\" [ ] { } ( ) @ . - _ Ä 漢 \x00 is was /a ? 1 22 123456"
).split()  # fmt: skip
pieces = st.one_of(
    st.sampled_from([p.replace("|", " ") for p in PIECES]), st.sampled_from([" ", "\n"]), st.text(max_size=3)
)  # fmt: skip
texts = st.none() | st.lists(pieces, max_size=10).map("".join)
documents = st.none() | st.dictionaries(
    texts.map(str), texts | st.lists(texts) | st.integers(), max_size=3
).map(lambda value: json.dumps(value, ensure_ascii=len(value) % 2 == 0))


def redact_frame_slowly(frame: pl.DataFrame) -> pl.DataFrame:
    """What :func:`redact_frame` must say as well: cell by cell, by all finders and without hints."""
    columns: list[pl.Series] = []
    frame = room._without_password(frame)
    for name in frame.columns:
        column = frame[name]
        if name in room._TEXTS:
            clean: list[Any] = [None if v is None else cleaner(name)(v) for v in column]
            column = pl.Series(name, clean, dtype=SCHEMA[name])
        elif name in room._LISTS:
            clean = [None if v is None else [redact(item) for item in v] for v in column.to_list()]
            column = pl.Series(name, clean, dtype=SCHEMA[name])
        columns.append(column)
    return pl.DataFrame(columns)


def cleaner(name: str) -> Callable[[str], str]:
    if name == "attributes":
        return redact_json
    return redact_line if name in room._LINES else redact


@settings(deadline=None, max_examples=150)
@given(
    rows=st.lists(
        st.tuples(texts, texts, texts, documents, st.none() | st.lists(texts.map(str), max_size=3)),
        min_size=1,
        max_size=6,
    )
)
def test_the_hints_miss_nothing(rows: list[tuple[object, ...]]) -> None:
    frame = pl.DataFrame(
        rows,
        schema={
            "message": pl.String,
            "query": pl.String,
            "raw": pl.String,
            "attributes": pl.String,
            "tags": pl.List(pl.String),
        },
        orient="row",
    )
    assert redact_frame(frame).equals(redact_frame_slowly(frame))


def test_each_row_is_cleaned_and_not_only_the_first() -> None:
    frame = pl.DataFrame({"query": [f"n={i}&password=hunter{i}" for i in range(500)]})
    out = redact_frame(frame)["query"].to_list()
    assert out == [f"n={i}&password=[redacted:password]" for i in range(500)]


def test_a_row_full_of_hits_hides_no_other_row(monkeypatch: pytest.MonkeyPatch) -> None:
    small = Scanner(room._SCANNER._patterns, most=8)
    monkeypatch.setattr(room, "_SCANNER", small)
    rng = random.Random(5)
    values = [
        "token=a&" * rng.randrange(40) + f"password=hunter2{i}" if i % 3 else "clean"
        for i in range(60)
    ]
    frame = pl.DataFrame({"path": ["/"] * 60, "query": values})
    assert redact_frame(frame).equals(redact_frame_slowly(frame))


def test_wide_frames_are_cleaned_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_BYTES", 256)
    frame = pl.DataFrame({"query": ["password=hunter2", "a" * 100, None] * 20})
    out = redact_frame(frame)
    assert out["query"].to_list() == ["password=[redacted:password]", "a" * 100, None] * 20


def test_a_clean_frame_comes_back_unchanged() -> None:
    frame = pl.DataFrame({"path": ["/a%20b", None], "status": [200, 404], "tags": [["demo"], []]})
    assert redact_frame(frame).equals(frame)


@pytest.mark.parametrize(
    "number",
    ["44051401359", "86095742719", "4111111111111111", "4111 1111 1111 1111", "2345 6789 0124"],
)
def test_a_number_that_ends_its_cell_is_taken_from_that_cell(number: str) -> None:
    frame = pl.DataFrame(
        {"user": [number], "path": ["/a"], "query": [f"id={number}"], "raw": ["b"]}
    )
    assert redact_frame(frame).equals(redact_frame_slowly(frame))
    assert number not in redact_frame(frame)["user"][0]


def test_ids_of_hex_digits_are_not_looked_at() -> None:
    ids = ["444055140135a9ee", "44055140135a9ee0", "7055140135112deadbeef00112233445"]
    frame = pl.DataFrame({"trace_id": ids, "span_id": ids})
    assert room._suspects(frame, ["trace_id", "span_id"], []) == []


def test_a_secret_in_a_repeated_value_goes_from_every_row() -> None:
    agents = ["curl/8", "x password=hunter2", None, "x password=hunter2", "y token=abcdef%20"]
    frame = pl.DataFrame({"user_agent": agents, "referer": agents[::-1], "path": ["/"] * 5})
    assert redact_frame(frame).equals(redact_frame_slowly(frame))
    assert frame["user_agent"].to_list() == agents


@pytest.mark.parametrize(
    "escape", ['\\"', "\\\\", "%41", "%25", "\\u0041", '%41=\\"'], ids=lambda e: repr(e)
)
def test_lines_full_of_escapes_cost_no_more_than_their_bytes(escape: str) -> None:
    texts = [f'1.2.3.4 - - "{i}' + escape * (10_000 // len(escape)) for i in range(200)]
    frame = pl.DataFrame({"message": texts, "raw": texts})
    redact_frame(frame[:1])  # compiles the patterns
    began = time.process_time()
    assert redact_frame(frame).equals(frame)
    # 2 MB, twice: 2.3 s to 4.8 s with a call of Python for each escape, 0.1 s to 0.3 s now.
    assert time.process_time() - began < 1.0


def test_a_text_crowded_with_escapes_goes_whole_if_it_holds_a_secret_and_stays_if_not() -> None:
    crowd = '\\"' * 5000
    texts = [crowd, crowd + " token: expired", crowd + "password%3Dhunter2", "pin=4711 " + crowd]
    frame = pl.DataFrame({"message": texts})
    out = redact_frame(frame)
    assert out["message"].to_list() == [*texts[:2], "[redacted:text]", "[redacted:text]"]
    assert out.equals(redact_frame_slowly(frame))


def test_the_hints_miss_no_text_that_redaction_would_cut() -> None:
    texts = [text for text, _ in CUT]
    frame = pl.DataFrame({"message": texts, "path": texts})
    columns = {name: redact_frame(frame.select(name))[name].to_list() for name in frame.columns}
    assert columns == {
        "message": [redact_line(t) for t in texts],
        "path": [redact(t) for t in texts],
    }


def test_every_hint_names_finders_that_there_are() -> None:
    names = {name for hint in (*HINTS, *RARE_HINTS) for name in hint.finders.split()}
    assert names - {"every"} == FINDERS


@pytest.mark.parametrize("name", sorted(FINDERS))
def test_a_finder_that_no_hint_names_would_be_missed(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = [finders - {name} for finders in room._FINDERS]
    rare = [finders - {name} for finders in room._RARE_FINDERS]
    monkeypatch.setattr(room, "_FINDERS", left)
    monkeypatch.setattr(room, "_RARE_FINDERS", rare)
    frame = pl.DataFrame({"query": [NEEDED[name]]})
    assert "[redacted" in redact_frame_slowly(frame)["query"][0]
    assert not redact_frame(frame).equals(redact_frame_slowly(frame))


#: Texts whose secret only one of the finders finds.
NEEDED = {
    "arguments": '"--password", "hunter2"',
    "commands": "mysql -phunter2",
    "connections": "postgres://bob:hunter2@db/x",
    "elements": "<password>hunter2</password>",
    "form": 'form-data; name="password"\r\n\r\nhunter2',
    "keys": "-----BEGIN PRIVATE KEY-----abc",
    "named": "password=hunter2",
    "numbers": "n 4111111111111111 n",
    "phrases": "password is hunter2",
    "shapes": "AKIAIOSFODNN7EXAMPLE",
    "written-out": 'name="password" value="hunter2"',
}


def test_texts_are_looked_at_closely_in_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[int] = []
    finders = room._finders

    def spy(texts: Sequence[str]) -> list[frozenset[str]]:
        held.append(sum(map(len, texts)))
        return finders(texts)

    monkeypatch.setattr(room, "_finders", spy)
    monkeypatch.setattr(room, "_PORTION", 100)
    texts = [f"password=hunter{i:04}" for i in range(40)] + ["x" * 300 + " pin=1234"]
    out = redact_frame(pl.DataFrame({"message": texts}))
    assert out["message"].to_list() == [redact(text) for text in texts]
    assert sorted(held)[-3] <= 150  # the long one, seen twice, is alone


def test_portions_hold_everything_in_order() -> None:
    texts = ["a" * n for n in (3, 90, 9, 200, 0, 1, 99, 100)]
    parts = list(room._portions(texts))
    assert [text for part in parts for text in part] == texts
    assert list(room._portions([])) == [[]]


def test_a_host_is_kept_without_the_password_before_it() -> None:
    secret = ["joe:hunter2pw@api.example.org", "joe:hunter@2pw@api.example.org"]
    hosts = [*secret, "api.example.org:443", "joe@h", None]
    frame = pl.DataFrame({"authority": hosts, "user": hosts})
    out = redact_frame(frame)
    clean = [*["joe:[redacted:password]@api.example.org"] * 2, *hosts[2:]]
    assert out["authority"].to_list() == clean
    assert redact_frame(out).equals(out)
    assert out.equals(redact_frame_slowly(frame))
