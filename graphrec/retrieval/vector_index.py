"""The vector index, and the only file that knows FAISS.

Inner product over contiguous item numbers. Up to about 200,000 items every row is looked at (Flat), which is exact;
above, rows lie in cells around centroids (IVF) and a search visits the nearest of them, as many as a probe of the
recall asks for. With a GPU, searches run on a copy that follows the index when it has changed; without one, an index
that looks at every row keeps a sketch of them (sketch.py), which says in less time which rows to look at.

Any number of threads may search at a time, and this file keeps those of a GPU apart, where FAISS allows one. No row may
change beside a search: whoever changes rows changes a `copy`, and lets it take the index's place (see live_index.py).
"""

from __future__ import annotations

import importlib.metadata
import itertools
import threading
import weakref
from math import sqrt
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from graphrec.errors import DependencyError, GenerationError
from graphrec.retrieval.sketch import Sketch

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Float32 = NDArray[np.float32]
    Int32 = NDArray[np.int32]
    Mask = NDArray[np.bool_]

_GPU_MOST = 2048  # results of one search that a GPU can order
_GPU_SCRATCH = 256 << 20  # bytes that searches on a GPU may use beside the rows
_SKETCHED = 1 << 19  # bytes of rows from which it is quicker to read a sketch of them
_PROBE_QUERIES, _PROBE_LENGTH, _RECALL = 100, 20, 0.99  # a probe of the recall, and what it must find


def import_faiss() -> Any:
    """The faiss module; raises DependencyError when it is missing or installed twice (both wheels own one folder)."""
    installed = [name for name in ("faiss-cpu", "faiss-gpu", "faiss-gpu-cu12") if _is_installed(name)]
    if len(installed) > 1:
        raise DependencyError(
            "two FAISS packages are installed over each other",
            expected="exactly one",
            got=", ".join(installed),
            way_out=f"pip uninstall {' '.join(installed)}, then pip install 'graphrec[cpu]' or 'graphrec[gpu]'",
        )
    try:
        import faiss
    except ImportError as error:
        raise DependencyError(
            "FAISS is not installed", got=str(error), way_out="pip install 'graphrec[cpu]' (or [gpu])"
        ) from None
    return faiss


class _GpuCopy:
    """The rows of an index and of those that follow it, on a GPU: one copy, that of the newest that was searched.

    FAISS cannot change single rows there. So a refresh uploads all, into the same index, once for all that a merge of
    the overlay changes; until then the copy stays as it is, and what came later is in the overlay (live_index.py). Who
    still searches an older index does so on the CPU. Memory is that of one index and `_GPU_SCRATCH`.
    """

    def __init__(self, faiss: Any) -> None:
        self._faiss = faiss
        self._turn = threading.Lock()
        self._resources: Any = None
        self._index: Any = None
        self._moments = itertools.count(1)
        self._moment = 0  # whose rows these are

    def next_moment(self) -> int:
        """A number for the rows of an index, larger than all before."""
        return next(self._moments)

    def search(self, index: Any, moment: int, queries: Float32, k: int) -> tuple[Float32, Int32] | None:
        """Scores and numbers (n, k) of a FAISS index whose rows have been the same since `moment`; None: too old."""
        with self._turn:
            if moment < self._moment:
                return None
            if moment > self._moment:
                if self._resources is None:
                    self._resources = self._faiss.StandardGpuResources()
                    self._resources.setTempMemory(_GPU_SCRATCH)
                if self._index is not None and hasattr(self._index, "nlist") == hasattr(index, "nlist"):
                    self._index.copyFrom(index)
                else:
                    self._index = self._faiss.index_cpu_to_gpu(self._resources, 0, index)
                self._moment = moment
            scores, numbers = self._index.search(queries, k)
        return scores, numbers


class _Before(NamedTuple):
    """The index that another one followed: whether somebody still holds it, its storage, and what changed since."""

    held: weakref.ref[VectorIndex]
    storage: Any
    sketch: Sketch | None
    changed: Int32


