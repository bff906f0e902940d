"""What takes the place of the FAISS index of a view: the same with the overlay in it, or one built anew.

Both are made from a view alone, so that a thread can make them while the writer goes on. What the writer changes in the
meantime it checks when it puts the new index in place (live_index.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from graphrec.retrieval.vector_index import VectorIndex, share_found

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from graphrec.retrieval.index_lag import Lag
    from graphrec.retrieval.index_view import IndexView

    Float32 = NDArray[np.float32]
    Int32 = NDArray[np.int32]

_PROBE_LENGTH = 20  # places of a list that the recall is measured by
_LIKELY = 100  # queries made up of rows, to choose by how many cells a search visits
_SLICE = 100_000  # rows that are scored at a time


@dataclass(frozen=True)
class Built:
    """A new FAISS index, the items whose rows were formed anew for it, sorted, and the biases it shows them with.

    recall: share of the exact lists that its cells find, by the queries of the plan; None = there were none.
    """

    shown: VectorIndex
    numbers: Int32
    biases: Float32  # (n,)
    anew: bool
    recall: float | None


@dataclass
class Plan:
    """What to make of a view, by a call, once.

    cells: None = the index of the view with its overlay in it, and what was added after it; a number: all rows anew, in
    so many cells; 0 = every row is looked at. queries: as FAISS is asked them, to measure the recall by; None = there
    are none.
    """

    view: IndexView | None
    lag: Lag
    cells: int | None
    queries: Float32 | None

    def __call__(self) -> Built:
        """Make it; the view is let go as soon as its rows are taken."""
        view, self.view = self.view, None  # which keeps all that is overwritten after it
        assert view is not None
        known, before = len(view.shown), view.shown
        numbers = np.arange(0 if self.cells is not None else known, view.n_items, dtype=np.int32)
        if self.cells is None:
            numbers = np.concatenate([np.sort(view.overlay[view.overlay < known]), numbers])
        vectors, biases = view.take(numbers)
        rows = self.lag.shown(vectors, biases, view.shift)
        some = vectors[:: max(len(vectors) // _LIKELY, 1)]
        likely = np.column_stack([some, np.ones(len(some), np.float32)])  # who likes such an item
        del view, vectors
        if self.cells is None:
            shown = before.successor(numbers, rows)
        else:
            shown = VectorIndex.of(rows, cells=self.cells, queries=likely if self.queries is None else self.queries)
        found = None if self.queries is None or not shown.cells else _recall(shown, self.queries)
        return Built(shown, numbers, rows[:, -1].copy(), self.cells is not None, found)


def recall(view: IndexView, queries: Float32) -> float:
    """Share of the exact lists that searches of a view find."""
    best = np.array([view.scan(query, _PROBE_LENGTH)[0] for query in queries])
    return share_found(view.search(queries, best.shape[1]).scores, best)


def _recall(shown: VectorIndex, queries: Float32) -> float:
    """Share of the best rows that cells find; what no search may be answered with counts, being among the rows too."""
    best = np.zeros((len(queries), 0), np.float32)
    for start in range(0, len(shown), _SLICE):
        some = np.arange(start, min(start + _SLICE, len(shown)), dtype=np.int32)
        best = np.sort(np.hstack([best, queries @ shown.take(some).T]), axis=1)[:, -_PROBE_LENGTH:]
    return share_found(shown.search(queries, best.shape[1])[0], best[:, ::-1])
