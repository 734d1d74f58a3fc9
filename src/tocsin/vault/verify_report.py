"""What a verification says: what was found, how far it reaches, and the verdict."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

__all__ = ["EXCHANGED", "LIMITS", "UNSEALED", "Problem", "Report", "Verdict"]

Verdict = Literal["intact", "tampered", "unfinished"]

RULES = ("V1", "V2", "V3", "V4", "V5", "V6", "V7", "V8", "V9", "V10", "V11", "files", "keys")
LIMITS = {
    "none": "nothing is proved",
    "T0": "accidental damage is found; nothing is proved against the holder of a key",
    "T1": "an insider with this disk can roll the log back; that is NOT detectable here",
    "T2": "a roll-back of the whole machine together with an old epoch key is NOT detectable here",
}
EXCHANGED = (
    "the public key came with the log, so a log that was exchanged as a whole is NOT detectable "
    "here; give the key, or log/vkey as noted elsewhere"
)
UNSEALED = (
    "what is not sealed yet is authenticated and not promised: whoever can write to this directory "
    "can cut it off, and that is NOT detectable here"
)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is not as promised, or could not be read."""

    rule: str
    file: str  #: relative to the vault
    place: str  #: entry, frame, row ...
    message: str
    unread: bool = False  #: not proof of anything: it could not be read


@dataclass(slots=True)
class Report:
    """What was found."""

    rules: dict[str, str] = field(default_factory=lambda: dict.fromkeys(RULES, "not checked"))
    problems: list[Problem] = field(default_factory=list[Problem])
    notes: list[str] = field(default_factory=list[str])  #: gaps and remains, which prove nothing
    entries: int = 0
    segments: int = 0
    rows: int = 0  #: sealed ones, re-read when the key was given
    next_seq: int = 0
    unsealed_rows: int = 0
    torn_bytes: int = 0
    anchored: bool = False  #: the log's public key is known from elsewhere than the log

    @property
    def grade(self) -> str:
        """The grade reached, from the rules that held."""
        failed = {p.rule for p in self.problems}
        if not self.entries or failed & {"V5", "V11", "files", "keys"}:
            return "none"
        if failed:
            return "T0"
        if self.rules["V4"] == "held":  # so the auditor's key descends to this log
            return "T2"
        return "T1" if self.anchored else "T0"

    @property
    def limit(self) -> str:
        """The sentence that limits the grade."""
        exchangeable = self.grade == "T0" and not self.problems
        return EXCHANGED if exchangeable else LIMITS[self.grade]

    @property
    def verdict(self) -> Verdict:
        """``tampered`` outweighs ``unfinished`` outweighs ``intact``."""
        if any(not p.unread for p in self.problems):
            return "tampered"
        return "unfinished" if self.problems else "intact"

    @property
    def exit_code(self) -> int:
        """0 intact, 3 tampered, 1 could not finish."""
        return {"intact": 0, "tampered": 3, "unfinished": 1}[self.verdict]
