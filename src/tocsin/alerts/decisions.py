"""What people decide, as values: so that a decision can be written down before it is done.

A decision that stands in the vault as an event is done again from it when the catalog was lost, or
when a crash came between the two.  Its id makes a repeat harmless.
"""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct

from tocsin.event import CloseReason

__all__ = [
    "Acknowledged",
    "Closed",
    "Commented",
    "Decided",
    "Decision",
    "Lifted",
    "OnIncident",
    "Suppressed",
]


class _Decision(Struct, frozen=True, kw_only=True, tag_field="decision", omit_defaults=True):
    """One of the things that can be decided; its tag is what the event about it says."""


class _OnIncident(_Decision, frozen=True, kw_only=True):
    incident: str
    finding: str = (
        ""  #: the first in it: rules may change, and then a replay opens it under another
    )
    text: str = ""


class Acknowledged(_OnIncident, frozen=True, tag="incident acknowledged"):
    """Somebody works on it."""


class Closed(_OnIncident, frozen=True, kw_only=True, tag="incident closed"):
    """It is dealt with."""

    reason: CloseReason


class Commented(_OnIncident, frozen=True, tag="incident commented"):
    """Something was written down beside it."""


class Suppressed(_Decision, frozen=True, kw_only=True, tag="suppression made"):
    """A rule, an entity or both are muted.  The decision's id is the suppression's."""

    reason: str
    expires_at: int  #: wall clock, ns
    rule: str | None = None
    entity_type: str | None = None
    entity: str | None = None


class Lifted(_Decision, frozen=True, kw_only=True, tag="suppression lifted"):
    """A suppression was ended."""

    suppression: str


OnIncident: TypeAlias = Acknowledged | Closed | Commented
Decision: TypeAlias = OnIncident | Suppressed | Lifted


class Decided(Struct, frozen=True, kw_only=True):
    """A decision, who made it and when."""

    id: str
    at: int  #: wall clock, ns
    by: str
    what: Decision