class VectorIndex:
    """Item number -> vector, searched by inner product; rows float32 (n, dimensions).

    on_gpu: whether searches run on a GPU; None = where there is one.
    """

    def __init__(self, dimensions: int, *, on_gpu: bool | None = None) -> None:
        self._faiss = import_faiss()
        self._index = self._faiss.IndexFlatIP(dimensions)
        self._on_gpu = self._faiss.get_num_gpus() > 0 if on_gpu is None else on_gpu
        self._gpu = _GpuCopy(self._faiss)
        self._moment = self._gpu.next_moment()
        self._before: _Before | None = None
        self._rows: Float32 | None = None
        self._sketch: Sketch | None = None

    @classmethod
    def of(
        cls,
        rows: Float32,
        *,
        cells: int = 0,
        queries: Float32 | None = None,
        on_gpu: bool | None = None,
    ) -> VectorIndex:
        """An index of these rows.

        Args:
            rows: float32 (n, d).
            cells: that the rows lie in; 0 = every row is looked at.
            queries: float32 (m, d), for the probe that decides how many cells a search visits; None = some of the rows.
            on_gpu: as of the class.
        """
        index = cls(rows.shape[1], on_gpu=on_gpu)
        rows = np.ascontiguousarray(rows, np.float32)
        if cells:
            faiss = index._faiss
            quantizer = faiss.IndexFlatIP(rows.shape[1])
            index._index = faiss.IndexIVFFlat(quantizer, rows.shape[1], cells, faiss.METRIC_INNER_PRODUCT)
            index._index.cp.max_points_per_centroid = 64
            index._index.train(rows)
            index._index.set_direct_map_type(faiss.DirectMap.Array)
        index.add(rows)
        if cells:
            index._visit_enough(rows[:: max(len(rows) // _PROBE_QUERIES, 1)] if queries is None else queries)
        return index

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @property
    def dimensions(self) -> int:
        """Width of a row."""
        return int(self._index.d)

    @property
    def cells(self) -> int:
        """Cells that the rows lie in; 0 where every row is looked at."""
        return int(self._index.nlist) if hasattr(self._index, "nlist") else 0

    def take(self, numbers: Int32) -> Float32:
        """The rows of some items, float32 (n, d)."""
        if self.cells:
            rows: Float32 = self._index.reconstruct_batch(numbers.astype(np.int64))
            return rows
        return self.flat[numbers]

    def add(self, rows: Float32) -> None:
        """Append the next item numbers."""
        rows = np.ascontiguousarray(rows, np.float32)
        self._index.add(rows)
        self._moment, self._rows = self._gpu.next_moment(), None
        if self._sketch is not None:
            self._sketch.add(rows)
        elif not self.cells and not self._on_gpu and 4 * len(self) * self.dimensions >= _SKETCHED:
            self._sketch = Sketch(self.flat)

    def change(self, numbers: Int32, rows: Float32) -> None:
        """Give items, each named once, other rows."""
        if not len(numbers):
            return
        if self.cells:
            self._index.update_vectors(numbers.astype(np.int64), np.ascontiguousarray(rows, np.float32))
        else:
            self.flat[numbers] = rows
            if self._sketch is not None:
                self._sketch.change(numbers, rows)
        self._moment = self._gpu.next_moment()

    @property
    def flat(self) -> Float32:
        """All rows of an index that looks at every one of them, float32 (n, dimensions): a view, valid until `add`."""
        if self._rows is None:
            flat: Float32 = self._faiss.rev_swig_ptr(self._index.get_xb(), len(self) * self.dimensions)
            self._rows = flat.reshape(len(self), self.dimensions)
        return self._rows

    def successor(self, numbers: Int32, rows: Float32) -> VectorIndex:
        """The same with other rows for some items, each named once, sorted, and with new ones from len(self) on.

        It takes the storage of the index before this one if nobody holds that any more, and a copy of this one if not:
        of an index that looks at every row there are two, and a step costs what its rows cost.
        """
        known = len(self)
        old = int(np.searchsorted(numbers, known))
        behind, changed = self._before, numbers
        if behind is None or behind.held() is not None:
            following = self.copy()
        else:
            following = self._with(behind.storage, behind.sketch)
            missed, first = behind.changed, len(following)
            following.change(missed[missed < first], self.take(missed[missed < first]))
            following.add(self.flat[first:])
        following.change(numbers[:old], rows[:old])
        following.add(rows[old:])
        if not self.cells:
            following._before = _Before(weakref.ref(self), self._index, self._sketch, changed)
        return following

    def copy(self) -> VectorIndex:
        """The same rows once more, to be changed while searches go on in this one."""
        return self._with(self._faiss.clone_index(self._index), None if self._sketch is None else self._sketch.copy())

    def _with(self, storage: Any, sketch: Sketch | None) -> VectorIndex:
        """An index of this storage that shares the copy on the GPU, which is of one of them at a time."""
        index = VectorIndex(self.dimensions, on_gpu=self._on_gpu)
        index._index, index._sketch, index._gpu = storage, sketch, self._gpu
        index._moment = self._gpu.next_moment()
        return index

    @property
    def sketched(self) -> bool:
        """Whether `upper` may be asked."""
        return self._sketch is not None

    def upper(self, query: Float32, hidden: Mask | None = None) -> Float32:
        """What no row scores more than with a query, float32 (n,), -inf for the hidden."""
        assert self._sketch is not None
        return self._sketch.upper(query, hidden)

    def search(self, queries: Float32, k: int, hidden: Mask | None = None) -> tuple[Float32, Int32]:
        """Best k items of each query: scores (n, k) and numbers (n, k), -1 where there are fewer.

        `hidden`, one truth value an item, says which items no query may be answered with.
        """
        queries = np.ascontiguousarray(queries, np.float32)
        k = min(k, max(len(self), 1))
        if hidden is not None and not hidden.any():
            hidden = None
        if self._on_gpu:
            found = self._search_on_gpu(queries, k, hidden)
            if found is not None:
                return found
        scores, numbers = self._index.search(queries, k, params=self._parameters(hidden))
        return scores, numbers.astype(np.int32)

    def _parameters(self, hidden: Mask | None) -> Any:
        """None, or what keeps hidden items out of a search; FAISS owns nothing of it, but its Python objects do."""
        if hidden is None:
            return None
        selector = self._faiss.IDSelectorBitmap(np.packbits(~hidden, bitorder="little"))
        if self.cells:
            return self._faiss.SearchParametersIVF(sel=selector, nprobe=self._index.nprobe)
        return self._faiss.SearchParameters(sel=selector)

    def _search_on_gpu(self, queries: Float32, k: int, hidden: Mask | None) -> tuple[Float32, Int32] | None:
        """As `search`; None where the GPU has later rows, or hidden items, which it cannot leave out, are too many."""
        fetch = k if hidden is None else min(2 * k, len(self))
        if fetch > _GPU_MOST:
            return None
        found = self._gpu.search(self._index, self._moment, queries, fetch)
        if found is None:
            return None
        scores, numbers = found
        if hidden is not None:
            shown = (numbers >= 0) & ~hidden[numbers]
            if fetch < len(self) and (shown.sum(axis=1) < k).any():
                return None
            order = np.argsort(~shown, axis=1, kind="stable")[:, :k]  # the shown ones first, still by score
            numbers = np.take_along_axis(np.where(shown, numbers, -1), order, 1)
            scores = np.take_along_axis(scores, order, 1)
        return scores, numbers.astype(np.int32)

    def _visit_enough(self, queries: Float32) -> None:
        """Double the cells that a search visits until it finds what a search of all of them finds."""
        self._index.nprobe = self.cells
        best = self._index.search(np.ascontiguousarray(queries, np.float32), min(_PROBE_LENGTH, len(self)))[0]
        self._index.nprobe = 1
        while self._index.nprobe < self.cells:
            found = self._index.search(np.ascontiguousarray(queries, np.float32), best.shape[1])[0]
            if share_found(found, best) >= _RECALL:
                break
            self._index.nprobe = min(2 * self._index.nprobe, self.cells)

    def write(self, path: Path) -> None:
        """Write a FAISS file."""
        self._faiss.write_index(self._index, str(path))

    @classmethod
    def read(cls, path: Path) -> VectorIndex:
        """Read what `write` wrote; raises GenerationError for any other file."""
        index = cls(1)
        faiss = index._faiss
        try:
            found = faiss.read_index(str(path))
        except RuntimeError as error:
            raise GenerationError(f"{path} is not a FAISS index", got=str(error).splitlines()[0]) from None
        if not isinstance(found, faiss.IndexFlatIP | faiss.IndexIVFFlat):
            raise GenerationError(
                f"{path} is an index of another kind", expected="IndexFlatIP or IndexIVFFlat", got=type(found).__name__
            )
        index._index = found
        return index


def cells_for(n_items: int) -> int:
    """How many cells suit a catalogue: four times the square root of its items."""
    return int(4 * sqrt(n_items))


def share_found(scores: Float32, best: Float32) -> float:
    """Recall: the share of places (n, k) whose score is not below the last of the best ones, up to rounding.

    Counted by scores, so that one of two equals is as good as the other.
    """
    threshold = best[:, -1:] - 1e-5 * np.abs(best[:, -1:])
    return float((scores >= threshold).mean()) if best.size else 1.0


def _is_installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
