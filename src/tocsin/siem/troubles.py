"""Lines that were read, but not as they should: counted apart, each kind with its first place."""

from __future__ import annotations

from dataclasses import dataclass

from tocsin.siem.reading import Chunk, Flaws

__all__ = ["Troubles"]


@dataclass
class Troubles:
    """What was wrong with the lines of one or several files."""

    strange: int = 0  #: lines that no parser took, kept as they are
    partly: int = 0  #: lines that were understood, but for a value
    first_strange: str = ""  #: place, and why
    first_partly: str = ""

    def see(self, name: str, chunk: Chunk) -> None:
        """Look at what was read of file *name*."""
        self.strange += chunk.unread.lines
        self.partly += chunk.flawed.lines
        self.first_strange = self.first_strange or _first(name, chunk.unread)
        self.first_partly = self.first_partly or _first(name, chunk.flawed)

    def words(self) -> list[str]:
        """The same in sentences; none when all was well."""
        kinds = (
            ("not understood and kept as plain log events", self.strange, self.first_strange),
            ("not read whole, a value was left as it is", self.partly, self.first_partly),
        )
        return [
            f"{what}: {many} line{'s' * (many > 1)}, the first at {first}"
            for what, many, first in kinds
            if many
        ]


def _first(name: str, flaws: Flaws) -> str:
    return f"{name}:{flaws.first}: {flaws.why}" if flaws.lines else ""
