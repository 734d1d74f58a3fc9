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
from urllib.parse import parse_qsl, unquote, unquote_plus

from msgspec.structs import replace

from tocsin.event.kinds import Kind
from tocsin.event.model import Event
from tocsin.event.redact import redact, redact_value
from tocsin.sdk.harmless import harmless
from tocsin.sdk.noted import Noted
from tocsin.sdk.options import Options
from tocsin.sdk.quoted import without_values
from tocsin.sdk.reading import bodies, probes, verdicts
from tocsin.sdk.reading.classes import classes
from tocsin.sdk.reading.clean import Cleaner, is_plain_id
from tocsin.sdk.reading.graphql import shape_of
from tocsin.sdk.reading.headers import said
from tocsin.sdk.reading.heads import Head, Heads
from tocsin.sdk.reading.logins import (
    Answer,
    Bearer,
    Given,
    Login,
    Logins,
    given,
    given_in_query,
)
from tocsin.sdk.reading.names import named
from tocsin.sdk.reading.objects import FLAT, NOTHING, Touched, touched
from tocsin.sdk.reading.people import NOBODY, People, Person
from tocsin.sdk.reading.shapes import Shapes
from tocsin.sdk.reading.tokens import (
    NO_KEYS,
    Credentials,
    Hasher,
    Recent,
    is_alone,
    keys_of,
    plain,
    with_query,
)
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

