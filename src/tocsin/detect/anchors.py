"""Which short strings must occur in a row for a rule to be true: the rule's anchors.

Almost no row satisfies any rule, so rows in which none of a rule's anchors occurs are skipped.

*Soundness.*  Let A(r) be the anchors of rule r; then r true on a row implies that some a in A(r)
occurs in that row.  A leaf that needs text: its own text, or a part that all its matches contain.
``And``: all kids are true, so the anchors of any one will do; the best are taken.  ``Or``: some
kid is true, so the union; none if one kid has none.  ``Not`` and whatever holds without text
(null, numbers, networks) has none, and a rule without anchors is asked on every row.

"Occurs" is what :func:`fold` says on both sides: it maps more texts onto each other than
``str.lower`` does, never fewer, and an ASCII text needs no folding beyond that of its letters'
case, which the scanner ignores anyway.  Cased text and regular expressions are searched for in
the text as it stands as well.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

from msgspec import Struct

from tocsin.detect.exact import All, Any_, Compared, Node, glob_parts
from tocsin.detect.rule import Op
from tocsin.event import NAMES, Type

__all__ = ["SENTINEL", "Anchor", "anchors", "factors", "fold"]

#: Stands before, between and after the values of a scanned buffer.
SENTINEL = "\n"

_MIN = 3  #: an anchor shorter than this says nothing


class Anchor(Struct, frozen=True, order=True, gc=False):
    """A text to look for in a scanned view; it may begin and end with the sentinel."""

    scan: str
    text: str


Set: TypeAlias = frozenset[str]


def fold(text: str) -> str:
    """*text* with letters that any of our comparisons takes for one another made one."""
    return text.lower().replace("ς", "σ").replace("ſ", "s")


def anchors(node: Node) -> frozenset[Anchor] | None:
    """The anchors of *node*; ``None`` when it has none worth scanning for."""
    best = _best(node)
    return None if best is None or best[0] < _MIN else best[1]


_Scored: TypeAlias = tuple[float, frozenset[Anchor]]


def _best(node: Node) -> _Scored | None:
    match node:
        case All(kids=kids):
            scored = [s for s in map(_best, kids) if s is not None]
            return max(scored, key=lambda s: (s[0], -len(s[1])), default=None)
        case Any_(kids=kids):
            each = [_best(kid) for kid in kids]
            known = [s for s in each if s is not None]
            return _union(known) if len(known) == len(each) else None
        case Compared():
            return _of_test(node)
        case _:
            return None


def _union(scored: Sequence[_Scored]) -> _Scored:
    return min(s for s, _ in scored), frozenset[Anchor]().union(*(a for _, a in scored))


def _of_test(test: Compared) -> _Scored | None:
    if all(view in _FEW for view in test.views):
        return None
    each = [_of_view(test, needle, view) for needle in test.needles for view in test.views]
    known = [s for s in each if s is not None]
    return _union(known) if len(known) == len(each) else None


def _of_view(test: Compared, needle: str, view: str) -> _Scored | None:
    """The anchors by which *needle* is found in *view*."""
    place = _place(view)
    if place is None:
        return None
    scan, front, back = place
    if scan == _JSON:
        return _in_json(test, needle, scalar=view == "attr*")
    texts = _texts(test.op, needle)
    if texts is None:
        return None
    if view.startswith("extension") and test.op in (Op.EQ, Op.STARTSWITH):
        texts = frozenset("." + text.strip(SENTINEL) for text in texts)
    kept = [_edges(t, front=front, back=back) for t in texts]
    found = frozenset(Anchor(scan, t if test.cased or test.op is Op.RE else fold(t)) for t in kept)
    return min(_score(t) for t in kept), found


def _edges(text: str, *, front: bool, back: bool) -> str:
    if not front:
        text = text.removeprefix(SENTINEL)
    return text if back else text.removesuffix(SENTINEL)


#: Columns of so few different values that a rule about these alone is asked directly.
_FEW = frozenset(
    "method scheme http_version kind outcome outcome_source reason severity layer env "
    "auth_method content_type parser country".split()
)
_JSON = "attributes"


def _place(view: str) -> tuple[str, bool, bool] | None:
    """Where the text of *view* is scanned for, and whether it begins and ends as that does."""
    mark = "%" if view.endswith("%") else ""
    match view.removesuffix("%"):
        case "path" | "extension":
            return f"url{mark}", False, False
        case "query" | "uri":
            return f"url{mark}", False, True
        case "url":
            return f"url{mark}", True, True
        case name if name.startswith("attr:") or name == "attr*":
            return _JSON, False, False
        case name if NAMES[name].type not in (Type.TEXT, Type.TEXTS):
            return None
        case name:
            return name, True, True


def _texts(op: Op, needle: str) -> Set | None:
    """Texts of which one is in every value that satisfies ``op needle``, with sentinels."""
    match op:
        case Op.EQ:
            return frozenset({SENTINEL + needle + SENTINEL})
        case Op.STARTSWITH:
            return frozenset({SENTINEL + needle})
        case Op.ENDSWITH:
            return frozenset({needle + SENTINEL})
        case Op.CONTAINS:
            return frozenset({needle})
        case Op.GLOB:
            return _chunk(needle)
        case Op.RE:
            return factors(needle)
        case _:
            return None


def _chunk(pattern: str) -> Set | None:
    """The longest piece of text of a glob, with the sentinel where it stands at an end."""
    parts = glob_parts(pattern)
    chunks = [
        (SENTINEL if i == 0 else "") + text + (SENTINEL if i == len(parts) - 1 else "")
        for i, (text, wild) in enumerate(parts)
        if not wild
    ]
    return frozenset({max(chunks, key=_score)}) if chunks else None


# ---------------------------------------------------------------------- attributes

#: Between these lie, in JSON text, whole strings, numbers and words.
_STRUCTURE = re.compile(r"[\x00-\x1f\"\\{}\[\]:,]+")
_NUMBERLIKE = re.compile(r"[0-9eE+\-. ]*|-?inf|nan", re.IGNORECASE)

#: JSON can also write a character like this, so each row that has one of them is looked at.
_ESCAPES = frozenset({Anchor(_JSON, "\\u"), Anchor(_JSON, "\\/")})


def _in_json(test: Compared, needle: str, *, scalar: bool) -> _Scored | None:
    """Texts that stand in the JSON text of any record with a value that satisfies *test*.

    What is part of a string stands there, escaped as JSON must; a number may be written in many
    ways, so what could be one is no anchor.  A value that is not *scalar* is an object's JSON
    text, whose structure may be spaced otherwise, so only what lies between it counts.
    """
    texts = _texts(test.op, needle)
    if texts is None:
        return None
    plain = test.cased or test.op is Op.RE
    found = set(_ESCAPES)
    score = float("inf")
    for text in texts:
        core = text.strip(SENTINEL)
        runs = [core] if scalar else _STRUCTURE.split(core)
        run = max((r for r in runs if not _NUMBERLIKE.fullmatch(r)), key=_score, default="")
        score = min(score, _score(run))
        found.add(Anchor(_JSON, _escaped(run if plain else fold(run))))
    return score, frozenset(found)


def _escaped(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


# ---------------------------------------------------------------------- regular expressions


def factors(pattern: str) -> Set | None:
    """ASCII texts of which one, whatever its case, is in everything that *pattern* finds.

    >>> sorted(factors(r"^/(login|admin)/[0-9]+"))
    ['admin', 'login']
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            tree = _parser.parse(pattern)
        except (re.error, RecursionError):  # a dialect that Python does not speak
            return None
    return _of_sequence(tree)


