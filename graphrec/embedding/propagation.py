"""Exact incremental GraphSAGE: an event costs O(deg(u) d), however popular its item is.

State per node are the running weighted sums, already multiplied by the next layer's neighbour weights:

    s1_u = sum_{j in N(u)} w_uj A1 x_j          c_u = sum_j w_uj          h1_u = relu(s1_u / c_u + a1)
    m_u  = B2n h1_u                             c_i = sum_u w_ui          s2_i = sum_{u in N(i)} w_ui m_u
    h2_i = s2_i / c_i + B2s h1_i + b2

An event (u, i) changes only u's message m_u, so only u's own items move: each gets `w_uj (new m_u - old m_u)`, one
d-float addition. No item's fan-out to its users is ever walked, because a user's second layer is computed when it is
asked for, from its own items (`user_vector`). After every batch the item vectors equal a full recomputation up to
float32 rounding.

Rounding does not add up: where taking weight away leaves a sum that is small beside what it was, the sum is formed
anew from the rows (`_CANCELLATION`), and a node without weight has sums of exactly zero. A node whose whole weight has
faded below 2^-100 of the graph's unit has the mean of no neighbours (`FADED`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from graphrec.embedding.graphsage import SageWeights
    from graphrec.graph.interaction_graph import EdgeChanges, InteractionGraph

    Float32 = NDArray[np.float32]
    Float64 = NDArray[np.float64]
    Int32 = NDArray[np.int32]

# A sum whose total weight fell below this share of its largest since it was last formed has lost too many bits.
_CANCELLATION = 1.0 / 64.0
# Weight that has faded below this is none. Further down a float32 runs out of exponents, and what is left of a sum
# depends on how its log was cut into batches.
FADED = 2.0**-100


class Propagation:
    """Item vectors kept exact on a growing graph; user vectors computed when asked.

    One writer. `item_vectors` is a view that the next `apply` writes into: a reader copies what it keeps.
    """

    def __init__(self, weights: SageWeights) -> None:
        self.weights = weights
        hidden, output = weights.hidden_dimensions, weights.dimensions
        self._users = _Columns(weight=0, peak=0, sum1=hidden, hidden=hidden, message2=output)
        self._items = _Columns(
            weight=0, peak=0, message1=hidden, hidden=hidden, root2=output, sum2=output, vector=output
        )

    @property
    def n_items(self) -> int:
        """Items with features."""
        return self._items.size

    @property
    def item_vectors(self) -> Float32:
        """Second-layer item vectors h2, float32 (n_items, d), a view."""
        return self._items["vector"]

    def grow_users(self, n_users: int) -> None:
        """Have rows for so many users; one that did nothing has zero sums."""
        first = self._users.grow(n_users)
        self._refresh_users(np.arange(first, self._users.size, dtype=np.int32))

    def add_items(self, features: Float32) -> None:
        """Append items by their features, float32 (n, d_in)."""
        first = self._items.grow(self._items.size + len(features))
        self.change_items(np.arange(first, self._items.size, dtype=np.int32), features)

    def change_items(self, numbers: Int32, features: Float32) -> None:
        """Set the features of items, float32 (n, d_in); where they have edges, `recompute` must follow."""
        weights = self.weights
        hidden = np.maximum(features @ weights.item_root1.T + weights.item_bias1, 0)
        self._items["message1"][numbers] = features @ weights.user_neighbour1.T
        self._items["hidden"][numbers] = hidden
        self._items["root2"][numbers] = hidden @ weights.item_root2.T + weights.item_bias2
        self._refresh_items(numbers)

    def recompute(self, graph: InteractionGraph) -> None:
        """Form every sum anew from the graph: the slow path that `apply` equals."""
        self.grow_users(graph.n_users)
        users, items, arrays = self._users, self._items, graph.arrays
        items["weight"][:] = 0
        items["sum2"][:] = 0
        _sum_items(arrays, items["message1"], users["weight"], users["sum1"])
        self._refresh_users(np.arange(users.size, dtype=np.int32))
        _sum_users(arrays, users["message2"], items["weight"], items["sum2"])
        users["peak"][:] = users["weight"]
        items["peak"][:] = items["weight"]
        self._refresh_items(np.arange(items.size, dtype=np.int32))

    def apply(self, graph: InteractionGraph, changes: EdgeChanges) -> Int32:
        """Follow a batch that the graph has taken in; returns the item numbers whose vector may have moved.

        Every item of the graph must have been added before: the kernels do not look.
        """
        self.grow_users(graph.n_users)
        if changes.scale_shift:  # once in 40 half-lives: what has faded away must leave the vectors too
            self.recompute(graph)
            return np.arange(self._items.size, dtype=np.int32)
        users, items = self._users, self._items
        _accumulate(
            changes.users, changes.items, changes.deltas,
            items["message1"], users["message2"],
            users["weight"], users["peak"], users["sum1"],
            items["weight"], items["peak"], items["sum2"],
        )  # fmt: skip
        dirty = np.unique(changes.users)
        before = users["message2"][dirty]
        _resum_users(graph.arrays, dirty, items["message1"], users["weight"], users["peak"], users["sum1"])
        self._refresh_users(dirty)
        moved = users["message2"][dirty] - before
        touched = np.zeros(items.size, np.bool_)
        touched[changes.items] = True
        _push(graph.arrays, dirty, moved, items["sum2"], touched)
        numbers = np.flatnonzero(touched).astype(np.int32)
        _resum_items(graph.arrays, numbers, users["message2"], items["weight"], items["peak"], items["sum2"])
        self._refresh_items(numbers)
        return numbers

    def user_vector(self, graph: InteractionGraph, user: int) -> Float32:
        """Second-layer vector h2 of one user, float32 (d,), from its own items; zeros beyond the known users."""
        weights = self.weights
        if user >= self._users.size:
            return np.zeros(weights.dimensions, np.float32)
        numbers, edge_weights, _ = graph.user_row(user)
        total = edge_weights.sum(dtype=np.float64)
        mean = np.zeros(weights.hidden_dimensions, np.float32)
        if total > FADED:
            mean = (edge_weights / np.float32(total)) @ self._items["hidden"][numbers]
        root = weights.user_root2 @ self._users["hidden"][user]
        vector: Float32 = weights.user_neighbour2 @ mean + root + weights.user_bias2
        return vector

    def _refresh_users(self, numbers: Int32) -> None:
        mean = _mean(self._users["sum1"][numbers], self._users["weight"][numbers])
        hidden = np.maximum(mean + self.weights.user_bias1, 0)
        self._users["hidden"][numbers] = hidden
        self._users["message2"][numbers] = hidden @ self.weights.item_neighbour2.T

    def _refresh_items(self, numbers: Int32) -> None:
        mean = _mean(self._items["sum2"][numbers], self._items["weight"][numbers])
        self._items["vector"][numbers] = mean + self._items["root2"][numbers]


class _Columns:
    """Equally long arrays, one row a node, that grow by half; width 0 is a float64 scalar, else float32 rows."""

    def __init__(self, **widths: int) -> None:
        self.size = 0
        self._arrays: dict[str, NDArray[Any]] = {
            name: np.zeros((0, width), np.float32) if width else np.zeros(0, np.float64)
            for name, width in widths.items()
        }

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._arrays[name][: self.size]

    def grow(self, size: int) -> int:
        """Have at least `size` rows, new ones zero; returns the old size."""
        old = self.size
        for name, array in self._arrays.items():
            if size > len(array):
                larger = np.zeros((max(size, len(array) * 3 // 2), *array.shape[1:]), array.dtype)
                larger[:old] = array[:old]
                self._arrays[name] = larger
        self.size = max(old, size)
        return old


def _mean(sums: Float32, weights: Float64) -> Float32:
    """`sums / weights` row by row, zero where there is no weight."""
    inverse = np.divide(1.0, weights, out=np.zeros_like(weights), where=weights > FADED)
    mean: Float32 = sums * inverse[:, None].astype(np.float32)
    return mean


@njit(cache=True, nogil=True)
def _sum_user(arrays, user, message1, weight, sum1):  # type: ignore[no-untyped-def]
    """c_u and s1_u of one user, from its row."""
    weight[user] = 0.0
    sum1[user] = 0.0
    start = arrays.user_start[user]
    for edge in range(start, start + arrays.user_length[user]):
        w = arrays.user_weights[edge]
        if w > 0:
            weight[user] += w
            row = message1[arrays.user_neighbours[edge]]
            for k in range(row.size):
                sum1[user, k] += w * row[k]


@njit(cache=True, nogil=True)
def _sum_items(arrays, message1, weight, sum1):  # type: ignore[no-untyped-def]
    """c_u and s1_u of every user."""
    for user in range(len(arrays.user_length)):
        _sum_user(arrays, user, message1, weight, sum1)


@njit(cache=True, nogil=True)
def _sum_users(arrays, message2, weight, sum2):  # type: ignore[no-untyped-def]
    """c_i and s2_i of every item."""
    for user in range(len(arrays.user_length)):
        start = arrays.user_start[user]
        row = message2[user]
        for edge in range(start, start + arrays.user_length[user]):
            w = arrays.user_weights[edge]
            if w > 0:
                item = arrays.user_neighbours[edge]
                weight[item] += w
                for k in range(row.size):
                    sum2[item, k] += w * row[k]


@njit(cache=True, nogil=True)
def _accumulate(users, items, deltas, message1, message2, c_u, peak_u, sum1, c_i, peak_i, sum2):  # type: ignore[no-untyped-def]
    """Add each event's change of weight to the sums of both its nodes, with the messages as published."""
    for event in range(len(users)):
        user, item, delta = users[event], items[event], deltas[event]
        if delta == 0:
            continue
        c_u[user] += delta
        c_i[item] += delta
        peak_u[user] = max(peak_u[user], c_u[user])
        peak_i[item] = max(peak_i[item], c_i[item])
        row = message1[item]
        for k in range(row.size):
            sum1[user, k] += delta * row[k]
        row = message2[user]
        for k in range(row.size):
            sum2[item, k] += delta * row[k]


