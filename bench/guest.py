"""One FastAPI application with one guest in it, to be told how many requests to serve.

``python -m bench.guest NAME SINK`` with an interpreter that has the guests.  For each line on
stdin, ``PATH COUNT``, it serves so many requests, lets the guest settle, and prints what they cost
as JSON: CPU of the whole process, whatever its threads do with it meanwhile and afterwards, in ns a
request.  ``python -m bench.guest NAME SINK PORT`` has uvicorn serve it on loopback instead.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from time import process_time_ns
from typing import Any

__all__ = ["GUESTS", "large", "made", "site"]

#: Named by what a process with it does; ``bare`` has none.
GUESTS = ("bare", "tocsin", "opentelemetry", "structlog", "sentry")

HEADERS = [
    (b"host", b"shop.example.org"),
    (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"),
    (b"accept", b"application/json"),
    (b"accept-language", b"en-US,en;q=0.5"),
    (b"accept-encoding", b"gzip, deflate, br"),
    (b"authorization", b"Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI3In0.c2lnbmF0dXJl"),
    (b"cookie", b"session=8f3a; theme=dark"),
    (b"x-forwarded-for", b"203.0.113.9"),
]


def large() -> dict[str, Any]:
    """An answer of 5 KB."""
    return {"items": [{"id": n, "name": f"item {n}"} for n in range(180)]}


def site() -> Any:
    """The application itself."""
    fastapi = importlib.import_module("fastapi")
    app = fastapi.FastAPI()
    answer = large()

    async def order(id: int) -> dict[str, Any]:  # noqa: A002  the route says so
        return {"id": id, "status": "ok"}

    async def items() -> dict[str, Any]:
        return answer

    async def waiting(id: int) -> dict[str, Any]:  # noqa: A002  the route says so
        await asyncio.sleep(0.005)  # for a database
        return {"id": id, "status": "ok"}

    app.get("/v1/orders/{id}")(order)
    app.get("/v1/items")(items)
    app.get("/v1/waiting/{id}")(waiting)
    return app


Made = tuple[Any, Callable[[], object]]


def made(guest: str, sink: str) -> Made:
    """The application with *guest* in it, which sends to *sink*; and what has it settle."""
    return {
        "bare": _bare,
        "tocsin": _tocsin,
        "opentelemetry": _opentelemetry,
        "structlog": _structlog,
        "sentry": _sentry,
    }[guest](sink)


def _bare(_sink: str) -> Made:
    return site(), lambda: None


def _tocsin(sink: str) -> Made:
    import tocsin

    app = site()
    tocsin.watch(app, service="bench", url=sink, key="tocsin_bench", spool="off")
    return app, tocsin.flush


def _opentelemetry(sink: str) -> Made:
    """As its documentation advises: batches, and no spans for each part of an answer."""
    load = importlib.import_module
    resource = load("opentelemetry.sdk.resources").Resource.create({"service.name": "bench"})
    tracing, logs = load("opentelemetry.sdk.trace"), load("opentelemetry.sdk._logs")
    tracer = tracing.TracerProvider(resource=resource)
    spans = load("opentelemetry.exporter.otlp.proto.http.trace_exporter").OTLPSpanExporter
    tracer.add_span_processor(
        load("opentelemetry.sdk.trace.export").BatchSpanProcessor(spans(f"{sink}/v1/traces"))
    )
    logger = logs.LoggerProvider(resource=resource)
    records = load("opentelemetry.exporter.otlp.proto.http._log_exporter").OTLPLogExporter
    logger.add_log_record_processor(
        load("opentelemetry.sdk._logs.export").BatchLogRecordProcessor(records(f"{sink}/v1/logs"))
    )
    app = site()
    _log_each(app, _otel_log(logs, logger))
    load("opentelemetry.instrumentation.fastapi").FastAPIInstrumentor.instrument_app(
        app, tracer_provider=tracer, exclude_spans=["receive", "send"]
    )

    def settled() -> None:
        tracer.force_flush()
        logger.force_flush()

    return app, settled


def _otel_log(logs: Any, provider: Any) -> Callable[[dict[str, Any]], None]:
    """A record for each request, by way of ``logging``, as applications write theirs."""
    import logging

    handler = logs.LoggingHandler(level=logging.INFO, logger_provider=provider)
    log = logging.getLogger("bench")
    log.setLevel(logging.INFO)
    log.propagate = False
    log.addHandler(handler)
    return lambda fields: log.info("request", extra=fields)


def _structlog(_sink: str) -> Made:
    """Into a file, and as its documentation's chapter on performance advises."""
    import tempfile

    structlog = importlib.import_module("structlog")
    orjson = importlib.import_module("orjson")
    file = tempfile.TemporaryFile("wb")  # noqa: SIM115  as long as the process
    structlog.configure(
        cache_logger_on_first_use=True,
        wrapper_class=structlog.make_filtering_bound_logger(20),
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(serializer=orjson.dumps),
        ],
        logger_factory=structlog.BytesLoggerFactory(file),
    )
    log = structlog.get_logger()
    app = site()
    _log_each(app, lambda fields: log.info("request", **fields))
    return app, lambda: None


