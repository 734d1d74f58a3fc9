"""What the keys of an object tell, worked out once for each set of keys: APIs have few."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from tocsin.sdk.reading.names import NAMES
from tocsin.sdk.reading.tokens import Recent
from tocsin.sdk.reading.words import (
    ENVELOPE,
    ERRORS,
    FLAGS,
    NUMBERS,
    OWNERS,
    SECRETS_IN,
    STATES,
    TELLING,
    WRAPPINGS,
    folded,
)

__all__ = ["NO_SHAPE", "Shape", "Shapes"]

#: Sets of keys that are remembered, bytes that all of them take, and bytes up to which one is.
MOST = 2_048
BYTES = 4 << 20
LONGEST = 65_536
#: Keys of an answer that are told of.
MOST_TOLD = 64
#: What a key takes beside its characters, about.
_KEY = 200
#: Keys of one object that are looked at.
WIDEST = 256

_IDS = ("id", "_id", "uuid", "pk", "guid")
_OWNERS = frozenset(OWNERS)


class Shape(Struct, frozen=True):
    """The keys of an object that mean something here."""

    told: tuple[str, ...] | None = None  #: whose presence matters, as they may leave
    flags: tuple[str, ...] = ()  #: that tell an outcome by a boolean
    errors: tuple[str, ...] = ()  #: by being there
    numbers: tuple[str, ...] = ()  #: by a number of HTTP's
    states: tuple[str, ...] = ()  #: by a word
    content: tuple[str, ...] = ()  #: that an answer about the request alone does not have
    wrappings: tuple[str, ...] = ()  #: under which there may be another object that does
    ids: tuple[str, ...] = ()  #: that hold the object's id, the likeliest first
    named: tuple[tuple[str, str], ...] = ()  #: (folded, key) of those that end as an id does
    owners: tuple[str, ...] = ()  #: that say whose it is
    secret: bool = False  #: there is a secret to log in with


NO_SHAPE = Shape()
_NAMED = ("id", "uuid", "number", "title", "name", "key", "code")


class Shapes:
    """Remembers shapes.  For one thread."""

    def __init__(self) -> None:
        self._known: Recent = Recent(MOST)
        self._held = 0  # bytes of all that was put there since it was empty
        self._last: Any = None  # an answer's shape is asked for several times in a row
        self._last_shape = NO_SHAPE

    def of(self, value: Any) -> Shape:
        """The shape of *value*; an empty one for what is no object."""
        if value is self._last:
            return self._last_shape
        if type(value) is not dict:
            return NO_SHAPE
        keys = tuple(value)
        shape: Shape | None = self._known.get(keys)
        if shape is None:
            shape = _read(keys[:WIDEST])
            self._remember(keys, shape)
        self._last, self._last_shape = value, shape
        return shape

    def _remember(self, keys: tuple[str, ...], shape: Shape) -> None:
        weight = sum(map(len, keys)) + _KEY * len(keys)
        if weight > LONGEST:
            return
        self._held += weight
        if self._held > BYTES:
            self._known.clear()
            self._held = weight
        self._known.put(keys, shape)


def _read(keys: tuple[str, ...]) -> Shape:
    plain = [(folded(key), key) for key in keys]
    names = {fold for fold, _ in plain}
    small = {key.lower(): key for key in keys}

    def among(words: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(small[word] for word in words if word in small)

    return Shape(
        tuple(NAMES[key] for fold, key in plain if fold in TELLING)[:MOST_TOLD] or None,
        among(FLAGS),
        among(ERRORS),
        among(NUMBERS),
        among(STATES),
        tuple(key for fold, key in plain if fold not in ENVELOPE),
        among(WRAPPINGS),
        tuple(name for name in _IDS if name in keys),
        tuple((fold, key) for fold, key in plain if fold.endswith(_NAMED)),
        tuple(key for fold, key in plain if fold in _OWNERS),
        not names.isdisjoint(SECRETS_IN),
    )
