"""Make ``docs/reference`` from the code.  ``python -m docs.generate`` writes; a test compares."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec

import tocsin
from docs import vocabulary
from tocsin import errors, testing
from tocsin.cli.group import group
from tocsin.detect import compile_rules, pack
from tocsin.event import COLUMNS, VOCABULARY, Kind
from tocsin.event.kinds import ARGUMENTS, GROUPS, LEVELS
from tocsin.event.schema import DIALECTS
from tocsin.intake import PARSERS, company
from tocsin.intake.parsers import clients, envelope, times
from tocsin.sdk.options import Options
from tocsin.sdk.saying.log import Log
from tocsin.sdk.saying.say import Said
from tocsin.sdk.watching.django import Watch
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
        "sdk.md": _sdk(),
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
        "A file is read only when nobody but its reader, or root, can have written it: see",
        "[whose word settings are](../how-to/operate.md#whose-word-settings-are). `kek_file` and",
        "`kek_command` are never taken from `./tocsin.toml`.",
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
    for title, about in (
        ("Logs of several programs", company),
        ("Clients named in words", clients),
        ("Envelopes", envelope),
        ("Times", times),
    ):
        words = (about.__doc__ or "").strip().replace("``", "`")
        lines += ["", f"## {title}", "", words]
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


def _sdk() -> str:
    lines = [
        "# The SDK",
        "",
        "What `import tocsin` offers an application.",
        "",
        "| name | what it does |",
        "|---|---|",
        *(f"| `tocsin.{name}` | {_first_line(getattr(tocsin, name))} |" for name in _SDK),
        f"| `tocsin.testing.capture` | {_first_line(testing.capture)} |",
        f"| `tocsin.django.Watch` | {_first_line(Watch)} |",
        "",
        "## Options",
        "",
        "Given to `watch`, in Django's `TOCSIN`, or as `TOCSIN_NAME` in the environment.",
        "",
        "| option | default | what it does |",
        "|---|---|---|",
    ]
    said = dict(re.findall(r"^    (\w+): .*?#: (.*)$", inspect.getsource(Options), re.MULTILINE))
    for field in msgspec.structs.fields(Options):
        default = field.default
        if default is msgspec.NODEFAULT:
            default = field.default_factory()
        lines.append(
            f"| `{field.name}` | `{msgspec.json.encode(default).decode()}` | {said[field.name]} |"
        )
    lines += ["", "## tocsin.log", "", "All arguments go by name, and none is needed.", ""]
    lines += ["| method | when |", "|---|---|"]
    for kind in VOCABULARY:
        method = getattr(Log, kind.value)
        said_of_it = " ".join((method.__doc__ or "").split())
        arguments = ", ".join(name for name in ARGUMENTS[kind])
        lines.append(f"| `{kind}({arguments})` | {said_of_it} |")
    lines += ["", "Every method also takes *attributes*, a mapping of anything else, and:", ""]
    lines += ["| argument | |", "|---|---|"]
    about = dict(re.findall(r"^    (\w+): .*?#: (.*)$", inspect.getsource(Said), re.MULTILINE))
    lines += [f"| `{name}` | {about.get(name, '')} |" for name in Said.__annotations__]
    return "\n".join(lines)


_SDK = (
    "watch",
    "identify",
    "log",
    "flush",
    "LogHandler",
    "structlog_processor",
    "watch_sqlalchemy",
)


def _first_line(of: object) -> str:
    return (inspect.getdoc(of) or "").partition("\n\n")[0].replace("\n", " ")


def main() -> None:
    """Write every page, and the module that is made from the vocabulary."""
    HERE.mkdir(exist_ok=True)
    for name, text in pages().items():
        (HERE / name).write_text(text)
    vocabulary.PLACE.write_text(vocabulary.module())


if __name__ == "__main__":
    main()
