from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphrec.retrieval.largest import largest

numbers = st.sampled_from([-np.inf, -1.0, 0.0, 0.0, 0.5, 2.0, 3.0]) | st.floats(-10, 10, width=32)


@given(st.lists(numbers, min_size=1, max_size=80), st.integers(1, 90), st.sampled_from([np.float32, np.float64]))
def test_it_is_the_head_of_a_stable_sort(values: list[float], k: int, kind: type) -> None:
    array = np.array(values, kind)
    assert largest(array, k).tolist() == np.argsort(-array, kind="stable")[:k].tolist()


@pytest.mark.parametrize("k", [1, 10, 125, 126, 1000])
def test_few_and_many_of_a_long_array(k: int) -> None:
    values = np.random.default_rng(k).integers(0, 50, 1000).astype(np.float32)
    assert largest(values, k).tolist() == np.argsort(-values, kind="stable")[:k].tolist()
