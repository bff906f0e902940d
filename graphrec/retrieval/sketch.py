"""Rows in a byte a number, to tell cheaply which of them can be among the best of a query.

A scan of many long rows costs what reading them costs, and a quarter of the bytes are read in a third of the time. A
row r is kept as a step s and whole numbers c of one byte, and its distance |r - s c| beside them. For a query q

    |q·r - s q·c| <= |q| |r - s c|                                                            (Cauchy-Schwarz)

so no row is among the k best whose upper bound is below the k-th largest lower bound. The rows that are left are
scored as they are, and the answer is that of a scan. The last number of a row is kept as it is: in an index it is a
bias, of another size than the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

from graphrec.retrieval.largest import kth_largest, largest
from graphrec.retrieval.row_products import row_products

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    Float32 = NDArray[np.float32]
    Int32 = NDArray[np.int32]
    Mask = NDArray[np.bool_]

_MOST = 127  # of a number of one byte
_ROUNDING = 2.0**-22  # of a product, four times the unit of float32: two scores are compared, each a bound of its own
_SUMS = {"reassoc", "contract", "nsz"}  # sums in any order, which is what makes them fast


class Sketch:
    """What `best` needs beside the rows themselves, float32 (n, d) with d of at least two."""

    def __init__(self, rows: Float32) -> None:
        self._size = 0
        self._codes = np.zeros((0, rows.shape[1] - 1), np.int8)
        self._steps, self._errors, self._last = (np.zeros(0, np.float32) for _ in range(3))
        self.add(rows)

    def copy(self) -> Sketch:
        """The same once more."""
        other = object.__new__(Sketch)
        other.__dict__ = {name: kept if name == "_size" else kept.copy() for name, kept in self.__dict__.items()}
        return other

    def add(self, rows: Float32) -> None:
        """Append rows."""
        first, self._size = self._size, self._size + len(rows)
        if self._size > len(self._codes):
            room = max(self._size, len(self._codes) * 3 // 2)
            for name in ("_codes", "_steps", "_errors", "_last"):
                setattr(self, name, _longer(getattr(self, name), room))
        self.change(np.arange(first, self._size, dtype=np.int32), rows)

    def change(self, numbers: Int32, rows: Float32) -> None:
        """Give rows, by number, other values."""
        _encode(numbers, rows, self._codes, self._steps, self._errors, self._last)

    def best(self, rows: Float32, query: Float32, k: int, hidden: Mask | None = None) -> tuple[Float32, Int32]:
        """Scores and numbers of the k best rows of those that are not hidden, best first, or of as many as there are.

        rows: float32 (n, d), those that this is the sketch of. hidden: (>= n,), one truth value a row.
        """
        n = self._size
        lower, upper = np.empty(n, np.float32), np.empty(n, np.float32)
        nobody = np.zeros(0, np.bool_) if hidden is None else hidden
        length = np.float32(np.linalg.norm(query))
        _bounds(self._codes, self._steps, self._errors, self._last, query, length, nobody, lower, upper)
        least = kth_largest(lower, k) if k < n else np.float32(-np.inf)
        few = np.flatnonzero((upper >= least) if least > -np.inf else (upper > least)).astype(np.int32)
        scores: Float32 = row_products(rows, few, query)
        order = largest(scores, k)
        return scores[order], few[order]


def _longer(array: Any, size: int) -> Any:
    longer = np.zeros((size, *array.shape[1:]), array.dtype)
    longer[: len(array)] = array
    return longer


@njit(cache=True, nogil=True)
def _encode(numbers, rows, codes, steps, errors, last):  # type: ignore[no-untyped-def]
    for t in range(numbers.size):
        number, d = numbers[t], rows.shape[1] - 1
        highest, square = np.float32(0.0), np.float64(rows[t, d]) ** 2
        for j in range(d):
            highest = max(highest, abs(rows[t, j]))
            square += np.float64(rows[t, j]) ** 2
        step = highest / np.float32(_MOST)
        missed = 0.0
        for j in range(d):
            code = 0.0 if step == 0 else np.round(rows[t, j] / step)
            codes[number, j] = np.int8(code)
            missed += (np.float64(rows[t, j]) - np.float64(step) * code) ** 2
        steps[number], last[number] = step, rows[t, d]
        errors[number] = np.sqrt(missed) * (1.0 + 1e-6) + (d + 3) * _ROUNDING * np.sqrt(square)


@njit(cache=True, nogil=True, fastmath=_SUMS)
def _bounds(codes, steps, errors, last, query, length, hidden, lower, upper):  # type: ignore[no-untyped-def]
    """Lowest and highest score of each row, float32 (n,); -inf for a hidden one."""
    d = codes.shape[1]
    for row in range(lower.size):
        if row < hidden.size and hidden[row]:
            lower[row] = upper[row] = -np.inf
            continue
        total = np.float32(0.0)
        for j in range(d):
            total += np.float32(codes[row, j]) * query[j]
        middle, room = total * steps[row] + last[row] * query[d], errors[row] * length
        lower[row], upper[row] = middle - room, middle + room

