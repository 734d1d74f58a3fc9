"""Every error tocsin raises on purpose, in one tree.

::

    TocsinError
    ├── UsageError             the caller asked for something that makes no sense
    │   ├── SettingsError      a setting is unknown, malformed or contradicts another
    │   ├── QueryError         a search cannot be understood; carries the column it stumbled at
    │   └── RuleError          a rule file is wrong; carries file and line
    ├── IntakeError            input was refused as a whole (single bad lines never are)
    │   ├── TooLarge           a body, a line or an expansion is over its limit
    │   └── Malformed          a body cannot be framed or decoded; carries the line and the field
    ├── VaultError             the vault cannot do what was asked
    │   ├── VaultBusy          another process holds the vault; carries who
    │   ├── VaultClosed        the writer is closed, or stopped after a storage error
    │   ├── KeyMissing         no key-encryption key of the wanted generation was found
    │   ├── KeyWrong           a key was found, but it does not open what it should
    │   ├── Damaged            bytes at rest do not say what they said; carries the file
    │   └── StorageFailed      the disk refused a write or a sync; nothing was acknowledged
    ├── Pushback               too much is waiting; try again after ``retry_after`` seconds
    └── DeliveryError          a notification or a forwarder's target refused what we sent

A message is lower-case and names the thing, the place and the way out.
"""

from __future__ import annotations

__all__ = [
    "Damaged",
    "DeliveryError",
    "IntakeError",
    "KeyMissing",
    "KeyWrong",
    "Malformed",
    "Pushback",
    "QueryError",
    "RuleError",
    "SettingsError",
    "StorageFailed",
    "TocsinError",
    "TooLarge",
    "UsageError",
    "VaultBusy",
    "VaultClosed",
    "VaultError",
]


class TocsinError(Exception):
    """Anything that went wrong inside tocsin and that a caller may want to catch."""


class UsageError(TocsinError):
    """The caller asked for something that makes no sense."""


class SettingsError(UsageError):
    """A setting is unknown, malformed or contradicts another."""


class QueryError(UsageError):
    """A search cannot be understood."""

    def __init__(self, message: str, *, column: int | None = None) -> None:
        super().__init__(message)
        self.column = column  #: 1-based position in the query text, when known


class RuleError(UsageError):
    """A rule file is wrong.  The message begins with ``file:line:``."""


class IntakeError(TocsinError):
    """Input was refused as a whole."""


class TooLarge(IntakeError):
    """A body, a line or an expansion is over its limit."""


class Malformed(IntakeError):
    """A body cannot be framed or decoded."""

    def __init__(self, message: str, *, line: int | None = None, field: str | None = None) -> None:
        super().__init__(message)
        self.line = line  #: 1-based line of the body
        self.field = field  #: the offending key, when one is to blame


class VaultError(TocsinError):
    """The vault cannot do what was asked."""


class VaultBusy(VaultError):
    """Another process holds the vault."""


class VaultClosed(VaultError):
    """The writer is closed, or stopped after a storage error."""


class KeyMissing(VaultError):
    """No key-encryption key of the wanted generation was found."""


class KeyWrong(VaultError):
    """A key was found, but it does not open what it should."""


class Damaged(VaultError):
    """Bytes at rest do not say what they said."""


class StorageFailed(VaultError):
    """The disk refused a write or a sync; nothing of that group was acknowledged."""


class Pushback(TocsinError):
    """Too much is waiting; try again after ``retry_after`` seconds."""

    def __init__(self, message: str, *, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class DeliveryError(TocsinError):
    """A notification or a forwarder's target refused what we sent."""