_parser: Any = vars(re)["_parser"]  # Python has no public one


def _of_sequence(items: Iterable[tuple[Any, Any]]) -> Set | None:
    """The best set that any one item of a sequence offers."""
    offers: list[Set] = []
    run = ""
    for op, argument in items:
        if str(op) == "LITERAL" and argument < 128:
            run += chr(argument)
            continue
        if run:
            offers.append(frozenset({run}))
            run = ""
        inner = _of_item(str(op), argument)
        if inner is not None:
            offers.append(inner)
    if run:
        offers.append(frozenset({run}))
    return max(offers, key=lambda texts: min(map(_score, texts)), default=None)


def _of_item(op: str, argument: Any) -> Set | None:
    match op:
        case "BRANCH":
            each = [_of_sequence(branch) for branch in argument[1]]
            known = [texts for texts in each if texts is not None]
            return frozenset[str]().union(*known) if len(known) == len(each) else None
        case "SUBPATTERN":
            return _of_sequence(argument[3])
        case "MAX_REPEAT" | "MIN_REPEAT" if argument[0] >= 1:
            return _of_sequence(argument[2])
        case _:
            return None


# ---------------------------------------------------------------------- how rare a text is

#: What stands in most requests: a part of these is no anchor.
_COMMON = (
    "mozilla/5.0 (windows nt 10.0; win64; x64) applewebkit/537.36 (khtml, like gecko) chrome/",
    "safari/537.36 edg/ firefox/ gecko/ version/ mobile/",
    "mozilla/5.0 (macintosh; intel mac os x 10_15_7)",
    "mozilla/5.0 (x11; linux x86_64; rv:",
    "mozilla/5.0 (iphone; cpu iphone os like mac os x)",
    "mozilla/5.0 (compatible; msie 9.0; windows nt 6.1; trident/5.0)",
    "https://www. http://www. .com/ .org/ .net/ .html .php .jpg .png",
    ".css .js /index. /api/v1/ /api/v2/",
    "&id= ?id= =true =false name= page= user users order orders items data",
    "get post put delete head options",
    "amazonaws.com true false null success failure",
)


def _score(text: str) -> float:
    """How much *text* narrows: its length, unless most rows have it."""
    core = text.strip(SENTINEL)
    if not core:
        return 0
    both = len(text) - len(core) >= 2
    if not both and any(core.lower() in common for common in _COMMON):
        return 1
    return len(core.encode()) + (len(text) - len(core))
