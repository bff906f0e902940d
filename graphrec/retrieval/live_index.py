"""An index that follows: written row by row while it is searched, and never locked for a search.

The writer keeps the exact rows, and for readers one immutable view of them (index_view.py), replaced whole by a single
assignment. A row that moved no further than it may lag (index_lag.py) stays in the FAISS index as it was, as searches
order by exact rows; a row that moved further enters the overlay. When the overlay has grown long, its rows join a FAISS
index that then takes the place of the present one: no search waits for it. Where every row is looked at, there are two
such indexes, written in turn. Where rows lie in cells, a thread of its own makes the new one from a view, be it a copy
with the overlay or one with new cells; the writer goes on, and puts it in place with its next step.

Popularity, the bias of a row, fades for all items together. What is common to it is one number of the view.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from graphrec.retrieval.index_builder import Built, Plan, recall
from graphrec.retrieval.index_lag import Lag, common_change, compare, outgrown, overwrite
from graphrec.retrieval.index_view import Found, IndexView, Overwritten
from graphrec.retrieval.vector_index import VectorIndex, cells_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from graphrec.config import IndexSettings

    Float32 = NDArray[np.float32]
    Int32 = NDArray[np.int32]
    Mask = NDArray[np.bool_]

_OVERLAY_SHARE = 8  # an overlay of one row in so many is long, however few rows there are
_PROBES = 100  # newest queries, that the recall is measured by
_RECALL_LOSS, _NEW_SHARE = 0.01, 0.2  # since the index was built: beyond either, building it anew is due
_NONE, _NO_BIASES = np.zeros(0, np.int32), np.zeros(0, np.float32)


class LiveIndex:
    """Item number -> vector v (d,) and bias b, searched by q·v + c b. One writer, any number of readers, no lock.

    scale: |q| / c of usual queries, whose lists are certified soonest. `writes` counts the rows that entered the
    overlay.
    """

    def __init__(self, dimensions: int, settings: IndexSettings, scale: float = 1.0) -> None:
        self.settings = settings
        self.writes = 0
        self._lag = Lag(float(scale), scale * settings.tolerance, settings.popularity_share, settings.popularity_fall)
        self._vectors, self._biases = np.zeros((0, dimensions), np.float32), np.zeros(0, np.float32)
        self._shown_biases = np.zeros(0, np.float32)  # b' of what FAISS shows
        self._moves = np.zeros(0, np.float32)  # scale |v - v'|
        self._built = 0  # items when the FAISS index was last built
        self._recall: float | None = None  # as last measured
        self._fresh_recall = 0.0  # when it was built
        self._queries: deque[Float32] = deque(maxlen=_PROBES)
        self._builder: ThreadPoolExecutor | None = None
        self._building: Future[Built] | None = None
        self._since: Mask = np.zeros(0, np.bool_)  # written since the view that the builder works on
        nobody = np.zeros(0, np.bool_)
        empty = VectorIndex(dimensions + 1)
        self._view = IndexView(empty, self._vectors, self._biases, 0, _NONE, nobody, nobody, scale)

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
        for name in ("_vectors", "_biases", "_shown_biases", "_moves", "_since"):
            setattr(self, name, _room(getattr(self, name), first, size))
        self._vectors[first:size], self._biases[first:size] = vectors, biases  # beyond what any view looks at
        self._lag = self._lag.below(self._biases[:size])
        none = np.zeros(len(vectors), np.bool_)
        self._publish(
            self._next(
                np.arange(first, size, dtype=np.int32),
                vectors=self._vectors,
                biases=self._biases,
                n_items=size,
                hidden=np.concatenate([view.hidden, none]),
                removed=np.concatenate([view.removed, none]),
                length=max(view.length, _largest(np.linalg.norm(vectors, axis=1))),
                bias_length=max(view.bias_length, _largest(np.abs(biases))),
            )
        )
        self._keep_short()

    def write(self, numbers: Int32, vectors: Float32, biases: Float32) -> None:
        """Give items, sorted by number and each named once, other rows: vectors (n, d), biases (n,)."""
        self._write(numbers, vectors, np.arange(len(numbers), dtype=np.int32), biases, directions=False)

    def follow(self, numbers: Int32, vectors: Float32, biases: Float32) -> None:
        """Give items, sorted by number and each named once, the directions of their rows of vectors (n_items, d)."""
        self._write(numbers, vectors, numbers, biases, directions=True)

    def _write(self, numbers: Int32, rows: Float32, places: Int32, biases: Float32, *, directions: bool) -> None:
        view, known, lag = self._view, len(self._view.shown), self._lag
        old = np.empty((len(numbers), rows.shape[1]), np.float32)
        inverses, longest = self._compare(view.shown, numbers, rows, places, view.hidden, old, directions)
        far, slack = outgrown(numbers, biases, self._shown_biases, self._moves, view.hidden, known, view.shift, lag)
        successor = self._next(
            far,
            slack=max(view.slack, slack),
            length=max(view.length, longest),
            bias_length=max(view.bias_length, _largest(np.abs(biases))),
        )
        if self._building is not None:
            self._since[numbers] = True
        replaced = Overwritten(numbers, old, view.biases.take(numbers), view.biases, successor)
        self._publish(successor, replaced, partial(overwrite, numbers, rows, places, inverses, biases))
        self._keep_short()

    def write_biases(self, biases: Float32) -> None:
        """Give every item another bias (n,): what the changes have in common rewrites no row."""
        view, n = self._view, len(biases)
        self._lag = self._lag.below(biases)
        shift = view.shift + common_change(biases - self._biases[:n])
        # Older views keep theirs.
        self._biases = np.concatenate([biases, self._biases[n:]])
        everyone = np.arange(n, dtype=np.int32)
        known, lag = len(view.shown), self._lag
        far, slack = outgrown(everyone, biases, self._shown_biases, self._moves, view.hidden, known, shift, lag)
        bias_length = _largest(np.abs(biases))
        self._publish(self._next(far, biases=self._biases, shift=shift, slack=slack, bias_length=bias_length))
        self._keep_short()

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
        self._keep_short()

    def merge(self) -> None:
        """Let a FAISS index with the overlay in it take the present one's place.

        Where most rows have changed, or the number of items asks for another kind of index, it is built anew.
        """
        self.wait()
        self._replace(self._plan(anew=False)())

    def rebuild(self) -> None:
        """Build the FAISS index anew from the exact rows."""
        self.wait()
        self._replace(self._plan(anew=True)())

    def wait(self) -> None:
        """Wait for the index that is being made, if any is, put it in place, and so on until none is due."""
        while self._building is not None:
            self._building.exception()
            self._keep_short()

    def recall(self) -> float:
        """Share of the exact lists that searches find, over the newest queries; 1 where every row is looked at."""
        queries = self._asked()
        return 1.0 if queries is None else recall(self._view, queries)

    @property
    def rebuild_due(self) -> bool:
        """Whether cells that were made for other rows find too little by now, or too many items came after them."""
        if not self._view.shown.cells:
            return False
        return self._outdated(self.recall())

    def save(self, path: Path) -> None:
        """Write a FAISS file of the exact rows."""
        self.snapshot()(path)

    def snapshot(self) -> Callable[[Path], None]:
        """Copy the exact rows; what is returned writes a FAISS file of them, whatever the index does meanwhile."""
        rows, cells = self.rows, self._cells()
        return lambda path: VectorIndex.of(rows, cells=cells).write(path)

    def _outdated(self, found: float) -> bool:
        return len(self) - self._built > _NEW_SHARE * self._built or found < self._fresh_recall - _RECALL_LOSS

    def _asked(self) -> Float32 | None:
        """The newest queries, float32 (m, d + 1); None where nobody keeps them, or none came."""
        queries = list(self._queries)  # at once: readers go on asking
        return np.array(queries) if queries else None

    def _cells(self) -> int:
        return 0 if len(self) <= self.settings.flat_items else cells_for(len(self))

    def _compare(
        self,
        shown: VectorIndex,
        numbers: Int32,
        rows: Float32,
        places: Int32,
        hidden: Mask,
        old: Float32,
        directions: bool,
    ) -> tuple[Float32, float]:
        """`compare` with the rows that FAISS shows."""
        shown_places = numbers
        if shown.cells:
            stale = np.flatnonzero((numbers < len(shown)) & ~hidden[numbers])
            shown_rows = shown.take(numbers[stale])
            shown_places = np.full(len(numbers), len(stale), np.int32)
            shown_places[stale] = np.arange(len(stale))
        else:
            shown_rows = shown.flat
        scale, exact = self._lag.scale, self._vectors
        found: tuple[Float32, float] = compare(
            numbers, rows, places, directions, shown_rows, shown_places, self._moves, scale, exact, old
        )
        return found

    def _next(self, enter: Int32 = _NONE, **changes: Any) -> IndexView:
        """What follows the present view, with more rows in its overlay."""
        view = self._view
        if len(enter):
            self.writes += len(enter)
            hidden = changes.get("hidden", view.hidden).copy()
            hidden[enter] = True
            changes |= {"hidden": hidden, "overlay": np.concatenate([view.overlay, enter])}
        return view.changed(**changes)

    def _publish(
        self, successor: IndexView, replaced: Overwritten | None = None, write: partial[None] | None = None
    ) -> None:
        """Leave what is about to be overwritten with the present view, overwrite it, and show the successor."""
        view = self._view
        view.replaced = (
            Overwritten(_NONE, self._vectors[:0], _NO_BIASES, view.biases, successor) if replaced is None else replaced
        )
        if write is not None:
            write(self._vectors, self._biases)
        self._view = successor

    def _keep_short(self) -> None:
        """Put in place an index that has been made; have one made where the overlay is long or cells are outdated."""
        if self._building is not None:
            if not self._building.done():
                return
            building, self._building = self._building, None
            self._replace(building.result())
        long = len(self._view.overlay) > min(self.settings.merge_rows, max(len(self) // _OVERLAY_SHARE, 1))
        outdated = bool(self._view.shown.cells) and self._outdated(1.0 if self._recall is None else self._recall)
        if not long and not outdated:
            return
        plan = self._plan(anew=outdated)
        if self._cells():
            self._builder = self._builder or ThreadPoolExecutor(1, "index builder")
            self._building = self._builder.submit(plan)
        else:
            self._replace(plan())

    def _plan(self, *, anew: bool) -> Plan:
        """How to make the index that follows the present view's."""
        view, cells, queries = self._view, self._cells(), self._asked()
        queries = None if queries is None else view.asked(queries)
        anew = anew or 2 * len(view.overlay) > view.n_items or bool(cells) != bool(view.shown.cells)
        return Plan(view, self._lag, cells if anew else None, queries)

    def _replace(self, built: Built) -> None:
        """Show what was built, and keep in the overlay what has moved too far for it since it was begun."""
        view, shown, known = self._view, built.shown, len(built.shown)
        self._shown_biases[built.numbers], self._moves[built.numbers] = built.biases, 0.0
        since = np.flatnonzero(self._since[:known]).astype(np.int32)
        unused = np.empty((len(since), self._vectors.shape[1]), np.float32)
        self._compare(shown, since, self._vectors, since, view.removed, unused, directions=False)
        changed = np.zeros(view.n_items, np.bool_)
        changed[built.numbers] = changed[since] = True
        judged = np.flatnonzero(changed).astype(np.int32)
        biases, lag = self._biases[judged], self._lag
        far, slack = outgrown(judged, biases, self._shown_biases, self._moves, view.removed, known, view.shift, lag)
        others = view.overlay[(view.overlay >= known) | ~changed[view.overlay]]
        overlay = np.concatenate([others, far])
        hidden = view.removed.copy()
        hidden[overlay] = True
        self._since[since] = False
        self.writes += int((~view.hidden[far]).sum())
        slack = slack if built.anew else max(slack, view.slack)
        self._publish(self._next(shown=shown, overlay=overlay, hidden=hidden, slack=slack))
        self._recall = built.recall
        if built.anew:
            self._built, self._fresh_recall = known, built.recall or 0.0  # before the first query, growth alone counts


def _room(array: Any, used: int, size: int) -> Any:
    """The array, or one half as large again with the same rows, where it has no room for `size`."""
    if size <= len(array):
        return array
    larger = np.zeros((max(size, len(array) * 3 // 2), *array.shape[1:]), array.dtype)
    larger[:used] = array[:used]
    return larger


def _largest(values: Float32) -> float:
    return float(values.max(initial=0))
