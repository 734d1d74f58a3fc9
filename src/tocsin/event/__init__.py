"""The vocabulary: the one room that every other room may import.  Pure, and light to import.

``tocsin.event.batch`` (columns, needs Polars) is imported by its own name.
"""

from tocsin.event.finding import (
    CloseReason,
    Entity,
    Finding,
    Incident,
    Note,
    Severity,
    Status,
    shown,
)
from tocsin.event.kinds import VOCABULARY, Kind, Level, read_kind
from tocsin.event.model import Event
from tocsin.event.schema import COLUMNS, NAMES, PERSONAL, Column, Type

__all__ = [
    "COLUMNS",
    "NAMES",
    "PERSONAL",
    "VOCABULARY",
    "CloseReason",
    "Column",
    "Entity",
    "Event",
    "Finding",
    "Incident",
    "Kind",
    "Level",
    "Note",
    "Severity",
    "Status",
    "Type",
    "read_kind",
    "shown",
]
