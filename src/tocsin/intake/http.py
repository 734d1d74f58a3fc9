"""The HTTP door: ``POST /v1/events`` takes events, and answers once they are durable.

What happens to a request, in order: the key, the headers, the body (bounded in size and time), then
in a worker thread inflate, decode, admit and hand over; then wait for the vault.  A refusal at any
step stores nothing of the request.  A crash, or a lost connection, before the answer leaves the
sender in doubt; sending the same batch id again is always safe.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
import traceback
from collections.abc import Callable, Collection, Generator
from concurrent.futures import Future
from contextlib import contextmanager
from hashlib import blake2b
from typing import Protocol

import msgspec
import polars as pl
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from tocsin.errors import (
    IntakeError,
    Malformed,
    Pushback,
    StorageFailed,
    TooLarge,
    VaultClosed,
)
from tocsin.intake import together
from tocsin.intake.answers import Refused, json_answer, problem_for
from tocsin.intake.inflate import ENCODINGS
from tocsin.intake.limits import Limits
from tocsin.intake.origin import Origin
from tocsin.intake.together import NATIVE, Job, Outcome, Road, Workers

__all__ = ["NATIVE", "Accept", "Receipt", "Road", "Sender", "app", "receiver"]

logger = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0  # between two looks whether the sender is still there
_BUSY_SECONDS = 5.0  # after which a sender may find us less busy
_LINES = frozenset({"application/x-ndjson", "application/jsonl", "application/x-jsonlines"})
_ARRAY = "application/json"
_TEXT = "text/plain"
_BATCH_ID = re.compile(r"[\x21-\x7e]{1,200}")
_CHARSETS = frozenset({"utf-8", "utf8", "us-ascii"})
_NO_KEY = 'send the key of a source as "Authorization: Bearer KEY"'
# Which of both is nobody's business who has no key.
_NOT_A_KEY = "this key is unknown or revoked; make one with `tocsin token create --source NAME`"


class Sender(Protocol):
    """Who a key belongs to."""

    @property
    def origin(self) -> Origin:
        """What the source says for lines that do not say it themselves."""
        ...

    @property
    def parser(self) -> str | None:
        """The format it sends when a request names none."""
        ...


class Receipt(Protocol):
    """The vault's word that a batch is durable."""

    @property
    def first_seq(self) -> int:
        """Seq of the first row."""
        ...

    @property
    def rows(self) -> int:
        """How many there are."""
        ...

    @property
    def repeated(self) -> bool:
        """The batch id was known: these are the rows of then, and nothing was added."""
        ...

    @property
    def same(self) -> bool:
        """Whether the body of then was this one, as far as is known."""
        ...


#: The vault's ``append``: at once Pushback or VaultClosed, else a receipt to wait for.
Accept = together.Accept[Receipt]


def receiver(
    *,
    authenticate: Callable[[str], Sender | None],
    decode: Road,
    accept: Accept,
    limits: Limits | None = None,
    clock: Callable[[], int] = time.time_ns,
    unready: Callable[[], str | None] = lambda: None,
) -> list[BaseRoute]:
    """The routes ``POST /v1/events`` and ``GET /healthz``.

    *clock* gives nanoseconds since 1970.  *unready* says why the door does not take events just
    now, in words for anyone to read; None when it does.
    """

    async def healthz(_request: Request) -> Response:
        reason = unready()
        if reason is not None:
            return Refused.until(503, reason, 1.0).answer()
        return json_answer({"status": "ok"})

    door = _Door(authenticate, decode, accept, limits or Limits(), clock)
    return [
        Route("/v1/events", door, name="events"),
        Route("/healthz", healthz, methods=["GET"], name="healthz"),
    ]


def app(routes: Collection[BaseRoute]) -> ASGIApp:
    """An application of *routes* that answers what no route takes in the door's own form."""
    return Starlette(routes=list(routes), exception_handlers={HTTPException: problem_for})


class _Options(msgspec.Struct, frozen=True):
    """What the headers and the query of one request ask for."""

    parser: str | None  # None: find out from the lines
    encoding: str
    array: bool
    refuse: bool | None  # a bad line refuses the body; None: as the format has it
    batch_id: str | None


