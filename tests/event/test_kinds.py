"""What can happen: the names, groups and levels, held to a list that is written out here."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin.event.kinds import ARGUMENTS, GROUPS, LEVELS, OWN, VOCABULARY, Kind, Level, read_kind

#: The OWASP Logging Vocabulary: group, name, default level.
WANTED = [
    (group, *word.split("="))
    for group, words in {
        "AUTHN": """authn_login_success=info authn_login_successafterfail=info authn_login_fail=warn
            authn_login_fail_max=warn authn_login_lock=warn authn_password_change=info
            authn_password_change_fail=critical authn_impossible_travel=critical
            authn_token_created=info authn_token_revoked=info authn_token_reuse=critical
            authn_token_delete=warn""",
        "AUTHZ": "authz_fail=critical authz_change=warn authz_admin=warn",
        "CRYPT": "crypt_decrypt_fail=warn crypt_encrypt_fail=warn",
        "EXCESS": "excess_rate_limit_exceeded=warn excess_sessions_exceeded=warn",
        "UPLOAD": """upload_complete=info upload_stored=info upload_validation=info
            upload_delete=info""",
        "INPUT": "input_validation_fail=warn input_validation_discrete_fail=warn",
        "MALICIOUS": """malicious_excess_404=warn malicious_extraneous=critical
            malicious_attack_tool=critical malicious_sqli=critical malicious_cors=critical
            malicious_direct_reference=critical malicious_csrf=warn malicious_csp_violation=warn""",
        "MCP": "mcp_prompt_injection=warn mcp_resource_exhaustion=warn mcp_tool_poisoning=warn",
        "PRIVILEGE": "privilege_permissions_changed=warn",
        "DATA": """sensitive_create=warn sensitive_read=warn sensitive_update=warn
            sensitive_delete=warn""",
        "SEQUENCE": "sequence_fail=critical",
        "SESSION": """session_created=info session_renewed=info session_expired=info
            session_logout=info session_use_after_expire=critical""",
        "SYS": """sys_startup=warn sys_shutdown=warn sys_restart=warn sys_crash=warn
            sys_monitor_disabled=warn sys_monitor_enabled=warn""",
        "USER": "user_created=warn user_updated=warn user_archived=warn user_deleted=warn",
    }.items()
    for word in words.split()
]


def test_the_57_names_are_there_in_their_order_and_no_other() -> None:
    assert len(WANTED) == 57
    assert [str(kind) for kind in VOCABULARY] == [name for _, name, _ in WANTED]


def test_our_own_names_are_three_and_in_no_group() -> None:
    assert {str(kind) for kind in OWN} == {"request", "query", "log"}
    assert set(Kind) == {*VOCABULARY, *OWN}
    assert not OWN & set(GROUPS)
    assert {LEVELS[kind] for kind in OWN} == {Level.INFO}


@pytest.mark.parametrize(("group", "name", "level"), WANTED)
def test_each_name_has_its_group_and_its_default_level(group: str, name: str, level: str) -> None:
    assert GROUPS[Kind(name)] == group
    assert LEVELS[Kind(name)] == level


@pytest.mark.parametrize("kind", list(Kind))
def test_any_case_is_read_and_lower_case_is_what_comes_out(kind: Kind) -> None:  # LV-1
    for written in (str(kind), kind.upper(), kind.title(), f"  {kind}\t"):
        assert read_kind(written) == (kind, ())
    assert str(kind) == str(kind).lower()


@pytest.mark.parametrize("written", ["permissions_changed", "PERMISSIONS_CHANGED:bob,orders,r,rw"])
def test_the_short_name_of_a_privilege_change_is_understood(written: str) -> None:  # LV-2
    assert read_kind(written)[0] is Kind.PRIVILEGE_PERMISSIONS_CHANGED


def test_what_follows_the_colon_are_arguments() -> None:  # LV-4
    assert read_kind("AUTHN_login_fail:joebob1") == (Kind.AUTHN_LOGIN_FAIL, ("joebob1",))
    assert read_kind("authz_change: joe , user,admin") == (
        Kind.AUTHZ_CHANGE,
        ("joe", "user", "admin"),
    )
    assert read_kind("authz_change:joe,,admin") == (Kind.AUTHZ_CHANGE, ("joe", "", "admin"))
    assert read_kind("sys_startup:") == (Kind.SYS_STARTUP, ())
    # A colon within an argument belongs to it.
    assert read_kind("malicious_cors:bob,Mozilla,http://a.example:8080") == (
        Kind.MALICIOUS_CORS,
        ("bob", "Mozilla", "http://a.example:8080"),
    )


def test_each_name_of_the_vocabulary_says_what_its_arguments_are() -> None:
    assert list(ARGUMENTS) == list(VOCABULARY)
    assert all(names and len(set(names)) == len(names) for names in ARGUMENTS.values())
    # Whoever did it is always the same column, so that one search finds all of it.
    nobody = {kind for kind, names in ARGUMENTS.items() if "user" not in names}
    assert nobody == {Kind.UPLOAD_STORED, Kind.UPLOAD_VALIDATION, Kind.SYS_CRASH}


@pytest.mark.parametrize(
    "name",
    """malicious_sqli malicious_csrf malicious_csp_violation mcp_prompt_injection
    mcp_resource_exhaustion mcp_tool_poisoning session_logout excess_sessions_exceeded""".split(),
)
def test_the_names_that_came_late_are_there(name: str) -> None:  # LV-6
    kind, arguments = read_kind(f"{name}:bob")
    assert kind is not None
    assert kind in VOCABULARY
    assert arguments == ("bob",)


@pytest.mark.parametrize(
    "written",
    ["", ":", ":bob", "nonsense", "authn", "authn_login", "authn_login_fail_", "authn-login-fail",
     "authn_login_fail,bob", "AUTHN_LOGİN_FAİL", "kind.authn_login_fail"],
)  # fmt: skip
def test_an_unknown_name_is_none_and_its_arguments_are_not_believed(written: str) -> None:
    assert read_kind(written) == (None, ())


@given(st.text())
def test_any_text_is_a_kind_or_none_and_never_a_failure(text: str) -> None:
    kind, arguments = read_kind(text)
    assert (kind is None) <= (arguments == ())
    assert read_kind(f"authn_login_fail:{text}")[0] is Kind.AUTHN_LOGIN_FAIL
