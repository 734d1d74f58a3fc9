"""What the HTTP door answers: JSON, and for a refusal the problem form of RFC 9457.

No answer quotes the body, the key or a header.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

__all__ = ["Refused", "json_answer", "problem", "problem_for"]


class Refused(Exception):
    """A request that ends here, with the answer it gets."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        **members: str | int | None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})
        self.members = members

    @classmethod
    def until(cls, status: int, detail: str, retry_after: float) -> Refused:
        """Refused for now: the same request may be sent again after *retry_after* seconds."""
        return cls(status, detail, headers={"retry-after": str(max(1, math.ceil(retry_after)))})

    def answer(self) -> Response:
        """The refusal as it goes out."""
        return problem(self.status, self.detail, headers=self.headers, **self.members)


def json_answer(content: Mapping[str, Any], status: int = 200) -> Response:
    """*content* as JSON that no cache keeps."""
    return Response(
        msgspec.json.encode(content),
        status,
        {"cache-control": "no-store"},
        "application/json",
    )


def problem(
    status: int,
    detail: str,
    *,
    headers: Mapping[str, str] | None = None,
    **members: str | int | None,
) -> Response:
    """A refusal in words, with the members (``line``, ``field``) that are known."""
    content = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        **{name: value for name, value in members.items() if value is not None},
    }
    return Response(
        msgspec.json.encode(content),
        status,
        {"cache-control": "no-store", **(headers or {})},
        "application/problem+json",
    )


async def problem_for(_request: Request, error: Exception) -> Response:
    """Starlette's handler for what no route took."""
    status = int(getattr(error, "status_code", 500))
    headers = getattr(error, "headers", None)
    if status == 404:
        return problem(404, "nothing is here; events go to POST /v1/events")
    return problem(status, HTTPStatus(status).phrase.lower(), headers=headers)
