"""The other ways to the same GraphSAGE vectors, made as fast as they go: what bench_incremental compares with.

All of them are handed an adjacency that is ready both ways, row-normalised where they want it, at no charge, and one
thread. `FullRecomputation` computes every vector, `AffectedSubgraph` re-aggregates the nodes whose vectors an event
changes, `TwoWayPush` keeps every vector of users and of items up to date by pushing differences along the edges.

Users of graphrec's model have no features, so a new edge changes no first-layer vector of an item, and nothing runs
from an item to its users. `UserFeatures` gives them some: then it does, the general case of two-layer GraphSAGE.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numba import njit
from scipy.sparse import csr_matrix
from torch.nn.functional import relu

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from graphrec.embedding.graphsage import SageWeights
    from graphrec.graph.interaction_graph import InteractionGraph

    Float32 = NDArray[np.float32]
    Int32 = NDArray[np.int32]


@dataclass(frozen=True)
class UserFeatures:
    """What a user brings of its own, and the first-layer weights that read it; float32."""

    features: Float32  # (n_users, d_in)
    user_root1: Float32  # (h, d_in)
    item_neighbour1: Float32  # (h, d_in)

    @classmethod
    def random(cls, n_users: int, weights: SageWeights, rng: np.random.Generator) -> UserFeatures:
        """Standard normal, scaled so that all layers see numbers of the size of one."""
        shape = (weights.hidden_dimensions, weights.input_dimensions)
        roots = (rng.standard_normal(shape, np.float32) / np.float32(np.sqrt(shape[1])) for _ in range(2))
        return cls(rng.standard_normal((n_users, shape[1]), np.float32), *roots)


class Adjacency:
    """A graph's effective weights both ways, each row by neighbour; scipy CSR, float32, int32."""

    def __init__(self, graph: InteractionGraph) -> None:
        table = graph.to_csr()
        shape = (graph.n_users, graph.n_items)
        self.users = csr_matrix((table.weights, table.items, table.indptr.astype(np.int32)), shape=shape)
        self.items = self.users.T.tocsr()

    @staticmethod
    def means(matrix: csr_matrix) -> csr_matrix:
        """Rows that add up to one; an empty row stays empty."""
        totals = np.add.reduceat(np.append(matrix.data, 0), matrix.indptr[:-1], dtype=np.float64)
        totals[np.diff(matrix.indptr) == 0] = 0
        inverse = np.divide(1.0, totals, out=np.zeros_like(totals), where=totals > 0).astype(np.float32)
        data = matrix.data * np.repeat(inverse, np.diff(matrix.indptr))
        return csr_matrix((data, matrix.indices, matrix.indptr), shape=matrix.shape)


