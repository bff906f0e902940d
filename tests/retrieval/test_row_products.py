from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from graphrec.retrieval.row_products import half_rows, row_products


@given(n=st.integers(0, 30), d=st.integers(1, 70), asked=st.integers(0, 20), seed=st.integers(0, 99))
def test_products_are_those_of_the_rows_and_zero_beyond_them(n: int, d: int, asked: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, query = rng.standard_normal((n, d)).astype(np.float32), rng.standard_normal(d).astype(np.float32)
    numbers = rng.integers(0, n + 5, asked).astype(np.int32)
    padded = np.concatenate([rows, np.zeros((5, d), np.float32)])
    products = row_products(rows, numbers, query)
    assert products.dtype == np.float32
    np.testing.assert_allclose(products, padded[numbers] @ query, rtol=1e-4, atol=1e-4)


def test_every_finite_half_becomes_the_same_number() -> None:
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    halves = halves[np.isfinite(halves)].reshape(-1, 2)
    numbers = np.random.default_rng(0).permutation(len(halves)).astype(np.int32)
    expected = halves[numbers].astype(np.float32)
    np.testing.assert_array_equal(half_rows(halves, numbers).view(np.uint32), expected.view(np.uint32))
