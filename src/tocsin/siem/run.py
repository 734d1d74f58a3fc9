"""``tocsin up``: open the house, let everything in it work, and close it in order."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import cast

import msgspec
from starlette.applications import Starlette

from tocsin.alerts import Change, Channel, deliver
from tocsin.alerts.channels import Mail, Webhook
from tocsin.alerts.channels.terminal import line
from tocsin.alerts.desk import TOLD
from tocsin.detect import Engine, RuleSet
from tocsin.event import Event, Kind
from tocsin.intake import PARSERS, parse, sniff
from tocsin.intake.http import Accept, Road, app, receiver
from tocsin.intake.limits import Limits
from tocsin.intake.serve import Listener, listen, new_event_loop, serve
from tocsin.intake.tokens import Tokens
from tocsin.settings import Channel as SetChannel
from tocsin.settings import Settings, Smtp
from tocsin.siem.access import SOCKET
from tocsin.siem.chores import Chore
from tocsin.siem.detection import Detection
from tocsin.siem.following import Following
from tocsin.siem.house import House, channel_name
from tocsin.siem.local import routes
from tocsin.siem.rulebook import load_rules
from tocsin.vault import catch_up
from tocsin.vault.follow import BATCH
from tocsin.vault.state import StateFile

__all__ = ["Up", "run"]

log = logging.getLogger("tocsin")

#: Rows below which detection waits a moment for more, and how long, seconds.
_FEW, _MOMENT = 8_192, 0.05

#: How much history a rule that is new or edited is shown, event time.
_MEMORY_NS = 24 * 3600 * 10**9


class Up(msgspec.Struct, frozen=True):
    """What a tocsin that has come up says of itself."""

    address: str  #: HOST:PORT of the door
    data: Path
    rules: RuleSet
    problems: tuple[str, ...]  #: rules that are left out, and why
    house: House


def run(
    settings: Settings,
    *,
    ready: Callable[[Up], None],
    printed: Callable[[str], None],
    beside: Callable[[Up, threading.Event], None] | None = None,
) -> None:
    """Run until SIGINT or SIGTERM.

    *ready* is called once the door is open; *printed* takes a line for each incident that people
    should see; *beside* runs in a thread of its own until its event is set.
    """
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(_run(settings, ready, printed, beside))


async def _run(
    settings: Settings,
    ready: Callable[[Up], None],
    printed: Callable[[str], None],
    beside: Callable[[Up, threading.Event], None] | None,
) -> None:
    rules = load_rules(settings.rules, with_pack=settings.pack)
    # Tried before the vault is made: a wrong address should leave nothing behind.
    listen(Starlette(), settings.listen, insecure=settings.insecure).socket.close()
    house = House(settings)
    try:
        engine = Engine(rules)
        detection = Detection(
            engine,
            house.desk,
            StateFile(house.data / "state", house.ring, "detect"),
            changed=lambda changes: _print(changes, printed),
            pause_seconds=settings.state_seconds,
        )
        house.detected = lambda: detection.cursor
        tokens = Tokens(house.catalog)
        door, socket = _listeners(house, tokens, settings)
        problems = tuple(str(p) for p in (*rules.problems, *engine.problems))
        up = Up(door.address, house.data, rules, problems, house)
        house.tell(_about(Kind.SYS_STARTUP, "tocsin started"), *_found_at_start(house))
        chores = list(_chores(house, detection, tokens, settings))
        stop = asyncio.Event()
        for name in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(name, stop.set)

        companion = _Companion(beside, up)

        def opened() -> None:
            for chore in chores:
                chore.start()
            # Columns make no cycles: what is loaded stays, and the collector need not look often.
            gc.collect()
            gc.freeze()
            gc.set_threshold(50_000, 20, 50)
            ready(up)
            companion.start()

        try:
            await serve(door, socket, stop=stop, ready=opened)
        finally:
            # The door is closed: what it took is durable.  Now the followers come to rest; a
            # crash in here loses nothing, the next start goes on from the saved state.
            house.stopping.set()
            companion.stop()
            await asyncio.to_thread(_rest, chores, detection, house)
    finally:
        await asyncio.to_thread(house.leave)


def _rest(chores: list[Chore], detection: Detection, house: House) -> None:
    """Stop in order.  What fails here is said and made up for at the next start."""
    stopped = {chore.name for chore in chores if chore.stop()}
    for chore in chores:
        if chore.name not in stopped:
            log.warning("%s did not stop in time", chore.name)
    try:
        house.tell(_about(Kind.SYS_SHUTDOWN, "tocsin stopped"))
        if "detection" in stopped:  # else it is still at work, and may be in the midst of a step
            catch_up(detection, house.vault, {detection.name: detection.cursor})
            detection.save()
    except Exception as error:  # noqa: BLE001  # the vault must be closed whatever happened
        log.error("detection did not end in order: %s: %s", type(error).__name__, error)


def _found_at_start(house: House) -> list[Event]:
    """What the last life left in disorder, as events: a loss that nobody hears of is the worst."""
    recovery, facts = house.vault.recovery, list[tuple[str, str]]()
    if recovery.torn_bytes:
        facts.append(("warn", f"{recovery.torn_bytes} bytes of an unfinished write were cut off"))
    if recovery.lost_rows:
        facts.append(("critical", f"{recovery.lost_rows} acknowledged events were lost"))
    facts += [("critical", f"damaged and set aside: {what}") for what in recovery.damaged]
    if house.ring.rotating:
        facts.append(("warn", "a rotation of the key-encryption key was begun and not ended"))
    return [
        Event(time=time.time_ns(), kind=Kind.SYS_CRASH, severity=severity, message=words)
        for severity, words in facts
    ]


class _Past:
    """Shows rules that are new or edited what happened lately; the others skip what they know.

    Part by part, before anything new: a rule that counts must see events in order.
    """

    def __init__(self, detection: Detection, house: House) -> None:
        self._detection, self._house = detection, house
        self._at = self._end = detection.cursor
        if detection.is_behind:
            since = time.time_ns() - _MEMORY_NS
            lately = [s.first_seq for s in house.vault.shelves(since, None)]
            self._at = min([s for s in lately if s < self._end], default=self._end)

    def step(self) -> bool:
        """Show one part; False when all of it has been shown."""
        if self._at >= self._end:
            return False
        entries = self._house.vault.read(self._at, min(BATCH, self._end - self._at))
        if len(entries):
            self._detection.follow(entries)
        self._at = entries.next_seq if len(entries) else self._end
        return True


class _Watch:
    """Turns what the vault says of itself into events, once for each change."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._restarts, self._failed, self._aside = 0, set[str](), set[str]()

    def step(self) -> None:
        status = self._house.vault.status()
        facts: list[tuple[str, str]] = []
        if status.sealer_restarts > self._restarts:
            facts.append(
                ("error", f"the sealer died and was started again: {status.sealer_restarts}")
            )
            self._restarts = status.sealer_restarts
        failed = {why for why in (status.writing_failed, status.sealing_failed) if why}
        facts += [("critical", why) for why in sorted(failed - self._failed)]
        aside = set(status.quarantined)
        facts += [("critical", f"set aside: {name}") for name in sorted(aside - self._aside)]
        if facts:
            self._house.tell(
                *(
                    Event(time=time.time_ns(), kind=Kind.SYS_CRASH, severity=s, message=words)
                    for s, words in facts
                )
            )
        # Only now: while nothing can be written, it is told as soon as something can.
        self._failed, self._aside = failed, aside


