"""What really came of a request: many APIs say ``200 {"status": "fail"}``.

Who is believed, in this order: the application itself, the framework (an exception, a validation
error), the answer's JSON, what is known of the login, the status.  A refusal by status is never
overruled by friendly words.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from tocsin.sdk.reading.shapes import Shape, Shapes
from tocsin.sdk.reading.words import FAILURES, REASONS
from tocsin.sdk.seen import Failure

__all__ = [
    "UNTOLD",
    "Verdict",
    "by_body",
    "by_failure",
    "by_status",
    "reason_of",
    "refusal",
    "said_in",
    "without",
]


class Verdict(NamedTuple):
    """An outcome, why, and who says so."""

    outcome: str | None = None  #: success, failure, unknown
    reason: str | None = None  #: class of failure; see the column ``reason``
    source: str | None = None  #: event, framework, body, login_profile, status
    words: str | None = None  #: what the answer said, for its template; never kept
    own: bool = True  #: nothing of these words is the client's, sent back


#: Characters of a text that an answer may quote, at least, and such texts.
SHORTEST = 4
MOST_QUOTED = 16

UNTOLD = Verdict()
_TOLD_SUCCESS = Verdict("success", None, "body")
_SUCCESS = Verdict("success", None, "status")
_NO_ANSWER = Verdict("unknown")

_BY_STATUS = {
    400: "validation",
    401: "bad_credentials",
    403: "forbidden",
    404: "not_found",
    405: "not_found",
    409: "conflict",
    422: "validation",
    423: "locked",
    429: "rate_limited",
    500: "internal",
    502: "upstream",
    503: "upstream",
    504: "upstream",
}

_GOOD = frozenset(
    "ok success succeeded successful true passed done completed created accepted".split()
)
_BAD = frozenset(
    "fail failed failure error errors denied unauthorized unauthorised forbidden invalid false "
    "rejected not_found notfound bad_request badrequest exception fault ko nok refused".split()
)
_SAYINGS = (
    "message msg detail error_description description title reason error errors error_message "
    "errormessage fault faultstring info text hint"
).split()


def by_body(body: Any, shapes: Shapes) -> Verdict:
    """What the answer's JSON says of the outcome, or nothing.

    >>> by_body({"status": "fail", "message": "Password is not correct"}, Shapes())[:2]
    ('failure', 'bad_credentials')
    >>> by_body({"data": None, "errors": [{"message": "Not authorized to read it"}]}, Shapes())[:2]
    ('failure', 'forbidden')
    >>> by_body({"status": "shipped", "items": []}, Shapes())
    Verdict(outcome=None, reason=None, source=None, words=None, own=True)
    >>> by_body({"id": 7, "status": "failed"}, Shapes()).outcome is None  # an order's state
    True
    """
    if type(body) is list:
        # A batch of GraphQL or JSON-RPC answers: as bad as the worst of the first few.
        verdicts = [by_body(one, shapes) for one in body[:8] if type(one) is dict and _is_rpc(one)]
        return next(
            (v for v in verdicts if v.outcome == "failure"), verdicts[0] if verdicts else UNTOLD
        )
    if type(body) is not dict:
        return UNTOLD
    shape = shapes.of(body)
    said: dict[str, Any] = body
    outcome = _outcome(body, shape)
    if outcome is None:
        for name in shape.wrappings:
            inner = body[name]
            if type(inner) is dict:
                outcome = _outcome(inner, shapes.of(inner))
                if outcome is not None:
                    said = {**body, **inner}
                    break
    if outcome is None:
        return UNTOLD
    if outcome == "success":
        return _TOLD_SUCCESS
    words = said_in(said)
    return Verdict("failure", reason_of(words) if words else None, "body", words)


def _is_rpc(item: dict[str, Any]) -> bool:
    return "jsonrpc" in item or _GRAPHQL.issuperset(item)


_GRAPHQL = frozenset({"data", "errors", "extensions"})


def _outcome(body: Mapping[str, Any], shape: Shape) -> str | None:
    """What the keys that tell an outcome say; the surest kind first."""
    if "jsonrpc" in body:
        return "failure" if _is_error(body.get("error")) else "success"
    for key in shape.content:
        if not _is_empty(body[key]):  # it is about a thing
            return "success" if _is_flagged(body, shape) else None
    for key in shape.flags:
        if (flag := _flag(key, body[key])) is not None:
            return "success" if flag else "failure"
    for key in shape.errors:
        if _is_error(body[key]) and not _is_partial(body):
            return "failure"
    for key in shape.numbers:
        if _is_failing(body[key]):
            return "failure"
    for key in shape.states:
        if (said := _said(body[key])) is not None:
            return said
    return None


def _is_flagged(body: Mapping[str, Any], shape: Shape) -> bool:
    return True in [_flag(key, body[key]) for key in shape.flags]


def _is_empty(value: Any) -> bool:
    return value is None or value == "" or value == [] or value == {}


def _flag(key: str, value: Any) -> bool | None:
    """Yes or no, in the ways that APIs write it."""
    if value is True or value is False:
        return bool(value)
    if key.lower() == "status":  # of which 0 is a success to some and a failure to others
        return None
    if type(value) is str:
        return {"true": True, "yes": True, "false": False, "no": False}.get(value.lower())
    return {0: False, 1: True}.get(value) if type(value) is int else None


def _is_partial(body: Mapping[str, Any]) -> bool:
    """Whether GraphQL gave some of what was asked for, and an error for the rest."""
    data = body.get("data")
    return (
        type(data) is dict
        and type(body.get("errors")) is list
        and any(not _is_empty(value) for value in data.values())
    )


def _is_error(value: Any) -> bool:
    if type(value) is dict or type(value) is list:
        return bool(value)
    if type(value) is str:
        return bool(value) and value.lower() not in ("none", "null", "false", "0", "ok")
    return value is True or (type(value) is int and value not in (0, 200))


def _is_failing(value: Any) -> bool:
    """A number of HTTP's, or the same in a text; also of a problem by RFC 9457."""
    if type(value) is str and len(value) == 3 and value.isdigit():
        value = int(value)
    return type(value) is int and 400 <= value < 600


