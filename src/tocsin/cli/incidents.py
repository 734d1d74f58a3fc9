"""``tocsin incidents``."""

from __future__ import annotations

import difflib
import sys
import time
from typing import TYPE_CHECKING

import click

from tocsin.cli.options import data_option, json_option, loaded, when
from tocsin.cli.out import complain, json_line, put, say, shortened, table, terminal_width
from tocsin.cli.show import FACT, ago, few, incident_text, moment
from tocsin.cli.who import who
from tocsin.errors import Damaged, KeyMissing, KeyWrong, UsageError
from tocsin.event import NAMES, CloseReason, Entity, Incident, Severity, Status, shown
from tocsin.settings import Settings

if TYPE_CHECKING:
    import polars as pl

__all__ = ["command"]

#: What is shown of each event of the evidence, and what of it a narrow terminal has no room for.
_EVIDENCE = ["seq", "time", "source", "kind", "user", "method", "path", "status", "message"]
_LESS = ["method", "source", "user", "status"]
_FIRST, _LAST = 8, 4  #: events of it
_ENTITY = 28  #: characters of one that are never broken
_PAGE = 160  #: characters of a line, where no terminal is


@click.group(
    "incidents",
    no_args_is_help=True,
    epilog="""\b
Examples:
  tocsin incidents list --status open
  tocsin incidents show inc-01
  tocsin incidents close inc-01 --reason benign""",
)
def command() -> None:
    """List, show, acknowledge, comment and close incidents."""


@command.command(
    "list",
    epilog="""\b
Examples:
  tocsin incidents list
  tocsin incidents list --status open --severity high --json""",
)
@click.option("--status", type=click.Choice([str(s) for s in Status]), help="Only these.")
@click.option("--severity", type=click.Choice([str(s) for s in Severity]), help="These and worse.")
@click.option("--limit", type=click.IntRange(min=0), default=0, help="Most incidents; 0: all.")
@data_option
@json_option
def list_(
    status: str | None, severity: str | None, limit: int, data: str | None, as_json: bool
) -> None:
    """List incidents, the latest first."""
    from tocsin.siem.access import access

    with access(loaded(data=data).settings) as house:
        found = house.incidents(
            status=Status(status) if status else None,
            severity=Severity(severity) if severity else None,
            limit=limit,
        )
    if as_json:
        for incident in found:
            json_line(shown(incident))
        return
    if not found:
        say("no incidents")
        return
    ids = shortened([i.id for i in found])
    about = [f"{i.entity.type}={i.entity.value}" for i in found]
    together = ["entity"] if max(map(len, about)) <= _ENTITY else []
    table(
        ["id", "severity", "status", "opened", "entity", "events", "title"],
        [
            [
                ids[i.id], i.severity, i.status, ago(i.opened_at),
                entity, str(i.count), i.title,
            ]
            for i, entity in zip(found, about, strict=True)
        ],
        whole=["id", "severity", "status", "opened", *together],
        drop=["events", "opened", "status"],
    )  # fmt: skip


@command.command(
    epilog="""\b
Examples:
  tocsin incidents show inc-0123456789ab
  tocsin incidents show inc-01 --json      the beginning is enough if it is the only one"""
)
@click.argument("incident")
@data_option
@json_option
def show(incident: str, data: str | None, as_json: bool) -> None:
    """Show one incident: why, who, when, its evidence, and what to do."""
    import polars as pl

    from tocsin.query import render
    from tocsin.siem.access import access
    from tocsin.siem.rulebook import load_rules

    settings = loaded(data=data).settings
    with access(settings) as house:
        found, findings = house.incident(incident)
        if as_json:
            json_line(shown(found) | {"finding_details": findings})
            return
        sample = (*found.evidence[:_FIRST], *found.evidence[_FIRST:][-_LAST:])
        seqs = " OR ".join(str(seq) for seq in sample)
        frames: list[pl.DataFrame] = []
        lost: Exception | None = None
        try:
            for frame in house.search(f"seq:({seqs})", since=None, until=None, limit=0):
                frames.append(frame)  # noqa: PERF402  what came before a failure is kept
        except (Damaged, KeyMissing, KeyWrong) as error:
            lost = error
    # In one, so that each column is as wide as all of its values need.
    together = [pl.concat(frames, how="diagonal").reverse()] if frames else []
    width = (terminal_width() or _PAGE) - FACT
    texts = render(together, "table", columns=_EVIDENCE, width=width, drop=_LESS)
    head, *events = "".join(texts).splitlines() or [""]
    evidence = [head, *few(events, found.count, first=_FIRST, last=_LAST)]
    rules = load_rules(settings.rules, with_pack=settings.pack)
    runbook = next(
        (r.runbook for r in (*rules.rules, *rules.correlations) if r.id == found.rule), ""
    )
    lines = incident_text(
        found, evidence=[line for line in evidence if line], findings=findings, runbook=runbook
    )
    put(*lines, hang=FACT)
    put(*(f"  {moment(n.at)}  {n.action} by {n.by}: {n.text}" for n in found.notes), hang=FACT)
    if lost is not None:
        sys.stdout.flush()
        raise lost  # only now: what is known of the incident is worth more than why it is not all


