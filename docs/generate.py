"""Make ``docs/reference`` from the code.  ``python -m docs.generate`` writes; a test compares."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec

from tocsin import errors
from tocsin.cli.group import group
from tocsin.detect import compile_rules, pack
from tocsin.event import COLUMNS, VOCABULARY, Kind
from tocsin.event.kinds import ARGUMENTS, GROUPS, LEVELS
from tocsin.event.schema import DIALECTS
from tocsin.intake import PARSERS
from tocsin.settings import Follow, Settings, Smtp, Webhook

HERE = Path(__file__).parent / "reference"
NOTE = "<!-- Made from the code by `make docs`; do not edit. -->\n\n"


def pages() -> dict[str, str]:
    """Every page of the reference, by file name."""
    made = {
        "cli.md": _cli(),
        "settings.md": _settings(),
        "schema.md": _schema(),
        "kinds.md": _kinds(),
        "parsers.md": _parsers(),
        "rules.md": _rules(),
        "errors.md": _errors(),
    }
    return {name: NOTE + text.rstrip() + "\n" for name, text in made.items()}


def _cli() -> str:
    parts = ["# Commands\n"]
    for path, command in _commands(group, ["tocsin"]):
        context = click.Context(command, info_name=" ".join(path), terminal_width=100)
        parts.append(f"## {' '.join(path)}\n\n```text\n{command.get_help(context)}\n```\n")
    return "\n".join(parts)


def _commands(command: click.Command, path: list[str]) -> Iterator[tuple[list[str], click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from _commands(inner, [*path, name])


def _settings() -> str:
    lines = [
        "# Settings",
        "",
        "A flag wins over a variable `TOCSIN_NAME`, that over `./tocsin.toml`, that over the",
        "user's `tocsin.toml`, that over the default. `tocsin config show --origin` says which.",
        "The key-encryption key itself may stand in `TOCSIN_KEK` (base64 or hex).",
        "",
    ]
    for struct, title in (
        (Settings, ""),
        (Follow, "## [[follow]]\n\nA log file to follow.\n"),
        (Webhook, '## [[channels]] type = "webhook"\n\nIncidents as signed HTTP posts.\n'),
        (Smtp, '## [[channels]] type = "smtp"\n\nIncidents as mail.\n'),
    ):
        lines += [title] if title else []
        lines += ["| setting | default | what it does |", "|---|---|---|"]
        lines += [_setting(field) for field in msgspec.structs.fields(struct)]
        lines.append("")
    return "\n".join(lines)


def _setting(field: msgspec.structs.FieldInfo) -> str:
    info = msgspec.inspect.type_info(field.type)
    extra = info.extra_json_schema if isinstance(info, msgspec.inspect.Metadata) else None
    text = (extra or {}).get("description", "")
    if field.name in {"data", "kek_file"}:
        default = "the platform's place"
    elif field.required:
        default = "(must be given)"
    else:
        value = (
            field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
        )
        default = f"`{msgspec.json.encode(value).decode()}`"
    return f"| `{field.name}` | {default} | {text} |"


def _schema() -> str:
    head = ["column", "type", "personal", *DIALECTS, "meaning"]
    lines = ["# Canonical schema", "", "A dash: that dialect has no word for it.", ""]
    for name in dict.fromkeys(c.group for c in COLUMNS):
        lines += [f"## {name}", "", f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
        for column in (c for c in COLUMNS if c.group == name):
            dialects = [f"`{d}`" if (d := getattr(column, n)) else "-" for n in DIALECTS]
            cells = [f"`{column.name}`", column.type, "yes" if column.personal else "", *dialects]
            lines.append(f"| {' | '.join([*cells, column.doc])} |")
        lines.append("")
    return "\n".join(lines)


def _kinds() -> str:
    lines = [
        "# Kinds of events",
        "",
        "The 57 names of the OWASP Logging Vocabulary, and three of our own. On input any case is",
        "taken, and `name:argument,argument`.",
        "",
        "| kind | group | default level | arguments |",
        "|---|---|---|---|",
    ]
    for kind in VOCABULARY:
        arguments = ", ".join(f"`{a}`" for a in ARGUMENTS[kind])
        lines.append(f"| `{kind}` | {GROUPS[kind]} | {LEVELS[kind]} | {arguments} |")
    lines += [f"| `{k}` | own | {LEVELS[k]} | |" for k in (Kind.REQUEST, Kind.QUERY, Kind.LOG)]
    return "\n".join(lines)


def _parsers() -> str:
    lines = ["# Parsers", "", "| name | what it reads |", "|---|---|"]
    for name in sorted(PARSERS):
        module = sys.modules[PARSERS[name].__module__]
        lines.append(f"| `{name}` | {(module.__doc__ or '').strip().splitlines()[0]} |")
    return "\n".join(lines)


def _rules() -> str:
    rules = compile_rules(pack())
    head = ["| title | level | OWASP | ATT&CK | id |", "|---|---|---|---|---|"]
    lines = ["# Rules of the pack", "", *head]
    for rule in sorted((*rules.rules, *rules.correlations), key=lambda r: r.title):
        owasp, attack = ", ".join(rule.owasp), ", ".join(rule.attack)
        lines.append(f"| {rule.title} | {rule.level} | {owasp} | {attack} | `{rule.id}` |")
    return "\n".join(lines)


def _errors() -> str:
    tree = (errors.__doc__ or "").split("::\n", 1)[1].rsplit("\n\n", 1)[0]
    drawn = "\n".join(line[4:] for line in tree.strip("\n").split("\n"))
    return f"# Errors\n\n```text\n{drawn}\n```\n"


def main() -> None:
    """Write every page."""
    HERE.mkdir(exist_ok=True)
    for name, text in pages().items():
        (HERE / name).write_text(text)


if __name__ == "__main__":
    main()