_REQUEST = Kind.REQUEST

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
                words = without_values(value) if name in _WORDS else value
                changes[name] = _CLEANED.get(name, Cleaner.text)(self._clean, words)
        if event.request_id:
            changes["request_id"] = self._request_id(event.request_id)
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
        out = said(seen.out_headers)
        brought = head.brought
        keys = keys_of(seen.query) if seen.query else NO_KEYS
        if keys.credential or keys.login:
            brought = with_query(brought, seen.query, keys)
        asked, files = _asked(seen, head.headers) if seen.body_in else (None, [])
        given_out: Sequence[bytes] = ()
        answer = None
        if seen.body_out:
            given_out, cut_out = bodies.unpacked(seen.body_out, out.get("content-encoding"))
            answer = bodies.json(given_out, cut=seen.cut_out or cut_out) if given_out else None
        verdict = self._verdict(seen, brought, asked, answer)
        route = seen.route or seen.path[:LONGEST_ROUTE]
        door = f"{seen.method} {route}" if seen.routed is not False else None
        login = None
        if (
            asked is not None
            or keys.login
            or seen.context.login is not None
            or brought.method == "basic"
            or verdict.outcome == "failure"
        ):
            login = self._login(seen, door, brought, asked, answer, given_out, verdict, out)
        if login is not None:
            verdict = _of_login(verdict, login, seen.context.login is not None)
        person = self._person(seen, door, brought, asked, verdict, login)
        objects = self._objects(seen, answer, verdict)
        facts = self._facts(seen, head, brought, person, login)
        tags = _tags(seen, brought, person, objects, verdict)
        apart: list[Event] = []
        if login is not None or files or verdict.outcome == "failure" or seen.failure is not None:
            apart = self._apart(seen, facts, verdict, login, files)
        if told := seen.context.said:  # the application has told it itself, and knows better
            apart = [event for event in apart if event.kind not in told]
        if not apart and self._is_left_out(seen, verdict, tags):
            return []
        columns = self._columns(seen, facts, verdict, objects)
        if kind := out.get("content-type"):
            columns["content_type"] = _media_type(kind)
        if asked:
            columns["fields_in"] = tuple(bodies.keys(asked, MOST_KEYS)) or None
        if answer is not None:
            columns["fields_out"] = self._telling(answer)
        if given_out:
            columns["sensitive"] = self._sensitive(seen, route, given_out)
        if tags:
            columns["tags"] = tuple(tags)
        if attributes := _attributes(seen, brought, verdict, asked):
            columns["attributes"] = attributes
        request = Event(**columns)
        probe = self._probe(seen, asked, files, head) if seen.body_in or head.probe else None
        if self._options.personal:
            request, apart = self._personal(request), [self._personal(one) for one in apart]
        found = [Noted(request, probe)]
        return [*found, *map(Noted, apart)] if apart else found

    def _columns(
        self, seen: Seen, columns: dict[str, Any], verdict: Verdict, objects: Touched
    ) -> dict[str, Any]:
        """*columns*, which are the request's own from here on, with what came of it.

        To make an event of few columns is quicker than of many that are None.
        """
        columns["kind"] = _REQUEST
        columns["outcome"], reason, columns["outcome_source"] = verdict[:3]
        columns["severity"] = _severity(seen, verdict)
        columns["duration_ns"] = seen.duration_ns
        columns["bytes_in"] = seen.bytes_in
        columns["bytes_out"] = seen.bytes_out
        if reason is not None:
            columns["reason"] = reason
        if seen.failure is not None:
            columns["error_type"] = seen.failure.type
        if objects.type is not None:
            columns["object_type"] = objects.type
        if objects.ids:
            columns["objects"] = self._hashed(objects)
            columns["via"] = objects.via
        if objects.records is not None:
            columns["records_out"] = objects.records
            columns["via"] = objects.via
        return columns

    def _verdict(self, seen: Seen, brought: Credentials, asked: Any, answer: Any) -> Verdict:
        """What came of it, by the highest authority that says something."""
        refused = seen.status >= 400
        status = (
            verdicts.refusal(seen.status, answer) if refused else verdicts.by_status(seen.status)
        )
        told = verdicts.UNTOLD
        if seen.failure is not None:
            told = verdicts.by_failure(seen.failure, seen.status)
        if told.outcome is None and answer is not None:
            told = verdicts.by_body(answer, self._shapes)
            # Friendly words do not overrule a refusal by status.
            if refused and told.outcome == "success":
                told = verdicts.UNTOLD
        if told.outcome is None:
            told = status
        if told.outcome == "failure":
            if told.words and told.reason:
                told = verdicts.without(told, _own_texts(seen, asked))
            told = told._replace(reason=told.reason or status.reason)
            if seen.status == 401:
                told = _unauthenticated(seen, brought, told)
        return told

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
        told = seen.context.login
        given_in = _given_anywhere(seen, asked, brought)
        login: Login | None = None
        if told is not None:
            login = self._logins.told(*told, given_in or _given_by_basic(brought))
        elif given_in is not None and seen.status:
            text = "" if answer is not None else b"".join(given_out).decode("utf-8", "replace")
            location, cookies = out.get("location", ""), out.get("set-cookie", "")
            seen_answer = Answer(seen.status, answer, text, cookies, location)
            login = self._logins.judge(
                seen.route or seen.path,
                seen,
                given_in,
                verdict,
                seen_answer,
                _texts_of(seen, asked, brought),
                self._bearer(seen, brought, given_in),
            )
        elif seen.cut_in or (seen.body_in and (asked is None or _is_partly_read(asked))):
            login = self._logins.unread(seen.route or seen.path, seen, verdict)
        if login is None and brought.method == "basic":
            login = self._basic_login(seen, door, brought, asked, verdict)
        if login is not None and login.success:
            self._people.issued(login)
        return login

    def _bearer(self, seen: Seen, brought: Credentials, given_in: Given) -> Bearer:
        """Who asks to be let in, as far as it is known beforehand."""
        told = seen.context.user or _principal(seen)
        names = {name.lower() for _, name in given_in.names}
        known = self._people.known(brought)
        is_another = told is not None and told.strip().lower() not in names
        no_secret = brought.secret is None
        nothing = no_secret and not brought.odd
        return Bearer(
            told,
            (is_another and not nothing) or known is not NOBODY,
            frozenset(name.lower() for name in known.names),
            nothing,
            no_secret,
        )

    def _basic_login(
        self, seen: Seen, door: str | None, brought: Credentials, asked: Any, verdict: Verdict
    ) -> Login | None:
        """Basic authentication comes with each request: its first success is the login.

        If it was one: whoever is let in anyway, or by something else, may bring any name.
        """
        if brought.name is None or brought.secret is None:
            return None
        if seen.status == 401:
            return self._logins.told(False, brought.name, _given_by_basic(brought))
        mark = self._hasher.secret(brought.secret)
        told = [plain(name) for name in (_principal(seen), seen.context.user) if name]
        believed = brought.name in told or (self._people.guards(door) and is_alone(brought, asked))
        if verdict.outcome != "success" or not believed or self._basic.get(brought.name) == mark:
            return None
        self._basic.put(brought.name, mark)
        return self._logins.told(True, brought.name, None)

    def _person(
        self,
        seen: Seen,
        door: str | None,
        brought: Credentials,
        asked: Any,
        verdict: Verdict,
        login: Login | None,
    ) -> Person:
        """Who the application says, or shows, that it is."""
        shown = self._people.accepted(door, brought, verdict, asked)
        context = seen.context
        told = seen.user if isinstance(seen.user, tuple) else (seen.user, None, None)
        name = context.user or told[0]
        if name is None and login is not None and login.success:
            if login.account is None:  # somebody who is not who the credentials say, perhaps
                return NOBODY
            return Person(login.account, (login.account, *login.names))
        if name is None and shown is NOBODY:
            if context.role is None and context.tenant is None:
                return NOBODY
            return Person(None, (), context.role, context.tenant)
        claims = brought.claims.names if brought.claims is not None and name is not None else ()
        if name not in claims:  # a token that the application did not go by
            claims = ()
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
        """What all events of the request say alike."""
        context, clean = seen.context, self._clean
        facts = head.columns.copy()
        facts["time"] = seen.began
        facts["method"] = seen.method
        facts["scheme"] = seen.scheme
        facts["path"] = clean.path(seen.path)
        facts["trace_id"] = context.trace_id
        facts["request_id"] = self._request_id(context.request_id)
        if seen.service is not None:
            facts["service"] = seen.service
        if seen.route is not None:
            facts["route"] = seen.route
        if seen.http_version:
            facts["http_version"] = seen.http_version
        if seen.status:
            facts["status"] = seen.status
        if context.span_id is not None:
            facts["span_id"] = context.span_id
        if query := seen.query:
            facts["query"] = (
                clean.query(query.decode("utf-8", "backslashreplace"), seen.path) or None
            )
        if seen.peer is not None and "peer_ip" not in facts:
            facts["client_port"] = seen.peer[1]
        name = person.name
        claimed = brought.claims.subject if brought.claims is not None else brought.name
        if login is not None and login.claimed and login.claimed != name:
            claimed = login.claimed
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

    def _request_id(self, given: str) -> str:
        """The id of a request; in place of one that holds a secret, always the same of our own."""
        return given if is_plain_id(given) else self._hasher.secret(given)

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
            request_id=self._request_id(seen.context.request_id),
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
        if type(answer) is dict and FLAT.issuperset(map(type, answer.values())):
            return self._shapes.of(answer).told
        return tuple(bodies.keys(answer, MOST_KEYS, TELLING)) or None

    def _probe(self, seen: Seen, asked: Any, files: list[str], head: Head) -> dict[str, str] | None:
        found: dict[str, str] = {}
        if seen.body_in and self._options.probe:
            most = self._options.probe_bytes
            if asked is None and not files:
                body = probes.of_text(seen.body_in, most)
            else:
                body = probes.of_body(asked, most, files)
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
        if login is not None and login.success is not None:
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
            attributes={"error_id": facts["request_id"]},
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


