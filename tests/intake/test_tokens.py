"""Keys of sources: shown once, checked in constant time, revoked within a second."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event

from tocsin.catalog import open_catalog, tokens
from tocsin.errors import StorageFailed, UsageError
from tocsin.intake.origin import Origin
from tocsin.intake.tokens import Tokens, create, looks_like_token, revoke, tokens_of


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[sa.Engine]:
    engine = open_catalog(tmp_path / "catalog.db")
    yield engine
    engine.dispose()


def test_a_key_opens_the_door_for_its_source_with_all_that_was_said_of_it(
    engine: sa.Engine,
) -> None:
    token = create(
        engine,
        "edge",
        layer="gateway",
        service="shop",
        env="production",
        host="gw1",
        tenant="acme",
        tz="Europe/Paris",
        parser="nginx",
        now=1,
    )
    grant = Tokens(engine).authenticate(token)
    assert grant is not None
    assert grant.parser == "nginx"
    assert grant.origin == Origin(
        source="edge",
        layer="gateway",
        service="shop",
        env="production",
        host="gw1",
        tenant="acme",
        tz="Europe/Paris",
    )


def test_the_key_itself_is_nowhere_in_the_catalog(engine: sa.Engine, tmp_path: Path) -> None:
    token = create(engine, "app", now=1)
    secret = token.split("_")[2].encode()
    assert all(
        secret not in path.read_bytes() and secret[:-6] not in path.read_bytes()
        for path in tmp_path.iterdir()
    )


def test_keys_look_alike_and_are_never_the_same(engine: sa.Engine) -> None:
    made = {create(engine, "app", now=n) for n in range(50)}
    assert len(made) == 50
    assert all(looks_like_token(token) for token in made)
    assert {len(token) for token in made} == {len("tocsin_") + 11 + 1 + 43 + 6}


@given(at=st.integers(0, 67), digit=st.sampled_from("0aZ_-\u00e9"))
def test_a_mistyped_key_does_not_look_like_one(at: int, digit: str) -> None:
    token = "tocsin_0000000abcd_" + "0123456789" * 4 + "abc" + "3jXnkz"
    assert looks_like_token(token)
    typed = token[:at] + digit + token[at + 1 :]
    assert looks_like_token(typed) == (typed == token)


def test_no_other_text_is_a_key(engine: sa.Engine) -> None:
    token = create(engine, "app", now=1)
    other = create(engine, "app", now=1)
    name, secret = token.split("_")[1:]
    keys = Tokens(engine)
    for wrong in (
        "",
        "_",
        "__",
        "tocsin__",
        name,
        secret,
        token + " ",
        token[:-1],
        token.upper(),
        f"tocsin_{name}_",
        f"tocsin_{name}_{other.split('_')[2]}",
        f"other_{name}_{secret}",
        "tocsin_" + name + "_" + "\udcff",
        "x" * 1_000_000,
    ):
        assert keys.authenticate(wrong) is None
    assert keys.authenticate(token) is not None


def test_a_revoked_key_is_as_good_as_an_unknown_one_within_a_second(engine: sa.Engine) -> None:
    clock = Clock()
    token = create(engine, "app", now=1)
    keys = Tokens(engine, monotonic=clock)
    assert keys.authenticate(token) is not None
    (listed,) = tokens_of(engine)
    assert revoke(engine, listed.id, now=2)
    clock.now += 0.99
    assert keys.authenticate(token) is None
    assert not revoke(engine, listed.id, now=3)
    assert not revoke(engine, "nobody", now=3)
    (listed,) = tokens_of(engine)
    assert listed.revoked_at == 2


def test_a_new_key_counts_within_a_second_too(engine: sa.Engine) -> None:
    clock = Clock()
    keys = Tokens(engine, monotonic=clock)
    assert keys.authenticate("tocsin_a_b") is None
    token = create(engine, "app", now=1)
    clock.now += 0.99
    assert keys.authenticate(token) is not None


def test_guessing_does_not_read_the_table_each_time(engine: sa.Engine) -> None:
    clock = Clock()
    keys = Tokens(engine, monotonic=clock)
    read = []
    event.listen(engine, "before_cursor_execute", lambda *_: read.append(1))
    for n in range(1_000):
        keys.authenticate(f"tocsin_{n}_guess")
    assert len(read) == 1


def test_the_last_use_is_written_when_asked(engine: sa.Engine) -> None:
    token = create(engine, "app", now=1)
    create(engine, "idle", now=2)
    keys = Tokens(engine)
    began = time.time_ns()
    keys.authenticate(token)
    assert [t.last_used_at for t in tokens_of(engine)] == [None, None]
    keys.flush()
    used, idle = tokens_of(engine)
    assert idle.last_used_at is None
    assert used.last_used_at is not None
    assert began <= used.last_used_at <= time.time_ns()
    keys.flush()
    assert tokens_of(engine) == [used, idle]


def test_without_the_catalog_no_key_is_trusted(engine: sa.Engine) -> None:
    clock = Clock()
    token = create(engine, "app", now=1)
    keys = Tokens(engine, monotonic=clock)
    assert keys.authenticate(token) is not None
    tokens.drop(engine)
    clock.now += 1
    with pytest.raises(StorageFailed):
        keys.authenticate(token)


@pytest.mark.parametrize("source", ["tocsin", " Tocsin "])
def test_no_source_is_called_as_tocsin_itself(engine: sa.Engine, source: str) -> None:
    with pytest.raises(UsageError, match="itself"):
        create(engine, source, now=1)


@pytest.mark.parametrize("source", ["", "a\nb", "\x1b[31m"])
def test_a_source_has_a_name_that_can_be_read(engine: sa.Engine, source: str) -> None:
    with pytest.raises(UsageError, match="visible"):
        create(engine, source, now=1)


@pytest.mark.parametrize(
    ("wrong", "say"),
    [
        ({"layer": "self"}, "app, gateway, database, host, identity"),
        ({"layer": ""}, "there is no layer"),
        ({"parser": "ngnix"}, "nginx"),
        ({"tz": "Atlantis/Port"}, "Europe/Berlin"),
        ({"tz": "../../etc/passwd"}, "unknown"),
        ({"tz": ""}, "unknown"),
    ],
)
def test_a_key_that_could_never_work_is_not_made(
    engine: sa.Engine, wrong: dict[str, str], say: str
) -> None:
    with pytest.raises(UsageError, match=say):
        create(engine, "app", now=1, **wrong)
    assert tokens_of(engine) == []


def test_the_list_never_shows_a_secret(engine: sa.Engine) -> None:
    token = create(engine, "app", service="shop", now=7)
    (listed,) = tokens_of(engine)
    assert token.split("_")[2] not in repr(listed)
    assert (listed.source, listed.created_at, listed.grant.origin.service) == ("app", 7, "shop")
