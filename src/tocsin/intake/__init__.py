"""Doors: how bytes from outside become a ``Batch``."""

from tocsin.intake.origin import Origin
from tocsin.intake.parse import parse
from tocsin.intake.parsers import PARSERS, Parser
from tocsin.intake.records import boundary, read_records
from tocsin.intake.sniff import Sniffer, sniff
from tocsin.intake.tail import Chunk, Gap, Tail

__all__ = [
    "PARSERS",
    "Chunk",
    "Gap",
    "Origin",
    "Parser",
    "Sniffer",
    "Tail",
    "boundary",
    "parse",
    "read_records",
    "sniff",
]
