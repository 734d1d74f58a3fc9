"""The first lines tell the parser, and what is no text is said to be none."""

from __future__ import annotations

import pytest

from tocsin.errors import Malformed
from tocsin.intake import Sniffer, sniff

COMBINED = '203.0.113.7 - - [23/Nov/2026:05:46:16 +0000] "GET / HTTP/1.1" 200 8 "-" "curl"'
EVENT = '{"time":"2026-11-23T05:46:16Z","kind":"authn_login_fail","user":"bob"}'
NGINX_JSON = (
    '{"time_iso8601":"x","remote_addr":"203.0.113.7","request":"GET / HTTP/1.1","status":200}'
)
PG_JSON = '{"timestamp":"2026-11-23 05:46:22.750 UTC","pid":1,"error_severity":"LOG","message":"m"}'
PG_CSV = (
    '2026-11-23 05:46:22.750 UTC,"u","d",42,"h:1",6b.1,3,"",x,,0,LOG,00000,"a\nb\nc",,,,,,,,,"",,,0'
)
ERROR = "2026/11/23 05:46:16 [error] 31#31: *46 open() failed, client: 203.0.113.7"


@pytest.mark.parametrize(
    ("head", "parser"),
    [
        (COMBINED, "nginx"),
        (COMBINED + ' "198.51.100.4"', "nginx"),
        (ERROR, "nginx"),
        ("\n".join([COMBINED, ERROR, ERROR]), "nginx"),
        ("shop.example:443 " + COMBINED, "apache"),
        (COMBINED.removesuffix(' "-" "curl"'), "apache"),
        ("[Thu Oct 13 12:24:49.880562 2022] [core:info] [pid 1] hello", "apache"),
        ("<134>Nov 23 05:46:16 web-1 nginx: " + COMBINED, "nginx"),
        ("<134>Nov 23 05:46:16 web-1 nginx: " + NGINX_JSON, "nginx_json"),
        (EVENT, "tocsin"),
        (NGINX_JSON, "nginx_json"),
        (PG_JSON, "pg_json"),
        ('{"level":"info","msg":"hello"}', "json"),
        ("\n".join([NGINX_JSON, '{"a":1}']), "json"),
        (PG_CSV, "pg_csv"),
        ("time=2026-11-23T05:46:16Z level=info msg=hi", "kv"),
        ("a=1 b=2", "kv"),
        ("Nov 23 05:46:16 web-1 sshd[42]: Invalid user bob", "text"),
        ("hello = world", "text"),
        ("", "text"),
        ("\n\n \n", "text"),
        ("\ufeff\r\n" + COMBINED + "\r\n", "nginx"),
        ("\n".join([COMBINED] * 7 + ["noise"] * 3), "nginx"),
        ("\n".join([COMBINED] * 5 + ["noise"] * 5), "text"),
        ("\n".join([f"banner {n}" for n in range(60)] + [EVENT] * 20), "tocsin"),
        ("\n".join([f"banner {n}" for n in range(4)] + [EVENT] * 9), "tocsin"),
        ("\n".join(["noise"] * 60 + [EVENT] * 5 + ["noise"] * 5), "text"),
        (COMBINED.replace("23/Nov/2026:05:46:16 +0000", "2026-11-23T05:46:16+00:00"), "nginx"),
        ("2026-11-23T05:46:16Z stdout F " + COMBINED, "nginx"),
        ("2026-11-23T05:46:16Z stdout F " + PG_CSV.replace("\n", " "), "text"),
        ("2026-11-23T05:46:16Z stdout F ", "text"),
    ],
)
def test_the_parser_is_found(head: str, parser: str) -> None:
    assert sniff(head.encode()) == parser


def test_a_banner_longer_than_the_window_is_not_the_format() -> None:
    banner = b"".join(b"banner %d\n" % n for n in range(9_000))
    assert len(banner) > 64 << 10
    assert sniff(banner + (COMBINED + "\n").encode() * 100) == "nginx"


def chunks(*lines: tuple[str, int]) -> list[bytes]:
    return [f"{line}\n".encode() * n for line, n in lines]


