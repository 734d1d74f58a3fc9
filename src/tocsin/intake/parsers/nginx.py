"""nginx access logs in the format ``combined`` and its kin, and nginx error logs."""

from __future__ import annotations

from tocsin.intake.parsers.access import read_access as parse

__all__ = ["parse"]