class FullRecomputation:
    """Every vector from a ready CSR by torch: three sparse products, four where users have features, and dense ones."""

    def __init__(
        self, weights: SageWeights, features: Float32, users: UserFeatures | None = None, device: str = "cpu"
    ) -> None:
        self.device = device
        self.weights = {name: torch.from_numpy(array).to(device) for name, array in weights.arrays().items()}
        self.features = torch.from_numpy(features).to(device)
        self.users = None
        if users is not None:
            columns = (users.features, users.user_root1, users.item_neighbour1)
            self.users = tuple(torch.from_numpy(column).to(device) for column in columns)

    def load(self, adjacency: Adjacency) -> None:
        """Take the edges over, row-normalised: not part of what is timed."""
        self.to_users = csr_tensor(Adjacency.means(adjacency.users)).to(self.device)
        self.to_items = csr_tensor(Adjacency.means(adjacency.items)).to(self.device)

    @torch.inference_mode()
    def run(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Second-layer vectors of all users and all items."""
        w, x = self.weights, self.features
        users1 = self.to_users @ (x @ w["user_neighbour1"].T) + w["user_bias1"]
        items1 = x @ w["item_root1"].T + w["item_bias1"]
        if self.users is not None:
            own, user_root1, item_neighbour1 = self.users
            users1 += own @ user_root1.T
            items1 += self.to_items @ (own @ item_neighbour1.T)
        users1, items1 = relu(users1), relu(items1)
        self.hidden = users1, items1
        users2 = self.to_users @ (items1 @ w["user_neighbour2"].T) + users1 @ w["user_root2"].T + w["user_bias2"]
        items2 = self.to_items @ (users1 @ w["item_neighbour2"].T) + items1 @ w["item_root2"].T + w["item_bias2"]
        if self.device != "cpu":
            torch.cuda.synchronize()
        return users2, items2


class AffectedSubgraph:
    """PyG's SAGEConv on what a batch affects: its users, and all items of theirs with all their users."""

    def __init__(self, weights: SageWeights, features: Float32, device: str = "cpu") -> None:
        from torch_geometric.nn import SAGEConv

        def layer(neighbour: Float32, root: Float32 | None, bias: Float32) -> Any:
            inputs = (neighbour.shape[1], 1 if root is None else root.shape[1])
            made = SAGEConv(inputs, len(bias), aggr="sum", root_weight=root is not None)
            with torch.no_grad():
                made.lin_l.weight.copy_(torch.from_numpy(neighbour))
                made.lin_l.bias.copy_(torch.from_numpy(bias))
                if root is not None:
                    made.lin_r.weight.copy_(torch.from_numpy(root))
            return made.to(device)

        self.device = device
        self.features = torch.from_numpy(features).to(device)
        self.user1 = layer(weights.user_neighbour1, None, weights.user_bias1)
        self.user2 = layer(weights.user_neighbour2, weights.user_root2, weights.user_bias2)
        self.item2 = layer(weights.item_neighbour2, weights.item_root2, weights.item_bias2)

    def load(self, adjacency: Adjacency, full: FullRecomputation) -> None:
        """Take edges and first-layer vectors over: not part of what is timed."""
        self.to_users, self.to_items = (Adjacency.means(matrix) for matrix in (adjacency.users, adjacency.items))
        self.users1, self.items1 = full.hidden
        self.nothing = torch.zeros(len(self.users1), 1, device=self.device)

    @torch.inference_mode()
    def run(self, users: Int32, items: Int32) -> tuple[Int32, torch.Tensor, Int32, torch.Tensor]:
        """Numbers and second-layer vectors of the users and of the items that new edges between these nodes affect."""
        users = np.unique(users)
        rows = self.to_users[users]
        affected = np.unique(np.concatenate([rows.indices, items]))
        to_users, to_items = (csr_tensor(part).to(self.device) for part in (rows, self.to_items[affected]))
        self.users1[users] = relu(self.user1((self.features, self.nothing[users]), to_users))
        users2 = self.user2((self.items1, self.users1[users]), to_users)
        items2 = self.item2((self.users1, self.items1[affected]), to_items)
        if self.device != "cpu":
            torch.cuda.synchronize()
        return users, users2, affected, items2


class TwoWayPush:
    """Running sums of both layers on both sides, every vector kept: what changes of a node travels along its edges."""

    def __init__(self, weights: SageWeights, features: Float32, users: UserFeatures | None, n_users: int) -> None:
        w = weights
        own = np.zeros((n_users, w.hidden_dimensions), np.float32)
        self.user_message1, self.user_root1 = own, own + w.user_bias1
        if users is not None:
            self.user_message1 = users.features @ users.item_neighbour1.T
            self.user_root1 = self.user_root1 + users.features @ users.user_root1.T
        self.item_message1 = features @ w.user_neighbour1.T
        self.item_root1 = features @ w.item_root1.T + w.item_bias1
        self.user_layer2 = w.user_root2, w.user_bias2, w.item_neighbour2  # the last: what an item hears of a user
        self.item_layer2 = w.item_root2, w.item_bias2, w.user_neighbour2

    def load(self, adjacency: Adjacency) -> None:
        """Form all sums from the graph: not part of what is timed."""
        to_users, to_items = adjacency.users.copy(), adjacency.items.copy()
        self.edges = (
            (to_users.indptr, to_users.indices, to_users.data),
            (to_items.indptr, to_items.indices, to_items.data),
        )
        sides = []
        for matrix, message1, root1, layer2 in (
            (to_users, self.item_message1, self.user_root1, self.user_layer2),
            (to_items, self.user_message1, self.item_root1, self.item_layer2),
        ):
            total = np.asarray(matrix.sum(axis=1, dtype=np.float64)).ravel()
            sum1 = matrix @ message1
            hidden = np.maximum(_mean(sum1, total) + root1, 0)
            sides.append([total, sum1, hidden @ layer2[2].T, hidden @ layer2[0].T + layer2[1], hidden])
        for side, other, matrix in ((sides[0], sides[1], to_users), (sides[1], sides[0], to_items)):
            sum2 = matrix @ other[2]
            side.extend([sum2, _mean(sum2, side[0]) + side[3]])
        self.sides = tuple(map(tuple, sides))
        self.touched = tuple((np.zeros(len(side[0]), np.bool_), np.empty(len(side[0]), np.int32)) for side in sides)

    @property
    def vectors(self) -> tuple[Float32, Float32]:
        """Second-layer vectors of all users and all items."""
        return self.sides[0][6], self.sides[1][6]

    def run(self, users: Int32, items: Int32, deltas: Float32) -> int:
        """Add weight to edges that are there; returns how many neighbours were visited."""
        visits: int = _push_both(
            users, items, deltas, *self.edges, *self.sides, *self.touched, self.user_message1, self.item_message1,
            self.user_root1, self.item_root1, self.user_layer2, self.item_layer2,
        )  # fmt: skip
        return visits


class GrowingEdgeList:
    """PyG's way to add edges to a graph: append to its edge list, then coalesce what is there twice."""

    def __init__(self, graph: InteractionGraph) -> None:
        edges = Adjacency(graph).users.tocoo()
        self.edges = torch.from_numpy(np.stack([edges.row, edges.col]).astype(np.int64))
        self.weights = torch.from_numpy(edges.data)

    @property
    def n_edges(self) -> int:
        """Distinct pairs."""
        return len(self.weights)

    def add(self, users: Int32, items: Int32, weights: NDArray[np.floating]) -> None:
        """Add weights to pairs, new or known."""
        from torch_geometric.utils import coalesce

        edges = torch.from_numpy(np.stack([users, items]).astype(np.int64))
        joined = torch.cat([self.edges, edges], dim=1), torch.cat([self.weights, torch.from_numpy(weights).float()])
        self.edges, self.weights = coalesce(*joined, reduce="sum")


def csr_tensor(matrix: csr_matrix) -> torch.Tensor:
    """A scipy matrix in torch; int32, for which MKL needs no conversion."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        starts, columns = (torch.from_numpy(part.astype(np.int32)) for part in (matrix.indptr, matrix.indices))
        values = torch.from_numpy(matrix.data)
        return torch.sparse_csr_tensor(starts, columns, values, matrix.shape, check_invariants=False)


def _mean(sums: Float32, totals: NDArray[np.float64]) -> Float32:
    inverse = np.divide(1.0, totals, out=np.zeros_like(totals), where=totals > 0)
    mean: Float32 = sums * inverse[:, None].astype(np.float32)
    return mean


@njit(cache=True, nogil=True)
def _add_scaled(into, factor, row):  # type: ignore[no-untyped-def]
    for k in range(row.size):
        into[k] += factor * row[k]


@njit(cache=True, nogil=True)
def _reweigh(edges, node, neighbour, delta):  # type: ignore[no-untyped-def]
    start, end = edges[0][node], edges[0][node + 1]
    edges[2][start + np.searchsorted(edges[1][start:end], neighbour)] += delta


@njit(cache=True, nogil=True)
def _touch(touched, count, node):  # type: ignore[no-untyped-def]
    """Note a node once; returns how many are noted."""
    if touched[0][node]:
        return count
    touched[0][node] = True
    touched[1][count] = node
    return count + 1


@njit(cache=True, nogil=True)
def _push_side(dirty, edges, side, other_sum2, root1, layer2, touched_others, count):  # type: ignore[no-untyped-def]
    """Form the first layer of changed nodes anew and push what it changes; returns visits, and nodes noted."""
    total, sum1, message2, root2, hidden1 = side[0], side[1], side[2], side[3], side[4]
    visits = 0
    for node in dirty:
        hidden = np.maximum(sum1[node] * np.float32(1 / total[node]) + root1[node], np.float32(0))
        if (hidden == hidden1[node]).all():
            continue
        hidden1[node] = hidden
        root2[node] = np.dot(layer2[0], hidden) + layer2[1]
        message = np.dot(layer2[2], hidden)
        moved = message - message2[node]
        message2[node] = message
        for edge in range(edges[0][node], edges[0][node + 1]):
            _add_scaled(other_sum2[edges[1][edge]], edges[2][edge], moved)
            count = _touch(touched_others, count, edges[1][edge])
            visits += 1
    return visits, count


@njit(cache=True, nogil=True)
def _publish(touched, count, side):  # type: ignore[no-untyped-def]
    for node in touched[1][:count]:
        touched[0][node] = False
        side[6][node] = side[5][node] * np.float32(1 / side[0][node]) + side[3][node]


@njit(cache=True, nogil=True)
def _push_both(  # type: ignore[no-untyped-def]
    users, items, deltas, user_edges, item_edges, user_side, item_side, touched_users, touched_items,
    user_message1, item_message1, user_root1, item_root1, user_layer2, item_layer2,
):  # fmt: skip
    n_users = n_items = 0  # touched
    for event in range(len(users)):
        user, item, delta = users[event], items[event], deltas[event]
        _reweigh(user_edges, user, item, delta)
        _reweigh(item_edges, item, user, delta)
        user_side[0][user] += delta
        item_side[0][item] += delta
        _add_scaled(user_side[1][user], delta, item_message1[item])
        _add_scaled(item_side[1][item], delta, user_message1[user])
        _add_scaled(user_side[5][user], delta, item_side[2][item])
        _add_scaled(item_side[5][item], delta, user_side[2][user])
        n_users = _touch(touched_users, n_users, user)
        n_items = _touch(touched_items, n_items, item)
    dirty_users, dirty_items = touched_users[1][:n_users].copy(), touched_items[1][:n_items].copy()
    from_users, n_items = _push_side(
        dirty_users, user_edges, user_side, item_side[5], user_root1, user_layer2, touched_items, n_items
    )
    from_items, n_users = _push_side(
        dirty_items, item_edges, item_side, user_side[5], item_root1, item_layer2, touched_users, n_users
    )
    _publish(touched_users, n_users, user_side)
    _publish(touched_items, n_items, item_side)
    return from_users + from_items