def told(*lines: tuple[str, int], named: str | None = None) -> list[str]:
    sniffer = Sniffer(named)
    return [sniffer.parser(chunk) for chunk in chunks(*lines)]


def test_a_stream_that_begins_with_words_is_read_as_what_follows() -> None:
    assert told(("banner", 1), (COMBINED, 60), ("noise", 3)) == ["text", "nginx", "nginx"]
    assert told(("banner", 60), (EVENT, 1), ("banner", 60)) == ["text", "tocsin", "text"]


def test_a_stream_that_changes_its_format_is_read_on() -> None:
    lines = ((COMBINED, 60), (PG_JSON, 3), (COMBINED, 1), ("noise", 60))
    assert told(*lines) == ["nginx", "pg_json", "nginx", "nginx"]


def test_a_mixed_chunk_is_read_as_the_format_that_most_lines_wanted() -> None:
    sniffer = Sniffer()
    assert sniffer.parser(f"{COMBINED}\n".encode() * 20) == "nginx"
    assert sniffer.parser(f"{COMBINED}\nnoise\nnoise\n".encode() * 20) == "nginx"


def test_formats_that_one_parser_reads_are_one() -> None:
    common = COMBINED.removesuffix(' "-" "curl"')
    assert told((COMBINED, 9), (common, 2), (common, 99)) == ["nginx", "nginx", "apache"]
    plain = '{"level":"info"}'
    assert told((EVENT, 9), (plain, 2), (PG_JSON, 1)) == ["tocsin", "tocsin", "pg_json"]


def test_a_format_that_was_named_is_not_asked_about() -> None:
    assert told((COMBINED, 9), ("\0\0\0", 9), named="kv") == ["kv", "kv"]


def test_zeros_do_not_end_a_stream_wherever_they_stand() -> None:
    assert told((COMBINED, 20), ("\0" * 99, 1)) == ["nginx", "nginx"]
    assert told(("words", 1), ("\0" * 99, 1), (EVENT, 1)) == ["text", "text", "tocsin"]
    assert told(("\0" * 99, 1), (EVENT, 1)) == ["text", "tocsin"]
    assert sniff(bytes(1 << 20) + COMBINED.encode()) == "nginx"


@pytest.mark.parametrize("line", [COMBINED, EVENT, "2026-11-28 10:00:00 ERROR it broke"])
@pytest.mark.parametrize(
    "rubbish", [bytes(range(256)) * 400, b"PK\x03\x04" * 9, "words".encode("utf-16") * 99]
)
def test_a_line_of_a_log_is_read_whatever_else_is_in_the_chunk(line: str, rubbish: bytes) -> None:
    assert sniff(rubbish + b"\n" + line.encode() + b"\n")
    with pytest.raises(Malformed):
        sniff(rubbish)


def test_objects_that_cannot_be_decoded_are_json_all_the_same() -> None:
    broken = '{"load":NaN}'
    assert told((broken, 3)) == ["json"]
    assert told((EVENT, 2), (broken, 1)) == ["tocsin", "tocsin"]
    assert sniff(f"{broken}\n{EVENT}\n{broken}".encode()) == "tocsin"
    assert sniff(b"{'level': 'info'}\n{words}") == "text"


def test_a_line_cut_by_the_window_does_not_vote() -> None:
    head = (COMBINED + "\n").encode() + b'{"a":"' + b"x" * 70_000
    assert sniff(head) == "nginx"


@pytest.mark.parametrize(
    ("head", "says"),
    [
        ("hello\n".encode("utf-16"), "UTF-16"),
        (("hello world\n" * 9).encode("utf-16-le"), "UTF-16"),
        (("hello world\n" * 9).encode("utf-16-be"), "UTF-16"),
        (b"\x7fELF\x02\x01\x01" + bytes(range(32)) * 9, "binary"),
        (b"\x1f\x8b\x08 whatever", "archive"),
        (b"PK\x03\x04", "archive"),
    ],
)
def test_what_is_no_text_is_refused_with_the_reason(head: bytes, says: str) -> None:
    with pytest.raises(Malformed, match=says):
        sniff(head)


def test_hostile_json_does_not_stop_it() -> None:
    assert sniff(b'{"a":' * 10_000) == "json"
