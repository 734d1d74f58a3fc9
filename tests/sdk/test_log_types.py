"""The vocabulary as an API: mypy and pyright find what is wrong in a call, and nothing else."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tocsin

HOME = Path(tocsin.__file__).parents[1]

#: Lines with ``# wrong`` must be refused, and no others.
USES = """\
from tocsin.event import Level
from tocsin.sdk.saying.log import Log, log

log.authz_fail()
log.authz_fail(user="joe", resource="order:42", reason="not the owner")
log.authn_login_fail(user="joe", new_secret=True, claimed_user="joe", client_ip="203.0.113.9")
log.authn_login_fail_max(user="joe", max_limit=5)
log.privilege_permissions_changed(user="ann", resource="doc:1", from_="read", to=["read", "write"])
log.excess_rate_limit_exceeded(user="joe", max=100, status=429)
log.upload_complete(user="joe", filename="a.png", type="image/png")
log.upload_validation(filename="a.png", check="virusscan", result="failed", severity="warn")
log.input_validation_fail(field=("email", "age"), severity=Level.INFO)
log.malicious_cors(user="joe", user_agent="curl", referer="https://evil.example")
log.sensitive_read(user="joe", objects=["1", "2"], object_type="order", records_out=2)
log.sys_crash(reason="out of memory", error=MemoryError(), attributes={"rss": 1 << 30})
log.user_created(user="ann", new_user="bob", attributes={"role": "admin"}, outcome="success")
Log().session_logout(user="joe", session="s", trace_id="0" * 32)

log.authz_failed(user="joe")  # wrong: no such name
log.authn_login_fial(user="joe")  # wrong: no such name
log.authz_fail(usr="joe")  # wrong: no such field
log.authz_fail(max=3)  # wrong: a field of another name
log.authz_fail(user=42)  # wrong: no text
log.authz_fail("joe")  # wrong: by name only
log.authn_login_fail(user="joe", new_secret="yes")  # wrong: true or false
log.authn_login_fail_max(max_limit="5")  # wrong: a number
log.privilege_permissions_changed(to=7)  # wrong: text, or several
log.upload_validation(result="bad")  # wrong: not one of its results
log.authz_fail(outcome="denied")  # wrong: not an outcome
log.authz_fail(severity="fatal")  # wrong: not a level
log.authz_fail(status="403")  # wrong: a number
log.authz_fail(objects=42)  # wrong: no list
log.authz_fail(attributes=["role"])  # wrong: no mapping
log.sys_crash(error="boom")  # wrong: no exception
log.malicious_cors(user_agent=1)  # wrong: no text
x: int = log.authz_fail(user="joe")  # wrong: nothing comes back
"""


@pytest.fixture
def uses(tmp_path: Path) -> Path:
    place = tmp_path / "uses.py"
    place.write_text(USES)
    return place


def marked() -> list[int]:
    return [n for n, line in enumerate(USES.splitlines(), 1) if "# wrong" in line]


def test_the_examples_have_right_ones_and_wrong_ones() -> None:
    calls = [line for line in USES.splitlines() if "log." in line or "Log()" in line]
    assert 10 < len(marked()) < len(calls) - 10


def test_mypy_refuses_the_wrong_uses_and_no_others(uses: Path) -> None:
    config = uses.with_name("mypy.ini")
    config.write_text(
        f"[mypy]\nstrict = True\nmypy_path = {HOME}\ncache_dir = {uses.parent}/cache\n"
    )
    command = [sys.executable, "-m", "mypy", "--config-file", str(config), "--no-pretty", str(uses)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=110)
    found = re.findall(r"uses\.py:(\d+): error:", done.stdout)
    assert sorted({int(line) for line in found}) == marked(), done.stdout + done.stderr


def test_pyright_refuses_the_wrong_uses_and_no_others(uses: Path) -> None:
    config = uses.with_name("pyrightconfig.json")
    config.write_text(json.dumps({"typeCheckingMode": "strict", "extraPaths": [str(HOME)]}))
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable]
    done = subprocess.run(
        [*command, "--project", str(config)],
        capture_output=True, text=True, check=False, timeout=110,
    )  # fmt: skip
    found = json.loads(done.stdout)["generalDiagnostics"]
    lines = {d["range"]["start"]["line"] + 1 for d in found if d["severity"] == "error"}
    assert sorted(lines) == marked(), done.stdout
