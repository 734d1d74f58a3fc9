"""The claim: what a source says happened.  Nothing here does I/O.

``Event`` has one field for each column of the schema table and appears only where an event is
born (the SDK) or where a person looks at one.  Work on many is done in columns (``batch.py``).
``gc=False``: events cannot form cycles, and what the collector need not walk decodes faster.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from tocsin.event.kinds import Kind

__all__ = ["Event"]


class Event(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One thing that happened, as its source told it: not yet kept, so not yet evidence.

    Fields are those of ``tocsin.event.schema.COLUMNS``, in its order and with its meaning.
    """

    time: int  #: nanoseconds since 1970 UTC, by the source's clock
    observed: int | None = None
    duration_ns: int | None = None

    kind: Kind = Kind.LOG
    outcome: str | None = None
    outcome_source: str | None = None
    reason: str | None = None
    severity: str | None = None
    message: str | None = None
    error_type: str | None = None
    error_message: str | None = None
    error_stack: str | None = None

    layer: str | None = None
    source: str | None = None
    service: str | None = None
    env: str | None = None
    host: str | None = None
    tenant: str | None = None

    user: str | None = None
    claimed_user: str | None = None
    role: str | None = None
    session: str | None = None
    api_key: str | None = None
    auth_method: str | None = None
    client_ip: str | None = None
    client_port: int | None = None
    peer_ip: str | None = None
    country: str | None = None
    asn: int | None = None
    user_agent: str | None = None

    method: str | None = None
    scheme: str | None = None
    authority: str | None = None
    route: str | None = None
    path: str | None = None
    query: str | None = None
    referer: str | None = None
    http_version: str | None = None
    status: int | None = None
    bytes_in: int | None = None
    bytes_out: int | None = None
    records_out: int | None = None
    content_type: str | None = None

    object_type: str | None = None
    objects: tuple[str, ...] | None = None
    via: str | None = None
    fields_in: tuple[str, ...] | None = None
    fields_out: tuple[str, ...] | None = None
    sensitive: tuple[str, ...] | None = None

    db_system: str | None = None
    db_name: str | None = None
    db_user: str | None = None
    db_statement: str | None = None
    db_rows: int | None = None

    trace_id: str | None = None
    span_id: str | None = None
    request_id: str | None = None
    boot: str | None = None
    source_seq: int | None = None

    tags: tuple[str, ...] | None = None
    attributes: dict[str, Any] | None = None
    raw: str | None = None
    parser: str | None = None
    parse_error: str | None = None
