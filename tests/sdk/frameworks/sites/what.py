"""What every site does, whatever it is made with, and the client that notes what was seen of it."""
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false, reportArgumentType=false

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from tocsin.sdk.context import current, identify
from tocsin.sdk.harmless import harmless
from tocsin.sdk.options import Options
from tocsin.sdk.watching import asgi, wsgi
from tocsin.sdk.watching.exchange import Watching
from tocsin.sdk.watching.serving import Serving
from tocsin.sdk.watching.watch import watch_with

__all__ = [
    "CHUNKS",
    "ENDLESS",
    "FILE",
    "PASSWORD",
    "Recorder",
    "chunk",
    "login",
    "same_context",
    "watched",
]

PASSWORD = "correct horse"
CHUNKS = 64  #: of 16 KB in a streamed answer
ENDLESS = 8192  #: chunks of one that no client waits for

FILE = Path(os.environ["TOCSIN_TEST_SEEN"]).with_suffix(".bin")


def chunk(number: int) -> bytes:
    return f"{number:08d}".encode() * 2048


def login(given: dict[str, Any]) -> dict[str, Any]:
    at_hand = current()
    if at_hand is not None and at_hand.facts is not None:  # as events made here would tell them
        with harmless:
            identify(facts=dict(at_hand.facts()))
    if given.get("password") == PASSWORD:
        return {"status": "ok", "token": f"token-of-{given.get('user')}"}
    return {"status": "fail", "reason": "bad credentials"}


class same_context:  # noqa: N801  reads as what it asserts
    """Says who the request is from, and after the wait whether it is still that request."""

    def __init__(self, number: object) -> None:
        identify(user=f"user-{number}")
        self._before = current()
        self._number = number

    def __call__(self) -> dict[str, Any]:
        now = current()
        same = now is self._before and (now is None or now.user == f"user-{self._number}")
        return {"number": str(self._number), "same": same}


class Recorder:
    """A client that writes what it takes as JSON lines, and fails when it is asked to."""

    options = Options()

    def __init__(self, path: str) -> None:
        self._path = path

    def take(self, item: Any) -> None:
        if b"take=broken" in item.query:
            raise RuntimeError("the client is broken")
        line = json.dumps(_told(item)) + "\n"
        file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            os.write(file, line.encode())
        finally:
            os.close(file)


def _told(seen: Any) -> dict[str, Any]:
    failure = seen.failure
    return {
        "method": seen.method,
        "path": seen.path,
        "query": seen.query.decode("latin-1"),
        "scheme": seen.scheme,
        "http_version": seen.http_version,
        "peer": seen.peer,
        "headers": [[_text(name), _text(value)] for name, value in seen.headers],
        "out_headers": [[_text(name), _text(value)] for name, value in seen.out_headers],
        "status": seen.status,
        "duration_ns": seen.duration_ns,
        "bytes_in": seen.bytes_in,
        "bytes_out": seen.bytes_out,
        "body_in": b"".join(seen.body_in).decode("latin-1"),
        "body_out": b"".join(seen.body_out).decode("latin-1"),
        "cut_in": seen.cut_in,
        "cut_out": seen.cut_out,
        "gone": seen.gone,
        "route": seen.route,
        "routed": seen.routed,
        "params": {name: str(value) for name, value in seen.params.items()},
        "failure": failure and [failure.type, failure.message, failure.stack, failure.handled],
        "complaints": [[one.field, one.rule] for one in seen.complaints],
        "user": seen.user,
        "service": seen.service,
        "id": seen.context.request_id,
        "trace": seen.context.trace_id,
        "span": seen.context.span_id,
        "said": seen.context.user,
        "facts": (seen.context.more or {}).get("facts"),
    }


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


#: What hooks inside the frameworks find out.
FOUND_OUT = frozenset("failure params principal route routed complaints login".split())


class Breaking(Serving, eq=False):
    """A request whose hooks all fail, if its id says so."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in FOUND_OUT and self.request_id.startswith("hooks-break"):
            raise RuntimeError(f"the hook that notes {name} is broken")
        super().__setattr__(name, value)


asgi.Serving = wsgi.Serving = Breaking


def watched(app: Any) -> Any:
    """*app*, watched, with what is seen written to where the environment says."""
    recorder = Recorder(os.environ["TOCSIN_TEST_SEEN"])
    watching = Watching(lambda: recorder, "shop")
    return watch_with(watch_with(app, watching), watching)
