"""The identity of an event: 64 bits that, with its time stamp, tell a repeat from a new one.

Two events are the same when their time stamps are and
* both carry the same event id, or
* neither carries one, and user, item, kind and value are the same.

A retry must therefore carry the same time stamp. Keys are hashed by BLAKE2b, once for each that differs, and combined
by the finaliser of splitmix64 (Steele, Lea & Flood 2014), so that the hash does not depend on any store's numbers.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pyarrow as pa

    from graphrec.events.event import EventTable

Hashes = npt.NDArray[np.uint64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


class Coded(NamedTuple):
    """A column of keys: the different ones in order of first appearance, and each row's place among them."""

    keys: list[str]
    codes: npt.NDArray[np.int32]  # n


def coded(column: pa.Array) -> Coded:
    """Split a column without nulls into its different keys and the rows' codes."""
    encoded = column.dictionary_encode()
    return Coded(encoded.dictionary.to_pylist(), encoded.indices.to_numpy())


def event_hashes(table: EventTable, users: Coded, items: Coded, kinds: Coded) -> npt.NDArray[np.int64]:
    """Hashes[n] of a table whose columns have been coded; signed, as databases keep them."""
    mixed = _mixed(_key_hashes(users, b"user"))
    mixed = _mixed((mixed + _GOLDEN) ^ _key_hashes(items, b"item"))
    mixed = _mixed((mixed + _GOLDEN) ^ _key_hashes(kinds, b"kind"))
    mixed = _mixed((mixed + _GOLDEN) ^ (table.values + 0.0).view(np.uint64))  # + 0.0: minus zero is zero
    if table.event_ids is not None:
        named = table.event_ids.is_valid().to_numpy(zero_copy_only=False)
        mixed[named] = _key_hashes(coded(table.event_ids.drop_null()), b"event")
    return mixed.view(np.int64)


def _key_hashes(column: Coded, what: bytes) -> Hashes:
    digests = b"".join([hashlib.blake2b(key.encode(), digest_size=8, person=what).digest() for key in column.keys])
    return np.frombuffer(digests, "<u8").astype(np.uint64)[column.codes]


def _mixed(x: Hashes) -> Hashes:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
