"""Which older events are shown again: each way of drawing them has its effect, and nothing comes twice or too early."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphrec.events.interactions import Interactions
from graphrec.training.replay import replay_weights, replayed

KINDS = ("uniform", "inverse_degree", "recency")


def log_of(items: np.ndarray, weights: np.ndarray | None = None) -> Interactions:
    """Users take turns; one event a second."""
    m = len(items)
    users = np.arange(m, dtype=np.int32) % 10
    return Interactions(
        users, items.astype(np.int32), np.arange(m), np.ones(m) if weights is None else weights, 10, 100
    )


def drawn(log: Interactions, kind: str, count: int, windows: int = 7, half_life: float = 0.2, seed: int = 0):
    shown = replayed(log, kind, count, windows, half_life, np.random.default_rng(seed))
    return np.concatenate([each.positions for each in shown])


def test_uniform_draws_are_even_in_time() -> None:
    log = log_of(np.arange(7_000) % 100)
    weights = replay_weights(log, "uniform", 0.2)
    assert not weights[:2_100].any()  # no graph says much so early
    assert np.unique(weights[2_100:]).size == 1
    counts = np.bincount((drawn(log, "uniform", 1_400) - 2_100) // 700, minlength=7)
    assert counts.tolist() == [200] * 7


def test_recency_prefers_what_is_late_by_its_half_life() -> None:
    log = log_of(np.arange(10_000) % 100)
    weights = replay_weights(log, "recency", 0.1)
    assert weights[-1] / weights[-1_001] == pytest.approx(2)
    late = np.mean([np.mean(drawn(log, "recency", 300, 3, 0.1, seed)) for seed in range(20)])
    even = np.mean([np.mean(drawn(log, "uniform", 300, 3, 0.1, seed)) for seed in range(20)])
    assert late > even + 1_000


def test_inverse_degree_shows_a_rare_item_as_often_as_a_popular_one() -> None:
    rng = np.random.default_rng(0)
    items = np.where(rng.random(20_000) < 0.9, 0, 1)  # nine events in ten are of item 0
    log = log_of(items)
    share = {kind: np.mean(items[drawn(log, kind, 1_000)]) for kind in KINDS}
    assert share["uniform"] == pytest.approx(0.1, abs=0.03)
    assert share["inverse_degree"] == pytest.approx(0.5, abs=0.05)


def test_what_takes_away_is_not_shown() -> None:
    weights = np.where(np.arange(1_000) % 2 == 0, 1.0, -1.0)
    for kind in KINDS:
        assert (drawn(log_of(np.arange(1_000) % 100, weights), kind, 200) % 2 == 0).all()


@given(st.integers(0, 400), st.integers(0, 300), st.integers(0, 9), st.sampled_from(KINDS))
def test_draws_are_distinct_and_lie_after_their_moment(m: int, count: int, windows: int, kind: str) -> None:
    log = log_of(np.arange(m) % 100)
    shown = replayed(log, kind, count, windows, 0.2, np.random.default_rng(1))  # type: ignore[arg-type]
    assert len(shown) <= min(windows, 7)
    positions = [position for each in shown for position in each.positions.tolist()]
    assert len(set(positions)) == len(positions)
    assert positions == sorted(positions)
    assert len(positions) <= count + len(shown)
    for each in shown:
        assert each.moment >= int(0.3 * m)
        assert (each.positions >= each.moment).all()


def test_there_is_nothing_to_show_of_nothing() -> None:
    rng = np.random.default_rng(0)
    assert replayed(log_of(np.zeros(0)), "uniform", 10, 3, 0.2, rng) == []
    assert replayed(log_of(np.zeros(50), -np.ones(50)), "uniform", 10, 3, 0.2, rng) == []
