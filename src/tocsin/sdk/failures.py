"""An exception, copied: its class, its words, its way; never its frames, nor any values."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, TracebackType
from typing import cast

from tocsin.sdk.plain import text
from tocsin.sdk.seen import Failure

__all__ = ["class_of", "failure_of"]

FRAMES = 50  #: in all, those nearest to where the exception was raised
FRAMES_BEHIND = 10  #: of one that led to it
BEHIND = 10  #: exceptions that led to it
LONGEST = 4096  #: characters of its words

_OURS = str(Path(__file__).parent)


def failure_of(error: BaseException, *, handled: bool = False, refuses: bool = False) -> Failure:
    """What can be kept of *error*; of those that caused it, class and last frames but no words.

    One that *refuses* values says nothing itself, since it would quote them.  A task group's
    wrapping of a single exception is taken off.
    """
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    lines = _frames(error.__traceback__, FRAMES)
    left = FRAMES - len(lines)
    for cause in _behind(error):
        frames = _frames(cause.__traceback__, min(left, FRAMES_BEHIND))
        left -= len(frames)
        lines += [f"caused by {class_of(cause)}", *frames]
    words = "" if refuses else text(error, LONGEST)
    return Failure(class_of(error), words, "\n".join(lines), handled)


def class_of(error: BaseException) -> str:
    """Qualified name of its class: ``app.errors.NotYours``; of a builtin one the name alone."""
    kind = type(error)
    if kind.__module__ == "builtins":
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"


def _frames(trace: TracebackType | None, most: int) -> list[str]:
    """``file:line function`` for each frame but our own, the innermost last."""
    nearest: deque[tuple[CodeType, int]] = deque(maxlen=most)
    while trace is not None:
        code = trace.tb_frame.f_code
        if not code.co_filename.startswith(_OURS):
            nearest.append((code, trace.tb_lineno))
        trace = trace.tb_next
    return [f"{code.co_filename}:{line} {code.co_qualname}" for code, line in nearest]


def _behind(error: BaseException) -> Iterator[BaseException]:
    """The exceptions that led to *error*, nearest first; each once, also in a circle."""
    seen = {id(error)}
    waiting = _nearest(error)
    while waiting and len(seen) <= BEHIND:
        cause = waiting.pop(0)
        if id(cause) not in seen:
            seen.add(id(cause))
            yield cause
            waiting += _nearest(cause)


def _nearest(error: BaseException) -> list[BaseException]:
    inner: list[BaseException] = []
    if isinstance(error, BaseExceptionGroup):
        inner += cast("tuple[BaseException, ...]", error.exceptions)
    if error.__cause__ is not None:
        return [*inner, error.__cause__]
    if error.__context__ is not None and not error.__suppress_context__:
        return [*inner, error.__context__]
    return inner
