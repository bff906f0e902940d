"""The two-hop walk: items of the users who share items with a user, on the live graph.

With R the interaction matrix and r_u the user's own weights, normalised to one,

    score(u, .) = Di^-d  R' Du^-2p  R Di^-a  r_u

is the sparse half of `graphrec.retrieval.graph_filter`. It needs no state beyond the graph: the newest event counts in
the next answer. Milder exponents for users and targets keep more popularity.

R holds 1 for an edge. On the way back, from users to targets, what was taken back or has faded away does not count;
on the way out it does, since an item's row knows no weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

from graphrec.embedding.running_sums import FADED
from graphrec.embedding.spectral import USER_EXPONENT

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from graphrec.graph.interaction_graph import GraphArrays

    Float32 = NDArray[np.float32]
    Int32 = NDArray[np.int32]


def walk_scores(
    arrays: GraphArrays, user: int, seeds: Int32, weights: Float32, seed_exponent: float, target_exponent: float
) -> Float32:
    """Walk from a user's items (numbers and weights) to all items, float32 (2, n_items); exponents a and d.

    The first row is of the filter's p, the second of p = 1/2: there a witness's weight is shared out among its items,
    and one with few items says more. The user's own row is no witness for itself and is left out.
    """
    # As an argument: a constant of another module would stay in a kernel's cache when it changes.
    scores: Float32 = _walk(arrays, user, seeds, weights, USER_EXPONENT, seed_exponent, target_exponent)
    return scores


def witnesses(arrays: GraphArrays, user: int, seeds: Int32, target: int) -> Int32:
    """How many other users have both a seed and the target, neither taken back or faded, int32 (len(seeds),)."""
    counts: Int32 = _witnesses(arrays, user, seeds, target)
    return counts


@njit(cache=True, nogil=True)
def _walk(arrays, user, seeds, weights, user_exponent, seed_exponent, target_exponent):  # type: ignore[no-untyped-def]
    reached = np.zeros(len(arrays.user_length), np.float32)
    for position in range(len(seeds)):
        item = seeds[position]
        length = arrays.item_length[item]
        mass = np.float32(weights[position] * length**-seed_exponent)
        start = arrays.item_start[item]
        for edge in range(start, start + length):
            reached[arrays.item_neighbours[edge]] += mass
    reached[user] = 0
    scores = np.zeros((2, len(arrays.item_length)), np.float32)
    for other in range(len(reached)):
        if reached[other] > 0:
            length = arrays.user_length[other]
            mass = np.float32(reached[other] * length ** (-2 * user_exponent))
            share = np.float32(reached[other] / length)
            start = arrays.user_start[other]
            for edge in range(start, start + length):
                if arrays.user_weights[edge] > FADED:
                    scores[0, arrays.user_neighbours[edge]] += mass
                    scores[1, arrays.user_neighbours[edge]] += share
    for item in range(scores.shape[1]):
        if scores[0, item] > 0:
            scores[:, item] *= np.float32(arrays.item_length[item] ** -target_exponent)
    return scores


@njit(cache=True, nogil=True)
def _witnesses(arrays, user, seeds, target):  # type: ignore[no-untyped-def]
    slot = np.full(len(arrays.item_length), -1, np.int32)
    for position in range(len(seeds)):
        slot[seeds[position]] = position
    counts = np.zeros(len(seeds), np.int32)
    start = arrays.item_start[target]
    for edge in range(start, start + arrays.item_length[target]):
        other = arrays.item_neighbours[edge]
        if other == user:
            continue
        row = arrays.user_start[other]
        position = row
        while arrays.user_neighbours[position] != target:
            position += 1
        if arrays.user_weights[position] <= FADED:
            continue
        for position in range(row, row + arrays.user_length[other]):
            where = slot[arrays.user_neighbours[position]]
            if where >= 0 and arrays.user_weights[position] > FADED:
                counts[where] += 1
    return counts
