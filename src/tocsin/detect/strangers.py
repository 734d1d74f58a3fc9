"""Fields of rules that neither the schema nor a mapping knows: perhaps mistyped.

They are no fault: an event's own attributes have any name.  But a rule that asks for a field that
nobody ever sends is silent for good, and nothing else would say so.
"""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches

from tocsin.detect.fields import resolve, route
from tocsin.detect.rule import Leaf, Op, Problem, Rule, RuleSet, leaves
from tocsin.event import NAMES

__all__ = ["strangers"]


def strangers(rules: RuleSet) -> list[Problem]:
    """What to say of each such field, once a rule; nothing of a product's own fields."""
    return [
        Problem(rule.file, rule.line, _words(field))
        for rule in rules.rules
        for field in dict.fromkeys(_fields(rule))
    ]


def _fields(rule: Rule) -> Iterator[str]:
    to = route(rule.logsource)
    assert to is not None, "such a rule was refused when it was read"
    if to.products:
        return
    for leaf in leaves(rule.condition):
        for asked in _asked(leaf):
            views = resolve(asked, to)
            # A dotted path says itself that it leads into attributes.
            if asked.field and "." not in asked.field and views == (f"attr:{asked.field}",):
                yield asked.field


def _asked(leaf: Leaf) -> Iterator[Leaf]:
    yield leaf
    if leaf.op is Op.FIELDREF:
        yield Leaf(str(leaf.value), Op.FIELDREF)


def _words(field: str) -> str:
    close = get_close_matches(field, NAMES, n=1)
    way_out = f'did you mean "{close[0]}"?' if close else "see docs/reference/schema.md"
    return f'no column is called "{field}", so it is looked for in attributes only; {way_out}'
