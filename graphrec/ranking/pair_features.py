"""What the ranking head sees of a user and a candidate.

All are computed from the state as it is when the question is asked, and when the head is trained that state has not yet
absorbed the events it learns to predict. Counts and times come as logarithms, so that a few heavy users or old items
do not own the scale.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from graphrec.retrieval.retriever import DAY, FILTER, POPULAR, POPULARITY_FLOOR, SAGE, TASTE
from graphrec.retrieval.taste import taste_vector

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
    numbers = candidates.numbers
    recent, lasting = retriever.recent, retriever.lasting
    recent_popularity = recent.log_scores(POPULARITY_FLOOR, numbers)
    lasting_popularity = lasting.log_scores(POPULARITY_FLOOR, numbers)
    now = recent.newest
    degrees = retriever.graph.arrays.item_length[numbers]
    items = retriever.speaking(candidates.user)[0]
    vectors, item_vectors = retriever.vectors(numbers), retriever.vectors(items)
    nearest = [*_nearest(vectors, item_vectors)]
    nearest += _nearest(retriever.texts(numbers), retriever.texts(items))
    columns = (
        candidates.score,
        10.0 * candidates.cosine,
        *(10.0 * column for column in nearest),
        *_strength(candidates.filtered),
        *_strength(candidates.walk),
        _strength(candidates.shared)[0],
        *_strength(candidates.taste),
        10.0 * (vectors @ taste_vector(item_vectors)),
        10.0 * (vectors @ item_vectors[0]) if len(items) else np.zeros(len(numbers)),
        recent_popularity,
        lasting_popularity,
        recent_popularity - lasting_popularity,
        np.log1p(degrees),
        np.log(retriever.filter.norms(numbers) + _NORM_FLOOR),
        np.log1p(np.maximum(now - recent.last[numbers], 0) / DAY),
        np.log1p(np.maximum(now - recent.first[numbers], 0) / DAY),
        np.full(len(numbers), np.log1p(len(retriever.seen(candidates.user)))),
        np.full(len(numbers), np.log1p(retriever.graph.arrays.item_length[items]).mean() if len(items) else 0.0),
        np.full(len(numbers), np.log(candidates.norm + _NORM_FLOOR)),
        np.full(len(numbers), np.log1p(retriever.idle(candidates.user) / DAY)),
        (candidates.sources & SAGE) > 0,
        (candidates.sources & FILTER) > 0,
        (candidates.sources & POPULAR) > 0,
        (candidates.sources & TASTE) > 0,
    )
    return np.column_stack(columns).astype(np.float32)


def _strength(walk: Float32) -> tuple[Float32, Float32]:
    """Scores of a walk as logarithms, and as shares of the user's best."""
    best = walk.max(initial=np.float32(0))
    return np.log(np.maximum(walk, 0) + np.float32(_WALK_FLOOR)), walk / best if best > 0 else walk


def _nearest(candidates: Float32, items: Float32) -> tuple[Float32, Float32]:
    """Cosine of each candidate, unit rows (n, d), to the nearest of the user's items (m, d), and to the nearest three.

    A user's vector is a mean, which hides a second taste; one item that is close does not. Zeros without items.
    """
    if not items.size:
        return np.zeros(len(candidates), np.float32), np.zeros(len(candidates), np.float32)
    cosines = candidates @ items.T
    few = min(_FEW, len(items))
    nearest = np.partition(cosines, len(items) - few, axis=1)[:, len(items) - few :]
    return nearest.max(axis=1), nearest.mean(axis=1)
