"""The short cuts of redaction are short cuts: they say what redaction says."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tocsin.event.redact import redact
from tocsin.sdk.reading import clean
from tocsin.sdk.reading.clean import Cleaner

WORDS = st.sampled_from(
    "orders users api v1 v22 12 4711 123456 page limit name value token password pin otp code "
    "key login ann secret session id card iban from to q sort abcdefghij 078051120 sig state "
    "hash".split()
)
SEGMENTS = st.one_of(WORDS, st.from_regex(r"[a-z0-9_.%-]{1,14}", fullmatch=True))


@given(st.lists(SEGMENTS, max_size=6).map(lambda parts: "/" + "/".join(parts)))
@example("/reset/password/abcdef")
@example("/cards/411111/111111/1111")
@settings(max_examples=400)
def test_a_path_is_what_redaction_says(path: str) -> None:
    assert Cleaner().path(path) == redact(path)


@given(
    st.lists(st.tuples(SEGMENTS, SEGMENTS), max_size=5).map(
        lambda pairs: "&".join(f"{name}={value}" for name, value in pairs)
    )
)
@example("name=password&value=abcdef")
@example("a=1&a=2&pin=1234")
@example("a=1;b=2")
@settings(max_examples=400)
def test_a_query_is_what_redaction_says(query: str) -> None:
    assert Cleaner().query(query) == redact(query)


LINK = "[redacted:token]"


@pytest.mark.parametrize(
    ("path", "clean_path"),
    [
        ("/reset/5f3a9c", f"/reset/{LINK}"),
        ("/password-reset/confirm/aGVsbG8gd29ybGQx", f"/password-reset/confirm/{LINK}"),
        ("/v1/verify/493027", f"/v1/verify/{LINK}"),
        ("/verify/493027/done", f"/verify/{LINK}/done"),
        ("/Reset/42/bx7-1f0a9/", f"/Reset/42/{LINK}/"),
        ("/invite/0190a5b2-7e1c-7000-8000-0123456789ab", f"/invite/{LINK}"),
        ("/api/magic_link/QWxhZGRpbjpvcGVuIHNl", f"/api/magic_link/{LINK}"),
        ("/activate/deadbeefdeadbeefdeadbeefdeadbeef", f"/activate/{LINK}"),
    ],
)
def test_what_opens_an_account_is_cut_out_of_its_path(path: str, clean_path: str) -> None:
    cleaner = Cleaner()
    for _ in range(2):
        assert cleaner.path(path) == clean_path
        url = f"https://example.org{path}"
        assert (
            cleaner.url(f"{url}?code=1234&a=b")
            == f"https://example.org{clean_path}?code={LINK}&a=b"
        )
        assert cleaner.query("a=b&code=493027&otp=1", path).startswith(
            f"a=b&code={LINK}&otp=[redac"
        )
    assert cleaner.query("code=493027", "/orders") == "code=493027"


@pytest.mark.parametrize(
    "path",
    [
        "/invites/42",
        "/reset/password",
        "/verify/email",
        "/reset",
        "/confirm/step-2",
        "/invite/v2/new",
    ],
)
def test_a_path_that_only_leads_there_stays(path: str) -> None:
    assert Cleaner().path(path) == path


def test_secrets_are_cut_out_however_often_they_come() -> None:
    cleaner = Cleaner()
    for _ in range(3):
        assert cleaner.query("a=1&token=abcdef123456") == "a=1&token=[redacted:token]"
        assert cleaner.text("password=hunter2") == "password=[redacted:password]"


def test_what_is_remembered_is_bounded() -> None:
    cleaner = Cleaner()
    for n in range(3 * clean.MOST):
        cleaner.text(f"agent {n}")
        cleaner.query(f"n{'x' * (n % 20)}q={n}abc")
    assert len(cleaner._seen) <= clean.MOST
    assert len(cleaner._names) <= clean.MOST
