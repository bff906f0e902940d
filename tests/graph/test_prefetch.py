"""Prefetching changes nothing but the instructions: what is asked for is there, what is there stays."""

from __future__ import annotations

import numpy as np
from numba import njit

from graphrec.graph.prefetch import prefetch, prefetch_row


@njit
def total(matrix, ahead):  # type: ignore[no-untyped-def]
    found = 0.0
    for row in range(matrix.shape[0]):
        prefetch_row(matrix, row + ahead)  # also beyond the end, where it must do no harm
        prefetch(matrix, row * matrix.shape[1])
        found += matrix[row].sum()
    return found


def test_it_is_an_instruction_that_does_nothing_else() -> None:
    matrix = np.arange(600, dtype=np.float32).reshape(15, 40)
    assert total(matrix, 1000) == matrix.sum()
    np.testing.assert_array_equal(matrix, np.arange(600, dtype=np.float32).reshape(15, 40))
    assert "prefetch" in total.inspect_llvm(total.signatures[0])
