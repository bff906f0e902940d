"""The vector index, and the only file that knows FAISS.

Inner product over contiguous item numbers: exact and scanned whole, which is the fastest choice that can be rewritten
in place up to about 200,000 items. FAISS allows concurrent searches of a CPU index but no change beside a search; the
caller keeps them apart.
"""

from __future__ import annotations

import importlib.metadata
from typing import TYPE_CHECKING, Any

import numpy as np

from graphrec.errors import DependencyError, GenerationError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Float32 = NDArray[np.float32]
    Int32 = NDArray[np.int32]


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


class VectorIndex:
    """Item number -> vector, searched by inner product; rows float32 (n, dimensions)."""

    def __init__(self, dimensions: int) -> None:
        self._faiss = import_faiss()
        self._index = self._faiss.IndexFlatIP(dimensions)

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @property
    def dimensions(self) -> int:
        """Width of a row."""
        return int(self._index.d)

    @property
    def rows(self) -> Float32:
        """The vectors, float32 (n, d): a writable view, valid until `add`."""
        flat = self._faiss.rev_swig_ptr(self._index.get_xb(), len(self) * self.dimensions)
        view: Float32 = flat.reshape(len(self), self.dimensions)
        return view

    def add(self, rows: Float32) -> None:
        """Append the next item numbers."""
        self._index.add(np.ascontiguousarray(rows, np.float32))

    def search(self, queries: Float32, k: int, exclude: Int32 | None = None) -> tuple[Float32, Int32]:
        """Best k items of each query: scores (n, k) and numbers (n, k), -1 where there are fewer.

        `exclude` are item numbers no query may be answered with.
        """
        k = min(k, max(len(self), 1))
        parameters = None
        if exclude is not None and len(exclude):
            batch = self._faiss.IDSelectorBatch(exclude.astype(np.int64))
            selector = self._faiss.IDSelectorNot(batch)  # FAISS does not own them: `batch` must outlive the search
            parameters = self._faiss.SearchParameters(sel=selector)
        scores, numbers = self._index.search(np.ascontiguousarray(queries, np.float32), k, params=parameters)
        return scores, numbers.astype(np.int32)

    def write(self, path: Path) -> None:
        """Write a FAISS file."""
        self._faiss.write_index(self._index, str(path))

    @classmethod
    def read(cls, path: Path) -> VectorIndex:
        """Read what `write` wrote; raises GenerationError for any other file."""
        index = cls(1)
        try:
            found = index._faiss.read_index(str(path))
        except RuntimeError as error:
            raise GenerationError(f"{path} is not a FAISS index", got=str(error).splitlines()[0]) from None
        if not isinstance(found, type(index._index)):
            raise GenerationError(
                f"{path} is an index of another kind", expected=type(index._index).__name__, got=type(found).__name__
            )
        index._index = found
        return index


def _is_installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
