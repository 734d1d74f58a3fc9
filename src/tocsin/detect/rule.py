"""What a rule is, once it has been read: plain, frozen data that a cache may keep as bytes.

A condition is a small tree of :class:`And`, :class:`Or`, :class:`Not` and :class:`Leaf`.  Field
names in it are still those of the rule's author; ``fields.py`` says what they mean on our columns.
Nothing here knows pySigma, Polars or Hyperscan.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Any, TypeAlias

from msgspec import Struct, field

from tocsin.event import Severity

__all__ = [
    "And",
    "Blind",
    "Condition",
    "CorrelationKind",
    "CorrelationRule",
    "Leaf",
    "LogSource",
    "Not",
    "Op",
    "Or",
    "Problem",
    "Rule",
    "RuleFile",
    "RuleSet",
    "leaves",
]


class RuleFile(Struct, frozen=True, gc=False):
    """One YAML file of rules, already read: detection does no I/O."""

    name: str  #: where it came from, as problems shall call it
    text: str


class Problem(Struct, frozen=True, gc=False):
    """Why a rule was refused, or what a reader of it should know.  The other rules go on."""

    file: str
    line: int  #: 1-based; 1 when the place is not known better
    message: str  #: what is wrong and the way out, without the place

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}"


class Op(StrEnum):
    """How a leaf compares.  Text is compared caseless unless the leaf is ``cased``."""

    EQ = "eq"  #: the whole value
    CONTAINS = "contains"
    STARTSWITH = "startswith"
    ENDSWITH = "endswith"
    GLOB = "glob"  #: ``value`` is escaped: ``\\*`` and ``\\?`` are literal, ``*`` and ``?`` are not
    RE = "re"  #: found anywhere in the value; ``flags`` holds any of ``i m s``
    CIDR = "cidr"
    LT = "lt"
    LTE = "lte"
    GT = "gt"
    GTE = "gte"
    NULL = "null"  #: the value is null
    PRESENT = "present"  #: the value is not null
    FIELDREF = "fieldref"  #: equals another field, whose name is ``value``; flags ``<`` and ``>``
    TIME_PART = "time_part"  #: ``flags`` names the part: minute hour day week month year


class Leaf(Struct, frozen=True, tag="leaf", gc=False):
    """One comparison.  ``field`` is ``None`` for a keyword: any text column of the row."""

    field: str | None
    op: Op
    value: str | int | float | None = None
    cased: bool = False
    flags: str = ""


class And(Struct, frozen=True, tag="and"):
    """True when all *kids* are.  Never empty."""

    kids: tuple[And | Or | Not | Leaf, ...]


class Or(Struct, frozen=True, tag="or"):
    """True when any of *kids* is.  Never empty."""

    kids: tuple[And | Or | Not | Leaf, ...]


class Not(Struct, frozen=True, tag="not"):
    """True when *kid* is false: two-valued, so also where a field is null."""

    kid: And | Or | Not | Leaf


Condition: TypeAlias = And | Or | Not | Leaf


class LogSource(Struct, frozen=True, gc=False):
    """Which events a rule is about, in Sigma's words, lower-case."""

    category: str | None = None
    product: str | None = None
    service: str | None = None


class _Told(Struct, frozen=True, kw_only=True):
    """What every kind of rule tells about itself."""

    id: str  #: the rule's UUID, else its name, else its title as a slug: unique within a RuleSet
    title: str
    file: str
    line: int  #: where its document begins in the file
    content_hash: str  #: SHA-256, hex, of the rule's content; comments and layout do not count
    name: str | None = None  #: what correlations may call it
    level: Severity = Severity.MEDIUM
    status: str | None = None
    description: str = ""
    author: str | None = None
    license: str | None = None
    references: tuple[str, ...] = ()
    falsepositives: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()  #: as written
    owasp: tuple[str, ...] = ()  #: API2:2023 ..., from tags like owasp.api2-2023
    attack: tuple[str, ...] = ()  #: T1110.003 ..., from tags like attack.t1110.003
    entity: tuple[str, ...] = ()  #: own key: columns that name whom a finding is about, best first
    risk: int | None = None  #: own key: 0-100
    reason: str | None = None  #: own key: template of a finding's sentence
    runbook: str = ""  #: own key
    suppress: dict[str, Any] = field(default_factory=dict)  #: own key, as written
    tests: tuple[dict[str, Any], ...] = ()  #: own key, as written
    custom: dict[str, Any] = field(default_factory=dict)  #: further own keys, as written


class Rule(_Told, frozen=True, kw_only=True):
    """A rule that one event can satisfy."""

    logsource: LogSource
    condition: Condition


class CorrelationKind(StrEnum):
    """The correlations that we run.  Sigma has more; those are refused by name."""

    EVENT_COUNT = "event_count"
    VALUE_COUNT = "value_count"


class CorrelationRule(_Told, frozen=True, kw_only=True):
    """A rule that many events satisfy together."""

    type: CorrelationKind
    rules: tuple[str, ...]  #: what it refers to, as written: ids or names
    group_by: tuple[str, ...]
    timespan_ns: int
    op: str  #: gte gt lte lt eq neq
    count: int
    value_fields: tuple[str, ...] = ()  #: value_count: whose distinct values are counted
    aliases: dict[str, dict[str, str]] = field(default_factory=dict)  #: alias -> rule ref -> field
    generate: bool = False  #: whether the rules that it refers to yield findings of their own


class Blind(Struct, frozen=True, gc=False):
    """A rule that cannot see: fields of it are in no event that we can hold."""

    rule: str  #: id
    fields: tuple[str, ...]
    whole: bool  #: True when, because of them, the rule can never be decided and is not run


class RuleSet(Struct, frozen=True, kw_only=True):
    """All that was read from some files, the broken ones as problems."""

    rules: tuple[Rule, ...] = ()
    correlations: tuple[CorrelationRule, ...] = ()
    problems: tuple[Problem, ...] = ()
    blind: tuple[Blind, ...] = ()

    def find(self, reference: str) -> int | None:
        """Index in ``rules`` of the rule that a correlation calls *reference* (id or name)."""
        for index, rule in enumerate(self.rules):
            if reference in (rule.id, rule.name):
                return index
        return None


def leaves(condition: Condition) -> Iterator[Leaf]:
    """Every leaf of *condition*, left to right, those under a ``Not`` too."""
    match condition:
        case Leaf():
            yield condition
        case Not(kid=kid):
            yield from leaves(kid)
        case And(kids=kids) | Or(kids=kids):
            for kid in kids:
                yield from leaves(kid)
