"""GraphSAGE on the bipartite graph: the weights, and what they compute.

Two mean-aggregating layers (Hamilton, Ying and Leskovec 2017, algorithm 1; PyG's `SAGEConv`), one set of weights for
each side. Users have no features of their own: a user is what it did. With `mean` the mean over neighbours weighted by
the decayed edge weights, `x_i` an item's features and relu between the layers:

    h1_u = relu(A1 mean_{j in N(u)} x_j + a1)          user, layer 1: no root term, there is nothing to transform
    h1_i = relu(B1 x_i + b1)                           item, layer 1: its users bring no features yet
    h2_u = A2n mean_{j in N(u)} h1_j + A2s h1_u + a2
    h2_i = B2n mean_{v in N(i)} h1_v + B2s h1_i + b2

The mean over no neighbours is zero, as in PyG.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import numpy as np

from graphrec.errors import GenerationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class SageWeights:
    """All parameters, float32, in the orientation of `torch.nn.Linear` (out, in).

    d_in features, h hidden, d output. The comment gives the name in this file's equations.
    """

    user_neighbour1: Float32  # A1  (h, d_in)
    user_bias1: Float32  # a1  (h,)
    item_root1: Float32  # B1  (h, d_in)
    item_bias1: Float32  # b1  (h,)
    user_neighbour2: Float32  # A2n (d, h)
    user_root2: Float32  # A2s (d, h)
    user_bias2: Float32  # a2  (d,)
    item_neighbour2: Float32  # B2n (d, h)
    item_root2: Float32  # B2s (d, h)
    item_bias2: Float32  # b2  (d,)

    @property
    def input_dimensions(self) -> int:
        """Features an item must bring."""
        return int(self.item_root1.shape[1])

    @property
    def hidden_dimensions(self) -> int:
        """Width of layer 1."""
        return int(self.item_root1.shape[0])

    @property
    def dimensions(self) -> int:
        """Width of the output."""
        return int(self.item_root2.shape[0])

    def arrays(self) -> dict[str, Float32]:
        """By name, for a file."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def turned(self, rotation: Float32, *, squares: bool = False) -> SageWeights:
        """The same network for features whose first k coordinates have turned: old = new @ rotation (k, k).

        squares: these are second moments of a gradient, whose variances mix by the squares.
        """
        k = len(rotation)
        mix = rotation.T**2 if squares else rotation.T
        first = {
            name: np.hstack([matrix[:, :k] @ mix, matrix[:, k:]])
            for name, matrix in (("user_neighbour1", self.user_neighbour1), ("item_root1", self.item_root1))
        }
        return replace(self, **first)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Float32]) -> SageWeights:
        """Read what `arrays` wrote; raises GenerationError when a parameter is missing."""
        missing = [field.name for field in fields(cls) if field.name not in arrays]
        if missing:
            raise GenerationError("the GraphSAGE weights are incomplete", got=f"no {', '.join(missing)}")
        return cls(**{field.name: np.ascontiguousarray(arrays[field.name], np.float32) for field in fields(cls)})
