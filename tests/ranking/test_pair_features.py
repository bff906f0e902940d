from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from graphrec.config import Config, RetrievalSettings
from graphrec.embedding.embedding_model import EmbeddingModel
from graphrec.embedding.graphsage import SageWeights
from graphrec.embedding.node_features import FeatureMap
from graphrec.ranking.pair_features import NAMES, _nearest, pair_features
from graphrec.retrieval.retriever import DAY, FILTER, POPULAR, SAGE, TASTE, Candidates, Retriever


@pytest.fixture
def retriever() -> Retriever:
    """Popularity halves in 2 days, the lasting one in 12; now is day 10; item 3 has no events and no basis row."""
    basis = np.array([[3, 4], [0.6, -0.8], [0, 2]], np.float32), np.array([1, 0.5], np.float32)
    retriever = Retriever(Config(retrieval=RetrievalSettings(popularity_half_life_days=2)), None, basis=basis)
    retriever.add_items(np.zeros((4, 0), np.float32))
    retriever.apply(
        np.array([0, 0, 1, 1], np.int32),
        np.array([0, 1, 1, 2], np.int32),
        np.ones(4),
        np.array([2, 6, 8, 10]) * DAY,
    )
    return retriever


def candidates(
    user: int,
    walk: tuple[float, ...] = (0.2, 0.0, 0.1),
    filtered: tuple[float, ...] = (0.3, -0.15, 0.6),
    taste: tuple[float, ...] = (0.0, 0.4, 0.1),
    norm: float = 0.25,
) -> Candidates:
    return Candidates(
        user,
        norm=norm,
        numbers=np.array([1, 3, 0], np.int32),
        sources=np.array([SAGE | FILTER, POPULAR | TASTE, FILTER], np.uint8),
        cosine=np.array([0.5, -0.25, 0.0], np.float32),
        walk=np.array(walk, np.float32),
        shared=np.array(walk, np.float32) / 4,
        filtered=np.array(filtered, np.float32),
        score=np.array([3.0, 2.0, 1.0], np.float32),
        taste=np.array(taste, np.float32),
    )


def column(features: NDArray[np.float32], name: str) -> NDArray[np.float32]:
    return features[:, NAMES.index(name)]


def test_by_hand(retriever: Retriever) -> None:
    features = pair_features(retriever, candidates(0))
    assert (features.shape, features.dtype) == ((3, len(NAMES)), np.float32)
    recent = np.log([0.25 + 0.5 + 0.1, 0.1, 0.0625 + 0.1])
    lasting = np.log([2 ** (-4 / 12) + 2 ** (-2 / 12) + 0.1, 0.1, 2 ** (-8 / 12) + 0.1])
    expected = {
        "score": [3, 2, 1],
        "cosine": [5, -2.5, 0],
        "nearest": [0, 0, 0],
        "nearest_three": [0, 0, 0],
        "text_nearest": [0, 0, 0],
        "text_nearest_three": [0, 0, 0],
        "filtered": np.log([0.3001, 0.0001, 0.6001]),  # what is held back more than the walk gives is nothing
        "filtered_share": [0.5, -0.25, 1],
        "walk": np.log([0.2001, 0.0001, 0.1001]),
        "walk_share": [1, 0, 0.5],
        "shared": np.log([0.0501, 0.0001, 0.0251]),
        "taste_walk": np.log([0.0001, 0.4001, 0.1001]),
        "taste_walk_share": [0, 1, 0.25],
        "taste": [0, 0, 0],
        "newest": [0, 0, 0],
        "recent_popularity": recent,
        "lasting_popularity": lasting,
        "trend": recent - lasting,
        "item_degree": np.log([3, 1, 2]),
        "item_norm": np.log([1.0001, 0.0001, 5.0001]),
        "item_idle_days": np.log1p([2, 10, 8]),
        "item_age_days": np.log1p([4, 10, 8]),
        "user_degree": np.log([3, 3, 3]),
        "user_popularity": [(np.log(2) + np.log(3)) / 2] * 3,  # of items 0 and 1
        "user_norm": np.log([0.2501] * 3),
        "user_idle_days": np.log([5, 5, 5]),
        "from_graphsage": [1, 0, 0],
        "from_filter": [1, 0, 1],
        "from_popular": [0, 1, 0],
        "from_taste": [0, 1, 0],
    }
    assert tuple(expected) == NAMES
    for name, values in expected.items():
        # The lasting popularity is taken at its clock, up to a sixteenth of 12 days before now.
        tolerance = 0.06 if name in ("lasting_popularity", "trend") else 1e-5
        np.testing.assert_allclose(column(features, name), values, atol=tolerance, err_msg=name)


@pytest.mark.parametrize("user", [2, 99])
def test_an_unknown_user_has_nothing(retriever: Retriever, user: int) -> None:
    features = pair_features(retriever, candidates(user, (0, 0, 0), (0, 0, 0), (0, 0, 0), norm=0.0))
    for name in ("user_degree", "user_popularity", "user_idle_days", "walk_share", "filtered_share"):
        assert not column(features, name).any()
    assert not column(features, "taste_walk_share").any()
    np.testing.assert_allclose(column(features, "user_norm"), np.log(1e-4), rtol=1e-5)
    np.testing.assert_allclose(column(features, "shared"), np.log(1e-4), rtol=1e-5)
    assert np.isfinite(features).all()


def test_no_candidates_have_no_features(retriever: Retriever) -> None:
    empty = retriever.candidates(0, np.arange(4, dtype=np.int32))
    assert pair_features(retriever, empty).shape == (0, len(NAMES))


