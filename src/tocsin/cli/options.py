"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from tocsin.cli.out import complain
from tocsin.errors import QueryError, UsageError
from tocsin.settings import Loaded, is_zone, load

__all__ = ["data_option", "json_option", "loaded", "when", "zone_option"]

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


def zone_option(command: F) -> F:
    """``--tz ZONE``."""
    return click.option(
        "--tz",
        default="UTC",
        show_default=True,
        metavar="ZONE",
        callback=_zone,
        help="Zone of times without one.",
    )(command)


def _zone(_context: click.Context, _option: click.Parameter, name: str) -> str:
    if not is_zone(name):
        raise click.BadParameter(
            f"no time zone is called {name!r}; use a name such as Europe/Berlin, or +02:00"
        )
    return name


def loaded(**flags: Any) -> Loaded:
    """The settings, with these flags on top; what of them is not obeyed is complained about."""
    found = load(flags)
    for problem in found.unknown:
        complain(f"{problem} (ignored)")
    for problem in found.left_out:
        complain(problem)
    return found


def when(text: str | None, option: str, now: int, *, end: bool = False) -> int | None:
    """``1h`` (ago), ``now``, ``now-15m`` or RFC 3339, as nanoseconds since 1970."""
    if text is None:
        return None
    from tocsin.query import moment

    try:
        return moment(text, now, end=end)
    except QueryError as error:
        raise UsageError(f"{option}: {error}") from error
