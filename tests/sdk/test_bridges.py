"""What the application logs already arrives as events, by ``logging`` and by structlog."""

from __future__ import annotations

import logging
import logging.handlers
import queue
import threading
import traceback
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.sdk import apps
from tests.sdk.taken import Taken

from tocsin.errors import SettingsError
from tocsin.event import VOCABULARY, Event, Kind
from tocsin.sdk.context import Context, identify
from tocsin.sdk.harmless import harmless, mishaps
from tocsin.sdk.saying.bridges import LogHandler, StructlogProcessor


@pytest.fixture
def taken() -> Taken:
    return Taken()


@pytest.fixture
def logger(taken: Taken) -> logging.Logger:
    logger = logging.Logger("shop.orders")
    logger.addHandler(LogHandler("DEBUG", client=taken))
    return logger


@pytest.fixture
def request_at_hand() -> Iterator[Context]:
    context = Context("r-1", "a" * 32, "b" * 16)
    token = context.bind()
    yield context
    Context.release(token)


def caught() -> BaseException:
    secret = "hunter2"
    try:
        try:
            raise KeyError(secret)
        except KeyError as error:
            raise LookupError("no such order") from error
    except LookupError as error:
        return error


def record(words: Any, level: int = 20, **more: Any) -> logging.LogRecord:
    return logging.makeLogRecord({"msg": words, "levelno": level, **more})


class Broken:
    def __str__(self) -> str:
        raise RuntimeError("no words")


# --- logging -------------------------------------------------------------------------------------


def test_a_record_is_an_event_with_its_words_level_logger_and_fields(
    logger: logging.Logger, taken: Taken
) -> None:
    logger.warning("order %s is late", 42, extra={"customer": {"id": 7}, "tries": 3})
    event = taken.event
    assert (event.kind, event.severity, event.layer) == (Kind.LOG, "warn", "app")
    assert event.message == "order 42 is late"
    assert event.attributes == {"logger": "shop.orders", "customer": {"id": 7}, "tries": 3}


def test_a_record_keeps_its_own_time(logger: logging.Logger, taken: Taken) -> None:
    logger.handle(record("then", created=1_700_000_000.25))
    assert taken.event.time == 1_700_000_000_250_000_000


@pytest.mark.parametrize(
    ("level", "severity"),
    [(5, "debug"), (10, "debug"), (20, "info"), (25, "info"), (30, "warn"), (40, "error"),
     (50, "critical"), (90, "critical")],
)  # fmt: skip
def test_levels_are_severities(
    level: int, severity: str, logger: logging.Logger, taken: Taken
) -> None:
    LogHandler(0, client=taken).handle(record("m", level))
    assert taken.event.severity == severity


def test_what_is_below_the_level_is_no_event(taken: Taken) -> None:
    logger = logging.Logger("shop")
    logger.addHandler(LogHandler(client=taken))
    logger.debug("not worth it")
    assert taken.events == []
    logger.info("worth it")
    assert taken.event.message == "worth it"


def test_an_exception_is_its_class_words_and_frames(logger: logging.Logger, taken: Taken) -> None:
    logger.error("failed", exc_info=caught())
    event = taken.event
    assert event.message == "failed"
    assert (event.error_type, event.error_message) == ("LookupError", "no such order")
    stack = event.error_stack or ""
    assert "test_bridges.py" in stack
    assert "caused by KeyError" in stack
    assert "raise" not in stack, "source lines do not leave"
    assert "hunter2" not in msgspec.json.encode(event).decode()


def test_a_traceback_within_the_words_is_taken_apart(logger: logging.Logger, taken: Taken) -> None:
    told = "".join(traceback.format_exception(caught()))
    logger.error(f"failed:\n{told}")
    event = taken.event
    assert event.message == "failed:"
    assert (event.error_type, event.error_message) == ("LookupError", "no such order")
    assert "raise LookupError" not in msgspec.json.encode(event).decode()
    assert (event.error_stack or "").splitlines()[-1].endswith(" caught")


