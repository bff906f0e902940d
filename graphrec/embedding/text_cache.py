"""Vectors of texts seen before, so that only new or changed texts meet the encoder.

One SQLite file; a vector is found by the encoder's identity and the SHA-256 of the text. It is derived state: it may
be deleted at any time and fills again.
"""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from graphrec.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from graphrec.embedding.text_encoder import Progress, TextEncoder

CACHE_FILE = "text_cache.db"

_SAVE_EVERY = 512  # texts; what an interrupted run can lose
_KEYS_A_QUERY = 500  # SQLite before 3.32 takes at most 999 parameters
_SCHEMA = "CREATE TABLE IF NOT EXISTS vectors (model TEXT, text BLOB, vector BLOB, PRIMARY KEY (model, text))"


class TextCache:
    """A directory's `text_cache.db`; several processes may read and write it at once.

    A connection lives for one call only, so there is nothing to close and nothing to share between threads. The
    journal is SQLite's rollback journal: write-ahead logging gains nothing here. Raises StoreError.
    """

    def __init__(self, directory: str | Path) -> None:
        self.path = Path(directory) / CACHE_FILE

    def fill(self, identity: str, keys: Sequence[bytes], matrix: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Write the known vectors into the rows of `matrix` (n, d), in the order of `keys`; return which are known."""
        row_of = {key: row for row, key in enumerate(keys)}
        found = np.zeros(len(keys), dtype=bool)
        with self._connection() as connection:
            for start in range(0, len(keys), _KEYS_A_QUERY):
                part = keys[start : start + _KEYS_A_QUERY]
                marks = ", ".join("?" * len(part))
                query = f"SELECT text, vector FROM vectors WHERE model = ? AND text IN ({marks})"
                for key, vector in connection.execute(query, (identity, *part)):
                    if len(vector) == 4 * matrix.shape[1]:
                        matrix[row_of[key]] = np.frombuffer(vector, dtype="<f4")
                        found[row_of[key]] = True
        return found

    def save(self, identity: str, keys: Sequence[bytes], vectors: NDArray[np.float32]) -> None:
        """Keep the vectors (n, d) of `keys`; durable when it returns."""
        rows = [(identity, key, vector.astype("<f4").tobytes()) for key, vector in zip(keys, vectors, strict=True)]
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")  # one transaction, so one fsync for all rows
            connection.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?, ?)", rows)
            connection.execute("COMMIT")

    def __len__(self) -> int:
        """Count the vectors kept, of all models."""
        with self._connection() as connection:
            return int(connection.execute("SELECT count(*) FROM vectors").fetchone()[0])

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self.path, timeout=60, isolation_level=None)) as connection:
                connection.execute(_SCHEMA)
                yield connection
        except (sqlite3.Error, OSError) as error:
            raise StoreError(
                f"the text cache {self.path} cannot be used",
                got=str(error),
                way_out="check the disk's free space and the permissions; if the file is damaged, delete it: "
                "it only saves time and fills again",
            ) from error


def encode_cached(
    encoder: TextEncoder, cache: TextCache, texts: Sequence[str], progress: Progress | None = None
) -> tuple[NDArray[np.float32], int]:
    """Return the vectors of `texts`, float32 (n, d) in their order, and how many texts had to be encoded.

    Equal texts are encoded once. What has been encoded is saved every 512 texts, and when the run is interrupted, so
    that the next one resumes. `progress(done, total)` counts the texts to be encoded. Raises ModelError, StoreError.
    """
    keys = [hashlib.sha256(text.encode()).digest() for text in texts]
    text_of = dict(zip(keys, texts, strict=True))
    distinct = list(text_of)
    matrix = np.zeros((len(distinct), encoder.dimensions), dtype=np.float32)
    missing = np.flatnonzero(~cache.fill(encoder.identity, distinct, matrix))

    unsaved: list[NDArray[np.int64]] = []

    def save() -> None:
        rows = np.concatenate(unsaved)
        cache.save(encoder.identity, [distinct[row] for row in rows], matrix[rows])
        unsaved.clear()

    done = 0
    try:
        for batch, vectors in encoder.encode_batches([text_of[distinct[row]] for row in missing]):
            matrix[missing[batch]] = vectors
            unsaved.append(missing[batch])
            done += len(batch)
            if sum(map(len, unsaved)) >= _SAVE_EVERY:
                save()
            if progress is not None:
                progress(done, len(missing))
    finally:
        if unsaved:
            save()
    if len(distinct) == len(texts):
        return matrix, len(missing)
    row_of = {key: row for row, key in enumerate(distinct)}
    return matrix[[row_of[key] for key in keys]], len(missing)
