"""``tocsin up``."""

from __future__ import annotations

import gc
import shlex
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tocsin.cli.options import data_option, loaded
from tocsin.cli.out import complain, put, say
from tocsin.cli.show import FACT, new_vault
from tocsin.settings import Follow, Settings, default_data

if TYPE_CHECKING:
    from tocsin.siem.run import Up
    from tocsin.vault.store import Status

__all__ = ["command", "farewell"]


@click.command(
    "up",
    epilog="""\b
Examples:
  tocsin up
  tocsin up --follow /var/log/nginx/access.log
  tocsin up --demo""",
)
@data_option
@click.option("--listen", metavar="HOST:PORT", help="Address of the HTTP door.")
@click.option(
    "--follow", "files", multiple=True, metavar="FILE", help="Log file to follow; may be repeated."
)
@click.option(
    "--rules", "rules", multiple=True, metavar="DIR", help="Rules beside the pack; may be repeated."
)
@click.option("--insecure", is_flag=True, default=None, help="Allow plain HTTP beyond loopback.")
@click.option("--demo", is_flag=True, help="Tell a story of API traffic with attacks in it.")
@click.option("--remove-demo", is_flag=True, help="Remove the demo's data, and do nothing else.")
def command(
    data: str | None,
    listen: str | None,
    files: tuple[str, ...],
    rules: tuple[str, ...],
    insecure: bool | None,
    demo: bool,
    remove_demo: bool,
) -> None:
    """Start tocsin: doors, vault, detection, incidents.

    Runs until Ctrl-C.  Incidents are printed as they are opened.
    """
    from tocsin.siem.early import sealer

    # Before all that is to be imported here: it imports as much, beside us.
    early = None if remove_demo else sealer()
    gc.disable()  # what is imported stays: to look for garbage in it is a tenth of the time
    from tocsin.siem import demo as story
    from tocsin.siem.run import run

    gc.enable()
    found = loaded(data=data, listen=listen, insecure=insecure)
    settings = found.settings
    if demo or remove_demo:
        settings = _replace(settings, data=settings.data if data else settings.data + "-demo")
    if remove_demo:
        story.remove(Path(settings.data))
        say(f"removed {settings.data}")
        return
    if files or rules:
        settings = _replace(
            settings,
            follow=[*settings.follow, *(Follow(path=path) for path in files)],
            rules=[*settings.rules, *rules],
        )
    if demo:
        story.prepare(Path(settings.data))

    def tell(up: Up, stopping: threading.Event) -> None:
        try:
            story.tell(up, stopping, say=say)
        except Exception as error:  # noqa: BLE001  # the root of a thread
            complain(f"the demo could not be told: {error}")

    came_up: list[Up] = []

    def ready(up: Up) -> None:
        came_up.append(up)
        _greet(up)

    run(settings, ready=ready, printed=_print, beside=tell if demo else None, sealer=early)
    for up in came_up:
        vault = up.house.vault
        (say if vault.sealed_all else complain)(farewell(vault.status()))


def farewell(status: Status) -> str:
    """What became of everything that was acknowledged."""
    waiting = status.next_seq - status.sealed_seq
    why = status.sealing_failed or status.writing_failed
    if not waiting:
        unnoted = f", but the log does not say that it stopped ({why})" if why else ""
        return f"tocsin has stopped; everything it acknowledged is sealed{unnoted}"
    return (
        f"tocsin has stopped; {waiting} events in {status.jobs} epochs are not sealed: they wait "
        f"in the write-ahead log for the next start{f' ({why})' if why else ''}"
    )


def _replace(settings: Settings, **changes: object) -> Settings:
    import msgspec

    return msgspec.structs.replace(settings, **changes)


def _greet(up: Up) -> None:
    from tocsin.siem.checks import absent
    from tocsin.siem.rulebook import told

    usual = str(up.data) == default_data()
    at = "" if usual else f" --data {shlex.quote(str(up.data))}"
    ours = len(told(up.rules))
    follow = up.house.settings.follow
    say(
        "tocsin is up",
        f"  door     http://{up.address}/v1/events",
        f"  sources  tocsin token create --source NAME{at}",
        *(f"  {'' if n else 'follow':<8} {one.path}" for n, one in enumerate(follow)),
        f"  data     {up.data}",
        f"  key      {up.house.key_place}",
        "           keep a copy elsewhere: without it, nothing can be read",
        f"  rules    {ours or 'none: nothing is looked for'}",
        f"  look     tocsin tail{at}",
        f"           tocsin incidents list{at}",
        f"           tocsin search 'status:401'{at}",
        f"  prove    tocsin verify{at}",
        hang=FACT,
    )
    for path in absent(follow):
        complain(f"not there yet: {path}; it is followed from when it appears")
    if up.house.vault.first_epoch_key is not None:
        new_vault(up.house.vault.first_epoch_key)
    for notice in up.notices:
        complain(notice.words)
    for problem in up.problems:
        complain(f"{problem} (this rule is left out)")


def _print(text: str) -> None:
    put(text)
    sys.stdout.flush()