FORGED = """Traceback (most recent call last):
  File "/app/pay.py", line 7, in pay
app.errors.Evil: everything is lost"""


def test_a_name_that_looks_like_a_traceback_is_none(logger: logging.Logger, taken: Taken) -> None:
    logger.warning("login of %s failed", FORGED)
    logger.warning("login of %(name)s failed", {"name": FORGED})
    StructlogProcessor(client=taken)(
        None, "warning", {"event": "login of %s failed", "positional_args": (FORGED,)}
    )
    told = [(e.message, e.error_type, e.error_message, e.error_stack) for e in taken.events]
    message = "login of app.errors.Evil: everything is lost failed"
    assert told == [(message, None, None, None)] * 3


def test_a_traceback_as_an_argument_says_what_it_may(logger: logging.Logger, taken: Taken) -> None:
    try:
        int("hunter2")
    except ValueError:
        logger.error("failed: %s", traceback.format_exc())
        logger.error("failed: %s", FORGED, exc_info=True)
    first, second = taken.events
    assert first.message == "failed: ValueError: invalid literal for int() with base 10: ?"
    assert second.error_type == "ValueError"
    assert "hunter2" not in repr(taken.events)


def test_through_a_queue_it_says_the_same(taken: Taken) -> None:
    line: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    logger = logging.Logger("shop")
    logger.addHandler(logging.handlers.QueueHandler(line))
    logger.error("failed", exc_info=caught(), stack_info=True, extra={"tries": 3})
    LogHandler(client=taken).handle(line.get())
    event = taken.event
    assert (event.message, event.error_type) == ("failed", "LookupError")
    assert event.error_message == "no such order"
    assert (event.error_stack or "").endswith(" caught")
    assert event.attributes == {"logger": "shop", "tries": 3}


def test_a_record_carries_the_ids_of_the_request(
    logger: logging.Logger, taken: Taken, request_at_hand: Context
) -> None:
    identify("joe", tenant="acme")
    logger.info("hello")
    event = taken.event
    assert (event.request_id, event.trace_id, event.user, event.tenant) == (
        "r-1", "a" * 32, "joe", "acme",
    )  # fmt: skip
    assert request_at_hand.said is None, "a log line is no event of the vocabulary"


def test_words_of_a_megabyte_are_cut_and_say_so(logger: logging.Logger, taken: Taken) -> None:
    logger.info("x" * 1_000_000, extra={"y": "y" * 1_000_000, "z": ["z"] * 1_000_000})
    event = taken.event
    assert (event.message or "").endswith(" [cut: 1000000 characters]")
    assert len(msgspec.json.encode(event)) < 50_000


def test_a_handler_takes_part_in_filters(taken: Taken) -> None:
    handler = LogHandler(client=taken)
    handler.addFilter(lambda record: record.getMessage() != "noise")
    assert not handler.handle(record("noise"))
    assert handler.handle(record("news"))
    assert taken.event.message == "news"


# --- no harm -------------------------------------------------------------------------------------


def test_arguments_that_do_not_fit_cost_only_themselves(
    logger: logging.Logger, taken: Taken, capsys: pytest.CaptureFixture[str]
) -> None:
    before = mishaps()
    logger.info("order %d of %s", "x", extra={"a": 1})
    event = taken.event
    assert (event.message, mishaps()) == ("order %d of %s", before + 1)
    assert event.attributes == {"logger": "shop.orders", "a": 1}
    logger.info("user %s", Broken())
    assert taken.event.message == "user %s"
    logger.info(Broken(), extra={"b": Broken()})
    assert taken.event.message == "<unprintable Broken>"
    assert capsys.readouterr().err == ""


def test_a_client_that_logs_is_not_heard_by_itself(taken: Taken) -> None:
    logger = logging.Logger("shop")

    class Talker(Taken):
        def take(self, item: Any, /) -> None:
            logger.error("taken")
            super().take(item)

    talker = Talker()
    logger.addHandler(LogHandler(client=talker))
    logger.error("first")
    assert talker.event.message == "first"


