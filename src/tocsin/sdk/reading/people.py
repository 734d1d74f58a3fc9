"""Who is behind a request, as far as the application has shown that it believes it.

A token names somebody; that is a claim.  It becomes a fact when the application itself gave this
token to that account, or when it accepts it where it refuses others.
"""

from __future__ import annotations

from typing import NamedTuple

from tocsin.sdk.reading.logins import Login
from tocsin.sdk.reading.tokens import Credentials, Hasher, Recent
from tocsin.sdk.reading.verdicts import Verdict

__all__ = ["NOBODY", "People", "Person"]

#: Tokens that are remembered with whom they were given to, and routes with whom they let in.
MOST_TOKENS = 10_000
MOST_ROUTES = 1_000

_REFUSALS = frozenset(
    {"forbidden", "bad_token", "expired_token", "bad_credentials", "no_credentials", "locked"}
)


class Person(NamedTuple):
    """A principal that the application has accepted, by all names that are known."""

    name: str | None = None
    names: tuple[str, ...] = ()
    role: str | None = None
    tenant: str | None = None


NOBODY = Person()


class People:
    """Knows to whom the application gave which token, and where it asks for one."""

    def __init__(self, hasher: Hasher) -> None:
        self._hasher = hasher
        self._issued: Recent = Recent(MOST_TOKENS)  # hash of a token: Person
        self._doors: Recent = Recent(MOST_ROUTES)  # method and route: [let in unasked, refused]

    def issued(self, login: Login) -> None:
        """The application gave these tokens to that account."""
        if login.account is None:
            return
        person = Person(login.account, tuple(dict.fromkeys((login.account, *login.names))))
        for token in login.tokens:
            self._issued.put(self._hasher.secret(token), person)

    def accepted(self, door: str | None, brought: Credentials, verdict: Verdict) -> Person:
        """Whom the application accepted with these credentials at *door*; then learn from it.

        None is a door that the application does not know: whatever is refused there teaches
        nothing, or made-up paths could push out what is known.
        """
        person = self._accepted(door, brought, verdict)
        if door is not None:
            self._learn(door, brought, verdict)
        return person

    def guards(self, door: str | None) -> bool:
        """Whether somebody was refused here, and nobody ever let in without credentials."""
        if door is None:
            return False
        let_in, refused = self._doors.get(door, (0, 0))
        return bool(refused and not let_in)

    def _accepted(self, door: str | None, brought: Credentials, verdict: Verdict) -> Person:
        if brought.secret is None:
            return NOBODY
        known: Person | None = self._issued.get(self._hasher.secret(brought.secret))
        claims = brought.claims
        if known is not None:
            if claims is None:
                return known
            return Person(known.name, (*known.names, *claims.names), claims.role, claims.tenant)
        if verdict.outcome != "success" or not self.guards(door):
            return NOBODY
        if claims is not None and claims.subject:
            return Person(claims.subject, claims.names, claims.role, claims.tenant)
        return Person(brought.name, (brought.name,)) if brought.name else NOBODY

    def _learn(self, door: str, brought: Credentials, verdict: Verdict) -> None:
        let_in, refused = self._doors.get(door, (0, 0))
        if verdict.outcome == "failure" and verdict.reason in _REFUSALS:
            refused += 1
        elif verdict.outcome == "success" and brought.secret is None:
            let_in += 1
        else:
            return
        self._doors.put(door, (let_in, refused))
