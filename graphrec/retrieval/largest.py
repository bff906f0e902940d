"""The k largest of many values, in order, without sorting the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FEW = 8  # a guess from a sample, or a heap, is quicker than a partition up to one value in so many
_SAMPLE, _SPARE = 16, 4  # one value in so many is looked at; places beyond twice as many as are wanted


def largest(values: NDArray[np.floating], k: int) -> NDArray[np.int32]:
    """Positions of the k largest values, best first; ties by position."""
    if k < len(values):
        if 0 < k <= len(values) // _FEW:
            positions = _leading(values, k, values.dtype.type(-np.inf))
        else:
            threshold = np.partition(values, len(values) - k)[len(values) - k]
            positions = np.flatnonzero(values >= threshold)
    else:
        positions = np.arange(len(values))
    best: NDArray[np.int32] = positions[np.argsort(-values[positions], kind="stable")][:k].astype(np.int32)
    return best


def largest_positive(values: NDArray[np.floating], k: int) -> NDArray[np.int32]:
    """Positions of the k largest values above zero, or of as many as there are, best first; ties by position."""
    kind = values.dtype.type
    least = np.nextafter(kind(0), kind(1))
    positions = _leading(values, k, least) if k <= len(values) // _FEW else at_least(values, least)
    best: NDArray[np.int32] = positions[np.argsort(-values[positions], kind="stable")][:k]
    return best


@njit(cache=True, nogil=True)
def at_least(values, low):  # type: ignore[no-untyped-def]
    """Positions, ascending, int32, of the values not below a threshold."""
    positions = np.empty(len(values), np.int32)
    found = 0
    for position in range(len(values)):
        if values[position] >= low:
            positions[found] = position
            found += 1
    return positions[:found].copy()


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
def _leading(values, k, least):  # type: ignore[no-untyped-def]
    """Positions, ascending, of the values that are neither below the k-th largest, k > 0, nor below the least.

    A sample tells about how large that is, so that few values are brought into an order at all.
    """
    sample = values[::_SAMPLE]
    most = 2 * k // _SAMPLE + _SPARE
    if most < len(sample):
        likely = at_least(values, max(kth_largest(sample, most), least))
        if k <= len(likely) < len(values) // 2:
            few = values[likely]
            return likely[at_least(few, kth_largest(few, k))]
    return at_least(values, max(kth_largest(values, k), least))


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