@command.command(
    epilog="""\b
Examples:
  tocsin incidents ack inc-01
  tocsin incidents ack inc-01 --note 'asked the team of orders'"""
)
@click.argument("incident")
@click.option("--note", default="", help="What you want to have said about it.")
@data_option
@json_option
def ack(incident: str, note: str, data: str | None, as_json: bool) -> None:
    """Take an incident: you are working on it."""
    from tocsin.siem.access import access

    with access(loaded(data=data).settings) as house:
        made = house.acknowledge(incident, by=who(), text=note)
    _done(made, f"{made.id} is acknowledged by {made.owner}", as_json)


@command.command(
    epilog="""\b
Examples:
  tocsin incidents close inc-01 --reason benign --note 'pentest of last week'"""
)
@click.argument("incident")
@click.option(
    "--reason",
    required=True,
    type=click.Choice([str(r) for r in CloseReason]),
    help="Why; it must be said.",
)
@click.option("--note", default="", help="What you want to have said about it.")
@data_option
@json_option
def close(incident: str, reason: str, note: str, data: str | None, as_json: bool) -> None:
    """Close an incident, with a reason."""
    from tocsin.siem.access import access

    with access(loaded(data=data).settings) as house:
        made = house.close(incident, by=who(), reason=CloseReason(reason), text=note)
    _done(made, f"{made.id} is closed: {made.close_reason}", as_json)


@command.command(
    epilog="""\b
Examples:
  tocsin incidents comment inc-01 'the address belongs to our office in Lyon'"""
)
@click.argument("incident")
@click.argument("text")
@data_option
@json_option
def comment(incident: str, text: str, data: str | None, as_json: bool) -> None:
    """Write something down beside an incident."""
    from tocsin.siem.access import access

    if not text.strip():
        raise click.BadParameter("there is nothing in it", param_hint="TEXT")
    with access(loaded(data=data).settings) as house:
        made = house.comment(incident, by=who(), text=text)
    _done(made, f"{made.id} has {len(made.notes)} notes now", as_json)


def _done(made: Incident, words: str, as_json: bool) -> None:
    """What became of an incident."""
    if as_json:
        json_line(shown(made))
    else:
        say(words)


@command.command(
    epilog="""\b
Examples:
  tocsin incidents suppress --entity client_ip=192.0.2.7 --for 7d --reason 'our own scanner'
  tocsin incidents suppress --rule RULE-ID --for 1d --reason 'being tuned'"""
)
@click.option("--rule", metavar="ID", help="This rule only.")
@click.option("--entity", metavar="TYPE=VALUE", help="This entity only.")
@click.option("--for", "length", required=True, metavar="TIME", help="How long: 2h, 7d.")
@click.option("--reason", required=True, help="Why; it must be said.")
@data_option
@json_option
def suppress(
    rule: str | None,
    entity: str | None,
    length: str,
    reason: str,
    data: str | None,
    as_json: bool,
) -> None:
    """Do not open incidents for a rule, an entity or both, for a while.

    What is muted is still kept and counted.
    """
    from tocsin.siem.access import access

    now = time.time_ns()
    back = when(length, "--for", now)
    assert back is not None
    about = None
    if entity is not None:
        kind, equals, value = entity.partition("=")
        if not equals or not value:
            raise click.BadParameter(
                "write TYPE=VALUE, as in client_ip=192.0.2.7", param_hint="--entity"
            )
        about = Entity(_entity_type(kind), value)
    settings = loaded(data=data).settings
    named = None if rule is None else _rule_id(settings, rule)
    with access(settings) as house:
        made = house.suppress(
            rule=named,
            entity=about,
            by=who(),
            reason=reason,
            expires_at=now + (now - back),
        )
    if as_json:
        json_line(made)
    else:
        say(f"{made.id} holds until {moment(made.expires_at)}")


