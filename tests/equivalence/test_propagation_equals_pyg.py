"""The central promise: however the log was cut, the vectors are those of PyG's SAGEConv on the whole graph."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sage_world import DAY, HIDDEN, HOUR, INPUTS, OUTPUTS, TOLERANCE, World
from scipy.sparse import csr_matrix

from graphrec.embedding.node_features import unit_rows
from graphrec.embedding.propagation import Propagation
from graphrec.errors import InputError
from graphrec.training.sage_trainer import SageNetwork, sparse_tensor
from graphrec.training.time_cuts import row_mean


class Add(NamedTuple):
    events: list[tuple[int, int, float, int]]


class Remove(NamedTuple):
    user: int
    item: int


class RemoveUser(NamedTuple):
    user: int


class RemoveItem(NamedTuple):
    item: int


class NewItems(NamedTuple):
    count: int


class NewFeatures(NamedTuple):
    numbers: list[int]


users, items = st.integers(0, 7), st.integers(0, 11)
# Close together, and so far apart that weights are rebased, run out of a float32's exponents, and are gone.
hours = st.integers(0, 72) | st.sampled_from([24 * days for days in (45, 90, 125, 140, 170, 400, 2000, 15000)])
event = st.tuples(
    users, items, st.sampled_from([1.0, 3.0, 5.0, -5.0, -1.0, 0.3, 0.0]), hours.map(lambda hour: hour * HOUR)
)
steps = st.one_of(
    st.builds(Add, st.lists(event, max_size=15)),
    st.builds(Add, st.lists(event, max_size=3)),
    st.builds(Remove, users, items),
    st.builds(RemoveUser, users),
    st.builds(RemoveItem, items),
    st.builds(NewItems, st.integers(1, 4)),
    st.builds(NewFeatures, st.lists(items, min_size=1, max_size=3)),
)


@settings(max_examples=300)
@given(seed=st.integers(0, 5), half_life=st.sampled_from([None, DAY, 20 * DAY]), log=st.lists(steps, max_size=25))
def test_every_vector_after_every_batch(seed: int, half_life: float | None, log: list[NamedTuple]) -> None:
    world = World(seed, half_life)
    for step in log:
        match step:
            case Add(events):
                world.add(events)
            case Remove(user, item):
                if user < world.graph.n_users and item < world.graph.n_items:
                    world.remove(user, item)
            case RemoveUser(user):
                if user < world.graph.n_users:
                    world.propagation.remove_user(world.graph, user)
                    assert len(world.graph.user_row(user)[0]) == 0
            case RemoveItem(item):
                if item < world.graph.n_items:
                    world.propagation.remove_item(world.graph, item)
                    assert len(world.graph.item_row(item)) == 0
            case NewItems(count):
                world.add_items(count)
            case NewFeatures(numbers):
                world.change_items(numbers)
        assert world.error() <= TOLERANCE, step


def test_unit_weights_are_the_plain_mean_of_an_edge_list() -> None:
    world = World(half_life=None, n_items=12)
    pairs = world.rng.permutation(8 * 12)[:40]
    for start in range(0, 40, 7):
        world.add([(int(pair) // 12, int(pair) % 12, 1.0, 0) for pair in pairs[start : start + 7]])
        assert world.error("mean") <= TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("half_life", [None, DAY, 30 * DAY])
def test_nothing_adds_up_over_ten_thousand_batches(half_life: float | None) -> None:
    world = World(half_life=half_life, n_items=40)
    rng, now, worst = world.rng, 1_600_000_000_000_000, 0.0
    for batch in range(10_000):
        now += int(rng.integers(2 * HOUR))
        size = int(rng.integers(1, 20))
        columns = rng.integers(60, size=size), rng.integers(40, size=size), rng.choice([1.0, 3.0, 5.0, -5.0, 0.3], size)
        world.add([(int(user), int(item), float(weight), now) for user, item, weight in zip(*columns, strict=True)])
        if rng.random() < 0.3:
            world.remove(int(rng.integers(world.graph.n_users)), int(rng.integers(40)))
        if batch % 20 == 0:
            worst = max(worst, world.error())
    assert worst <= TOLERANCE


def test_training_computes_what_serving_computes() -> None:
    world = World(n_items=12)
    network = SageNetwork(INPUTS, HIDDEN, OUTPUTS)
    network.start_as_identity(torch.Generator().manual_seed(0))
    world.weights = network.weights()
    world.propagation = Propagation(world.weights)
    world.propagation.add_items(world.features)
    rng = world.rng
    for _ in range(5):
        world.add([(int(rng.integers(8)), int(rng.integers(12)), 1.0, int(rng.integers(3 * DAY))) for _ in range(9)])
    edges = csr_matrix(world.edges())
    with torch.inference_mode():
        around = network.surroundings(
            torch.from_numpy(world.features), sparse_tensor(row_mean(edges)), sparse_tensor(row_mean(edges.T.tocsr()))
        )
        everybody, everything = (torch.arange(size) for size in edges.shape)
        trained = network.users(around, everybody), network.items(around, everything)
    for served, theirs in zip(world.vectors(), trained, strict=True):
        np.testing.assert_allclose(unit_rows(served), theirs.numpy(), atol=TOLERANCE)


def two_tastes() -> World:
    """Users 0 and 1 share items 0 and 1; user 2 has items 2 and 3; item 4 has nobody."""
    world = World(half_life=None, n_items=5)
    world.add([(0, 0, 1.0, 0), (0, 1, 1.0, 0), (1, 1, 3.0, 0), (1, 0, 1.0, 0), (2, 2, 1.0, 0), (2, 3, 1.0, 0)])
    return world


def test_the_graph_matters() -> None:
    world = two_tastes()
    alone = World(half_life=None, n_items=5)
    np.testing.assert_array_equal(world.features, alone.features)
    moved = np.abs(world.vectors()[1] - alone.vectors()[1]).max(axis=1)
    assert (moved[:4] > 0.01).all()
    assert moved[4] == 0
    # Two hops: what user 1 does besides reaches user 0 through nothing but the items they share.
    before = world.vectors()
    world.add([(1, 4, 5.0, 0)])
    after = world.vectors()
    assert np.abs(after[1] - before[1]).max(axis=1)[[0, 1, 4]].min() > 1e-3


def test_an_event_moves_the_items_of_its_user_and_no_other() -> None:
    world = two_tastes()
    before = world.vectors()[1]
    touched = world.add([(1, 4, 1.0, 0)])
    moved = np.flatnonzero((world.vectors()[1] != before).any(axis=1))
    assert sorted(touched.tolist()) == moved.tolist() == [0, 1, 4]


def test_batches_may_be_empty_or_weigh_nothing() -> None:
    world = two_tastes()
    before = world.vectors()
    assert world.add([]).tolist() == []
    world.add([(0, 3, 0.0, 0), (0, 2, -5.0, 0)])
    for after, unmoved in zip(world.vectors(), before, strict=True):
        np.testing.assert_allclose(after, unmoved, atol=TOLERANCE)


HUGE = 2.0**30


@pytest.mark.parametrize(
    ("heavy", "light"),
    [((0, 0), (0, 1)), ((0, 0), (1, 0))],
    ids=["of a user", "of an item"],
)
@pytest.mark.parametrize("by", ["return", "removal"])
@pytest.mark.parametrize("formed_anew", [False, True])
def test_a_sum_survives_the_loss_of_nearly_all_its_weight(
    heavy: tuple[int, int], light: tuple[int, int], by: str, formed_anew: bool
) -> None:
    world = World(half_life=None, n_items=2)
    world.add([(*light, 0.3, 0), (*heavy, HUGE, 0)])
    if formed_anew:
        world.propagation.recompute(world.graph)
    assert world.error() <= TOLERANCE
    if by == "return":
        world.add([(*heavy, -HUGE, 0)])
    else:
        world.remove(*heavy)
    assert world.error() <= TOLERANCE
    world.add([(*light, 3.0, 0), (*heavy, 1.0, 0)])
    assert world.error() <= TOLERANCE


def test_a_node_that_lost_everything_is_as_new() -> None:
    world = World(half_life=None, n_items=3)
    new = world.vectors()[1]
    log = [(user, item, weight, 0) for user in range(3) for item, weight in enumerate((0.3, 5.0, 1.0))]
    world.add(log)
    for user, item, *_ in log:
        world.remove(user, item)
    users, items = world.vectors()
    np.testing.assert_array_equal(items, new)
    world.propagation.grow_users(4)
    world.graph.grow(4, 3)
    np.testing.assert_array_equal(users, [world.propagation.user_vector(world.graph, 3)] * 3)


def test_a_node_fades_away_with_its_weights() -> None:
    world = World(n_items=3)
    new = world.vectors()[1]
    world.add([(0, 0, 1.0, 0), (1, 1, 1.0, 0)])
    for days in (30, 60, 90, 120, 150, 180):
        world.add([(2, 2, 1.0, days * DAY)])
        assert world.error() <= TOLERANCE
    np.testing.assert_array_equal(world.vectors()[1][:2], new[:2])


def test_a_user_beyond_the_known_ones_has_no_vector() -> None:
    world = two_tastes()
    assert world.propagation.user_vector(world.graph, 3).tolist() == [0.0] * OUTPUTS


def test_users_come_with_the_graph() -> None:
    world = two_tastes()
    again = Propagation(world.weights)
    again.add_items(world.features)
    again.recompute(world.graph)
    np.testing.assert_allclose(again.item_vectors, world.propagation.item_vectors, atol=TOLERANCE)
    assert again.n_items == 5


def test_an_event_out_of_range_changes_nothing() -> None:
    world = two_tastes()
    before, edges = world.vectors(), world.edges()
    for wrong in ((0, 1, float("nan"), 0), (0, 1, 1.0, -1), (0, 1, 2.0**41, 0)):
        with pytest.raises(InputError):
            world.add([(0, 2, 1.0, 0), wrong])
    none = np.zeros(1, np.int32)
    for pair in ((none + 3, none), (none, none + 5), (none - 1, none), (none, np.zeros(2, np.int32))):
        with pytest.raises(InputError):
            world.propagation.follow(world.graph, *pair, np.ones(1), np.zeros(1, np.int64))
        with pytest.raises(InputError):
            world.propagation.remove(world.graph, *pair)
    np.testing.assert_array_equal(world.edges(), edges)
    for after, unmoved in zip(world.vectors(), before, strict=True):
        np.testing.assert_array_equal(after, unmoved)


def test_the_touched_items_are_named_once_each() -> None:
    world = two_tastes()
    touched = world.add([(0, 4, 1.0, 0), (1, 4, 1.0, 0), (0, 4, 1.0, 0), (2, 3, 0.0, 0)])
    assert sorted(touched.tolist()) == [0, 1, 3, 4]


def test_changed_features_reach_other_items_when_drained_and_users_at_once() -> None:
    world = two_tastes()
    before = world.vectors()[1]
    world.features[[0, 4]] = world.random_features(2)
    changed = world.propagation.change_items(world.graph, np.array([0, 4], np.int32), world.features[[0, 4]])
    assert changed.tolist() == [0, 4]
    assert world.propagation.largest_residual == np.inf
    users, items = world.vectors()
    np.testing.assert_array_equal(items[1:4], before[1:4])
    assert np.abs(users - world.exact()[0]).max() <= TOLERANCE
    slices = [sorted(world.propagation.drain(world.graph, visits=1).tolist()) for _ in range(2)]
    assert slices == [[0, 1], [0, 1]]
    assert world.propagation.drain(world.graph).tolist() == []
    assert world.error() <= TOLERANCE


def test_an_event_of_a_user_does_not_wait_for_the_drain() -> None:
    world = two_tastes()
    world.features[[0]] = world.random_features(1)
    world.propagation.change_items(world.graph, np.array([0], np.int32), world.features[[0]])
    world.add([(0, 4, 1.0, 0)])
    world.remove(1, 1)
    assert world.propagation.largest_residual == 0
    assert world.error() <= TOLERANCE
