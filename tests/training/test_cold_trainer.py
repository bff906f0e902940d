"""Fitting cold items: closed forms against their definition, and that only texts that tell something are believed."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from graphrec.embedding.node_features import unit_rows
from graphrec.events.interactions import Interactions
from graphrec.retrieval.cold_items import kernel
from graphrec.training import cold_trainer
from graphrec.training.cold_trainer import cf_vectors, kernel_ridge, neighbour_scores, recall, train_cold, without

N_ITEMS, N_USERS, TASTES = 300, 150, 6


def log_and_texts(seed: int = 0) -> tuple[Interactions, np.ndarray]:
    """Six tastes: an item's text points to its taste, and a user chooses by it."""
    rng = np.random.default_rng(seed)
    taste = np.arange(N_ITEMS) % TASTES
    texts = unit_rows((2 * np.eye(12)[taste] + 0.5 * rng.standard_normal((N_ITEMS, 12))).astype(np.float32))
    likes = np.where(taste[None] == (np.arange(N_USERS) % TASTES)[:, None], 0.3, 0.01)
    users, items = np.nonzero(rng.random((N_USERS, N_ITEMS)) < likes)
    log = Interactions(
        users.astype(np.int32), items.astype(np.int32), np.arange(len(users)), np.ones(len(users)), N_USERS, N_ITEMS
    )
    return log, unit_rows(texts - texts.mean(axis=0))


@pytest.mark.parametrize("bend", [0.0, 0.5, 1.0])
def test_kernel_ridge_minimises_its_loss(bend: float) -> None:
    """With all texts as landmarks, and in Nyström's form: the gradient of |CA - Z|² + ridge tr(A'KA) is zero."""
    rng = np.random.default_rng(1)
    texts = unit_rows(rng.standard_normal((40, 60), np.float32))
    vectors = rng.standard_normal((40, 3), np.float32)
    for landmarks in (texts, texts[:15]):
        weights = kernel_ridge(texts, landmarks, vectors, bend, 0.7).astype(np.float64)
        across = kernel(texts @ landmarks.T, bend).astype(np.float64)
        between = kernel(landmarks @ landmarks.T, bend).astype(np.float64)
        gradient = across.T @ (across @ weights - vectors) + 0.7 * between @ weights
        np.testing.assert_allclose(gradient, 0, atol=1e-3)


def test_landmarks_in_another_order_give_the_same_map() -> None:
    rng = np.random.default_rng(2)
    texts, asked = (unit_rows(rng.standard_normal((n, 20), np.float32)) for n in (30, 5))
    vectors, order = rng.standard_normal((30, 2), np.float32), rng.permutation(30)
    exact = kernel(asked @ texts.T, 0.5) @ kernel_ridge(texts, texts, vectors, 0.5, 1.0)
    other = kernel(asked @ texts[order].T, 0.5) @ kernel_ridge(texts, texts[order], vectors, 0.5, 1.0)
    np.testing.assert_allclose(other, exact, atol=1e-3)


def test_neighbours_are_summed_over_what_was_chosen() -> None:
    cosines = np.array([[0.5, -1.0], [1.0, 0.2]], np.float32)
    chosen = csr_matrix(np.array([[1, 0], [1, 1]], np.float32))
    scores = neighbour_scores(chosen, cosines, np.array([1, 2], np.float32), np.array([1, 4], np.float32), 2.0)
    np.testing.assert_allclose(scores, [[0.25, 0.0], [0.25 + 0.5, 0.04 / 8]], rtol=1e-6)


def test_recall_of_a_few_items() -> None:
    scores = np.array([[3, 2, 1, 0, -1], [0, 1, 2, 3, 4]], np.float32)
    wanted = np.array([[1, 0, 1, 0, 0], [1, 0, 0, 0, 0]], bool)
    assert recall(scores, wanted, depth=20) == pytest.approx(0.25)  # the first of five


def test_held_out_items_lose_everything() -> None:
    log, _ = log_and_texts()
    pairs = csr_matrix((np.ones(len(log), np.float32), (log.users, log.items)), shape=(N_USERS, N_ITEMS))
    rest = without(pairs, np.array([3, 7]))
    assert not {3, 7} & set(rest.indices)
    assert rest.nnz == pairs.nnz - pairs[:, [3, 7]].nnz
    assert not cf_vectors(rest, 0)[[3, 7]].any()
    assert pairs[:, [3, 7]].nnz > 0


def test_texts_that_tell_tastes_are_strong() -> None:
    log, texts = log_and_texts()
    model = train_cold(log, texts, seed=0)
    assert model is not None
    assert model.strong
    assert model.vectors.shape == (N_ITEMS, cold_trainer.DIMENSIONS)
    expected = model.expected(texts)
    taste = np.arange(N_ITEMS) % TASTES
    cosines = expected @ model.vectors.T
    assert cosines[taste[:, None] == taste].mean() > cosines[taste[:, None] != taste].mean() + 0.1
    again = train_cold(log, texts, seed=0)
    assert again is not None
    np.testing.assert_array_equal(again.weights, model.weights)


def test_texts_that_tell_nothing_are_weak() -> None:
    log, texts = log_and_texts()
    model = train_cold(log, unit_rows(np.random.default_rng(5).standard_normal(texts.shape).astype(np.float32)), seed=0)
    assert model is not None
    assert not model.strong


def test_a_sample_of_landmarks_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cold_trainer, "_MOST_LANDMARKS", 60)
    log, texts = log_and_texts()
    model = train_cold(log, texts, seed=0)
    assert model is not None
    assert model.strong
    assert model.landmarks.shape == (60, 12)


def test_users_of_one_item_say_nothing_of_texts() -> None:
    _, texts = log_and_texts()
    n = 5 * N_ITEMS
    log = Interactions(
        np.arange(n, dtype=np.int32), np.arange(n, dtype=np.int32) % N_ITEMS, np.arange(n), np.ones(n), n, N_ITEMS
    )
    model = train_cold(log, texts, seed=0)
    assert model is not None
    assert not model.strong


def test_nothing_is_fitted_without_texts_or_events() -> None:
    log, texts = log_and_texts()
    assert train_cold(log, np.zeros((N_ITEMS, 0), np.float32), seed=0) is None
    assert train_cold(log, np.zeros_like(texts), seed=0) is None
    assert train_cold(log.take(slice(0, 50)), texts, seed=0) is None
    assert train_cold(log.take(slice(0)), texts, seed=0) is None