@command.command(
    epilog="""\b
Examples:
  tocsin incidents suppressions
  tocsin incidents suppressions --json | jq -r .owner"""
)
@data_option
@json_option
def suppressions(data: str | None, as_json: bool) -> None:
    """List what is muted."""
    from tocsin.siem.access import access

    settings = loaded(data=data).settings
    with access(settings) as house:
        found = house.muted()
    if as_json:
        for row in found:
            json_line(row)
        return
    titles = _titles(settings) if any(s.rule for s in found) else {}
    ids = shortened([s.id for s in found])
    table(
        ["id", "rule", "entity", "owner", "until", "muted", "reason"],
        [
            [
                ids[s.id], titles.get(s.rule, s.rule) if s.rule else "any",
                f"{s.entity.type}={s.entity.value}" if s.entity else "any",
                s.owner, moment(s.expires_at), str(s.hits), s.reason,
            ]
            for s in found
        ],
        whole=["id", "until"],
        drop=["muted", "owner"],
    )  # fmt: skip


@command.command(
    epilog="""\b
Examples:
  tocsin incidents lift sup-0123456789ab
  tocsin incidents lift sup-01             the beginning is enough if it is the only one"""
)
@click.argument("suppression", metavar="ID")
@data_option
@json_option
def lift(suppression: str, data: str | None, as_json: bool) -> None:
    """End a suppression now."""
    from tocsin.siem.access import access

    with access(loaded(data=data).settings) as house:
        meant = [row.id for row in house.muted() if row.id.startswith(suppression)]
        if len(meant) > 1 and suppression not in meant:
            raise UsageError(
                f"suppression {suppression!r}: more than one begins like that; "
                "see `tocsin incidents suppressions`"
            )
        lifted = meant[0] if len(meant) == 1 else suppression
        house.lift(lifted, by=who())
    if as_json:
        json_line({"id": lifted, "lifted": True})
    else:
        say(f"{lifted} is lifted")


def _entity_type(kind: str) -> str:
    """A type that findings can be about; one that is mistyped would mute nothing."""
    from tocsin.detect.findings import entity_type

    known = sorted({entity_type(name) for name in NAMES})
    if kind not in known:
        close = difflib.get_close_matches(kind, known, n=1)
        way_out = f"did you mean {close[0]}?" if close else "an entity is a column of events"
        raise click.BadParameter(f"no entity is a {kind!r}; {way_out}", param_hint="--entity")
    return kind


def _rule_id(settings: Settings, rule: str) -> str:
    """The id of the rule that is meant: of those loaded here, the beginning is enough."""
    from tocsin.siem.rulebook import load_rules

    rules = load_rules(settings.rules, with_pack=settings.pack)
    every = [r.id for r in (*rules.rules, *rules.correlations)]
    meant = [one for one in every if one.startswith(rule)]
    if rule in every or not meant:
        if not meant:  # the tocsin that runs there may have been started with more of them
            complain(f"no rule {rule!r} is loaded here; see `tocsin rules list`")
        return rule
    if len(meant) > 1:
        raise click.BadParameter(
            f"more than one begins with {rule!r}; see `tocsin rules list`", param_hint="--rule"
        )
    return meant[0]


def _titles(settings: Settings) -> dict[str, str]:
    """What people call the rules."""
    from tocsin.siem.rulebook import load_rules

    rules = load_rules(settings.rules, with_pack=settings.pack)
    every = (*rules.rules, *rules.correlations)
    ids = shortened([r.id for r in every])
    return {r.id: f"{r.title} ({ids[r.id]})" for r in every}
