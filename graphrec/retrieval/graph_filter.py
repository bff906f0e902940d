"""The closed-form graph filter: a two-hop walk on the live graph, corrected at its low frequencies by a spectral basis.

With A = Du^-p R Di^-q, scaled to a largest singular value of one, and A'A = V diag(f) V', a user's items r_u score

    s = Di^(q - d) [ slope (A'A - V f V') + V (h(f) + lift) V' ] Di^(q - a) r_u
    h(f) = 1/2 - sign(1 - 2 f) |1 - 2 f|^slope / 2                      the plateau of ChebyCF (Kim et al., SIGIR 2025)

so h is evaluated exactly on the k leading frequencies and replaced by its tangent's slope on the rest, where the sparse
product needs no bottleneck. The sparse half is `walk_scores` and sees every event at once; the dense half is a sum over
the user's own items, so it moves with every event too. 2p, a and d are how much active users, popular items of the user
and popular targets are held back: a walk with 1/2 for p, a and d is the linear filter of GF-CF, and milder exponents
for users and targets are worth a tenth of its recall. p and q are those of the basis.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from graphrec.embedding.spectral import ITEM_EXPONENT, known_rows
from graphrec.retrieval.row_products import row_products
from graphrec.retrieval.sources import walk_scores

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from graphrec.graph.interaction_graph import GraphArrays

    Float32 = NDArray[np.float32]
    Int32 = NDArray[np.int32]


@dataclass(frozen=True)
class FilterShape:
    """The numbers of the filter that are chosen on validation."""

    seed_exponent: float = 0.6  # a
    target_exponent: float = 0.1  # d
    slope: float = 3.0
    lift: float = 0.0


def plateau(frequencies: Float32, slope: float) -> Float32:
    """h(f) of frequencies in [0, 1], float32: zero at 0, one at 1, flat in between for a slope above one."""
    x = 1 - 2 * frequencies.astype(np.float64)
    response: Float32 = (0.5 - 0.5 * np.sign(x) * np.abs(x) ** slope).astype(np.float32)
    return response


class GraphFilter:
    """The dense half over a basis, and the sum of both.

    Args:
        items: right singular vectors V of A, float32 (n, k); items that came later have no row, and only a walk.
        values: singular values of A, float32 (k,), falling.
        shape: what was chosen.
    """

    def __init__(self, items: Float32, values: Float32, shape: FilterShape) -> None:
        self.items = items
        self.shape = shape
        self.largest = float(values[0]) if len(values) and values[0] > 0 else 1.0
        frequencies = (values / np.float32(self.largest)) ** 2
        # A padded column of the basis is zero and must stay without a say.
        self.response = (
            plateau(frequencies, shape.slope) + np.float32(shape.lift) - np.float32(shape.slope) * frequencies
        )

    def walk(self, arrays: GraphArrays, user: int, seeds: Int32, weights: Float32) -> Float32:
        """The sparse half from a user's items and their weights to all items, float32 (n_items,)."""
        walk: Float32 = self.walks(arrays, user, seeds, weights)[:, 0].copy()
        return walk

    def walks(
        self, arrays: GraphArrays, user: int, seeds: Int32, weights: Float32, newest: Float32 | None = None
    ) -> Float32:
        """The sparse half, and the same with witnesses who share their weight out, columns of float32 (n_items, 4).

        newest: weights of the first seeds alone; a third column is the sparse half from these.
        """
        shape = self.shape
        return walk_scores(arrays, user, seeds, weights, shape.seed_exponent, shape.target_exponent, newest)

    def coordinates(self, seeds: Int32, weights: Float32, degrees: Int32) -> Float32:
        """V' Di^(q - a) r_u, float32 (k,), of a user's items, their weights and their degrees."""
        held = weights * degrees.astype(np.float32) ** np.float32(ITEM_EXPONENT - self.shape.seed_exponent)
        projected: Float32 = held @ known_rows(self.items, seeds)
        return projected

    def norms(self, numbers: Int32) -> Float32:
        """Lengths of items' rows in the basis, float32 (n,): how much of an item its frequencies can tell."""
        lengths: Float32 = np.where(numbers < len(self.items), self._norms.take(numbers, mode="clip"), np.float32(0))
        return lengths

    @cached_property
    def _norms(self) -> Float32:
        """Of all rows, which never change, and a zero."""
        lengths: Float32 = np.append(np.linalg.norm(self.items, axis=1), np.float32(0))
        return lengths

    def scores(self, numbers: Int32, walk: Float32, coordinates: Float32, degrees: Int32) -> Float32:
        """Filter scores of some items, float32 (n,), from their walk scores and degrees and a user's coordinates."""
        dense: Float32 = row_products(self.items, numbers, self.response * coordinates)
        held = np.maximum(degrees, 1).astype(np.float32) ** np.float32(ITEM_EXPONENT - self.shape.target_exponent)
        scores = np.float32(self.shape.slope / self.largest**2) * walk + held * dense
        return scores.astype(np.float32, copy=False)
