"""Who is behind a request, as far as the application has shown that it believes it.

A token names somebody; that is a claim.  It becomes a fact when the application itself gave this
token to that account, or when it accepts it where it refuses others, and nothing else was brought
that may have opened the door.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from tocsin.sdk.reading.logins import Login
from tocsin.sdk.reading.tokens import Credentials, Hasher, Recent, is_alone
from tocsin.sdk.reading.verdicts import Verdict

__all__ = ["NOBODY", "People", "Person"]

#: Tokens that are remembered with whom they were given to, and routes with whom they let in.
MOST_TOKENS = 10_000
MOST_ROUTES = 1_000
#: Who brings nothing is refused so often in a row at a door that once let anybody in, and does no
#: more.  Fewer would not do: behind one door may be what is public and what is not.
SHUT_AFTER = 50

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


#: How many refusals it takes until a door counts as shut that let somebody in who brought nothing,
#: and how often somebody was refused.
_Door = tuple[int, int]
_UNTRIED: _Door = (0, 0)


class People:
    """Knows to whom the application gave which token, and where it asks for one."""

    def __init__(self, hasher: Hasher) -> None:
        self._hasher = hasher
        self._issued: Recent = Recent(MOST_TOKENS)  # hash of a token: Person
        self._doors: Recent = Recent(MOST_ROUTES)  # method and route: _Door

    def issued(self, login: Login) -> None:
        """The application gave these tokens to that account."""
        if login.account is None:
            return
        person = Person(login.account, tuple(dict.fromkeys((login.account, *login.names))))
        for token in login.tokens:
            self._issued.put(self._hasher.secret(token), person)

    def known(self, brought: Credentials) -> Person:
        """Whom the application gave one of these credentials to; the strongest that it gave."""
        if not self._issued:
            return NOBODY
        for secret in (brought.secret, *brought.others):
            if secret is None:
                continue
            known: Person | None = self._issued.get(self._hasher.secret(secret))
            if known is not None:
                return _with_claims(known, brought) if secret is brought.secret else known
        return NOBODY

    def accepted(
        self, door: str | None, brought: Credentials, verdict: Verdict, asked: Any = None
    ) -> Person:
        """Whom the application accepted with these credentials at *door*; then learn from it.

        None is a door that the application does not know: whatever is refused there teaches
        nothing, or made-up paths could push out what is known.  *asked* is the request's body.
        """
        before = _UNTRIED if door is None else self._doors.get(door, _UNTRIED)
        person = NOBODY
        if brought.secret is not None:
            person = self._accepted(before, brought, verdict, asked)
        if door is not None:
            self._learn(door, before, brought, verdict, asked)
        return person

    def guards(self, door: str | None) -> bool:
        """Whether somebody was refused here, and nobody let in who brought nothing."""
        let_in, refused = self._doors.get(door, _UNTRIED)
        return bool(refused and not let_in)

    def _accepted(self, door: _Door, brought: Credentials, verdict: Verdict, asked: Any) -> Person:
        known = self.known(brought)
        if known is not NOBODY:
            return known
        let_in, refused = door
        if not refused or let_in or verdict.outcome != "success" or not is_alone(brought, asked):
            return NOBODY
        claims = brought.claims
        if claims is not None and claims.subject:
            return Person(claims.subject, claims.names, claims.role, claims.tenant)
        return Person(brought.name, (brought.name,)) if brought.name else NOBODY

    def _learn(
        self, door: str, before: _Door, brought: Credentials, verdict: Verdict, asked: Any
    ) -> None:
        let_in, refused = before
        brought_nothing = brought.secret is None and is_alone(brought, asked)
        if verdict.outcome == "failure" and verdict.reason in _REFUSALS and verdict.own:
            refused += 1
            let_in -= bool(let_in and brought_nothing)
        elif brought_nothing and verdict.outcome == "success":
            let_in = SHUT_AFTER
        else:
            return
        self._doors.put(door, (let_in, refused))


def _with_claims(known: Person, brought: Credentials) -> Person:
    """*known*, by what the token says of it as well."""
    claims = brought.claims
    if claims is None:
        return known
    return Person(known.name, (*known.names, *claims.names), claims.role, claims.tenant)
