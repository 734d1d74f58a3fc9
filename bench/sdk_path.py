"""What a watched request costs in the application's own thread, over the same application bare.

``python -m bench.sdk_path [--json] [SECONDS]``; with an interpreter that has Flask or FastAPI these
are measured as well.  Rounds of the bare and of the watched application alternate, so that a
machine that is busy with something else disturbs both; the figure is the median of the paired
differences.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import statistics
import sys
from collections.abc import Callable, Iterable
from time import perf_counter, thread_time_ns
from typing import Any

from bench.guest import HEADERS, large, scope
from tocsin.sdk.options import Options
from tocsin.sdk.watching.asgi import AsgiWatch
from tocsin.sdk.watching.exchange import Watching
from tocsin.sdk.watching.watch import watch_with
from tocsin.sdk.watching.wsgi import WsgiWatch

__all__ = ["measure", "report"]

SMALL = b'{"id": 7, "status": "ok"}'
LARGE = json.dumps(large()).encode()


class Nowhere:
    """A client that keeps nothing, so that only the request path is measured."""

    def __init__(self, options: Options) -> None:
        self.options = options

    def take(self, item: object) -> None: ...

    def flush(self, timeout: float = 5.0) -> bool:  # noqa: ARG002  nothing waits
        return True

    def itself(self) -> Nowhere:
        return self


def asgi_app(body: bytes) -> Any:
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


def wsgi_app(body: bytes) -> Any:
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]

    def app(_environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", headers)
        return [body]

    return app


ENVIRON: dict[str, Any] = {
    "REQUEST_METHOD": "GET",
    "SCRIPT_NAME": "",
    "PATH_INFO": "/v1/orders/7",
    "QUERY_STRING": "expand=items",
    "RAW_URI": "/v1/orders/7?expand=items",
    "SERVER_NAME": "127.0.0.1",
    "SERVER_PORT": "8000",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "SERVER_SOFTWARE": "gunicorn",
    "REMOTE_ADDR": "203.0.113.9",
    "REMOTE_PORT": "51234",
    "wsgi.version": (1, 0),
    "wsgi.url_scheme": "http",
    "wsgi.errors": sys.stderr,
    "wsgi.multithread": True,
    "wsgi.multiprocess": True,
    "wsgi.run_once": False,
    "wsgi.file_wrapper": None,
    "wsgi.input_terminated": True,
    "gunicorn.socket": None,
    **{f"HTTP_{n.decode().upper().replace('-', '_')}": v.decode() for n, v in HEADERS},
}


async def _receive() -> Any:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _send(message: Any) -> None: ...


def through_asgi(app: Any) -> Callable[[int], None]:
    """Runs *app* that often, in one loop that goes on between the rounds."""
    loop = asyncio.new_event_loop()

    async def rounds(count: int) -> None:
        for _ in range(count):
            await app(scope("/v1/orders/7"), _receive, _send)

    return lambda count: loop.run_until_complete(rounds(count))


def through_wsgi(app: Any) -> Callable[[int], None]:
    import io

    def start_response(status: str, headers: Any, exc_info: Any = None) -> None: ...

    def rounds(count: int) -> None:
        for _ in range(count):
            result: Any = app({**ENVIRON, "wsgi.input": io.BytesIO()}, start_response)
            for _part in result:
                pass
            if hasattr(result, "close"):
                result.close()

    return rounds


def fastapi_app() -> Any:
    app = importlib.import_module("fastapi").FastAPI()

    async def order(id: int) -> dict[str, Any]:  # noqa: A002  the route says so
        return {"id": id, "status": "ok"}

    app.get("/v1/orders/{id}")(order)
    return app


def flask_app() -> Any:
    app = importlib.import_module("flask").Flask("bench")
    app.get("/v1/orders/<int:id>")(lambda id: {"id": id, "status": "ok"})  # noqa: A006  the route says so
    return app


def measure(
    bare: Callable[[int], None], watched: Callable[[int], None], seconds: float, count: int = 200
) -> tuple[float, float]:
    """Nanoseconds a request: of the bare application, and what watching it adds (medians)."""
    bare(count)
    watched(count)
    bases: list[float] = []
    added: list[float] = []
    end = perf_counter() + seconds
    gc.collect()
    while perf_counter() < end or len(added) < 5:
        t0 = thread_time_ns()
        bare(count)
        t1 = thread_time_ns()
        watched(count)
        watched(count)
        t2 = thread_time_ns()
        bare(count)
        t3 = thread_time_ns()
        base = (t1 - t0 + t3 - t2) / 2 / count
        bases.append(base)
        added.append((t2 - t1) / 2 / count - base)
    return statistics.median(bases), statistics.median(added)


def report(seconds: float = 2.0) -> dict[str, dict[str, float]]:
    """Each application's figures, in nanoseconds a request."""
    quick = Watching(Nowhere(Options(inspect=False)).itself)
    looking = Watching(Nowhere(Options()).itself)
    small, large = asgi_app(SMALL), asgi_app(LARGE)
    small_w, large_w = wsgi_app(SMALL), wsgi_app(LARGE)
    pairs: dict[str, tuple[Callable[[int], None], Callable[[int], None]]] = {
        "asgi": (through_asgi(small), through_asgi(AsgiWatch(small, quick))),
        "asgi, inspected": (through_asgi(small), through_asgi(AsgiWatch(small, looking))),
        "asgi, 5 KB, inspected": (through_asgi(large), through_asgi(AsgiWatch(large, looking))),
        "wsgi": (through_wsgi(small_w), through_wsgi(WsgiWatch(small_w, quick))),
        "wsgi, inspected": (through_wsgi(small_w), through_wsgi(WsgiWatch(small_w, looking))),
        "wsgi, 5 KB, inspected": (
            through_wsgi(large_w),
            through_wsgi(WsgiWatch(large_w, looking)),
        ),
    }
    for name, make, through in (
        ("fastapi, inspected", fastapi_app, through_asgi),
        ("flask, inspected", flask_app, through_wsgi),
    ):
        try:
            pairs[name] = (through(make()), through(watch_with(make(), looking)))
        except ImportError:
            continue
    figures: dict[str, dict[str, float]] = {}
    for name, (bare, watched) in pairs.items():
        base, added = measure(bare, watched, seconds)
        figures[name] = {"bare_ns": round(base), "added_ns": round(added)}
    return figures


def main() -> None:
    """Print a table, or with ``--json`` a line."""
    arguments = [one for one in sys.argv[1:] if one != "--json"]
    figures = report(float(arguments[0]) if arguments else 2.0)
    if "--json" in sys.argv:
        print(json.dumps(figures))
        return
    print(f"{'':24}{'bare':>10}{'added':>10}   ns a request, Python {sys.version.split()[0]}")
    for name, figure in figures.items():
        print(f"{name:24}{figure['bare_ns']:10}{figure['added_ns']:10}")


if __name__ == "__main__":
    main()
