"""The k largest of many values, in order, without sorting the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def largest(values: NDArray[np.floating], k: int) -> NDArray[np.int32]:
    """Positions of the k largest values, best first; ties by position."""
    if k < len(values):
        threshold = np.partition(values, len(values) - k)[len(values) - k]
        positions = np.flatnonzero(values >= threshold)
    else:
        positions = np.arange(len(values))
    return positions[np.argsort(-values[positions], kind="stable")][:k].astype(np.int32)
