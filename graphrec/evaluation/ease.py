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
CHOICE_ITEMS = 4_000  # λ is chosen on the most popular so many: the cost of an inversion grows with the cube
_DIGITS = 9  # scores that differ by less differ by rounding, and tie


class EASE(Baseline):
    """Embarrassingly shallow autoencoder (Steck, WWW 2019): with G = R'R + λI and P = G^-1, B = I - P / diag(P).

    A user's scores are r_u B. None chooses λ from REGULARISATIONS on the newest tenth of the training events of the
    CHOICE_ITEMS most popular items; a fitted object keeps what was chosen, also when fitted again. Raises InputError
    for a catalogue of more than MOST_ITEMS, whose matrix would not fit.
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
            _of_popular(wanted, CHOICE_ITEMS),
            default=DEFAULT_REGULARISATION,
        )
        self.settings = {"regularisation": self.regularisation}
        matrix = binary(wanted)
        # An item without an event has a weight of zero with every other one.
        self._items = np.flatnonzero(np.diff(matrix.tocsc().indptr))
        self._matrix = matrix[:, self._items]
        gram = (self._matrix.T @ self._matrix).toarray()
        gram[np.diag_indices_from(gram)] += self.regularisation
        self._weights = _inverse(gram)
        self._weights /= -np.diag(self._weights).copy()
        np.fill_diagonal(self._weights, 0.0)
        self._n_items = wanted.n_items

    def _scores(self, users: NDArray[np.int32]) -> csr_array:
        scores = np.zeros((len(users), self._n_items))
        scores[:, self._items] = np.round(self._matrix[users] @ self._weights, _DIGITS)
        return rows_of(scores)


def _of_popular(wanted: Interactions, most: int) -> Interactions:
    """The events of the `most` most popular items."""
    counts = np.bincount(wanted.items, minlength=wanted.n_items)
    ranks = np.argsort(np.argsort(-counts, kind="stable"), kind="stable")
    return wanted.take(ranks[wanted.items] < most)


def _inverse(gram: Floats) -> Floats:
    """Invert a positive definite matrix, which is overwritten: by Cholesky, half the work of the general way."""
    from scipy.linalg.lapack import dpotrf, dpotri

    factor, _ = dpotrf(gram.T, lower=1, overwrite_a=1)  # the transpose is in the order of LAPACK, so nothing is copied
    inverse: Floats = dpotri(factor, lower=1, overwrite_c=1)[0]
    for row in range(len(inverse)):
        inverse[row, row + 1 :] = inverse[row + 1 :, row]
    return inverse
