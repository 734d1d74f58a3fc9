"""tocsin: an alarm bell for APIs.

What an application uses stands here, and is imported when it is first used::

    import tocsin

    tocsin.watch(app, service="orders")
    tocsin.identify("ann", role="clerk")
    tocsin.log.authz_fail(user="joe", resource="order:42", reason="not the owner")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tocsin.event.kinds import Kind as Kind
    from tocsin.event.model import Event as Event
    from tocsin.sdk.client import flush as flush
    from tocsin.sdk.context import identify as identify
    from tocsin.sdk.database.sql import watch_sqlalchemy as watch_sqlalchemy
    from tocsin.sdk.saying.bridges import LogHandler as LogHandler
    from tocsin.sdk.saying.bridges import structlog_processor as structlog_processor
    from tocsin.sdk.saying.log import log as log
    from tocsin.sdk.watching.watch import watch as watch

__all__ = [
    "Event",
    "Kind",
    "LogHandler",
    "flush",
    "identify",
    "log",
    "structlog_processor",
    "watch",
    "watch_sqlalchemy",
]

__version__ = "0.1.0.dev0"

_WHERE = {
    "Event": "tocsin.event.model",
    "Kind": "tocsin.event.kinds",
    "LogHandler": "tocsin.sdk.saying.bridges",
    "flush": "tocsin.sdk.client",
    "identify": "tocsin.sdk.context",
    "log": "tocsin.sdk.saying.log",
    "structlog_processor": "tocsin.sdk.saying.bridges",
    "watch": "tocsin.sdk.watching.watch",
    "watch_sqlalchemy": "tocsin.sdk.database.sql",
}


def __getattr__(name: str) -> Any:
    """The public names, each imported when it is first asked for."""
    module = _WHERE.get(name)
    if module is None:
        raise AttributeError(f"module 'tocsin' has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(module), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
