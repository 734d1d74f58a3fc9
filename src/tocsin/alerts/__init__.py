"""Consequences: findings become incidents, and people are told."""

from tocsin.alerts.decisions import Decided, Decision
from tocsin.alerts.desk import Change, ChangeKind, Desk, Subscription
from tocsin.alerts.grouping import GAP_NS, group
from tocsin.alerts.outbox import Channel, deliver
from tocsin.alerts.records import Suppression

__all__ = [
    "GAP_NS",
    "Change",
    "ChangeKind",
    "Channel",
    "Decided",
    "Decision",
    "Desk",
    "Subscription",
    "Suppression",
    "deliver",
    "group",
]
