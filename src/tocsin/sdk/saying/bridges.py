"""What the application logs already, as events: a ``logging`` handler and a structlog processor.

Both take a message with its level, the exception, the logger's name and the fields that came with
it, and the ids of the request at hand.  A field named after the vocabulary makes the event one of
that kind::

    log.warning("not the owner", extra={"authz_fail": {"user": "joe", "resource": "order:42"}})
    log.warning("not the owner", extra={"tocsin_kind": "authz_fail", "resource": "order:42"})
"""

from __future__ import annotations

import logging
import re
import sys
import threading
from collections.abc import Mapping, MutableMapping, Sequence
from importlib import import_module
from typing import Any

from tocsin.errors import SettingsError
from tocsin.event.kinds import ARGUMENTS, VOCABULARY, Kind, Level, read_kind
from tocsin.event.model import Event
from tocsin.sdk.harmless import harmless
from tocsin.sdk.plain import plain, text
from tocsin.sdk.quoted import without_values
from tocsin.sdk.saying.say import Taker, event_of, tell

__all__ = ["LogHandler", "StructlogProcessor", "structlog_processor"]

#: The field that says of which kind an event is.
KIND = "tocsin_kind"


class _Busy(threading.local):
    """Whether this thread is at it already: what is logged meanwhile would come back for ever."""

    now = False


_busy = _Busy()


class LogHandler(logging.Handler):
    """Add it to a logger, most often the root, and what is logged there becomes events.

    *level* is the least severe that does.  Formatters are not asked: the fields are kept apart.
    """

    def __init__(self, level: int | str = logging.INFO, *, client: Taker | None = None) -> None:
        super().__init__(level)
        self._client = client

    def handle(self, record: logging.LogRecord) -> bool:
        """As any handler does, but without a lock: nobody waits for another's ``__str__``."""
        kept: Any = self.filter(record)
        if kept:
            self.emit(kept if isinstance(kept, logging.LogRecord) else record)
        return bool(kept)

    def emit(self, record: logging.LogRecord) -> None:
        """Tell of *record*.  Never raises."""
        if _busy.now:
            return
        _busy.now = True
        try:
            with harmless:
                if not _is_ours(record.name):
                    tell(self._client, _of_record(record))
        finally:
            _busy.now = False


