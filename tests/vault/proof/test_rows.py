"""The canonical row against a slow encoder that is obviously right, and its own promises."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from hashlib import sha256
from itertools import combinations
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import ECB
from hypothesis import given, settings
from hypothesis import strategies as st

from tocsin.event.batch import SCHEMA
from tocsin.event.schema import COLUMNS, Type
from tocsin.vault import rows, verify_formats
from tocsin.vault.rows import SEQ, Field

SEED = bytes(range(32))
NAMES = ("user", "client_port", "objects", "time", "kind", "status", "tags", "source_seq")
FIELDS = (SEQ, *rows.fields_of(NAMES))

text = st.one_of(
    st.none(), st.text(max_size=6), st.sampled_from(["", "\0", "é\u2028", "\U0001f514"])
)
number = st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1))
texts = st.one_of(st.none(), st.lists(st.text(max_size=3), max_size=3))
BY_TYPE = {Type.TEXT: text, Type.INT: number, Type.TIME: number, Type.TEXTS: texts}
row = st.fixed_dictionaries({n: BY_TYPE[f.type] for n, f in zip(NAMES, FIELDS[1:], strict=True)})


def part(values: dict[str, Any], fields: Sequence[Field]) -> bytes:
    """One part of a row, as the format's description says it, word for word."""
    lengths = numbers = bodies = b""
    for field in fields:
        value = values[field.name]
        if value is None:
            lengths += b"\xff\xff\xff\xff"
            numbers += bytes(8) if field.type in (Type.INT, Type.TIME) else b""
        elif field.type in (Type.INT, Type.TIME):
            lengths += struct.pack("<I", 8)
            numbers += struct.pack("<q", value)
        else:
            items = [value.encode()] if field.type is Type.TEXT else [v.encode() for v in value]
            body = items[0] if field.type is Type.TEXT else b""
            if field.type is Type.TEXTS:
                body = b"".join(struct.pack("<I", len(item)) + item for item in items)
            lengths += struct.pack("<I", len(body))
            bodies += body
    return lengths + numbers + bodies


def leaf(values: dict[str, Any], place: int, fields: Sequence[Field] = FIELDS) -> bytes:
    """The leaf of one row; the keystream block by block."""
    salt = Cipher(AES256(SEED), ECB()).encryptor().update(place.to_bytes(16, "big"))
    personal = part(values, [f for f in fields if f.personal])
    inner = sha256(b"\2" + salt + personal).digest()
    return sha256(b"\0" + inner + part(values, [f for f in fields if not f.personal])).digest()


def table(values: Sequence[dict[str, Any]]) -> Any:
    schema = {n: pl.Int64() if n == "time" else SCHEMA[n] for n in NAMES}
    frame = pl.DataFrame(values, schema=schema).with_columns(pl.col("time").cast(SCHEMA["time"]))
    return frame.insert_column(0, pl.Series("seq", range(len(values)), dtype=pl.Int64)).to_arrow()


def numbered(values: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"seq": i, **v} for i, v in enumerate(values)]


@given(st.lists(row, max_size=6))
@settings(deadline=None)
def test_the_fast_encoder_says_what_the_slow_one_says(values: list[dict[str, Any]]) -> None:
    expected = [leaf(v, i) for i, v in enumerate(numbered(values))]
    assert rows.leaves(table(values), FIELDS, SEED) == expected


@given(st.lists(row, min_size=1, max_size=6))
@settings(deadline=None)
def test_the_verifier_reads_the_same_rows_with_code_of_its_own(
    values: list[dict[str, Any]],
) -> None:
    columns = [verify_formats.Column(*line.split(":")) for line in rows.describe(FIELDS)]
    found = list(verify_formats.leaves(table(values), columns, SEED))
    assert found == rows.leaves(table(values), FIELDS, SEED)


@given(st.lists(row, min_size=2, max_size=5), st.integers(1, 4))
@settings(deadline=None)
def test_how_the_rows_are_cut_into_chunks_makes_no_difference(
    values: list[dict[str, Any]], cut: int
) -> None:
    whole = table(values)
    pieces = pa.concat_tables([whole.slice(0, cut), whole.slice(cut)])  # type: ignore[attr-defined]  # pyarrow has no types
    assert rows.leaves(pieces, FIELDS, SEED) == rows.leaves(whole, FIELDS, SEED)
    rest = whole.slice(1)
    assert rows.leaves(rest, FIELDS, SEED) == [
        leaf(v, i) for i, v in enumerate(numbered(values)[1:])
    ]


