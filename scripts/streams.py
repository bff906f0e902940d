"""Logs with time that the benchmarks read, with the text vectors of their items."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from graphrec.embedding.text_cache import TextCache, encode_cached
from graphrec.embedding.text_encoder import TextEncoder
from graphrec.events.interactions import Interactions

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa
    from numpy.typing import NDArray

    from graphrec.config import Config

SECOND = 1_000_000  # microseconds


def stream(folder: Path, config: Config, cache: Path) -> tuple[Interactions, NDArray[np.float32]]:
    """A log of Parquet columns in the order of time, and its items' text vectors."""
    catalogue = pq.read_table(folder / "items.parquet")
    log = log_of(pq.read_table(folder / "interactions.parquet"), catalogue, config)
    cache.mkdir(parents=True, exist_ok=True)
    vectors, _ = encode_cached(TextEncoder(config.text), TextCache(cache), texts_of(folder))
    return log, vectors


def log_of(table: pa.Table, catalogue: pa.Table, config: Config) -> Interactions:
    """Events in the order of time, their items numbered as in a catalogue; those of other items are left out.

    Without time stamps the rank of an event within its user's history is its moment.
    """
    moments = table["timestamp" if "timestamp" in table.column_names else "seq"].to_numpy().astype(np.int64)
    users = pc.dictionary_encode(table["user_id"]).combine_chunks().indices.to_numpy().astype(np.int32)
    known = {item: number for number, item in enumerate(catalogue["item_id"].to_pylist())}
    items = np.array([known.get(item, -1) for item in table["item_id"].to_pylist()], np.int32)
    weights = np.array([config.events.kinds[kind] for kind in table["event"].to_pylist()])
    log = Interactions(users, np.maximum(items, 0), (moments + 2) * SECOND, weights, int(users.max()) + 1, len(known))
    return log.take(items >= 0).by_time()


def texts_of(folder: Path) -> list[str]:
    """What the text encoder reads of each item of a log."""
    return texts_in(pq.read_table(folder / "items.parquet"), "text", "plot")


def texts_in(catalogue: pa.Table, *names: str) -> list[str]:
    """A text an item: what it has in those of the columns that there are."""
    columns = [catalogue[name].to_pylist() for name in names if name in catalogue.column_names]
    return [" ".join(part for part in parts if part) for parts in zip(*columns, strict=True)]
