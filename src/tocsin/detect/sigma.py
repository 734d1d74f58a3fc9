"""Rule files in, rules out: pySigma reads the YAML, and all that leaves is plain data.

A broken rule never stops the others: it becomes a :class:`Problem` with file, line and way out.
pySigma is slow to import and is needed only here, so it is imported when the first file that the
cache does not know is read.  Its ATT&CK tables, which would ask the network, are never touched.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator, MutableMapping
from difflib import get_close_matches
from hashlib import sha256
from importlib.metadata import version
from typing import Annotated, Any, NoReturn, TypeAlias

import msgspec
import yaml
from msgspec import Struct

from tocsin.detect.exact import bind
from tocsin.detect.fields import route
from tocsin.detect.linear import Refused, compiled, finder
from tocsin.detect.rule import (
    And,
    Blind,
    Condition,
    CorrelationKind,
    CorrelationRule,
    Leaf,
    LogSource,
    Not,
    Op,
    Or,
    Problem,
    Rule,
    RuleFile,
    RuleSet,
    leaves,
)
from tocsin.event import Severity

__all__ = ["compile_rules"]

#: Counts up when the shape of a rule, or what we read into it, changes.
_FORMAT = 1

_LARGEST = 1 << 20  #: characters of a rule file
_DEEPEST = 50  #: collections within one another
_ALIASES = 50  #: ``*name`` in a file, in all
_UNFOLDED = 100_000  #: characters and nodes that a document may gain by its aliases

_Risk: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=100)]


class _Parsed(Struct, frozen=True):
    """What one file holds: the cache's value."""

    rules: tuple[Rule, ...]
    correlations: tuple[CorrelationRule, ...]
    problems: tuple[Problem, ...]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Parsed)


def compile_rules(
    files: Iterable[RuleFile], cache: MutableMapping[str, bytes] | None = None
) -> RuleSet:
    """Every rule of *files*, and what is wrong with those that could not be read.

    *cache* keeps what was read of a file, keyed by its bytes and our versions.
    """
    rules: list[Rule] = []
    correlations: list[CorrelationRule] = []
    problems: list[Problem] = []
    taken: dict[str, str] = {}
    for file in files:
        parsed = _cached(file, cache)
        problems += parsed.problems
        both: tuple[Rule | CorrelationRule, ...] = (*parsed.rules, *parsed.correlations)
        for rule in both:
            place = f"{rule.file}:{rule.line}"
            names = {n for n in (rule.id, rule.name) if n}
            clash = next((n for n in sorted(names) if n in taken), None)
            if clash is not None:
                problems.append(_duplicate(rule, clash, taken[clash]))
                continue
            taken.update(dict.fromkeys(names, place))
            if isinstance(rule, Rule):
                rules.append(rule)
            else:
                correlations.append(rule)
    return RuleSet(
        rules=tuple(rules),
        correlations=tuple(correlations),
        problems=tuple(problems),
        blind=tuple(_blind(rules)),
    )


def _duplicate(rule: Rule | CorrelationRule, name: str, first: str) -> Problem:
    return Problem(
        rule.file,
        rule.line,
        f'rule "{name}" is already defined at {first}; give one of them a new id',
    )


def _blind(rules: Iterable[Rule]) -> Iterator[Blind]:
    for rule in rules:
        to = route(rule.logsource)
        assert to is not None, "such a rule was refused when it was read"
        node, fields = bind(rule.condition, to)
        if fields:
            yield Blind(rule.id, fields, whole=node is None)


# ---------------------------------------------------------------------- the cache


def _cached(file: RuleFile, cache: MutableMapping[str, bytes] | None) -> _Parsed:
    if cache is None:
        return _parse(file)
    key = _key(file)
    kept = cache.get(key)
    if kept is not None:
        try:
            return _decoder.decode(kept)
        except (msgspec.DecodeError, ValueError):
            pass  # a damaged entry is no worse than a missing one: read the file again
    parsed = _parse(file)
    cache[key] = _encoder.encode(parsed)
    return parsed


def _key(file: RuleFile) -> str:
    text = "\0".join((file.name, file.text, version("pysigma"), str(_FORMAT)))
    return sha256(text.encode(errors="surrogatepass")).hexdigest()


# ---------------------------------------------------------------------- one file


