"""iALS: weighted matrix factorisation by the library `implicit`, which nothing else here knows."""

from __future__ import annotations

import itertools
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

from graphrec.errors import DependencyError, InputError
from graphrec.evaluation.baselines import Baseline, binary, rows_of
from graphrec.evaluation.setting_choice import best_setting

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_array

    from graphrec.events.interactions import Interactions

HINT = "pip install 'graphrec[evaluation]'"
REGULARISATIONS = (5.0, 20.0, 60.0)
ALPHAS = (5.0, 20.0)
DEFAULT = 20.0, 20.0  # regularisation and alpha where no cut in time is possible

_DIGITS = 5  # the factors are float32: scores that differ by less differ by rounding, and tie


def available() -> bool:
    """Whether the library is installed."""
    return find_spec("implicit") is not None


class IALS(Baseline):
    """Implicit alternating least squares (Hu, Koren & Volinsky, ICDM 2008), R binary.

    alpha: the confidence of an event, where a missing one has 1. None, for it or the regularisation, chooses from
    ALPHAS and REGULARISATIONS on the newest tenth of the training events; a fitted object keeps what was chosen, also
    when fitted again. Raises DependencyError without the library, InputError for settings out of range.
    """

    name = "iALS"

    def __init__(
        self,
        regularisation: float | None = None,
        alpha: float | None = None,
        *,
        factors: int = 128,
        iterations: int = 10,
        seed: int = 0,
    ) -> None:
        if not available():
            raise DependencyError("iALS needs the library implicit", way_out=HINT)
        given = [value for value in (regularisation, alpha, factors, iterations) if value is not None]
        if not all(value > 0 for value in given):
            raise InputError("the settings of iALS are out of range", expected="all of them > 0", got=str(given))
        self.regularisation, self.alpha = regularisation, alpha
        self.factors, self.iterations, self.seed = factors, iterations, seed

    def _learn(self, wanted: Interactions) -> None:
        regularisations = REGULARISATIONS if self.regularisation is None else (self.regularisation,)
        alphas = ALPHAS if self.alpha is None else (self.alpha,)
        self.regularisation, self.alpha = best_setting(
            lambda pair, events: self._with(*pair).fit(events),
            list(itertools.product(regularisations, alphas)),
            wanted,
            default=(self.regularisation or DEFAULT[0], self.alpha or DEFAULT[1]),
        )
        self.settings = {"regularisation": self.regularisation, "alpha": self.alpha}
        self._factorise(binary(wanted), self.regularisation, self.alpha)

    def _with(self, regularisation: float, alpha: float) -> IALS:
        return IALS(regularisation, alpha, factors=self.factors, iterations=self.iterations, seed=self.seed)

    def _factorise(self, matrix: csr_array, regularisation: float, alpha: float) -> None:
        """One thread of its own and one of BLAS: the same factors every time, and no thread waits for another."""
        from implicit.cpu.als import AlternatingLeastSquares
        from scipy.sparse import csr_matrix
        from threadpoolctl import threadpool_limits

        with threadpool_limits(1, "blas"):
            model = AlternatingLeastSquares(
                self.factors,
                regularisation,
                alpha,
                iterations=self.iterations,
                num_threads=1,
                random_state=self.seed,
            )
            model.fit(csr_matrix(matrix, dtype=np.float32), show_progress=False)
        self._users = model.user_factors.astype(np.float64)
        self._items = model.item_factors.astype(np.float64)

    def _scores(self, users: NDArray[np.int32]) -> csr_array:
        return rows_of(np.round(self._users[users] @ self._items.T, _DIGITS))
