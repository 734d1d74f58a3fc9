"""Commands that take a query, which may begin with ``-``: ``-user:bob`` is everybody but bob."""

from __future__ import annotations

import difflib

import click

__all__ = ["Asking"]


class Asking(click.Command):
    """Takes ``-word`` for its query's; an unknown ``--word`` is wrong usage as everywhere."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does, after a look at the long options."""
        ctx.ignore_unknown_options = True
        known = {name for param in self.get_params(ctx) for name in param.opts}
        for word in args[: args.index("--")] if "--" in args else args:
            name = word.partition("=")[0]
            if name.startswith("--") and name not in known and not ctx.resilient_parsing:
                close = difflib.get_close_matches(name, known)
                raise click.NoSuchOption(name, possibilities=close, ctx=ctx)
        return super().parse_args(ctx, args)
