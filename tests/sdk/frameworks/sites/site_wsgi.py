"""A site of bare WSGI, without any framework."""
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false, reportArgumentType=false

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from typing import Any

from what import CHUNKS, ENDLESS, FILE, chunk, login, same_context, watched

REASONS = {200: "OK", 307: "Temporary Redirect", 403: "Forbidden", 404: "Not Found", 422: "No"}


def app(environ: Any, start_response: Any) -> Iterable[bytes]:
    method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]

    def answer(value: Any, status: int = 200, headers: Any = ()) -> list[bytes]:
        data = json.dumps(value).encode()
        kind = [("Content-Type", "application/json"), ("Content-Length", str(len(data)))]
        start_response(f"{status} {REASONS[status]}", [*kind, *headers])
        return [] if method == "HEAD" else [data]

    def given() -> Any:
        return json.loads(environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)))

    if path == "/health":
        return answer({"ok": True})
    if path.startswith("/v1/orders/"):
        return answer({"id": path.removeprefix("/v1/orders/")})
    if path == "/v1/orders" and method == "POST":
        fine = isinstance(given().get("quantity"), int)
        return answer({"taken": fine}, 200 if fine else 422)
    if path == "/v1/login":
        return answer(login(given()))
    if path == "/v1/admin":
        return answer({"detail": "no"}, 403)
    if path == "/v1/crash":
        raise ZeroDivisionError("the till is empty")
    if path in ("/v1/stream", "/v1/endless", "/v1/late"):
        start_response("200 OK", [("Content-Type", "application/octet-stream")])
        return parts(path)
    if path == "/v1/file":
        start_response("200 OK", [("Content-Type", "application/octet-stream")])
        return environ["wsgi.file_wrapper"](FILE.open("rb"), 8192)
    if path == "/v1/upload":
        size = 0
        while data := environ["wsgi.input"].read(10_000):
            size += len(data)
        return answer({"size": size})
    if path == "/v1/deaf":
        return answer({"deaf": True})
    if path == "/v1/moved":
        return answer({}, 307, [("Location", "/health")])
    if path == "/v1/me":
        return answer({"me": True})
    if path.startswith("/t/"):
        return answer({"report": path.rpartition("/")[2]})
    if path.startswith("/v1/context/"):
        still = same_context(path.rpartition("/")[2])
        time.sleep(0.02)
        return answer(still())
    return answer({"detail": "nothing here"}, 404)


def parts(path: str) -> Iterator[bytes]:
    for number in range(ENDLESS if path == "/v1/endless" else CHUNKS):
        yield chunk(number)
        if path == "/v1/late":
            raise ZeroDivisionError("too late to say so")


def make() -> tuple[Any, Any]:
    FILE.write_bytes(b"file " * 40_000)
    return app, watched(app)
