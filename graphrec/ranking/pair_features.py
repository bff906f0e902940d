"""What the ranking head sees of a user and a candidate.

All are computed from the state as it is when the question is asked, and when the head is trained that state has not yet
absorbed the events it learns to predict. Counts and times come as logarithms, so that a few heavy users or old items
do not own the scale.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from graphrec.retrieval.retriever import DAY, FILTER, POPULAR, POPULARITY_FLOOR, SAGE

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
    "recent_popularity",
    "lasting_popularity",
    "trend",
    "item_degree",
    "item_idle_days",
    "item_age_days",
    "user_degree",
    "user_idle_days",
    "from_graphsage",
    "from_filter",
    "from_popular",
)

_WALK_FLOOR = 1e-4
_FEW = 3


def pair_features(retriever: Retriever, candidates: Candidates) -> Float32:
    """Features of each candidate, float32 (n, len(NAMES)); the order is that of NAMES."""
    numbers = candidates.numbers
    recent, lasting = retriever.recent, retriever.lasting
    recent_popularity = recent.log_scores(POPULARITY_FLOOR, numbers)
    lasting_popularity = lasting.log_scores(POPULARITY_FLOOR, numbers)
    now = recent.newest
    degrees = retriever.graph.arrays.item_length[numbers]
    user_degree, user_idle = 0, 0.0
    if candidates.user < retriever.graph.n_users:
        items, _, times = retriever.graph.user_row(candidates.user)
        user_degree = len(items)
        user_idle = (now - int(times.max())) / DAY if user_degree else 0.0
    items = retriever.speaking(candidates.user)[0]
    nearest = [*_nearest(retriever.vectors(numbers), retriever.vectors(items))]
    nearest += _nearest(retriever.texts(numbers), retriever.texts(items))
    best_filtered = float(candidates.filtered.max(initial=0.0))
    best_walk = float(candidates.walk.max(initial=0.0))
    columns = (
        candidates.score,
        10.0 * candidates.cosine,
        *(10.0 * column for column in nearest),
        np.log(np.maximum(candidates.filtered, 0) + _WALK_FLOOR),
        candidates.filtered / best_filtered if best_filtered > 0 else candidates.filtered,
        np.log(candidates.walk + _WALK_FLOOR),
        candidates.walk / best_walk if best_walk > 0 else candidates.walk,
        recent_popularity,
        lasting_popularity,
        recent_popularity - lasting_popularity,
        np.log1p(degrees),
        np.log1p(np.maximum(now - recent.last[numbers], 0) / DAY),
        np.log1p(np.maximum(now - recent.first[numbers], 0) / DAY),
        np.full(len(numbers), np.log1p(user_degree)),
        np.full(len(numbers), np.log1p(max(user_idle, 0.0))),
        (candidates.sources & SAGE) > 0,
        (candidates.sources & FILTER) > 0,
        (candidates.sources & POPULAR) > 0,
    )
    return np.column_stack(columns).astype(np.float32)


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