class _Door:
    """``POST /v1/events``.  The counters are the event loop's; the workers run elsewhere."""

    def __init__(
        self,
        authenticate: Callable[[str], Sender | None],
        road: Road,
        accept: Accept,
        limits: Limits,
        clock: Callable[[], int],
    ) -> None:
        self._authenticate = authenticate
        self._road = road
        self._limits = limits
        self._clock = clock
        self._workers = Workers[Receipt](road, accept, limits)
        self._working = 0  # bodies that have a worker, or wait for one
        self._waiting = 0  # bytes of bodies not yet answered

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            answer = await self._answer(request)
        except ClientDisconnect:
            return  # nobody is left to answer; nothing of an unfinished body was looked at
        except Refused as refused:
            answer = refused.answer()
            if "expect" in request.headers and not getattr(request.state, "asked_for_body", False):
                # The sender may leave out the body now, so what follows cannot be told apart.
                answer.headers["connection"] = "close"
        await answer(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        try:
            return await self._take(request)
        except Malformed as error:
            raise Refused(400, str(error), line=error.line, field=error.field) from error
        except TooLarge as error:
            raise Refused(413, str(error)) from error
        except IntakeError as error:
            raise Refused(400, str(error)) from error
        except Pushback as error:
            raise Refused.until(429, "too much is waiting; send it again", error.retry_after) from (
                error
            )
        except (StorageFailed, VaultClosed) as error:
            raise Refused.until(
                503, "the vault cannot store events just now; send it again", 5.0
            ) from error
        except (Refused, ClientDisconnect):
            raise
        except (Exception, pl.exceptions.PanicException) as error:  # noqa: BLE001  root of the request
            # The words of a foreign error may quote the body, so only its name and place are told.
            logger.error("POST /v1/events failed: %s at %s", type(error).__name__, _place(error))
            raise Refused.until(500, "the door failed; nothing is known to be stored", 5.0) from (
                None
            )

    async def _take(self, request: Request) -> Response:
        if request.method != "POST":
            raise Refused(405, "events are sent with POST", headers={"allow": "POST"})
        sender = self._sender(request)
        options = _options(request, sender, self._road.parsers)
        with self._room() as grow:
            body = await self._body(request, grow)
            job = Job(
                body,
                options.encoding,
                options.array,
                options.parser,
                options.refuse,
                _origin(request, sender),
                options.batch_id,
                self._clock(),
            )
            stored, rows, parse_errors = await self._in_worker(request, job)
            receipt = None if stored is None else await self._durable(stored)
        if (
            receipt is not None
            and receipt.repeated
            and (receipt.rows, receipt.same) != (rows, True)
        ):
            raise Refused(
                409,
                f"this batch id was used for another batch, of {receipt.rows} events; nothing of "
                "this one is stored, send it under an id of its own",
            )
        return json_answer(
            {
                "accepted": receipt.rows if receipt else 0,
                "first_seq": receipt.first_seq if receipt else None,
                "repeated": receipt.repeated if receipt else False,
                "parse_errors": parse_errors,
            }
        )

    def _sender(self, request: Request) -> Sender:
        key = _key(request)
        sender = None if key is None else self._authenticate(key)
        if sender is None:
            why = _NO_KEY if key is None else _NOT_A_KEY
            raise Refused(401, why, headers={"www-authenticate": 'Bearer realm="tocsin"'})
        named = _asked(request, "source", "tocsin-source")
        if named is not None and named != sender.origin.source:
            raise Refused(403, "the key belongs to another source than the request names")
        return sender

    @contextmanager
    def _room(self) -> Generator[Callable[[int], None]]:
        """Count bytes as held until the request is answered; Pushback once there are too many."""
        mine = 0

        def grow(size: int) -> None:
            nonlocal mine
            # One body is always let in: a limit below its size would otherwise shut the door.
            if self._waiting > mine and self._waiting + size > self._limits.waiting_bytes:
                raise Pushback("too many bytes are waiting")
            mine += size
            self._waiting += size

        try:
            yield grow
        finally:
            self._waiting -= mine

    async def _body(self, request: Request, grow: Callable[[int], None]) -> bytes:
        limit = self._limits.body_bytes
        too_large = f"the body is over {limit} bytes; send it in smaller parts"
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length[:19]) > limit:
            raise TooLarge(too_large)
        parts: list[bytes] = []
        size = 0
        request.state.asked_for_body = True
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                async for part in request.stream():
                    size += len(part)
                    if size > limit:
                        raise TooLarge(too_large)
                    grow(len(part))
                    parts.append(part)
        except TimeoutError as error:
            raise Refused(
                408,
                f"the body did not arrive within {self._limits.body_seconds:g} s",
                headers={"connection": "close"},
            ) from error
        return b"".join(parts)

    async def _in_worker(self, request: Request, job: Job) -> Outcome[Receipt]:
        """Have *job* read, for as long as the sender is there, and no longer than it may take."""
        if self._working >= self._limits.workers + self._limits.queued:
            raise Pushback("every worker is taken")
        self._working += 1
        ticket = self._workers.submit(job)
        work = asyncio.wrap_future(ticket.done)
        # Counted until the thread is done, even if nobody waits for it any more.
        work.add_done_callback(self._worked)
        until = asyncio.get_running_loop().time() + self._limits.read_seconds
        try:
            while True:
                done, _ = await asyncio.wait([work], timeout=_LOOK_SECONDS)
                if done:
                    return work.result()
                if await request.is_disconnected():
                    raise ClientDisconnect
                if asyncio.get_running_loop().time() > until:
                    raise Pushback("other bodies take too long", retry_after=_BUSY_SECONDS)
        finally:
            # A crash of the sender, or our own haste, leaves a body that is not read to its end;
            # what was stored of it by then is recognised when it is sent again.
            ticket.leave()

    def _worked(self, work: asyncio.Future[Outcome[Receipt]]) -> None:
        self._working -= 1
        if not work.cancelled():
            work.exception()  # told to the request, or to nobody when that was given up

    async def _durable(self, stored: Future[Receipt]) -> Receipt:
        try:
            async with asyncio.timeout(self._limits.store_seconds):
                # Shielded: the vault resolves its future whether or not somebody still waits.
                return await asyncio.shield(asyncio.wrap_future(stored))
        except TimeoutError as error:
            raise Refused.until(
                503, "not durable yet; send it again with the same batch id", 5.0
            ) from error