class _Wrong(Exception):
    """Something is wrong at *line*."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


class _Document(Struct, frozen=True):
    """One YAML document, and where its keys stand."""

    content: dict[str, Any]
    line: int
    lines: dict[str, int]  #: "title", "detection", "detection.selection" ... to line

    def at(self, *keys: str) -> int:
        """The line of the first of *keys* that is there, else of the document."""
        return next((self.lines[k] for k in keys if k in self.lines), self.line)


def _parse(file: RuleFile) -> _Parsed:
    rules: list[Rule] = []
    correlations: list[CorrelationRule] = []
    problems: list[Problem] = []
    try:
        for document in _documents(file.text):
            try:
                rule = _read(file.name, document)
            except _Wrong as wrong:
                problems.append(Problem(file.name, wrong.line, str(wrong)))
                continue
            if isinstance(rule, Rule):
                rules.append(rule)
            else:
                correlations.append(rule)
    except _Wrong as wrong:
        problems.append(Problem(file.name, wrong.line, str(wrong)))
    return _Parsed(tuple(rules), tuple(correlations), tuple(problems))


def _documents(text: str) -> Iterator[_Document]:
    if len(text) > _LARGEST:
        raise _Wrong(1, f"the file is larger than {_LARGEST:,} characters; split it")
    aliased = _bound(text)
    from sigma.rule.base import SigmaYAMLLoader

    loader: Any
    try:
        loader = SigmaYAMLLoader(text)
        try:
            while loader.check_node():
                node = loader.get_node()
                if aliased:
                    _unfold(node)
                yield from _document(loader, node)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise _Wrong(
            line, f"not YAML: {error.problem or error.context}; correct the syntax"
        ) from error
    except (yaml.YAMLError, ValueError, TypeError) as error:
        raise _Wrong(1, f"not YAML: {_first_line(error)}; correct the syntax") from error
    except RecursionError as error:
        raise _Wrong(1, "the file is nested too deeply; no rule needs that") from error


_Tokens: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_OPEN = (
    yaml.BlockMappingStartToken,
    yaml.BlockSequenceStartToken,
    yaml.FlowMappingStartToken,
    yaml.FlowSequenceStartToken,
)
_SHUT = (yaml.BlockEndToken, yaml.FlowMappingEndToken, yaml.FlowSequenceEndToken)


def _bound(text: str) -> bool:
    """Refuse what is nested too deeply, or has too many aliases; whether it has any.

    The parser recurses in C, where too deep is the end of the process; the scanner does not.
    """
    depth = aliases = 0
    try:
        for token in yaml.scan(text, Loader=_Tokens):
            if isinstance(token, _OPEN):
                depth += 1
            elif isinstance(token, _SHUT):
                depth -= 1
            elif isinstance(token, yaml.AliasToken):
                aliases += 1
            if depth > _DEEPEST or aliases > _ALIASES:
                said = f"nested deeper than {_DEEPEST} levels; no rule needs that"
                if aliases > _ALIASES:
                    said = f"it has more than {_ALIASES} aliases (*name); write the values out"
                raise _Wrong(token.start_mark.line + 1, said)
    except (yaml.YAMLError, ValueError):
        pass  # the parser stops at the same place, and says what is wrong there
    return aliases > 0


def _unfold(document: Any) -> None:
    """Refuse a document that its aliases make very much longer than it is written."""
    unfolded: dict[int, int] = {}
    written = 0

    def weigh(node: Any) -> int:
        nonlocal written
        key = id(node)
        if key not in unfolded:
            unfolded[key] = _LARGEST * _LARGEST  # until it is known: for one that holds itself
            own, inner = 1, 0
            if isinstance(node, yaml.ScalarNode):
                own += len(node.value)
            for kid in node.value if isinstance(node, yaml.CollectionNode) else ():
                inner += sum(map(weigh, kid)) if isinstance(kid, tuple) else weigh(kid)
            written += own
            unfolded[key] = own + inner
        return unfolded[key]

    if weigh(document) > written + _UNFOLDED:
        raise _Wrong(
            document.start_mark.line + 1,
            "its aliases (*name) unfold to far more than is written; write the values out",
        )


def _document(loader: Any, node: Any) -> Iterator[_Document]:
    line = node.start_mark.line + 1
    content = loader.construct_document(node)
    if content is None:
        return
    if not isinstance(content, dict) or not all(isinstance(k, str) for k in content):
        raise _Wrong(line, "a rule is a mapping of keys; this document is something else")
    yield _Document(content, line, dict(_lines(node)))


def _lines(node: Any, prefix: str = "") -> Iterator[tuple[str, int]]:
    """Where the keys of the first two levels stand."""
    for key, value in node.value:
        if isinstance(key, yaml.ScalarNode):
            yield prefix + key.value, key.start_mark.line + 1
            if not prefix and isinstance(value, yaml.MappingNode):
                yield from _lines(value, f"{key.value}.")


# ---------------------------------------------------------------------- one rule


def _read(file: str, document: _Document) -> Rule | CorrelationRule:
    content = document.content
    for key, reason in _NOT_YET.items():
        if key in content:
            raise _Wrong(document.at(key), reason)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Python's re, about regexes that are not ours
        try:
            if "correlation" in content:
                return _correlation(file, document)
            return _rule(file, document)
        except _Wrong:
            raise
        except RecursionError as error:
            raise _Wrong(document.line, "the rule is nested too deeply; simplify it") from error
        except Exception as error:  # pySigma raises anything on odd YAML
            kind = type(error).__name__
            raise _Wrong(
                document.line, f"pySigma fails on it ({kind}: {_first_line(error)})"
            ) from error


_NOT_YET = {
    "action": 'collections with "action" are not supported; write each rule out',
    "filter": "filter documents are not supported yet; put the filter into the rule",
    "behaviour": "behaviour rules are not supported yet; remove the file",
}


def _rule(file: str, document: _Document) -> Rule:
    from sigma.policy import SigmaPolicy
    from sigma.rule import SigmaRule

    _present(document)
    policy: Any = SigmaPolicy(regex_engine=_Unjudged())  # type: ignore[arg-type]  # it is one by shape
    parsed = SigmaRule.from_dict(_plain(document.content), collect_errors=True, policy=policy)
    if parsed.errors:
        _refuse(document, parsed.errors[0])
    source = LogSource(
        *(
            v.lower() if v else None
            for v in (parsed.logsource.category, parsed.logsource.product, parsed.logsource.service)
        )
    )
    if route(source) is None:
        words = ", ".join(f"{k} {v}" for k, v in msgspec.structs.asdict(source).items() if v)
        raise _Wrong(
            document.at("logsource"),
            f"tocsin receives no such log source ({words}); use a category that it has, such as "
            f"request, or name the product that the source is called after",
        )
    condition = _condition(document, parsed)
    for leaf in leaves(condition):
        _check(document, leaf)
    return Rule(**_told(file, document, parsed), logsource=source, condition=condition)


def _present(document: _Document) -> None:
    """Refuse a rule without what each must have, and name the key that may be meant for it."""
    content = document.content
    detection = content.get("detection")
    inner = detection if isinstance(detection, dict) else {"condition": ""}
    for wanted, place, others in (
        ("logsource", content, ()),
        ("detection", content, ("correlation",)),
        ("condition", inner, ()),
    ):
        if wanted in place:
            continue
        for meant in (wanted, *others):
            close = get_close_matches(meant, [str(key) for key in place], n=1, cutoff=0.75)
            if close:
                where = close[0] if place is content else f"detection.{close[0]}"
                said = f'unknown key "{close[0]}"; did you mean "{meant}"?'
                raise _Wrong(document.at(where), said)


class _Unjudged:
    """pySigma's regular expressions: names of detections are matched, values only carried.

    Whether a value can be run is for ``_check`` to say, with the place and the way out.
    """

    error = re.error

    def compile(self, pattern: str, flags: int = 0) -> Any:  # noqa: ARG002 - pySigma's interface
        """*pattern* in linear time, or something that never matches."""
        simple = re.fullmatch(r"[\w.*-]*", pattern) is not None
        return compiled(pattern) or re.compile(pattern if simple else "(?!)")


def _condition(document: _Document, parsed: Any) -> Condition:
    line = document.at("detection.condition", "detection")
    from sigma.exceptions import SigmaError

    trees: list[Condition] = []
    for condition in parsed.detection.parsed_condition:
        try:
            tree = condition.parsed
        except SigmaError as error:
            raise _Wrong(line, f"condition: {_say(error)}") from error
        if tree is None:
            raise _Wrong(line, "the condition selects nothing; name a detection in it")
        trees.append(_tree(tree, line))
    return trees[0] if len(trees) == 1 else Or(tuple(trees))


def _check(document: _Document, leaf: Leaf) -> None:
    """Refuse a leaf that cannot be run in bounded time."""
    if leaf.op is Op.RE:
        try:
            finder(str(leaf.value), leaf.flags)
        except Refused as error:
            raise _Wrong(
                document.at("detection"),
                f'regular expression "{_short(str(leaf.value))}" {error}; write it without '
                f"lookaround, backreferences and possessive quantifiers",
            ) from error
    if leaf.op is Op.GLOB and leaf.value is not None and len(str(leaf.value)) > 10_000:
        raise _Wrong(document.at("detection"), "a wildcard pattern is too long; shorten it")


def _refuse(document: _Document, error: Exception) -> NoReturn:
    """Raise *error* of pySigma with the line that it is about."""
    kind = type(error).__name__
    names = _PLACES.get(kind, ())
    if kind in _IN_DETECTION:
        names = (*_culprit(document), "detection")
    raise _Wrong(document.at(*names), _say(error))


_PLACES = {
    "SigmaLogsourceError": ("logsource",),
    "SigmaIdentifierError": ("id",),
    "SigmaTitleError": ("title",),
    "SigmaLevelError": ("level",),
    "SigmaStatusError": ("status",),
    "SigmaTagError": ("tags",),
    "SigmaDateError": ("date",),
    "SigmaConditionError": ("detection.condition", "detection"),
    "SigmaCorrelationTypeError": ("correlation.type", "correlation"),
    "SigmaCorrelationRuleError": ("correlation",),
    "SigmaCorrelationConditionError": ("correlation.condition", "correlation"),
    "SigmaTimespanError": ("correlation.timespan", "correlation"),
}
_IN_DETECTION = frozenset(
    "SigmaDetectionError SigmaModifierError SigmaTypeError SigmaValueError SigmaModifiedError "
    "SigmaRegularExpressionError SigmaPlaceholderError".split()
)


def _culprit(document: _Document) -> tuple[str, ...]:
    """The first detection that cannot be read by itself."""
    from sigma.exceptions import SigmaError
    from sigma.rule.detection import SigmaDetection

    detections = document.content.get("detection")
    if not isinstance(detections, dict):
        return ()
    for name, definition in detections.items():
        if name == "condition":
            continue
        try:
            SigmaDetection.from_definition(definition)
        except (SigmaError, TypeError):
            return (f"detection.{name}",)
    return ()


def _say(error: Exception) -> str:
    """pySigma's sentence in our manner."""
    text = _first_line(error).replace("doesn't supports", "does not support")
    return f"{text[:1].lower()}{text[1:]}; correct it as the Sigma specification says"


