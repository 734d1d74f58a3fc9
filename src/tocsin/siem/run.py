"""``tocsin up``: open the house, let everything in it work, and close it in order."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from subprocess import Popen
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
from tocsin.intake.admit import warm
from tocsin.intake.http import Accept, Road, app, receiver
from tocsin.intake.limits import Limits
from tocsin.intake.serve import Listener, listen, new_event_loop, serve
from tocsin.settings import Channel as SetChannel
from tocsin.settings import Settings, Smtp
from tocsin.siem.access import SOCKET
from tocsin.siem.checks import check
from tocsin.siem.chores import Chore, briefly
from tocsin.siem.detection import Detection
from tocsin.siem.following import Following
from tocsin.siem.house import House, channel_name, own_batch
from tocsin.siem.local import routes
from tocsin.siem.notices import CATALOG, UNCLEAN, UNTOLD, Notice, Watch, found_at_start, notice
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
    notices: tuple[Notice, ...]  #: what was found in disorder
    house: House


def run(
    settings: Settings,
    *,
    ready: Callable[[Up], None],
    printed: Callable[[str], None],
    beside: Callable[[Up, threading.Event], None] | None = None,
    sealer: Popen[bytes] | None = None,
) -> None:
    """Run until SIGINT or SIGTERM.

    *ready* is called once the door is open; *printed* takes a line for each incident that people
    should see; *beside* runs in a thread of its own until its event is set; *sealer* is the sealing
    process, if one was begun early.
    """
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(_run(settings, ready, printed, beside, sealer))


async def _run(
    settings: Settings,
    ready: Callable[[Up], None],
    printed: Callable[[str], None],
    beside: Callable[[Up, threading.Event], None] | None,
    sealer: Popen[bytes] | None,
) -> None:
    check(settings)  # what is wrong should leave nothing behind
    # While we wait for the sealer to come up: compiling takes a second, in which others can run.
    threading.Thread(target=_warm, name="warming", daemon=True).start()
    rules = load_rules(settings.rules, with_pack=settings.pack)
    house = House(settings, sealer=sealer)
    try:
        engine = Engine(rules)
        detection = _detection(engine, house, printed)
        notices = tuple(_notices(house, detection))
        door, socket = _listeners(house, settings)
        house.door = door.address
        try:
            watch = Watch(house)
            chores = list(_chores(house, detection, watch, settings))
            problems = tuple(str(p) for p in (*rules.problems, *engine.problems))
            up = Up(door.address, house.data, rules, problems, notices, house)
            house.tell(_about(Kind.SYS_STARTUP, "tocsin started"), *map(_noticed, notices))
            rest = partial(_rest, chores, watch, detection, house)
            await _serve(up, door, socket, chores, _Companion(beside, up), ready, rest)
        finally:
            for listener in (door, socket):  # if they were never opened, nobody has closed them
                listener.socket.close()
                if listener.path is not None:
                    listener.path.unlink(missing_ok=True)
    finally:
        await asyncio.to_thread(house.leave)


def _warm() -> None:
    """Have what the door looks for in each event compiled before the first one comes."""
    own_batch([_about(Kind.SYS_STARTUP, "tocsin starts")])
    warm()


async def _serve(
    up: Up,
    door: Listener,
    socket: Listener,
    chores: list[Chore],
    companion: _Companion,
    ready: Callable[[Up], None],
    rest: Callable[[], None],
) -> None:
    stop = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)

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
        # The door is closed: what it took is durable.  Now the others come to rest; a crash in
        # here loses nothing, the next start goes on from the saved state.
        up.house.stopping.set()
        companion.stop()
        await asyncio.to_thread(rest)


def _rest(chores: list[Chore], watch: Watch, detection: Detection, house: House) -> None:
    """Stop in order.  What fails here is said and made up for at the next start."""
    stopped = {chore.name for chore in chores if chore.stop()}
    for chore in chores:
        if chore.name not in stopped:
            log.warning("%s did not stop in time", chore.name)
    try:
        watch.step()  # what came up since it last looked
        house.tell(_about(Kind.SYS_SHUTDOWN, "tocsin stopped"))
        if "detection" in stopped:  # else it is still at work, and may be in the midst of a step
            catch_up(detection, house.vault, {detection.name: detection.cursor})
            detection.save()
    except Exception as error:  # noqa: BLE001  # the vault must be closed whatever happened
        log.error("detection did not end in order: %s", briefly(error))


def _detection(engine: Engine, house: House, printed: Callable[[str], None]) -> Detection:
    def came_back(incidents: int) -> None:
        some = f"{incidents} incident{'s' * (incidents != 1)}"
        words = f"detection has read the whole vault again: {some} came back"
        house.tell(_about(Kind.LOG, words))
        printed(words)

    detection = Detection(
        engine,
        house.desk,
        StateFile(house.data / "state", house.ring, "detect"),
        cursors=house.cursors,
        end=house.vault.next_seq,
        redo=house.redo,
        changed=lambda changes: _print(changes, printed),
        came_back=came_back,
        pause_seconds=house.settings.state_seconds,
    )
    house.detected, house.losses = lambda: detection.cursor, lambda: detection.losses
    return detection


def _notices(house: House, detection: Detection) -> Iterator[Notice]:
    """What was found in disorder; and what can be restored at once is."""
    if house.catalog_lost or detection.starts_over:
        how = "was made anew" if house.catalog_lost else "is older than the vault"
        words = f"catalog.db {how}; incidents, decisions and source keys come back from the vault"
        yield Notice(CATALOG, "critical", words)
        if why := house.restore_keys():
            yield Notice(CATALOG, "critical", f"source keys may be missing: {why}")
    # A crash before this finds the catalog as lost as this start did.
    house.meet()
    yield from found_at_start(house.data, house.vault.recovery, house.catalog)
    if house.ring.rotating:
        words = "a rotation of the key-encryption key was begun and not ended"
        yield Notice(UNCLEAN, "warn", words)


def _noticed(found: Notice) -> Event:
    return notice(found.tag, found.words, at=time.time_ns(), severity=found.severity)


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


def _listeners(house: House, settings: Settings) -> tuple[Listener, Listener]:
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
            authenticate=house.keys.authenticate,
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
    try:
        return door, listen(Starlette(routes=routes(house)), house.data / SOCKET)
    except BaseException:
        door.socket.close()
        raise


def _chores(
    house: House, detection: Detection, watch: Watch, settings: Settings
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
        house.tell(notice(UNTOLD, message, at=time.time_ns(), severity="error"))

    def tell_people() -> None:
        deliver(house.catalog, house.box, channels, gave_up=gave_up, stop=house.stopping.is_set)

    yield Chore("detection", detect, pause=0, failed=failed)
    yield Chore("key-use", house.keys.flush, pause=5, failed=failed)
    yield Chore("self-watch", watch.step, pause=5, failed=failed)
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
