"""Everything learned that turns an item's text and coordinates, and the graph, into a retrieval score.

    score(u, i) = scale cos(h2_u, h2_i) + popularity_weight log(recent popularity of i)

Popularity is an explicit dimension of the inner product, not left to the norms of vectors: on real logs no other single
choice is worth as much.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from graphrec.embedding.graphsage import SageWeights
from graphrec.embedding.node_features import FeatureMap

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray


@dataclass(frozen=True)
class EmbeddingModel:
    """Feature map, GraphSAGE weights, and the two scalars of the score that they were trained for."""

    features: FeatureMap
    sage: SageWeights
    scale: float  # inverse temperature of the cosine
    popularity_weight: float

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """By name, for a file."""
        return {
            **{f"features.{name}": array for name, array in self.features.arrays().items()},
            **{f"sage.{name}": array for name, array in self.sage.arrays().items()},
            "score": np.array([self.scale, self.popularity_weight], np.float32),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.float32]]) -> EmbeddingModel:
        """Read what `arrays` wrote."""

        def part(prefix: str) -> dict[str, NDArray[np.float32]]:
            return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}

        scale, popularity_weight = (float(value) for value in arrays["score"])
        return cls(
            FeatureMap.from_arrays(part("features.")), SageWeights.from_arrays(part("sage.")), scale, popularity_weight
        )
