"""Tables and texts fit the terminal between words, and a pipe gets whole cells on whole lines."""

from __future__ import annotations

import pytest

from tocsin.cli import out

HEAD = ["id", "severity", "opened", "entity", "events", "title"]
ROWS = [
    ["inc-5d2f0c9a1b3e", "high", "3m ago", "client_ip=198.51.100.23", "120", "Password spray"],
    [
        "inc-87e05bfc37b5",
        "medium",
        "12m ago",
        "user=mira",
        "38",
        "Functions are probed by one user of the shop",
    ],
]


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> int:
    width: int = request.param
    monkeypatch.setattr(out, "terminal_width", lambda _stream=None: width)
    return width


def words(text: str) -> list[str]:
    return text.split()


@pytest.mark.parametrize("wide", [80, 100, 120], indirect=True)
def test_a_table_fits_the_terminal_and_breaks_no_word(
    wide: int, capsys: pytest.CaptureFixture[str]
) -> None:
    out.table(HEAD, ROWS, whole=["id", "opened", "entity"], drop=["events", "opened"])
    printed = capsys.readouterr().out
    assert all(len(line) <= wide for line in printed.splitlines())
    every = {word for row in ROWS for cell in row for word in words(cell)}
    assert {word for line in printed.splitlines()[1:] for word in words(line)} <= every
    assert "client_ip=198.51.100.23" in printed
    assert ("events" in printed, "opened" in printed) == (wide >= 100, wide >= 80)


@pytest.mark.parametrize("wide", [80], indirect=True)
def test_a_column_without_a_value_is_left_out_of_a_table(
    wide: int, capsys: pytest.CaptureFixture[str]
) -> None:
    del wide
    out.table(["id", "blind for"], [["a", ""], ["b", ""]])
    assert capsys.readouterr().out == "id\na\nb\n"


@pytest.mark.parametrize("wide", [40], indirect=True)
def test_a_text_goes_on_below_what_it_says_and_a_path_stays_whole(
    wide: int, capsys: pytest.CaptureFixture[str]
) -> None:
    path = "/var/log/" + "very-long-name/" * 4
    out.put(f"  why      one two three four five six seven {path}", hang=11)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("  why      one two")
    assert all(line.startswith(" " * 11) for line in lines[1:])
    assert path in [line.strip() for line in lines]
    assert all(len(line) <= wide for line in lines if path not in line)


def test_a_pipe_gets_a_head_and_whole_cells_with_tabs_between_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    out.table(HEAD, ROWS, whole=["id"], drop=["events"])
    assert capsys.readouterr().out == "".join("\t".join(row) + "\n" for row in [HEAD, *ROWS])
    out.put("a line " * 100)
    assert len(capsys.readouterr().out.splitlines()) == 1
    assert out.shortened(["inc-5d2f0c9a1b3e"]) == {"inc-5d2f0c9a1b3e": "inc-5d2f0c9a1b3e"}


@pytest.mark.parametrize("wide", [80], indirect=True)
def test_an_id_is_shortened_to_what_no_other_begins_with(wide: int) -> None:
    del wide
    ids = [
        "inc-5d2f0c9a1b3e",
        "inc-5d2f0c9ad000",
        "inc-87e05bfc37b5",
        "7d85d464-b59a-455a-99bd-82dbb139350e",
        "mine",
    ]
    short = out.shortened(ids)
    assert list(short) == sorted(ids)
    assert (short["inc-87e05bfc37b5"], short["mine"]) == ("inc-87e05bfc", "mine")
    assert short["7d85d464-b59a-455a-99bd-82dbb139350e"] == "7d85d464"
    assert all(sum(one.startswith(beginning) for one in ids) == 1 for beginning in short.values())
