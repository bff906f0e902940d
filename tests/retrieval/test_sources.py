from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from graphrec.embedding.spectral import USER_EXPONENT
from graphrec.graph.interaction_graph import InteractionGraph
from graphrec.retrieval import sources
from graphrec.retrieval.sources import walk_scores, witnesses

N_USERS, N_ITEMS = 8, 10

event = st.tuples(st.integers(0, N_USERS - 1), st.integers(0, N_ITEMS - 1), st.sampled_from([1.0, 3.0, 0.0, -3.0]))
logs = st.lists(event, max_size=60)
exponents = st.sampled_from([0.0, 0.1, 0.5, 0.7, 1.0])


def graph_of(log: list[tuple[int, int, float]]) -> InteractionGraph:
    graph = InteractionGraph(None)
    graph.grow(N_USERS, N_ITEMS)
    columns = [np.array([row[column] for row in log]) for column in range(3)]
    users, items = (column.astype(np.int32) for column in columns[:2])
    graph.add(users, items, columns[2].astype(np.float64), np.zeros(len(log), np.int64))
    return graph


def dense(graph: InteractionGraph) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The interaction matrix: every edge, and those with weight."""
    edges, positive = np.zeros((N_USERS, N_ITEMS)), np.zeros((N_USERS, N_ITEMS))
    for user in range(N_USERS):
        items, weights, _ = graph.user_row(user)
        edges[user, items] = 1
        positive[user, items] = weights > 0
    return edges, positive


def power(degrees: NDArray[np.float64], exponent: float) -> NDArray[np.float64]:
    return np.where(degrees > 0, np.maximum(degrees, 1) ** exponent, 0)


@given(log=logs, user=st.integers(0, N_USERS - 1), seed_exponent=exponents, target_exponent=exponents)
def test_the_walk_is_a_product_of_matrices(
    log: list[tuple[int, int, float]], user: int, seed_exponent: float, target_exponent: float
) -> None:
    graph = graph_of(log)
    edges, positive = dense(graph)
    items, weights, _ = graph.user_row(user)
    seeds, own = items[weights > 0], weights[weights > 0]
    start = np.zeros(N_ITEMS)
    start[seeds] = own
    reached = edges @ (power(edges.sum(axis=0), -seed_exponent) * start)
    reached[user] = 0
    scores = walk_scores(graph.arrays, user, seeds, own, seed_exponent, target_exponent)
    assert (scores.shape, scores.dtype) == ((N_ITEMS, 4), np.float32)
    for found, user_exponent in zip(scores.T[:2], (USER_EXPONENT, 0.5), strict=True):
        met = positive.T @ (power(edges.sum(axis=1), -2 * user_exponent) * reached)
        expected = power(edges.sum(axis=0), -target_exponent) * met
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


@given(log=logs, user=st.integers(0, N_USERS - 1), seed_exponent=exponents, target_exponent=exponents)
def test_powers_are_the_same_looked_up_or_not(
    log: list[tuple[int, int, float]], user: int, seed_exponent: float, target_exponent: float
) -> None:
    arrays, seeds = graph_of(log).arrays, np.arange(N_ITEMS, dtype=np.int32)
    arguments = arrays, user, seeds, np.ones(N_ITEMS, np.float32), seed_exponent, target_exponent
    looked_up = walk_scores(*arguments)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "_powers", lambda exponent: sources._form_powers(exponent, 2))
        np.testing.assert_array_equal(walk_scores(*arguments), looked_up)


@given(log=logs, user=st.integers(0, N_USERS - 1), target=st.integers(0, N_ITEMS - 1))
def test_witnesses_are_the_others_who_have_both(log: list[tuple[int, int, float]], user: int, target: int) -> None:
    graph = graph_of(log)
    positive = dense(graph)[1]
    seeds = graph.user_row(user)[0]
    expected = [
        sum(bool(positive[other, seed] and positive[other, target]) for other in range(N_USERS) if other != user)
        for seed in seeds
    ]
    counts = witnesses(graph.arrays, user, seeds, np.array([target], np.int32))
    assert counts.dtype == np.int32
    assert counts.tolist() == [expected]


@given(log=logs, user=st.integers(0, N_USERS - 1))
def test_witnesses_of_many_targets_are_those_of_each(log: list[tuple[int, int, float]], user: int) -> None:
    arrays = graph_of(log).arrays
    seeds = np.arange(3, 8, dtype=np.int32)
    targets = np.array([4, 0, 9, 2], np.int32)
    each = [witnesses(arrays, user, seeds, targets[place : place + 1])[0].tolist() for place in range(len(targets))]
    assert witnesses(arrays, user, seeds, targets).tolist() == each


@given(log=logs, user=st.integers(0, N_USERS - 1), seed_exponent=exponents, target_exponent=exponents)
def test_a_second_walk_beside_the_first_is_as_alone(
    log: list[tuple[int, int, float]], user: int, seed_exponent: float, target_exponent: float
) -> None:
    graph = graph_of(log)
    seeds, weights, _ = graph.user_row(user)
    newest = np.array([1.0, 0.25], np.float32)[: len(seeds)]
    together = walk_scores(graph.arrays, user, seeds, weights, seed_exponent, target_exponent, newest)
    alone = walk_scores(graph.arrays, user, seeds, weights, seed_exponent, target_exponent)
    second = walk_scores(graph.arrays, user, seeds[:2], newest, seed_exponent, target_exponent)
    np.testing.assert_array_equal(together[:, :2], alone[:, :2])
    np.testing.assert_array_equal(together[:, 2], second[:, 0])


@pytest.mark.parametrize(("witness_weight", "met"), [(1.0, 1.0), (-1.0, 0.0)])
def test_a_walk_by_hand(witness_weight: float, met: float) -> None:
    # User 0 has item 0; user 1 has it too, and item 1, or gave that one back.
    graph = graph_of([(0, 0, 1.0), (1, 0, 1.0), (1, 1, witness_weight)])
    scores = walk_scores(graph.arrays, 0, np.array([0], np.int32), np.array([1], np.float32), 0.7, 0.4)
    for found, witness in zip(scores.T[:2], (2 ** (-2 * USER_EXPONENT), 1 / 2), strict=True):
        assert found[1] == pytest.approx(met * 2**-0.7 * witness)
        assert found[0] == pytest.approx(2**-0.7 * witness * 2**-0.4)
        assert not found[2:].any()
    counts = witnesses(graph.arrays, 0, np.array([0], np.int32), np.array([1], np.int32))[0]
    assert counts.tolist() == [int(witness_weight > 0)]


def test_who_gave_the_seed_back_is_no_witness() -> None:
    graph = graph_of([(0, 0, 1.0), (1, 0, 1.0), (1, 0, -1.0), (1, 1, 1.0)])
    assert witnesses(graph.arrays, 0, np.array([0], np.int32), np.array([1], np.int32)).tolist() == [[0]]


def test_a_witness_with_few_items_says_more_where_weight_is_shared_out() -> None:
    # Users 1 and 2 share item 0 with user 0; user 1 leads to item 1 alone, user 2 to items 2 to 5.
    graph = graph_of([(0, 0, 1.0), (1, 0, 1.0), (1, 1, 1.0), (2, 0, 1.0), *((2, item, 1.0) for item in range(2, 6))])
    scores = walk_scores(graph.arrays, 0, np.array([0], np.int32), np.array([1], np.float32), 0.0, 0.0)
    np.testing.assert_allclose(scores[:, 1], [1 / 2 + 1 / 5, 1 / 2, *[1 / 5] * 4, *[0] * 4], rtol=1e-6)
    np.testing.assert_allclose(scores[2, 0] / scores[1, 0], (2 / 5) ** (2 * USER_EXPONENT), rtol=1e-6)


def test_a_lonely_user_walks_nowhere() -> None:
    graph = graph_of([(0, 0, 1.0), (1, 1, 1.0)])
    assert not walk_scores(graph.arrays, 0, np.array([0], np.int32), np.array([1], np.float32), 0.7, 0.1).any()
    assert not walk_scores(graph.arrays, 2, np.zeros(0, np.int32), np.zeros(0, np.float32), 0.7, 0.1).any()
