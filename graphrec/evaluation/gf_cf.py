"""GF-CF: a linear filter of the graph plus an ideal low-pass one, the strongest closed form without a setting."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from graphrec.embedding.spectral import spectral_basis
from graphrec.errors import InputError
from graphrec.evaluation.baselines import LinearFilter, rows_of

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_array

    from graphrec.events.interactions import Interactions

_ITERATIONS = 16  # of the spectral basis: with few the filter is softer, and not the authors'
_DIGITS = 6  # the basis is float32: scores that differ by less differ by rounding, and tie


class GFCF(LinearFilter):
    """Graph-filter collaborative filtering (Shen et al., CIKM 2021): r_u (R̃ᵀR̃ + α D_I^-1/2 V Vᵀ D_I^1/2).

    R̃ = D_U^-1/2 R D_I^-1/2 with R binary, V its `dimensions` leading right singular vectors; α and the number of
    dimensions are those of the authors. Raises InputError for settings out of range.
    """

    name = "GF-CF"

    def __init__(self, dimensions: int = 256, low_pass_weight: float = 0.3) -> None:
        if dimensions < 1 or not low_pass_weight >= 0:
            raise InputError(
                "the low-pass filter cannot be formed",
                expected="dimensions ≥ 1, a weight ≥ 0",
                got=f"{dimensions}, {low_pass_weight}",
            )
        self.dimensions, self.low_pass_weight = dimensions, low_pass_weight

    def _learn(self, wanted: Interactions) -> None:
        from scipy.sparse import csr_matrix

        super()._learn(wanted)
        basis = spectral_basis(csr_matrix(self._smooth, dtype=np.float32), self.dimensions, iterations=_ITERATIONS)
        roots = np.sqrt(np.bincount(self._matrix.indices, minlength=wanted.n_items))
        inverse = np.divide(1.0, roots, out=np.zeros_like(roots), where=roots > 0)
        self._inward = inverse[:, None] * basis.items
        self._outward = (self.low_pass_weight * basis.items.T * roots).astype(np.float32)

    def _scores(self, users: NDArray[np.int32]) -> csr_array:
        scores = (self._matrix[users] @ self._inward).astype(np.float32) @ self._outward
        scores += super()._scores(users).astype(np.float32).toarray()
        return rows_of(np.round(scores, _DIGITS, out=scores))
