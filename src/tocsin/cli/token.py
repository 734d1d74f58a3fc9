"""``tocsin token``."""

from __future__ import annotations

import click

from tocsin.cli.options import data_option, json_option, loaded, zone_option
from tocsin.cli.out import json_line, put, say, table
from tocsin.cli.show import ago, new_vault
from tocsin.cli.who import who

__all__ = ["command"]


@click.group(
    "token",
    no_args_is_help=True,
    epilog="""\b
Examples:
  tocsin token create --source orders
  tocsin token list
  tocsin token revoke ID""",
)
def command() -> None:
    """Make, list and revoke the keys of sources."""


@command.command(
    epilog="""\b
Examples:
  tocsin token create --source orders
  tocsin token create --source edge --parser nginx --layer gateway --json"""
)
@click.option("--source", required=True, metavar="NAME", help="Who will send with this key.")
@click.option(
    "--layer",
    type=click.Choice(["app", "gateway", "database", "host", "identity"]),
    help="Where the source sits. [default: the parser's]",
)
@click.option("--service", metavar="NAME", help="Service that the events speak of.")
@click.option("--env", metavar="NAME", help="Deployment environment.")
@click.option("--host", metavar="NAME", help="Machine, where events do not say it.")
@click.option("--tenant", metavar="NAME", help="Customer that the events belong to.")
@zone_option
@click.option("--parser", metavar="NAME", help="Format of what is sent. [default: native events]")
@data_option
@json_option
def create(data: str | None, as_json: bool, **said: str | None) -> None:
    """Make a key.  It is shown once; only a keyed hash of it is kept."""
    from tocsin.intake import PARSERS
    from tocsin.siem.access import NewToken, access

    if said["parser"] is not None and said["parser"] not in PARSERS:
        raise click.BadParameter(f"there are {', '.join(sorted(PARSERS))}", param_hint="--parser")
    with access(loaded(data=data).settings, create=True) as house:
        made = house.create_token(NewToken(**said), by=who())  # type: ignore[arg-type]  # click checked them
        first_key = house.first_epoch_key
    if as_json:
        json_line({"token": made})
    else:
        put(made)
        say("keep it safe: it is not shown again")
    if first_key is not None:
        new_vault(first_key)


@command.command(
    "list",
    epilog="""\b
Examples:
  tocsin token list
  tocsin token list --json | jq -r 'select(.last_used_at == null).source'""",
)
@data_option
@json_option
def list_(data: str | None, as_json: bool) -> None:
    """List the keys, without their secrets."""
    from tocsin.siem.access import access

    with access(loaded(data=data).settings) as house:
        found = house.tokens()
    if as_json:
        for token in found:
            json_line(token)
        return
    table(
        ["id", "source", "made", "last used", "state"],
        [
            [
                t.id,
                t.source,
                ago(t.created_at),
                ago(t.last_used_at),
                "revoked" if t.revoked_at else "good",
            ]
            for t in found
        ],
    )


@command.command(
    epilog="""\b
Examples:
  tocsin token list                       shows the ids
  tocsin token revoke ID"""
)
@click.argument("token_id", metavar="ID")
@data_option
@json_option
def revoke(token_id: str, data: str | None, as_json: bool) -> None:
    """End a key, within a second."""
    from tocsin.siem.access import access

    with access(loaded(data=data).settings) as house:
        house.revoke_token(token_id, by=who())
    if as_json:
        json_line({"id": token_id, "revoked": True})
    else:
        say(f"key {token_id} is revoked")
