"""``tocsin.log``: what the application says becomes an event, and never its problem."""

from __future__ import annotations

import inspect
import threading
import time
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.sdk.taken import Taken

from docs import vocabulary
from tocsin.event import VOCABULARY, Event, Kind
from tocsin.event.kinds import ARGUMENTS, LEVELS
from tocsin.sdk.context import Context, identify
from tocsin.sdk.harmless import mishaps
from tocsin.sdk.plain import LONGEST
from tocsin.sdk.saying import log as module
from tocsin.sdk.saying.log import Log


@pytest.fixture
def taken() -> Taken:
    return Taken()


@pytest.fixture
def log(taken: Taken) -> Log:
    return Log(taken)


@pytest.fixture
def request_at_hand() -> Iterator[Context]:
    context = Context("r-1", "a" * 32, "b" * 16)
    token = context.bind()
    yield context
    Context.release(token)


class Broken:
    def __str__(self) -> str:
        raise RuntimeError("no words")


# --- the methods ---------------------------------------------------------------------------------


def test_the_module_is_what_the_vocabulary_says() -> None:
    made = Path(module.__file__).read_text(encoding="utf-8")
    assert made == vocabulary.module(), "sdk/saying/log.py is old; run `python -m docs.vocabulary`"


def test_there_is_a_method_for_each_name_and_no_other() -> None:
    assert [n for n in vars(Log) if not n.startswith("_")] == [str(k) for k in VOCABULARY]


@pytest.mark.parametrize("kind", VOCABULARY)
def test_each_method_takes_the_arguments_of_its_name_and_says_when_to_use_it(kind: Kind) -> None:
    method = getattr(Log, kind)
    names = {name.rstrip("_") for name in inspect.signature(method).parameters}
    assert {*ARGUMENTS[kind], "user", "reason", "attributes", "more"} <= names
    assert "\n" not in method.__doc__
    assert method.__doc__.endswith((".", "..."))


@pytest.mark.parametrize("kind", VOCABULARY)
def test_each_method_makes_an_event_of_its_kind_and_level(
    kind: Kind, log: Log, taken: Taken
) -> None:
    getattr(log, kind)(user="joe", reason="because")
    event = taken.event
    assert (event.kind, event.user, event.reason) == (kind, "joe", "because")
    assert (event.layer, event.severity) == ("app", LEVELS[kind])
    assert abs(event.time - time.time_ns()) < 60e9


@pytest.mark.parametrize("kind", VOCABULARY)
def test_each_argument_is_kept_in_its_column_or_under_its_name(
    kind: Kind, log: Log, taken: Taken
) -> None:
    told = {
        vocabulary.spelled(n): n for n in ARGUMENTS[kind] if n not in ("resource", "attributes")
    }
    getattr(log, kind)(**{parameter: f"<{name}>" for parameter, name in told.items()})
    event = taken.event
    for name in told.values():
        kept = getattr(event, name, None) or (event.attributes or {}).get(name)
        assert kept == f"<{name}>"


def test_what_python_keeps_for_itself_has_an_underscore(log: Log, taken: Taken) -> None:
    log.privilege_permissions_changed(
        user="ann", resource="doc:1", from_="read", to=["read", "write"]
    )
    assert taken.event.attributes == {"from": "read", "to": ["read", "write"]}


# --- what is said --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("resource", "columns"),
    [
        ("order:42", {"object_type": "order", "objects": ("42",)}),
        ("order2:4:2", {"object_type": "order2", "objects": ("4:2",)}),
        ("invoices", {"object_type": "invoices", "objects": None}),
        ("invoices:", {"object_type": "invoices", "objects": None}),
        ("42", {"object_type": None, "objects": ("42",)}),
        ("joe@example.org", {"object_type": None, "objects": ("joe@example.org",)}),
        ("two words", {"object_type": None, "objects": ("two words",)}),
        ("/admin/users", {"path": "/admin/users", "objects": None, "object_type": None}),
        ("", {"object_type": None, "objects": None}),
        ("order:4\n2", {"object_type": "order", "objects": ("4\n2",)}),
    ],
)
def test_of_a_resource_the_id_goes_where_ids_are_hashed(
    resource: str, columns: dict[str, Any], log: Log, taken: Taken
) -> None:
    log.authz_fail(resource=resource)
    event = taken.event
    assert {name: getattr(event, name) for name in columns} == columns
    assert event.attributes is None, "the id would leave as it is"


