"""Small numbers for keys that an attacker may choose: bounded, and honest about what it forgets.

A rule's state lives in arrays, so each entity needs a dense number, its *slot*.  New keys enter
*probation*; a second event moves them to *protected*.  A flood of one-shot keys therefore churns
probation and leaves the entities that matter alone.  Forgetting a key whose state still mattered
is counted in ``evicted``; the caller says which those are.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from typing import Any

__all__ = ["LONG_KEY", "Slots", "short_key"]

#: Keys longer than this are kept as their beginning and a keyed hash: nobody shall fill memory
#: with long names.
LONG_KEY = 120

#: Probation is never squeezed below this share of all slots.
_PROBATION_SHARE = 10


def short_key(text: str, secret: bytes) -> str:
    """*text* itself, or its beginning and a keyed 128-bit hash of it when it is long.

    >>> short_key("alice", b"k")
    'alice'
    >>> len(short_key("x" * 10_000, b"k"))
    98
    """
    if len(text) <= LONG_KEY:
        return text
    digest = blake2b(text.encode("utf-8", "replace"), key=secret, digest_size=16).hexdigest()
    return f"{text[:64]}…#{digest}"


class Slots:
    """Key -> slot, for at most *limit* keys.

    ``alive(slot)`` says whether forgetting the slot loses something; ``forget(slot)`` is called
    just before a slot is given to another key.
    """

    def __init__(
        self, limit: int, *, alive: Callable[[int], bool], forget: Callable[[int], None]
    ) -> None:
        self.limit = max(2, limit)
        self.evicted = 0  #: slots taken away from keys whose state still mattered
        self._alive = alive
        self._forget = forget
        self._probation: OrderedDict[str, int] = OrderedDict()
        self._protected: OrderedDict[str, int] = OrderedDict()
        self._free: list[int] = []
        self._next = 0

    def __len__(self) -> int:
        return len(self._probation) + len(self._protected)

    @property
    def room(self) -> int:
        """One more than the highest slot ever given: how long the caller's arrays must be."""
        return self._next

    @property
    def stride(self) -> int:
        """How many rows may be taken at once without a slot being lost under the caller."""
        return max(1, self.limit // (2 * _PROBATION_SHARE))

    def take(self, keys: Sequence[str], repeated: Sequence[bool]) -> list[int]:
        """Slots of *keys*, which are distinct; ``repeated`` tells which have more than one row.

        No more than :attr:`stride` keys at once.
        """
        protected, probation = self._protected, self._probation
        found: list[int] = []
        for key, again in zip(keys, repeated, strict=True):
            slot = protected.get(key)
            if slot is None:
                slot = probation.pop(key, None)
                if slot is not None:
                    protected[key] = slot
                else:
                    slot = self._new()
                    (protected if again else probation)[key] = slot
            elif 2 * len(protected) > self.limit:
                # Who was there last matters only when somebody may have to go.
                protected.move_to_end(key)
            found.append(slot)
        return found

    def items(self) -> Iterator[tuple[str, int]]:
        """Every key and its slot."""
        yield from self._probation.items()
        yield from self._protected.items()

    def drop_one(self) -> bool:
        """Forget the key that matters least; say whether there was one."""
        if not len(self):
            return False
        self._free.append(self._evict())
        return True

    def _new(self) -> int:
        if self._free:
            return self._free.pop()
        if len(self) < self.limit:
            self._next += 1
            return self._next - 1
        return self._evict()

    def _evict(self) -> int:
        """Take the slot of the key that matters least: dead ones first, then probation's oldest."""
        for table in (self._protected, self._probation):
            if table and not self._alive(next(iter(table.values()))):
                return self._lose(table)
        crowd = len(self._probation) * _PROBATION_SHARE > self.limit or not self._protected
        self.evicted += 1
        return self._lose(self._probation if crowd else self._protected)

    def _lose(self, table: OrderedDict[str, int]) -> int:
        _, slot = table.popitem(last=False)
        self._forget(slot)
        return slot

    def dump(self) -> dict[str, Any]:
        """Everything, as plain data."""
        return {
            "probation": list(self._probation.items()),
            "protected": list(self._protected.items()),
            "free": self._free,
            "next": self._next,
            "evicted": self.evicted,
        }

    def load(self, data: dict[str, Any]) -> None:
        """Take back what :meth:`dump` gave."""
        self._probation = OrderedDict((k, s) for k, s in data["probation"])
        self._protected = OrderedDict((k, s) for k, s in data["protected"])
        self._free = list(data["free"])
        self._next = int(data["next"])
        self.evicted = int(data["evicted"])
