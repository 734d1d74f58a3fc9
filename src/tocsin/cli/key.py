"""``tocsin key``."""

from __future__ import annotations

from pathlib import Path

import click

from tocsin.cli.options import data_option, json_option, loaded
from tocsin.cli.out import complain, json_line, say, table
from tocsin.cli.who import who

__all__ = ["command"]


@click.group(
    "key",
    no_args_is_help=True,
    epilog="""\b
Examples:
  tocsin key show
  tocsin key rotate --to ~/.config/tocsin/kek-2027""",
)
def command() -> None:
    """Show and rotate the key-encryption key.

    Each file of the vault has its own key; the key-encryption key wraps them.  Without it nothing
    in the vault can be read: keep a copy of it somewhere else.
    """


@command.command(
    epilog="""\b
Examples:
  tocsin key show
  tocsin key show --data /srv/tocsin --json"""
)
@data_option
@json_option
def show(data: str | None, as_json: bool) -> None:
    """Say where the key comes from, its generation, and what it wraps; never the key itself."""
    from tocsin.siem.house import key_source
    from tocsin.vault.keys import KeyRing

    settings = loaded(data=data).settings
    source = key_source(settings)
    ring = KeyRing(Path(settings.data) / "keys", source)
    facts = {"from": source.place, "generation": ring.generation, "keys": len(ring.names())}
    if as_json:
        json_line(facts)
        return
    table(["from", "generation", "wrapped keys"], [[str(v) for v in facts.values()]])


@command.command(
    epilog="""\b
Examples:
  tocsin key rotate --to ~/.config/tocsin/kek-2027"""
)
@click.option(
    "--to",
    "new",
    required=True,
    metavar="FILE",
    help="File of the new key; made if it is not there.",
)
@data_option
def rotate(new: str, data: str | None) -> None:
    """Wrap every key with a new key-encryption key.  No data is rewritten.

    Stop tocsin first.  Interrupted, it is simply run again.
    """
    from tocsin.siem.rotation import rotate as turn

    settings = loaded(data=data).settings
    made = turn(settings, Path(new), by=who())
    if made.keys:
        say(f"{made.keys} keys are wrapped with {new} now")
    else:
        say(f"the keys are wrapped with {new} already; nothing was to be done")
    say(f"{made.advice}, and keep the old key as long as backups of the old keys exist")
    if made.unrecorded:
        complain(f"no event could be written about it: {made.unrecorded}")
