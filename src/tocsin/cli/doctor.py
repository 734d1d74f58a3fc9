"""``tocsin doctor``."""

from __future__ import annotations

import sys

import click

from tocsin.cli.options import data_option, json_option, loaded
from tocsin.cli.out import json_line, put

__all__ = ["command"]

_HANG = 19  #: where what is said begins on its line


@click.command(
    "doctor",
    epilog="""\b
Examples:
  tocsin doctor
  tocsin doctor --data /srv/tocsin --json""",
)
@data_option
@json_option
def command(data: str | None, as_json: bool) -> None:
    """Check clock, disk, permissions, keys and rules; say what is wrong and how to mend it.

    Exit status: 0 nothing is wrong, 1 something is.
    """
    from tocsin.siem.doctor import examine

    checks = examine(loaded(data=data))
    for check in checks:
        if as_json:
            json_line(check)
        else:
            put(f"{check.state:<5} {check.name:<12} {check.says}", hang=_HANG)
            if check.mend:
                put(f"{'':<{_HANG}}mend: {check.mend}", hang=_HANG)
    sys.exit(1 if any(check.state == "bad" for check in checks) else 0)
