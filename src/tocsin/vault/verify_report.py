"""What a verification says: what was found, how far it reaches, and the verdict."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

__all__ = ["EXCHANGED", "LIMITS", "MISFIT", "UNSEALED", "Problem", "Report", "Verdict"]

Verdict = Literal["intact", "lossy", "tampered", "misfit", "unfinished"]

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
MISFIT = (
    "the key given does not fit the vault's first epoch: either it is not this vault's first epoch "
    "key, or the record was rewritten from the beginning under other keys; nothing here can tell "
    "which"
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
    lost_rows: int = 0  #: acknowledged, and lost, as was found and written down
    doubtful_rows: int = 0  #: in files without a key, by their own word, which nobody can check
    hidden_rows: int = 0  #: sealed and whole, but set aside, so that no search finds them
    torn_bytes: int = 0
    anchored: bool = False  #: the log's public key is known from elsewhere than the log
    misfit: bool = False  #: the auditor's key is not the one that the log began with

    @property
    def grade(self) -> str:
        """The grade reached, from the rules that held."""
        failed = {p.rule for p in self.problems}
        if not self.entries or failed & {"V5", "V11", "files", "keys"}:
            return "none"
        # A key that does not fit may mean that everything was rewritten by who has the live keys.
        if failed or self.misfit:
            return "T0"
        if self.rules["V4"] == "held":  # so the auditor's key descends to this log
            return "T2"
        return "T1" if self.anchored else "T0"

    @property
    def limit(self) -> str:
        """The sentence that limits the grade."""
        exchangeable = self.grade == "T0" and not self.problems and not self.misfit
        return EXCHANGED if exchangeable else LIMITS[self.grade]

    @property
    def verdict(self) -> Verdict:
        """``tampered`` outweighs ``misfit``, that ``unfinished``, that ``lossy``, that ``intact``.

        ``lossy``: nothing was changed, and what was acknowledged is not all there or to be found.
        """
        if any(not p.unread for p in self.problems):
            return "tampered"
        if self.misfit:
            return "misfit"
        if self.problems:
            return "unfinished"
        return "lossy" if self.losses else "intact"

    @property
    def losses(self) -> str:
        """What is known to be lost or not to be found, in words; empty when nothing is."""
        said = (
            (self.lost_rows, "acknowledged events were lost"),
            (self.doubtful_rows, "events may be lost, in files whose keys are gone"),
            (self.hidden_rows, "events are set aside, so that no search finds them"),
        )
        return "; ".join(f"{rows} {what}" for rows, what in said if rows)

    @property
    def unchecked(self) -> list[str]:
        """What could not be checked with what was given."""
        wanted = {
            "keys": ("keys/*", "without the key-encryption key: none was opened"),
            "V4": ("log/macs/*", "without the first epoch key (--epoch-key)"),
            "V5": ("idx/*, state/* and what the events say", "without the key-encryption key"),
        }
        return [
            f"{what}: {why}"
            for rule, (what, why) in wanted.items()
            if self.rules[rule].startswith("not ") and self.entries
        ]

    @property
    def exit_code(self) -> int:
        """0 intact, 4 the same with losses, 3 tampered, 2 the key does not fit, 1 unfinished."""
        codes = {"intact": 0, "lossy": 4, "tampered": 3, "misfit": 2, "unfinished": 1}
        return codes[self.verdict]
