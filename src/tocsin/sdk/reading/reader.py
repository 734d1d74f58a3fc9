"""From what went by to what happened: one request becomes its event, and those that matter apart.

Runs on the SDK's own thread.  Pure but for what it remembers: logins, tokens that were given out,
texts that were cleaned.  Everything that leaves here is redacted.
"""

from __future__ import annotations

import random
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any
from urllib.parse import unquote_plus

from msgspec.structs import replace

from tocsin.event.kinds import Kind
from tocsin.event.model import Event
from tocsin.event.redact import redact_value
from tocsin.sdk.harmless import harmless
from tocsin.sdk.noted import Noted
from tocsin.sdk.options import Options
from tocsin.sdk.quoted import without_values
from tocsin.sdk.reading import bodies, probes, verdicts
from tocsin.sdk.reading.classes import classes
from tocsin.sdk.reading.clean import Cleaner
from tocsin.sdk.reading.graphql import shape_of
from tocsin.sdk.reading.headers import read
from tocsin.sdk.reading.heads import Head, Heads
from tocsin.sdk.reading.logins import Answer, Login, Logins, given
from tocsin.sdk.reading.names import NAMES, named
from tocsin.sdk.reading.objects import NOTHING, Touched, touched
from tocsin.sdk.reading.people import NOBODY, People, Person
from tocsin.sdk.reading.shapes import Shapes
from tocsin.sdk.reading.tokens import NOTHING as NO_CREDENTIALS
from tocsin.sdk.reading.tokens import Credentials, Hasher, Recent, in_query
from tocsin.sdk.reading.verdicts import Verdict
from tocsin.sdk.reading.words import DISCRETE, PEOPLE, TELLING
from tocsin.sdk.seen import Seen

__all__ = ["Reader"]

#: Keys of a request or an answer that are noted, and files of an upload.
MOST_KEYS = 64
MOST_FILES = 8
#: Answers of a route that are searched for classes of data, before only some of them are.
SEARCHED_FIRST = 32
SEARCHED_THEN = 16  # one in so many
#: Routes of which is remembered how often they were searched, and characters of one.
MOST_ROUTES = 1_000
LONGEST_ROUTE = 256

_JSON = re.compile(r"application/(?:[\w.+-]+\+)?json", re.I)
_FORM = re.compile(r"application/x-www-form-urlencoded", re.I)
_MULTIPART = re.compile(r"multipart/", re.I)
_DENIALS = frozenset({"forbidden", "bad_token", "expired_token", "no_credentials"})


