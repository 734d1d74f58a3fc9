"""From an episode to a finding that a person can act on: id, entity, reason, related entities."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from itertools import pairwise
from types import MappingProxyType

from tocsin.detect.episodes import VALUES, Episode
from tocsin.detect.rule import CorrelationRule, Rule
from tocsin.event import NAMES, Entity, Finding, Severity
from tocsin.event.escape import visible

__all__ = [
    "ENTITY_COLUMNS",
    "FACTS",
    "RELATED",
    "SEPARATOR",
    "entity_type",
    "finding",
    "placeholders",
    "plain",
    "span",
]

#: Between the parts of a key.  Parts have it escaped, so keys cannot be forged.
SEPARATOR = "\0"

#: What a finding of a plain rule is about: the first of these that the event has.
ENTITY_COLUMNS = ("user", "client_ip", "session", "api_key", "db_user", "service", "host", "source")

#: The same where the user's name may be the attacker's invention.
WEB_ENTITY_COLUMNS = ("client_ip", "user", "session", "api_key", "service", "host", "source")

_TYPES: Mapping[str, str] = MappingProxyType(
    {"claimed_user": "user", "db_user": "user", "path": "route", "objects": "object"}
)

#: Columns of an event that may name a related entity.
RELATED = ("user", "claimed_user", "client_ip", "session", "api_key", "db_user")

#: Columns that a reason may tell of.
FACTS = (
    "kind", "method", "path", "route", "status", "user", "claimed_user", "client_ip", "user_agent",
    "reason", "message", "error_type", "error_message", "db_user", "db_name", "db_statement",
    "source", "service", "host", "tags", "authority",
)  # fmt: skip

_RISK: Mapping[Severity, int] = MappingProxyType(
    {
        Severity.INFORMATIONAL: 0,
        Severity.LOW: 10,
        Severity.MEDIUM: 30,
        Severity.HIGH: 60,
        Severity.CRITICAL: 90,
    }
)

_MAX_RELATED = 20
_MAX_WORD = 120
_MAX_REASON = 600
_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")
_OWN_PLACEHOLDERS = frozenset({"entity", "count", "window", "values", "events"})


def entity_type(column: str) -> str:
    """What kind of thing a column names.

    >>> entity_type("client_ip"), entity_type("db_user")
    ('client_ip', 'user')
    """
    return _TYPES.get(column, column)


def plain(text: str, limit: int = _MAX_WORD) -> str:
    """*text* fit for one line of a sentence: nothing invisible, not endless.

    >>> plain("a\\r\\nb\\x1b[2J")
    'a\\\\r\\\\nb\\\\x1b[2J'
    """
    return visible(text[:limit]) + ("…" if len(text) > limit else "")


def span(ns: int) -> str:
    """A length of time for a person: in two units at most, and never less than it was.

    >>> span(300_000_000_000), span(3_600_000_000_000), span(26_251_600_000), span(0)
    ('5 min', '1 h', '27 s', '1 s')
    >>> span(3_725_000_000_000), span(90_061_000_000_000)
    ('1 h 3 min', '1 d 2 h')
    """
    seconds = max(1, -(-ns // 10**9))
    units = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
    for (size, name), (lesser, below) in pairwise(units):
        if seconds >= size:
            whole, rest = divmod(-(-seconds // lesser) * lesser, size)
            return f"{whole} {name}" + (f" {rest // lesser} {below}" if rest else "")
    return f"{seconds} s"


def placeholders(template: str) -> tuple[set[str], set[str]]:
    """The known and the unknown names in the template of a reason."""
    names = set(_PLACEHOLDER.findall(template))
    known = {n for n in names if n in _OWN_PLACEHOLDERS or n in FACTS}
    return known, names - known


def finding(
    rule: Rule | CorrelationRule, state: str, group: tuple[str, ...], e: Episode
) -> Finding:
    """What *e* says so far.  *state* is the hash of the rule's working part."""
    entity, others = _entities(group, e.key)
    identity = "\n".join((rule.id, state, e.key, str(e.first_seq)))
    return Finding(
        id=blake2b(identity.encode("utf-8", "replace"), digest_size=16).hexdigest(),
        rule=rule.id,
        title=rule.title,
        severity=rule.level,
        entity=entity,
        first_seen=e.first_seen,
        last_seen=e.last_seen,
        count=e.count,
        events=0 if e.values is None else e.events,
        reason=_reason(rule, entity, e),
        evidence=e.evidence,
        related=_related(rule, entity, others, e),
        owasp=rule.owasp,
        attack=rule.attack,
        risk=_RISK[rule.level] if rule.risk is None else rule.risk,
        author=rule.author,
    )


def _entities(group: tuple[str, ...], key: str) -> tuple[Entity, list[Entity]]:
    parts = [p.replace("\\0", "\0").replace("\\\\", "\\") for p in key.split(SEPARATOR)]
    if not group:  # a plain rule's key says its type itself
        return Entity(type=parts[0], value=parts[1]), []
    found = [Entity(type=entity_type(c), value=v) for c, v in zip(group, parts, strict=True)]
    return found[0], found[1:]


def _related(
    rule: Rule | CorrelationRule, entity: Entity, others: Iterable[Entity], e: Episode
) -> tuple[Entity, ...]:
    found = dict.fromkeys(others)
    if e.values is not None and isinstance(rule, CorrelationRule) and len(rule.value_fields) == 1:
        kind = entity_type(rule.value_fields[0])
        if rule.value_fields[0] in NAMES:
            found |= dict.fromkeys(Entity(type=kind, value=v) for v in e.values)
    found |= dict.fromkeys(Entity(type=t, value=v) for t, v in e.related)
    found.pop(entity, None)
    return tuple(found)[:_MAX_RELATED]


def _reason(rule: Rule | CorrelationRule, entity: Entity, e: Episode) -> str:
    template = rule.reason or _default_reason(rule, e)
    if e.count == 1:
        template = template.replace("({count} times)", "(once)")
    words = {name: plain(value) for name, value in e.facts.items()}
    words["entity"] = plain(entity.value)
    words["count"] = f"at least {e.count}" if e.more_values else str(e.count)
    words["events"] = str(e.events)
    words["window"] = span(e.last_seen - e.first_seen)
    words["values"] = _some(e)
    # One pass, so that what a value says is never read as a placeholder.
    text = _PLACEHOLDER.sub(lambda m: words.get(m[1], "unknown"), template)
    return plain(" ".join(text.split()), _MAX_REASON)


def _some(e: Episode) -> str:
    if not e.values:
        return "unknown"
    shown = [plain(v, 60) for v, _ in zip(e.values, range(5), strict=False)]
    left = len(e.values) - len(shown)
    more = "more than " if len(e.values) >= VALUES else ""
    return ", ".join(shown) + (f" and {more}{left} more" if left else "")


def _default_reason(rule: Rule | CorrelationRule, e: Episode) -> str:
    title = rule.title.replace("{", "(").replace("}", ")").rstrip(".")
    if isinstance(rule, CorrelationRule):
        if e.values is not None:
            return f"{title}: {{entity}}, {{count}} different values in {{window}} ({{values}})"
        return f"{title}: {{entity}}, {{count}} events in {{window}}"
    if "path" in e.facts:
        status = " answered {status}" if "status" in e.facts else ""
        return f"{title}: {{entity}} sent {{method}} {{path}}{status}, {{count}} in all"
    for name in ("db_statement", "error_message", "message"):
        if name in e.facts:
            return f"{title}: {{entity}}, {{count}} in all, first: {{{name}}}"
    return f"{title}: {{entity}}, {{count}} in all"
