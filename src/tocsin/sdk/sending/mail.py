"""The way out to a receiver: encoded, into the outbox, and from there over the wire."""

from __future__ import annotations

import logging

from tocsin.errors import SettingsError
from tocsin.event.model import Event
from tocsin.sdk.harmless import harmless
from tocsin.sdk.noted import Probe
from tocsin.sdk.options import Options
from tocsin.sdk.sending.inbox import Bell
from tocsin.sdk.sending.outbox import Line, Outbox
from tocsin.sdk.sending.post import Post, target
from tocsin.sdk.sending.ship import Patience, Shipper
from tocsin.sdk.sending.spool import Spool, directory
from tocsin.sdk.sending.tally import Tally
from tocsin.sdk.sending.wire import encode, probe_json

__all__ = ["Mail"]

log = logging.getLogger("tocsin")


class Mail:
    """Outbox, spool and shipper of one life.  *bell* is rung when there is something to send."""

    def __init__(
        self,
        options: Options,
        boot: str,
        tally: Tally,
        bell: Bell,
        patience: Patience | None = None,
    ) -> None:
        self._bell = bell
        self._post: Post | None = None
        name = "the receiver"
        try:
            to = target(options.url or "", options.key, insecure=options.insecure)
            self._post, name = Post(to, options), str(to)
        except SettingsError as error:
            with harmless:
                log.warning("tocsin sends nothing, events go to the spool: %s", error)
        self._spool = Spool(
            directory(options.spool, options.service),
            boot,
            most=options.spool_bytes,
            tally=tally,
        )
        self._outbox = Outbox(
            boot,
            memory_bytes=options.memory_bytes,
            batch_events=options.batch_events,
            batch_seconds=options.batch_seconds,
            spill=self._spool.keep,
            tally=tally,
        )
        self.shipper = Shipper(
            self._outbox, self._spool, self._post, tally=tally, name=name, patience=patience
        )

    @property
    def works(self) -> bool:
        """Whether the receiver takes events, as far as we know."""
        return self.shipper.works

    @property
    def waiting(self) -> int:
        """Events in memory."""
        return self._outbox.waiting

    def put(self, event: Event, probe: Probe | None) -> None:
        """Encode *event*, and have it sent."""
        line = Line(encode(event), None if probe is None else probe_json(probe))
        if self._outbox.put(event.source_seq or 0, line):
            self._bell.ring()

    def flush(self) -> None:
        """Batches are cut by size and time, not here."""

    def hang_up(self) -> None:
        """End the call that goes on."""
        if self._post is not None:
            self._post.hang_up()

    def close(self) -> None:
        """Give back the connection and the spool."""
        if self._post is not None:
            self._post.close()
        self._spool.close()

    def abandon(self) -> None:
        """In a forked child: give back our copies of the descriptors."""
        if self._post is not None:
            self._post.abandon()
        self._spool.abandon()
