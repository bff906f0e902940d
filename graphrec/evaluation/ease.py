"""EASE: a linear item-item model in closed form, the strongest simple baseline where the catalogue is small."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from graphrec.errors import InputError
from graphrec.evaluation.baselines import Baseline, binary

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_array

    from graphrec.events.interactions import Interactions

MOST_ITEMS = 15_000  # a dense float64 matrix of this side takes 1.8 GB
_DIGITS = 9  # scores that differ by less differ by rounding, and tie


class EASE(Baseline):
    """Embarrassingly shallow autoencoder (Steck, WWW 2019): with G = R'R + λI and P = G^-1, B = I - P / diag(P).

    A user's scores are r_u B. Raises InputError for a catalogue of more than MOST_ITEMS, whose matrix would not fit.
    """

    name = "EASE"

    def __init__(self, regularisation: float = 200.0) -> None:
        if not regularisation > 0:
            raise InputError("the regularisation is out of range", expected="λ > 0", got=str(regularisation))
        self.regularisation = regularisation

    def _learn(self, wanted: Interactions) -> None:
        if wanted.n_items > MOST_ITEMS:
            raise InputError(
                "the catalogue is too large for EASE", expected=f"at most {MOST_ITEMS} items", got=str(wanted.n_items)
            )
        self._matrix = binary(wanted)
        gram = (self._matrix.T @ self._matrix).toarray()
        gram[np.diag_indices_from(gram)] += self.regularisation
        inverse = np.linalg.inv(gram)
        self._weights = -inverse / np.diag(inverse)
        np.fill_diagonal(self._weights, 0.0)

    def _scores(self, users: NDArray[np.int32]) -> csr_array:
        from scipy.sparse import csr_array

        return csr_array(np.maximum(np.round(self._matrix[users] @ self._weights, _DIGITS), 0.0))
