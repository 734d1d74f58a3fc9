"""The socket in the data directory: how commands speak to the tocsin that runs there.

Only its owner can open it (mode 0600 in a directory of mode 0700), so it asks for no key.  One call
for each verb, as JSON; rows come as a stream of Arrow frames, each behind its length.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import struct
import typing
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx2
import msgspec
import polars as pl
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from tocsin import errors
from tocsin.errors import TocsinError, UsageError, VaultError
from tocsin.event import CloseReason, Entity, Finding, Incident, Severity, Status
from tocsin.intake.serve import reachable
from tocsin.siem.access import Access, Counted, MutedRow, NewToken, TokenShown, Verified

__all__ = ["Remote", "answers", "routes"]

log = logging.getLogger("tocsin")

_LENGTH = struct.Struct("<I")

T = TypeVar("T")

#: The verbs that can be called, and those that give rows.
_VERBS = frozenset(
    "status count histogram top incidents incident acknowledge close comment suppress muted lift "
    "create_token tokens revoke_token verified".split()
)
_ROW_VERBS = frozenset({"search", "tail"})


def answers(path: Path) -> bool:
    """Whether a tocsin listens on *path*."""
    if not path.exists():
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe, reachable(path) as address:
        probe.settimeout(2.0)
        try:
            probe.connect(address)
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError as error:
            raise VaultError(f"{path}: cannot be asked: {error.strerror or error}") from error
    return True


def routes(house: Access) -> list[BaseRoute]:
    """The verbs of *house*, for the socket."""

    async def call(request: Request) -> Response:
        verb = request.path_params["verb"]
        if verb not in _VERBS:
            return _refusal(UsageError(f"no such verb: {verb!r}; is the client a newer tocsin?"))
        try:
            arguments = _arguments(getattr(house, verb), await request.body())
            result = await run_in_threadpool(getattr(house, verb), **arguments)
            answer = msgspec.json.encode(result)
        except Exception as error:  # noqa: BLE001  # whatever it was, the client must hear of it
            return _refusal(error)
        return Response(answer, media_type="application/json")

    async def stream(request: Request) -> Response:
        verb = request.path_params["verb"]
        if verb not in _ROW_VERBS:
            return _refusal(UsageError(f"no such verb: {verb!r}; is the client a newer tocsin?"))
        try:
            arguments = _arguments(getattr(house, verb), await request.body())
            frames = await run_in_threadpool(getattr(house, verb), **arguments)
            first = await run_in_threadpool(next, frames, None)
        except Exception as error:  # noqa: BLE001  # a query that does not parse, above all
            return _refusal(error)
        return StreamingResponse(_packed(first, frames), media_type="application/octet-stream")

    return [
        Route("/rows/{verb:str}", stream, methods=["POST"], name="rows"),
        Route("/{verb:str}", call, methods=["POST"], name="call"),
    ]


def _arguments(verb: Callable[..., Any], body: bytes) -> dict[str, Any]:
    hints = typing.get_type_hints(verb)
    try:
        given = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        return {name: msgspec.json.decode(raw, type=hints[name]) for name, raw in given.items()}
    except (msgspec.MsgspecError, KeyError) as error:
        raise UsageError(f"the call cannot be read: {error}") from error


def _packed(first: pl.DataFrame | None, rest: Iterator[pl.DataFrame]) -> Iterator[bytes]:
    """Frames behind their lengths; a failure on the way is the last frame, of length 2**32 - 1."""
    frame = first
    try:
        while frame is not None:
            buffer = BytesIO()
            frame.write_ipc_stream(buffer)
            data = buffer.getvalue()
            yield _LENGTH.pack(len(data)) + data
            frame = next(rest, None)
        yield _LENGTH.pack(0)
    except Exception as error:  # noqa: BLE001  # the status is sent: only a frame can say it
        data = _words(error)
        yield _LENGTH.pack(2**32 - 1) + _LENGTH.pack(len(data)) + data


def _refusal(error: Exception) -> Response:
    status = 422 if isinstance(error, TocsinError) else 500
    return Response(_words(error), status, media_type="application/json")


def _words(error: Exception) -> bytes:
    if isinstance(error, TocsinError):
        return msgspec.json.encode({"error": type(error).__name__, "message": str(error)})
    log.error("a command could not be answered", exc_info=error)
    words = f"the running tocsin failed: {type(error).__name__}: {error}; its log says more"
    return msgspec.json.encode({"error": VaultError.__name__, "message": words})


def _raise(body: bytes) -> typing.NoReturn:
    try:
        said = msgspec.json.decode(body, type=_Said)
    except msgspec.MsgspecError:
        start = body[:200].decode(errors="backslashreplace")
        raise VaultError(f"the running tocsin failed, and said: {start!r}") from None
    kind = getattr(errors, said.error, None)
    if not (isinstance(kind, type) and issubclass(kind, TocsinError)):
        kind = VaultError  # a newer tocsin's
    raise kind(said.message)


class _Said(msgspec.Struct):
    """A failure, as it travels."""

    error: str
    message: str


class Remote:
    """An :class:`Access` to the tocsin that runs on a data directory."""

    #: It was shown where the vault was made.
    first_epoch_key: bytes | None = None

    def __init__(self, path: Path) -> None:
        self._path = path
        with contextlib.ExitStack() as opened:
            address = opened.enter_context(reachable(path))
            transport = httpx2.HTTPTransport(uds=address)
            self._client = opened.enter_context(
                httpx2.Client(
                    transport=transport, base_url="http://tocsin", timeout=None, trust_env=False
                )
            )
            self._opened = opened.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._opened.close()

    def _call(self, verb: str, result: type[T], **arguments: Any) -> T:
        try:
            answer = self._client.post(f"/{verb}", content=msgspec.json.encode(arguments))
        except httpx2.HTTPError as error:
            raise VaultError(f"{self._path}: the running tocsin went away: {error}") from error
        if answer.status_code != 200:
            _raise(answer.content)
        try:
            return msgspec.json.decode(answer.content, type=result)
        except msgspec.MsgspecError as error:
            raise VaultError(
                f"{self._path}: the running tocsin's answer cannot be read ({error}); is it of "
                "another version?"
            ) from error

    def _rows(self, verb: str, **arguments: Any) -> Iterator[pl.DataFrame]:
        try:
            with self._client.stream(
                "POST", f"/rows/{verb}", content=msgspec.json.encode(arguments)
            ) as answer:
                if answer.status_code != 200:
                    _raise(answer.read())
                yield from _unpacked(answer.iter_bytes())
        except httpx2.HTTPError as error:
            raise VaultError(f"{self._path}: the running tocsin went away: {error}") from error

    def status(self) -> dict[str, Any]:
        """How the running tocsin is."""
        return self._call("status", dict[str, Any])

    def search(
        self, text: str, *, since: int | None, until: int | None, limit: int
    ) -> Iterator[pl.DataFrame]:
        """Rows that match, newest first."""
        return self._rows("search", text=text, since=since, until=until, limit=limit)

    def count(self, text: str, *, since: int | None, until: int | None) -> Counted:
        """How many rows match."""
        return self._call("count", Counted, text=text, since=since, until=until)

    def histogram(
        self, text: str, *, since: int | None, until: int | None, width_ns: int | None
    ) -> Counted:
        """How many rows match, over event time."""
        return self._call(
            "histogram", Counted, text=text, since=since, until=until, width_ns=width_ns
        )

    def top(
        self, text: str, *, field: str, since: int | None, until: int | None, n: int
    ) -> Counted:
        """The most frequent values of a field among what matches."""
        return self._call("top", Counted, text=text, field=field, since=since, until=until, n=n)

    def tail(self, text: str) -> Iterator[pl.DataFrame]:
        """Rows that match, as they arrive; never ends by itself."""
        return self._rows("tail", text=text)

    def incidents(
        self, *, status: Status | None, severity: Severity | None, limit: int
    ) -> list[Incident]:
        """Incidents, the latest first."""
        return self._call(
            "incidents", list[Incident], status=status, severity=severity, limit=limit
        )

    def incident(self, incident: str) -> tuple[Incident, list[Finding]]:
        """One incident and its findings."""
        return self._call("incident", tuple[Incident, list[Finding]], incident=incident)

    def acknowledge(self, incident: str, *, by: str, text: str) -> Incident:
        """Somebody takes it."""
        return self._call("acknowledge", Incident, incident=incident, by=by, text=text)

    def close(self, incident: str, *, by: str, reason: CloseReason, text: str) -> Incident:
        """It is dealt with."""
        return self._call("close", Incident, incident=incident, by=by, reason=reason, text=text)

    def comment(self, incident: str, *, by: str, text: str) -> Incident:
        """Write something down beside it."""
        return self._call("comment", Incident, incident=incident, by=by, text=text)

    def suppress(
        self, *, rule: str | None, entity: Entity | None, by: str, reason: str, expires_at: int
    ) -> MutedRow:
        """Mute a rule, an entity or both."""
        return self._call(
            "suppress",
            MutedRow,
            rule=rule,
            entity=entity,
            by=by,
            reason=reason,
            expires_at=expires_at,
        )

    def muted(self) -> list[MutedRow]:
        """Suppressions in force."""
        return self._call("muted", list[MutedRow])

    def lift(self, suppression: str, *, by: str) -> None:
        """End a suppression."""
        self._call("lift", object, suppression=suppression, by=by)

    def create_token(self, token: NewToken, *, by: str) -> str:
        """A new source key."""
        return self._call("create_token", str, token=token, by=by)

    def tokens(self) -> list[TokenShown]:
        """All source keys."""
        return self._call("tokens", list[TokenShown])

    def revoke_token(self, token: str, *, by: str) -> None:
        """End a source key."""
        self._call("revoke_token", object, token=token, by=by)

    def verified(self, report: Verified, *, by: str) -> None:
        """Somebody verified the record and found that it was changed."""
        self._call("verified", object, report=report, by=by)


def _unpacked(chunks: Iterator[bytes]) -> Iterator[pl.DataFrame]:
    waiting = bytearray()
    for chunk in chunks:
        waiting += chunk
        while len(waiting) >= _LENGTH.size:
            (size,) = _LENGTH.unpack_from(waiting)
            if size == 0:
                return
            if size == 2**32 - 1:
                break  # the words follow, up to the end
            if len(waiting) < _LENGTH.size + size:
                break
            yield pl.read_ipc_stream(BytesIO(bytes(waiting[_LENGTH.size : _LENGTH.size + size])))
            del waiting[: _LENGTH.size + size]
    if len(waiting) > 2 * _LENGTH.size and _LENGTH.unpack_from(waiting)[0] == 2**32 - 1:
        _raise(bytes(waiting[2 * _LENGTH.size :]))
    raise VaultError("the running tocsin went away before all rows had come; search again")