def test_the_newest_event_changes_them(retriever: Retriever) -> None:
    before = pair_features(retriever, candidates(0))
    retriever.apply(np.array([0], np.int32), np.array([3], np.int32), np.ones(1), np.array([11 * DAY]))
    after = pair_features(retriever, candidates(0))
    assert column(after, "item_degree")[1] == pytest.approx(np.log(2))
    assert column(after, "item_idle_days")[1] == column(after, "user_idle_days")[0] == 0
    assert (column(after, "user_degree") > column(before, "user_degree")).all()
    popularity = np.log([2, 3, 2]).mean()  # of items 0, 1 and, now, 3
    np.testing.assert_allclose(column(after, "user_popularity"), popularity, rtol=1e-6)
    assert (column(after, "item_idle_days")[[0, 2]] > column(before, "item_idle_days")[[0, 2]]).all()


def with_vectors(vectors: NDArray[np.float32], log: list[tuple[int, int, float]]) -> Retriever:
    """A retriever whose item vectors are given: layers that copy the features and ignore the neighbours."""
    both = np.vstack([np.eye(2), -np.eye(2)]).astype(np.float32)  # relu(x) - relu(-x) = x
    nothing, none1, none2 = np.zeros((2, 4), np.float32), np.zeros(4, np.float32), np.zeros(2, np.float32)
    sage = SageWeights(both, none1, both, none1, nothing, nothing, none2, nothing, both.T.copy(), none2)
    features = FeatureMap(*(np.zeros(shape, np.float32) for shape in ((0,), (0, 0), (0, 2))))
    retriever = Retriever(Config(), EmbeddingModel(features, sage, 7.0, 0.6))
    retriever.add_items(vectors[:2], vectors[:2])  # the texts are the vectors, too
    retriever.add_items(vectors[2:], vectors[2:])
    users, items, weights = (np.array(column) for column in zip(*log, strict=True))
    retriever.apply(users.astype(np.int32), items.astype(np.int32), weights, np.full(len(log), DAY))
    return retriever


def test_the_nearest_of_a_users_items() -> None:
    angles = np.radians([0, 90, 200, 20, 60])
    vectors = np.column_stack([np.cos(angles), np.sin(angles)]).astype(np.float32)
    log = [(0, item, 1.0) for item in range(3)] + [(1, 1, 1.0), (1, 4, 1.0), (1, 4, -1.0), (2, 0, 1.0)]
    retriever = with_vectors(vectors, [*log, *((2, item, 1.0) for item in range(1, 5))])
    candidates = Candidates(0, 0.0, np.array([3, 4], np.int32), np.zeros(2, np.uint8), *np.zeros((6, 2), np.float32))
    cosine = np.cos(angles[:, None] - angles[[3, 4]])

    def nearest(user: int) -> list[NDArray[np.float32]]:
        features = pair_features(retriever, replace(candidates, user=user))
        by_text = [column(features, name) / 10 for name in ("text_nearest", "text_nearest_three")]
        by_vector = [column(features, name) / 10 for name in ("nearest", "nearest_three")]
        np.testing.assert_allclose(by_text, by_vector, atol=2e-3)  # texts are kept in half precision
        return by_vector

    np.testing.assert_allclose(nearest(0), [cosine[:3].max(axis=0), cosine[:3].mean(axis=0)], atol=1e-5)
    np.testing.assert_allclose(nearest(1), [cosine[1], cosine[1]], atol=1e-5)  # what was given back is not near
    np.testing.assert_allclose(nearest(2), [[1, 1], np.sort(cosine, axis=0)[-3:].mean(axis=0)], atol=1e-5)
    np.testing.assert_array_equal(nearest(9), np.zeros((2, 2)))


@given(items=st.integers(0, 9), candidates=st.integers(0, 9), seed=st.integers(0, 99))
def test_the_nearest_and_the_nearest_three_are_the_head_of_a_sort(items: int, candidates: int, seed: int) -> None:
    cosines = np.random.default_rng(seed).integers(-4, 5, (items, candidates)).astype(np.float32) / 4  # many are equal
    found = _nearest(cosines)
    best = -np.sort(-cosines, axis=0)[:3]
    expected = [best[0], best.mean(axis=0)] if items else np.zeros((2, candidates))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_changed_text_is_near_to_others() -> None:
    vectors = np.array([[1, 0], [0, 1], [0, 1]], np.float32)
    retriever = with_vectors(vectors, [(0, 0, 1.0)])
    candidates = Candidates(0, 0.0, np.array([1, 2], np.int32), np.zeros(2, np.uint8), *np.zeros((6, 2), np.float32))
    assert column(pair_features(retriever, candidates), "text_nearest").tolist() == [0, 0]
    retriever.change_items(np.array([2], np.int32), vectors[[2]], vectors[[0]])
    assert column(pair_features(retriever, candidates), "text_nearest").tolist() == [0, 10]
    assert column(pair_features(retriever, candidates), "nearest").tolist() == [0, 0]


def test_recent_taste_points_at_the_newest() -> None:
    vectors = np.array([[1, 0], [0, 1], [1, 0]], np.float32)
    retriever = with_vectors(vectors, [(0, 0, 1.0), (0, 1, 1.0)])
    candidate = Candidates(0, 0.0, np.array([2], np.int32), np.zeros(1, np.uint8), *np.zeros((6, 1), np.float32))
    assert column(pair_features(retriever, candidate), "newest").tolist() == [0]
    cosine = 10 * 2**-1.5 / np.hypot(1, 2**-1.5)
    np.testing.assert_allclose(column(pair_features(retriever, candidate), "taste"), [cosine], atol=1e-5)
    retriever.apply(np.array([0], np.int32), np.array([0], np.int32), np.ones(1), np.array([2 * DAY]))
    assert column(pair_features(retriever, candidate), "newest").tolist() == [10]
