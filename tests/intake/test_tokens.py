"""Keys of sources: shown once, checked in constant time, revoked within a second."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event

from tocsin.catalog import open_catalog, tokens
from tocsin.catalog.box import Box
from tocsin.errors import StorageFailed, UsageError
from tocsin.intake.origin import Origin
from tocsin.intake.tokens import (
    Grant,
    Tokens,
    create,
    keep,
    live,
    looks_like_token,
    make,
    revoke,
    tokens_of,
)

#: The vault's own, as the tests have it.
BOX = Box(bytes(32))


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
        BOX,
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
    grant = Tokens(engine, BOX).authenticate(token)
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
    token = create(engine, BOX, "app", now=1)
    secret = token.split("_")[2].encode()
    assert all(
        secret not in path.read_bytes() and secret[:-6] not in path.read_bytes()
        for path in tmp_path.iterdir()
    )


def test_keys_look_alike_and_are_never_the_same(engine: sa.Engine) -> None:
    made = {create(engine, BOX, "app", now=n) for n in range(50)}
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
    token = create(engine, BOX, "app", now=1)
    other = create(engine, BOX, "app", now=1)
    name, secret = token.split("_")[1:]
    keys = Tokens(engine, BOX)
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
    token = create(engine, BOX, "app", now=1)
    keys = Tokens(engine, BOX, monotonic=clock)
    assert keys.authenticate(token) is not None
    (listed,) = tokens_of(engine, BOX)
    assert revoke(engine, BOX, listed.id, now=2)
    clock.now += 0.99
    assert keys.authenticate(token) is None
    assert not revoke(engine, BOX, listed.id, now=3)
    assert not revoke(engine, BOX, "nobody", now=3)
    (listed,) = tokens_of(engine, BOX)
    assert listed.revoked_at == 2


def test_a_new_key_counts_within_a_second_too(engine: sa.Engine) -> None:
    clock = Clock()
    keys = Tokens(engine, BOX, monotonic=clock)
    assert keys.authenticate("tocsin_a_b") is None
    token = create(engine, BOX, "app", now=1)
    clock.now += 0.99
    assert keys.authenticate(token) is not None


def test_guessing_does_not_read_the_table_each_time(engine: sa.Engine) -> None:
    clock = Clock()
    keys = Tokens(engine, BOX, monotonic=clock)
    read = []
    event.listen(engine, "before_cursor_execute", lambda *_: read.append(1))
    for n in range(1_000):
        keys.authenticate(f"tocsin_{n}_guess")
    assert len(read) == 1


def test_the_last_use_is_written_when_asked(engine: sa.Engine) -> None:
    token = create(engine, BOX, "app", now=1)
    create(engine, BOX, "idle", now=2)
    keys = Tokens(engine, BOX)
    began = time.time_ns()
    keys.authenticate(token)
    assert [t.last_used_at for t in tokens_of(engine, BOX)] == [None, None]
    keys.flush()
    used, idle = tokens_of(engine, BOX)
    assert idle.last_used_at is None
    assert used.last_used_at is not None
    assert began <= used.last_used_at <= time.time_ns()
    keys.flush()
    assert tokens_of(engine, BOX) == [used, idle]


def test_a_use_that_could_not_be_written_down_is_the_next_time(engine: sa.Engine) -> None:
    token = create(engine, BOX, "app", now=1)
    keys = Tokens(engine, BOX)
    keys.authenticate(token)
    with engine.connect() as connection:  # the disk refuses, for once
        connection.exec_driver_sql("PRAGMA query_only=ON")
    with pytest.raises(StorageFailed):
        keys.flush()
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA query_only=OFF")
    keys.flush()
    assert tokens_of(engine, BOX)[0].last_used_at is not None


def test_without_the_catalog_no_key_is_trusted(engine: sa.Engine) -> None:
    clock = Clock()
    token = create(engine, BOX, "app", now=1)
    keys = Tokens(engine, BOX, monotonic=clock)
    assert keys.authenticate(token) is not None
    tokens.drop(engine)
    clock.now += 1
    with pytest.raises(StorageFailed):
        keys.authenticate(token)


@pytest.mark.parametrize("source", ["tocsin", " Tocsin "])
def test_no_source_is_called_as_tocsin_itself(engine: sa.Engine, source: str) -> None:
    with pytest.raises(UsageError, match="itself"):
        create(engine, BOX, source, now=1)


@pytest.mark.parametrize("source", ["", "a\nb", "\x1b[31m"])
def test_a_source_has_a_name_that_can_be_read(engine: sa.Engine, source: str) -> None:
    with pytest.raises(UsageError, match="visible"):
        create(engine, BOX, source, now=1)


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
        create(engine, BOX, "app", now=1, **wrong)
    assert tokens_of(engine, BOX) == []


def test_the_list_never_shows_a_secret(engine: sa.Engine) -> None:
    token = create(engine, BOX, "app", service="shop", now=7)
    (listed,) = tokens_of(engine, BOX)
    assert token.split("_")[2] not in repr(listed)
    assert (listed.source, listed.created_at, listed.grant.origin.service) == ("app", 7, "shop")


# A catalog that somebody else writes to.


def test_nobody_without_the_vaults_key_makes_a_key(
    engine: sa.Engine, caplog: pytest.LogCaptureFixture
) -> None:
    mine = Box(b"another key, of whoever writes here")
    key, token = make(mine, "x", now=1)
    as_tocsin = Grant(Origin(source="tocsin", layer="self"))
    keep(engine, mine, msgspec.structs.replace(token, grant=as_tocsin))
    keys = Tokens(engine, BOX)
    assert keys.authenticate(key) is None
    assert keys.forged == {token.id}
    assert tokens_of(engine, BOX) == []
    assert "was not written by this vault" in caplog.text


def test_a_sealed_row_is_worth_nothing_under_another_id(engine: sa.Engine) -> None:
    create(engine, BOX, "app", now=1)
    key, token = make(BOX, "other", now=2)
    with engine.begin() as tx:
        body = tx.scalar(sa.select(tokens.c.body))
        tx.execute(tokens.insert().values(id=token.id, created_at=2, body=body))
    keys = Tokens(engine, BOX)
    assert keys.authenticate(key) is None
    assert keys.forged == {token.id}


def test_a_revoked_key_is_not_brought_back_by_editing_its_row(engine: sa.Engine) -> None:
    clock = Clock()
    key = create(engine, BOX, "app", now=1)
    (token,) = tokens_of(engine, BOX)
    assert revoke(engine, BOX, token.id, now=2)
    keys = Tokens(engine, BOX, monotonic=clock)
    assert keys.authenticate(key) is None
    columns = {c.name for c in tokens.columns}
    assert columns == {"id", "created_at", "body", "last_used_at"}  # nothing in the clear to edit
    keep(engine, BOX, token)  # nor by making it once more from the record
    clock.now += 1
    assert keys.authenticate(key) is None
    assert live(engine, BOX, token.id) is None


def test_a_changed_row_is_no_key_from_the_next_look_on(engine: sa.Engine) -> None:
    clock = Clock()
    key = create(engine, BOX, "app", now=1)
    keys = Tokens(engine, BOX, monotonic=clock)
    assert keys.authenticate(key) is not None
    with engine.begin() as tx:
        tx.execute(tokens.update().values(body=tokens.c.body + "A"))
    clock.now += 1
    assert keys.authenticate(key) is None
    assert len(keys.forged) == 1
