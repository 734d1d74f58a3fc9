"""What the reader makes of a request: an event, and what may be looked at but not kept."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from tocsin.event.model import Event

__all__ = ["Noted", "Probe"]

#: Request values by place, ``probe_body`` and ``probe_header``: see ``tocsin.event.signatures``.
Probe = Mapping[str, str]


class Noted(Struct, frozen=True, gc=False):
    """An event with its *probe*: request values in which the receiver looks for attacks.

    The probe goes over the wire and nowhere else: not to the spool, not to a line, not to a hook.
    """

    event: Event
    probe: Probe | None = None
