"""Where bytes came from: what a source may say for lines that do not say it themselves."""

from __future__ import annotations

from msgspec import Struct

__all__ = ["Origin"]


class Origin(Struct, frozen=True, kw_only=True, gc=False):
    """One source, as the door knows it.

    ``source`` is bound to the key or the file, never to what a line claims.  The rest fills in
    what a line leaves out.
    """

    source: str  #: who told us
    layer: str | None = None  #: app, gateway, database, host, identity; default: the parser's
    service: str | None = None
    env: str | None = None
    host: str | None = None
    tenant: str | None = None
    peer_ip: str | None = None  #: address that handed the bytes over
    tz: str = "UTC"  #: IANA zone (or ``+02:00``) of times that carry none