def test_words_that_log_while_they_are_told_are_told_once(taken: Taken) -> None:
    logger = logging.Logger("shop")
    logger.addHandler(LogHandler(client=taken))

    class Chatty:
        def __str__(self) -> str:
            logger.error("from within")
            return "chatty"

    logger.error("%s", Chatty())
    assert taken.event.message == "chatty"
    logger.error("again")
    assert taken.event.message == "again", "it listens again afterwards"


def test_our_own_words_are_not_news(taken: Taken) -> None:
    handler = LogHandler(client=taken)
    for name in ("tocsin", "tocsin.sdk.sending.ship"):
        handler.handle(record("m", 40, name=name))
    assert taken.events == []
    handler.handle(record("m", 40, name="tocsinist"))
    assert taken.event.attributes == {"logger": "tocsinist"}


def test_a_failing_client_at_the_root_does_not_go_round_in_circles() -> None:
    class Failing:
        def take(self, item: Any, /) -> None:
            raise OSError("full")

    logger = logging.getLogger("tests.sdk.bridges")
    handler = LogHandler(client=Failing())
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        harmless._told = -60.0  # so that the mishap itself is logged, to the root and so to us
        before = mishaps()
        logger.error("boom")
        assert mishaps() == before + 1
    finally:
        root.removeHandler(handler)


def test_a_slow_teller_holds_up_nobody_else(taken: Taken) -> None:
    handler = LogHandler(client=taken)
    inside, leave = threading.Event(), threading.Event()

    class Slow:
        def __str__(self) -> str:
            inside.set()
            leave.wait(30)
            return "slow"

    thread = threading.Thread(target=handler.handle, args=[record(Slow())])
    thread.start()
    assert inside.wait(30)
    handler.handle(record("quick"))
    assert taken.event.message == "quick"
    leave.set()
    thread.join(30)
    assert taken.event.message == "slow"


def test_many_threads_log_and_all_arrives(logger: logging.Logger, taken: Taken) -> None:
    def speak(name: int) -> None:
        for n in range(200):
            logger.info("%d %d", name, n)

    threads = [threading.Thread(target=speak, args=[n]) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({event.message for event in taken.events}) == 800


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner),
    max_leaves=6,
)
keys = st.text() | st.sampled_from(
    """event level logger exc_info exception stack_info positional_args tocsin_kind authz_fail
    resource user severity objects error outcome timestamp""".split()
)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(keys, anything))
def test_whatever_the_fields_are_an_event_comes_of_it_that_can_be_sent(
    fields: dict[str, Any],
) -> None:
    taken = Taken()
    given = dict(fields)
    assert StructlogProcessor(0, client=taken)(None, "critical", given) is given
    event = taken.event
    assert msgspec.json.decode(msgspec.json.encode(event), type=Event).layer == "app"
    assert list(given) == list(fields)
    LogHandler(client=taken).handle(record("m", **{f"x{k}": v for k, v in fields.items()}))
    msgspec.json.encode(taken.event)


# --- the vocabulary ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "extra",
    [
        {"authz_fail": {"user": "joe", "resource": "order:42"}},
        {"authz_fail": "joe,order:42"},
        {"authz_fail": ("joe", "order:42")},
        {"authz_fail": True, "user": "joe", "resource": "order:42"},
        {"tocsin_kind": "authz_fail", "user": "joe", "resource": "order:42"},
        {"tocsin_kind": "AUTHZ_FAIL:joe,order:42"},
        {"tocsin_kind": Kind.AUTHZ_FAIL, "user": "joe", "resource": "order:42"},
    ],
)
def test_a_field_named_after_the_vocabulary_makes_an_event_of_that_kind(
    extra: dict[str, Any], logger: logging.Logger, taken: Taken
) -> None:
    logger.info("not the owner", extra=extra)
    event = taken.event
    assert (event.kind, event.user, event.message) == (Kind.AUTHZ_FAIL, "joe", "not the owner")
    assert (event.object_type, event.objects) == ("order", ("42",))
    assert (event.outcome, event.severity) == ("failure", "critical")
    assert event.attributes == {"logger": "shop.orders"}


