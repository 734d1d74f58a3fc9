"""What the HTTP door takes at most, before it says no."""

from __future__ import annotations

import os

from msgspec import Struct

__all__ = ["Limits"]


class Limits(Struct, frozen=True, kw_only=True):
    """Every bound of the door.  What is over one is refused in words, never cut in silence."""

    body_bytes: int = 8 << 20  #: a body as sent
    inflated_bytes: int = 64 << 20  #: a body once inflated
    lines: int = (
        200_000  #: lines, or elements, of a body: two bytes may be one, and a row costs more
    )
    waiting_bytes: int = 256 << 20  #: all bodies in work, as sent; inflated, ``workers`` at once
    body_seconds: float = 30.0  #: from the first wait for a body to its last byte
    #: Threads that read bodies.  Half the cores: the sealer and detection want the others, and with
    #: fewer threads more bodies wait to be read as one, which is cheaper for each.
    workers: int = max(1, (os.cpu_count() or 1) // 2)
    queued: int = 1_000  #: bodies that may wait for a worker; ``waiting_bytes`` bounds their size
    read_seconds: float = 60.0  #: longest wait for a body to be read, others' turns included
    store_seconds: float = 30.0  #: longest wait for the vault to make a batch durable

    connections: int = 1_000  #: open at once; the longest idle one makes room for a new one
    head_bytes: int = 32 << 10  #: request line and headers together
    headers: int = 100  #: header lines of a request
    header_seconds: float = 10.0  #: from being connected, or idle no more, to the last header
    keep_alive_seconds: float = 30.0  #: idle time after which a connection is closed
    grace_seconds: float = 10.0  #: for requests in work when the door closes
    backlog: int = 2_048  #: connections the kernel may hold for us
