from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from graphrec.errors import InputError
from graphrec.evaluation.ease import DEFAULT_REGULARISATION, EASE, MOST_ITEMS, REGULARISATIONS
from graphrec.evaluation.metrics import score
from graphrec.evaluation.protocols import global_time_split
from graphrec.events.interactions import Interactions


def world(users: list[int], items: list[int], n_items: int) -> Interactions:
    n = len(users)
    return Interactions(
        np.array(users, np.int32), np.array(items, np.int32), np.arange(n), np.ones(n), max(users) + 1, n_items
    )


def test_weights_solve_the_constrained_regression() -> None:
    """The stationary point of |R - RB|² + λ|B|² under diag(B) = 0 has no gradient off the diagonal."""
    rng = np.random.default_rng(0)
    dense = rng.random((30, 8)) < 0.3
    users, items = np.nonzero(dense)
    fitted = EASE(regularisation=5.0).fit(world(users.tolist(), items.tolist(), 8))
    weights = fitted._weights
    matrix = dense[: users.max() + 1].astype(float)
    gradient = matrix.T @ (matrix @ weights - matrix) + 5.0 * weights
    assert not np.diag(weights).any()
    np.testing.assert_allclose(gradient - np.diag(np.diag(gradient)), 0, atol=1e-9)


def test_the_regularisation_is_chosen_on_the_newest_events_and_kept() -> None:
    rng = np.random.default_rng(0)
    users = rng.integers(0, 30, 400)
    data = world(users.tolist(), (2 * rng.integers(0, 6, 400) + users % 2).tolist(), 12)
    split = global_time_split(data)
    gains = []
    for regularisation in REGULARISATIONS:
        lists = EASE(regularisation).fit(split.train).recommend(split.test_users, 20)
        gains.append(score(lists, split.relevant, 20).ndcg.mean())
    chosen = REGULARISATIONS[int(np.argmax(gains))]
    plain = EASE()
    fitted = plain.fit(data)
    assert fitted.settings == {"regularisation": chosen}
    assert plain.regularisation is None
    assert fitted.fit(world([0, 1, 2], [0, 1, 2], 12)).settings == {"regularisation": chosen}
    timeless = replace(data, timestamps=np.zeros(400, np.int64))
    assert EASE().fit(timeless).regularisation == DEFAULT_REGULARISATION


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(InputError, match="regularisation"):
        EASE(regularisation=0)
    with pytest.raises(InputError, match="too large"):
        EASE().fit(world([0], [0], MOST_ITEMS + 1))
