"""EASE: a linear item-item model in closed form, the strongest simple baseline where the catalogue is small."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from graphrec.errors import InputError
from graphrec.evaluation.baselines import Baseline, binary, rows_of
from graphrec.evaluation.setting_choice import best_setting

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_array

    from graphrec.evaluation.metrics import Floats
    from graphrec.events.interactions import Interactions

MOST_ITEMS = 15_000  # a dense float64 matrix of this side takes 1.8 GB
REGULARISATIONS = (50.0, 200.0, 800.0)
DEFAULT_REGULARISATION = 200.0
_DIGITS = 9  # scores that differ by less differ by rounding, and tie


class EASE(Baseline):
    """Embarrassingly shallow autoencoder (Steck, WWW 2019): with G = R'R + λI and P = G^-1, B = I - P / diag(P).

    A user's scores are r_u B. None chooses λ from REGULARISATIONS on the newest tenth of the training events; a fitted
    object keeps what was chosen, also when fitted again. Raises InputError for a catalogue of more than MOST_ITEMS,
    whose matrix would not fit.
    """

    name = "EASE"

    def __init__(self, regularisation: float | None = None) -> None:
        if regularisation is not None and not regularisation > 0:
            raise InputError("the regularisation is out of range", expected="λ > 0", got=str(regularisation))
        self.regularisation = regularisation

    def _learn(self, wanted: Interactions) -> None:
        if wanted.n_items > MOST_ITEMS:
            raise InputError(
                "the catalogue is too large for EASE", expected=f"at most {MOST_ITEMS} items", got=str(wanted.n_items)
            )
        choice = REGULARISATIONS if self.regularisation is None else (self.regularisation,)
        self.regularisation = best_setting(
            lambda regularisation, events: EASE(regularisation).fit(events),
            choice,
            wanted,
            default=DEFAULT_REGULARISATION,
        )
        self.settings = {"regularisation": self.regularisation}
        self._matrix = binary(wanted)
        gram = (self._matrix.T @ self._matrix).toarray()
        gram[np.diag_indices_from(gram)] += self.regularisation
        inverse = _inverse(gram)
        self._weights = -inverse / np.diag(inverse)
        np.fill_diagonal(self._weights, 0.0)

    def _scores(self, users: NDArray[np.int32]) -> csr_array:
        return rows_of(np.round(self._matrix[users] @ self._weights, _DIGITS))


def _inverse(gram: Floats) -> Floats:
    """Invert a positive definite matrix, which is overwritten: by Cholesky, half the work of the general way."""
    from scipy.linalg.lapack import dpotrf, dpotri

    factor, _ = dpotrf(gram.T, lower=1, overwrite_a=1)  # the transpose is in the order of LAPACK, so nothing is copied
    inverse: Floats = dpotri(factor, lower=1, overwrite_c=1)[0]
    upper = np.triu_indices_from(inverse, 1)
    inverse[upper] = inverse.T[upper]
    return inverse
