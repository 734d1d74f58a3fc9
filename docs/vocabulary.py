"""Make ``src/tocsin/sdk/saying/log.py`` from the vocabulary and the sentences here.

``python -m docs.vocabulary`` writes; a test compares.
"""

from __future__ import annotations

import builtins
import keyword
from pathlib import Path

from tocsin.event.kinds import ARGUMENTS, GROUPS, VOCABULARY, Kind

PLACE = Path(__file__).parents[1] / "src" / "tocsin" / "sdk" / "saying" / "log.py"

#: Characters in a line, without the indentation of a method.
WIDTH = 96

#: When to say which.
WHEN = {
    Kind.AUTHN_LOGIN_SUCCESS: "Somebody logged in.",
    Kind.AUTHN_LOGIN_SUCCESSAFTERFAIL: "Somebody logged in after *retries* that failed.",
    Kind.AUTHN_LOGIN_FAIL: (
        "A login was refused.  *new_secret*: the secret was not the one tried just before."
    ),
    Kind.AUTHN_LOGIN_FAIL_MAX: "A login was refused, and *max_limit* tries are used up.",
    Kind.AUTHN_LOGIN_LOCK: "An account was locked: *reason* is ``maxretries``, ``suspicious`` ...",
    Kind.AUTHN_PASSWORD_CHANGE: "A password was changed.",
    Kind.AUTHN_PASSWORD_CHANGE_FAIL: "A change of password was refused.",
    Kind.AUTHN_IMPOSSIBLE_TRAVEL: "Somebody acts from two regions that are too far apart.",
    Kind.AUTHN_TOKEN_CREATED: "A token was issued, good for *entitlements*.",
    Kind.AUTHN_TOKEN_REVOKED: "A token was taken back; *token_id* names it, and is not the token.",
    Kind.AUTHN_TOKEN_REUSE: "A token that had been taken back was presented again.",
    Kind.AUTHN_TOKEN_DELETE: "A token was deleted.",
    Kind.AUTHZ_FAIL: "Access was denied: *resource*, as ``order:42``, is not for this user.",
    Kind.AUTHZ_CHANGE: "The entitlements of a user were changed.",
    Kind.AUTHZ_ADMIN: "Somebody did what only an administrator may: *event* says what.",
    Kind.CRYPT_DECRYPT_FAIL: "Something could not be decrypted.",
    Kind.CRYPT_ENCRYPT_FAIL: "Something could not be encrypted.",
    Kind.EXCESS_RATE_LIMIT_EXCEEDED: "A caller was slowed or refused beyond *max* requests.",
    Kind.EXCESS_SESSIONS_EXCEEDED: "Somebody wanted more than *max* sessions at a time.",
    Kind.UPLOAD_COMPLETE: "A file has arrived; *type* is its media type.",
    Kind.UPLOAD_STORED: "A file was moved or renamed on its way into the store.",
    Kind.UPLOAD_VALIDATION: "An uploaded file was examined: *check* says by what.",
    Kind.UPLOAD_DELETE: "An uploaded file was deleted.",
    Kind.INPUT_VALIDATION_FAIL: "Input was refused; name the *field*, never its value.",
    Kind.INPUT_VALIDATION_DISCRETE_FAIL: (
        "Input was refused that a person could not have chosen: none of the values on offer."
    ),
    Kind.MALICIOUS_EXCESS_404: "A caller asks for far too much that does not exist.",
    Kind.MALICIOUS_EXTRANEOUS: "A request brought an input that nobody asked for: *input_name*.",
    Kind.MALICIOUS_ATTACK_TOOL: "A request shows the marks of an attack *tool*.",
    Kind.MALICIOUS_SQLI: "An input looks like SQL injection; name it, do not quote it.",
    Kind.MALICIOUS_CORS: "A request came from an origin that may not make it.",
    Kind.MALICIOUS_DIRECT_REFERENCE: "Somebody tries ids of objects that were never theirs.",
    Kind.MALICIOUS_CSRF: "A request lacked the token that shows it was meant, or had a wrong one.",
    Kind.MALICIOUS_CSP_VIOLATION: "A browser reported that content broke the policy *directive*.",
    Kind.MCP_PROMPT_INJECTION: "Instructions were found in what a *tool* was given or gave back.",
    Kind.MCP_RESOURCE_EXHAUSTION: "An agent uses too much of a *resource*: calls, tokens, time.",
    Kind.MCP_TOOL_POISONING: "The description or the code of a *tool* is not what it was.",
    Kind.PRIVILEGE_PERMISSIONS_CHANGED: "The permissions of a *resource* were changed.",
    Kind.SENSITIVE_CREATE: "Sensitive data was created.",
    Kind.SENSITIVE_READ: "Sensitive data was read; *records_out* says how many records.",
    Kind.SENSITIVE_UPDATE: "Sensitive data was changed.",
    Kind.SENSITIVE_DELETE: "Sensitive data was deleted.",
    Kind.SEQUENCE_FAIL: "A step was taken out of its order, such as payment before checkout.",
    Kind.SESSION_CREATED: "A session began.",
    Kind.SESSION_RENEWED: "A session was prolonged.",
    Kind.SESSION_EXPIRED: "A session ended by itself: *reason* is ``logout``, ``timeout`` ...",
    Kind.SESSION_LOGOUT: "Somebody logged out.",
    Kind.SESSION_USE_AFTER_EXPIRE: "A session was used that had ended.",
    Kind.SYS_STARTUP: "The system was started.",
    Kind.SYS_SHUTDOWN: "The system was stopped.",
    Kind.SYS_RESTART: "The system was stopped and started again.",
    Kind.SYS_CRASH: "The system stopped by itself; give the ``error`` if there is one.",
    Kind.SYS_MONITOR_DISABLED: "Somebody switched a *monitor* off.",
    Kind.SYS_MONITOR_ENABLED: "Somebody switched a *monitor* on.",
    Kind.USER_CREATED: "A user was created, with *attributes*.",
    Kind.USER_UPDATED: "A user was changed; *attributes* are those that were.",
    Kind.USER_ARCHIVED: "A user was put away, and may come back.",
    Kind.USER_DELETED: "A user was deleted.",
}

