"""The two-hop walk: items of the users who share items with a user, on the live graph.

With R the interaction matrix and r_u the user's own weights, normalised to one,

    score(u, .) = Di^-d  R' Du^-2p  R Di^-a  r_u

is the sparse half of `graphrec.retrieval.graph_filter`. It needs no state beyond the graph: the newest event counts in
the next answer. Milder exponents for users and targets keep more popularity.

R holds 1 for an edge. On the way back, from users to targets, what was taken back or has faded away does not count;
on the way out it does, since an item's row knows no weights.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numba import njit

from graphrec.embedding.running_sums import FADED
from graphrec.embedding.spectral import USER_EXPONENT
from graphrec.graph.prefetch import prefetch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from graphrec.graph.interaction_graph import GraphArrays

    Float32 = NDArray[np.float32]
    Float64 = NDArray[np.float64]
    Int32 = NDArray[np.int32]

_AHEAD = 8  # rows between the one that is asked for and the one that is read
_LINE = 16  # numbers in a cache line
_ROW = 64  # numbers of a row that are asked for
_SEED, _TARGET = 1, 2
_TABLE = 4096  # degrees whose powers are looked up: a power costs as much as a dozen edges


def walk_scores(
    arrays: GraphArrays,
    user: int,
    seeds: Int32,
    weights: Float32,
    seed_exponent: float,
    target_exponent: float,
    newest: Float32 | None = None,
) -> Float32:
    """Walk from a user's items (numbers and weights) to all items, float32 (n_items, 4); exponents a and d.

    The first column is of the filter's p, the second of p = 1/2: there a witness's weight is shared out among its
    items, and one with few items says more. The user's own row is no witness for itself and is left out.

    newest: other weights of the first seeds, float32 (m,). They give the third column, of p again: both walks pass the
    same witnesses, and what they read of them is most of the work. The fourth is zero: all sums of an item lie on one
    line of the cache.
    """
    other = np.zeros(len(seeds), np.float32)
    if newest is not None:
        other[: len(newest)] = newest
    # As arguments: a constant of another module would stay in a kernel's cache when it changes.
    users, targets = -2 * USER_EXPONENT, -target_exponent
    scores: Float32 = _walk(
        arrays, user, seeds, weights, other, users, _powers(users), -seed_exponent, targets, _powers(targets)
    )
    return scores


def witnesses(arrays: GraphArrays, user: int, seeds: Int32, targets: Int32) -> Int32:
    """How many other users have both a target and a seed, neither taken back or faded, int32 (targets, seeds)."""
    counts: Int32 = _witnesses(arrays, user, seeds, targets)
    return counts


@lru_cache(maxsize=64)
def _powers(exponent: float) -> Float64:
    """Powers of 0, 1, 2, … as the walk forms them."""
    powers: Float64 = _form_powers(exponent, _TABLE)
    return powers


@njit(cache=True, nogil=True)
def _form_powers(exponent, n):  # type: ignore[no-untyped-def]
    powers = np.zeros(n)
    for length in range(1, n):
        powers[length] = np.int32(length) ** exponent
    return powers


@njit(cache=True, nogil=True)
def _walk(  # type: ignore[no-untyped-def]
    arrays,
    user,
    seeds,
    weights,
    other_weights,
    user_exponent,
    user_powers,
    seed_exponent,
    target_exponent,
    target_powers,
):
    # Unsigned positions, here and below: a signed one is looked at for whether it counts from the end.
    faded = np.float32(FADED)
    reached = np.zeros((len(arrays.user_length), 2), np.float32)
    for position in range(len(seeds)):
        item = seeds[position]
        length = arrays.item_length[item]
        held = length**seed_exponent
        mass, other_mass = np.float32(weights[position] * held), np.float32(other_weights[position] * held)
        start = arrays.item_start[item]
        for edge in range(np.uint64(start), np.uint64(start + length)):
            neighbour = np.uint32(arrays.item_neighbours[edge])
            reached[neighbour, 0] += mass
            reached[neighbour, 1] += other_mass
    reached[user] = 0
    met, n_met = np.empty(len(reached), np.int32), 0
    for other in range(len(reached)):
        met[n_met] = other
        n_met += reached[other, 0] > 0 or reached[other, 1] > 0
    scores = np.zeros((len(arrays.item_length), 4), np.float32)
    for turn in range(n_met):
        if turn + _AHEAD < n_met:
            _ask_for(arrays, met[turn + _AHEAD])
        other = met[turn]
        length = arrays.user_length[other]
        held = user_powers[length] if length < user_powers.size else length**user_exponent
        mass, other_mass = np.float32(reached[other, 0] * held), np.float32(reached[other, 1] * held)
        share = np.float32(reached[other, 0] / length)
        start = arrays.user_start[other]
        for edge in range(np.uint64(start), np.uint64(start + length)):
            if arrays.user_weights[edge] > faded:
                item = np.uint32(arrays.user_neighbours[edge])
                scores[item, 0] += mass
                scores[item, 1] += share
                scores[item, 2] += other_mass
    for item in range(len(scores)):
        if scores[item, 0] > 0 or scores[item, 2] > 0:
            length = arrays.item_length[item]
            held = np.float32(target_powers[length] if length < target_powers.size else length**target_exponent)
            for column in range(3):
                scores[item, column] *= held
    return scores


@njit(cache=True, nogil=True)
def _ask_for(arrays, user):  # type: ignore[no-untyped-def]
    """Have the beginning of a user's row brought into the cache; the processor itself expects the rest."""
    start = arrays.user_start[user]
    for position in range(start, start + min(arrays.user_length[user], _ROW), _LINE):
        prefetch(arrays.user_neighbours, position)
        prefetch(arrays.user_weights, position)


