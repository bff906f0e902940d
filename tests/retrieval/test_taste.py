"""Recent taste: the newest item counts most, in the vector, in the walk, and the moment it arrives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphrec.config import Config, RetrievalSettings
from graphrec.retrieval.graph_filter import FilterShape
from graphrec.retrieval.retriever import DAY, TASTE, Retriever
from graphrec.retrieval.sources import walk_scores
from graphrec.retrieval.taste import NEWEST, recency_weights, taste_shares


@given(n=st.integers(1, 2 * NEWEST))
def test_weights_fall_and_have_sum_one(n: int) -> None:
    weights = recency_weights(n)
    assert (weights.shape, weights.dtype) == ((min(n, NEWEST),), np.float32)
    assert weights.sum() == pytest.approx(1)
    assert (np.diff(weights) < 0).all()
    assert weights[-1] == pytest.approx(weights[0] * len(weights) ** -1.5, rel=1e-5)


def test_the_vector_by_hand() -> None:
    vectors = np.array([[1, 0], [0, 1]], np.float32)
    second = 2**-1.5
    expected = np.array([1, second]) / np.hypot(1, second)
    np.testing.assert_allclose(taste_shares(vectors) @ vectors, expected, atol=1e-6)
    many = np.vstack([np.tile(vectors[:1], (NEWEST, 1)), np.tile(vectors[1:], (9, 1))])
    # What is older than the newest does not count.
    np.testing.assert_allclose(taste_shares(many) @ many[:NEWEST], [1, 0], atol=1e-6)
    assert not taste_shares(vectors[:0]).size
    assert taste_shares(np.zeros((2, 3), np.float32)).tolist() == [0, 0]


def bought(retriever: Retriever, *events: tuple[int, int, float]) -> None:
    """Apply (user, item, days) one by one."""
    for user, item, days in events:
        one = np.array([user], np.int32), np.array([item], np.int32), np.ones(1), np.array([int(days * DAY)])
        retriever.apply(*one)


@pytest.fixture
def retriever() -> Retriever:
    """Items 0 and 1 go together, and so do 2 and 3, each for a crowd of users; user 0 is new."""
    retriever = Retriever(Config(retrieval=RetrievalSettings(taste=1)), None)
    retriever.add_items(np.zeros((5, 0), np.float32))
    for user in range(1, 9):
        first = 2 * (user % 2)
        bought(retriever, (user, first, 1), (user, first + 1, 1))
    return retriever


def test_the_newest_item_leads(retriever: Retriever) -> None:
    for days, item, following in ((2, 0, 1), (3, 2, 3), (4, 0, 1)):
        bought(retriever, (0, item, days))
        found = retriever.candidates(0, np.array([0, 2], np.int32))
        assert found.numbers[(found.sources & TASTE) > 0].tolist() == [following]
        items, _ = retriever.speaking(0)
        exponents = FilterShape().seed_exponent, FilterShape().target_exponent
        walk = walk_scores(retriever.graph.arrays, 0, items, recency_weights(len(items)), *exponents)[:, 0]
        np.testing.assert_array_equal(found.taste, walk[found.numbers])


def test_of_one_time_stamp_the_last_in_the_log_is_the_newest(retriever: Retriever) -> None:
    bought(retriever, (0, 4, 2), (0, 2, 3), (0, 0, 3))
    assert retriever.speaking(0)[0].tolist() == [0, 2, 4]


def test_how_long_a_user_has_been_away(retriever: Retriever) -> None:
    bought(retriever, (0, 0, 5), (1, 4, 7.5))
    assert retriever.idle(0) == 2.5 * DAY
    assert retriever.idle(1) == 0
    assert retriever.idle(99) == 0
