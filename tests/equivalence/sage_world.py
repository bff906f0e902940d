"""The oracle of propagation, PyG's SAGEConv on the whole graph, and a world that is held against it."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from torch.nn.functional import relu
from torch_geometric.nn import SAGEConv

from graphrec.embedding.graphsage import SageWeights
from graphrec.embedding.node_features import unit_rows
from graphrec.embedding.propagation import Propagation
from graphrec.graph.interaction_graph import InteractionGraph

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
        return self.propagation.follow(
            self.graph,
            users,
            np.array([event[1] % len(self.features) for event in events], np.int32),
            np.array([event[2] for event in events], np.float64),
            np.array([event[3] for event in events], np.int64),
        )

    def remove(self, user: int, item: int) -> None:
        self.propagation.remove(self.graph, np.array([user], np.int32), np.array([item], np.int32))

    def change_items(self, numbers: list[int]) -> None:
        chosen = np.unique(np.array(numbers, np.int32) % len(self.features)).astype(np.int32)
        self.features[chosen] = self.random_features(len(chosen))
        self.propagation.change_items(self.graph, chosen, self.features[chosen])
        self.propagation.drain(self.graph)

    def edges(self) -> NDArray[np.float64]:
        table = self.graph.to_csr()
        shape = (self.graph.n_users, self.graph.n_items)
        return csr_matrix((table.weights.astype(np.float64), table.items, table.indptr), shape=shape).toarray()

    def vectors(self) -> tuple[NDArray, NDArray]:
        users = [self.propagation.user_vector(self.graph, user) for user in range(self.graph.n_users)]
        return np.array(users).reshape(-1, OUTPUTS), self.propagation.item_vectors.copy()

    def exact(self, aggregation: str = "sum") -> tuple[NDArray, NDArray]:
        """What `vectors` should be, by PyG."""
        return pyg_vectors(self.weights, self.features, self.edges(), aggregation)

    def error(self, aggregation: str = "sum") -> float:
        """Largest difference to PyG, over all users and items."""
        pairs = zip(self.vectors(), self.exact(aggregation), strict=True)
        return max(float(np.abs(ours - theirs).max(initial=0)) for ours, theirs in pairs)
