"""No request takes the guest much longer to read than a harmless one of its length."""

# One row of a table is one line, whatever its length.
# ruff: noqa: E501

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from tests.sdk.requests import jwt, seen

from tocsin.sdk.options import Options
from tocsin.sdk.quoted import without_values, words_of
from tocsin.sdk.reading import logins
from tocsin.sdk.reading.reader import Reader
from tocsin.sdk.seen import Failure, Seen
from tocsin.sdk.watching.serving import is_inspected, sane

SIZE = 8_192
#: How much longer than a harmless request of the same kind and length; what is quadratic takes
#: hundreds of times as long.
MOST = 25

HARMLESS = "the order of somebody was shipped on a fine day, and more: of words there is no end; "


def filled(start: str, again: str, end: str = "", size: int = SIZE) -> str:
    """*start*, *again* as often as it fits, and *end*."""
    return start + again * ((size - len(start) - len(end)) // len(again)) + end


#: start, what comes again, end
TEXTS = [
    ("{", "a", ""), ("{ ", "a ", ""), ("query {", "a:", ""), ("{ ", "a: ", ""), ("{", "a:a", "}"), ("{a", " ", "b"),
    ('{ "', '""', ""), ("{ ", '"""', ""), ("{ ", '"""\\"', ""), ("{ ", '"\\', ""), ("{ ", '"a\\""', ""), ("{ ", '"\\n', ""),
    ("{", "(", ""), ("{", "(a", ")"), ("{", "()", ""), ("{", "{", ""), ("{", "query ", ""), (" ", " ", "query"),
    ("", "a", ""), ("", "A1", ""), ("", "1", ""), ("", "1 ", ""), ("", "1-", ""), ("", "+1", ""), ("", "+", "1"),
    ("+1", "1", "a"), ("", "+111111111111111111111111a", ""), ("", "4111 1111 1111 111", ""), ("", "AA00", ""),
    ("", "DE89 3704 0044 ", ""), ("", "@", ""), ("", "a@a", ""), ("", "a.", "@"), ("", "a@a.", ""), ("", "eyJ", ""),
    ("eyJ", "aaaaaaaaaa.", ""), ("", "eyJaaaaaaaaa.", ""), ("", "$2a$", ""), ("", "$pbkdf2", ""), ("", "pbkdf2_sha256$1$", ""),
    ("", "sqlite3.", ""), ("", "psycopg2.a", ""), ("", "at a", ""), ("at ", "a.", ""), ("", 'File "', ""), ('File "', ".py", ""),
    ("", "-----BEGIN ", ""), ("", "AKIA", ""), ("", "xoxb-", ""), ("", "password=", ""), ("", "password: ", ""),
    ("", '"password":', ""), ("", "password", ""), ("", "name: 'token', value: '", ""), ("", "--password ", ""),
    ("", "://", ""), ("", "://a:", "@"), ("", "a:b@", ""), ("", "=", ""), ("", "&", ""), ("", "a=&", ""), ("", "%", ""),
    ("", "%25", ""), ("", "%2525", ""), ("", "%E0", ""), ("", "\\u0041", ""), ("", "\\x41", ""), ("", "&lt;", ""),
    ("", "<", ""), ("", "<a", ""), ("", "<input ", ""), ("<input ", "a", ""), ("", "<input type", ""), ("", "<script ", ""),
    ("", "<style>", ""), ("", "<password>", ""), ("", "'", ""), ("", "' ", ""), ("", "''", "a"), ("", "`", ""), ("", ";", ""),
    ("", "../", ""), ("", "/", ""), ("", "//", ""), ("", "/reset", ""), ("/reset/", "a", ""), ("", "/reset/aB3dE5fG", ""),
    ("", "-", ""), ("", "_", ""), ("", ".", ""), ("", ",", ""), ("", ", ", ""), ("", "\n", ""), ("", "\r\n", ""), ("", "\t", ""),
    ("", " ", ""), ("", "a ", ""), ("", "\0", ""), ("", "é", ""), ("", "\uff41", ""), ("", "\u0130", ""), ("", "😀", ""),
    ("", "form-data; name=", ""), ("", 'form-data; name=\\"a\\"', ""), ("", "mysql -p", ""), ("", "curl -u a:", ""),
    ("", "Bearer ", ""), ("", "Bearer a", ""), ("", "Basic YTpi", ""), ("", "token is ", ""), ("", "your code is 123", ""),
    ("", "[redacted:", ""), ("", "[redacted:a]", ""), ("", "0x", ""), ("", "a" * 63 + " ", ""), ("", "0123456789abcdef", ""),
    ("", "0190a5b2-7e1c-7000-8000-0123456789ab", ""), ("", "token expired ", ""), ("", "invalid token ", ""), ("", "user ", ""),
    ("", "[SQL: ", ""), ("", "input_value=", ""), ("", "Key (a)=(", ""), ("", "$a$", ""), ("", "1.", ""), ("", ' near "', ""),
]  # fmt: skip


def with_more(request: Seen, *lines: tuple[bytes, bytes]) -> Any:
    """Its header lines and these."""
    return (*request.headers, *lines)


def by_query(text: str) -> Seen:
    return seen(f"GET /a?{text}")


def by_path(text: str) -> Seen:
    request = seen("GET /", 404)
    request.path, request.route = f"/{text}", None
    return request


def by_header(name: str) -> Callable[[str], Seen]:
    def made(text: str) -> Seen:
        request = seen("GET /a", 401)
        request.headers = with_more(request, (name.encode(), text.encode("utf-8", "replace")))
        return request

    return made


def by_lines(text: str) -> Seen:
    request = seen("GET /a")
    lines = [
        (f"x-{n}".encode(), text[n * 8 : n * 8 + 8].encode("utf-8", "replace"))
        for n in range(SIZE // 8)
    ]
    request.headers = with_more(request, *lines)
    return request


def by_same_line(text: str) -> Seen:
    request = seen("GET /a")
    data = text.encode("utf-8", "replace")
    lines = [(b"x-forwarded-for", data[at : at + 4]) for at in range(0, SIZE, 4)]
    request.headers = with_more(request, *lines)
    return request


def by_body(text: str) -> Seen:
    return seen("POST /a", 422, body={"query": text, "note": 1})


def by_key(text: str) -> Seen:
    return seen("POST /a", body={text: {text: 1}})


def by_keys(text: str) -> Seen:
    return seen("POST /a", body={f"{text[at : at + 32]}{at}": 1 for at in range(0, SIZE, 32)})


def by_login(text: str) -> Seen:
    body = {"username": text[:4000], "password": text[:4000]}
    return seen("POST /login", 200, {"status": "fail", "message": text}, body=body)


def by_form(text: str) -> Seen:
    return seen("POST /a", form=text)


def by_odd_form(text: str) -> Seen:
    return seen("POST /a", form="{" + text)


def by_raw(text: str) -> Seen:
    request = seen("POST /a", headers={"content-type": "application/json"}, cut_in=True)
    request.body_in = [b'{"a": ' + text.encode("utf-8", "replace")]
    return request


def by_string(text: str) -> Seen:
    request = by_raw(text)
    request.body_in = [b'{"a": "' + text.encode("utf-8", "replace")]
    return request


def by_multipart(text: str) -> Seen:
    request = seen("POST /a", headers={"content-type": "multipart/form-data; boundary=b"})
    request.body_in = [f"--b\r\nContent-Disposition: form-data; {text}".encode("utf-8", "replace")]
    return request


def by_field(text: str) -> Seen:
    request = by_multipart(text)
    request.body_in = [
        f'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n{text}\r\n--b--'.encode(
            "utf-8", "replace"
        )
    ]
    return request


def by_answer(text: str) -> Seen:
    return seen("GET /a", 200, {"message": text, "status": "error"})


def by_page(text: str) -> Seen:
    form = "username=joe&password=wrong-one"
    request = seen("POST /login", form=form, out={"content-type": "text/html"})
    request.body_out = [text.encode("utf-8", "replace")]
    return request


def by_cookie(text: str) -> Seen:
    return seen("POST /login", form="username=joe&password=a", out={"set-cookie": text})


def by_failure(text: str) -> Seen:
    return seen("GET /a", 500, failure=Failure("app.Boom", text[:4096], text[:4096]))


WAYS = {
    "query": by_query, "path": by_path, "lines": by_lines, "forwarded": by_same_line, "body": by_body, "key": by_key,
    "keys": by_keys, "login": by_login, "form": by_form, "odd form": by_odd_form, "raw": by_raw, "string": by_string,
    "multipart": by_multipart, "field": by_field, "answer": by_answer, "page": by_page, "cookie": by_cookie,
    "failure": by_failure,
    **{name: by_header(name) for name in ("user-agent", "referer", "cookie", "authorization", "x-forwarded-for",
                                          "content-type", "x-api-key", "x-odd", "host")},
}  # fmt: skip


def took(call: Callable[[], object], enough: float = 0.0) -> float:
    """CPU seconds of a call; of the quickest of three, while none takes less than *enough*."""
    best = float("inf")
    for _ in range(3):
        start = time.thread_time()
        call()
        best = min(best, time.thread_time() - start)
        if best < enough:
            break
    return best


def reading(make: Callable[[str], Seen], text: str, enough: float = 0.0) -> float:
    """Seconds that a reader takes that knows nothing yet."""
    request = make(text)
    options = Options(hash_key="x", trusted_proxies=("198.51.100.7",))
    return took(lambda: Reader(options).read(request), enough)


@pytest.mark.parametrize("way", WAYS)
def test_no_text_whatsoever_takes_longer_than_its_length_allows(way: str) -> None:
    make = WAYS[way]
    reading(make, HARMLESS)
    usual = max(reading(make, filled("", HARMLESS)), 400e-6)
    slow = {}
    for start, again, end in TEXTS:
        ratio = reading(make, filled(start, again, end), MOST * usual) / usual
        if ratio > MOST:
            slow[start, again, end] = round(ratio)
    assert not slow


@pytest.mark.parametrize(
    "body",
    [
        b"[" * SIZE, b'{"a":' * (SIZE // 5), b"[[]," * (SIZE // 4), b"[{}," * (SIZE // 4), b'{"a":[' * (SIZE // 6), b'{"a":1,' * (SIZE // 7),
        b"[" + b"1," * (SIZE // 2), b'{"a":' + b"1" * SIZE, b'{"a":' + b"1" * SIZE + b"}", b'{"a":1e' + b"9" * SIZE + b"}",
        b"[" + b"NaN," * (SIZE // 4), b"[" + b"NaN," * (SIZE // 4) + b"1]", b'"' * SIZE, b'{"' + b'\\"' * (SIZE // 2), b"\\" * SIZE,
        b"\xff\xfe" + b"{\0" * (SIZE // 2), b"\0" * SIZE, b" " * SIZE, b"{" + b" " * SIZE, b"}" * SIZE, b"]" * SIZE, b", " * SIZE,
        ("[" + ",".join(f'{{"k{n}":[{{"k":{n}}}]}}' for n in range(400)) + "]").encode(),
        b"--b" * (SIZE // 3), b"--b\r\n" * (SIZE // 5), b"--b" + b"\r\n\r" * (SIZE // 3), b"--b\r\nContent-Disposition:" * (SIZE // 25),
        b"--b\r\n" + b"content-disposition: form-data; name=" * (SIZE // 37), b"--b\r\ncontent-disposition: form-data" + b"; " * SIZE,
        b"--b\r\ncontent-disposition: form-data" + b';name="' * SIZE, b"--b\ncontent-disposition:form-data;name=a\n\n" * (SIZE // 41),
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "kind",
    [
        "application/json",
        "multipart/form-data; boundary=b",
        "application/x-www-form-urlencoded",
        "text/plain",
    ],
)
@pytest.mark.parametrize("cut", [False, True])
def test_no_body_whatsoever_takes_longer_than_its_length_allows(
    body: bytes, kind: str, cut: bool
) -> None:
    def made(data: bytes) -> Callable[[str], Seen]:
        request = seen("POST /a", headers={"content-type": kind}, cut_in=cut)
        request.body_in = request.body_out = [data]
        return lambda _: request

    harmless = json.dumps({"text": filled("", HARMLESS)}).encode()
    usual = max(reading(made(harmless), ""), 400e-6)
    assert reading(made(body), "", MOST * usual) < MOST * usual


def test_no_token_and_no_words_take_longer_than_their_length_allows() -> None:
    usual = max(took(lambda: without_values(filled("", HARMLESS))), 100e-6)
    for start, again, end in TEXTS:
        text = filled(start, again, end)
        calls: list[Callable[[], object]] = [
            partial(without_values, text),
            partial(without_values, text, "psycopg.Error"),
            partial(words_of, ValueError(text)),
            partial(is_inspected, text),
            partial(sane, text),
        ]
        for call in calls:
            assert took(call, MOST * usual) < MOST * usual
    token = {"authorization": f"Bearer {jwt({'sub': 'a' * 5000})}"}
    assert reading(lambda _: seen("GET /a", headers=token), "") < MOST * 400e-6


def test_a_page_of_fields_takes_no_longer_than_its_length() -> None:
    page = "<input " * 9_362
    began = time.process_time()
    for _ in range(5):
        assert logins._FORM.search(page) is None
    # 64 KB, five times: 500 ms when each field was read up to 512 characters on, 8 ms now.
    assert time.process_time() - began < 0.1
    assert logins._FORM.search(page + '<input class="x" type=password>')
