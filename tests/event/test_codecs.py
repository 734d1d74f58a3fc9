"""Any event goes through any codec as one safe line, and comes back as it was."""

# One row of a table is one line, whatever its length.
# ruff: noqa: E501

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin.errors import Malformed, UsageError
from tocsin.event import COLUMNS, Event, Kind, Type
from tocsin.event.batch import from_events
from tocsin.event.codecs import (
    decode_json,
    decode_logfmt,
    decode_xml,
    encode_json,
    encode_logfmt,
    encode_xml,
)
from tocsin.event.escape import UNSAFE, escape, unescape, visible
from tocsin.event.lines import json_lines

Codec = tuple[Callable[[Event], str], Callable[[str], Event]]
CODECS: dict[str, Codec] = {
    "json": (encode_json, decode_json),
    "logfmt": (encode_logfmt, decode_logfmt),
    "xml": (encode_xml, decode_xml),
}

NASTY = (
    "\r\n", "\x00", "\x1b[31m", "\u202e", "\u2066", "\u2028", "\x7f", "\x85", "\x9b", '"', "'", "\\", "\\n",
    "\\u{41}", "\\x41", "<event>", "</message>", "]]>", "&amp;", "&#10;", "kind=authn_login_success", '" user="root',
    '","user":"root', "=", " ", "", "{", "\ufeff", "\u200b", "\ufffe", "\U000e0041", "-", "null", "true", "%0a", "é漢😀",
)  # fmt: skip

texts = st.one_of(
    st.text(), st.lists(st.sampled_from(NASTY), max_size=5).map("".join), st.sampled_from(NASTY)
)
int64 = st.integers(-(2**63), 2**63 - 1)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
BY_TYPE: dict[Type, st.SearchStrategy[Any]] = {
    Type.TIME: int64,
    Type.TEXT: texts,
    Type.INT: int64,
    Type.TEXTS: st.lists(texts, max_size=3).map(tuple),
}
SPECIAL: dict[str, st.SearchStrategy[Any]] = {
    "kind": st.sampled_from(list(Kind)),
    "attributes": st.dictionaries(texts, values, max_size=3),
}
OPTIONAL = {
    c.name: SPECIAL.get(c.name, BY_TYPE[c.type]) for c in COLUMNS if c.name not in {"time", "kind"}
}
events = st.builds(
    lambda fixed, rest: Event(**fixed, **rest),
    st.fixed_dictionaries({"time": int64, "kind": SPECIAL["kind"]}),
    st.lists(st.sampled_from(list(OPTIONAL)), max_size=5, unique=True).flatmap(
        lambda names: st.fixed_dictionaries({n: OPTIONAL[n] for n in names})
    ),
)


def is_safe(line: str) -> bool:
    return re.search(f"[{UNSAFE}]", line) is None and len(line.splitlines()) == 1


@pytest.mark.parametrize("codec", CODECS)
@given(event=events)
def test_any_event_comes_back_from_one_safe_line(codec: str, event: Event) -> None:
    encode, decode = CODECS[codec]
    line = encode(event)
    assert is_safe(line)
    assert decode(line) == event


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("value", NASTY)
def test_no_value_forges_a_field_or_an_event(codec: str, value: str) -> None:
    encode, decode = CODECS[codec]
    event = Event(time=0, message=value, user="bob", objects=(value, ""), attributes={value: value})
    assert decode(encode(event)) == event


@pytest.mark.parametrize("codec", CODECS)
def test_empty_is_not_absent(codec: str) -> None:
    encode, decode = CODECS[codec]
    event = Event(time=0, message="", objects=(), tags=("",), attributes={})
    assert decode(encode(event)) == event
    assert decode(encode(event)).user is None


@given(event=events)
def test_a_foreign_json_reader_sees_the_same_keys_and_texts(event: Event) -> None:
    seen = json.loads(encode_json(event))
    assert seen.get("message") == event.message
    assert list(seen) == [c.name for c in COLUMNS if getattr(event, c.name) is not None]


@given(event=events)
def test_a_foreign_xml_reader_sees_one_element_a_field(event: Event) -> None:
    root = ElementTree.fromstring(encode_xml(event))
    assert [child.tag for child in root] == [
        c.name for c in COLUMNS if getattr(event, c.name) is not None
    ]
    found = root.find("message")
    assert (None if found is None else unescape(found.text or "")) == event.message


@pytest.mark.parametrize("codec", ["logfmt", "xml"])
def test_lone_surrogates_are_carried_visibly(codec: str) -> None:
    encode, decode = CODECS[codec]
    event = Event(time=0, message="a\ud800b\udc00\ud83d\ude00")
    assert is_safe(encode(event))
    assert decode(encode(event)) == event


def test_json_leaves_nulls_out_and_writes_times_as_rfc_3339() -> None:
    event = Event(time=1_795_424_400_123_000_000, kind=Kind.AUTHN_LOGIN_FAIL, attributes={"a": [1]})
    assert encode_json(event) == (
        '{"time":"2026-11-23T09:00:00.123Z","kind":"authn_login_fail","attributes":{"a":[1]}}'
    )


BAD = [
    ("json", "", "not JSON"),
    ("json", "[]", "not a JSON object"),
    ("json", '{"time":1,"time":2}', "stands twice"),
    ("json", '{"time":"yesterday"}', "time: not a time"),
    ("json", '{"time":0,"zzz":1}', 'unknown field "zzz"'),
    ("json", '{"time":0,"status":"x"}', "not an event"),
    ("json", "[" * 100_000, "nested too deeply"),
    ("json", '{"time":0} {"time":1}', "not JSON"),
    ("logfmt", "time=0 status", "not key=value at character 8"),
    ("logfmt", 'time=0 message="a', "not key=value"),
    ("logfmt", "time=0 time=1", "stands twice"),
    ("logfmt", "time=0 status=x", "status: "),
    ("xml", "<event>", "not XML"),
    ("xml", "<a/>", "not an <event>"),
    ("xml", "<!DOCTYPE a><event/>", "declarations"),
    ("xml", "<event><time>0</time><time>1</time></event>", "stands twice"),
]


@pytest.mark.parametrize(("codec", "line", "words"), BAD)
def test_what_is_no_event_is_refused_in_words(codec: str, line: str, words: str) -> None:
    with pytest.raises(Malformed) as refused:
        CODECS[codec][1](line)
    assert words in str(refused.value)


def test_an_attribute_that_json_cannot_say_is_refused() -> None:
    with pytest.raises(UsageError, match="only JSON values"):
        encode_json(Event(time=0, attributes={"a": float("nan")}))


@given(text=st.text(alphabet=st.characters()))
def test_escape_is_reversible_and_visible_is_on_one_line(text: str) -> None:
    assert unescape(escape(text)) == text
    assert is_safe("x" + visible(text))
    assert is_safe("x" + escape(text))


@given(batch=st.lists(events, min_size=1, max_size=5))
def test_whole_frames_are_written_as_the_codec_writes_each_event(batch: list[Event]) -> None:
    lines = json_lines(from_events(batch)).decode().splitlines()
    assert len(lines) == len(batch)
    assert all(is_safe(line) for line in lines)
    assert [decode_json(line) for line in lines] == batch


def test_a_frame_of_no_rows_is_no_lines_and_foreign_columns_follow() -> None:
    assert json_lines(pl.DataFrame()) == b""
    frame = from_events([Event(time=0, tags=("a",))]).with_columns(pl.lit(7).alias("seq"))
    assert json_lines(frame) == (
        b'{"time":"1970-01-01T00:00:00Z","kind":"log","tags":["a"],"seq":7}\n'
    )
