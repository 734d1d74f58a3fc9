"""The guest is light: one dependency, and nothing that an application did not ask for."""

from __future__ import annotations

import subprocess
import sys

#: Everything an application uses, used.
ALL = """
import sys, tocsin, tocsin.testing
for name in tocsin.__all__:
    getattr(tocsin, name)
async def app(scope, receive, send): ...
tocsin.watch(app, output="off")
tocsin.log.sys_startup()
tocsin.flush()
"""


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout


def test_nothing_is_imported_but_the_standard_library_and_msgspec() -> None:
    told = "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    before = set(run(f"import sys; {told}").split())
    after = set(run(ALL + told).split())
    # msgspec itself looks for typing_extensions, and does without.
    assert after - before - set(sys.stdlib_module_names) <= {
        "tocsin",
        "msgspec",
        "typing_extensions",
    }


def test_nothing_of_the_server_is_imported() -> None:
    loaded = run(ALL + "print(*(name for name in sys.modules if name.startswith('tocsin.')))")
    rooms = {name.split(".")[1] for name in loaded.split()}
    assert rooms <= {"sdk", "event", "errors", "testing"}


def test_importing_starts_no_thread_and_opens_no_connection() -> None:
    code = (
        "import threading, tocsin, os; tocsin.watch; tocsin.log; tocsin.flush;"
        "print(threading.active_count(), len(os.listdir('/proc/self/fd')))"
    )
    if sys.platform != "linux":
        code = code.replace("len(os.listdir('/proc/self/fd'))", "4")
    threads, descriptors = run(code).split()
    assert int(threads) == 1
    assert int(descriptors) <= 4
