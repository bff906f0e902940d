"""The scrubber: forms the sums of some nodes anew, compares them with the running ones, and repairs what is damaged.

Running sums follow the log by differences; nothing else would ever notice a bit that flipped in them. A pass over all
nodes, a few in each call, bounds for how long that stays unnoticed, and measures how far rounding has drifted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numba import njit

from graphrec.embedding.running_sums import FADED, form_anew
from graphrec.graph.block_pool import find

if TYPE_CHECKING:
    from graphrec.embedding.propagation import Int32, Propagation
    from graphrec.graph.interaction_graph import InteractionGraph

# Relative drift at which a node is formed anew, whatever the cause. Rounding reached 3.4e-6 on Gowalla after 140,000
# events, then 30,000 returns and repeats of them.
TOLERANCE = 1e-5


class Scrubbed(NamedTuple):
    """What one call has found.

    users, items: how many were formed anew. drift: the largest difference between what was kept and what was formed,
    relative to the sizes of the terms; infinite for what is no number. repaired_users, repaired_items: those beyond the
    tolerance, int32. touched: items whose vector may have moved by the repair, int32.
    """

    users: int
    items: int
    drift: float
    repaired_users: Int32
    repaired_items: Int32
    touched: Int32


class Scrubber:
    """A cursor over all nodes of a propagation: users first, then items, then again.

    It sees everything that follows from the graph and the first products of an item's features (A1 x_i, h1_i): these it
    takes as true, `Propagation.change_items` writes them. Users that wait for a drain after such a change are passed
    over. The one writer calls it, between batches.
    """

    def __init__(self, propagation: Propagation, tolerance: float = TOLERANCE) -> None:
        self.propagation = propagation
        self.tolerance = tolerance
        self.passes = 0  # over all nodes, finished
        self._user = 0
        self._item = 0

    def step(self, graph: InteractionGraph, visits: int = 100_000) -> Scrubbed:
        """Check the next nodes, at least one and about so many edges, and repair those that differ.

        A repair costs the rows of the damaged users, and of all items in them.
        """
        propagation, tolerance = self.propagation, self.tolerance
        propagation.grow_users(graph.n_users)
        visits = max(visits, 1)
        sums = propagation.sums(graph)
        user, visits, user_drift, users = _check_users(sums, self._user, graph.n_users, visits, tolerance)
        item, visits, item_drift, items = _check_items(sums, self._item, graph.n_items, visits, tolerance)
        found = Scrubbed(
            users=user - self._user,
            items=item - self._item,
            drift=max(user_drift, item_drift),
            repaired_users=users,
            repaired_items=items,
            touched=form_anew(sums, users, items, float(propagation.epsilon)),
        )
        self._user, self._item = user, item
        if item == graph.n_items and user == graph.n_users:
            self._user = self._item = 0
            self.passes += 1
        return found


@njit(cache=True, nogil=True)
def _last(length, first, n_nodes, visits):  # type: ignore[no-untyped-def]
    """Where a walk over so many edges ends, a node counting as one more; and how many are left."""
    while first < n_nodes and visits > 0:
        visits -= 1 + length[first]
        first += 1
    return first, visits


@njit(cache=True, nogil=True)
def _check_users(sums, first, n_users, visits, tolerance):  # type: ignore[no-untyped-def]
    """Compare c_u, s1_u, h1_u and what was sent with those formed anew in float64."""
    rows, message1, sum1, hidden, sent = sums.rows, sums.message1, sums.sum1, sums.hidden, sums.sent
    weight, residual, bias1, neighbour2 = sums.user_weight, sums.residual, sums.bias1, sums.neighbour2
    formed, size = np.empty(bias1.size), np.empty(bias1.size)
    message, message_size = np.empty(sent.shape[1]), np.empty(sent.shape[1])
    last, visits = _last(rows.users.length, first, n_users, visits)
    damaged, n_damaged, worst = np.empty(last - first, np.int32), 0, 0.0
    for user in range(first, last):
        if np.isinf(residual[user]):
            continue
        total = 0.0
        formed[:] = 0
        size[:] = 0
        start = rows.users.start[user]
        for edge in range(start, start + rows.users.length[user]):
            if rows.weights[edge] > 0:
                total += rows.weights[edge]
                _add(formed, size, rows.weights[edge], message1[rows.users.neighbours[edge]])
        drift = max(_apart(weight[user] - total, total), _largest(formed, size, sum1[user]))
        inverse = 1.0 / total if total > FADED else 0.0
        message[:] = 0
        message_size[:] = 0
        for k in range(bias1.size):
            value = max(formed[k] * inverse + bias1[k], 0.0)
            drift = max(drift, _apart(value - hidden[user, k], size[k] * inverse + abs(bias1[k])))
            _add(message, message_size, value, neighbour2[k])
        held_back = np.sqrt(np.sum((message - sent[user]) ** 2))
        drift = max(drift, _apart(held_back - residual[user], np.sqrt(np.sum(message_size**2))))
        worst = max(worst, drift)
        if drift > tolerance:
            damaged[n_damaged] = user
            n_damaged += 1
    return last, visits, worst, damaged[:n_damaged]


@njit(cache=True, nogil=True)
def _check_items(sums, first, n_items, visits, tolerance):  # type: ignore[no-untyped-def]
    """Compare c_i, s2_i and h2_i with those formed anew in float64."""
    rows, sent, sum2, vector, weight, root2 = (
        sums.rows, sums.sent, sums.sum2, sums.vector, sums.item_weight, sums.root2
    )  # fmt: skip
    formed, size = np.empty(sent.shape[1]), np.empty(sent.shape[1])
    last, visits = _last(rows.items.length, first, n_items, visits)
    damaged, n_damaged, worst = np.empty(last - first, np.int32), 0, 0.0
    for item in range(first, last):
        total = 0.0
        formed[:] = 0
        size[:] = 0
        start = rows.items.start[item]
        for edge in range(start, start + rows.items.length[item]):
            user = rows.items.neighbours[edge]
            w = rows.weights[find(rows.users, user, item)]
            if w > 0:
                total += w
                _add(formed, size, w, sent[user])
        drift = max(_apart(weight[item] - total, total), _largest(formed, size, sum2[item]))
        inverse = 1.0 / total if total > FADED else 0.0
        for k in range(formed.size):
            difference = formed[k] * inverse + root2[item, k] - vector[item, k]
            drift = max(drift, _apart(difference, size[k] * inverse + abs(root2[item, k])))
        worst = max(worst, drift)
        if drift > tolerance:
            damaged[n_damaged] = item
            n_damaged += 1
    return last, visits, worst, damaged[:n_damaged]


@njit(cache=True, nogil=True)
def _add(formed, size, weight, vector):  # type: ignore[no-untyped-def]
    for k in range(formed.size):
        formed[k] += weight * vector[k]
        size[k] += abs(weight * vector[k])


@njit(cache=True, nogil=True)
def _largest(formed, size, kept):  # type: ignore[no-untyped-def]
    """Largest relative difference of any component; all of them share the scale of the largest."""
    largest, scale = 0.0, np.max(size)
    for k in range(formed.size):
        largest = max(largest, _apart(formed[k] - kept[k], scale))
    return largest


@njit(cache=True, nogil=True)
def _apart(difference, scale):  # type: ignore[no-untyped-def]
    """`|difference| / scale`; 0 of nothing, infinite where there should be nothing or where a NaN is."""
    if difference == 0:
        return 0.0
    relative = abs(difference) / scale if scale > 0 else np.inf
    return relative if relative >= 0 else np.inf
