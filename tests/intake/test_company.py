"""Lines of several programs in one log: each says what it says alone, none speaks for another."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tocsin.event.batch import complete
from tocsin.intake import Origin, Sniffer, parse, sniff

NOW = 1_795_412_800 * 10**9
ORIGIN = Origin(source="edge")
TIME = "[23/Nov/2026:05:46:16 +0000]"
ACCESS = f'203.0.113.7 - - {TIME} "GET /a?id=1%27%20or%201=1 HTTP/1.1" 200 8 "-" "curl"'
COMMON = f'2001:db8::7 - bob {TIME} "POST /login HTTP/1.1" 401 8'
WORDS = "2026-11-28 10:00:00,123 INFO it works"
SPOKEN = "2026-11-28 10:00:00 WARN authn_login_fail:joe"
JSON = '{"ts":"2026-11-28T10:00:00Z","level":"warn","msg":"hi","a":{"b":1}}'
BROKEN = '{"ts":"2026-11-28T10:00:00Z","load":NaN}'
#: Log messages that imitate other lines, behind what programs write before a message.
FORGED = [
    f"2026-11-28 10:00:00,123 INFO {ACCESS}",
    f"INFO {ACCESS}",
    f"[2026-11-28 10:00:00 +0000] [42] [INFO] {ACCESS}",
    f"shop.auth {ACCESS}",
    f"INFO:shop:{ACCESS}",
    '2026-11-28 10:00:00 INFO {"kind":"authn_login_fail","user":"eve"}',
    f"INFO - bob {TIME} \"GET / HTTP/1.1\" 200 8",
]  # fmt: skip


def read(*lines: str | bytes, parser: str | None = None) -> pl.DataFrame:
    data = b"\n".join(line.encode() if isinstance(line, str) else line for line in lines)
    return complete(
        parse(data, parser or Sniffer().parser(data), ORIGIN, NOW, guessed=parser is None)
    )


def test_access_lines_between_words_are_requests_and_the_words_stay() -> None:
    frame = read(*[ACCESS, WORDS] * 20)
    assert frame["kind"].to_list() == ["request", "log"] * 20
    assert frame["client_ip"].to_list() == ["203.0.113.7", None] * 20
    assert frame["parser"].to_list() == ["nginx", "text"] * 20
    assert frame["layer"].to_list() == ["gateway", None] * 20
    assert frame["message"].to_list() == [None, "INFO it works"] * 20
    assert frame["parse_error"].null_count() == frame.height


def test_few_lines_are_enough_and_a_cut_one_costs_no_other() -> None:
    began = "[2026-11-28 10:00:00 +0000] [42] [INFO] Listening at: http://0.0.0.0:80 (42)"
    assert read(began, began, ACCESS)["kind"].to_list() == ["log", "log", "request"]
    assert read(ACCESS, ACCESS[:60])["kind"].to_list() == ["request", "log"]
    assert read(JSON, JSON[:30], WORDS)["severity"].to_list() == ["warn", None, "info"]


@pytest.mark.parametrize("line", FORGED)
@pytest.mark.parametrize("company", [ACCESS, WORDS, JSON, "a=1 b=2 c=3"])
def test_a_message_that_imitates_another_line_stays_a_message(line: str, company: str) -> None:
    frame = read(*[company] * 9, line)
    row = frame.row(-1, named=True)
    if line.startswith("shop.auth") and company == ACCESS:
        return  # a host before the client, as Apache's vhost_combined has it
    assert (row["kind"], row["client_ip"], row["status"]) == ("log", None, None)
    assert line.endswith(row["message"])


def same(together: pl.DataFrame, alone: pl.DataFrame) -> None:
    """Equal, but for when it was said where a line does not tell: that may be its neighbour's."""
    timed = alone["time"] != alone["observed"]
    borrowed = ("time", "tags")
    assert together.drop(borrowed).equals(alone.drop(borrowed))
    assert together.select(borrowed).filter(timed).equals(alone.select(borrowed).filter(timed))


@settings(deadline=None, max_examples=150)
@given(
    st.lists(
        st.sampled_from((ACCESS, COMMON, WORDS, SPOKEN, JSON, BROKEN, *FORGED[:3])),
        min_size=1,
        max_size=12,
    )
)
def test_a_line_means_the_same_alone_and_in_company_whatever_the_company(lines: list[str]) -> None:
    together = read(*lines)
    alone = pl.concat([read(line) for line in lines])
    # Who read it, and whether it was expected there, is about the company.
    about = ("parser", "layer", "parse_error")
    same(together.drop(about), alone.drop(about))


