"""``tocsin incidents``."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click

from tocsin.cli.options import data_option, json_option, loaded, when
from tocsin.cli.out import json_line, put, say, table
from tocsin.cli.show import ago, incident_text, moment
from tocsin.cli.who import who
from tocsin.errors import Damaged, KeyMissing, KeyWrong
from tocsin.event import CloseReason, Entity, Incident, Severity, Status, shown
from tocsin.settings import Settings

if TYPE_CHECKING:
    import polars as pl

__all__ = ["command"]

#: What is shown of each event of the evidence.
_EVIDENCE = ["seq", "time", "source", "kind", "user", "method", "path", "status", "message"]


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
    table(
        ["id", "severity", "status", "opened", "entity", "events", "title"],
        [
            [
                i.id, i.severity, i.status, ago(i.opened_at),
                f"{i.entity.type}={i.entity.value}", str(i.count), i.title,
            ]
            for i in found
        ],
        whole=["id", "entity"],
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
    from tocsin.query import render
    from tocsin.siem.access import access
    from tocsin.siem.rulebook import load_rules

    settings = loaded(data=data).settings
    with access(settings) as house:
        found, findings = house.incident(incident)
        if as_json:
            json_line(shown(found) | {"finding_details": findings})
            return
        sample = (*found.evidence[:8], *found.evidence[8:][-4:])
        seqs = " OR ".join(str(seq) for seq in sample)
        frames: list[pl.DataFrame] = []
        lost: Exception | None = None
        try:
            for frame in house.search(f"seq:({seqs})", since=None, until=None, limit=0):
                frames.append(frame)  # noqa: PERF402  what came before a failure is kept
        except (Damaged, KeyMissing, KeyWrong) as error:
            lost = error
    oldest_first = (frame.reverse() for frame in reversed(frames))
    evidence = "".join(render(oldest_first, "table", columns=_EVIDENCE)).split("\n")
    rules = load_rules(settings.rules, with_pack=settings.pack)
    runbook = next(
        (r.runbook for r in (*rules.rules, *rules.correlations) if r.id == found.rule), ""
    )
    lines = incident_text(
        found, evidence=[line for line in evidence if line], findings=findings, runbook=runbook
    )
    put(*lines)
    put(*(f"  {moment(n.at)}  {n.action} by {n.by}: {n.text}" for n in found.notes))
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
        about = Entity(kind, value)
    with access(loaded(data=data).settings) as house:
        made = house.suppress(
            rule=rule,
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
    table(
        ["id", "rule", "entity", "owner", "until", "muted", "reason"],
        [
            [
                s.id, titles.get(s.rule, s.rule) if s.rule else "any",
                f"{s.entity.type}={s.entity.value}" if s.entity else "any",
                s.owner, moment(s.expires_at), str(s.hits), s.reason,
            ]
            for s in found
        ],
    )  # fmt: skip


@command.command(
    epilog="""\b
Examples:
  tocsin incidents lift sup-0123456789ab"""
)
@click.argument("suppression", metavar="ID")
@data_option
@json_option
def lift(suppression: str, data: str | None, as_json: bool) -> None:
    """End a suppression now."""
    from tocsin.siem.access import access

    with access(loaded(data=data).settings) as house:
        house.lift(suppression, by=who())
    if as_json:
        json_line({"id": suppression, "lifted": True})
    else:
        say(f"{suppression} is lifted")


def _titles(settings: Settings) -> dict[str, str]:
    """What people call the rules."""
    from tocsin.siem.rulebook import load_rules

    rules = load_rules(settings.rules, with_pack=settings.pack)
    return {r.id: f"{r.title} ({r.id})" for r in (*rules.rules, *rules.correlations)}
