"""Options that several commands share."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

import click

from tocsin.cli.out import complain
from tocsin.errors import UsageError
from tocsin.event.times import read_when
from tocsin.settings import Loaded, load

__all__ = ["data_option", "json_option", "loaded", "when"]

F = TypeVar("F", bound=Callable[..., Any])


def data_option(command: F) -> F:
    """``--data DIR``."""
    return click.option(
        "--data",
        metavar="DIR",
        type=click.Path(file_okay=False),
        help="Directory of the vault. [default: from the settings]",
    )(command)


def json_option(command: F) -> F:
    """``--json``."""
    flag = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
    return flag(command)


def loaded(**flags: Any) -> Loaded:
    """The settings, with these flags on top; a variable that looks wrong is complained about."""
    found = load(flags)
    for problem in found.unknown:
        complain(f"{problem} (ignored)")
    return found


def when(text: str | None, option: str) -> int | None:
    """``1h``, ``now``, ``now-15m`` or RFC 3339 as nanoseconds since 1970."""
    if text is None:
        return None
    try:
        return read_when(text, time.time_ns())
    except ValueError as error:
        raise UsageError(
            f"{option} {text!r}: not a time; write 15m, 2h, 7d, now-1h or 2026-11-23T10:00:00Z"
        ) from error
