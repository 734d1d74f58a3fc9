"""What a row says, as bytes that never change, and the hash that commits to it.

A stored row is encoded in two parts, its personal columns and the others.  Each part is::

    lengths   one little-endian uint32 a column of the part, 0xFFFFFFFF for null
    numbers   eight bytes a whole number or time: little-endian two's complement, 0 for null
    texts     the UTF-8 bytes of the texts and the bodies of the lists, one after another

in the order of the manifest's schema.  A number's length is 8.  A list's body is, for each element,
its length as a little-endian uint32 and its UTF-8 bytes.  Numbers of fixed size come first and
lengths before all, so the bytes can be read back in one way only: null, ``""`` and ``[]`` differ,
and nothing moves from one column to the next unnoticed.  A time is integer nanoseconds since 1970
UTC.  There are no floats.

``inner = SHA-256(0x02 || salt || personal part)`` and ``leaf = SHA-256(0x00 || inner || other
part)``: a person can be forgotten, with salt and personal columns, while the rest of the row stays
provable.  The salt of row *i* of a range is sixteen bytes of the AES-256-CTR keystream (counter
from 0) of the range's seed, at 16 *i*.

The encoding depends on no library: Arrow only moves the bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pyarrow
import pyarrow.compute
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CTR

from tocsin.event.schema import NAMES, Type

__all__ = ["SEQ", "Field", "describe", "fields_of", "leaves", "salts", "schema_hash"]

NULL = 0xFFFFFFFF

# pyarrow has no types: one Any at its door is worth more than an ignore at each call.
pa: Any = pyarrow
pc: Any = pyarrow.compute
Table: TypeAlias = Any
Array: TypeAlias = Any

_NUMBERS = frozenset({Type.TIME, Type.INT})


class Field(NamedTuple):
    """One column of a range's schema."""

    name: str
    type: Type
    personal: bool


#: The vault's own column: the place of the row among all.
SEQ = Field("seq", Type.INT, personal=False)


def fields_of(names: Sequence[str]) -> tuple[Field, ...]:
    """The fields of canonical columns *names* (and ``seq``), in the order given."""
    return tuple(
        SEQ if name == "seq" else Field(name, NAMES[name].type, NAMES[name].personal)
        for name in names
    )


def describe(fields: Sequence[Field]) -> list[str]:
    """The schema as a manifest lists it: ``name:type:personal`` or ``name:type:plain``."""
    return [f"{f.name}:{f.type}:{'personal' if f.personal else 'plain'}" for f in fields]


def schema_hash(described: Sequence[str]) -> str:
    """SHA-256, hex, of a described schema, each line ended by a newline."""
    return sha256("".join(f"{line}\n" for line in described).encode()).hexdigest()


def salts(seed: bytes, rows: int) -> bytes:
    """Sixteen bytes a row, from the range's *seed*."""
    return Cipher(AES256(seed), CTR(bytes(16))).encryptor().update(bytes(16 * rows))


def leaves(table: Table, fields: Sequence[Field], seed: bytes) -> list[bytes]:
    """The leaf hash of each row of one range.  *table* has a column for each of *fields*."""
    rows = table.num_rows
    inner = _hash_rows(_part(table, [f for f in fields if f.personal], 0x02, salts(seed, rows), 16))
    return _hash_rows(
        _part(table, [f for f in fields if not f.personal], 0x00, b"".join(inner), 32)
    )


def _part(table: Table, fields: Sequence[Field], tag: int, before: bytes, width: int) -> Array:
    """One part of each row, after a tag byte and *width* bytes of *before* a row."""
    numbers = [f for f in fields if f.type in _NUMBERS]
    head = np.zeros(
        table.num_rows,
        [
            ("tag", "u1"),
            ("before", "u1", (width,)),
            ("lengths", "<u4", (len(fields),)),
            ("numbers", "<i8", (len(numbers),)),
        ],
    )
    head["tag"] = tag
    head["before"] = np.frombuffer(before, "u1").reshape(-1, width)
    texts: list[Any] = []
    for place, field in enumerate(fields):
        column = _whole(table[field.name])
        if field.type in _NUMBERS:
            values = pc.fill_null(pc.cast(column, pa.int64()), 0)
            head["numbers"][:, numbers.index(field)] = values.to_numpy()
            lengths = np.full(len(column), 8, "u4")
        else:
            body = _texts(column) if field.type is Type.TEXT else _bodies(column)
            lengths = _lengths(body)
            texts.append(body)
        if column.null_count:
            lengths[column.is_null().to_numpy(zero_copy_only=False)] = NULL
        head["lengths"][:, place] = lengths
    return _join([_fixed(head), *texts])


def _whole(column: Array) -> Array:
    """The column in one piece."""
    return (
        column.chunk(0)
        if column.num_chunks == 1
        else pa.concat_arrays(column.chunks or [pa.array([], column.type)])
    )


def _texts(column: Array) -> Array:
    return pc.cast(pc.cast(column, pa.large_string()), pa.large_binary())


def _lengths(texts: Array) -> np.ndarray[Any, np.dtype[np.uint32]]:
    lengths = np.asarray(pc.fill_null(pc.binary_length(texts), 0), dtype="i8")
    assert not len(lengths) or lengths.max() < NULL, "a value of 4 GiB never passes the doors"
    return lengths.astype("u4")


def _bodies(column: Array) -> Array:
    """Lists of texts as one binary value each: the elements, each after its length."""
    lists = pc.cast(column, pa.large_list(pa.large_string()))
    elements = _texts(lists.values)
    sizes = _lengths(elements)
    if elements.null_count:
        sizes[elements.is_null().to_numpy(zero_copy_only=False)] = NULL
    flat = _join([_fixed(sizes.astype("<u4")), elements])
    ends = np.frombuffer(flat.buffers()[1], "i8")[: len(flat) + 1]
    bounds = ends[lists.offsets.to_numpy()]
    bodies = pa.LargeBinaryArray.from_buffers(
        pa.large_binary(), len(lists), [None, pa.py_buffer(bounds), flat.buffers()[2]]
    )
    if not lists.null_count:
        return bodies
    return pc.if_else(lists.is_valid(), bodies, pa.scalar(None, pa.large_binary()))


def _fixed(values: np.ndarray[Any, Any]) -> Array:
    """Values of one size as binary values, without copying."""
    ends = np.arange(len(values) + 1, dtype="i8") * values.dtype.itemsize
    return pa.LargeBinaryArray.from_buffers(
        pa.large_binary(), len(values), [None, pa.py_buffer(ends), pa.py_buffer(values)]
    )


def _join(parts: Sequence[Array]) -> Array:
    nothing = pa.scalar(b"", pa.large_binary())
    return pc.binary_join_element_wise(
        *parts, nothing, null_handling="replace", null_replacement=b""
    )


def _hash_rows(parts: Array) -> list[bytes]:
    """SHA-256 of each value.  Plain slices of bytes beat memoryviews and Arrow scalars here."""
    bounds = np.frombuffer(parts.buffers()[1], "i8")[: len(parts) + 1].tolist()
    data, hasher = parts.buffers()[2], sha256
    data = data.to_pybytes() if data else b""
    return [hasher(data[start:end]).digest() for start, end in pairwise(bounds)]
