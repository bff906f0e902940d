"""A sketch bounds every score of its rows, closely enough to leave most of them out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from graphrec.retrieval.sketch import Sketch

Float32 = NDArray[np.float32]


def rows_of(n: int, d: int, seed: int) -> Float32:
    """Rows of very different sizes, some of one large number and some of zeros, and a last column of its own size."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((n, d)) * 10.0 ** rng.integers(-3, 3, (n, 1))
    rows[rng.random(n) < 0.2, :-1] = 0
    rows[rng.random(n) < 0.2, 0] = 1e3
    rows[:, -1] = 5 * rng.standard_normal(n)
    return rows.astype(np.float32)


def check(sketch: Sketch, rows: Float32, seed: int) -> None:
    rng = np.random.default_rng(seed)
    query = (rng.standard_normal(rows.shape[1]) * 10.0 ** rng.integers(-2, 3)).astype(np.float32)
    exact = rows.astype(np.float64) @ query.astype(np.float64)
    upper = sketch.upper(query)
    assert (upper.shape, upper.dtype) == ((len(rows),), np.float32)
    assert (upper >= exact).all()
    assert (upper >= rows @ query).all()
    steps = np.abs(rows[:, :-1]).max(axis=1, initial=0) / 127
    widest = np.linalg.norm(query) * (steps * np.sqrt(rows.shape[1]) + 1e-4 * np.linalg.norm(rows, axis=1))
    assert (upper - exact <= widest).all()


@given(n=st.integers(1, 40), d=st.integers(2, 70), seed=st.integers(0, 99))
def test_no_row_scores_more_than_its_bound_and_the_bound_is_near(n: int, d: int, seed: int) -> None:
    rows = rows_of(n, d, seed)
    check(Sketch(rows), rows, seed)


@given(n=st.integers(1, 20), more=st.integers(0, 40), changes=st.integers(0, 10), seed=st.integers(0, 99))
def test_rows_are_added_and_changed_and_a_copy_stays(n: int, more: int, changes: int, seed: int) -> None:
    rng, rows = np.random.default_rng(seed), rows_of(n + more, 9, seed)
    sketch = Sketch(rows[:n])
    sketch.add(rows[n:])
    check(sketch, rows, seed)
    copy, before = sketch.copy(), rows.copy()
    numbers = rng.choice(len(rows), min(changes, len(rows)), replace=False).astype(np.int32)
    rows[numbers] = rows_of(len(numbers), 9, seed + 1)
    sketch.change(numbers, rows[numbers])
    check(sketch, rows, seed)
    check(copy, before, seed)


def test_hidden_rows_score_nothing() -> None:
    rows = rows_of(6, 5, 0)
    hidden = np.array([False, True, False, False, True, False, True])  # one more than there are rows
    upper = Sketch(rows).upper(np.ones(5, np.float32), hidden)
    assert np.isneginf(upper).tolist() == hidden[:6].tolist()


@pytest.mark.parametrize("d", [64, 256])
def test_of_unit_rows_the_bound_leaves_nearly_all_out(d: int) -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((2000, d + 1)).astype(np.float32)
    rows[:, :-1] /= np.linalg.norm(rows[:, :-1], axis=1, keepdims=True)
    exact = np.sort(rows @ rows[0])
    upper = Sketch(rows).upper(rows[0])
    assert (upper >= exact[-10]).sum() < 30
