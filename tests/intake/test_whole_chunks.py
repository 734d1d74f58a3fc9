"""A chunk of JSON lines that is read as a whole says what its lines say one by one."""

from __future__ import annotations

import json

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tocsin.event.batch import complete
from tocsin.intake import Origin, parse
from tocsin.intake.columns import canonical, put
from tocsin.intake.parsers import aliases, objects, requests
from tocsin.intake.parsers.lines import Lines
from tocsin.intake.parsers.readers import READERS

NOW = 1_795_412_800 * 10**9
ORIGIN = Origin(source="edge")
GOOD = b'{"kind":"request","path":"/a","status":200}'
LINES = (
    GOOD,
    b'{"kind":"log","message":"}{"}',
    b'{"kind":"request","path":"/a","path":"/b","status":404}',
    b'{"kind":"log"}{"kind":"log"}',
    b'{"kind":"log"} {"kind":"request","status":200}',
    b'{"kind":"log","message":',
    b'"one","path":"/c"}',
    b'{"kind":"log","attributes":{}',
    b',"path":"/d"}',
    b'{"kind":"log","attributes":{"a":{"b":1}}}',
    b'{"kind":"log"},',
    b'{"kind":"request","status":"200"}',
    b'{"kind":"log"}\r',
    b'{"kind":"log","message":"\xff"}',
    b'{"severity":"INFO","outcome":"ok"}',
    b"{}",
    b"[{}]",
    b"no json",
    b"   ",
    b"",
)


@pytest.fixture(scope="module", autouse=True)
def _short_blocks() -> object:  # a module's fixture, so that hypothesis may use it again and again
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(objects, "BLOCK", 3)
        yield


@settings(deadline=None, max_examples=300)
@given(
    lines=st.lists(st.sampled_from((*LINES, GOOD, GOOD, GOOD)), max_size=12),
    end=st.booleans(),
    parser=st.sampled_from(("tocsin", "json")),
)
def test_lines_say_the_same_together_and_alone(lines: list[bytes], end: bool, parser: str) -> None:
    data = b"\n".join(lines) + b"\n" * end
    together = complete(parse(data, parser, ORIGIN, NOW))
    alone = [complete(parse(line, parser, ORIGIN, NOW)) for line in lines]
    assert together.equals(pl.concat([together.clear(), *alone]))


# Pieces of objects with keys that may stand twice, and of what only looks as if.
KEYS = ("user", r"us\u0065r", r"a\\", ":", "n:", r"x\":")
VALUES = ("1", "null", '"::1"', '":null"', r'"\":"', '"a:b :c"', r'[":n","\\"]', '{"user":2}', "{}")


@settings(deadline=None, max_examples=300)
@given(
    lines=st.lists(
        st.lists(
            st.tuples(
                st.sampled_from(KEYS), st.sampled_from((":", " :", ": ")), st.sampled_from(VALUES)
            ),
            max_size=5,
        ),
        min_size=1,
        max_size=7,
    ),
    nested=st.booleans(),
    inside=st.booleans(),
)
def test_keys_that_stand_twice_are_found_in_any_company(
    lines: list[list[tuple[str, str, str]]], nested: bool, inside: bool
) -> None:
    texts = ["{" + ",".join(f'"{k}"{c}{v}' for k, c, v in pairs) + "}" for pairs in lines]
    if inside:
        texts = [f'{{"attributes":{text}}}' for text in texts]
    told: dict[int, set[str]] = {}
    for item in objects.decode(Lines("\n".join(texts).encode()), nested=nested):
        if isinstance(item, objects.Twice):
            told[item.row] = set(item.keys)
    wanted: dict[int, set[str]] = {}
    for row, text in enumerate(texts):
        lost: set[str] = set()

        def see(pairs: list[tuple[str, object]], lost: set[str] = lost) -> dict[str, object]:
            seen: dict[str, object] = {}
            for key, value in pairs:
                if seen.get(key) is not None and seen[key] != value:
                    lost.add(key)
                seen[key] = value
            return seen

        json.loads(text, object_pairs_hook=see)
        if lost:
            wanted[row] = lost
    assert told == wanted


def test_an_object_over_two_lines_does_not_pay_for_two_objects_in_one() -> None:
    lines = [b'{"kind":"log","message":', b'"x"}', b'{"kind":"log"}{"kind":"log"}', GOOD]
    frame = parse(b"\n".join(lines), "tocsin", ORIGIN, NOW)
    assert frame.height == 4
    assert frame["parse_error"].null_count() == 1
    assert frame["raw"].to_list() == [*(line.decode() for line in lines[:3]), None]


def test_pieces_are_whole_lines_of_which_none_is_lost() -> None:
    for count in range(1, 9):
        for end in (b"", b"\n"):
            pieces = Lines(b"\n".join([GOOD] * count) + end).objects(3)
            assert pieces is not None
            assert [n for _, n in pieces] == [3] * (count // 3) + [count % 3] * (count % 3 > 0)
            assert b"\n".join(piece for piece, _ in pieces).split(b"\n") == [GOOD] * count


@pytest.mark.parametrize(
    "data", [b"", b"\n", b"{", b"{\n}", b"{}\n\n{}", b" {}", b"{}\r\n{}", b"{}\n["]
)
def test_what_is_not_one_object_a_line_is_not_taken_as_such(data: bytes) -> None:
    assert Lines(data).objects(3) is None


@pytest.mark.parametrize("table", [aliases.NATIVE, aliases.NGINX, aliases.GENERIC])
def test_every_known_key_has_a_reader(table: dict[str, aliases.Alias]) -> None:
    assert {reader for _, reader, _ in table.values()} <= {*READERS, "request"}


def test_a_statement_in_foreign_json_is_read() -> None:
    frame = parse(b'{"db.statement":"select 1","msg":"x"}', "json", ORIGIN, NOW)
    assert frame["db_statement"].to_list() == ["select 1"]


def test_putting_a_column_leaves_the_frame_it_was_taken_from_alone() -> None:
    frame = pl.DataFrame({"kind": ["log"], "path": ["/a"]})
    new = put(frame, pl.Series("path", ["/b"]), pl.Series("user", ["joe"]))
    assert new.to_dict(as_series=False) == {"kind": ["log"], "path": ["/b"], "user": ["joe"]}
    assert frame.to_dict(as_series=False) == {"kind": ["log"], "path": ["/a"]}


def test_canonical_columns_have_their_order_and_types_and_a_value() -> None:
    found = canonical(
        [
            pl.Series("status", [200], dtype=pl.Int16),
            pl.Series("user", [None], dtype=pl.String),
            pl.Series("kind", ["log"]),
            pl.Series("foreign", [1]),
        ]
    )
    assert found.schema == {"kind": pl.String(), "status": pl.Int64()}


def test_a_reason_is_looked_up_by_status_and_by_nothing_else() -> None:
    told = [None, -404, 0, 200, 399, 400, 404, 429, 503, 599, 600, 999, 1404, 2**62]
    frame = pl.DataFrame({"status": told}).select(requests.reason(pl.col("status")))
    assert frame.to_series().to_list() == [requests.REASONS.get(status or 0) for status in told]
