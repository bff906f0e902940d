"""A log in memory: parts of it, and two of them as one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphrec.events.interactions import Interactions

COLUMNS = ("users", "items", "timestamps", "weights")


def log_of(n: int, seed: int = 0) -> Interactions:
    rng = np.random.default_rng(seed)
    users, items = (rng.integers(0, most, n).astype(np.int32) for most in (5, 7))
    kinds = rng.integers(0, 2, n).astype(np.int16)
    weights = rng.choice([-1.0, 0.0, 3.0], n)
    return Interactions(users, items, rng.integers(0, 9, n), weights, 5, 7, kinds, ("view", "cart"))


@given(n=st.integers(0, 20), cut=st.integers(0, 20))
def test_the_parts_of_a_log_join_to_the_log(n: int, cut: int) -> None:
    log = log_of(n)
    joined = log.take(slice(cut)).joined(log.take(slice(cut, None)))
    assert len(joined) == n
    assert (joined.n_users, joined.n_items) == (5, 7)
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(joined, name), getattr(log, name))
        assert getattr(joined, name).dtype == getattr(log, name).dtype


def test_events_are_joined_as_they_come_and_without_kinds() -> None:
    first, second = log_of(3, 1), log_of(2, 2)
    joined = first.joined(second)
    assert joined.users.tolist() == [*first.users.tolist(), *second.users.tolist()]
    assert joined.timestamps.tolist() == [*first.timestamps.tolist(), *second.timestamps.tolist()]
    assert (joined.kinds, joined.kind_names) == (None, ())
    assert len(first) == 3


def test_by_time_keeps_the_order_of_one_time_stamp() -> None:
    times = np.array([5, 1, 5, 1])
    log = Interactions(np.zeros(4, np.int32), np.arange(4, dtype=np.int32), times, np.ones(4), 1, 4)
    assert log.by_time().items.tolist() == [1, 3, 0, 2]


@pytest.mark.parametrize("n", [0, 9])
def test_positive_events(n: int) -> None:
    log = log_of(n)
    kept = log.positive()
    assert (kept.weights > 0).all()
    assert len(kept) == np.count_nonzero(log.weights > 0)
    assert kept.kinds is not None
    assert len(kept.kinds) == len(kept)
