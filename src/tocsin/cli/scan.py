"""``tocsin scan``."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING

import click

from tocsin.cli.options import zone_option
from tocsin.cli.out import complain, json_line, put, say
from tocsin.cli.progress import Progress
from tocsin.cli.send import size_of
from tocsin.cli.show import FACT, few, incident_text
from tocsin.errors import TocsinError, UsageError
from tocsin.event import shown

if TYPE_CHECKING:
    from tocsin.detect import Engine, RuleSet

__all__ = ["command"]

#: Exit statuses: there are incidents; a file could not be read.
FOUND, FAILURE = 3, 1


@click.command(
    "scan",
    epilog="""\b
Examples:
  tocsin scan access.log
  tocsin scan /var/log/nginx/access.log* --json
  tocsin scan app.ndjson --rules ./rules

Exit status: 0 clean, 3 incidents, 2 usage; 1 when a file could not be read to its end, or no rule
could be run, whatever was found.""",
)
@click.argument(
    "files", nargs=-1, required=True, metavar="FILE...", type=click.Path(allow_dash=True)
)
@click.option("--source", metavar="NAME", help="Name of the source. [default: the file's name]")
@click.option("--parser", metavar="NAME", help="Format. [default: found from the lines]")
@zone_option
@click.option(
    "--rules",
    "directories",
    multiple=True,
    metavar="DIR",
    help="Rules beside the pack; may be repeated.",
)
@click.option("--no-pack", is_flag=True, help="Leave the built-in rules out.")
@click.option("--json", "as_json", is_flag=True, help="Print one incident a line, as JSON.")
def command(
    files: tuple[str, ...],
    source: str | None,
    parser: str | None,
    tz: str,
    directories: tuple[str, ...],
    no_pack: bool,
    as_json: bool,
) -> None:
    """Look for attacks in log files; no server needed.

    Files of any known format, packed with gzip or zstd or not, are replayed on event time.  Several
    are merged.  ``-`` is standard input.
    """
    from tocsin.intake.admit import warm

    # Beside what is still to be imported and read: compiling leaves Python to others.
    threading.Thread(target=warm, name="warming", daemon=True).start()
    from tocsin.detect import Engine
    from tocsin.intake import PARSERS
    from tocsin.siem.rulebook import load_rules, unknown_fields
    from tocsin.siem.scan import scan

    if parser is not None and parser not in PARSERS:
        raise UsageError(f"--parser {parser}: there are {', '.join(sorted(PARSERS))}")
    rules = load_rules(directories, with_pack=not no_pack)
    for problem in rules.problems:
        complain(f"{problem} (this rule is left out)")
    engine = Engine(rules)
    for problem in engine.problems:
        complain(f"{problem} (this rule is not done as written)")
    for stranger in unknown_fields(directories):
        say(f"note: {stranger}")
    running, broken = _running(rules, engine)
    if not running:
        if not broken:
            raise UsageError(
                "there are no rules, so nothing would be found; name some with --rules"
            )
        raise TocsinError("none of the rules can be run, so nothing would be found; correct them")
    began = time.monotonic()
    # What is packed or piped tells its true size only at its end.
    known = not any(name == "-" or name.endswith((".gz", ".zst")) for name in files)
    total = sum(size_of(name) or 0 for name in files) if known else None
    done: Counter[str] = Counter()
    with Progress("scanning", total) as progress:

        def hear(name: str, size: int, findings: int) -> None:
            done[name] += size
            progress.at(done.total(), f"{findings} findings" if findings else "")

        found = scan(files, engine, parser=parser, source=source, tz=tz, progress=hear)
    for incident in found.incidents:
        places = [found.place(seq) for seq in incident.evidence]
        if as_json:
            json_line(shown(incident) | {"evidence": places})
        else:
            evidence = few(places, incident.count)
            put(*incident_text(incident, evidence=evidence), "", hang=FACT)
    sys.stdout.flush()
    took = time.monotonic() - began
    formats = ", ".join(sorted(set(found.parsers.values()))) or "nothing"
    by = f"{running} rules" + (f" ({broken} left out)" if broken else "")
    many = len(found.incidents)
    say(
        f"{found.events} events of {formats} looked at by {by} in {took:.1f} s; "
        f"{many} incident{'' if many == 1 else 's'}"
    )
    for name in files:
        if name not in found.parsers and name not in found.unread:
            complain(f"{name}: it is empty; nothing was looked at")
    for words in found.troubles.words():
        complain(words)
    for why in found.unread.values():
        complain(why)
    sys.exit(FAILURE if found.unread else FOUND if found.incidents else 0)


def _running(rules: RuleSet, engine: Engine) -> tuple[int, int]:
    """How many rules are at work, and how many are not."""
    from tocsin.siem.rulebook import told

    lame = {(p.file, p.line) for p in engine.problems}
    correlations = {(c.file, c.line) for c in rules.correlations}
    out = lame & correlations
    return len(told(rules)) - len(out), len(rules.problems) + len(out)
