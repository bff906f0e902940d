"""Recent taste: what a user's newest items say, the newest most.

The r-th newest item, r = 0 the newest, weighs (1 + r)^-3/2. GraphSAGE's user vector and the walk weigh a whole history
by what was done and how long ago; the next click mostly follows from the last few. Both forms of recent taste, a mean
of item vectors and a two-hop walk from those items, are computed inside the request, so the newest event is in them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float32 = NDArray[np.float32]

NEWEST = 50  # items that count
_FADING = 1.5


def recency_weights(n: int) -> Float32:
    """Weights of n items, newest first, with sum one, float32 (min(n, NEWEST),)."""
    weights = (1.0 + np.arange(min(n, NEWEST))) ** -_FADING
    shares: Float32 = (weights / weights.sum()).astype(np.float32)
    return shares


def taste_shares(vectors: Float32) -> Float32:
    """What each of a user's item vectors (n, d), newest first, has of the vector of recent taste, float32 (m,).

    That is their mean by recency, brought to length one; zeros where it has no length.
    """
    weights = recency_weights(len(vectors))
    length = np.linalg.norm(weights @ vectors[:NEWEST])
    shares: Float32 = weights / length if length > 0 else np.zeros_like(weights)
    return shares
