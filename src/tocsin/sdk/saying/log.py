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

    # AUTHN

    def authn_login_success(
        self,
        *,
        user: str | None = None,
        reason: str | None = None,
        attributes: Attributes | None = None,
        **more: Unpack[SaidByClient],
    ) -> None:
        """Somebody logged in."""
        self._say(Kind.AUTHN_LOGIN_SUCCESS, {"user": user, "reason": reason, **more}, attributes)

    def authn_login_successafterfail(
        self,
        *,
        user: str | None = None,
        retries: int | None = None,
        reason: str | None = None,
        attributes: Attributes | None = None,
        **more: Unpack[SaidByClient],
    ) -> None:
        """Somebody logged in after *retries* that failed."""
        self._say(
            Kind.AUTHN_LOGIN_SUCCESSAFTERFAIL,
            {"user": user, "retries": retries, "reason": reason, **more},
            attributes,
        )

    def authn_login_fail(
        self,
        *,
        user: str | None = None,
        new_secret: bool | None = None,
        reason: str | None = None,
        attributes: Attributes | None = None,
        **more: Unpack[SaidByClient],
    ) -> None:
        """A login was refused.  *new_secret*: the secret was not the one tried just before."""
        self._say(
            Kind.AUTHN_LOGIN_FAIL,
            {"user": user, "new_secret": new_secret, "reason": reason, **more},
            attributes,
        )

    def authn_login_fail_max(
        self,
        *,
        user: str | None = None,
        max_limit: int | None = None,
        new_secret: bool | None = None,
        reason: str | None = None,
        attributes: Attributes | None = None,
        **more: Unpack[SaidByClient],
    ) -> None:
        """A login was refused, and *max_limit* tries are used up."""
        self._say(
            Kind.AUTHN_LOGIN_FAIL_MAX,
            {
                "user": user,
                "max_limit": max_limit,
                "new_secret": new_secret,
                "reason": reason,
                **more,
            },
            attributes,
        )

    def authn_login_lock(
        self,
        *,
        user: str | None = None,
        reason: str | None = None,
        attributes: Attributes | None = None,
        **more: Unpack[SaidByClient],
    ) -> None:
        """An account was locked: *reason* is ``maxretries``, ``suspicious`` ..."""
        self._say(Kind.AUTHN_LOGIN_LOCK, {"user": user, "reason": reason, **more}, attributes)

    def authn_password_change(
        self,
        *,
        user: str | None = None,
        reason: str | None = None,
        attributes: Attributes | None = None,
        **more: Unpack[SaidByClient],
    ) -> None:
        """A password was changed."""
        self._say(Kind.AUTHN_PASSWORD_CHANGE, {"user": user, "reason": reason, **more}, attributes)

    def authn_password_change_fail(
        self,
        *,
        user: str | None = None,
        reason: str | None = None,
        attributes: Attributes | None = None,
        **more: Unpack[SaidByClient],
    ) -> None:
        """A change of password was refused."""
        self._say(
            Kind.AUTHN_PASSWORD_CHANGE_FAIL, {"user": user, "reason": reason, **more}, attributes
        )

    def authn_impossible_travel(
        self,
        *,
        user: str | None = None,
        region_from: str | None = None,
        region_to: str | None = None,
        reason: str | None = None,
        attributes: Attributes | None = None,
        **more: Unpack[SaidByClient],
    ) -> None:
        """Somebody acts from two regions that are too far apart."""
        self._say(
            Kind.AUTHN_IMPOSSIBLE_TRAVEL,
            {
                "user": user,
                "region_from": region_from,
                "region_to": region_to,
                "reason": reason,
                **more,
            },
            attributes,
        )

    def authn_token_created(
        self,
        *,
        user: str | None = None,
        entitlements: Words | None = None,
        reason: str | None = None,
        attributes: Attributes | None = None,
        **more: Unpack[SaidByClient],
    ) -> None:
        """A token was issued, good for *entitlements*."""
        self._say(
            Kind.AUTHN_TOKEN_CREATED,
            {"user": user, "entitlements": entitlements, "reason": reason, **more},
            attributes,
        )

    def authn_token_revoked(
        self,
        *,
        user: str | None = None,
        token_id: str | None = None,
        reason: str | None = None,
        attributes: Attributes | None = None,
        **more: Unpack[SaidByClient],
    ) -> None:
        """A token was taken back; *token_id* names it, and is not the token."""
        self._say(
            Kind.AUTHN_TOKEN_REVOKED,
            {"user": user, "token_id": token_id, "reason": reason, **more},
            attributes,
        )

    def authn_token_reuse(
        self,
        *,
        user: str | None = None,
        token_id: str | None = None,
        reason: str | None = None,
        attributes: Attributes | None = None,
        **more: Unpack[SaidByClient],
    ) -> None:
        """A token that had been taken back was presented again."""
        self._say(
            Kind.AUTHN_TOKEN_REUSE,
            {"user": user, "token_id": token_id, "reason": reason, **more},
            attributes,
        )

    def authn_token_delete(
        self,
        *,
        user: str | None = None,
        reason: str | None = None,
        attributes: Attributes | None = None,
        **more: Unpack[SaidByClient],
    ) -> None:
        """A token was deleted."""
        self._say(Kind.AUTHN_TOKEN_DELETE, {"user": user, "reason": reason, **more}, attributes)

    # AUTHZ

    def authz_fail(
        self,
        *,
        user: str | None = None,
        resource: str | None = None,
        reason: str | None = None,
        attributes: Attributes | None = None,
        **more: Unpack[SaidByClient],
    ) -> None:
        """Access was denied: *resource*, as ``order:42``, is not for this user."""
        self._say(
            Kind.AUTHZ_FAIL,
            {"user": user, "resource": resource, "reason": reason, **more},
            attributes,
        )

    def authz_change(
        self,
        *,
        user: str | None = None,
        from_: Words | None = None,
        to: Words | None = None,
        reason: str | None = None,
        attributes: Attributes | None = None,
        **more: Unpack[SaidByClient],
    ) -> None:
        """The entitlements of a user were changed."""
        self._say(
            Kind.AUTHZ_CHANGE,
            {"user": user, "from": from_, "to": to, "reason": reason, **more},
            attributes,
        )

    def authz_admin(
        self,
        *,
        user: str | None = None,
        event: str | None = None,
        reason: str | None = None,
        attributes: Attributes | None = None,
        **more: Unpack[SaidByClient],
    ) -> None:
        """Somebody did what only an administrator may: *event* says what."""
        self._say(
            Kind.AUTHZ_ADMIN, {"user": user, "event": event, "reason": reason, **more}, attributes
        )

    # CRYPT

    def crypt_decrypt_fail(
        self,
        *,
        user: str | None = None,
        reason: str | None = None,
        attributes: Attributes | None = None,
        **more: Unpack[SaidByClient],
    ) -> None:
        """Something could not be decrypted."""
        self._say(Kind.CRYPT_DECRYPT_FAIL, {"user": user, "reason": reason, **more}, attributes)

    def crypt_encrypt_fail(
        self,
        *,
        user: str | None = None,
        reason: str | None = None,
        attributes: Attributes | None = None,
        **more: Unpack[SaidByClient],
    ) -> None:
        """Something could not be encrypted."""
        self._say(Kind.CRYPT_ENCRYPT_FAIL, {"user": user, "reason": reason, **more}, attributes)

    # EXCESS

    def excess_rate_limit_exceeded(
        self,
        *,
        user: str | None = None,
        max: int | None = None,  # noqa: A002  the vocabulary's word
        reason: str | None = None,
        attributes: Attributes | None = None,
        **more: Unpack[SaidByClient],
    ) -> None:
        """A caller was slowed or refused beyond *max* requests."""
        self._say(
            Kind.EXCESS_RATE_LIMIT_EXCEEDED,
            {"user": user, "max": max, "reason": reason, **more},
            attributes,
        )

    def excess_sessions_exceeded(
        self,
        *,
        user: str | None = None,
        max: int | None = None,  # noqa: A002  the vocabulary's word
        reason: str | None = None,
        attributes: Attributes | None = None,
        **more: Unpack[SaidByClient],
    ) -> None:
        """Somebody wanted more than *max* sessions at a time."""
        self._say(
            Kind.EXCESS_SESSIONS_EXCEEDED,
            {"user": user, "max": max, "reason": reason, **more},
            attributes,
        )

    # UPLOAD

    def upload_complete(
        self,
        *,
        user: str | None = None,
        filename: str | None = None,
        type: str | None = None,  # noqa: A002  the vocabulary's word
        reason: str | None = None,
        attributes: Attributes | None = None,
        **more: Unpack[SaidByClient],
    ) -> None:
        """A file has arrived; *type* is its media type."""
        self._say(
            Kind.UPLOAD_COMPLETE,
            {"user": user, "filename": filename, "type": type, "reason": reason, **more},
            attributes,
        )

    def upload_stored(
        self,
        *,
        filename: str | None = None,
        from_: Words | None = None,
        to: Words | None = None,
        user: str | None = None,
        reason: str | None = None,
        attributes: Attributes | None = None,
        **more: Unpack[SaidByClient],
    ) -> None:
        """A file was moved or renamed on its way into the store."""
        self._say(
            Kind.UPLOAD_STORED,
            {"filename": filename, "from": from_, "to": to, "user": user, "reason": reason, **more},
            attributes,
        )

    def upload_validation(
        self,
        *,
        filename: str | None = None,
        check: str | None = None,
        result: Literal["passed", "failed", "incomplete"] | None = None,
        user: str | None = None,
        reason: str | None = None,
        attributes: Attributes | None = None,
        **more: Unpack[SaidByClient],
    ) -> None:
        """An uploaded file was examined: *check* says by what."""
        self._say(
            Kind.UPLOAD_VALIDATION,
            {
                "filename": filename,
                "check": check,
                "result": result,
                "user": user,
                "reason": reason,
                **more,
            },
            attributes,
        )

    def upload_delete(
        self,
        *,
        user: str | None = None,
        file_id: str | None = None,
        reason: str | None = None,
        attributes: Attributes | None = None,
        **more: Unpack[SaidByClient],
    ) -> None:
        """An uploaded file was deleted."""
        self._say(
            Kind.UPLOAD_DELETE,
            {"user": user, "file_id": file_id, "reason": reason, **more},
            attributes,
        )

    # INPUT

    def input_validation_fail(
        self,
        *,
        field: Words | None = None,
        user: str | None = None,
        reason: str | None = None,
        attributes: Attributes | None = None,
        **more: Unpack[SaidByClient],
    ) -> None:
        """Input was refused; name the *field*, never its value."""
        self._say(
            Kind.INPUT_VALIDATION_FAIL,
            {"field": field, "user": user, "reason": reason, **more},
            attributes,
        )

    def input_validation_discrete_fail(
        self,
        *,
        field: Words | None = None,
        user: str | None = None,
        reason: str | None = None,
        attributes: Attributes | None = None,
        **more: Unpack[SaidByClient],
    ) -> None:
        """Input was refused that a person could not have chosen: none of the values on offer."""
        self._say(
            Kind.INPUT_VALIDATION_DISCRETE_FAIL,
            {"field": field, "user": user, "reason": reason, **more},
            attributes,
        )

    # MALICIOUS

    def malicious_excess_404(
        self,
        *,
        user: str | None = None,
        user_agent: str | None = None,
        reason: str | None = None,
        referer: str | None = None,
        attributes: Attributes | None = None,
        **more: Unpack[Said],
    ) -> None:
        """A caller asks for far too much that does not exist."""
        self._say(
            Kind.MALICIOUS_EXCESS_404,
            {"user": user, "user_agent": user_agent, "reason": reason, "referer": referer, **more},
            attributes,
        )

    def malicious_extraneous(
        self,
        *,
        user: str | None = None,
        input_name: str | None = None,
        user_agent: str | None = None,
        reason: str | None = None,
        referer: str | None = None,
        attributes: Attributes | None = None,
        **more: Unpack[Said],
    ) -> None:
        """A request brought an input that nobody asked for: *input_name*."""
        self._say(
            Kind.MALICIOUS_EXTRANEOUS,
            {
                "user": user,
                "input_name": input_name,
                "user_agent": user_agent,
                "reason": reason,
                "referer": referer,
                **more,
            },
            attributes,
        )

    def malicious_attack_tool(
        self,
        *,
        user: str | None = None,
        tool: str | None = None,
        user_agent: str | None = None,
        reason: str | None = None,
        referer: str | None = None,
        attributes: Attributes | None = None,
        **more: Unpack[Said],
    ) -> None:
        """A request shows the marks of an attack *tool*."""
        self._say(
            Kind.MALICIOUS_ATTACK_TOOL,
            {
                "user": user,
                "tool": tool,
                "user_agent": user_agent,
                "reason": reason,
                "referer": referer,
                **more,
            },
            attributes,
        )

    def malicious_sqli(
        self,
        *,
        user: str | None = None,
        input_name: str | None = None,
        user_agent: str | None = None,
        reason: str | None = None,
        referer: str | None = None,
        attributes: Attributes | None = None,
        **more: Unpack[Said],
    ) -> None:
        """An input looks like SQL injection; name it, do not quote it."""
        self._say(
            Kind.MALICIOUS_SQLI,
            {
                "user": user,
                "input_name": input_name,
                "user_agent": user_agent,
                "reason": reason,
                "referer": referer,
                **more,
            },
            attributes,
        )

    def malicious_cors(
        self,
        *,
        user: str | None = None,
        user_agent: str | None = None,
        referer: str | None = None,
        reason: str | None = None,
        attributes: Attributes | None = None,
        **more: Unpack[Said],
    ) -> None:
        """A request came from an origin that may not make it."""
        self._say(
            Kind.MALICIOUS_CORS,
            {"user": user, "user_agent": user_agent, "referer": referer, "reason": reason, **more},
            attributes,
        )

    def malicious_direct_reference(
        self,
        *,
        user: str | None = None,
        user_agent: str | None = None,
        reason: str | None = None,
        referer: str | None = None,
        attributes: Attributes | None = None,
        **more: Unpack[Said],
    ) -> None:
        """Somebody tries ids of objects that were never theirs."""
        self._say(
            Kind.MALICIOUS_DIRECT_REFERENCE,
            {"user": user, "user_agent": user_agent, "reason": reason, "referer": referer, **more},
            attributes,
        )

    def malicious_csrf(
        self,
        *,
        user: str | None = None,
        user_agent: str | None = None,
        referer: str | None = None,
        reason: str | None = None,
        attributes: Attributes | None = None,
        **more: Unpack[Said],
    ) -> None:
        """A request lacked the token that shows it was meant, or had a wrong one."""
        self._say(
            Kind.MALICIOUS_CSRF,
            {"user": user, "user_agent": user_agent, "referer": referer, "reason": reason, **more},
            attributes,
        )

    def malicious_csp_violation(
        self,
        *,
        user: str | None = None,
        user_agent: str | None = None,
        directive: str | None = None,
        reason: str | None = None,
        referer: str | None = None,
        attributes: Attributes | None = None,
        **more: Unpack[Said],
    ) -> None:
        """A browser reported that content broke the policy *directive*."""
        self._say(
            Kind.MALICIOUS_CSP_VIOLATION,
            {
                "user": user,
                "user_agent": user_agent,
                "directive": directive,
                "reason": reason,
                "referer": referer,
                **more,
            },
            attributes,
        )

    # MCP

    def mcp_prompt_injection(
        self,
        *,
        user: str | None = None,
        tool: str | None = None,
        reason: str | None = None,
        attributes: Attributes | None = None,
        **more: Unpack[SaidByClient],
    ) -> None:
        """Instructions were found in what a *tool* was given or gave back."""
        self._say(
            Kind.MCP_PROMPT_INJECTION,
            {"user": user, "tool": tool, "reason": reason, **more},
            attributes,
        )

    def mcp_resource_exhaustion(
        self,
        *,
        user: str | None = None,
        resource: str | None = None,
        reason: str | None = None,
        attributes: Attributes | None = None,
        **more: Unpack[SaidByClient],
    ) -> None:
        """An agent uses too much of a *resource*: calls, tokens, time."""
        self._say(
            Kind.MCP_RESOURCE_EXHAUSTION,
            {"user": user, "resource": resource, "reason": reason, **more},
            attributes,
        )

    def mcp_tool_poisoning(
        self,
        *,
        user: str | None = None,
        tool: str | None = None,
        reason: str | None = None,
        attributes: Attributes | None = None,
        **more: Unpack[SaidByClient],
    ) -> None:
        """The description or the code of a *tool* is not what it was."""
        self._say(
            Kind.MCP_TOOL_POISONING,
            {"user": user, "tool": tool, "reason": reason, **more},
            attributes,
        )

    # PRIVILEGE

    def privilege_permissions_changed(
        self,
        *,
        user: str | None = None,
        resource: str | None = None,
        from_: Words | None = None,
        to: Words | None = None,
        reason: str | None = None,
        attributes: Attributes | None = None,
        **more: Unpack[SaidByClient],
    ) -> None:
        """The permissions of a *resource* were changed."""
        self._say(
            Kind.PRIVILEGE_PERMISSIONS_CHANGED,
            {"user": user, "resource": resource, "from": from_, "to": to, "reason": reason, **more},
            attributes,
        )

    # DATA

    def sensitive_create(
        self,
        *,
        user: str | None = None,
        resource: str | None = None,
        reason: str | None = None,
        attributes: Attributes | None = None,
        **more: Unpack[SaidByClient],
    ) -> None:
        """Sensitive data was created."""
        self._say(
            Kind.SENSITIVE_CREATE,
            {"user": user, "resource": resource, "reason": reason, **more},
            attributes,
        )

    def sensitive_read(
        self,
        *,
        user: str | None = None,
        resource: str | None = None,
        reason: str | None = None,
        attributes: Attributes | None = None,
        **more: Unpack[SaidByClient],
    ) -> None:
        """Sensitive data was read; *records_out* says how many records."""
        self._say(
            Kind.SENSITIVE_READ,
            {"user": user, "resource": resource, "reason": reason, **more},
            attributes,
        )

    def sensitive_update(
        self,
        *,
        user: str | None = None,
        resource: str | None = None,
        reason: str | None = None,
        attributes: Attributes | None = None,
        **more: Unpack[SaidByClient],
    ) -> None:
        """Sensitive data was changed."""
        self._say(
            Kind.SENSITIVE_UPDATE,
            {"user": user, "resource": resource, "reason": reason, **more},
            attributes,
        )

    def sensitive_delete(
        self,
        *,
        user: str | None = None,
        resource: str | None = None,
        reason: str | None = None,
        attributes: Attributes | None = None,
        **more: Unpack[SaidByClient],
    ) -> None:
        """Sensitive data was deleted."""
        self._say(
            Kind.SENSITIVE_DELETE,
            {"user": user, "resource": resource, "reason": reason, **more},
            attributes,
        )

    # SEQUENCE

    def sequence_fail(
        self,
        *,
        user: str | None = None,
        reason: str | None = None,
        attributes: Attributes | None = None,
        **more: Unpack[SaidByClient],
    ) -> None:
        """A step was taken out of its order, such as payment before checkout."""
        self._say(Kind.SEQUENCE_FAIL, {"user": user, "reason": reason, **more}, attributes)

    # SESSION

    def session_created(
        self,
        *,
        user: str | None = None,
        reason: str | None = None,
        attributes: Attributes | None = None,
        **more: Unpack[SaidByClient],
    ) -> None:
        """A session began."""
        self._say(Kind.SESSION_CREATED, {"user": user, "reason": reason, **more}, attributes)

    def session_renewed(
        self,
        *,
        user: str | None = None,
        reason: str | None = None,
        attributes: Attributes | None = None,
        **more: Unpack[SaidByClient],
    ) -> None:
        """A session was prolonged."""
        self._say(Kind.SESSION_RENEWED, {"user": user, "reason": reason, **more}, attributes)

    def session_expired(
        self,
        *,
        user: str | None = None,
        reason: str | None = None,
        attributes: Attributes | None = None,
        **more: Unpack[SaidByClient],
    ) -> None:
        """A session ended by itself: *reason* is ``logout``, ``timeout`` ..."""
        self._say(Kind.SESSION_EXPIRED, {"user": user, "reason": reason, **more}, attributes)

    def session_logout(
        self,
        *,
        user: str | None = None,
        reason: str | None = None,
        attributes: Attributes | None = None,
        **more: Unpack[SaidByClient],
    ) -> None:
        """Somebody logged out."""
        self._say(Kind.SESSION_LOGOUT, {"user": user, "reason": reason, **more}, attributes)

    def session_use_after_expire(
        self,
        *,
        user: str | None = None,
        reason: str | None = None,
        attributes: Attributes | None = None,
        **more: Unpack[SaidByClient],
    ) -> None:
        """A session was used that had ended."""
        self._say(
            Kind.SESSION_USE_AFTER_EXPIRE, {"user": user, "reason": reason, **more}, attributes
        )

    # SYS

    def sys_startup(
        self,
        *,
        user: str | None = None,
        reason: str | None = None,
        attributes: Attributes | None = None,
        **more: Unpack[SaidByClient],
    ) -> None:
        """The system was started."""
        self._say(Kind.SYS_STARTUP, {"user": user, "reason": reason, **more}, attributes)

    def sys_shutdown(
        self,
        *,
        user: str | None = None,
        reason: str | None = None,
        attributes: Attributes | None = None,
        **more: Unpack[SaidByClient],
    ) -> None:
        """The system was stopped."""
        self._say(Kind.SYS_SHUTDOWN, {"user": user, "reason": reason, **more}, attributes)

    def sys_restart(
        self,
        *,
        user: str | None = None,
        reason: str | None = None,
        attributes: Attributes | None = None,
        **more: Unpack[SaidByClient],
    ) -> None:
        """The system was stopped and started again."""
        self._say(Kind.SYS_RESTART, {"user": user, "reason": reason, **more}, attributes)

    def sys_crash(
        self,
        *,
        reason: str | None = None,
        user: str | None = None,
        attributes: Attributes | None = None,
        **more: Unpack[SaidByClient],
    ) -> None:
        """The system stopped by itself; give the ``error`` if there is one."""
        self._say(Kind.SYS_CRASH, {"reason": reason, "user": user, **more}, attributes)

    def sys_monitor_disabled(
        self,
        *,
        user: str | None = None,
        monitor: str | None = None,
        reason: str | None = None,
        attributes: Attributes | None = None,
        **more: Unpack[SaidByClient],
    ) -> None:
        """Somebody switched a *monitor* off."""
        self._say(
            Kind.SYS_MONITOR_DISABLED,
            {"user": user, "monitor": monitor, "reason": reason, **more},
            attributes,
        )

    def sys_monitor_enabled(
        self,
        *,
        user: str | None = None,
        monitor: str | None = None,
        reason: str | None = None,
        attributes: Attributes | None = None,
        **more: Unpack[SaidByClient],
    ) -> None:
        """Somebody switched a *monitor* on."""
        self._say(
            Kind.SYS_MONITOR_ENABLED,
            {"user": user, "monitor": monitor, "reason": reason, **more},
            attributes,
        )

    # USER

    def user_created(
        self,
        *,
        user: str | None = None,
        new_user: str | None = None,
        reason: str | None = None,
        attributes: Attributes | None = None,
        **more: Unpack[SaidByClient],
    ) -> None:
        """A user was created, with *attributes*."""
        self._say(
            Kind.USER_CREATED,
            {"user": user, "new_user": new_user, "reason": reason, **more},
            attributes,
        )

    def user_updated(
        self,
        *,
        user: str | None = None,
        on_user: str | None = None,
        reason: str | None = None,
        attributes: Attributes | None = None,
        **more: Unpack[SaidByClient],
    ) -> None:
        """A user was changed; *attributes* are those that were."""
        self._say(
            Kind.USER_UPDATED,
            {"user": user, "on_user": on_user, "reason": reason, **more},
            attributes,
        )

    def user_archived(
        self,
        *,
        user: str | None = None,
        on_user: str | None = None,
        reason: str | None = None,
        attributes: Attributes | None = None,
        **more: Unpack[SaidByClient],
    ) -> None:
        """A user was put away, and may come back."""
        self._say(
            Kind.USER_ARCHIVED,
            {"user": user, "on_user": on_user, "reason": reason, **more},
            attributes,
        )

    def user_deleted(
        self,
        *,
        user: str | None = None,
        on_user: str | None = None,
        reason: str | None = None,
        attributes: Attributes | None = None,
        **more: Unpack[SaidByClient],
    ) -> None:
        """A user was deleted."""
        self._say(
            Kind.USER_DELETED,
            {"user": user, "on_user": on_user, "reason": reason, **more},
            attributes,
        )


#: What applications call.
log = Log()
