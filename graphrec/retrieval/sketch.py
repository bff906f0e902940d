"""Rows in a byte a number, to tell cheaply what each of them can score with a query at most.

A scan of many long rows costs what reading them costs, and a quarter of the bytes are read in a third of the time. A
row r is kept as a step s and whole numbers c of one byte, and its distance |r - s c| beside them. For a query q

    q·r <= s q·c + |q| |r - s c|                                                              (Cauchy-Schwarz)

The last number of a row is kept as it is: in an index it is a bias, of another size than the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    Float32 = NDArray[np.float32]
    Int32 = NDArray[np.int32]
    Mask = NDArray[np.bool_]

_MOST = 127  # of a number of one byte
_ROUNDING = 2.0**-22  # of a product, four times the unit of float32: the bound's, and that of the score it bounds
_SUMS = {"reassoc", "contract", "nsz"}  # sums in any order, which is what makes them fast


class Sketch:
    """Of rows float32 (n, d), d of at least two."""

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

    def upper(self, query: Float32, hidden: Mask | None = None) -> Float32:
        """What no row scores more than, float32 (n,); -inf for the hidden, (>= n,) truth values."""
        upper = np.empty(self._size, np.float32)
        nobody = np.zeros(0, np.bool_) if hidden is None else hidden
        length = np.float32(np.linalg.norm(query))
        _bounds(self._codes, self._steps, self._errors, self._last, query, length, nobody, upper)
        return upper


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
def _bounds(codes, steps, errors, last, query, length, hidden, upper):  # type: ignore[no-untyped-def]
    d = codes.shape[1]
    for row in range(upper.size):
        if row < hidden.size and hidden[row]:
            upper[row] = -np.inf
            continue
        total = np.float32(0.0)
        for j in range(d):
            total += np.float32(codes[row, j]) * query[j]
        upper[row] = total * steps[row] + last[row] * query[d] + errors[row] * length
