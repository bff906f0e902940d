from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from graphrec.embedding.graphsage import SageWeights
from graphrec.embedding.node_features import unit_rows
from graphrec.embedding.propagation import Propagation
from graphrec.embedding.scrubber import Scrubbed, Scrubber
from graphrec.graph.interaction_graph import InteractionGraph

INPUTS, HIDDEN, OUTPUTS = 5, 16, 4
N_USERS, N_ITEMS = 30, 20
DAMAGED = 7  # a user and an item, both with edges


def random(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def streamed(epsilon: float = 0.0, half_life: float | None = None) -> tuple[InteractionGraph, Propagation]:
    """A propagation that followed 60 small batches of events and returns."""
    first, second, bias1, bias2 = (HIDDEN, INPUTS), (OUTPUTS, HIDDEN), (HIDDEN,), (OUTPUTS,)
    shapes = [first, bias1, first, bias1, second, second, bias2, second, second, bias2]
    propagation = Propagation(SageWeights(*(random(*shape, seed=seed) for seed, shape in enumerate(shapes))))
    propagation.epsilon = epsilon
    propagation.add_items(unit_rows(random(N_ITEMS, INPUTS)))
    graph = InteractionGraph(half_life)
    graph.grow(N_USERS, N_ITEMS)
    rng = np.random.default_rng(1)
    for day in range(60):
        users, items = rng.integers(N_USERS - 1, size=6), rng.integers(N_ITEMS - 1, size=6)
        times = np.full(6, day * 86_400_000_000)
        weights = rng.choice([1.0, 3.0, 0.3, -1.0], 6)
        propagation.follow(graph, users.astype(np.int32), items.astype(np.int32), weights, times)
    return graph, propagation


def full_pass(scrubber: Scrubber, graph: InteractionGraph, visits: int = 10**9) -> list[Scrubbed]:
    found, before = [], scrubber.passes
    while scrubber.passes == before:
        found.append(scrubber.step(graph, visits))
    return found


def check_exact(graph: InteractionGraph, propagation: Propagation) -> None:
    items = propagation.item_vectors.copy()
    users = [propagation.user_vector(graph, user) for user in range(N_USERS)]
    propagation.recompute(graph)
    np.testing.assert_allclose(items, propagation.item_vectors, atol=1e-5)
    np.testing.assert_allclose(users, [propagation.user_vector(graph, user) for user in range(N_USERS)], atol=1e-5)


@pytest.mark.parametrize("epsilon", [0.0, 0.3])
@pytest.mark.parametrize("half_life", [None, 86_400_000_000.0])
def test_a_sound_state_is_left_alone(epsilon: float, half_life: float | None) -> None:
    graph, propagation = streamed(epsilon, half_life)
    before = {name: array.copy() for part in (propagation._users, propagation._items) for name, array in
              part.arrays.items()}  # fmt: skip
    (found,) = full_pass(Scrubber(propagation), graph)
    assert (found.users, found.items) == (N_USERS, N_ITEMS)
    assert 0 < found.drift < 1e-6
    assert len(found.repaired_users) == len(found.repaired_items) == len(found.touched) == 0
    for part in (propagation._users, propagation._items):
        for name, array in part.arrays.items():
            np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize("wrong", [1.0, 1e30, np.nan, np.inf])
@pytest.mark.parametrize("name", ["user_weight", "sum1", "hidden", "sent", "item_weight", "sum2", "vector"])
def test_damage_is_found_and_repaired(name: str, wrong: float) -> None:
    graph, propagation = streamed()
    columns = propagation._users if name in propagation._users.arrays else propagation._items
    columns[name][DAMAGED] += wrong
    (found,) = full_pass(Scrubber(propagation), graph)
    assert found.drift > 1e-3
    if columns is propagation._users:
        assert DAMAGED in found.repaired_users
        assert set(graph.user_row(DAMAGED)[0].tolist()) <= set(found.touched.tolist())
    else:
        assert found.repaired_items.tolist() == found.touched.tolist() == [DAMAGED]
    (again,) = full_pass(Scrubber(propagation), graph)
    assert again.drift < 1e-6
    check_exact(graph, propagation)


def test_damage_to_a_message_has_spread_to_its_items_and_is_gone_after_a_pass() -> None:
    graph, propagation = streamed()
    propagation._users["sum1"][DAMAGED, 2] += 5
    propagation.follow(  # the wrong message is sent
        graph, np.array([DAMAGED], np.int32), np.array([3], np.int32), np.ones(1), np.zeros(1, np.int64)
    )
    found = full_pass(Scrubber(propagation), graph, visits=1)
    assert [step.repaired_users.tolist() for step in found if len(step.repaired_users)] == [[DAMAGED]]
    check_exact(graph, propagation)


def test_a_repair_keeps_the_bound() -> None:
    graph, propagation = streamed(epsilon=0.3)
    propagation._users["sent"][DAMAGED] += 9
    full_pass(Scrubber(propagation), graph)
    assert 0 < propagation.largest_residual <= 0.3
    kept = propagation.item_vectors.copy()
    propagation.recompute(graph)
    errors = np.linalg.norm(kept - propagation.item_vectors, axis=1)
    assert errors.max() <= 0.3 + 1e-5


@pytest.mark.parametrize("visits", [0, 1, 10, 50])
def test_a_pass_sees_every_node_once_in_small_steps(visits: int) -> None:
    graph, propagation = streamed()
    scrubber = Scrubber(propagation)
    for number in (1, 2):
        found = full_pass(scrubber, graph, visits)
        assert sum(step.users for step in found) == N_USERS
        assert sum(step.items for step in found) == N_ITEMS
        assert max(step.users + step.items for step in found) <= max(visits, 1)
        assert scrubber.passes == number


def test_nodes_that_come_during_a_pass_are_seen() -> None:
    graph, propagation = streamed()
    scrubber = Scrubber(propagation)
    scrubber.step(graph, 30)
    propagation.add_items(unit_rows(random(2, INPUTS, seed=4)))
    graph.grow(N_USERS + 3, N_ITEMS + 2)
    found = full_pass(scrubber, graph, 30)
    assert sum(step.items for step in found) == N_ITEMS + 2


def test_users_that_wait_for_new_features_are_no_damage() -> None:
    graph, propagation = streamed()
    propagation.change_items(graph, np.array([DAMAGED], np.int32), unit_rows(random(1, INPUTS, seed=5)))
    (found,) = full_pass(Scrubber(propagation), graph)
    assert len(found.repaired_users) == len(found.repaired_items) == 0
    propagation.drain(graph)
    (found,) = full_pass(Scrubber(propagation), graph)
    assert found.drift < 1e-6


def test_an_empty_state_has_nothing_to_check() -> None:
    propagation = Propagation(streamed()[1].weights)
    found: Any = Scrubber(propagation).step(InteractionGraph(None))
    assert (found.users, found.items, found.drift) == (0, 0, 0.0)