@pytest.mark.parametrize("kind", VOCABULARY)
def test_each_name_works_either_way(kind: Kind, taken: Taken) -> None:
    processor = StructlogProcessor(client=taken)
    processor(None, "info", {"event": "e", str(kind): True})
    assert taken.event.kind is kind
    processor(None, "info", {"event": "e", "tocsin_kind": str(kind)})
    assert taken.event.kind is kind


@pytest.mark.parametrize(
    "extra",
    [{"authz_fail": False}, {"authz_fail": None}, {"tocsin_kind": "nonsense"}, {"tocsin_kind": 7},
     {"tocsin_kind": "request"}, {"tocsin_kind": None}],
)  # fmt: skip
def test_what_names_no_kind_is_a_field_like_any_other(
    extra: dict[str, Any], logger: logging.Logger, taken: Taken
) -> None:
    logger.info("hm", extra=extra)
    event = taken.event
    assert event.kind is Kind.LOG
    assert event.attributes == {"logger": "shop.orders", **extra}


def test_an_event_by_the_log_is_said_of_the_request(
    logger: logging.Logger, request_at_hand: Context
) -> None:
    logger.info("no", extra={"authz_fail": True})
    assert request_at_hand.said == {"authz_fail"}


# --- structlog -----------------------------------------------------------------------------------


def test_an_event_dict_is_an_event_and_goes_on_as_it_came(taken: Taken) -> None:
    fields = {"event": "order late", "level": "warning", "logger": "shop", "order": {"id": 42}}
    before = dict(fields)
    assert StructlogProcessor(client=taken)(None, "warning", fields) is fields
    assert fields == before
    event = taken.event
    assert (event.message, event.severity) == ("order late", "warn")
    assert event.attributes == {"logger": "shop", "order": {"id": 42}}


@pytest.mark.parametrize(
    ("method", "level", "severity"),
    [("info", None, "info"), ("warn", None, "warn"), ("exception", None, "error"),
     ("fatal", None, "critical"), ("msg", None, "info"), ("info", "error", "error"),
     ("log", "critical", "critical"), ("odd", "odder", "info")],
)  # fmt: skip
def test_the_level_is_the_fields_or_the_methods(
    method: str, level: str | None, severity: str, taken: Taken
) -> None:
    StructlogProcessor("debug", client=taken)(None, method, {"event": "e", "level": level})
    assert taken.event.severity == severity


def test_below_its_level_a_processor_says_nothing_and_passes_on(taken: Taken) -> None:
    processor = StructlogProcessor("warning", client=taken)
    assert processor(None, "info", {"event": "e"}) == {"event": "e"}
    assert taken.events == []


def test_a_level_that_is_none_is_told_at_once() -> None:
    with pytest.raises(SettingsError, match="no level 'loud'; there are debug, info"):
        StructlogProcessor("loud")


@pytest.mark.parametrize("form", ["instance", "triple", "handled", "text", "transformed"])
def test_an_exception_comes_in_any_form(form: str, taken: Taken) -> None:
    error = caught()
    told: dict[str, dict[str, Any]] = {
        "instance": {"exc_info": error},
        "triple": {"exc_info": (type(error), error, error.__traceback__)},
        "handled": {"exc_info": True},
        "text": {"exception": "".join(traceback.format_exception(error))},
        "transformed": {
            "exception": [
                {
                    "exc_type": "LookupError",
                    "exc_value": "no such order",
                    "frames": [{"filename": "test_bridges.py", "lineno": 7, "name": "caught",
                                "locals": {"secret": "hunter2"}}],
                },
                {"exc_type": "KeyError", "exc_value": "'hunter2'", "frames": []},
            ]
        },
    }  # fmt: skip
    try:
        raise error
    except LookupError:
        StructlogProcessor(client=taken)(None, "error", {"event": "failed", **told[form]})
    event = taken.event
    assert (event.error_type, event.error_message) == ("LookupError", "no such order")
    assert "test_bridges.py:" in (event.error_stack or "")
    line = msgspec.json.encode(event).decode()
    assert "hunter2" not in line
    assert "raise" not in line
    assert event.attributes is None


