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
from graphrec.retrieval.taste import NEWEST, taste_shares

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
_FEW = 3


def pair_features(retriever: Retriever, candidates: Candidates) -> Float32:
    """Features of each candidate, float32 (n, len(NAMES)); the order is that of NAMES."""
    numbers, user = candidates.numbers, candidates.user
    recent, lasting = retriever.recent, retriever.lasting
    recent_popularity = recent.log_scores(POPULARITY_FLOOR, numbers)
    lasting_popularity = lasting.log_scores(POPULARITY_FLOOR, numbers)
    now, degrees = recent.newest, retriever.graph.arrays.item_length
    items = retriever.speaking(user)[0]
    item_vectors = retriever.vectors(items)
    cosines = _cosines(retriever.vectors(numbers), item_vectors)
    columns = (
        candidates.score,
        10.0 * candidates.cosine,
        *(10.0 * nearest(cosines)),
        *(10.0 * nearest(_cosines(retriever.texts(numbers), retriever.texts(items)))),
        *_strength(candidates.filtered),
        *_strength(candidates.walk),
        _strength(candidates.shared)[0],
        *_strength(candidates.taste),
        10.0 * (cosines[:, :NEWEST] @ taste_shares(item_vectors)) if cosines.size else 0.0,
        10.0 * cosines[:, 0] if cosines.size else 0.0,
        recent_popularity,
        lasting_popularity,
        recent_popularity - lasting_popularity,
        np.log1p(degrees[numbers]),
        np.log(retriever.filter.norms(numbers) + _NORM_FLOOR),
        np.log1p(np.maximum(now - recent.last[numbers], 0) / DAY),
        np.log1p(np.maximum(now - recent.first[numbers], 0) / DAY),
        np.log1p(len(retriever.seen(user))),
        np.log1p(degrees[items]).mean() if len(items) else 0.0,
        np.log(candidates.norm + _NORM_FLOOR),
        np.log1p(retriever.idle(user) / DAY),
        *((candidates.sources & source) > 0 for source in (SAGE, FILTER, POPULAR, TASTE)),
    )
    features = np.empty((len(numbers), len(NAMES)), np.float32)
    for place, column in enumerate(columns):
        features[:, place] = column
    return features


def _strength(walk: Float32) -> tuple[Float32, Float32]:
    """Scores of a walk as logarithms, and as shares of the user's best."""
    best = walk.max(initial=np.float32(0))
    return np.log(np.maximum(walk, 0) + np.float32(_WALK_FLOOR)), walk / best if best > 0 else walk


def _cosines(candidates: Float32, items: Float32) -> Float32:
    """Of unit rows (n, d) and (m, d), float32 (n, m); m = 0 where there are no vectors."""
    return candidates @ items.T if items.size else np.zeros((len(candidates), 0), np.float32)


@njit(cache=True, nogil=True)
def nearest(cosines):  # type: ignore[no-untyped-def]
    """Cosine of each candidate (n, m) to the nearest of the user's items, and to the nearest three, float32 (2, n).

    A user's vector is a mean, which hides a second taste; one item that is close does not. Zeros without items.
    """
    n, m = cosines.shape
    found = np.zeros((2, n), np.float32)
    few = min(m, _FEW)
    for row in range(n):
        first = second = third = np.float32(-np.inf)
        for column in range(m):
            cosine = cosines[row, column]
            if cosine > third:
                third = cosine
                if third > second:
                    second, third = third, second
                if second > first:
                    first, second = second, first
        if few:
            total = first
            total += second if few > 1 else np.float32(0)
            total += third if few > 2 else np.float32(0)
            found[0, row], found[1, row] = first, total / np.float32(few)
    return found