def _first_line(error: BaseException) -> str:
    return _short((str(error).strip().splitlines() or [type(error).__name__])[0].rstrip("."))


def _short(text: str) -> str:
    return text if len(text) <= 200 else text[:197] + "..."


# ---------------------------------------------------------------------- what a rule tells of itself

_ATTACK = re.compile(r"attack\.(t[0-9]{4}(?:\.[0-9]{3})?)", re.IGNORECASE)
_OWASP = re.compile(r"owasp\.(api[0-9]{1,2}|a[0-9]{2})-([0-9]{4})", re.IGNORECASE)
_OWN = ("entity", "risk", "reason", "runbook", "suppress", "tests")


def _told(file: str, document: _Document, parsed: Any) -> dict[str, Any]:
    content = document.content
    tags = tuple(str(tag) for tag in content.get("tags") or ())
    own = _plain(parsed.custom_attributes)
    return {
        "id": str(parsed.id) if parsed.id else parsed.name or _slug(parsed.title),
        "title": parsed.title,
        "name": parsed.name,
        "file": file,
        "line": document.line,
        "content_hash": sha256(msgspec.json.encode(_plain(content), order="sorted")).hexdigest(),
        "level": _level(parsed.level),
        "status": parsed.status.name.lower() if parsed.status else None,
        "description": parsed.description or "",
        "author": parsed.author,
        "license": parsed.license,
        "references": tuple(map(str, parsed.references)),
        "falsepositives": tuple(map(str, parsed.falsepositives)),
        "tags": tags,
        "owasp": tuple(f"{m[1].upper()}:{m[2]}" for t in tags if (m := _OWASP.fullmatch(t))),
        "attack": tuple(m[1].upper() for t in tags if (m := _ATTACK.fullmatch(t))),
        **_own(document, own),
        "custom": {k: v for k, v in own.items() if k not in (*_OWN, "correlation")},
    }


