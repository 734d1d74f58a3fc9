"""Requests as an adapter hands them over, for tests of what is made of them."""

from __future__ import annotations

import base64
import json
from typing import Any

from tocsin.event import Event
from tocsin.sdk.context import Context
from tocsin.sdk.options import Options
from tocsin.sdk.reading.reader import Reader
from tocsin.sdk.seen import Complaint, Failure, Seen

__all__ = ["App", "jwt", "seen"]

BEGAN = 1_795_000_000 * 10**9


def jwt(claims: dict[str, Any], **head: Any) -> str:
    """A token with these claims, signed by nobody."""
    parts = [{"alg": "HS256", "typ": "JWT", **head}, claims]
    texts = [base64.urlsafe_b64encode(json.dumps(p).encode()).rstrip(b"=").decode() for p in parts]
    return ".".join([*texts, "c2lnbmF0dXJl"])


def seen(
    line: str,
    status: int = 200,
    answer: Any = None,
    *,
    body: Any = None,
    route: str | None = None,
    params: dict[str, Any] | None = None,
    headers: dict[str, str] | None = None,
    out: dict[str, str] | None = None,
    form: str | None = None,
    peer: str = "198.51.100.7",
    user: Any = None,
    failure: Failure | None = None,
    complaints: list[Complaint] | None = None,
    context: Context | None = None,
    **more: Any,
) -> Seen:
    """``seen("POST /login", 200, {"status": "fail"}, body={...})``."""
    method, _, target = line.partition(" ")
    path, _, query = target.partition("?")
    lines = {"host": "api.example.org", "user-agent": "test/1", **(headers or {})}
    body_in: list[bytes] = []
    if body is not None:
        lines.setdefault("content-type", "application/json")
        body_in = [json.dumps(body).encode()]
    elif form is not None:
        lines.setdefault("content-type", "application/x-www-form-urlencoded")
        body_in = [form.encode()]
    text = json.dumps(answer).encode() if answer is not None else b""
    return Seen(
        began=BEGAN,
        duration_ns=1_000_000,
        context=context or Context("req-1"),
        method=method,
        scheme="https",
        path=path,
        query=query.encode(),
        http_version="1.1",
        peer=(peer, 40_000),
        headers=[(k.encode(), v.encode()) for k, v in lines.items()],
        status=status,
        out_headers=[
            (k.encode(), v.encode())
            for k, v in {"content-type": "application/json", **(out or {})}.items()
        ],
        bytes_in=sum(map(len, body_in)),
        bytes_out=len(text),
        body_in=body_in,
        body_out=[text] if text else [],
        route=route if route is not None else path,
        params=params or {},
        user=user,
        failure=failure,
        complaints=complaints or [],
        **more,
    )


class App:
    """A reader that has read some requests."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("hash_key", "test")
        self.reader = Reader(Options(**options))

    def __call__(self, *arguments: Any, **more: Any) -> list[Event]:
        """The events of one request."""
        return self.take(seen(*arguments, **more))

    def take(self, request: Seen) -> list[Event]:
        """The same, of a request that is there already."""
        return [noted.event for noted in self.reader.read(request)]
