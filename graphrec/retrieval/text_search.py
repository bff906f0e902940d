"""Items by meaning: cosine of centred text vectors, in a FAISS index of its own.

Raw BERT vectors share one large common direction; around their mean the cosine tells texts apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from graphrec.embedding.node_features import unit_rows
from graphrec.retrieval.vector_index import VectorIndex

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float32 = NDArray[np.float32]
    Int32 = NDArray[np.int32]


class TextSearch:
    """Text vectors of all items (n, t), a zero row = no text; fixed once made."""

    def __init__(self, texts: NDArray[np.float16 | np.float32]) -> None:
        texts = texts.astype(np.float32, copy=False)
        described = texts.any(axis=1)
        self._numbers = np.flatnonzero(described).astype(np.int32)
        self._mean = texts[described].mean(axis=0) if len(self._numbers) else np.zeros(texts.shape[1], np.float32)
        self._index = VectorIndex(max(texts.shape[1], 1))
        if len(self._numbers):
            self._index.add(unit_rows(texts[described] - self._mean))

    def __len__(self) -> int:
        return len(self._numbers)

    def search(self, query: Float32, k: int) -> tuple[Int32, Float32]:
        """Numbers and cosines of the k items nearest to a text vector (t,), best first."""
        if not len(self):
            return self._numbers, np.zeros(0, np.float32)
        cosines, rows = self._index.search(unit_rows((query - self._mean)[None]), k)
        return self._numbers[rows[0]], cosines[0]
