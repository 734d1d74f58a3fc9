"""What happened: the 57 names of the OWASP Logging Vocabulary, and three of our own."""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType

__all__ = ["ARGUMENTS", "GROUPS", "LEVELS", "VOCABULARY", "Kind", "Level", "read_kind"]


class Level(StrEnum):
    """Severity of a single event, as its source sees it (an incident has its own)."""

    DEBUG = "debug"
    INFO = "info"
    WARN = "warn"
    ERROR = "error"
    CRITICAL = "critical"


class Kind(StrEnum):
    """What happened.  Source: OWASP Logging Vocabulary Cheat Sheet; the last three are ours."""

    AUTHN_LOGIN_SUCCESS = "authn_login_success"
    AUTHN_LOGIN_SUCCESSAFTERFAIL = "authn_login_successafterfail"
    AUTHN_LOGIN_FAIL = "authn_login_fail"
    AUTHN_LOGIN_FAIL_MAX = "authn_login_fail_max"
    AUTHN_LOGIN_LOCK = "authn_login_lock"
    AUTHN_PASSWORD_CHANGE = "authn_password_change"
    AUTHN_PASSWORD_CHANGE_FAIL = "authn_password_change_fail"
    AUTHN_IMPOSSIBLE_TRAVEL = "authn_impossible_travel"
    AUTHN_TOKEN_CREATED = "authn_token_created"
    AUTHN_TOKEN_REVOKED = "authn_token_revoked"
    AUTHN_TOKEN_REUSE = "authn_token_reuse"
    AUTHN_TOKEN_DELETE = "authn_token_delete"
    AUTHZ_FAIL = "authz_fail"
    AUTHZ_CHANGE = "authz_change"
    AUTHZ_ADMIN = "authz_admin"
    CRYPT_DECRYPT_FAIL = "crypt_decrypt_fail"
    CRYPT_ENCRYPT_FAIL = "crypt_encrypt_fail"
    EXCESS_RATE_LIMIT_EXCEEDED = "excess_rate_limit_exceeded"
    EXCESS_SESSIONS_EXCEEDED = "excess_sessions_exceeded"
    UPLOAD_COMPLETE = "upload_complete"
    UPLOAD_STORED = "upload_stored"
    UPLOAD_VALIDATION = "upload_validation"
    UPLOAD_DELETE = "upload_delete"
    INPUT_VALIDATION_FAIL = "input_validation_fail"
    INPUT_VALIDATION_DISCRETE_FAIL = "input_validation_discrete_fail"
    MALICIOUS_EXCESS_404 = "malicious_excess_404"
    MALICIOUS_EXTRANEOUS = "malicious_extraneous"
    MALICIOUS_ATTACK_TOOL = "malicious_attack_tool"
    MALICIOUS_SQLI = "malicious_sqli"
    MALICIOUS_CORS = "malicious_cors"
    MALICIOUS_DIRECT_REFERENCE = "malicious_direct_reference"
    MALICIOUS_CSRF = "malicious_csrf"
    MALICIOUS_CSP_VIOLATION = "malicious_csp_violation"
    MCP_PROMPT_INJECTION = "mcp_prompt_injection"
    MCP_RESOURCE_EXHAUSTION = "mcp_resource_exhaustion"
    MCP_TOOL_POISONING = "mcp_tool_poisoning"
    PRIVILEGE_PERMISSIONS_CHANGED = "privilege_permissions_changed"
    SENSITIVE_CREATE = "sensitive_create"
    SENSITIVE_READ = "sensitive_read"
    SENSITIVE_UPDATE = "sensitive_update"
    SENSITIVE_DELETE = "sensitive_delete"
    SEQUENCE_FAIL = "sequence_fail"
    SESSION_CREATED = "session_created"
    SESSION_RENEWED = "session_renewed"
    SESSION_EXPIRED = "session_expired"
    SESSION_LOGOUT = "session_logout"
    SESSION_USE_AFTER_EXPIRE = "session_use_after_expire"
    SYS_STARTUP = "sys_startup"
    SYS_SHUTDOWN = "sys_shutdown"
    SYS_RESTART = "sys_restart"
    SYS_CRASH = "sys_crash"
    SYS_MONITOR_DISABLED = "sys_monitor_disabled"
    SYS_MONITOR_ENABLED = "sys_monitor_enabled"
    USER_CREATED = "user_created"
    USER_UPDATED = "user_updated"
    USER_ARCHIVED = "user_archived"
    USER_DELETED = "user_deleted"

    REQUEST = "request"
    QUERY = "query"
    LOG = "log"


