"""What the search language takes, what it refuses, and what it says then."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tocsin.errors import QueryError
from tocsin.query import parse
from tocsin.query.fields import ALIASES, FORMS
from tocsin.query.nodes import EVERYTHING, Exists, Instant, Match, Not, Or, Range, Regex, Within

GOOD = {
    "": "*",
    "*": "*",
    "hello": "hello",
    "hello*world": "hello*world",
    '"free text"': '"free text"',
    "user:alice": "user:alice",
    "USER:alice": "user:alice",
    "ip:10.1.2.3": "client_ip:10.1.2.3",
    "ip:10.1.2.3/8": "client_ip:10.0.0.0/8",
    "ip:fe80::1": "client_ip:fe80::1",
    "ip:::1": "client_ip:::1",
    "ip:2001:DB8:0::/32": "client_ip:2001:db8::/32",
    "ip:::ffff:10.0.0.1": "client_ip:10.0.0.1",
    "ip:::ffff:10.0.0.0/104": "client_ip:10.0.0.0/8",
    "ip:10.0.*": "client_ip:10.0.*",
    "route:/v1/users/{id}": "route:/v1/users/{id}",
    "user:alice@example.org": "user:alice@example.org",
    "authority:example.org:8443": "authority:example.org:8443",
    "query:a=b&c=d%20e": "query:a=b&c=d%20e",
    "status:>=500": "status:>=500",
    "status:[400 TO 499]": "status:[400 TO 499]",
    "status:[400 to *]": "status:>=400",
    "status:[* TO *]": "status:*",
    "status:4*": "status:4*",
    'source_seq:"-1"': 'source_seq:"-1"',
    "duration:>500ms": "duration_ns:>500000000",
    "duration:[1s TO 1m30s]": "duration_ns:[1000000000 TO 90000000000]",
    "duration:>0": "duration_ns:>0",
    "duration_ns:>500": "duration_ns:>500",
    "bytes_out:>10MB": "bytes_out:>10000000",
    "bytes_in:<=1.5KiB": "bytes_in:<=1536",
    "time:>now-15m": "time:>now-15m",
    "time:[now-1h TO NOW]": "time:[now-1h TO now]",
    "time:2026-11-01": "time:2026-11-01",
    "time:<2026-11-01T10:15": "time:<2026-11-01T10:15Z",
    'time:>="2026-11-01 10:15:00"': "time:>=2026-11-01T10:15:00Z",
    "time:2026-11-01T10:15:00.25+02:00": "time:2026-11-01T08:15:00.25Z",
    "kind:AUTHN_Login_Fail": "kind:authn_login_fail",
    "kind:permissions_changed": "kind:privilege_permissions_changed",
    "kind:authn_*": "kind:authn_*",
    "seq:17": "seq:17",
    "tag:sig.sqli.*": "tags:sig.sqli.*",
    "attr.order_id:42": "attributes.order_id:42",
    "attributes.http.flavor:h2": "attributes.http.flavor:h2",
    "attr.total:>9.5": "attributes.total:>9.5",
    "user:*": "user:*",
    'user:""': 'user:""',
    'user:"or"': 'user:"or"',
    'user:"a*b"': 'user:"a*b"',
    'user:"say \\"hi\\""': 'user:"say \\"hi\\""',
    r'path:"C:\temp"': r"path:C:\temp",
    r'path:~"^/a\"\d+\\$"': r'path:~"^/a\"\d+\\$"',
    "user:(a OR b OR c*)": "user:a OR user:b OR user:c*",
    "a b": "a b",
    "a AND b and c": "a b c",
    "a OR b c or d": "a OR b c OR d",
    "(a OR b) c": "(a OR b) c",
    "(a)(b)": "a b",
    "-user:bob": "-user:bob",
    "NOT user:bob": "-user:bob",
    "not(a b)": "-(a b)",
    "- - a": "a",
    "-*": "-*",
    "* a": "a",
    "* OR a": "*",
    "or-1 android NOTHING not-found": "or-1 android NOTHING not-found",
    "a-b": "a-b",
    "user:a:b": "user:a:b",
    "\tuser:a\n\u00a0b ": "user:a b",
}


@pytest.mark.parametrize(("text", "normal"), GOOD.items())
def test_a_search_is_understood_and_printed_in_its_normal_form(text: str, normal: str) -> None:
    node = parse(text)
    assert str(node) == normal
    assert parse(normal) == node


BAD = [
    ("usr:bob", 1, 'unknown field "usr"; did you mean user'),
    ("a clientip:1", 3, "did you mean client_ip"),
    ("http://x/y", 1, 'quote it: "http://x/y"'),
    ("fe80::1", 1, 'quote it: "fe80::1"'),
    ("::1", 1, 'quote it: "::1"'),
    ("attr:x", 1, 'unknown field "attr"'),
    ("user:-1", 6, 'quoted: user:"-1"'),
    ("status:>=-1", 10, "must be quoted"),
    ("a | count", 3, '"|" is reserved'),
    ("a|b", 2, '"|" is reserved'),
    ("user:a|b", 7, '"|" is reserved'),
    ("route:/a(b)", 9, '"(" may not follow a word'),
    ('a"b"', 2, "may not follow a word"),
    ('"a"b', 1, "closing quote must be followed"),
    ('path:~"a"b', 6, "closing quote must be followed"),
    ("user:or", 6, 'as a value it is quoted: user:"or"'),
    ("user:AND x", 6, "is a keyword"),
    ("user:", 6, "a value must follow"),
    ("user: bob", 6, "without a blank"),
    ("status:>", 9, "the value is missing"),
    ('"abc', 1, "never closed"),
    ('user:"abc\\"', 6, "never closed"),
    ("(a", 3, '")" is missing'),
    ("a)", 2, 'no "("'),
    ("()", 2, "parentheses are empty"),
    ("user:()", 7, "parentheses are empty"),
    ("a OR", 5, "something must follow"),
    ("OR a", 1, "needs a term on each side"),
    ("a AND AND b", 7, "needs a term"),
    ("(a OR)", 6, 'missing before ")"'),
    ("NOT", 4, "something must follow"),
    ("-", 2, "something must follow"),
    ("user:(a b)", 9, "put OR between values"),
    ("user:((a))", 7, "nothing deeper"),
    ("status:4xx", 8, "status:4* or status:[400 TO 499]"),
    ("status:abc", 8, "whole number"),
    ("status:4.5", 8, "whole number"),
    ("status:٤٢", 8, "whole number"),
    ("status:99999999999999999999", 8, "64 bits"),
    ("status:" + "9" * 4000, 8, "64 bits"),
    ("duration:>500", 11, "needs a unit"),
    ("duration:>5parsec", 11, "duration, such as 500ms"),
    ("bytes_out:>5XB", 12, "size in bytes"),
    ("user:>b", 6, "user is text"),
    ("user:[a TO b]", 6, "user is text"),
    ("status:[400 TO 499", 8, "a range is written"),
    ("[1 TO 2]", 1, "a range is written"),
    (">5", 1, "must follow a field"),
    ('~"x"', 1, "a regular expression is written"),
    ("user:~bob", 6, "a regular expression is written"),
    ('status:~"4"', 8, "needs text"),
    ('path:~"(?=x)"', 6, "look-around"),
    ('path:~"("', 6, "unclosed group"),
    (r'path:~"(a)\1"', 6, "backreferences"),
    ('path:~"(a{1000}){1000}"', 6, "too large"),
    ("time:yesterday", 6, "not a time"),
    ("time:2026-13-45", 6, "not a time"),
    ("time:2026-11-01T25:00", 6, "not a time"),
    ("time:1400-01-01", 6, "not a time"),
    ("time:9999-01-01", 6, "not a time"),
    ("time:now-1", 6, "not a time"),
    ("time:2026-*", 6, "takes no wildcard"),
    ("time:>now-99999999999w", 7, "64 bits"),
    ("kind:loginfail", 6, "did you mean authn_login_fail"),
    ("ip:10.0.0.0/33", 4, "not an address or network"),
    ("ip:10.0", 4, "not an address or network"),
    ("ip:1.2.3.4.5", 4, "not an address or network"),
    ("ip:10.*/8", 4, "takes no wildcard"),
    ("attr.x:>abc", 9, "compared with a number"),
    ("attr.x:>1e999", 9, "compared with a number"),
    ("a\ud800b", 2, "not valid text"),
]


@pytest.mark.parametrize(("text", "column", "message"), BAD, ids=[b[0][:24] for b in BAD])
def test_a_search_that_makes_no_sense_names_the_column_and_the_way_out(
    text: str, column: int, message: str
) -> None:
    with pytest.raises(QueryError) as caught:
        parse(text)
    assert message in str(caught.value)
    assert caught.value.column == column


def test_a_search_may_have_4096_bytes_and_no_more() -> None:
    assert parse("é" * 2048) == Match(None, ("é" * 2048,))
    with pytest.raises(QueryError, match="4098 bytes long; the limit is 4096"):
        parse("é" * 2049)


@pytest.mark.parametrize(("left", "right"), [("(", ")"), ("-", ""), ("NOT ", ""), ("-(", ")")])
def test_nesting_is_allowed_to_depth_fifty(left: str, right: str) -> None:
    deepest = 49 // len(left.replace("NOT ", "-"))
    assert parse(left * deepest + "a" + right * deepest) in (Match(None, ("a",)), parse("-a"))
    with pytest.raises(QueryError, match="nested more than 50 deep"):
        parse(left * 60 + "a" + right * 60)


@pytest.mark.parametrize("text", ["(" * 4096, ")" * 4096, "-" * 4096, '"' * 4095, "[" * 4096])
def test_four_kilobytes_of_one_character_are_refused_at_once(text: str) -> None:
    with pytest.raises(QueryError):
        parse(text)


def test_conditions_are_counted() -> None:
    assert isinstance(parse(f"ip:({' OR '.join(['::1'] * 512)})"), Or)
    with pytest.raises(QueryError, match="more than 512 conditions"):
        parse(f"a ip:({' OR '.join(['::1'] * 512)})")
    assert parse(" ".join("a" * 64))
    with pytest.raises(QueryError, match="more than 64 words without a field"):
        parse(" ".join("a" * 65))


def test_every_field_of_the_schema_can_be_asked_for() -> None:
    for name in FORMS:
        assert parse(f"{name}:*") == Exists(name)
    for short, name in ALIASES.items():
        assert parse(f"{short}:*") == Exists(name)


def test_meaning_is_what_it_looks_like() -> None:
    assert parse("") == EVERYTHING
    assert parse("user:a*b") == Match("user", ("a", "b"))
    assert parse('user:"a*b"') == Match("user", ("a*b",))
    assert parse("-status:[400 TO 499]") == Not(Range("status", 400, 499))
    assert parse('ua:~"a.c"') == Regex("user_agent", "a.c")
    assert parse("ip:10.0.0.0/255.0.0.0") == Within("client_ip", "10.0.0.0/8")
    assert parse("time:>=now-1h30m") == Range("time", Instant(-5400 * 10**9, relative=True))


HOSTILE = [
    *'()"|-~[]<>*:\\ \t\n\0',
    *("user:", "status:", "time:", "ip:", "attr.x:", "kind:", "nope:", "and", "OR", "not ", " TO "),
    *(">=", '~"', "4", "now-5m", "::1", "10.0.0.0/8", "é", "\ud800"),
]
pieces = st.sampled_from(HOSTILE)


def column_of_mistake(text: str) -> int | None:
    """Where it is refused; ``None`` if it is understood, and then it must print as itself."""
    try:
        node = parse(text)
    except QueryError as error:
        return error.column or 0
    assert parse(str(node)) == node
    return None


@settings(max_examples=1500, deadline=None)
@given(st.lists(pieces, max_size=14).map("".join) | st.text(max_size=20))
def test_any_text_is_understood_or_refused_at_a_place_within_it(text: str) -> None:
    column = column_of_mistake(text)
    assert column is None or 1 <= column <= len(text) + 1
