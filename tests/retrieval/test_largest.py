from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphrec.retrieval.largest import between, largest, largest_positive

numbers = st.sampled_from([-np.inf, -1.0, 0.0, 0.0, 0.5, 2.0, 3.0]) | st.floats(-10, 10, width=32)


@given(st.lists(numbers, min_size=1, max_size=80), st.integers(1, 90), st.sampled_from([np.float32, np.float64]))
def test_it_is_the_head_of_a_stable_sort(values: list[float], k: int, kind: type) -> None:
    array = np.array(values, kind)
    assert largest(array, k).tolist() == np.argsort(-array, kind="stable")[:k].tolist()


@pytest.mark.parametrize("k", [1, 10, 125, 126, 1000])
def test_few_and_many_of_a_long_array(k: int) -> None:
    values = np.random.default_rng(k).integers(0, 50, 1000).astype(np.float32)
    assert largest(values, k).tolist() == np.argsort(-values, kind="stable")[:k].tolist()


@given(st.lists(numbers, min_size=1, max_size=400), st.integers(1, 90), st.sampled_from([np.float32, np.float64]))
def test_the_positive_ones_alone_are_the_head_without_the_rest(values: list[float], k: int, kind: type) -> None:
    array = np.array(values, kind)
    order = np.argsort(-array, kind="stable")
    assert largest_positive(array, k).tolist() == order[array[order] > 0][:k].tolist()


@pytest.mark.parametrize(
    "shape", ["random", "rising", "falling", "sampled are small", "sampled are large", "few kinds"]
)
@pytest.mark.parametrize("k", [1, 10, 60, 100])
def test_a_sample_that_misleads_costs_time_and_no_place(shape: str, k: int) -> None:
    values = np.random.default_rng(k).permutation(1000).astype(np.float32)
    if shape in ("rising", "falling"):
        values = np.sort(values)[:: 1 if shape == "rising" else -1]
    elif shape == "few kinds":
        values = values % 3
    elif shape != "random":
        values[::16] += -1000 if shape == "sampled are small" else 1000
    columns = np.zeros((1000, 4), np.float32)
    columns[:, 2] = values  # a column of a matrix, too
    for array in (values, columns[:, 2]):
        assert largest(array, k).tolist() == np.argsort(-array, kind="stable")[:k].tolist()
        positive = np.argsort(-array, kind="stable")
        assert largest_positive(array, k).tolist() == positive[array[positive] > 0][:k].tolist()


@given(st.lists(numbers, max_size=50), numbers, numbers)
def test_between_takes_its_lower_end_and_not_its_upper(values: list[float], low: float, high: float) -> None:
    array = np.array(values, np.float32)
    low, high = np.float32(low), np.float32(high)
    assert between(array, low, high).tolist() == np.flatnonzero((low <= array) & (array < high)).tolist()
