"""What the ranking head sees of a user and a candidate.

All are computed from the state as it is when the question is asked, and when the head is trained that state has not yet
absorbed the events it learns to predict. Counts and times come as logarithms, so that a few heavy users or old items
do not own the scale.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

from graphrec.retrieval.retriever import DAY, FILTER, POPULAR, POPULARITY_FLOOR, SAGE, TASTE
from graphrec.retrieval.taste import taste_shares

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from graphrec.retrieval.retriever import Candidates, Retriever

    Float32 = NDArray[np.float32]

NAMES = (
    "score",
    "cosine",
    "nearest",
    "nearest_three",
    "text_nearest",
    "text_nearest_three",
    "filtered",
    "filtered_share",
    "walk",
    "walk_share",
    "shared",
    "taste_walk",
    "taste_walk_share",
    "taste",
    "newest",
    "recent_popularity",
    "lasting_popularity",
    "trend",
    "item_degree",
    "item_norm",
    "item_idle_days",
    "item_age_days",
    "user_degree",
    "user_popularity",
    "user_norm",
    "user_idle_days",
    "from_graphsage",
    "from_filter",
    "from_popular",
    "from_taste",
)

_WALK_FLOOR = _NORM_FLOOR = 1e-4


def pair_features(retriever: Retriever, candidates: Candidates) -> Float32:
    """Features of each candidate, float32 (n, len(NAMES)); the order is that of NAMES."""
    numbers, user = candidates.numbers, candidates.user
    recent, lasting = retriever.recent, retriever.lasting
    recent_popularity = recent.log_scores(POPULARITY_FLOOR, numbers)
    lasting_popularity = lasting.log_scores(POPULARITY_FLOOR, numbers)
    now, degrees = recent.newest, retriever.graph.arrays.item_length
    items = retriever.speaking(user)[0]
    item_vectors = retriever.vectors(items)
    features = np.empty((len(numbers), len(NAMES)), np.float32)
    _fill(
        features,
        candidates.score,
        candidates.cosine,
        _cosines(item_vectors, retriever.vectors(numbers)),
        _cosines(retriever.texts(items), retriever.texts(numbers)),
        (candidates.filtered, candidates.walk, candidates.shared, candidates.taste),
        taste_shares(item_vectors),
        recent_popularity,
        lasting_popularity,
        degrees[numbers],
        retriever.filter.norms(numbers),
        np.maximum(now - recent.last[numbers], 0) / DAY,
        np.maximum(now - recent.first[numbers], 0) / DAY,
        (
            np.log1p(len(retriever.seen(user))),
            np.log1p(degrees[items]).mean() if len(items) else 0.0,
            np.log(candidates.norm + _NORM_FLOOR),
            np.log1p(retriever.idle(user) / DAY),
        ),
        candidates.sources,
        (SAGE, FILTER, POPULAR, TASTE),  # here: a constant of another module would stay in the kernel's cache
    )
    return features


@njit(cache=True, nogil=True)
def _fill(  # type: ignore[no-untyped-def]
    features,
    score,
    cosine,
    cosines,
    text_cosines,
    walks,
    taste_shares,
    recent,
    lasting,
    degrees,
    norms,
    idle,
    age,
    of_user,
    sources,
    bits,
):
    """One row after the other, in the order of NAMES."""
    filtered, walk, shared, taste = walks
    best_filtered, best_walk, best_taste = _best(filtered), _best(walk), _best(taste)
    nearest, nearest_text = _nearest(cosines), _nearest(text_cosines)
    for row in range(len(features)):
        one = features[row]
        one[0], one[1] = score[row], 10.0 * cosine[row]
        one[2], one[3] = 10.0 * nearest[0, row], 10.0 * nearest[1, row]
        one[4], one[5] = 10.0 * nearest_text[0, row], 10.0 * nearest_text[1, row]
        one[6], one[7] = _strength(filtered[row]), filtered[row] / best_filtered
        one[8], one[9] = _strength(walk[row]), walk[row] / best_walk
        one[10] = _strength(shared[row])
        one[11], one[12] = _strength(taste[row]), taste[row] / best_taste
        recent_taste = 0.0
        for place in range(min(len(taste_shares), len(cosines))):
            recent_taste += cosines[place, row] * taste_shares[place]
        one[13] = 10.0 * recent_taste
        one[14] = 10.0 * cosines[0, row] if len(cosines) else 0.0
        one[15], one[16], one[17] = recent[row], lasting[row], recent[row] - lasting[row]
        one[18] = np.log1p(degrees[row])
        one[19] = np.log(norms[row] + _NORM_FLOOR)
        one[20], one[21] = np.log1p(idle[row]), np.log1p(age[row])
        one[22], one[23], one[24], one[25] = of_user
        for place in range(len(bits)):
            one[26 + place] = (sources[row] & bits[place]) > 0


@njit(cache=True, nogil=True)
def _best(walk):  # type: ignore[no-untyped-def]
    """A user's best score, by which the others are divided; one where none is above zero."""
    best = np.float32(0)
    for value in walk:
        best = max(best, value)
    return best if best > 0 else np.float32(1)


@njit(cache=True, nogil=True)
def _strength(value):  # type: ignore[no-untyped-def]
    """The score of a walk as a logarithm."""
    return np.log(max(value, np.float32(0)) + np.float32(_WALK_FLOOR))


def _cosines(items: Float32, candidates: Float32) -> Float32:
    """Of unit rows (m, d) and (n, d), float32 (m, n); m = 0 where there are no vectors."""
    return items @ candidates.T if items.size else np.zeros((0, len(candidates)), np.float32)


@njit(cache=True, nogil=True)
def _nearest(cosines):  # type: ignore[no-untyped-def]
    """Of the cosines of the user's items and each candidate (m, n), the largest and the mean of the three largest.

    A user's vector is a mean, which hides a second taste; one item that is close does not. Zeros without items.
    """
    m, n = cosines.shape
    first, second, third = np.full((3, n), np.float32(-np.inf))
    for item in range(m):
        row = cosines[item]
        for place in range(n):
            cosine = row[place]
            third[place] = max(third[place], min(second[place], cosine))
            second[place] = max(second[place], min(first[place], cosine))
            first[place] = max(first[place], cosine)
    found = np.zeros((2, n), np.float32)
    if m:
        found[0] = first
        total = first + second + third if m > 2 else first + second if m > 1 else first
        found[1] = total / np.float32(min(m, 3))
    return found
