"""Training questions: the answers are never in what the model may look at, and the graph is the one that serves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphrec.events.interactions import Interactions
from graphrec.graph.interaction_graph import InteractionGraph
from graphrec.retrieval.popularity import Popularity
from graphrec.retrieval.retriever import DAY, POPULARITY_FLOOR
from graphrec.training.time_cuts import decayed_edges, row_mean, time_cut

N_USERS, N_ITEMS = 6, 5
START = 1_700_000_000_000_000
HALF_LIFE = 90 * DAY
POPULARITY_HALF_LIFE = 7 * DAY

event = st.tuples(
    st.integers(0, N_USERS - 1),
    st.integers(0, N_ITEMS - 1),
    st.integers(0, 400).map(lambda days: START + days * DAY),
    st.sampled_from([1.0, 1.0, 5.0, -1.0, -5.0]),
)
logs = st.lists(event, max_size=40)


def log_of(events: list[tuple[int, int, int, float]]) -> Interactions:
    users, items, times, weights = zip(*events, strict=True) if events else ((), (), (), ())
    return Interactions(
        np.array(users, np.int32),
        np.array(items, np.int32),
        np.array(times, np.int64),
        np.array(weights, np.float64),
        N_USERS,
        N_ITEMS,
    ).by_time()


def pairs(users: np.ndarray, items: np.ndarray) -> set[tuple[int, int]]:
    return set(zip(users.tolist(), items.tolist(), strict=True))


def test_a_log_is_in_the_order_of_time_and_ties_in_that_of_the_log() -> None:
    log = log_of([(0, 0, START + 2, 1.0), (1, 1, START, 1.0), (2, 2, START + 2, 5.0), (3, 3, START, -1.0)])
    assert log.users.tolist() == [1, 3, 0, 2]
    assert log.weights.tolist() == [1.0, -1.0, 1.0, 5.0]
    part = log.take(slice(1, 3))
    assert (part.items.tolist(), len(part), part.n_users, part.n_items) == ([3, 0], 2, N_USERS, N_ITEMS)


@given(logs)
def test_edges_are_the_effective_weights_of_the_live_graph(events) -> None:
    log = log_of(events)
    graph = InteractionGraph(HALF_LIFE)
    graph.grow(N_USERS, N_ITEMS)
    graph.add(log.users, log.items, log.weights, log.timestamps)
    edges = decayed_edges(log, HALF_LIFE).toarray()
    live = np.array([[graph.weight(user, item) for item in range(N_ITEMS)] for user in range(N_USERS)])
    # Each decays from its own reference, so they agree up to one factor; events are rounded to 12 bits in the graph.
    factor = live.sum() / edges.sum() if edges.sum() else 1.0
    np.testing.assert_allclose(edges * factor, live, rtol=2e-3, atol=2e-3 * float(np.abs(live).max(initial=0)))
    assert pairs(*decayed_edges(log, HALF_LIFE).nonzero()) <= pairs(log.users, log.items)


@given(logs, st.floats(0, 1), st.floats(0, 1))
def test_targets_come_after_the_cut_and_messages_before_it(events, share: float, later: float) -> None:
    log = log_of(events)
    moment, until = (int(each * len(log)) for each in sorted((share, later)))
    cut = time_cut(log, moment, until, HALF_LIFE, POPULARITY_HALF_LIFE)
    history, window = log.take(slice(moment)), log.take(slice(moment, until))
    before = pairs(history.users, history.items)
    positive = window.weights > 0
    targets = pairs(cut.target_users, cut.target_items)
    assert len(targets) == len(cut.target_users)
    assert not targets & before
    known = set(np.flatnonzero(decayed_edges(history, HALF_LIFE).sum(axis=1)))
    expected = pairs(window.users[positive], window.items[positive]) - before
    assert targets == {pair for pair in expected if pair[0] in known}
    assert pairs(*cut.user_mean.nonzero()) <= before
    assert {(user, item) for item, user in pairs(*cut.item_mean.nonzero())} <= before

    edges = decayed_edges(history, HALF_LIFE).toarray()
    for mean, weights in ((cut.user_mean.toarray(), edges), (cut.item_mean.toarray(), edges.T)):
        total = weights.sum(axis=1, keepdims=True)
        expected = np.divide(weights, total, out=np.zeros_like(weights), where=total > 0)
        np.testing.assert_allclose(mean, expected, atol=1e-6)
        assert mean.dtype == np.float32

    popularity = Popularity(POPULARITY_HALF_LIFE)
    popularity.grow(N_ITEMS)
    bought = history.weights > 0
    popularity.add(history.items[bought], history.timestamps[bought])
    np.testing.assert_allclose(cut.log_popularity, popularity.log_scores(POPULARITY_FLOOR), rtol=1e-6)


def test_the_future_does_not_show_in_a_cut() -> None:
    events = [(0, 0, START, 1.0), (1, 1, START + DAY, 5.0), (0, 1, START + 2 * DAY, 1.0), (1, 2, START + 9 * DAY, 1.0)]
    cut, other = (time_cut(log_of(part), 2, 3, HALF_LIFE, POPULARITY_HALF_LIFE) for part in (events, events[:3]))
    assert (cut.user_mean != other.user_mean).nnz == 0
    assert cut.log_popularity.tolist() == other.log_popularity.tolist()
    assert pairs(cut.target_users, cut.target_items) == {(0, 1)}


@pytest.mark.parametrize("half_life", [HALF_LIFE, np.inf])
def test_a_row_without_weight_stays_empty(half_life: float) -> None:
    log = log_of([(0, 0, START, 1.0), (0, 0, START, -1.0), (1, 1, START, 5.0), (1, 2, START, 5.0)])
    mean = row_mean(decayed_edges(log, half_life))
    assert mean.toarray().tolist() == [[0] * 5, [0, 0.5, 0.5, 0, 0], *[[0] * 5] * 4]
    assert mean.nnz == 2
