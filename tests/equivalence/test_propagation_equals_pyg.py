"""The central promise: however the log was cut, the vectors are those of PyG's SAGEConv on the whole graph."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from torch.nn.functional import relu
from torch_geometric.nn import SAGEConv

from graphrec.embedding.graphsage import SageWeights
from graphrec.embedding.node_features import unit_rows
from graphrec.embedding.propagation import Propagation
from graphrec.graph.interaction_graph import EdgeChanges, InteractionGraph
from graphrec.training.sage_trainer import SageNetwork, sparse_tensor
from graphrec.training.time_cuts import row_mean

HOUR = 3_600_000_000
DAY = 24 * HOUR
INPUTS, HIDDEN, OUTPUTS = 5, 16, 4
FADED = 2.0**-100  # a total weight below this counts as none
TOLERANCE = 1e-5


def random_weights(seed: int) -> SageWeights:
    rng = np.random.default_rng(seed)

    def matrix(*shape: int) -> NDArray[np.float32]:
        return (rng.standard_normal(shape) / np.sqrt(shape[-1])).astype(np.float32)

    return SageWeights(
        user_neighbour1=matrix(HIDDEN, INPUTS) * 2,
        user_bias1=matrix(HIDDEN),
        item_root1=matrix(HIDDEN, INPUTS) * 2,
        item_bias1=matrix(HIDDEN),
        user_neighbour2=matrix(OUTPUTS, HIDDEN),
        user_root2=matrix(OUTPUTS, HIDDEN),
        user_bias2=matrix(OUTPUTS),
        item_neighbour2=matrix(OUTPUTS, HIDDEN),
        item_root2=matrix(OUTPUTS, HIDDEN),
        item_bias2=matrix(OUTPUTS),
    )


def convolution(neighbour: NDArray, root: NDArray | None, bias: NDArray, aggregation: str) -> SAGEConv:
    """A SAGEConv in float64, so that all rounding is on our side."""
    inputs = (neighbour.shape[1], 1 if root is None else root.shape[1])
    layer = SAGEConv(inputs, len(bias), aggr=aggregation, root_weight=root is not None).double()
    with torch.no_grad():
        layer.lin_l.weight.copy_(torch.from_numpy(neighbour))
        layer.lin_l.bias.copy_(torch.from_numpy(bias))
        if root is not None:
            layer.lin_r.weight.copy_(torch.from_numpy(root))
    return layer


def pyg_vectors(
    weights: SageWeights, features: NDArray, edges: NDArray[np.float64], aggregation: str = "sum"
) -> tuple[NDArray, NDArray]:
    """Vectors of all users and items from dense edge weights (n_users, n_items), by PyG.

    `sum` over rows that add up to one is the weighted mean; `mean` over an edge list is the plain one.
    """
    if aggregation == "mean":
        pairs = torch.from_numpy(np.argwhere(edges > 0).T)
        to_users, to_items = pairs.flip(0), pairs
    else:
        to_users, to_items = mean_operator(edges), mean_operator(edges.T)
    user1 = convolution(weights.user_neighbour1, None, weights.user_bias1, aggregation)
    user2 = convolution(weights.user_neighbour2, weights.user_root2, weights.user_bias2, aggregation)
    item2 = convolution(weights.item_neighbour2, weights.item_root2, weights.item_bias2, aggregation)
    x = torch.from_numpy(features.astype(np.float64))
    with torch.inference_mode():
        users = relu(user1((x, torch.zeros(len(edges), 1, dtype=x.dtype)), to_users))
        items = relu(x @ torch.from_numpy(weights.item_root1).double().T + torch.from_numpy(weights.item_bias1))
        return user2((items, users), to_users).numpy(), item2((users, items), to_items).numpy()


def mean_operator(matrix: NDArray[np.float64]) -> torch.Tensor:
    """Rows that add up to one, or to nothing where a node has no weight; sparse CSR."""
    sums = matrix.sum(axis=1, keepdims=True)
    dense = torch.from_numpy(np.divide(matrix, sums, out=np.zeros(matrix.shape), where=sums > FADED))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return dense.to_sparse_csr()


class World:
    """A graph, its propagation, and the features they were fed; nodes come as they are named."""

    def __init__(self, seed: int = 0, half_life: float | None = DAY, n_items: int = 1) -> None:
        self.rng = np.random.default_rng(seed)
        self.weights = random_weights(seed)
        self.graph = InteractionGraph(half_life)
        self.propagation = Propagation(self.weights)
        self.features = np.zeros((0, INPUTS), np.float32)
        self.add_items(n_items)

    def random_features(self, n: int) -> NDArray[np.float32]:
        return unit_rows(self.rng.standard_normal((n, INPUTS)).astype(np.float32))

    def add_items(self, n: int) -> None:
        features = self.random_features(n)
        self.features = np.vstack([self.features, features])
        self.graph.grow(self.graph.n_users, len(self.features))
        self.propagation.add_items(features)

    def add(self, events: list[tuple[int, int, float, int]]) -> NDArray[np.int32]:
        users = np.array([event[0] for event in events], np.int32)
        self.graph.grow(int(users.max(initial=-1)) + 1, len(self.features))
        self.propagation.grow_users(self.graph.n_users)
        changes = self.graph.add(
            users,
            np.array([event[1] % len(self.features) for event in events], np.int32),
            np.array([event[2] for event in events], np.float64),
            np.array([event[3] for event in events], np.int64),
        )
        return self.propagation.apply(self.graph, changes)

    def remove(self, user: int, item: int) -> None:
        weight = self.graph.remove(user, item)
        changes = EdgeChanges(
            np.array([user], np.int32), np.array([item], np.int32), np.array([-weight], np.float32), 0
        )
        self.propagation.apply(self.graph, changes)

    def change_items(self, numbers: list[int]) -> None:
        chosen = np.unique(np.array(numbers, np.int32) % len(self.features)).astype(np.int32)
        self.features[chosen] = self.random_features(len(chosen))
        self.propagation.change_items(chosen, self.features[chosen])
        self.propagation.recompute(self.graph)

    def edges(self) -> NDArray[np.float64]:
        table = self.graph.to_csr()
        shape = (self.graph.n_users, self.graph.n_items)
        return csr_matrix((table.weights.astype(np.float64), table.items, table.indptr), shape=shape).toarray()

    def vectors(self) -> tuple[NDArray, NDArray]:
        users = [self.propagation.user_vector(self.graph, user) for user in range(self.graph.n_users)]
        return np.array(users).reshape(-1, OUTPUTS), self.propagation.item_vectors.copy()

    def error(self, aggregation: str = "sum") -> float:
        """Largest difference to PyG, over all users and items."""
        pairs = zip(self.vectors(), pyg_vectors(self.weights, self.features, self.edges(), aggregation), strict=True)
        return max(float(np.abs(ours - theirs).max(initial=0)) for ours, theirs in pairs)


class Add(NamedTuple):
    events: list[tuple[int, int, float, int]]


class Remove(NamedTuple):
    user: int
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
    assert touched.tolist() == moved.tolist() == [0, 1, 4]


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