def test_objects_and_their_type_can_be_said_beside_a_resource(log: Log, taken: Taken) -> None:
    log.sensitive_read(resource="order:1", objects=["2", "3"], object_type="invoice", records_out=3)
    event = taken.event
    assert (event.object_type, event.objects) == ("invoice", ("1", "2", "3"))
    assert event.records_out == 3


@pytest.mark.parametrize(
    ("kind", "outcome"),
    [
        ("authn_login_fail", "failure"),
        ("authn_login_fail_max", "failure"),
        ("authz_fail", "failure"),
        ("input_validation_discrete_fail", "failure"),
        ("authn_login_success", "success"),
        ("authn_login_successafterfail", "success"),
        ("authn_password_change", "success"),
        ("user_deleted", "success"),
        ("malicious_sqli", None),
        ("sensitive_read", None),
        ("session_use_after_expire", None),
        ("upload_validation", None),
    ],
)
def test_the_outcome_is_what_the_name_says_if_it_says_one(
    kind: str, outcome: str | None, log: Log, taken: Taken
) -> None:
    getattr(log, kind)()
    event = taken.event
    assert event.outcome == outcome
    assert event.outcome_source == (outcome and "event")
    getattr(log, kind)(outcome="unknown")
    assert taken.event.outcome == "unknown"


@pytest.mark.parametrize(
    ("result", "outcome", "severity"),
    [("failed", "failure", "critical"), ("passed", "success", "info"),
     ("incomplete", "unknown", "info"), ("whatever", None, "info")],
)  # fmt: skip
def test_an_upload_that_fails_its_examination_is_critical(
    result: Any, outcome: str | None, severity: str, log: Log, taken: Taken
) -> None:
    log.upload_validation(filename="a.exe", check="virusscan", result=result)
    event = taken.event
    assert (event.outcome, event.severity) == (outcome, severity)
    assert (event.attributes or {})["result"] == result


def test_severity_can_be_said_otherwise(log: Log, taken: Taken) -> None:
    log.authz_fail(severity="info")
    assert taken.event.severity == "info"
    log.authz_fail(severity="catastrophic")  # type: ignore[arg-type]
    event = taken.event
    assert (event.severity, event.attributes) == ("critical", {"severity": "catastrophic"})


def test_whether_a_failed_login_tried_something_new_is_where_the_rules_look(
    log: Log, taken: Taken
) -> None:
    log.authn_login_fail(user="joe", new_secret=False)
    assert taken.event.attributes == {"new_secret": False}


def test_an_exception_is_told_without_its_values(log: Log, taken: Taken) -> None:
    secret = "hunter2"

    def pay(card: str) -> None:
        raise LookupError("no such order")

    try:
        pay(secret)
    except LookupError as error:
        log.sys_crash(error=error)
    event = taken.event
    assert (event.error_type, event.error_message) == ("LookupError", "no such order")
    assert (event.error_stack or "").splitlines()[-1].endswith("pay")
    assert "raise LookupError" not in msgspec.json.encode(event).decode()


def test_attributes_are_a_copy(log: Log, taken: Taken) -> None:
    cart = {"items": [1]}
    log.sequence_fail(attributes={"cart": cart})
    cart["items"].append(2)
    assert taken.event.attributes == {"cart": {"items": [1]}}


def test_a_users_attributes_are_the_vocabularys_own(log: Log, taken: Taken) -> None:
    log.user_created(user="ann", new_user="bob", attributes={"role": "admin"})
    assert taken.event.attributes == {"new_user": "bob", "role": "admin"}


# --- the request at hand -------------------------------------------------------------------------


def test_an_event_carries_the_ids_of_the_request_and_whom_it_is_from(
    log: Log, taken: Taken, request_at_hand: Context
) -> None:
    identify("joe", role="clerk", tenant="acme", session="s3cr3t", auth_method="password")
    log.sensitive_read(resource="order:42")
    event = taken.event
    assert (event.request_id, event.trace_id, event.span_id) == ("r-1", "a" * 32, "b" * 16)
    assert (event.user, event.role, event.tenant) == ("joe", "clerk", "acme")
    assert (event.session, event.auth_method) == ("s3cr3t", "password")


