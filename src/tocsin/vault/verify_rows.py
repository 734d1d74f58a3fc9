"""The rows of a segment, read once more and held against the manifests that promised them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from io import BufferedReader
from typing import Any

import numpy as np
import pyarrow
import pyarrow.compute
import pyarrow.parquet
import pyarrow.parquet.encryption

from tocsin.vault import merkle
from tocsin.vault import verify_formats as formats

__all__ = ["read_rows"]

pa: Any = pyarrow
pc: Any = pyarrow.compute
pq: Any = pyarrow.parquet
pe: Any = pyarrow.parquet.encryption

_UNREADABLE = (
    OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, StopIteration,
    RecursionError, pa.ArrowException,
)  # fmt: skip


def read_rows(
    source: BufferedReader, key: bytes, name: str, manifests: Sequence[Mapping[str, Any]]
) -> Iterator[int | tuple[str, str]]:
    """V5: for each manifest how many rows are as promised, or where and how they are not."""
    try:
        properties = pe.create_decryption_properties(key, aad_prefix=name.encode())
        with pq.ParquetFile(source, decryption_properties=properties) as opened:
            head = json.loads(opened.metadata.metadata[b"tocsin"])
            seeds = {r["first_seq"]: bytes.fromhex(r["seed"]) for r in head["ranges"]}
            waiting, groups = None, iter(range(opened.num_row_groups))
            for manifest in manifests:
                while waiting is None or waiting.num_rows < manifest["rows"]:
                    group = opened.read_row_group(next(groups))
                    waiting = pa.concat_tables([waiting, group]) if waiting else group
                table = waiting.slice(0, manifest["rows"])
                waiting = waiting.slice(manifest["rows"])
                yield _range(table, manifest, seeds[manifest["first_seq"]])
            if (waiting is not None and waiting.num_rows) or next(groups, None) is not None:
                yield "", "holds more rows than were promised"
    except _UNREADABLE:  # whose words are a library's, and help nobody
        yield "", "does not authenticate, or is cut"


def _range(table: Any, manifest: Mapping[str, Any], seed: bytes) -> int | tuple[str, str]:
    """The rows of one manifest."""
    first: int = manifest["first_seq"]
    count: int = manifest["rows"]
    place = f"rows {first} to {first + count - 1}"
    fields = [formats.Column(*line.split(":")) for line in manifest["schema"]]
    strange = formats.strange_columns(table, fields)
    if strange:
        return place, strange
    seqs = table["seq"].to_numpy()
    times = pc.min_max(pc.cast(table["time"], pa.int64())).as_py()
    if not np.array_equal(seqs, np.arange(first, first + count)):
        return place, "the rows are not numbered as promised"
    if [times["min"], times["max"]] != [manifest["time_min"], manifest["time_max"]]:
        return place, "other times than promised"
    if merkle.root(list(formats.leaves(table, fields, seed))).hex() != manifest["row_root"]:
        return place, "the rows do not have the root that was promised"
    return count
