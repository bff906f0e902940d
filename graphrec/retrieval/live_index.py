"""An index that follows: written row by row while it is searched, and never locked for a search.

The writer keeps the exact rows, and for readers one immutable view of them (index_view.py), replaced whole by a single
assignment. A row that moved no further than a tolerance stays in the FAISS index as it was, since searches order by
exact rows; a row that moved further enters the overlay. When the overlay has grown long, its rows are brought into a
copy of the FAISS index, which then takes the place of the original: no search waits for it.

Popularity, the bias of a row, fades for all items together. What is common to it is one number of the view, and only
rows whose bias has moved otherwise enter the overlay.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

from graphrec.retrieval.index_view import Found, IndexView, Overwritten
from graphrec.retrieval.vector_index import VectorIndex, cells_for, share_found

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from graphrec.config import IndexSettings

    Float32 = NDArray[np.float32]
    Int32 = NDArray[np.int32]

_OVERLAY_SHARE = 8  # an overlay of one row in so many is long, however few rows there are
_PROBES, _PROBE_LENGTH = 100, 20  # newest queries, and places of their lists, that the recall is measured by
_RECALL_LOSS, _NEW_SHARE = 0.01, 0.2  # since the index was built: beyond either, building it anew is due
_NONE = np.zeros(0, np.int32)


class LiveIndex:
    """Item number -> vector v (d,) and bias b, searched by q·v + c b. One writer, any number of readers, no lock.

    `writes` counts the rows that entered the overlay.
    """

    def __init__(self, dimensions: int, settings: IndexSettings) -> None:
        self.settings = settings
        self.writes = 0
        self._built = 0  # items when the FAISS index was last built
        self._fresh_recall = 0.0
        self._queries: deque[Float32] = deque(maxlen=_PROBES)
        self._stored_biases = np.zeros(0, np.float32)  # as in the FAISS index
        vectors, nobody = np.zeros((0, dimensions), np.float32), np.zeros(0, np.bool_)
        empty = VectorIndex(dimensions + 1)
        self._view = IndexView(empty, vectors, np.zeros(0, np.float32), 0, _NONE, nobody, nobody)

    def __len__(self) -> int:
        return self._view.n_items

    @property
    def view(self) -> IndexView:
        """The present moment, for a reader with more than one question."""
        return self._view

    @property
    def rows(self) -> Float32:
        """Exact rows (v, b) of all items, float32 (n, d + 1), a copy."""
        view = self._view
        return np.column_stack(view.take(np.arange(view.n_items, dtype=np.int32)))

    def search(self, queries: Float32, k: int, exclude: Int32 | None = None) -> Found:
        """Best k items of each query (q, c), float32 (m, d + 1), none of the item numbers in `exclude`."""
        view = self._view
        if view.shown.cells:
            self._queries.extend(queries)
        return view.search(queries, k, exclude)

    def add(self, vectors: Float32, biases: Float32) -> None:
        """Append the next item numbers: vectors (n, d), biases (n,)."""
        view = self._view
        first, size = view.n_items, view.n_items + len(vectors)
        exact, exact_biases = _room(view.vectors, first, size), _room(view.biases, first, size)
        exact[first:size], exact_biases[first:size] = vectors, biases  # beyond what any view looks at
        none = np.zeros(len(vectors), np.bool_)
        self._publish(
            self._next(
                np.arange(first, size, dtype=np.int32),
                vectors=exact,
                biases=exact_biases,
                n_items=size,
                hidden=np.concatenate([view.hidden, none]),
                removed=np.concatenate([view.removed, none]),
                length=max(view.length, _length(vectors)),
                bias_length=max(view.bias_length, _largest(np.abs(biases))),
            )
        )
        self._merge_if_long()

    def write(self, numbers: Int32, vectors: Float32, biases: Float32) -> None:
        """Give items, sorted by number and each named once, other rows: vectors (n, d), biases (n,)."""
        view = self._view
        stale = np.flatnonzero(~view.hidden[numbers])
        shown = view.shown.take(numbers[stale])
        tolerances = self.settings.tolerance, self.settings.popularity_tolerance
        far, drift, bias_drift, length, bias_length = _compare(vectors, biases, stale, shown, view.shift, *tolerances)
        successor = self._next(
            numbers[stale[far]],
            drift=max(view.drift, drift),
            bias_drift=max(view.bias_drift, bias_drift),
            length=max(view.length, length),
            bias_length=max(view.bias_length, bias_length),
        )
        self._publish(successor, numbers, vectors, biases)
        self._merge_if_long()

    def write_biases(self, biases: Float32) -> None:
        """Give every item another bias (n,): what the changes have in common rewrites no row."""
        view = self._view
        stale = np.flatnonzero(~view.hidden[: len(view.shown)]).astype(np.int32)
        moves = biases[stale] - self._stored_biases[stale]
        shift = _densest(moves, 2 * self.settings.popularity_tolerance)
        moves = np.abs(moves - shift)
        far = moves > self.settings.popularity_tolerance
        self._publish(
            self._next(
                stale[far],
                biases=np.concatenate([biases, view.biases[len(biases) :]]),  # older views keep theirs
                shift=shift,
                bias_drift=_largest(moves[~far]),
                bias_length=_largest(np.abs(biases)),
            )
        )
        self._merge_if_long()

    def remove(self, numbers: Int32) -> None:
        """Answer no search with these items any more; their rows and their numbers stay."""
        view = self._view
        hidden, removed = view.hidden.copy(), view.removed.copy()
        hidden[numbers] = removed[numbers] = True
        self._publish(self._next(hidden=hidden, removed=removed, overlay=view.overlay[~removed[view.overlay]]))

    def restore(self, numbers: Int32) -> None:
        """Take a removal back."""
        removed = self._view.removed.copy()
        back = np.unique(numbers[removed[numbers]])
        removed[back] = False
        self._publish(self._next(back, removed=removed))
        self._merge_if_long()

    def merge(self) -> None:
        """Bring the overlay into a copy of the FAISS index and let it take the original's place.

        Where most rows have changed, or the number of items asks for another kind of index, it is built anew.
        """
        view = self._view
        if 2 * len(view.overlay) > view.n_items or bool(self._cells()) != bool(view.shown.cells):
            self.rebuild()
            return
        shown, known = view.shown.copy(), len(view.shown)
        old, new = view.overlay[view.overlay < known], np.arange(known, view.n_items, dtype=np.int32)
        changed, added = self._stored(old, view.shift), self._stored(new, view.shift)
        shown.change(old, changed)
        shown.add(added)
        self._stored_biases[old] = changed[:, -1]
        self._stored_biases = np.concatenate([self._stored_biases, added[:, -1]])
        self._publish(self._next(shown=shown, overlay=_NONE, hidden=view.removed))

    def rebuild(self) -> None:
        """Build the FAISS index anew from the exact rows."""
        rows = self.rows
        shown = VectorIndex.of(rows, cells=self._cells(), queries=self._asked())
        self._stored_biases = rows[:, -1].copy()
        nothing: dict[str, Any] = {"drift": 0.0, "bias_drift": 0.0, "shift": 0.0}
        self._publish(self._next(shown=shown, overlay=_NONE, hidden=self._view.removed, **nothing))
        self._built = len(rows)
        self._fresh_recall = self.recall() if self._queries else 0.0  # before the first query, growth alone counts

    def recall(self) -> float:
        """Share of the exact lists that searches find, over the newest queries; 1 where every row is looked at."""
        view = self._view
        queries = self._asked()
        if queries is None:
            return 1.0
        best = np.array([view.scan(query, _PROBE_LENGTH)[0] for query in queries])
        return share_found(view.search(queries, best.shape[1]).scores, best)

    @property
    def rebuild_due(self) -> bool:
        """Whether cells that were made for other rows find too little by now, or too many items came after them."""
        if not self._view.shown.cells:
            return False
        new = len(self) - self._built
        return new > _NEW_SHARE * self._built or self.recall() < self._fresh_recall - _RECALL_LOSS

    def save(self, path: Path) -> None:
        """Write a FAISS file of the exact rows."""
        self.snapshot()(path)

    def snapshot(self) -> Callable[[Path], None]:
        """Copy the exact rows; what is returned writes a FAISS file of them, whatever the index does meanwhile."""
        rows, cells = self.rows, self._cells()
        return lambda path: VectorIndex.of(rows, cells=cells).write(path)

    def _asked(self) -> Float32 | None:
        """The newest queries, float32 (m, d + 1); None where nobody keeps them, or none came."""
        queries = list(self._queries)  # at once: readers go on asking
        return np.array(queries) if queries else None

    def _cells(self) -> int:
        return 0 if len(self) <= self.settings.flat_items else cells_for(len(self))

    def _stored(self, numbers: Int32, shift: float) -> Float32:
        """Rows as the FAISS index keeps them: biases without what is common to all."""
        vectors, biases = self._view.take(numbers)
        return np.column_stack([vectors, biases - np.float32(shift)])

    def _next(self, enter: Int32 = _NONE, **changes: Any) -> IndexView:
        """What follows the present view, with more rows in its overlay."""
        view = self._view
        if len(enter):
            self.writes += len(enter)
            hidden = changes.get("hidden", view.hidden).copy()
            hidden[enter] = True
            changes |= {"hidden": hidden, "overlay": np.concatenate([view.overlay, enter])}
        return replace(view, version=view.version + 1, replaced=None, **changes)

    def _publish(
        self,
        successor: IndexView,
        numbers: Int32 = _NONE,
        vectors: Float32 | None = None,
        biases: Float32 | None = None,
    ) -> None:
        """Leave what is about to be overwritten with the present view, overwrite it, and show the successor."""
        view = self._view
        view.replaced = Overwritten(numbers, view.vectors[numbers], view.biases[numbers], view.biases, successor)
        if vectors is not None and biases is not None:
            view.vectors[numbers], view.biases[numbers] = vectors, biases
        self._view = successor

    def _merge_if_long(self) -> None:
        if len(self._view.overlay) > min(self.settings.merge_rows, max(len(self) // _OVERLAY_SHARE, 1)):
            self.merge()


@njit(cache=True, nogil=True)
def _compare(vectors, biases, stale, shown, shift, tolerance, bias_tolerance):  # type: ignore[no-untyped-def]
    """Which of the stale rows, places among the new ones, are too far from what is shown of them, float32 (m, d + 1).

    And the largest move of a vector and of a bias among those that are not, the length of the longest vector and the
    largest bias of all.
    """
    far = np.zeros(len(stale), np.bool_)
    drift, bias_drift, length, bias_length = 0.0, 0.0, 0.0, 0.0
    for place in range(len(stale)):
        row = stale[place]
        move = 0.0
        for k in range(vectors.shape[1]):
            move += (vectors[row, k] - shown[place, k]) ** 2
        move = np.sqrt(move)
        bias_move = abs(biases[row] - shown[place, -1] - shift)
        if move > tolerance or bias_move > bias_tolerance:
            far[place] = True
        else:
            drift, bias_drift = max(drift, move), max(bias_drift, bias_move)
    for row in range(len(vectors)):
        total = 0.0
        for k in range(vectors.shape[1]):
            total += vectors[row, k] ** 2
        length, bias_length = max(length, np.sqrt(total)), max(bias_length, abs(biases[row]))
    return far, drift, bias_drift, length, bias_length


def _room(array: Float32, used: int, size: int) -> Float32:
    """The array, or one half as large again with the same rows, where it has no room for `size`."""
    if size <= len(array):
        return array
    larger = np.zeros((max(size, len(array) * 3 // 2), *array.shape[1:]), np.float32)
    larger[:used] = array[:used]
    return larger


def _densest(values: Float32, width: float) -> float:
    """Middle of the interval of this width that holds the most values; 0 without any."""
    if not len(values):
        return 0.0
    ordered = np.sort(values).astype(np.float64)
    stops = np.searchsorted(ordered, ordered + width, side="right")
    first = int(np.argmax(stops - np.arange(len(ordered))))
    return float((ordered[first] + ordered[stops[first] - 1]) / 2)


def _length(vectors: Float32) -> float:
    return _largest(np.linalg.norm(vectors, axis=1))


def _largest(values: Float32) -> float:
    return float(values.max(initial=0))