def _level(level: Any) -> Severity:
    """Sigma's level; one that is not given counts as medium."""
    return Severity(level.name.lower()) if level else Severity.MEDIUM


def _slug(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "untitled"


def _own(document: _Document, own: dict[str, Any]) -> dict[str, Any]:
    """Our own keys, each of the type that it must have."""
    entity = own.get("entity") or ()
    try:
        return {
            "entity": msgspec.convert(
                (entity,) if isinstance(entity, str) else entity, tuple[str, ...]
            ),
            "risk": msgspec.convert(own.get("risk"), _Risk | None),
            "reason": msgspec.convert(own.get("reason"), str | None),
            "runbook": msgspec.convert(own.get("runbook") or "", str),
            "suppress": msgspec.convert(own.get("suppress") or {}, dict[str, Any]),
            "tests": msgspec.convert(own.get("tests") or (), tuple[dict[str, Any], ...]),
        }
    except msgspec.ValidationError as error:
        lines = [k for k in _OWN if k in own]
        raise _Wrong(
            document.at(*lines), f"one of {', '.join(lines)} has the wrong type: {error}"
        ) from error


def _plain(value: Any) -> Any:
    """*value* as JSON could say it, the same before and after a stay in the cache."""
    match value:
        case dict():
            return {str(k): _plain(v) for k, v in value.items()}
        case list() | tuple() | set():
            return [_plain(v) for v in value]
        case None | bool() | int() | float() | str():
            return value
        case _:
            return str(value)


# ---------------------------------------------------------------------- pySigma's tree to ours


def _tree(node: Any, line: int) -> Condition:
    from sigma import conditions as c

    match node:
        case c.ConditionNOT():
            return Not(_tree(node.args[0], line))
        case c.ConditionAND():
            return _kids(And, node.args, line)
        case c.ConditionOR():
            return _kids(Or, node.args, line)
        case c.ConditionFieldEqualsValueExpression():
            return _value(node.field, node.value, line)
        case c.ConditionValueExpression():
            return _value(None, node.value, line)
        case _:
            raise _Wrong(
                line, f"the condition holds a {type(node).__name__}, which is not supported"
            )


def _kids(kind: type[And | Or], nodes: Iterable[Any], line: int) -> Condition:
    kids = tuple(_tree(node, line) for node in nodes if node is not None)
    if not kids:
        raise _Wrong(line, "the condition selects nothing; name a detection in it")
    return kids[0] if len(kids) == 1 else kind(kids)


def _value(field: str | None, value: Any, line: int) -> Condition:
    from sigma import types as t

    match value:
        case t.SigmaExpansion():
            return _or(_value(field, v, line) for v in value.values)
        case t.SigmaString():
            return _string(field, value, line)
        case t.SigmaTimestampPart():
            part = value.timestamp_part.name.lower()
            return Leaf(_needed(field, line), Op.TIME_PART, int(value.number), flags=part)
        case t.SigmaNumber() | t.SigmaBool():
            op = Op.CONTAINS if field is None else Op.EQ
            return Leaf(field, op, str(value).lower())
        case t.SigmaNull():
            return Leaf(_needed(field, line), Op.NULL)
        case t.SigmaExists():
            return Leaf(_needed(field, line), Op.PRESENT if value.exists else Op.NULL)
        case t.SigmaRegularExpression():
            return _regex(field, value, line)
        case t.SigmaCIDRExpression():
            return Leaf(_needed(field, line), Op.CIDR, str(value.network))
        case t.SigmaCompareExpression():
            return _compared(_needed(field, line), value)
        case t.SigmaFieldReference():
            edges = ("<" if value.starts_with else "") + (">" if value.ends_with else "")
            return Leaf(_needed(field, line), Op.FIELDREF, value.field, flags=edges)
        case _:
            raise _Wrong(line, f"a value is a {type(value).__name__}, which is not supported")


def _or(kids: Iterable[Condition]) -> Condition:
    every = tuple(kids)
    return every[0] if len(every) == 1 else Or(every)


def _needed(field: str | None, line: int) -> str:
    if field is None:
        raise _Wrong(line, "this kind of value needs a field; write it as field: value")
    return field


def _compared(field: str, value: Any) -> Condition:
    name = value.op.name.lower()
    if name == "neq":
        return Not(Leaf(field, Op.EQ, str(value.number)))
    return Leaf(field, Op(name), str(value.number))


def _regex(field: str | None, value: Any, line: int) -> Condition:
    if value.regexp.contains_placeholder():
        raise _Wrong(line, _PLACEHOLDER)
    letters = {"IGNORECASE": "i", "MULTILINE": "m", "DOTALL": "s"}
    flags = "".join(sorted(letters[flag.name] for flag in value.flags))
    return Leaf(field, Op.RE, value.regexp.to_plain_regex(), flags=flags)


_PLACEHOLDER = "a value has a %placeholder%, which nothing here expands; write the values out"


def _string(field: str | None, value: Any, line: int) -> Condition:
    from sigma.types import SigmaCasedString, SpecialChars

    if value.contains_placeholder():
        raise _Wrong(line, _PLACEHOLDER)
    many = SpecialChars.WILDCARD_MULTI
    parts: list[Any] = list(value.s)
    if field is None:  # a keyword stands anywhere
        parts = [many, *parts, many]
    parts = [p for i, p in enumerate(parts) if p is not many or i == 0 or parts[i - 1] is not many]
    cased = isinstance(value, SigmaCasedString)
    front, back = bool(parts) and parts[0] is many, bool(parts) and parts[-1] is many
    core = parts[front : len(parts) - back] if parts != [many] else []
    if parts == [many]:
        return Leaf(field, Op.PRESENT)
    if all(isinstance(p, str) for p in core):
        ops = {(False, False): Op.EQ, (True, True): Op.CONTAINS}
        op = ops.get((front, back), Op.ENDSWITH if front else Op.STARTSWITH)
        return Leaf(field, op, "".join(core), cased=cased)
    return Leaf(field, Op.GLOB, "".join(map(_escaped, parts)), cased=cased)


def _escaped(part: Any) -> str:
    """A piece of a pattern, its own stars, question marks and backslashes escaped."""
    if isinstance(part, str):
        return re.sub(r"[\\*?]", r"\\\g<0>", part)
    return "*" if part.name == "WILDCARD_MULTI" else "?"


# ---------------------------------------------------------------------- correlations


def _correlation(file: str, document: _Document) -> CorrelationRule:
    from sigma.correlations import SigmaCorrelationRule
    from sigma.exceptions import SigmaError

    _supported(document)
    try:
        parsed = SigmaCorrelationRule.from_dict(_plain(document.content), collect_errors=True)
    except SigmaError as error:
        _refuse(document, error)
    if parsed.errors:
        _refuse(document, parsed.errors[0])
    condition: Any = parsed.condition
    fields = condition.fieldref
    return CorrelationRule(
        **_told(file, document, parsed),
        type=CorrelationKind(parsed.type.name.lower()),
        rules=tuple(str(reference.reference) for reference in parsed.rules or ()),
        group_by=tuple(parsed.group_by or ()),
        timespan_ns=parsed.timespan.seconds * 1_000_000_000,
        op=condition.op.name.lower(),
        count=_count(document, condition.count),
        value_fields=(fields,) if isinstance(fields, str) else tuple(fields or ()),
        aliases=parsed.aliases.to_dict(),
        generate=bool(parsed.generate),
    )


def _supported(document: _Document) -> None:
    correlation = document.content["correlation"]
    kind = correlation.get("type") if isinstance(correlation, dict) else None
    if isinstance(kind, str) and kind.lower() not in list(CorrelationKind):
        raise _Wrong(
            document.at("correlation.type", "correlation"),
            f'correlation type "{_short(kind)}" is not supported yet; '
            "use event_count or value_count",
        )


def _count(document: _Document, count: float) -> int:
    if count != int(count):
        raise _Wrong(document.at("correlation.condition"), "a count must be a whole number")
    return int(count)