@given(row, row)
@settings(deadline=None)
def test_two_rows_that_differ_never_have_the_same_bytes(
    one: dict[str, Any], two: dict[str, Any]
) -> None:
    same = part(one, FIELDS[1:]) == part(two, FIELDS[1:])
    assert same == (one == two)


NOTHING: dict[str, Any] = dict.fromkeys(NAMES)
ALIKE: list[dict[str, Any]] = [
    NOTHING,
    NOTHING | {"user": ""},
    NOTHING | {"user": "\0"},
    NOTHING | {"kind": ""},
    NOTHING | {"tags": []},
    NOTHING | {"tags": [""]},
    NOTHING | {"tags": ["", ""]},
    NOTHING | {"tags": ["ab"]},
    NOTHING | {"tags": ["a", "b"]},
    NOTHING | {"tags": ["b", "a"]},
    NOTHING | {"objects": ["ab"]},
    NOTHING | {"user": "ab"},
    NOTHING | {"kind": "ab"},
    NOTHING | {"status": 0},
    NOTHING | {"status": 8},
    NOTHING | {"source_seq": 0},
    NOTHING | {"client_port": 0},
    NOTHING | {"time": 0},
]


def test_null_and_empty_and_the_next_column_are_all_told_apart() -> None:
    found = [rows.leaves(table([values]), FIELDS, SEED)[0] for values in ALIKE]
    for one, two in combinations(range(len(ALIKE)), 2):
        assert found[one] != found[two], (ALIKE[one], ALIKE[two])


def test_the_place_of_a_row_is_part_of_it() -> None:
    twice = rows.leaves(table([NOTHING, NOTHING]), FIELDS, SEED)
    assert twice[0] != twice[1]


def test_another_seed_hides_the_personal_columns_and_nothing_else_depends_on_it() -> None:
    values = table([NOTHING | {"kind": "request"}])
    assert rows.leaves(values, FIELDS, SEED) != rows.leaves(values, FIELDS, bytes(32))


def test_the_salts_are_the_keystream_of_the_seed() -> None:
    block = Cipher(AES256(SEED), ECB()).encryptor().update((5).to_bytes(16, "big"))
    assert rows.salts(SEED, 7)[80:96] == block
    assert len(rows.salts(SEED, 7)) == 7 * 16


def test_this_row_has_this_leaf_for_ever() -> None:
    values = {
        "user": "ålice",
        "client_port": 443,
        "objects": ["a1", ""],
        "time": 1_700_000_000_000_000_001,
        "kind": "request",
        "status": None,
        "tags": [],
        "source_seq": -1,
    }
    (found,) = rows.leaves(table([values]), FIELDS, SEED)
    assert found == leaf({"seq": 0, **values}, 0)
    assert found.hex() == "ef03bf73a4d86214734bee67473c96dfbb167a8ab8be00349503c14c39abd278"


def test_the_schema_names_type_and_person_of_each_column() -> None:
    assert rows.describe(rows.fields_of(["seq", "time", "user", "tags"])) == [
        "seq:int:plain",
        "time:time:plain",
        "user:text:personal",
        "tags:texts:plain",
    ]
    one = rows.schema_hash(rows.describe(rows.fields_of(["user", "claimed_user"])))
    two = rows.schema_hash(rows.describe(rows.fields_of(["claimed_user", "user"])))
    assert one != two


@pytest.mark.parametrize("column", COLUMNS, ids=lambda c: c.name)
def test_every_column_of_the_schema_can_be_hashed(column: Any) -> None:
    value = {Type.TEXT: "x", Type.INT: 1, Type.TIME: 1, Type.TEXTS: ["x"]}[column.type]
    kind = pl.Int64() if column.type is Type.TIME else SCHEMA[column.name]
    frame = pl.DataFrame({column.name: [value]}, schema={column.name: kind})
    fields = rows.fields_of([column.name])
    frame = frame.cast({column.name: SCHEMA[column.name]})
    found = rows.leaves(frame.to_arrow(), fields, SEED)
    assert found == [leaf({column.name: value}, 0, fields)]


def test_a_range_without_rows_has_no_leaves() -> None:
    assert rows.leaves(table([]), FIELDS, SEED) == []
