"""Under uWSGI, which loads an application, and then forks without telling Python."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from tests.sdk.apps import HOME, interpreter
from tests.sdk.frameworks.talk import request, send, until

APP = """
import tocsin


def app(environ, start_response):
    tocsin.log.authn_login_success(user=environ["PATH_INFO"])
    start_response("200 OK", [("content-type", "text/plain"), ("content-length", "2")])
    return [b"hi"]


application = tocsin.watch(app, service="shop", output="{output}")
tocsin.log.authn_login_success(user="master")
{more}
"""

#: As an application may: another hook in the place of ours, which is told of no fork then.
HOOK = "import uwsgi\nuwsgi.post_fork_hook = lambda: None"

REQUESTS = 40
WORKERS = ["--master", "--processes", "2"]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def answered(port: int, path: str) -> bool:
    try:
        return b" 200 " in send(port, request(f"GET {path}"))
    except ConnectionError:
        return False


@pytest.mark.parametrize(
    "options",
    [
        ["--enable-threads", *WORKERS],
        ["--threads", "2", *WORKERS],
        ["--enable-threads", "--py-call-osafterfork", *WORKERS],
        ["--enable-threads", "--lazy-apps", *WORKERS],
        ["--enable-threads"],
        WORKERS,
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("more", ["", HOOK], ids=["", "hook"])
def test_each_worker_tells_what_it_served(tmp_path: Path, options: list[str], more: str) -> None:
    server = interpreter("new").with_name("uwsgi")
    if not server.exists():
        pytest.skip("apps: no uwsgi; run make apps")
    seen = tmp_path / "seen.jsonl"
    (tmp_path / "app.py").write_text(APP.format(output=seen, more=more))
    port = free_port()
    errors = tmp_path / "errors"
    with errors.open("wb") as told:
        process = subprocess.Popen(
            [
                *(str(server), "--http-socket", f"127.0.0.1:{port}", "--wsgi-file", "app.py"),
                *("--die-on-term", "--disable-logging", "--worker-reload-mercy", "3", *options),
            ],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": f"{HOME}:{packages()}"},
            stderr=told,
            stdout=told,
            start_new_session=True,
        )
        try:
            until(lambda: answered(port, "/first"))
            for n in range(REQUESTS):
                assert answered(port, f"/{n}")
            time.sleep(0.1)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            finally:
                with contextlib.suppress(ProcessLookupError):  # workers that hang too
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait(10)
    events: list[dict[str, Any]] = [json.loads(line) for line in seen.read_bytes().splitlines()]
    served = sorted(e["path"] for e in events if e["kind"] == "request" and e["path"] != "/first")
    assert served == sorted(f"/{n}" for n in range(REQUESTS))
    said = [e["user"] for e in events if e["kind"] == "authn_login_success"]
    loaded = 2 if "--lazy-apps" in options else 1  # at most: the second worker may be late
    assert 1 <= said.count("master") <= loaded
    assert {f"/{n}" for n in range(REQUESTS)} <= {*said}
    ids = {e["request_id"] for e in events if e["kind"] == "request"}
    assert len(ids) >= REQUESTS + (not more)
    assert (b"runs no threads" in errors.read_bytes()) == (options == WORKERS)


def packages() -> str:
    """Where the packages of the new frameworks are: an embedded Python does not find its own."""
    where = subprocess.check_output(
        [str(interpreter("new")), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        text=True,
    )
    return where.strip()