def _own_texts(seen: Seen, asked: Any) -> list[str]:
    """The values in a request that an answer may quote."""
    texts = [unquote(part) for part in seen.path[:4096].split("/")] + _in_query(seen)
    for path, _, value in bodies.leaves(asked):
        texts += [path, value] if isinstance(value, str) else [path]
    if asked is None and seen.body_in:
        texts.append(b" ".join(seen.body_in)[:4096].decode("utf-8", "replace"))
    return texts


def _texts_of(seen: Seen, asked: Any, brought: Credentials) -> list[str]:
    """What the client sent itself, which an answer may hand back."""
    texts = [value for _, _, value in bodies.leaves(asked) if isinstance(value, str)]
    texts.append(unquote_plus(f"{seen.path} {seen.query.decode('utf-8', 'replace')}"))
    texts += [brought.secret, *brought.others] if brought.secret else []
    return texts + _in_query(seen)


def _in_query(seen: Seen) -> list[str]:
    """The names and the values in the query."""
    if not seen.query:
        return []
    query = seen.query[:4096].decode("utf-8", "replace")
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=256)
    except ValueError:
        return [unquote_plus(query)]
    return [text for pair in pairs for text in pair]


def _principal(seen: Seen) -> str | None:
    """Whom the framework says it is."""
    told: str | None = seen.user[0] if isinstance(seen.user, tuple) else seen.user
    return told