class StructlogProcessor:
    """A processor: put it after those that add fields, and before the renderer.

    *level* is the least severe that becomes an event.  The event dict goes on as it came, or with
    *pass_on* off no further.
    """

    def __init__(
        self, level: int | str = "info", *, pass_on: bool = True, client: Taker | None = None
    ) -> None:
        self._least = level if isinstance(level, int) else _known_number(level)
        self._pass_on = pass_on
        self._client = client

    def __call__(
        self, logger: Any, method_name: str, event_dict: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        """Tell of *event_dict*.  Never raises, but for structlog's DropEvent with *pass_on* off."""
        if not _busy.now:
            _busy.now = True
            try:
                with harmless:
                    self._tell(logger, method_name, event_dict)
            finally:
                _busy.now = False
        if not self._pass_on:
            raise import_module("structlog").DropEvent
        return event_dict

    def _tell(self, logger: Any, method_name: str, event_dict: Mapping[str, Any]) -> None:
        number = _number(event_dict.get("level"), method_name)
        name = _name(logger, event_dict)
        if number >= self._least and not _is_ours(name):
            tell(self._client, _of_fields(event_dict, number, name))


def _is_ours(name: str | None) -> bool:
    return name is not None and (name == "tocsin" or name.startswith("tocsin."))


# --- logging -------------------------------------------------------------------------------------

#: What a record has of itself; anything else was given as ``extra``.
_OWN = frozenset({*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"})


def _of_record(record: logging.LogRecord) -> Event:
    extra = {name: value for name, value in vars(record).items() if name not in _OWN}
    time_ns = int(record.created * 1e6) * 1000  # a float does not know nanoseconds
    if isinstance(record.msg, Mapping):  # an event dict that structlog left for a formatter
        fields = {**record.msg, **extra}
        fields.setdefault("exc_info", record.exc_info)
        return _of_fields(fields, record.levelno, record.name, time_ns=time_ns)
    said = _apart(_message(record), record.msg)
    if record.exc_info:
        said["error"] = record.exc_info[1]
    return _event(said, extra, record.levelno, record.name, time_ns)


def _message(record: logging.LogRecord) -> Any:
    arguments = record.args
    if isinstance(record.msg, BaseException):
        return record.msg
    try:
        return str(record.msg) % _told(arguments) if arguments else record.getMessage()
    except Exception as error:  # noqa: BLE001  arguments that do not fit, or that cannot be told
        harmless.mishap(error)
        return record.msg


# --- structlog -----------------------------------------------------------------------------------

#: What structlog and its processors add, and is told in columns or means nothing to others.
_THEIRS = frozenset(
    """event level level_number logger logger_name exc_info exception stack stack_info timestamp
    positional_args _record _from_structlog _logger _name""".split()
)


def _of_fields(
    fields: Mapping[str, Any], number: int, name: str | None, *, time_ns: int | None = None
) -> Event:
    said = _apart(_formatted(fields), fields.get("event"))
    error = _error(fields.get("exc_info"))
    if error is not None:
        said["error"] = error
    elif fields.get("exception"):
        said |= _told_error(fields["exception"])
    rest = {key: value for key, value in fields.items() if key not in _THEIRS}
    return _event(said, rest, number, name, time_ns)


def _formatted(fields: Mapping[str, Any]) -> Any:
    words: Any = fields.get("event")
    arguments = fields.get("positional_args")
    if arguments:
        try:
            return words % _told(arguments)
        except Exception as error:  # noqa: BLE001  as with logging
            harmless.mishap(error)
    return words


def _error(given: Any) -> BaseException | None:
    """The exception of ``exc_info``: itself, in a triple, or the one that is being handled."""
    if isinstance(given, BaseException):
        return given
    if isinstance(given, tuple):
        return given[1] if len(given) == 3 and isinstance(given[1], BaseException) else None
    return sys.exc_info()[1] if given else None


def _name(logger: Any, fields: Mapping[str, Any]) -> str | None:
    name = fields.get("logger") or getattr(logger, "name", None)
    return name if isinstance(name, str) else None


_NUMBERS = {
    word: number
    for number, words in {
        logging.NOTSET: "notset",
        logging.DEBUG: "debug",
        logging.INFO: "info msg log",
        logging.WARNING: "warn warning",
        logging.ERROR: "err error exception failure",
        logging.CRITICAL: "critical fatal",
    }.items()
    for word in words.split()
}


def _known_number(level: str) -> int:
    number = _NUMBERS.get(level.lower())
    if number is None:
        raise SettingsError(
            f"structlog processor: no level {level!r}; "
            "there are debug, info, warning, error and critical"
        )
    return number


def _number(level: Any, method_name: str) -> int:
    """The number that ``logging`` has for it."""
    for word in (level, method_name):
        if isinstance(word, str) and (number := _NUMBERS.get(word.lower())) is not None:
            return number
    return _NUMBERS["info"]


def _told(arguments: Any) -> Any:
    """*arguments* of a message, of exceptions the words without what these quote.

    Whoever is named in a message may be called like a traceback; that makes none of it.
    """
    if isinstance(arguments, tuple):
        return tuple(_told_one(one) for one in arguments)
    if isinstance(arguments, dict):
        return {key: _told_one(one) for key, one in arguments.items()}
    return arguments


def _told_one(argument: Any) -> Any:
    if isinstance(argument, BaseException):
        return text(argument)
    if isinstance(argument, str) and _TRACE in argument:
        before, _, told = argument.partition(_TRACE)
        error = _of_traceback(told[-_LONGEST_TRACE:])
        return f"{before}{error.get('error_type') or _TRACE}: {error.get('error_message') or ''}"
    return argument


# --- exceptions that somebody has made text of ----------------------------------------------------

_TRACE = "Traceback (most recent call last):"
_STACK = "Stack (most recent call last):"
_FRAME = re.compile(r'^ *File "([^"\n]{1,1024})", line (\d{1,9}), in ([^\n]{1,256})$', re.M)
_LAST_WORDS = re.compile(r"^([A-Za-z_][\w.]{0,255})(?:: ([^\0]*))?", re.M)
_FRAMES = 50
_LONGEST_TRACE = 65_536


def _apart(words: Any, template: Any) -> dict[str, Any]:
    """A message, and apart from it the traceback that its *template* holds."""
    if isinstance(template, str) and isinstance(words, str) and _TRACE in template:
        words, _, told = words.partition(_TRACE)
        return {"message": words.rstrip() or None, **_of_traceback(told[-_LONGEST_TRACE:])}
    return {"message": words}


def _told_error(told: Any) -> dict[str, Any]:
    """Class, words and frames of an exception that a processor has rendered, without its values."""
    if isinstance(told, str):
        return _of_traceback(told[-_LONGEST_TRACE:])
    if isinstance(told, Sequence) and told and isinstance(told[0], Mapping):
        return _of_transformed(told[0])
    return {}


def _of_traceback(told: str) -> dict[str, Any]:
    """Source lines and values stand indented; what comes after the last frame names the error."""
    told = told.partition(_STACK)[0]
    frames = list(_FRAME.finditer(told))
    if not frames:
        return {}
    last = _LAST_WORDS.search(told, frames[-1].end())
    return {
        "error_type": last and last[1],
        "error_message": last and last[2] and without_values(last[2].strip(), last[1]),
        "error_stack": "\n".join(f"{f[1]}:{f[2]} {f[3]}" for f in frames[-_FRAMES:]),
    }


def _of_transformed(told: Mapping[str, Any]) -> dict[str, Any]:
    frames = [frame for frame in told.get("frames", ()) if isinstance(frame, Mapping)]
    lines = [f"{f.get('filename')}:{f.get('lineno')} {f.get('name')}" for f in frames[-_FRAMES:]]
    return {
        "error_type": told.get("exc_type"),
        "error_message": without_values(text(told.get("exc_value")), text(told.get("exc_type"))),
        "error_stack": "\n".join(lines) or None,
    }


# --- either --------------------------------------------------------------------------------------


def _event(
    said: dict[str, Any],
    fields: dict[str, Any],
    number: int,
    name: str | None,
    time_ns: int | None,
) -> Event:
    """A log event, or one of the kind that *fields* name."""
    logger = {"logger": name} if name else None
    kind, arguments = _named(fields)
    if kind is Kind.LOG:
        attributes = {**(logger or {}), **fields}
        said["severity"] = _severity(number)
        return event_of(kind, said, attributes or None, time_ns=time_ns)
    return event_of(kind, {**fields, **arguments, **said}, logger, time_ns=time_ns)


def _severity(number: int) -> Level:
    if number >= logging.ERROR:
        return Level.CRITICAL if number >= logging.CRITICAL else Level.ERROR
    if number >= logging.WARNING:
        return Level.WARN
    return Level.INFO if number >= logging.INFO else Level.DEBUG


_NAMES = {str(kind): kind for kind in VOCABULARY}


def _named(fields: dict[str, Any]) -> tuple[Kind, Mapping[str, Any]]:
    """Takes the name of a kind out of *fields*: the kind, and the arguments that stand with it."""
    if fields.get(KIND) is not None:
        kind, words = read_kind(text(fields[KIND]))
        if kind is not None and kind in ARGUMENTS:
            del fields[KIND]
            return kind, _arguments(kind, words)
    for name in fields:
        if name in _NAMES and fields[name] not in (None, False):
            kind, given = _NAMES[name], fields.pop(name)
            return kind, _arguments(kind, given)
    return Kind.LOG, {}


def _arguments(kind: Kind, given: Any) -> Mapping[str, Any]:
    """What is *given*: ``{"user": "joe"}``, ``("joe", "order:42")`` or ``"joe,order:42"``."""
    if isinstance(given, Mapping):
        copied = plain(given)
        return copied if isinstance(copied, dict) else {}
    if isinstance(given, str):
        given = [word.strip() for word in given.split(",")]
    if isinstance(given, (list, tuple)):
        return dict(zip(ARGUMENTS[kind], given, strict=False))
    return {}


#: Put this among structlog's processors.
structlog_processor = StructlogProcessor()