OWN = frozenset({Kind.REQUEST, Kind.QUERY, Kind.LOG})

#: The 57 names of the OWASP Logging Vocabulary, in its order.
VOCABULARY: tuple[Kind, ...] = tuple(kind for kind in Kind if kind not in OWN)

_GROUP_OF_PREFIX = {
    "authn": "AUTHN",
    "authz": "AUTHZ",
    "crypt": "CRYPT",
    "excess": "EXCESS",
    "upload": "UPLOAD",
    "input": "INPUT",
    "malicious": "MALICIOUS",
    "mcp": "MCP",
    "privilege": "PRIVILEGE",
    "sensitive": "DATA",
    "sequence": "SEQUENCE",
    "session": "SESSION",
    "sys": "SYS",
    "user": "USER",
}

#: The Vocabulary's group of each of its names.
GROUPS = MappingProxyType({k: _GROUP_OF_PREFIX[k.split("_", 1)[0]] for k in VOCABULARY})

_INFO = frozenset[str](
    """
    authn_login_success authn_login_successafterfail authn_password_change authn_token_created
    authn_token_revoked upload_complete upload_stored upload_validation upload_delete
    session_created session_renewed session_expired session_logout request query log
    """.split()
)
_CRITICAL = frozenset[str](
    (
        "authn_password_change_fail authn_impossible_travel authn_token_reuse authz_fail "
        "malicious_extraneous malicious_attack_tool malicious_sqli malicious_cors "
        "malicious_direct_reference sequence_fail session_use_after_expire"
    ).split()
)

#: The Vocabulary's default level of each kind (``upload_validation`` rises to critical on failure).
LEVELS = MappingProxyType(
    {
        k: Level.INFO if k in _INFO else Level.CRITICAL if k in _CRITICAL else Level.WARN
        for k in Kind
    }
)

#: Names the Vocabulary's own examples use for another entry (LV-2).
_ALIASES = {"permissions_changed": Kind.PRIVILEGE_PERMISSIONS_CHANGED}

