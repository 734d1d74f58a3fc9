"""``tocsin config``."""

from __future__ import annotations

import sys

import click
import msgspec

from tocsin.cli.options import json_option, loaded
from tocsin.cli.out import complain, json_line, put, say, table
from tocsin.settings import schema

__all__ = ["command"]

_SECRET = {"secret", "password"}


@click.group(
    "config",
    no_args_is_help=True,
    epilog="""\b
Examples:
  tocsin config show --origin
  tocsin config validate""",
)
def command() -> None:
    """Show, check and describe the settings."""


@command.command(
    epilog="""\b
Examples:
  tocsin config show
  tocsin config show --origin --json"""
)
@click.option("--origin", is_flag=True, help="Say where each comes from.")
@json_option
def show(origin: bool, as_json: bool) -> None:
    """Print the settings in force.  Secrets are left out."""
    found = loaded()
    for note in found.application:
        say(f"note: {note}")
    values = _without_secrets(msgspec.to_builtins(found.settings))
    if as_json:
        json_line(
            {n: {"value": v, "origin": found.origins[n]} for n, v in values.items()}
            if origin
            else values
        )
        return
    rows = [
        [name, msgspec.json.encode(value).decode(), *([found.origins[name]] if origin else [])]
        for name, value in values.items()
    ]
    table(["setting", "value", *(["from"] if origin else [])], rows)


@command.command(
    epilog="""\b
Examples:
  tocsin config validate && tocsin up"""
)
def validate() -> None:
    """Check all that `tocsin up` asks of its settings; exit 2 if something is wrong with them.

    It looks for rules, what they ask for, and parsers, tries the address, and asks for the
    key-encryption key.  What may be right all the same is noted only.
    """
    from tocsin.settings import load
    from tocsin.siem.checks import notes, problems

    found = load()
    for note in (*found.application, *notes(found.settings)):
        say(f"note: {note}")
    wrong = [*found.unknown, *found.left_out, *problems(found.settings)]
    for problem in wrong:
        complain(problem)
    if wrong:
        sys.exit(2)
    say("the settings are good")


@command.command(
    "schema",
    epilog="""\b
Examples:
  tocsin config schema > tocsin.schema.json""",
)
def schema_() -> None:
    """Print the JSON Schema of tocsin.toml, for editors."""
    put(*schema().decode().split("\n"))


def _without_secrets(value: object) -> dict[str, object]:
    assert isinstance(value, dict)
    return {name: _hidden(name, inner) for name, inner in value.items()}


def _hidden(name: str, value: object) -> object:
    if isinstance(value, dict):
        return _without_secrets(value)
    if isinstance(value, list):
        return [_hidden(name, inner) for inner in value]
    return "(set)" if name in _SECRET and value else value
