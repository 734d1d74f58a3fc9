"""The ``tocsin`` command itself: lists its sub-commands, and imports one only when it is called."""

from __future__ import annotations

import difflib
import importlib
from typing import Any

import click
from click.shell_completion import get_completion_class

import tocsin
from tocsin.cli.entry import COMMANDS

__all__ = ["group"]


class Commands(click.Group):
    """Sub-commands by name, late."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run it; that the reader of its output has gone, as ``| head`` does, is no failure."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:  # which click would take for one
            raise click.exceptions.Exit(0) from error

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every name, in the order of :data:`COMMANDS`."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command's module; its ``command`` is what runs."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"tocsin.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List them without importing any."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with the nearest name for a wrong one."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            close = difflib.get_close_matches(args[0], COMMANDS, n=1)
            if close and "No such command" in error.message:
                words = f"No such command {args[0]!r}. Did you mean {close[0]!r}?"
                raise click.UsageError(words, ctx) from error
            raise


def _show_completion(ctx: click.Context, _option: click.Parameter, shell: str | None) -> None:
    if shell is None or ctx.resilient_parsing:
        return
    kind = get_completion_class(shell)
    assert kind is not None  # click.Choice lets only known shells through
    click.echo(kind(group, {}, "tocsin", "_TOCSIN_COMPLETE").source())
    ctx.exit()


@click.group(
    cls=Commands,
    no_args_is_help=True,
    epilog="""\b
Examples:
  tocsin up --demo                  look around, with a story of attacks
  tocsin scan access.log            find attacks in a log file
  tocsin up                         start for real, on 127.0.0.1:7461""",
)
@click.version_option(tocsin.__version__, prog_name="tocsin")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.option(
    "--completion",
    type=click.Choice(["bash", "zsh", "fish"]),
    callback=_show_completion,
    expose_value=False,
    is_eager=True,
    help='Print shell completion: eval "$(tocsin --completion bash)".',
)
def group(debug: bool) -> None:
    """An alarm bell for APIs: log, keep, detect, prove.

    Exit status: 0 done, 1 failure, 2 wrong usage; scan and verify: 3 something was found.
    """
    del debug  # read from the arguments before click sees them
