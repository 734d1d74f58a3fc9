"""The socket: whatever happens in the running tocsin, its client hears of it in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import polars as pl
import pytest
from sqlalchemy.exc import OperationalError
from starlette.applications import Starlette
from starlette.testclient import TestClient

from tocsin.errors import Damaged, KeyWrong, QueryError, TocsinError, VaultError
from tocsin.siem.local import Remote, routes


class Failing:
    """A house in which every question ends in *error*; rows fail after *good* frames."""

    def __init__(self, error: Exception, good: int = 0) -> None:
        self._error, self._good = error, good

    def status(self) -> dict[str, Any]:
        raise self._error

    def search(
        self, text: str, *, since: int | None, until: int | None, limit: int
    ) -> Iterator[pl.DataFrame]:
        del text, since, until, limit
        for n in range(self._good):
            yield pl.DataFrame({"seq": [n]})
        raise self._error


DATABASE = OperationalError("SELECT 1", {}, Exception("database is locked"))


def served(house: Any) -> Starlette:
    return Starlette(routes=routes(house))


def answer(house: Any, path: str, body: dict[str, Any] | None = None) -> httpx2.Response:
    with TestClient(served(house)) as client:  # raises what the app lets through
        got: httpx2.Response = client.post(path, content=msgspec.json.encode(body or {}))
    return got


SEARCH = {"text": "", "since": None, "until": None, "limit": 0}


@pytest.mark.parametrize(
    ("error", "status", "name"),
    [(DATABASE, 500, "VaultError"), (ValueError("x"), 500, "VaultError"),
     (Damaged("seg-1: torn"), 422, "Damaged"), (QueryError("no"), 422, "QueryError")],
)  # fmt: skip
@pytest.mark.parametrize(("path", "body"), [("/status", {}), ("/rows/search", SEARCH)])
def test_every_failure_is_answered_in_json(
    path: str, body: dict[str, Any], error: Exception, status: int, name: str
) -> None:
    got = answer(Failing(error), path, body)
    assert got.status_code == status
    assert got.headers["content-type"] == "application/json"
    said = msgspec.json.decode(got.content, type=dict[str, str])
    assert said["error"] == name
    assert str(error) in said["message"]


class Unspeakable(Failing):
    """Whose answer has no JSON."""

    def status(self) -> dict[str, Any]:
        return {"x": object()}


def test_an_answer_that_has_no_json_is_a_failure_too() -> None:
    assert answer(Unspeakable(ValueError()), "/status").status_code == 500


Served = Callable[[Any], Remote]


@pytest.fixture
def remote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Served:
    """A client whose wire leads to an application in this process."""

    def make(application: Any) -> Remote:
        made = Remote(tmp_path / "s.sock")
        client = TestClient(application, raise_server_exceptions=False)
        monkeypatch.setattr(made, "_client", client)
        return made

    return make


def test_a_database_error_is_a_vault_error_to_the_client(remote: Served) -> None:
    with (
        remote(served(Failing(DATABASE))) as client,
        pytest.raises(VaultError, match="database is locked"),
    ):
        client.status()


def test_a_database_error_among_rows_comes_after_the_rows_before_it(remote: Served) -> None:
    house = Failing(DATABASE, good=2)
    with remote(served(house)) as client:
        rows = client.search("", since=None, until=None, limit=0)
        assert next(rows).to_dicts() == [{"seq": 0}]
        assert next(rows).to_dicts() == [{"seq": 1}]
        with pytest.raises(VaultError, match="database is locked"):
            next(rows)


@pytest.mark.parametrize(
    ("status", "body"),
    [(500, b"Internal Server Error"), (502, b""), (422, b"[]"), (422, b'{"error": 1}'),
     (200, b"not json"), (200, b"[1]"), (422, b'{"error":"__all__","message":"m"}'),
     (422, b'{"error":"annotations","message":"m"}')],
)  # fmt: skip
def test_whatever_comes_back_is_words_and_no_defect(
    remote: Served, status: int, body: bytes
) -> None:
    async def application(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": body})

    with remote(application) as client, pytest.raises(VaultError):
        client.status()


def test_errors_keep_their_kind(remote: Served) -> None:
    for error in (KeyWrong("k"), Damaged("d"), TocsinError("t")):
        house = Failing(error)
        with (
            remote(served(house)) as client,
            pytest.raises(type(error)) as caught,
        ):
            client.status()
        assert type(caught.value) is type(error)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_client_that_cannot_be_made_leaves_nothing_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("d" * 120)  # so long that its directory must be opened to reach it
    deep.mkdir()

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no client")

    monkeypatch.setattr(httpx2, "Client", broken)
    before = descriptors()
    with pytest.raises(RuntimeError) as caught:
        Remote(deep / "s.sock")
    # The half-made client is in the traceback still: nothing was closed by its being forgotten.
    assert caught.tb is not None
    assert descriptors() == before