def _listeners(house: House, tokens: Tokens, settings: Settings) -> tuple[Listener, Listener]:
    limits = Limits(
        body_bytes=settings.max_body_bytes,
        inflated_bytes=settings.max_inflated_bytes,
        waiting_bytes=settings.max_waiting_bytes,
        body_seconds=settings.body_seconds,
        header_seconds=settings.header_seconds,
        connections=settings.max_connections,
    )
    road = Road(parse=parse, admit=house.admit, sniff=sniff, parsers=frozenset(PARSERS))
    application = app(
        receiver(
            authenticate=tokens.authenticate,
            decode=road,
            # Futures are invariant for the checker; the receipt has all that the door asks for.
            accept=cast("Accept", house.vault.append),
            limits=limits,
            # For anyone to read: that it cannot, not why.
            unready=lambda: (
                "the disk refuses events" if house.vault.status().writing_failed else None
            ),
        )
    )
    door = listen(application, settings.listen, limits=limits, insecure=settings.insecure)
    return door, listen(Starlette(routes=routes(house)), house.data / SOCKET)


def _chores(
    house: House, detection: Detection, tokens: Tokens, settings: Settings
) -> Iterator[Chore]:
    def failed(name: str, error: BaseException) -> None:
        house.tell(
            _about(Kind.SYS_CRASH, f"{name} failed and is tried again", type(error).__name__)
        )

    past = _Past(detection, house)

    def detect() -> None:
        if past.step():
            return
        if not house.vault.wait(detection.cursor, 0.5):
            detection.tick()
            return
        if house.vault.next_seq - detection.cursor < _FEW:
            time.sleep(_MOMENT)
        # A part at a time, so that a stop need not wait for the whole of a long past.
        entries = house.vault.read(detection.cursor, BATCH)
        if len(entries):
            detection.follow(entries)

    channels = [_channel(c) for c in settings.channels]

    def gave_up(message: str) -> None:
        house.tell(_about(Kind.SYS_CRASH, message, "DeliveryError"))

    def tell_people() -> None:
        deliver(house.catalog, house.box, channels, gave_up=gave_up, stop=house.stopping.is_set)

    yield Chore("detection", detect, pause=0, failed=failed)
    yield Chore("key-use", tokens.flush, pause=5, failed=failed)
    yield Chore("self-watch", _Watch(house).step, pause=5, failed=failed)
    yield Chore("compaction", house.vault.compact, pause=settings.compact_seconds, failed=failed)
    if channels:
        yield Chore("outbox", tell_people, pause=1, failed=failed)
    if settings.follow:
        following = Following(
            house.vault,
            house.catalog,
            settings.follow,
            admit=house.admit,
            tell=house.tell,
            stopping=house.stopping,
        )
        yield Chore("following", following.step, pause=0.2, failed=failed)


def _channel(channel: SetChannel) -> Channel:
    if isinstance(channel, Smtp):
        return Mail(
            channel.host,
            channel.sender,
            channel.to,
            port=channel.port,
            tls=channel.tls,
            username=channel.username,
            password=channel.password,
            name=channel_name(channel),
        )
    return Webhook(
        channel.url,
        channel.secret,
        name=channel_name(channel),
        allow_private=channel.allow_private,
    )


def _print(changes: Iterable[Change], printed: Callable[[str], None]) -> None:
    for change in changes:
        if change.kind in TOLD:
            printed(line(str(change.kind), change.incident))


def _about(kind: Kind, message: str, error_type: str | None = None) -> Event:
    return Event(time=time.time_ns(), kind=kind, message=message, error_type=error_type)


class _Companion:
    """What runs beside the door, if anything does: the demo."""

    def __init__(self, beside: Callable[[Up, threading.Event], None] | None, up: Up) -> None:
        self._stopping = threading.Event()
        self._thread = (
            threading.Thread(target=beside, args=(up, self._stopping), daemon=True)
            if beside
            else None
        )

    def start(self) -> None:
        if self._thread:
            self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread and self._thread.is_alive():
            self._thread.join(10)