@njit(cache=True, nogil=True)
def _witnesses(arrays, user, seeds, targets):  # type: ignore[no-untyped-def]
    faded = np.float32(FADED)
    # One byte an item says whether to look closer, and most need not: that table stays in the nearest cache.
    named = np.zeros(len(arrays.item_length), np.uint8)
    seed_place = np.empty(len(arrays.item_length), np.int32)
    target_place = np.empty(len(arrays.item_length), np.int32)
    for place in range(len(seeds)):
        named[seeds[place]] |= _SEED
        seed_place[seeds[place]] = place
    for place in range(len(targets)):
        named[targets[place]] |= _TARGET
        target_place[targets[place]] = place
    counts = np.zeros((len(targets), len(seeds)), np.int32)
    met = np.zeros(len(arrays.user_length), np.bool_)
    met[user] = True
    of_targets, of_seeds = np.empty(len(targets), np.int32), np.empty(len(seeds), np.int32)
    for target in targets:
        start = arrays.item_start[target]
        end = start + arrays.item_length[target]
        for edge in range(start, end):
            if edge + _AHEAD < end and not met[arrays.item_neighbours[edge + _AHEAD]]:
                _ask_for(arrays, arrays.item_neighbours[edge + _AHEAD])
            other = arrays.item_neighbours[edge]
            if met[other]:
                continue
            met[other] = True  # each row is read once, whatever the number of targets in it
            n_targets = n_seeds = 0
            row = arrays.user_start[other]
            for position in range(np.uint64(row), np.uint64(row + arrays.user_length[other])):
                item = np.uint32(arrays.user_neighbours[position])
                if named[item] and arrays.user_weights[position] > faded:
                    if named[item] & _TARGET:
                        of_targets[n_targets] = target_place[item]
                        n_targets += 1
                    if named[item] & _SEED:
                        of_seeds[n_seeds] = seed_place[item]
                        n_seeds += 1
            for one in of_targets[:n_targets]:
                for another in of_seeds[:n_seeds]:
                    counts[one, another] += 1
    return counts