#: Canonical columns of the comma-separated arguments in ``name:arg,arg`` (LV-4), where one fits.
#: An argument without a column is kept in ``attributes`` under the name given here.
ARGUMENTS: MappingProxyType[Kind, tuple[str, ...]] = MappingProxyType(
    {
        Kind.AUTHN_LOGIN_SUCCESS: ("user",),
        Kind.AUTHN_LOGIN_SUCCESSAFTERFAIL: ("user", "retries"),
        Kind.AUTHN_LOGIN_FAIL: ("user",),
        Kind.AUTHN_LOGIN_FAIL_MAX: ("user", "max_limit"),
        Kind.AUTHN_LOGIN_LOCK: ("user", "reason"),
        Kind.AUTHN_PASSWORD_CHANGE: ("user",),
        Kind.AUTHN_PASSWORD_CHANGE_FAIL: ("user",),
        Kind.AUTHN_IMPOSSIBLE_TRAVEL: ("user", "region_from", "region_to"),
        Kind.AUTHN_TOKEN_CREATED: ("user", "entitlements"),
        Kind.AUTHN_TOKEN_REVOKED: ("user", "token_id"),
        Kind.AUTHN_TOKEN_REUSE: ("user", "token_id"),
        Kind.AUTHN_TOKEN_DELETE: ("user",),
        Kind.AUTHZ_FAIL: ("user", "resource"),
        Kind.AUTHZ_CHANGE: ("user", "from", "to"),
        Kind.AUTHZ_ADMIN: ("user", "event"),
        Kind.CRYPT_DECRYPT_FAIL: ("user",),
        Kind.CRYPT_ENCRYPT_FAIL: ("user",),
        Kind.EXCESS_RATE_LIMIT_EXCEEDED: ("user", "max"),
        Kind.EXCESS_SESSIONS_EXCEEDED: ("user", "max"),
        Kind.UPLOAD_COMPLETE: ("user", "filename", "type"),
        Kind.UPLOAD_STORED: ("filename", "from", "to"),
        Kind.UPLOAD_VALIDATION: ("filename", "check", "result"),
        Kind.UPLOAD_DELETE: ("user", "file_id"),
        Kind.INPUT_VALIDATION_FAIL: ("field", "user"),
        Kind.INPUT_VALIDATION_DISCRETE_FAIL: ("field", "user"),
        Kind.MALICIOUS_EXCESS_404: ("user", "user_agent"),
        Kind.MALICIOUS_EXTRANEOUS: ("user", "input_name", "user_agent"),
        Kind.MALICIOUS_ATTACK_TOOL: ("user", "tool", "user_agent"),
        Kind.MALICIOUS_SQLI: ("user", "input_name", "user_agent"),
        Kind.MALICIOUS_CORS: ("user", "user_agent", "referer"),
        Kind.MALICIOUS_DIRECT_REFERENCE: ("user", "user_agent"),
        Kind.MALICIOUS_CSRF: ("user", "user_agent", "referer"),
        Kind.MALICIOUS_CSP_VIOLATION: ("user", "user_agent", "directive"),
        Kind.MCP_PROMPT_INJECTION: ("user", "tool"),
        Kind.MCP_RESOURCE_EXHAUSTION: ("user", "resource"),
        Kind.MCP_TOOL_POISONING: ("user", "tool"),
        Kind.PRIVILEGE_PERMISSIONS_CHANGED: ("user", "resource", "from", "to"),
        Kind.SENSITIVE_CREATE: ("user", "resource"),
        Kind.SENSITIVE_READ: ("user", "resource"),
        Kind.SENSITIVE_UPDATE: ("user", "resource"),
        Kind.SENSITIVE_DELETE: ("user", "resource"),
        Kind.SEQUENCE_FAIL: ("user",),
        Kind.SESSION_CREATED: ("user",),
        Kind.SESSION_RENEWED: ("user",),
        Kind.SESSION_EXPIRED: ("user", "reason"),
        Kind.SESSION_LOGOUT: ("user",),
        Kind.SESSION_USE_AFTER_EXPIRE: ("user",),
        Kind.SYS_STARTUP: ("user",),
        Kind.SYS_SHUTDOWN: ("user",),
        Kind.SYS_RESTART: ("user",),
        Kind.SYS_CRASH: ("reason",),
        Kind.SYS_MONITOR_DISABLED: ("user", "monitor"),
        Kind.SYS_MONITOR_ENABLED: ("user", "monitor"),
        Kind.USER_CREATED: ("user", "new_user", "attributes"),
        Kind.USER_UPDATED: ("user", "on_user", "attributes"),
        Kind.USER_ARCHIVED: ("user", "on_user"),
        Kind.USER_DELETED: ("user", "on_user"),
    }
)


def read_kind(text: str) -> tuple[Kind | None, tuple[str, ...]]:
    """Read a kind as people write it, tolerantly; return it and its arguments.

    Any case is taken (LV-1), ``permissions_changed`` is an alias (LV-2), and ``name:arg,arg``
    yields the arguments (LV-4).  An unknown name gives ``None``.

    >>> read_kind("AUTHN_login_fail:joebob1")
    (<Kind.AUTHN_LOGIN_FAIL: 'authn_login_fail'>, ('joebob1',))
    >>> read_kind("nonsense")
    (None, ())
    """
    name, colon, rest = text.strip().partition(":")
    name = name.strip().lower()
    kind = _ALIASES.get(name)
    if kind is None:
        try:
            kind = Kind(name)
        except ValueError:
            return None, ()
    return kind, tuple(arg.strip() for arg in rest.split(",")) if colon and rest else ()