def _is_partly_read(asked: Any) -> bool:
    """Whether values of the body were too long to be looked at."""
    return type(asked) is dict and None in asked.values()


def _given_anywhere(seen: Seen, asked: Any, brought: Credentials) -> Given | None:
    """What a request brings to log in with, in its body, its query, and beside them its header.

    The application may go by any of them.
    """
    found = given(asked) if asked is not None else None
    if seen.query and (in_query := given_in_query(seen.query, seen.route or seen.path)) is not None:
        found = in_query if found is None else found.beside(in_query)
    if found is None or found.grant == "password":
        return found
    return found.beside(_given_by_basic(brought))


def _given_by_basic(brought: Credentials) -> Given | None:
    if brought.method != "basic" or brought.name is None or brought.secret is None:
        return None
    secret = brought.secret.partition(":")[2]
    return Given((("username", brought.name),), (secret,))


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
    "authority db_statement db_user raw"
).split()
#: Those of them that are cleaned as what they are.
_CLEANED: dict[str, Callable[[Cleaner, str], str]] = {
    "path": Cleaner.path,
    "query": Cleaner.query,
    "referer": Cleaner.url,
    "user_agent": Cleaner.agent,
    "authority": Cleaner.host,
}
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
    if login.success is None:
        return verdict._replace(outcome="unknown", source="login_profile")
    if login.success:
        return verdict._replace(outcome="success", source="login_profile")
    reason = verdict.reason or login.reason
    return verdict._replace(outcome="failure", reason=reason, source="login_profile")


def _tags(
    seen: Seen, brought: Credentials, person: Person, objects: Touched, verdict: Verdict
) -> list[str]:
    """Verdicts of this sensor."""
    found: list[str] = []
    if 200 <= seen.status < 400 and verdict.outcome == "failure":
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


def _attributes(seen: Seen, brought: Credentials, verdict: Verdict, asked: Any) -> dict[str, Any]:
    """What there is no column for."""
    more = seen.context.more
    found: dict[str, Any] = redact_value(more) if more else {}
    if brought.claims is not None and brought.claims.algorithm:
        algorithm = brought.claims.algorithm  # whatever the client wrote there
        is_name = _ALGORITHM.fullmatch(algorithm) and redact(algorithm) == algorithm
        found["jwt_alg"] = algorithm if is_name else "other"
    if verdict.words:
        found["template"] = _template(verdict.words)
    if asked is not None and (question := shape_of(asked)) is not None:
        found.update(question)
    return found


_ALGORITHM = re.compile(r"[A-Za-z0-9_-]{1,16}", re.A)


def _template(words: str) -> str:
    """A hash of what an answer says, less what varies: 8 hex digits."""
    plain = re.sub(r"[0-9]+|'[^']*'|\"[^\"]*\"", "?", words)
    return blake2b(plain.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
