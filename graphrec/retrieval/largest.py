"""The k largest of many values, in order, without sorting the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FEW = 8  # a heap is quicker than a partition up to one value in so many


def largest(values: NDArray[np.floating], k: int) -> NDArray[np.int32]:
    """Positions of the k largest values, best first; ties by position."""
    if k < len(values):
        few = 0 < k <= len(values) // _FEW
        threshold = kth_largest(values, k) if few else np.partition(values, len(values) - k)[len(values) - k]
        positions = np.flatnonzero(values >= threshold)
    else:
        positions = np.arange(len(values))
    return positions[np.argsort(-values[positions], kind="stable")][:k].astype(np.int32)


def largest_positive(values: NDArray[np.floating], k: int) -> NDArray[np.int32]:
    """Positions of the k largest values above zero, or of as many as there are, best first; ties by position."""
    kind = values.dtype.type
    least = max(kth_largest(values, k), np.nextafter(kind(0), kind(1)))
    positions: NDArray[np.int32] = between(values, least, kind(np.inf))
    return positions[np.argsort(-values[positions], kind="stable")][:k]


@njit(cache=True, nogil=True)
def between(values, low, high):  # type: ignore[no-untyped-def]
    """Positions, ascending, int32, of the values v with low <= v < high."""
    positions = np.empty(len(values), np.int32)
    found = 0
    for position in range(len(values)):
        if low <= values[position] < high:
            positions[found] = position
            found += 1
    return positions[:found].copy()


@njit(cache=True, nogil=True)
def kth_largest(values, k):  # type: ignore[no-untyped-def]
    """The k-th largest value, -inf of fewer: the smallest in a heap of k, which most values never enter."""
    heap = np.full(k, -np.inf, values.dtype)
    for value in values:
        if value > heap[0]:
            place = 0
            while True:
                child = 2 * place + 1
                if child >= k:
                    break
                if child + 1 < k and heap[child + 1] < heap[child]:
                    child += 1
                if heap[child] >= value:
                    break
                heap[place] = heap[child]
                place = child
            heap[place] = value
    return heap[0]
