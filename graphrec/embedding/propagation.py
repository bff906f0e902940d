"""Exact incremental GraphSAGE: an event costs O(deg(u) d), however popular its item is.

State per node are the running weighted sums, already multiplied by the next layer's neighbour weights:

    s1_u = sum_{j in N(u)} w_uj A1 x_j          c_u = sum_j w_uj          h1_u = relu(s1_u / c_u + a1)
    m_u  = B2n h1_u                             c_i = sum_u w_ui          s2_i = sum_{u in N(i)} w_ui p_u
    h2_i = s2_i / c_i + B2s h1_i + b2

where p_u is the message that u's items have: m_u itself, unless u may hold something back (below). An event (u, i)
changes only u's message, so only u's own items move: each gets `w_uj (m_u - p_u)`, one d-float addition, and p_u
becomes m_u. No item's fan-out to its users is ever walked, because a user's second layer is computed when it is asked
for, from its own items (`user_vector`). After every batch the item vectors equal a full recomputation up to float32
rounding.

Rounding does not add up: where taking weight away leaves a sum that is small beside what it was, the sum is formed
anew from the rows (`CANCELLATION`), and a node without weight has sums of exactly zero. A node whose whole weight has
faded below 2^-100 of the graph's unit has the mean of no neighbours (`FADED`).

With `epsilon` > 0, users send only a message that is off by more: |m_u - p_u| <= epsilon for all u after every batch,
since a batch changes the m_u of its own users only, each is tested, and who sends, sends all. With w >= 0 and
sum_u w_ui = c_i, an item's error is a mean of such differences, whatever the number of events:

    |h2_i(exact) - h2_i| = |sum_u w_ui (m_u - p_u)| / c_i <= sum_u w_ui |m_u - p_u| / c_i <= epsilon

B2n is no factor of it, being part of m_u. `user_vector` reads no message, so users stay exact. `drain` makes items so.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import numpy as np

from graphrec.embedding.running_sums import FADED, Sums, send, sum_items, sum_users, take_in, take_out
from graphrec.graph.edge_updates import checked_columns, plain_columns

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from graphrec.embedding.graphsage import SageWeights
    from graphrec.graph.interaction_graph import InteractionGraph

    Float32 = NDArray[np.float32]
    Float64 = NDArray[np.float64]
    Int32 = NDArray[np.int32]
    Int64 = NDArray[np.int64]

_SLICE = 4096  # users that send in one call, whose messages stay in the cache


class Propagation:
    """Item vectors kept exact on a growing graph; user vectors computed when asked.

    epsilon: length of the difference that a user may keep from its items, 0 = none: exact. Lowering it sends nothing by
    itself (`drain`). One writer. `item_vectors` is a view that the next batch writes into: a reader copies what it
    keeps.
    """

    def __init__(self, weights: SageWeights) -> None:
        self.weights = weights
        self.epsilon = 0.0
        hidden, output = weights.hidden_dimensions, weights.dimensions
        self._users = _Columns(
            user_weight=np.float64,
            user_peak=np.float64,
            sum1=hidden,
            hidden=hidden,
            sent=output,
            residual=np.float32,
            user_waits=np.bool_,
            senders=np.int32,
        )
        self._items = _Columns(
            item_weight=np.float64,
            item_peak=np.float64,
            message1=hidden,
            hidden1=hidden,
            root2=output,
            sum2=output,
            vector=output,
            touched=np.int32,
            end=np.int32,
        )
        self._neighbour2 = np.ascontiguousarray(weights.item_neighbour2.T)
        self._counts = np.zeros(2, np.int64)
        self._sums: Sums | None = None
        self._bound: tuple[object, ...] = ()

    @property
    def n_items(self) -> int:
        """Items with features."""
        return self._items.size

    @property
    def item_vectors(self) -> Float32:
        """Second-layer item vectors h2, float32 (n_items, d), a view."""
        return self._items["vector"]

    @property
    def largest_residual(self) -> float:
        """What any user keeps from its items at most, a length; infinite while changed features wait for `drain`."""
        return float(self._users["residual"].max(initial=0))

    @property
    def message_length(self) -> float:
        """Median length of the users' messages, from at most some thousand of them: the unit to choose epsilon in."""
        sent = self._users["sent"]
        return float(np.median(np.linalg.norm(sent[:: max(1, len(sent) // _SLICE)], axis=1))) if len(sent) else 0.0

    def grow_users(self, n_users: int) -> None:
        """Have rows for so many users; one that did nothing has zero sums."""
        if n_users > self._users.size:
            first = self._users.grow(n_users)
            hidden = np.maximum(self.weights.user_bias1, 0)
            self._users["hidden"][first:] = hidden
            self._users["sent"][first:] = hidden @ self._neighbour2

    def add_items(self, features: Float32) -> None:
        """Append items by their features, float32 (n, d_in)."""
        first = self._items.grow(self._items.size + len(features))
        self._items["end"][first:] = -1
        self._set_features(np.arange(first, self._items.size, dtype=np.int32), features)

    def change_items(self, graph: InteractionGraph, numbers: Int32, features: Float32) -> Int32:
        """Set the features of items, float32 (n, d_in); returns the items whose vector may have moved: these.

        Their users' sums are formed anew when next touched, or by `drain`, in slices if wanted; until then the users'
        other items know them by the old features.
        """
        self.grow_users(graph.n_users)
        self._set_features(numbers, features)
        for number in numbers.tolist():
            self._users["residual"][graph.item_row(number)] = np.inf
        return numbers

    def recompute(self, graph: InteractionGraph) -> None:
        """Form every sum anew from the graph: the slow path that `follow` equals."""
        self.grow_users(graph.n_users)
        users, items, sums = self._users, self._items, self.sums(graph)
        sum_users(sums, users.size)
        mean = _mean(users["sum1"], users["user_weight"])
        np.maximum(mean + self.weights.user_bias1, 0, out=users["hidden"])
        np.matmul(users["hidden"], self._neighbour2, out=users["sent"])
        users["residual"][:] = 0
        sum_items(sums, users.size, items.size)
        self._refresh_items(np.arange(items.size, dtype=np.int32))

    def follow(self, graph: InteractionGraph, users: Int32, items: Int32, weights: Float64, timestamps: Int64) -> Int32:
        """Take events into the graph and follow them; returns the items whose vector may have moved, in no order.

        Arguments and errors are those of `InteractionGraph.add`. Every item of the graph must have been added before:
        the kernels do not look.
        """
        self.grow_users(graph.n_users)
        users, items, weights, timestamps = plain_columns(users, items, weights, timestamps)
        done = 0
        while graph.reference is not None:
            done, touched = take_in(
                self.sums(graph), users, items, weights, timestamps, done, graph.half_life, graph.reference,
                graph.n_users, graph.n_items, float(self.epsilon),
            )  # fmt: skip
            if done == users.size:
                return touched  # type: ignore[no-any-return]
            if done < 0:
                break
            graph.make_room(int(users[done]), int(items[done]))
        # The first events of all; a field out of range, which `add` explains; or, once in 40 half-lives, other units of
        # weight: what has faded away must leave the vectors, too.
        graph.add(users, items, weights, timestamps)
        self.recompute(graph)
        return np.arange(self._items.size, dtype=np.int32)

    def drain(self, graph: InteractionGraph, visits: int | None = None) -> Int32:
        """Have users send what they hold back, the largest residuals first; returns the items that may have moved.

        visits: edges to walk at most, or one user's if that has more; None = all, after which everything is exact.
        """
        residual = self._users["residual"]
        waiting = np.flatnonzero(residual).astype(np.int32)
        if visits is not None:
            waiting = waiting[np.argsort(-residual[waiting], kind="stable")]
            walked = np.cumsum(graph.arrays.user_length[waiting], dtype=np.int64)
            waiting = waiting[: max(1, int(np.searchsorted(walked, visits, side="right")))]
        sums = self.sums(graph)
        touched = [send(sums, waiting[start : start + _SLICE], 0.0) for start in range(0, len(waiting), _SLICE)]
        return np.unique(np.concatenate(touched)) if touched else np.zeros(0, np.int32)

    def remove(self, graph: InteractionGraph, users: Int32, items: Int32) -> Int32:
        """Take edges from the graph, each a user and an item, int32 (n,); returns the items that may have moved.

        A pair without an edge is passed over. Raises InputError, and removes nothing, for a node beyond the graph.
        """
        self.grow_users(graph.n_users)
        size = np.size(users)
        users, items, *_ = checked_columns(
            users, items, np.zeros(size), np.zeros(size, np.int64), graph.n_users, graph.n_items
        )
        return take_out(self.sums(graph), users, items, float(self.epsilon))  # type: ignore[no-any-return]

    def remove_user(self, graph: InteractionGraph, user: int) -> Int32:
        """Take all edges of a user from the graph; returns the items that may have moved."""
        items = _found_at_once(graph.user_row(user)[0])
        return self.remove(graph, np.full(len(items), user, np.int32), items)

    def remove_item(self, graph: InteractionGraph, item: int) -> Int32:
        """Take all edges of an item from the graph; returns the items that may have moved."""
        users = _found_at_once(graph.item_row(item))
        return self.remove(graph, users, np.full(len(users), item, np.int32))

    def user_vector(self, graph: InteractionGraph, user: int) -> Float32:
        """Second-layer vector h2 of one user, float32 (d,), from its own items; zeros beyond the known users."""
        if user >= self._users.size:
            return np.zeros(self.weights.dimensions, np.float32)
        numbers, edge_weights, _ = graph.user_row(user)
        stale = np.isinf(self._users["residual"][user])
        return self.vector_of(numbers, edge_weights, None if stale else self._users["hidden"][user])

    def vector_of(self, numbers: Int32, edge_weights: Float32, hidden: Float32 | None = None) -> Float32:
        """Second-layer vector of a user with these items, float32 (d,); `hidden` = the first layer, if known."""
        weights = self.weights
        total = edge_weights.sum(dtype=np.float64)
        shares = edge_weights / np.float32(total) if total > FADED else np.zeros_like(edge_weights)
        if hidden is None:
            hidden = np.maximum(shares @ self._items["message1"][numbers] + weights.user_bias1, 0)
        mean = shares @ self._items["hidden1"][numbers]
        vector: Float32 = weights.user_neighbour2 @ mean + weights.user_root2 @ hidden + weights.user_bias2
        return vector

    def sums(self, graph: InteractionGraph) -> Sums:
        """All arrays, as kernels take them; asked for anew before each call, since arrays move as they grow."""
        rows, users, items = bound = graph.rows, self._users.arrays, self._items.arrays
        if self._sums is None or not all(map(operator.is_, bound, self._bound)):
            self._bound = bound
            self._sums = Sums(
                rows=rows,
                **users,
                **items,
                bias1=self.weights.user_bias1,
                neighbour2=self._neighbour2,
                counts=self._counts,
            )
        return self._sums

    def _set_features(self, numbers: Int32, features: Float32) -> None:
        weights = self.weights
        hidden = np.maximum(features @ weights.item_root1.T + weights.item_bias1, 0)
        self._items["message1"][numbers] = features @ weights.user_neighbour1.T
        self._items["hidden1"][numbers] = hidden
        self._items["root2"][numbers] = hidden @ weights.item_root2.T + weights.item_bias2
        self._refresh_items(numbers)

    def _refresh_items(self, numbers: Int32) -> None:
        mean = _mean(self._items["sum2"][numbers], self._items["item_weight"][numbers])
        self._items["vector"][numbers] = mean + self._items["root2"][numbers]


class _Columns:
    """Equally long arrays, one row a node, that grow by half: float32 rows of a width, or scalars of a type."""

    def __init__(self, **kinds: int | type[np.generic]) -> None:
        self.size = 0
        self.arrays: dict[str, NDArray[Any]] = {
            name: np.zeros((0, kind), np.float32) if isinstance(kind, int) else np.zeros(0, kind)
            for name, kind in kinds.items()
        }

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self.arrays[name][: self.size]

    def grow(self, size: int) -> int:
        """Have at least `size` rows, new ones zero; returns the old size. Where arrays move, `arrays` is a new dict."""
        old, rows = self.size, max(size, self.size * 3 // 2)
        if any(size > len(array) for array in self.arrays.values()):
            larger = {name: np.zeros((rows, *array.shape[1:]), array.dtype) for name, array in self.arrays.items()}
            for name, array in self.arrays.items():
                larger[name][:old] = array[:old]
            self.arrays = larger
        self.size = max(old, size)
        return old


def _found_at_once(row: Int32) -> Int32:
    """A row's neighbours in an order in which each is the first of what is left: the last one moves to a gap."""
    return np.concatenate([row[:1], row[:0:-1]])


def _mean(sums: Float32, weights: Float64) -> Float32:
    """`sums / weights` row by row, zero where there is no weight."""
    inverse = np.divide(1.0, weights, out=np.zeros_like(weights), where=weights > FADED)
    mean: Float32 = sums * inverse[:, None].astype(np.float32)
    return mean
