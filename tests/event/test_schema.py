"""The schema table is whole: each column typed, explained, and named in each dialect or in none."""

from __future__ import annotations

import re
import typing
from collections import Counter
from hashlib import sha256
from itertools import pairwise

import msgspec
import pytest

from tocsin.event import Event, schema
from tocsin.event.schema import COLUMNS, DIALECTS, NAMES, PERSONAL, TEXT_COLUMNS, Type, fingerprint

ALL = tuple(column.name for column in COLUMNS)


def test_the_dialects_are_the_six_that_were_promised() -> None:
    assert DIALECTS == ("ocsf", "ecs", "otel", "cim", "datadog", "sigma")


@pytest.mark.parametrize("column", COLUMNS, ids=lambda c: c.name)
def test_each_column_has_a_word_in_each_dialect_or_none_at_all(column: schema.Column) -> None:
    for dialect in DIALECTS:
        word = getattr(column, dialect)
        assert word is None or re.fullmatch(r"[@_A-Za-z][\w.@-]*", word), (dialect, word)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_no_word_of_a_dialect_means_two_columns(dialect: str) -> None:
    words = Counter(word for c in COLUMNS if (word := getattr(c, dialect)) is not None)
    assert [word for word, times in words.items() if times > 1] == []
    assert words, "a dialect without a word is none"


def test_no_mapping_is_left_to_a_default() -> None:
    by_name = {field.name: field for field in msgspec.structs.fields(schema.Column)}
    for dialect in DIALECTS:
        assert by_name[dialect].required


@pytest.mark.parametrize("column", COLUMNS, ids=lambda c: c.name)
def test_each_column_is_explained(column: schema.Column) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9_]*", column.name)
    assert len(column.doc.split()) >= 2
    assert column.group in {"when", "what", "where", "who", "request", "objects", "database",
                            "links", "rest"}  # fmt: skip


def test_a_name_is_used_once_and_groups_stand_together() -> None:
    assert len(set(ALL)) == len(ALL)
    assert list(NAMES) == list(ALL)
    changes = [b.group for a, b in pairwise(COLUMNS) if a.group != b.group]
    assert len(changes) == len(set(changes))


_TYPES = {
    Type.TIME: {int, type(None)},
    Type.INT: {int, type(None)},
    Type.TEXT: {str, type(None)},
    Type.TEXTS: {tuple[str, ...], type(None)},
}


def test_an_event_has_the_columns_of_the_table_in_its_order_and_of_its_types() -> None:
    fields = msgspec.structs.fields(Event)
    assert tuple(field.name for field in fields) == ALL
    for field, column in zip(fields, COLUMNS, strict=True):
        if column.name in {"time", "kind", "attributes"}:  # never null; a kind; an open mapping
            continue
        assert set(typing.get_args(field.type)) == _TYPES[column.type], column.name


def test_personal_columns_are_these() -> None:
    # Written out on purpose: a column that points at a person and is not in here is not erasable.
    assert sorted(PERSONAL) == sorted(
        """message error_message error_stack user claimed_user session api_key client_ip
        client_port peer_ip user_agent path query referer objects db_user db_statement
        attributes raw""".split()
    )
    assert {c.name for c in COLUMNS if c.personal} == PERSONAL


def test_text_columns_are_those_that_redaction_looks_into() -> None:
    assert set(TEXT_COLUMNS) == {c.name for c in COLUMNS if c.type is Type.TEXT}
    assert {"message", "raw", "attributes", "query", "db_statement"} <= set(TEXT_COLUMNS)


@pytest.mark.parametrize(("one", "other"), list(pairwise(ALL)))
def test_the_fingerprint_changes_when_two_columns_change_places(one: str, other: str) -> None:
    swapped = {one: other, other: one}
    assert fingerprint(tuple(swapped.get(n, n) for n in ALL)) != fingerprint(ALL)


def test_the_fingerprint_changes_with_a_columns_type_and_with_whom_it_points_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = fingerprint(ALL)
    role = NAMES["role"]
    for change in ({"type": Type.INT}, {"personal": True}):
        changed = msgspec.structs.replace(role, **change)
        monkeypatch.setattr(schema, "NAMES", {**NAMES, "role": changed})
        assert fingerprint(ALL) != before
    monkeypatch.setattr(schema, "NAMES", {**NAMES, "role": msgspec.structs.replace(role, doc="x")})
    assert fingerprint(ALL) == before  # words about a column are not part of the record


def test_the_fingerprint_of_some_columns_is_for_ever() -> None:
    # It stands in manifests: another value for the same columns would unseal old vaults.
    want = "time:time:plain\nkind:text:plain\nuser:text:personal\n"
    assert fingerprint(("time", "kind", "user")) == sha256(want.encode()).hexdigest()