def _key(request: Request) -> str | None:
    """The key that the request shows, if it shows exactly one."""
    shown = [
        value.partition(" ")[2].strip() if value[:7].lower() == "bearer " else ""
        for value in request.headers.getlist("authorization")
    ] + request.headers.getlist("x-tocsin-key")
    return shown[0] if len(shown) == 1 and shown[0] else None


def _origin(request: Request, sender: Sender) -> Origin:
    peer = request.client.host if request.client and request.client.host else None
    return msgspec.structs.replace(sender.origin, peer_ip=peer)


def _asked(request: Request, name: str, header: str) -> str | None:
    return request.query_params.get(name) or request.headers.get(header)


def _options(request: Request, sender: Sender, parsers: Collection[str]) -> _Options:
    media = _media(request)
    return _Options(
        parser=_parser(request, sender, media, parsers),
        encoding=_encoding(request),
        array=media == _ARRAY,
        refuse=_refuse(request),
        batch_id=_batch(request),
    )


def _media(request: Request) -> str:
    media, _, parameters = request.headers.get("content-type", "").lower().partition(";")
    media = media.strip()
    if media not in _LINES | {_ARRAY, _TEXT}:
        raise Refused(
            415,
            "send one event a line as application/x-ndjson, an array as application/json, or "
            "log lines as text/plain",
        )
    charset = re.search(r'charset="?([^\s";]+)', parameters)
    if charset and charset[1] not in _CHARSETS:
        raise Refused(415, "send the body as UTF-8")
    return media


def _encoding(request: Request) -> str:
    encoding = ",".join(request.headers.getlist("content-encoding")).strip().lower() or "identity"
    if encoding not in ENCODINGS:
        raise Refused(
            415,
            "send the body as it is, or packed once with gzip or zstd",
            headers={"accept-encoding": "gzip, zstd, identity"},
        )
    return encoding


def _parser(request: Request, sender: Sender, media: str, parsers: Collection[str]) -> str | None:
    named = _asked(request, "parser", "tocsin-parser")
    if named is None:
        named = sender.parser or request.headers.get("tocsin-parser-guess")
    if named is None:
        return None if media == _TEXT else NATIVE
    if named == "auto":
        return None
    if named not in parsers:
        raise Refused(
            400, f"no such parser; there are auto, {', '.join(sorted(parsers))}", field="parser"
        )
    return named


def _refuse(request: Request) -> bool | None:
    match _asked(request, "on_error", "tocsin-on-error"):
        case None:
            return None
        case "refuse":
            return True
        case "keep":
            return False
        case _:
            raise Refused(400, "on_error is refuse or keep", field="on_error")


def _batch(request: Request) -> str | None:
    name = "tocsin-batch-id" if "tocsin-batch-id" in request.headers else "idempotency-key"
    batch_id = request.headers.get(name)
    if batch_id is not None and not _BATCH_ID.fullmatch(batch_id):
        raise Refused(400, "a batch id is 1 to 200 visible ASCII characters", field=name)
    # Kept for as long as the vault, and some senders take a key or a token for an id.
    return None if batch_id is None else blake2b(batch_id.encode(), digest_size=20).hexdigest()


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "an unknown place"