def _said(value: Any) -> str | None:
    """The outcome that a word is for."""
    if type(value) is not str or len(value) >= 40:
        return None
    word = value.lower().replace("-", "_").replace(" ", "_")
    if word in _GOOD:
        return "success"
    return "failure" if word in _BAD or word.startswith(("err_", "error_", "invalid_")) else None


def said_in(answer: Mapping[str, Any]) -> str | None:
    """What *answer* says in words, wherever it says it."""
    body = {key.lower(): value for key, value in answer.items()}
    said: list[str] = []
    for name in _SAYINGS:
        _collect(body.get(name), said, 2)
        if len(said) >= 4:
            break
    if not said:
        for name in ("status", "code", "type"):
            _collect(body.get(name), said, 0)
    return " ".join(said)[:512] or None


def _collect(value: Any, said: list[str], depth: int) -> None:
    if type(value) is str:
        if value:
            said.append(value[:256])
    elif depth and type(value) is dict:
        for name in _SAYINGS:
            if name in value:
                _collect(value[name], said, depth - 1)
        if "code" in value:
            _collect(value["code"], said, 0)
    elif depth and type(value) is list:
        for item in value[:3]:
            _collect(item, said, depth - 1)


def refusal(status: int, body: Any) -> Verdict:
    """What a status of failure says, with the reason that its answer gives in words.

    >>> refusal(401, {"message": "Signature has expired"})[:2]
    ('failure', 'expired_token')
    """
    told = by_status(status)
    if type(body) is not dict or told.outcome != "failure":
        return told
    words = said_in(body)
    if words is None:
        return told
    return told._replace(reason=reason_of(words) or told.reason, words=words)


def reason_of(words: str) -> str | None:
    """The class of failure that *words* speak of.

    >>> reason_of("Invalid token. Please log in again."), reason_of("Username does not exist")
    ('bad_token', 'unknown_user')
    """
    text = words[:512].replace("_", " ")
    return next((reason for reason, pattern in REASONS if pattern.search(text)), None)


def without(told: Verdict, texts: Iterable[str]) -> Verdict:
    """*told*, for the reason that its words give without *texts*, which the client sent.

    Whoever asks for ``/product/invalid token`` and is told that there is none was refused nothing.
    Whoever sends the very words of a refusal was refused all the same; but nothing is learned of
    it.

    >>> told = Verdict("failure", "bad_token", "body", "Invalid token not found")
    >>> without(told, ["invalid token"])[1:]
    ('not_found', 'body', '? not found', False)
    >>> without(Verdict("failure", "forbidden", "body", "forbidden"), ["forbidden"])[1:]
    ('forbidden', 'body', 'forbidden', False)
    """
    words, sent = told.words or "", {text.strip().lower() for text in texts}
    said = words.lower()
    quoted = [text for text in sent if len(text) >= SHORTEST and text in said]
    for text in sorted(quoted, key=len)[: -MOST_QUOTED - 1 : -1]:
        words = re.sub(rf"(?<!\w){re.escape(text)}(?!\w)", "?", words, flags=re.I)
    if words != told.words and (reason := reason_of(words)) is not None:
        return told._replace(reason=reason, words=words, own=False)
    mine = " ".join(sent)[:4096]
    return told._replace(own=words == told.words and not _speaks_of(told.reason, mine))


def _speaks_of(reason: str | None, text: str) -> bool:
    """Whether *text* has words for this class of failure."""
    plain = text.replace("_", " ")
    return any(name == reason and pattern.search(plain) for name, pattern in REASONS)


def by_failure(failure: Failure | None, status: int) -> Verdict:
    """What the framework says: an exception, whatever it made of it."""
    if failure is None:
        return UNTOLD
    if not failure.handled:
        return Verdict("failure", "internal", "framework")
    if 300 <= status < 400:  # frameworks raise redirects too
        return UNTOLD
    name = failure.type.rpartition(".")[2]
    reason = next((r for r, pattern in FAILURES if pattern.search(name)), None)
    return Verdict("failure", reason or _BY_STATUS.get(status), "framework")


def by_status(status: int) -> Verdict:
    """What the status alone says: a hint, not the outcome."""
    if status >= 400:
        reason = _BY_STATUS.get(status) or ("internal" if status >= 500 else None)
        return Verdict("failure", reason, "status")
    return _SUCCESS if status >= 200 else _NO_ANSWER
