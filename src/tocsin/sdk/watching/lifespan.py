"""The life of an ASGI application: that it started and stopped, and that nothing waits at its end.

A server that was told to end by a signal may end this process at once when the application has
stopped, without the clean-up that Python makes otherwise: so what was recorded is sent before.
"""

from __future__ import annotations

from collections.abc import Callable
from time import time_ns
from typing import Any

from tocsin.event.kinds import Kind
from tocsin.event.model import Event
from tocsin.sdk.harmless import harmless
from tocsin.sdk.plain import text
from tocsin.sdk.watching.serving import Taker

__all__ = ["down", "live", "up"]


async def live(app: Any, client: Callable[[], Taker], scope: Any, receive: Any, send: Any) -> None:
    """Serve *scope*, a lifespan, by *app*.  One that knows no lifespans is given a plain one."""
    begun = False

    async def receiving() -> Any:
        nonlocal begun
        begun = True
        return await receive()

    async def sending(message: Any) -> None:
        nonlocal begun
        begun = True
        with harmless:
            await _tell(client, message)
        await send(message)

    try:
        await app(scope, receiving, sending)
    except Exception:
        if begun:
            raise
        # Servers take it that there is no lifespan, and go on.  So do we, with one of our own.
        await receive()
        await sending({"type": "lifespan.startup.complete"})
        await receive()
        await sending({"type": "lifespan.shutdown.complete"})


async def up(client: Callable[[], Taker]) -> None:
    """The application has started.  Never raises."""
    with harmless:
        client().take(_event(Kind.SYS_STARTUP, "info", "the application is up"))


async def down(client: Callable[[], Taker], why: str | None = None) -> None:
    """The application ends, in order or, if it says *why*, not; what is recorded is sent.

    Never raises.
    """
    with harmless:
        severity = "info" if why is None else "error"
        client().take(_event(Kind.SYS_SHUTDOWN, severity, "the application stops", why))
        await _flushed(client())


async def _tell(client: Callable[[], Taker], message: Any) -> None:
    what = message["type"]
    if what == "lifespan.startup.complete":
        await up(client)
    elif what == "lifespan.shutdown.complete":
        await down(client)
    elif what == "lifespan.shutdown.failed":
        await down(client, text(message.get("message", ""), 2048))
    elif what == "lifespan.startup.failed":
        why = text(message.get("message", ""), 2048)
        client().take(_event(Kind.SYS_CRASH, "error", "the application does not start", why))
        await _flushed(client())


def _event(kind: Kind, severity: str, message: str, why: str | None = None) -> Event:
    return Event(
        time=time_ns(), kind=kind, severity=severity, message=message, error_message=why or None
    )


async def _flushed(client: Taker) -> None:
    """Wait until what was taken is sent, beside the loop where it is one of asyncio's."""
    import asyncio  # whoever serves ASGI has it, and whoever does not should not load it

    seconds = client.options.farewell
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:  # another kind of loop, which is at its end
        client.flush(seconds)
    else:
        await loop.run_in_executor(None, client.flush, seconds)
