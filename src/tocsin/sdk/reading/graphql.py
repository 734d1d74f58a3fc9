"""How large a GraphQL question is: depth, aliases, operations; no parser, and no value kept.

Every pattern here is linear in the text: repeats are possessive, a name begins where no other does,
and what is left open goes on to the end.
"""

from __future__ import annotations

import re
from typing import Any

__all__ = ["shape_of"]

_STRING = re.compile(r'"""(?:[^"]|"(?!""))*+(?:"""|\Z)|"(?:[^"\\\n]|\\.)*+"?')
_ALIAS = re.compile(r"(?<!\w)[A-Za-z_]\w*+\s*+:\s*+[A-Za-z_]\w*+(?=[({@\s}])")
_ARGUMENTS = re.compile(r"\([^()]*+\)")
_BRACES = re.compile(r"[{}]")
_OPERATION = re.compile(r"\b(?:query|mutation|subscription)\b")
_WORDS = re.compile(r"^\s*(?:query|mutation|subscription|fragment|\{)")


def shape_of(asked: Any) -> dict[str, Any] | None:
    """Attributes of a GraphQL request; None when it is none.

    >>> shape_of({"query": "query Me { a: user(id: 1) { name } b: user(id: 2) { name } }"})
    {'graphql_operation': 'query', 'graphql_depth': 2, 'graphql_aliases': 2, 'graphql_batch': 1}
    """
    batch = asked if type(asked) is list else [asked]
    texts = [
        one["query"]
        for one in batch[:64]
        if type(one) is dict and type(one.get("query")) is str and _WORDS.match(one["query"])
    ]
    if not texts:
        return None
    plain = [_STRING.sub("", text[:16_384]) for text in texts]
    operation = _OPERATION.search(plain[0])
    return {
        "graphql_operation": operation[0] if operation else "query",
        "graphql_depth": max(map(_depth, plain)),
        "graphql_aliases": sum(len(_ALIAS.findall(_ARGUMENTS.sub("", text))) for text in plain),
        "graphql_batch": len(batch),
    }


def _depth(text: str) -> int:
    deepest = depth = 0
    for brace in _BRACES.findall(text):
        if brace == "{":
            depth += 1
            deepest = max(deepest, depth)
        else:
            depth -= 1
    return deepest
