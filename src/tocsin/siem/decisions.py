"""What people decide stands in the vault as events, and is done from them again when it must be.

The event comes first, then the change in the catalog.  So a crash between the two, or a catalog
that was lost, takes no decision away: detection meets the event in its place among the others.
"""

from __future__ import annotations

import secrets
from typing import Any, TypeAlias

import msgspec
import polars as pl
from msgspec import Struct

from tocsin.alerts import Decided, Decision
from tocsin.alerts.decisions import Closed, Lifted, Suppressed
from tocsin.event import Event, Kind
from tocsin.event.times import read_time, rfc3339
from tocsin.intake import Origin
from tocsin.intake.tokens import Grant, Token

__all__ = [
    "KeyMade",
    "KeyRevoked",
    "Made",
    "OnKey",
    "decided",
    "event_of",
    "key_made",
    "new_id",
    "of_frame",
    "token_of",
]

_SOURCE, _LAYER = "tocsin", "self"


class _OnKey(Struct, frozen=True, kw_only=True, tag_field="decision", omit_defaults=True):
    key: str


class KeyMade(_OnKey, frozen=True, kw_only=True, tag="source key made"):
    """A source got a key.  ``proof`` is its keyed digest: worth nothing to who reads it here."""

    proof: str
    source: str
    layer: str | None = None
    service: str | None = None
    env: str | None = None
    host: str | None = None
    tenant: str | None = None
    tz: str = "UTC"
    parser: str | None = None


class KeyRevoked(_OnKey, frozen=True, tag="source key revoked"):
    """A source's key was ended."""


class OnKey(Struct, frozen=True, kw_only=True):
    """A decision about a source's key."""

    id: str
    at: int
    by: str
    what: KeyMade | KeyRevoked


#: A decision of any kind, who made it and when.
Made: TypeAlias = Decided | OnKey

_KINDS: dict[type, Kind] = {
    KeyMade: Kind.AUTHN_TOKEN_CREATED,
    KeyRevoked: Kind.AUTHN_TOKEN_REVOKED,
}
_EVERY = [str(kind) for kind in (Kind.AUTHZ_ADMIN, *_KINDS.values())]


def new_id() -> str:
    """An id for a decision."""
    return f"dec-{secrets.token_hex(6)}"


def event_of(made: Made) -> Event:
    """The event that says it."""
    facts: dict[str, Any] = msgspec.to_builtins(made.what)
    message = f"{facts['decision']}: {_about(made)}"
    if "expires_at" in facts:  # for people to read
        facts["expires_at"] = rfc3339(facts["expires_at"])
    return Event(
        time=made.at,
        kind=_KINDS.get(type(made.what), Kind.AUTHZ_ADMIN),
        outcome="success",
        message=message,
        user=made.by,
        # So that whoever looks for an address finds that it was muted.
        client_ip=facts["entity"] if facts.get("entity_type") == "client_ip" else None,
        attributes={"id": made.id, **{n: v for n, v in facts.items() if v not in (None, "")}},
    )


def _about(made: Made) -> str:
    """What was decided on, for whoever reads the event in a table."""
    match made.what:
        case KeyMade(key=key, source=source):
            return f"{key} for {source}"
        case KeyRevoked(key=key):
            return key
        case Lifted(suppression=suppression):
            return suppression
        case Suppressed(rule=rule, entity_type=kind, entity=entity):
            whom = f"{kind} {entity}" if kind else ""
            return f"{made.id} of {' for '.join(part for part in (rule, whom) if part)}"
        case Closed(incident=incident, reason=reason):
            return f"{incident} as {reason}"
        case other:
            return other.incident


def decided(frame: pl.DataFrame) -> pl.Series:
    """Rows of *frame*, ascending, that may hold a decision: only tocsin itself writes such."""
    if not {"source", "layer", "kind", "attributes"} <= set(frame.columns):
        return pl.Series([], dtype=pl.UInt32)
    ours = frame["layer"] == _LAYER
    if not ours.any():  # as nearly always
        return pl.Series([], dtype=pl.UInt32)
    ours &= (frame["source"] == _SOURCE) & frame["kind"].is_in(_EVERY)
    return (ours & frame["attributes"].is_not_null()).fill_null(value=False).arg_true()


def of_frame(frame: pl.DataFrame, row: int) -> Made | None:
    """The decision in a row of *frame*; None when it says something else."""
    text = frame["attributes"][row]
    by = frame["user"][row] if "user" in frame.columns else None
    at = int(frame["time"].to_physical()[row])
    try:
        facts = msgspec.json.decode(text, type=dict[str, Any])
        id = str(facts.pop("id"))  # noqa: A001  the field's name
        if str(facts.get("decision")).startswith("source key"):
            return OnKey(
                id=id, at=at, by=by or "", what=msgspec.convert(facts, KeyMade | KeyRevoked)
            )
        if (until := read_time(facts.get("expires_at"))) is not None:
            facts["expires_at"] = until.ns
        return Decided(id=id, at=at, by=by or "", what=msgspec.convert(facts, Decision))
    except (msgspec.MsgspecError, KeyError):
        return None  # another event of ours of the same kind, or of another version's


def key_made(token: Token) -> KeyMade:
    """What is written down of a new key."""
    facts = msgspec.structs.asdict(token.grant.origin)
    facts.pop("peer_ip")
    return KeyMade(key=token.id, proof=token.proof, parser=token.grant.parser, **facts)


def token_of(made: KeyMade, at: int) -> Token:
    """The key again, from what was written down."""
    facts = msgspec.structs.asdict(made)
    kept = {n: facts[n] for n in ("source", "layer", "service", "env", "host", "tenant", "tz")}
    grant = Grant(Origin(**kept), made.parser)
    return Token(id=made.key, proof=made.proof, grant=grant, created_at=at)