def _sentry(sink: str) -> Made:
    sentry = importlib.import_module("sentry_sdk")
    scheme, _, rest = sink.partition("://")
    sentry.init(
        dsn=f"{scheme}://key@{rest}/1", traces_sample_rate=1.0, enable_logs=True, shutdown_timeout=0
    )
    return site(), sentry.flush


def _log_each(app: Any, log: Callable[[dict[str, Any]], None]) -> None:
    """Have *log* called for each request with what one would write down of it, no more."""
    import time

    class Logging:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] != "http":
                await self.app(scope, receive, send)
                return
            began = time.perf_counter_ns()
            status = 0

            async def sending(message: Any) -> None:
                nonlocal status
                if message["type"] == "http.response.start":
                    status = message["status"]
                await send(message)

            try:
                await self.app(scope, receive, sending)
            finally:
                headers = dict(scope["headers"])
                log(
                    {
                        "method": scope["method"],
                        "path": scope["path"],
                        "status": status,
                        "duration_ns": time.perf_counter_ns() - began,
                        "client_ip": scope["client"][0],
                        "user_agent": headers.get(b"user-agent", b"").decode(),
                    }
                )

    app.add_middleware(Logging)


def scope(path: str) -> dict[str, Any]:
    """A request, as a server hands it over."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"expand=items",
        "root_path": "",
        "headers": HEADERS,
        "client": ("203.0.113.9", 51234),
        "server": ("127.0.0.1", 8000),
    }


async def _receive() -> Any:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _send(message: Any) -> None: ...


async def _serve(app: Any, path: str, count: int) -> None:
    for number in range(count):
        await app(scope(path.replace("#", str(number))), _receive, _send)
        if number % 50 == 49:  # a server would wait for the next ones
            await asyncio.sleep(0.001)


def main(guest: str, sink: str) -> None:
    """Serve as told by stdin."""
    app, settle = made(guest, sink)
    loop = asyncio.new_event_loop()
    peak = 0
    for line in sys.stdin:
        path, _, count = line.partition(" ")
        gc.collect()
        began = process_time_ns()
        loop.run_until_complete(_serve(app, path, int(count)))
        settle()
        spent = (process_time_ns() - began) / int(count)
        peak = max(peak, _memory())
        print(json.dumps({"cpu_ns": spent, "memory": peak}), flush=True)


def listen(guest: str, sink: str, port: int) -> None:
    """Serve on loopback, until it is told to end."""
    app, _ = made(guest, sink)
    importlib.import_module("uvicorn").run(app, port=port, log_level="warning", access_log=False)


def _memory() -> int:
    """Bytes of the process, now."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) * 1024
    return 0


if __name__ == "__main__":
    if len(sys.argv) > 3:
        listen(sys.argv[1], sys.argv[2], int(sys.argv[3]))
    else:
        main(sys.argv[1], sys.argv[2])