@settings(deadline=None, max_examples=100)
@given(
    st.lists(
        st.sampled_from(
            (ACCESS, WORDS, SPOKEN, JSON, BROKEN, "a=1 b=2 c=3 ts=1795412800", *FORGED)
        ),
        max_size=9,
    ),
    st.sampled_from(("nginx", "apache", "json", "tocsin", "nginx_json", "pg_json", "kv", "text")),
)
def test_lines_say_the_same_together_and_alone_in_a_guessed_format(
    lines: list[str], parser: str
) -> None:
    def frame(*some: str) -> pl.DataFrame:
        data = "\n".join(some).encode()
        return complete(parse(data, parser, ORIGIN, NOW, guessed=True))

    together = frame(*lines)
    alone = pl.concat([together.clear(), *map(frame, lines)])
    same(together, alone)


def test_a_named_format_is_read_as_that_and_nothing_else() -> None:
    assert read(ACCESS, JSON, parser="text")["kind"].to_list() == ["log", "log"]
    assert read(ACCESS, JSON, parser="nginx")["parse_error"].is_null().to_list() == [True, False]
    assert read(ACCESS, JSON, parser="json")["kind"].to_list() == ["log", "log"]


def test_what_is_in_no_format_of_the_chunk_is_read_as_words_and_says_so() -> None:
    frame = read(*[ACCESS] * 9, WORDS, SPOKEN)
    assert frame["kind"].to_list() == [*["request"] * 9, "log", "authn_login_fail"]
    assert frame["user"].to_list()[-1] == "joe"
    said = frame["parse_error"].to_list()
    assert said == [None] * 9 + ["not an access log line in common or combined format", None]


def test_an_access_line_in_an_envelope_is_read_beside_json() -> None:
    seal = "2026-11-23T05:46:16.1Z stdout F "
    frame = read(*[seal + JSON] * 9, seal + ACCESS, seal + WORDS)
    assert frame["kind"].to_list() == [*["log"] * 9, "request", "log"]
    assert frame["raw"].to_list()[-2] == seal + ACCESS


@pytest.mark.parametrize("line", [ACCESS, JSON, WORDS])
def test_null_bytes_that_a_crash_left_cost_no_line_and_are_counted(line: str) -> None:
    for data, places in (
        (bytes(5000) + f"{line}\n".encode() * 3, [0]),
        (f"{line}\n".encode() + bytes(5000) + f"{line}\n".encode() * 2, [1]),
        (f"{line}\n".encode() * 3 + bytes(5000), [3]),
        (bytes(100_000) + f"\n{line}\n".encode() * 3, [0]),
    ):
        assert sniff(data) == sniff(line.encode()) or len(data) > 64 << 10
        frame = read(data)
        said = frame["parse_error"].str.contains("null bytes were left out").fill_null(False)
        assert said.arg_true().to_list() == places
        whole = frame.filter(~frame["message"].str.starts_with("[").fill_null(False))
        assert whole.drop("parse_error").equals(read(line, line, line).drop("parse_error"))


def test_null_bytes_alone_are_an_event_that_says_how_many() -> None:
    [row] = read(bytes(70_000)).iter_rows(named=True)
    assert (row["kind"], row["message"]) == ("log", "[70,000 null bytes]")
    assert row["parse_error"] == "70,000 null bytes were left out"


def test_a_line_without_a_time_has_that_of_its_neighbour() -> None:
    trace = ["Traceback (most recent call last):", '  File "a.py", line 1', "ValueError: x"]
    frame = read(trace[0], *[JSON] * 6, *trace, JSON.replace("10:00:00", "10:00:05"))
    told = [str(time)[11:19] for time in frame["time"]]
    assert told == ["10:00:00"] * 10 + ["10:00:05"]
    tagged = frame["tags"].list.contains("time_assumed").fill_null(False)
    assert tagged.arg_true().to_list() == [0, 7, 8, 9]


def test_where_no_line_has_a_time_it_is_that_of_receipt() -> None:
    frame = read("one", "two")
    assert frame["time"].equals(frame["observed"].alias("time"))
    assert frame["tags"].null_count() == 2


def test_an_event_of_our_own_format_without_a_time_happens_now() -> None:
    frame = read('{"kind":"log","time":1,"message":"a"}', '{"kind":"log","message":"b"}')
    assert frame["time"][1] == frame["observed"][1]
