"""Apache access logs (common, combined, vhost_combined) and Apache error logs."""

from __future__ import annotations

from tocsin.intake.parsers.access import read_access as parse

__all__ = ["parse"]
