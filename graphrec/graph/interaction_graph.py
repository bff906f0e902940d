"""The user-item graph: one weighted, time-stamped edge a pair, grown in place as events arrive.

A user's row holds {item, weight, time}; an item's row holds its users only, since nothing walks weights from the item's
side. Repeats add to the weight of their edge, found by a linear scan of the user's row: no hash table, about 22 bytes
an edge.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from graphrec.errors import InputError
from graphrec.graph.block_pool import BlockPool, find
from graphrec.graph.decay import contributions, scale
from graphrec.graph.edge_updates import MICROSECONDS, GraphRows, add, checked_columns, remove, sort_rows
from graphrec.graph.graph_state import checked_state

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Self

    import numpy.typing as npt

    Int32 = npt.NDArray[np.int32]
    Int64 = npt.NDArray[np.int64]
    UInt32 = npt.NDArray[np.uint32]
    Float32 = npt.NDArray[np.float32]
    Float64 = npt.NDArray[np.float64]

_NEGLIGIBLE = 2.0**-96  # share of the newest weights below which underflow may have taken bits


class EdgeChanges(NamedTuple):
    """What a batch of m events did; `deltas` are in the units that hold after it.

    users, items int32[m]; deltas float32[m], change of the effective weight by each event in order; everything computed
    from the graph's weights before is to be multiplied by 2^-scale_shift.
    """

    users: Int32
    items: Int32
    deltas: Float32
    scale_shift: int


class GraphArrays(NamedTuple):
    """The raw arrays, for kernels elsewhere; valid until the graph changes, and never to be written.

    Row u is `start[u] : start[u] + length[u]` of the pool. Weights are sums, their effective value is max(sum, 0);
    times are whole seconds since 1970.
    """

    user_start: Int64
    user_length: Int32
    user_neighbours: Int32
    user_weights: Float32
    user_times: UInt32
    item_start: Int64
    item_length: Int32
    item_neighbours: Int32


class EdgeTable(NamedTuple):
    """Edges by user, then by item: indptr int64[n_users + 1], items int32, weights float32, times int64 us."""

    indptr: Int64
    items: Int32
    weights: Float32
    times: Int64


class CanonicalEdges(NamedTuple):
    """Edges by user, then by item, equal for equal events: users, items int32, weights float32, times int64 us."""

    users: Int32
    items: Int32
    weights: Float32
    times: Int64


class InteractionGraph:
    """Growable bipartite graph with forward decay; one writer, and readers only between its changes.

    `half_life` in microseconds, at least a second; None or infinity = weights never fade. Nodes are numbered from
    outside (`grow` before `add`). A pair whose events sum to zero or less keeps its edge: it was seen, its effective
    weight is 0. To take back a single event, add it once more with the opposite weight: its sum cancels exactly.
    """

    def __init__(self, half_life: float | None) -> None:
        self._half_life = math.inf if half_life is None else float(half_life)
        if not self._half_life >= MICROSECONDS:
            raise InputError(
                "the half-life is too short",
                expected="None or at least one second, in microseconds",
                got=str(half_life),
            )
        self._reference: int | None = None
        self._users = BlockPool([np.float32, np.uint32])
        self._items = BlockPool()
        self._rows: GraphRows | None = None

    @property
    def n_users(self) -> int:
        """Users, with edges or without."""
        return self._users.n_nodes

    @property
    def n_items(self) -> int:
        """Items, with edges or without."""
        return self._items.n_nodes

    @property
    def n_edges(self) -> int:
        """Distinct user-item pairs."""
        return int(self._users.rows.used[1])

    @property
    def half_life(self) -> float:
        """Microseconds in which a weight halves; infinity = never."""
        return self._half_life

    @property
    def reference(self) -> int | None:
        """The half-life, counted from 1970, in whose units weights are kept; None before the first event."""
        return self._reference

    @property
    def rows(self) -> GraphRows:
        """The raw rows, for kernels that apply events themselves; the same object for as long as no array moves.

        Whoever writes to them keeps both sides in step (`edge_updates`), and calls `make_room` where a pool is full.
        """
        users, items, kept = self._users.rows, self._items.rows, self._rows
        if kept is None or kept.users is not users or kept.items is not items:
            self._rows = kept = GraphRows(users, self._users.columns[0], self._users.columns[1], items)
        return kept

    @property
    def nbytes(self) -> int:
        """Bytes in use, both directions and all nodes."""
        return self._users.nbytes + self._items.nbytes

    @property
    def user_degree(self) -> Int32:
        """Items of each user, int32[n_users], a copy."""
        return self._users.rows.length[: self.n_users].copy()

    @property
    def item_degree(self) -> Int32:
        """Users of each item, int32[n_items], a copy."""
        return self._items.rows.length[: self.n_items].copy()

    @property
    def arrays(self) -> GraphArrays:
        """Views of the raw arrays."""
        users, items = self._users.rows, self._items.rows
        return GraphArrays(
            users.start[: self.n_users],
            users.length[: self.n_users],
            users.neighbours,
            self._users.columns[0],
            self._users.columns[1],
            items.start[: self.n_items],
            items.length[: self.n_items],
            items.neighbours,
        )

    def grow(self, n_users: int, n_items: int) -> None:
        """Have at least so many nodes; a graph never shrinks. Raises InputError below zero."""
        for name, number in (("n_users", n_users), ("n_items", n_items)):
            if not 0 <= number < 2**31:
                raise InputError(f"{name} is no number of nodes", expected="0 <= n < 2^31", got=str(number))
        self._users.grow(n_users)
        self._items.grow(n_items)

    def add(self, users: Int32, items: Int32, weights: Float64, timestamps: Int64) -> EdgeChanges:
        """Apply m events: int32 node numbers, float64 weights of their kinds (before decay), int64 microseconds.

        Raises InputError, and applies nothing, when a column has another type or length, a node is beyond the graph, or
        a weight or time is out of range.
        """
        users, items, weights, timestamps = checked_columns(
            users, items, weights, timestamps, self.n_users, self.n_items
        )
        if not users.size:
            return EdgeChanges(users, items, np.empty(0, np.float32), 0)
        old = self._reference
        decayed, self._reference = contributions(
            weights, timestamps, self._half_life, 0 if old is None else old, old is not None
        )
        shift = 0 if old is None else self._reference - old
        if shift:
            scale(self._users.columns[0], -shift)
        deltas = np.empty(users.size, np.float32)
        done = 0
        while True:
            done = add(self.rows, users, items, decayed, timestamps, deltas, done)
            if done == users.size:
                return EdgeChanges(users, items, deltas, shift)
            self.make_room(int(users[done]), int(items[done]))

    def make_room(self, user: int, item: int) -> None:
        """Make the pools large enough for one more edge of this pair."""
        self._users.make_room(user)
        self._items.make_room(item)

    def remove(self, user: int, item: int) -> float:
        """Delete an edge and return the effective weight it had, 0.0 if there is none."""
        self._check(user, item)
        return float(remove(self.rows, user, item))

    def user_row(self, user: int) -> tuple[Int32, Float32, Int64]:
        """Items, effective weights and last times (microseconds) of a user, copies in the order of the row."""
        self._check(user=user)
        rows = self._users.rows
        row = slice(rows.start[user], rows.start[user] + rows.length[user])
        weights, times = self._users.columns
        return rows.neighbours[row].copy(), np.maximum(weights[row], 0), times[row] * np.int64(MICROSECONDS)

    def item_row(self, item: int) -> Int32:
        """Users of an item, a copy in the order of the row."""
        self._check(item=item)
        rows = self._items.rows
        return rows.neighbours[rows.start[item] : rows.start[item] + rows.length[item]].copy()

    def weight(self, user: int, item: int) -> float:
        """Effective weight of a pair, 0.0 if it has no edge."""
        self._check(user, item)
        position = find(self._users.rows, user, item)
        return max(float(self._users.columns[0][position]), 0.0) if position >= 0 else 0.0

    def to_csr(self) -> EdgeTable:
        """All edges with effective weights, each user's by item number: the same whatever order they came in."""
        indptr, items, sums, times = self._sorted()
        return EdgeTable(indptr, items, np.maximum(sums, 0), times)

    def canonical_weights(self) -> CanonicalEdges:
        """All edges with raw sums in units of the newest edge's half-life, for a digest.

        Equal, bit for bit, for any two graphs that were fed the same events in any order and any batches, as long as
        sums are exact. What is below 2^-96 of that unit is 0.
        """
        indptr, items, sums, times = self._sorted()
        users = np.repeat(np.arange(self.n_users, dtype=np.int32), np.diff(indptr))
        if self._reference is not None and items.size:
            newest = math.floor(int(times.max()) / self._half_life)
            weights = np.ldexp(sums.astype(np.float64), self._reference - newest)
            sums = np.where(np.abs(weights) < _NEGLIGIBLE, 0, weights).astype(np.float32)
        return CanonicalEdges(users, items, sums, times)

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Everything the graph is, as arrays without gaps; `from_state` reads it back."""
        items, (weights, times) = self._users.packed()
        users, _ = self._items.packed()
        return {
            "half_life": np.array([self._half_life]),
            "reference": np.array([] if self._reference is None else [self._reference], dtype=np.int64),
            "user_length": self.user_degree,
            "user_neighbours": items,
            "user_weights": weights,
            "user_times": times,
            "item_length": self.item_degree,
            "item_neighbours": users,
        }

    @classmethod
    def from_state(cls, arrays: Mapping[str, npt.NDArray[Any]], half_life: float | None) -> Self:
        """Build the graph that `state` described; raises InputError if that is incomplete or decays otherwise."""
        graph = cls(half_life)
        state = checked_state(arrays, graph._half_life)
        graph._users.fill(state["user_length"], state["user_neighbours"], [state["user_weights"], state["user_times"]])
        graph._items.fill(state["item_length"], state["item_neighbours"], [])
        graph._reference = int(state["reference"][0]) if state["reference"].size else None
        return graph

    def _sorted(self) -> tuple[Int64, Int32, Float32, Int64]:
        indptr = np.zeros(self.n_users + 1, np.int64)
        np.cumsum(self._users.rows.length[: self.n_users], out=indptr[1:])
        items, (sums, seconds) = self._users.packed()
        sort_rows(indptr, items, sums, seconds)
        return indptr, items, sums, seconds * np.int64(MICROSECONDS)

    def _check(self, user: int | None = None, item: int | None = None) -> None:
        for name, number, size in (("user", user, self.n_users), ("item", item, self.n_items)):
            if number is not None and not 0 <= number < size:
                raise InputError(f"the graph has no such {name}", expected=f"0 <= number < {size}", got=str(number))