@njit(cache=True, nogil=True)
def _resum_users(arrays, numbers, message1, weight, peak, sum1):  # type: ignore[no-untyped-def]
    """Form s1_u anew where cancellation has eaten its bits."""
    for user in numbers:
        if weight[user] >= _CANCELLATION * peak[user]:
            continue
        _sum_user(arrays, user, message1, weight, sum1)
        peak[user] = weight[user]


@njit(cache=True, nogil=True)
def _push(arrays, numbers, moved, sum2, touched):  # type: ignore[no-untyped-def]
    """Send the change of each user's message to the user's items."""
    for position in range(len(numbers)):
        row = moved[position]
        start = arrays.user_start[numbers[position]]
        for edge in range(start, start + arrays.user_length[numbers[position]]):
            w = arrays.user_weights[edge]
            if w > 0:
                item = arrays.user_neighbours[edge]
                touched[item] = True
                for k in range(row.size):
                    sum2[item, k] += w * row[k]


@njit(cache=True, nogil=True)
def _weight(arrays, user, item):  # type: ignore[no-untyped-def]
    """Stored weight of an edge that is known to be there."""
    edge = arrays.user_start[user]
    while arrays.user_neighbours[edge] != item:
        edge += 1
    return arrays.user_weights[edge]


@njit(cache=True, nogil=True)
def _resum_items(arrays, numbers, message2, weight, peak, sum2):  # type: ignore[no-untyped-def]
    """Form s2_i anew where cancellation has eaten its bits; the weights are found in the users' rows."""
    for item in numbers:
        if weight[item] >= _CANCELLATION * peak[item]:
            continue
        weight[item] = 0.0
        sum2[item] = 0.0
        start = arrays.item_start[item]
        for edge in range(start, start + arrays.item_length[item]):
            user = arrays.item_neighbours[edge]
            w = _weight(arrays, user, item)
            if w > 0:
                weight[item] += w
                row = message2[user]
                for k in range(row.size):
                    sum2[item, k] += w * row[k]
        peak[item] = weight[item]
