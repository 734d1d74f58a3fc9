"""The socket in the data directory: how commands speak to the tocsin that runs there.

Only its owner can open it (mode 0600 in a directory of mode 0700), so it asks for no key.  One call
for each verb, as JSON; rows come as a stream of Arrow frames, each behind its length.
"""

from __future__ import annotations

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
from tocsin.siem.access import Access, MutedRow, NewToken, TokenShown

__all__ = ["Remote", "answers", "routes"]

_LENGTH = struct.Struct("<I")

T = TypeVar("T")

#: The verbs that can be called, and those that give rows.
_VERBS = frozenset(
    "status incidents incident acknowledge close comment suppress muted lift create_token tokens "
    "revoke_token".split()
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
        except TocsinError as error:
            return _refusal(error)
        return Response(msgspec.json.encode(result), media_type="application/json")

    async def stream(request: Request) -> Response:
        verb = request.path_params["verb"]
        if verb not in _ROW_VERBS:
            return _refusal(UsageError(f"no such verb: {verb!r}; is the client a newer tocsin?"))
        try:
            arguments = _arguments(getattr(house, verb), await request.body())
            frames = await run_in_threadpool(getattr(house, verb), **arguments)
            first = await run_in_threadpool(next, frames, None)
        except TocsinError as error:  # a query that does not parse, above all
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
    except TocsinError as error:
        data = _words(error)
        yield _LENGTH.pack(2**32 - 1) + _LENGTH.pack(len(data)) + data


def _refusal(error: TocsinError) -> Response:
    return Response(_words(error), 422, media_type="application/json")


def _words(error: TocsinError) -> bytes:
    return msgspec.json.encode({"error": type(error).__name__, "message": str(error)})


def _raise(body: bytes) -> typing.NoReturn:
    said = msgspec.json.decode(body, type=dict[str, str])
    kind = getattr(errors, said.get("error", ""), TocsinError)
    raise kind(said.get("message", "the running tocsin failed"))


class Remote:
    """An :class:`Access` to the tocsin that runs on a data directory."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reachable = reachable(path)
        transport = httpx2.HTTPTransport(uds=self._reachable.__enter__())
        self._client = httpx2.Client(
            transport=transport, base_url="http://tocsin", timeout=None, trust_env=False
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._client.close()
        self._reachable.__exit__(None, None, None)

    def _call(self, verb: str, result: type[T], **arguments: Any) -> T:
        try:
            answer = self._client.post(f"/{verb}", content=msgspec.json.encode(arguments))
        except httpx2.HTTPError as error:
            raise VaultError(f"{self._path}: the running tocsin went away: {error}") from error
        if answer.status_code != 200:
            _raise(answer.content)
        return msgspec.json.decode(answer.content, type=result)

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
