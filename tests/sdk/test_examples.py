"""Each example is attacked, and a real tocsin at the other end knows of it."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.sdk import apps
from tests.siem.conftest import Tocsin

EXAMPLES = Path(__file__).parents[2] / "examples"

ASGI = ["fastapi", "starlette", "litestar", "quart", "connexion"]
WSGI = ["flask", "django"]
NAMES = [*ASGI, *WSGI]

#: Who attacks which shop: an address for each, which a proxy of ours vouches for.
ATTACKERS = {name: f"203.0.113.{number}" for number, name in enumerate(NAMES, 10)}


class Attack:
    """A visitor of one shop."""

    def __init__(self, client: httpx2.Client) -> None:
        self.client = client

    def log_in(self, name: str, password: str) -> str:
        answer = self.client.post("/login", json={"username": name, "password": password})
        return str(answer.json().get("token", ""))

    def get(self, path: str, token: str = "") -> int:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        return self.client.get(path, headers=headers).status_code


def attack(it: Attack) -> None:
    """What attackers do, one after the other."""
    for guess in range(40):
        assert not it.log_in("ann", f"guess-{guess}")
    token = it.log_in("joe", "battery staple")
    assert token
    for number in range(1, 60):
        it.get(f"/orders/{number}", token)
        assert it.get(f"/invoices/{number}", token) == 200
    for page in "users roles settings keys backup logs jobs mail billing audit export".split():
        assert it.get(f"/admin/{page}", token) == 403
    for number in range(24):
        # {"alg":"none"} . {"sub":"root"} and no signature
        forged = f"eyJhbGciOiJub25lIn0.eyJzdWIiOiJyb290Iiwibi{number % 10}I6MX0."
        assert it.get("/admin/users", forged) == 401
    assert it.get("/search?q=' UNION SELECT username, password FROM users--") == 500
    note = {"item": "x", "count": 1, "note": "'; DROP TABLE orders; -- ' OR '1'='1"}
    headers = {"authorization": f"Bearer {token}"}
    it.client.post("/orders", json=note, headers=headers)
    for count in range(30):
        wrong = {"item": "x", "count": 1000 + count, "note": ""}
        it.client.post("/orders", json=wrong, headers=headers)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tocsin]:
    """A tocsin, and every example attacked."""
    python = apps.interpreter("new")
    made = Tocsin(tmp_path_factory.mktemp("examples"))
    made.start()
    key = made.token("shops")
    with contextlib.ExitStack() as stack:
        stack.callback(made.stop)
        ports = {name: stack.enter_context(served(python, name, made, key)) for name in NAMES}
        for name, port in ports.items():
            made.until(lambda port=port: answers(port))  # type: ignore[misc]
            with httpx2.Client(
                base_url=f"http://127.0.0.1:{port}",
                headers={"x-forwarded-for": ATTACKERS[name]},
                limits=httpx2.Limits(max_keepalive_connections=0),  # servers hang up after a 500
                timeout=20,
            ) as client:
                attack(Attack(client))
        yield made


@contextlib.contextmanager
def served(python: Path, name: str, house: Tocsin, key: str) -> Generator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    server = (
        ["uvicorn", "--log-level", "critical", "--port", str(port)]
        if name in ASGI
        else ["gunicorn", "--threads", "4", "--bind", f"127.0.0.1:{port}"]
    )
    environ = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(apps.HOME),
        "HOME": str(house.home),
        "TOCSIN_URL": f"http://127.0.0.1:{house.port}",
        "TOCSIN_KEY": key,
        "TOCSIN_TRUSTED_PROXIES": "127.0.0.1",
    }
    command = [str(python), "-m", *server, f"shop_{name}:app"]
    with (house.home / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=EXAMPLES, env=environ, stdout=log, stderr=log)
    try:
        yield port
    finally:
        process.terminate()
        process.wait(20)


def answers(port: int) -> bool:
    try:
        return httpx2.get(f"http://127.0.0.1:{port}/search?q=10").status_code == 200
    except httpx2.TransportError:
        return False


#: Incidents that must come of each shop, about its attacker.
WANTED = {
    "Tokens are forged",
    "Injection attempt that broke something",
    "Privileged functions are probed from one address",
}

#: Incidents that must come of all shops, whose customers have the same names.
WANTED_OF_ALL = {
    ("Brute force on one account", "user", "ann"),
    ("Functions are probed by one user", "user", "joe"),
}


@pytest.mark.parametrize("name", NAMES)
def test_attacks_on_an_example_become_incidents(house: Tocsin, name: str) -> None:
    attacker = ATTACKERS[name]
    assert eventually(house, {(title, "client_ip", attacker) for title in WANTED})


def test_attacks_on_accounts_become_incidents(house: Tocsin) -> None:
    assert eventually(house, WANTED_OF_ALL)


def eventually(house: Tocsin, wanted: set[tuple[str, str, str]]) -> bool:
    """Whether there are incidents with these titles and entities; waits for them."""

    def are_there() -> bool:
        found = house.rows("incidents", "list", "--limit", "1000")
        told = {(one["title"], one["entity"]["type"], one["entity"]["value"]) for one in found}
        return wanted <= told

    return bool(house.until(are_there, 30))


@pytest.mark.parametrize("name", NAMES)
def test_what_was_done_is_on_the_record(house: Tocsin, name: str) -> None:
    """Whatever the framework: the same attack is told in the same words."""
    events = house.until(lambda: complete(house, name), 30)
    number = "number" if name not in ("fastapi", "starlette") else "id"
    counts = Counter((one["kind"], one.get("route"), one.get("user")) for one in events)
    assert counts["authn_login_fail", "/login", None] == 40
    assert counts["authn_login_success", "/login", "joe"] == 1
    assert counts["authz_fail", "/admin/{page}", "joe"] == 11
    assert counts["authz_fail", "/admin/{page}", None] == 24
    assert counts["authz_fail", f"/orders/{{{number}}}", "joe"] == 29
    assert counts["request", f"/invoices/{{{number}}}", "joe"] == 59
    assert counts["log", "/search", None] == 1
    assert counts["input_validation_fail", "/orders", "joe"] == 30

    def one_of(kind: str, **columns: object) -> dict[str, Any]:
        return next(
            e
            for e in events
            if e["kind"] == kind and all(e.get(c) == v for c, v in columns.items())
        )

    failed = one_of("authn_login_fail")
    assert (failed["outcome"], failed["reason"]) == ("failure", "bad_credentials")
    assert failed["claimed_user"] == "ann"
    assert failed["client_ip"] == ATTACKERS[name]
    assert failed["peer_ip"] == "127.0.0.1"
    forged = one_of("request", route="/admin/{page}", status=401)
    assert forged["reason"] == "bad_token"
    mine, others = (one_of("request", path=f"/invoices/{n}") for n in (1, 2))
    assert "owner.self" in mine["tags"]
    assert "owner.other" in others["tags"]
    assert others["sensitive"] == ["email:1"]
    assert re.fullmatch("invoice:[0-9a-f]{16}", others["objects"][0])
    placed = one_of("request", route="/orders", status=201)
    assert "sig.sqli.body" in placed["tags"]
    broken = one_of("log", route="/search")
    assert broken["error_type"]
    assert f"shop_{name}.py" in broken["error_stack"]
    assert not [one for one in events if "battery" in str(one) or "DROP TABLE" in str(one)]


def complete(house: Tocsin, name: str) -> list[dict[str, Any]]:
    """The events of one shop, once they are all there."""
    found = house.rows("search", f"service:shop-{name}", "--limit", "0")
    invalid = [one for one in found if one.get("route") == "/orders" and one["kind"] == "request"]
    return found if len(invalid) == 31 else []


def test_statements_of_a_django_shop_are_on_the_record(house: Tocsin) -> None:
    """Its settings say ``"database": True``."""
    events = house.until(lambda: complete(house, "django"), 30)
    [broken] = [one for one in events if one["kind"] == "query" and one.get("outcome") == "failure"]
    request = next(one for one in events if one.get("status") == 500)
    assert broken["trace_id"] == request["trace_id"]
    assert broken["db_system"] == "sqlite"
    assert broken["db_statement"] == "SELECT ? WHERE ? UNION SELECT username, password FROM users"
