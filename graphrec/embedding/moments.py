"""What an optimiser remembers of its gradients, kept so that a later update goes on where training stopped.

Adam (Kingma and Ba 2015) divides a running mean of the gradient by the root of a running mean of its square. Both take
tens of steps to mean anything, which is all the steps that an update has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from graphrec.embedding.graphsage import SageWeights

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class Moments:
    """Adam's two running means, each with the shape of the weights, and the steps they were formed in."""

    first: SageWeights
    second: SageWeights
    steps: int

    def turned(self, rotation: Float32) -> Moments:
        """For a network that has been `turned`; the second moments exactly so where gradients do not correlate."""
        return Moments(self.first.turned(rotation), self.second.turned(rotation, squares=True), self.steps)

    def arrays(self) -> dict[str, Float32]:
        """By name, for a file."""
        parts = {"first": self.first, "second": self.second}
        named = {f"{part}.{name}": array for part, weights in parts.items() for name, array in weights.arrays().items()}
        return named | {"steps": np.array([self.steps], np.float32)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Float32]) -> Moments:
        """Read what `arrays` wrote; raises GenerationError or KeyError when a part is missing."""
        first, second = (
            SageWeights.from_arrays(
                {name.removeprefix(part): array for name, array in arrays.items() if name.startswith(part)}
            )
            for part in ("first.", "second.")
        )
        return cls(first, second, int(arrays["steps"][0]))