def test_what_the_call_says_goes_before_what_the_request_tells(
    log: Log, taken: Taken, request_at_hand: Context
) -> None:
    identify("joe", role="clerk", tenant="acme")
    log.authz_fail(user="joe", role="admin", tenant="umbrella", request_id="r-2")
    event = taken.event
    assert (event.role, event.tenant, event.request_id) == ("admin", "umbrella", "r-2")


def test_of_another_user_the_requests_role_says_nothing(
    log: Log, taken: Taken, request_at_hand: Context
) -> None:
    identify("root", role="admin", tenant="acme")
    log.authn_login_fail(user="joe")
    event = taken.event
    assert (event.user, event.role, event.tenant) == ("joe", None, "acme")


def test_what_the_adapter_knows_of_the_client_is_asked_when_something_happens(
    log: Log, taken: Taken, request_at_hand: Context
) -> None:
    asked: list[None] = []

    def facts() -> dict[str, Any]:
        asked.append(None)
        return {"client_ip": "203.0.113.9", "route": "/orders/{id}", "source": "forged"}

    request_at_hand.facts = facts
    assert not asked
    log.authz_fail(resource="order:42")
    event = taken.event
    assert (event.client_ip, event.route, event.source) == ("203.0.113.9", "/orders/{id}", None)
    log.authz_fail(client_ip="198.51.100.1")
    assert taken.event.client_ip == "198.51.100.1"


def test_a_failing_adapter_costs_its_facts_and_not_the_event(
    log: Log, taken: Taken, request_at_hand: Context
) -> None:
    def facts() -> dict[str, Any]:
        raise RuntimeError("gone")

    request_at_hand.facts = facts
    before = mishaps()
    log.authz_fail(user="joe")
    assert (taken.event.user, mishaps()) == ("joe", before + 1)


def test_the_request_knows_what_was_said_of_it(log: Log, request_at_hand: Context) -> None:
    assert request_at_hand.said is None
    log.authz_fail()
    log.sensitive_read()
    assert request_at_hand.said == {"authz_fail", "sensitive_read"}


def test_who_waits_for_the_end_of_a_request_is_called_once_whatever_the_others_do() -> None:
    context = Context("r-1")
    calls: list[str] = []

    def fail() -> None:
        raise RuntimeError("not me")

    assert context.at_end(lambda: calls.append("a"))
    assert context.at_end(fail)
    assert context.at_end(lambda: calls.append("b"))
    before = mishaps()
    context.end()
    context.end()
    assert (sorted(calls), mishaps()) == (["a", "b"], before + 1)
    assert not context.at_end(fail), "it has ended: whoever comes now is late"


def test_outside_a_request_there_is_none(log: Log, taken: Taken) -> None:
    log.authz_fail(user="joe")
    event = taken.event
    assert (event.request_id, event.trace_id, event.client_ip) == (None, None, None)


# --- no harm -------------------------------------------------------------------------------------


class Colour(StrEnum):
    RED = "red"


class Sly(str):
    def __str__(self) -> str:
        raise RuntimeError("no words")

    def __len__(self) -> int:
        return 3


