"""``tocsin rules``."""

from __future__ import annotations

import sys

import click

from tocsin.cli.options import json_option, loaded
from tocsin.cli.out import complain, json_line, put, say, shortened, table

__all__ = ["command"]


@click.group(
    "rules",
    no_args_is_help=True,
    epilog="""\b
Examples:
  tocsin rules list
  tocsin rules test --rules ./rules""",
)
def command() -> None:
    """List and test detection rules."""


_directories = click.option(
    "--rules",
    "directories",
    multiple=True,
    metavar="DIR",
    help="Rules beside the pack; may be repeated.",
)


@command.command(
    "list",
    epilog="""\b
Examples:
  tocsin rules list
  tocsin rules list --all
  tocsin rules list --rules ./rules --json""",
)
@click.option("--all", "every", is_flag=True, help="Those too that only serve other rules.")
@_directories
@json_option
def list_(directories: tuple[str, ...], every: bool, as_json: bool) -> None:
    """List the rules that are loaded, those that cannot see, and those that are broken.

    A blind rule asks for a field that no event can have: it would never fire.  A field that only
    attributes could have is noted.  Building blocks, which tell nothing by themselves and only
    serve rules that count, are left out without --all.

    Exit status: 0 all can be done as written, 1 some cannot.
    """
    from tocsin.detect import Engine
    from tocsin.siem.rulebook import load_rules, told, unknown_fields

    settings = loaded().settings
    rules = load_rules([*settings.rules, *directories], with_pack=settings.pack)
    blind = {b.rule: ", ".join(b.fields) for b in rules.blind}
    shown = (*rules.rules, *rules.correlations) if every else told(rules)
    if as_json:
        for rule in shown:
            json_line(
                {
                    "id": rule.id,
                    "title": rule.title,
                    "level": rule.level,
                    "file": rule.file,
                    "owasp": rule.owasp,
                    "attack": rule.attack,
                    "author": rule.author,
                    "tests": len(rule.tests),
                    "blind": blind.get(rule.id),
                }
            )
    else:
        ids = shortened([rule.id for rule in (*rules.rules, *rules.correlations)])
        table(
            ["id", "level", "title", "owasp", "blind for"],
            [
                [
                    ids[rule.id], rule.level, rule.title,
                    ", ".join(rule.owasp), blind.get(rule.id, ""),
                ]
                for rule in shown
            ],
            whole=["id", "level"],
            drop=["owasp"],
        )  # fmt: skip
    for stranger in unknown_fields([*settings.rules, *directories]):
        say(f"note: {stranger}")
    problems = (*rules.problems, *Engine(rules).problems)
    for problem in problems:
        complain(str(problem))
    sys.exit(1 if problems else 0)


@command.command(
    epilog="""\b
Examples:
  tocsin rules test
  tocsin rules test brute
  tocsin rules test --rules ./rules mine.yml"""
)
@click.argument("which", nargs=-1, metavar="[RULE]...")
@_directories
@json_option
def test(which: tuple[str, ...], directories: tuple[str, ...], as_json: bool) -> None:
    """Run the tests that rules carry.  RULE is a file's name or part of it.

    Exit status: 0 all pass, 1 some fail.
    """
    from tocsin.detect import compile_rules, pack, run_tests, strangers
    from tocsin.siem.rulebook import rule_files

    settings = loaded().settings
    files = rule_files([*settings.rules, *directories], with_pack=settings.pack)
    chosen = [f for f in files if not which or any(word in f.name for word in which)]
    if not chosen:
        raise click.BadParameter(
            f"no rule file has {' or '.join(which)} in its name", param_hint="RULE"
        )
    failed = 0
    for file in chosen:
        for result in run_tests(file):
            failed += not result.passed
            if as_json:
                json_line(result)
            else:
                mark = "pass" if result.passed else "FAIL"
                why = f": {result.message}" if result.message else ""
                put(f"{mark}  {file.name}  {result.test}{why}", hang=6)
    ours = {file.name for file in pack()}
    for stranger in strangers(compile_rules(f for f in chosen if f.name not in ours)):
        say(f"note: {stranger}")
    sys.exit(1 if failed else 0)
