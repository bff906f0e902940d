"""Each poison does what its name says, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from graphrec.evaluation.poisoned import POISONS, bot, flipped, flooded, pushed, shuffled
from graphrec.events.interactions import Interactions


@pytest.fixture
def batch() -> Interactions:
    rng = np.random.default_rng(0)
    kinds = (rng.random(600) < 0.1).astype(np.int16)
    return Interactions(
        rng.integers(50, size=600).astype(np.int32),
        np.minimum(rng.exponential(20, 600), 99).astype(np.int32),
        np.arange(600, dtype=np.int64),
        np.where(kinds == 1, -5.0, 5.0),
        80,
        100,
        kinds,
        ("purchase", "return"),
    )


@pytest.mark.parametrize("name", POISONS)
def test_no_strength_changes_nothing_and_order_and_nodes_stay(name: str, batch: Interactions) -> None:
    same = POISONS[name](batch, 0.0, np.random.default_rng(0))
    assert same.users.tolist() == batch.users.tolist()
    assert same.items.tolist() == batch.items.tolist()
    assert same.weights.tolist() == batch.weights.tolist()
    strong = POISONS[name](batch, 1.0, np.random.default_rng(0))
    assert (np.diff(strong.timestamps) >= 0).all()
    assert (strong.n_users, strong.n_items) == (80, 100)
    assert ((strong.weights < 0) == (strong.kinds == 1)).all()


def test_what_each_of_them_does(batch: Interactions) -> None:
    rng = np.random.default_rng(0)
    moved = shuffled(batch, 1.0, rng)
    assert sorted(moved.items) == sorted(batch.items)
    assert moved.users.tolist() == batch.users.tolist()
    assert (moved.items != batch.items).mean() > 0.8
    assert flipped(batch, 1.0, rng).weights.tolist() == (-batch.weights).tolist()
    flood = flooded(batch, 0.5, rng)
    assert len(flood) == 900
    assert np.bincount(flood.items).max() >= 300
    clicks = bot(batch, 0.5, rng)
    assert np.bincount(clicks.users).max() >= 300
    assert len(np.unique(clicks.items)) > len(np.unique(batch.items))
    push = pushed(batch, 1.0, rng)
    accounts = np.setdiff1d(push.users, batch.users)
    assert len(accounts) > 10
    made = push.take(np.isin(push.users, accounts))
    assert len(made) == 600
    assert 0.1 < np.bincount(made.items).max() / len(made) < 0.35
