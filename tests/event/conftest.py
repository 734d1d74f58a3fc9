"""Text made of the pieces that secrets, escapes and carriers are made of."""

# One row of a table is one line, whatever its length.
# ruff: noqa: E501

from __future__ import annotations

import pytest
from hypothesis import strategies as st

PIECES = (
    "password passwd secret token api_key Authorization Cookie session pin cvv code key page_token "
    "max_tokens client-secret userPassword access_token --password --token identified|by PASSWORD "
    "bearer Basic eyJhbGciOiJIUzI1NiJ9 eyJzdWIiOiIxMjMifQ.c2ln 4111111111111111 4111|1111|1111|1111 "
    "378282246310005 DE89370400440532013000 GB82|WEST|1234|5698|7654|32 078-05-1120 AB123456C "
    "12345678Z 44051401359 86095742719 ghp_0123456789abcdefghijABCDEFGHIJ012345 AKIAIOSFODNN7EXAMPLE "
    "postgres://bob:hunter2@db/x -----BEGIN|PRIVATE|KEY----- -----END|PRIVATE|KEY----- sk-a1b2c3d4e5f6g7h8i9j0 "
    "/reset-password/8a7b6c5d4e3f2a1b0c9d8e7f hunter2 a1 expired true null *** [redacted:jwt] [redacted: "
    "%3D %22 %20 %41 %2541 \\x3d \\u003d \\\" \\\\ \\n \\/ = : => , ; & | $$ $a$ ' \" '' \"\" [ ] { } ( ) < > # @ . - _ + "
    "Ä é 漢 \x00 \x1b \u202e MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSj is was http:// /a ? 1 22 123456"
).split()  # fmt: skip

pieces = st.one_of(
    st.sampled_from([p.replace("|", " ") for p in PIECES]),
    st.sampled_from([" ", "\n", "\t", "\r\n"]),
    st.text(max_size=4),
)
hostile = st.lists(pieces, max_size=14).map("".join)


@pytest.fixture(name="hostile", scope="session")
def _hostile() -> st.SearchStrategy[str]:
    """Strategy of texts that are nearly, or really, full of secrets."""
    return hostile