class Reader:
    """Makes events of requests.  One for a process; called by one thread."""

    def __init__(
        self,
        options: Options,
        *,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._options = options
        self._chance = chance
        self._clean = Cleaner()
        self._hasher = Hasher(_key(options))
        self._heads = Heads(options, self._hasher, self._clean)
        self._shapes = Shapes()
        self._logins = Logins()
        self._people = People(self._hasher)
        self._basic: Recent = Recent(MOST_ROUTES)  # names that Basic authentication let in
        self._searched: dict[tuple[str, int], int] = {}

    # -- what the application says ----------------------------------------------------------------

    def finish(self, event: Event) -> Event:
        """An event that the application made, without secrets, its objects as keyed hashes."""
        changes: dict[str, Any] = {}
        for name in _TEXTS:
            value = getattr(event, name)
            if value:
                plain = without_values(value) if name in _WORDS else value
                changes[name] = self._clean.text(plain)
        for name in ("session", "api_key"):
            value = getattr(event, name)
            if value and not _HASHED.fullmatch(value):
                changes[name] = self._hasher.secret(value)
        if event.objects:
            kind = event.object_type or "object"
            changes["objects"] = tuple(
                f"{kind}:{self._hasher.object(one)}" for one in event.objects
            )
        if event.attributes:
            changes["attributes"] = redact_value(event.attributes)
        return self._personal(replace(event, **changes) if changes else event)

    # -- what went by -----------------------------------------------------------------------------

    def read(self, seen: Seen) -> list[Noted]:
        """The events of one request: the request itself first, then what it amounts to."""
        try:
            return self._read(seen)
        except Exception as error:  # noqa: BLE001  whatever we cannot read must not hide a request
            harmless.mishap(error)
            return [Noted(self._unread(seen))]

    def _read(self, seen: Seen) -> list[Noted]:
        head = self._heads.of(seen.headers, seen.peer)
        headers, out = head.headers, read(seen.out_headers)
        brought = head.brought
        if brought is NO_CREDENTIALS and seen.query:
            brought = in_query(seen.query)
        asked, files = _asked(seen, headers) if seen.body_in else (None, [])
        given_out: Sequence[bytes] = ()
        answer = None
        if seen.body_out:
            given_out, cut_out = bodies.unpacked(seen.body_out, out.get("content-encoding"))
            answer = bodies.json(given_out, cut=seen.cut_out or cut_out) if given_out else None
        verdict = self._verdict(seen, brought, answer)
        route = seen.route or seen.path[:LONGEST_ROUTE]
        door = f"{seen.method} {route}" if seen.routed is not False else None
        login = self._login(seen, door, brought, asked, answer, given_out, verdict, out)
        if login is not None:
            verdict = _of_login(verdict, login, seen.context.login is not None)
        person = self._person(seen, door, brought, verdict, login)
        objects = self._objects(seen, answer, verdict)
        facts = self._facts(seen, head, brought, person, login)
        tags = _tags(seen, brought, person, objects, verdict)
        columns: dict[str, Any] = {
            **facts,
            "outcome": verdict.outcome,
            "outcome_source": verdict.source,
            "reason": verdict.reason,
            "severity": _severity(seen, verdict),
            "duration_ns": seen.duration_ns,
            "error_type": seen.failure.type if seen.failure else None,
            "bytes_in": seen.bytes_in,
            "bytes_out": seen.bytes_out,
            "records_out": objects.records,
            "content_type": _media_type(out.get("content-type")),
            "object_type": objects.type,
            "objects": self._hashed(objects) if objects.ids else None,
            "via": objects.via if objects.ids or objects.records is not None else None,
            "fields_in": (tuple(bodies.keys(asked, MOST_KEYS)) or None) if asked else None,
            "fields_out": self._telling(answer) if answer is not None else None,
            "sensitive": self._sensitive(seen, route, given_out) if given_out else None,
            "tags": tuple(tags) or None,
            "attributes": _attributes(seen, brought, verdict, asked),
        }
        # To make an event of few columns is quicker than of many that are None.
        known = {name: value for name, value in columns.items() if value is not None}
        request = Event(kind=Kind.REQUEST, **known)
        apart = self._apart(seen, facts, verdict, login, files)
        if said := seen.context.said:  # the application has told it itself, and knows better
            apart = [event for event in apart if event.kind not in said]
        if not apart and self._is_left_out(seen, verdict, tags):
            return []
        probe = self._probe(asked, head) if asked is not None or head.probe else None
        if self._options.personal:
            request, apart = self._personal(request), [self._personal(one) for one in apart]
        return [Noted(request, probe), *map(Noted, apart)]

    def _verdict(self, seen: Seen, brought: Credentials, answer: Any) -> Verdict:
        """What came of it, by the highest authority that says something."""
        status = verdicts.refusal(seen.status, answer)
        told = verdicts.by_failure(seen.failure, seen.status)
        if told.outcome is None and answer is not None:
            told = verdicts.by_body(answer, self._shapes)
            # Friendly words do not overrule a refusal by status.
            if told.outcome == "success" and status.outcome == "failure":
                told = verdicts.UNTOLD
        if told.outcome is None:
            told = status
        if told.outcome == "failure":
            if told.words and told.reason and _echoed(seen, told.reason):
                told = told._replace(reason=None, words=None)
                status = verdicts.by_status(seen.status)
            told = told._replace(reason=told.reason or status.reason)
        return _unauthenticated(seen, brought, told) if seen.status == 401 else told

    def _login(
        self,
        seen: Seen,
        door: str | None,
        brought: Credentials,
        asked: Any,
        answer: Any,
        given_out: Sequence[bytes],
        verdict: Verdict,
        out: Mapping[str, str],
    ) -> Login | None:
        if brought.method == "basic":
            return self._basic_login(seen, door, brought, verdict)
        asked_for = given(asked) if asked is not None else None
        told = seen.context.login
        login: Login | None = None
        if told is not None:
            login = self._logins.told(*told, asked_for)
        elif asked_for is not None and seen.status:
            text = "" if answer is not None else b"".join(given_out).decode("utf-8", "replace")
            location, cookies = out.get("location", ""), out.get("set-cookie", "")
            seen_answer = Answer(seen.status, answer, text, cookies, location)
            own = _texts_of(seen, asked, brought)
            login = self._logins.judge(
                seen.route or seen.path, seen, asked_for, verdict, seen_answer, own
            )
        if login is not None and login.success:
            self._people.issued(login)
        return login

    def _basic_login(
        self, seen: Seen, door: str | None, brought: Credentials, verdict: Verdict
    ) -> Login | None:
        """Basic authentication comes with each request: its first success is the login.

        If it was one: whoever is let in anyway may bring any name.
        """
        if brought.name is None or brought.secret is None:
            return None
        mark = self._hasher.secret(brought.secret)
        if seen.status == 401:
            new = self._basic.get(f"failed {brought.name}") != mark
            self._basic.put(f"failed {brought.name}", mark)
            return Login(False, brought.name, new)
        told = seen.user[0] if isinstance(seen.user, tuple) else seen.user
        believed = brought.name in (told, seen.context.user) or self._people.guards(door)
        if verdict.outcome != "success" or not believed or self._basic.get(brought.name) == mark:
            return None
        self._basic.put(brought.name, mark)
        return Login(True, brought.name, None)

    def _person(
        self,
        seen: Seen,
        door: str | None,
        brought: Credentials,
        verdict: Verdict,
        login: Login | None,
    ) -> Person:
        """Who the application says, or shows, that it is."""
        shown = self._people.accepted(door, brought, verdict)
        context = seen.context
        told = seen.user if isinstance(seen.user, tuple) else (seen.user, None, None)
        name = context.user or told[0]
        if name is None and login is not None and login.success and login.account:
            return Person(login.account, (login.account, *login.names))
        if name is None and shown is NOBODY:
            if context.role is None and context.tenant is None:
                return NOBODY
            return Person(None, (), context.role, context.tenant)
        claims = brought.claims.names if brought.claims is not None and name is not None else ()
        return Person(
            name or shown.name,
            tuple(dict.fromkeys(n for n in (name, *shown.names, *claims) if n)),
            context.role or told[1] or shown.role,
            context.tenant or told[2] or shown.tenant,
        )

    def _objects(self, seen: Seen, answer: Any, verdict: Verdict) -> Touched:
        if not self._options.objects:
            return NOTHING
        success = verdict.outcome == "success"
        return touched(self._shapes, seen.method, seen.route, seen.params, answer, success=success)

    def _hashed(self, objects: Touched) -> tuple[str, ...]:
        hashed = self._hasher.object
        return tuple([f"{kind}:{hashed(one)}" for kind, one in objects.ids])

    def _facts(
        self, seen: Seen, head: Head, brought: Credentials, person: Person, login: Login | None
    ) -> dict[str, Any]:
        """What all events of the request say alike; some of it None."""
        context, clean = seen.context, self._clean
        facts = {
            **head.columns,
            "time": seen.began,
            "service": seen.service,
            "method": seen.method,
            "scheme": seen.scheme,
            "route": seen.route,
            "path": clean.path(seen.path),
            "http_version": seen.http_version or None,
            "status": seen.status or None,
            "trace_id": context.trace_id,
            "span_id": context.span_id,
            "request_id": context.request_id,
        }
        if query := seen.query:
            facts["query"] = (
                clean.query(query.decode("utf-8", "backslashreplace"), seen.path) or None
            )
        if seen.peer is not None and "peer_ip" not in facts:
            facts["client_port"] = seen.peer[1]
        name = person.name
        claimed = brought.claims.subject if brought.claims is not None else brought.name
        if login is not None and not login.success:
            claimed = login.account or claimed
        if claimed and claimed != name:
            facts["claimed_user"] = clean.text(claimed)
        if person is not NOBODY:
            facts["user"] = clean.text(name) if name else None
            facts["role"] = clean.text(person.role[:256]) if person.role else None
            facts["tenant"] = clean.text(person.tenant[:256]) if person.tenant else None
        if brought.in_url and brought.secret:
            column = "api_key" if brought.method == "key" else "session"
            facts[column], facts["auth_method"] = (
                self._hasher.secret(brought.secret),
                brought.method,
            )
        if context.session:
            facts["session"] = self._hasher.secret(context.session)
        if context.auth_method:
            facts["auth_method"] = clean.text(context.auth_method)
        return facts

    def _unread(self, seen: Seen) -> Event:
        """The least that is known of a request."""
        verdict = verdicts.by_status(seen.status)
        event = Event(
            time=seen.began,
            kind=Kind.REQUEST,
            duration_ns=seen.duration_ns,
            outcome=verdict.outcome,
            outcome_source=verdict.source,
            reason=verdict.reason,
            severity="warn",
            service=seen.service,
            **self._addresses(seen),
            method=seen.method,
            route=seen.route,
            path=self._clean.path(seen.path),
            status=seen.status or None,
            bytes_in=seen.bytes_in,
            bytes_out=seen.bytes_out,
            request_id=seen.context.request_id,
            tags=("unreadable",),
        )
        return self._personal(event) if self._options.personal else event

    def _addresses(self, seen: Seen) -> dict[str, Any]:
        """Who the client is, if at least the headers can be read; else who is at the other end."""
        try:
            columns = self._heads.of(seen.headers, seen.peer).columns
            return {name: columns.get(name) for name in ("client_ip", "peer_ip")}
        except Exception:  # noqa: BLE001  told of already, as what could not be read
            proxied = bool(self._options.trusted_proxies)
            return {"peer_ip" if proxied else "client_ip": seen.peer[0] if seen.peer else None}

    def _sensitive(self, seen: Seen, route: str, answer: Sequence[bytes]) -> tuple[str, ...] | None:
        """Classes of data in the answer: of the first answers of a route, then of some."""
        key = (route, seen.status // 100)
        count = self._searched.get(key, 0) + 1
        if count == 1 and len(self._searched) >= MOST_ROUTES:
            self._searched.clear()
        self._searched[key] = count
        if count > SEARCHED_FIRST and count % SEARCHED_THEN:
            return None
        return classes(b"".join(answer)) or None

    def _telling(self, answer: Any) -> tuple[str, ...] | None:
        """Keys of the answer whose presence matters."""
        if type(answer) is dict and _PLAIN_TYPES.issuperset(map(type, answer.values())):
            telling = self._shapes.of(answer).telling[:MOST_KEYS]
            return tuple(map(NAMES.__getitem__, telling)) or None
        return tuple(bodies.keys(answer, MOST_KEYS, TELLING)) or None

    def _probe(self, asked: Any, head: Head) -> dict[str, str] | None:
        found: dict[str, str] = {}
        if asked is not None and self._options.probe:
            body = probes.of_body(asked, self._options.probe_bytes)
            if body:
                found["probe_body"] = body
        if head.probe:
            found["probe_header"] = head.probe
        return found or None

    # -- what it amounts to -----------------------------------------------------------------------

    def _apart(
        self,
        seen: Seen,
        facts: dict[str, Any],
        verdict: Verdict,
        login: Login | None,
        files: list[str],
    ) -> list[Event]:
        """Critical events that the request amounts to."""
        found: list[Event] = []
        failed = verdict.outcome == "failure"
        why: dict[str, Any] = {"outcome": verdict.outcome, "outcome_source": verdict.source}
        if login is not None:
            found.append(self._login_event(facts, why, verdict, login))
        elif failed and (seen.status in (401, 403) or verdict.reason in _DENIALS):
            found.append(Event(kind=Kind.AUTHZ_FAIL, reason=verdict.reason, **why, **facts))
        if failed and (seen.status == 429 or verdict.reason == "rate_limited"):
            kind = Kind.EXCESS_RATE_LIMIT_EXCEEDED
            found.append(Event(kind=kind, reason="rate_limited", **why, **facts))
        if failed and login is None and (seen.complaints or verdict.reason == "validation"):
            found.append(self._validation(seen, facts, why))
        if files and not failed:
            names = [self._clean.text(name[:256]) for name in files[:MOST_FILES]]
            more = {"files": names, "count": len(files)}
            found.append(Event(kind=Kind.UPLOAD_COMPLETE, attributes=more, **why, **facts))
        if seen.failure is not None and (not seen.failure.handled or seen.status >= 500):
            found.append(self._error(seen, facts, why))
        return found

    def _login_event(
        self, facts: dict[str, Any], why: dict[str, Any], verdict: Verdict, login: Login
    ) -> Event:
        attributes: dict[str, Any] = {}
        if login.new_secret is not None:
            attributes["new_secret"] = login.new_secret
        if login.retries:
            attributes["retries"] = login.retries
        if login.code:
            attributes["code"] = True
        kind = Kind.AUTHN_LOGIN_SUCCESS if login.success else Kind.AUTHN_LOGIN_FAIL
        return Event(
            kind=kind,
            reason=None if login.success else verdict.reason or login.reason or "bad_credentials",
            attributes=attributes or None,
            **why,
            **facts,
        )

    def _validation(self, seen: Seen, facts: dict[str, Any], why: dict[str, Any]) -> Event:
        complaints = seen.complaints[:MOST_KEYS]
        discrete = any(DISCRETE.search(complaint.rule) for complaint in complaints)
        kind = Kind.INPUT_VALIDATION_DISCRETE_FAIL if discrete else Kind.INPUT_VALIDATION_FAIL
        attributes = {
            "fields": [named(c.field[:128]) for c in complaints],
            "rules": [c.rule[:128] for c in complaints],
        }
        return Event(
            kind=kind,
            reason="validation",
            attributes=attributes if complaints else None,
            **why,
            **facts,
        )

    def _error(self, seen: Seen, facts: dict[str, Any], why: dict[str, Any]) -> Event:
        failure = seen.failure
        assert failure is not None
        return Event(
            kind=Kind.LOG,
            severity="error",
            reason="internal",
            message="unhandled exception" if not failure.handled else "exception",
            error_type=failure.type[:256],
            error_message=self._clean.text(without_values(failure.message[:2048])) or None,
            error_stack=self._clean.text(failure.stack[:16_384]) or None,
            attributes={"error_id": seen.context.request_id},
            **why,
            **facts,
        )

    def _is_left_out(self, seen: Seen, verdict: Verdict, tags: list[str]) -> bool:
        """Whether sampling leaves an uneventful request out."""
        share = self._options.sample
        if share >= 1.0 or tags or verdict.outcome != "success" or seen.failure is not None:
            return False
        return self._chance() >= share

    def _personal(self, event: Event) -> Event:
        """*event* with personal columns hashed or left out, as the options say."""
        changes: dict[str, Any] = {}
        for name, how in self._options.personal.items():
            value = getattr(event, name, None)
            if value is not None:
                changes[name] = self._hasher.secret(str(value)) if how == "hash" else None
        return replace(event, **changes) if changes else event


def _echoed(seen: Seen, reason: str) -> bool:
    """Whether the words that give *reason* may be the client's own, sent back.

    Whoever asks for ``/product/invalid token`` and is told that there is none was refused nothing.
    """
    own = unquote_plus(f"{seen.path} {seen.query.decode('utf-8', 'replace')}"[:4096])
    given = b" ".join(seen.body_in)[:4096].decode("utf-8", "replace")
    return verdicts.speaks_of(reason, own) or verdicts.speaks_of(reason, given)


def _texts_of(seen: Seen, asked: Any, brought: Credentials) -> list[str]:
    """What the client sent itself, which an answer may hand back."""
    texts = [value for _, _, value in bodies.leaves(asked) if isinstance(value, str)]
    texts.append(unquote_plus(f"{seen.path} {seen.query.decode('utf-8', 'replace')}"))
    texts += [brought.secret] if brought.secret else []
    return texts


def _unauthenticated(seen: Seen, brought: Credentials, told: Verdict) -> Verdict:
    """Of a 401 that does not say it better: who brought nothing was not wrong; a token was bad."""
    if told.words is None or told.reason in ("bad_credentials", "forbidden"):
        if brought.secret is None and not seen.body_in:
            return told._replace(reason="no_credentials")
        if told.words is None and brought.method in ("token", "key", "session"):
            return told._replace(reason="bad_token")
    return told


#: Columns of an event made by the application that may hold a secret.
_TEXTS = (
    "message reason error_message error_stack user claimed_user path query referer user_agent "
    "db_statement db_user raw"
).split()
#: Those of them in which somebody may have put the words of an exception.
_WORDS = frozenset({"message", "reason", "error_message"})
_HASHED = re.compile("h:[0-9a-f]{32}")


def _key(options: Options) -> bytes:
    """What keyed hashes are made with: as told, or as the source's key gives, or this process's."""
    told = options.hash_key or options.key
    if told is None:
        return secrets.token_bytes(32)
    return blake2b(told.encode(), digest_size=32, person=b"tocsin.sdk").digest()


def _asked(seen: Seen, headers: dict[str, str]) -> tuple[Any, list[str]]:
    """What the request's body holds, as far as it is known, and the files that it uploads."""
    kind, cut = headers.get("content-type", ""), seen.cut_in
    if _FORM.match(kind):
        asked = bodies.json(seen.body_in, cut=cut) if bodies.begins_as_json(seen.body_in) else None
        return asked or bodies.form(seen.body_in, cut=cut), []
    if _MULTIPART.match(kind):
        return bodies.multipart(seen.body_in, kind, cut=cut)
    # What it is called tells nothing: many applications read any body as JSON.
    if _JSON.match(kind) or bodies.begins_as_json(seen.body_in):
        return bodies.json(seen.body_in, cut=cut), []
    return None, []


def _of_login(verdict: Verdict, login: Login, told: bool) -> Verdict:
    """What came of the request, with what is known of its being a login."""
    if told:
        if login.success or verdict.outcome == "failure":
            return verdict
        return Verdict("failure", login.reason, "framework")
    if verdict.source != "status":
        return verdict
    if login.success:
        return verdict._replace(outcome="success", source="login_profile")
    reason = verdict.reason or login.reason
    return verdict._replace(outcome="failure", reason=reason, source="login_profile")


_PLAIN_TYPES = frozenset({str, int, float, bool, type(None)})


def _tags(
    seen: Seen, brought: Credentials, person: Person, objects: Touched, verdict: Verdict
) -> list[str]:
    """Verdicts of this sensor."""
    found: list[str] = []
    if verdict.outcome == "failure" and 200 <= seen.status < 400:
        found.append("posture.error_as_success")
    if seen.gone:
        found.append("client_gone")
    if seen.routed is False:
        found.append("unrouted")
    if brought.in_url:
        found.append("posture.credential_in_url")
    claims = brought.claims
    if claims is not None:
        found += [f"jwt.{flaw}" for flaw in claims.flaws]
        if claims.expires is not None and claims.expires < seen.began / 1e9 - 60:
            found.append("jwt.expired")
    if person.names and (objects.owners or (objects.type in PEOPLE and objects.ids)):
        found += _ownership(objects, {name.lower() for name in person.names})
    return found


def _ownership(objects: Touched, names: set[str]) -> list[str]:
    """Whether what was touched is the principal's own, as the answer and the path tell.

    Only what can be compared is: a number with a number, a name with a name.
    """
    found: list[str] = []
    numbers = any(name.isdigit() for name in names)
    words = any(not name.isdigit() for name in names)
    owners = {o.lower() for o in objects.owners if (numbers if o.isdigit() else words)}
    if owners & names:
        found.append("owner.self")
    if owners and not owners & names:
        found.append("owner.other")
    for kind, one in objects.ids:
        if kind in PEOPLE and (numbers if one.isdigit() else words):
            if objects.via != "list":
                found.append("subject.self" if one.lower() in names else "subject.other")
            break
    return found


def _severity(seen: Seen, verdict: Verdict) -> str:
    if seen.status >= 500 or (seen.failure is not None and not seen.failure.handled):
        return "error"
    return "warn" if verdict.outcome == "failure" else "info"


def _media_type(content_type: str | None) -> str | None:
    """``application/json`` of ``application/json; charset=utf-8``."""
    return content_type.partition(";")[0].strip()[:128] or None if content_type else None


def _attributes(
    seen: Seen, brought: Credentials, verdict: Verdict, asked: Any
) -> dict[str, Any] | None:
    """What there is no column for."""
    more = seen.context.more
    found: dict[str, Any] = redact_value(more) if more else {}
    if brought.claims is not None and brought.claims.algorithm:
        found["jwt_alg"] = brought.claims.algorithm
    if verdict.words:
        found["template"] = _template(verdict.words)
    if asked is not None and (question := shape_of(asked)) is not None:
        found.update(question)
    return found or None


def _template(words: str) -> str:
    """A hash of what an answer says, less what varies: 8 hex digits."""
    plain = re.sub(r"[0-9]+|'[^']*'|\"[^\"]*\"", "?", words)
    return blake2b(plain.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
