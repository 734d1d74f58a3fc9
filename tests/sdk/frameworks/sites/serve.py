"""Serve one site twice from one process, bare and watched: ``serve.py SITE SERVER``.

Prints the two ports.  Which application a request is for is told by the port it came to, so that
both live under the same server, with the same settings.
"""
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false, reportArgumentType=false

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import socket
import sys
from typing import Any


def listen() -> socket.socket:
    found = socket.socket()
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    found.bind(("127.0.0.1", 0))
    found.listen(128)
    found.set_inheritable(True)
    return found


def either_asgi(bare: Any, watched: Any, port: int) -> Any:
    async def either(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan" or scope["server"][1] == port:
            await watched(scope, receive, send)
        else:
            await bare(scope, receive, send)

    return either


def either_wsgi(bare: Any, watched: Any, port: int) -> Any:
    def either(environ: Any, start_response: Any) -> Any:
        app = watched if environ["SERVER_PORT"] == str(port) else bare
        return app(environ, start_response)

    return either


def uvicorn(app: Any, sockets: list[socket.socket]) -> None:
    import uvicorn as server

    config = server.Config(app, log_level="critical", lifespan="auto")
    server.Server(config).run(sockets=sockets)


def hypercorn(app: Any, sockets: list[socket.socket]) -> None:
    from hypercorn.asyncio import serve
    from hypercorn.config import Config

    config = Config()
    config.bind = [f"fd://{one.fileno()}" for one in sockets]
    asyncio.run(serve(app, config))


def gunicorn(app: Any, sockets: list[socket.socket], **options: Any) -> None:
    from gunicorn.app.base import BaseApplication

    class Server(BaseApplication):  # type: ignore[misc]
        def load_config(self) -> None:
            settings = {
                "keepalive": 1,
                "bind": [f"fd://{one.fileno()}" for one in sockets],
                "loglevel": "critical",
            }
            for name, value in {**settings, **options}.items():
                self.cfg.set(name, value)

        def load(self) -> Any:
            return app

    Server().run()


def main(site: str, server: str) -> None:
    logging.disable(logging.CRITICAL)
    bare, watched = importlib.import_module(f"site_{site}").make()
    sockets = [listen(), listen()]
    ports = [one.getsockname()[1] for one in sockets]
    print(json.dumps(ports), flush=True)
    if server == "uvicorn":
        uvicorn(either_asgi(bare, watched, ports[1]), sockets)
    elif server == "hypercorn":
        hypercorn(either_asgi(bare, watched, ports[1]), sockets)
    elif server == "sync":
        gunicorn(either_wsgi(bare, watched, ports[1]), sockets, workers=2, timeout=30)
    else:
        options = {"worker_class": "gthread", "workers": 1, "threads": 16, "preload_app": True}
        gunicorn(either_wsgi(bare, watched, ports[1]), sockets, **options)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