@pytest.mark.parametrize(
    ("user", "kept"),
    [
        (42, "42"),
        (b"joe\xff", "joe\\xff"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Colour.RED, "red"),
        (Sly("joe"), "joe"),
        ("\ud800", "\\ud800"),
        (Broken(), "<unprintable Broken>"),
        (10**5000, "<unprintable int>"),
        ("x" * 20_000, "x" * LONGEST + " [cut: 20000 characters]"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_any_user_becomes_text(user: Any, kept: str, log: Log, taken: Taken) -> None:
    log.authn_login_fail(user=user)
    event = taken.event
    assert event.user == kept
    assert type(event.user) is str
    msgspec.json.encode(event)


def test_what_cannot_be_told_is_counted(log: Log, taken: Taken) -> None:
    before = mishaps()
    log.authz_fail(user=Broken(), reason="r")  # type: ignore[arg-type]
    assert (taken.event.reason, mishaps()) == ("r", before + 1)


@pytest.mark.parametrize("objects", [7, UUID(int=7), "7", [7], {7}, (n for n in [7])])
def test_objects_may_come_in_any_shape(objects: Any, log: Log, taken: Taken) -> None:
    log.sensitive_read(objects=objects)
    assert taken.event.objects in (("7",), (str(UUID(int=7)),))


def test_a_number_that_is_none_is_kept_as_it_was_said(log: Log, taken: Taken) -> None:
    log.authz_fail(status="teapot", client_port="443", records_out=1 << 70)  # type: ignore[arg-type]
    event = taken.event
    assert (event.status, event.client_port, event.records_out) == (None, 443, None)
    assert event.attributes == {"status": "teapot", "records_out": str(1 << 70)}


def test_without_a_type_checker_an_unknown_field_is_an_attribute(log: Log, taken: Taken) -> None:
    log.authz_fail(usr="joe")  # type: ignore[call-arg]
    assert taken.event.attributes == {"usr": "joe"}


def endless() -> Iterator[str]:
    while True:
        yield "x"


def test_endless_circular_and_huge_values_are_cut(log: Log, taken: Taken) -> None:
    circle: list[Any] = []
    circle.append(circle)
    log.authz_fail(
        objects=endless(),
        attributes={"circle": circle, "wide": list(range(10_000)), "x": "x" * 10**6},
    )
    event = taken.event
    assert len(event.objects or ()) == 64
    assert len(msgspec.json.encode(event)) < 40_000
    assert "[cut: 1000000 characters]" in (event.attributes or {})["x"]


def test_a_circle_ends_after_some_levels(log: Log, taken: Taken) -> None:
    circle: list[Any] = []
    circle.append(circle)
    log.authz_fail(attributes={"circle": circle})
    assert (taken.event.attributes or {})["circle"] == [[[[["[cut: 1 values]"]]]]]


def test_a_bad_value_costs_only_itself(log: Log, taken: Taken) -> None:
    def failing() -> Iterator[str]:
        yield "1"
        raise RuntimeError("no more")

    before = mishaps()
    log.sensitive_read(user="joe", objects=failing(), reason="r")
    event = taken.event
    assert (event.user, event.objects, event.reason) == ("joe", None, "r")
    assert mishaps() == before + 1


class Hostile(dict[str, Any]):
    def items(self) -> Any:
        raise RuntimeError("no items")


def test_a_mapping_that_fails_costs_only_itself(log: Log, taken: Taken) -> None:
    log.authz_fail(user="joe", attributes=Hostile(a=1))
    event = taken.event
    assert (event.user, event.attributes) == ("joe", {"attributes": "<unreadable Hostile>"})


def test_a_failing_client_is_not_the_applications_problem() -> None:
    class Failing:
        def take(self, item: Any, /) -> None:
            raise OSError("full")

    before = mishaps()
    Log(Failing()).authz_fail(user="joe")
    assert mishaps() == before + 1


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner),
    max_leaves=8,
)
names = st.sampled_from(
    """user resource reason outcome severity message error role tenant session client_ip client_port
    objects object_type fields_in status records_out from to attributes anything""".split()
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(VOCABULARY), st.dictionaries(names, anything))
def test_whatever_is_said_an_event_comes_of_it_that_can_be_sent(
    kind: Kind, said: dict[str, Any]
) -> None:
    taken = Taken()
    before = mishaps()
    getattr(Log(taken), kind)(**{vocabulary.spelled(name): value for name, value in said.items()})
    line = msgspec.json.encode(taken.event)
    assert msgspec.json.decode(line, type=Event).kind is kind
    assert mishaps() == before


def test_many_threads_may_speak_at_once(log: Log, taken: Taken) -> None:
    def speak() -> None:
        for n in range(200):
            log.authz_fail(user=threading.current_thread().name, attributes={"n": n})

    threads = [threading.Thread(target=speak, name=f"t{n}") for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({(e.user, (e.attributes or {})["n"]) for e in taken.events}) == 800
