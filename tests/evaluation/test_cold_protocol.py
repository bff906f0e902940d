"""The cold protocol: nothing of the held-out items is left, and every order is scored on the same questions."""

from __future__ import annotations

import numpy as np
import pytest

from graphrec.errors import InputError
from graphrec.evaluation.cold_items import cold_split, evaluate_cold_items
from graphrec.events.interactions import Interactions

N_ITEMS, N_USERS, TASTES = 320, 150, 5


@pytest.fixture(scope="module")
def log() -> Interactions:
    rng = np.random.default_rng(0)
    same = (np.arange(N_USERS) % TASTES)[:, None] == np.arange(N_ITEMS) % TASTES
    users, items = np.nonzero(rng.random((N_USERS, N_ITEMS)) < np.where(same, 0.3, 0.02))
    weights = np.where(rng.random(len(users)) < 0.05, -1.0, 1.0)
    return Interactions(
        users.astype(np.int32), items.astype(np.int32), np.arange(len(users)), weights, N_USERS, N_ITEMS + 3
    )


@pytest.fixture(scope="module")
def texts() -> np.ndarray:
    rng = np.random.default_rng(1)
    texts = 3 * np.eye(16)[np.arange(N_ITEMS + 3) % TASTES] + rng.standard_normal((N_ITEMS + 3, 16)) + 2
    texts[-1] = 0
    return texts.astype(np.float32)


def test_cold_items_lose_every_event(log: Interactions) -> None:
    rest, cold = cold_split(log, seed=3)
    users = np.bincount(log.items[log.weights > 0], minlength=log.n_items)
    assert (users[cold] >= 5).all()
    assert len(cold) == int(0.15 * (users >= 5).sum())
    assert not np.isin(rest.items, cold).any()
    assert len(rest) == (~np.isin(log.items, cold)).sum()
    assert (rest.n_users, rest.n_items) == (log.n_users, log.n_items)
    assert (cold_split(log, seed=3)[1] == cold).all()
    assert (cold_split(log, seed=4)[1] != cold).any()


def test_text_finds_what_chance_does_not(log: Interactions, texts: np.ndarray) -> None:
    rows = {row.name: row for row in evaluate_cold_items(log, texts, seed=0, k=5)}
    assert next(iter(rows)) == "graphrec"
    assert rows["graphrec"].recall > 3 * rows["chance"].recall
    assert rows["graphrec"].ndcg > rows["their later popularity"].ndcg
    assert rows["chance"].recall == pytest.approx(5 / 48, abs=0.03)
    assert rows["graphrec"].recall > 0.9 * max(row.recall for row in rows.values())


def test_texts_of_no_meaning_are_no_better_than_chance(log: Interactions, texts: np.ndarray) -> None:
    noise = np.random.default_rng(2).standard_normal(texts.shape).astype(np.float32)
    recalls = [evaluate_cold_items(log, which, seed=0, k=5)[0].recall for which in (noise, texts)]
    assert recalls[0] < 0.5 * recalls[1]


def test_too_few_items_are_an_error(log: Interactions, texts: np.ndarray) -> None:
    with pytest.raises(InputError, match="too few items to hold some out"):
        cold_split(log.take(slice(20)), seed=0)
    with pytest.raises(InputError, match="too few items with texts"):
        evaluate_cold_items(log, np.zeros_like(texts), seed=0)
