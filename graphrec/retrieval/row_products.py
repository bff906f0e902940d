"""Inner products of some rows of a matrix and one query, without a copy of the rows."""

from __future__ import annotations

import numpy as np
from numba import njit

from graphrec.graph.prefetch import prefetch_row

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