def test_an_exception_drawn_with_its_values_is_left_out(taken: Taken) -> None:
    drawn = "╭─ Traceback ─╮\n│ secret = 'hunter2' │\n╰────╯\nKeyError: 1"
    StructlogProcessor(client=taken)(None, "error", {"event": "failed", "exception": drawn})
    assert "hunter2" not in msgspec.json.encode(taken.event).decode()


def test_an_event_dict_left_for_a_formatter_arrives_by_logging(
    logger: logging.Logger, taken: Taken
) -> None:
    logger.warning({"event": "late", "order": 42, "level": "warning", "timestamp": "now"})
    event = taken.event
    assert (event.message, event.severity) == ("late", "warn")
    assert event.attributes == {"logger": "shop.orders", "order": 42}


REAL = """
    import json, logging, sys
    import structlog
    from tocsin.sdk.saying.bridges import LogHandler, StructlogProcessor
    from tocsin.sdk.context import Context, current

    class Taken:
        def take(self, event):
            print(json.dumps([event.kind, event.severity, event.message, event.attributes,
                              event.error_type, event.request_id]))

    class Quiet:
        def msg(self, words): ...
        debug = info = warning = error = critical = msg

    def configure(*processors, **options):
        structlog.configure(processors=list(processors), cache_logger_on_first_use=False, **options)

    Context("r-1").bind()
    ours = StructlogProcessor(client=Taken())
    end = structlog.processors.KeyValueRenderer()

    configure(structlog.contextvars.merge_contextvars, structlog.processors.add_log_level,
              ours, end, logger_factory=lambda *a: Quiet())
    log = structlog.get_logger().bind(shop="x")
    log.warning("late order", n=1)
    log.debug("no")
    try:
        1 / 0
    except ZeroDivisionError:
        log.exception("failed")
    log.info("refused", authz_fail="joe,order:42")

    configure(structlog.processors.format_exc_info, ours, end, logger_factory=lambda *a: Quiet())
    try:
        1 / 0
    except ZeroDivisionError:
        structlog.get_logger().error("formatted", exc_info=True)

    configure(StructlogProcessor(client=Taken(), pass_on=False), 7,
              logger_factory=lambda *a: Quiet())
    structlog.get_logger().info("dropped")

    root = logging.getLogger()
    root.addHandler(LogHandler(client=Taken()))
    std = structlog.stdlib
    configure(std.add_logger_name, std.ProcessorFormatter.wrap_for_formatter,
              logger_factory=structlog.stdlib.LoggerFactory(),
              wrapper_class=structlog.stdlib.BoundLogger)
    structlog.get_logger("shop.late").warning("by logging", n=2)
"""


@apps.both
def test_with_the_real_structlog(age: str) -> None:
    told = [
        msgspec.json.decode(line) for line in apps.run(apps.interpreter(age), REAL).splitlines()
    ]
    assert told == [
        ["log", "warn", "late order", {"shop": "x", "n": 1}, None, "r-1"],
        ["log", "error", "failed", {"shop": "x"}, "ZeroDivisionError", "r-1"],
        ["authz_fail", "critical", "refused", {"shop": "x"}, None, "r-1"],
        ["log", "error", "formatted", None, "ZeroDivisionError", "r-1"],
        ["log", "info", "dropped", None, None, "r-1"],
        ["log", "warn", "by logging", {"logger": "shop.late", "n": 2}, None, "r-1"],
    ]