#: Types of the arguments that are no single text.
TYPES = {
    "retries": "int",
    "max_limit": "int",
    "max": "int",
    "new_secret": "bool",
    "entitlements": "Words",
    "field": "Words",
    "from": "Words",
    "to": "Words",
    "result": 'Literal["passed", "failed", "incomplete"]',
}

#: Arguments beside the vocabulary's own.
BESIDE = {
    Kind.AUTHN_LOGIN_FAIL: ("new_secret",),
    Kind.AUTHN_LOGIN_FAIL_MAX: ("new_secret",),
}

HEAD = '''\
"""``tocsin.log``: a method for each name of the OWASP Logging Vocabulary.

Made by ``python -m docs.vocabulary``; do not edit.

Say what happened where the application knows it::

    tocsin.log.authz_fail(user="joe", resource="order:42", reason="not the owner")

All arguments go by name and none is needed: while a request is served, its user, role, tenant,
session, client and ids are taken from it.  Of a *resource* ``type:id`` the id leaves as a keyed
hash.  *attributes* is anything else worth keeping.  A call costs microseconds, waits for nothing
and never raises, whatever the values are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Unpack

from tocsin.event.kinds import Kind
from tocsin.sdk.saying.say import Said, SaidByClient, Taker, say

__all__ = ["Log", "log"]

Words = str | Sequence[str]
Attributes = Mapping[str, Any]


class Log:
    """The vocabulary as methods.  What they are told goes to *client*; None: the one client."""

    __slots__ = ("_client",)

    def __init__(self, client: Taker | None = None) -> None:
        self._client = client

    def _say(self, kind: Kind, said: Mapping[str, object], attributes: Attributes | None) -> None:
        say(self._client, kind, said, attributes)
'''

TAIL = """\


#: What applications call.
log = Log()
"""


def module() -> str:
    """The whole file."""
    parts = [HEAD]
    group = ""
    for kind in VOCABULARY:
        if GROUPS[kind] != group:
            group = GROUPS[kind]
            parts.append(f"\n    # {group}\n")
        parts.append("\n" + "\n".join(f"    {line}".rstrip() for line in _method(kind)) + "\n")
    return "".join([*parts, TAIL])


def arguments(kind: Kind) -> list[str]:
    """Names of the arguments of *kind*: the vocabulary's, the user, and a reason."""
    own = [name for name in ARGUMENTS[kind] if name != "attributes"]
    names = [*own, *BESIDE.get(kind, ()), "user", "reason"]
    if "user_agent" in own:
        names.append("referer")
    return list(dict.fromkeys(names))


def spelled(name: str) -> str:
    """*name* as a parameter: Python's own words get an underscore."""
    return f"{name}_" if keyword.iskeyword(name) else name


def _method(kind: Kind) -> list[str]:
    names = arguments(kind)
    common = "SaidByClient" if "user_agent" not in names else "Said"
    return [
        f"def {kind}(",
        "    self,",
        "    *,",
        *(_parameter(name) for name in names),
        "    attributes: Attributes | None = None,",
        f"    **more: Unpack[{common}],",
        ") -> None:",
        f'    """{WHEN[kind]}"""',
        *_call(kind, [f'"{name}": {spelled(name)}' for name in names]),
    ]


def _parameter(name: str) -> str:
    shadows = "  # noqa: A002  the vocabulary's word" if hasattr(builtins, name) else ""
    return f"    {spelled(name)}: {TYPES.get(name, 'str')} | None = None,{shadows}"


def _call(kind: Kind, pairs: list[str]) -> list[str]:
    """The call, broken as the formatter would."""
    said = "{" + ", ".join([*pairs, "**more"]) + "}"
    line = f"    self._say(Kind.{kind.name}, {said}, attributes)"
    if len(line) <= WIDTH:
        return [line]
    line = f"        Kind.{kind.name}, {said}, attributes"
    if len(line) <= WIDTH:
        return ["    self._say(", line, "    )"]
    lines = [f"        {said},"]
    if len(lines[0]) > WIDTH:
        lines = [
            "        {",
            *(f"            {pair}," for pair in [*pairs, "**more"]),
            "        },",
        ]
    return ["    self._say(", f"        Kind.{kind.name},", *lines, "        attributes,", "    )"]


def main() -> None:
    """Write it."""
    PLACE.write_text(module(), encoding="utf-8")


if __name__ == "__main__":
    main()
